//! Certificates that CAs elsewhere sign: what is asked of them, and whether what came back fits.
//!
//! Keys are known before any signature, so that requests can be written ahead of a build, and the certificates kept in the
//! secrets by row, node and generation. A build takes them in the place of signing.

use super::{
    authority::IssueError,
    certificate::{self, CaCertificate, CaError, GivenError, Validity, accept},
    keyring::{self, Keyring},
    pem,
    table::{self, Ca, KeyId},
};
use crate::{
    config::{Cluster, Node},
    draft::{Leaf, Row},
    parallel,
    secrets::{LeafId, Secrets},
};
use nodekiln_plan::{NodeName, Secret};
use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

/// A leaf whose CA's key is not in the secrets.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its CA.
    pub ca: Ca,
    /// What it is.
    pub leaf: Leaf,
}

/// What is wrong with a leaf that somebody else has to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// There is none of this generation.
    Missing,
    /// There is one that does not fit any more.
    Unfit(GivenError),
}

/// The leaves of one CA that a build cannot go on without.
#[derive(Debug, Clone)]
pub struct Lacking {
    /// Which CA.
    pub ca: Ca,
    /// How many leaves it has to sign in all.
    pub all: usize,
    /// Names of those that are not there.
    pub missing: Vec<String>,
    /// Names of those that do not fit, with the reason.
    pub unfit: Vec<(String, GivenError)>,
}

/// Why certificates of CAs elsewhere could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// A CA that [`Secrets::parse`] would have refused.
    #[error("the {} CA's certificate {error}", .ca.name())]
    Ca {
        /// Which.
        ca: Ca,
        /// Why.
        error: CaError,
    },
    /// A key that is not there, or a name that no certificate can hold.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Wanted {
    /// Its name in messages: `ROW` or `ROW/NODE`.
    pub fn name(&self) -> String {
        KeyId::Leaf(self.leaf.row, self.leaf.node.clone()).to_string()
    }

    /// Where its request lies, without the ending: `NODE/ROW`, or `cluster/ROW` where all nodes share it. No row is both.
    pub fn stem(&self) -> String {
        let folder = self.leaf.node.as_ref().map_or("cluster", NodeName::as_str);
        format!("{folder}/{}", table::spec(self.leaf.row).name)
    }

    /// Its place in the secrets.
    pub(crate) fn id(&self, generation: u64) -> LeafId {
        (self.leaf.row, self.leaf.node.clone(), generation)
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        fn list(names: impl ExactSizeIterator<Item = String>) -> String {
            let more = names.len().saturating_sub(SHOWN);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("{}{more}", names.take(SHOWN).collect::<Vec<_>>().join(", "))
        }
        let Self { ca, all, missing, unfit } = self;
        write!(f, "the {} CA has no key here, and the certificates that it has signed are not complete:", ca.name())?;
        if !missing.is_empty() {
            write!(f, " {} of {all} missing ({})", missing.len(), list(missing.iter().cloned()))?;
        }
        if !unfit.is_empty() {
            let and = if missing.is_empty() { "" } else { "," };
            let names = list(unfit.iter().map(|(name, why)| format!("{name} {why}")));
            write!(f, "{and} {} of {all} not fitting ({names})", unfit.len())?;
        }
        f.write_str(
            "; `nodekiln secrets requests` writes what to have signed, `nodekiln secrets import-certificates` takes the \
             answers",
        )
    }
}

/// CAs that sign elsewhere, and whom the cluster has use for: the first certificate of each.
fn authorities(secrets: &Secrets, cluster: &Cluster) -> Result<BTreeMap<Ca, CaCertificate>, OutsideError> {
    let first = |ca: Ca| secrets.authorities[&ca].first().filter(|entry| entry.key.is_none());
    let outside = Ca::ALL.into_iter().filter(|ca| table::is_used(*ca, cluster));
    let read = |ca| {
        let certificate = CaCertificate::parse(&first(ca)?.certificate);
        Some(certificate.map(|certificate| (ca, certificate)).map_err(|error| OutsideError::Ca { ca, error }))
    };
    outside.filter_map(read).collect()
}

/// All leaves that CAs elsewhere sign.
pub fn wanted(secrets: &Secrets, cluster: &Cluster) -> Vec<Wanted> {
    let is_outside = |ca: Ca| secrets.authorities[&ca].first().is_some_and(|entry| entry.key.is_none());
    if !Ca::ALL.into_iter().any(is_outside) {
        return Vec::new();
    }
    let nodes: BTreeMap<&NodeName, &Node> = cluster.nodes.iter().map(|node| (&node.name, node)).collect();
    let wanted = |(row, node): (Row, Option<NodeName>)| {
        let ca = table::spec(row).issuer;
        let node = node.and_then(|name| nodes.get(&name).copied());
        is_outside(ca).then(|| Wanted { ca, leaf: table::leaf(row, cluster, node) })
    };
    table::leaves(cluster).into_iter().filter_map(wanted).collect()
}

