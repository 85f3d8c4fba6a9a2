//! The keys and certificates of one node, each with its name: what `inspect` tells and `verify` checks.

use super::{
    certificate::Certificate,
    material::{self, Kubeconfig, Material},
};
use crate::{
    draft::Row,
    pki::{Ca, KeyId, table},
};
use nodekiln_plan::{ExternalEtcdPlan, NodeName, Secret, Sha256};
use serde::Serialize;
use std::collections::BTreeMap;

/// A private or symmetric key that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKey {
    /// Where.
    pub path: String,
    /// What it is, as `placement.json` calls it. `None`: a key that none of the certificates here belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Digest of its public half (SubjectPublicKeyInfo), or of a symmetric key itself. `None` where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki: Option<Sha256>,
    #[serde(skip)]
    pub(crate) id: Option<KeyId>,
}

/// All of a node's keys and certificates.
#[derive(Debug, Default)]
pub struct NodeMaterial {
    /// Certificates, by path.
    pub certificates: Vec<Certificate>,
    /// Private and symmetric keys, by path.
    pub keys: Vec<PrivateKey>,
    /// Kubeconfigs, by path.
    pub kubeconfigs: Vec<Kubeconfig>,
    /// Symmetric keys and tokens themselves, to be looked for elsewhere.
    pub(crate) symmetric: Vec<(KeyId, Secret)>,
    /// What is known of public keys: whose private halves they tell of.
    pub(crate) ids: BTreeMap<Sha256, KeyId>,
}

impl NodeMaterial {
    /// Of the files of `node`, as (path, contents).
    pub fn of<'f>(node: &NodeName, files: impl Iterator<Item = (&'f str, &'f [u8])>) -> Self {
        let found: Vec<(&str, Material)> = files.map(|(path, bytes)| (path, material::of_file(path, bytes))).collect();
        let mut certificates: Vec<Certificate> = Vec::new();
        for (_, material) in &found {
            certificates.extend(material.certificates.iter().cloned());
        }
        let known = authorities(&certificates);
        let ids: Vec<_> = certificates.iter().map(|certificate| identify(certificate, &known, node)).collect();
        let mut names: BTreeMap<Sha256, KeyId> = BTreeMap::new();
        for (certificate, id) in certificates.iter_mut().zip(ids) {
            certificate.name = id.as_ref().map(ToString::to_string);
            if let Some(id) = id {
                names.entry(certificate.spki).or_insert(id);
            }
        }
        for (_, material) in found.iter().filter(|(path, _)| path.ends_with("/sa.pub")) {
            names.extend(material.public_keys.iter().map(|spki| (*spki, KeyId::ServiceAccount)));
        }
        let mut keys = Vec::new();
        let mut symmetric = Vec::new();
        for (path, material) in &found {
            let key = |spki: Option<Sha256>, id: Option<KeyId>| PrivateKey {
                path: (*path).to_owned(),
                name: id.as_ref().map(ToString::to_string),
                spki,
                id,
            };
            keys.extend(material.private_keys.iter().map(|spki| key(Some(*spki), names.get(spki).cloned())));
            keys.extend((0..material.unreadable_keys).map(|_| key(None, None)));
            let secrets = (0..=u8::MAX).map(KeyId::Encryption).zip(&material.encryption_keys);
            let tokens = material.tokens.iter().map(|secret| (KeyId::Token(node.clone()), secret));
            for (id, secret) in secrets.chain(tokens) {
                keys.push(key(Some(Sha256::of(secret.expose())), Some(id.clone())));
                symmetric.push((id, secret.clone()));
            }
        }
        keys.sort();
        keys.dedup();
        let kubeconfigs = found.into_iter().filter_map(|(_, material)| material.kubeconfig).collect();
        Self { certificates, keys, kubeconfigs, symmetric, ids: names }
    }

    /// Takes what belongs to an etcd that somebody else runs for what it is: kubeadm's guide gives its files the names, and
    /// its client the subject, that those of an etcd of ours have.
    pub(crate) fn not_ours(&mut self, etcd: &ExternalEtcdPlan) {
        let is_theirs = |path: &str| [&etcd.ca, &etcd.cert].into_iter().flatten().any(|file| file.as_str() == path);
        let mut client = None;
        for certificate in self.certificates.iter_mut().filter(|certificate| is_theirs(&certificate.path)) {
            certificate.name = None;
            self.ids.remove(&certificate.spki);
            if etcd.cert.as_ref().is_some_and(|file| file.as_str() == certificate.path) {
                // The first is the one that the API server shows.
                client.get_or_insert(certificate.spki);
            }
        }
        let Some(client) = client else { return };
        for key in self.keys.iter_mut().filter(|key| key.spki == Some(client)) {
            key.id = Some(KeyId::ExternalEtcd);
            key.name = Some(KeyId::ExternalEtcd.to_string());
            self.ids.insert(client, KeyId::ExternalEtcd);
        }
    }

    /// The CAs among the certificates, by what they are.
    pub fn authorities(&self) -> Vec<(Ca, &Certificate)> {
        authorities(&self.certificates)
    }

    /// Those that the node has the key of: by them it says who it is.
    pub fn identities(&self) -> impl Iterator<Item = &Certificate> {
        let held = |spki: &Sha256| self.keys.iter().any(|key| key.spki.as_ref() == Some(spki));
        self.certificates.iter().filter(move |certificate| !certificate.is_ca && held(&certificate.spki))
    }
}

/// The CAs, told apart by where their certificates lie: an imported one may have any subject.
fn authorities(certificates: &[Certificate]) -> Vec<(Ca, &Certificate)> {
    let kind = |path: &str| {
        if path.ends_with("/etcd/ca.crt") {
            Some(Ca::Etcd)
        } else if path.ends_with("/front-proxy-ca.crt") {
            Some(Ca::FrontProxy)
        } else if path.ends_with("ca.crt") || path.ends_with(".conf") {
            Some(Ca::Kubernetes)
        } else {
            None
        }
    };
    let mut found: Vec<(Ca, &Certificate)> = Vec::new();
    for certificate in certificates.iter().filter(|certificate| certificate.is_ca) {
        let Some(ca) = kind(&certificate.path) else { continue };
        if !found.iter().any(|(known, other)| *known == ca && other.sha256 == certificate.sha256) {
            found.push((ca, certificate));
        }
    }
    found
}

/// What a certificate is: a CA, or the row of the table that says the same.
fn identify(certificate: &Certificate, authorities: &[(Ca, &Certificate)], node: &NodeName) -> Option<KeyId> {
    if certificate.is_ca {
        let own = authorities.iter().find(|(_, ca)| ca.sha256 == certificate.sha256);
        return own.map(|(ca, _)| KeyId::Ca(*ca));
    }
    let issuer = |(ca, issuer): &(Ca, &Certificate)| (issuer.subject == certificate.issuer).then_some(*ca);
    authorities.iter().filter_map(issuer).find_map(|ca| {
        let spec = certificate.row(ca, node.as_str())?;
        Some(leaf(spec.row, node))
    })
}

fn leaf(row: Row, node: &NodeName) -> KeyId {
    match table::spec(row).scope {
        table::Scope::Shared => KeyId::Leaf(row, None),
        table::Scope::Node => KeyId::Leaf(row, Some(node.clone())),
    }
}
