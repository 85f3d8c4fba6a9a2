//! addons.manifests: objects that firstboot applies.

use super::Cx;
use crate::config::{
    ManifestObject, code,
    diag::{Diagnostics, Finding},
    documents::{self, Document},
    object::find,
    raw::List,
    read::{At, Field, Place},
    shown::short,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What an object is called in the API: group, kind, namespace, name.
type Id = (String, String, String, String);

impl Cx<'_, '_> {
    /// The objects of all files, in the order in which they are applied.
    pub(super) fn manifests(&mut self, field: &Field<List<String>>) -> Vec<ManifestObject> {
        let mut objects = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            for file in self.manifest_files(at) {
                self.manifest_file(at, &file, &mut objects, &mut seen);
            }
        }
        objects
    }

    /// The file that `at` names, or those of the folder.
    fn manifest_files(&mut self, at: &At<String>) -> Vec<String> {
        if !self.inputs.is_folder(&at.value) {
            return vec![at.value.clone()];
        }
        let files = match self.inputs.folder(&at.value) {
            Ok(files) => files,
            Err(why) => {
                let finding = Finding::new(code::INPUT, format!("`{}` cannot be read: {why}", short(&at.value)));
                self.found.error_at(&at.place, finding);
                return Vec::new();
            }
        };
        let is_manifest = |file: &String| [".yaml", ".yml", ".json"].iter().any(|end| file.ends_with(end));
        let files: Vec<_> = files.into_iter().filter(is_manifest).collect();
        if files.is_empty() {
            let finding = Finding::new(code::INPUT, format!("`{}` holds no manifest", short(&at.value)));
            self.found.error_at(&at.place, finding.hint("files that end in .yaml, .yml or .json are read"));
        }
        files
    }

    fn manifest_file(
        &mut self,
        at: &At<String>,
        file: &str,
        objects: &mut Vec<ManifestObject>,
        seen: &mut BTreeMap<Id, String>,
    ) {
        let Some(input) = self.input(&At { value: file.to_owned(), place: at.place.clone() }) else { return };
        let shown = self.inputs.display(&input.path);
        let mut documents = 0;
        let errors = self.found.count().0;
        documents::read(&input, &shown, self.found, |document, found| {
            documents += 1;
            let Document { tree, node, place, value } = document;
            let mut add = |value: Value, item: Option<usize>, found: &mut Diagnostics| {
                // In a list every object is pointed at by its item.
                let place_of = |path: &[&str]| match item {
                    None => find(tree, node, &place, path).unwrap_or_else(|| place.clone()),
                    Some(index) => item_place(tree, node, &place, index),
                };
                let Some(id) = identify(&value, found, &place_of) else { return };
                let whole = place_of(&["metadata", "name"]);
                match seen.get(&id) {
                    Some(first) => {
                        let message = format!("{} `{}` comes twice: it stands in {first} too", id.1, short(&id.3));
                        found.error_at(&whole, Finding::new(code::DUPLICATE, message).hint("remove one of the two"));
                    }
                    None => {
                        let line = found.source().position(whole.span.range().start).line;
                        seen.insert(id, format!("{}:{line}", input.path));
                        objects.push(ManifestObject { path: input.path.clone(), value });
                    }
                }
            };
            match items(value) {
                Ok(list) => {
                    for (index, item) in list.into_iter().enumerate() {
                        add(item, Some(index), found);
                    }
                }
                Err(value) => add(value, None, found),
            }
        });
        if documents == 0 && self.found.count().0 == errors {
            let finding = Finding::new(code::MANIFEST, format!("`{}` holds no object", short(file)));
            self.found.warning_at(&at.place, finding);
        }
    }
}

/// The place of the item `index` of a List.
fn item_place(
    tree: &crate::config::yaml::Tree<'_>,
    node: crate::config::yaml::NodeId,
    place: &Place,
    index: usize,
) -> Place {
    use crate::config::yaml::View;
    let View::Map(entries) = tree.view(node) else { return place.clone() };
    let items = entries.iter().find(|entry| entry.key == "items").map(|entry| tree.view(entry.value));
    let Some(View::List(items)) = items else { return place.clone() };
    let span = items.get(index).map_or(place.span, |item| tree.span(*item));
    Place { span, path: place.path.key("items").index(index) }
}

