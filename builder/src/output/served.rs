//! What an older output publishes for all machines, and which of it is still asked for where some nodes' payloads are kept.

use super::{
    folder,
    found::Found,
    manifest::{FileRole, FileRow},
    rows::{PartRows, Parts},
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
pub(super) fn of(older: &Found) -> Vec<FileRow> {
    older.files.others.iter().filter(|row| row.role == FileRole::Served).cloned().collect()
}

/// Those of `rows` that a payload of those of `parts` that are `kept`, whose files are in `folder`, fetches. Payloads are
/// read for it until all are known to be fetched: where the rows are empty, none is.
pub(super) fn fetched(folder: &Path, parts: &Parts, kept: &[usize], rows: Vec<FileRow>) -> Vec<FileRow> {
    let all: BTreeSet<Sha256> = rows.iter().map(|row| row.sha256).collect();
    if all.is_empty() {
        return rows;
    }
    let (found, codec) = (Mutex::new(BTreeSet::new()), Codec::default());
    parallel::each(kept.len(), |index| {
        let fetched = fetches(folder, parts.get(kept[index]), &codec);
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
fn fetches(folder: &Path, part: PartRows<'_>, codec: &Codec) -> Option<BTreeSet<Sha256>> {
    let profile = Profile::find(&part.row().profile)?;
    let names = profile.format.artifacts();
    let mut artifacts = Vec::new();
    for row in part.files() {
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
