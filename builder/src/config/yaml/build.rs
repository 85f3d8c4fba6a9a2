//! [`read`]: makes the tree of a document, or of a stream of them, from the parser's events.

use super::{Diagnostics, Entry, Kind, MAX_DEPTH, MAX_NODES, MAX_STREAM_DEPTH, Node, NodeId, Run, Tree, faults};
use crate::config::{
    code,
    diag::{Finding, Severity},
    shown::is_key,
    source::Span,
};
use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use std::{borrow::Cow, collections::HashMap};

/// The most nodes that aliases may add: as many as the plain text may have.
const MAX_ALIAS_NODES: u64 = 500_000;
/// The most bytes of text that aliases may add: as many as the plain text may have.
const MAX_ALIAS_BYTES: u64 = 32 << 20;

/// What a node amounts to with its aliases unfolded.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    nodes: u64,
    bytes: u64,
    depth: u32,
}

impl Extent {
    fn add(&mut self, other: Extent) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.depth = self.depth.max(other.depth);
    }
}

/// A collection that is still open.
struct Frame<'t> {
    start: usize,
    anchor: usize,
    extent: Extent,
    open: Open<'t>,
}

/// What is in it up to now is the end of the builder's open items or entries, from `first` on.
enum Open<'t> {
    List { first: usize },
    Map { first: usize, key: Option<(Cow<'t, str>, bool, Span)> },
}

struct Builder<'t, 'd> {
    nodes: Vec<Node<'t>>,
    items: Vec<NodeId>,
    entries: Vec<Entry<'t>>,
    stack: Vec<Frame<'t>>,
    open_items: Vec<NodeId>,
    open_entries: Vec<Entry<'t>>,
    anchors: HashMap<usize, (NodeId, Extent)>,
    grown: Extent,
    roots: Vec<NodeId>,
    /// Whether there may be more than one document.
    stream: bool,
    max_depth: u32,
    found: &'d mut Diagnostics,
}

/// Reads `text` with all its documents, one if it is no `stream`.
pub(super) fn read<'t>(text: &'t str, stream: bool, found: &mut Diagnostics) -> Option<Tree<'t>> {
    if faults::control_characters(text, found) {
        return None;
    }
    let max_depth = if stream { MAX_STREAM_DEPTH } else { MAX_DEPTH };
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: max_depth as usize,
        block_nesting_limit: max_depth as usize,
    };
    let mut builder = Builder {
        nodes: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
        stack: Vec::new(),
        open_items: Vec::new(),
        open_entries: Vec::new(),
        anchors: HashMap::new(),
        grown: Extent::default(),
        roots: Vec::new(),
        stream,
        max_depth,
        found,
    };
    // Duplicate keys and tabs leave a tree that can still be read: its other findings come along.
    if !builder.run(text, options) {
        return None;
    }
    let Builder { nodes, items, entries, roots, found, .. } = builder;
    // YAML allows tabs between values, and other programs' files have them.
    if !stream {
        faults::tabs(text, &nodes, &entries, found);
    }
    Some(Tree { nodes, items, entries, root: roots.first().copied().unwrap_or(NodeId(0)), roots })
}

pub(super) fn error(found: &mut Diagnostics, span: Span, finding: Finding) {
    found.push(Severity::Error, span, "", finding);
}

