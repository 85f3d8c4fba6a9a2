//! Files of API objects and of patches: YAML or JSON with any number of documents, read as Kubernetes reads them.
//!
//! kubectl and kubeadm read such files by sigs.k8s.io/yaml: YAML 1.1 as go-yaml 2 has it, then JSON. There `0644` is 420
//! and `on` is a boolean, and the files that people have rely on it, so they are read the same way here; cluster.yaml
//! itself is YAML 1.2. Refused is what means something else than it seems: keys that would become `true`, keys that come
//! twice, numbers that JSON does not have.

use super::{
    InputFile, code,
    diag::{Diagnostics, Finding},
    read::{Place, Reader},
    scalar::{is_float, number_of},
    shown::short,
    source::Source,
    yaml::{self, NodeId, Tree, View},
};
use serde_json::{Map, Value};

/// The largest file. An object may have 1.5 MiB (etcd's `--max-request-bytes`).
const MAX_BYTES: usize = 16 << 20;

/// A document that is not empty.
pub(super) struct Document<'a, 't> {
    pub(super) tree: &'a Tree<'t>,
    pub(super) node: NodeId,
    pub(super) place: Place,
    pub(super) value: Value,
}

/// Reads `file`, which findings call `name`. `each` sees every document that is not empty and can be read.
pub(super) fn read(
    file: &InputFile,
    name: &str,
    found: &mut Diagnostics,
    mut each: impl FnMut(Document<'_, '_>, &mut Diagnostics),
) {
    let text = match std::str::from_utf8(&file.bytes) {
        Ok(text) if text.len() <= MAX_BYTES => text,
        Ok(_) => {
            let message = format!("larger than {} MiB", MAX_BYTES >> 20);
            return single(found, Source::new(name, ""), Finding::new(code::TOO_LARGE, message));
        }
        Err(_) => return single(found, Source::new(name, ""), Finding::new(code::ENCODING, "not UTF-8")),
    };
    let mut own = Diagnostics::new(Source::new(name, text));
    match yaml::parse_stream(text, &mut own) {
        // Findings say why.
        None => {}
        Some(tree) => {
            own.set_parsed();
            for root in &tree.roots {
                let place = Place { span: tree.span(*root), ..Place::default() };
                let mut reader = Reader { tree: &tree, found: &mut own };
                show_names(&mut reader, *root);
                match json(&mut reader, *root, &place) {
                    None | Some(Value::Null) => {}
                    Some(value) => each(Document { tree: &tree, node: *root, place, value }, &mut own),
                }
            }
        }
    }
    found.absorb(own);
}

/// Marks what an object, or an operation of a patch, is called as fit to be shown: all else may be secret.
fn show_names(reader: &mut Reader<'_, '_>, node: NodeId) {
    let tree = reader.tree;
    match tree.view(node) {
        View::List(items) => items.iter().for_each(|item| show_names(reader, *item)),
        View::Map(entries) => {
            for entry in entries {
                match &*entry.key {
                    "apiVersion" | "kind" | "name" | "namespace" | "op" | "path" | "from" => reader.show(entry.value),
                    "metadata" | "items" => show_names(reader, entry.value),
                    _ => {}
                }
            }
        }
        View::Scalar { .. } => {}
    }
}

fn single(found: &mut Diagnostics, source: Source, finding: Finding) {
    let mut own = Diagnostics::new(source);
    own.error_at(&Place::default(), finding);
    found.absorb(own);
}

/// The value at `node`. `None`: a fault, reported.
fn json(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Value> {
    let tree = reader.tree;
    match tree.view(node) {
        View::Scalar { text, plain: false } => Some(Value::String(text.to_owned())),
        View::Scalar { text, .. } => match scalar(text) {
            Ok(value) => Some(value),
            Err(why) => {
                reader.found.error_at(place, Finding::new(code::VALUE, why));
                None
            }
        },
        View::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let place = Place { span: tree.span(*item), path: place.path.index(index) };
                list.extend(json(reader, *item, &place));
            }
            Some(Value::Array(list))
        }
        View::Map(entries) => {
            let mut map = Map::new();
            let mut merged = Vec::new();
            for entry in entries {
                reader.found.show(entry.key_span, &entry.key);
                let at = reader.place_of(entry.value, entry.key_span, place.path.key(&entry.key));
                if entry.key == "<<" && entry.key_plain {
                    merged.push((entry.value, at));
                    continue;
                }
                if entry.key_plain {
                    key(reader, &entry.key, &Place { span: entry.key_span, path: at.path.clone() });
                }
                if let Some(value) = json(reader, entry.value, &at) {
                    map.insert(entry.key.clone().into_owned(), value);
                }
            }
            for (node, place) in merged {
                merge(reader, node, &place, &mut map);
            }
            Some(Value::Object(map))
        }
    }
}

/// A plain key that is no text: its JSON form is the key then, which is seldom what was meant.
fn key(reader: &mut Reader<'_, '_>, text: &str, place: &Place) {
    let read = match scalar(text) {
        Ok(Value::String(_)) => return,
        Ok(value) => match value.to_string() {
            same if same == text && !value.is_null() => return,
            other => format!("`{other}`"),
        },
        Err(_) => "a number that JSON does not have".to_owned(),
    };
    let finding = Finding::new(code::AMBIGUOUS, format!("Kubernetes reads the key `{}` as {read}", short(text)));
    reader.found.error_at(place, finding.hint("quote it"));
}

