//! Leaves live within the lives of the CAs that sign them: nobody would trust them to their end otherwise.

use super::OpenError;
use crate::{
    config::Cluster,
    pki::{
        certificate::{CaCertificate, Validity},
        table::{self, Ca},
    },
    secrets::Secrets,
};

/// The shortest life that is asked for where nobody says one: in less there is no time to boot a node.
const HOUR: i64 = 60 * 60;

/// Whether leaves that begin at `start` would be issued: by the rule of [`super::Authority::open`]. Without a cluster they
/// are those that live the shortest, and of every CA.
///
/// # Errors
/// A CA that signs here and ends before them, or begins after them.
pub fn may_begin(secrets: &Secrets, cluster: Option<&Cluster>, start: i64) -> Result<(), OpenError> {
    let lifetime = cluster.map_or(HOUR, |cluster| cluster.certificate_validity);
    let leaves = Validity::starting(start, lifetime).ok_or(OpenError::Validity)?;
    let used = |ca| cluster.is_none_or(|cluster| table::is_used(ca, cluster));
    for (&ca, entries) in secrets.authorities.iter().filter(|(ca, _)| used(**ca)) {
        // One without its key signs elsewhere, and gives its leaves lives of its own.
        let Some(first) = entries.first().filter(|entry| entry.key.is_some()) else { continue };
        let certificate = CaCertificate::parse(&first.certificate).map_err(|error| OpenError::Ca { ca, error })?;
        within(ca, certificate.validity, start, leaves)?;
    }
    Ok(())
}

/// Whether `leaves`, which begin at `start`, are within the life of `ca`.
pub(super) fn within(ca: Ca, life: Validity, start: i64, leaves: Validity) -> Result<(), OpenError> {
    if leaves.not_after <= life.not_before {
        return Err(OpenError::Validity);
    }
    if leaves.not_after > life.not_after {
        return Err(OpenError::OutlivesCa { ca, start, leaf: leaves.not_after, end: life.not_after });
    }
    Ok(())
}
