//! YAML as cloud-init reads it: PyYAML's `safe_load`, which is YAML 1.1.
//!
//! A text is given on as JSON, which has to mean to PyYAML what the text itself would: `0644` is 420 and `on` a boolean.
//! Plain scalars are told apart by PyYAML's `resolver.py` and read by its `constructor.py`. Refused is what no JSON says
//! (dates, binary data, keys that are no texts), and numbers in base 60, which nobody means.

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};
use std::{collections::HashMap, fmt};

/// The deepest nesting, aliases unfolded: readers of JSON give up at 128.
const MAX_DEPTH: usize = 100;
/// What aliases may add, in bytes of text, each value counting as a few.
const MAX_ADDED: usize = 16 << 20;
/// What a value weighs beside its text.
const WEIGHT: usize = 16;

/// Something that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlFault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong. It repeats nothing of the text, which may be secret.
    pub why: &'static str,
}

impl fmt::Display for YamlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.why)
    }
}

/// The one document of `text`.
pub(crate) fn read(text: &str) -> Result<Value, Vec<YamlFault>> {
    let mut reader = Reader {
        text,
        stack: Vec::new(),
        anchors: HashMap::new(),
        added: 0,
        root: None,
        faults: Vec::new(),
        place: (0, 1, 1),
    };
    reader.run();
    match reader.root {
        Some(node) if reader.faults.is_empty() => Ok(node.value),
        None if reader.faults.is_empty() => Ok(Value::Null),
        _ => Err(reader.faults),
    }
}

/// A value that is complete.
#[derive(Clone)]
struct Node {
    value: Value,
    weight: usize,
    depth: usize,
}

/// A collection that is not.
struct Frame {
    start: usize,
    anchor: usize,
    weight: usize,
    depth: usize,
    open: Open,
}

enum Open {
    List(Vec<Value>),
    Map { map: Map<String, Value>, merged: Vec<Value>, key: Option<Key> },
}

enum Key {
    Text(String),
    /// `<<` without quotes.
    Merge,
    /// One that was reported: its value is read and left.
    Faulty,
}

struct Reader<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    added: usize,
    root: Option<Node>,
    faults: Vec<YamlFault>,
    /// Offset, line and column of the last fault: the next is counted from there, so that many cost no more than the text.
    place: (usize, usize, usize),
}

