//! Tests of filling: what comes out, and every refusal.

mod refusals;
mod users;

use super::laid::UNIT_DIR;
use super::*;
use crate::{
    draft::{Contents, DraftStep, LeafForm, Part, Row, Shared},
    pki::{
        fixture::{self, DAY, YEAR, file, plan},
        table,
    },
    secrets::{self, tests::NOW},
};
use nodekiln_payload::{Dropin, UnitState};
use nodekiln_plan::{ApiStep, FileKind, NodeStep};
use std::sync::Arc;

fn filled(name: &str) -> Filled {
    fill(fixture::authority(), &fixture::draft(&fixture::cluster(), name)).unwrap()
}

fn contents<'a>(filled: &'a Filled, path: &str) -> &'a str {
    let file = filled.tree.files.iter().find(|file| file.path.as_str() == path);
    std::str::from_utf8(file.unwrap_or_else(|| panic!("no {path}")).contents.expose()).unwrap()
}

#[test]
fn plan_and_tree_agree() {
    for name in ["cp1", "w1"] {
        let filled = filled(name);
        let plan = plan(&filled);
        // The class's, then its own.
        assert_eq!(plan.files.windows(2).filter(|pair| pair[0].path > pair[1].path).count(), 1);
        assert!(filled.tree.files.is_sorted_by(|a, b| a.path < b.path));
        for entry in &plan.files {
            let place = entry.staged.as_ref().unwrap_or(&entry.path);
            let file = filled.tree.files.iter().find(|file| file.path == *place).unwrap();
            assert_eq!(file.sha256, entry.sha256, "{place}");
            assert_eq!(Sha256::of(file.contents.expose()), file.sha256, "{place}");
            assert_eq!(entry.staged.is_some(), entry.kind != FileKind::Laid, "{place}");
            let mode = if entry.staged.is_some() { Mode::PRIVATE } else { entry.mode };
            assert_eq!(file.mode, mode, "{place}");
        }
        // All but the plan itself.
        assert_eq!(filled.tree.files.len(), plan.files.len() + 1);
        assert_eq!(contents(&filled, paths::PLAN).as_bytes(), plan.to_vec().unwrap());
        assert_eq!(plan.identity, filled.identity);
    }
}

#[test]
fn staged_places() {
    let filled = filled("cp1");
    let plan = plan(&filled);
    let staged: Vec<_> = plan
        .files
        .iter()
        .filter_map(|entry| Some((entry.path.as_str(), entry.mode.to_string(), entry.staged.as_ref()?.as_str())))
        .collect();
    let pem = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    assert_eq!(
        staged,
        [
            (
                "/etc/kubernetes/manifests/etcd.yaml",
                "0600".into(),
                "/var/lib/nodekiln/stage/etc/kubernetes/manifests/etcd.yaml"
            ),
            (pem, "0600".into(), "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet-client-current.pem"),
            (
                "/var/lib/kubelet/pki/kubelet.crt",
                "0644".into(),
                "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.crt"
            ),
            (
                "/var/lib/kubelet/pki/kubelet.key",
                "0600".into(),
                "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.key"
            ),
            (paths::API_CREDENTIAL, "0600".into(), paths::API_CREDENTIAL),
        ]
    );
    let directories: Vec<_> = filled.tree.directories.iter().map(|d| format!("{} {}", d.mode, d.path)).collect();
    assert_eq!(
        directories,
        [
            "0755 /etc/kubernetes/pki",
            "0700 /var/lib/nodekiln",
            "0700 /var/lib/nodekiln/stage",
            "0700 /var/lib/nodekiln/stage/etc",
            "0700 /var/lib/nodekiln/stage/etc/kubernetes",
            "0700 /var/lib/nodekiln/stage/etc/kubernetes/manifests",
            "0700 /var/lib/nodekiln/stage/var",
            "0700 /var/lib/nodekiln/stage/var/lib",
            "0700 /var/lib/nodekiln/stage/var/lib/kubelet",
            "0700 /var/lib/nodekiln/stage/var/lib/kubelet/pki",
        ]
    );
}

