//! [`Part`]: a node's part of an output, all of it.

use super::{
    manifest::{FileRow, NodeRow},
    placement::Holding,
};
use crate::digest::Parts;
use nodekiln_plan::{NodeName, Sha256};

/// A node's part of an output, as the next build may take it over. What is kept of it until the end is
/// [`Parts`](super::Parts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its row.
    pub row: NodeRow,
    /// Its files, by path. All of them say that they are its.
    pub files: Vec<FileRow>,
    /// The keys that its payload holds.
    pub holdings: Vec<Holding>,
}

impl Part {
    /// Digest of all of this but itself.
    pub fn seal(row: &NodeRow, files: &[FileRow], holdings: &[Holding]) -> Sha256 {
        let NodeRow { name, role, duties, profile, key, seal: _, not_before, boot_before } = row;
        let mut parts = Parts::with_capacity(1024);
        parts.text(name.as_str());
        parts.format(format_args!("{role:?} {duties:?}"));
        parts.text(profile);
        parts.bytes(key.as_bytes());
        parts.bytes(&not_before.to_be_bytes());
        parts.bytes(&boot_before.to_be_bytes());
        parts.count(files.len());
        for FileRow { path, sha256, size, role, node } in files {
            let node = node.as_ref().map(NodeName::as_str).unwrap_or_default();
            parts.format(format_args!("{path}\n{sha256}\n{size}\n{role:?}\n{node}"));
        }
        for Holding { key, path, spki, custody } in holdings {
            parts.format(format_args!("{key}\n{path}\n{spki}\n{custody}"));
        }
        parts.digest()
    }
}
