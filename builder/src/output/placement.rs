//! `placement.json`: which key is on which node, read back from the decoded payloads.
//!
//! Nothing here comes from the plan. Every file of a payload is searched for keys, each key found is identified by its
//! public half, and the table of receivers says whether it may be there.

use super::{
    kind::Text,
    rows::{PartRows, Parts},
    shared::Once,
};
use crate::pki::{
    KeyId,
    scan::{self, Found, Needles},
    table::{Custody, Holder},
};
use nodekiln_payload::{Memory, NodeTree, Snippet};
use nodekiln_plan::{NodeName, Sha256};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct as _,
};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// File name in the output.
pub const PLACEMENT: &str = "placement.json";

/// Where something in a snippet is said to lie.
pub const SNIPPETS: &str = "os.snippets";

/// A key found on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holding {
    /// Name of the key: a CA, `sa`, `encryption-at-rest`, or a certificate of the table.
    pub key: Box<str>,
    /// Where the payload lays it.
    pub path: Arc<str>,
    /// Digest of the public half (SubjectPublicKeyInfo), or of a symmetric key itself.
    pub spki: Sha256,
    /// `kept`, or `until firstboot has finished`.
    #[serde(deserialize_with = "custody")]
    pub custody: Cow<'static, str>,
}

const KEPT: &str = "kept";
const UNTIL_FINISHED: &str = "until firstboot has finished";

/// A [`Holding::custody`], which is in memory already.
fn custody<'de, D: Deserializer<'de>>(from: D) -> Result<Cow<'static, str>, D::Error> {
    let said = String::deserialize(from)?;
    let known = [KEPT, UNTIL_FINISHED].into_iter().find(|known| *known == said);
    Ok(known.map_or(Cow::Owned(said), Cow::Borrowed))
}

/// A key that is where it must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A key of the cluster on a node that is no receiver of it.
    #[error("{node}: {path} holds the key `{key}`, which this node must not have")]
    Misplaced {
        /// The node.
        node: NodeName,
        /// The file.
        path: String,
        /// The key.
        key: String,
    },
    /// A private key that is none of the cluster's, in a file that nodekiln makes.
    #[error("{node}: {path} holds a private key that is none of this cluster's")]
    Unknown {
        /// The node.
        node: NodeName,
        /// The file.
        path: String,
    },
}

/// The keys that are known when a node is checked: the cluster's, and this node's own.
pub struct Known<'a> {
    /// By digest of the public half.
    pub keys: &'a dyn Fn(&Sha256) -> Option<KeyId>,
    /// Symmetric keys and tokens, which are looked for as they are and in base64.
    pub symmetric: &'a Needles,
    /// Files that the user lays down: their keys are the user's own affair.
    pub user_files: &'a dyn Fn(&str) -> bool,
    /// What was found in contents that other nodes have too.
    pub searched: &'a Searched,
}

/// What was found in contents, by their digest: many nodes share them. One set of needles, one of these.
#[derive(Debug, Default)]
pub struct Searched(Memory<ContentDigest, InContents>);

