//! Tests of the lists in `secrets.yaml`: keys for encryption at rest, leaf keys and certificates, tokens.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A list of keys for encryption at rest, and what is wrong with it. A file of one key, as all were once, is one too.
#[test]
fn lists_of_encryption_keys() {
    let good = text(&fixture(1));
    let start = good.find("- name: \"key1\"").unwrap();
    let with = |keys: &[(&str, u8, &str)]| {
        let items = keys.iter().map(|(name, byte, more)| {
            let secret: Vec<u8> = (0..32).map(|i| i ^ byte).collect();
            format!("- name: {name}\n  secret: {}\n{more}", STANDARD.encode(secret))
        });
        format!("{}{}", &good[..start], items.collect::<String>())
    };
    for keys in [
        &[("key2", 2, ""), ("key1", 1, "  rotation: previous\n")][..],
        &[("a.B_c-9", 2, ""), ("old", 1, ""), ("new", 3, "  rotation: next\n")],
    ] {
        let given = with(keys);
        assert_eq!(findings(&given), [""; 0]);
        let read = Secrets::parse(given.as_bytes()).unwrap();
        assert_eq!(read.shape().encryption_keys, keys.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        let again = Secrets::parse(read.to_vec().expose()).unwrap();
        assert_eq!((again.to_vec(), again.fingerprint()), (read.to_vec(), read.fingerprint()));
    }
    let many: Vec<_> = (0..17).map(|n| (format!("k{n}"), n)).collect();
    let many: Vec<_> = many.iter().map(|(name, n)| (name.as_str(), *n, "")).collect();
    for (keys, place, message) in [
        (&[("a", 1, ""), ("a", 2, "")][..], "encryptionKeys[1].name", "is the name of encryptionKeys[0] too"),
        (&[("a", 1, ""), ("b", 1, "")], "encryptionKeys[1].secret", "is the same key as encryptionKeys[0].secret"),
        (
            &[("a", 1, ""), ("b", 2, "  rotation: next\n"), ("c", 3, "  rotation: previous\n")],
            "encryptionKeys[2]",
            "is part of another step of the rotation than the one before it",
        ),
        (
            &[("a", 1, ""), ("b", 2, "  rotation: next\n"), ("c", 3, "  rotation: next\n")],
            "encryptionKeys[2]",
            "is a second key that is about to encrypt",
        ),
        (&many, "encryptionKeys[16]", "is one too many: 16 are enough for any rotation"),
    ] {
        let found = findings(&with(keys));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].ends_with(&format!(": {place} {message}")), "{found:?}");
    }
    let none = format!("{} []\n", good[..start].trim_end());
    assert!(findings(&none)[0].ends_with(": encryptionKeys is an empty list"), "{:?}", findings(&none));
}

/// Ten thousand pools, as long in the making as they are many.
#[test]
fn many_tokens() {
    let mut cluster = crate::pki::fixture::cluster();
    for number in 0..10_000 {
        let mut pool = cluster.nodes[3].clone();
        pool.name = format!("p{number}").parse().unwrap();
        pool.identity = crate::config::NodeIdentity::BootstrapToken { ttl: None };
        cluster.pools.push(pool);
    }
    let mut secrets = fixture(1);
    assert!(secrets.complete(&cluster, NOW, fixed_random(2)).unwrap());
    assert!(!secrets.lack(&cluster));
    let before = secrets.token_ids();
    secrets.renew(NOW + 1, &mut fixed_random(3)).unwrap();
    let after = secrets.token_ids();
    assert_eq!((before.len(), after.len(), before.intersection(&after).count()), (10_000, 10_000, 0));
    let again = Secrets::parse(secrets.to_vec().expose()).unwrap();
    assert_eq!(again.fingerprint(), secrets.fingerprint());
    // Two with one public half are found among them.
    let mut twice = secrets.clone();
    let first = twice.tokens.values().next().unwrap().id.clone();
    twice.tokens.values_mut().last().unwrap().id = first;
    let found = findings(&text(&twice));
    assert!(found.len() == 1 && found[0].ends_with("has the same `id` as bootstrapTokens.p0"), "{found:?}");
}

