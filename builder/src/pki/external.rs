//! [`ExternalEtcd`]: the user's own certificate and key for etcd.external, as far as they are baked into payloads.

use crate::{
    config::{ExternalEtcd as Given, InputFile, NodeFile},
    pki::{
        certificate::{Validity, is_issuer},
        pem,
        scan::{self, Found},
        table::Ca,
    },
    secrets::CaEntry,
};
use nodekiln_plan::Sha256;
use std::{collections::BTreeMap, sync::Arc};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why the files are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExternalEtcdError {
    /// No key, several, or one that cannot be read.
    #[error("etcd.external.keyFile: does not hold one private key that can be read (it must not be encrypted)")]
    Key,
    /// No certificate.
    #[error("etcd.external.certFile: does not begin with an X.509 certificate in PEM")]
    Certificate,
    /// Of different pairs.
    #[error("etcd.external.keyFile: does not belong to certFile: their public keys differ")]
    OtherKey,
    /// A CA of the cluster's that is not for etcd.
    #[error(
        "etcd.external.{field}: holds a certificate that {} the {} CA of these secrets: an etcd that trusts it lets all \
         clients of that CA in, {}; {}",
        .bond.words(), .ca.name(), clients(*.ca), .bond.advice()
    )]
    NotApart {
        /// The field.
        field: &'static str,
        /// Whose.
        ca: Ca,
        /// How it is joined to a certificate of the file.
        bond: Bond,
    },
}

impl ExternalEtcdError {
    /// The field of cluster.yaml.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Key | Self::OtherKey => "etcd.external.keyFile",
            Self::Certificate | Self::NotApart { field: "certFile", .. } => "etcd.external.certFile",
            Self::NotApart { .. } => "etcd.external.caFile",
        }
    }
}

/// How a certificate is joined to that of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// They have one key.
    Key,
    /// The CA issued it.
    Issued,
    /// It issued the CA.
    Issues,
}

impl Bond {
    fn words(self) -> &'static str {
        match self {
            Self::Key => "has the public key of",
            Self::Issued => "was issued by",
            Self::Issues => "issued",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Key | Self::Issued => "give etcd a CA of its own",
            Self::Issues => {
                "leave it out, an intermediate CA is trusted without its issuer; or give etcd a CA of its own"
            }
        }
    }
}

/// Who shows certificates of this CA.
fn clients(ca: Ca) -> &'static str {
    match ca {
        Ca::Kubernetes => "which all kubelets are",
        Ca::Etcd | Ca::FrontProxy => "which API servers are",
    }
}

/// The files, read.
pub(crate) struct ExternalEtcd {
    key: Option<(Arc<[u8]>, Sha256)>,
    certificate: Option<(Arc<[u8]>, Validity)>,
}

impl ExternalEtcd {
    /// Reads what is baked; files in the machine image are not here to be read. `authorities` are the cluster's own.
    pub(crate) fn read(given: &Given, authorities: &BTreeMap<Ca, Vec<CaEntry>>) -> Result<Self, ExternalEtcdError> {
        let input = |file: &Option<NodeFile>| match file {
            Some(NodeFile::Input(InputFile { bytes, .. })) => Some(Arc::clone(bytes)),
            Some(NodeFile::Image(_)) | None => None,
        };
        let key = match input(&given.key) {
            None => None,
            Some(bytes) => match scan::private_keys(&bytes)[..] {
                [Found::Key(spki)] => Some((bytes, spki)),
                _ => return Err(ExternalEtcdError::Key),
            },
        };
        let mut certificate = None;
        if let Some(bytes) = input(&given.cert) {
            let (spki, validity) = first(&bytes).ok_or(ExternalEtcdError::Certificate)?;
            if key.as_ref().is_some_and(|(_, own)| *own != spki) {
                return Err(ExternalEtcdError::OtherKey);
            }
            certificate = Some((bytes, validity));
        }
        for (field, file) in [("caFile", &given.ca), ("certFile", &given.cert)] {
            match input(file).and_then(|bytes| joined(&bytes, authorities)) {
                None => {}
                // A root that is shown with a certificate is not trusted for it.
                Some((_, Bond::Issues)) if field == "certFile" => {}
                Some((ca, bond)) => return Err(ExternalEtcdError::NotApart { field, ca, bond }),
            }
        }
        Ok(Self { key, certificate })
    }

    /// Digest of both files.
    pub(crate) fn digest(&self) -> Sha256 {
        let Self { key, certificate } = self;
        let parts = [key.as_ref().map(|(bytes, _)| bytes), certificate.as_ref().map(|(bytes, _)| bytes)];
        Sha256::of_parts(parts.map(|part| part.map_or(&[][..], |bytes| &bytes[..])))
    }

    /// Digest of the key's public half.
    pub(crate) fn spki(&self) -> Option<Sha256> {
        self.key.as_ref().map(|(_, spki)| *spki)
    }

    /// The same, if `bytes` are the key.
    pub(crate) fn is_key(&self, bytes: &[u8]) -> Option<Sha256> {
        self.key.as_ref().filter(|(own, _)| **own == *bytes).map(|(_, spki)| *spki)
    }

    /// The span of the certificate, if `bytes` are it.
    pub(crate) fn is_certificate(&self, bytes: &[u8]) -> Option<Validity> {
        self.certificate.as_ref().filter(|(own, _)| **own == *bytes).map(|(_, validity)| *validity)
    }
}

