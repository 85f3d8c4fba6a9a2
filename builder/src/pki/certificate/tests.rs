//! Tests of certificates: every field read back.

mod chains;
mod frames;
mod openssl;
mod traps;

use super::*;
use crate::{
    config::{Algorithm, Cluster},
    draft::{Leaf, LeafForm, Row},
    pki::{
        Authority, KeyId,
        fixture::{self, DAY, YEAR},
        key::tests::ALGORITHMS,
        pem,
        table::{self, CommonName},
    },
    secrets::{self, tests::NOW},
};
use nodekiln_plan::Sha256;
use std::{collections::BTreeMap, path::Path, process::Command};
use x509_parser::{extensions::GeneralName, oid_registry, prelude::ParsedExtension};

/// `der` with another subject and issuer, signed again.
pub(crate) fn with_name(der: &[u8], name: &[u8], key: &KeyPair) -> Vec<u8> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let old = certificate.subject().as_raw();
    let tbs = certificate.tbs_certificate.as_ref();
    let (content, _) = tlv::sequence(tbs).unwrap();
    let mut body = Vec::new();
    let mut rest = content;
    while let Some(offset) = rest.windows(old.len()).position(|window| window == old) {
        body.extend_from_slice(&rest[..offset]);
        body.extend_from_slice(name);
        rest = &rest[offset + old.len()..];
    }
    body.extend_from_slice(rest);
    // A draft again: serial number 0.
    let serial_end = 5 + 2 + usize::from(body[6]);
    body.splice(5..serial_end, *b"\x02\x01\x00");
    let mut draft = Vec::new();
    tlv::nest(Tag::Sequence, &mut draft, |out| tlv::put(Tag::Sequence, &body, out));
    finish(&draft, key).unwrap()
}

fn text(secret: &nodekiln_plan::Secret) -> &str {
    std::str::from_utf8(secret.expose()).unwrap()
}

fn der(authority: &Authority, leaf: &Leaf) -> Vec<u8> {
    let issued = authority.issue(leaf).unwrap();
    pem::decode(pem::CERTIFICATE, text(&issued.form(LeafForm::Certificate).bytes)).unwrap().to_vec()
}

fn ca_der(authority: &Authority, ca: Ca) -> Vec<u8> {
    pem::decode(pem::CERTIFICATE, authority.bundle(ca)).unwrap().to_vec()
}

/// Extensions of a certificate by OID, with their critical flag.
fn extensions(certificate: &X509Certificate<'_>) -> Vec<(String, bool)> {
    certificate.extensions().iter().map(|ext| (ext.oid.to_id_string(), ext.critical)).collect()
}

fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    let ext = certificate.get_extension_unique(&oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).unwrap().unwrap();
    match ext.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cas() {
    for algorithm in ALGORITHMS {
        cas_of(algorithm);
    }
}

fn cas_of(algorithm: Algorithm) {
    let (_, authority) = fixture::of_algorithm(algorithm);
    for (ca, name) in [(Ca::Kubernetes, "kubernetes"), (Ca::Etcd, "etcd-ca"), (Ca::FrontProxy, "front-proxy-ca")] {
        let der = ca_der(authority, ca);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.version().0, 2);
        assert_eq!(certificate.subject().to_string(), format!("CN={name}"));
        assert_eq!(certificate.subject().as_raw(), certificate.issuer().as_raw());
        assert_eq!(certificate.validity().not_before.timestamp(), NOW - DAY);
        assert_eq!(certificate.validity().not_after.timestamp(), NOW + 10 * YEAR);
        assert_eq!(
            extensions(&certificate),
            [
                ("2.5.29.17".to_owned(), false),
                ("2.5.29.15".to_owned(), true),
                ("2.5.29.14".to_owned(), false),
                ("2.5.29.19".to_owned(), true)
            ]
        );
        let constraints = certificate.basic_constraints().unwrap().unwrap().value;
        assert!(constraints.ca && constraints.path_len_constraint.is_none());
        // digitalSignature and keyCertSign, bit 0 and 5.
        assert_eq!(certificate.key_usage().unwrap().unwrap().value.flags, 1 | 1 << 5);
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names[..], [GeneralName::DNSName(name)]);
    }
}

/// Every field of every row, read back by a parser that is not the writer's.
#[test]
fn leaves() {
    for algorithm in ALGORITHMS {
        leaves_of(algorithm);
    }
}

