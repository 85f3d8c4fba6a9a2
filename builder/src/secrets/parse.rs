//! `secrets.yaml` from text: every fault at once, with its place, without its value.

use super::{
    CaEntry, ENCRYPTION_KEY_NAME, EncryptionKey, Finding, LeafId, Rotation, SECRETS_VERSION, Secrets, Token,
    tree::{Node, Place, read},
    write::field,
};
use crate::pki::{
    certificate::{CaCertificate, CaError, Signer, Validity},
    key::KeyPair,
    pem,
    table::{Ca, Scope, TABLE},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

pub(super) fn parse(bytes: &[u8]) -> Result<Secrets, Vec<Finding>> {
    let root = read(bytes).map_err(|finding| vec![finding])?;
    let mut reader = Reader { findings: Vec::new(), keys: BTreeMap::new() };
    let secrets = reader.secrets(&root);
    match secrets {
        Some(secrets) if reader.findings.is_empty() => Ok(secrets),
        _ => {
            reader.findings.sort_by_key(|finding| (finding.line, finding.column));
            Err(reader.findings)
        }
    }
}

/// A mapping whose keys are known.
struct Fields<'a> {
    place: &'a Place,
    path: String,
    fields: BTreeMap<&'a str, &'a Place>,
}

struct Reader {
    findings: Vec<Finding>,
    /// Private keys seen, by public half, and where: no two may be the same.
    keys: BTreeMap<Sha256, String>,
}

impl Reader {
    fn add(&mut self, place: &Place, path: &str, message: impl Into<String>) {
        self.findings.push(Finding::new(place.defined.line(), place.defined.column(), path, message));
    }

    fn secrets(&mut self, root: &Place) -> Option<Secrets> {
        const KEYS: [&str; 10] = [
            "version",
            "createdAt",
            "generation",
            "renewedAt",
            "leafSeed",
            "authorities",
            "serviceAccount",
            "encryptionKeys",
            "leafKeys",
            "bootstrapTokens",
        ];
        let fields = self.fields(root, "", &KEYS)?;
        // A file of another version would only give misleading findings.
        let version = self.number(&fields, "version")?;
        if version != SECRETS_VERSION {
            let message = format!("is {version}; this program reads {SECRETS_VERSION}");
            self.add(fields.fields["version"], "version", message);
            return None;
        }
        let created_at = self.time(&fields, "createdAt");
        let generation = self.number(&fields, "generation");
        if generation == Some(0) {
            self.add(fields.fields["generation"], "generation", "is 0; generations count from 1");
        }
        let renewed_at = self.time(&fields, "renewedAt");
        if let (Some(created), Some(renewed)) = (created_at, renewed_at)
            && renewed < created
        {
            self.add(fields.fields["renewedAt"], "renewedAt", "is before createdAt");
        }
        let leaf_seed = self.bytes32(&fields, "leafSeed");
        let authorities = self.authorities(&fields);
        let service_account = self.service_account(&fields);
        let encryption = self.encryption(&fields);
        let leaf_keys = self.leaf_keys(&fields);
        let tokens = self.tokens(&fields);
        Some(Secrets {
            created_at: created_at?,
            generation: generation?,
            renewed_at: renewed_at?,
            authorities: authorities?,
            service_account: service_account?,
            encryption: encryption?,
            leaf_keys,
            tokens,
            leaf_seed: leaf_seed?,
        })
    }

    fn authorities(&mut self, root: &Fields<'_>) -> Option<BTreeMap<Ca, Vec<CaEntry>>> {
        let place = self.required(root, "authorities")?;
        let fields = self.fields(place, "authorities", &Ca::ALL.map(field))?;
        let mut authorities = BTreeMap::new();
        for ca in Ca::ALL {
            let Some(items) = self.list(&fields, field(ca)) else { continue };
            let mut entries: Vec<CaEntry> = Vec::new();
            let mut seen = BTreeSet::new();
            for (index, place) in items.iter().enumerate() {
                let path = format!("authorities.{}[{index}]", field(ca));
                let Some(entry) = self.ca_entry(place, &path) else { continue };
                if !seen.insert(entry.certificate.clone()) {
                    self.add(place, &path, "stands in the list twice");
                }
                let fault = match entry.rotation {
                    _ if index == 0 => entry.rotation.map(|_| "is the first and issues: it has no part in a rotation"),
                    Some(Rotation::Next) if entry.key.is_none() => Some("is about to issue and has no key"),
                    Some(other) if entries.iter().any(|e| e.rotation.is_some_and(|known| known != other)) => {
                        Some("is part of another step of the rotation than the one before it")
                    }
                    _ => None,
                };
                if let Some(fault) = fault {
                    self.add(place, &path, fault);
                }
                entries.push(entry);
            }
            if entries.iter().filter(|entry| entry.rotation == Some(Rotation::Next)).count() > 1 {
                self.add(place, &format!("authorities.{}", field(ca)), "has two that are about to issue");
            }
            authorities.insert(ca, entries);
        }
        (authorities.len() == Ca::ALL.len()).then_some(authorities)
    }

