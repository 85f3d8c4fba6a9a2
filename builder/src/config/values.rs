//! What fields can hold: texts, numbers, booleans, lists, and mappings with names of the user's.

use super::{
    code,
    diag::Finding,
    read::{At, Place, Read, Reader},
    scalar::{Plain, ambiguity, ambiguous, kind_of},
    schema::Shapes,
    shown::{quoted, short},
    yaml::{NodeId, View},
};
use nodekiln_plan::Mode;
use serde_json::{Value, json};
use std::{fmt, marker::PhantomData};

impl Read for String {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        reader.show(node);
        match reader.tree.view(node) {
            View::Scalar { text, plain } if !plain || kind_of(text) == Plain::Text => Some(text.to_owned()),
            View::Scalar { text, .. } if kind_of(text) != Plain::Null => {
                let what = if matches!(kind_of(text), Plain::Bool(_)) { "boolean" } else { "number" };
                let finding = Finding::new(code::QUOTE, format!("a {what} where a text is due"));
                reader.found.error_at(place, finding.hint(quoted(text)));
                None
            }
            _ => {
                reader.wrong_type(node, place, "a text");
                None
            }
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": "string"})
    }
}

/// A version. Scalars of every kind are read: quotes would not help a number that is no version.
#[derive(Debug, Clone)]
pub(super) struct Version(pub(super) String);

impl AsRef<str> for Version {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Read for Version {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        reader.show(node);
        match reader.tree.view(node) {
            View::Scalar { text, .. } => Some(Self(text.to_owned())),
            _ => {
                reader.wrong_type(node, place, "a text");
                None
            }
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": "string"})
    }
}

/// Permission bits in octal digits, a text: as a number YAML would read them as decimal.
#[derive(Debug, Clone)]
pub(super) struct FileMode(pub(super) String);

impl AsRef<str> for FileMode {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Read for FileMode {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        if let View::Scalar { text, plain: true } = reader.tree.view(node)
            && let Plain::Int(number) = kind_of(text)
        {
            reader.show(node);
            let finding = Finding::new(code::QUOTE, "a number where a mode is due: octal digits, as a text");
            reader.found.error_at(place, finding.hint(mode_hint(text, number)));
            return None;
        }
        String::read(reader, node, place).map(Self)
    }

    fn schema(shapes: &mut Shapes) -> Value {
        String::schema(shapes)
    }
}

/// What a mode without quotes may have meant: Butane has it in octal digits, Ignition as a decimal number.
fn mode_hint(text: &str, number: Option<i64>) -> String {
    let mode = |bits: Option<u32>| bits.and_then(Mode::from_bits);
    let octal = mode(u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok());
    let decimal = mode(number.and_then(|number| u32::try_from(number).ok()));
    match (octal, decimal) {
        // `0644`, and `644`, which is no mode as a decimal number.
        (Some(octal), decimal) if text.starts_with('0') || decimal.is_none() => format!("quote it: \"{octal}\""),
        (Some(octal), Some(decimal)) => {
            format!("write \"{decimal}\" for the decimal {text}, as in Ignition, or \"{octal}\" for these octal digits")
        }
        (None, Some(decimal)) => format!("write \"{decimal}\", which is {} in octal digits", short(text)),
        _ => "a mode is four octal digits from \"0000\" to \"0777\"".to_owned(),
    }
}

/// A text that findings do not repeat.
#[derive(Clone, Default)]
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl Read for Hidden {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        match reader.tree.view(node) {
            View::Scalar { text, plain } if !plain || kind_of(text) == Plain::Text => Some(Self(text.to_owned())),
            View::Scalar { .. } => {
                reader.found.error_at(
                    place,
                    Finding::new(code::QUOTE, "a number or boolean where a text is due").hint("quote it"),
                );
                None
            }
            _ => {
                reader.wrong_type(node, place, "a text");
                None
            }
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": "string"})
    }
}

impl Read for bool {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        if let View::Scalar { text, plain: true } = reader.tree.view(node)
            && let Plain::Bool(value) = kind_of(text)
        {
            reader.show(node);
            return Some(value);
        }
        reader.wrong_type(node, place, "`true` or `false`");
        None
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": "boolean"})
    }
}

/// The most items of a list, and names of a mapping. A pool takes 2 kB of memory before anything is known to be wrong with
/// it, a label half of one.
const MAX_ITEMS: usize = 20_000;

/// A list of anything.
impl<T: Read> Read for Vec<At<T>> {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        let tree = reader.tree;
        let View::List(items) = tree.view(node) else {
            reader.wrong_type(node, place, "a list");
            return None;
        };
        if items.len() > MAX_ITEMS {
            let finding = Finding::new(code::TOO_LARGE, format!("more than {MAX_ITEMS} items"));
            reader.found.error_at(place, finding);
            return None;
        }
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = Place { span: tree.span(*item), path: place.path.index(index) };
            if reader.is_null(*item) {
                reader.found.error_at(&place, Finding::new(code::MISSING, "a list item without a value"));
            } else if let Some(value) = T::read(reader, *item, &place) {
                out.push(At { value, place });
            }
        }
        Some(out)
    }

    fn schema(shapes: &mut Shapes) -> Value {
        json!({"type": "array", "items": T::schema(shapes)})
    }
}

