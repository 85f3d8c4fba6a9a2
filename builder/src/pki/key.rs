//! [`KeyPair`]: a key of one of the kinds that Kubernetes takes, and its signatures.

pub(crate) mod ec;
mod rsa;

use crate::{config::Algorithm, pki::pem};
use nodekiln_plan::{Secret, Sha256};
use zeroize::Zeroizing;

/// A key pair. `Debug` shows nothing; private parts are wiped on drop.
#[derive(Clone)]
pub struct KeyPair(Kind);

#[derive(Clone)]
enum Kind {
    Ec(ec::Pair),
    Rsa(rsa::Pair),
}

/// Why a PEM text is no [`KeyPair`]. Never tells what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// A pass phrase would be needed.
    #[error("is encrypted; `openssl pkey` decrypts it")]
    Encrypted,
    /// Another algorithm or size, a damaged one, or one whose parts do not belong together.
    #[error("is not a whole RSA key of 2048 to 8192 bits or ECDSA key on P-256 or P-384")]
    Kind,
}

impl KeyPair {
    /// The key on the curve of `algorithm` that has this scalar; `None` if it is none, or the algorithm is RSA.
    pub fn from_scalar(algorithm: Algorithm, scalar: &[u8]) -> Option<Self> {
        ec::Pair::new(curve(algorithm)?, scalar).map(|pair| Self(Kind::Ec(pair)))
    }

    /// A new key of `algorithm`; `random` fills a buffer. RSA keys take aws-lc's own random numbers.
    ///
    /// # Errors
    /// Those of `random`; `None` where aws-lc has none.
    pub fn generate<E>(
        algorithm: Algorithm,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, Option<E>> {
        let Some(curve) = curve(algorithm) else {
            return rsa::Pair::generate(algorithm).map(|pair| Self(Kind::Rsa(pair))).ok_or(None);
        };
        let mut scalar = Zeroizing::new(vec![0; curve.size]);
        loop {
            random(&mut scalar).map_err(Some)?;
            if let Some(pair) = ec::Pair::new(curve, &scalar) {
                return Ok(Self(Kind::Ec(pair)));
            }
        }
    }

    /// Reads PKCS#8, SEC1 or PKCS#1 in PEM.
    ///
    /// # Errors
    /// Anything that is not one whole key of a kind that we take.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode_any(text)?;
        Self::from_block(&label, &der)
    }

    /// Reads the contents of a PEM block.
    pub(crate) fn from_block(label: &str, der: &[u8]) -> Result<Self, KeyError> {
        match label {
            pem::PRIVATE_KEY => Self::from_pkcs8(der),
            pem::EC_PRIVATE_KEY => ec::Pair::from_sec1(der).map(|pair| Self(Kind::Ec(pair))),
            pem::RSA_PRIVATE_KEY => rsa::Pair::from_pkcs1(der).map(|pair| Self(Kind::Rsa(pair))),
            pem::ENCRYPTED_PRIVATE_KEY => return Err(KeyError::Encrypted),
            _ => return Err(pem::PemError::Label(pem::PRIVATE_KEY).into()),
        }
        .ok_or(KeyError::Kind)
    }

