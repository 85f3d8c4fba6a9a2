//! Tests of renewal and rotation: at every step, old and new payloads trust each other.

use super::*;
use crate::{
    config::{Algorithm, NodeIdentity},
    draft::{LeafForm, Row},
    pki::{Authority, fixture, pem, table},
    secrets::tests::{NOW, fixed_random, of_algorithm},
};
use std::convert::Infallible;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const DAY: i64 = fixture::DAY;
const YEAR: i64 = fixture::YEAR;

fn options(now: i64) -> CaOptions {
    CaOptions { now, validity: 10 * YEAR, algorithm: Algorithm::EcdsaP384 }
}

fn rotate(secrets: &mut Secrets, now: i64) -> RotationStep {
    secrets.rotate(Ca::Kubernetes, options(now), &mut fixed_random(now.to_le_bytes()[0])).unwrap()
}

/// Whether a leaf of `issued` is trusted by nodes that were built with `trusting`.
fn trusts(trusting: &Secrets, issued: &Secrets) -> bool {
    let cluster = fixture::cluster();
    let [trusting, issued] = [trusting, issued].map(|secrets| Authority::open(secrets, &cluster).unwrap());
    let leaf = issued.issue(&table::leaf(Row::Scheduler, &cluster, None)).unwrap();
    let leaf = leaf.form(LeafForm::Certificate);
    let leaf = pem::decode(pem::CERTIFICATE, std::str::from_utf8(leaf.bytes.expose()).unwrap()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    pem::blocks(trusting.bundle(Ca::Kubernetes)).unwrap().iter().any(|(_, der)| {
        let (_, ca) = X509Certificate::from_der(der).unwrap();
        let key = leaf.extensions().iter().find_map(|ext| match ext.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
            _ => None,
        });
        let own = crate::pki::certificate::CaCertificate::parse(der).unwrap().key_identifier;
        ca.subject().as_raw() == leaf.issuer().as_raw() && key.map(|id| id.0.to_vec()) == own
    })
}

#[test]
fn three_builds() {
    let cluster = fixture::cluster();
    let mut steps = vec![of_algorithm(Algorithm::EcdsaP256, &cluster)];
    for (day, step, bundle) in
        [(100, RotationStep::Trust, 2), (101, RotationStep::Issue, 2), (102, RotationStep::Drop, 1)]
    {
        let mut secrets = steps.last().unwrap().clone();
        assert_eq!(secrets.next_step(Ca::Kubernetes), step);
        assert_eq!(rotate(&mut secrets, NOW + day * DAY), step);
        // It is all in the file.
        let secrets = Secrets::parse(secrets.to_vec().expose()).unwrap();
        assert_eq!(secrets.generation(), steps.last().unwrap().generation() + 1);
        let authority = Authority::open(&secrets, &cluster).unwrap();
        assert_eq!(authority.bundle(Ca::Kubernetes).matches("BEGIN CERTIFICATE").count(), bundle);
        assert_ne!(secrets.fingerprint(), steps.last().unwrap().fingerprint());
        steps.push(secrets);
    }
    // Neighbours trust each other both ways; those two steps apart do not, which is why there are three.
    for (index, pair) in steps.windows(2).enumerate() {
        assert!(trusts(&pair[0], &pair[1]) && trusts(&pair[1], &pair[0]), "step {index}");
    }
    assert!(!trusts(&steps[0], &steps[2]) && !trusts(&steps[3], &steps[1]) && !trusts(&steps[3], &steps[0]));
    // Leaves are renewed with the new CA alone: the old one may not last long enough for it.
    let renewed: Vec<i64> = steps.iter().map(Secrets::renewed_at).collect();
    assert_eq!(renewed, [NOW, NOW, NOW + 101 * DAY, NOW + 101 * DAY]);
    // The algorithm of the new one is cluster.yaml's.
    assert_eq!(steps[3].authorities[&Ca::Kubernetes][0].key.as_ref().unwrap().algorithm(), Some(Algorithm::EcdsaP384));
    assert_eq!(steps[3].authorities[&Ca::Etcd][0].certificate, steps[0].authorities[&Ca::Etcd][0].certificate);
    assert_eq!(steps[3].next_step(Ca::Kubernetes), RotationStep::Trust, "and again");
}