/// Something that many have, and that is large: what is wrong with it is told where it is read, and what it says is read
/// again when its turn comes. All of them at once would be most of what a build has in memory.
#[derive(Debug, Clone)]
pub(super) struct Later<T> {
    node: NodeId,
    of: PhantomData<T>,
}

impl<T: Read> Later<T> {
    /// Where it is.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// It, which is at `place`. What `reader` finds has been told.
    pub(super) fn get(&self, reader: &mut Reader<'_, '_>, place: &Place) -> Option<T> {
        T::read(reader, self.node, place)
    }
}

impl<T: Read> Read for Later<T> {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        T::read(reader, node, place).map(|_| Self { node, of: PhantomData })
    }

    fn schema(shapes: &mut Shapes) -> Value {
        T::schema(shapes)
    }
}

/// A single value or a list of them.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub(super) Vec<At<T>>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        match reader.tree.view(node) {
            View::List(_) => Vec::read(reader, node, place).map(Self),
            _ => T::read(reader, node, place).map(|value| Self(vec![At { value, place: place.clone() }])),
        }
    }

    fn schema(shapes: &mut Shapes) -> Value {
        json!({"anyOf": [T::schema(shapes), <Vec<At<T>>>::schema(shapes)]})
    }
}

/// A mapping from names that the user gives to values, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(pub(super) Vec<(At<String>, At<T>)>);

/// What can stand in a [`Named`].
pub(super) trait NamedValue: Read {
    /// What helps where a name has no value: nothing is taken for a default there.
    const WITHOUT: &'static str;
}

impl NamedValue for String {
    const WITHOUT: &'static str = "an empty text is written \"\"";
}

impl NamedValue for bool {
    const WITHOUT: &'static str = "write `true` or `false`, or leave the key out";
}

impl<T: NamedValue> Read for Named<T> {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        let tree = reader.tree;
        let View::Map(entries) = tree.view(node) else {
            reader.wrong_type(node, place, "a mapping");
            return None;
        };
        if entries.len() > MAX_ITEMS {
            reader.found.error_at(place, Finding::new(code::TOO_LARGE, format!("more than {MAX_ITEMS} names")));
            return None;
        }
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            reader.found.show(entry.key_span, &entry.key);
            let path = place.path.key(&entry.key);
            let at = reader.place_of(entry.value, entry.key_span, path.clone());
            if reader.is_null(entry.value) {
                let finding = Finding::new(code::MISSING, "a key without a value").hint(T::WITHOUT);
                reader.found.error_at(&at, finding);
            } else if let Some(value) = T::read(reader, entry.value, &at) {
                let key = At { value: entry.key.clone().into_owned(), place: Place { span: entry.key_span, path } };
                out.push((key, At { value, place: at }));
            }
        }
        Some(Self(out))
    }

    fn schema(shapes: &mut Shapes) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(shapes)})
    }
}

/// A life: a duration, or 0, which is a number in YAML.
#[derive(Debug, Clone)]
pub(super) struct Ttl(pub(super) String);

impl Read for Ttl {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        match reader.tree.view(node) {
            View::Scalar { text: "0", .. } => {
                reader.show(node);
                Some(Self("0".to_owned()))
            }
            _ => String::read(reader, node, place).map(Self),
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"anyOf": [{"type": "string"}, {"const": 0}]})
    }
}

/// `on` or `off`, also where a tool of YAML 1.1 has turned them into booleans.
#[derive(Debug, Clone, Copy)]
pub(super) struct Switch(pub(super) bool);

impl Read for Switch {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        reader.show(node);
        match reader.tree.view(node) {
            View::Scalar { text: "on", .. } => Some(Self(true)),
            View::Scalar { text: "off", .. } => Some(Self(false)),
            View::Scalar { text, plain: true } if matches!(kind_of(text), Plain::Bool(_)) => {
                Some(Self(kind_of(text) == Plain::Bool(true)))
            }
            View::Scalar { text, .. } => {
                let message = format!("`{}` is not one of: on, off", short(text));
                reader.found.error_at(place, Finding::new(code::CHOICE, message));
                None
            }
            _ => {
                reader.wrong_type(node, place, "`on` or `off`");
                None
            }
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"enum": ["on", "off", true, false]})
    }
}

/// A whole number, or a text.
#[derive(Debug, Clone)]
pub(super) struct NumberOrText(pub(super) String);

impl Read for NumberOrText {
    fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
        reader.show(node);
        match reader.tree.view(node) {
            View::Scalar { text, plain: true } => match kind_of(text) {
                Plain::Int(_) if ambiguous(text) => {
                    reader.found.error_at(place, ambiguity(text));
                    None
                }
                Plain::Int(Some(number)) => Some(Self(number.to_string())),
                Plain::Text => Some(Self(text.to_owned())),
                _ => {
                    reader.wrong_type(node, place, "a whole number or a quoted text");
                    None
                }
            },
            View::Scalar { text, .. } => Some(Self(text.to_owned())),
            _ => {
                reader.wrong_type(node, place, "a whole number or a text");
                None
            }
        }
    }

    fn schema(_: &mut Shapes) -> Value {
        json!({"type": ["integer", "string"]})
    }
}
