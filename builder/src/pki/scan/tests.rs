//! Tests of the search for keys: they are found however they are wrapped, and nothing else is.

use super::*;
use crate::{
    config::Algorithm,
    draft::{LeafForm, Row},
    pki::{Ca, KeyId, fill, fixture, table},
};
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use nodekiln_plan::Secret;

fn key(seed: u8) -> KeyPair {
    KeyPair::from_scalar(Algorithm::EcdsaP256, &[seed; 32]).unwrap()
}

fn pem(secret: Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

fn wrapped(text: &str, width: usize, indent: &str) -> String {
    text.as_bytes().chunks(width).map(|line| format!("{indent}{}\n", std::str::from_utf8(line).unwrap())).collect()
}

/// In base64 a P-256 key needs padding, a P-384 key none.
#[test]
fn in_every_wrapping() {
    wrapped_in_every_way(&key(7));
    wrapped_in_every_way(&KeyPair::from_scalar(Algorithm::EcdsaP384, &[7; 48]).unwrap());
}

fn wrapped_in_every_way(key: &KeyPair) {
    let found = [Found::Key(key.spki_sha256())];
    let pem = pem(key.private_pem());
    let base64 = STANDARD.encode(&pem);
    let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    for (name, text) in [
        ("alone", pem.clone()),
        ("no line break at the end", pem.trim().to_owned()),
        ("CRLF", pem.replace('\n', "\r\n")),
        (
            "after a certificate",
            format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n{pem}", wrapped(&base64, 64, "")),
        ),
        ("base64 after a shorter line", format!("{}\n{}", "A".repeat(44), wrapped(&base64, 64, ""))),
        ("base64 after a longer line", format!("{}\n{}", "A".repeat(80), wrapped(&base64, 64, ""))),
        ("in a YAML block", format!("a:\n  key: |\n{indented}b: 1\n")),
        ("in a JSON string", serde_json::json!({"key": pem}).to_string()),
        (
            "in a JSON string in a JSON string",
            serde_json::json!(serde_json::json!({"key": pem}).to_string()).to_string(),
        ),
        ("folded to one line", pem.replace('\n', " ")),
        ("base64", base64.clone()),
        ("base64 without padding", STANDARD_NO_PAD.encode(&pem)),
        ("base64 for URLs", URL_SAFE.encode(&pem)),
        ("base64 for URLs without padding", URL_SAFE_NO_PAD.encode(&pem)),
        ("base64 of base64", STANDARD.encode(&base64)),
        ("three layers", STANDARD.encode(STANDARD.encode(&base64))),
        ("in a data URL", format!("{{\"source\":\"data:;base64,{base64}\"}}")),
        ("YAML list", format!("- {base64}\n- other\n")),
        ("kubeconfig", format!("users:\n- name: x\n  user:\n    client-key-data: {base64}\n")),
        ("before another user", format!("    client-key-data: {base64}\n- name: b\n")),
        ("before another key", format!("    client-key-data: {base64}\nusers: []\n")),
        ("wrapped at 64", format!("key: |\n{}x: 1\n", wrapped(&base64, 64, "  "))),
        ("wrapped at 76", format!("key: |\n{}", wrapped(&base64, 76, "    "))),
        ("wrapped, at the end", wrapped(&base64, 76, "").trim().to_owned()),
        ("base64 of DER", STANDARD.encode(key.pkcs8())),
    ] {
        assert_eq!(private_keys(text.as_bytes()), found, "{name}: {text}");
    }
    let mut raw = b"\0\x01binary".to_vec();
    raw.extend_from_slice(&key.pkcs8());
    raw.extend_from_slice(b"more");
    assert_eq!(private_keys(&raw), found, "DER");
    // All alignments of base64 in base64.
    for pad in ["", "a", "ab"] {
        assert_eq!(private_keys(STANDARD.encode(format!("{pad}\n{pem}")).as_bytes()), found, "{pad:?}");
    }
}

#[test]
fn several_at_once() {
    let keys = [key(1), key(2), key(3)];
    let text = format!(
        "{}{}{}",
        pem(keys[0].private_pem()),
        STANDARD.encode(pem(keys[1].private_pem())) + "\n",
        serde_json::json!({"a": pem(keys[2].private_pem()), "again": pem(keys[0].private_pem())})
    );
    let mut expected: Vec<_> = keys.iter().map(|key| Found::Key(key.spki_sha256())).collect();
    expected.sort();
    assert_eq!(private_keys(text.as_bytes()), expected);
}

#[test]
fn other_kinds() {
    // SEC1, as kubeadm writes EC keys.
    let scalar = p256::SecretKey::from_slice(&[9; 32]).unwrap();
    let sec1 = scalar.to_sec1_pem(p256::pkcs8::LineEnding::LF).unwrap();
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"));
    assert_eq!(private_keys(sec1.as_bytes()), [Found::Key(key(9).spki_sha256())]);
    // Other algorithms, by their own public half.
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let spki = Sha256::of(&rcgen::PublicKeyData::subject_public_key_info(&key));
        assert_eq!(private_keys(key.serialize_pem().as_bytes()), [Found::Key(spki)]);
    }
    // A key under a wrong name is one nevertheless.
    let misnamed = pem(key(7).private_pem()).replace("PRIVATE KEY", "RSA PRIVATE KEY");
    assert_eq!(private_keys(misnamed.as_bytes()), [Found::Key(key(7).spki_sha256())]);
    // What cannot be read is told, never passed over.
    let good = pem(key(7).private_pem());
    let zero = format!("{}{}", "A".repeat(64), "\n");
    let damaged = |label| format!("-----BEGIN {label}-----\n{zero}{zero}-----END {label}-----\n");
    for bad in [
        damaged("ENCRYPTED PRIVATE KEY"),
        damaged("OPENSSH PRIVATE KEY"),
        damaged("RSA PRIVATE KEY"),
        damaged("EC PRIVATE KEY"),
        damaged("PRIVATE KEY"),
        good.split("-----END").next().unwrap().to_owned(),
        format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\n{zero}-----END RSA PRIVATE KEY-----\n"
        ),
    ] {
        assert_eq!(private_keys(bad.as_bytes()), [Found::Unreadable], "{bad}");
        assert_eq!(private_keys(STANDARD.encode(&bad).as_bytes()), [Found::Unreadable], "{bad}");
    }
    let p384 = KeyPair::from_scalar(Algorithm::EcdsaP384, &[7; 48]).unwrap();
    for key in [key(7), p384, crate::pki::key::tests::rsa_fixture()] {
        let mut cut = [b"x", &key.pkcs8()[..]].concat();
        for text in [STANDARD.encode(&cut).into_bytes(), cut.clone(), key.private_pem().expose().to_vec()] {
            assert_eq!(private_keys(&text), [Found::Key(key.spki_sha256())], "{}", key.algorithm_name());
        }
        cut.truncate(100);
        assert_eq!(private_keys(&cut), [Found::Unreadable], "{}", key.algorithm_name());
    }
    for pem in [
        include_str!("../key/fixtures/rsa-pkcs1.pem"),
        include_str!("../key/fixtures/p384-sec1.pem"),
        include_str!("../key/fixtures/p256-sec1.pem"),
    ] {
        let spki = KeyPair::from_pem(pem).unwrap().spki_sha256();
        assert_eq!(private_keys(pem.as_bytes()), [Found::Key(spki)]);
        assert_eq!(private_keys(STANDARD.encode(pem).as_bytes()), [Found::Key(spki)]);
    }
}

