//! ECDSA keys on P-256 and P-384.
//!
//! Two libraries share the work: p256 and p384 sign, because they can do so deterministically; aws-lc, which is there
//! for rcgen anyway, computes public points, because it takes a third of the time. A test holds one against the other.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, PrivateKey};
use p256::{
    ecdsa::signature::{Signer as _, Verifier as _},
    pkcs8::DecodePrivateKey as _,
};
use sha2::Digest as _;
use std::{cell::RefCell, collections::VecDeque, sync::OnceLock};
use zeroize::Zeroizing;

/// A curve, with the DER around its keys as OpenSSL and Go write it. The encoders of p256 and p384 compute the public
/// point once more, half of a leaf's cost: the bytes are put together here, and tests hold them against theirs.
pub(crate) struct Curve {
    /// Length of a scalar.
    pub(crate) size: usize,
    /// SubjectPublicKeyInfo up to the uncompressed point (RFC 5480 §2).
    spki: &'static [u8],
    /// PKCS#8 PrivateKeyInfo up to the scalar: version 0, id-ecPublicKey with the curve, then an ECPrivateKey (RFC 5915)
    /// of version 1 without parameters.
    pub(crate) pkcs8: &'static [u8],
    /// What stands between scalar and point.
    infix: &'static [u8],
    ecdh: &'static agreement::Algorithm,
}

pub(crate) static P256: Curve = Curve {
    size: 32,
    spki: b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
    pkcs8: b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\
        \x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20",
    infix: b"\xa1\x44\x03\x42\x00",
    ecdh: &ECDH_P256,
};

pub(crate) static P384: Curve = Curve {
    size: 48,
    spki: b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
    pkcs8: b"\x30\x81\xb6\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x04\x81\
        \x9e\x30\x81\x9b\x02\x01\x01\x04\x30",
    infix: b"\xa1\x64\x03\x62\x00",
    ecdh: &ECDH_P384,
};

impl Curve {
    /// Whether `bytes` are a scalar: not zero and below the group order.
    fn is_scalar(&self, bytes: &[u8]) -> bool {
        match self.size {
            32 => p256::SecretKey::from_slice(bytes).is_ok(),
            _ => p384::SecretKey::from_slice(bytes).is_ok(),
        }
    }

    /// The public point of a scalar, uncompressed. The last few are remembered: what has been derived for a node is read
    /// back from its payload on the same thread.
    fn point(&self, scalar: &[u8]) -> Vec<u8> {
        /// More than a node has keys of its own.
        const KEPT: usize = 16;
        thread_local! {
            // By digest, so that no scalar stays.
            static LAST: RefCell<VecDeque<([u8; 32], Vec<u8>)>> = const { RefCell::new(VecDeque::new()) };
        }
        let digest: [u8; 32] = sha2::Sha256::digest(scalar).into();
        LAST.with_borrow_mut(|last| {
            let known = |entry: &&([u8; 32], Vec<u8>)| entry.0 == digest && entry.1.len() == 1 + 2 * self.size;
            if let Some((_, point)) = last.iter().find(known) {
                return point.clone();
            }
            let public = PrivateKey::from_private_key(self.ecdh, scalar).and_then(|key| Ok(key.compute_public_key()?));
            let point = public.expect("a scalar is not zero and below the group order").as_ref().to_vec();
            last.truncate(KEPT - 1);
            last.push_front((digest, point.clone()));
            point
        })
    }

    /// Length of PKCS#8.
    pub(crate) fn pkcs8_len(&self) -> usize {
        self.pkcs8.len() + self.size + self.infix.len() + 1 + 2 * self.size
    }
}

/// A key pair. The scalar is wiped on drop.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) curve: &'static Curve,
    scalar: Zeroizing<Vec<u8>>,
    /// Uncompressed.
    pub(super) point: Vec<u8>,
    /// Made when it first signs: leaves never do.
    signing: OnceLock<Signing>,
}

#[derive(Clone)]
enum Signing {
    P256(p256::ecdsa::SigningKey),
    P384(Box<p384::ecdsa::SigningKey>),
}

impl Pair {
    /// The key with this scalar; `None` if it is none.
    pub(super) fn new(curve: &'static Curve, scalar: &[u8]) -> Option<Self> {
        if scalar.len() != curve.size || !curve.is_scalar(scalar) {
            return None;
        }
        let point = curve.point(scalar);
        Some(Self { curve, scalar: Zeroizing::new(scalar.to_vec()), point, signing: OnceLock::new() })
    }

    /// Reads PKCS#8.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        for curve in [&P256, &P384] {
            // The form that we, OpenSSL and Go write; others are left to the libraries, which take twice the time.
            let Some((scalar, rest)) = der.strip_prefix(curve.pkcs8).and_then(|rest| rest.split_at_checked(curve.size))
            else {
                continue;
            };
            if let Some(point) = rest.strip_prefix(curve.infix) {
                return Self::new(curve, scalar).filter(|pair| pair.point == point);
            }
        }
        let p256 = p256::SecretKey::from_pkcs8_der(der).ok().and_then(|key| Self::of_p256(&key));
        p256.or_else(|| p384::SecretKey::from_pkcs8_der(der).ok().and_then(|key| Self::of_p384(&key)))
    }

    /// Reads SEC1 (RFC 5915), which OpenSSL calls `EC PRIVATE KEY`.
    pub(super) fn from_sec1(der: &[u8]) -> Option<Self> {
        let p256 = p256::SecretKey::from_sec1_der(der).ok().and_then(|key| Self::of_p256(&key));
        p256.or_else(|| p384::SecretKey::from_sec1_der(der).ok().and_then(|key| Self::of_p384(&key)))
    }

    fn of_p256(key: &p256::SecretKey) -> Option<Self> {
        Self::new(&P256, &Zeroizing::new(key.to_bytes())[..])
    }

    fn of_p384(key: &p384::SecretKey) -> Option<Self> {
        Self::new(&P384, &Zeroizing::new(key.to_bytes())[..])
    }

    /// Signs by RFC 6979 with the curve's own hash (SHA-256, SHA-384), so that equal inputs give equal signatures; DER of
    /// ECDSA-Sig-Value.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self.signing() {
            Signing::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Signing::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    /// Whether `signature` (DER) over `message` is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.signing() {
            Signing::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verifying_key().verify(message, &signature).is_ok()),
            Signing::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verifying_key().verify(message, &signature).is_ok()),
        }
    }

    fn signing(&self) -> &Signing {
        const CHECKED: &str = "the scalar was checked when the key was made";
        self.signing.get_or_init(|| match self.curve.size {
            32 => Signing::P256(p256::ecdsa::SigningKey::from_slice(&self.scalar).expect(CHECKED)),
            _ => Signing::P384(Box::new(p384::ecdsa::SigningKey::from_slice(&self.scalar).expect(CHECKED))),
        })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn spki(&self) -> Vec<u8> {
        [self.curve.spki, &self.point].concat()
    }

    /// PKCS#8, DER.
    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(self.curve.pkcs8_len()));
        der.extend_from_slice(self.curve.pkcs8);
        der.extend_from_slice(&self.scalar);
        der.extend_from_slice(self.curve.infix);
        der.extend_from_slice(&self.point);
        der
    }
}
