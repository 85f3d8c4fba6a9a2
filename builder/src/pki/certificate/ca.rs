//! [`CaCertificate`]: a certificate, perhaps made by others, that is to be trusted or to sign.

use super::{Validity, tlv};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::{Tag, Tagged as _};
use x509_parser::{
    prelude::{FromDer as _, ParsedExtension, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

/// Why a certificate is no CA that we can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// Not X.509.
    #[error("is not an X.509 certificate")]
    Syntax,
    /// Not the key's.
    #[error("does not belong to the key beside it: their public keys differ")]
    OtherKey,
    /// No CA.
    #[error("is not a CA's: basicConstraints must say CA:TRUE")]
    NotCa,
    /// May not sign.
    #[error("may not sign certificates: keyUsage lacks keyCertSign")]
    KeyUsage,
    /// All three CAs sign clients, and Go holds the whole chain to its purposes.
    #[error("is limited to other purposes than TLS clients' by its extendedKeyUsage")]
    Purpose,
    /// Go 1.23 and later.
    #[error("has a negative serial number, which Go refuses to read")]
    Serial,
    /// Nobody could name it as an issuer (RFC 5280 §4.1.2.4).
    #[error("has an empty subject, so that no certificate can name it as its issuer")]
    NoName,
    /// Damaged or forged.
    #[error("names itself as its issuer, but is not signed by its own key")]
    Forged,
    /// A root with another name in it, which would pass for an intermediate CA.
    #[error("is damaged: its own key signed it with one name as subject and issuer, but they differ")]
    Damaged,
    /// RFC 5280 §4.1.1.2.
    #[error("names two different algorithms for its signature, which Go refuses to read")]
    TwoAlgorithms,
    /// The encoder does not do what we think it does.
    #[error("has a subject that would not come out the same in the certificates it issues")]
    Subject,
}

/// What is not as RFC 5280 wants it, although Kubernetes takes it: `openssl verify -x509_strict` refuses such a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaDoubt {
    /// RFC 5280 §4.2.1.9.
    #[error("its basicConstraints are not critical")]
    NotCritical,
    /// RFC 5280 §4.2.1.3.
    #[error("it has no keyUsage")]
    NoKeyUsage,
    /// RFC 5280 §4.2.1.2.
    #[error("it has no subjectKeyIdentifier, so its certificates do not say which key signed them")]
    NoKeyIdentifier,
    /// Go holds the whole chain to its purposes.
    #[error("it is limited to clients (extendedKeyUsage): only the front proxy's CA may be")]
    ClientsOnly,
    /// Go's verifiers take any trusted certificate as an end of the chain (RFC 5280 §6.1 calls it the trust anchor). With
    /// the issuer in the bundle, its other CAs would be trusted too.
    #[error(
        "it is an intermediate CA: it is trusted alone, without its issuer, as Kubernetes and etcd do (`openssl verify` \
         needs -partial_chain)"
    )]
    Intermediate,
}

/// A CA's certificate, as far as it matters to those who trust it or sign with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// The subject's name, DER: byte for byte what its leaves have to say of their issuer.
    pub subject: Vec<u8>,
    /// The same for people (RFC 4514).
    pub name: String,
    /// The issuer's name, DER.
    pub issuer: Vec<u8>,
    /// subjectKeyIdentifier.
    pub key_identifier: Option<Vec<u8>>,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// Its span.
    pub validity: Validity,
    /// What is not as it should be.
    pub doubts: Vec<CaDoubt>,
}

