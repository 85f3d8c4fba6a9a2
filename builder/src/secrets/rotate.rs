//! Renewal of leaves, and rotation of CAs in three builds.

use super::{CaOptions, NewError, Rotation, Secrets, Token, make::new_ca};
use crate::pki::{certificate::Validity, table::Ca};

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

/// Why secrets were not renewed, or a CA not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError<E> {
    /// A renewal that would end sooner than what it renews.
    #[error("the clock says a time before the last renewal: set it first")]
    Clock,
    /// A counter that came to its end, or a time that no certificate can have.
    #[error("there is no generation after this one")]
    Last,
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
        for owner in self.tokens.keys() {
            let taken: Vec<&str> = self.tokens.values().chain(tokens.values()).map(Token::id).collect();
            let token = Token::new(now, &taken, random).map_err(NewError::Random)?;
            tokens.insert(owner.clone(), token);
        }
        self.tokens = tokens;
        self.start(generation);
        self.renewed_at = now;
        Ok(())
    }

    fn start(&mut self, generation: u64) {
        self.generation = generation;
        self.leaf_keys.clear();
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
            RotationStep::Trust => {
                let mut entry = new_ca(ca, options, random)?;
                entry.rotation = Some(Rotation::Next);
                entries.push(entry);
            }
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
}

#[cfg(test)]
mod tests;
