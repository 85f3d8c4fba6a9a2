//! Certificates as they are found in files: read back by another parser than the one that wrote them.

use crate::{
    draft::Row,
    pki::{certificate::is_made_here, table},
};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use nodekiln_plan::Sha256;
use serde::Serialize;
use std::net::IpAddr;
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_NIST_EC_P384, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
    },
    prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Name},
};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Where it was found.
    pub path: String,
    /// What it is: a CA's name, or a row of the table of certificates. `None`: none of nodekiln's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Subject alternative names.
    pub sans: Vec<String>,
    /// Extended key usage: `server`, `client`, or an OID.
    pub usages: Vec<String>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    /// Digest of the whole certificate.
    pub sha256: Sha256,
    /// Digest of its public key (SubjectPublicKeyInfo).
    pub spki: Sha256,
    #[serde(skip)]
    der: Vec<u8>,
}

/// Why a certificate does not vouch for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not the issuer that the leaf names.
    #[error("names another issuer")]
    Issuer,
    /// No CA, or one that may not sign.
    #[error("its issuer is no CA")]
    NotCa,
    /// Another key identifier than the issuer's.
    #[error("its authority key identifier is not the issuer's")]
    KeyIdentifier,
    /// The span of the leaf is not within the issuer's.
    #[error("is valid outside of its issuer's life")]
    Dates,
    /// An algorithm that is not used here.
    #[error("is signed by an algorithm that nodekiln does not use")]
    Algorithm,
    /// The signature.
    #[error("its signature is not its issuer's")]
    Signature,
    /// Not to be read.
    #[error("cannot be read")]
    Syntax,
}

impl Certificate {
    /// Reads one in DER.
    pub fn read(path: &str, der: &[u8]) -> Option<Self> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut sans = Vec::new();
        let mut usages = Vec::new();
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    sans.extend(names.general_names.iter().map(general_name));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    usages.extend(usage.server_auth.then(|| "server".to_owned()));
                    usages.extend(usage.client_auth.then(|| "client".to_owned()));
                    usages.extend(usage.other.iter().map(ToString::to_string));
                }
                _ => {}
            }
        }
        Some(Self {
            path: path.to_owned(),
            name: None,
            subject: name(x509.subject()),
            issuer: name(x509.issuer()),
            sans,
            usages,
            is_ca: x509.is_ca(),
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
            sha256: Sha256::of(der),
            spki: Sha256::of(x509.public_key().raw),
            der: der.to_vec(),
        })
    }

    /// Whether a root's own signature is good; one that is no root has none. Nobody asks for the signature of what is
    /// trusted already (RFC 5280 §6.1, and Go's verifiers), so one by an algorithm that is not known here is taken: it
    /// came in as it is.
    ///
    /// # Errors
    /// A signature that is not its own key's.
    pub fn verify_root(&self) -> Result<(), ChainError> {
        let (_, root) = X509Certificate::from_der(&self.der).map_err(|_| ChainError::Syntax)?;
        if root.issuer().as_raw() != root.subject().as_raw() {
            return Ok(());
        }
        match signed_by(&root, &root) {
            Err(ChainError::Algorithm) => Ok(()),
            checked => checked,
        }
    }

    /// The subject's common name.
    pub fn common_name(&self) -> Option<&str> {
        self.subject.split(", ").find_map(|part| part.strip_prefix("CN="))
    }

    /// Whether `issuer` signed it, and may: name, basic constraints, key identifiers, dates and signature (RFC 5280,
    /// section 6.1, as far as chains of two need it).
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn verify(&self, issuer: &Certificate) -> Result<(), ChainError> {
        let parse = |der| X509Certificate::from_der(der).map(|(_, x509)| x509).map_err(|_| ChainError::Syntax);
        let (leaf, ca) = (parse(&self.der)?, parse(&issuer.der)?);
        if leaf.issuer().as_raw() != ca.subject().as_raw() {
            return Err(ChainError::Issuer);
        }
        let signs = ca.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !ca.is_ca() || !signs {
            return Err(ChainError::NotCa);
        }
        let own = ca.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
        let named = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        });
        if let (Some(own), Some(named)) = (own, named)
            && own != named
        {
            return Err(ChainError::KeyIdentifier);
        }
        if self.not_before < issuer.not_before || self.not_after > issuer.not_after {
            return Err(ChainError::Dates);
        }
        signed_by(&leaf, &ca)
    }

    /// Whether nodekiln signed it: a CA elsewhere gives it a life of its own, and perhaps more names.
    pub fn is_made_here(&self) -> bool {
        is_made_here(&self.der)
    }

    /// The row of the table of certificates that this leaf of `issuer` is, for `node` where it is one node's. Members'
    /// server and peer certificates say the same: where it lies tells them apart.
    pub fn row(&self, issuer: table::Ca, node: &str) -> Option<&'static table::Spec> {
        let usage = match self.usages.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["server"] => table::Usage::Server,
            ["client"] => table::Usage::Client,
            ["server", "client"] => table::Usage::Both,
            _ => return None,
        };
        let mut rows = table::TABLE.iter().filter(|spec| {
            let common_name = match spec.common_name {
                table::CommonName::Fixed(name) => name.to_owned(),
                table::CommonName::Node(prefix) => format!("{prefix}{node}"),
            };
            let subject = match spec.organization {
                Some(organization) => format!("O={organization}, CN={common_name}"),
                None => format!("CN={common_name}"),
            };
            spec.issuer == issuer && spec.usage == usage && subject == self.subject
        });
        let first = rows.next()?;
        let is_peer = self.path.contains("peer");
        if first.row == Row::EtcdServer && is_peer { rows.next() } else { Some(first) }
    }
}

