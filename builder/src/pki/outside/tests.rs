//! Tests of CAs elsewhere: what is asked for, what is refused of the answers, and what a build makes of them.

mod answers;

use super::*;
use crate::{
    config::{Algorithm, NodeIdentity},
    node::{self, fixture},
    output::placement::{PLACEMENT, Placement},
    pki::{
        Authority, OpenError,
        certificate::{Signer, Subject},
        fixture::{self as pki_fixture, DAY, YEAR},
        key::{KeyPair, tests::ALGORITHMS},
        table::{Scope, TABLE, Usage},
    },
    secrets::{
        self, RotateError, import,
        tests::{NOW, fixed_random, of_algorithm},
    },
    verify::{
        self,
        fixture::{Memory, cluster},
    },
};
use nodekiln_plan::Role;
use std::{collections::BTreeSet, io::Write as _, process::Command};
use x509_parser::{
    certification_request::X509CertificationRequest,
    prelude::{FromDer as _, ParsedExtension},
};

/// `whole` without the keys of `outside`, and those who have them.
fn without(whole: &Secrets, outside: &[Ca]) -> (Secrets, BTreeMap<Ca, Signer>) {
    let mut secrets = whole.clone();
    let mut signers = BTreeMap::new();
    for ca in outside {
        let entry = &mut secrets.authorities.get_mut(ca).unwrap()[0];
        signers.insert(*ca, Signer::open(&entry.certificate, entry.key.take().unwrap()).unwrap());
    }
    (secrets, signers)
}

fn span(days: i64) -> Validity {
    Validity { not_before: NOW - DAY, not_after: NOW + days * DAY }
}

/// What `signer` makes of a request if `change` is made to it.
fn signed(outside: &Outside, wanted: &Wanted, signer: &Signer, span: Validity) -> Vec<u8> {
    let common_name = keyring::common_name(&wanted.leaf).unwrap();
    let key = outside.keys.key(table::spec(wanted.leaf.row), wanted.leaf.node.as_ref()).unwrap();
    signer.issue(&keyring::subject(&wanted.leaf, &common_name), &key, span).unwrap()
}

/// Has all requests answered. The certificate of the nth lives for `300 + n` days.
fn answer(secrets: &mut Secrets, cluster: &Cluster, signers: &BTreeMap<Ca, Signer>) {
    let outside = Outside::open(secrets, cluster).unwrap();
    for (number, wanted) in outside.wanted.iter().enumerate() {
        let der = signed(&outside, wanted, &signers[&wanted.ca], span(300 + i64::try_from(number).unwrap()));
        assert!(outside.accept(wanted, &der).unwrap().is_ok(), "{}", wanted.name());
        secrets.keep_certificate(wanted, der);
    }
}

