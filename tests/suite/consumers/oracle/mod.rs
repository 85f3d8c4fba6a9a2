//! kubeadm as the oracle: what `kubeadm init --dry-run` says of a cluster and what we make of the same cluster are
//! compared as parsed structures. Every difference stands in `differences.yaml` with its reason; any other fails, and
//! so does one that stands there and is none any more.

mod certificate;
mod differences;
mod document;
mod kubeadm;
mod ours;

use anyhow::{Result, ensure};
use differences::Difference;
use document::{Documents, leaves};
use nodekiln_tests::{
    made::Made,
    tools::{Need, require},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Instant,
};

/// A node that kubeadm initialises.
pub struct Node {
    name: &'static str,
    address: &'static str,
}

/// A cluster in both languages.
pub struct Case {
    name: &'static str,
    /// Of the cache.
    program: &'static str,
    version: &'static str,
    endpoint: Option<&'static str>,
    nodes: &'static [Node],
}

const CASES: [Case; 3] = [
    Case {
        name: "default",
        program: "kubeadm",
        version: "v1.36.3",
        endpoint: None,
        nodes: &[Node { name: "n1", address: "10.77.0.1" }],
    },
    Case {
        name: "stacked",
        program: "kubeadm",
        version: "v1.36.3",
        endpoint: Some("10.77.0.100:6443"),
        nodes: &[
            Node { name: "cp1", address: "10.77.0.1" },
            Node { name: "cp2", address: "10.77.0.2" },
            Node { name: "cp3", address: "10.77.0.3" },
        ],
    },
    Case {
        name: "1.34",
        program: "kubeadm-1.34",
        version: "v1.34.4",
        endpoint: None,
        nodes: &[Node { name: "n1", address: "10.77.0.1" }],
    },
];

impl Case {
    /// As a cluster.yaml. kubeadm knows no operating system: the profile is the one that moves no path.
    fn cluster_yaml(&self) -> String {
        let mut text = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: {}\n\
             networking: {{podSubnet: 10.244.0.0/16}}\nos: {{profile: cloud-init}}\n",
            self.version
        );
        if let Some(endpoint) = self.endpoint {
            let _ = writeln!(text, "controlPlaneEndpoint: {endpoint}");
        }
        text.push_str("nodes:\n");
        for Node { name, address } in self.nodes {
            let _ = writeln!(text, "  - {{name: {name}, role: control-plane, address: {address}}}");
        }
        text
    }
}

/// A difference as it was found.
type Found = (String, String, String, String);

/// What differs: document, path, kubeadm's value, ours. `-` where there is none.
fn compare(theirs: &Documents, ours: &Documents) -> Vec<Found> {
    let mut found = Vec::new();
    let absent = || "-".to_owned();
    for document in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let (theirs, ours) = match (theirs.get(document), ours.get(document)) {
            (Some(theirs), Some(ours)) => (leaves(theirs), leaves(ours)),
            (Some(_), None) => {
                found.push((document.clone(), String::new(), "present".to_owned(), absent()));
                continue;
            }
            (None, _) => {
                found.push((document.clone(), String::new(), absent(), "present".to_owned()));
                continue;
            }
        };
        for path in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let value = |side: &BTreeMap<String, String>| side.get(path).cloned().unwrap_or_else(absent);
            if value(&theirs) != value(&ours) {
                found.push((document.clone(), path.clone(), value(&theirs), value(&ours)));
            }
        }
    }
    found
}

/// What of `found` is not on `list`, and which of `list` occurred.
fn judge(list: &[Difference], case: &str, found: &[Found]) -> (Vec<String>, BTreeSet<usize>) {
    let mut used = BTreeSet::new();
    let mut unlisted = Vec::new();
    for (document, path, theirs, ours) in found {
        match list.iter().position(|entry| entry.covers(case, document, path, theirs, ours)) {
            Some(index) => drop(used.insert(index)),
            None => unlisted.push(format!("[{document:?}, {path:?}, {theirs:?}, {ours:?}]")),
        }
    }
    (unlisted, used)
}

#[test]
fn kubeadm_says_the_same_but_for_what_is_listed() -> Result<()> {
    let Some(cache) = require(&[
        Need::Program("kubeadm"),
        Need::Program("kubeadm-1.34"),
        Need::Program("unshare"),
        Need::Program("ip"),
    ])?
    else {
        return Ok(());
    };
    let list = differences::all()?;
    let mut wrong = Vec::new();
    for case in &CASES {
        let started = Instant::now();
        let made = Made::of(&case.cluster_yaml(), None)?;
        let mut used = BTreeSet::new();
        let mut leaves_compared = 0;
        for node in case.nodes {
            let theirs = kubeadm::documents(&cache, case, node)?;
            let ours = ours::documents(&made, node.name)?;
            leaves_compared += theirs.values().map(|value| leaves(value).len()).sum::<usize>();
            let (unlisted, now) = judge(&list, case.name, &compare(&theirs, &ours));
            wrong.extend(unlisted.into_iter().map(|text| format!("{} {}: {text}", case.name, node.name)));
            used.extend(now);
        }
        let gone = list.iter().enumerate().filter(|(index, entry)| entry.is_of(case.name) && !used.contains(index));
        wrong.extend(gone.map(|(_, entry)| format!("{}: listed, and does not occur: {}", case.name, entry.title())));
        eprintln!("kubeadm {}: {leaves_compared} values, {:.1} s", case.name, started.elapsed().as_secs_f64());
    }
    ensure!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// The comparison can fail: in both directions, for a value, for a document, and for a stale entry.
#[test]
fn what_differs_is_found() {
    let documents = |text: &str| Documents::from([("x".to_owned(), serde_json::from_str(text).unwrap())]);
    let (a, b) = (documents(r#"{"a": 1, "b": [{"name": "n", "v": 1}]}"#), documents(r#"{"a": 2, "b": []}"#));
    let found = compare(&a, &b);
    let paths = found.iter().map(|(_, path, theirs, ours)| (path.as_str(), theirs.as_str(), ours.as_str()));
    let paths: Vec<_> = paths.collect();
    assert_eq!(paths, [("a", "1", "2"), ("b", "-", "[]"), ("b.n.name", "\"n\"", "-"), ("b.n.v", "1", "-")]);
    assert_eq!(compare(&a, &Documents::new())[0].3, "-");
    assert_eq!(compare(&Documents::new(), &a)[0].2, "-");
    let entry = |path: &str, ours: &str| Difference {
        document: "x".to_owned(),
        path: path.to_owned(),
        kubeadm: "1".to_owned(),
        ours: ours.to_owned(),
        ..Difference::default()
    };
    let list = [entry("a", "2"), entry("b.n.v", "2"), entry("c", "-")];
    let (unlisted, used) = judge(&list, "any", &found);
    assert_eq!(unlisted.len(), 3, "{unlisted:?}");
    assert_eq!(used.into_iter().collect::<Vec<_>>(), [0]);
}
