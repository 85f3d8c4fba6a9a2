//! Reading a [`Tree`] field by field: what is missing, faulty or given, and where.
//!
//! A fault is reported when it is read, and reading goes on. Nothing is turned from one kind into another.

use super::{
    code,
    diag::{Diagnostics, Finding, Origin, Severity},
    nearest::nearest,
    scalar::{Plain, kind_of},
    schema::Shapes,
    shown::{clean, redacted, short},
    source::Span,
    yaml::{NodeId, Tree, View},
};
use serde_json::Value;
use std::{borrow::Cow, fmt, rc::Rc};

/// A path in the document, such as `nodes[1].address`. Cheap to extend and to clone.
#[derive(Clone, Default)]
pub(super) struct Path(Option<Rc<Segment>>);

struct Segment {
    parent: Path,
    step: Step,
}

enum Step {
    /// Known keys are not copied for every machine.
    Key(Cow<'static, str>),
    Index(usize),
}

impl Path {
    pub(super) fn key(&self, name: &str) -> Self {
        self.step(Step::Key(Cow::Owned(name.to_owned())))
    }

    fn known_key(&self, name: &'static str) -> Self {
        self.step(Step::Key(Cow::Borrowed(name)))
    }

    fn step(&self, step: Step) -> Self {
        Self(Some(Rc::new(Segment { parent: self.clone(), step })))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(segment) = &self.0 else { return Ok(()) };
        segment.parent.fmt(f)?;
        match &segment.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(name) => {
                let simple =
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
                match (segment.parent.0.is_some(), simple) {
                    (_, false) => write!(f, "[{:?}]", clean(&redacted(name))),
                    (true, true) => write!(f, ".{name}"),
                    (false, true) => f.write_str(name),
                }
            }
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a value is: its own bytes, or those of its key where it is a collection.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) span: Span,
    pub(super) path: Path,
}

impl Place {
    pub(super) fn origin(&self) -> Origin {
        Origin { span: self.span, path: self.path.to_string() }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A field of a mapping. Most fields of most machines are absent: those that are not have a place of their own in memory.
#[derive(Debug, Clone, Default)]
pub(super) enum Field<T> {
    /// No such key.
    #[default]
    Absent,
    /// The key without a value. As good as absent, but for a required field.
    Null(Box<Place>),
    /// Something that was reported already.
    Faulty,
    /// A value.
    Given(Box<At<T>>),
}

impl<T> Field<T> {
    /// The value with its place, if there is a sound one.
    pub(super) fn get(&self) -> Option<&At<T>> {
        match self {
            Field::Given(at) => Some(at),
            Field::Absent | Field::Null(_) | Field::Faulty => None,
        }
    }

    /// Whether nothing was said.
    pub(super) fn is_unset(&self) -> bool {
        matches!(self, Field::Absent | Field::Null(_))
    }

    /// The value, for a field that has to be there; says so if it is not.
    pub(super) fn required<'a>(&'a self, name: &str, parent: &Place, found: &mut Diagnostics) -> Option<&'a At<T>> {
        match self {
            Field::Given(at) => Some(at),
            Field::Faulty => None,
            Field::Absent => {
                found.error_at(parent, written(name, Finding::new(code::MISSING, format!("`{name}` is missing"))));
                None
            }
            Field::Null(place) => {
                let finding = Finding::new(code::MISSING, format!("`{name}` has no value"));
                found.error_at(place, written(name, finding));
                None
            }
        }
    }
}

/// `finding` with how a required field is written, where a line says it.
pub(super) fn written(name: &str, finding: Finding) -> Finding {
    let example = match name {
        "apiVersion" => "apiVersion: nodekiln/v1alpha1",
        "kind" => "kind: Cluster",
        "kubernetesVersion" => "kubernetesVersion: v1.36.3",
        "nodes" => "nodes: [{name: box1, role: control-plane, address: 192.0.2.10}]",
        "role" => "role: control-plane` or `role: worker",
        "address" => "address: 192.0.2.10",
        _ => return finding,
    };
    finding.hint(format!("write `{example}`"))
}

impl Diagnostics {
    pub(super) fn error_at(&mut self, place: &Place, finding: Finding) {
        self.push(Severity::Error, place.span, &place.path.to_string(), finding);
    }

    /// Reports a key that is not among `known`; `otherwise` is the hint where none of them is near.
    pub(super) fn unknown_key<'k>(
        &mut self,
        key: &str,
        place: &Place,
        known: impl Iterator<Item = &'k str>,
        otherwise: impl FnOnce() -> String,
    ) {
        let finding = Finding::new(code::UNKNOWN_KEY, format!("unknown key `{}`", short(key)));
        if !self.has_room() {
            self.error_at(place, finding);
            return;
        }
        let finding = match nearest(key, known) {
            _ if key == "<<" => {
                finding.hint("YAML 1.2 has no merge keys: lay nodes over the cluster's own values instead")
            }
            Some(name) => finding.hint(format!("did you mean `{name}`?")),
            None => finding.hint(otherwise()),
        };
        self.error_at(place, finding);
    }

