use super::*;
use crate::{
    config::{Arg, Cluster, Cni, San},
    node::{fixture, plan},
    verify::fixture::{Memory, cluster},
};

/// Compares what two clusters build, as outputs and then as an output and drafts. Both ways tell the same, but for what
/// only keys tell.
fn compared(old: &Cluster, new: &Cluster) -> (Report, Report) {
    let (before, after) = (Memory::of(old), Memory::of(new));
    let side = OutputSide::open(&before).unwrap();
    let outputs = diff(&side, &OutputSide::open(&after).unwrap()).unwrap();
    let sources = fixture::sources();
    let drafts: Vec<_> = new.nodes.iter().map(|node| plan(new, node, &sources).unwrap()).collect();
    let drafted = diff(&side, &DraftSide { cluster: new, drafts: &drafts }).unwrap();
    (outputs, drafted)
}

/// Name and effects of each change of a node.
fn changes(report: &Report, node: &str) -> Vec<(String, Vec<Effect>)> {
    let found = report.nodes.iter().find(|diff| diff.name.as_str() == node);
    let changes = found.map(|diff| diff.changes.as_slice()).unwrap_or_default();
    changes.iter().map(|change| (change.name.clone(), change.effects.clone())).collect()
}

fn pod(name: &str) -> Effect {
    Effect::StaticPod(name.to_owned())
}

#[test]
fn nothing_differs_from_itself() {
    for profile in ["flatcar", "cloud-init"] {
        let cluster = cluster(profile);
        let (outputs, drafted) = compared(&cluster, &cluster);
        for report in [outputs, drafted] {
            assert!(!report.different && report.unchanged == 3, "{report:#?}");
            assert_eq!(text(&report), "nothing differs: 3 nodes are as they were\n");
        }
    }
}

#[test]
fn a_flag_restarts_its_pod_alone() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.scheduler.extra_args.push(Arg { name: "v".to_owned(), value: "4".to_owned() });
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        assert_eq!(report.unchanged, 2);
        assert_eq!(
            changes(&report, "cp1"),
            [("/etc/kubernetes/manifests/kube-scheduler.yaml".to_owned(), vec![pod("kube-scheduler")])]
        );
        assert_eq!(report.nodes[0].effects, [pod("kube-scheduler")]);
        let api: Vec<_> = report.api.iter().map(|change| (change.object.as_str(), change.what)).collect();
        assert_eq!(api, [("ConfigMap kube-system/kubeadm-config", What::Changed)]);
        assert!(text(&report).contains("cp1:\n  the static pod kube-scheduler restarts\n"), "{}", text(&report));
    }
}

#[test]
fn a_name_more_is_another_certificate() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.api_server_sans.push(San::Dns("api.example.org".to_owned()));
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        let certificate =
            report.nodes[0].changes.iter().find(|c| c.name == "/etc/kubernetes/pki/apiserver.crt").unwrap();
        assert_eq!(certificate.note.as_deref(), Some("also for api.example.org"));
        assert_eq!(certificate.effects, [pod("kube-apiserver")]);
        assert_eq!((report.nodes.len(), report.unchanged), (1, 2));
    }
}

#[test]
fn every_setting_has_its_reader() {
    type Change = fn(&mut Cluster);
    let old = cluster("flatcar");
    let cases: [(Change, &str, &str, Effect); 6] = [
        (|c| c.nodes[1].kubelet_extra_args.push(arg("v", "4")), "w1", "unit kubelet.service", Effect::Kubelet),
        (
            |c| drop(c.nodes[1].kubelet.insert("maxPods".to_owned(), 50.into())),
            "w1",
            "/var/lib/kubelet/config.yaml",
            Effect::Kubelet,
        ),
        (
            |c| c.nodes[1].kernel.modules.push("zfs".parse().unwrap()),
            "w1",
            "/etc/modules-load.d/90-nodekiln.conf",
            Effect::Reboot,
        ),
        (|c| c.nodes[1].os.users.push(user()), "w1", "account ops", Effect::Reimage),
        (
            |c| c.nodes[1].os.files.push(file("/etc/containerd/conf.d/x.toml")),
            "w1",
            "/etc/containerd/conf.d/x.toml",
            Effect::Containerd,
        ),
        (|c| c.nodes[1].os.files.push(file("/etc/motd")), "w1", "/etc/motd", Effect::Other),
    ];
    for (change, node, name, effect) in cases {
        let mut new = old.clone();
        change(&mut new);
        let (outputs, drafted) = compared(&old, &new);
        for report in [outputs, drafted] {
            let found = changes(&report, node);
            let effects = found.iter().find(|(changed, _)| changed == name);
            assert_eq!(effects.map(|(_, effects)| effects.clone()), Some(vec![effect.clone()]), "{name}: {found:?}");
            assert_eq!(report.nodes.len(), 1, "{name}: {report:#?}");
        }
    }
}