/// What is no key: public halves, certificates, and the words alone, as programs have them among their strings.
#[test]
fn nothing_else() {
    let authority = fixture::authority();
    let public = pem(key(7).public_pem());
    for text in [
        "",
        "-",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----BEGIN EC PRIVATE KEY-----\0invalid",
        "-----BEGIN PRIVATE KEY-----\nsee the manual\n-----END PRIVATE KEY-----",
        authority.bundle(Ca::Kubernetes),
        &public,
        &STANDARD.encode(&public),
        "/etc/kubernetes/pki/a/very/long/path/that/could/be/base64/of/something",
    ] {
        assert_eq!(private_keys(text.as_bytes()), [], "{text}");
    }
}

/// Whether `bytes` hold `secret` in some form.
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    !search(bytes, &Needles::new([(KeyId::Encryption(0), secret)])).1.is_empty()
}

#[test]
fn symmetric_keys() {
    let secret: [u8; 32] = std::array::from_fn(|i| (i * 37 + 200) as u8);
    let mut raw = b"abc".to_vec();
    raw.extend_from_slice(&secret);
    for (name, bytes) in [
        ("raw", raw),
        ("hex", hex::encode(secret).into()),
        ("HEX", hex::encode_upper(secret).into()),
        ("base64", STANDARD.encode(secret).into()),
        ("URL base64", format!("k={}", URL_SAFE_NO_PAD.encode(secret)).into()),
        ("in JSON", serde_json::json!({"secret": STANDARD.encode(secret)}).to_string().into()),
        ("in base64 of JSON", STANDARD.encode(serde_json::json!({"s": STANDARD.encode(secret)}).to_string()).into()),
    ] {
        assert!(holds(&bytes, &secret), "{name}");
    }
    assert!(!holds(b"", &secret) && !holds(STANDARD.encode([7; 64]).as_bytes(), &secret) && !holds(b"x", b""));
}

