//! Tests of the commands: what stands on the disk after each.

use super::{
    rotate::{Authority, RotateCa, RotateEncryption},
    *,
};
use crate::secrets::Secrets as State;
use crate::{pki::Ca, secrets::RotationStep};
use std::os::unix::fs::PermissionsExt as _;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.file("cluster.yaml"), crate::config::examples::ALL[0].text).unwrap();
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn secrets(&self) -> State {
        let path = self.file("secrets.yaml");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        State::parse(&std::fs::read(path).unwrap()).unwrap()
    }

    fn new_secrets(&self) -> Result<(), Failure> {
        Secrets::New(New { file: self.file("cluster.yaml"), secrets: None }).run(&Terminal::new(true))
    }

    fn import(&self, replace: bool) -> Result<(), Failure> {
        let (folder, file) = (self.file("pki"), self.file("cluster.yaml"));
        Secrets::Import(Import { folder, file, secrets: None, replace }).run(&Terminal::new(true))
    }

    fn renew(&self) -> Result<(), Failure> {
        Secrets::Renew(Renew { secrets: self.file("secrets.yaml"), file: None }).run(&Terminal::new(true))
    }

    fn rotate(&self, cas: &[Authority]) -> Result<(), Failure> {
        let (cas, file) = (cas.to_vec(), self.file("cluster.yaml"));
        let (certificate, key) = (None, None);
        Secrets::RotateCa(RotateCa { cas, certificate, key, file, secrets: None }).run(&Terminal::new(true))
    }

    fn rotate_encryption(&self, rewritten: bool) -> Result<(), Failure> {
        let secrets = self.file("secrets.yaml");
        Secrets::RotateEncryption(RotateEncryption { secrets, rewritten }).run(&Terminal::new(true))
    }

    /// The older secrets beside the new ones are these, and for their owner alone.
    fn kept(&self, expected: &[&[u8]]) {
        let names = self.names();
        let kept = names.iter().filter(|name| name.starts_with("secrets.yaml.replaced-")).map(|name| self.file(name));
        let kept: Vec<_> = kept.collect();
        assert!(kept.iter().all(|path| path.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
        let mut texts: Vec<_> = kept.iter().map(|path| std::fs::read(path).unwrap()).collect();
        let mut expected = expected.to_vec();
        texts.sort();
        expected.sort();
        assert_eq!(texts, expected, "{names:?}");
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn secrets_are_never_replaced_by_accident() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let first = folder.secrets().to_vec();
    assert!(matches!(folder.new_secrets(), Err(Failure::Environment(_))));

    std::fs::create_dir(folder.file("pki")).unwrap();
    assert!(matches!(folder.import(true), Err(Failure::Input(_))), "there is nothing to import");
    let key = crate::pki::key::KeyPair::from_scalar(crate::config::Algorithm::EcdsaP256, &[5; 32]).unwrap();
    std::fs::write(folder.file("pki/sa.key"), key.private_pem().expose()).unwrap();
    assert!(matches!(folder.import(false), Err(Failure::Environment(_))));
    assert_eq!(folder.secrets().to_vec(), first);
    // Faults are found before anything is replaced.
    std::fs::write(folder.file("pki/ca.key"), key.private_pem().expose()).unwrap();
    let Err(Failure::Input(error)) = folder.import(true) else { panic!("half a pair was taken") };
    assert!(error.to_string().ends_with("/pki/ca.key: there is no ca.crt: half a pair is no CA"), "{error}");
    assert_eq!(folder.secrets().to_vec(), first);
    std::fs::remove_file(folder.file("pki/ca.key")).unwrap();

    folder.import(true).unwrap();
    assert_eq!(folder.secrets().service_account.spki(), key.spki());
    let names = folder.names();
    assert_eq!(names.len(), 4, "{names:?}");
    let kept = names.iter().find(|name| name.starts_with("secrets.yaml.replaced-")).unwrap();
    assert_eq!(std::fs::read(folder.file(kept)).unwrap(), first.expose());
    assert_eq!(folder.file(kept).metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn renewing_and_rotating() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    folder.renew().unwrap();
    assert_eq!(folder.secrets().generation(), 2);
    folder.kept(&[]);
    folder.rotate(&[Authority::Etcd]).unwrap();
    assert_eq!(folder.secrets().next_step(Ca::Etcd), RotationStep::Issue);
    assert_eq!(folder.secrets().next_step(Ca::Kubernetes), RotationStep::Trust);
    let before = folder.secrets().to_vec();
    assert!(matches!(folder.rotate(&[]), Err(Failure::Input(_))), "different steps");
    assert_eq!(folder.secrets().to_vec(), before);
    folder.rotate(&[Authority::Kubernetes, Authority::FrontProxy]).unwrap();
    folder.rotate(&[]).unwrap();
    assert_eq!(folder.names(), ["cluster.yaml", "secrets.yaml"], "nothing was lost");
    let before = folder.secrets().to_vec();
    folder.rotate(&[]).unwrap();
    let secrets = folder.secrets();
    assert!(Ca::ALL.iter().all(|ca| secrets.next_step(*ca) == RotationStep::Trust));
    assert!(secrets.authorities.values().all(|entries| entries.len() == 1));
    // The last step drops keys of CAs: they are kept beside it.
    folder.kept(&[before.expose()]);
}

/// All that the cluster needs is there from the start: builds draw no random numbers then.
#[test]
fn new_secrets_are_whole() {
    let folder = Folder::new();
    let path = folder.file("cluster.yaml");
    // The bridge has no room for pools.
    let text = std::fs::read_to_string(&path).unwrap().replace("cni: bridge", "cni: flannel");
    let load = || config::load(&path).unwrap().cluster;
    folder.new_secrets().unwrap();
    let bare = folder.secrets();
    assert!(bare.tokens.is_empty() && bare.leaf_keys.is_empty() && !bare.lack(&load()));
    std::fs::create_dir(folder.file("pki")).unwrap();
    std::fs::write(folder.file("pki/sa.key"), bare.service_account.private_pem().expose()).unwrap();
    for (more, tokens, keys) in [
        ("pools: [{name: p, ttl: 1h}, {name: q, ttl: 1h}]\n", 2, false),
        ("pools: [{name: p, ttl: 1h}]\nencryptionAlgorithm: RSA-2048\n", 1, true),
    ] {
        std::fs::write(&path, format!("{text}{more}")).unwrap();
        for imported in [false, true] {
            std::fs::remove_file(folder.file("secrets.yaml")).unwrap();
            if imported {
                folder.import(false).unwrap()
            } else {
                folder.new_secrets().unwrap()
            }
            let secrets = folder.secrets();
            assert!(!secrets.lack(&load()), "{more}");
            assert_eq!((secrets.tokens.len(), !secrets.leaf_keys.is_empty()), (tokens, keys), "{more}");
            assert!(secrets.tokens.values().all(|token| token.created_at >= secrets.created_at()));
        }
    }
}

/// A renewal that no build would take is not written: by the period of cluster.yaml, by the shortest where there is none.
#[test]
fn renewing_too_near_to_the_end_of_a_ca() {
    const HOUR: i64 = 60 * 60;
    let folder = Folder::new();
    let path = folder.file("cluster.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let now = secrets_file::now().unwrap();
    let made = |remains: i64| {
        let algorithm = crate::config::Algorithm::EcdsaP256;
        let options = CaOptions { now: now - 50 * HOUR, validity: 50 * HOUR + remains, algorithm };
        let secrets = State::new(options, getrandom::fill).unwrap();
        std::fs::write(folder.file("secrets.yaml"), secrets.to_vec().expose()).unwrap();
        std::fs::set_permissions(folder.file("secrets.yaml"), std::fs::Permissions::from_mode(0o600)).unwrap();
        secrets
    };
    let refused = |what: &str| {
        let before = folder.secrets().to_vec();
        let Err(Failure::Input(error)) = folder.renew() else { panic!("it was renewed") };
        let said = error.to_string();
        assert!(said.starts_with("nothing was changed: certificates that begin now, "), "{said}");
        assert!(
            said.contains(", after the kubernetes CA's certificate, which ends ") && said.ends_with(what),
            "{said}"
        );
        assert_eq!(folder.secrets().to_vec(), before);
    };
    let rotate = "make another CA (`nodekiln secrets rotate-ca`)";
    let wrong = "correct the clock if it is wrong; if not, ";
    made(30 * HOUR + 1800);
    refused(&format!("{wrong}set certificateValidityPeriod to at most 30h, or {rotate}"));
    std::fs::write(&path, format!("{text}certificateValidityPeriod: 30h\n")).unwrap();
    folder.renew().unwrap();
    // One of them is enough, and what issues next has to live long enough too.
    let mut secrets = made(100 * HOUR);
    let etcd = made(1800).authorities.remove(&Ca::Etcd).unwrap();
    secrets.authorities.insert(Ca::Etcd, etcd);
    std::fs::write(folder.file("secrets.yaml"), secrets.to_vec().expose()).unwrap();
    folder.rotate(&[Authority::Kubernetes]).unwrap();
    let before = folder.secrets().to_vec();
    let Err(Failure::Input(error)) = folder.rotate(&[Authority::Kubernetes]) else { panic!("it was rotated") };
    assert!(error.to_string().contains("after the etcd CA's certificate"), "{error}");
    assert_eq!(folder.secrets().to_vec(), before);
    folder.rotate(&[Authority::Etcd]).unwrap();
    folder.rotate(&[Authority::Kubernetes, Authority::Etcd]).unwrap();
    // Without a cluster.yaml, or with a faulty one, only what is never enough is known.
    for faulty in [true, false] {
        if faulty {
            std::fs::write(&path, "").unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        made(1800);
        refused(&format!("{wrong}{rotate}"));
        made(2 * HOUR);
        folder.renew().unwrap();
    }
}

/// What somebody else has signed is not thrown away with its generation.
#[test]
fn certificates_are_kept() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let (mut secrets, before) = (folder.secrets(), folder.secrets().fingerprint());
    let certificate = secrets.authorities[&Ca::Etcd][0].certificate.clone();
    secrets.certificates.insert((crate::draft::Row::Scheduler, None, 1), certificate);
    assert_eq!(secrets_file::update(&folder.file("secrets.yaml"), &before, &secrets).unwrap(), None);
    folder.renew().unwrap();
    assert!(folder.secrets().certificates.is_empty());
    folder.kept(&[secrets.to_vec().expose()]);
}

/// A CA that is trusted for another purpose already, or issued one that is, takes no place.
#[test]
fn rotating_to_a_ca_of_another_purpose() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let (before, kubernetes) = (folder.secrets().to_vec(), folder.secrets().authorities[&Ca::Kubernetes][0].clone());
    let mut text = Vec::new();
    crate::pki::pem::encode(crate::pki::pem::CERTIFICATE, &kubernetes.certificate, &mut text);
    std::fs::write(folder.file("ca.crt"), text).unwrap();
    std::fs::write(folder.file("ca.key"), kubernetes.key.unwrap().private_pem().expose()).unwrap();
    let rotate = |cas: Vec<Authority>, key: bool| {
        let (certificate, key) = (Some(folder.file("ca.crt")), key.then(|| folder.file("ca.key")));
        let file = folder.file("cluster.yaml");
        Secrets::RotateCa(RotateCa { cas, certificate, key, file, secrets: None }).run(&Terminal::new(true))
    };
    for (ca, key, words) in [
        (Authority::Etcd, false, "authorities.etcd[1] has the public key of authorities.kubernetes[0]"),
        (Authority::FrontProxy, false, "authorities.frontProxy[1] has the public key of authorities.kubernetes[0]"),
        (Authority::Etcd, true, "authorities.etcd[1].key is the same key as authorities.kubernetes[0].key"),
    ] {
        let Err(Failure::Input(error)) = rotate(vec![ca], key) else { panic!("{words}: not refused") };
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(folder.secrets().to_vec(), before);
    }
}

/// A key that something may still be encrypted with is not dropped without a word.
#[test]
fn rotating_encryption() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let names = || folder.secrets().shape().encryption_keys;
    let says = |result: Result<(), Failure>, words: &str| {
        let Err(Failure::Input(error)) = result else { panic!("not refused: {words}") };
        assert!(error.to_string().contains(words), "{error}");
    };
    says(folder.rotate_encryption(true), "--rewritten: no key is about to be dropped");
    assert_eq!(names(), ["key1"]);
    folder.rotate_encryption(false).unwrap();
    assert_eq!(names(), ["key1", "key2"]);
    folder.rotate_encryption(false).unwrap();
    assert_eq!(names(), ["key2", "key1"]);
    says(folder.rotate_encryption(false), "whatever it alone can read is lost");
    assert_eq!(names(), ["key2", "key1"]);
    folder.kept(&[]);
    let two = folder.secrets().to_vec();
    folder.rotate_encryption(true).unwrap();
    folder.kept(&[two.expose()]);
    assert_eq!(names(), ["key2"]);
    // The list is full.
    let (mut secrets, before) = (folder.secrets(), folder.secrets().fingerprint());
    for number in 1..16 {
        let key = Secret::new((0..32).map(|byte| byte ^ number).collect());
        let name = format!("old{number}");
        secrets.encryption.push(crate::secrets::EncryptionKey { name, key, rotation: None });
    }
    secrets_file::update(&folder.file("secrets.yaml"), &before, &secrets).unwrap();
    says(folder.rotate_encryption(false), "there are 16 keys for encryption at rest, as many as secrets.yaml takes");
    assert_eq!(names().len(), 16);
}

/// A file that nobody could read again is never written, by whatever way.
#[test]
fn unreadable_secrets_are_not_written() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let (path, good) = (folder.file("secrets.yaml"), folder.secrets());
    let mut bad = good.clone();
    bad.encryption.push(bad.encryption[0].clone());
    let words = "nothing is written, for it could not be read again: ";
    let new = folder.file("new.yaml");
    for result in [
        secrets_file::update(&path, &good.fingerprint(), &bad).map(drop),
        secrets_file::replace(&path, &bad).map(drop),
        secrets_file::create(&new, &bad),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(words) && error.contains("encryptionKeys[1].name is the name of"), "{error}");
    }
    assert_eq!(folder.secrets().to_vec(), good.to_vec());
    assert_eq!(folder.names(), ["cluster.yaml", "secrets.yaml"]);
}

