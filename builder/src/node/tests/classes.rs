//! What nodes share is planned once, and comes out as if each had been planned alone.

use super::*;
use crate::draft::digest;
use std::net::IpAddr;

/// `worker` by another name, of the same class.
fn another(worker: &Node, number: usize) -> Node {
    let mut node = worker.clone();
    node.name = format!("x{number}").parse().unwrap();
    node.addresses[0] = IpAddr::from([10, 0, 1, u8::try_from(number).unwrap()]);
    assert!(Arc::ptr_eq(&node.class, &worker.class));
    node
}

/// Nodes of one class that differ in whatever they may say themselves, more classes than are kept, and the first again.
fn many() -> Cluster {
    let mut cluster = cluster("flatcar", &["cp1", "cp2"]);
    let worker = cluster.nodes[2].clone();
    let mut nodes: Vec<_> = (0..=5).map(|number| another(&worker, number)).collect();
    let network = StaticNetwork { addresses: vec![(nodes[1].address(), 24)], gateways: vec![], nameservers: vec![] };
    nodes[1].network = Some(Box::new(network));
    nodes[2].mac = Some("52:54:00:00:00:02".to_owned());
    nodes[3].addresses.push("2001:db8::3".parse().unwrap());
    nodes[4].labels.insert("a".to_owned(), "b".to_owned());
    nodes[5].disk = Some("/dev/vda".parse().unwrap());
    for number in 6..=6 + Planner::MOST {
        let mut node = another(&worker, number);
        *node.ignore_preflight_errors = vec![format!("Check{number}")];
        nodes.push(node);
    }
    nodes.push(another(&worker, 200));
    cluster.nodes.extend(nodes);
    cluster
}

#[test]
fn each_node_is_as_if_planned_alone() {
    for cluster in all().into_iter().chain([many()]) {
        let sources = sources();
        let planner = Planner::new(&cluster, &sources);
        for node in cluster.payloads() {
            let (together, alone) = (planner.plan(node).unwrap(), plan(&cluster, node, &sources).unwrap());
            assert_eq!(render(&together), render(&alone), "{}", node.name);
            assert_eq!(digest(&together).unwrap(), digest(&alone).unwrap(), "{}", node.name);
        }
        assert!(planner.classes.lock().unwrap().len() <= Planner::MOST);
    }
}

/// What is kept of a class is what would be filled in for each of its nodes.
#[test]
fn each_node_is_as_if_filled_alone() {
    use crate::{
        pki::{Authority, Filling, fill},
        secrets,
    };
    for cluster in all().into_iter().chain([many()]) {
        let mut secrets = secrets::tests::fixture(1);
        secrets.complete(&cluster, secrets::tests::NOW, secrets::tests::fixed_random(2)).unwrap();
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let (sources, filling) = (sources(), Filling::new(&authority));
        let planner = Planner::new(&cluster, &sources);
        let drafts: Vec<_> = cluster.payloads().map(|node| planner.plan(node).unwrap()).collect();
        // A class is kept when it comes by again.
        for draft in drafts.iter().chain(&drafts).chain(&drafts) {
            let (together, alone) = (filling.fill(draft).unwrap(), fill(&authority, draft).unwrap());
            assert_eq!((&together.identity, &together.keys), (&alone.identity, &alone.keys), "{}", draft.spec.node);
            assert_eq!(together.tree.directories, alone.tree.directories);
            assert_eq!(together.tree.units, alone.tree.units);
            assert_eq!(together.tree.files.len(), alone.tree.files.len());
            for (a, b) in together.tree.files.iter().zip(&alone.tree.files) {
                assert_eq!((&a.path, a.mode, a.sha256, &a.shared), (&b.path, b.mode, b.sha256, &b.shared));
                assert!(
                    a.contents == b.contents && nodekiln_plan::Sha256::of(a.contents.expose()) == a.sha256,
                    "{}",
                    a.path
                );
            }
        }
    }
}

#[test]
fn nodes_of_a_class_share_what_is_the_same() {
    let (cluster, sources) = (many(), sources());
    let planner = Planner::new(&cluster, &sources);
    let [a, b, c] = [3, 4, 5].map(|index| planner.plan(&cluster.nodes[index]).unwrap());
    let bytes = |draft: &NodeDraft, path: &str| match &file(draft, path).contents {
        Contents::Text(text) => Arc::as_ptr(&text.bytes),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(bytes(&a, "/etc/containerd/config.toml"), bytes(&c, "/etc/containerd/config.toml"));
    assert_ne!(text(&a, "/etc/hostname"), text(&c, "/etc/hostname"));
    // It alone has a static network.
    let path = "/etc/systemd/network/10-nodekiln.network";
    assert_eq!([&a, &b].map(|draft| draft.all_files().iter().any(|file| file.path.as_str() == path)), [false, true]);
    // And the one after the next an address of another family.
    let forwards = |index: usize| planner.plan(&cluster.nodes[index]).unwrap().class.spec.preflight.ipv6;
    assert_eq!([5, 6].map(forwards), [false, true]);
}

#[test]
fn what_a_class_brings_is_refused_for_each_of_its_nodes() {
    let mut cluster = many();
    cluster.nodes.truncate(5);
    let mut class = NodeClass::clone(&cluster.nodes[3].class);
    let contents = input("x", b"x");
    class.os.files = vec![OsFile { path: "/etc/hostname".parse().unwrap(), mode: Mode::PUBLIC, contents }.into()];
    let class = Arc::new(class);
    cluster.nodes[3..].iter_mut().for_each(|node| node.class = Arc::clone(&class));
    let sources = sources();
    let planner = Planner::new(&cluster, &sources);
    for node in &cluster.nodes[3..] {
        let refusals = planner.plan(node).unwrap_err();
        let said: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(said, [format!("node {}: os.files: /etc/hostname is written by nodekiln", node.name)]);
    }
    assert!(planner.plan(&cluster.nodes[2]).is_ok());
}
