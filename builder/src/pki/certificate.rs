//! X.509 certificates: rcgen writes what is to be signed, for leaves once for all of a kind (`frame`); we set the serial
//! number and sign.
//!
//! rcgen fills in defaults that no certificate of ours may have (validity 1975 to 4096, a placeholder subject, a serial
//! number that repeats with the key, no authority key identifier): every field is set here, and tests read all of them
//! back. It never sees a private key.

use crate::{
    config::San,
    pki::{
        key::KeyPair,
        table::{Ca, Usage},
    },
};
use der::{Tag, Tagged as _};
use frame::Frame;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use sha2::Digest as _;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

mod ca;
mod frame;
mod given;
mod request;
mod tlv;

pub(crate) use ca::is_issuer;
pub use ca::{CaCertificate, CaDoubt, CaError};
pub use given::{GivenError, accept};
pub use request::request;

/// How long before its start a certificate is valid already: clocks may be wrong by as much.
pub const BACKDATE: i64 = 24 * 60 * 60;

/// A span of time, seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub not_before: i64,
    /// notAfter.
    pub not_after: i64,
}

impl Validity {
    /// `lifetime` seconds from `start`, and [`BACKDATE`] before it. `None` past what a certificate can say (the year 9999)
    /// or for an empty span.
    pub fn starting(start: i64, lifetime: i64) -> Option<Self> {
        let (not_before, not_after) = (start.checked_sub(BACKDATE)?, start.checked_add(lifetime)?);
        let year = |time| OffsetDateTime::from_unix_timestamp(time).ok().map(OffsetDateTime::year);
        (not_before < not_after && year(not_before)? >= 1950 && year(not_after)? <= 9999)
            .then_some(Self { not_before, not_after })
    }
}

/// The span of a certificate; `None` where it is none.
pub fn validity(der: &[u8]) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
}

/// What a leaf certificate says.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// CN.
    pub common_name: &'a str,
    /// O.
    pub organization: Option<&'a str>,
    /// Alternative names, in order.
    pub sans: &'a [San],
    /// Extended key usage.
    pub usage: Usage,
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that is not ASCII.
    #[error("the name `{0}` cannot stand in a certificate: it is not ASCII")]
    Name(String),
    /// rcgen's refusal.
    #[error("encoding a certificate")]
    Encode(#[source] rcgen::Error),
    /// The draft says that another algorithm signs it: a fault of the encoder.
    #[error("a certificate came out with another signature algorithm than its CA's key has")]
    Algorithm,
    /// The draft holds another public key: a fault of the encoder.
    #[error("a certificate came out with another public key than it was made for")]
    PublicKey,
    /// The draft has other parts than were asked for: a fault of the encoder.
    #[error("a certificate came out with other parts than it was made of")]
    Frame,
}

/// The public half, which is all that rcgen needs. It is asked to "sign" and gives nothing: `finish` signs.
struct Public {
    bits: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl Public {
    fn of(key: &KeyPair) -> Self {
        Self { bits: key.public_bits().to_vec(), algorithm: key.rcgen_algorithm() }
    }
}

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Public {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

/// A CA that signs.
pub struct Signer {
    issuer: Issuer<'static, Public>,
    key: KeyPair,
    certificate: CaCertificate,
    /// By kind: there are few, for an authority gives all leaves of a CA one validity.
    frames: Mutex<Vec<(Kind, Arc<Frame>)>>,
}

/// What leaves have to have in common for one frame to be theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    usage: Usage,
    is_rsa: bool,
    validity: Validity,
}

impl Signer {
    /// Opens a CA: `der` must be a CA certificate of `key`.
    ///
    /// # Errors
    /// See [`CaError`].
    pub fn open(der: &[u8], key: KeyPair) -> Result<Self, CaError> {
        let certificate = CaCertificate::parse(der)?;
        // rcgen would take any key here.
        if certificate.spki != key.spki() {
            return Err(CaError::OtherKey);
        }
        // rcgen keeps names in a map: repeated attributes collapse, and so do their encodings. It is given none; frames have
        // the CA's name in them, byte for byte.
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.key_identifier_method =
            KeyIdMethod::PreSpecified(certificate.key_identifier.clone().unwrap_or_default());
        let issuer = Issuer::new(params, Public::of(&key));
        let signer = Self { issuer, key, certificate, frames: Mutex::default() };
        signer.probe()?;
        Ok(signer)
    }