/// Importers at the same time: each keeps what it replaces, so that nothing is lost.
#[test]
fn two_imports_at_once() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let path = folder.file("secrets.yaml");
    let first = folder.secrets().to_vec();
    let all: Vec<State> = (10..18).map(crate::secrets::tests::fixture).collect();
    std::thread::scope(|scope| {
        for secrets in &all {
            scope.spawn(|| secrets_file::replace(&path, secrets).unwrap());
        }
    });
    let names = folder.names();
    let kept = names.iter().map(|name| std::fs::read(folder.file(name)).unwrap());
    let kept: std::collections::BTreeSet<Vec<u8>> = kept.collect();
    assert_eq!(names.len(), 2 + all.len(), "{names:?}");
    assert!(all.iter().map(State::to_vec).chain([first]).all(|secrets| kept.contains(secrets.expose())));
}

/// The machine's fault, not the folder's.
#[test]
fn a_folder_that_is_not_there() {
    let folder = Folder::new();
    assert!(matches!(folder.import(false), Err(Failure::Environment(_))));
    std::fs::write(folder.file("pki"), "").unwrap();
    assert!(matches!(folder.import(false), Err(Failure::Environment(_))));
    assert!(!folder.file("secrets.yaml").exists());
}

/// Two writers: the second sees that what it read is old, and loses nothing.
#[test]
fn a_change_in_between_is_seen() {
    let folder = Folder::new();
    folder.new_secrets().unwrap();
    let path = folder.file("secrets.yaml");
    let mut mine = folder.secrets();
    let before = mine.fingerprint();
    folder.renew().unwrap();
    let theirs = folder.secrets().to_vec();
    mine.generation = 77;
    assert!(secrets_file::update(&path, &before, &mine).is_err());
    assert_eq!(folder.secrets().to_vec(), theirs);
    let before = folder.secrets().fingerprint();
    secrets_file::update(&path, &before, &mine).unwrap();
    assert_eq!(folder.secrets().generation(), 77);
}

