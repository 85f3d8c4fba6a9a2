//! Who holds which key, whatever the shape of the cluster; and that a key in the wrong place is found by its name.

use super::*;
use crate::{
    bake::{BakeError, Oven},
    draft::{Leaf, Row, Shared},
    pki::{
        self, Authority,
        table::{self, KeyId},
    },
    secrets,
};
use nodekiln_plan::Sha256;
use std::collections::BTreeSet;

fn authority(cluster: &Cluster) -> Authority {
    let mut secrets = secrets::tests::fixture(1);
    secrets.complete(cluster, secrets::tests::NOW, secrets::tests::fixed_random(2)).unwrap();
    Authority::open(&secrets, cluster).unwrap()
}

/// The keys that are found in the payload of `name`.
fn held(cluster: &Cluster, name: &str) -> Result<BTreeSet<String>, Vec<String>> {
    held_of(&authority(cluster), cluster, name)
}

fn held_of(authority: &Authority, cluster: &Cluster, name: &str) -> Result<BTreeSet<String>, Vec<String>> {
    let node = cluster.payloads().find(|node| node.name.as_str() == name).unwrap();
    let draft = plan(cluster, node, &sources()).unwrap();
    let oven = Oven::new(cluster, authority, Sha256::of(b""), false);
    match oven.key(node, &draft).and_then(|key| oven.bake(node, &draft, key)) {
        Ok(baked) => Ok(baked.holdings.into_iter().map(|holding| holding.key.into_string()).collect()),
        Err(BakeError::Placement(violations)) => Err(violations.iter().map(ToString::to_string).collect()),
        Err(other) => panic!("{name}: {other}"),
    }
}

const CONTROL_PLANE: [&str; 11] = [
    "ca",
    "sa",
    "encryption-at-rest",
    "apiserver",
    "apiserver-kubelet-client",
    "front-proxy-client",
    "controller-manager.conf",
    "scheduler.conf",
    "kubelet.conf",
    "kubelet-server",
    "lease",
];