    /// Issues a leaf and checks that it names its issuer as the CA names itself.
    fn probe(&self) -> Result<(), CaError> {
        let probe = Subject { common_name: "probe", organization: None, sans: &[], usage: Usage::Client };
        let validity = self.certificate.validity;
        let der = self.issue(&probe, &self.key, validity).map_err(|_| CaError::Subject)?;
        match X509Certificate::from_der(&der) {
            Ok((_, leaf)) if leaf.issuer().as_raw() == self.certificate.subject => Ok(()),
            _ => Err(CaError::Subject),
        }
    }

    /// Issues a leaf for the public half of `key`, DER.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn issue(&self, subject: &Subject<'_>, key: &KeyPair, validity: Validity) -> Result<Vec<u8>, CertificateError> {
        let frame = self.frame(key, Kind { usage: subject.usage, is_rsa: key.is_rsa(), validity })?;
        Ok(sign(&frame.fill(subject, &key.spki())?, &self.key))
    }

    /// What the leaves of this kind have in common. Any key that is of it does to make it.
    fn frame(&self, key: &KeyPair, kind: Kind) -> Result<Arc<Frame>, CertificateError> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == kind) {
            return Ok(Arc::clone(frame));
        }
        let some = Subject { common_name: "some", organization: None, sans: frame::SOME_NAME, usage: kind.usage };
        let draft = self.draft(&some, key, kind.validity)?;
        let frame = Arc::new(Frame::cut(&draft, &self.certificate.subject, &self.key)?);
        frames.push((kind, Arc::clone(&frame)));
        Ok(frame)
    }

    /// What rcgen makes of a leaf: with the serial number 0, and nobody's name as the issuer's.
    fn draft(&self, subject: &Subject<'_>, key: &KeyPair, validity: Validity) -> Result<Vec<u8>, CertificateError> {
        let mut params = leaf_params(subject, key, validity)?;
        // Without the CA's there is nothing to name, and a guess would mislead verifiers.
        params.use_authority_key_identifier_extension = self.certificate.key_identifier.is_some();
        let draft = params.signed_by(&Public::of(key), &self.issuer).map_err(CertificateError::Encode)?;
        Ok(draft.der().to_vec())
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The CA's own validity.
    pub fn validity(&self) -> Validity {
        self.certificate.validity
    }

    /// The CA's key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }
}

/// A CA's own certificate, as kubeadm's but for keyEncipherment, DER.
///
/// # Errors
/// None in practice: the names are constants.
pub fn self_signed(ca: Ca, key: &KeyPair, validity: Validity) -> Result<Vec<u8>, CertificateError> {
    let mut params = params(ca.common_name(), None, validity)?;
    let name = ca.common_name().try_into().map_err(|_| CertificateError::Name(ca.common_name().to_owned()))?;
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let draft = params.self_signed(&Public::of(key)).map_err(CertificateError::Encode)?;
    finish(draft.der(), key)
}

/// What all leaves have, whoever signs them.
fn leaf_params(
    subject: &Subject<'_>,
    key: &KeyPair,
    validity: Validity,
) -> Result<CertificateParams, CertificateError> {
    let mut params = params(subject.common_name, subject.organization, validity)?;
    for san in subject.sans {
        params.subject_alt_names.push(match san {
            San::Ip(ip) => SanType::IpAddress(*ip),
            San::Dns(name) => {
                let ascii = name.as_str().try_into().map_err(|_| CertificateError::Name(name.clone()))?;
                SanType::DnsName(ascii)
            }
        });
    }
    // Critical CA:FALSE and a subject key identifier; `NoCa` would write neither.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // As kubeadm, which adds it to EC keys too, where it means nothing (RFC 8813 §3).
    if key.is_rsa() {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = match subject.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    Ok(params)
}

/// What all certificates have. The serial number is 0 until `finish`.
fn params(
    common_name: &str,
    organization: Option<&str>,
    validity: Validity,
) -> Result<CertificateParams, CertificateError> {
    let time = |seconds| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| CertificateError::Encode(rcgen::Error::Time))
    };
    let mut name = DistinguishedName::new();
    // Go's order, which kubeadm's certificates have.
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.not_before = time(validity.not_before)?;
    params.not_after = time(validity.not_after)?;
    params.serial_number = Some(SerialNumber::from(0));
    params.distinguished_name = name;
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