impl Reader<'_> {
    fn run(&mut self) {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = match event {
                Ok((event, span)) => (event, span.byte_range().unwrap_or(0..0).start),
                Err(fault) => {
                    let offset = fault.marker().byte_offset().unwrap_or(self.text.len());
                    return self.fault(offset, "no YAML");
                }
            };
            let sound = match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    documents == 1 || self.fatal(span, "a second document")
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain;
                    if plain && tag.is_none() && text == "<<" && self.wants_key() {
                        self.set_key(Key::Merge)
                    } else {
                        let value = scalar(&text, plain, tag.as_deref()).unwrap_or_else(|why| {
                            self.fault(span, why);
                            Value::Null
                        });
                        self.add(span, anchor, Node { value, weight: WEIGHT + text.len(), depth: 0 })
                    }
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.open(span, anchor, tag.as_deref(), "seq", Open::List(Vec::new()))
                }
                Event::MappingStart(_, anchor, tag) => {
                    let open = Open::Map { map: Map::new(), merged: Vec::new(), key: None };
                    self.open(span, anchor, tag.as_deref(), "map", open)
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(),
                Event::Alias(anchor) => self.alias(span, anchor),
                _ => true,
            };
            if !sound {
                return;
            }
        }
    }

    fn fault(&mut self, offset: usize, why: &'static str) {
        let offset = if self.text.is_char_boundary(offset) { offset } else { self.text.len() };
        let (from, mut line, mut column) = self.place;
        let between = &self.text[from.min(offset)..from.max(offset)];
        let (lines, count) = (between.matches('\n').count(), between.chars().count());
        match (from <= offset, between.rfind('\n')) {
            (true, None) => column += count,
            (true, Some(last)) => (line, column) = (line + lines, between[last + 1..].chars().count() + 1),
            (false, None) => column -= count,
            (false, Some(_)) => {
                let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
                (line, column) = (line - lines, self.text[start..offset].chars().count() + 1);
            }
        }
        self.place = (offset, line, column);
        self.faults.push(YamlFault { line, column, why });
    }

    /// A fault after which reading cannot go on.
    fn fatal(&mut self, offset: usize, why: &'static str) -> bool {
        self.fault(offset, why);
        false
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { open: Open::Map { key: None, .. }, .. }))
    }

    fn set_key(&mut self, new: Key) -> bool {
        if let Some(Frame { open: Open::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(new);
        }
        true
    }

    fn open(&mut self, at: usize, anchor: usize, tag: Option<&Tag>, due: &str, open: Open) -> bool {
        if self.wants_key() {
            return self.fatal(at, "a key that is no text");
        }
        if tag.is_some_and(|tag| tag.core_suffix() != Some(due)) {
            self.fault(at, "a tag that is not read");
        }
        self.stack.push(Frame { start: at, anchor, weight: WEIGHT, depth: 0, open });
        true
    }

    fn close(&mut self) -> bool {
        let Some(Frame { start, anchor, weight, depth, open }) = self.stack.pop() else { return true };
        let value = match open {
            Open::List(list) => Value::Array(list),
            Open::Map { mut map, merged, .. } => {
                for layer in merged {
                    if !merge(&mut map, layer) {
                        self.fault(start, "`<<` takes a mapping or a list of mappings");
                    }
                }
                Value::Object(map)
            }
        };
        self.add(start, anchor, Node { value, weight, depth: depth + 1 })
    }

    fn alias(&mut self, at: usize, anchor: usize) -> bool {
        let Some(node) = self.anchors.get(&anchor) else {
            return self.fatal(at, "an alias inside of what it stands for");
        };
        self.added += node.weight;
        if self.added > MAX_ADDED || node.depth + self.stack.len() > MAX_DEPTH {
            return self.fatal(at, "aliases that unfold to more than is read");
        }
        let node = node.clone();
        self.add(at, 0, node)
    }

    /// Puts a value into what is open.
    fn add(&mut self, at: usize, anchor: usize, node: Node) -> bool {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        if self.wants_key() {
            let key = match node.value {
                Value::String(text) => Key::Text(text),
                _ => {
                    self.fault(at, "YAML 1.1, which cloud-init reads, makes no text of this key: quote it");
                    Key::Faulty
                }
            };
            return self.set_key(key);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return true;
        };
        frame.weight = frame.weight.saturating_add(node.weight);
        frame.depth = frame.depth.max(node.depth);
        match &mut frame.open {
            Open::List(list) => list.push(node.value),
            Open::Map { map, merged, key } => match key.take() {
                Some(Key::Merge) => merged.push(node.value),
                // PyYAML takes the last, and nobody sees it.
                Some(Key::Text(key)) if map.contains_key(&key) => self.fault(at, "the value of a key that comes twice"),
                Some(Key::Text(key)) => {
                    map.insert(key, node.value);
                }
                Some(Key::Faulty) | None => {}
            },
        }
        true
    }
}

/// Lays a merge key's value below `map`. Whether it can be.
fn merge(map: &mut Map<String, Value>, layer: Value) -> bool {
    let layers = match layer {
        Value::Array(layers) => layers,
        layer => vec![layer],
    };
    layers.into_iter().all(|layer| match layer {
        Value::Object(layer) => {
            for (key, value) in layer {
                map.entry(key).or_insert(value);
            }
            true
        }
        _ => false,
    })
}

fn scalar(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Value, &'static str> {
    let Some(tag) = tag else {
        return if is_plain { plain(text) } else { Ok(text.into()) };
    };
    let read = match tag.core_suffix() {
        Some("str") => return Ok(text.into()),
        None if tag.suffix() == "binary" => {
            return Err("binary data: write it as a text, in `write_files` with `encoding: b64`");
        }
        Some("int" | "float" | "bool" | "null") => plain(text)?,
        _ => return Err("a tag that is not read: quote what is meant as a text"),
    };
    let fits = match (tag.core_suffix(), &read) {
        (Some("int"), Value::Number(number)) => !number.is_f64(),
        (Some("float"), Value::Number(number)) => number.is_f64(),
        (Some("bool"), Value::Bool(_)) | (Some("null"), Value::Null) => true,
        _ => false,
    };
    if fits { Ok(read) } else { Err("not what its tag says") }
}

