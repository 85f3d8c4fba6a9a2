//! Fields of `secrets.yaml`, each as what it has to be.

use super::{
    super::{
        Finding,
        tree::{Node, Place},
    },
    Reader,
};
use crate::pki::{certificate::Validity, key::KeyPair, pem};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

/// A mapping whose keys are known.
pub(super) struct Fields<'a> {
    pub(super) place: &'a Place,
    pub(super) path: String,
    pub(super) fields: BTreeMap<&'a str, &'a Place>,
}

impl Reader {
    /// The entries of a mapping; unknown keys are findings.
    pub(super) fn fields<'a>(&mut self, place: &'a Place, path: &str, known: &[&str]) -> Option<Fields<'a>> {
        let Node::Map(entries) = &place.value else {
            self.add(place, path, format!("is {}, not a mapping", place.value.kind()));
            return None;
        };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            if known.contains(&key.value.as_str()) {
                fields.insert(key.value.as_str(), value);
                continue;
            }
            // A slip of the editor may have made a secret a key: only what looks like a field's name is repeated.
            let plain = key.value.len() <= 24 && key.value.bytes().all(|byte| byte.is_ascii_alphabetic());
            let name = if plain { format!("the unknown key `{}`", key.value) } else { "an unknown key".to_owned() };
            let message = format!("has {name}; known here: {}", known.join(", "));
            self.findings.push(Finding::new(key.defined.line(), key.defined.column(), path, message));
        }
        Some(Fields { place, path: path.to_owned(), fields })
    }

    pub(super) fn required<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<&'a Place> {
        let place = fields.fields.get(name).copied();
        if place.is_none() {
            self.add(fields.place, &fields.path, format!("has no `{name}`"));
        }
        place
    }

    pub(super) fn list<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<&'a [Place]> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::List(items) if items.is_empty() => self.add(place, &fields.child(name), "is an empty list"),
            Node::List(items) => return Some(items),
            other => self.add(place, &fields.child(name), format!("is {}, not a list", other.kind())),
        }
        None
    }

    pub(super) fn text<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<(&'a Place, &'a str)> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::Text(text) => return Some((place, text)),
            other => self.add(place, &fields.child(name), format!("is {}, not a text", other.kind())),
        }
        None
    }

    pub(super) fn number(&mut self, fields: &Fields<'_>, name: &str) -> Option<u64> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::Number(number) => return Some(*number),
            other => self.add(place, &fields.child(name), format!("is {}, not a whole number", other.kind())),
        }
        None
    }

    pub(super) fn time(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
        let (place, text) = self.text(fields, name)?;
        let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|time| time.nanosecond() == 0);
        // Certificates begin a day earlier and cannot begin before 1950.
        let time = time.map(OffsetDateTime::unix_timestamp).filter(|&time| Validity::starting(time, 0).is_some());
        if time.is_none() {
            let message = "is not a time in whole seconds, such as 2026-01-31T12:00:00Z (RFC 3339)";
            self.add(place, &fields.child(name), message);
        }
        time
    }

    pub(super) fn bytes32(&mut self, fields: &Fields<'_>, name: &str) -> Option<Zeroizing<[u8; 32]>> {
        let (place, text) = self.text(fields, name)?;
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let mut array = Zeroizing::new([0; 32]);
        match bytes {
            Ok(bytes) if bytes.len() == 32 => array.copy_from_slice(&bytes),
            Ok(bytes) => {
                self.add(place, &fields.child(name), format!("has {} bytes, not 32", bytes.len()));
                return None;
            }
            Err(_) => {
                self.add(place, &fields.child(name), "is not base64");
                return None;
            }
        }
        // A placeholder, not a secret.
        if array.iter().all(|byte| *byte == array[0]) {
            self.add(place, &fields.child(name), "is one byte repeated, not a secret");
            return None;
        }
        Some(array)
    }

    pub(super) fn pem(&mut self, fields: &Fields<'_>, name: &str, label: &'static str) -> Option<Zeroizing<Vec<u8>>> {
        let (place, text) = self.text(fields, name)?;
        pem::decode(label, text).map_err(|error| self.add(place, &fields.child(name), error.to_string())).ok()
    }

    /// A private key that stands nowhere else in the file: a CA's key that is also another's would go where that goes.
    pub(super) fn private_key(&mut self, fields: &Fields<'_>, name: &str) -> Option<KeyPair> {
        let (place, text) = self.text(fields, name)?;
        let path = fields.child(name);
        let key = match KeyPair::from_pem(text) {
            Ok(key) => key,
            Err(error) => {
                self.add(place, &path, error.to_string());
                return None;
            }
        };
        if let Some(other) = self.keys.insert(key.spki_sha256(), path.clone()) {
            self.add(place, &path, format!("is the same key as {other}"));
        }
        Some(key)
    }
}

impl Fields<'_> {
    pub(super) fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
