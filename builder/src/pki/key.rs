//! [`KeyPair`]: an ECDSA key on P-256 and its signatures.
//!
//! Two libraries share the work: p256 signs, because it can do so deterministically; aws-lc, which is there for rcgen
//! anyway, computes public points, because it takes a third of the time. A test holds one against the other.

use crate::pki::pem;
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use nodekiln_plan::{Secret, Sha256};
use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use std::sync::OnceLock;
use zeroize::{Zeroize as _, Zeroizing};

/// SubjectPublicKeyInfo of a P-256 key up to its uncompressed point (RFC 5480 §2).
const SPKI_PREFIX: [u8; 26] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\
\x01\x07\x03\x42\x00";

/// PKCS#8 PrivateKeyInfo of a P-256 key up to its scalar: version 0, id-ecPublicKey with prime256v1, then an
/// ECPrivateKey (RFC 5915) of version 1 without parameters, as OpenSSL and Go write it.
pub(crate) const PKCS8_PREFIX: [u8; 36] =
    *b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\
\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";

/// What stands between scalar and point.
pub(crate) const PKCS8_INFIX: [u8; 5] = *b"\xa1\x44\x03\x42\x00";

/// A key pair. `Debug` shows nothing; the scalar is wiped on drop.
#[derive(Clone)]
pub struct KeyPair {
    scalar: SecretKey,
    /// Uncompressed public point.
    point: [u8; 65],
    /// Made when it first signs: leaves never do.
    signing: OnceLock<SigningKey>,
}

/// Why a PEM text is no [`KeyPair`]. Never tells what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// PKCS#8 of another algorithm or curve, a damaged one, or one whose halves differ.
    #[error("is not an ECDSA key on P-256, the only kind that this version takes")]
    Kind,
}