#[test]
fn contents_of_every_form() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let filled = filled("cp1");
    assert_eq!(contents(&filled, "/etc/motd"), "hello\n");
    assert_eq!(contents(&filled, "/etc/kubernetes/pki/ca.crt"), authority.bundle(Ca::Kubernetes));
    let public = contents(&filled, "/etc/kubernetes/pki/sa.pub");
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let enc: serde_json::Value = serde_json::from_str(contents(&filled, "/etc/kubernetes/pki/enc.json")).unwrap();
    let key = authority.symmetric_keys()[0].1;
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    assert_eq!(enc["secret"], base64(key));
    // A kubeconfig holds the certificate that is issued for its row.
    let kubeconfig: serde_json::Value =
        serde_saphyr::from_str(contents(&filled, "/etc/kubernetes/scheduler.conf")).unwrap();
    let issued = authority.issue(&table::leaf(Row::Scheduler, &cluster, None)).unwrap();
    let user = &kubeconfig["users"][0]["user"];
    let form = |form| base64(issued.form(form).bytes.expose());
    assert_eq!(user["client-certificate-data"], form(LeafForm::Certificate));
    assert_eq!(user["client-key-data"], form(LeafForm::Key));
    let ca = &kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"];
    assert_eq!(*ca, base64(authority.bundle(Ca::Kubernetes).as_bytes()));
    // One PEM file with both halves, of one key.
    let pem = contents(&filled, "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet-client-current.pem");
    assert_eq!(pem.matches("-----BEGIN ").count(), 2);
}

fn key_names(filled: &Filled) -> Vec<String> {
    filled.keys.iter().map(|(key, _)| key.to_string()).collect()
}

#[test]
fn keys_are_told() {
    assert_eq!(key_names(&filled("w1")), ["kubelet.conf/w1", "kubelet-server/w1"]);
    let cp = filled("cp2");
    assert_eq!(
        key_names(&cp),
        [
            "ca",
            "sa",
            "encryption-at-rest",
            "apiserver/cp2",
            "apiserver-etcd-client",
            "etcd-peer/cp2",
            "scheduler.conf",
            "kubelet.conf/cp2",
            "kubelet-server/cp2",
            "super-admin.conf",
        ]
    );
    let authority = fixture::authority();
    for (key, digest) in &cp.keys {
        match key {
            KeyId::Encryption(_) => assert_eq!(*digest, Sha256::of(authority.symmetric_keys()[0].1)),
            KeyId::Leaf(_, Some(_)) => assert_eq!(authority.identify(digest), None),
            _ => assert_eq!(authority.identify(digest).as_ref(), Some(key)),
        }
    }
}