fn leaves_of(algorithm: Algorithm) {
    let (cluster, authority) = fixture::of_algorithm(algorithm);
    let mut serials = BTreeMap::new();
    let leaves = fixture::all_leaves(cluster);
    let control_planes = if algorithm == Algorithm::EcdsaP256 { 3 } else { 1 };
    let shared = if algorithm.is_rsa() { 9 } else { 10 };
    assert_eq!(leaves.len(), shared + 3 * control_planes + 2 * (control_planes + 1));
    // The signature is of the CA's kind.
    let signature = match algorithm {
        Algorithm::EcdsaP256 => oid_registry::OID_SIG_ECDSA_WITH_SHA256,
        Algorithm::EcdsaP384 => oid_registry::OID_SIG_ECDSA_WITH_SHA384,
        _ => oid_registry::OID_PKCS1_SHA256WITHRSA,
    };
    for leaf in &leaves {
        let spec = table::spec(leaf.row);
        let id = KeyId::Leaf(leaf.row, leaf.node.clone());
        let der = der(authority, leaf);
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(certificate.version().0, 2, "{id}");
        assert_eq!(certificate.signature_algorithm.algorithm, signature, "{id}");
        assert_eq!(certificate.tbs_certificate.signature, certificate.signature_algorithm);

        let node = leaf.node.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = match spec.common_name {
            CommonName::Fixed(name) => name.to_owned(),
            CommonName::Node(prefix) => format!("{prefix}{node}"),
        };
        let subject = spec.organization.map_or_else(|| format!("CN={name}"), |o| format!("O={o}, CN={name}"));
        assert_eq!(certificate.subject().to_string(), subject, "{id}");

        let ca_der = ca_der(authority, spec.issuer);
        let (_, ca) = X509Certificate::from_der(&ca_der).unwrap();
        assert_eq!(certificate.issuer().as_raw(), ca.subject().as_raw(), "{id}");
        assert_eq!(certificate.validity().not_before.timestamp(), NOW - DAY, "{id}");
        assert_eq!(certificate.validity().not_after.timestamp(), NOW + YEAR, "{id}");

        let mut expected = vec![("2.5.29.35".to_owned(), false)];
        if !leaf.sans.is_empty() {
            expected.push(("2.5.29.17".to_owned(), false));
        }
        expected.extend(
            [("2.5.29.15", true), ("2.5.29.37", false), ("2.5.29.14", false), ("2.5.29.19", true)]
                .map(|(oid, critical)| (oid.to_owned(), critical)),
        );
        assert_eq!(extensions(&certificate), expected, "{id}");
        assert!(!certificate.basic_constraints().unwrap().unwrap().value.ca, "{id}");
        // digitalSignature, and keyEncipherment (bit 2) where the key could do it.
        let kubelet = matches!(leaf.row, Row::KubeletClient | Row::KubeletServer);
        let rsa = algorithm.is_rsa() && !kubelet;
        assert_eq!(certificate.key_usage().unwrap().unwrap().value.flags, if rsa { 0b101 } else { 1 }, "{id}");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        let (server, client) = (spec.usage != Usage::Client, spec.usage != Usage::Server);
        assert_eq!((usage.server_auth, usage.client_auth, usage.any), (server, client, false), "{id}");
        assert!(usage.other.is_empty() && !usage.code_signing && !usage.email_protection, "{id}");

        let names = certificate.subject_alternative_name().unwrap();
        let names = names.map(|ext| ext.value.general_names.clone()).unwrap_or_default();
        let expected: Vec<_> = (leaf.sans.iter())
            .map(|san| match san {
                San::Dns(name) => format!("DNSName(\"{name}\")"),
                San::Ip(std::net::IpAddr::V4(ip)) => format!("IPAddress({:?})", ip.octets()),
                San::Ip(std::net::IpAddr::V6(ip)) => format!("IPAddress({:?})", ip.octets()),
            })
            .collect();
        let found = names.iter().map(|name| match name {
            GeneralName::IPAddress(bytes) => format!("IPAddress({bytes:?})"),
            GeneralName::DNSName(name) => format!("DNSName({name:?})"),
            other => format!("{other:?}"),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{id}");

        let authority_key_id =
            certificate.get_extension_unique(&oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).unwrap().unwrap();
        let ParsedExtension::AuthorityKeyIdentifier(found) = authority_key_id.parsed_extension() else { panic!() };
        assert_eq!(found.key_identifier.as_ref().unwrap().0, subject_key_id(&ca), "{id}");
        assert!(found.authority_cert_issuer.is_none() && found.authority_cert_serial.is_none());
        assert_eq!(subject_key_id(&certificate).len(), 20);

        // The public key is that of the key beside it.
        let issued = authority.issue(leaf).unwrap();
        let key = KeyPair::from_pem(text(&issued.form(LeafForm::Key).bytes)).unwrap();
        assert_eq!(certificate.public_key().raw, key.spki(), "{id}");
        assert_eq!(key.algorithm(), Some(if kubelet { Algorithm::EcdsaP256 } else { algorithm }), "{id}");
        assert_eq!(issued.spki, Sha256::of(certificate.public_key().raw), "{id}");
        let both = issued.form(LeafForm::Both).bytes;
        let forms = [LeafForm::Certificate, LeafForm::Key].map(|form| issued.form(form).bytes);
        assert_eq!(text(&both), format!("{}{}", text(&forms[0]), text(&forms[1])));

        // The serial number follows from the rest, is positive and has at most 20 bytes.
        let serial = certificate.raw_serial();
        assert!(serial.len() <= 20 && serial[0] < 0x80, "{id}");
        let content = tlv::sequence(certificate.tbs_certificate.as_ref()).unwrap().0;
        let mut zero = b"\xa0\x03\x02\x01\x02\x02\x01\x00".to_vec();
        zero.extend_from_slice(&content[5 + 2 + serial.len()..]);
        let mut tbs = Vec::new();
        tlv::put(Tag::Sequence, &zero, &mut tbs);
        let mut digest = sha2::Sha256::digest(&tbs)[..20].to_vec();
        digest[0] &= 0x7f;
        let start = digest.iter().position(|byte| *byte != 0).unwrap();
        let padded = usize::from(digest[start] >= 0x80 && start > 0);
        assert_eq!(serial, &digest[start - padded..], "{id}");
        assert_eq!(serials.insert(serial.to_vec(), id.clone()), None, "{id}");
    }
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let (cluster, first, second) = (fixture::cluster(), fixture::authority(), &fixture::fresh_authority());
    let mut later = secrets::tests::fixture(1);
    later.generation = 2;
    let later = Authority::open(&later, &cluster).unwrap();
    for leaf in fixture::all_leaves(&cluster) {
        assert_eq!(der(first, &leaf), der(second, &leaf));
        assert_ne!(first.issue(&leaf).unwrap().spki, later.issue(&leaf).unwrap().spki, "another generation");
    }
    let spkis: Vec<_> = fixture::all_leaves(&cluster).iter().map(|leaf| first.issue(leaf).unwrap().spki).collect();
    let mut unique = spkis.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), spkis.len(), "no two leaves share a key");
}

