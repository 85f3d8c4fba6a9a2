//! Tests of the import: folders as kubeadm and openssl make them.

mod odd;

use super::*;
use crate::{
    config::Algorithm,
    pki::{Authority, OpenError, fixture as cluster_fixture},
    secrets::tests::fixed_random,
};
use std::{path::Path, process::Command};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A folder made by openssl, or `None` where there is none: then the test says so, and fails under CI.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "openssl is missing, and CI promises it");
            eprintln!("SKIPPED: there is no openssl on this machine");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etcd")).unwrap();
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, args: &str) {
        self.openssl_args(&args.split_whitespace().collect::<Vec<_>>());
    }

    fn openssl_args(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A CA as kubeadm has it, its key in the traditional form.
    fn ca(&self, stem: &str, key: &str, subject: &str, more: &[&str]) {
        match key {
            "rsa" => self.openssl(&format!("genrsa -traditional -out {stem}.key 2048")),
            curve => self.openssl(&format!("ecparam -name {curve} -genkey -out {stem}.key")),
        }
        let (key, crt) = (format!("{stem}.key"), format!("{stem}.crt"));
        let mut args = vec![
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-out",
            &crt,
            "-days",
            "3650",
            "-subj",
            subject,
            "-addext",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
        ];
        args.extend(more);
        self.openssl_args(&args);
    }

    fn files(&self) -> BTreeMap<&'static str, Secret> {
        let read = |name| Some((name, Secret::new(std::fs::read(self.path().join(name)).ok()?)));
        FILES.into_iter().filter_map(read).collect()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn import(&self) -> Result<Imported, Vec<String>> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.import_at(now)
    }

    fn import_at(&self, now: i64) -> Result<Imported, Vec<String>> {
        let options = CaOptions { now, validity: 10 * cluster_fixture::YEAR, algorithm: Algorithm::EcdsaP256 };
        import(&self.files(), options, fixed_random(1)).map_err(|error| match error {
            ImportError::Files(faults) => faults,
            ImportError::New(error) => panic!("{error}"),
        })
    }

    /// Every leaf of the cluster, verified by openssl against the folder's own `ca.crt` files.
    fn verify(&self, imported: &Imported, cas: &[(Ca, &str)]) {
        let cluster = cluster_fixture::cluster();
        let authority = Authority::open(&imported.secrets, &cluster).unwrap();
        for leaf in cluster_fixture::all_leaves(&cluster) {
            let issuer = crate::pki::table::spec(leaf.row).issuer;
            let Some((_, file)) = cas.iter().find(|(ca, _)| *ca == issuer) else { continue };
            let issued = authority.issue(&leaf).unwrap().form(crate::draft::LeafForm::Certificate);
            let (option, file) = file.strip_prefix(PARTIAL).map_or(("", *file), |file| (PARTIAL, file));
            std::fs::write(self.path().join("leaf.pem"), issued.bytes.expose()).unwrap();
            self.openssl(&format!(
                "verify -x509_strict -check_ss_sig -no-CApath -no-CAstore {option}-CAfile {file} leaf.pem"
            ));
            let blocks = pem::blocks(std::str::from_utf8(issued.bytes.expose()).unwrap()).unwrap();
            let (_, leaf) = X509Certificate::from_der(&blocks[0].1).unwrap();
            let ca = pem::blocks(&self.text(file)).unwrap();
            let (_, ca) = X509Certificate::from_der(&ca[0].1).unwrap();
            assert_eq!(leaf.issuer().as_raw(), ca.subject().as_raw());
            // This CA is younger than leaves are backdated.
            assert!(leaf.validity().not_before >= ca.validity().not_before);
        }
    }
}

/// Before a file that holds an intermediate CA alone: what OpenSSL has to be told.
const PARTIAL: &str = "-partial_chain ";

const ALL: [(Ca, &str); 3] =
    [(Ca::Kubernetes, "ca.crt"), (Ca::FrontProxy, "front-proxy-ca.crt"), (Ca::Etcd, "etcd/ca.crt")];