/// A request for `wanted`, PEM.
///
/// # Errors
/// A key that is not there, or a name that no certificate can hold.
pub(crate) fn request(wanted: &Wanted, keys: &Keyring) -> Result<Secret, IssueError> {
    let spec = table::spec(wanted.leaf.row);
    let common_name = keyring::common_name(&wanted.leaf)?;
    let key = keys.key(spec, wanted.leaf.node.as_ref())?;
    let der = certificate::request(&keyring::subject(&wanted.leaf, &common_name), &key)
        .map_err(|error| IssueError::Certificate(spec.name, error))?;
    Ok(pem::encode_secret(pem::CERTIFICATE_REQUEST, &der))
}

/// What CAs elsewhere have signed, and are to be asked for.
pub struct Outside {
    authorities: BTreeMap<Ca, CaCertificate>,
    keys: Keyring,
    /// All leaves that they sign.
    pub wanted: Vec<Wanted>,
}

impl Outside {
    /// For `cluster` with `secrets`.
    ///
    /// # Errors
    /// A CA that [`Secrets::parse`] would have refused.
    pub fn open(secrets: &Secrets, cluster: &Cluster) -> Result<Self, OutsideError> {
        let (authorities, keys) = (authorities(secrets, cluster)?, Keyring::new(secrets, cluster));
        Ok(Self { authorities, keys, wanted: wanted(secrets, cluster) })
    }

    /// The CA that signs `wanted`.
    pub fn issuer(&self, wanted: &Wanted) -> &CaCertificate {
        &self.authorities[&wanted.ca]
    }

    /// A request for `wanted`, PEM.
    ///
    /// # Errors
    /// A key that is not there, or a name that no certificate can hold.
    pub fn request(&self, wanted: &Wanted) -> Result<Secret, IssueError> {
        request(wanted, &self.keys)
    }

    /// Whether `der` is what was asked for, and from when until when it is good.
    ///
    /// # Errors
    /// A key that is not there; what does not fit is the result.
    pub fn accept(&self, wanted: &Wanted, der: &[u8]) -> Result<Result<Validity, GivenError>, IssueError> {
        let common_name = keyring::common_name(&wanted.leaf)?;
        let key = self.keys.key(table::spec(wanted.leaf.row), wanted.leaf.node.as_ref())?;
        let subject = keyring::subject(&wanted.leaf, &common_name);
        Ok(accept(der, &subject, &key.spki(), &self.authorities[&wanted.ca]))
    }

    /// What of all that is wanted the secrets lack, by the place in `wanted`; and the spans of what they have.
    ///
    /// # Errors
    /// A key that is not there.
    pub fn lacks(&self, secrets: &Secrets) -> Result<BTreeMap<usize, Lack>, OutsideError> {
        let lacks = Mutex::new(Ok(BTreeMap::new()));
        parallel::each(self.wanted.len(), |index| {
            let wanted = &self.wanted[index];
            let lack = match secrets.certificates.get(&wanted.id(secrets.generation)) {
                None => Ok(Some(Lack::Missing)),
                Some(der) => self.accept(wanted, der).map(|fits| fits.err().map(Lack::Unfit)),
            };
            let mut lacks = lacks.lock().unwrap_or_else(PoisonError::into_inner);
            match (lack, &mut *lacks) {
                (Ok(Some(lack)), Ok(lacks)) => drop(lacks.insert(index, lack)),
                (Err(error), all @ Ok(_)) => *all = Err(error),
                (_, Err(_)) | (Ok(None), _) => {}
            }
            if lacks.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok(lacks.into_inner().unwrap_or_else(PoisonError::into_inner)?)
    }

    /// The same for a build, one for each CA that lacks something.
    ///
    /// # Errors
    /// A key that is not there.
    pub fn lacking(&self, secrets: &Secrets) -> Result<Vec<Lacking>, OutsideError> {
        let lacks = self.lacks(secrets)?;
        let of = |ca: Ca| {
            let all = self.wanted.iter().filter(|wanted| wanted.ca == ca).count();
            let mut lacking = Lacking { ca, all, missing: Vec::new(), unfit: Vec::new() };
            for (index, lack) in lacks.iter().filter(|(index, _)| self.wanted[**index].ca == ca) {
                let name = self.wanted[*index].name();
                match lack {
                    Lack::Missing => lacking.missing.push(name),
                    Lack::Unfit(why) => lacking.unfit.push((name, why.clone())),
                }
            }
            (!lacking.missing.is_empty() || !lacking.unfit.is_empty()).then_some(lacking)
        };
        Ok(self.authorities.keys().copied().filter_map(of).collect())
    }
}

#[cfg(test)]
mod tests;
