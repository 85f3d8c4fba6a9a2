//! [`accept`]: whether a certificate that a CA elsewhere has signed is what it was asked to be.

use super::{CaCertificate, Subject, Validity, ca};
use crate::{config::San, pki::table::Usage};
use std::net::IpAddr;
use x509_parser::{
    extensions::{ExtendedKeyUsage, GeneralName},
    oid_registry,
    prelude::{FromDer as _, ParsedExtension, X509Certificate},
};

/// Why a certificate does not do. Never tells more of it than its public fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// Not X.509, or an extension twice.
    #[error("is not an X.509 certificate")]
    Syntax,
    /// Made for another key: for the request of another generation, node or cluster.
    #[error("is for another public key than was asked for: an answer to an older request, or to another cluster's")]
    PublicKey,
    /// Somebody else's.
    #[error("was issued by `{is}`, not by `{wanted}`, whose certificate is in the secrets")]
    Issuer {
        /// Who issued it.
        is: String,
        /// Who should have.
        wanted: String,
    },
    /// Of another key of the same name.
    #[error("names another key of its issuer than the certificate in the secrets has (authorityKeyIdentifier)")]
    IssuerKey,
    /// RFC 5280 has more of them than Kubernetes takes.
    #[error(
        "is signed by an algorithm that Kubernetes or nodekiln does not take: RSA or ECDSA with SHA-256 or better is"
    )]
    Algorithm,
    /// Forged, or of another CA of the same name.
    #[error("is not signed by the key of the CA in the secrets")]
    Signature,
    /// Another identity, or more groups.
    #[error("has the subject `{is}` instead of `{wanted}`")]
    Subject {
        /// What it has.
        is: String,
        /// What it should have.
        wanted: String,
    },
    /// Nodes would not be reached under these.
    #[error("is not for {}", .0.join(", "))]
    Names(Vec<String>),
    /// More rights than its row of the table has, or fewer.
    #[error("is for {is} (extendedKeyUsage) instead of {wanted}")]
    Usage {
        /// What it has.
        is: String,
        /// What it should have.
        wanted: String,
    },
    /// TLS signs with it.
    #[error("may not sign: its keyUsage lacks digitalSignature")]
    KeyUsage,
    /// A leaf that could issue.
    #[error("is a CA's, or may sign certificates")]
    IsCa,
    /// Go refuses what it does not know.
    #[error("has a critical extension that its readers do not know: {0}")]
    Critical(String),
    /// Go refuses it.
    #[error("has a negative serial number")]
    Serial,
    /// Nobody would trust it all its life.
    #[error("is not within the life of its CA")]
    Dates,
}

/// Checks that `der` is a certificate as `subject` wants it, for the public key `spki`, signed by `issuer`. Says from when
/// until when it is good. More names than were asked for are fine: many CAs add the common name.
///
/// # Errors
/// See [`GivenError`]: the first that is found.
pub fn accept(der: &[u8], subject: &Subject<'_>, spki: &[u8], issuer: &CaCertificate) -> Result<Validity, GivenError> {
    let certificate = match X509Certificate::from_der(der) {
        Ok(([], certificate)) => certificate,
        _ => return Err(GivenError::Syntax),
    };
    if certificate.public_key().raw != spki {
        return Err(GivenError::PublicKey);
    }
    signed(&certificate, issuer)?;
    name(&certificate, subject)?;
    names(&certificate, subject.sans)?;
    usages(&certificate, subject.usage)?;
    let constraints = certificate.basic_constraints().map_err(|_| GivenError::Syntax)?;
    let usage = certificate.key_usage().map_err(|_| GivenError::Syntax)?.map(|usage| usage.value);
    if constraints.is_some_and(|constraints| constraints.value.ca) || usage.is_some_and(|usage| usage.key_cert_sign()) {
        return Err(GivenError::IsCa);
    }
    if usage.is_some_and(|usage| !usage.digital_signature()) {
        return Err(GivenError::KeyUsage);
    }
    let known = [
        oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME,
        oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS,
        oid_registry::OID_X509_EXT_KEY_USAGE,
        oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE,
    ];
    if let Some(other) = certificate.extensions().iter().find(|ext| ext.critical && !known.contains(&ext.oid)) {
        return Err(GivenError::Critical(other.oid.to_id_string()));
    }
    if certificate.raw_serial().first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(GivenError::Serial);
    }
    let validity = Validity {
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    };
    let Validity { not_before, not_after } = issuer.validity;
    if validity.not_before < not_before || validity.not_after > not_after || validity.not_before >= validity.not_after {
        return Err(GivenError::Dates);
    }
    Ok(validity)
}