/// A merge key of YAML 1.1: the entries of one mapping or several, below those that are written out.
fn merge(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place, map: &mut Map<String, Value>) {
    let layers = match json(reader, node, place) {
        None => return,
        Some(Value::Array(layers)) => layers,
        Some(layer) => vec![layer],
    };
    for layer in layers {
        let Value::Object(layer) = layer else {
            let finding = Finding::new(code::TYPE, "`<<` takes a mapping or a list of mappings");
            return reader.found.error_at(place, finding);
        };
        for (key, value) in layer {
            map.entry(key).or_insert(value);
        }
    }
}

/// What go-yaml 2 makes of a plain scalar, as JSON.
fn scalar(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(true.into()),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(false.into());
        }
        _ => {}
    }
    const NONE: &str = "a number that JSON does not have";
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(NONE);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(text.into());
    }
    let plain = text.replace('_', "");
    if let Some(value) = integer(&plain) {
        return Ok(value);
    }
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    if !is_float(digits) {
        return Ok(text.into());
    }
    let Ok(float) = plain.trim_start_matches('+').parse::<f64>() else { return Err(NONE) };
    number_of(float).map(Value::Number).ok_or(NONE)
}

/// A whole number as Go's `strconv.ParseInt` with base 0 has them: 0x, 0o, 0b, and octal after a plain 0.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        false => Some(Value::from(magnitude)),
        true => i64::try_from(-i128::from(magnitude)).ok().map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str) -> (Vec<Value>, Vec<String>) {
        let file = InputFile { path: "m.yaml".into(), bytes: text.as_bytes().into() };
        let mut found = Diagnostics::new(Source::new("cluster.yaml", ""));
        let mut values = Vec::new();
        read(&file, "m.yaml", &mut found, |document, _| values.push(document.value));
        found.sort();
        let _ = found.to_string();
        (values, found.iter().map(|d| format!("{} {}:{}:{} {}", d.code, d.file, d.line, d.column, d.path)).collect())
    }

    /// go-yaml 2 with the schema of sigs.k8s.io/yaml.
    #[test]
    fn scalars_are_those_of_kubernetes() {
        for (text, value) in [
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("-0b11", json!(-3)),
            ("08", json!(8)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("1.5", json!(1.5)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("~", json!(null)),
            ("2001-01-01", json!("2001-01-01")),
            ("12:30:45", json!("12:30:45")),
            ("1.2.3", json!("1.2.3")),
            ("100m", json!("100m")),
            ("4Gi", json!("4Gi")),
            ("-", json!("-")),
            (".", json!(".")),
            ("+", json!("+")),
            ("0x", json!("0x")),
            ("truely", json!("truely")),
        ] {
            assert_eq!(scalar(text), Ok(value), "{text}");
        }
        assert!(scalar(".nan").is_err() && scalar("-.inf").is_err() && scalar("1e999").is_err());
    }

    #[test]
    fn documents() {
        let (values, found) = values("a: 1\n---\n---\n# none\n---\n- {op: add}\n...\n---\nb: &x {c: 1}\nd: *x\n");
        assert_eq!(values, [json!({"a": 1}), json!([{"op": "add"}]), json!({"b": {"c": 1}, "d": {"c": 1}})]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn merge_keys() {
        let (values, found) = values("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: [*a, {z: 1}]}\nd: {\"<<\": 1}\n");
        let due = json!({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 1, "y": 2, "z": 1}, "d": {"<<": 1}});
        assert_eq!(found, ["NK0206 m.yaml:1:14 a.y"]);
        assert_eq!(values, [due]);
    }

    #[test]
    fn faults_have_places() {
        for (text, due) in [
            ("a: 1\na: 2\n", "NK0105 m.yaml:2:1 "),
            ("a: .inf\n", "NK0301 m.yaml:1:4 a"),
            ("a:\n  on: 1\n", "NK0206 m.yaml:2:3 a.on"),
            ("0644: 1\n", "NK0206 m.yaml:1:1 0644"),
            ("a: 1\n---\nb: *x\n", "NK0107 m.yaml:3:4 "),
            ("a: &x 1\n---\nb: *x\n", "NK0107 m.yaml:3:4 "),
            ("a:\n\tb: 1\n", "NK0104 m.yaml:2:1 "),
            ("<<: 1\n", "NK0202 m.yaml:1:5 [\"<<\"]"),
        ] {
            assert_eq!(values(text).1, [due], "{text:?}");
        }
        assert_eq!(values("1: a\n\"y\": b\nc:\td\n").1, Vec::<String>::new());
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in [
            "kind: Secret\nstringData: {a: hunter2, b: hunter2, a: hunter2}\n",
            "kind: Secret\nstringData:\n  a: \"hunter2\n",
            "kind: Secret\ndata: {on: hunter2}\n",
        ] {
            let file = InputFile { path: "m.yaml".into(), bytes: text.as_bytes().into() };
            let mut found = Diagnostics::new(Source::new("cluster.yaml", ""));
            read(&file, "m.yaml", &mut found, |_, _| {});
            assert!(found.has_errors() && !found.to_string().contains("hunter2"), "{found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[-+0-9_.eExobinf]{0,24}") {
            let _ = scalar(&text);
        }

        #[test]
        fn any_text(text in "\\PC{0,100}") {
            let _ = values(&text);
        }
    }
}
