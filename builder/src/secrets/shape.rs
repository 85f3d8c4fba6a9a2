//! [`Shape`]: what planning has to know of the secrets. Nothing of it is secret.

use super::{ENCRYPTION_KEY_NAME, Secrets};
use crate::pki::table::Ca;

/// What secrets there are, as far as it shows in a draft. The default is that of new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Whether the cluster CA's key is somebody else's: no node signs certificates then.
    pub external_ca: bool,
    /// Names of the keys for encryption at rest: the first encrypts, all decrypt.
    pub encryption_keys: Vec<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { external_ca: false, encryption_keys: vec![ENCRYPTION_KEY_NAME.to_owned()] }
    }
}

impl Secrets {
    /// What planning has to know of these.
    pub fn shape(&self) -> Shape {
        Shape {
            external_ca: self.authorities[&Ca::Kubernetes].first().is_some_and(|entry| entry.key.is_none()),
            encryption_keys: self.encryption.iter().map(|key| key.name.clone()).collect(),
        }
    }
}