    pub(super) fn warning_at(&mut self, place: &Place, finding: Finding) {
        self.push(Severity::Warning, place.span, &place.path.to_string(), finding);
    }
}

/// The document being read and the findings about it.
pub(super) struct Reader<'a, 't> {
    pub(super) tree: &'a Tree<'t>,
    pub(super) found: &'a mut Diagnostics,
}

/// What can be read from a node.
pub(super) trait Read: Sized {
    /// `None`: a fault, reported.
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self>;

    /// What `read` takes, as JSON Schema. It stands beside it, so that the two stay the same.
    fn schema(shapes: &mut Shapes) -> Value;
}

/// The keys that a mapping may have.
pub(super) struct Keys {
    /// Those that are read.
    pub(super) known: &'static [&'static str],
    /// Those that a later version reads: refused, unless they have no value.
    pub(super) later: &'static [&'static str],
}

impl<'a, 't> Reader<'a, 't> {
    /// The place of the node under a key.
    pub(super) fn place_of(&self, node: NodeId, key_span: Span, path: Path) -> Place {
        place_of(self.tree, node, key_span, path)
    }

    /// The entries of a mapping with `keys`: (key, value, place of the value). Other keys are reported.
    pub(super) fn entries(
        &mut self,
        node: NodeId,
        place: &Place,
        keys: &Keys,
    ) -> Option<Vec<(&'static str, NodeId, Place)>> {
        let tree = self.tree;
        let View::Map(entries) = tree.view(node) else {
            self.wrong_type(node, place, "a mapping");
            return None;
        };
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = entry.key.as_ref();
            self.found.show(entry.key_span, key);
            match keys.known.iter().find(|known| **known == key) {
                Some(known) => {
                    let path = place.path.known_key(known);
                    out.push((*known, entry.value, self.place_of(entry.value, entry.key_span, path)));
                }
                None => {
                    let place = Place { span: entry.key_span, path: place.path.key(key) };
                    self.other_key(key, entry.value, &place, keys);
                }
            }
        }
        Some(out)
    }

    fn other_key(&mut self, key: &str, value: NodeId, place: &Place, keys: &Keys) {
        if keys.later.contains(&key) {
            // Without a value nothing is asked for, as with the keys that are read.
            if self.is_null(value) {
                self.show(value);
            } else {
                self.found.error_at(place, unsupported(&format!("`{key}`")));
            }
            return;
        }
        let all = keys.known.iter().chain(keys.later).copied();
        self.found.unknown_key(key, place, all, || format!("known here: {}", keys.known.join(", ")));
    }

    /// Marks the scalar at `node` as fit to be shown in findings: its field holds nothing secret.
    pub(super) fn show(&mut self, node: NodeId) {
        if let View::Scalar { text, .. } = self.tree.view(node) {
            self.found.show(self.tree.span(node), text);
        }
    }

    /// Reads a field.
    pub(super) fn field<T: Read>(&mut self, node: NodeId, place: Place) -> Field<T> {
        if self.is_null(node) {
            self.show(node);
            return Field::Null(Box::new(place));
        }
        match T::read(self, node, &place) {
            Some(value) => Field::Given(Box::new(At { value, place })),
            None => Field::Faulty,
        }
    }

    /// Whether the node is the plain scalar null.
    pub(super) fn is_null(&self, node: NodeId) -> bool {
        matches!(self.tree.view(node), View::Scalar { text, plain: true } if matches!(kind_of(text), Plain::Null))
    }

    /// Reports that `node` is not `due`.
    pub(super) fn wrong_type(&mut self, node: NodeId, place: &Place, due: &str) {
        let found = match self.tree.view(node) {
            View::List(_) => "a list",
            View::Map(_) => "a mapping",
            View::Scalar { text, plain: true } => match kind_of(text) {
                Plain::Null => "nothing",
                Plain::Bool(_) => "a boolean",
                Plain::Int(_) | Plain::Float => "a number",
                Plain::Text => "a text",
            },
            View::Scalar { .. } => "a text",
        };
        self.found.error_at(place, Finding::new(code::TYPE, format!("this has to be {due}, not {found}")));
    }
}

/// The place of the node under a key.
pub(super) fn place_of(tree: &Tree<'_>, node: NodeId, key_span: Span, path: Path) -> Place {
    let span = match tree.view(node) {
        View::Scalar { .. } => tree.span(node),
        View::List(_) | View::Map(_) => key_span,
    };
    // An empty value has no bytes of its own.
    let span = if span.start >= span.end { key_span } else { span };
    Place { span, path }
}

/// The finding about something that a later version will support.
pub(super) fn unsupported(what: &str) -> Finding {
    Finding::new(code::UNSUPPORTED, format!("{what} is not supported yet by this version"))
        .hint("remove it, or wait for a version of nodekiln that supports it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = Path::default().key("nodes").index(1).key("labels").key("a.b/c");
        assert_eq!(path.to_string(), "nodes[1].labels[\"a.b/c\"]");
        assert_eq!(Path::default().to_string(), "");
    }
}