/// The items of a List (`v1` List, or FooList): each with the kind that the list's own says, where it has none. `Err`:
/// the object itself, where it is no list.
fn items(value: Value) -> Result<Vec<Value>, Value> {
    let kind = value["kind"].as_str().unwrap_or_default();
    let Some(of) = kind.strip_suffix("List").map(str::to_owned).filter(|_| value["items"].is_array()) else {
        return Err(value);
    };
    let api_version = value["apiVersion"].clone();
    let Value::Object(mut list) = value else { return Err(value) };
    let Some(Value::Array(items)) = list.remove("items") else { return Ok(Vec::new()) };
    let typed = |item: Value| match item {
        Value::Object(fields)
            if !of.is_empty() && !fields.contains_key("kind") && !fields.contains_key("apiVersion") =>
        {
            let mut object = Map::new();
            object.insert("apiVersion".to_owned(), api_version.clone());
            object.insert("kind".to_owned(), Value::String(of.clone()));
            object.extend(fields);
            Value::Object(object)
        }
        item => item,
    };
    Ok(items.into_iter().map(typed).collect())
}

/// What the object is called. `None`: it cannot be applied, which is reported.
fn identify(value: &Value, found: &mut Diagnostics, place: &dyn Fn(&[&str]) -> Place) -> Option<Id> {
    let mut bad = |path: &[&str], message: String, hint: &str| {
        let finding = Finding::new(code::MANIFEST, message);
        let finding = if hint.is_empty() { finding } else { finding.hint(hint) };
        found.error_at(&place(path), finding);
    };
    let Value::Object(object) = value else {
        bad(&[], "not an API object: a mapping is due".to_owned(), "");
        return None;
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = object.get("metadata");
    let (api_version, kind) = (text(object.get("apiVersion")), text(object.get("kind")));
    let name = text(metadata.and_then(|metadata| metadata.get("name")));
    for (field, value) in [("apiVersion", &api_version), ("kind", &kind)] {
        if value.is_none() {
            bad(&[field], format!("an object without `{field}`"), "");
        }
    }
    if name.is_none() {
        let generated = metadata.is_some_and(|metadata| metadata.get("generateName").is_some());
        let hint = if generated { "`generateName` would make another object at every apply" } else { "" };
        let path: &[&str] = if metadata.is_some() { &["metadata"] } else { &[] };
        bad(path, "an object without `metadata.name`".to_owned(), hint);
    }
    let (api_version, kind, name) = (api_version?, kind?, name?);
    let group = match api_version.split_once('/') {
        None => Some(String::new()),
        Some((group, version)) => {
            (group.parse::<nodekiln_plan::DnsName>().is_ok() && !version.contains('/')).then(|| group.to_owned())
        }
    };
    let mut sound = true;
    if group.is_none() {
        bad(&["apiVersion"], format!("`{}` is not GROUP/VERSION", short(&api_version)), "");
        sound = false;
    }
    if !kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        bad(&["kind"], format!("`{}` is no kind", short(&kind)), "");
        sound = false;
    }
    // What the API server asks of every name: that it can be a part of a path. Most kinds ask for more.
    if name.len() > 253 || matches!(name.as_str(), "." | "..") || name.contains(['/', '%']) {
        bad(&["metadata", "name"], format!("no object can have the name `{}`", short(&name)), "");
        sound = false;
    }
    let namespace = match metadata.and_then(|metadata| metadata.get("namespace")) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if text.is_empty() => String::new(),
        Some(Value::String(text))
            if text.len() <= 63 && !text.contains('.') && text.parse::<nodekiln_plan::DnsName>().is_ok() =>
        {
            text.clone()
        }
        Some(_) => {
            let message = "`metadata.namespace` is no name of a namespace".to_owned();
            bad(&["metadata", "namespace"], message, "of a-z, 0-9 and `-`, at most 63 characters");
            sound = false;
            String::new()
        }
    };
    sound.then_some((group?, kind, namespace, name))
}
