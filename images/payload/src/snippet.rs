//! [`Snippet`]: configuration of the user's own that goes into a payload below nodekiln's.
//!
//! Under Ignition a snippet stands in `ignition.config.merge`: Ignition merges it by the rules of its specification, a
//! later one over an earlier one, and reads it under its own version. There a child would win over its parent, but the
//! two never meet: what touches anything of ours is refused ([`Snippet::touched`]). cloud-init's user data is one
//! document: [`Snippet::merged`] lays snippets over each other, and the encoder puts their lists before ours.

use crate::{
    content::{DataUrl, unbase64},
    gzip::gunzip,
    ignition::rules::{self, Remarks},
    options::IgnitionVersion,
    profile::Format,
    python_yaml::{self, YamlFault},
    validate::{Why, unit_text, yaml_safe},
};
use ignition_config::Config;
use nodekiln_plan::{AbsPath, Sha256, UnitName};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The first line of cloud-init's user data.
const HEADER: &str = "#cloud-config";

/// Keys of user data that say what nodekiln says itself, or which would keep it from being heard.
const OWNED_KEYS: [&str; 13] = [
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "fqdn",
    "hostname",
    "manage_etc_hosts",
    "merge_how",
    "merge_type",
    "ntp",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "system_info",
];

/// Keys of user data that are lists of ours too: a snippet's items stand before ours.
pub(crate) const SHARED_LISTS: [&str; 4] = ["bootcmd", "runcmd", "users", "write_files"];

/// An Ignition configuration, or user data of cloud-init.
#[derive(Clone, PartialEq, Eq)]
pub struct Snippet(Arc<Map<String, Value>>);

impl fmt::Debug for Snippet {
    /// Without contents: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.0.keys().collect();
        write!(f, "Snippet({keys:?})")
    }
}

/// Why a text is no snippet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnippetFault {
    /// No UTF-8.
    #[error("is not UTF-8")]
    Utf8,
    /// No JSON, or not of Ignition's types. The parser's own words are left out: they quote the input.
    #[error("does not parse as an Ignition configuration: line {0}, column {1}")]
    Ignition(usize, usize),
    /// No version, or one that does not exist.
    #[error("names no version of Ignition's specification that is known: `ignition.version`")]
    Version,
    /// A version that the payload's reader need not know.
    #[error("is of Ignition's specification {0}, the payload of {1}")]
    TooNew(String, IgnitionVersion),
    /// Keys that the version lacks.
    #[error("Ignition would ignore {0}")]
    Ignored(String),
    /// Something that is fetched when the machine boots, and cannot be held against what is ours.
    #[error("`{0}` brings a configuration that is not known here")]
    Fetched(&'static str),
    /// Another first line.
    #[error("does not begin with the line `#cloud-config`")]
    Header,
    /// No YAML that cloud-init reads as it stands.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Yaml(Vec<YamlFault>),
    /// No mapping.
    #[error("does not parse as a YAML mapping")]
    Mapping,
    /// A key of ours.
    #[error("`{0}` is nodekiln's own to set")]
    Owned(String),
    /// A list of ours that is none.
    #[error("`{0}` has to be a list")]
    List(String),
    /// An item without the field that says what it is about.
    #[error("`{0}`: an item without `{1}`")]
    Item(&'static str, &'static str),
    /// A path that is none.
    #[error("`{0}` is no absolute path without `.`, `..` and doubled slashes")]
    Path(String),
    /// A name that no unit has.
    #[error("`{0}` is no name of a unit")]
    UnitName(String),
    /// A unit that does not parse.
    #[error("{0}: {1}")]
    Unit(String, Why),
    /// The same a second time.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// Characters that YAML 1.1 folds or refuses, or words by which cloud-init takes the text for something else.
    #[error("contains a character, or the words `mime-version:`, that cloud-init does not carry")]
    Text,
}

/// Something on the machine that a snippet sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// A folder.
    Directory(AbsPath),
    /// A file, or a link.
    File(AbsPath),
    /// A unit.
    Unit(UnitName),
    /// An account.
    User(String),
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) | Self::File(path) => write!(f, "{path}"),
            Self::Unit(name) => write!(f, "the unit {name}"),
            Self::User(name) => write!(f, "the account {name}"),
        }
    }
}

