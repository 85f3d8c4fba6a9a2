//! One node from draft to checked payload: fill, encode, decode again, prove placement. Pure.

use crate::{
    config::{Cluster, Delivery, DeliveryMode, Finding, Node, Os, code},
    digest::Parts,
    draft::NodeDraft,
    output::{
        manifest::{FileRole, NodeRow, UNSEALED},
        placement::{self, Holding, Known, Searched, Violation},
    },
    pki::{self, Authority, Filling, KeyId, table::Holder},
};
use nodekiln_payload::{Artifact, CheckError, Codec, EncodeError, EncodeOptions, Format, Gzip, NodeTree, Pointer};
use nodekiln_plan::{NodeName, Secret, Sha256, paths};
use std::{collections::BTreeMap, sync::Arc};

/// A file of the output.
pub struct OutputFile {
    /// Relative to the output.
    pub path: String,
    /// What it is.
    pub role: FileRole,
    /// Its bytes.
    pub bytes: Arc<Secret>,
    /// Their digest.
    pub sha256: Sha256,
}

impl OutputFile {
    fn new(path: String, role: FileRole, bytes: Secret) -> Self {
        Self { path, role, sha256: Sha256::of(bytes.expose()), bytes: Arc::new(bytes) }
    }
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
    /// The draft has no digest.
    #[error("{node}: digesting its draft")]
    Key {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key where it must not be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Placement(Vec<Violation>),
    /// The payload is larger than its platform takes.
    #[error("{node}: the payload has {size} bytes, {platform} takes {limit}; the largest files are {largest}")]
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
        /// What makes it smaller.
        advice: &'static str,
    },
}

impl BakeError {
    /// The node that it is about.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Fill { node, .. }
            | Self::Key { node, .. }
            | Self::Encode { node, .. }
            | Self::Check { node, .. }
            | Self::Budget { node, .. } => Some(node),
            Self::Placement(violations) => violations.first().map(|violation| match violation {
                Violation::Misplaced { node, .. } | Violation::Unknown { node, .. } => node,
            }),
        }
    }

    /// As a finding in cluster.yaml.
    pub fn finding(&self) -> Finding {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        match self {
            Self::Budget { advice, .. } => Finding::new(code::BUDGET, message).hint(*advice),
            _ => Finding::new(code::PLAN, message),
        }
    }
}

/// What all nodes share while they are baked.
pub struct Oven<'a> {
    /// The cluster.
    cluster: &'a Cluster,
    /// Its keys.
    authority: &'a Authority,
    /// Puts them into drafts.
    filling: Filling<'a>,
    /// Digest of what all payloads depend on beside their drafts.
    base: Sha256,
    /// Whether each node gets a `tree.tar`.
    tree: bool,
    /// Encodes and decodes all of them.
    codec: Codec,
    /// What was found in their contents.
    searched: Searched,
}

impl<'a> Oven<'a> {
    /// For the nodes of `cluster`, whose `secrets` have this fingerprint; with a `tree.tar` each if `tree`.
    pub fn new(cluster: &'a Cluster, authority: &'a Authority, secrets: Sha256, tree: bool) -> Self {
        let base = base(cluster, authority, secrets, tree);
        let (codec, searched) = (Codec::default(), Searched::default());
        Self { cluster, authority, filling: Filling::new(authority), base, tree, codec, searched }
    }

