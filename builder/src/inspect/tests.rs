use super::*;
use crate::{
    bake::{Baked, Oven},
    config::{Cluster, Delivery, DeliveryMode, Platform, User},
    node::{fixture, plan},
    output::manifest::FileRole,
    pki::fixture::authority,
};
use nodekiln_plan::{Role, Sha256};

fn bake(cluster: &Cluster, index: usize) -> Baked {
    let node = &cluster.nodes[index];
    let draft = plan(cluster, node, &fixture::sources()).unwrap();
    let oven = Oven::new(cluster, authority(), Sha256::of(b""), false);
    oven.bake(node, &draft, oven.key(node, &draft).unwrap()).unwrap()
}

fn file(baked: &Baked, name: &str) -> Secret {
    let file = baked.files.iter().find(|file| file.path.ends_with(name));
    file.unwrap_or_else(|| panic!("no {name}")).bytes.clone()
}

fn alone(bytes: &Secret) -> Inspection {
    inspect(bytes, Beside::default()).unwrap()
}

const PASSWORD: &str = "$6$salt$verysecrethash";

fn cluster(profile: &str) -> Cluster {
    let mut cluster = fixture::cluster(profile, &["cp1"]);
    for node in &mut cluster.nodes {
        node.os.users.push(User {
            name: "ops".to_owned(),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAAKEY ops@example".to_owned()],
            password_hash: Some(Secret::from(PASSWORD.to_owned())),
            groups: vec!["sudo".to_owned()],
        });
    }
    cluster
}

#[test]
fn a_control_plane_is_told_whole() {
    for (profile, name, kind) in
        [("flatcar", "config.ign", Kind::Ignition), ("cloud-init", "user-data", Kind::CloudInit)]
    {
        let baked = bake(&cluster(profile), 0);
        let report = alone(&file(&baked, name));
        assert_eq!(report.kind, kind);
        let node = report.node.as_ref().unwrap();
        assert_eq!((node.name.as_str(), node.role), ("cp1", Some(Role::ControlPlane)));
        assert_eq!((node.not_before, node.boot_before), (Some(baked.row.not_before), Some(baked.row.boot_before)));
        assert_eq!(report.etcd_members.as_deref().map(<[_]>::len), Some(1));

        let certificate = |name: &str| {
            let found = report.certificates.iter().find(|certificate| certificate.name.as_deref() == Some(name));
            found.unwrap_or_else(|| panic!("no certificate {name}: {:?}", report.certificates))
        };
        assert!(certificate("ca").is_ca && certificate("etcd-ca").is_ca && certificate("front-proxy-ca").is_ca);
        let server = certificate("apiserver/cp1");
        assert!(server.sans.contains(&"kubernetes.default.svc.cluster.local".to_owned()), "{:?}", server.sans);
        assert!(server.sans.contains(&"10.96.0.1".to_owned()) && server.usages == ["server"]);
        assert_eq!(server.not_after, baked.row.boot_before);
        assert_eq!(certificate("etcd-server/cp1").path, "/etc/kubernetes/pki/etcd/server.crt");
        assert_eq!(certificate("etcd-peer/cp1").path, "/etc/kubernetes/pki/etcd/peer.crt");

        // The very keys that placement.json has, found without a secret.
        let mut told: Vec<_> =
            report.private_keys.iter().map(|key| (key.name.clone().unwrap(), key.path.clone(), key.spki)).collect();
        let mut placed: Vec<_> =
            baked.holdings.iter().map(|held| (held.key.clone(), held.path.clone(), Some(held.spki))).collect();
        told.sort();
        placed.sort();
        assert_eq!(told, placed);

        let conf = report.kubeconfigs.iter().find(|config| config.path == "/etc/kubernetes/scheduler.conf").unwrap();
        assert_eq!(conf.credentials, [material::Credential::Certificate("CN=system:kube-scheduler".to_owned())]);
        let manifest = report.files.iter().find(|file| file.path == "/etc/kubernetes/manifests/etcd.yaml").unwrap();
        assert_eq!(manifest.kind, Some(nodekiln_plan::FileKind::Decided));
        assert_eq!(manifest.staged.as_deref(), Some("/var/lib/nodekiln/stage/etc/kubernetes/manifests/etcd.yaml"));
        let unit = report.units.iter().find(|unit| unit.name == "nodekiln-firstboot.service").unwrap();
        assert_eq!((unit.state, unit.has_contents), ("enabled", true));
        assert_eq!(report.accounts[0].ssh_keys, ["ssh-ed25519 ops@example"]);
        assert!(report.accounts[0].has_password);
        assert!(report.api.contains(&"Node cp1".to_owned()) && report.api.contains(&"Node w1".to_owned()));
    }
}