    fn ca_entry(&mut self, place: &Place, path: &str) -> Option<CaEntry> {
        let fields = self.fields(place, path, &["certificate", "key", "rotation"])?;
        let certificate = self.pem(&fields, "certificate", pem::CERTIFICATE);
        let rotation = match fields.fields.contains_key("rotation").then(|| self.text(&fields, "rotation")) {
            None => None,
            Some(text) => match text?.1 {
                "next" => Some(Rotation::Next),
                "previous" => Some(Rotation::Previous),
                _ => {
                    self.add(
                        fields.fields["rotation"],
                        &format!("{path}.rotation"),
                        "is neither `next` nor `previous`",
                    );
                    return None;
                }
            },
        };
        let key = match fields.fields.contains_key("key") {
            true => Some(self.private_key(&fields, "key")?),
            false => None,
        };
        let certificate = certificate?;
        let opened = match key.clone() {
            Some(key) => Signer::open(&certificate, key).map(|_| ()),
            None => CaCertificate::parse(&certificate).map(|_| ()),
        };
        if let Err(error) = opened {
            // Which half is wrong nobody knows; the key's line is where the eye should go, the words name both.
            let (name, message) = match error {
                CaError::OtherKey => ("key", "does not belong to the certificate beside it".to_owned()),
                other => ("certificate", other.to_string()),
            };
            self.add(fields.fields[name], &format!("{path}.{name}"), message);
            return None;
        }
        Some(CaEntry { certificate: certificate.to_vec(), key, rotation })
    }

    /// None in a file whose keys are all derived.
    fn leaf_keys(&mut self, root: &Fields<'_>) -> BTreeMap<LeafId, KeyPair> {
        const NAME: &str = "leafKeys";
        let mut keys = BTreeMap::new();
        let items = match root.fields.contains_key(NAME) {
            true => self.list(root, NAME).unwrap_or_default(),
            false => return keys,
        };
        for (index, place) in items.iter().enumerate() {
            let path = format!("{NAME}[{index}]");
            let Some(fields) = self.fields(place, &path, &["row", "node", "generation", "key"]) else { continue };
            let row = self.text(&fields, "row").and_then(|(place, name)| {
                let found = TABLE.iter().find(|spec| spec.name == name);
                if found.is_none() {
                    self.add(place, &format!("{path}.row"), "is no certificate that nodekiln makes");
                }
                found
            });
            let node = match fields.fields.contains_key("node").then(|| self.text(&fields, "node")) {
                None => None,
                Some(None) => continue,
                Some(Some((place, name))) => match name.parse::<NodeName>() {
                    Ok(node) => Some(node),
                    Err(_) => {
                        self.add(place, &format!("{path}.node"), "is not the name of a node");
                        continue;
                    }
                },
            };
            let (generation, key) = (self.number(&fields, "generation"), self.private_key(&fields, "key"));
            let (Some(spec), Some(generation), Some(key)) = (row, generation, key) else { continue };
            if node.is_some() != (spec.scope == Scope::Node) {
                let scope = if node.is_some() { "has a `node`, but is shared by all" } else { "has no `node`" };
                self.add(place, &path, scope);
            } else if !key.is_rsa() {
                self.add(fields.fields["key"], &format!("{path}.key"), "is not RSA: other keys are derived");
            } else if keys.insert((spec.row, node, generation), key).is_some() {
                self.add(place, &path, "stands in the list twice");
            }
        }
        keys
    }

    fn service_account(&mut self, root: &Fields<'_>) -> Option<KeyPair> {
        let place = self.required(root, "serviceAccount")?;
        let fields = self.fields(place, "serviceAccount", &["privateKey", "publicKey"])?;
        let public = self.pem(&fields, "publicKey", pem::PUBLIC_KEY);
        let key = self.private_key(&fields, "privateKey");
        let (public, key) = (public?, key?);
        if *public != key.spki() {
            let message = "does not belong to the private key beside it";
            self.add(fields.fields["publicKey"], "serviceAccount.publicKey", message);
            return None;
        }
        Some(key)
    }