fn arg(name: &str, value: &str) -> Arg {
    Arg { name: name.to_owned(), value: value.to_owned() }
}

fn user() -> crate::config::User {
    let hash = nodekiln_plan::Secret::from("$6$a$verysecret".to_owned());
    crate::config::User {
        name: "ops".to_owned(),
        ssh_authorized_keys: vec![],
        password_hash: Some(hash),
        groups: vec![],
    }
}

fn file(path: &str) -> crate::config::OsFile {
    let contents = fixture::input(path, b"verysecret");
    crate::config::OsFile { path: path.parse().unwrap(), mode: nodekiln_plan::Mode::PUBLIC, contents }
}

#[test]
fn nodes_come_and_go_and_subnets_move() {
    let mut old = cluster("flatcar");
    old.cni = Cni::Bridge;
    let mut new = old.clone();
    new.nodes.remove(1);
    new.nodes[1].pod_cidrs = vec!["10.244.1.0/24".parse().unwrap()];
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        assert_eq!(report.removed.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["w1"]);
        let moved: Vec<_> = report.pod_cidrs_moved.iter().map(|moved| moved.node.as_str()).collect();
        assert_eq!(moved, ["w2"]);
        let told = text(&report);
        assert!(told.contains("w1: gone\n"), "{told}");
        assert!(told.contains("w2: its podCIDR moves from 10.244.9.0/24 to 10.244.1.0/24"), "{told}");
        assert!(told.contains("API: - Node w1\n"), "{told}");
        // Routes to the others are on every node.
        assert!(report.nodes.iter().any(|diff| diff.name.as_str() == "cp1"), "{told}");
    }
    let (outputs, _) = compared(&new, &old);
    assert_eq!(outputs.added.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["w1"]);
}

#[test]
fn renewed_certificates_are_told_by_their_end() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.certificate_validity -= 3600;
    let (_, drafted) = compared(&old, &new);
    let worker = changes(&drafted, "w1");
    let kubelet = worker.iter().find(|(name, _)| name == "/var/lib/kubelet/pki/kubelet.crt").unwrap();
    assert_eq!(kubelet.1, [Effect::Kubelet]);
}

#[test]
fn nothing_secret_is_told() {
    let old = cluster("cloud-init");
    let mut new = old.clone();
    for node in &mut new.nodes {
        node.os.users.push(user());
        node.os.files.push(file("/etc/secret"));
    }
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        for told in [text(&report), serde_json::to_string(&report).unwrap()] {
            assert!(told.contains("/etc/secret") && !told.contains("verysecret"), "{told}");
        }
    }
}

#[test]
fn what_is_no_output_is_refused() {
    let output = Memory::of(&cluster("flatcar"));
    let mut other = output.clone();
    other.entries.remove("manifest.json");
    assert!(matches!(OutputSide::open(&other), Err(SideError::Manifest)));
    let other = output.with("nodes/w1/config.ign", b"{}".to_vec());
    let mut manifest = output.manifest();
    manifest.files.iter_mut().find(|row| row.path == "nodes/w1/config.ign").unwrap().size = 2;
    manifest.files.iter_mut().find(|row| row.path == "nodes/w1/config.ign").unwrap().sha256 =
        nodekiln_plan::Sha256::of(b"{}");
    let other = other.sealed(manifest);
    let (old, new) = (OutputSide::open(&output).unwrap(), OutputSide::open(&other).unwrap());
    let Err(SideError::Payload(name, _)) = diff(&old, &new) else { panic!("it was read") };
    assert_eq!(name.as_str(), "w1");
}
