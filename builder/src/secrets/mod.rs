//! `secrets.yaml`: the only state of a cluster.
//!
//! [`Secrets`] holds what cannot be derived: CA key pairs, the service-account key, keys for encryption at rest, the
//! seed of all leaf keys, and the two times that validity counts from. It is made once ([`Secrets::new`]), written and
//! read as text ([`Secrets::to_vec`], [`Secrets::parse`]), and never changed by `build`. This room does no I/O and takes
//! time and randomness as arguments.

mod parse;
mod token;
mod tree;
mod write;

pub use token::Token;

use crate::{
    config::Cluster,
    pki::{
        certificate::{self, CertificateError, Validity},
        key::KeyPair,
        table::{self, Ca},
    },
};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// The version of `secrets.yaml` that this crate reads and writes.
pub const SECRETS_VERSION: u64 = 1;

/// The name of the key for encryption at rest, which stands in the EncryptionConfiguration of control planes.
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
    /// Key pairs of each CA, never empty. The first one signs, all are trusted.
    pub(crate) authorities: BTreeMap<Ca, Vec<CaPair>>,
    /// Signs service-account tokens.
    pub(crate) service_account: KeyPair,
    /// Keys for encryption at rest, never empty. The first one encrypts, all decrypt.
    pub(crate) encryption: Vec<EncryptionKey>,
    /// Bootstrap tokens, by pool or node.
    pub(crate) tokens: BTreeMap<NodeName, Token>,
    /// Leaf keys are derived from this.
    pub(crate) leaf_seed: Zeroizing<[u8; 32]>,
}

/// A CA's certificate and key.
#[derive(Clone)]
pub(crate) struct CaPair {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// Its key.
    pub(crate) key: KeyPair,
}

/// A key for encryption at rest.
#[derive(Clone)]
pub(crate) struct EncryptionKey {
    /// The name under which the API server stores what it encrypts with it.
    pub(crate) name: String,
    /// 32 bytes.
    pub(crate) key: Secret,
}

/// Secrets that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewError<E> {
    /// The source of randomness failed.
    #[error("reading random numbers")]
    Random(#[source] E),
    /// The clock or the validity is out of range.
    #[error("a CA from now on with this caCertificateValidityPeriod would end past the year 9999, or before it begins")]
    Validity,
    /// See [`CertificateError`].
    #[error("making a CA certificate")]
    Certificate(#[source] CertificateError),
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
    /// Makes the secrets of a new cluster at the time `now` (seconds since the Unix epoch), its CAs valid for
    /// `ca_validity` seconds. `random` fills a buffer, as `getrandom::fill` does.
    ///
    /// # Errors
    /// See [`NewError`].
    pub fn new<E>(
        now: i64,
        ca_validity: i64,
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, NewError<E>> {
        let validity = Validity::starting(now, ca_validity).ok_or(NewError::Validity)?;
        let mut authorities = BTreeMap::new();
        for ca in Ca::ALL {
            let key = random_key(&mut random).map_err(NewError::Random)?;
            let certificate = certificate::self_signed(ca, &key, validity).map_err(NewError::Certificate)?;
            authorities.insert(ca, vec![CaPair { certificate, key }]);
        }
        let service_account = random_key(&mut random).map_err(NewError::Random)?;
        let mut encryption_key = Zeroizing::new([0; 32]);
        random(&mut encryption_key[..]).map_err(NewError::Random)?;
        let mut leaf_seed = Zeroizing::new([0; 32]);
        random(&mut leaf_seed[..]).map_err(NewError::Random)?;
        Ok(Self {
            created_at: now,
            generation: 1,
            renewed_at: now,
            authorities,
            service_account,
            encryption: vec![EncryptionKey {
                name: ENCRYPTION_KEY_NAME.to_owned(),
                key: Secret::new(encryption_key.to_vec()),
            }],
            tokens: BTreeMap::new(),
            leaf_seed,
        })
    }

    /// Whether they lack anything that `cluster` needs and [`Secrets::complete`] adds.
    pub fn lack(&self, cluster: &Cluster) -> bool {
        table::tokens(cluster).any(|(owner, _)| !self.tokens.contains_key(owner))
    }

    /// Adds what `cluster` needs and these secrets lack, at the time `now`: bootstrap tokens. Says whether anything was
    /// added, so that the secrets have to be written before they are used.
    ///
    /// # Errors
    /// The source of randomness failed. Nothing is lost then.
    pub fn complete<E>(
        &mut self,
        cluster: &Cluster,
        now: i64,
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<bool, NewError<E>> {
        let mut added = false;
        for (owner, _) in table::tokens(cluster) {
            if !self.tokens.contains_key(owner) {
                let taken: Vec<&str> = self.tokens.values().map(Token::id).collect();
                let token = Token::new(now, &taken, &mut random).map_err(NewError::Random)?;
                self.tokens.insert(owner.clone(), token);
                added = true;
            }
        }
        Ok(added)
    }

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
        let pairs: Vec<_> =
            self.authorities.values().flatten().map(|pair| (&pair.certificate, pair.key.pkcs8())).collect();
        let service_account = self.service_account.pkcs8();
        let mut parts: Vec<&[u8]> = Vec::new();
        parts.extend(numbers.iter().chain(&counts).map(|number| &number[..]));
        parts.extend(pairs.iter().flat_map(|(certificate, key)| [&certificate[..], &key[..]]));
        parts.push(&service_account);
        parts.extend(self.encryption.iter().flat_map(|key| [key.name.as_bytes(), key.key.expose()]));
        parts.push(&self.leaf_seed[..]);
        let created: Vec<[u8; 8]> = self.tokens.values().map(|token| token.created_at.to_be_bytes()).collect();
        for ((owner, token), created) in self.tokens.iter().zip(&created) {
            parts.extend([owner.as_str().as_bytes(), token.id.as_bytes(), token.secret.expose(), created]);
        }
        Sha256::of_parts(parts)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets(created {}, generation {} of {})", self.created_at, self.generation, self.renewed_at)
    }
}

/// A key whose scalar is random: bytes are drawn until they are one.
fn random_key<E>(random: &mut impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<KeyPair, E> {
    let mut bytes = Zeroizing::new([0; 32]);
    loop {
        random(&mut bytes[..])?;
        if let Ok(scalar) = p256::SecretKey::from_slice(&bytes[..]) {
            return Ok(KeyPair::new(scalar));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
