//! `manifest.json`: every file of an output folder, and what it was made from.

use crate::pki::table::Duty;
use nodekiln_payload::Profile;
use nodekiln_plan::{NodeName, Role, Sha256, json::Object};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Digest as _;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    sync::Arc,
};

/// File name in the output.
pub const MANIFEST: &str = "manifest.json";

/// What stands in the place of a digest of a whole of which it is a part, while that is made.
pub const UNSEALED: Sha256 = Sha256::from_bytes([0; 32]);

/// What an output folder holds. The manifest itself is not among its files. Its rows may be kept in other ways than as lists,
/// if they are written and read as such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest<N = Vec<NodeRow>, F = Vec<FileRow>> {
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
    pub nodes: N,
    /// One row per file, by path.
    pub files: F,
    /// Digest of all of the above, so that no byte of it changes unseen: of the file up to the comma before this.
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
    pub duties: Arc<[Duty]>,
    /// Its OS profile.
    #[serde(deserialize_with = "profile")]
    pub profile: Cow<'static, str>,
    /// Digest of all that its payload was made from.
    pub key: Sha256,
    /// Digest of this row, of the node's files and of the keys that it holds: whether they are as they were written.
    pub seal: Sha256,
    /// Earliest time at which the payload may boot, seconds since the Unix epoch.
    pub not_before: i64,
    /// Latest time at which it may: the earliest end of a leaf or token that it authenticates with.
    pub boot_before: i64,
}

/// The name of a profile, which is in memory already.
fn profile<'de, D: Deserializer<'de>>(from: D) -> Result<Cow<'static, str>, D::Error> {
    let name = String::deserialize(from)?;
    Ok(Profile::find(&name).map_or(Cow::Owned(name), |profile| Cow::Borrowed(&profile.name)))
}

/// What a file of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    pub const VERSION: u32 = 2;

    /// The folders that its files lie in, the output itself being the empty path.
    pub fn folders(&self) -> BTreeSet<&str> {
        let paths = self.files.iter().map(|row| row.path.as_str());
        paths.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).chain([""]).collect()
    }
}

impl<N: Serialize, F: Serialize> Manifest<N, F> {
    /// Writes `manifest.json`, JSON with a line for each entry, and fills in its digest on the way: ten thousand nodes' is
    /// gone through once. Tells the digest and the size of the whole file.
    ///
    /// # Errors
    /// Those of `out`: all keys are strings.
    pub fn write(&mut self, out: impl io::Write) -> Result<(Sha256, u64), serde_json::Error> {
        let Self { made_by, version, tool, inputs, secrets, firstboot, nodes, files, digest } = self;
        let mut object = Object::new(io::BufWriter::with_capacity(1 << 16, Hashing::new(out)));
        object.field("madeBy", made_by)?;
        object.field("version", version)?;
        object.field("tool", tool)?;
        object.field("inputs", inputs)?;
        object.field("secrets", secrets)?;
        object.field("firstboot", firstboot)?;
        object.field("nodes", nodes)?;
        object.field("files", files)?;
        let out = object.get_mut();
        out.flush().map_err(serde_json::Error::io)?;
        *digest = out.get_ref().digest();
        object.field("digest", digest)?;
        let hashing = object.end().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        Ok(hashing.map_err(serde_json::Error::io)?.finish())
    }

    /// The bytes of `manifest.json`, see [`Manifest::write`].
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn seal(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
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

    /// Digest of the bytes that were written up to now.
    fn digest(&self) -> Sha256 {
        Sha256::from_bytes(self.hasher.clone().finalize().into())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written field by field is what serde makes of it, and the digest is of what stands before it.
    #[test]
    fn the_text_is_the_manifests() {
        let row = |path: &str| FileRow {
            path: path.to_owned(),
            sha256: Sha256::of(path.as_bytes()),
            size: 7,
            role: FileRole::Payload,
            node: path.ends_with("ign").then(|| "n1".parse().unwrap()),
        };
        for (inputs, files) in [(vec![], vec![]), (vec![("cluster.yaml".to_owned(), UNSEALED)], vec!["a.ign", "b"])] {
            let mut manifest = Manifest {
                made_by: Manifest::MADE_BY.to_owned(),
                version: Manifest::VERSION,
                tool: "0.1.0".to_owned(),
                inputs: inputs.into_iter().collect(),
                secrets: Sha256::of(b"secrets"),
                firstboot: BTreeMap::new(),
                nodes: vec![],
                files: files.into_iter().map(row).collect(),
                digest: UNSEALED,
            };
            let mut bytes = Vec::new();
            let written = manifest.write(&mut bytes).unwrap();
            assert_eq!(written, (Sha256::of(&bytes), bytes.len() as u64));
            assert_eq!(manifest.seal().unwrap(), bytes);
            assert_eq!(serde_json::from_slice::<Manifest>(&bytes).unwrap(), manifest);
            let mut whole = Vec::new();
            nodekiln_plan::json::to_writer(&mut whole, &manifest).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(whole.clone()).unwrap());
            let end = format!(",\n  \"digest\": \"{}\"\n}}\n", manifest.digest);
            let before = whole.strip_suffix(end.as_bytes()).unwrap();
            assert_eq!(manifest.digest, Sha256::of(before));
        }
    }
}