/// The bytes that every cluster's nodes run on. Changing one of these by accident breaks them all.
#[test]
fn known_answers() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let found = |bytes: &[u8]| Sha256::of(bytes).to_string();
    let worker = &cluster.nodes[3];
    let admin = authority.admin_kubeconfigs(&cluster).unwrap();
    let mut answers = vec![
        ("ca", found(&ca_der(authority, Ca::Kubernetes))),
        ("etcd-ca", found(&ca_der(authority, Ca::Etcd))),
        ("front-proxy-ca", found(&ca_der(authority, Ca::FrontProxy))),
        ("scheduler.conf", found(&der(authority, &table::leaf(Row::Scheduler, &cluster, None)))),
        ("kubelet.conf/w1", found(&der(authority, &table::leaf(Row::KubeletClient, &cluster, Some(worker))))),
        ("apiserver/cp1", found(&der(authority, &table::leaf(Row::ApiServer, &cluster, cluster.nodes.first())))),
    ];
    answers.extend(admin.iter().map(|(name, bytes)| (*name, found(bytes.expose()))));
    answers.push(("fingerprint", secrets::tests::fixture(1).fingerprint().to_string()));
    let mut lines: Vec<_> = answers.iter().map(|(name, hash)| format!("{name} {hash}")).collect();
    // The other algorithms: RSA keys are kept, all else is derived and signed as for P-256.
    for algorithm in ALGORITHMS.into_iter().filter(|algorithm| *algorithm != Algorithm::EcdsaP256) {
        let (cluster, authority) = fixture::of_algorithm(algorithm);
        let key = authority.signer(Ca::Etcd).key();
        let subject = Subject { common_name: "x", organization: None, sans: &[], usage: Usage::Client };
        for (name, der) in [
            ("ca", ca_der(authority, Ca::Kubernetes)),
            ("scheduler.conf", der(authority, &table::leaf(Row::Scheduler, cluster, None))),
            ("request", request(&subject, key).unwrap()),
        ] {
            lines.push(format!("{} {name} {}", key.algorithm_name(), found(&der)));
        }
    }
    assert_eq!(lines, include_str!("known_answers.txt").lines().collect::<Vec<_>>());
}