    /// Reads PKCS#8 in DER.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let ec = ec::Pair::from_pkcs8(der).map(|pair| Self(Kind::Ec(pair)));
        ec.or_else(|| rsa::Pair::from_pkcs8(der).map(|pair| Self(Kind::Rsa(pair))))
    }

    /// Reads DER of any of the forms.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let sec1 = || ec::Pair::from_sec1(der).map(|pair| Self(Kind::Ec(pair)));
        let pkcs1 = || rsa::Pair::from_pkcs1(der).map(|pair| Self(Kind::Rsa(pair)));
        Self::from_pkcs8(der).or_else(sec1).or_else(pkcs1)
    }

    /// Its algorithm; `None` for an RSA key of a size that we do not make.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match &self.0 {
            Kind::Ec(pair) if pair.curve.size == ec::P256.size => Some(Algorithm::EcdsaP256),
            Kind::Ec(_) => Some(Algorithm::EcdsaP384),
            Kind::Rsa(pair) => match pair.bits() {
                2048 => Some(Algorithm::Rsa2048),
                3072 => Some(Algorithm::Rsa3072),
                4096 => Some(Algorithm::Rsa4096),
                _ => None,
            },
        }
    }

    /// Its algorithm in words, as cluster.yaml has it.
    pub fn algorithm_name(&self) -> String {
        match &self.0 {
            Kind::Ec(pair) => format!("ECDSA-P{}", pair.curve.size * 8),
            Kind::Rsa(pair) => format!("RSA-{}", pair.bits()),
        }
    }

    /// Whether it is an RSA key.
    pub fn is_rsa(&self) -> bool {
        matches!(self.0, Kind::Rsa(_))
    }

    /// Signs so that equal inputs give equal signatures: ECDSA by RFC 6979, RSA by PKCS#1 v1.5.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Kind::Ec(pair) => pair.sign(message),
            Kind::Rsa(pair) => pair.sign(message),
        }
    }

    /// Whether `signature` over `message` is this key's, made as [`KeyPair::sign`] does.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Ec(pair) => pair.verifies(message, signature),
            Kind::Rsa(pair) => pair.verifies(message, signature),
        }
    }

    /// AlgorithmIdentifier of its signatures, DER (RFC 5758 §3.2, RFC 4055 §5).
    pub(crate) fn signature_algorithm(&self) -> &'static [u8] {
        match &self.0 {
            Kind::Ec(pair) if pair.curve.size == ec::P256.size => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Kind::Ec(_) => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Kind::Rsa(_) => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
        }
    }

    /// What rcgen calls its algorithm.
    pub(crate) fn rcgen_algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match &self.0 {
            Kind::Ec(pair) if pair.curve.size == ec::P256.size => &rcgen::PKCS_ECDSA_P256_SHA256,
            Kind::Ec(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
            Kind::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }

    /// The content of subjectPublicKey: an uncompressed point, or an RSAPublicKey.
    pub fn public_bits(&self) -> &[u8] {
        match &self.0 {
            Kind::Ec(pair) => &pair.point,
            Kind::Rsa(pair) => pair.public(),
        }
    }

    /// The public half as SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Ec(pair) => pair.spki(),
            Kind::Rsa(pair) => pair.spki(),
        }
    }

    /// Digest of [`KeyPair::spki`]: how keys are named in `placement.json`.
    pub fn spki_sha256(&self) -> Sha256 {
        Sha256::of(&self.spki())
    }

    /// The private key, PKCS#8 in DER.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        match &self.0 {
            Kind::Ec(pair) => pair.pkcs8(),
            Kind::Rsa(pair) => pair.pkcs8(),
        }
    }

    /// The private key, PKCS#8 in PEM: the one form that every component of Kubernetes reads for every kind.
    pub fn private_pem(&self) -> Secret {
        pem::encode_secret(pem::PRIVATE_KEY, &self.pkcs8())
    }

    /// The public half, PKIX in PEM. kube-apiserver reads no EC PKCS#8 key where it wants a public one.
    pub fn public_pem(&self) -> Secret {
        pem::encode_secret(pem::PUBLIC_KEY, &self.spki())
    }
}

/// The curve of an ECDSA algorithm.
fn curve(algorithm: Algorithm) -> Option<&'static ec::Curve> {
    match algorithm {
        Algorithm::EcdsaP256 => Some(&ec::P256),
        Algorithm::EcdsaP384 => Some(&ec::P384),
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => None,
    }
}

/// `count` new RSA keys, made on all cores: one takes a sixth of a second with 3072 bits.
pub(crate) fn generate_rsa(algorithm: Algorithm, count: usize) -> Option<Vec<KeyPair>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < count {
            made.push(rsa::Pair::generate(algorithm).map(|pair| KeyPair(Kind::Rsa(pair))));
        }
        made
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut made = work();
        for worker in workers {
            made.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made.into_iter().collect()
    })
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

#[cfg(test)]
pub(crate) mod tests;
