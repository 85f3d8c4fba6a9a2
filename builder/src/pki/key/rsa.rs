//! RSA keys: made, read and used by aws-lc. They cannot be derived, so they are kept.

use crate::config::Algorithm;
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use zeroize::Zeroizing;

/// A key pair; aws-lc wipes it when the last copy is dropped.
#[derive(Clone)]
pub(super) struct Pair(KeyPair);

impl Pair {
    /// A new key; `None` if the algorithm is not RSA, or the machine has no random numbers.
    pub(super) fn generate(algorithm: Algorithm) -> Option<Self> {
        let size = match algorithm {
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => return None,
            Algorithm::Rsa2048 => KeySize::Rsa2048,
            Algorithm::Rsa3072 => KeySize::Rsa3072,
            Algorithm::Rsa4096 => KeySize::Rsa4096,
        };
        KeyPair::generate(size).ok().map(Self)
    }

    /// Reads PKCS#8. aws-lc checks that all numbers belong together, and takes 2048 to 8192 bits.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        KeyPair::from_pkcs8(der).ok().map(Self)
    }

    /// Reads PKCS#1, which OpenSSL calls `RSA PRIVATE KEY`.
    pub(super) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        KeyPair::from_der(der).ok().map(Self)
    }

    pub(super) fn bits(&self) -> usize {
        self.0.public_modulus_len() * 8
    }

    /// Signs by PKCS#1 v1.5 with SHA-256 (RFC 8017 §8.2), which has no random part.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("a key that was checked signs");
        signature
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.public()).verify(message, signature).is_ok()
    }

    /// RSAPublicKey, DER.
    pub(super) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("a key that was read can be written");
        der.as_ref().to_vec()
    }

    /// PKCS#8, DER: always the same bytes, however the key was read.
    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().expect("a key that was read can be written");
        Zeroizing::new(der.as_ref().to_vec())
    }
}