impl CaCertificate {
    /// Reads a certificate, which must be a CA's.
    ///
    /// # Errors
    /// See [`CaError`].
    pub fn parse(der: &[u8]) -> Result<Self, CaError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CaError::Syntax)?;
        if !rest.is_empty() {
            return Err(CaError::Syntax);
        }
        let parts = Parts::of(der).ok_or(CaError::Syntax)?;
        if parts.algorithms[0] != parts.algorithms[1] {
            return Err(CaError::TwoAlgorithms);
        }
        let mut doubts = Vec::new();
        match certificate.basic_constraints() {
            Ok(Some(constraints)) if constraints.value.ca => {
                if !constraints.critical {
                    doubts.push(CaDoubt::NotCritical);
                }
            }
            _ => return Err(CaError::NotCa),
        }
        match certificate.key_usage() {
            Ok(Some(usage)) if usage.value.key_cert_sign() => {}
            // As OpenSSL's `req -x509` leaves it by default; kubeadm and Go take it for "all".
            Ok(None) => doubts.push(CaDoubt::NoKeyUsage),
            _ => return Err(CaError::KeyUsage),
        }
        match certificate.extended_key_usage() {
            Ok(Some(usage)) if !usage.value.any && !usage.value.client_auth => return Err(CaError::Purpose),
            Ok(Some(usage)) if !usage.value.any && !usage.value.server_auth => doubts.push(CaDoubt::ClientsOnly),
            Ok(_) => {}
            Err(_) => return Err(CaError::Syntax),
        }
        if certificate.raw_serial().first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(CaError::Serial);
        }
        if certificate.subject().iter_attributes().next().is_none() {
            return Err(CaError::NoName);
        }
        let key_identifier = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        if key_identifier.is_none() {
            doubts.push(CaDoubt::NoKeyIdentifier);
        }
        if parts.issuer != parts.subject {
            if parts.was_root(&certificate) {
                return Err(CaError::Damaged);
            }
            doubts.push(CaDoubt::Intermediate);
        } else if signed_itself(&certificate) == Some(false) {
            return Err(CaError::Forged);
        }
        Ok(Self {
            subject: parts.subject.to_vec(),
            name: certificate.subject().to_string(),
            issuer: parts.issuer.to_vec(),
            key_identifier,
            spki: certificate.public_key().raw.to_vec(),
            validity: Validity {
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            },
            doubts,
        })
    }

    /// Whether it names another as its issuer. One that does not has signed itself.
    pub(crate) fn is_intermediate(&self) -> bool {
        self.issuer != self.subject
    }
}

/// Whether the CA certificate `issuer` issued the CA certificate `der`. Where the algorithm of the signature is not known
/// here, names and key identifiers tell.
pub(crate) fn is_issuer(issuer: &[u8], der: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) = (X509Certificate::from_der(issuer), X509Certificate::from_der(der))
    else {
        return false;
    };
    if let Some(answer) = verified(&certificate, issuer.public_key(), Sha1::Taken) {
        return answer;
    }
    let own = issuer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    let named = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let other_key = own.zip(named).is_some_and(|(own, named)| own != named);
    certificate.issuer().as_raw() == issuer.subject().as_raw() && !other_key
}

/// Whether the certificate's signature is its own key's; `None` where the algorithm is not known here. That is no fault:
/// nobody verifies the signature of what is trusted already (RFC 5280 §6.1).
fn signed_itself(certificate: &X509Certificate<'_>) -> Option<bool> {
    verified(certificate, certificate.public_key(), Sha1::Taken)
}

/// A certificate's parts, DER.
struct Parts<'a> {
    /// What is signed.
    tbs: &'a [u8],
    /// How it is signed: as it says itself, and as is said behind it.
    algorithms: [&'a [u8]; 2],
    /// Its names.
    issuer: &'a [u8],
    subject: &'a [u8],
    /// How many bytes of `tbs` follow each.
    after_issuer: usize,
    after_subject: usize,
}

