//! `secrets.yaml` from text: every fault at once, with its place, without its value.

mod fields;

use super::{
    CaEntry, EncryptionKey, Finding, LeafId, Rotation, SECRETS_VERSION, Secrets, Token,
    apart::{self, Standing},
    tree::{Node, Place, read},
    write::field,
};
use crate::pki::{
    certificate::{self, CaCertificate, CaError, Signer},
    key::KeyPair,
    pem,
    table::{Ca, Scope, TABLE},
};
use fields::Fields;
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// So many keys for encryption at rest are read.
pub(super) const MOST_ENCRYPTION_KEYS: usize = 16;

pub(super) fn parse(bytes: &[u8]) -> Result<Secrets, Vec<Finding>> {
    let root = read(bytes).map_err(|finding| vec![finding])?;
    let mut reader = Reader { findings: Vec::new(), keys: BTreeMap::new(), standing: Vec::new() };
    let secrets = reader.secrets(&root);
    reader.findings.extend(apart::findings(&reader.standing, &reader.keys));
    match secrets {
        Some(secrets) if reader.findings.is_empty() => Ok(secrets),
        _ => {
            reader.findings.sort_by_key(|finding| (finding.line, finding.column));
            Err(reader.findings)
        }
    }
}

/// An item of a list of leaves.
struct Item<'a> {
    place: &'a Place,
    path: String,
    fields: Fields<'a>,
}

struct Reader {
    findings: Vec<Finding>,
    /// Private keys seen, by public half, and where: no two may be the same.
    keys: BTreeMap<Sha256, String>,
    /// Certificates of CAs seen.
    standing: Vec<Standing>,
}

impl Reader {
    fn add(&mut self, place: &Place, path: &str, message: impl Into<String>) {
        self.findings.push(Finding::new(place.defined.line(), place.defined.column(), path, message));
    }

