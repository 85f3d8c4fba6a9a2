//! Tests of `secrets.yaml`: there and back, and every refusal with its place.

mod lists;

use super::*;
use crate::{config::Algorithm, pki::certificate};

/// 2026-01-31T12:00:00Z.
pub(crate) const NOW: i64 = 1_769_860_800;
const YEAR: i64 = 365 * 24 * 60 * 60;

/// Randomness that is none: SHA-256 of a counter.
pub(crate) fn fixed_random(seed: u8) -> impl FnMut(&mut [u8]) -> Result<(), std::convert::Infallible> {
    let mut counter = 0u64;
    move |buffer| {
        for chunk in buffer.chunks_mut(32) {
            counter += 1;
            chunk.copy_from_slice(&Sha256::of_parts([&[seed][..], &counter.to_be_bytes()]).as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Secrets that are the same in every run.
pub(crate) fn fixture(seed: u8) -> Secrets {
    Secrets::new(options(NOW, 10 * YEAR), fixed_random(seed)).unwrap()
}

fn options(now: i64, validity: i64) -> CaOptions {
    CaOptions { now, validity, algorithm: Algorithm::EcdsaP256 }
}

/// Secrets whose keys are of this algorithm, with all that `cluster` needs: RSA keys are kept, for they take their time.
pub(crate) fn of_algorithm(algorithm: Algorithm, cluster: &crate::config::Cluster) -> Secrets {
    let kept = match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => "",
        Algorithm::Rsa2048 => include_str!("fixtures/rsa-2048.yaml"),
        Algorithm::Rsa3072 => include_str!("fixtures/rsa-3072.yaml"),
        Algorithm::Rsa4096 => include_str!("fixtures/rsa-4096.yaml"),
    };
    if !kept.is_empty() {
        let secrets = Secrets::parse(kept.as_bytes()).unwrap();
        assert!(!secrets.lack(cluster), "bless the fixtures of {algorithm:?} again");
        return secrets;
    }
    let options = CaOptions { algorithm, ..options(NOW, 10 * YEAR) };
    let mut secrets = Secrets::new(options, fixed_random(1)).unwrap();
    secrets.complete(cluster, NOW, fixed_random(2)).unwrap();
    secrets
}

/// `NODEKILN_BLESS=1`, with an empty file, makes it anew.
#[test]
fn rsa_fixtures() {
    for (algorithm, name) in [(Algorithm::Rsa2048, "2048"), (Algorithm::Rsa3072, "3072"), (Algorithm::Rsa4096, "4096")]
    {
        let path = format!("{}/src/secrets/fixtures/rsa-{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let (cluster, _) = crate::pki::fixture::of_algorithm(algorithm);
        let secrets = of_algorithm(algorithm, cluster);
        if std::env::var_os("NODEKILN_BLESS").is_some() {
            std::fs::write(&path, secrets.to_vec().expose()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text(&secrets), "{path}");
        let keys = secrets.leaf_keys.values().map(|key| key.algorithm());
        assert!(keys.clone().count() == 12 && keys.into_iter().all(|key| key == Some(algorithm)));
    }
}

fn text(secrets: &Secrets) -> String {
    String::from_utf8(secrets.to_vec().expose().to_vec()).unwrap()
}

/// The findings of `text` as `line:column: path message`.
fn findings(text: &str) -> Vec<String> {
    Secrets::parse(text.as_bytes())
        .err()
        .map(|error| error.0)
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn there_and_back() {
    let secrets = fixture(1);
    let text = text(&secrets);
    assert_eq!(findings(&text), [""; 0]);
    let again = Secrets::parse(text.as_bytes()).unwrap();
    assert_eq!(again.to_vec(), secrets.to_vec());
    assert_eq!(again.fingerprint(), secrets.fingerprint());
    assert_eq!((again.created_at(), again.generation(), again.renewed_at()), (NOW, 1, NOW));
    assert!(text.starts_with("# The secrets of one cluster"));
    assert!(text.contains("createdAt: \"2026-01-31T12:00:00Z\"\n"));
    // As an editor on Windows may leave it.
    assert_eq!(Secrets::parse(text.replace('\n', "\r\n").as_bytes()).unwrap().to_vec(), secrets.to_vec());
}

#[test]
fn same_inputs_same_secrets() {
    assert_eq!(fixture(1).to_vec(), fixture(1).to_vec());
    assert_ne!(fixture(1).to_vec(), fixture(2).to_vec());
}

/// A failing source of randomness is told, never made up for.
#[test]
fn no_randomness_no_secrets() {
    assert!(matches!(Secrets::new(options(NOW, YEAR), |_| Err("dry")), Err(NewError::Random("dry"))));
    for (now, validity) in [(i64::MAX, 1), (NOW, i64::MAX), (NOW, -2 * certificate::BACKDATE), (300_000_000_000, YEAR)]
    {
        let made = Secrets::new(options(now, validity), fixed_random(1));
        assert!(matches!(made, Err(NewError::Validity)), "{now} {validity}");
    }
}

#[test]
fn fingerprint_covers_all() {
    let base = fixture(1);
    let other = fixture(2);
    let mut all = vec![base.fingerprint()];
    let mut change = |change: &dyn Fn(&mut Secrets)| {
        let mut secrets = base.clone();
        change(&mut secrets);
        all.push(secrets.fingerprint());
    };
    change(&|s| s.created_at += 1);
    change(&|s| s.generation += 1);
    change(&|s| s.renewed_at += 1);
    for ca in Ca::ALL {
        change(&|s| s.authorities.get_mut(&ca).unwrap()[0].certificate = other.authorities[&ca][0].certificate.clone());
        change(&|s| s.authorities.get_mut(&ca).unwrap()[0].key = other.authorities[&ca][0].key.clone());
    }
    change(&|s| s.service_account = other.service_account.clone());
    change(&|s| s.encryption[0].name.push('x'));
    change(&|s| s.encryption[0].key = other.encryption[0].key.clone());
    for rotation in [Rotation::Next, Rotation::Previous] {
        change(&|s| s.encryption.push(EncryptionKey { rotation: Some(rotation), ..other.encryption[0].clone() }));
    }
    change(&|s| s.encryption.push(other.encryption[0].clone()));
    change(&|s| s.leaf_seed[31] ^= 1);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn debug_shows_nothing() {
    let secrets = fixture(1);
    assert_eq!(format!("{secrets:?}"), "Secrets(created 1769860800, generation 1 of 1769860800)");
    assert_eq!(format!("{:?}", secrets.to_vec()), "Secret(..)");
}

/// Line and column, from 1, of the first `needle` in `text`; a `^` in it marks the place.
fn at(text: &str, needle: &str) -> String {
    let mark = needle.find('^').unwrap_or(0);
    let needle = needle.replacen('^', "", 1);
    let offset = text.find(&needle).unwrap_or_else(|| panic!("no {needle:?} in the fixture")) + mark;
    let line = text[..offset].matches('\n').count() + 1;
    let column = offset - text[..offset].rfind('\n').map_or(0, |start| start + 1) + 1;
    format!("{line}:{column}")
}

fn line_of(text: &str, needle: &str) -> usize {
    at(text, needle).split(':').next().unwrap().parse().unwrap()
}

#[test]
fn simple_refusals() {
    let good = text(&fixture(1));
    for (from, to, place, message) in [
        ("version: 1", "version: 2", "version: ^2", "version is 2; this program reads 1"),
        ("version: 1", "version: one", "version: ^one", "version is a text, not a whole number"),
        ("version: 1\n", "", "createdAt: ", "has no `version`"),
        ("generation: 1", "generation: 0", ": ^0", "generation is 0; generations count from 1"),
        ("generation: 1", "generation: -1", "^-1\n", "generation is a negative number, not a whole number"),
        (
            "generation: 1\n",
            "generation: 1\nx: 1\n",
            "\n^x: 1",
            "has the unknown key `x`; known here: version, createdAt",
        ),
        ("generation: 1\n", "generation: 1\nc2VjcmV0: 1\n", "c2VjcmV0", "has an unknown key; known here: version"),
        ("leafSeed: ", "LeafSeed: ", "LeafSeed", "has the unknown key `LeafSeed`"),
        (
            "createdAt: \"2026-01-31T12:00:00Z\"",
            "createdAt: \"2026-01-31\"",
            "\"2026-01-31\"",
            "createdAt is not a time",
        ),
        (
            "createdAt: \"2026-01-31T12:00:00Z\"",
            "createdAt: \"2026-01-31T12:00:00.5Z\"",
            "\"2026",
            "createdAt is not a",
        ),
        (
            "renewedAt: \"2026-01-31T12:00:00Z\"",
            "renewedAt: \"2026-01-31T11:59:59Z\"",
            "\"2026-01-31T11",
            "renewedAt is before",
        ),
        ("authorities:\n", "authorities: []\nx:\n", "^[]", "authorities is a list, not a mapping"),
        ("  frontProxy:\n", "  frontproxy:\n", "frontproxy", "authorities has the unknown key `frontproxy`"),
        (
            "- name: \"key1\"",
            "- name: \"Key 1\"",
            "\"Key 1\"",
            "encryptionKeys[0].name is not 1 to 63 letters, digits, `-`, `_` and `.`",
        ),
        ("- name: \"key1\"", "- name: \"\"", "\"\"", "encryptionKeys[0].name is not 1 to 63 letters"),
        (
            "- name: \"key1\"\n",
            "- rotation: next\n  name: \"key1\"\n",
            "- ^rotation: next",
            "encryptionKeys[0] is the first and encrypts: it has no part in a rotation",
        ),
        (
            "- name: \"key1\"\n",
            "- rotation: soon\n  name: \"key1\"\n",
            "soon",
            "encryptionKeys[0].rotation is neither `next` nor `previous`",
        ),
        ("  secret: \"", "  secret: \"!", "\"!", "encryptionKeys[0].secret is not base64"),
        ("  secret: \"", "  secret: \"AAAA", "\"AAAA", "encryptionKeys[0].secret has 35 bytes, not 32"),
        ("leafSeed: \"", "leafSeed: \"AAAA", "\"AAAA", "leafSeed has 35 bytes, not 32"),
        ("  publicKey: |", "  publicKey: x\n  y: |", ": ^x\n  y", "serviceAccount.publicKey is not PEM"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?}");
        let expected = format!("{}: {message}", at(&bad, place));
        let found = findings(&bad);
        assert!(found.iter().any(|finding| finding.starts_with(&expected)), "{expected:?} not in {found:#?}");
    }
}

#[test]
fn placeholders_are_no_seed() {
    let good = text(&fixture(1));
    let start = good.find("leafSeed: \"").unwrap();
    let end = start + good[start..].find('\n').unwrap();
    let bad = good.replace(&good[start..end], &format!("leafSeed: \"{}=\"", "A".repeat(43)));
    assert_eq!(findings(&bad), [format!("{}: leafSeed is one byte repeated, not a secret", at(&bad, "\"AAAA"))]);
}

/// `text` with the literal block that follows `header` (the nth, from 0) replaced.
fn with_block(text: &str, header: &str, nth: usize, pem: &str) -> String {
    let (offset, _) = text.match_indices(header).nth(nth).unwrap();
    let start = offset + header.len();
    let length =
        text[start..].split_inclusive('\n').take_while(|line| line.starts_with("      ")).map(str::len).sum::<usize>();
    let block: String = pem.lines().map(|line| format!("      {line}\n")).collect();
    format!("{}{block}{}", &text[..start], &text[start + length..])
}

const CERTIFICATE: &str = "certificate: |\n";
const KEY: &str = "key: |\n";

fn pem_text(secret: Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

#[test]
fn halves_and_strangers() {
    let good = text(&fixture(1));
    let other = fixture(2);
    let other_ca = &other.authorities[&Ca::Kubernetes][0];
    // (nth CA of the file, header, block, message)
    let certificate = pem_text(crate::pki::pem::encode_secret("CERTIFICATE", &other_ca.certificate));
    let key = pem_text(other_ca.key.as_ref().unwrap().private_pem());
    let own_key = pem_text(fixture(1).authorities[&Ca::Kubernetes][0].key.as_ref().unwrap().private_pem());
    for (nth, header, block, message) in [
        (
            0,
            CERTIFICATE,
            certificate.as_str(),
            "authorities.kubernetes[0].key does not belong to the certificate beside it",
        ),
        (1, KEY, &key, "authorities.frontProxy[0].key does not belong to the certificate beside it"),
        (
            2,
            KEY,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "authorities.etcd[0].key is not a whole RSA key of 2048 to 8192 bits or ECDSA key",
        ),
        (
            2,
            KEY,
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
            "authorities.etcd[0].key is not a whole RSA key",
        ),
        (
            2,
            CERTIFICATE,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "authorities.etcd[0].certificate is not an X.509",
        ),
        (2, KEY, &own_key, "authorities.etcd[0].key is the same key as authorities.kubernetes[0].key"),
    ] {
        let bad = with_block(&good, header, nth, block);
        let found = findings(&bad);
        assert!(found.iter().any(|finding| finding.contains(message)), "{message:?} not in {found:#?}");
        for finding in &found {
            assert!(!finding.contains("AAAA") && !finding.contains("BEGIN"), "{finding}");
        }
    }
    // A key alone is half a pair.
    let start = good.find("    key: |\n").unwrap();
    let end = start + good[start..].find("  frontProxy:").unwrap();
    let bad = format!("{}{}", &good[..start], &good[end..]);
    let place = at(&bad, "certificate: |");
    // A certificate without its key is somebody else's CA: that is no half.
    assert_eq!(findings(&bad), [""; 0], "{place}");
    let bad = good.replacen("certificate: |", "key2: |", 1);
    assert!(
        findings(&bad).iter().any(|f| f.ends_with("authorities.kubernetes[0] has no `certificate`")),
        "{:?}",
        findings(&bad)
    );
    // The public half of another service-account key.
    let bad = with_block(&good, "publicKey: |\n", 0, &pem_text(other.service_account.public_pem()));
    let found = findings(&bad);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("serviceAccount.publicKey does not belong to the private key beside it"), "{found:?}");
    assert!(found[0].starts_with(&format!("{}:", line_of(&bad, "publicKey: |") + 1)), "{found:?}");
}

/// CAs made by rcgen alone, each with one thing wrong.
#[test]
fn certificates_that_are_no_ca() {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair as Pair, KeyUsagePurpose};
    let good = text(&fixture(1));
    let key = Pair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        params
    };
    let check = |certificate: &str, message: Option<&str>| {
        let bad = with_block(&with_block(&good, KEY, 0, &key.serialize_pem()), CERTIFICATE, 0, certificate);
        let expected: Vec<_> =
            message.map(|m| format!("authorities.kubernetes[0].certificate {m}")).into_iter().collect();
        let found: Vec<_> = findings(&bad).iter().map(|f| f.split_once(' ').unwrap().1.to_owned()).collect();
        assert_eq!(found, expected);
    };
    check(&params().self_signed(&key).unwrap().pem(), None);

    let mut leaf = params();
    leaf.is_ca = IsCa::ExplicitNoCa;
    check(&leaf.self_signed(&key).unwrap().pem(), Some("is not a CA's: basicConstraints must say CA:TRUE"));

    let mut unsigned = params();
    unsigned.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    check(&unsigned.self_signed(&key).unwrap().pem(), Some("may not sign certificates: keyUsage lacks keyCertSign"));

    // A CA without subject key identifier, as old Go wrote it: constraints by hand, for rcgen always adds one.
    let mut bare = params();
    bare.is_ca = IsCa::NoCa;
    let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
    constraints.set_criticality(true);
    bare.custom_extensions = vec![constraints];
    check(&bare.self_signed(&key).unwrap().pem(), None);

    // An intermediate.
    let root = Pair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root_params = params();
    root_params.distinguished_name.push(DnType::CommonName, "root");
    let issuer = rcgen::Issuer::new(root_params, &root);
    check(&params().signed_by(&key, &issuer).unwrap().pem(), None);
    // Same names, another's signature.
    let issuer = rcgen::Issuer::new(params(), &root);
    let message = "names itself as its issuer, but is not signed by its own key";
    check(&params().signed_by(&key, &issuer).unwrap().pem(), Some(message));

    // Nobody could name it.
    let mut nameless = params();
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let message = "has an empty subject, so that no certificate can name it as its issuer";
    check(&nameless.self_signed(&key).unwrap().pem(), Some(message));
}

/// rcgen issue 81: a repeated attribute collapses, and leaves would name an issuer that does not exist. Ours name it
/// byte for byte.
#[test]
fn repeated_attributes_in_a_subject() {
    let secrets = fixture(1);
    let pair = &secrets.authorities[&Ca::Kubernetes][0];
    let key = pair.key.as_ref().unwrap();
    let attribute = |value: &[u8; 3]| {
        let mut der = b"\x31\x0c\x30\x0a\x06\x03\x55\x04\x0b\x0c\x03".to_vec();
        der.extend_from_slice(value);
        der
    };
    let repeated = [b"\x30\x1c".to_vec(), attribute(b"one"), attribute(b"two")].concat();
    let single = [b"\x30\x0e".to_vec(), attribute(b"one")].concat();
    for name in [repeated, single] {
        let der = certificate::tests::with_name(&pair.certificate, &name, key);
        let signer = certificate::Signer::open(&der, key.clone()).unwrap();
        let subject = certificate::Subject {
            common_name: "leaf",
            organization: None,
            sans: &[],
            usage: crate::pki::table::Usage::Client,
        };
        let leaf = signer.issue(&subject, key, signer.validity()).unwrap();
        assert!(leaf.windows(name.len()).any(|window| window == name));
        assert_eq!(signer.certificate().subject, name);
    }
}

#[test]
fn not_yaml() {
    let good = text(&fixture(1));
    for (bad, place, message) in [
        (String::new(), "1:1", ""),
        ("a: [".to_owned(), "", "is not YAML that secrets.yaml may hold"),
        ("[]".to_owned(), "1:1", "is a list, not a mapping"),
        (format!("{good}---\n{good}"), "", "a second document starts here: secrets.yaml is one"),
        (format!("{good}version: 1\n"), "", "the same key stands here twice"),
        (good.replacen("version: 1", "version: *x", 1), "", "is not YAML that secrets.yaml may hold"),
    ] {
        let found = findings(&bad);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(place) && found[0].contains(message), "{message:?}: {found:?}");
    }
    assert_eq!(Secrets::parse(b"\xff").unwrap_err().0[0].message, "is not UTF-8");
}

/// Faults come together, in the order of the file.
#[test]
fn all_at_once() {
    let bad = text(&fixture(1))
        .replacen("generation: 1", "generation: no", 1)
        .replacen("renewedAt: \"", "renewedAt: \"x", 1)
        .replacen("- name: \"key1\"", "- name: 7", 1);
    let found = findings(&bad);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("generation")
            && found[1].contains("renewedAt")
            && found[2].contains("encryptionKeys[0].name")
    );
}

#[test]
fn two_pairs_in_a_list() {
    let mut secrets = fixture(1);
    let other = fixture(2);
    secrets.authorities.get_mut(&Ca::Etcd).unwrap().push(other.authorities[&Ca::Etcd][0].clone());
    let again = Secrets::parse(text(&secrets).as_bytes()).unwrap();
    assert_eq!(again.to_vec(), secrets.to_vec());
    assert_eq!(again.authorities[&Ca::Etcd].len(), 2);
    let twice = secrets.authorities[&Ca::Etcd][0].clone();
    secrets.authorities.get_mut(&Ca::Etcd).unwrap()[1] = twice;
    let found = findings(&text(&secrets));
    assert!(found.iter().any(|f| f.ends_with("authorities.etcd[1] stands in the list twice")), "{found:?}");
}

/// No text makes the parser panic, and no finding repeats any of it.
#[test]
fn damaged_files_never_panic_or_leak() {
    let good = text(&fixture(1));
    let secrets: Vec<&str> =
        good.lines().map(str::trim).filter(|line| line.len() > 40 && !line.contains(' ')).collect();
    for index in (0..good.len()).step_by(211) {
        for damage in ["", "\"", ":", "\n", "- ", "\t", "{"] {
            let mut bad = good[..index].to_owned();
            bad.push_str(damage);
            bad.push_str(&good[index + 1..]);
            for finding in findings(&bad) {
                assert!(!secrets.iter().any(|secret| finding.contains(&secret[..16])), "{finding}");
            }
        }
    }
}