/// Neither of the two forms holds a byte of a key, a password, or the name of what is served.
#[test]
fn nothing_secret_is_told() {
    let mut pointed = cluster("flatcar");
    let base_url = Some("https://192.0.2.1/x".to_owned());
    pointed.delivery = Delivery { mode: DeliveryMode::Pointer, base_url, ca: None };
    let stub = bake(&pointed, 0);
    let served = stub.files.iter().find(|file| file.role == FileRole::Served).unwrap();
    let name = served.path.strip_prefix("serve/").unwrap().strip_suffix(".ign").unwrap();
    let whole = bake(&cluster("flatcar"), 0);
    for bytes in
        [file(&stub, "pointer.ign"), served.bytes.clone(), file(&whole, "plan.json"), file(&whole, "config.ign")]
    {
        let report = alone(&bytes);
        for told in [text(&report), serde_json::to_string(&report).unwrap()] {
            assert!(crate::pki::scan::private_keys(told.as_bytes()).is_empty());
            let secrets = crate::pki::scan::Needles::new(authority().symmetric_keys());
            assert_eq!(crate::pki::scan::search(told.as_bytes(), &secrets).1, []);
            assert!(!told.contains(PASSWORD) && !told.contains("AAAAKEY") && !told.contains(name), "{told}");
        }
    }
    let report = alone(&file(&stub, "pointer.ign"));
    assert_eq!(report.kind, Kind::Pointer);
    assert_eq!(report.pointer.unwrap().source, "https://192.0.2.1/x/...");
}

#[test]
fn sizes_are_held_against_platforms() {
    let report = alone(&file(&bake(&cluster("flatcar"), 0), "config.ign"));
    for platform in &report.platforms {
        let (_, known) = Platform::ALL.iter().find(|(name, _)| *name == platform.name).unwrap();
        assert_eq!(platform.fits, known.limit().is_none_or(|limit| report.size <= limit));
    }
    let fits = |name| report.platforms.iter().find(|platform| platform.name == name).unwrap().fits;
    assert!(fits("metal") && fits("qemu") && !fits("aws"), "{} bytes", report.size);
}

#[test]
fn a_tree_and_a_plan_are_told_too() {
    let cluster = cluster("flatcar");
    let draft = plan(&cluster, &cluster.nodes[1], &fixture::sources()).unwrap();
    let filled = crate::pki::fill(authority(), &draft).unwrap();
    let tar = nodekiln_payload::tree_tar(&filled.tree, draft.profile).unwrap();
    let report = alone(&tar.bytes);
    assert_eq!(report.kind, Kind::Tree);
    assert_eq!(report.node.as_ref().unwrap().name.as_str(), "w1");
    assert!(report.private_keys.iter().any(|key| key.name.as_deref() == Some("kubelet-server/w1")));
    assert!(report.files.iter().any(|file| file.path == "/etc/systemd/system/kubelet.service"));

    let report = alone(&Secret::new(filled.plan.to_vec().unwrap()));
    assert_eq!(report.kind, Kind::Plan);
    assert_eq!(report.node.unwrap().boot_before, Some(filled.plan.identity.boot_before));
    assert!(report.files.iter().all(|file| file.size.is_none()) && !report.files.is_empty());
}

#[test]
fn what_is_no_payload_is_refused() {
    let refusal = |bytes: &[u8]| inspect(&Secret::new(bytes.to_vec()), Beside::default()).unwrap_err();
    for bytes in [&b""[..], b"hello", b"{}", b"[1]", b"\x00\xff", b"apiVersion: v1\n"] {
        assert!(matches!(refusal(bytes), RecogniseError::Unknown), "{bytes:?}");
    }
    assert!(matches!(refusal(br#"{"instance-id": "x", "local-hostname": "a"}"#), RecogniseError::Part));
    assert!(matches!(refusal(b"#cloud-config\nusers: []\n"), RecogniseError::Decode(_)));
    assert!(matches!(refusal(br#"{"ignition": {"version": "2.2.0"}}"#), RecogniseError::Decode(_)));
    assert!(matches!(refusal(br#"{"version": 99, "spec": {}, "identity": {}}"#), RecogniseError::Plan(_)));
    // A payload that was cut off.
    let whole = file(&bake(&cluster("cloud-init"), 1), "user-data");
    assert!(matches!(refusal(&whole.expose()[..whole.expose().len() / 2]), RecogniseError::Decode(_)));
}
