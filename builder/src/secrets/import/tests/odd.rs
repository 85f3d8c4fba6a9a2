//! CAs as one finds them: odd, broken, or of another kind than ours. Each has one clear result.

use super::*;
use crate::{
    draft::LeafForm,
    pki::{key::tests::ALGORITHMS, table},
    secrets::tests::of_algorithm,
    verify::{self, fixture::Memory},
};

const SIGN: &str = "keyUsage=critical,keyCertSign,digitalSignature";

/// A CA made by `req -x509` with these arguments more.
fn made(folder: &Folder, more: &[&str]) {
    folder.openssl("ecparam -name prime256v1 -genkey -noout -out ca.key");
    let mut args = vec!["req", "-x509", "-new", "-key", "ca.key", "-out", "ca.crt", "-subj", "/CN=kubernetes"];
    args.extend(["-days", "3650"]);
    args.extend(more);
    folder.openssl_args(&args);
}

#[test]
fn certificates() {
    let Some(folder) = Folder::new() else { return };
    folder.write(
        "bare.cnf",
        "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = kubernetes\n[none]\nsubjectKeyIdentifier = hash\n",
    );
    for (more, faults, warnings) in [
        (&["-addext", SIGN][..], &[][..], &[][..]),
        // openssl adds basicConstraints unless it is told otherwise.
        (&["-config", "bare.cnf", "-extensions", "none"], &["is not a CA's: basicConstraints must say CA:TRUE"], &[]),
        (&["-addext", "keyUsage=critical,cRLSign"], &["may not sign certificates: keyUsage lacks keyCertSign"], &[]),
        (&["-addext", SIGN, "-addext", "extendedKeyUsage=serverAuth"], &["is limited to other purposes"], &[]),
        (&["-addext", SIGN, "-addext", "extendedKeyUsage=codeSigning"], &["is limited to other purposes"], &[]),
        (
            &["-addext", SIGN, "-addext", "extendedKeyUsage=clientAuth"],
            &[],
            &["it is limited to clients (extendedKeyUsage): only the front proxy's CA may be"],
        ),
        (&["-addext", SIGN, "-addext", "extendedKeyUsage=clientAuth,serverAuth"], &[], &[]),
        (&["-addext", SIGN, "-addext", "extendedKeyUsage=anyExtendedKeyUsage"], &[], &[]),
        // A path of no more CAs still ends with leaves.
        (&["-addext", SIGN, "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"], &[], &[]),
        (&["-addext", SIGN, "-set_serial", "-7"], &["has a negative serial number, which Go refuses to read"], &[]),
        (&["-addext", SIGN, "-set_serial", "0"], &[], &[]),
        (&["-addext", SIGN, "-set_serial", "0xffffffffffffffffffffffffffffffffffffffff"], &[], &[]),
        (&["-addext", SIGN, "-sha1"], &[], &[]),
    ] {
        made(&folder, more);
        match folder.import() {
            Ok(imported) => {
                assert!(faults.is_empty(), "{more:?} was taken");
                assert_eq!(imported.warnings, warnings.iter().map(|w| format!("ca.crt: {w}")).collect::<Vec<_>>());
                if warnings.is_empty() {
                    folder.verify(&imported, &[(Ca::Kubernetes, "ca.crt")]);
                }
            }
            Err(found) => {
                let fits = found.len() == faults.len()
                    && found.iter().zip(faults).all(|(found, fault)| found.starts_with(&format!("ca.crt: {fault}")));
                assert!(fits, "{more:?}: {found:#?} is not {faults:#?}");
            }
        }
    }
}

/// Roots that are signed in a way that nodekiln never signs: their own signature proves nothing, and what they sign is as
/// good as any. What is built with them is sound, and its roots are still checked where they can be.
#[test]
fn roots_signed_otherwise() {
    let Some(folder) = Folder::new() else { return };
    let pss = ["-sigopt", "rsa_padding_mode:pss"];
    for (key, more) in
        [("secp384r1", &["-sha512"][..]), ("prime256v1", &["-sha512"]), ("rsa", &["-sha1"]), ("rsa", &pss)]
    {
        for (stem, name) in [("ca", "kubernetes"), ("front-proxy-ca", "front-proxy-ca"), ("etcd/ca", "etcd-ca")] {
            folder.ca(stem, key, &format!("/CN={name}"), more);
        }
        let mut secrets = folder.import().unwrap().secrets;
        let cluster = cluster_fixture::cluster();
        secrets.complete(&cluster, secrets.created_at(), fixed_random(2)).unwrap();
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let output = Memory::made(&cluster, &authority, secrets.shape());
        let report = verify::verify(&output).unwrap();
        assert!(report.findings.is_empty(), "{key} {more:?}: {:#?}", report.findings);
    }
}