fn openssl(args: &[&str], input: &[u8]) -> Option<String> {
    let child = Command::new("openssl")
        .args(args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing, and CI promises it");
        eprintln!("SKIPPED: there is no openssl on this machine");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// One for each leaf of the table, for each algorithm: openssl verifies its signature, and it asks for what the table says.
#[test]
fn requests() {
    for algorithm in ALGORITHMS {
        let (cluster, _) = pki_fixture::of_algorithm(algorithm);
        let (secrets, _) = without(&of_algorithm(algorithm, cluster), &Ca::ALL);
        let outside = Outside::open(&secrets, cluster).unwrap();
        let rows: BTreeSet<_> = outside.wanted.iter().map(|wanted| wanted.leaf.row).collect();
        assert_eq!(rows.len(), TABLE.len() - 1, "all but kube-vip's");
        let stems: BTreeSet<_> = outside.wanted.iter().map(Wanted::stem).collect();
        assert_eq!(stems.len(), outside.wanted.len());
        for wanted in &outside.wanted {
            let spec = table::spec(wanted.leaf.row);
            let text = outside.request(wanted).unwrap();
            assert_eq!(text, outside.request(wanted).unwrap(), "the same every time");
            if openssl(&["req", "-verify", "-noout"], text.expose()).is_some_and(|said| !said.contains("OK")) {
                panic!("{}: openssl does not take its signature", wanted.name());
            }
            let der = pem::decode(pem::CERTIFICATE_REQUEST, std::str::from_utf8(text.expose()).unwrap()).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
            let info = &request.certification_request_info;
            let common_name = keyring::common_name(&wanted.leaf).unwrap();
            let subject = spec.organization.map_or(String::new(), |name| format!("O={name}, "));
            assert_eq!(info.subject.to_string(), format!("{subject}CN={common_name}"));
            let key = outside.keys.key(spec, wanted.leaf.node.as_ref()).unwrap();
            assert_eq!(info.subject_pki.raw, key.spki());
            let (mut names, mut usages) = (0, None);
            for extension in request.requested_extensions().unwrap() {
                match extension {
                    ParsedExtension::SubjectAlternativeName(found) => names = found.general_names.len(),
                    ParsedExtension::ExtendedKeyUsage(found) => usages = Some((found.server_auth, found.client_auth)),
                    ParsedExtension::KeyUsage(found) => assert!(found.digital_signature() && !found.key_cert_sign()),
                    ParsedExtension::BasicConstraints(found) => assert!(!found.ca),
                    ParsedExtension::SubjectKeyIdentifier(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(names, wanted.leaf.sans.len(), "{}", wanted.name());
            assert_eq!(usages, Some((spec.usage != Usage::Client, spec.usage != Usage::Server)));
        }
    }
}

/// A cluster whose CAs are all elsewhere, from requests to a sound output; and each alone.
#[test]
fn a_build_without_a_ca_key() {
    let cluster = cluster("flatcar");
    let all = Ca::ALL;
    for outside in [&all[..], &[Ca::Kubernetes], &[Ca::Etcd], &[Ca::FrontProxy]] {
        let (mut secrets, signers) = without(&secrets::tests::fixture(1), outside);
        answer(&mut secrets, &cluster, &signers);
        // They are kept as they are.
        let secrets = Secrets::parse(secrets.to_vec().expose()).unwrap();
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let wanted = wanted(&secrets, &cluster);
        assert!(!wanted.is_empty() && wanted.iter().all(|wanted| outside.contains(&wanted.ca)));
        for wanted in &wanted {
            let issued = authority.issue(&wanted.leaf).unwrap();
            let kept = &secrets.certificates[&wanted.id(1)];
            let kept = pem::encode_secret(pem::CERTIFICATE, kept);
            assert_eq!(issued.form(crate::draft::LeafForm::Certificate).bytes.expose(), kept.expose());
        }
        let output = Memory::made(&cluster, &authority, secrets.shape());
        let report = verify::verify(&output).unwrap();
        assert!(report.sound, "{outside:?}: {:#?}", report.findings);
        let side = crate::diff::OutputSide::open(&output).unwrap();
        assert_eq!(side.shape().unwrap(), secrets.shape());

        let placement: Placement = serde_json::from_slice(&output.files[PLACEMENT]).unwrap();
        let external = outside.contains(&Ca::Kubernetes);
        assert_eq!(placement.on_no_node.iter().any(|key| key == "ca"), external);
        assert_eq!(placement.keys.contains_key("ca"), !external);

        // A payload ends with the first certificate that it authenticates with.
        for node in &output.manifest().nodes {
            let plan = nodekiln_plan::NodePlan::from_slice(&output.files[&format!("nodes/{}/plan.json", node.name)]);
            let plan = plan.unwrap();
            let due = if node.role == Role::ControlPlane || external { 300..340 } else { 365..366 };
            let days = (plan.identity.boot_before - NOW) / DAY;
            assert!(due.contains(&days), "{} {outside:?}: {days}", node.name);
            if node.role != Role::ControlPlane {
                continue;
            }
            assert_eq!(plan.files.iter().any(|file| file.path.as_str() == "/etc/kubernetes/pki/ca.key"), !external);
        }
    }
}

/// kube-controller-manager is told that there is nothing to sign with, as kubeadm tells it.
#[test]
fn nobody_signs_in_the_cluster() {
    let mut cluster = cluster("flatcar");
    let mut sources = fixture::sources();
    let flags = |sources: &node::Sources, cluster: &Cluster| {
        let draft = node::plan(cluster, &cluster.nodes[0], sources).unwrap();
        let text = crate::draft::render(&draft);
        let flags = text
            .lines()
            .filter_map(|line| Some(line.trim().trim_matches([',', '"']).split_once("cluster-signing-")?.1.to_owned()));
        flags.collect::<Vec<_>>()
    };
    assert_eq!(
        flags(&sources, &cluster),
        ["cert-file=/etc/kubernetes/pki/ca.crt", "key-file=/etc/kubernetes/pki/ca.key"]
    );
    sources.shape.external_ca = true;
    assert_eq!(flags(&sources, &cluster), ["cert-file=", "key-file="]);
    // Who comes by token would wait for ever.
    cluster.nodes[2].identity = NodeIdentity::BootstrapToken { ttl: None };
    let mut pool = cluster.nodes[2].clone();
    pool.kind = crate::config::NodeKind::Pool;
    pool.pod_cidrs.clear();
    cluster.cni = crate::config::Cni::None;
    for (node, field) in [(&cluster.nodes[2], "identity"), (&pool, "name")] {
        let refusals = node::plan(&cluster, node, &sources).unwrap_err();
        let found: Vec<_> = refusals.iter().map(|refusal| (refusal.field.as_str(), refusal.message.as_str())).collect();
        assert!(found.len() == 1 && found[0].0 == field, "{found:?}");
        assert!(found[0].1.contains("nothing in the cluster signs one"), "{found:?}");
        assert!(node::plan(&cluster, node, &fixture::sources()).is_ok());
    }
}

/// The keys of CAs elsewhere are known by their certificates: one that somebody lays down is found.
#[test]
fn a_key_that_turns_up() {
    let cluster = cluster("flatcar");
    let whole = secrets::tests::fixture(1);
    let (mut secrets, signers) = without(&whole, &[Ca::Etcd]);
    answer(&mut secrets, &cluster, &signers);
    let authority = Authority::open(&secrets, &cluster).unwrap();
    let key = whole.authorities[&Ca::Etcd][0].key.as_ref().unwrap();
    assert_eq!(authority.identify(&key.spki_sha256()), Some(KeyId::Ca(Ca::Etcd)));
}

/// What is not there, or does not fit any more, is told at once, one finding for each CA.
#[test]
fn what_a_build_lacks() {
    let mut cluster = cluster("flatcar");
    let (mut secrets, signers) = without(&secrets::tests::fixture(1), &[Ca::Kubernetes, Ca::Etcd]);
    let said = |secrets: &Secrets, cluster: &Cluster| {
        let Err(error @ OpenError::External(_)) = Authority::open(secrets, cluster) else { panic!("it was opened") };
        let text = error.to_string();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.contains("; `nodekiln secrets requests` writes")), "{lines:#?}");
        lines
    };
    let found = said(&secrets, &cluster);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with(
            "the kubernetes CA has no key here, and the certificates that it has signed are not complete: 13 of 13 missing \
             (apiserver/cp1, apiserver-kubelet-client, controller-manager.conf, scheduler.conf, kubelet.conf/cp1 and 8 more);"
        ),
        "{}",
        found[0]
    );
    assert!(found[1].starts_with("error: the etcd CA has no key here, and"), "{}", found[1]);
    answer(&mut secrets, &cluster, &signers);
    assert!(Authority::open(&secrets, &cluster).is_ok());
    assert!(Outside::open(&secrets, &cluster).unwrap().lacks(&secrets).unwrap().is_empty());

    // A node moves: its names do not fit. Another one comes. The rest is good.
    cluster.nodes[1].addresses = vec!["10.0.0.77".parse().unwrap()];
    let mut new = cluster.nodes[1].clone();
    new.name = "w9".parse().unwrap();
    cluster.nodes.push(new);
    let found = said(&secrets, &cluster);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(
            "2 of 15 missing (kubelet.conf/w9, kubelet-server/w9), 1 of 15 not fitting (kubelet-server/w1 is not for \
             10.0.0.77);"
        ),
        "{found:#?}"
    );
    // Other keys: all of them are asked for anew.
    secrets.renew(NOW + DAY, &mut fixed_random(3)).unwrap();
    assert!(secrets.certificates.is_empty());
    assert_eq!(said(&secrets, &cluster).len(), 2);
}

/// A CA elsewhere is replaced by one whose key is here: until that one issues, the other has to sign.
#[test]
fn from_elsewhere_to_here() {
    let cluster = cluster("flatcar");
    let (mut secrets, signers) = without(&secrets::tests::fixture(1), &[Ca::Kubernetes]);
    answer(&mut secrets, &cluster, &signers);
    let options = crate::secrets::CaOptions::of(&cluster, NOW + DAY);
    let rotate = |secrets: &mut Secrets| secrets.rotate(Ca::Kubernetes, options, &mut fixed_random(4)).unwrap();
    assert_eq!(rotate(&mut secrets), crate::secrets::RotationStep::Trust);
    assert!(secrets.shape().external_ca && Authority::open(&secrets, &cluster).is_err());
    answer(&mut secrets, &cluster, &signers);
    let trusting = Authority::open(&secrets, &cluster).unwrap();
    assert_eq!(trusting.bundle(Ca::Kubernetes).matches("BEGIN").count(), 2);
    for step in [crate::secrets::RotationStep::Issue, crate::secrets::RotationStep::Drop] {
        assert_eq!(rotate(&mut secrets), step);
        assert!(!secrets.shape().external_ca && !secrets.has_outside_ca());
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let output = Memory::made(&cluster, &authority, secrets.shape());
        let report = verify::verify(&output).unwrap();
        assert!(report.sound, "{step:?}: {:#?}", report.findings);
    }
}

/// A CA whose key is here is replaced by one elsewhere: nothing has to be signed there before the second step.
#[test]
fn from_here_to_elsewhere() {
    let cluster = cluster("flatcar");
    let mut secrets = secrets::tests::fixture(1);
    let whole = secrets::tests::fixture(2);
    let entry = &whole.authorities[&Ca::Kubernetes][0];
    let signer = Signer::open(&entry.certificate, entry.key.clone().unwrap()).unwrap();
    let signers = BTreeMap::from([(Ca::Kubernetes, signer)]);
    let pem = |der: &[u8]| pem::encode_secret(pem::CERTIFICATE, der);
    let read = |certificate: Secret, key: Option<Secret>| import::new_ca_of(Ca::Kubernetes, certificate, key, NOW);
    let (new, warnings) = read(pem(&entry.certificate), None).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    // Faults name the file.
    let own = secrets.authorities[&Ca::Kubernetes][0].clone();
    let both = [pem(&entry.certificate).expose(), pem(&own.certificate).expose()].concat();
    for (result, fault) in [
        (
            read(pem(&entry.certificate), own.key.as_ref().map(KeyPair::private_pem)),
            "key: does not belong to certificate",
        ),
        (read(Secret::new(both), None), "certificate: holds several certificates; give the one that is to issue"),
        (read(Secret::from("x".to_owned()), None), "certificate: is not PEM"),
    ] {
        let faults = result.err().unwrap();
        assert!(faults.len() == 1 && faults[0].starts_with(fault), "{faults:?}");
    }
    type Refused = RotateError<std::convert::Infallible>;
    let refused = |secrets: &mut Secrets, new: &import::NewCa| {
        let before = secrets.to_vec();
        assert!(matches!(secrets.rotate_to(Ca::Kubernetes, new.clone()), Err(Refused::Given)));
        assert_eq!(secrets.to_vec(), before);
    };
    // It is trusted already.
    let (known, _) = read(pem(&own.certificate), None).unwrap();
    refused(&mut secrets, &known);
    secrets.rotate_to(Ca::Kubernetes, new.clone()).map_err(|error: Refused| error).unwrap();
    refused(&mut secrets, &new);

    let sound = |secrets: &Secrets, bundle: usize| {
        let secrets = Secrets::parse(secrets.to_vec().expose()).unwrap();
        let authority = Authority::open(&secrets, &cluster).unwrap();
        assert_eq!(authority.bundle(Ca::Kubernetes).matches("BEGIN").count(), bundle);
        let report = verify::verify(&Memory::made(&cluster, &authority, secrets.shape())).unwrap();
        assert!(report.sound, "{:#?}", report.findings);
    };
    sound(&secrets, 2);
    let options = crate::secrets::CaOptions::of(&cluster, NOW + DAY);
    for bundle in [2, 1] {
        secrets.rotate(Ca::Kubernetes, options, &mut fixed_random(4)).unwrap();
        assert!(secrets.shape().external_ca);
        assert!(matches!(Authority::open(&secrets, &cluster), Err(OpenError::External(_))));
        answer(&mut secrets, &cluster, &signers);
        sound(&secrets, bundle);
    }
}

/// Keys of another algorithm are other keys.
#[test]
fn another_algorithm() {
    let mut cluster = pki_fixture::cluster();
    let (mut secrets, signers) = without(&secrets::tests::fixture(1), &[Ca::FrontProxy]);
    answer(&mut secrets, &cluster, &signers);
    cluster.algorithm = Algorithm::EcdsaP384;
    let lacks = Outside::open(&secrets, &cluster).unwrap().lacks(&secrets).unwrap();
    assert_eq!(lacks.into_iter().collect::<Vec<_>>(), [(0, Lack::Unfit(GivenError::PublicKey))]);
}

/// Every row is one of a node or one of all: their requests never lie in one place, whatever nodes are called.
#[test]
fn a_node_called_cluster() {
    let mut cluster = pki_fixture::cluster();
    cluster.nodes[0].name = "cluster".parse().unwrap();
    let (secrets, _) = without(&secrets::tests::fixture(1), &Ca::ALL);
    let wanted = wanted(&secrets, &cluster);
    let stems: BTreeSet<_> = wanted.iter().map(Wanted::stem).collect();
    assert_eq!(stems.len(), wanted.len());
    assert!(stems.contains("cluster/apiserver") && stems.contains("cluster/scheduler.conf"));
    assert!(wanted.iter().all(|w| (table::spec(w.leaf.row).scope == Scope::Node) == w.leaf.node.is_some()));
}