#[test]
fn der_lengths() {
    for (length, header) in [
        (0, "3000"),
        (0x7f, "307f"),
        (0x80, "308180"),
        (0xff, "3081ff"),
        (0x100, "30820100"),
        (0xffff, "3082ffff"),
        (0x1_0000, "3083010000"),
    ] {
        let mut der = Vec::new();
        tlv::put(Tag::Sequence, &vec![7; length], &mut der);
        assert_eq!(hex::encode(&der[..header.len() / 2]), header);
        der.push(9);
        let (content, rest) = tlv::sequence(&der).unwrap();
        assert_eq!((content.len(), rest), (length, &[9][..]));
    }
    for bad in ["", "30", "3001", "3101", "3080", "308201", "30840000000100"] {
        assert_eq!(tlv::sequence(&hex::decode(bad).unwrap()), None, "{bad}");
    }
}

/// Certificates with hundreds of names: the lengths of every layer grow past two bytes.
#[test]
fn many_names() {
    let (authority, mut cluster) = (fixture::authority(), fixture::cluster());
    cluster.api_server_sans = (0..3000).map(|n| San::Dns(format!("a-long-name-number-{n}.example.org"))).collect();
    let leaf = table::leaf(Row::ApiServer, &cluster, cluster.nodes.first());
    let der = der(authority, &leaf);
    assert!(der.len() > 0x1_0000);
    let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, leaf.sans.len());
}

#[test]
fn names_that_are_not_ascii() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let mut leaf = table::leaf(Row::ApiServer, &cluster, cluster.nodes.first());
    leaf.sans.push(San::Dns("bücher.example".into()));
    let error = authority.issue(&leaf).map(|_| ()).unwrap_err();
    let crate::pki::IssueError::Certificate("apiserver", source) = error else { panic!("{error:?}") };
    assert!(matches!(source, CertificateError::Name(name) if name == "bücher.example"));
}

#[test]
fn spans() {
    assert_eq!(Validity::starting(NOW, YEAR), Some(Validity { not_before: NOW - DAY, not_after: NOW + YEAR }));
    // 9999-12-31T23:59:59Z is the last second that a certificate can name.
    let last = 253_402_300_799;
    assert!(Validity::starting(last - 10, 10).is_some());
    for (start, lifetime) in [(last - 10, 11), (0, -BACKDATE), (i64::MIN, 1), (i64::MAX, 1), (-700_000_000, 1)] {
        assert_eq!(Validity::starting(start, lifetime), None, "{start} {lifetime}");
    }
}

fn cluster_of_one(mut cluster: Cluster) -> Cluster {
    cluster.nodes.truncate(1);
    cluster
}

/// By the serial number alone: whoever else signs, even under our CA, does not hit it.
#[test]
fn what_is_made_here() {
    for algorithm in ALGORITHMS {
        let (cluster, authority) = fixture::of_algorithm(algorithm);
        assert!(Ca::ALL.iter().all(|ca| is_made_here(&ca_der(authority, *ca))));
        assert!(fixture::all_leaves(cluster).iter().all(|leaf| is_made_here(&der(authority, leaf))));
    }
    let own = ca_der(fixture::authority(), Ca::Kubernetes);
    let rcgens = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let mut bad = vec![rcgens.cert.der().to_vec(), own[..30].to_vec(), b"".to_vec(), b"x".to_vec()];
    // Any byte of what is signed.
    bad.extend([20, own.len() / 2].map(|at| {
        let mut other = own.clone();
        other[at] ^= 1;
        other
    }));
    assert!(bad.iter().all(|der| !is_made_here(der)));
}
