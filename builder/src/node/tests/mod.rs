//! Whole drafts: goldens, and rules that hold over all of a node.

mod addons;
mod classes;
mod components;
mod placement;
mod refusals;
mod topology;

use super::{fixture::*, *};
use crate::{
    config::*,
    draft::{Contents, DraftStep, render},
};
use nodekiln_payload::UnitState;
use nodekiln_plan::{AbsPath, ApiStep, FileKind, Mode};
use serde_json::{Value, json};

fn draft(cluster: &Cluster, name: &str) -> NodeDraft {
    let node = cluster.payloads().find(|node| node.name.as_str() == name).unwrap();
    plan(cluster, node, &sources()).unwrap()
}

fn file<'a>(draft: &'a NodeDraft, path: &str) -> &'a DraftFile {
    draft.all_files().into_iter().find(|file| file.path.as_str() == path).unwrap_or_else(|| panic!("no {path}"))
}

fn text<'a>(draft: &'a NodeDraft, path: &str) -> &'a str {
    match &file(draft, path).contents {
        Contents::Text(text) => text.as_str(),
        other => panic!("{path}: {other:?}"),
    }
}

fn json_file(draft: &NodeDraft, path: &str) -> Value {
    serde_json::from_str(text(draft, path)).unwrap()
}

fn unit<'a>(draft: &'a NodeDraft, name: &str) -> &'a Unit {
    draft.all_units().into_iter().find(|unit| unit.name.as_str() == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The command of a static pod.
fn command(draft: &NodeDraft, pod: &str) -> Vec<String> {
    let pod = json_file(draft, &format!("/etc/kubernetes/manifests/{pod}.yaml"));
    serde_json::from_value(pod["spec"]["containers"][0]["command"].clone()).unwrap()
}

fn objects(draft: &NodeDraft) -> Vec<Value> {
    let value = |step: &DraftStep| match step {
        DraftStep::Step(ApiStep::Apply(object)) => object.clone(),
        DraftStep::Step(ApiStep::Node(node)) => json!({"kind": "node", "metadata": {"name": node.name}}),
        DraftStep::Template(parts) => {
            let text: String = parts
                .iter()
                .map(|part| match part {
                    crate::draft::Part::Text(text) => text.as_str(),
                    crate::draft::Part::Token(_, crate::draft::TokenForm::Id) => "abcdef",
                    _ => "QUJD",
                })
                .collect();
            serde_json::from_str::<Value>(&text).unwrap()["apply"].clone()
        }
    };
    draft.api.iter().map(value).collect()
}

/// Stock machines, everything large by URL; one static network; Flatcar.
fn bare_metal() -> Cluster {
    let mut cluster = cluster("flatcar", &["box1", "box2", "box3"]);
    cluster.cni = Cni::Bridge;
    cluster.delivery.base_url = Some("http://10.0.0.5/x".to_owned());
    for node in &mut cluster.nodes {
        node.binaries.kubelet = Binary::Url {
            url: "http://10.0.0.5/kubelet".to_owned(),
            hash: FetchHash::Sha256(nodekiln_plan::Sha256::of(b"kubelet")),
        };
        node.binaries.cni_plugins = Binary::File(input("cni-plugins.tgz", b"plugins"));
        node.binaries.runc = Binary::File(input("runc.amd64", b"runc"));
        node.os.time_servers = vec!["10.0.0.1".to_owned()];
        node.kernel.modules = vec!["br_netfilter".parse().unwrap(), "nf_conntrack".parse().unwrap()];
        let sysctl = |name: &str, value: &str, floor| nodekiln_plan::Sysctl {
            name: name.parse().unwrap(),
            value: value.to_owned(),
            floor,
        };
        node.kernel.sysctls =
            vec![sysctl("net.ipv4.conf.all.rp_filter", "0", false), sysctl("vm.max_map_count", "262144", true)];
    }
    let node = &mut cluster.nodes[0];
    node.mac = Some("52:54:00:20:00:11".to_owned());
    node.network = Some(Box::new(StaticNetwork {
        addresses: vec![("10.0.0.11".parse().unwrap(), 24)],
        gateways: vec!["10.0.0.1".parse().unwrap()],
        nameservers: vec!["10.0.0.1".parse().unwrap()],
    }));
    *node.taints = vec![];
    node.os.users = vec![User {
        name: "core".to_owned(),
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA me".to_owned()].into(),
        password_hash: Some("$6$x".to_owned().into()),
        groups: vec!["sudo".to_owned()].into(),
    }];
    node.os.files = vec![
        OsFile { path: "/etc/motd".parse().unwrap(), mode: Mode::PUBLIC, contents: input("motd", b"hello\n") }.into(),
    ];
    node.os.units = vec![
        OsUnit {
            name: "containerd.service".parse().unwrap(),
            enabled: false,
            content: None,
            dropins: vec![("50-mine.conf".to_owned(), "[Service]\nLimitNOFILE=1048576\n".to_owned())],
        }
        .into(),
    ];
    cluster
}

/// One control plane as kubeadm would make it: compared with `kubeadm init --dry-run` when it changes.
fn plain() -> Cluster {
    let mut cluster = cluster("cloud-init", &["cp1"]);
    cluster.nodes[0].os.time_servers = vec!["ntp.example".to_owned()];
    cluster
}

/// Two families, everything renamed that can be.
fn dual_stack() -> Cluster {
    let mut cluster = cluster("fedora-coreos", &["cp"]);
    cluster.networking.pods.push("fd00:10:244::/56".parse().unwrap());
    cluster.networking.services.push("fd00:10:96::/112".parse().unwrap());
    cluster.networking.dns_domain = "lab.example".parse().unwrap();
    cluster.cni = Cni::Bridge;
    cluster.image_repository = "mirror.lab.example/k8s".to_owned();
    cluster.certificates_dir = "/etc/kubernetes/certs".parse().unwrap();
    cluster.kubelet = json!({"maxPods": 60}).as_object().unwrap().clone();
    cluster.kube_proxy = json!({"mode": "nftables"}).as_object().unwrap().clone();
    cluster.etcd.extra_args = args(&[("quota-backend-bytes", "4294967296")]);
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.addresses.push(format!("2001:db8::{}", index + 10).parse().unwrap());
        node.pod_cidrs.push(cluster.networking.pods[1].subnet(64, index as u128).unwrap());
        node.kubelet = json!({"maxPods": 20}).as_object().unwrap().clone().into();
    }
    *cluster.nodes[1].labels = [
        ("node-role.kubernetes.io/edge".to_owned(), String::new()),
        ("topology.kubernetes.io/zone".to_owned(), "a".to_owned()),
    ]
    .into();
    *cluster.nodes[1].taints = vec!["gpu=yes:NoSchedule".parse().unwrap()];
    cluster
}