    /// Makes the payload of `node` from its draft, whose key is `key`.
    ///
    /// # Errors
    /// See [`BakeError`]: nothing here depends on the machine.
    pub fn bake(&self, node: &Node, draft: &NodeDraft, key: Sha256) -> Result<Baked, BakeError> {
        let name = &node.name;
        let filled = self.filling.fill(draft).map_err(|source| BakeError::Fill { node: name.clone(), source })?;
        let profile = draft.class.profile;
        // Where the platform cuts off, size counts more than time.
        let gzip = if node.os.platform.limit().is_some() { Gzip::WhereSmaller } else { Gzip::WhereShared };
        let options = EncodeOptions { ignition_version: node.os.ignition_version, gzip };
        let artifacts = self
            .codec
            .encode(&filled.tree, profile, &options)
            .map_err(|source| BakeError::Encode { node: name.clone(), source })?;
        let decoded = self
            .codec
            .check(&filled.tree, &artifacts, profile)
            .map_err(|source| BakeError::Check { node: name.clone(), source })?;

        let own: BTreeMap<Sha256, &KeyId> = filled.keys.iter().map(|(id, spki)| (*spki, id)).collect();
        let known = Known {
            keys: &|spki| {
                let known = own.get(spki).map(|id| (*id).clone()).or_else(|| self.authority.identify(spki));
                known.or_else(|| self.authority.identify_nodes_own(spki))
            },
            symmetric: self.authority.needles(),
            searched: &self.searched,
            user_files: &|path| {
                // A Secret of the user's may hold a key of the user's.
                (path == paths::API_OBJECTS && !self.cluster.manifests.is_empty())
                    || path.starts_with(placement::SNIPPETS)
                    || node.os.files.iter().any(|file| file.path.as_str() == path)
                    || node.os.units.iter().any(|unit| unit.name.as_str() == path)
                    || draft.class.users_own.iter().any(|own| own.as_str() == path)
            },
        };
        let holder = Holder::of(self.cluster, node);
        let holdings = placement::of_node(&holder, &decoded, &known).map_err(BakeError::Placement)?;

        let mut files = match self.cluster.delivery.mode {
            DeliveryMode::Inline => payload(name, artifacts),
            DeliveryMode::Pointer => self.pointed_at(name, artifacts, &options)?,
        };
        budget(node, &self.cluster.delivery, &filled.tree, &files)?;
        for (path, file_name) in [(paths::PLAN, "plan.json"), (paths::API_OBJECTS, "api.ndjson")] {
            if let Some(file) = filled.tree.files.iter().find(|file| file.path.as_str() == path) {
                files.push(OutputFile {
                    path: format!("nodes/{name}/{file_name}"),
                    role: FileRole::Plan,
                    bytes: Arc::clone(&file.contents),
                    sha256: file.sha256,
                });
            }
        }
        if self.tree {
            let tar = nodekiln_payload::tree_tar(&filled.tree, profile)
                .map_err(|source| BakeError::Encode { node: name.clone(), source })?;
            nodekiln_payload::check_tree_tar(&filled.tree, &tar, profile)
                .map_err(|source| BakeError::Check { node: name.clone(), source })?;
            files.push(OutputFile::new(format!("nodes/{name}/{}", tar.name), FileRole::Tree, tar.bytes));
        }
        let row = NodeRow {
            name: name.clone(),
            role: node.role,
            duties: holder.duties.into(),
            profile: profile.name.as_str().into(),
            key,
            seal: UNSEALED,
            not_before: filled.identity.not_before,
            boot_before: filled.identity.boot_before,
        };
        Ok(Baked { row, files, holdings })
    }

    /// The configuration among what is served, and a stub that finds it there.
    fn pointed_at(
        &self,
        node: &NodeName,
        artifacts: Vec<Artifact>,
        options: &EncodeOptions,
    ) -> Result<Vec<OutputFile>, BakeError> {
        let delivery = &self.cluster.delivery;
        let fault = |source| BakeError::Encode { node: node.clone(), source };
        let (Some(base_url), Ok([config])) = (&delivery.base_url, <[Artifact; 1]>::try_from(artifacts)) else {
            return Err(fault(EncodeError::Pointer("only one file below delivery.baseURL can be pointed at")));
        };
        let name = self.authority.served_name(node, &Sha256::of(config.bytes.expose()));
        let ca = delivery.ca.as_ref().map(|ca| ca.bytes.to_vec());
        let pointer = Pointer::to(&config, format!("{base_url}/{name}.ign"), ca);
        let stub = pointer.encode(options).map_err(fault)?;
        let read = Pointer::decode(stub.bytes.expose()).map_err(CheckError::from);
        let check = read.and_then(|read| match read == pointer && read.matches(&config) {
            true => Ok(()),
            false => Err(CheckError::Differs(vec![stub.name.to_owned()])),
        });
        check.map_err(|source| BakeError::Check { node: node.clone(), source })?;
        let mut files = payload(node, vec![stub]);
        files.push(OutputFile::new(format!("serve/{name}.ign"), FileRole::Served, config.bytes));
        Ok(files)
    }

