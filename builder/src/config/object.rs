//! [`Object`]: a mapping whose fields are another program's business.

use super::{
    code,
    diag::Finding,
    read::{Place, Read, Reader, place_of},
    scalar::{Plain, ambiguous, hidden_ambiguity, kind_of, number_of},
    schema::Shapes,
    types::Step,
    yaml::{Entry, NodeId, Tree, View},
};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A fragment of another program's configuration: any mapping, read as JSON. Nulls stay, to take values out of what it
/// is laid over (RFC 7386).
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) node: NodeId,
    pub(super) value: serde_json::Map<String, Value>,
}

/// The most values of a fragment. KubeletConfiguration has about 150 fields.
const MAX_VALUES: usize = 20_000;
/// The most bytes of its keys and texts: whatever it configures goes through the API server in one piece, which etcd takes
/// up to about as many (`--max-request-bytes`, 1.5 MiB; a ConfigMap 1 MiB).
const MAX_BYTES: usize = 1 << 20;

impl Read for Object {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        let View::Map(entries) = reader.tree.view(node) else {
            reader.wrong_type(node, place, "a mapping");
            return None;
        };
        let (values, bytes) = reader.tree.extent(node, (MAX_VALUES, MAX_BYTES));
        let much = match (values > MAX_VALUES, bytes > MAX_BYTES) {
            (true, _) => Some(format!("more than {MAX_VALUES} values")),
            (false, true) => Some(format!("more than {} MiB", MAX_BYTES >> 20)),
            (false, false) => None,
        };
        if let Some(much) = much {
            reader.found.error_at(place, Finding::new(code::TOO_LARGE, much));
            return None;
        }
        // Values, and keys further down, may be secret: who knows them shows them.
        entries.iter().for_each(|entry| reader.found.show(entry.key_span, &entry.key));
        match json(reader, node, place)? {
            Value::Object(value) => Some(Self { node, value }),
            _ => None,
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": "object"})
    }
}

impl Object {
    /// The place of the field at `path`, if it is there.
    pub(super) fn find(&self, tree: &Tree<'_>, place: &Place, path: &[&str]) -> Option<Place> {
        find(tree, self.node, place, path)
    }
}

/// Where values below a mapping are. Each mapping on the way is searched through once, however many values are looked for.
pub(super) struct Finder<'a, 't> {
    tree: &'a Tree<'t>,
    maps: HashMap<NodeId, HashMap<&'a str, &'a Entry<'t>>>,
}

impl<'a, 't> Finder<'a, 't> {
    pub(super) fn new(tree: &'a Tree<'t>) -> Self {
        Self { tree, maps: HashMap::new() }
    }

    /// The place of the value that `steps` lead to from `node`, which is at `place`.
    pub(super) fn follow(&mut self, mut node: NodeId, place: &Place, steps: &[Step]) -> Place {
        let tree = self.tree;
        let mut at = place.clone();
        for step in steps {
            match (step, tree.view(node)) {
                (Step::Key(key), View::Map(entries)) => {
                    let keys = || entries.iter().map(|entry| (entry.key.as_ref(), entry)).collect();
                    let Some(entry) = self.maps.entry(node).or_insert_with(keys).get(key.as_str()) else { break };
                    at = place_of(tree, entry.value, entry.key_span, at.path.key(key));
                    node = entry.value;
                }
                (Step::Index(index), View::List(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    at = Place { span: tree.span(*item), path: at.path.index(*index) };
                    node = *item;
                }
                _ => break,
            }
        }
        at
    }
}

/// The place of the field at `path` below `node`, if it is there.
pub(super) fn find(tree: &Tree<'_>, mut node: NodeId, place: &Place, path: &[&str]) -> Option<Place> {
    let mut at = place.clone();
    for name in path {
        let View::Map(entries) = tree.view(node) else { return None };
        let entry = entries.iter().find(|e| e.key == *name)?;
        at = Place { span: entry.key_span, path: at.path.key(name) };
        node = entry.value;
    }
    Some(at)
}

fn json(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Value> {
    let tree = reader.tree;
    match tree.view(node) {
        View::Scalar { text, plain: false } => Some(Value::String(text.to_owned())),
        View::Scalar { text, .. } => match kind_of(text) {
            Plain::Null => Some(Value::Null),
            Plain::Bool(value) => Some(Value::Bool(value)),
            _ if ambiguous(text) => {
                reader.found.error_at(place, hidden_ambiguity());
                None
            }
            Plain::Int(Some(number)) => Some(Value::from(number)),
            Plain::Int(None) => {
                reader.found.error_at(place, Finding::new(code::VALUE, "a number beyond 64 bits"));
                None
            }
            Plain::Float => match text.parse().ok().and_then(number_of) {
                Some(number) => Some(Value::Number(number)),
                None => {
                    reader.found.error_at(place, Finding::new(code::VALUE, "a number that JSON does not have"));
                    None
                }
            },
            Plain::Text => Some(Value::String(text.to_owned())),
        },
        View::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let place = Place { span: tree.span(*item), path: place.path.index(index) };
                // What is faulty has been reported: the others keep their places.
                list.push(json(reader, *item, &place).unwrap_or(Value::Null));
            }
            Some(Value::Array(list))
        }
        View::Map(entries) => {
            let mut map = serde_json::Map::new();
            for entry in entries {
                let place = reader.place_of(entry.value, entry.key_span, place.path.key(&entry.key));
                if let Some(value) = json(reader, entry.value, &place) {
                    map.insert(entry.key.clone().into_owned(), value);
                }
            }
            Some(Value::Object(map))
        }
    }
}