/// The first CA of the cluster's that a certificate in `bytes` is joined to. The one for etcd may be: members that were the
/// cluster's own, and are somebody else's now, keep it.
fn joined(bytes: &[u8], authorities: &BTreeMap<Ca, Vec<CaEntry>>) -> Option<(Ca, Bond)> {
    let blocks = pem::blocks(std::str::from_utf8(bytes).ok()?).ok()?;
    let certificates = || blocks.iter().filter(|(label, _)| label == pem::CERTIFICATE).map(|(_, der)| der.as_slice());
    let others = authorities.iter().filter(|(ca, _)| **ca != Ca::Etcd);
    let mut entries = others.flat_map(|(ca, entries)| entries.iter().map(|entry| (*ca, entry.certificate.as_slice())));
    entries.find_map(|(ca, own)| certificates().find_map(|der| Some((ca, bond(der, own)?))))
}

fn bond(der: &[u8], own: &[u8]) -> Option<Bond> {
    let (_, theirs) = X509Certificate::from_der(der).ok()?;
    let (_, ours) = X509Certificate::from_der(own).ok()?;
    // What signed itself was issued by nobody else.
    let has_issuer = |one: &X509Certificate<'_>| one.issuer().as_raw() != one.subject().as_raw();
    if theirs.public_key().raw == ours.public_key().raw {
        Some(Bond::Key)
    } else if has_issuer(&theirs) && is_issuer(own, der) {
        Some(Bond::Issued)
    } else if has_issuer(&ours) && is_issuer(der, own) {
        Some(Bond::Issues)
    } else {
        None
    }
}

/// Public half and span of the first certificate: the one that the API server shows.
fn first(bytes: &[u8]) -> Option<(Sha256, Validity)> {
    let blocks = pem::blocks(std::str::from_utf8(bytes).ok()?).ok()?;
    let (_, der) = blocks.iter().find(|(label, _)| label == pem::CERTIFICATE)?;
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((
        Sha256::of(certificate.public_key().raw),
        Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::tests::fixture;
    use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair as Pair};

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn file(certificates: &[&[u8]]) -> Option<NodeFile> {
        let mut bytes = Vec::new();
        certificates.iter().for_each(|der| pem::encode(pem::CERTIFICATE, der, &mut bytes));
        Some(NodeFile::Input(InputFile { path: "x".into(), bytes: bytes.into() }))
    }

    fn pair_of(entry: &CaEntry) -> Pair {
        let pem = entry.key.as_ref().unwrap().private_pem();
        Pair::from_pem(std::str::from_utf8(pem.expose()).unwrap()).unwrap()
    }

    #[test]
    fn etcd_has_a_ca_of_its_own() {
        let mut authorities = fixture(1).authorities;
        let refused = |authorities: &BTreeMap<_, _>, ca, cert| {
            let given = Given { endpoints: vec![], ca, cert, key: None };
            ExternalEtcd::read(&given, authorities).err()
        };
        let not = |field, ca, bond| Some(ExternalEtcdError::NotApart { field, ca, bond });
        let stranger_key = Pair::generate().unwrap();
        let stranger = params("stranger").self_signed(&stranger_key).unwrap();
        let own = |ca: Ca| fixture(1).authorities[&ca][0].clone();
        for ca in [Ca::Kubernetes, Ca::FrontProxy] {
            let entry = own(ca);
            // The CA itself, in whatever place, and another certificate of its key.
            let renamed = params("renamed").self_signed(&pair_of(&entry)).unwrap();
            for der in [entry.certificate.as_slice(), renamed.der()] {
                let found = refused(&authorities, file(&[stranger.der(), der]), None);
                assert_eq!(found, not("caFile", ca, Bond::Key));
            }
            // What it issued: a CA, and the client.
            let mut name = params("x");
            name.distinguished_name = rcgen::DistinguishedName::new();
            name.distinguished_name.push(DnType::CommonName, ca.common_name());
            let issuer = Issuer::new(name, pair_of(&entry));
            let below: Certificate = params("below").signed_by(&Pair::generate().unwrap(), &issuer).unwrap();
            assert_eq!(refused(&authorities, file(&[below.der()]), None), not("caFile", ca, Bond::Issued));
            let found = refused(&authorities, file(&[stranger.der()]), file(&[below.der()]));
            assert_eq!(found, not("certFile", ca, Bond::Issued));
        }
        // Members that were the cluster's own, and strangers.
        let etcd = own(Ca::Etcd);
        assert_eq!(refused(&authorities, file(&[&etcd.certificate]), file(&[stranger.der()])), None);
        assert_eq!(refused(&authorities, None, None), None);
        // What issued it: to be trusted it may not, to be shown it may.
        let issuer = Issuer::new(params("stranger"), &stranger_key);
        let intermediate = params("kubernetes").signed_by(&Pair::generate().unwrap(), &issuer).unwrap();
        let entry = CaEntry { certificate: intermediate.der().to_vec(), key: None, rotation: None };
        authorities.get_mut(&Ca::Kubernetes).unwrap().push(entry);
        let found = refused(&authorities, file(&[stranger.der()]), None);
        assert_eq!(found, not("caFile", Ca::Kubernetes, Bond::Issues));
        assert_eq!(refused(&authorities, file(&[&etcd.certificate]), file(&[stranger.der()])), None);
        assert_eq!(
            found.unwrap().to_string(),
            "etcd.external.caFile: holds a certificate that issued the kubernetes CA of these secrets: an etcd that trusts it \
             lets all clients of that CA in, which all kubelets are; leave it out, an intermediate CA is trusted without \
             its issuer; or give etcd a CA of its own"
        );
    }
}
