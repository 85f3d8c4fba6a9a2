//! `secrets.yaml`: the only state of a cluster.
//!
//! [`Secrets`] holds what cannot be derived: CA key pairs, the service-account key, keys for encryption at rest, RSA leaf
//! keys, bootstrap tokens, the seed of all other leaf keys, and the two times that validity counts from. It is made once
//! ([`Secrets::new`], [`import`]), written and read as text ([`Secrets::to_vec`], [`Secrets::parse`]), and changed by
//! commands alone, except that `build` adds what a grown cluster lacks ([`Secrets::complete`]). This room does no I/O and
//! takes time and randomness as arguments.

mod apart;
pub mod import;
mod make;
mod parse;
mod rotate;
mod shape;
pub mod show;
mod token;
mod tree;
mod write;

pub use make::{CaOptions, NewError};
pub use rotate::{EncryptionStep, RotateError, RotationStep};
pub use shape::Shape;
pub use token::Token;

use crate::{
    draft::Row,
    pki::{
        key::KeyPair,
        outside::Wanted,
        table::{self, Ca},
    },
};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// The version of `secrets.yaml` that this crate reads and writes.
pub const SECRETS_VERSION: u64 = 1;

/// The name of the first key for encryption at rest that a cluster has; rotation makes `key2` and so on. The API server
/// stores it with all that it encrypts (`k8s:enc:PROVIDER:v1:NAME:`).
pub const ENCRYPTION_KEY_NAME: &str = "key1";

/// The secrets of one cluster, whole and consistent. `Debug` shows nothing secret; all of it is wiped on drop.
#[derive(Clone)]
pub struct Secrets {
    /// When the CAs were made. Seconds since the Unix epoch.
    pub(crate) created_at: i64,
    /// Raised by every renewal; counts from 1. Leaf keys depend on it.
    pub(crate) generation: u64,
    /// When this generation began: leaves count their validity from it. Seconds since the Unix epoch.
    pub(crate) renewed_at: i64,
    /// Certificates of each CA, never empty. The first one issues, all are trusted.
    pub(crate) authorities: BTreeMap<Ca, Vec<CaEntry>>,
    /// Signs service-account tokens.
    pub(crate) service_account: KeyPair,
    /// Keys for encryption at rest, never empty. The first one encrypts, all decrypt.
    pub(crate) encryption: Vec<EncryptionKey>,
    /// Bootstrap tokens, by pool or node.
    pub(crate) tokens: BTreeMap<NodeName, Token>,
    /// RSA keys of leaves: they cannot be derived.
    pub(crate) leaf_keys: BTreeMap<LeafId, KeyPair>,
    /// Certificates of leaves that CAs without a key here have signed, DER.
    pub(crate) certificates: BTreeMap<LeafId, Vec<u8>>,
    /// All other leaf keys are derived from this.
    pub(crate) leaf_seed: Zeroizing<[u8; 32]>,
}

/// A certificate of a CA: the first of a list issues, all are trusted.
#[derive(Clone)]
pub(crate) struct CaEntry {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// Its key. The first of a list without one is an external CA's; others are trusted only.
    pub(crate) key: Option<KeyPair>,
    /// Its part in a rotation that is under way.
    pub(crate) rotation: Option<Rotation>,
}

/// The part of a CA, or of a key for encryption at rest, in its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// Trusted, and about to issue; a key that decrypts, and is about to encrypt.
    Next,
    /// Trusted, or decrypts, and about to be dropped.
    Previous,
}

/// Whose a leaf key is: a row of the table, the node where it is per node, and the generation.
pub(crate) type LeafId = (Row, Option<NodeName>, u64);

/// A key for encryption at rest.
#[derive(Clone)]
pub(crate) struct EncryptionKey {
    /// The name under which the API server stores what it encrypts with it.
    pub(crate) name: String,
    /// 32 bytes.
    pub(crate) key: Secret,
    /// Its part in a rotation that is under way.
    pub(crate) rotation: Option<Rotation>,
}

/// Something wrong in `secrets.yaml`. Never tells a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {path}{}{message}", if path.is_empty() { "" } else { " " })]
pub struct Finding {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// Where, such as `authorities.etcd[0].key`; empty for the file itself.
    pub path: String,
    /// What, as a predicate of `path`.
    pub message: String,
}

/// Why `secrets.yaml` was not read: all findings, in the order of the file. Displayed one to a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Findings(pub Vec<Finding>);

impl Finding {
    fn new(line: u64, column: u64, path: &str, message: impl Into<String>) -> Self {
        Self { line, column, path: path.to_owned(), message: message.into() }
    }
}

impl Secrets {
    /// Reads `secrets.yaml`.
    ///
    /// # Errors
    /// All findings, sorted by position.
    pub fn parse(bytes: &[u8]) -> Result<Self, Findings> {
        parse::parse(bytes).map_err(Findings)
    }