/// Three kinds of keys in three forms, and a service-account key without its public half, as kubeadm tolerates it.
#[test]
fn a_whole_folder() {
    let Some(folder) = Folder::new() else { return };
    folder.ca("ca", "rsa", "/CN=kubernetes", &["-addext", "subjectAltName=DNS:kubernetes"]);
    folder.ca("front-proxy-ca", "prime256v1", "/CN=front-proxy-ca", &[]);
    folder.ca("etcd/ca", "secp384r1", "/CN=etcd-ca", &[]);
    assert!(folder.text("ca.key").contains("BEGIN RSA PRIVATE KEY"));
    assert!(folder.text("etcd/ca.key").contains("BEGIN EC PARAMETERS"));
    folder.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key");
    folder.openssl("pkey -in sa.key -pubout -out sa.pub");
    let imported = folder.import().unwrap();
    assert_eq!(imported.warnings, [""; 0]);
    assert_eq!(
        imported.notes,
        [
            "kubernetes CA: from ca.crt, RSA-2048",
            "front-proxy CA: from front-proxy-ca.crt, ECDSA-P256",
            "etcd CA: from etcd/ca.crt, ECDSA-P384",
            "service-account key: from sa.key, RSA-2048",
        ]
    );
    folder.verify(&imported, &ALL);
    // The bundle is the user's own certificate.
    let authority = Authority::open(&imported.secrets, &cluster_fixture::cluster()).unwrap();
    assert_eq!(authority.bundle(Ca::Kubernetes), folder.text("ca.crt"));
    // sa.pub is made of sa.key.
    std::fs::remove_file(folder.path().join("sa.pub")).unwrap();
    assert!(folder.import().is_ok());
}

/// Names keep their encoding and all their parts: issuer and subject are compared byte for byte.
#[test]
fn names_byte_for_byte() {
    let Some(folder) = Folder::new() else { return };
    // OpenSSL's default is UTF8String, Go's PrintableString; a country is a PrintableString always.
    folder.write("printable.cnf", "[req]\nstring_mask = nombstr\ndistinguished_name = dn\nprompt = no\nx509_extensions = ext\n[dn]\nC = DE\nO = acme\nCN = kubernetes\n[ext]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash\n");
    folder.ca("ca", "prime256v1", "/C=DE/O=acme/OU=one/OU=two/CN=kubernetes", &[]);
    folder.ca("front-proxy-ca", "prime256v1", "/O=acme/CN=front+OU=proxy", &["-multivalue-rdn"]);
    folder.openssl("ecparam -name prime256v1 -genkey -out etcd/ca.key");
    folder.openssl("req -x509 -new -key etcd/ca.key -out etcd/ca.crt -days 3650 -config printable.cnf");
    let tags = |file: &str| {
        let blocks = pem::blocks(&folder.text(file)).unwrap();
        let (_, certificate) = X509Certificate::from_der(&blocks[0].1).unwrap();
        let attributes = certificate.subject().iter_attributes();
        attributes.map(|attribute| attribute.attr_value().header.tag().0).collect::<Vec<_>>()
    };
    assert_eq!((tags("ca.crt"), tags("etcd/ca.crt")), (vec![19, 12, 12, 12, 12], vec![19, 19, 19]));
    let imported = folder.import().unwrap();
    folder.verify(&imported, &ALL);
}

