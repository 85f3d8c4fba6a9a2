//! What changes from one output to another, or to what cluster.yaml would make now, and what has to restart for it.
//!
//! A payload is read once, on the first boot of a machine: whatever differs reaches a node by wiping it and booting the
//! new payload. What restarts is told for those who lay a change down by hand instead. No secrets are needed, and none
//! are told: against a cluster.yaml keys count as unchanged.

mod body;
mod effect;
mod side;
#[cfg(test)]
mod tests;
mod text;

pub use effect::Effect;
pub use side::{DraftSide, OutputSide, Side, SideError};
pub use text::text;

use body::Body;
use effect::Readers;
use nodekiln_plan::{Cidr, NodeName};
use serde::Serialize;
use side::NodeView;
use std::collections::{BTreeMap, BTreeSet};

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It differs.
    Changed,
}

/// A difference of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// A path, `unit NAME`, `account NAME`, `plan FIELD` and the like.
    pub name: String,
    /// What became of it.
    pub what: What,
    /// What is known of it beyond that. Never its contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What has to happen for it to count.
    pub effects: Vec<Effect>,
}

/// A node whose payload differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDiff {
    /// Its name.
    pub name: NodeName,
    /// All that has to happen, the gravest first.
    pub effects: Vec<Effect>,
    /// What differs.
    pub changes: Vec<Change>,
}

/// A node's part of podSubnet that is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The node.
    pub node: NodeName,
    /// What it was.
    pub from: Vec<Cidr>,
    /// What it is.
    pub to: Vec<Cidr>,
}

/// An object that firstboot applies to the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiChange {
    /// Kind, namespace and name.
    pub object: String,
    /// What became of it.
    pub what: What,
}

/// All that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether anything does.
    pub different: bool,
    /// Nodes that are new.
    pub added: Vec<NodeName>,
    /// Nodes that are gone.
    pub removed: Vec<NodeName>,
    /// How many nodes are as they were.
    pub unchanged: usize,
    /// Nodes that differ.
    pub nodes: Vec<NodeDiff>,
    /// Nodes whose part of podSubnet moved.
    pub pod_cidrs_moved: Vec<Moved>,
    /// Objects of the API.
    pub api: Vec<ApiChange>,
    /// Files for people that differ: admin.conf, ca.crt.
    pub files: Vec<Change>,
}

/// Compares `old` with `new`.
///
/// # Errors
/// An output that cannot be read.
pub fn diff(old: &dyn Side, new: &dyn Side) -> Result<Report, SideError> {
    let names = |side: &dyn Side| side.nodes().into_iter().collect::<BTreeSet<_>>();
    let (before, after) = (names(old), names(new));
    let mut report = Report {
        different: false,
        added: after.difference(&before).cloned().collect(),
        removed: before.difference(&after).cloned().collect(),
        unchanged: 0,
        nodes: vec![],
        pod_cidrs_moved: vec![],
        api: vec![],
        files: files(old, new),
    };
    for name in before.intersection(&after) {
        if old.digest(name).is_some_and(|digest| new.digest(name) == Some(digest)) {
            report.unchanged += 1;
            continue;
        }
        let changes = node(&old.node(name)?, &new.node(name)?);
        if changes.is_empty() {
            report.unchanged += 1;
            continue;
        }
        let effects: BTreeSet<Effect> = changes.iter().flat_map(|change| change.effects.iter().cloned()).collect();
        report.nodes.push(NodeDiff { name: name.clone(), effects: effects.into_iter().collect(), changes });
    }
    let (before, after) = (old.api()?, new.api()?);
    report.api = api(&before, &after);
    let moved = |(name, from): (&NodeName, &Vec<Cidr>)| {
        let to = after.pod_cidrs.get(name).filter(|to| *to != from)?;
        Some(Moved { node: name.clone(), from: from.clone(), to: to.clone() })
    };
    report.pod_cidrs_moved = before.pod_cidrs.iter().filter_map(moved).collect();
    report.different = !(report.added.is_empty()
        && report.removed.is_empty()
        && report.nodes.is_empty()
        && report.api.is_empty()
        && report.files.is_empty());
    Ok(report)
}

fn files(old: &dyn Side, new: &dyn Side) -> Vec<Change> {
    let (Some(before), Some(after)) = (old.files(), new.files()) else { return Vec::new() };
    compare(&before, &after, |a, b| a == b)
        .map(|(name, what)| Change { name: name.clone(), what, note: None, effects: vec![] })
        .collect()
}

/// Everything that only one of the two has, or has otherwise.
fn compare<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool + 'a,
) -> impl Iterator<Item = (&'a K, What)> {
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (key, What::Removed));
    let rest = new.iter().filter_map(move |(key, value)| match old.get(key) {
        None => Some((key, What::Added)),
        Some(other) => (!same(other, value)).then_some((key, What::Changed)),
    });
    gone.chain(rest)
}

/// What differs between two states of one node.
fn node(old: &NodeView, new: &NodeView) -> Vec<Change> {
    let readers = Readers::of([old, new]);
    let mut changes = Vec::new();
    let mut add = |name: String, what, note, effects: Vec<Effect>| {
        changes.push(Change { name, what, note, effects });
    };
    for (path, what) in compare(&old.files, &new.files, |a, b| a.mode == b.mode && a.body.is_same(&b.body)) {
        let note = match (old.files.get(path), new.files.get(path)) {
            (Some(a), Some(b)) if a.body.is_same(&b.body) => Some(format!("mode {} to {}", a.mode, b.mode)),
            (Some(a), Some(b)) => Body::note(path, &a.body, &b.body),
            _ => None,
        };
        add(path.clone(), what, note, readers.of_file(path));
    }
    for (name, what) in compare(&old.units, &new.units, |a, b| a == b) {
        let state = |view: &NodeView| view.units.get(name).map(|unit| unit.state);
        let is_text = state(old) == state(new);
        add(format!("unit {name}"), what, None, effect::of_unit(name, is_text));
    }
    for (path, what) in compare(&old.fetches, &new.fetches, |a, b| a == b) {
        add(format!("fetched {path}"), what, None, readers.of_file(path));
    }
    for (name, what) in compare(&old.accounts, &new.accounts, |a, b| a == b) {
        add(format!("account {name}"), what, None, vec![Effect::Reimage]);
    }
    for (path, what) in compare(&old.links, &new.links, |a, b| a == b) {
        add(format!("link {path}"), what, None, vec![Effect::Reimage]);
    }
    for (field, what) in compare(&old.settings, &new.settings, |a, b| a == b) {
        add(field.clone(), what, None, vec![Effect::Reimage]);
    }
    for (field, what) in compare(&old.plan, &new.plan, |a, b| a == b) {
        add(format!("plan {field}"), what, None, vec![effect::of_plan(field)]);
    }
    changes
}

fn api(old: &side::Api, new: &side::Api) -> Vec<ApiChange> {
    let mut changes: Vec<ApiChange> = compare(&old.objects, &new.objects, |a, b| a.is_same(b))
        .map(|(name, what)| ApiChange { object: name.clone(), what })
        .collect();
    changes.sort();
    changes
}
