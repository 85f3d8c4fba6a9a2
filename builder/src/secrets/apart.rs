//! CAs are for one purpose each: what keeps a certificate from being one for two.
//!
//! kubeadm's three CAs are apart because trust is all that some of their users ask for: etcd lets every client in that its
//! CA has signed, and the API server believes every name that the front proxy's clients tell. A CA that stands in two
//! bundles, or that issued another bundle's CA, would make each kubelet such a client.

use super::Finding;
use crate::pki::{
    certificate::{CaCertificate, is_issuer},
    table::Ca,
};
use nodekiln_plan::Sha256;
use std::collections::BTreeMap;

/// A certificate of a CA, and where it stands.
pub(super) struct Standing {
    pub(super) ca: Ca,
    /// `authorities.CA[INDEX]`.
    pub(super) path: String,
    pub(super) line: u64,
    pub(super) column: u64,
    /// DER; a CA's.
    pub(super) certificate: Vec<u8>,
    /// Whether its key is beside it.
    pub(super) has_key: bool,
    /// Whether it is the first of its list.
    pub(super) issues: bool,
}

/// What joins CAs that have to be apart. `keys` says by public half where private keys stand: one that stands twice is told
/// already.
pub(super) fn findings(all: &[Standing], keys: &BTreeMap<Sha256, String>) -> Vec<Finding> {
    let read = |one: &Standing| CaCertificate::parse(&one.certificate).ok();
    let all: Vec<_> = all.iter().filter_map(|one| Some((one, read(one)?))).collect();
    let mut findings = Vec::new();
    let mut add = |one: &Standing, message: String| {
        findings.push(Finding::new(one.line, one.column, &one.path, message));
    };
    for (index, (one, certificate)) in all.iter().enumerate() {
        let others = || all.iter().filter(|(other, _)| other.ca != one.ca);
        let twin = all[..index].iter().find(|(other, known)| other.ca != one.ca && known.spki == certificate.spki);
        if let Some((twin, _)) = twin
            && !(twin.has_key && one.has_key)
        {
            let message = format!("has the public key of {}: every CA needs one of its own", twin.path);
            add(one, format!("{message}, or what one signs is trusted as the other's"));
        }
        let key = keys.get(&Sha256::of(&certificate.spki)).filter(|path| !path.starts_with("authorities."));
        if let Some(path) = key
            && !one.has_key
        {
            add(one, format!("has the public key of {path}: every CA needs one of its own"));
        }
        // What signed itself was issued by nobody else.
        let issued = others().find(|(other, known)| {
            known.is_intermediate() && known.spki != certificate.spki && is_issuer(&one.certificate, &other.certificate)
        });
        if let Some((issued, _)) = issued {
            let advice = match one.issues {
                true => "one of them has to be made anew",
                false => "leave it out, an intermediate CA is trusted without its issuer",
            };
            let message =
                format!("issued {}, a CA for another purpose: what either signs would be trusted", issued.path);
            add(one, format!("{message} for both; {advice}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