/// One of each kind.
fn all() -> Vec<Cluster> {
    let mut all = vec![bare_metal(), plain(), dual_stack()];
    all.extend(topology::all());
    all
}

/// Compares with the golden, or writes it when the variable NODEKILN_BLESS is set.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node/tests/golden").join(name);
    if std::env::var_os("NODEKILN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (got, want)) in text.lines().zip(want.lines()).enumerate() {
        assert_eq!(got, want, "{name}:{}; set NODEKILN_BLESS=1 to accept", number + 1);
    }
    assert_eq!(text.lines().count(), want.lines().count(), "{name}; set NODEKILN_BLESS=1 to accept");
}

#[test]
fn goldens() {
    for (file, cluster, node) in [
        ("bare-metal-box1.txt", bare_metal(), "box1"),
        ("bare-metal-w1.txt", bare_metal(), "w1"),
        ("plain-cp1.txt", plain(), "cp1"),
        ("dual-stack-cp.txt", dual_stack(), "cp"),
        ("dual-stack-w1.txt", dual_stack(), "w1"),
        ("five-cp3.txt", topology::five(), "cp3"),
        ("etcd-nodes-cp1.txt", topology::etcd_nodes(), "cp1"),
        ("etcd-nodes-e2.txt", topology::etcd_nodes(), "e2"),
        ("external-etcd-cp1.txt", topology::external(), "cp1"),
        ("ipv6-first-cp.txt", topology::ipv6_first(), "cp"),
        ("ipv6-only-cp1.txt", topology::ipv6_only(), "cp1"),
        ("ipv6-only-w1.txt", topology::ipv6_only(), "w1"),
        ("pools-cp1.txt", topology::pools(), "cp1"),
        ("pools-edge.txt", topology::pools(), "edge"),
        ("pools-w1.txt", topology::pools(), "w1"),
    ] {
        golden(file, &render(&draft(&cluster, node)));
    }
}

#[test]
fn all_control_planes_have_the_same_steps() {
    let cluster = bare_metal();
    let steps = |name| {
        let text = render(&draft(&cluster, name));
        text.split_once("=== api").unwrap().1.to_owned()
    };
    assert_eq!(steps("box1"), steps("box3"));
    assert!(draft(&cluster, "w1").api.is_empty());
}

