//! Tests of filling: what comes out, and every refusal.

use super::*;
use crate::{
    draft::Row,
    pki::{
        fixture::{self, DAY, YEAR, file},
        table,
    },
    secrets::{self, tests::NOW},
};
use nodekiln_payload::{Dropin, UnitState};
use nodekiln_plan::NodeStep;
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
        assert!(filled.plan.files.is_sorted_by(|a, b| a.path < b.path));
        assert!(filled.tree.files.is_sorted_by(|a, b| a.path < b.path));
        for entry in &filled.plan.files {
            let place = entry.staged.as_ref().unwrap_or(&entry.path);
            let file = filled.tree.files.iter().find(|file| file.path == *place).unwrap();
            assert_eq!(file.sha256, entry.sha256, "{place}");
            assert_eq!(Sha256::of(file.contents.expose()), file.sha256, "{place}");
            assert_eq!(entry.staged.is_some(), entry.kind != FileKind::Laid, "{place}");
            let mode = if entry.staged.is_some() { Mode::PRIVATE } else { entry.mode };
            assert_eq!(file.mode, mode, "{place}");
        }
        // All but the plan itself.
        assert_eq!(filled.tree.files.len(), filled.plan.files.len() + 1);
        assert_eq!(contents(&filled, paths::PLAN).as_bytes(), filled.plan.to_vec().unwrap());
        assert_eq!(NodePlan::from_slice(contents(&filled, paths::PLAN).as_bytes()).unwrap(), filled.plan);
    }
}