    /// Digest of all that a node's part of the output is made from: its draft, what all drafts are filled in with, and
    /// what reaches the bytes, or a refusal, past both.
    ///
    /// # Errors
    /// None in practice: a draft is JSON.
    pub fn key(&self, node: &Node, draft: &NodeDraft) -> Result<Sha256, BakeError> {
        let failed = |source| BakeError::Key { node: node.name.clone(), source };
        let draft = crate::draft::digest(draft).map_err(failed)?;
        let Os { platform, ignition_version, .. } = &*node.os;
        let mut parts = Parts::with_capacity(256);
        parts.bytes(self.base.as_bytes());
        parts.bytes(draft.as_bytes());
        parts.debug(&(platform, ignition_version, node.role));
        Ok(parts.digest())
    }
}

/// Digest of what all payloads are made from: the tool with its profiles, the secrets, what was issued from them, and
/// how payloads are delivered. The node binaries are in the drafts that have them.
fn base(cluster: &Cluster, authority: &Authority, secrets: Sha256, tree: bool) -> Sha256 {
    let Cluster { delivery, certificate_validity, algorithm, .. } = cluster;
    // `Debug` shows every field, but of a file only the name.
    let ca = delivery.ca.as_ref().map(|ca| Sha256::of(&ca.bytes));
    let delivery = format!("{delivery:?} {ca:?} {algorithm:?} {certificate_validity} {tree}");
    let tool = concat!(env!("CARGO_PKG_VERSION"), " ", env!("NODEKILN_SOURCES"));
    let issued = authority.fingerprint();
    Sha256::of_parts([tool.as_bytes(), secrets.as_bytes(), issued.as_bytes(), delivery.as_bytes()])
}

/// `artifacts` as what `node` is given.
fn payload(node: &NodeName, artifacts: Vec<Artifact>) -> Vec<OutputFile> {
    let file = |Artifact { name, bytes }| OutputFile::new(format!("nodes/{node}/{name}"), FileRole::Payload, bytes);
    artifacts.into_iter().map(file).collect()
}

/// Refuses a payload that its platform would cut off or choke on.
fn budget(node: &Node, delivery: &Delivery, tree: &NodeTree, files: &[OutputFile]) -> Result<(), BakeError> {
    let Some(limit) = node.os.platform.limit() else { return Ok(()) };
    let given = files.iter().filter(|file| file.role == FileRole::Payload);
    let size = given.map(|file| file.bytes.expose().len()).max().unwrap_or(0);
    if size <= limit {
        return Ok(());
    }
    let mut sizes: Vec<_> = tree.files.iter().map(|file| (file.contents.expose().len(), file.path.as_str())).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    let largest =
        sizes.iter().take(3).map(|(size, path)| format!("{path} ({size} bytes)")).collect::<Vec<_>>().join(", ");
    let advice = smaller(delivery, node.os.profile.format);
    let platform = node.os.platform.name();
    Err(BakeError::Budget { node: node.name.clone(), platform, size, limit, largest, advice })
}

/// What makes a payload smaller, of what this system takes and what is not set yet.
fn smaller(delivery: &Delivery, format: Format) -> &'static str {
    match (format, &delivery.base_url, delivery.mode) {
        (Format::Ignition, None, _) => {
            "set `delivery.baseURL`, so that programs are fetched instead of carried, and `delivery.mode: pointer` if that \
             is not enough"
        }
        (Format::Ignition, Some(_), DeliveryMode::Inline) => {
            "set `delivery.mode: pointer`: the machine is given a stub, and fetches the rest"
        }
        (Format::Ignition, Some(_), DeliveryMode::Pointer) => "the stub is as large as `delivery.caFile`: shorten it",
        // cloud-init takes no pointer.
        (Format::CloudInit, None, _) => {
            "set `delivery.baseURL`, so that programs are fetched instead of carried; a volume labelled `cidata` \
             (`os.platform: metal`) takes any size"
        }
        (Format::CloudInit, Some(_), _) => {
            "carry less in `os.files`, or give the payload on a volume labelled `cidata`, which takes any size \
             (`os.platform: metal`)"
        }
    }
}

#[cfg(test)]
mod tests;
