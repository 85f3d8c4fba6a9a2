//! [`Codec`]: the encoder and the decoder of a build, with a memory of what nodes share.

use crate::{
    cache::Memory,
    check::{self, CheckError},
    cloud_init::{self, Content},
    content::{gunzip, unbase64},
    error::{DecodeError, EncodeError},
    ignition::{self, Behind},
    options::{EncodeOptions, Gzip},
    profile::{Format, Profile},
    tree::{Artifact, NodeTree},
    validate::validate,
};
use nodekiln_plan::{Secret, Sha256};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Contents behind a text of a payload.
#[derive(Clone)]
pub(crate) struct Contents {
    pub bytes: Arc<Secret>,
    pub sha256: Sha256,
}

impl Contents {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: Sha256::of(&bytes), bytes: Arc::new(Secret::new(bytes)) }
    }
}

/// Encodes and decodes payloads, and remembers what many of them share. One serves all threads of a build.
///
/// Its memory holds contents, keys among them, in their encoded form: as for encoders' buffers, it is not wiped.
pub struct Codec {
    resources: Memory<Encoded, Arc<RawValue>>,
    texts: Memory<Encoded, Arc<Content>>,
    behind: Memory<Arc<str>, Behind>,
    packed: Memory<Arc<str>, Contents>,
}

impl Default for Codec {
    /// With an empty memory.
    fn default() -> Self {
        let held = |contents: &Contents| contents.bytes.expose().len();
        Self {
            resources: Memory::new(),
            texts: Memory::new(),
            behind: Memory::weighing(Behind::held),
            packed: Memory::weighing(held),
        }
    }
}

/// What an encoding depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Encoded(Sha256, Gzip);

impl From<&Encoded> for Encoded {
    fn from(key: &Encoded) -> Self {
        *key
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec(..)")
    }
}

impl Codec {
    /// See [`crate::encode`].
    ///
    /// # Errors
    /// [`EncodeError::Faults`] with everything that [`validate`] finds.
    pub fn encode(
        &self,
        tree: &NodeTree,
        profile: &Profile,
        options: &EncodeOptions,
    ) -> Result<Vec<Artifact>, EncodeError> {
        let faults = validate(tree, profile);
        if !faults.is_empty() {
            return Err(EncodeError::Faults(faults));
        }
        match profile.format {
            Format::Ignition => Ok(vec![ignition::encode(self, tree, options)?]),
            Format::CloudInit => cloud_init::encode(self, tree, profile, options),
        }
    }

    /// See [`crate::decode`].
    ///
    /// # Errors
    /// Anything that [`Codec::encode`] would not have written.
    pub fn decode(&self, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, DecodeError> {
        match profile.format {
            Format::Ignition => {
                let config = artifacts.iter().find(|artifact| artifact.name == ignition::CONFIG);
                ignition::decode(self, config.ok_or(DecodeError::Missing(ignition::CONFIG))?.bytes.expose())
            }
            Format::CloudInit => cloud_init::decode(self, artifacts, profile),
        }
    }

    /// See [`crate::check`].
    ///
    /// # Errors
    /// A payload that does not decode, or all differences by name.
    pub fn check(&self, tree: &NodeTree, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, CheckError> {
        let decoded = self.decode(artifacts, profile)?;
        let differences = check::differences(tree, &decoded, profile.format);
        if differences.is_empty() { Ok(decoded) } else { Err(CheckError::Differs(differences)) }
    }

    /// Ignition's resource of `bytes`, whose digest is `sha256`.
    pub(crate) fn resource(&self, bytes: &[u8], sha256: Sha256, policy: Gzip) -> Result<Arc<RawValue>, EncodeError> {
        self.resources.try_get_or(&Encoded(sha256, policy), bytes.len(), || ignition::resource(bytes, policy))
    }

    /// As cloud-init's `content` of `bytes`, whose digest is `sha256`.
    pub(crate) fn content(&self, bytes: &[u8], sha256: Sha256, policy: Gzip) -> Arc<Content> {
        self.texts.get_or(&Encoded(sha256, policy), bytes.len(), || Arc::new(Content::of(bytes, policy)))
    }

    /// What stands behind a resource of Ignition.
    pub(crate) fn behind(
        &self,
        resource: &str,
        read: impl FnOnce() -> Result<Behind, DecodeError>,
    ) -> Result<Behind, DecodeError> {
        self.behind.try_get_or(resource, resource.len(), read)
    }

    /// What stands behind gzip in base64.
    pub(crate) fn contents_of_gzip_base64(&self, text: &str) -> Option<Contents> {
        let make = || unbase64(text).and_then(|packed| gunzip(&packed)).map(Contents::new).ok_or(());
        self.packed.try_get_or(text, text.len(), make).ok()
    }
}