/// Words around, other line ends, a bundle: what tools and editors make of PEM.
#[test]
fn forms_of_pem() {
    let Some(folder) = Folder::new() else { return };
    made(&folder, &["-addext", SIGN]);
    let (crt, key) = (folder.text("ca.crt"), folder.text("ca.key"));
    folder.openssl("x509 -in ca.crt -text -out text.crt");
    folder.openssl("pkcs8 -topk8 -nocrypt -in ca.key -out pkcs8.key");
    folder.openssl("ec -in ca.key -aes128 -passout pass:secret -out old-encrypted.key");
    folder.openssl("pkcs8 -topk8 -passout pass:secret -in ca.key -out encrypted.key");
    folder.openssl("x509 -in ca.crt -outform DER -out der.crt");
    folder.openssl("genpkey -algorithm ed25519 -out ed25519.key");
    folder.openssl("genrsa -out small.key 1024");
    folder.openssl("ecparam -name secp521r1 -genkey -noout -out p521.key");
    assert!(folder.text("old-encrypted.key").contains("Proc-Type: 4,ENCRYPTED"));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let kind = "is not a whole RSA key of 2048 to 8192 bits or ECDSA key on P-256 or P-384";
    for (crt, key, fault) in [
        (crt.clone().into_bytes(), key.clone().into_bytes(), None),
        (read("text.crt"), read("pkcs8.key"), None),
        (crt.replace('\n', "\r\n").into_bytes(), key.replace('\n', "\r\n").into_bytes(), None),
        (format!("\u{feff}{crt}\n\n# end\n").into_bytes(), format!("Bag Attributes\n{key}").into_bytes(), None),
        (crt.clone().into_bytes(), read("old-encrypted.key"), Some("ca.key: is encrypted; `openssl pkey` decrypts it")),
        (crt.clone().into_bytes(), read("encrypted.key"), Some("ca.key: is encrypted; `openssl pkey` decrypts it")),
        (read("der.crt"), key.clone().into_bytes(), Some("ca.crt: is not PEM: it is not even text (DER?")),
        (crt.clone().into_bytes(), read("ed25519.key"), Some(&*format!("ca.key: {kind}"))),
        (crt.clone().into_bytes(), read("small.key"), Some(&*format!("ca.key: {kind}"))),
        (crt.clone().into_bytes(), read("p521.key"), Some(&*format!("ca.key: {kind}"))),
        (crt.clone().into_bytes(), b"".to_vec(), Some("ca.key: is not PEM")),
        (b"".to_vec(), key.clone().into_bytes(), Some("ca.crt: is not PEM")),
    ] {
        std::fs::write(folder.path().join("ca.crt"), crt).unwrap();
        std::fs::write(folder.path().join("ca.key"), key).unwrap();
        match (folder.import(), fault) {
            (Ok(imported), None) => folder.verify(&imported, &[(Ca::Kubernetes, "ca.crt")]),
            (Err(faults), Some(fault)) => assert!(faults.len() == 1 && faults[0].starts_with(fault), "{faults:?}"),
            (result, expected) => panic!("{expected:?}: {:?}", result.map(|imported| imported.notes)),
        }
    }
}

/// CAs of each kind of key, in each form of it, over leaves of each algorithm.
#[test]
fn every_algorithm_under_every_ca() {
    let Some(folder) = Folder::new() else { return };
    folder.ca("ca", "rsa", "/CN=kubernetes", &[]);
    folder.ca("front-proxy-ca", "prime256v1", "/CN=front-proxy-ca", &[]);
    folder.ca("etcd/ca", "secp384r1", "/CN=etcd-ca", &[]);
    folder.openssl("pkcs8 -topk8 -nocrypt -in etcd/ca.key -out etcd/pkcs8.key");
    std::fs::rename(folder.path().join("etcd/pkcs8.key"), folder.path().join("etcd/ca.key")).unwrap();
    for (name, label) in
        [("ca", "RSA PRIVATE KEY"), ("front-proxy-ca", "EC PRIVATE KEY"), ("etcd/ca", "BEGIN PRIVATE KEY")]
    {
        assert!(folder.text(&format!("{name}.key")).contains(label), "{name}");
    }
    let mut imported = folder.import().unwrap();
    for algorithm in ALGORITHMS {
        let (cluster, _) = cluster_fixture::of_algorithm(algorithm);
        imported.secrets.leaf_keys = of_algorithm(algorithm, cluster).leaf_keys;
        let authority = Authority::open(&imported.secrets, cluster).unwrap();
        for leaf in cluster_fixture::all_leaves(cluster) {
            let spec = table::spec(leaf.row);
            let (_, bundle) = ALL.iter().find(|(ca, _)| *ca == spec.issuer).unwrap();
            let issued = authority.issue(&leaf).unwrap().form(LeafForm::Certificate);
            std::fs::write(folder.path().join("leaf.pem"), issued.bytes.expose()).unwrap();
            let purpose = if spec.usage == table::Usage::Client { "sslclient" } else { "sslserver" };
            folder.openssl(&format!(
                "verify -x509_strict -check_ss_sig -no-CApath -no-CAstore -purpose {purpose} -CAfile {bundle} leaf.pem"
            ));
        }
    }
}
