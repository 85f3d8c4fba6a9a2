//! `manifest.json`: every file of an output folder, and what it was made from.

use crate::pki::table::Duty;
use nodekiln_plan::{NodeName, Role, Sha256};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

/// File name in the output.
pub const MANIFEST: &str = "manifest.json";

/// What stands in the place of a digest of a whole of which it is a part, while that is made.
pub const UNSEALED: Sha256 = Sha256::from_bytes([0; 32]);

/// What an output folder holds. The manifest itself is not among its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `nodekiln`: what makes a folder ours.
    pub made_by: String,
    /// Version of this format.
    pub version: u32,
    /// Version of the tool.
    pub tool: String,
    /// Digests of cluster.yaml and the files that it names, by path as written there.
    pub inputs: BTreeMap<String, Sha256>,
    /// Fingerprint of secrets.yaml.
    pub secrets: Sha256,
    /// Digests of the node binaries used, by architecture.
    pub firstboot: BTreeMap<String, Sha256>,
    /// One row per node, in the order of cluster.yaml.
    pub nodes: Vec<NodeRow>,
    /// One row per file, by path.
    pub files: Vec<FileRow>,
    /// Digest of all of the above, so that no byte of it changes unseen: of this manifest's JSON without spaces, with
    /// [`UNSEALED`] here.
    pub digest: Sha256,
}

/// A node of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRow {
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// What it does, as far as that says which keys it may hold.
    pub duties: Vec<Duty>,
    /// Its OS profile.
    pub profile: String,
    /// Digest of all that its payload was made from.
    pub key: Sha256,
    /// Digest of this row, of the node's files and of the keys that it holds: whether they are as they were written.
    pub seal: Sha256,
    /// Earliest time at which the payload may boot, seconds since the Unix epoch.
    pub not_before: i64,
    /// Latest time at which it may: the earliest end of a leaf or token that it authenticates with.
    pub boot_before: i64,
}

/// What a file of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileRole {
    /// What a machine is given.
    Payload,
    /// The plan of a node, or its API objects.
    Plan,
    /// What a payload lays down, format-neutral.
    Tree,
    /// `placement.json`.
    Placement,
    /// A kubeconfig for people.
    Kubeconfig,
    /// The cluster's CA bundle.
    Ca,
    /// A file that machines fetch.
    Served,
}

/// A file of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRow {
    /// Relative to the output.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub role: FileRole,
    /// The node it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

impl Manifest {
    /// [`Manifest::made_by`].
    pub const MADE_BY: &'static str = "nodekiln";
    /// [`Manifest::version`].
    pub const VERSION: u32 = 1;

    /// The folders that its files lie in, the output itself being the empty path.
    pub fn folders(&self) -> BTreeSet<&str> {
        let paths = self.files.iter().map(|row| row.path.as_str());
        paths.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).chain([""]).collect()
    }

    /// Fills in the digest of the rest.
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn set_digest(&mut self) -> Result<(), serde_json::Error> {
        self.digest = UNSEALED;
        let mut hashing = Hashing::new(std::io::sink());
        serde_json::to_writer(&mut hashing, self)?;
        self.digest = hashing.finish().0;
        Ok(())
    }

    /// The bytes of `manifest.json`: JSON with a line for each entry, with the digest of the rest.
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn seal(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        self.set_digest()?;
        let mut bytes = Vec::new();
        nodekiln_plan::json::to_writer(&mut bytes, self)?;
        Ok(bytes)
    }
}

/// A writer that knows what went through it.
pub(super) struct Hashing<W> {
    to: W,
    hasher: sha2::Sha256,
    size: u64,
}

impl<W: io::Write> Hashing<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, hasher: sha2::Sha256::new(), size: 0 }
    }

    /// Digest and number of the bytes that were written.
    pub(super) fn finish(self) -> (Sha256, u64) {
        (Sha256::from_bytes(self.hasher.finalize().into()), self.size)
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
