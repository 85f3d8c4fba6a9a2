//! What of keys and certificates a file holds. Private halves are told by the digest of their public ones.

use super::certificate::Certificate;
use crate::pki::scan::{self, Found};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{Secret, Sha256};
use serde::Serialize;
use serde_json::Value;
use x509_parser::pem::Pem;

/// All of it in one file.
#[derive(Debug, Default)]
pub struct Material {
    /// Certificates, in order.
    pub certificates: Vec<Certificate>,
    /// Digests of the public halves of private keys.
    pub private_keys: Vec<Sha256>,
    /// Private keys that are encrypted, damaged or of an unknown kind.
    pub unreadable_keys: usize,
    /// Digests of public keys that stand alone.
    pub public_keys: Vec<Sha256>,
    /// Keys for encryption at rest.
    pub encryption_keys: Vec<Secret>,
    /// Secret halves of bootstrap tokens that it authenticates with.
    pub tokens: Vec<Secret>,
    /// The kubeconfig that it is.
    pub kubeconfig: Option<Kubeconfig>,
}

/// Whom a kubeconfig makes its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubeconfig {
    /// Where.
    pub path: String,
    /// The API servers of its clusters.
    pub servers: Vec<String>,
    /// Names of its users.
    pub users: Vec<String>,
    /// How they show who they are.
    pub credentials: Vec<Credential>,
}

/// How a user of a kubeconfig shows who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Credential {
    /// A certificate in the file, by its subject.
    Certificate(String),
    /// A certificate in another file.
    File(String),
    /// A bootstrap token, by its public half.
    Token(String),
    /// Nothing that is known here.
    Other,
}

/// What `bytes`, found at `path`, hold.
pub fn of_file(path: &str, bytes: &[u8]) -> Material {
    let mut material = Material::default();
    // A program that reads keys holds the words that begin one.
    if bytes.starts_with(b"\x7fELF") {
        return material;
    }
    for found in scan::private_keys(bytes) {
        match found {
            Found::Key(spki) => material.private_keys.push(spki),
            Found::Unreadable => material.unreadable_keys += 1,
        }
    }
    pem(path, bytes, &mut material);
    if let Some(value) = yaml(bytes) {
        match value["kind"].as_str() {
            Some("Config") => kubeconfig(path, &value, &mut material),
            Some("EncryptionConfiguration") => encryption(&value, &mut material),
            _ => {}
        }
    }
    material
}

fn pem(path: &str, bytes: &[u8], material: &mut Material) {
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return;
    }
    for block in Pem::iter_from_buffer(bytes).flatten() {
        match block.label.as_str() {
            "CERTIFICATE" => material.certificates.extend(Certificate::read(path, &block.contents)),
            "PUBLIC KEY" => material.public_keys.push(Sha256::of(&block.contents)),
            _ => {}
        }
    }
}

/// A small document of YAML or JSON with a kind.
fn yaml(bytes: &[u8]) -> Option<Value> {
    const LARGEST: usize = 1 << 20;
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() < LARGEST && text.contains("kind"))?;
    let value: Value = serde_saphyr::from_str(text).ok()?;
    value.is_object().then_some(value)
}

fn kubeconfig(path: &str, value: &Value, material: &mut Material) {
    let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    let decoded = |value: &Value| value.as_str().and_then(|text| STANDARD.decode(text).ok());
    let mut config = Kubeconfig { path: path.to_owned(), servers: vec![], users: vec![], credentials: vec![] };
    for entry in list("clusters") {
        config.servers.extend(entry["cluster"]["server"].as_str().map(super::report::without_secrets));
        if let Some(bundle) = decoded(&entry["cluster"]["certificate-authority-data"]) {
            pem(path, &bundle, material);
        }
    }
    for entry in list("users") {
        let user = &entry["user"];
        config.users.extend(entry["name"].as_str().map(str::to_owned));
        let known = material.certificates.len();
        if let Some(certificate) = decoded(&user["client-certificate-data"]) {
            pem(path, &certificate, material);
        }
        config.credentials.push(
            match (material.certificates.get(known), &user["client-certificate"], &user["token"]) {
                (Some(certificate), ..) => Credential::Certificate(certificate.subject.clone()),
                (_, Value::String(file), _) => Credential::File(file.clone()),
                (_, _, Value::String(token)) => match token.split_once('.') {
                    Some((id, secret)) if id.len() == 6 => {
                        material.tokens.push(Secret::from(secret.to_owned()));
                        Credential::Token(id.to_owned())
                    }
                    _ => Credential::Other,
                },
                _ => Credential::Other,
            },
        );
    }
    material.kubeconfig = Some(config);
}

/// Keys of an EncryptionConfiguration (apiserver.config.k8s.io).
fn encryption(value: &Value, material: &mut Material) {
    for key in encryption_keys(value) {
        let secret = key["secret"].as_str().and_then(|text| STANDARD.decode(text).ok());
        material.encryption_keys.extend(secret.map(Secret::new));
    }
}

fn encryption_keys(value: &Value) -> impl Iterator<Item = &Value> {
    let providers = value["resources"].as_array().into_iter().flatten().flat_map(|r| r["providers"].as_array());
    let providers = providers.flatten().filter_map(Value::as_object).flatten();
    providers.flat_map(|(_, provider)| provider["keys"].as_array().into_iter().flatten())
}

/// Names of the keys of an EncryptionConfiguration, in order.
pub(crate) fn encryption_key_names(bytes: &[u8]) -> Vec<String> {
    let value = yaml(bytes).filter(|value| value["kind"] == "EncryptionConfiguration").unwrap_or_default();
    encryption_keys(&value).filter_map(|key| Some(key["name"].as_str()?.to_owned())).collect()
}
