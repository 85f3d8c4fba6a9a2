//! Tests: each way in which one CA could serve two purposes is refused, with both places.

use super::*;
use crate::{
    pki::key::KeyPair,
    secrets::{CaEntry, Rotation, Secrets, tests::fixture},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair as Pair, KeyUsagePurpose};

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key() -> Pair {
    Pair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn trusted(certificate: &[u8]) -> CaEntry {
    CaEntry { certificate: certificate.to_vec(), key: None, rotation: None }
}

fn findings(change: &dyn Fn(&mut Secrets)) -> Vec<String> {
    let mut secrets = fixture(1);
    change(&mut secrets);
    let found = Secrets::parse(secrets.to_vec().expose()).err().map(|findings| findings.0).unwrap_or_default();
    assert!(found.iter().all(|finding| finding.line > 1 && finding.column > 0));
    found.iter().map(|finding| format!("{} {}", finding.path, finding.message)).collect()
}

fn push(secrets: &mut Secrets, ca: Ca, certificate: &[u8]) {
    secrets.authorities.get_mut(&ca).unwrap().push(trusted(certificate));
}

#[test]
fn one_key_for_two() {
    let own = fixture(1);
    let kubernetes = own.authorities[&Ca::Kubernetes][0].clone();
    let twice = |ca: &str, index: usize, of: &str| {
        format!(
            "authorities.{ca}[{index}] has the public key of {of}: every CA needs one of its own, or what one signs is \
             trusted as the other's"
        )
    };
    // The same certificate as all three, the key with one only.
    let found = findings(&|secrets| {
        for ca in [Ca::Etcd, Ca::FrontProxy] {
            secrets.authorities.insert(ca, vec![trusted(&kubernetes.certificate)]);
        }
    });
    let expected: Vec<_> = ["frontProxy", "etcd"].map(|ca| twice(ca, 0, "authorities.kubernetes[0]")).into();
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    // The second may name the first or the third: both are the same.
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(sorted(found), sorted(expected));
    // Beside the own one, at any step of a rotation; another certificate of the same key too.
    let pair = Pair::from_pem(std::str::from_utf8(kubernetes.key.as_ref().unwrap().private_pem().expose()).unwrap());
    let renamed = params("another").self_signed(&pair.unwrap()).unwrap();
    for certificate in [&kubernetes.certificate[..], renamed.der()] {
        for rotation in [None, Some(Rotation::Next), Some(Rotation::Previous)] {
            let found = findings(&|secrets| {
                let entry = CaEntry { rotation, ..trusted(certificate) };
                secrets.authorities.get_mut(&Ca::Etcd).unwrap().push(entry);
            });
            assert_eq!(found, [twice("etcd", 1, "authorities.kubernetes[0]")]);
        }
    }
    // Within one CA it is nothing: a certificate that was renewed with its key.
    assert_eq!(findings(&|secrets| push(secrets, Ca::Kubernetes, renamed.der())), [""; 0]);
    // The key that signs service accounts' tokens.
    let found = findings(&|secrets| {
        secrets.service_account = kubernetes.key.clone().unwrap();
        secrets.authorities.get_mut(&Ca::Kubernetes).unwrap()[0].key = None;
    });
    let message = "has the public key of serviceAccount.privateKey: every CA needs one of its own";
    assert_eq!(found, [format!("authorities.kubernetes[0] {message}")]);
    // Two private keys are told once.
    let found = findings(&|secrets| {
        secrets.authorities.insert(Ca::Etcd, vec![kubernetes.clone()]);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(".key is the same key as "), "{found:?}");
}

/// Three intermediates under one root.
#[test]
fn a_common_root() {
    let (root, cross) = (key(), key());
    let issuer = Issuer::new(params("root"), &root);
    let made = Ca::ALL.map(|ca| {
        let own = key();
        let certificate = params(ca.common_name()).signed_by(&own, &issuer).unwrap();
        let key = KeyPair::from_pem(&own.serialize_pem()).unwrap();
        (ca, CaEntry { certificate: certificate.der().to_vec(), key: Some(key), rotation: None })
    });
    let intermediates = |secrets: &mut Secrets| {
        for (ca, entry) in &made {
            secrets.authorities.insert(*ca, vec![entry.clone()]);
        }
    };
    // Alone they are apart.
    assert_eq!(findings(&intermediates), [""; 0]);
    let root_der = params("root").self_signed(&root).unwrap().der().to_vec();
    let of_another_name = params("renamed").self_signed(&root).unwrap().der().to_vec();
    for der in [&root_der, &of_another_name] {
        let found = findings(&|secrets| {
            intermediates(secrets);
            push(secrets, Ca::Etcd, der);
        });
        assert_eq!(found.len(), 1, "{found:#?}");
        let (message, advice) = found[0].split_once("; ").unwrap();
        assert!(message.starts_with("authorities.etcd[1] issued authorities."), "{message}");
        assert!(message.ends_with("[0], a CA for another purpose: what either signs would be trusted for both"));
        assert_eq!(advice, "leave it out, an intermediate CA is trusted without its issuer");
    }
    // In all three bundles it is one CA for three purposes as well.
    let found = findings(&|secrets| {
        intermediates(secrets);
        Ca::ALL.iter().for_each(|ca| push(secrets, *ca, &root_der));
    });
    assert_eq!(found.iter().filter(|found| found.contains("has the public key of authorities.")).count(), 2);
    assert_eq!(found.iter().filter(|found| found.contains("[1] issued authorities.")).count(), 3);
    // A root of one's own does no harm, nor one of the same name and another key.
    let stranger = params("root").self_signed(&cross).unwrap().der().to_vec();
    assert_eq!(
        findings(&|secrets| {
            intermediates(secrets);
            push(secrets, Ca::Etcd, &stranger)
        }),
        [""; 0]
    );
    let one = |secrets: &mut Secrets| {
        secrets.authorities.insert(Ca::Etcd, vec![made.iter().find(|(ca, _)| *ca == Ca::Etcd).unwrap().1.clone()]);
        push(secrets, Ca::Etcd, &root_der);
    };
    assert_eq!(findings(&one), [""; 0]);
}

/// One CA that issued another: no bundle holds a root, and still.
#[test]
fn one_under_another() {
    let kubernetes = fixture(1).authorities[&Ca::Kubernetes][0].clone();
    let text = kubernetes.key.as_ref().unwrap().private_pem();
    let pair = Pair::from_pem(std::str::from_utf8(text.expose()).unwrap()).unwrap();
    let issuer = Issuer::new(params("kubernetes"), pair);
    let certificate = params("etcd-ca").signed_by(&key(), &issuer).unwrap();
    let found = findings(&|secrets| push(secrets, Ca::Etcd, certificate.der()));
    let message = "issued authorities.etcd[1], a CA for another purpose: what either signs would be trusted for both; one \
                   of them has to be made anew";
    assert_eq!(found, [format!("authorities.kubernetes[0] {message}")]);
}

/// A signature that is not understood here: Go may well.
#[test]
fn unknown_algorithms() {
    let root = Pair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let issuer = Issuer::new(params("root"), &root);
    let below = params("etcd-ca").signed_by(&key(), &issuer).unwrap();
    let root_der = params("root").self_signed(&root).unwrap();
    let stranger = params("stranger").self_signed(&Pair::generate_for(&rcgen::PKCS_ED25519).unwrap()).unwrap();
    assert!(is_issuer(root_der.der(), below.der()));
    assert!(!is_issuer(stranger.der(), below.der()) && !is_issuer(b"", below.der()) && !is_issuer(below.der(), b""));
}