impl<'a> Parts<'a> {
    /// `None` where the outer form is not what Go reads, which is stricter than the parser here.
    fn of(der: &'a [u8]) -> Option<Self> {
        let (content, _) = tlv::sequence(der)?;
        let (tbs, rest) = tlv::split(content)?;
        let (outer, rest) = tlv::split(rest)?;
        bytes_alone(rest)?;
        // Before the serial number stands the version, unless it is the first.
        let (first, rest) = tlv::element(tlv::sequence(tbs)?.0)?;
        let (_, rest) = if first.tag() == Tag::Integer { (first, rest) } else { tlv::element(rest)? };
        let (inner, rest) = tlv::split(rest)?;
        let (issuer, rest) = tlv::split(rest)?;
        let after_issuer = rest.len();
        let (_validity, rest) = tlv::split(rest)?;
        let (subject, rest) = tlv::split(rest)?;
        let (_, key) = tlv::split(tlv::sequence(rest)?.0)?;
        bytes_alone(key)?;
        Some(Self { tbs, algorithms: [inner, outer], issuer, subject, after_issuer, after_subject: rest.len() })
    }

    /// Whether this, which names another as its issuer, is a root that had one of its names changed: with the other one in
    /// both places its own key's signature is good. Such a thing does not come about otherwise.
    fn was_root(&self, certificate: &X509Certificate<'_>) -> bool {
        let Self { tbs, issuer, subject, .. } = *self;
        let places = [(self.after_issuer, subject), (self.after_subject, issuer)];
        issuer.len() == subject.len()
            && places.into_iter().any(|(after, name)| {
                let end = tbs.len() - after;
                let mut whole = tbs.to_vec();
                whole[end - name.len()..end].copy_from_slice(name);
                signature_fits(certificate, &whole, certificate.public_key(), Sha1::Taken) == Some(true)
            })
    }
}

/// A BIT STRING of whole bytes, as keys and signatures are, and nothing behind it.
fn bytes_alone(text: &[u8]) -> Option<()> {
    let (bits, rest) = tlv::element(text)?;
    (bits.tag() == Tag::BitString && bits.value().first() == Some(&0) && rest.is_empty()).then_some(())
}

/// Whether the certificate's signature is that of the key `spki`, DER; `None` where the algorithm is not known here, or is
/// one that Go refuses.
pub(super) fn signed_by(certificate: &X509Certificate<'_>, spki: &[u8]) -> Option<bool> {
    let (_, key) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    verified(certificate, &key, Sha1::Refused)
}

/// Whether SHA-1 counts: what is trusted already needs no signature at all, what is not needs a good one.
#[derive(PartialEq)]
enum Sha1 {
    Taken,
    Refused,
}

fn verified(certificate: &X509Certificate<'_>, key: &SubjectPublicKeyInfo<'_>, sha1: Sha1) -> Option<bool> {
    signature_fits(certificate, certificate.tbs_certificate.as_ref(), key, sha1)
}

/// The same with `tbs` as what is signed.
fn signature_fits(
    certificate: &X509Certificate<'_>,
    tbs: &[u8],
    key: &SubjectPublicKeyInfo<'_>,
    sha1: Sha1,
) -> Option<bool> {
    let bits = key.subject_public_key.data.as_ref();
    // Any hash may go with any curve: OpenSSL signs by SHA-256 with P-384 too.
    let algorithm: &'static dyn VerificationAlgorithm =
        match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.5" if sha1 == Sha1::Taken => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
            "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
            "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
            "1.2.840.10045.4.3.2" if bits.len() == 65 => &signature::ECDSA_P256_SHA256_ASN1,
            "1.2.840.10045.4.3.3" if bits.len() == 65 => &signature::ECDSA_P256_SHA384_ASN1,
            "1.2.840.10045.4.3.2" if bits.len() == 97 => &signature::ECDSA_P384_SHA256_ASN1,
            "1.2.840.10045.4.3.3" if bits.len() == 97 => &signature::ECDSA_P384_SHA384_ASN1,
            _ => return None,
        };
    let key = UnparsedPublicKey::new(algorithm, bits);
    Some(key.verify(tbs, certificate.signature_value.data.as_ref()).is_ok())
}