/// Attributes of a name, in order.
fn name(name: &X509Name<'_>) -> String {
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let value = attribute.as_str().map_or_else(|_| hex::encode(attribute.as_slice()), str::to_owned);
        let kind = x509_parser::objects::oid2abbrev(attribute.attr_type(), x509_parser::objects::oid_registry());
        format!("{}={value}", kind.map_or_else(|_| attribute.attr_type().to_string(), str::to_owned))
    };
    name.iter_attributes().map(text).collect::<Vec<_>>().join(", ")
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => {
            let v4: Result<[u8; 4], _> = (*bytes).try_into();
            let v6: Result<[u8; 16], _> = (*bytes).try_into();
            match (v4, v6) {
                (Ok(v4), _) => IpAddr::from(v4).to_string(),
                (_, Ok(v6)) => IpAddr::from(v6).to_string(),
                _ => hex::encode(bytes),
            }
        }
        other => other.to_string(),
    }
}

/// Whether the leaf's signature is that of the issuer's key.
fn signed_by(leaf: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> Result<(), ChainError> {
    let algorithm = algorithm(leaf, ca).ok_or(ChainError::Algorithm)?;
    let key = UnparsedPublicKey::new(algorithm, &ca.public_key().subject_public_key.data);
    let signed = leaf.tbs_certificate.as_ref();
    key.verify(signed, &leaf.signature_value.data).map_err(|_| ChainError::Signature)
}

/// How the leaf's signature is checked with the issuer's key.
fn algorithm(leaf: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let signed = &leaf.signature_algorithm.algorithm;
    let curve = ca.public_key().algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let is = |oid: &x509_parser::oid_registry::Oid<'_>| signed == oid;
    let on = |oid: &x509_parser::oid_registry::Oid<'_>| curve.as_ref() == Some(oid);
    if is(&OID_PKCS1_SHA256WITHRSA) {
        Some(&signature::RSA_PKCS1_2048_8192_SHA256)
    } else if is(&OID_PKCS1_SHA384WITHRSA) {
        Some(&signature::RSA_PKCS1_2048_8192_SHA384)
    } else if is(&OID_PKCS1_SHA512WITHRSA) {
        Some(&signature::RSA_PKCS1_2048_8192_SHA512)
    } else if is(&OID_SIG_ECDSA_WITH_SHA256) && on(&OID_EC_P256) {
        Some(&signature::ECDSA_P256_SHA256_ASN1)
    } else if is(&OID_SIG_ECDSA_WITH_SHA384) && on(&OID_EC_P256) {
        Some(&signature::ECDSA_P256_SHA384_ASN1)
    } else if is(&OID_SIG_ECDSA_WITH_SHA256) && on(&OID_NIST_EC_P384) {
        Some(&signature::ECDSA_P384_SHA256_ASN1)
    } else if is(&OID_SIG_ECDSA_WITH_SHA384) && on(&OID_NIST_EC_P384) {
        Some(&signature::ECDSA_P384_SHA384_ASN1)
    } else {
        None
    }
}