    fn encryption(&mut self, root: &Fields<'_>) -> Option<Vec<EncryptionKey>> {
        let items = self.list(root, "encryptionKeys")?;
        let mut keys: Vec<EncryptionKey> = Vec::new();
        // The API server's configuration that nodes get has one key of this name.
        if let Some(second) = items.get(1) {
            self.add(second, "encryptionKeys[1]", "is a second key: rotation is not supported yet");
        }
        for (index, place) in items.iter().enumerate().take(1) {
            let path = format!("encryptionKeys[{index}]");
            let Some(fields) = self.fields(place, &path, &["name", "secret"]) else { continue };
            let name = self.text(&fields, "name").map(|(place, text)| (place, text.to_owned()));
            let key = self.bytes32(&fields, "secret");
            let (Some((name_place, name)), Some(key)) = (name, key) else { continue };
            // The name is part of all that is stored in etcd (`k8s:enc:PROVIDER:v1:NAME:`).
            if name != ENCRYPTION_KEY_NAME {
                let message = format!("is not `{ENCRYPTION_KEY_NAME}`: other names are not supported yet");
                self.add(name_place, &format!("{path}.name"), message);
            }
            keys.push(EncryptionKey { name, key: Secret::new(key.to_vec()) });
        }
        Some(keys)
    }

    /// None in a file without pools.
    fn tokens(&mut self, root: &Fields<'_>) -> BTreeMap<NodeName, Token> {
        const NAME: &str = "bootstrapTokens";
        let mut tokens: BTreeMap<NodeName, Token> = BTreeMap::new();
        let Some(place) = root.fields.get(NAME).copied() else { return tokens };
        let Node::Map(entries) = &place.value else {
            self.add(place, NAME, format!("is {}, not a mapping", place.value.kind()));
            return tokens;
        };
        for (key, value) in entries {
            let Ok(owner) = key.value.parse::<NodeName>() else {
                let message = "has a key that is not the name of a pool or node";
                self.findings.push(Finding::new(key.defined.line(), key.defined.column(), NAME, message));
                continue;
            };
            let path = format!("{NAME}.{owner}");
            let Some(fields) = self.fields(value, &path, &["id", "secret", "createdAt"]) else { continue };
            let (id, secret) = (self.text(&fields, "id"), self.text(&fields, "secret"));
            let created = self.time(&fields, "createdAt");
            let (Some((_, id)), Some((_, secret)), Some(created)) = (id, secret, created) else { continue };
            let Some(token) = Token::from_parts(id, secret, created) else {
                self.add(value, &path, "is no bootstrap token: `id` has 6 and `secret` 16 characters of [a-z0-9]");
                continue;
            };
            if let Some((other, _)) = tokens.iter().find(|(_, other)| other.id == token.id) {
                self.add(value, &path, format!("has the same `id` as {NAME}.{other}"));
                continue;
            }
            tokens.insert(owner, token);
        }
        tokens
    }

    /// The entries of a mapping; unknown keys are findings.
    fn fields<'a>(&mut self, place: &'a Place, path: &str, known: &[&str]) -> Option<Fields<'a>> {
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

    fn required<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<&'a Place> {
        let place = fields.fields.get(name).copied();
        if place.is_none() {
            self.add(fields.place, &fields.path, format!("has no `{name}`"));
        }
        place
    }

    fn list<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<&'a [Place]> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::List(items) if items.is_empty() => self.add(place, &fields.child(name), "is an empty list"),
            Node::List(items) => return Some(items),
            other => self.add(place, &fields.child(name), format!("is {}, not a list", other.kind())),
        }
        None
    }

    fn text<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<(&'a Place, &'a str)> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::Text(text) => return Some((place, text)),
            other => self.add(place, &fields.child(name), format!("is {}, not a text", other.kind())),
        }
        None
    }

    fn number(&mut self, fields: &Fields<'_>, name: &str) -> Option<u64> {
        let place = self.required(fields, name)?;
        match &place.value {
            Node::Number(number) => return Some(*number),
            other => self.add(place, &fields.child(name), format!("is {}, not a whole number", other.kind())),
        }
        None
    }

    fn time(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
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

    fn bytes32(&mut self, fields: &Fields<'_>, name: &str) -> Option<Zeroizing<[u8; 32]>> {
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

    fn pem(&mut self, fields: &Fields<'_>, name: &str, label: &'static str) -> Option<Zeroizing<Vec<u8>>> {
        let (place, text) = self.text(fields, name)?;
        pem::decode(label, text).map_err(|error| self.add(place, &fields.child(name), error.to_string())).ok()
    }

    /// A private key that stands nowhere else in the file: a CA's key that is also another's would go where that goes.
    fn private_key(&mut self, fields: &Fields<'_>, name: &str) -> Option<KeyPair> {
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
    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
