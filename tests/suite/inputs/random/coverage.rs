//! Which keys and choices of the schema random clusters have.

use serde_json::Value;
use std::collections::BTreeMap;

/// How often each key stood in a file, and each choice of those that are chosen from few: `Node.role`,
/// `Node.role=etcd`.
#[derive(Default)]
pub struct Coverage(BTreeMap<String, usize>);

impl Coverage {
    /// For all keys and choices of `schema`, none of which was seen.
    pub fn of(schema: &Value) -> Self {
        let mut counts = BTreeMap::new();
        for (name, shape) in schema["$defs"].as_object().into_iter().flatten() {
            // What takes no value yet says nothing.
            let keys =
                shape["properties"].as_object().into_iter().flatten().filter(|(_, shape)| shape["type"] != "null");
            for (key, shape) in keys {
                counts.insert(format!("{name}.{key}"), 0);
                for choice in choices(shape) {
                    counts.insert(format!("{name}.{key}={choice}"), 0);
                }
            }
        }
        Self(counts)
    }

    /// Counts what stands in `file`.
    pub fn count(&mut self, schema: &Value, file: &Value) {
        self.walk(schema, schema, file);
    }

    fn walk(&mut self, schema: &Value, shape: &Value, value: &Value) {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.walk(schema, items_of(shape), item);
                }
            }
            Value::Object(map) => {
                let Some((name, mapping)) = definition(schema, shape) else { return };
                for (key, value) in map {
                    let shape = &mapping["properties"][key];
                    *self.0.entry(format!("{name}.{key}")).or_default() += 1;
                    for choice in choices(shape) {
                        let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                        if all.contains(&choice) {
                            *self.0.entry(format!("{name}.{key}={choice}")).or_default() += 1;
                        }
                    }
                    self.walk(schema, shape, value);
                }
            }
            _ => {}
        }
    }

    /// What was seen less often than `least` times.
    pub fn rare(&self, least: usize) -> Vec<String> {
        let rare = self.0.iter().filter(|(_, count)| **count < least);
        rare.map(|(name, count)| format!("{name}: {count}")).collect()
    }

    /// How many keys and choices there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The texts that a shape is one of.
fn choices(shape: &Value) -> Vec<Value> {
    let own = shape["enum"].as_array().into_iter().flatten();
    let items = shape["items"]["enum"].as_array().into_iter().flatten();
    own.chain(items).filter(|choice| choice.is_string()).cloned().collect()
}

fn items_of(shape: &Value) -> &Value {
    match (&shape["items"], shape["anyOf"].as_array()) {
        (Value::Null, Some(shapes)) => shapes.iter().find(|shape| shape["items"].is_object()).unwrap_or(&Value::Null),
        (items, _) => items,
    }
}

/// The mapping that a shape refers to, and its name.
fn definition<'s>(schema: &'s Value, shape: &'s Value) -> Option<(&'s str, &'s Value)> {
    let own = shape["$ref"].as_str();
    let any = shape["anyOf"].as_array().into_iter().flatten().find_map(|shape| shape["$ref"].as_str());
    let reference = own.or(any)?;
    Some((reference.rsplit('/').next()?, schema.pointer(reference.trim_start_matches('#'))?))
}
