//! Tests of the table: what stands in it is said here a second time, in words of its own.

use super::*;
use crate::pki::fixture;
use Duty::{ControlPlane, EtcdClient, EtcdMember, Kubelet};

const ROWS: [Row; 15] = [
    Row::ApiServer,
    Row::ApiServerKubeletClient,
    Row::ApiServerEtcdClient,
    Row::FrontProxyClient,
    Row::EtcdServer,
    Row::EtcdPeer,
    Row::EtcdHealthcheckClient,
    Row::ControllerManager,
    Row::Scheduler,
    Row::KubeletClient,
    Row::KubeletServer,
    Row::Admin,
    Row::SuperAdmin,
    Row::Lease,
    Row::KubeVip,
];

#[test]
fn rows_stand_in_order() {
    assert_eq!(TABLE.iter().map(|spec| spec.row).collect::<Vec<_>>(), ROWS);
    for (index, row) in ROWS.into_iter().enumerate() {
        assert_eq!((row as usize, spec(row).row), (index, row));
    }
}

/// Names are inputs of key derivation: two rows of one name would share a key.
#[test]
fn names_are_unique() {
    let mut names: Vec<_> = TABLE.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

/// Whoever is in one of these groups, or is one of these users, may do more than its own work.
#[test]
fn superusers() {
    let groups: Vec<_> = TABLE.iter().filter_map(|spec| Some((spec.name, spec.organization?))).collect();
    assert_eq!(
        groups,
        [
            ("kubelet.conf", "system:nodes"),
            ("kubelet-server", "system:nodes"),
            ("admin.conf", "kubeadm:cluster-admins"),
            ("super-admin.conf", "system:masters"),
        ]
    );
    // A serving certificate in a group is no client: its usage says so.
    assert_eq!(spec(Row::KubeletServer).usage, Usage::Server);
    // The one that RBAC does not bind is erased, the other never leaves the output.
    assert_eq!(spec(Row::SuperAdmin).custody, Custody::UntilFinished);
    assert_eq!((spec(Row::Admin).custody, spec(Row::Admin).receivers), (Custody::Output, &[][..]));
}

/// One usage per leaf, but where etcd needs both.
#[test]
fn usages() {
    let both: Vec<_> = TABLE.iter().filter(|spec| spec.usage == Usage::Both).map(|spec| spec.name).collect();
    assert_eq!(both, ["etcd-server", "etcd-peer"]);
    let servers: Vec<_> = TABLE.iter().filter(|spec| spec.usage == Usage::Server).map(|spec| spec.name).collect();
    assert_eq!(servers, ["apiserver", "kubelet-server"]);
}

/// Every key, every duty, own node and another: nothing but this list is allowed.
#[test]
fn placement() {
    let own: NodeName = "n1".parse().unwrap();
    let other: NodeName = "n2".parse().unwrap();
    let mut keys: Vec<KeyId> = Ca::ALL.map(KeyId::Ca).into();
    keys.extend([KeyId::ServiceAccount, KeyId::Encryption(0)]);
    keys.extend([own.clone(), other.clone()].map(KeyId::Token));
    for row in ROWS {
        keys.extend([None, Some(own.clone()), Some(other.clone())].map(|node| KeyId::Leaf(row, node)));
    }
    let mut allowed = Vec::new();
    for key in &keys {
        for duty in [ControlPlane, EtcdClient, EtcdMember, Kubelet, Duty::Token] {
            if key.may_be_on(&Holder { name: own.clone(), duties: vec![duty] }) {
                allowed.push(format!("{key} {duty:?}"));
            }
        }
    }
    assert_eq!(
        allowed,
        [
            "ca ControlPlane",
            "sa ControlPlane",
            "encryption-at-rest ControlPlane",
            // A pool's own, and those that control planes tell the API server of.
            "bootstrap-token/n1 ControlPlane",
            "bootstrap-token/n1 Token",
            "bootstrap-token/n2 ControlPlane",
            "apiserver/n1 ControlPlane",
            "apiserver-kubelet-client ControlPlane",
            "apiserver-etcd-client EtcdClient",
            "front-proxy-client ControlPlane",
            "etcd-server/n1 EtcdMember",
            "etcd-peer/n1 EtcdMember",
            "etcd-healthcheck-client EtcdMember",
            "controller-manager.conf ControlPlane",
            "scheduler.conf ControlPlane",
            "kubelet.conf/n1 Kubelet",
            "kubelet-server/n1 Kubelet",
            "super-admin.conf ControlPlane",
            "lease ControlPlane",
            "kube-vip.conf ControlPlane",
        ]
    );
}

#[test]
fn custody() {
    let key = |row| KeyId::Leaf(row, None).custody();
    let erased: Vec<_> = ROWS.into_iter().filter(|row| key(*row) == Custody::UntilFinished).collect();
    let output: Vec<_> = ROWS.into_iter().filter(|row| key(*row) == Custody::Output).collect();
    assert_eq!((erased, output), (vec![Row::SuperAdmin], vec![Row::Admin]));
    assert_eq!(KeyId::Ca(Ca::Etcd).custody(), Custody::Output);
    assert_eq!(KeyId::Ca(Ca::FrontProxy).custody(), Custody::Output);
    assert_eq!(KeyId::Ca(Ca::Kubernetes).custody(), Custody::Kept);
}

fn sans(row: Row) -> Vec<String> {
    let cluster = fixture::cluster();
    let leaf = leaf(row, &cluster, Some(&cluster.nodes[1]));
    leaf.sans.iter().map(ToString::to_string).collect()
}

#[test]
fn alternative_names() {
    assert_eq!(
        sans(Row::ApiServer),
        [
            "*.api.example.org",
            "api.example.org",
            "cp2",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "10.0.0.2",
            "10.96.0.1",
            "192.0.2.7",
            "2001:db8::2",
        ]
    );
    assert_eq!(
        sans(Row::EtcdServer),
        ["cp2", "etcd.example.org", "localhost", "10.0.0.2", "127.0.0.1", "::1", "2001:db8::2"]
    );
    assert_eq!(
        sans(Row::EtcdPeer),
        ["cp2", "localhost", "peer.example.org", "10.0.0.2", "127.0.0.1", "::1", "2001:db8::2"]
    );
    assert_eq!(sans(Row::KubeletServer), ["cp2", "10.0.0.2", "2001:db8::2"]);
    for row in ROWS {
        let serves = spec(row).usage != Usage::Client;
        assert_eq!(!sans(row).is_empty(), serves, "{row:?}: a server has names, a client has none");
    }
}

#[test]
fn an_endpoint_that_is_an_address() {
    let mut cluster = fixture::cluster();
    cluster.endpoint = "[2001:db8::100]:6443".parse().unwrap();
    let leaf = leaf(Row::ApiServer, &cluster, Some(&cluster.nodes[0]));
    assert!(leaf.sans.contains(&San::Ip("2001:db8::100".parse().unwrap())));
}

#[test]
fn leaves_name_their_node_only_where_it_counts() {
    let cluster = fixture::cluster();
    for row in ROWS {
        let leaf = leaf(row, &cluster, Some(&cluster.nodes[0]));
        assert_eq!(leaf.node.is_some(), spec(row).scope == Scope::Node, "{row:?}");
    }
}