/// A bundle stays one: the first issues, as kubeadm reads it, all are trusted.
#[test]
fn bundles_and_intermediates() {
    let Some(folder) = Folder::new() else { return };
    folder.ca("root", "secp384r1", "/CN=root", &[]);
    folder.openssl("ecparam -name prime256v1 -genkey -out ca.key");
    folder.openssl("req -new -key ca.key -subj /CN=kubernetes -out ca.csr");
    folder.write("ext", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n");
    folder.openssl(
        "x509 -req -in ca.csr -CA root.crt -CAkey root.key -CAcreateserial -days 3000 -extfile ext -out ca.crt",
    );
    let alone = folder.import().unwrap();
    let doubt = "ca.crt: it is an intermediate CA: it is trusted alone, without its issuer, as Kubernetes and etcd do \
                 (`openssl verify` needs -partial_chain)";
    assert_eq!(alone.warnings, [doubt]);
    folder.verify(&alone, &[(Ca::Kubernetes, "-partial_chain ca.crt")]);
    let chain = format!("subject=kubernetes\n{}\nsubject=root\n{}", folder.text("ca.crt"), folder.text("root.crt"));
    folder.write("ca.crt", &chain);
    let imported = folder.import().unwrap();
    let issuer = "ca.crt (2): issued the CA that is first: its other CAs are trusted too; leave it out, an intermediate CA is \
                  trusted without its issuer";
    assert_eq!(imported.warnings, [doubt, issuer]);
    assert!(imported.notes.contains(&"kubernetes CA: from ca.crt, ECDSA-P256, and 1 more that are trusted".to_owned()));
    folder.verify(&imported, &[(Ca::Kubernetes, "ca.crt")]);
    let authority = Authority::open(&imported.secrets, &cluster_fixture::cluster()).unwrap();
    assert_eq!(authority.bundle(Ca::Kubernetes).matches("BEGIN CERTIFICATE").count(), 2);
}

/// A CA without its key: trusted, and what it would have to sign is refused by name.
#[test]
fn an_external_ca() {
    let Some(folder) = Folder::new() else { return };
    folder.ca("ca", "prime256v1", "/CN=kubernetes", &[]);
    std::fs::remove_file(folder.path().join("ca.key")).unwrap();
    let imported = folder.import().unwrap();
    assert_eq!(
        imported.notes[0],
        "kubernetes CA: from ca.crt without its key: it issues nothing here, and `secrets requests` asks for what it has to \
         sign"
    );
    let error = Authority::open(&imported.secrets, &cluster_fixture::cluster()).err().unwrap();
    let OpenError::External(lacking) = &error else { panic!("{error}") };
    assert!(lacking.len() == 1 && lacking[0].ca == Ca::Kubernetes && lacking[0].unfit.is_empty(), "{lacking:?}");
    assert!(lacking[0].missing.len() == lacking[0].all && lacking[0].all > 10, "{lacking:?}");
    let said = error.to_string();
    let words = "the kubernetes CA has no key here, and the certificates that it has signed are not complete: 17 of 17 \
        missing (apiserver/cp1, ";
    assert!(said.starts_with(words) && said.contains(" and 12 more); `nodekiln secrets requests` writes"), "{said}");
    let text = String::from_utf8(imported.secrets.to_vec().expose().to_vec()).unwrap();
    assert_eq!(Secrets::parse(text.as_bytes()).unwrap().to_vec(), imported.secrets.to_vec());
    // Its key is asked for, its place is not taken by a new CA.
    let shown = crate::secrets::show::Shown::new(&imported.secrets, None);
    assert_eq!(shown.authorities["kubernetes"][0].state, "external");
}

/// What OpenSSL makes by default, and kubeadm takes, is taken, with a word about it.
#[test]
fn doubts() {
    let Some(folder) = Folder::new() else { return };
    folder.openssl("ecparam -name prime256v1 -genkey -out ca.key");
    folder.openssl("req -x509 -new -key ca.key -subj /CN=kubernetes -days 100 -out ca.crt");
    let imported = folder.import().unwrap();
    assert_eq!(imported.warnings, ["ca.crt: it has no keyUsage"]);
    // It ends before leaves would: a number that would do is told.
    let error = Authority::open(&imported.secrets, &cluster_fixture::cluster()).err().unwrap();
    assert!(
        error.to_string().contains("set it to at most 2399h") || error.to_string().contains("at most 2400h"),
        "{error}"
    );
}

#[test]
fn refusals() {
    let Some(folder) = Folder::new() else { return };
    let refused = |expected: &[&str]| {
        let faults = folder.import().err().unwrap_or_default();
        let fits = faults.len() == expected.len() && faults.iter().zip(expected).all(|(f, e)| f.starts_with(e));
        assert!(fits, "{faults:#?} is not {expected:#?}");
        assert!(faults.iter().all(|fault| !fault.contains("MHcC") && !fault.contains("MII")), "{faults:?}");
    };
    folder.ca("ca", "prime256v1", "/CN=kubernetes", &[]);
    folder.ca("other", "prime256v1", "/CN=other", &[]);
    let (certificate, key) = (folder.text("ca.crt"), folder.text("ca.key"));
    let (other_certificate, other_key) = (folder.text("other.crt"), folder.text("other.key"));

    folder.write("ca.key", &other_key);
    refused(&["ca.key: does not belong to ca.crt: their public keys differ"]);
    folder.write("ca.key", &format!("{key}{other_key}"));
    refused(&["ca.key: does not hold one private key and nothing else"]);
    folder.write("ca.key", "x");
    refused(&["ca.key: is not PEM"]);
    std::fs::write(folder.path().join("ca.key"), [0xff, 0xfe]).unwrap();
    refused(&["ca.key: is not PEM: it is not even text"]);
    folder.write("ca.key", include_str!("../../pki/key/fixtures/p256-encrypted.pem"));
    refused(&["ca.key: is encrypted"]);
    folder.write("ca.key", include_str!("../../pki/key/fixtures/ed25519.pem"));
    refused(&["ca.key: is not a whole RSA key"]);

    folder.write("ca.key", &key);
    let bare = &key[key.find("-----BEGIN EC PRIVATE KEY").unwrap()..];
    folder.write("ca.crt", &format!("{certificate}{bare}"));
    refused(&["ca.crt: holds something else than certificates; a key goes into the file beside it"]);
    std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
    refused(&["ca.key: there is no ca.crt: half a pair is no CA"]);
    // A leaf in a CA's place, first or not.
    folder.openssl(
        "req -x509 -new -key ca.key -subj /CN=leaf -days 10 -addext basicConstraints=critical,CA:FALSE -out ca.crt",
    );
    refused(&["ca.crt: is not a CA's: basicConstraints must say CA:TRUE"]);
    let leaf = folder.text("ca.crt");
    folder.write("ca.crt", &format!("{certificate}{leaf}"));
    refused(&["ca.crt (2): is not a CA's"]);
    // One that may not sign.
    folder.openssl(
        "req -x509 -new -key ca.key -subj /CN=x -days 10 -addext keyUsage=critical,digitalSignature -out ca.crt",
    );
    refused(&["ca.crt: may not sign certificates: keyUsage lacks keyCertSign"]);

    // All at once, and one key in two places.
    folder.write("ca.crt", &certificate);
    folder.write("front-proxy-ca.crt", &certificate);
    folder.write("front-proxy-ca.key", &key);
    refused(&["authorities.frontProxy[0].key is the same key as authorities.kubernetes[0].key"]);
    folder.write("front-proxy-ca.key", &other_key);
    folder.write("etcd/ca.key", &other_key);
    folder.write("sa.pub", "x");
    refused(&[
        "front-proxy-ca.key: does not belong to front-proxy-ca.crt",
        "etcd/ca.key: there is no etcd/ca.crt",
        "sa.pub: there is no sa.key",
    ]);
    for name in ["front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.key"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    folder.write("sa.key", &other_key);
    refused(&["sa.pub: is not PEM"]);
    folder.openssl("pkey -in ca.key -pubout -out sa.pub");
    refused(&["sa.pub: does not belong to sa.key: their public keys differ"]);
    folder.openssl("pkey -in other.key -pubout -out sa.pub");
    assert!(folder.import().is_ok());
    // A CA that is only trusted, of the same key.
    folder.write("ca.crt", &format!("{certificate}{other_certificate}"));
    refused(&[
        "authorities.kubernetes[1] has the public key of serviceAccount.privateKey: every CA needs one of its own",
    ]);
    ["sa.key", "sa.pub"].iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());

    // Too late, and too early. An old one that is only trusted may have ended.
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let late = folder.import_at(now + 11 * cluster_fixture::YEAR).err().unwrap();
    assert!(late.len() == 1 && late[0].starts_with("ca.crt: the kubernetes CA's certificate ended 20"), "{late:?}");
    let early = folder.import_at(now - cluster_fixture::YEAR).unwrap();
    assert!(early.warnings[0].starts_with("ca.crt: begins only 20"), "{:?}", early.warnings);
    folder.openssl(
        "req -x509 -new -key other.key -subj /CN=old -days 1 -addext keyUsage=critical,keyCertSign -out old.crt",
    );
    folder.write("ca.crt", &format!("{certificate}{}{other_certificate}{other_certificate}", folder.text("old.crt")));
    let old = folder.import_at(now + 3 * cluster_fixture::DAY).unwrap();
    assert!(old.warnings[0].starts_with("ca.crt (2): the kubernetes CA's certificate ended 20"), "{:?}", old.warnings);
    assert_eq!(old.warnings[1], "ca.crt (4): is there twice; once is enough");
}

/// One CA for two purposes would let every kubelet into etcd: it is refused, whatever files it comes in.
#[test]
fn one_ca_for_two_purposes() {
    let Some(folder) = Folder::new() else { return };
    folder.ca("ca", "prime256v1", "/CN=company", &[]);
    let refused = |expected: &[&str]| {
        let faults = folder.import().err().unwrap_or_default();
        let fits = faults.len() == expected.len() && faults.iter().zip(expected).all(|(f, e)| f.starts_with(e));
        assert!(fits, "{faults:#?} is not {expected:#?}");
    };
    let certificate = folder.text("ca.crt");
    folder.write("front-proxy-ca.crt", &certificate);
    folder.write("etcd/ca.crt", &certificate);
    refused(&[
        "authorities.frontProxy[0] has the public key of authorities.kubernetes[0]: every CA needs one of its own",
        "authorities.etcd[0] has the public key of authorities.kubernetes[0]: every CA needs one of its own",
    ]);
    std::fs::remove_file(folder.path().join("front-proxy-ca.crt")).unwrap();
    folder.ca("etcd/ca", "prime256v1", "/CN=etcd", &[]);
    assert!(folder.import().is_ok());
    folder.write("etcd/ca.crt", &format!("{}{certificate}", folder.text("etcd/ca.crt")));
    refused(&["authorities.etcd[1] has the public key of authorities.kubernetes[0]: every CA needs one of its own"]);
    // The company's root, trusted with one CA and the issuer of another.
    folder
        .write("ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n");
    folder.openssl("req -new -key etcd/ca.key -subj /CN=etcd -out etcd.csr");
    folder.openssl("x509 -req -in etcd.csr -CA ca.crt -CAkey ca.key -days 3000 -extfile ext -out etcd/ca.crt");
    refused(&["authorities.kubernetes[0] issued authorities.etcd[0], a CA for another purpose"]);
    folder.openssl("ecparam -name prime256v1 -genkey -out proxy.key");
    folder.openssl("req -new -key proxy.key -subj /CN=proxy -out proxy.csr");
    folder.openssl("x509 -req -in proxy.csr -CA ca.crt -CAkey ca.key -days 3000 -extfile ext -out front-proxy-ca.crt");
    ["ca.crt", "ca.key"].iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
    assert!(folder.import().is_ok(), "two intermediates, each alone");
    folder.write("front-proxy-ca.crt", &format!("{}{certificate}", folder.text("front-proxy-ca.crt")));
    refused(&["authorities.frontProxy[1] issued authorities.etcd[0], a CA for another purpose"]);
}