/// Leaves' keys and certificates, by row, node and generation.
#[test]
fn lists_of_leaves() {
    let good = text(&fixture(1));
    let certificate =
        pem_text(crate::pki::pem::encode_secret("CERTIFICATE", &fixture(1).authorities[&Ca::Etcd][0].certificate));
    let rsa = include_str!("../../pki/key/fixtures/rsa-pkcs8.pem");
    let ec = include_str!("../../pki/key/fixtures/p256-pkcs8.pem");
    let block = |pem: &str| pem.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let item = |list: &str, head: &str, pem: &str| {
        let name = if list == "leafKeys" { "key" } else { "certificate" };
        format!("- {head}\n  generation: 1\n  {name}: |\n{}", block(pem))
    };
    let with = |list: &str, items: &[String]| format!("{good}{list}:\n{}", items.concat());
    for (list, pem) in [("leafKeys", rsa), ("leafCertificates", &*certificate)] {
        let (shared, own) = (item(list, "row: lease", pem), item(list, "row: apiserver\n  node: cp1", pem));
        let all = if list == "leafKeys" { vec![own.clone()] } else { vec![shared.clone(), own.clone()] };
        let given = with(list, &all);
        assert_eq!(findings(&given), [""; 0], "{list}");
        let read = Secrets::parse(given.as_bytes()).unwrap();
        assert_eq!(read.leaf_keys.len() + read.certificates.len(), all.len());
        let again = Secrets::parse(read.to_vec().expose()).unwrap();
        assert_eq!((again.to_vec(), again.fingerprint()), (read.to_vec(), read.fingerprint()));
        assert_ne!(read.fingerprint(), fixture(1).fingerprint());
        for (item, place, message) in [
            (item(list, "row: ca", pem), "[0].row", "is no certificate that nodekiln makes"),
            (item(list, "row: apiserver", pem), "[0]", "has no `node`"),
            (item(list, "row: lease\n  node: cp1", pem), "[0]", "has a `node`, but is shared by all"),
            (item(list, "row: apiserver\n  node: '-'", pem), "[0].node", "is not the name of a node"),
            (shared.replace("row: lease", "node: cp1"), "[0]", "has no `row`"),
            (shared.replace("generation: 1", "generation: x"), "[0].generation", "is a text, not a whole number"),
        ] {
            let found = findings(&with(list, &[item]));
            assert!(found.len() == 1 && found[0].ends_with(&format!(": {list}{place} {message}")), "{found:?}");
        }
    }
    let twice = item("leafCertificates", "row: lease", &certificate);
    let found = findings(&with("leafCertificates", &[twice.clone(), twice]));
    assert!(found.len() == 1 && found[0].ends_with(": leafCertificates[1] stands in the list twice"), "{found:?}");
    let broken = item("leafCertificates", "row: lease", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----");
    let found = findings(&with("leafCertificates", &[broken]));
    assert!(found[0].ends_with(": leafCertificates[0].certificate is not an X.509 certificate"), "{found:?}");
    let found = findings(&with("leafKeys", &[item("leafKeys", "row: lease", ec)]));
    assert!(found[0].ends_with(": leafKeys[0].key is not RSA: other keys are derived"), "{found:?}");
}

/// Secrets with a token, as a pool makes it.
fn with_token() -> Secrets {
    let mut secrets = fixture(1);
    let token = Token::from_parts("abcde0", "0123456789abcdef", NOW + 60).unwrap();
    secrets.tokens.insert("pool".parse().unwrap(), token);
    secrets
}

#[test]
fn tokens_there_and_back() {
    let secrets = with_token();
    let text = text(&secrets);
    assert_eq!(findings(&text), [""; 0]);
    let again = Secrets::parse(text.as_bytes()).unwrap();
    assert_eq!(again.tokens, secrets.tokens);
    assert_eq!(again.to_vec(), secrets.to_vec());
    // Each part counts.
    let mut prints = vec![secrets.fingerprint(), fixture(1).fingerprint()];
    for (name, id, secret, created) in [
        ("loop", "abcde0", "0123456789abcdef", NOW + 60),
        ("pool", "abcde1", "0123456789abcdef", NOW + 60),
        ("pool", "abcde0", "0123456789abcdee", NOW + 60),
        ("pool", "abcde0", "0123456789abcdef", NOW + 61),
    ] {
        let mut other = fixture(1);
        other.tokens.insert(name.parse().unwrap(), Token::from_parts(id, secret, created).unwrap());
        prints.push(other.fingerprint());
    }
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 6);
}

#[test]
fn tokens_refused() {
    let good = text(&with_token());
    let second = "  \"pool2\": {id: abcde0, secret: 0123456789abcdeg, createdAt: \"2026-01-31T12:00:00Z\"}\n";
    for (from, to, place, message) in [
        ("  \"pool\":\n", "  \"Pool\":\n", "\"Pool\"", "bootstrapTokens has a key that is not the name of"),
        ("id: \"abcde0\"", "id: \"abcde\"", "^id: \"abcde\"", "bootstrapTokens.pool is no bootstrap token: `id` has 6"),
        ("0123456789abcdef", "0123456789ABCDEF", "^id: \"abcde0\"", "bootstrapTokens.pool is no bootstrap token"),
        ("    id: \"abcde0\"\n", "", "^secret: \"0123456789abcdef\"", "bootstrapTokens.pool has no `id`"),
        ("bootstrapTokens:\n", "bootstrapTokens: 1\nx:\n", "^1\nx", "bootstrapTokens is a number, not a mapping"),
        (
            "bootstrapTokens:\n",
            &format!("bootstrapTokens:\n{second}"),
            "^id: \"abcde0\"",
            "bootstrapTokens.pool has the same `id`",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?}");
        let expected = format!("{}: {message}", at(&bad, place));
        let found = findings(&bad);
        assert!(found.iter().any(|finding| finding.starts_with(&expected)), "{expected:?} not in {found:#?}");
        assert!(!found.iter().any(|finding| finding.contains("0123456789")), "{found:?}");
    }
}