/// How a TBSCertificate begins: version 3 and the serial number 0.
const START: &[u8] = b"\xa0\x03\x02\x01\x02\x02\x01\x00";

/// The serial number over a TBSCertificate without its first two fields: see [`sign`].
fn serial(rest: &[u8]) -> Vec<u8> {
    let mut zero = Vec::with_capacity(START.len() + rest.len() + 8);
    tlv::nest(Tag::Sequence, &mut zero, |out| {
        out.extend_from_slice(START);
        out.extend_from_slice(rest);
    });
    let digest = sha2::Sha256::digest(&zero);
    let mut serial = digest[..20].to_vec();
    serial[0] &= 0x7f;
    // DER integers are minimal.
    let zeros = serial.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
    serial.split_off(zeros)
}

/// Whether nodekiln made the certificate: nobody else's serial number follows from the rest of it.
pub fn is_made_here(der: &[u8]) -> bool {
    let number = || {
        let (certificate, _) = tlv::sequence(der)?;
        let (content, _) = tlv::sequence(certificate)?;
        tlv::element(content.strip_prefix(&START[..5])?)
    };
    number().is_some_and(|(number, rest)| number.tag() == Tag::Integer && number.value() == serial(rest))
}

/// What follows serial number and algorithm in a draft that `ca` is to sign.
fn after_algorithm<'a>(draft: &'a [u8], ca: &KeyPair) -> Result<&'a [u8], CertificateError> {
    let (certificate, _) = tlv::sequence(draft).expect("rcgen writes a SEQUENCE");
    let (content, _) = tlv::sequence(certificate).expect("which starts with a SEQUENCE");
    let rest = content.strip_prefix(START).expect("of version 3 and the serial number that was set");
    rest.strip_prefix(ca.signature_algorithm()).ok_or(CertificateError::Algorithm)
}

/// Gives the draft of a certificate that `key` itself signs its serial number and signature.
fn finish(draft: &[u8], key: &KeyPair) -> Result<Vec<u8>, CertificateError> {
    let rest = after_algorithm(draft, key)?;
    // rcgen takes the algorithm of a request's signature for that of its key; nothing of the kind happens to ours.
    if memchr::memmem::find(rest, &key.spki()).is_none() {
        return Err(CertificateError::PublicKey);
    }
    Ok(sign(&[key.signature_algorithm(), rest].concat(), key))
}

/// The certificate whose TBSCertificate ends with `rest`: all of it but the version and the serial number, which it is
/// given here.
///
/// The serial number is the first 20 bytes of SHA-256 over the TBSCertificate that has serial number 0, without the top
/// bit: 159 bits that differ wherever anything else does, and positive (RFC 5280 §4.1.2.2).
fn sign(rest: &[u8], ca: &KeyPair) -> Vec<u8> {
    let mut tbs = Vec::with_capacity(rest.len() + 32);
    tlv::nest(Tag::Sequence, &mut tbs, |out| {
        out.extend_from_slice(&START[..5]);
        tlv::put(Tag::Integer, &serial(rest), out);
        out.extend_from_slice(rest);
    });
    let signature = ca.sign(&tbs);
    let mut out = Vec::with_capacity(tbs.len() + signature.len() + 32);
    tlv::nest(Tag::Sequence, &mut out, |out| {
        out.extend_from_slice(&tbs);
        out.extend_from_slice(ca.signature_algorithm());
        tlv::nest(Tag::BitString, out, |out| {
            // No bit is left over.
            out.push(0);
            out.extend_from_slice(&signature);
        });
    });
    out
}

#[cfg(test)]
pub(crate) mod tests;
