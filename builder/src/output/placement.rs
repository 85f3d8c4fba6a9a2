//! `placement.json`: which key is on which node, read back from the decoded payloads.
//!
//! Nothing here comes from the plan. Every file of a payload is searched for keys, each key found is identified by its
//! public half, and the table of receivers says whether it may be there.

use super::{lines, shared::Once};
use crate::pki::{
    KeyId,
    scan::{self, Found, Needles},
    table::{Custody, Holder},
};
use nodekiln_payload::{Memory, NodeTree, Snippet};
use nodekiln_plan::{NodeName, Sha256};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use std::{borrow::Cow, collections::BTreeMap, fmt, io, sync::Arc};

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

/// Gives what a [`Placement`] says of each node to `take`, one at a time, as far as it can be read.
pub(super) fn each_node(from: impl io::BufRead, mut take: impl FnMut(NodeName, Vec<Holding>)) {
    let rest = lines::entries(from, |field, entry| match field {
        b"nodes" => {
            let entry = [b"{", entry, b"}"].concat();
            let mut from = serde_json::Deserializer::from_slice(&entry);
            EachNode(&mut take).deserialize(&mut from).and_then(|()| from.end()).is_ok()
        }
        // They say the same by key.
        b"keys" => true,
        _ => false,
    });
    if let Ok(rest) = rest {
        // Where nodes have no lines of their own. What cannot be read says nothing of any.
        let _ = serde_json::Deserializer::from_slice(&rest).deserialize_map(InPlacement(take));
    }
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
