//! What secrets hold, without anything secret: for `secrets show`.

use super::{Rotation, Secrets, write};
use crate::{
    config::Cluster,
    pki::{
        certificate::{self, CaCertificate, Validity},
        key::KeyPair,
        table::{self, Ca},
    },
};
use nodekiln_plan::{NodeName, Sha256};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// All of it. Times are RFC 3339, digests SHA-256; those of keys are of the public half (SubjectPublicKeyInfo).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// When they were made.
    pub created_at: String,
    /// The generation of leaves.
    pub generation: u64,
    /// When it began.
    pub renewed_at: String,
    /// When its leaves end, where cluster.yaml is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_end: Option<String>,
    /// Digest of all secrets: payloads of one are payloads of the same cluster.
    pub fingerprint: Sha256,
    /// Certificates, by CA.
    pub authorities: BTreeMap<&'static str, Vec<ShownCa>>,
    /// The service-account key.
    pub service_account: ShownKey,
    /// The keys for encryption at rest.
    pub encryption_keys: Vec<ShownEncryption>,
    /// Keys that are kept because they cannot be derived.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaf_keys: Vec<ShownLeaf>,
    /// How many certificates of CAs elsewhere are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub leaf_certificates: usize,
    /// When the first of them ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_certificates_end: Option<String>,
    /// Bootstrap tokens, without their secret half.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_tokens: Vec<ShownToken>,
}

/// A CA's certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownCa {
    /// Subject (RFC 4514).
    pub subject: String,
    /// Digest of the certificate.
    pub fingerprint: Sha256,
    /// Digest of the public half: what `--discovery-token-ca-cert-hash` is made of.
    pub public_key: Sha256,
    /// notBefore.
    pub not_before: String,
    /// notAfter.
    pub not_after: String,
    /// `issues`, `external` (it would issue, but has no key) or `trusted`.
    pub state: &'static str,
    /// Algorithm of its key, where it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// `next` or `previous`: its part in a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<&'static str>,
}

/// A key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownKey {
    /// Its algorithm.
    pub algorithm: String,
    /// Digest of the public half.
    pub public_key: Sha256,
}

/// A key for encryption at rest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEncryption {
    /// Its name in the API server's configuration.
    pub name: String,
    /// `encrypts` (and decrypts) or `decrypts`.
    pub state: &'static str,
    /// `next` or `previous`: its part in a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<&'static str>,
}

/// A key that is kept for a certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownLeaf {
    /// The certificate.
    pub row: &'static str,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Its generation.
    pub generation: u64,
    /// The key.
    #[serde(flatten)]
    pub key: ShownKey,
}

/// A bootstrap token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownToken {
    /// The pool or node that authenticates with it.
    pub owner: NodeName,
    /// Its public half.
    pub id: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends, where cluster.yaml is known: `never`, or a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