impl<'t> Builder<'t, '_> {
    /// Whether the whole text was read.
    fn run(&mut self, text: &'t str, options: Options) -> bool {
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(fault) => {
                    let offset = fault.marker().byte_offset().unwrap_or(text.len()).min(text.len());
                    let (offset, finding) =
                        faults::explain(text, offset, fault.kind(), &fault.to_string(), self.max_depth);
                    self.error(Span::new(offset..offset), finding);
                    return false;
                }
            };
            let span = Span::new(span.byte_range().unwrap_or(0..0));
            match event {
                Event::DocumentStart(_, version) => {
                    documents += 1;
                    // An anchor holds to the end of its document.
                    self.anchors.clear();
                    if documents > 1 && !self.stream {
                        let finding = Finding::new(code::DOCUMENTS, "a second document")
                            .hint("cluster.yaml is one document: remove the `---` or what follows it");
                        self.error(span, finding);
                        return false;
                    }
                    if version.is_some_and(|v| (v.major, v.minor) != (1, 2)) {
                        self.error(span, Finding::new(code::TAG, "a %YAML directive of another version than 1.2"));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !self.tagged_text(tag.as_deref(), span);
                    let extent = Extent { nodes: 1, bytes: text.len() as u64, depth: 0 };
                    if self.wants_key() {
                        self.set_key(text, plain, span);
                        if anchor != 0 {
                            self.error(span, Finding::new(code::KEY, "an anchor on a key"));
                        }
                    } else {
                        let id = self.push(Node { span, kind: Kind::Scalar { text, plain } }, anchor, extent);
                        self.attach(id, extent);
                    }
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.collection_tag(tag.as_deref(), span);
                    if !self.open(span, anchor, Open::List { first: self.open_items.len() }) {
                        return false;
                    }
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.collection_tag(tag.as_deref(), span);
                    if !self.open(span, anchor, Open::Map { first: self.open_entries.len(), key: None }) {
                        return false;
                    }
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
                Event::Alias(anchor) if !self.alias(anchor, span) => return false,
                _ => {}
            }
            if self.nodes.len() > MAX_NODES {
                let finding = Finding::new(code::TOO_LARGE, format!("more than {MAX_NODES} values"));
                self.error(span, finding);
                return false;
            }
        }
        true
    }

    fn error(&mut self, span: Span, finding: Finding) {
        error(self.found, span, finding);
    }

    /// Whether the next node is a mapping's key.
    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { open: Open::Map { key: None, .. }, .. }))
    }

    fn set_key(&mut self, text: Cow<'t, str>, plain: bool, span: Span) {
        if let Some(Frame { open: Open::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some((text, plain, span));
        }
    }

    fn push(&mut self, node: Node<'t>, anchor: usize, extent: Extent) -> NodeId {
        // MAX_NODES keeps the index far below u32::MAX.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node);
        if anchor != 0 {
            self.anchors.insert(anchor, (id, extent));
        }
        id
    }

    /// Puts a finished node into the collection that is open.
    fn attach(&mut self, id: NodeId, extent: Extent) {
        let Some(frame) = self.stack.last_mut() else {
            self.roots.push(id);
            return;
        };
        frame.extent.add(extent);
        match &mut frame.open {
            Open::List { .. } => self.open_items.push(id),
            Open::Map { key, .. } => {
                if let Some((key, key_plain, key_span)) = key.take() {
                    self.open_entries.push(Entry { key, key_plain, key_span, value: id });
                }
            }
        }
    }

    /// Whether reading can go on.
    fn open(&mut self, span: Span, anchor: usize, open: Open<'t>) -> bool {
        if self.wants_key() {
            self.error(span, Finding::new(code::KEY, "a mapping's key has to be plain text"));
            return false;
        }
        self.stack.push(Frame { start: span.range().start, anchor, extent: Extent::default(), open });
        true
    }

    fn close(&mut self, span: Span) {
        let Some(frame) = self.stack.pop() else { return };
        let end = span.range().end;
        let mut extent = frame.extent;
        extent.nodes = extent.nodes.saturating_add(1);
        extent.depth += 1;
        let kind = match frame.open {
            Open::List { first } => Kind::List(Run::of(&mut self.open_items, first, &mut self.items)),
            Open::Map { first, .. } => {
                self.unique(first);
                Kind::Map(Run::of(&mut self.open_entries, first, &mut self.entries))
            }
        };
        let node = Node { span: Span::new(frame.start..end.max(frame.start)), kind };
        let id = self.push(node, frame.anchor, extent);
        self.attach(id, extent);
    }

    /// Reports keys that come twice among the open entries from `first` on and keeps the first of each.
    fn unique(&mut self, first: usize) {
        /// Up to so many keys are compared with one another: most mappings are small.
        const FEW: usize = 8;
        let entries = &self.open_entries[first..];
        let is_new = |(at, entry): (usize, &Entry<'t>)| entries[..at].iter().all(|other| other.key != entry.key);
        if entries.len() <= FEW && entries.iter().enumerate().all(is_new) {
            return;
        }
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|a, b| entries[*a].key.cmp(&entries[*b].key).then(a.cmp(b)));
        let mut double = vec![false; entries.len()];
        let mut same = 0;
        for i in 1..order.len() {
            if entries[order[i]].key != entries[order[same]].key {
                same = i;
                continue;
            }
            let (entry, earlier) = (&entries[order[i]], &entries[order[same]]);
            double[order[i]] = true;
            // Nobody knows yet what stands here: only the schema's own words are certainly no secrets.
            let what = if is_key(&entry.key) { format!("the key `{}`", entry.key) } else { "this key".to_owned() };
            let finding = Finding::new(code::DUPLICATE_KEY, format!("{what} comes twice"))
                .second(earlier.key_span, "first here")
                .hint("remove one of the two");
            error(self.found, entry.key_span, finding);
            if is_key(&entry.key) {
                self.found.show(entry.key_span, &entry.key);
            }
        }
        let entries = self.open_entries.split_off(first);
        self.open_entries.extend(entries.into_iter().zip(double).filter(|(_, double)| !double).map(|(entry, _)| entry));
    }

    /// Whether reading can go on.
    fn alias(&mut self, anchor: usize, span: Span) -> bool {
        if self.wants_key() {
            self.error(span, Finding::new(code::KEY, "an alias as a key"));
            return false;
        }
        let Some(&(target, extent)) = self.anchors.get(&anchor) else {
            self.error(span, Finding::new(code::ALIAS, "an alias inside of what it stands for"));
            return false;
        };
        self.grown.add(extent);
        let depth = extent.depth.saturating_add(u32::try_from(self.stack.len()).unwrap_or(u32::MAX));
        if self.grown.nodes > MAX_ALIAS_NODES || self.grown.bytes > MAX_ALIAS_BYTES {
            let finding = Finding::new(code::ALIAS, "the aliases of this file unfold to more than nodekiln reads")
                .hint("what all nodes share belongs to the cluster's own `os`, `kubelet`, `kernel` or `binaries`");
            self.error(span, finding);
            return false;
        }
        if depth > self.max_depth {
            self.error(span, Finding::new(code::DEPTH, format!("nested deeper than {} levels", self.max_depth)));
            return false;
        }
        let id = self.push(Node { span, kind: Kind::Alias(target) }, 0, extent);
        self.attach(id, extent);
        true
    }

    /// Whether a tag makes a plain scalar a text. Reports tags that are not read.
    fn tagged_text(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        match tag {
            None => false,
            Some(tag) if tag.core_suffix() == Some("str") || tag.original() == "!" => true,
            Some(tag) => {
                self.unread_tag(tag, span);
                false
            }
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, span: Span) {
        match tag {
            Some(tag) if !matches!(tag.core_suffix(), Some("map" | "seq")) => self.unread_tag(tag, span),
            _ => {}
        }
    }

    fn unread_tag(&mut self, tag: &Tag, span: Span) {
        // A password without quotes may begin with `!`.
        let what = tag.core_suffix().map_or("a tag that is".to_owned(), |name| format!("the tag `!!{name}` is"));
        let finding = Finding::new(code::TAG, format!("{what} not read"))
            .hint("quote what is meant as text, also one that starts with `!`; numbers and booleans need no tag");
        self.error(span, finding);
    }
}