#[test]
fn identity() {
    let (first, second, worker) = (filled("cp1"), filled("cp2"), filled("w1"));
    let identity = &first.identity;
    assert_eq!((identity.generation, identity.not_before, identity.boot_before), (1, NOW - DAY, NOW + YEAR));
    assert_eq!(identity.etcd_digest, second.identity.etcd_digest);
    assert_eq!(*worker.identity.etcd_digest.as_bytes(), [0; 32]);
    assert_ne!(identity.etcd_digest, worker.identity.etcd_digest);
    // Another CA, another member, another address: another cluster.
    let cluster = fixture::cluster();
    let draft = fixture::draft(&cluster, "cp1");
    let other = crate::pki::Authority::open(&secrets::tests::fixture(2), &cluster).unwrap();
    let mut digests = vec![identity.etcd_digest, fill(&other, &draft).unwrap().identity.etcd_digest];
    for change in [0, 1] {
        let mut draft = draft.clone();
        let members = &mut draft.spec.etcd.as_mut().unwrap().members;
        if change == 0 {
            members.pop();
        } else {
            members[2].address = "10.0.0.77".parse().unwrap();
        }
        digests.push(fill(fixture::authority(), &draft).unwrap().identity.etcd_digest);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

/// Members of one cluster have to have the same, those of payloads that an older nodekiln made among them.
#[test]
fn known_etcd_digest() {
    let bundle = fixture::authority().bundle(Ca::Etcd).to_owned();
    let parts =
        ["nodekiln etcd 1", &bundle, "cp1", "10.0.0.1", "cp2", "10.0.0.2", "cp3", "10.0.0.3"].map(str::as_bytes);
    let digest = filled("cp1").identity.etcd_digest;
    assert_eq!(digest, Sha256::of_parts(parts));
    assert_eq!(digest.to_string(), "088fae710dc7470cd93aea1ac48fbc378ed648b2ac99650e46ec507da25c350d");
}

#[test]
fn renewal_moves_the_leaves_alone() {
    let cluster = fixture::cluster();
    let mut secrets = secrets::tests::fixture(1);
    secrets.renewed_at += 100 * DAY;
    secrets.generation = 2;
    let renewed = crate::pki::Authority::open(&secrets, &cluster).unwrap();
    let identity = fill(&renewed, &fixture::draft(&cluster, "cp1")).unwrap().identity;
    assert_eq!(identity.generation, 2);
    assert_eq!((identity.not_before, identity.boot_before), (NOW + 99 * DAY, NOW + 100 * DAY + YEAR));
    assert_eq!(renewed.bundle(Ca::Kubernetes), fixture::authority().bundle(Ca::Kubernetes));
}

#[test]
fn leaves_must_not_outlive_their_ca() {
    use crate::pki::{Authority, OpenError};
    let mut cluster = fixture::cluster();
    let secrets = secrets::tests::fixture(1);
    cluster.certificate_validity = 10 * YEAR;
    assert!(Authority::open(&secrets, &cluster).is_ok());
    cluster.certificate_validity += 1;
    let error = Authority::open(&secrets, &cluster).unwrap_err();
    assert!(matches!(error, OpenError::OutlivesCa { ca: Ca::Kubernetes, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "certificateValidityPeriod: leaves would end 2036-01-29, after the kubernetes CA's certificate, which ends \
         2036-01-29; set it to at most 87600h, or make another CA (`nodekiln secrets rotate-ca`)"
    );
    cluster.certificate_validity = i64::MAX;
    assert!(matches!(Authority::open(&secrets, &cluster), Err(OpenError::Validity)));
    // Where nothing remains, no period would do.
    cluster.certificate_validity = YEAR;
    let late = secrets::Secrets { renewed_at: NOW + 10 * YEAR - 1800, ..secrets };
    let error = Authority::open(&late, &cluster).unwrap_err().to_string();
    assert!(error.ends_with("which ends 2036-01-29; make another CA (`nodekiln secrets rotate-ca`)"), "{error}");
}

#[test]
fn same_inputs_same_bytes() {
    let bytes = |filled: &Filled| {
        let files = filled.tree.files.iter();
        files.map(|file| (file.path.clone(), file.contents.expose().to_vec())).collect::<Vec<_>>()
    };
    let cluster = fixture::cluster();
    let again = fill(&fixture::fresh_authority(), &fixture::draft(&cluster, "cp1")).unwrap();
    assert_eq!(bytes(&again), bytes(&filled("cp1")));
    // From two threads, in another order, after other nodes.
    let authority = &fixture::fresh_authority();
    std::thread::scope(|scope| {
        for names in [["cp1", "w1", "cp2"], ["cp2", "cp1", "w1"]] {
            let (authority, cluster) = (authority, &cluster);
            scope.spawn(move || {
                for name in names {
                    let again = fill(authority, &fixture::draft(cluster, name)).unwrap();
                    assert_eq!(bytes(&again), bytes(&filled(name)), "{name}");
                }
            });
        }
    });
}

/// What nodes share is one value in memory, so that it is encoded once.
#[test]
fn shared_contents_are_shared() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let [a, b] = ["cp1", "cp2"].map(|name| fill(authority, &fixture::draft(&cluster, name)).unwrap());
    let find = |filled: &Filled, path: &str| {
        Arc::clone(&filled.tree.files.iter().find(|file| file.path.as_str() == path).unwrap().contents)
    };
    for (path, same) in [
        ("/etc/kubernetes/pki/ca.crt", true),
        ("/etc/kubernetes/pki/sa.key", true),
        ("/etc/kubernetes/pki/apiserver-etcd-client.key", true),
        ("/opt/big", true),
        ("/etc/kubernetes/pki/apiserver.key", false),
    ] {
        assert_eq!(Arc::ptr_eq(&find(&a, path), &find(&b, path)), same, "{path}");
    }
}

#[test]
fn units_are_in_the_plan_but_not_among_the_files() {
    let mut draft = fixture::draft(&fixture::cluster(), "w1");
    let unit = |name: &str, contents: Option<&str>, state| Unit {
        name: name.parse().unwrap(),
        state,
        contents: contents.map(str::to_owned),
        dropins: vec![],
    };
    let mut containerd = unit("containerd.service", None, UnitState::Unchanged);
    containerd.dropins = vec![Dropin { name: "10-x.conf".into(), contents: "[Service]\n".into() }];
    draft.units = vec![
        containerd,
        unit("kubelet.service", Some("[Unit]\n"), UnitState::Disabled),
        unit("update.service", None, UnitState::Masked),
    ];
    let filled = fill(fixture::authority(), &draft).unwrap();
    let units: Vec<_> =
        plan(&filled).files.into_iter().filter(|entry| entry.path.as_str().starts_with(UNIT_DIR)).collect();
    assert_eq!(
        units,
        [("containerd.service.d/10-x.conf", "[Service]\n"), ("kubelet.service", "[Unit]\n")].map(|(path, contents)| {
            FileEntry {
                path: format!("{UNIT_DIR}/{path}").parse().unwrap(),
                mode: Mode::PUBLIC,
                sha256: Sha256::of(contents.as_bytes()),
                kind: FileKind::Laid,
                staged: None,
            }
        })
    );
    assert!(!filled.tree.files.iter().any(|file| file.path.as_str().starts_with(UNIT_DIR)));
    assert_eq!(filled.tree.units, draft.units);
    // A file in a unit's place is two files in one place.
    draft.files.push(file("/etc/systemd/system/kubelet.service", Mode::PUBLIC, FileKind::Laid, Contents::text("")));
    let error = fill(fixture::authority(), &draft).unwrap_err();
    assert_eq!(error.to_string(), "/etc/systemd/system/kubelet.service: two files of this node have this path");
}

#[test]
fn api_steps() {
    let mut draft = fixture::draft(&fixture::cluster(), "cp1");
    assert!(plan(&filled("cp1")).file(paths::API_OBJECTS).is_none());
    let step = NodeStep {
        name: "w1".parse().unwrap(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        taints: vec![],
        pod_cidrs: vec![],
    };
    draft.api = vec![
        DraftStep::Step(ApiStep::Node(step.clone())),
        DraftStep::Template(vec![
            Part::Text(r#"{"apply":{"kind":"ConfigMap","data":{"ca":""#.into()),
            Part::Base64(Shared::Ca),
            Part::Text(r#""}}}"#.into()),
        ]),
    ];
    let authority = fixture::authority();
    let filled = fill(authority, &draft).unwrap();
    let plan = plan(&filled);
    let entry = plan.file(paths::API_OBJECTS).unwrap();
    assert_eq!((entry.kind, entry.mode), (FileKind::Laid, Mode::PRIVATE));
    let steps: Vec<ApiStep> =
        contents(&filled, paths::API_OBJECTS).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps[0], ApiStep::Node(step));
    let ApiStep::Apply(object) = &steps[1] else { panic!() };
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(authority.bundle(Ca::Kubernetes));
    assert_eq!(object["data"]["ca"], ca);

    let text = |text: &str| Part::Text(text.into());
    let leaf = table::leaf(Row::Scheduler, &fixture::cluster(), None);
    for bad in [
        vec![text("{\"apply\":{}}\n")],
        vec![text("{\"apply\":{}} x")],
        vec![text("{\"other\":{}}")],
        vec![text("{\"apply\":{\"a\":\""), Part::Base64(Shared::CaKey), text("\"}}")],
        vec![text("{\"apply\":{\"a\":\""), Part::Base64(Shared::EncryptionKey(0)), text("\"}}")],
        vec![text("{\"apply\":{\"a\":\""), Part::LeafBase64(leaf, LeafForm::Key), text("\"}}")],
    ] {
        draft.api = vec![draft.api[0].clone(), DraftStep::Template(bad)];
        let error = fill(authority, &draft).unwrap_err();
        assert!(matches!(error, FillError::Step(1)), "{error}");
    }
}

#[test]
fn debug_shows_nothing() {
    let authority = fixture::authority();
    assert_eq!(format!("{authority:?}"), "Authority(generation 1)");
    let shown = format!("{:?}", filled("cp1"));
    assert!(!shown.contains("BEGIN") && !shown.contains("PRIVATE"), "{shown}");
}
