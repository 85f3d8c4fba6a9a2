//! What a certificate says, without what differs between any two: serial, keys, times of day.

use super::document::set;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use x509_parser::prelude::*;

/// Everything in `pem` that a verifier or a reader looks at.
pub fn summary(pem: &[u8]) -> Result<Value> {
    let (_, block) = parse_x509_pem(pem).context("reading PEM")?;
    let certificate = block.parse_x509().context("reading a certificate")?;
    let validity = certificate.validity();
    let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
    let mut value = json!({
        "subject": set(certificate.subject().iter_attributes().map(attribute)),
        "issuer": set(certificate.issuer().iter_attributes().map(attribute)),
        "version": certificate.version().to_string(),
        // Minutes before the hour are those by which a certificate is older than itself.
        "lifetime": format!("{} h {} min", lifetime / 3600, lifetime / 60 % 60),
        "signature": certificate.signature_algorithm.algorithm.to_id_string(),
        "key": certificate.public_key().algorithm.algorithm.to_id_string(),
        "keySize": certificate.public_key().parsed().map(|key| key.key_size()).unwrap_or_default(),
    });
    for extension in certificate.extensions() {
        let (name, content) = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => {
                ("basicConstraints", json!({"ca": basic.ca, "pathLen": basic.path_len_constraint}))
            }
            ParsedExtension::KeyUsage(usage) => ("keyUsage", set(usage.to_string().split(", "))),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let named = [("serverAuth", usage.server_auth), ("clientAuth", usage.client_auth), ("any", usage.any)];
                let others = usage.other.iter().map(|id| id.to_id_string());
                let named = named.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name).to_owned());
                ("extendedKeyUsage", set(named.chain(others)))
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                ("names", set(names.general_names.iter().map(name).collect::<Result<Vec<_>>>()?))
            }
            ParsedExtension::SubjectKeyIdentifier(_) => ("subjectKeyIdentifier", json!("present")),
            ParsedExtension::AuthorityKeyIdentifier(_) => ("authorityKeyIdentifier", json!("present")),
            _ => bail!("an extension that nobody expects: {}", extension.oid),
        };
        value[name] = json!({"value": content, "critical": extension.critical});
    }
    Ok(value)
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.as_str().unwrap_or("?");
    match attribute.attr_type() {
        id if *id == oid_registry::OID_X509_COMMON_NAME => format!("CN={value}"),
        id if *id == oid_registry::OID_X509_ORGANIZATION_NAME => format!("O={value}"),
        id => format!("{id}={value}"),
    }
}

fn name(name: &GeneralName<'_>) -> Result<String> {
    Ok(match name {
        GeneralName::DNSName(name) => format!("DNS {name}"),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => format!("IP {}", std::net::Ipv4Addr::from(<[u8; 4]>::try_from(*bytes)?)),
            16 => format!("IP {}", std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes)?)),
            length => bail!("an address of {length} bytes"),
        },
        other => bail!("a name that nobody expects: {other}"),
    })
}