/// Everything is told but what is secret.
#[test]
fn what_is_shown_is_not_secret() {
    let cluster = {
        let mut cluster = crate::pki::fixture::cluster();
        cluster.nodes[3].identity = crate::config::NodeIdentity::BootstrapToken { ttl: Some(3600) };
        cluster
    };
    let secrets = crate::secrets::tests::of_algorithm(crate::config::Algorithm::EcdsaP256, &cluster);
    let shown = Shown::new(&secrets, Some(&cluster));
    let texts = [shown.text(), serde_json::to_string_pretty(&shown).unwrap()];
    let token = secrets.token(&cluster.nodes[3].name).unwrap();
    let mut hidden: Vec<Vec<u8>> = vec![token.secret.expose().to_vec(), secrets.leaf_seed.to_vec()];
    hidden.extend(secrets.encryption.iter().map(|key| key.key.expose().to_vec()));
    hidden
        .extend(secrets.authorities.values().flatten().filter_map(|e| Some(e.key.as_ref()?.pkcs8()[36..68].to_vec())));
    let ids = hidden
        .iter()
        .enumerate()
        .map(|(n, bytes)| (crate::pki::KeyId::Token(format!("s{n}").parse().unwrap()), &bytes[..]));
    let needles = crate::pki::scan::Needles::new(ids);
    for text in &texts {
        let found = crate::pki::scan::search(text.as_bytes(), &needles);
        assert_eq!(found, (vec![], vec![]), "{text}");
        for told in [
            token.id(),
            "2026-01-31T13:00:00Z",
            "2027-01-31T12:00:00Z",
            "2036-01-29T12:00:00Z",
            "CN=kubernetes",
            "CN=etcd-ca",
            &secrets.fingerprint().to_string(),
            &secrets.service_account.spki_sha256().to_string(),
        ] {
            assert!(text.contains(told), "{told} is not in {text}");
        }
    }
    // Without cluster.yaml nobody knows the ends.
    assert!(!Shown::new(&secrets, None).text().contains("ends"));
}