impl Snippet {
    /// Reads a snippet for a payload of this format; `version` is what an Ignition payload names.
    ///
    /// # Errors
    /// See [`SnippetFault`].
    pub fn parse(bytes: &[u8], format: Format, version: IgnitionVersion) -> Result<Self, SnippetFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SnippetFault::Utf8)?;
        let map = match format {
            Format::Ignition => ignition(text, version)?,
            Format::CloudInit => cloud_config(text)?,
        };
        let snippet = Self(Arc::new(map));
        let mut seen = BTreeSet::new();
        for touched in snippet.find_touched()? {
            // An account's own settings may well be said piece by piece, under cloud-init a file's too.
            let place = match &touched {
                Touched::Directory(path) | Touched::File(path) => path.to_string(),
                Touched::Unit(_) | Touched::User(_) => touched.to_string(),
            };
            if !seen.insert(place) && format == Format::Ignition {
                return Err(SnippetFault::Twice(touched.to_string()));
            }
        }
        snippet.check_units()?;
        Ok(snippet)
    }

    /// What was [`Snippet::parse`]d before, or decoded.
    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self(Arc::new(map))
    }

    /// User data of cloud-init laid over each other: mappings key by key, lists one after the other, of other values the
    /// last. `None` without any.
    pub fn merged(snippets: &[Self]) -> Option<Self> {
        let (first, rest) = snippets.split_first()?;
        let mut merged = Map::clone(&first.0);
        rest.iter().for_each(|snippet| lay_over(&mut merged, &snippet.0));
        Some(Self::of(merged))
    }

    /// Digest of all that it says.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(Value::Object(Map::clone(&self.0)).to_string().as_bytes())
    }

    /// Its keys.
    pub(crate) fn map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Everything on the machine that it sets and that could be ours.
    pub fn touched(&self) -> Vec<Touched> {
        self.find_touched().unwrap_or_default()
    }

    /// Its units' names, and where it mounts something by other means (cloud-init's `mounts`, as in fstab(5)).
    pub fn mounts(&self) -> (Vec<&str>, Vec<&str>) {
        let units = items(&self.0, &["systemd", "units"]).iter().filter_map(|unit| unit["name"].as_str());
        let mounts = items(&self.0, &["mounts"]).iter().filter_map(|mount| mount[1].as_str());
        (units.collect(), mounts.collect())
    }

    /// What an Ignition configuration's reader would refuse although it parses, and what is hardly meant.
    pub fn remarks(&self) -> Remarks {
        // A key of Ignition's alone.
        if self.0.contains_key("ignition") { rules::remarks(&self.0) } else { Remarks::default() }
    }

    /// Where Ignition mounts something while it writes.
    pub fn filesystems(&self) -> Vec<&str> {
        let filesystems = items(&self.0, &["storage", "filesystems"]).iter();
        filesystems.filter_map(|filesystem| filesystem["path"].as_str()).collect()
    }

    /// What it says, for people: the sections and keys in it, then what it touches. No contents: they may be secret.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, value) in &*self.0 {
            match value {
                Value::Object(map) if !map.is_empty() => lines.extend(map.keys().map(|inner| format!("{key}.{inner}"))),
                _ => lines.push(key.clone()),
            }
        }
        lines.extend(self.touched().iter().map(ToString::to_string));
        lines
    }

    fn find_touched(&self) -> Result<Vec<Touched>, SnippetFault> {
        type Make = fn(AbsPath) -> Touched;
        let mut found = Vec::new();
        let paths: [(&'static str, &[&str], Make); 4] = [
            ("storage.directories", &["storage", "directories"], Touched::Directory),
            ("storage.files", &["storage", "files"], Touched::File),
            ("storage.links", &["storage", "links"], Touched::File),
            ("write_files", &["write_files"], Touched::File),
        ];
        for (name, at, make) in paths {
            for item in items(&self.0, at) {
                let path = item["path"].as_str().ok_or(SnippetFault::Item(name, "path"))?;
                found.push(make(path.parse().map_err(|_| SnippetFault::Path(path.to_owned()))?));
            }
        }
        for unit in items(&self.0, &["systemd", "units"]) {
            let name = unit["name"].as_str().ok_or(SnippetFault::Item("systemd.units", "name"))?;
            found.push(Touched::Unit(name.parse().map_err(|_| SnippetFault::UnitName(name.to_owned()))?));
        }
        for at in [&["passwd", "users"][..], &["users"]] {
            // cloud-init's `default`, or names alone, are texts.
            for user in items(&self.0, at) {
                let name = user.as_str().or_else(|| user["name"].as_str());
                found.extend(name.map(|name| Touched::User(name.to_owned())));
            }
        }
        Ok(found)
    }

    /// Units that systemd would not load.
    fn check_units(&self) -> Result<(), SnippetFault> {
        for unit in items(&self.0, &["systemd", "units"]) {
            let name = unit["name"].as_str().unwrap_or_default().to_owned();
            let enabled = unit["enabled"].as_bool().unwrap_or(false);
            if let Some(why) = unit["contents"].as_str().and_then(|text| unit_text(text, enabled)) {
                return Err(SnippetFault::Unit(name, why));
            }
            for dropin in unit["dropins"].as_array().into_iter().flatten() {
                if let Some(why) = dropin["contents"].as_str().and_then(|text| unit_text(text, false)) {
                    return Err(SnippetFault::Unit(name, why));
                }
            }
        }
        Ok(())
    }

    /// All texts in it, each with its place, in the clear: what stands in base64, a data URL or gzip is given unpacked
    /// too.
    pub fn texts(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for (key, value) in &*self.0 {
            texts(key, value, &mut found);
        }
        found
    }
}

