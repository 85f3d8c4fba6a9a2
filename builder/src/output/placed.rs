//! [`Placed`]: `placement.json` as it is written, of what is kept of the nodes' parts.

use super::{
    kind::Text,
    rows::{PartRows, Parts},
};
use crate::pki::KeyId;
use nodekiln_plan::NodeName;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// A [`Placement`](super::placement::Placement) to be written: what was found, in the order in which it is said.
#[derive(Debug)]
pub struct Placed<'p> {
    /// See [`Placement::on_no_node`](super::placement::Placement::on_no_node).
    pub on_no_node: Vec<String>,
    parts: &'p Parts,
    /// The parts, by the names of their nodes.
    nodes: Vec<u32>,
    /// Each key with each of its holders, by both. Most are one node's own.
    holders: Vec<Held>,
}

/// A key that a node holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The node's place among [`Placed::nodes`].
    node: u32,
    /// The key's among those of its part.
    key: u32,
}

impl<'p> Placed<'p> {
    /// Collects what was found on the nodes of `parts`.
    pub fn new(parts: &'p Parts, all_keys: impl IntoIterator<Item = KeyId>) -> Self {
        let count = u32::try_from(parts.len()).expect("no memory has room for so many nodes");
        let mut nodes: Vec<u32> = (0..count).collect();
        nodes.sort_unstable_by_key(|part| parts.get(*part as usize).name());
        let holders = Vec::with_capacity(parts.iter().map(|part| part.keys().len()).sum());
        let mut placed = Self { on_no_node: Vec::new(), parts, nodes, holders };
        // The first keys of all nodes, then the second ones: those of a kind of key come in order then, nearly.
        let (mut having, mut key) = ((0..count).collect::<Vec<_>>(), 0);
        while !having.is_empty() {
            having.retain(|node| placed.node(*node).keys().len() > key as usize);
            placed.holders.extend(having.iter().map(|node| Held { node: *node, key }));
            key += 1;
        }
        let mut holders = std::mem::take(&mut placed.holders);
        holders.sort_by(|a, b| placed.key(a).cmp(&placed.key(b)).then(a.node.cmp(&b.node)));
        holders.dedup_by(|a, b| a.node == b.node && placed.key(a) == placed.key(b));
        placed.holders = holders;
        let all_keys = all_keys.into_iter().map(|id| id.to_string());
        placed.on_no_node = all_keys.filter(|key| !placed.is_held(key)).collect();
        placed.on_no_node.sort();
        placed
    }

    /// Whether a node holds `key`.
    pub fn is_held(&self, key: &str) -> bool {
        self.holders.binary_search_by(|held| self.key(held).cmp_str(key)).is_ok()
    }

    /// The keys with their holders.
    pub fn keys(&self) -> impl Iterator<Item = (String, Vec<&'p NodeName>)> {
        let names = |same: &[Held]| same.iter().map(|held| self.node(held.node).name()).collect();
        self.by_key().map(move |same| (self.key(&same[0]).into(), names(same)))
    }

    fn by_key(&self) -> impl Iterator<Item = &[Held]> {
        self.holders.chunk_by(|a, b| self.key(a) == self.key(b))
    }

    fn node(&self, place: u32) -> PartRows<'p> {
        self.parts.get(self.nodes[place as usize] as usize)
    }

    fn key(&self, held: &Held) -> Text<'p> {
        self.node(held.node).key_name(held.key as usize)
    }
}

impl Serialize for Placed<'_> {
    /// As a `Placement`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut placement = to.serialize_struct("Placement", 3)?;
        placement.serialize_field("onNoNode", &self.on_no_node)?;
        placement.serialize_field("keys", &Keys(self))?;
        placement.serialize_field("nodes", &Nodes(self))?;
        placement.end()
    }
}

/// Its keys with their holders.
struct Keys<'a>(&'a Placed<'a>);

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(placed) = self;
        to.collect_map(placed.by_key().map(|same| (placed.key(&same[0]), Names(placed, same))))
    }
}

/// The nodes among the holders of one key.
struct Names<'a>(&'a Placed<'a>, &'a [Held]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(placed, same) = self;
        to.collect_seq(same.iter().map(|held| placed.node(held.node).name()))
    }
}

/// Its nodes with what they hold.
struct Nodes<'a>(&'a Placed<'a>);

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(placed) = self;
        let nodes = placed.nodes.iter().map(|part| placed.parts.get(*part as usize));
        to.collect_map(nodes.map(|part| (part.name(), Holdings(part))))
    }
}

/// The keys of one node.
struct Holdings<'a>(PartRows<'a>);

impl Serialize for Holdings<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.holdings())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{
        Part,
        fixture::{holding, node},
        placement::{Holding, Placement},
    };
    use std::sync::Arc;

    /// What is written is what is read, whatever the order in which nodes come.
    #[test]
    fn what_is_placed_is_read() {
        let part = |name: &NodeName, holdings: &[Holding]| Part {
            row: node(name),
            files: vec![],
            holdings: holdings.to_vec(),
        };
        let (a, b): (NodeName, NodeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let of_a = [holding("ca", "/ca"), holding("ca", "/other"), holding("kubelet/a", "/kubelet")];
        let of_b = [holding("ca", "/ca"), holding("kubelet/b", "/kubelet")];
        let all = [KeyId::ServiceAccount, KeyId::Ca(crate::pki::Ca::Kubernetes)];
        let parts: Parts = [part(&b, &of_b), part(&a, &of_a)].into_iter().collect();
        let placed = Placed::new(&parts, all);
        let due = Placement {
            on_no_node: vec!["sa".to_owned()],
            keys: [("ca", vec![a.clone(), b.clone()]), ("kubelet/a", vec![a.clone()]), ("kubelet/b", vec![b.clone()])]
                .map(|(key, holders)| (key.to_owned(), holders))
                .into(),
            nodes: [(a.clone(), of_a.to_vec()), (b.clone(), of_b.to_vec())].into(),
        };
        assert_eq!(serde_json::to_string(&placed).unwrap(), serde_json::to_string(&due).unwrap());
        let read: Placement = serde_json::from_str(&serde_json::to_string(&placed).unwrap()).unwrap();
        assert_eq!(read, due);
        let paths: Vec<_> = read.nodes.values().map(|held| &held[0].path).collect();
        assert!(Arc::ptr_eq(paths[0], paths[1]), "they are in memory once");
        assert!(placed.is_held("kubelet/b") && !placed.is_held("sa"));
        let keys: Vec<_> = placed.keys().map(|(key, holders)| (key, holders.len())).collect();
        assert_eq!(keys, [("ca", 2), ("kubelet/a", 1), ("kubelet/b", 1)].map(|(key, count)| (key.to_owned(), count)));
    }
}
