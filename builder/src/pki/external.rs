//! [`ExternalEtcd`]: the user's own certificate and key for etcd.external, as far as they are baked into payloads.

use crate::{
    config::{ExternalEtcd as Given, InputFile, NodeFile},
    pki::{
        certificate::Validity,
        pem,
        scan::{self, Found},
    },
};
use nodekiln_plan::Sha256;
use std::sync::Arc;
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
}

/// The files, read.
pub(crate) struct ExternalEtcd {
    key: Option<(Arc<[u8]>, Sha256)>,
    certificate: Option<(Arc<[u8]>, Validity)>,
}

impl ExternalEtcd {
    /// Reads what is baked; files in the machine image are not here to be read.
    pub(crate) fn read(given: &Given) -> Result<Self, ExternalEtcdError> {
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
