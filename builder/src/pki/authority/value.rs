//! What an authority gives out: leaves, the values that nodes share, tokens.

use crate::{
    draft::{LeafForm, Shared, TokenForm},
    pki::{
        certificate::{Signer, Validity},
        key::KeyPair,
        table::Ca,
    },
    secrets::{Secrets, Token},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{Secret, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes with their digest, shared between nodes.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) bytes: Arc<Secret>,
    pub(crate) sha256: Sha256,
}

impl Value {
    pub(crate) fn new(bytes: Secret) -> Self {
        Self { sha256: Sha256::of(bytes.expose()), bytes: Arc::new(bytes) }
    }
}

/// A leaf in its three forms.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(super) certificate: Value,
    pub(super) key: Value,
    /// Digest of the public half.
    pub(crate) spki: Sha256,
    /// Its span.
    pub(crate) validity: Validity,
}

impl Issued {
    pub(crate) fn form(&self, form: LeafForm) -> Value {
        match form {
            LeafForm::Certificate => self.certificate.clone(),
            LeafForm::Key => self.key.clone(),
            LeafForm::Both => {
                let (certificate, key) = (self.certificate.bytes.expose(), self.key.bytes.expose());
                Value::new(Secret::new([certificate, key].concat()))
            }
        }
    }
}

pub(crate) struct SharedValue {
    pub(crate) value: Value,
    pub(crate) base64: Secret,
    /// Digest of the public half, for keys; of the key itself for the encryption key.
    pub(crate) key: Option<Sha256>,
}

/// A bootstrap token with the end that cluster.yaml gives it.
pub(crate) struct OpenToken {
    pub(super) token: Token,
    /// Seconds since the Unix epoch.
    pub(crate) end: Option<i64>,
}

impl OpenToken {
    /// Digest of the secret half: how it is named in `placement.json`.
    pub(crate) fn sha256(&self) -> Sha256 {
        Sha256::of(self.token.secret.expose())
    }

    pub(super) fn form(&self, form: TokenForm) -> Option<Secret> {
        Some(match form {
            TokenForm::Id => Secret::from(self.token.id.clone()),
            TokenForm::Secret => self.token.secret.clone(),
            TokenForm::Whole => self.token.whole(),
            TokenForm::End => {
                let end = time::OffsetDateTime::from_unix_timestamp(self.end?).ok()?;
                Secret::from(end.format(&time::format_description::well_known::Rfc3339).ok()?)
            }
        })
    }
}

/// All values that nodes share.
pub(super) fn shared_values(
    secrets: &Secrets,
    signers: &BTreeMap<Ca, Signer>,
    bundles: &BTreeMap<Ca, Value>,
) -> BTreeMap<Shared, SharedValue> {
    let ca_key = signers.get(&Ca::Kubernetes).map(|signer| (Shared::CaKey, signer.key()));
    let service_account = &secrets.service_account;
    let encryption = (0..)
        .map(Shared::EncryptionKey)
        .zip(&secrets.encryption)
        .map(|(shared, key)| (shared, (Value::new(key.key.clone()), Some(Sha256::of(key.key.expose())))));
    let public = |key: &KeyPair| Value::new(key.public_pem());
    let private = |key: &KeyPair| (Value::new(key.private_pem()), Some(key.spki_sha256()));
    [
        (Shared::Ca, (bundles[&Ca::Kubernetes].clone(), None)),
        (Shared::FrontProxyCa, (bundles[&Ca::FrontProxy].clone(), None)),
        (Shared::EtcdCa, (bundles[&Ca::Etcd].clone(), None)),
        (Shared::ServiceAccountKey, private(service_account)),
        (Shared::ServiceAccountPublicKey, (public(service_account), None)),
    ]
    .into_iter()
    .chain(encryption)
    .chain(ca_key.map(|(shared, key)| (shared, private(key))))
    .map(|(shared, (value, key))| {
        let base64 = Secret::from(STANDARD.encode(value.bytes.expose()));
        (shared, SharedValue { value, base64, key })
    })
    .collect()
}
