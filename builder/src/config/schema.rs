//! cluster.yaml as JSON Schema (draft 2020-12), for editors and for programs that make such files.
//!
//! It is made of the tables in `raw`, which are also what the reader reads by: a key is in both or in neither. Whatever
//! it refuses, the reader refuses too; not the other way round, for rules that span fields are the reader's alone.

use super::{raw::RawCluster, read::Read};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The JSON Schema of cluster.yaml.
pub fn schema() -> Value {
    let mut shapes = Shapes::default();
    let top = RawCluster::schema(&mut shapes);
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("$id".to_owned(), json!("urn:nodekiln:schema:v1alpha1:Cluster"));
    schema.insert("title".to_owned(), json!("nodekiln cluster.yaml"));
    schema.extend(top.as_object().cloned().unwrap_or_default());
    schema.insert("$defs".to_owned(), json!(shapes.defs));
    Value::Object(schema)
}

/// The mappings met so far, by name: one that stands in several places is told once.
#[derive(Default)]
pub(super) struct Shapes {
    defs: BTreeMap<&'static str, Value>,
}

/// A key of a mapping.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Its doc comment, line by line.
    pub(super) doc: &'static [&'static str],
    pub(super) note: Note,
    pub(super) shape: fn(&mut Shapes) -> Value,
}

impl Shapes {
    /// A mapping of `keys` and of no other, by reference; the keys `later` may stand there without a value.
    pub(super) fn mapping(&mut self, name: &'static str, doc: &[&str], keys: Vec<Key>, later: &[&str]) -> Value {
        let reference = json!({"$ref": format!("#/$defs/{}", short(name))});
        if self.defs.contains_key(short(name)) {
            return reference;
        }
        // A name that is taken, before the keys are asked: none of them asks for this mapping again.
        self.defs.insert(short(name), Value::Null);
        let mut properties = Map::new();
        let mut required = Vec::new();
        for key in keys {
            let shape = (key.shape)(self);
            let mut shape = key.note.applied_to(shape);
            if key.note.required {
                required.push(key.name);
            } else {
                shape = or_null(shape);
            }
            if let Value::Object(shape) = &mut shape {
                shape.insert("description".to_owned(), json!(text(key.doc)));
            }
            properties.insert(key.name.to_owned(), shape);
        }
        for name in later {
            let shape = json!({"type": "null", "description": "Not supported yet by this version."});
            properties.insert((*name).to_owned(), shape);
        }
        let mut mapping = json!({
            "type": "object", "description": text(doc), "properties": properties, "additionalProperties": false
        });
        if !required.is_empty() {
            mapping["required"] = json!(required);
        }
        self.defs.insert(short(name), mapping);
        reference
    }
}

/// What the type of a field does not say about its values.
#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    required: bool,
    pattern: Option<&'static str>,
    default: Option<&'static str>,
    choices: Option<fn() -> Vec<&'static str>>,
}

/// Nothing to say.
pub(super) const fn note() -> Note {
    Note { required: false, pattern: None, default: None, choices: None }
}

impl Note {
    /// The key has to be there, with a value.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// A regular expression (ECMA-262) that texts match. Never narrower than the reader.
    pub(super) const fn pattern(self, pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..self }
    }

    /// What holds where nothing is said.
    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The texts that there are.
    pub(super) const fn one_of(self, choices: fn() -> Vec<&'static str>) -> Self {
        Self { choices: Some(choices), ..self }
    }

    /// Of a list, what is said is said of its items; of one or many, of each.
    fn applied_to(&self, mut shape: Value) -> Value {
        match &mut shape {
            Value::Object(map) => {
                if let Some(default) = self.default {
                    map.insert("default".to_owned(), json!(default));
                }
            }
            _ => return shape,
        }
        for text in texts(&mut shape) {
            if let Some(pattern) = self.pattern {
                text.insert("pattern".to_owned(), json!(pattern));
            }
            if let Some(choices) = self.choices {
                text.insert("enum".to_owned(), json!(choices()));
            }
        }
        shape
    }
}

/// The texts in a shape that is a text, a list of texts, or either.
fn texts(shape: &mut Value) -> Vec<&mut Map<String, Value>> {
    let Value::Object(map) = shape else { return Vec::new() };
    if map.get("type") == Some(&json!("string")) {
        return vec![map];
    }
    let mut found = Vec::new();
    for (key, value) in map {
        match (key.as_str(), value) {
            ("items", items) => found.extend(texts(items)),
            ("anyOf", Value::Array(shapes)) => found.extend(shapes.iter_mut().flat_map(texts)),
            _ => {}
        }
    }
    found
}

/// A key without a value is as good as none.
fn or_null(mut shape: Value) -> Value {
    let Value::Object(map) = &mut shape else { return shape };
    if let Some(Value::Array(choices)) = map.get_mut("enum") {
        choices.push(Value::Null);
    }
    match map.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(single) => *single = json!([single.clone(), "null"]),
        None => {}
    }
    if let Some(Value::Array(shapes)) = map.get_mut("anyOf") {
        shapes.push(json!({"type": "null"}));
    }
    if let Some(reference) = map.remove("$ref") {
        map.insert("anyOf".to_owned(), json!([{"$ref": reference}, {"type": "null"}]));
    }
    shape
}