/// The keys in some contents, and the needles.
type InContents = (Vec<Found>, Vec<KeyId>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ContentDigest(Sha256);

impl From<&ContentDigest> for ContentDigest {
    fn from(digest: &ContentDigest) -> Self {
        *digest
    }
}

impl Searched {
    fn search(&self, contents: &[u8], sha256: Sha256, needles: &Needles) -> InContents {
        self.0.get_or(&ContentDigest(sha256), contents.len(), || scan::search(contents, needles))
    }
}

/// All keys in a decoded payload.
///
/// # Errors
/// Every key that must not be on this node.
pub fn of_node(holder: &Holder, tree: &NodeTree, known: &Known<'_>) -> Result<Vec<Holding>, Vec<Violation>> {
    let mut holdings = Vec::new();
    let mut violations = Vec::new();
    let files = tree.files.iter().map(|file| (file.path.as_str(), file.contents.expose(), file.sha256));
    // Everybody may read these: what they hold is the user's own affair only as long as it is no key of the cluster's.
    let units = tree.units.iter().flat_map(|unit| {
        let texts = unit.contents.iter().chain(unit.dropins.iter().map(|dropin| &dropin.contents));
        texts.map(|text| (unit.name.as_str(), text.as_bytes(), Sha256::of(text.as_bytes())))
    });
    let texts: Vec<_> = tree.snippets.iter().flat_map(Snippet::texts).collect();
    let snippets = texts.iter().map(|(at, text)| (format!("{SNIPPETS}: {at}"), text));
    let snippets: Vec<_> = snippets.map(|(at, text)| (at, text, Sha256::of(text))).collect();
    let snippets = snippets.iter().map(|(at, text, sha256)| (at.as_str(), text.as_slice(), *sha256));
    for (path, contents, sha256) in files.chain(units).chain(snippets) {
        let mut found: Vec<(Sha256, Option<KeyId>)> = Vec::new();
        let (keys, symmetric) = known.searched.search(contents, sha256, known.symmetric);
        for key in keys {
            match key {
                Found::Key(spki) => found.push((spki, (known.keys)(&spki))),
                // A program that reads keys holds the words that begin one.
                Found::Unreadable if contents.starts_with(b"\x7fELF") => {}
                Found::Unreadable => found.push((Sha256::of(b""), None)),
            }
        }
        found.extend(symmetric.into_iter().map(|id| (known.symmetric.sha256(&id), Some(id))));
        for (spki, id) in found {
            match id {
                Some(id) if id.may_be_on(holder) => holdings.push(Holding {
                    key: id.to_string().into(),
                    path: path.into(),
                    spki,
                    custody: match id.custody() {
                        Custody::UntilFinished => UNTIL_FINISHED.into(),
                        Custody::Kept | Custody::Output => KEPT.into(),
                    },
                }),
                Some(id) => violations.push(Violation::Misplaced {
                    node: holder.name.clone(),
                    path: path.to_owned(),
                    key: id.to_string(),
                }),
                None if (known.user_files)(path) => {}
                None => violations.push(Violation::Unknown { node: holder.name.clone(), path: path.to_owned() }),
            }
        }
    }
    holdings.sort();
    holdings.dedup();
    holdings.shrink_to_fit();
    if violations.is_empty() { Ok(holdings) } else { Err(violations) }
}

/// The first key of the cluster in a file that anybody may fetch.
pub fn of_served(bytes: &[u8], known: &Known<'_>) -> Option<KeyId> {
    let (keys, symmetric) = scan::search(bytes, known.symmetric);
    let keys = keys.into_iter().filter_map(|key| match key {
        Found::Key(spki) => (known.keys)(&spki),
        Found::Unreadable => None,
    });
    keys.chain(symmetric).next()
}

/// The proof as a file, read: for each key its holders, for each node its keys.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Keys that no node holds: they stand in secrets.yaml or beside this file only.
    pub on_no_node: Vec<String>,
    /// Holders by key.
    pub keys: BTreeMap<String, Vec<NodeName>>,
    /// Holdings by node.
    #[serde(deserialize_with = "holdings")]
    pub nodes: BTreeMap<NodeName, Vec<Holding>>,
}

/// Reads [`Placement::nodes`]: what many of them say is shared from the start, since there may be ten thousand.
fn holdings<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<NodeName, Vec<Holding>>, D::Error> {
    let (mut nodes, mut once) = (BTreeMap::new(), Once::default());
    let take = |name, mut holdings: Vec<Holding>| {
        holdings.shrink_to_fit();
        once.share_paths(&mut holdings);
        nodes.insert(name, holdings);
    };
    EachNode(take).deserialize(from)?;
    Ok(nodes)
}

/// Gives what a [`Placement`] says of each node to `take`, one at a time.
///
/// # Errors
/// It cannot be read to its end. What stands before that was taken.
pub(super) fn each_node(bytes: &[u8], take: impl FnMut(NodeName, Vec<Holding>)) -> serde_json::Result<()> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    from.deserialize_map(InPlacement(take))?;
    from.end()
}

/// Finds [`Placement::nodes`] in it.
struct InPlacement<F>(F);

impl<'de, F: FnMut(NodeName, Vec<Holding>)> Visitor<'de> for InPlacement<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "nodes" => map.next_value_seed(EachNode(&mut self.0))?,
                _ => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }
}

/// Reads [`Placement::nodes`], one at a time.
struct EachNode<F>(F);

impl<'de, F: FnMut(NodeName, Vec<Holding>)> DeserializeSeed<'de> for EachNode<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(NodeName, Vec<Holding>)> Visitor<'de> for EachNode<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of nodes")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, holdings)) = map.next_entry()? {
            (self.0)(name, holdings);
        }
        Ok(())
    }
}

/// A [`Placement`] to be written: what was found, in the order in which it is said.
#[derive(Debug)]
pub struct Placed<'p> {
    /// See [`Placement::on_no_node`].
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
        self.holders.binary_search_by(|held| self.key(held).cmp(&Text::from(key))).is_ok()
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
    /// As a [`Placement`].
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut placement = to.serialize_struct("Placement", 3)?;
        placement.serialize_field("onNoNode", &self.on_no_node)?;
        placement.serialize_field("keys", &Keys(self))?;
        placement.serialize_field("nodes", &Nodes(self))?;
        placement.end()
    }
}

/// Writes [`Placement::keys`].
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

/// Writes [`Placement::nodes`].
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
        manifest::{NodeRow, UNSEALED},
    };
    use nodekiln_plan::Role;

    /// What is written is what is read, whatever the order in which nodes come.
    #[test]
    fn what_is_placed_is_read() {
        let holding = |key: &str, path: &str| Holding {
            key: key.into(),
            path: path.into(),
            spki: Sha256::of(key.as_bytes()),
            custody: KEPT.into(),
        };
        let part = |name: &NodeName, holdings: &[Holding]| Part {
            row: NodeRow {
                name: name.clone(),
                role: Role::Worker,
                duties: [].into(),
                profile: "flatcar".into(),
                key: UNSEALED,
                seal: UNSEALED,
                not_before: 0,
                boot_before: 0,
            },
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
