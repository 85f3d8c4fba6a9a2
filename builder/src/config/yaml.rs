//! [`Tree`]: a YAML document with the place of every node. Knows YAML, not cluster.yaml.
//!
//! Built from the events of granit-parser, the parser under serde-saphyr, and not through serde: serde shows neither
//! how a scalar was written nor more than the first fault, and it copies what aliases point at. Here an alias is a
//! reference, so that a bomb costs nothing: its size is known without unfolding it.

mod build;
mod faults;
mod said;

use super::{
    code,
    diag::{Diagnostics, Finding},
    source::Span,
};
use build::{error, read};
use std::{borrow::Cow, ops::Range};

/// The largest file that is read. 10,000 nodes make 3 MB.
pub(super) const MAX_BYTES: u64 = 32 << 20;
/// The most nodes of the plain text: with the readers' copies they stay below 200 MB. 10,000 machines have 200,000.
const MAX_NODES: usize = 500_000;
/// The deepest nesting of cluster.yaml, aliases unfolded. Readers recurse.
const MAX_DEPTH: u32 = 64;
/// ... of other files: schemas of custom resources are deep. JSON readers give up at 128.
const MAX_STREAM_DEPTH: u32 = 100;

/// Index of a node in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// A node: where it is and what it is.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) span: Span,
    kind: Kind<'t>,
}

#[derive(Debug)]
enum Kind<'t> {
    Scalar {
        text: Cow<'t, str>,
        plain: bool,
    },
    /// Among the tree's items.
    List(Run),
    /// Among its entries.
    Map(Run),
    Alias(NodeId),
}

/// A part of a list that many share: a machine's fields take no memory of their own.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    /// Moves what is in `open` from `first` on to the end of `all`.
    fn of<T>(open: &mut Vec<T>, first: usize, all: &mut Vec<T>) -> Self {
        // MAX_NODES keeps it far below u32::MAX.
        let end = |all: &Vec<T>| u32::try_from(all.len()).unwrap_or(u32::MAX);
        let start = end(all);
        all.extend(open.drain(first..));
        Self { start, end: end(all) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    /// Written without quotes.
    pub(super) key_plain: bool,
    pub(super) key_span: Span,
    pub(super) value: NodeId,
}

/// What a node is, aliases followed.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a, 't> {
    /// `plain`: written without quotes, so that it may be a number, boolean or null.
    Scalar { text: &'a str, plain: bool },
    /// A sequence.
    List(&'a [NodeId]),
    /// A mapping, each key once.
    Map(&'a [Entry<'t>]),
}

/// A document, or a stream of them.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    nodes: Vec<Node<'t>>,
    /// Of all sequences.
    items: Vec<NodeId>,
    /// Of all mappings.
    entries: Vec<Entry<'t>>,
    /// The first document's value.
    pub(super) root: NodeId,
    /// All documents' values.
    pub(super) roots: Vec<NodeId>,
}

impl<'t> Tree<'t> {
    /// Where `id` is written; for an alias, where the alias is.
    pub(super) fn span(&self, id: NodeId) -> Span {
        self.nodes[id.0 as usize].span
    }

    /// What `id` is.
    pub(super) fn view(&self, id: NodeId) -> View<'_, 't> {
        match &self.nodes[id.0 as usize].kind {
            Kind::Scalar { text, plain } => View::Scalar { text, plain: *plain },
            Kind::List(run) => View::List(&self.items[run.range()]),
            Kind::Map(run) => View::Map(&self.entries[run.range()]),
            // An alias points at a finished node that is no alias: no cycle.
            Kind::Alias(target) => self.view(*target),
        }
    }
}

/// Reads `text`, the text of `found`'s source. `None` if it is not one sound document; the findings say why.
pub(super) fn parse<'t>(text: &'t str, found: &mut Diagnostics) -> Option<Tree<'t>> {
    let tree = read(text, false, found);
    if let Some(Tree { roots, .. }) = &tree
        && roots.is_empty()
    {
        let finding = Finding::new(code::DOCUMENTS, "the file holds no document");
        error(found, Span::default(), finding.hint(super::diag::EMPTY));
        return None;
    }
    tree
}

/// Reads `text`, the text of `found`'s source, with all its documents. `None` if it is not sound; the findings say why.
pub(super) fn parse_stream<'t>(text: &'t str, found: &mut Diagnostics) -> Option<Tree<'t>> {
    read(text, true, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;

    fn findings(text: &str) -> Vec<String> {
        let mut found = Diagnostics::new(Source::new("f", text));
        let _ = parse(text, &mut found);
        found.sort();
        found.iter().map(|d| format!("{}:{}:{}", d.code, d.line, d.column)).collect()
    }

    #[test]
    fn sound_documents() {
        for text in [
            "a: 1\n",
            "--- \na: [1, {b: c}]\n...\n",
            "%YAML 1.2\n---\na: 1\n",
            "a: &x {b: 1}\nc: *x\n",
            "a: !!str 1\n",
            "# c\ttab in a comment\na: \"x\ty\"\nb: |\n  x\ty\n  \tz\n",
            "a: 1 #\tcomment\n",
            "\u{feff}a: 1\r\nb: 2\r\n",
        ] {
            assert_eq!(findings(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn unsound_documents() {
        for (text, expected) in [
            ("", &["NK0106:1:1"][..]),
            ("# only a comment\n", &["NK0106:1:1"]),
            ("a: 1\n---\nb: 1\n", &["NK0106:2:1"]),
            ("%YAML 1.1\n---\na: 1\n", &["NK0109:2:1"]),
            ("a: 1\nb: 2\na: 3\nb: 4\na: 5\n", &["NK0105:3:1", "NK0105:4:1", "NK0105:5:1"]),
            ("a: {x: 1, x: 2}\n", &["NK0105:1:11"]),
            ("a:\n\tb: 1\n", &["NK0104:2:1"]),
            ("a:\tb\n", &["NK0104:1:3"]),
            ("a: *x\n", &["NK0107:1:4"]),
            ("a: &x [*x]\n", &["NK0107:1:8"]),
            ("a: !foo 1\nb: !!int 3\n", &["NK0109:1:9", "NK0109:2:10"]),
            ("? [a]\n: b\n", &["NK0111:1:3"]),
            ("a: \"\u{7}\"\n", &["NK0110:1:5"]),
            ("a: [\n", &["NK0101:1:4"]),
            ("a: \"b\n", &["NK0101:2:1"]),
        ] {
            assert_eq!(findings(text), expected, "{text:?}");
        }
    }

    #[test]
    fn bombs_and_towers_are_cheap() {
        let start = std::time::Instant::now();
        let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..40 {
            let line = format!("b{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
            bomb.push_str(&line);
        }
        assert_eq!(findings(&bomb).len(), 1);
        assert!(findings(&bomb)[0].starts_with("NK0107"), "{:?}", findings(&bomb));
        let chain: String = (1..200).map(|i| format!("k{i}: &a{i} [*a{}]\n", i - 1)).collect();
        assert!(findings(&format!("k0: &a0 x\n{chain}"))[0].starts_with("NK0108"));
        for tower in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            assert!(findings(&tower)[0].starts_with("NK0108"), "{:?}", findings(&tower));
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}