#[test]
fn steps_in_order() {
    let names: Vec<_> = objects(&draft(&plain(), "cp1"))
        .iter()
        .map(|object| {
            let kind = object["kind"].as_str().unwrap();
            let kind: String =
                if kind == "node" { kind.into() } else { kind.chars().filter(char::is_ascii_uppercase).collect() };
            format!("{kind} {}", object["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        names,
        [
            "CRB kubeadm:cluster-admins",
            "CRB kubeadm:apiserver-kubelet-client",
            "L nodekiln",
            "R nodekiln:lease",
            "RB nodekiln:lease",
            "CM kubeadm-config",
            "CM kubelet-config",
            "R kubeadm:nodes-kubeadm-config",
            "RB kubeadm:nodes-kubeadm-config",
            "R kubeadm:kubelet-config",
            "RB kubeadm:kubelet-config",
            "CR kubeadm:get-nodes",
            "CRB kubeadm:get-nodes",
            "CRB kubeadm:kubelet-bootstrap",
            "CRB kubeadm:node-autoapprove-bootstrap",
            "CRB kubeadm:node-autoapprove-certificate-rotation",
            "CM cluster-info",
            "R kubeadm:bootstrap-signer-clusterinfo",
            "RB kubeadm:bootstrap-signer-clusterinfo",
            "SA coredns",
            "CR system:coredns",
            "CRB system:coredns",
            "CM coredns",
            "D coredns",
            "S kube-dns",
            "SA kube-proxy",
            "CRB kubeadm:node-proxier",
            "R kube-proxy",
            "RB kube-proxy",
            "CM kube-proxy",
            "DS kube-proxy",
            "node cp1",
            "node w1",
        ]
    );
}

#[test]
fn disabled_addons_leave_no_trace() {
    let mut cluster = plain();
    cluster.dns = None;
    cluster.proxy = false;
    let text = render(&draft(&cluster, "cp1"));
    for absent in ["coredns", "kube-proxy", "kube-dns"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

/// The table of `pki::table` says who may hold a key; this is its other end.
#[test]
fn keys_lie_only_where_the_table_puts_them() {
    use crate::{
        draft::{LeafForm, Part},
        pki::table::{Holder, KeyId},
    };
    for cluster in all() {
        for node in cluster.payloads() {
            for file in plan(&cluster, node, &sources()).unwrap().files {
                let mut keys = Vec::new();
                match &file.contents {
                    Contents::Text(_) | Contents::Bytes(_) | Contents::Leaf(_, LeafForm::Certificate) => {}
                    Contents::Shared(shared) => keys.extend(KeyId::of_shared(*shared)),
                    Contents::Leaf(leaf, _) => keys.push(KeyId::Leaf(leaf.row, leaf.node.clone())),
                    Contents::Template(parts) => keys.extend(parts.iter().filter_map(|part| match part {
                        Part::Base64(shared) => KeyId::of_shared(*shared),
                        Part::Text(_) | Part::LeafBase64(_, LeafForm::Certificate) => None,
                        Part::LeafBase64(leaf, _) => Some(KeyId::Leaf(leaf.row, leaf.node.clone())),
                        Part::Token(name, form) | Part::TokenBase64(name, form) => {
                            form.is_secret().then(|| KeyId::Token(name.clone()))
                        }
                    })),
                }
                for key in keys {
                    assert!(key.may_be_on(&Holder::of(&cluster, node)), "{key} in {} of {}", file.path, node.name);
                    assert_eq!(file.mode, Mode::PRIVATE, "{} holds {key}", file.path);
                }
            }
        }
    }
}

/// Invariant 1: nothing in a draft depends on anything but the cluster.
#[test]
fn the_same_cluster_gives_the_same_draft() {
    for cluster in all() {
        for node in cluster.payloads() {
            let text = || render(&plan(&cluster, node, &sources()).unwrap());
            assert_eq!(text(), text());
        }
    }
}

/// What `nodekiln init` writes can be planned as it stands.
#[test]
fn examples() {
    for example in crate::config::examples::ALL {
        let loaded = crate::config::load_str(example.name, example.text, None).unwrap();
        for node in &loaded.cluster.nodes {
            let draft = plan(&loaded.cluster, node, &sources()).unwrap();
            assert_eq!(draft.spec.node, node.name);
        }
    }
}

/// The whole way: every draft is filled and encoded, and its payload holds what the plan says.
#[test]
fn drafts_become_payloads() {
    use crate::{pki, secrets};
    use nodekiln_payload::{EncodeOptions, check, encode};
    for cluster in all() {
        let mut secrets = secrets::tests::fixture(1);
        secrets.complete(&cluster, secrets::tests::NOW, secrets::tests::fixed_random(2)).unwrap();
        let authority = pki::Authority::open(&secrets, &cluster).unwrap();
        for node in cluster.payloads() {
            let draft = plan(&cluster, node, &sources()).unwrap();
            let tree = pki::fill(&authority, &draft).unwrap().tree;
            let artifacts = encode(&tree, draft.class.profile, &EncodeOptions::default())
                .unwrap_or_else(|fault| panic!("{} under {}: {fault:?}", node.name, draft.class.profile.name));
            check(&tree, &artifacts, draft.class.profile).unwrap();
        }
    }
}

/// `delivery.caFile` goes where a server's certificate has to be verified, and nowhere else.
#[test]
fn authorities_follow_https() {
    for (base_url, by_https) in [("https://10.0.0.5/x", true), ("http://10.0.0.5/x", false)] {
        let mut cluster = cluster("flatcar", &["cp1"]);
        cluster.delivery.base_url = Some(base_url.to_owned());
        cluster.delivery.ca = Some(input("ca.pem", b"certificate"));
        let draft = plan(&cluster, &cluster.nodes[0], &sources()).unwrap();
        assert!(!draft.class.fetches.is_empty());
        assert_eq!(draft.class.fetch_ca.as_deref(), by_https.then_some(&b"certificate"[..]), "{base_url}");
    }
}