    fn secrets(&mut self, root: &Place) -> Option<Secrets> {
        const KEYS: [&str; 11] = [
            "version",
            "createdAt",
            "generation",
            "renewedAt",
            "leafSeed",
            "authorities",
            "serviceAccount",
            "encryptionKeys",
            "leafKeys",
            "leafCertificates",
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
        let certificates = self.certificates(&fields);
        let tokens = self.tokens(&fields);
        Some(Secrets {
            created_at: created_at?,
            generation: generation?,
            renewed_at: renewed_at?,
            authorities: authorities?,
            service_account: service_account?,
            encryption: encryption?,
            leaf_keys,
            certificates,
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
                    Some(other) if entries.iter().any(|e| e.rotation.is_some_and(|known| known != other)) => {
                        Some("is part of another step of the rotation than the one before it")
                    }
                    _ => None,
                };
                if let Some(fault) = fault {
                    self.add(place, &path, fault);
                }
                self.standing.push(Standing {
                    ca,
                    path,
                    line: place.defined.line(),
                    column: place.defined.column(),
                    certificate: entry.certificate.clone(),
                    has_key: entry.key.is_some(),
                    issues: index == 0,
                });
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
        let rotation = self.rotation(&fields)?;
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
        let mut keys = BTreeMap::new();
        for Item { place, path, fields } in self.items(root, "leafKeys", &["row", "node", "generation", "key"]) {
            let (id, key) = (self.leaf_id(place, &path, &fields), self.private_key(&fields, "key"));
            let (Some(id), Some(key)) = (id, key) else { continue };
            if !key.is_rsa() {
                self.add(fields.fields["key"], &format!("{path}.key"), "is not RSA: other keys are derived");
            } else if keys.insert(id, key).is_some() {
                self.add(place, &path, "stands in the list twice");
            }
        }
        keys
    }

    /// None in a file whose CAs all have their keys. Whether they fit the cluster shows when it is opened.
    fn certificates(&mut self, root: &Fields<'_>) -> BTreeMap<LeafId, Vec<u8>> {
        let mut certificates = BTreeMap::new();
        let known = ["row", "node", "generation", "certificate"];
        for Item { place, path, fields } in self.items(root, "leafCertificates", &known) {
            let id = self.leaf_id(place, &path, &fields);
            let (Some(id), Some(der)) = (id, self.pem(&fields, "certificate", pem::CERTIFICATE)) else { continue };
            if certificate::validity(&der).is_none() {
                let path = format!("{path}.certificate");
                self.add(fields.fields["certificate"], &path, "is not an X.509 certificate");
            } else if certificates.insert(id, der.to_vec()).is_some() {
                self.add(place, &path, "stands in the list twice");
            }
        }
        certificates
    }

    /// The items of the list `name`, which need not be there.
    fn items<'a>(&mut self, root: &Fields<'a>, name: &str, known: &[&str]) -> Vec<Item<'a>> {
        let items = match root.fields.contains_key(name) {
            true => self.list(root, name).unwrap_or_default(),
            false => &[],
        };
        let read = |(index, place): (usize, &'a Place)| {
            let path = format!("{name}[{index}]");
            let fields = self.fields(place, &path, known)?;
            Some(Item { place, path, fields })
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    /// Row, node and generation.
    fn leaf_id(&mut self, place: &Place, path: &str, fields: &Fields<'_>) -> Option<LeafId> {
        let row = self.text(fields, "row").and_then(|(place, name)| {
            let found = TABLE.iter().find(|spec| spec.name == name);
            if found.is_none() {
                self.add(place, &format!("{path}.row"), "is no certificate that nodekiln makes");
            }
            found
        });
        let node = match fields.fields.contains_key("node") {
            false => None,
            true => {
                let (place, name) = self.text(fields, "node")?;
                let node = name.parse::<NodeName>().ok();
                if node.is_none() {
                    self.add(place, &format!("{path}.node"), "is not the name of a node");
                }
                Some(node?)
            }
        };
        let (spec, generation) = (row, self.number(fields, "generation"));
        let (spec, generation) = (spec?, generation?);
        if node.is_some() != (spec.scope == Scope::Node) {
            let scope = if node.is_some() { "has a `node`, but is shared by all" } else { "has no `node`" };
            self.add(place, path, scope);
            return None;
        }
        Some((spec.row, node, generation))
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
        if let Some(place) = items.get(MOST_ENCRYPTION_KEYS) {
            let path = format!("encryptionKeys[{MOST_ENCRYPTION_KEYS}]");
            self.add(place, &path, format!("is one too many: {MOST_ENCRYPTION_KEYS} are enough for any rotation"));
        }
        let mut keys: Vec<EncryptionKey> = Vec::new();
        for (index, place) in items.iter().enumerate().take(MOST_ENCRYPTION_KEYS) {
            let path = format!("encryptionKeys[{index}]");
            let Some(fields) = self.fields(place, &path, &["name", "secret", "rotation"]) else { continue };
            let name = self.text(&fields, "name").map(|(place, text)| (place, text.to_owned()));
            let key = self.bytes32(&fields, "secret");
            let (Some((name_place, name)), Some(key)) = (name, key) else { continue };
            let Some(rotation) = self.rotation(&fields) else { continue };
            // What the API server writes before all that it encrypts, and looks keys up by.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
                self.add(name_place, &format!("{path}.name"), "is not 1 to 63 letters, digits, `-`, `_` and `.`");
            }
            let key = Secret::new(key.to_vec());
            if let Some(other) = keys.iter().position(|other| other.name == name) {
                self.add(name_place, &format!("{path}.name"), format!("is the name of encryptionKeys[{other}] too"));
            }
            if let Some(other) = keys.iter().position(|other| other.key.expose() == key.expose()) {
                let message = format!("is the same key as encryptionKeys[{other}].secret");
                self.add(fields.fields["secret"], &format!("{path}.secret"), message);
            }
            let fault = match rotation {
                Some(_) if index == 0 => Some("is the first and encrypts: it has no part in a rotation"),
                Some(own) if keys.iter().any(|other| other.rotation.is_some_and(|known| known != own)) => {
                    Some("is part of another step of the rotation than the one before it")
                }
                Some(Rotation::Next) if keys.iter().any(|other| other.rotation == Some(Rotation::Next)) => {
                    Some("is a second key that is about to encrypt")
                }
                _ => None,
            };
            if let Some(fault) = fault {
                self.add(place, &path, fault);
            }
            keys.push(EncryptionKey { name, key, rotation });
        }
        Some(keys)
    }

    /// The part in a rotation: none where nothing is said.
    fn rotation(&mut self, fields: &Fields<'_>) -> Option<Option<Rotation>> {
        if !fields.fields.contains_key("rotation") {
            return Some(None);
        }
        match self.text(fields, "rotation")? {
            (_, "next") => Some(Some(Rotation::Next)),
            (_, "previous") => Some(Some(Rotation::Previous)),
            (place, _) => {
                self.add(place, &fields.child("rotation"), "is neither `next` nor `previous`");
                None
            }
        }
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
        let mut owners: BTreeMap<String, NodeName> = BTreeMap::new();
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
            match owners.entry(token.id.clone()) {
                Entry::Occupied(other) => {
                    self.add(value, &path, format!("has the same `id` as {NAME}.{}", other.get()));
                    continue;
                }
                Entry::Vacant(slot) => slot.insert(owner.clone()),
            };
            tokens.insert(owner, token);
        }
        tokens
    }
}
