//! Parsed structures, and the form in which two of them are compared.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Structures by name, such as `static pod etcd` or `object ConfigMap kube-system/coredns`.
pub type Documents = BTreeMap<String, Value>;

/// YAML, of which JSON is a part.
pub fn parse(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).with_context(|| format!("parsing {:.200}", text))
}

/// Every value at the end of a path. Lists of things with names go by name, a command's arguments by flag.
pub fn leaves(value: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| walk(&below(key), value, found));
        }
        Value::Array(list) if !list.is_empty() => {
            let keys: Vec<_> = list.iter().enumerate().map(|(index, item)| key(index, item)).collect();
            for ((key, value), item) in keys.iter().zip(list) {
                match value {
                    Some(value) => drop(found.insert(below(key), value.clone())),
                    None => walk(&below(key), item, found),
                }
            }
        }
        other => drop(found.insert(path.to_owned(), other.to_string())),
    }
}

/// What an item of a list goes by, and its value where that is all of it.
fn key(index: usize, item: &Value) -> (String, Option<String>) {
    match item {
        Value::String(text) => match text.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
            Some((flag, value)) => (format!("--{flag}"), Some(value.to_owned())),
            None => (index.to_string(), None),
        },
        Value::Object(map) => match map.get("name") {
            Some(Value::String(name)) => (name.clone(), None),
            _ => (index.to_string(), None),
        },
        _ => (index.to_string(), None),
    }
}

/// The name that an API object goes by.
pub fn object_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let name = text(&metadata["name"]);
    // Its name is a part of the token.
    let name = if name.starts_with("bootstrap-token-") { "bootstrap-token".to_owned() } else { name };
    match text(&metadata["namespace"]) {
        namespace if namespace.is_empty() => format!("object {} {name}", text(&object["kind"])),
        namespace => format!("object {} {namespace}/{name}", text(&object["kind"])),
    }
}

/// An API object without what Go's encoder adds to every one, and with the documents in a ConfigMap parsed.
pub fn object(mut object: Value) -> Value {
    prune(&mut object);
    if object["kind"] == "ConfigMap"
        && let Some(Value::Object(data)) = object.get_mut("data")
    {
        for value in data.values_mut() {
            if let Some(text) = value.as_str()
                && let Ok(parsed @ Value::Object(_)) = parse(text)
            {
                *value = parsed;
                prune(value);
            }
        }
    }
    object
}

/// Go writes some unset fields: `creationTimestamp: null`, an empty `status`, `strategy` or `resources`.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !unset(key, value));
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

fn unset(key: &str, value: &Value) -> bool {
    let empty = value.as_object().is_some_and(Map::is_empty);
    match key {
        "status" => true,
        "strategy" | "updateStrategy" | "resources" => empty,
        _ => value.is_null(),
    }
}

/// Texts in no order.
pub fn set<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
    Value::Object(texts.into_iter().map(|text| (text.as_ref().to_owned(), Value::Bool(true))).collect())
}
