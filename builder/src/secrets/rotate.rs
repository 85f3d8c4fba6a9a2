//! Renewal of leaves, and rotation of CAs and of the key for encryption at rest, each in three builds.

use super::{
    CaEntry, CaOptions, EncryptionKey, NewError, Rotation, Secrets, Token,
    import::NewCa,
    make::{new_ca, new_encryption_key},
    parse::MOST_ENCRYPTION_KEYS,
};
use crate::pki::{certificate::Validity, table::Ca};
use nodekiln_plan::Sha256;
use std::collections::BTreeSet;

/// A step of a CA's rotation. Every node is rebuilt with the output of one before the next is taken: a node that missed
/// one would meet certificates that it does not trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// A new CA is trusted everywhere, the old one still issues.
    Trust,
    /// The new CA issues, the old one is still trusted.
    Issue,
    /// The old one is dropped.
    Drop,
}

/// A step of the rotation of the key for encryption at rest. Every control plane has the keys of one before the next is
/// taken: API servers read what others have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptionStep {
    /// A new key decrypts, the old one still encrypts.
    Add,
    /// The new key encrypts, the old one still decrypts.
    Use,
    /// The old one is dropped: what it encrypted must have been written again.
    Drop,
}

/// Why secrets were not renewed, or a CA not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError<E> {
    /// A renewal that would end sooner than what it renews.
    #[error("the clock says a time before the last renewal: set it first")]
    Clock,
    /// A counter that came to its end, or a time that no certificate can have.
    #[error("there is no generation after this one")]
    Last,
    /// A CA that is given when another step is due, or that is trusted already.
    #[error("a CA is given in the first step of its rotation, and is another one than those that are trusted")]
    Given,
    /// A new key where the list is full.
    #[error(
        "there are {MOST_ENCRYPTION_KEYS} keys for encryption at rest, as many as secrets.yaml takes: remove those that \
         nothing is encrypted with any more from encryptionKeys first"
    )]
    EncryptionKeys,
    /// See [`NewError`].
    #[error(transparent)]
    New(#[from] NewError<E>),
}

impl Secrets {
    /// Begins a new generation of leaves at the time `now`: their validity counts from it, and their keys are others. Old
    /// and new leaves are good together, as long as the old ones last. Bootstrap tokens are made anew; kept keys of older
    /// generations go.
    ///
    /// # Errors
    /// See [`RotateError`]. Nothing is changed then.
    pub fn renew<E>(
        &mut self,
        now: i64,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), RotateError<E>> {
        if now < self.renewed_at {
            return Err(RotateError::Clock);
        }
        Validity::starting(now, 0).ok_or(RotateError::Last)?;
        let generation = self.generation.checked_add(1).ok_or(RotateError::Last)?;
        let mut tokens = self.tokens.clone();
        // Also none that an old one has: both are in the cluster for a while.
        let mut taken = self.token_ids();
        for token in tokens.values_mut() {
            *token = Token::new(now, &taken, random).map_err(NewError::Random)?;
            taken.insert(token.id.clone());
        }
        self.tokens = tokens;
        self.start(generation);
        self.renewed_at = now;
        Ok(())
    }

    fn start(&mut self, generation: u64) {
        self.generation = generation;
        self.leaf_keys.clear();
        self.certificates.clear();
    }

    /// Whether `new` lacks what is in here and cannot be made again: certificates that somebody else has signed, keys of
    /// CAs, and keys that something may be encrypted with.
    pub fn loses(&self, new: &Self) -> bool {
        let ca_keys = |secrets: &Self| -> BTreeSet<Sha256> {
            let entries = secrets.authorities.values().flatten();
            entries.filter_map(|entry| Some(entry.key.as_ref()?.spki_sha256())).collect()
        };
        self.certificates.keys().any(|id| !new.certificates.contains_key(id))
            || !ca_keys(self).is_subset(&ca_keys(new))
            || self.encryption.iter().any(|old| new.encryption.iter().all(|key| key.key != old.key))
    }

    /// The step that [`Secrets::rotate`] would take.
    pub fn next_step(&self, ca: Ca) -> RotationStep {
        let is = |rotation| self.authorities[&ca].iter().any(|entry| entry.rotation == Some(rotation));
        match (is(Rotation::Next), is(Rotation::Previous)) {
            (true, _) => RotationStep::Issue,
            (false, true) => RotationStep::Drop,
            (false, false) => RotationStep::Trust,
        }
    }