impl KeyPair {
    /// The key with this scalar.
    pub fn new(scalar: SecretKey) -> Self {
        let bytes = Zeroizing::new(scalar.to_bytes());
        let public = PrivateKey::from_private_key(&ECDH_P256, &bytes).and_then(|key| Ok(key.compute_public_key()?));
        let public = public.expect("a scalar is not zero and below the group order");
        let point = public.as_ref().try_into().expect("an uncompressed point has 65 bytes");
        Self { scalar, point, signing: OnceLock::new() }
    }

    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// Anything that is not a whole P-256 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = pem::decode(pem::PRIVATE_KEY, text)?;
        Self::from_pkcs8(&der).ok_or(KeyError::Kind)
    }

    /// Reads PKCS#8 in DER.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        // The form that we, OpenSSL and Go write is read here: p256's reader computes the point once more.
        if let Some((scalar, rest)) = der.strip_prefix(&PKCS8_PREFIX).and_then(|rest| rest.split_at_checked(32))
            && let Some(point) = rest.strip_prefix(&PKCS8_INFIX)
        {
            let pair = Self::new(SecretKey::from_slice(scalar).ok()?);
            return (pair.point == point).then_some(pair);
        }
        SecretKey::from_pkcs8_der(der).ok().map(Self::new)
    }

    /// Signs by RFC 6979, so that equal inputs give equal signatures; DER of ECDSA-Sig-Value.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.signing().sign(message);
        signature.to_der().as_bytes().to_vec()
    }

    /// Whether `signature` (DER) over `message` is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        use p256::ecdsa::signature::Verifier as _;
        Signature::from_der(signature).is_ok_and(|s| self.signing().verifying_key().verify(message, &s).is_ok())
    }

    fn signing(&self) -> &SigningKey {
        self.signing.get_or_init(|| SigningKey::from(&self.scalar))
    }

    /// The uncompressed public point.
    pub fn point(&self) -> &[u8; 65] {
        &self.point
    }

    /// The public half as SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> [u8; 91] {
        let mut der = [0; 91];
        der[..26].copy_from_slice(&SPKI_PREFIX);
        der[26..].copy_from_slice(&self.point);
        der
    }

    /// Digest of [`KeyPair::spki`]: how keys are named in `placement.json`.
    pub fn spki_sha256(&self) -> Sha256 {
        Sha256::of(&self.spki())
    }

    /// The private key, PKCS#8 in DER.
    ///
    /// Put together here because p256's encoder computes the public point once more, half of a leaf's cost.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut scalar = self.scalar.to_bytes();
        let mut der = Zeroizing::new(Vec::with_capacity(138));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(&scalar);
        der.extend_from_slice(&PKCS8_INFIX);
        der.extend_from_slice(&self.point);
        scalar.zeroize();
        der
    }

    /// The private key, PKCS#8 in PEM.
    pub fn private_pem(&self) -> Secret {
        pem::encode_secret(pem::PRIVATE_KEY, &self.pkcs8())
    }

    /// The public half, PKIX in PEM. kube-apiserver reads no EC PKCS#8 key where it wants a public one.
    pub fn public_pem(&self) -> Secret {
        pem::encode_secret(pem::PUBLIC_KEY, &self.spki())
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

    /// The key of RFC 6979, appendix A.2.5.
    fn rfc6979() -> KeyPair {
        let scalar = hex::decode("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721").unwrap();
        KeyPair::new(SecretKey::from_slice(&scalar).unwrap())
    }

    #[test]
    fn rfc6979_a_2_5() {
        let pair = rfc6979();
        assert_eq!(
            hex::encode_upper(&pair.point[1..]),
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
             7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
        );
        for (message, signature) in [
            (
                "sample",
                "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
                 F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
            ),
            (
                "test",
                "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367\
                 019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
            ),
        ] {
            let der = pair.sign(message.as_bytes());
            assert_eq!(hex::encode_upper(Signature::from_der(&der).unwrap().to_bytes()), signature, "{message}");
            assert!(pair.verifies(message.as_bytes(), &der) && !pair.verifies(b"other", &der));
        }
    }

    #[test]
    fn encodings_are_those_of_p256() {
        let pair = rfc6979();
        let scalar = &pair.scalar;
        assert_eq!(*pair.pkcs8(), scalar.to_pkcs8_der().unwrap().as_bytes());
        assert_eq!(pair.spki()[..], *scalar.public_key().to_public_key_der().unwrap().as_bytes());
        let pem = String::from_utf8(pair.private_pem().expose().to_vec()).unwrap();
        assert_eq!(KeyPair::from_pem(&pem).unwrap().point, pair.point);
    }

    #[test]
    fn refused() {
        let pair = rfc6979();
        let good = pair.pkcs8();
        let pem = |der: &[u8]| String::from_utf8(pem::encode_secret(pem::PRIVATE_KEY, der).expose().to_vec()).unwrap();
        assert!(KeyPair::from_pem(&pem(&good)).is_ok());
        let mut other_point = good.to_vec();
        other_point[100] ^= 1;
        let mut zero = good.to_vec();
        zero[36..68].fill(0);
        let mut other_curve = good.to_vec();
        other_curve[26] = 0x22;
        for bad in [&other_point[..], &zero, &other_curve, &good[..100], b"", &[good.to_vec(), vec![0]].concat()] {
            assert_eq!(KeyPair::from_pem(&pem(bad)).err(), Some(KeyError::Kind), "{bad:02x?}");
        }
    }

    proptest::proptest! {
        /// aws-lc and p256 agree on every point, and we read what we write.
        #[test]
        fn two_libraries_one_point(bytes in proptest::array::uniform32(proptest::num::u8::ANY)) {
            let Ok(scalar) = SecretKey::from_slice(&bytes) else { return Ok(()) };
            let public = scalar.public_key();
            let pair = KeyPair::new(scalar);
            proptest::prop_assert_eq!(pair.spki().to_vec(), public.to_public_key_der().unwrap().into_vec());
            proptest::prop_assert_eq!(KeyPair::from_pkcs8(&pair.pkcs8()).unwrap().point, pair.point);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", rfc6979()), "KeyPair(..)");
    }
}