impl Shown {
    /// What `secrets` hold; `cluster` tells how long leaves and tokens live.
    pub fn new(secrets: &Secrets, cluster: Option<&Cluster>) -> Self {
        let lives: BTreeMap<_, _> = cluster.iter().flat_map(|cluster| table::tokens(cluster)).collect();
        let leaves = cluster.and_then(|c| Validity::starting(secrets.renewed_at, c.certificate_validity));
        Self {
            created_at: time(secrets.created_at),
            generation: secrets.generation,
            renewed_at: time(secrets.renewed_at),
            leaves_end: leaves.map(|validity| time(validity.not_after)),
            fingerprint: secrets.fingerprint(),
            authorities: Ca::ALL.map(|ca| (write::field(ca), authorities(secrets, ca))).into(),
            service_account: key(&secrets.service_account),
            encryption_keys: (secrets.encryption.iter().enumerate())
                .map(|(index, key)| ShownEncryption {
                    name: key.name.clone(),
                    state: if index == 0 { "encrypts" } else { "decrypts" },
                    rotation: key.rotation.map(part),
                })
                .collect(),
            leaf_keys: (secrets.leaf_keys.iter())
                .map(|((row, node, generation), kept)| ShownLeaf {
                    row: table::spec(*row).name,
                    node: node.clone(),
                    generation: *generation,
                    key: key(kept),
                })
                .collect(),
            leaf_certificates: secrets.certificates.len(),
            leaf_certificates_end: (secrets.certificates.values())
                .filter_map(|der| Some(certificate::validity(der)?.not_after))
                .min()
                .map(time),
            bootstrap_tokens: (secrets.tokens.iter())
                .map(|(owner, token)| ShownToken {
                    owner: owner.clone(),
                    id: token.id().to_owned(),
                    created_at: time(token.created_at()),
                    end: lives.get(owner).map(|ttl| token.end(*ttl).map_or_else(|| "never".to_owned(), time)),
                })
                .collect(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!("created:      {}", self.created_at));
        line(format!("generation:   {}, of {}", self.generation, self.renewed_at));
        if let Some(end) = &self.leaves_end {
            line(format!("leaves end:   {end}"));
        }
        line(format!("fingerprint:  {}", self.fingerprint));
        for (ca, entries) in &self.authorities {
            line(format!("{ca} CA:"));
            for entry in entries {
                let algorithm = entry.algorithm.as_deref().unwrap_or("without key");
                let rotation =
                    entry.rotation.map(|rotation| format!(", {rotation} in its rotation")).unwrap_or_default();
                line(format!("  {} ({}, {algorithm}{rotation})", entry.subject, entry.state));
                line(format!("    valid       {} to {}", entry.not_before, entry.not_after));
                line(format!("    sha256      {}", entry.fingerprint));
                line(format!("    public key  {}", entry.public_key));
            }
        }
        line(format!("service-account key: {}", self.service_account.algorithm));
        line(format!("    public key  {}", self.service_account.public_key));
        let keys = self.encryption_keys.iter().map(|key| {
            let rotation = key.rotation.map(|rotation| format!(", {rotation} in its rotation")).unwrap_or_default();
            format!("{} ({}{rotation})", key.name, key.state)
        });
        line(format!("encryption at rest: {}", keys.collect::<Vec<_>>().join(", ")));
        if !self.leaf_keys.is_empty() {
            line(format!("leaf keys that are kept: {}", self.leaf_keys.len()));
        }
        if let Some(end) = &self.leaf_certificates_end {
            line(format!("certificates of CAs elsewhere: {}, the first ends {end}", self.leaf_certificates));
        }
        for token in &self.bootstrap_tokens {
            let mut text = format!("bootstrap token of {}: {}, made {}", token.owner, token.id, token.created_at);
            if let Some(end) = &token.end {
                let _ = write!(text, ", ends {end}");
            }
            line(text);
        }
        out
    }
}

fn authorities(secrets: &Secrets, ca: Ca) -> Vec<ShownCa> {
    let entries = secrets.authorities[&ca].iter().enumerate();
    entries
        .filter_map(|(index, entry)| {
            // Secrets hold none that cannot be read.
            let certificate = CaCertificate::parse(&entry.certificate).ok()?;
            Some(ShownCa {
                subject: certificate.name,
                fingerprint: Sha256::of(&entry.certificate),
                public_key: Sha256::of(&certificate.spki),
                not_before: time(certificate.validity.not_before),
                not_after: time(certificate.validity.not_after),
                state: match (index, &entry.key) {
                    (0, Some(_)) => "issues",
                    (0, None) => "external",
                    _ => "trusted",
                },
                algorithm: entry.key.as_ref().map(KeyPair::algorithm_name),
                rotation: entry.rotation.map(part),
            })
        })
        .collect()
}

fn part(rotation: Rotation) -> &'static str {
    match rotation {
        Rotation::Next => "next",
        Rotation::Previous => "previous",
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn key(key: &KeyPair) -> ShownKey {
    ShownKey { algorithm: key.algorithm_name(), public_key: key.spki_sha256() }
}

fn time(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    at.unwrap_or_else(|| seconds.to_string())
}