#[test]
fn staged_places() {
    let filled = filled("cp1");
    let staged: Vec<_> = filled
        .plan
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
    let identity = &first.plan.identity;
    assert_eq!((identity.generation, identity.not_before, identity.boot_before), (1, NOW - DAY, NOW + YEAR));
    assert_eq!(identity.etcd_digest, second.plan.identity.etcd_digest);
    assert_eq!(*worker.plan.identity.etcd_digest.as_bytes(), [0; 32]);
    assert_ne!(identity.etcd_digest, worker.plan.identity.etcd_digest);
    // Another CA, another member, another address: another cluster.
    let cluster = fixture::cluster();
    let draft = fixture::draft(&cluster, "cp1");
    let other = crate::pki::Authority::open(&secrets::tests::fixture(2), &cluster).unwrap();
    let mut digests = vec![identity.etcd_digest, fill(&other, &draft).unwrap().plan.identity.etcd_digest];
    for change in [0, 1] {
        let mut draft = draft.clone();
        let members = &mut draft.spec.etcd.as_mut().unwrap().members;
        if change == 0 {
            members.pop();
        } else {
            members[2].address = "10.0.0.77".parse().unwrap();
        }
        digests.push(fill(fixture::authority(), &draft).unwrap().plan.identity.etcd_digest);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

#[test]
fn renewal_moves_the_leaves_alone() {
    let cluster = fixture::cluster();
    let mut secrets = secrets::tests::fixture(1);
    secrets.renewed_at += 100 * DAY;
    secrets.generation = 2;
    let renewed = crate::pki::Authority::open(&secrets, &cluster).unwrap();
    let identity = fill(&renewed, &fixture::draft(&cluster, "cp1")).unwrap().plan.identity;
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
        filled.plan.files.iter().filter(|entry| entry.path.as_str().starts_with(UNIT_DIR)).cloned().collect();
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
    draft.files.push(file(
        "/etc/systemd/system/kubelet.service",
        Mode::PUBLIC,
        FileKind::Laid,
        Contents::Text("".into()),
    ));
    let error = fill(fixture::authority(), &draft).unwrap_err();
    assert_eq!(error.to_string(), "/etc/systemd/system/kubelet.service: two files of this node have this path");
}

#[test]
fn api_steps() {
    let mut draft = fixture::draft(&fixture::cluster(), "cp1");
    assert!(filled("cp1").plan.file(paths::API_OBJECTS).is_none());
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
    let entry = filled.plan.file(paths::API_OBJECTS).unwrap();
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

/// The table is enforced where keys are put in, whatever a planner asks for.
#[test]
fn refusals() {
    let cluster = fixture::cluster();
    let authority = fixture::authority();
    let (private, public) = (Mode::PRIVATE, Mode::PUBLIC);
    let leaf = |row, node: usize| table::leaf(row, &cluster, Some(&cluster.nodes[node]));
    let key = |row, node| Contents::Leaf(leaf(row, node), LeafForm::Key);
    let template = |part| Contents::Template(vec![Part::Text("x".into()), part]);
    // The draft's node is the nth of cp1, cp2, cp3, w1.
    for (node, mode, kind, contents, message) in [
        (3, private, FileKind::Laid, Contents::Shared(Shared::CaKey), "/x: this node must not hold the key `ca`"),
        (
            3,
            private,
            FileKind::Laid,
            Contents::Shared(Shared::ServiceAccountKey),
            "/x: this node must not hold the key `sa`",
        ),
        (
            3,
            private,
            FileKind::Laid,
            template(Part::Base64(Shared::EncryptionKey(0))),
            "/x: this node must not hold the key `encryption-at-rest`",
        ),
        (3, private, FileKind::Laid, key(Row::ApiServer, 0), "/x: this node must not hold the key `apiserver/cp1`"),
        (
            3,
            private,
            FileKind::Laid,
            key(Row::KubeletClient, 0),
            "/x: this node must not hold the key `kubelet.conf/cp1`",
        ),
        (0, private, FileKind::Laid, key(Row::EtcdPeer, 1), "/x: this node must not hold the key `etcd-peer/cp2`"),
        (0, private, FileKind::Laid, key(Row::Admin, 0), "/x: this node must not hold the key `admin.conf`"),
        (
            0,
            private,
            FileKind::Credential,
            template(Part::LeafBase64(leaf(Row::Admin, 0), LeafForm::Both)),
            "/x: this node must not hold the key `admin.conf`",
        ),
        (
            0,
            private,
            FileKind::Laid,
            key(Row::SuperAdmin, 0),
            "/x: the key `super-admin.conf` may only be staged as a credential, which firstboot erases",
        ),
        (
            0,
            private,
            FileKind::Staged,
            key(Row::SuperAdmin, 0),
            "/x: the key `super-admin.conf` may only be staged as a credential, which firstboot erases",
        ),
        (0, public, FileKind::Laid, Contents::Shared(Shared::CaKey), "/x: holds the key `ca`, but its mode is 0644"),
        (0, public, FileKind::Staged, key(Row::EtcdPeer, 0), "/x: holds the key `etcd-peer/cp1`, but its mode is 0644"),
        (
            0,
            "0640".parse().unwrap(),
            FileKind::Laid,
            template(Part::Base64(Shared::EncryptionKey(0))),
            "/x: holds the key `encryption-at-rest`, but its mode is 0640",
        ),
        (
            0,
            private,
            FileKind::Laid,
            Contents::Leaf(crate::draft::Leaf { node: None, ..leaf(Row::EtcdPeer, 0) }, LeafForm::Key),
            "the certificate `etcd-peer` is made for a node",
        ),
        (
            0,
            private,
            FileKind::Laid,
            Contents::Leaf(
                crate::draft::Leaf { node: Some("cp1".parse().unwrap()), ..leaf(Row::Scheduler, 0) },
                LeafForm::Key,
            ),
            "the certificate `scheduler.conf` is made for all nodes, not for one",
        ),
    ] {
        let mut draft = fixture::draft(&cluster, cluster.nodes[node].name.as_str());
        draft.files.push(file("/x", mode, kind, contents));
        assert_eq!(fill(authority, &draft).unwrap_err().to_string(), message);
    }
    // Another node's certificate is public.
    let mut draft = fixture::draft(&cluster, "w1");
    draft.files.push(file(
        "/x",
        public,
        FileKind::Laid,
        Contents::Leaf(leaf(Row::ApiServer, 0), LeafForm::Certificate),
    ));
    assert!(fill(authority, &draft).is_ok());
    // The duties are the draft's: a worker that is drafted as such gets nothing of a control plane.
    let mut draft = fixture::draft(&cluster, "cp1");
    draft.holder.duties = vec![Duty::Kubelet];
    assert!(matches!(fill(authority, &draft), Err(FillError::Placement { .. })));
}

#[test]
fn two_files_in_one_place() {
    let cluster = fixture::cluster();
    for (path, kind, message) in [
        ("/etc/motd", FileKind::Laid, "/etc/motd"),
        ("/etc/motd", FileKind::Staged, "/etc/motd"),
        (paths::PLAN, FileKind::Laid, paths::PLAN),
        (
            "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.key",
            FileKind::Laid,
            "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.key",
        ),
    ] {
        let mut draft = fixture::draft(&cluster, "w1");
        draft.files.push(file(path, Mode::PRIVATE, kind, Contents::Text("x".into())));
        let error = fill(fixture::authority(), &draft).unwrap_err();
        assert_eq!(error.to_string(), format!("{message}: two files of this node have this path"));
    }
    let mut draft = fixture::draft(&cluster, "w1");
    let long = format!("/{}", vec!["a".repeat(203); 20].join("/"));
    draft.files.push(file(&long, Mode::PRIVATE, FileKind::Staged, Contents::Text("x".into())));
    assert!(matches!(fill(fixture::authority(), &draft), Err(FillError::Path(path, PathError::Long)) if path == long));
}

#[test]
fn debug_shows_nothing() {
    let authority = fixture::authority();
    assert_eq!(format!("{authority:?}"), "Authority(generation 1)");
    let shown = format!("{:?}", filled("cp1"));
    assert!(!shown.contains("BEGIN") && !shown.contains("PRIVATE"), "{shown}");
}

/// A pool's token is on its payload and, until firstboot has finished, on control planes; its end is the payload's.
#[test]
fn tokens() {
    use crate::{
        config::{Cluster, NodeIdentity, NodeKind},
        draft::TokenForm,
        pki::{Authority, IssueError, table::Holder},
    };
    let mut cluster: Cluster = fixture::cluster();
    let mut pool = cluster.nodes[3].clone();
    pool.name = "pool".parse().unwrap();
    pool.kind = NodeKind::Pool;
    pool.identity = NodeIdentity::BootstrapToken { ttl: Some(DAY) };
    cluster.pools = vec![pool];
    cluster.nodes[3].identity = NodeIdentity::BootstrapToken { ttl: None };
    let [pool, worker] = ["pool", "w1"].map(|name| name.parse::<nodekiln_plan::NodeName>().unwrap());
    let mut secrets = secrets::tests::fixture(1);
    let lacking = Authority::open(&secrets, &cluster).unwrap();
    assert!(secrets.complete(&cluster, NOW + DAY, secrets::tests::fixed_random(3)).unwrap());
    assert!(!secrets.complete(&cluster, NOW + 2 * DAY, secrets::tests::fixed_random(4)).unwrap());
    let authority = Authority::open(&secrets, &cluster).unwrap();

    let bootstrap = |owner: &nodekiln_plan::NodeName, mode| {
        let parts = vec![Part::Text("token: ".into()), Part::Token(owner.clone(), TokenForm::Whole)];
        file("/var/lib/nodekiln/stage/bootstrap.conf", mode, FileKind::Credential, Contents::Template(parts))
    };
    let draft = |name: &nodekiln_plan::NodeName, owner: &nodekiln_plan::NodeName, mode| {
        let mut draft = fixture::draft(&cluster, "w1");
        draft.spec.node = name.clone();
        draft.holder = Holder { name: name.clone(), duties: vec![Duty::Token] };
        draft.files = vec![bootstrap(owner, mode)];
        draft
    };
    let filled = |owner: &nodekiln_plan::NodeName| fill(&authority, &draft(owner, owner, Mode::PRIVATE)).unwrap();
    let token = secrets.token(&pool).unwrap();
    let conf = filled(&pool);
    let text = contents(&conf, "/var/lib/nodekiln/stage/bootstrap.conf");
    assert!(text.starts_with(&format!("token: {}.", token.id())) && text.len() == "token: ".len() + 23, "{text}");
    assert_eq!(key_names(&conf), ["bootstrap-token/pool"]);
    assert_eq!(conf.plan.identity.boot_before, NOW + 2 * DAY);
    // A token without end: the CAs' end is the payload's.
    assert_eq!(filled(&worker).plan.identity.boot_before, authority.ca_validity().not_after);

    // Nobody else's, and nothing that others could read.
    let error = fill(&authority, &draft(&worker, &pool, Mode::PRIVATE)).unwrap_err();
    let placed = "/var/lib/nodekiln/stage/bootstrap.conf: this node must not hold the key `bootstrap-token/pool`";
    assert_eq!(error.to_string(), placed);
    let error = fill(&authority, &draft(&pool, &pool, Mode::PUBLIC)).unwrap_err();
    assert!(matches!(error, FillError::Mode { .. }), "{error}");
    let error = fill(&lacking, &draft(&pool, &pool, Mode::PRIVATE)).unwrap_err();
    assert!(matches!(&error, FillError::Issue(IssueError::Token(owner)) if *owner == pool), "{error}");

    // On a control plane it may stand among the API objects, and nowhere else.
    let text = |text: &str| Part::Text(text.into());
    let object = |end| {
        DraftStep::Template(vec![
            text(r#"{"apply":{"kind":"Secret","name":"bootstrap-token-"#),
            Part::Token(pool.clone(), TokenForm::Id),
            text(r#"","data":""#),
            Part::TokenBase64(pool.clone(), TokenForm::Secret),
            text(r#"","end":""#),
            end,
            text("\"}}"),
        ])
    };
    let mut control_plane = fixture::draft(&cluster, "cp1");
    control_plane.api = vec![object(Part::Token(pool.clone(), TokenForm::End))];
    let told = fill(&authority, &control_plane).unwrap();
    assert!(key_names(&told).contains(&"bootstrap-token/pool".to_owned()));
    assert_eq!(told.plan.identity.boot_before, NOW + YEAR, "it does not authenticate with it");
    let ApiStep::Apply(object_told) = serde_json::from_str(contents(&told, paths::API_OBJECTS).trim()).unwrap() else {
        panic!()
    };
    assert_eq!(object_told["name"], format!("bootstrap-token-{}", token.id()));
    assert_eq!(object_told["end"], "2026-02-02T12:00:00Z");
    let found = crate::pki::scan::search(contents(&told, paths::API_OBJECTS).as_bytes(), authority.needles());
    assert_eq!(found, (vec![], vec![KeyId::Token(pool.clone())]));

    control_plane.api = vec![object(Part::Token(worker.clone(), TokenForm::End))];
    assert!(matches!(fill(&authority, &control_plane), Err(FillError::Issue(IssueError::Token(_)))), "it has no end");
    control_plane.api = vec![];
    control_plane.files = vec![bootstrap(&pool, Mode::PRIVATE)];
    assert!(matches!(fill(&authority, &control_plane), Err(FillError::Placement { .. })));
    // The pool's own is erased too.
    let mut kept = draft(&pool, &pool, Mode::PRIVATE);
    kept.files[0].kind = FileKind::Laid;
    assert!(matches!(fill(&authority, &kept), Err(FillError::Custody { .. })));
    let mut other = draft(&pool, &pool, Mode::PRIVATE);
    other.api = vec![object(text("x"))];
    assert!(matches!(fill(&authority, &other), Err(FillError::Placement { .. })), "pools tell nobody");
}

/// The user's own key for etcd is placed as ours would be, told as the user's, and its certificate bounds the payload.
#[test]
fn the_users_own_files_for_etcd() {
    use crate::{
        config::{ExternalEtcd, InputFile, NodeFile},
        pki::{Authority, ExternalEtcdError, OpenError, table::Usage},
    };
    let other = Authority::open(&secrets::tests::fixture(2), &fixture::cluster()).unwrap();
    let key = crate::pki::key::tests::rsa_fixture();
    let subject =
        crate::pki::certificate::Subject { common_name: "theirs", organization: None, sans: &[], usage: Usage::Client };
    let validity = crate::pki::certificate::Validity::starting(NOW, 5 * DAY).unwrap();
    let certificate = other.signer(Ca::Etcd).issue(&subject, &key, validity).unwrap();
    let certificate = crate::pki::pem::encode_secret("CERTIFICATE", &certificate);
    let input = |bytes: &[u8]| Some(NodeFile::Input(InputFile { path: "x".into(), bytes: bytes.into() }));
    let with = |cert, key| {
        let mut cluster = fixture::cluster();
        cluster.external_etcd = Some(ExternalEtcd { endpoints: vec![], ca: None, cert, key });
        cluster
    };
    let pkcs1: &[u8] = include_bytes!("../key/fixtures/rsa-pkcs1.pem");
    let cluster = with(input(certificate.expose()), input(pkcs1));
    let authority = Authority::open(&secrets::tests::fixture(1), &cluster).unwrap();
    let bytes = |file: &Option<NodeFile>| match file {
        Some(NodeFile::Input(file)) => Contents::Bytes(crate::draft::Blob::of(file.bytes.clone())),
        _ => panic!(),
    };
    let external = cluster.external_etcd.as_ref().unwrap();
    let (path, private) = ("/etc/kubernetes/pki/apiserver-etcd-client.key", Mode::PRIVATE);
    let draft = |name: &str, mode| {
        let mut draft = fixture::draft(&cluster, name);
        draft.files.retain(
            |file| !matches!(&file.contents, Contents::Leaf(leaf, _) if table::spec(leaf.row).issuer == Ca::Etcd),
        );
        draft.files.push(file(path, mode, FileKind::Laid, bytes(&external.key)));
        draft.files.push(file("/etc/kubernetes/pki/x.crt", mode, FileKind::Laid, bytes(&external.cert)));
        draft
    };
    let filled = fill(&authority, &draft("cp1", private)).unwrap();
    assert!(filled.keys.contains(&(KeyId::ExternalEtcd, key.spki_sha256())));
    assert_eq!(filled.plan.identity.boot_before, NOW + 5 * DAY);
    assert_eq!(authority.identify(&key.spki_sha256()), Some(KeyId::ExternalEtcd));
    assert!(authority.key_ids().contains(&KeyId::ExternalEtcd));
    // Nothing of our own etcd is issued.
    assert!(!authority.key_ids().contains(&KeyId::Leaf(Row::ApiServerEtcdClient, None)));
    let leaf = table::leaf(Row::ApiServerEtcdClient, &cluster, None);
    assert!(matches!(authority.issue(&leaf), Err(IssueError::Unused("apiserver-etcd-client"))));
    assert!(matches!(fill(&authority, &draft("cp1", Mode::PUBLIC)), Err(FillError::Mode { .. })));
    let Err(error @ FillError::Placement { .. }) = fill(&authority, &draft("w1", private)) else { panic!() };
    assert_eq!(error.to_string(), format!("{path}: this node must not hold the key `etcd.external.keyFile`"));

    let open = |cert, key| match Authority::open(&secrets::tests::fixture(1), &with(cert, key)).err() {
        Some(OpenError::ExternalEtcd(error)) => Some(error),
        other => panic!("{other:?}"),
    };
    let encrypted: &[u8] = include_bytes!("../key/fixtures/p256-encrypted.pem");
    let p256: &[u8] = include_bytes!("../key/fixtures/p256-sec1.pem");
    let good = || input(certificate.expose());
    assert_eq!(open(good(), input(b"x")), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(encrypted)), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(&[pkcs1, p256].concat())), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(p256)), Some(ExternalEtcdError::OtherKey));
    assert_eq!(open(input(b"x"), input(pkcs1)), Some(ExternalEtcdError::Certificate));
    // A key of the cluster's own stays what it is, whoever names it.
    let ca_key = secrets::tests::fixture(1).authorities[&Ca::Kubernetes][0].key.clone().unwrap();
    let authority =
        Authority::open(&secrets::tests::fixture(1), &with(None, input(ca_key.private_pem().expose()))).unwrap();
    assert_eq!(authority.identify(&ca_key.spki_sha256()), Some(KeyId::Ca(Ca::Kubernetes)));
}
