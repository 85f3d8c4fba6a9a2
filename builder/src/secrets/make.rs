//! New secrets, and what a grown cluster lacks.

use super::{CaEntry, ENCRYPTION_KEY_NAME, EncryptionKey, LeafId, Secrets, Token};
use crate::{
    config::{Algorithm, Cluster},
    pki::{
        certificate::{self, CertificateError, Validity},
        key::{self, KeyPair},
        table::{self, Ca},
    },
};
use nodekiln_plan::Secret;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// Secrets that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewError<E> {
    /// The source of randomness failed.
    #[error("reading random numbers")]
    Random(#[source] E),
    /// aws-lc made no RSA key.
    #[error("making an RSA key: the machine has no random numbers for it")]
    Rsa,
    /// The clock or the validity is out of range.
    #[error("a CA from now on with this caCertificateValidityPeriod would end past the year 9999, or before it begins")]
    Validity,
    /// See [`CertificateError`].
    #[error("making a CA certificate")]
    Certificate(#[source] CertificateError),
}

/// How new CAs are made.
#[derive(Debug, Clone, Copy)]
pub struct CaOptions {
    /// The time, seconds since the Unix epoch.
    pub now: i64,
    /// caCertificateValidityPeriod in seconds.
    pub validity: i64,
    /// encryptionAlgorithm, of the CAs and the service-account key.
    pub algorithm: Algorithm,
}

impl CaOptions {
    /// Those of `cluster` at the time `now`.
    pub fn of(cluster: &Cluster, now: i64) -> Self {
        Self { now, validity: cluster.ca_certificate_validity, algorithm: cluster.algorithm }
    }
}

impl Secrets {
    /// Makes the secrets of a new cluster. `random` fills a buffer, as `getrandom::fill` does.
    ///
    /// # Errors
    /// See [`NewError`].
    pub fn new<E>(options: CaOptions, mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, NewError<E>> {
        let mut authorities = BTreeMap::new();
        for ca in Ca::ALL {
            authorities.insert(ca, vec![new_ca(ca, options, &mut random)?]);
        }
        let service_account = new_key(options.algorithm, &mut random)?;
        Self::with(authorities, service_account, options.now, &mut random)
    }

    /// Makes the rest around these keys.
    pub(super) fn with<E>(
        authorities: BTreeMap<Ca, Vec<CaEntry>>,
        service_account: KeyPair,
        now: i64,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, NewError<E>> {
        // What `Secrets::parse` would not take back must not be written.
        Validity::starting(now, 0).ok_or(NewError::Validity)?;
        let key = new_encryption_key(random)?;
        let mut leaf_seed = Zeroizing::new([0; 32]);
        random(&mut leaf_seed[..]).map_err(NewError::Random)?;
        Ok(Self {
            created_at: now,
            generation: 1,
            renewed_at: now,
            authorities,
            service_account,
            encryption: vec![EncryptionKey { name: ENCRYPTION_KEY_NAME.to_owned(), key, rotation: None }],
            tokens: BTreeMap::new(),
            leaf_keys: BTreeMap::new(),
            certificates: BTreeMap::new(),
            leaf_seed,
        })
    }

    /// Whether they lack anything that `cluster` needs and [`Secrets::complete`] adds.
    pub fn lack(&self, cluster: &Cluster) -> bool {
        !self.missing_leaf_keys(cluster).is_empty()
            || table::tokens(cluster).any(|(owner, _)| !self.tokens.contains_key(owner))
    }

    /// Adds what `cluster` needs and these secrets lack, at the time `now`: bootstrap tokens, and leaf keys where they
    /// are RSA. Says whether anything was added, so that the secrets have to be written before they are used.
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
        let mut taken = self.token_ids();
        for (owner, _) in table::tokens(cluster) {
            if !self.tokens.contains_key(owner) {
                let token = Token::new(now, &taken, &mut random).map_err(NewError::Random)?;
                taken.insert(token.id.clone());
                self.tokens.insert(owner.clone(), token);
                added = true;
            }
        }
        let missing = self.missing_leaf_keys(cluster);
        if !missing.is_empty() {
            let keys = key::generate_rsa(cluster.algorithm, missing.len()).ok_or(NewError::Rsa)?;
            self.leaf_keys.extend(missing.into_iter().zip(keys));
            added = true;
        }
        Ok(added)
    }

    /// The public halves of all tokens.
    pub(super) fn token_ids(&self) -> BTreeSet<String> {
        self.tokens.values().map(|token| token.id.clone()).collect()
    }

    /// Leaves of this generation whose key has to be kept and is not, or is of another size.
    fn missing_leaf_keys(&self, cluster: &Cluster) -> Vec<LeafId> {
        table::leaves(cluster)
            .into_iter()
            .filter(|(row, _)| table::algorithm(*row, cluster).is_rsa())
            .map(|(row, node)| (row, node, self.generation))
            .filter(|id| self.leaf_keys.get(id).and_then(KeyPair::algorithm) != Some(cluster.algorithm))
            .collect()
    }
}

/// A new CA.
pub(super) fn new_ca<E>(
    ca: Ca,
    options: CaOptions,
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<CaEntry, NewError<E>> {
    let validity = Validity::starting(options.now, options.validity).ok_or(NewError::Validity)?;
    let key = new_key(options.algorithm, random)?;
    let certificate = certificate::self_signed(ca, &key, validity).map_err(NewError::Certificate)?;
    Ok(CaEntry { certificate, key: Some(key), rotation: None })
}

/// A new key for encryption at rest.
pub(super) fn new_encryption_key<E>(
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Secret, NewError<E>> {
    let mut key = Zeroizing::new([0; 32]);
    random(&mut key[..]).map_err(NewError::Random)?;
    Ok(Secret::new(key.to_vec()))
}

/// A new key.
pub(super) fn new_key<E>(
    algorithm: Algorithm,
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<KeyPair, NewError<E>> {
    KeyPair::generate(algorithm, random).map_err(|error| error.map_or(NewError::Rsa, NewError::Random))
}