/// An external CA is rotated into one of our own: what it signed is trusted until the last step.
#[test]
fn from_an_external_ca() {
    let mut secrets = of_algorithm(Algorithm::EcdsaP256, &fixture::cluster());
    secrets.authorities.get_mut(&Ca::Kubernetes).unwrap()[0].key = None;
    rotate(&mut secrets, NOW + DAY);
    assert!(Authority::open(&secrets, &fixture::cluster()).is_err());
    rotate(&mut secrets, NOW + DAY);
    assert!(Authority::open(&secrets, &fixture::cluster()).is_ok());
    assert_eq!(secrets.authorities[&Ca::Kubernetes].len(), 2);
}

#[test]
fn renewal() {
    let mut cluster = fixture::cluster();
    cluster.nodes[3].identity = NodeIdentity::BootstrapToken { ttl: Some(DAY) };
    let worker = cluster.nodes[3].name.clone();
    let old = of_algorithm(Algorithm::EcdsaP256, &cluster);
    let mut new = old.clone();
    new.renew(NOW + 300 * DAY, &mut fixed_random(9)).unwrap();
    assert_eq!((new.generation(), new.renewed_at(), new.created_at()), (2, NOW + 300 * DAY, NOW));
    // Another token, with a life of its own.
    let (before, after) = (old.token(&worker).unwrap(), new.token(&worker).unwrap());
    assert_ne!((before.id(), before.whole()), (after.id(), after.whole()));
    assert_eq!(after.end(Some(DAY)), Some(NOW + 301 * DAY));
    // Old and new leaves are good together: one CA, overlapping spans, other keys.
    let [a, b] = [&old, &new].map(|secrets| Authority::open(secrets, &cluster).unwrap());
    assert_eq!(a.bundle(Ca::Kubernetes), b.bundle(Ca::Kubernetes));
    assert!(a.validity().not_after > b.validity().not_before);
    for leaf in fixture::all_leaves(&cluster) {
        assert_ne!(a.issue(&leaf).unwrap().spki, b.issue(&leaf).unwrap().spki, "{leaf:?}");
    }
    assert!(!new.lack(&cluster), "there is nothing left to make");
}

/// Kept keys of older generations go, and the next build makes those of the new one.
#[test]
fn renewal_of_rsa() {
    let (cluster, _) = fixture::of_algorithm(Algorithm::Rsa2048);
    let mut secrets = of_algorithm(Algorithm::Rsa2048, cluster);
    assert!(!secrets.lack(cluster));
    secrets.renew(NOW + DAY, &mut fixed_random(9)).unwrap();
    assert!(secrets.leaf_keys.is_empty() && secrets.lack(cluster));
    assert!(Authority::open(&secrets, cluster).is_err());
    assert!(secrets.complete(cluster, NOW + DAY, fixed_random(9)).unwrap());
    assert!(Authority::open(&secrets, cluster).is_ok());
    assert!(secrets.leaf_keys.keys().all(|(_, _, generation)| *generation == 2));
    // Nothing is made twice.
    let once = secrets.to_vec();
    assert!(!secrets.complete(cluster, NOW + DAY, fixed_random(10)).unwrap());
    assert_eq!(secrets.to_vec(), once);
}

#[test]
fn refused() {
    let good = of_algorithm(Algorithm::EcdsaP256, &fixture::cluster());
    let mut random = fixed_random(1);
    let mut secrets = good.clone();
    assert!(matches!(secrets.renew(NOW - 1, &mut random), Err(RotateError::Clock)));
    assert!(matches!(secrets.renew(i64::MAX, &mut random), Err(RotateError::Last)));
    assert_eq!(secrets.to_vec(), good.to_vec());
    secrets.generation = u64::MAX;
    assert!(matches!(secrets.renew(NOW, &mut random), Err(RotateError::Last)));
    assert!(matches!(secrets.rotate(Ca::Etcd, options(NOW), &mut random), Err(RotateError::Last)));
    secrets.generation = 1;
    assert_eq!(secrets.to_vec(), good.to_vec());
    // A source of randomness that fails in the middle changes nothing.
    let mut dry = |_: &mut [u8]| Err::<(), _>("dry");
    let failed = secrets.rotate(Ca::Etcd, options(NOW), &mut dry);
    assert!(matches!(failed, Err(RotateError::New(NewError::Random("dry")))));
    assert_eq!(secrets.to_vec(), good.to_vec());
    let _: Result<(), RotateError<Infallible>> = secrets.renew(NOW, &mut random);
}

