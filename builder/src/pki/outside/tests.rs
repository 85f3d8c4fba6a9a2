//! Tests of CAs elsewhere: what is asked for, what is refused of the answers, and what a build makes of them.

use super::*;
use crate::{
    config::{Algorithm, NodeIdentity},
    node::{self, fixture},
    output::placement::{PLACEMENT, Placement},
    pki::{
        Authority, OpenError,
        certificate::{Signer, Subject},
        fixture::{self as pki_fixture, DAY, YEAR},
        key::tests::ALGORITHMS,
        table::{Scope, TABLE, Usage},
    },
    secrets::{
        self,
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

/// Answers that are not what was asked for, each with the finding that says so.
#[test]
fn answers_that_do_not_do() {
    let cluster = pki_fixture::cluster();
    let whole = secrets::tests::fixture(1);
    let (secrets, signers) = without(&whole, &[Ca::Kubernetes]);
    let outside = Outside::open(&secrets, &cluster).unwrap();
    let signer = &signers[&Ca::Kubernetes];
    let find = |row| outside.wanted.iter().find(|wanted| wanted.leaf.row == row).unwrap();
    let wanted = find(Row::KubeletServer);
    let common_name = keyring::common_name(&wanted.leaf).unwrap();
    let due = keyring::subject(&wanted.leaf, &common_name);
    let key = |wanted: &Wanted| outside.keys.key(table::spec(wanted.leaf.row), wanted.leaf.node.as_ref()).unwrap();
    let own = key(wanted);
    let judge = |der: &[u8]| outside.accept(wanted, der).unwrap();
    let issue = |subject: &Subject<'_>, span: Validity| judge(&signer.issue(subject, &own, span).unwrap());
    let good = signer.issue(&due, &own, span(10)).unwrap();
    assert_eq!(judge(&good), Ok(span(10)));

    assert_eq!(judge(b"x"), Err(GivenError::Syntax));
    assert_eq!(judge(&[&good[..], b"x"].concat()), Err(GivenError::Syntax));
    // An answer to another request, in the wrong place.
    let other = find(Row::KubeletClient);
    assert_eq!(judge(&signed(&outside, other, signer, span(10))), Err(GivenError::PublicKey));
    // Another CA of another name, and two of the same.
    let front = Signer::open(
        &whole.authorities[&Ca::FrontProxy][0].certificate,
        whole.authorities[&Ca::FrontProxy][0].key.clone().unwrap(),
    );
    assert_eq!(
        judge(&front.unwrap().issue(&due, &own, span(10)).unwrap()),
        Err(GivenError::Issuer { is: "CN=front-proxy-ca".into(), wanted: "CN=kubernetes".into() })
    );
    let twin = &secrets::tests::fixture(2).authorities[&Ca::Kubernetes][0];
    let twin = Signer::open(&twin.certificate, twin.key.clone().unwrap()).unwrap();
    assert_eq!(judge(&twin.issue(&due, &own, span(10)).unwrap()), Err(GivenError::IssuerKey));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(judge(&forged), Err(GivenError::Signature));

    for (change, is) in [
        (Subject { organization: None, ..due.clone() }, "CN=system:node:cp1"),
        (Subject { organization: Some("system:masters"), ..due.clone() }, "O=system:masters, CN=system:node:cp1"),
        (Subject { common_name: "system:node:cp2", ..due.clone() }, "O=system:nodes, CN=system:node:cp2"),
        // The same to whoever prints it.
        (
            Subject { organization: None, common_name: "x, O=system:nodes, CN=system:node:cp1", ..due.clone() },
            "CN=x, O=system:nodes, CN=system:node:cp1",
        ),
    ] {
        let wanted = "O=system:nodes, CN=system:node:cp1".to_owned();
        assert_eq!(issue(&change, span(10)), Err(GivenError::Subject { is: is.to_owned(), wanted }));
    }
    for (usage, is) in [(Usage::Client, "clientAuth"), (Usage::Both, "serverAuth, clientAuth")] {
        let wanted = "serverAuth".to_owned();
        assert_eq!(
            issue(&Subject { usage, ..due.clone() }, span(10)),
            Err(GivenError::Usage { is: is.to_owned(), wanted })
        );
    }
    let missing = vec!["10.0.0.1".to_owned(), "2001:db8::1".to_owned()];
    let only_name: Vec<_> = due.sans.iter().filter(|san| matches!(san, crate::config::San::Dns(_))).cloned().collect();
    assert_eq!(issue(&Subject { sans: &only_name, ..due.clone() }, span(10)), Err(GivenError::Names(missing)));
    let more: Vec<_> = due.sans.iter().cloned().chain([crate::config::San::Dns("more.example".into())]).collect();
    assert_eq!(issue(&Subject { sans: &more, ..due.clone() }, span(10)), Ok(span(10)));
    // Past its CA, or before it.
    let end = NOW + 10 * YEAR;
    assert_eq!(issue(&due, Validity { not_after: end, ..span(1) }), Ok(Validity { not_after: end, ..span(1) }));
    assert_eq!(issue(&due, Validity { not_after: end + 1, ..span(1) }), Err(GivenError::Dates));
    assert_eq!(issue(&due, Validity { not_before: NOW - DAY - 1, ..span(1) }), Err(GivenError::Dates));
    assert_eq!(issue(&due, Validity { not_before: NOW, not_after: NOW }), Err(GivenError::Dates));
}

/// The same, of what only openssl makes: extensions, hashes and serial numbers that are not ours.
#[test]
fn answers_of_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cluster = pki_fixture::cluster();
    let whole = secrets::tests::fixture(1);
    let (secrets, _) = without(&whole, &[Ca::Kubernetes]);
    let outside = Outside::open(&secrets, &cluster).unwrap();
    let entry = &whole.authorities[&Ca::Kubernetes][0];
    std::fs::write(file("ca.crt"), pem::encode_secret(pem::CERTIFICATE, &entry.certificate).expose()).unwrap();
    std::fs::write(file("ca.key"), entry.key.as_ref().unwrap().private_pem().expose()).unwrap();
    let wanted = outside.wanted.iter().find(|wanted| wanted.leaf.row == Row::Scheduler).unwrap();
    std::fs::write(file("x.csr"), outside.request(wanted).unwrap().expose()).unwrap();
    let (csr, crt, key, ext) = (file("x.csr"), file("ca.crt"), file("ca.key"), file("ext"));
    let client = "extendedKeyUsage=clientAuth\n";
    let usage = |is: &str| Err(GivenError::Usage { is: is.into(), wanted: "clientAuth".into() });
    for (number, (more, extensions, expected)) in [
        (&["-copy_extensions", "copyall"][..], String::new(), Ok(())),
        (&["-copy_extensions", "copyall"], "authorityKeyIdentifier=keyid\n".into(), Ok(())),
        (&[], client.into(), Ok(())),
        (&["-sha384"], client.into(), Ok(())),
        (&["-sha1"], client.into(), Err(GivenError::Algorithm)),
        (&["-sha512"], client.into(), Err(GivenError::Algorithm)),
        (&[], String::new(), usage("nothing in particular")),
        (&[], "extendedKeyUsage=clientAuth,codeSigning,emailProtection,1.2.3.4\n".into(), {
            usage("clientAuth, codeSigning, emailProtection, something else")
        }),
        (&[], "extendedKeyUsage=anyExtendedKeyUsage\n".into(), usage("anything")),
        (&[], format!("{client}basicConstraints=critical,CA:TRUE\n"), Err(GivenError::IsCa)),
        (&[], format!("{client}keyUsage=digitalSignature,keyCertSign\n"), Err(GivenError::IsCa)),
        (&[], format!("{client}keyUsage=keyEncipherment\n"), Err(GivenError::KeyUsage)),
        (&[], format!("{client}1.2.3.4=critical,DER:0500\n"), Err(GivenError::Critical("1.2.3.4".into()))),
        (&[], format!("{client}1.2.3.4=DER:0500\n"), Ok(())),
        (&["-set_serial", "-5"], client.into(), Err(GivenError::Serial)),
    ]
    .into_iter()
    .enumerate()
    {
        let serial = (number + 1).to_string();
        std::fs::write(&ext, format!("[all]\n{extensions}")).unwrap();
        let mut args = vec!["x509", "-req", "-in", &csr, "-CA", &crt, "-CAkey", &key, "-days", "20", "-extfile", &ext];
        args.extend(["-extensions", "all"]);
        if !more.contains(&"-set_serial") {
            args.extend(["-set_serial", &serial]);
        }
        args.extend(more);
        let Some(said) = openssl(&args, b"") else { return };
        let start = said.find("-----BEGIN").unwrap();
        let end = said.find("-----END CERTIFICATE-----").unwrap() + "-----END CERTIFICATE-----".len();
        let der = pem::decode(pem::CERTIFICATE, &said[start..end]).unwrap();
        let found = outside.accept(wanted, &der).unwrap().map(|_| ());
        assert_eq!(found, expected, "{more:?} {extensions:?}");
    }
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