    /// Takes the next step of the rotation of `ca`, and raises the generation, so that firstboot tells the cluster of it.
    /// With [`RotationStep::Issue`] leaves are renewed too: the old CA may be about to end, and they with it.
    ///
    /// # Errors
    /// See [`RotateError`]. Nothing is changed then.
    pub fn rotate<E>(
        &mut self,
        ca: Ca,
        options: CaOptions,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<RotationStep, RotateError<E>> {
        let step = self.next_step(ca);
        let mut entries = self.authorities[&ca].clone();
        match step {
            RotationStep::Trust => return self.trust(ca, new_ca(ca, options, random)?).map(|()| step),
            RotationStep::Issue => {
                let next = entries.iter().position(|entry| entry.rotation == Some(Rotation::Next));
                let mut next = entries.remove(next.unwrap_or_default());
                next.rotation = None;
                for entry in &mut entries {
                    entry.rotation = Some(Rotation::Previous);
                }
                entries.insert(0, next);
            }
            RotationStep::Drop => entries.retain(|entry| entry.rotation != Some(Rotation::Previous)),
        }
        if step == RotationStep::Issue {
            self.renew(options.now, random)?;
        } else {
            let generation = self.generation.checked_add(1).ok_or(RotateError::Last)?;
            self.start(generation);
        }
        self.authorities.insert(ca, entries);
        Ok(step)
    }

    /// Takes the first step of the rotation of `ca`, to a CA that was made elsewhere, with or without its key.
    ///
    /// # Errors
    /// Another step is due, or the CA is trusted already. Nothing is changed then.
    pub fn rotate_to<E>(&mut self, ca: Ca, new: NewCa) -> Result<(), RotateError<E>> {
        let known = self.authorities[&ca].iter().any(|entry| entry.certificate == new.0.certificate);
        if self.next_step(ca) != RotationStep::Trust || known {
            return Err(RotateError::Given);
        }
        self.trust(ca, new.0)
    }

    fn trust<E>(&mut self, ca: Ca, mut new: CaEntry) -> Result<(), RotateError<E>> {
        let generation = self.generation.checked_add(1).ok_or(RotateError::Last)?;
        new.rotation = Some(Rotation::Next);
        self.authorities.entry(ca).or_default().push(new);
        self.start(generation);
        Ok(())
    }

    /// The step that [`Secrets::rotate_encryption`] would take.
    pub fn next_encryption_step(&self) -> EncryptionStep {
        let is = |rotation| self.encryption.iter().any(|key| key.rotation == Some(rotation));
        match (is(Rotation::Next), is(Rotation::Previous)) {
            (true, _) => EncryptionStep::Use,
            (false, true) => EncryptionStep::Drop,
            (false, false) => EncryptionStep::Add,
        }
    }

    /// Takes the next step of the rotation of the key for encryption at rest. Leaves stay as they are.
    ///
    /// # Errors
    /// There are too many keys already, or the source of randomness failed. Nothing is changed then.
    pub fn rotate_encryption<E>(
        &mut self,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<EncryptionStep, RotateError<E>> {
        let step = self.next_encryption_step();
        let keys = &mut self.encryption;
        match step {
            EncryptionStep::Add if keys.len() >= MOST_ENCRYPTION_KEYS => return Err(RotateError::EncryptionKeys),
            EncryptionStep::Add => {
                // A name that no key of this list ever had: the highest number of ours, and one more.
                let number = |key: &EncryptionKey| key.name.strip_prefix("key")?.parse::<u32>().ok();
                let last = keys.iter().filter_map(number).max().unwrap_or(0);
                let key = new_encryption_key(random)?;
                keys.push(EncryptionKey {
                    name: format!("key{}", u64::from(last) + 1),
                    key,
                    rotation: Some(Rotation::Next),
                });
            }
            EncryptionStep::Use => {
                let next = keys.iter().position(|key| key.rotation == Some(Rotation::Next)).unwrap_or_default();
                let next = keys.remove(next);
                for key in keys.iter_mut() {
                    key.rotation = Some(Rotation::Previous);
                }
                keys.insert(0, EncryptionKey { rotation: None, ..next });
            }
            EncryptionStep::Drop => keys.retain(|key| key.rotation != Some(Rotation::Previous)),
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests;