/// The name, key identifier and signature of the issuer.
fn signed(certificate: &X509Certificate<'_>, issuer: &CaCertificate) -> Result<(), GivenError> {
    // Byte for byte, as Go compares them.
    if certificate.issuer().as_raw() != issuer.subject {
        return Err(GivenError::Issuer { is: certificate.issuer().to_string(), wanted: issuer.name.clone() });
    }
    let named = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    if let (Some(named), Some(own)) = (named, &issuer.key_identifier)
        && named != own
    {
        return Err(GivenError::IssuerKey);
    }
    match ca::signed_by(certificate, &issuer.spki) {
        Some(true) => Ok(()),
        Some(false) => Err(GivenError::Signature),
        None => Err(GivenError::Algorithm),
    }
}

/// O, where there is one, then CN, and nothing else: both are what RBAC goes by.
fn name(certificate: &X509Certificate<'_>, wanted: &Subject<'_>) -> Result<(), GivenError> {
    let due = || {
        let organization = wanted.organization.map(|name| (oid_registry::OID_X509_ORGANIZATION_NAME, name));
        organization.into_iter().chain([(oid_registry::OID_X509_COMMON_NAME, wanted.common_name)])
    };
    let has = certificate.subject().iter_attributes().map(|own| (own.attr_type().clone(), own.as_str().ok()));
    if has.eq(due().map(|(kind, text)| (kind, Some(text)))) {
        return Ok(());
    }
    let wanted = match wanted.organization {
        Some(organization) => format!("O={organization}, CN={}", wanted.common_name),
        None => format!("CN={}", wanted.common_name),
    };
    Err(GivenError::Subject { is: certificate.subject().to_string(), wanted })
}

fn names(certificate: &X509Certificate<'_>, wanted: &[San]) -> Result<(), GivenError> {
    let extension = certificate.subject_alternative_name().map_err(|_| GivenError::Syntax)?;
    let found = extension.as_ref().map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let has = |san: &&San| match san {
        San::Dns(name) => found.iter().any(|own| matches!(own, GeneralName::DNSName(own) if own == name)),
        San::Ip(ip) => {
            let octets = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            found.iter().any(|own| matches!(own, GeneralName::IPAddress(own) if *own == octets))
        }
    };
    let missing: Vec<String> = wanted.iter().filter(|san| !has(san)).map(San::to_string).collect();
    if missing.is_empty() { Ok(()) } else { Err(GivenError::Names(missing)) }
}

fn usages(certificate: &X509Certificate<'_>, wanted: Usage) -> Result<(), GivenError> {
    let extension = certificate.extended_key_usage().map_err(|_| GivenError::Syntax)?;
    let is = extension.map(|extension| usage_names(extension.value)).unwrap_or_default();
    let wanted = match wanted {
        Usage::Server => vec!["serverAuth"],
        Usage::Client => vec!["clientAuth"],
        Usage::Both => vec!["serverAuth", "clientAuth"],
    };
    if is == wanted {
        return Ok(());
    }
    let said = if is.is_empty() { "nothing in particular".to_owned() } else { is.join(", ") };
    Err(GivenError::Usage { is: said, wanted: wanted.join(", ") })
}

fn usage_names(usage: &ExtendedKeyUsage<'_>) -> Vec<&'static str> {
    let named = [
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.any, "anything"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
        (!usage.other.is_empty(), "something else"),
    ];
    named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}