    /// The bytes of `secrets.yaml`: the same for the same secrets.
    pub fn to_vec(&self) -> Secret {
        write::render(self)
    }

    /// When the CAs were made, seconds since the Unix epoch.
    pub fn created_at(&self) -> i64 {
        self.created_at
    }

    /// When the current generation of leaves began, seconds since the Unix epoch.
    pub fn renewed_at(&self) -> i64 {
        self.renewed_at
    }

    /// The bootstrap token of the pool or node `owner`.
    pub fn token(&self, owner: &NodeName) -> Option<&Token> {
        self.tokens.get(owner)
    }

    /// The current generation of leaves.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a CA signs elsewhere: its key is not here.
    pub fn has_outside_ca(&self) -> bool {
        self.authorities.values().any(|entries| entries.first().is_some_and(|entry| entry.key.is_none()))
    }

    /// Keeps the certificate that a CA elsewhere has signed for `wanted`, DER; it has been found to fit.
    pub fn keep_certificate(&mut self, wanted: &Wanted, der: Vec<u8>) {
        self.certificates.insert(wanted.id(self.generation), der);
    }

    /// Digest of everything in here: what a build depends on. It does not lead back: all of it is random.
    pub fn fingerprint(&self) -> Sha256 {
        let numbers = [
            SECRETS_VERSION.to_be_bytes(),
            self.created_at.to_be_bytes(),
            self.generation.to_be_bytes(),
            self.renewed_at.to_be_bytes(),
        ];
        // Counts first, so that no element can change its list.
        let counts: Vec<[u8; 8]> = (self.authorities.values().map(Vec::len).chain([self.encryption.len()]))
            .map(|count| (count as u64).to_be_bytes())
            .collect();
        let entries = || self.authorities.values().flatten();
        let pairs: Vec<_> = entries()
            .map(|entry| (&entry.certificate, entry.key.as_ref().map(KeyPair::pkcs8).unwrap_or_default()))
            .collect();
        let service_account = self.service_account.pkcs8();
        let mut parts: Vec<&[u8]> = Vec::new();
        parts.extend(numbers.iter().chain(&counts).map(|number| &number[..]));
        parts.extend(pairs.iter().flat_map(|(certificate, key)| [&certificate[..], &key[..]]));
        parts.push(&service_account);
        parts.extend(self.encryption.iter().flat_map(|key| [key.name.as_bytes(), key.key.expose()]));
        parts.push(&self.leaf_seed[..]);
        // What was added to the format since stands behind a mark, and only where it is there.
        let tokens = self.tokens.iter().flat_map(|(owner, token)| {
            let created = token.created_at.to_be_bytes().to_vec();
            [owner.as_str().into(), token.id.clone().into_bytes(), token.secret.expose().to_vec(), created]
        });
        let keys = self.leaf_keys.iter().flat_map(|((row, node, generation), key)| {
            let (row, generation) = (table::spec(*row).name.into(), generation.to_be_bytes().to_vec());
            [row, node.iter().map(NodeName::as_str).collect::<String>().into(), generation, key.pkcs8().to_vec()]
        });
        let part = |rotation: Option<Rotation>| match rotation {
            None => Vec::new(),
            Some(Rotation::Next) => b"next".to_vec(),
            Some(Rotation::Previous) => b"previous".to_vec(),
        };
        let rotations = entries().map(|entry| part(entry.rotation));
        let is_rotating = entries().any(|entry| entry.rotation.is_some());
        let encryption = self.encryption.iter().map(|key| part(key.rotation));
        let is_changing = self.encryption.iter().any(|key| key.rotation.is_some());
        let certificates = self.certificates.iter().flat_map(|((row, node, generation), der)| {
            let (row, generation) = (table::spec(*row).name.into(), generation.to_be_bytes().to_vec());
            [row, node.iter().map(NodeName::as_str).collect::<String>().into(), generation, der.clone()]
        });
        let more: [(&str, Vec<Zeroizing<Vec<u8>>>); 5] = [
            ("tokens", tokens.map(Zeroizing::new).collect()),
            ("leafKeys", keys.map(Zeroizing::new).collect()),
            ("rotations", rotations.filter(|_| is_rotating).map(Zeroizing::new).collect()),
            ("leafCertificates", certificates.map(Zeroizing::new).collect()),
            ("encryptionRotations", encryption.filter(|_| is_changing).map(Zeroizing::new).collect()),
        ];
        for (mark, values) in more.iter().filter(|(_, values)| !values.is_empty()) {
            parts.push(mark.as_bytes());
            parts.extend(values.iter().map(|value| &value[..]));
        }
        Sha256::of_parts(parts)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets(created {}, generation {} of {})", self.created_at, self.generation, self.renewed_at)
    }
}

#[cfg(test)]
pub(crate) mod tests;
