//! One node from draft to checked payload: fill, encode, decode again, prove placement. Pure.

use crate::{
    config::{Cluster, DeliveryMode, Node, Platform},
    draft::NodeDraft,
    output::{
        manifest::{FileRole, NodeRow},
        placement::{self, Holding, Known, Violation},
    },
    pki::{self, Authority, KeyId},
};
use nodekiln_payload::{EncodeOptions, NodeTree, encode};
use nodekiln_plan::{NodeName, Secret, Sha256, paths};
use std::collections::BTreeMap;

/// A file of the output.
pub struct OutputFile {
    /// Relative to the output.
    pub path: String,
    /// What it is.
    pub role: FileRole,
    /// Its bytes.
    pub bytes: Secret,
}

/// A node's part of the output.
pub struct Baked {
    /// Its row in the manifest.
    pub row: NodeRow,
    /// Its files.
    pub files: Vec<OutputFile>,
    /// The keys that its payload holds.
    pub holdings: Vec<Holding>,
}

/// Why a node's payload was not made.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// A certificate could not be issued.
    #[error("{node}: filling in keys")]
    Fill {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: pki::FillError,
    },
    /// The tree cannot be encoded.
    #[error("{node}: encoding its payload")]
    Encode {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: nodekiln_payload::EncodeError,
    },
    /// What was encoded does not decode to the tree.
    #[error("{node}: decoding its payload again")]
    Check {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: nodekiln_payload::CheckError,
    },
    /// A key where it must not be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Placement(Vec<Violation>),
    /// The payload is larger than its platform takes.
    #[error(
        "{node}: the payload has {size} bytes, {platform} takes {limit}; the largest files are {largest}. \
         Set `delivery.baseURL`, so that programs are fetched instead of carried, or `delivery.mode: pointer`"
    )]
    Budget {
        /// The node.
        node: NodeName,
        /// The platform.
        platform: &'static str,
        /// Of the payload.
        size: usize,
        /// Of the platform.
        limit: usize,
        /// Names and sizes.
        largest: String,
    },
}

/// What all nodes share while they are baked.
pub struct Oven<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its keys.
    pub authority: &'a Authority,
    /// Digest of what all payloads depend on beside their drafts.
    pub base_key: Sha256,
}

impl Oven<'_> {
    /// Makes the payload of `node` from its draft.
    ///
    /// # Errors
    /// See [`BakeError`]: nothing here depends on the machine.
    pub fn bake(&self, node: &Node, draft: &NodeDraft) -> Result<Baked, BakeError> {
        let name = &node.name;
        let filled =
            pki::fill(self.authority, draft).map_err(|source| BakeError::Fill { node: name.clone(), source })?;
        let profile = draft.profile;
        let options = EncodeOptions { ignition_version: node.os.ignition_version, ..EncodeOptions::default() };
        let artifacts = encode(&filled.tree, profile, &options)
            .map_err(|source| BakeError::Encode { node: name.clone(), source })?;
        let decoded = nodekiln_payload::check(&filled.tree, &artifacts, profile)
            .map_err(|source| BakeError::Check { node: name.clone(), source })?;

        let own: BTreeMap<Sha256, &KeyId> = filled.keys.iter().map(|(id, spki)| (*spki, id)).collect();
        let known = Known {
            keys: &|spki| own.get(spki).map(|id| (*id).clone()).or_else(|| self.authority.identify(spki)),
            symmetric: &self.authority.symmetric_keys(),
            user_files: &|path| node.os.files.iter().any(|file| file.path.as_str() == path),
        };
        let holdings = placement::of_node(name, node.role, &decoded, &known).map_err(BakeError::Placement)?;

        let mut files: Vec<OutputFile> = artifacts
            .into_iter()
            .map(|artifact| OutputFile {
                path: format!("nodes/{name}/{}", artifact.name),
                role: FileRole::Payload,
                bytes: artifact.bytes,
            })
            .collect();
        if self.cluster.delivery.mode == DeliveryMode::Inline {
            budget(node, &filled.tree, &files)?;
        }
        for (path, file_name) in [(paths::PLAN, "plan.json"), (paths::API_OBJECTS, "api.ndjson")] {
            if let Some(file) = filled.tree.files.iter().find(|file| file.path.as_str() == path) {
                files.push(OutputFile {
                    path: format!("nodes/{name}/{file_name}"),
                    role: FileRole::Plan,
                    bytes: file.contents.as_ref().clone(),
                });
            }
        }
        let key = Sha256::of_parts([
            self.base_key.as_bytes().as_slice(),
            Sha256::of(crate::draft::render(draft).as_bytes()).as_bytes(),
        ]);
        let row = NodeRow {
            name: name.clone(),
            role: node.role,
            profile: profile.name.clone(),
            key,
            not_before: filled.plan.identity.not_before,
            boot_before: filled.plan.identity.boot_before,
        };
        Ok(Baked { row, files, holdings })
    }
}

/// Refuses a payload that its platform would cut off or choke on: node-images.md section 2.2 has the sources.
fn budget(node: &Node, tree: &NodeTree, files: &[OutputFile]) -> Result<(), BakeError> {
    let (platform, limit) = match node.os.platform {
        Platform::Metal => return Ok(()),
        Platform::Qemu => ("qemu (fw_cfg)", 256 * 1024),
        Platform::Aws => ("aws", 16384),
        Platform::OpenStack => ("openstack", 49151),
        Platform::Azure => ("azure", 48 * 1024),
        Platform::Gcp => ("gcp", 262_144),
    };
    let size = files.iter().map(|file| file.bytes.expose().len()).max().unwrap_or(0);
    if size <= limit {
        return Ok(());
    }
    let mut sizes: Vec<_> = tree.files.iter().map(|file| (file.contents.expose().len(), file.path.as_str())).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    let largest =
        sizes.iter().take(3).map(|(size, path)| format!("{path} ({size} bytes)")).collect::<Vec<_>>().join(", ");
    Err(BakeError::Budget { node: node.name.clone(), platform, size, limit, largest })
}