/// At every step API servers read what those of the step before and after write, and nothing else changes.
#[test]
fn encryption_in_three_builds() {
    let mut steps = vec![of_algorithm(Algorithm::EcdsaP256, &fixture::cluster())];
    for (seed, step, names) in [
        (1, EncryptionStep::Add, &["key1", "key2"][..]),
        (2, EncryptionStep::Use, &["key2", "key1"]),
        (3, EncryptionStep::Drop, &["key2"]),
        (4, EncryptionStep::Add, &["key2", "key3"]),
        (5, EncryptionStep::Use, &["key3", "key2"]),
        (6, EncryptionStep::Drop, &["key3"]),
    ] {
        let mut secrets = steps.last().unwrap().clone();
        assert_eq!(secrets.next_encryption_step(), step);
        assert_eq!(secrets.rotate_encryption(&mut fixed_random(seed)).unwrap(), step);
        assert_eq!(secrets.shape().encryption_keys, names);
        assert_eq!(secrets.generation(), 1);
        let again = Secrets::parse(secrets.to_vec().expose()).unwrap();
        assert_eq!((again.to_vec(), again.fingerprint()), (secrets.to_vec(), secrets.fingerprint()));
        steps.push(again);
    }
    let writes = |secrets: &Secrets| secrets.encryption[0].key.clone();
    let reads = |secrets: &Secrets, key: &nodekiln_plan::Secret| secrets.encryption.iter().any(|own| own.key == *key);
    for pair in steps.windows(2) {
        assert!(reads(&pair[0], &writes(&pair[1])) && reads(&pair[1], &writes(&pair[0])));
        assert_ne!(pair[0].fingerprint(), pair[1].fingerprint());
    }
    assert!(!reads(&steps[3], &writes(&steps[0])), "the old one is gone");
    let mut dry = |_: &mut [u8]| Err::<(), _>("dry");
    let mut secrets = steps[0].clone();
    let failed = secrets.rotate_encryption(&mut dry);
    assert!(matches!(failed, Err(RotateError::New(NewError::Random("dry")))));
    assert_eq!(secrets.to_vec(), steps[0].to_vec());
    // A list as long as it may be: what one more would make, nothing could read.
    while secrets.encryption.len() < 16 {
        let number = u8::try_from(secrets.encryption.len()).unwrap();
        let key = nodekiln_plan::Secret::new((0..32).map(|byte| byte ^ number).collect());
        secrets.encryption.push(EncryptionKey { name: format!("old{number}"), key, rotation: None });
    }
    let full = Secrets::parse(secrets.to_vec().expose()).unwrap().to_vec();
    let failed = secrets.rotate_encryption(&mut fixed_random(7));
    assert!(matches!(failed, Err(RotateError::EncryptionKeys)));
    assert_eq!(secrets.to_vec(), full);
}

/// What nobody could make again.
#[test]
fn what_is_lost() {
    let cluster = fixture::cluster();
    let old = of_algorithm(Algorithm::EcdsaP256, &cluster);
    let loses = |change: &dyn Fn(&mut Secrets)| {
        let mut new = old.clone();
        change(&mut new);
        (old.loses(&new), new.loses(&old))
    };
    let id = (Row::Scheduler, None, 1);
    assert_eq!(loses(&|_| {}), (false, false));
    assert_eq!(
        loses(&|new| new.renew(NOW + DAY, &mut fixed_random(9)).unwrap()),
        (false, false),
        "it can be made again"
    );
    assert_eq!(loses(&|new| new.certificates.extend([(id.clone(), vec![1])])), (false, true));
    assert_eq!(loses(&|new| new.authorities.get_mut(&Ca::Etcd).unwrap()[0].key = None), (true, false));
    let of_another = |new: &mut Secrets| new.encryption[0].key = nodekiln_plan::Secret::new(vec![1; 32]);
    assert_eq!(loses(&of_another), (true, true));
    // What others have signed is of one generation.
    let mut signed = old.clone();
    signed.certificates.insert(id, vec![1]);
    for change in
        [&(|new: &mut Secrets| new.renew(NOW + DAY, &mut fixed_random(9)).unwrap()) as &dyn Fn(&mut Secrets), &|new| {
            assert_eq!(rotate(new, NOW + DAY), RotationStep::Trust)
        }]
    {
        let mut new = signed.clone();
        change(&mut new);
        assert!(signed.loses(&new));
    }
}
