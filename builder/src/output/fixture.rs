//! Rows for tests.

use super::{
    manifest::{FileRole, FileRow, NodeRow, UNSEALED},
    placement::Holding,
};
use nodekiln_plan::{NodeName, Role, Sha256};

/// A worker.
pub(super) fn node(name: &NodeName) -> NodeRow {
    NodeRow {
        name: name.clone(),
        role: Role::Worker,
        duties: [].into(),
        profile: "flatcar".into(),
        key: Sha256::of(b"key"),
        seal: UNSEALED,
        not_before: 0,
        boot_before: 1,
    }
}

/// A payload.
pub(super) fn file(path: &str, node: Option<&NodeName>) -> FileRow {
    FileRow {
        path: path.to_owned(),
        sha256: Sha256::of(path.as_bytes()),
        size: path.len() as u64,
        role: FileRole::Payload,
        node: node.cloned(),
    }
}

/// A key in its place.
pub(super) fn holding(key: &str, path: &str) -> Holding {
    Holding { key: key.into(), path: path.into(), spki: Sha256::of(key.as_bytes()), custody: "kept".into() }
}
