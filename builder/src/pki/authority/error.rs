//! Why secrets cannot be opened, and why a leaf is not issued.

use crate::{
    draft::Shared,
    pki::{
        certificate::{CaError, CertificateError},
        external::ExternalEtcdError,
        outside::{Lacking, OutsideError},
        table::Ca,
    },
};
use nodekiln_plan::NodeName;

/// Why an authority was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A CA that [`crate::secrets::Secrets::parse`] would have refused.
    #[error("the {} CA's certificate {error}", .ca.name())]
    Ca {
        /// Which.
        ca: Ca,
        /// Why.
        error: CaError,
    },
    /// certificateValidityPeriod leads past what a certificate can say, or not up to the CA.
    #[error("certificateValidityPeriod: leaves would end past the year 9999, or before their CA begins")]
    Validity,
    /// Leaves that nobody would trust to their end.
    #[error(
        "certificateValidityPeriod: leaves would end {}, after the {} CA's certificate, which ends {}; {}",
        date(*.leaf), .ca.name(), date(*.end), instead("it", *.start, *.end)
    )]
    OutlivesCa {
        /// Which CA.
        ca: Ca,
        /// The time that leaves count from.
        start: i64,
        /// notAfter of leaves.
        leaf: i64,
        /// notAfter of the CA.
        end: i64,
    },
    /// CAs that sign elsewhere, and have not signed all that they have to. Displayed one to a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    External(Vec<Lacking>),
    /// See [`OutsideError`].
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The user's own files for etcd.
    #[error(transparent)]
    ExternalEtcd(#[from] ExternalEtcdError),
    /// A shared leaf could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl OpenError {
    /// The field of cluster.yaml that is at fault, where one is: the message begins with it.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Validity | Self::OutlivesCa { .. } => Some("certificateValidityPeriod"),
            Self::ExternalEtcd(error) => Some(error.field()),
            Self::Ca { .. } | Self::External(_) | Self::Outside(_) | Self::Issue(_) => None,
        }
    }

    /// The same of leaves that would be made now: the clock may be what is wrong.
    pub fn of_now(&self) -> String {
        match self {
            Self::OutlivesCa { ca, start, leaf, end } => format!(
                "certificates that begin now, {}, would end {}, after the {} CA's certificate, which ends {}: correct the \
                 clock if it is wrong; if not, {}",
                date(*start),
                date(*leaf),
                ca.name(),
                date(*end),
                instead("certificateValidityPeriod", *start, *end)
            ),
            other => other.to_string(),
        }
    }
}

/// Why a leaf was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A leaf of a per-node row for no node, or the other way round.
    #[error("the certificate `{0}` is made {1}")]
    Scope(&'static str, &'static str),
    /// See [`CertificateError`].
    #[error("issuing the certificate `{0}`")]
    Certificate(&'static str, #[source] CertificateError),
    /// An RSA key that the secrets lack.
    #[error("there is no key for the certificate `{0}`: it is RSA, and the secrets keep none for it")]
    NoKey(&'static str),
    /// A certificate of a CA that the cluster does not use.
    #[error("the certificate `{0}` has no use in this cluster: its CA is somebody else's")]
    Unused(&'static str),
    /// A value that the secrets lack: the draft was planned for others.
    #[error("the secrets have no {0:?}, which the draft asks for")]
    NoValue(Shared),
    /// A token that the secrets lack, or an end of one that never ends.
    #[error("there is no bootstrap token for `{0}`, or it never ends where an end is asked for")]
    Token(NodeName),
}

/// What to do about leaves that begin at `start` and outlive a CA that ends at `end`; `period` is their certificateValidityPeriod.
fn instead(period: &str, start: i64, end: i64) -> String {
    let rotate = "make another CA (`nodekiln secrets rotate-ca`)";
    match end.saturating_sub(start) / 3600 {
        hours @ 1.. => format!("set {period} to at most {hours}h, or {rotate}"),
        _ => rotate.to_owned(),
    }
}

fn date(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| seconds.to_string(), |at| at.date().to_string())
}
