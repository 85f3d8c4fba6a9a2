//! YAML as a tree with positions, for reading secrets without ever quoting them.
//!
//! serde's own messages name the value that they did not expect. Here every value is read first and judged later, and
//! texts are wiped on drop. (The parser's own buffers are not.)

use super::Finding;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Budget, Error, Spanned};
use std::fmt;
use zeroize::Zeroizing;

/// A value with the place where it starts.
pub(super) type Place = Spanned<Node>;

/// A value.
pub(super) enum Node {
    /// A mapping, in the order of the file.
    Map(Vec<(Spanned<String>, Place)>),
    /// A list.
    List(Vec<Place>),
    /// A text.
    Text(Zeroizing<String>),
    /// A whole number that is not negative.
    Number(u64),
    /// Anything else, by the name of its kind.
    Other(&'static str),
}

impl Node {
    /// Its kind, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Map(_) => "a mapping",
            Node::List(_) => "a list",
            Node::Text(_) => "a text",
            Node::Number(_) => "a number",
            Node::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(Zeroizing::new(text)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Node, E> {
        Ok(u64::try_from(number).map_or(Node::Other("a negative number"), Node::Number))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other("a number with a fraction"))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other("true or false"))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Other("empty"))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Other("empty"))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Node, E> {
        Err(E::custom("binary"))
    }
}

/// What a file of this size may hold: ten thousand nodes' certificates are more than the parser's own limits allow, and
/// nothing is worth repeating by aliases.
fn budget(bytes: usize) -> Budget {
    let mut budget = Budget::default();
    budget.max_nodes = (bytes / 2).clamp(budget.max_nodes, 4_000_000);
    budget.max_events = bytes.clamp(budget.max_events, 16_000_000);
    budget.max_total_scalar_bytes = budget.max_total_scalar_bytes.max(bytes);
    budget.max_aliases = 100;
    budget.max_anchors = 100;
    budget
}

/// Reads one document.
///
/// # Errors
/// One finding, which says where and, in our words alone, what.
pub(super) fn read(bytes: &[u8]) -> Result<Place, Finding> {
    let text = std::str::from_utf8(bytes).map_err(|_| Finding::new(1, 1, "", "is not UTF-8"))?;
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options.strict_booleans = true;
    options.budget = Some(budget(text.len()));
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let what = match error {
            Error::DuplicateMappingKey { .. } => "the same key stands here twice",
            Error::MultipleDocuments { .. } => "a second document starts here: secrets.yaml is one",
            Error::Eof { .. } => "the file is empty",
            _ => "is not YAML that secrets.yaml may hold",
        };
        Finding::new(line, column, "", what)
    })
}