/// `RawNode` is `Node` to readers of the schema.
fn short(name: &'static str) -> &'static str {
    name.strip_prefix("Raw").unwrap_or(name)
}

/// A doc comment as running text.
fn text(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{code, load_str};

    /// Follows a path of property names, through references and lists.
    fn at<'s>(schema: &'s Value, path: &[&str]) -> &'s Value {
        let mut shape = schema;
        for name in path {
            shape = &resolved(schema, shape)["properties"][name];
            assert!(shape.is_object(), "no {name} in {path:?}");
        }
        shape
    }

    fn resolved<'s>(schema: &'s Value, shape: &'s Value) -> &'s Value {
        let mut shape = shape;
        loop {
            let reference = shape["$ref"].as_str();
            shape = match (reference, &shape["items"], &shape["anyOf"][0]) {
                (Some(reference), ..) => schema.pointer(reference.trim_start_matches('#')).expect("it is defined"),
                (None, items @ Value::Object(_), _) => items,
                (None, _, first @ Value::Object(_)) => first,
                _ => return shape,
            };
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_is_described() {
        let schema = schema();
        fn walk(schema: &Value, value: &Value, count: &mut usize) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        assert!(schema.pointer(reference.trim_start_matches('#')).is_some_and(Value::is_object));
                        *count += 1;
                    }
                    for (name, shape) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                        let said = shape["description"].as_str().unwrap_or_default();
                        assert!(said.ends_with('.') && said.len() > 4, "{name}: {said:?}");
                    }
                    map.values().for_each(|value| walk(schema, value, count));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(schema, value, count)),
                _ => {}
            }
        }
        let mut count = 0;
        walk(&schema, &schema, &mut count);
        assert!(count > 30, "{count}");
    }

    #[test]
    fn shapes() {
        let schema = schema();
        let top = resolved(&schema, &schema);
        assert_eq!(top["required"], json!(["apiVersion", "kind", "kubernetesVersion", "nodes"]));
        assert_eq!(top["additionalProperties"], json!(false));
        assert_eq!(at(&schema, &["apiVersion"])["enum"], json!(["nodekiln/v1alpha1"]));
        assert_eq!(at(&schema, &["nodes", "name"])["type"], json!("string"));
        assert_eq!(at(&schema, &["clusterName"])["type"], json!(["string", "null"]));
        assert_eq!(at(&schema, &["os", "updates"])["enum"], json!(["on", "off", true, false, null]));
        let address = &at(&schema, &["nodes", "address"])["anyOf"];
        assert_eq!(address, &json!([{"type": "string"}, {"type": "array", "items": {"type": "string"}}]));
        assert_eq!(at(&schema, &["nodes", "labels"])["additionalProperties"], json!({"type": "string"}));
        assert_eq!(at(&schema, &["os", "files", "mode"])["pattern"], json!("^0[0-7]{3}$"));
        // What a later version reads may stand there without a value, for the reader too.
        assert_eq!(at(&schema, &["pxe"])["type"], json!("null"));
        assert_eq!(at(&schema, &["images", "preload"])["type"], json!("null"));
    }

    /// What the schema calls required is what the reader misses, and nothing else is.
    #[test]
    fn required_keys_are_those_that_the_reader_misses() {
        let schema = schema();
        for (path, inside) in [
            (&["nodes"][..], "nodes: [{}]"),
            (&["os", "files"], "os: {files: [{}]}"),
            (&["os", "users"], "os: {users: [{}]}"),
            (&["os", "units"], "os: {units: [{dropins: [{}]}]}"),
            (&["os", "units", "dropins"], "os: {units: [{dropins: [{}]}]}"),
            (&["kernel", "sysctls"], "kernel: {sysctls: [{}]}"),
            (&["kubeletExtraArgs"], "kubeletExtraArgs: [{}]"),
            (&["apiServer", "extraVolumes"], "apiServer: {extraVolumes: [{}]}"),
            (&["pools"], "pools: [{}]"),
            (&["etcd", "external"], "etcd: {external: {}}"),
            (&[], "clusterName: x"),
        ] {
            // A node, so that what stands beside it is read.
            let node = if inside.starts_with("nodes") || path.is_empty() { "" } else { "\nnodes: [{}]" };
            let Err(crate::config::Failure::Findings(found)) = load_str("f", &format!("{inside}{node}\n"), None) else {
                panic!("{inside} was taken")
            };
            let prefix: String = path.iter().map(|name| format!("{name}[0].")).collect();
            let prefix = prefix
                .replace("os[0]", "os")
                .replace("kernel[0]", "kernel")
                .replace("etcd[0].external[0]", "etcd.external")
                .replace("Server[0]", "Server");
            let place = prefix.trim_end_matches('.');
            let mut missed: Vec<_> = found
                .iter()
                .filter(|finding| finding.code == code::MISSING && finding.path == place)
                .filter_map(|finding| finding.message.strip_suffix("` is missing")?.strip_prefix('`'))
                .filter(|name| !name.contains(['.', '`']))
                .collect();
            missed.sort_unstable();
            let shape = resolved(&schema, at(&schema, path));
            let required: Vec<_> =
                shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut required = required;
            required.sort_unstable();
            assert_eq!(missed, required, "{inside}: {place}");
        }
    }
}
