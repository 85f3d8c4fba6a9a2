//! `secrets.yaml` as text.

use super::{Rotation, SECRETS_VERSION, Secrets};
use crate::pki::{
    pem,
    table::{self, Ca},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::Secret;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

const HEADER: &str = "\
# The secrets of one cluster, made by nodekiln. This file is the cluster: whoever reads it is its administrator, and
# without it no node can be rebuilt. Keep it off the nodes, out of version control unless encrypted, and backed up.
# All certificates and keys of nodes follow from it. `nodekiln build` changes nothing in it; it adds keys and tokens that
# a grown cluster lacks.
";

/// The key of a CA in the file.
pub(super) fn field(ca: Ca) -> &'static str {
    match ca {
        Ca::Kubernetes => "kubernetes",
        Ca::Etcd => "etcd",
        Ca::FrontProxy => "frontProxy",
    }
}

/// Writes the file. Texts that are not plain by their type are JSON strings, which YAML reads as they are.
pub(super) fn render(secrets: &Secrets) -> Secret {
    // Enough for all but very long lists of CAs: a copy left behind by growing would not be wiped.
    let pairs: usize = secrets.authorities.values().flatten().map(|entry| entry.certificate.len() * 2 + 4096).sum();
    let keys = (secrets.leaf_keys.len() + 1) * 4096;
    let certificates: usize = secrets.certificates.values().map(|der| der.len() * 2 + 512).sum();
    let mut out = Vec::with_capacity(
        HEADER.len() + 4096 + pairs + keys + certificates + (secrets.encryption.len() + secrets.tokens.len()) * 384,
    );
    let mut text = |text: &str| out.extend_from_slice(text.as_bytes());

    text(HEADER);
    text(&format!("version: {SECRETS_VERSION}\n"));
    text(&format!("createdAt: \"{}\"\n", time(secrets.created_at)));
    text("# Leaf keys and certificates follow from the seed, the generation and the time of its renewal.\n");
    text(&format!("generation: {}\n", secrets.generation));
    text(&format!("renewedAt: \"{}\"\n", time(secrets.renewed_at)));
    text(&format!("leafSeed: \"{}\"\n", &*base64(&secrets.leaf_seed[..])));
    text("# The first of each list issues certificates, all are trusted.\nauthorities:\n");
    for ca in Ca::ALL {
        text(&format!("  {}:\n", field(ca)));
        for entry in &secrets.authorities[&ca] {
            text("  - certificate: |\n");
            block(&pem::encode_secret(pem::CERTIFICATE, &entry.certificate), &mut text);
            if let Some(key) = &entry.key {
                text("    key: |\n");
                block(&key.private_pem(), &mut text);
            }
            rotation(entry.rotation, "    ", &mut text);
        }
    }
    text("serviceAccount:\n  privateKey: |\n");
    block(&secrets.service_account.private_pem(), &mut text);
    text("  publicKey: |\n");
    block(&secrets.service_account.public_pem(), &mut text);
    text("# Encryption at rest: the first key encrypts, all decrypt.\nencryptionKeys:\n");
    for key in &secrets.encryption {
        text(&format!("- name: {}\n", serde_json::Value::from(key.name.as_str())));
        text("  secret: \"");
        text(&base64(key.key.expose()));
        text("\"\n");
        rotation(key.rotation, "  ", &mut text);
    }
    if !secrets.leaf_keys.is_empty() {
        text("# RSA keys of certificates: they cannot be derived from the seed.\nleafKeys:\n");
    }
    for ((row, node, generation), key) in &secrets.leaf_keys {
        text(&format!("- row: {}\n", table::spec(*row).name));
        if let Some(node) = node {
            text(&format!("  node: {}\n", serde_json::Value::from(node.as_str())));
        }
        text(&format!("  generation: {generation}\n  key: |\n"));
        block(&key.private_pem(), &mut text);
    }
    if !secrets.certificates.is_empty() {
        text("# Certificates that CAs without a key here have signed.\nleafCertificates:\n");
    }
    for ((row, node, generation), der) in &secrets.certificates {
        text(&format!("- row: {}\n", table::spec(*row).name));
        if let Some(node) = node {
            text(&format!("  node: {}\n", serde_json::Value::from(node.as_str())));
        }
        text(&format!("  generation: {generation}\n  certificate: |\n"));
        block(&pem::encode_secret(pem::CERTIFICATE, der), &mut text);
    }
    if !secrets.tokens.is_empty() {
        text("# Bootstrap tokens, by pool or node. Their lives count from when they were made.\nbootstrapTokens:\n");
    }
    for (owner, token) in &secrets.tokens {
        text(&format!("  {}:\n", serde_json::Value::from(owner.as_str())));
        text(&format!("    id: \"{}\"\n    secret: \"", token.id));
        text(std::str::from_utf8(token.secret.expose()).expect("a token is letters and digits"));
        text(&format!("\"\n    createdAt: \"{}\"\n", time(token.created_at)));
    }
    Secret::new(out)
}

/// The part in a rotation, where there is one.
fn rotation(part: Option<Rotation>, indent: &str, text: &mut impl FnMut(&str)) {
    let name = match part {
        None => return,
        Some(Rotation::Next) => "next",
        Some(Rotation::Previous) => "previous",
    };
    text(&format!("{indent}rotation: {name}\n"));
}

/// PEM as the lines of a literal block.
fn block(pem: &Secret, text: &mut impl FnMut(&str)) {
    let pem = std::str::from_utf8(pem.expose()).expect("PEM is ASCII");
    for line in pem.lines() {
        text("      ");
        text(line);
        text("\n");
    }
}

fn base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

fn time(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .expect("both times were checked when the secrets were made or read")
}