/// What is filled is what is found: the scan needs no plan.
#[test]
fn filled_nodes() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    for node in &cluster.nodes {
        let filled = fill(authority, &fixture::draft(&cluster, node.name.as_str())).unwrap();
        let mut found: Vec<Found> =
            filled.tree.files.iter().flat_map(|file| private_keys(file.contents.expose())).collect();
        found.sort();
        found.dedup();
        let mut expected: Vec<_> = (filled.keys.iter())
            .filter(|(key, _)| *key != KeyId::Encryption(0))
            .map(|(_, spki)| Found::Key(*spki))
            .collect();
        expected.sort();
        assert_eq!(found, expected, "{}", node.name);
        let held = |bytes| search(bytes, authority.needles()).1 == [KeyId::Encryption(0)];
        let holders = filled.tree.files.iter().filter(|file| held(file.contents.expose()));
        let holders: Vec<_> = holders.map(|file| file.path.as_str()).collect();
        let expected: &[&str] = if node.name.as_str() == "w1" { &[] } else { &["/etc/kubernetes/pki/enc.json"] };
        assert_eq!(holders, expected);
    }
}

#[test]
fn identification() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let secrets = crate::secrets::tests::fixture(1);
    for ca in Ca::ALL {
        let spki = secrets.authorities[&ca][0].key.as_ref().unwrap().spki_sha256();
        assert_eq!(authority.identify(&spki), Some(KeyId::Ca(ca)));
    }
    // Also one that only is trusted, and has its key elsewhere.
    let mut trusting = secrets.clone();
    let other = crate::secrets::tests::fixture(2);
    for ca in Ca::ALL {
        let entry = crate::secrets::CaEntry { key: None, ..other.authorities[&ca][0].clone() };
        trusting.authorities.get_mut(&ca).unwrap().push(entry);
    }
    let opened = crate::pki::Authority::open(&trusting, &cluster).unwrap();
    for ca in Ca::ALL {
        let spki = other.authorities[&ca][0].key.as_ref().unwrap().spki_sha256();
        assert_eq!(opened.identify(&spki), Some(KeyId::Ca(ca)));
    }
    assert_eq!(authority.identify(&secrets.service_account.spki_sha256()), Some(KeyId::ServiceAccount));
    // A cluster without kube-vip has no use for its certificate.
    for leaf in fixture::all_leaves(&cluster).into_iter().filter(|leaf| leaf.row != Row::KubeVip) {
        let issued = authority.issue(&leaf).unwrap();
        let found = private_keys(issued.form(LeafForm::Both).bytes.expose());
        assert_eq!(found, [Found::Key(issued.spki)]);
        let shared = leaf.node.is_none().then_some(KeyId::Leaf(leaf.row, None));
        assert_eq!(authority.identify(&issued.spki), shared);
    }
    let names: Vec<_> = authority.key_ids().iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "ca",
            "etcd-ca",
            "front-proxy-ca",
            "sa",
            "encryption-at-rest",
            "apiserver-kubelet-client",
            "apiserver-etcd-client",
            "front-proxy-client",
            "etcd-healthcheck-client",
            "controller-manager.conf",
            "scheduler.conf",
            "admin.conf",
            "super-admin.conf",
            "lease",
        ]
    );
    assert_eq!(table::spec(Row::Lease).name, "lease");
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), text in "[-A-Za-z0-9+/_=\\\\ \n]{0,400}") {
        private_keys(&bytes);
        private_keys(text.as_bytes());
        private_keys(format!("-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----").as_bytes());
    }

    #[test]
    fn found_between_anything(before in "[ -~\n]{0,80}", after in "[ -~\n]{0,80}") {
        let key = key(7);
        // Text that goes on where base64 begins would be part of it; no format has that.
        let text = format!("{before}\"{}\"{after}", STANDARD.encode(pem(key.private_pem())));
        proptest::prop_assert!(private_keys(text.as_bytes()).contains(&Found::Key(key.spki_sha256())));
    }
}
