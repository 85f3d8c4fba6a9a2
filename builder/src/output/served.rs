//! What an older output publishes for all machines, and which of it is still asked for where some nodes' payloads are kept.

use super::{
    folder,
    manifest::{FileRole, FileRow, Manifest},
    reuse::Part,
};
use crate::parallel;
use nodekiln_payload::{Artifact, Codec, Profile, Verification};
use nodekiln_plan::Sha256;
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Where what has this digest is published, relative to the output.
pub(super) fn path(digest: &Sha256) -> String {
    format!("serve/blobs/{digest}")
}

/// What `older` publishes for all.
pub(super) fn of(older: &Manifest) -> Vec<FileRow> {
    older.files.iter().filter(|row| row.role == FileRole::Served && row.node.is_none()).cloned().collect()
}

/// Those of `rows` that a payload of `kept`, whose files are in `folder`, fetches. Payloads are read for it until all are
/// known to be fetched: where the rows are empty, none is.
pub(super) fn fetched(folder: &Path, kept: &[&Part], rows: Vec<FileRow>) -> Vec<FileRow> {
    let all: BTreeSet<Sha256> = rows.iter().map(|row| row.sha256).collect();
    if all.is_empty() {
        return rows;
    }
    let (found, codec) = (Mutex::new(BTreeSet::new()), Codec::default());
    parallel::each(kept.len(), |index| {
        let fetched = fetches(folder, kept[index], &codec);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Some(digests) => found.extend(digests.intersection(&all)),
            // Whatever it fetches, it is not taken away.
            None => found.clone_from(&all),
        }
        if *found == all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.into_iter().filter(|row| found.contains(&row.sha256)).collect()
}

/// The digests of the published files that the payload of `part` fetches; `None` if it cannot be read.
fn fetches(folder: &Path, part: &Part, codec: &Codec) -> Option<BTreeSet<Sha256>> {
    let profile = Profile::find(&part.row.profile)?;
    let names = profile.format.artifacts();
    let mut artifacts = Vec::new();
    for row in &part.files {
        let name = match row.role {
            // Where a stub points.
            FileRole::Served => names.first(),
            FileRole::Payload => names.iter().find(|name| row.path.rsplit('/').next() == Some(**name)),
            _ => None,
        };
        if let Some(name) = name {
            artifacts.push(Artifact { name, bytes: folder::read(&folder.join(&row.path)).ok()? });
        }
    }
    let tree = codec.decode(&artifacts, profile).ok()?;
    let digests = tree.fetches.iter().filter_map(|fetch| match &fetch.verification {
        Verification::Sha256(digest) if fetch.url.ends_with(&format!("/blobs/{digest}")) => Some(*digest),
        _ => None,
    });
    Some(digests.collect())
}