/// With `super-admin.conf`, and the node's name where a key is its own.
fn control_plane(name: &str, more: &[&str]) -> BTreeSet<String> {
    let own = |key: &str| match key {
        "apiserver" | "kubelet.conf" | "kubelet-server" | "etcd-server" | "etcd-peer" => format!("{key}/{name}"),
        _ => key.to_owned(),
    };
    CONTROL_PLANE.iter().chain(more).chain(&["super-admin.conf"]).map(|key| own(key)).collect()
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn holders_of_keys() {
    let member = ["apiserver-etcd-client", "etcd-server", "etcd-peer", "etcd-healthcheck-client"];
    let worker = set(&["kubelet.conf/w1", "kubelet-server/w1"]);
    let five = topology::five();
    assert_eq!(held(&five, "cp4").unwrap(), control_plane("cp4", &member));
    assert_eq!(held(&five, "w1").unwrap(), worker);

    let apart = topology::etcd_nodes();
    assert_eq!(held(&apart, "cp1").unwrap(), control_plane("cp1", &["apiserver-etcd-client"]));
    assert_eq!(held(&apart, "e3").unwrap(), set(&["etcd-server/e3", "etcd-peer/e3", "etcd-healthcheck-client"]));
    assert_eq!(held(&apart, "w1").unwrap(), worker);

    let external = topology::external();
    assert_eq!(held(&external, "cp1").unwrap(), control_plane("cp1", &[]));

    // A token is all that its holder has; control planes have it to tell the API server.
    let pools = topology::pools();
    assert_eq!(held(&pools, "edge").unwrap(), set(&["bootstrap-token/edge"]));
    assert_eq!(held(&pools, "w1").unwrap(), set(&["bootstrap-token/w1"]));
    let tokens = ["bootstrap-token/edge", "bootstrap-token/w1"];
    assert_eq!(held(&pools, "cp1").unwrap(), control_plane("cp1", &[&member[..], &tokens].concat()));
}

/// The key of `row`, as text.
fn leaf_key(cluster: &Cluster, row: Row, name: &str) -> Vec<u8> {
    let node = cluster.payloads().find(|node| node.name.as_str() == name);
    let leaf: Leaf = table::leaf(row, cluster, node);
    authority(cluster).issue(&leaf).unwrap().form(crate::draft::LeafForm::Key).bytes.expose().to_vec()
}

/// Each fault is planted as a file of the user's, and found as what it is.
#[test]
fn a_key_in_the_wrong_place() {
    let (apart, pools) = (topology::etcd_nodes(), topology::pools());
    let shared = |cluster: &Cluster, value| authority(cluster).shared(value).value.bytes.expose().to_vec();
    let token = |owner: &str| {
        let mut secrets = secrets::tests::fixture(1);
        secrets.complete(&pools, secrets::tests::NOW, secrets::tests::fixed_random(2)).unwrap();
        secrets.token(&owner.parse().unwrap()).unwrap().whole().expose().to_vec()
    };
    for (cluster, name, bytes, key) in [
        // A control plane beside etcd nodes is no member, not even under its own name.
        (&apart, "cp1", leaf_key(&apart, Row::EtcdServer, "cp1"), "etcd-server/cp1"),
        (&apart, "cp1", leaf_key(&apart, Row::EtcdPeer, "e1"), "etcd-peer/e1"),
        (&apart, "cp1", leaf_key(&apart, Row::EtcdHealthcheckClient, "cp1"), "etcd-healthcheck-client"),
        // A node that runs etcd alone is no client of the API server, and no neighbour.
        (&apart, "e1", leaf_key(&apart, Row::EtcdPeer, "e2"), "etcd-peer/e2"),
        (&apart, "e1", leaf_key(&apart, Row::ApiServerEtcdClient, "e1"), "apiserver-etcd-client"),
        (&apart, "e1", leaf_key(&apart, Row::KubeletClient, "e1"), "kubelet.conf/e1"),
        (&apart, "e1", shared(&apart, Shared::CaKey), "ca"),
        (&apart, "e1", shared(&apart, Shared::ServiceAccountKey), "sa"),
        // A token is the only credential.
        (&pools, "edge", leaf_key(&pools, Row::KubeletClient, "edge"), "kubelet.conf/edge"),
        (&pools, "edge", leaf_key(&pools, Row::KubeletServer, "edge"), "kubelet-server/edge"),
        (&pools, "edge", token("w1"), "bootstrap-token/w1"),
        (&pools, "w1", leaf_key(&pools, Row::KubeletClient, "w1"), "kubelet.conf/w1"),
        (&pools, "w1", token("edge"), "bootstrap-token/edge"),
    ] {
        let mut cluster = cluster.clone();
        let count = cluster.nodes.len();
        let index = cluster.payloads().position(|node| node.name.as_str() == name).unwrap();
        let node = if index < count { &mut cluster.nodes[index] } else { &mut cluster.pools[index - count] };
        node.os.files = vec![
            OsFile { path: "/etc/planted".parse().unwrap(), mode: Mode::PRIVATE, contents: input("x", &bytes) }.into(),
        ];
        let want = format!("{name}: /etc/planted holds the key `{key}`, which this node must not have");
        assert_eq!(held(&cluster, name).unwrap_err(), [want]);
    }
}

/// The key of a CA that is trusted only, such as one about to issue elsewhere, is that CA's.
#[test]
fn keys_of_cas_that_sign_elsewhere() {
    let mut cluster = topology::five();
    let mut secrets = secrets::tests::fixture(1);
    let other = secrets::tests::fixture(2);
    let entries = secrets.authorities.get_mut(&pki::Ca::Etcd).unwrap();
    let key = other.authorities[&pki::Ca::Etcd][0].key.clone().unwrap();
    entries.push(secrets::CaEntry {
        key: None,
        rotation: Some(secrets::Rotation::Next),
        ..other.authorities[&pki::Ca::Etcd][0].clone()
    });
    secrets.complete(&cluster, secrets::tests::NOW, secrets::tests::fixed_random(2)).unwrap();
    let authority = Authority::open(&secrets, &cluster).unwrap();
    let name = cluster.nodes[0].name.clone();
    cluster.nodes[0].os.files = vec![
        OsFile {
            path: "/etc/planted".parse().unwrap(),
            mode: Mode::PRIVATE,
            contents: input("x", key.private_pem().expose()),
        }
        .into(),
    ];
    let want = format!("{name}: /etc/planted holds the key `etcd-ca`, which this node must not have");
    assert_eq!(held_of(&authority, &cluster, name.as_str()).unwrap_err(), [want]);
}

/// A key for an external etcd is the user's own affair, in its own place alone.
#[test]
fn the_users_key_for_an_external_etcd() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let mut cluster = topology::external();
    let etcd = cluster.external_etcd.as_mut().unwrap();
    etcd.cert = Some(NodeFile::Input(input("client.crt", certificate.as_bytes())));
    etcd.key = Some(NodeFile::Input(input("client.key", key.serialize_pem().as_bytes())));
    let mut held_by_all = control_plane("cp1", &[]);
    held_by_all.insert("etcd.external.keyFile".to_owned());
    assert_eq!(held(&cluster, "cp1").unwrap(), held_by_all);
    // One of the cluster's under that name is found nevertheless.
    let ours = secrets::tests::fixture(1).authorities[&pki::Ca::Etcd][0].key.clone().unwrap();
    let etcd = cluster.external_etcd.as_mut().unwrap();
    etcd.cert = None;
    etcd.key = Some(NodeFile::Input(input("client.key", ours.private_pem().expose())));
    let node = &cluster.nodes[0];
    let error = pki::fill(&authority(&cluster), &plan(&cluster, node, &sources()).unwrap()).unwrap_err();
    let path = "/etc/kubernetes/pki/apiserver-etcd-client.key";
    assert_eq!(error.to_string(), format!("{path}: this node must not hold the key `etcd-ca`"));
}

/// Every key that a draft names may be where it is, by the table alone.
#[test]
fn no_key_without_a_duty() {
    for cluster in all() {
        for node in cluster.payloads() {
            let holder = table::Holder::of(&cluster, node);
            let filled = pki::fill(&authority(&cluster), &plan(&cluster, node, &sources()).unwrap()).unwrap();
            assert!(!filled.keys.is_empty());
            for (key, _) in &filled.keys {
                assert!(key.may_be_on(&holder), "{key} on {}", node.name);
                let of_etcd = matches!(key, KeyId::Leaf(Row::EtcdServer | Row::EtcdPeer, _));
                assert!(!of_etcd || cluster.runs_member(node), "{key} on {}", node.name);
            }
        }
    }
}