/// The list at a place, or nothing.
fn items<'a>(map: &'a Map<String, Value>, at: &[&str]) -> &'a [Value] {
    let Some((first, rest)) = at.split_first() else { return &[] };
    let mut value = map.get(*first);
    for key in rest {
        value = value.and_then(|value| value.get(key));
    }
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn ignition(text: &str, payload: IgnitionVersion) -> Result<Map<String, Value>, SnippetFault> {
    let syntax = |error: &serde_json::Error| SnippetFault::Ignition(error.line(), error.column());
    let value: Value = serde_json::from_str(text).map_err(|error| syntax(&error))?;
    let Value::Object(map) = value else { return Err(SnippetFault::Ignition(1, 1)) };
    let version = map.get("ignition").and_then(|ignition| ignition["version"].as_str()).unwrap_or_default();
    if version.is_empty() {
        return Err(SnippetFault::Version);
    }
    let (config, warnings) = match Config::parse_str(text) {
        Ok(parsed) => parsed,
        Err(ignition_config::Error::Serialization(error)) => return Err(syntax(&error)),
        Err(_) => return Err(SnippetFault::Version),
    };
    let fits = match config {
        Config::V3_0(_) | Config::V3_1(_) | Config::V3_2(_) | Config::V3_3(_) => true,
        Config::V3_4(_) => payload >= IgnitionVersion::V3_4,
        Config::V3_5(_) => payload >= IgnitionVersion::V3_5,
        _ => false,
    };
    if !fits {
        return Err(SnippetFault::TooNew(version.to_owned(), payload));
    }
    if !warnings.is_empty() {
        let keys: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        return Err(SnippetFault::Ignored(keys.join(", ")));
    }
    for (key, name) in [("replace", "ignition.config.replace"), ("merge", "ignition.config.merge")] {
        let given = map.get("ignition").map(|ignition| &ignition["config"][key]);
        if given.is_some_and(|given| !given.is_null() && given.as_array().is_none_or(|list| !list.is_empty())) {
            return Err(SnippetFault::Fetched(name));
        }
    }
    Ok(map)
}

fn cloud_config(text: &str) -> Result<Map<String, Value>, SnippetFault> {
    if text.lines().next().map(str::trim_end) != Some(HEADER) {
        return Err(SnippetFault::Header);
    }
    // Line ends in YAML 1.1, but none in YAML 1.2.
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return Err(SnippetFault::Text);
    }
    let value = python_yaml::read(text).map_err(SnippetFault::Yaml)?;
    let Value::Object(mut map) = value else { return Err(SnippetFault::Mapping) };
    if let Some(key) = owned_key(&map) {
        return Err(SnippetFault::Owned(key.to_owned()));
    }
    if let Some(key) = SHARED_LISTS.into_iter().find(|key| map.get(*key).is_some_and(|value| !value.is_array())) {
        return Err(SnippetFault::List(key.to_owned()));
    }
    // An empty list says nothing.
    map.retain(|key, value| {
        !SHARED_LISTS.contains(&key.as_str()) || value.as_array().is_none_or(|list| !list.is_empty())
    });
    if !map.iter().all(|(key, value)| is_carried(key) && all_carried(value)) {
        return Err(SnippetFault::Text);
    }
    Ok(map)
}

/// The first key that is ours alone.
pub(crate) fn owned_key(map: &Map<String, Value>) -> Option<&str> {
    map.keys().map(String::as_str).find(|key| OWNED_KEYS.contains(key))
}

fn is_carried(text: &str) -> bool {
    yaml_safe(text) && !text.to_ascii_lowercase().contains("mime-version:")
}

fn all_carried(value: &Value) -> bool {
    match value {
        Value::String(text) => is_carried(text),
        Value::Array(list) => list.iter().all(all_carried),
        Value::Object(map) => map.iter().all(|(key, value)| is_carried(key) && all_carried(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn lay_over(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            (Some(Value::Array(below)), Value::Array(above)) => below.extend(above.iter().cloned()),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What a text may be packed in.
fn unpacked(text: &str) -> Option<Vec<u8>> {
    let bytes = match text.strip_prefix("data:").and_then(|url| url.split_once(',')) {
        // A media type does not change the bytes.
        Some((media, data)) if media.ends_with(";base64") => unbase64(data)?,
        Some((_, data)) => DataUrl::decode(&format!("data:,{data}"), None, None)?.bytes,
        None => unbase64(&text.split_ascii_whitespace().collect::<String>())?,
    };
    let unpacked = if bytes.starts_with(&[0x1f, 0x8b]) { gunzip(&bytes, None) } else { None };
    Some(unpacked.map_or(bytes, |unpacked| unpacked.bytes))
}

fn texts(place: &str, value: &Value, found: &mut Vec<(String, Vec<u8>)>) {
    match value {
        Value::String(text) => {
            found.push((place.to_owned(), text.clone().into_bytes()));
            found.extend(unpacked(text).map(|bytes| (place.to_owned(), bytes)));
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                texts(&format!("{place}[{index}]"), value, found);
            }
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| texts(&format!("{place}.{key}"), value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