/// What PyYAML makes of a plain scalar, as JSON that PyYAML reads the same way.
fn plain(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(true.into()),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Ok(false.into()),
        "=" | "<<" => return Err("YAML 1.1, which cloud-init reads, has a meaning of its own for this: quote it"),
        _ => {}
    }
    const NONE: &str = "a number that JSON does not have: quote it if it is a text";
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(NONE);
    }
    if is_base_60(unsigned) {
        return Err("YAML 1.1, which cloud-init reads, makes a number in base 60 of this: quote it");
    }
    if is_timestamp(text) {
        return Err("YAML 1.1, which cloud-init reads, makes a date of this: quote it");
    }
    if is_float(text) {
        let number = text.replace('_', "").parse().ok().and_then(Number::from_f64);
        // `1e16` would be a text again.
        return number.filter(|number| is_float(&number.to_string())).map(Value::Number).ok_or(NONE);
    }
    match digits_of(unsigned) {
        Some((radix, digits)) => integer(text.starts_with('-'), radix, &digits.replace('_', "")).ok_or(NONE),
        None => Ok(text.into()),
    }
}

/// Radix and digits of a whole number without its sign: `0b[01_]+`, `0x[0-9a-fA-F_]+`, `0[0-7_]+`, `0|[1-9][0-9_]*`.
fn digits_of(text: &str) -> Option<(u32, &str)> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'b', ..] => (2, &text[2..]),
        [b'0', b'x', ..] => (16, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        [b'0'..=b'9', ..] => (10, text),
        _ => return None,
    };
    (!digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(radix))).then_some((radix, digits))
}

fn integer(negative: bool, radix: u32, digits: &str) -> Option<Value> {
    let magnitude = match digits {
        // `0_`: zero and nothing behind it. `0x_` is refused by Python too.
        "" if radix == 8 => 0,
        _ => u64::from_str_radix(digits, radix).ok()?,
    };
    match negative {
        false => Some(magnitude.into()),
        true => i64::try_from(-i128::from(magnitude)).ok().map(Value::from),
    }
}

/// `[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?` or `\.[0-9][0-9_]*([eE][-+][0-9]+)?`
fn is_float(text: &str) -> bool {
    let is_digits = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let Some((whole, fraction)) = mantissa.split_once('.') else { return false };
    let whole_fits = match whole {
        "" => fraction.starts_with(|c: char| c.is_ascii_digit()),
        _ => {
            let whole = whole.strip_prefix(['-', '+']).unwrap_or(whole);
            whole.starts_with(|c: char| c.is_ascii_digit()) && is_digits(whole)
        }
    };
    whole_fits && is_digits(fraction) && exponent_fits
}

/// `[1-9][0-9_]*(:[0-5]?[0-9])+` or `[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*`
fn is_base_60(text: &str) -> bool {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit());
    let Some((first, rest)) = whole.split_once(':') else { return false };
    let starts = first.starts_with(|c: char| c.is_ascii_digit() && (fraction.is_some() || c != '0'));
    let is_place = |place: &str| matches!(place.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    starts && is_digits(first) && rest.split(':').all(is_place) && fraction.is_none_or(is_digits)
}

/// `YYYY-MM-DD`, or a date, a time and a zone.
fn is_timestamp(text: &str) -> bool {
    fn digits(text: &str, least: usize, most: usize) -> Option<&str> {
        let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        (count >= least).then(|| &text[count..])
    }
    fn date(text: &str, least: usize) -> Option<&str> {
        let rest = digits(text, 4, 4)?.strip_prefix('-')?;
        let rest = digits(rest, least, 2)?.strip_prefix('-')?;
        digits(rest, least, 2)
    }
    fn time(text: &str) -> Option<&str> {
        let rest = digits(text, 1, 2)?.strip_prefix(':')?;
        let rest = digits(rest, 2, 2)?.strip_prefix(':')?;
        let rest = digits(rest, 2, 2)?;
        let fraction = rest.strip_prefix('.');
        let rest = fraction.map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        let zone = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() || zone == "Z" {
            return Some("");
        }
        let rest = digits(zone.strip_prefix(['-', '+'])?, 1, 2)?;
        rest.strip_prefix(':').map_or(Some(rest), |rest| digits(rest, 2, 2))
    }
    let at = |rest: &str| match rest.strip_prefix(['T', 't']) {
        Some(rest) => time(rest) == Some(""),
        None => rest.starts_with([' ', '\t']) && time(rest.trim_start_matches([' ', '\t'])) == Some(""),
    };
    date(text, 2) == Some("") || date(text, 1).is_some_and(at)
}
