//! The whole road of CAs elsewhere, as a user goes it: openssl is the CA.

use super::*;
use crate::{
    cli::{
        build::Build,
        diff::{Diff, Differs},
        secrets::{
            Import, Secrets as Command,
            rotate::{Authority, RotateCa},
        },
        verify::Verify,
    },
    firstboot::tests::elf,
};
use std::process;

struct Folder(tempfile::TempDir);

const CAS: [(&str, &str); 3] = [("ca", "kubernetes"), ("front-proxy-ca", "front-proxy-ca"), ("etcd/ca", "etcd-ca")];

impl Folder {
    /// A cluster, a `pki` folder with the certificates of three CAs, and their keys in `vault`; `None` without openssl.
    fn new() -> Option<Self> {
        if process::Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "openssl is missing, and CI promises it");
            eprintln!("SKIPPED: there is no openssl on this machine");
            return None;
        }
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("cluster.yaml"), crate::config::examples::ALL[0].text).unwrap();
        std::fs::write(folder.path("firstboot"), elf(62, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
        for (file, name) in CAS {
            std::fs::create_dir_all(folder.path("pki/etcd")).unwrap();
            std::fs::create_dir_all(folder.path("vault/etcd")).unwrap();
            folder.openssl(&format!("ecparam -name prime256v1 -genkey -noout -out vault/{file}.key"));
            folder.openssl(&format!(
                "req -x509 -new -key vault/{file}.key -subj /CN={name} -days 3650 -addext \
                 keyUsage=critical,keyCertSign,digitalSignature -out pki/{file}.crt"
            ));
        }
        Some(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, args: &str) {
        let output =
            process::Command::new("openssl").args(args.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn import(&self) -> Result<(), Failure> {
        let (folder, file) = (self.path("pki"), self.path("cluster.yaml"));
        Command::Import(Import { folder, file, secrets: None, replace: false }).run(&Terminal::new(true))
    }

    fn requests(&self, output: &str, all: bool) -> Result<(), Failure> {
        let (file, output) = (self.path("cluster.yaml"), self.path(output));
        Command::Requests(Requests { file, secrets: None, output, all }).run(&Terminal::new(true))
    }

    fn take(&self, folder: &str) -> Result<(), Failure> {
        let (file, folder) = (self.path("cluster.yaml"), self.path(folder));
        Command::ImportCertificates(ImportCertificates { folder, file, secrets: None }).run(&Terminal::new(true))
    }

    fn build(&self) -> Result<(), Failure> {
        Build::of(self.path("cluster.yaml"), self.path("out"), self.path("firstboot")).run(&Terminal::new(true))
    }

    fn index(&self, folder: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(folder).join(INDEX)).unwrap()).unwrap()
    }

    /// Signs what the index asks for, each by the CA that it names.
    fn sign(&self, folder: &str, days: u32) {
        for row in self.index(folder)["requests"].as_array().unwrap() {
            let text = |key: &str| row[key].as_str().unwrap();
            let ca = match text("ca") {
                "kubernetes" => "ca",
                "etcd" => "etcd/ca",
                "front-proxy" => "front-proxy-ca",
                other => panic!("{other}"),
            };
            self.openssl(&format!(
                "x509 -req -in {folder}/{} -CA pki/{ca}.crt -CAkey vault/{ca}.key -CAcreateserial -CAserial vault/serial \
                 -days {days} -copy_extensions copyall -out {folder}/{}",
                text("request"),
                text("certificate")
            ));
        }
    }
}

fn refused(result: Result<(), Failure>) -> String {
    match result {
        Err(Failure::Input(error)) => error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn from_requests_to_payloads() {
    let Some(folder) = Folder::new() else { return };
    folder.import().unwrap();
    let said = refused(folder.build());
    for (ca, count) in [("kubernetes", 9), ("front-proxy", 1), ("etcd", 4)] {
        let words = format!("not complete: {count} of {count} missing (");
        assert!(said.contains(&format!("the {ca} CA has no key here")) && said.contains(&words), "{said}");
    }
    assert!(!folder.path("out").exists());

    folder.requests("csr", false).unwrap();
    let index = folder.index("csr");
    assert_eq!(index["requests"].as_array().unwrap().len(), 14);
    assert_eq!((&index["generation"], &index["lifetime"]), (&1.into(), &(365 * 24 * 3600).into()));
    let row = index["requests"].as_array().unwrap().iter().find(|row| row["request"] == "node1/kubelet.conf.csr");
    assert_eq!(row.unwrap()["commonName"], "system:node:node1");
    assert_eq!(row.unwrap()["organization"], "system:nodes");
    assert_eq!(row.unwrap()["usages"], serde_json::json!(["clientAuth"]));
    assert!(matches!(folder.requests("csr", false), Err(Failure::Environment(_))), "it is not empty");
    // Nothing is there yet, or something that nobody asked for.
    assert!(
        refused(folder.take("csr")).contains("holds no certificate that was asked for, such as cluster/admin.conf.crt")
    );
    assert!(matches!(folder.take("missing"), Err(Failure::Environment(_))));

    folder.sign("csr", 100);
    // One is somebody else's answer: nothing is taken.
    let (good, other) = (folder.path("csr/node1/etcd-peer.crt"), folder.path("csr/node1/etcd-server.crt"));
    let kept = std::fs::read(&good).unwrap();
    std::fs::copy(&other, &good).unwrap();
    let said = refused(folder.take("csr"));
    assert!(said.contains("csr/node1/etcd-peer.crt: is for another public key than was asked for"), "{said}");
    std::fs::write(&good, [&kept[..], &kept[..]].concat()).unwrap();
    assert!(refused(folder.take("csr")).contains("etcd-peer.crt: holds 2 certificates, not one: an intermediate CA"));
    std::fs::write(&good, "x").unwrap();
    assert!(refused(folder.take("csr")).contains("etcd-peer.crt: is not PEM"));
    // A part of them is taken, the rest is asked for again.
    std::fs::remove_file(&good).unwrap();
    folder.take("csr").unwrap();
    let said = refused(folder.build());
    assert!(said.contains("the etcd CA has no key here, and the certificates that it has signed are not complete: 1 of 4 missing (etcd-peer/node1);"), "{said}");
    folder.requests("rest", false).unwrap();
    let rest = folder.index("rest");
    assert_eq!(rest["requests"].as_array().unwrap().len(), 1);
    assert_eq!(rest["requests"][0]["request"], "node1/etcd-peer.csr");
    folder.sign("rest", 40);
    folder.take("rest").unwrap();
    folder.build().unwrap();
    Verify::of(folder.path("out")).run(&Terminal::new(true)).unwrap();
    // The shortest of them ends the payload; nobody has the CA's key.
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path("out/manifest.json")).unwrap()).unwrap();
    let boot_before = manifest["nodes"][0]["bootBefore"].as_i64().unwrap();
    let days = (boot_before - secrets_file::now().unwrap()) / 86_400;
    assert!((39..=40).contains(&days), "{days}");
    let config = std::fs::read_to_string(folder.path("out/nodes/node1/config.ign")).unwrap();
    assert!(config.contains("/etc/kubernetes/pki/ca.crt") && !config.contains("/etc/kubernetes/pki/ca.key"));

    // Against cluster.yaml nothing differs: neither lives that the CA chose, nor a key that is on no node.
    let diff = Diff::of(folder.path("out"), folder.path("cluster.yaml"), folder.path("firstboot"));
    assert_eq!(diff.run(&Terminal::new(true)).unwrap(), Differs::NoOrNotAsked);

    // All are here; `--all` asks for them anyway. The same build again changes nothing.
    folder.requests("none", false).unwrap();
    assert!(!folder.path("none").exists());
    folder.requests("all", true).unwrap();
    assert_eq!(folder.index("all")["requests"].as_array().unwrap().len(), 14);
    folder.build().unwrap();
    assert_eq!(std::fs::read_to_string(folder.path("out/nodes/node1/config.ign")).unwrap(), config);
}

/// A folder of requests cannot have the name of what tells of them.
#[test]
fn a_node_with_the_name_of_the_index() {
    let Some(folder) = Folder::new() else { return };
    let text = std::fs::read_to_string(folder.path("cluster.yaml")).unwrap();
    let other = text.replace("- name: node1", "- name: requests.json");
    assert_ne!(other, text);
    std::fs::write(folder.path("cluster.yaml"), other).unwrap();
    folder.import().unwrap();
    let said = refused(folder.requests("csr", false));
    assert!(said.contains("the node requests.json has the name of the file"), "{said}");
    assert!(!folder.path("csr").exists());
}

/// A CA of one's own takes the place of another, by its files.
#[test]
fn another_ca_of_ones_own() {
    let Some(folder) = Folder::new() else { return };
    folder.import().unwrap();
    folder.openssl("ecparam -name secp384r1 -genkey -noout -out vault/new.key");
    folder.openssl(
        "req -x509 -new -key vault/new.key -subj /CN=new -days 3650 -addext \
         keyUsage=critical,keyCertSign,digitalSignature -out new.crt",
    );
    let rotate = |cas: Vec<Authority>, certificate: &str, key: Option<&str>| {
        let (certificate, key) = (Some(folder.path(certificate)), key.map(|key| folder.path(key)));
        let file = folder.path("cluster.yaml");
        Command::RotateCa(RotateCa { cas, certificate, key, file, secrets: None }).run(&Terminal::new(true))
    };
    let before = std::fs::read(folder.path("secrets.yaml")).unwrap();
    assert!(refused(rotate(vec![], "new.crt", None)).contains("name the one CA that it takes the place of by --ca"));
    let etcd = || vec![Authority::Etcd];
    assert!(
        refused(rotate(etcd(), "new.crt", Some("vault/ca.key"))).starts_with("key: does not belong to certificate")
    );
    assert!(matches!(rotate(etcd(), "none.crt", None), Err(Failure::Environment(_))));
    assert_eq!(std::fs::read(folder.path("secrets.yaml")).unwrap(), before);
    rotate(etcd(), "new.crt", Some("vault/new.key")).unwrap();
    assert!(refused(rotate(etcd(), "new.crt", None)).contains("a CA is given in the first step of its rotation"));
    // One key in two places.
    assert!(
        refused(rotate(vec![Authority::FrontProxy], "new.crt", Some("vault/new.key"))).contains("is the same key as")
    );
}

#[test]
fn nothing_to_ask_for() {
    let Some(folder) = Folder::new() else { return };
    std::fs::remove_dir_all(folder.path("pki/etcd")).unwrap();
    for name in ["ca", "front-proxy-ca"] {
        std::fs::remove_file(folder.path(&format!("pki/{name}.crt"))).unwrap();
    }
    folder.openssl("ecparam -name prime256v1 -genkey -noout -out pki/sa.key");
    folder.import().unwrap();
    assert!(refused(folder.requests("csr", false)).ends_with("has its key here: there is nothing to ask for"));
    assert!(!folder.path("csr").exists());
    assert!(refused(folder.take("csr")).ends_with("every CA that this cluster uses has its key here"));
}

/// RSA keys are made when they are asked for, and kept: an answer is for the key that was there.
#[test]
fn requests_for_rsa() {
    let Some(folder) = Folder::new() else { return };
    for name in ["etcd/ca", "ca"] {
        std::fs::remove_file(folder.path(&format!("pki/{name}.crt"))).unwrap();
    }
    let text = format!("encryptionAlgorithm: RSA-2048\n{}", crate::config::examples::ALL[0].text);
    std::fs::write(folder.path("cluster.yaml"), text).unwrap();
    folder.import().unwrap();
    folder.requests("csr", false).unwrap();
    folder.sign("csr", 100);
    folder.take("csr").unwrap();
    folder.build().unwrap();
    Verify::of(folder.path("out")).run(&Terminal::new(true)).unwrap();
}
