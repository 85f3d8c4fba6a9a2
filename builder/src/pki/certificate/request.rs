//! Requests (PKCS#10, RFC 2986) for certificates that a CA elsewhere signs.

use super::{CertificateError, Public, Subject, Validity, leaf_params};
use crate::pki::key::KeyPair;

/// Signs a request: the one thing that rcgen has a key for.
struct Requester<'a> {
    public: Public,
    key: &'a KeyPair,
}

impl rcgen::PublicKeyData for Requester<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl rcgen::SigningKey for Requester<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message))
    }
}

/// A request for the certificate that `subject` describes, signed by its key, DER: the same bytes every time. It asks for
/// all extensions that [`super::Signer::issue`] would write.
///
/// # Errors
/// A name that no certificate can hold.
pub fn request(subject: &Subject<'_>, key: &KeyPair) -> Result<Vec<u8>, CertificateError> {
    let mut params = leaf_params(subject, key, Validity { not_before: 0, not_after: 1 })?;
    // Not for who asks to say.
    params.serial_number = None;
    let requester = Requester { public: Public::of(key), key };
    Ok(params.serialize_request(&requester).map_err(CertificateError::Encode)?.der().to_vec())
}
