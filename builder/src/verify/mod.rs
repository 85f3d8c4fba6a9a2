//! Whether an output is what it was when it was made, and what it should be: every byte, every chain, every key.
//!
//! Nothing is believed of one file that another can tell: sizes and digests are counted again, payloads decoded, chains
//! verified, and the placement of keys is found anew from what the payloads hold. No secrets are needed for it. All
//! findings come at once.

#[cfg(test)]
mod breadth;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod keys;
mod node;
#[cfg(test)]
mod tests;

use crate::output::{
    folder::{ReadError, Source},
    manifest::{MANIFEST, Manifest, NodeRow},
};
use nodekiln_payload::NodeTree;
use serde::Serialize;
use std::collections::BTreeSet;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, relative to the output; empty for the folder itself.
    pub file: String,
    /// What is wrong with it.
    pub message: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// How many payloads there are.
    pub nodes: usize,
    /// How many files the manifest lists.
    pub files: usize,
    /// From then on the first of the payloads does not boot any more, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_before: Option<i64>,
    /// What is wrong, by file.
    pub findings: Vec<Finding>,
}

/// The findings while they are made.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, file: &str, message: impl Into<String>) {
        self.0.push(Finding { file: file.to_owned(), message: message.into() });
    }
}

/// Reads all of `source`.
///
/// # Errors
/// A file that is there and cannot be read: that is the machine's fault, not the output's.
pub fn verify(source: &dyn Source) -> Result<Report, ReadError> {
    let (manifest, mut found) = of_bytes(source)?;
    if let Some(manifest) = &manifest {
        let rows = files::listed(source, manifest, &mut Findings::default());
        keys::all(source, manifest, &rows, &mut found)?;
    }
    Ok(report(manifest.as_ref(), found))
}

/// What can be said without looking into any file but the manifest.
fn of_bytes(source: &dyn Source) -> Result<(Option<Manifest>, Findings), ReadError> {
    let mut found = Findings::default();
    let manifest = files::manifest(source, &mut found)?;
    if let Some(manifest) = &manifest {
        let rows = files::listed(source, manifest, &mut found);
        files::contents(source, manifest, &rows, &mut found)?;
    }
    Ok((manifest, found))
}

fn report(manifest: Option<&Manifest>, found: Findings) -> Report {
    let mut findings = found.0;
    findings.sort();
    findings.dedup();
    Report {
        sound: findings.is_empty(),
        nodes: manifest.map_or(0, |manifest| manifest.nodes.len()),
        files: manifest.map_or(0, |manifest| manifest.files.len()),
        boot_before: manifest.and_then(|manifest| manifest.nodes.iter().map(|row| row.boot_before).min()),
        findings,
    }
}

/// The payload of a node; the inner error says why it cannot be decoded.
pub(crate) fn decoded(source: &dyn Source, row: &NodeRow) -> Result<Result<NodeTree, String>, ReadError> {
    let mut found = Findings::default();
    let read = node::read(source, row, &mut BTreeSet::new(), &mut found)?;
    let why = || found.0.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join(", ");
    Ok(read.map(|read| read.tree).ok_or_else(why))
}

/// A finding about a file that the manifest names and that is not there is made once, by `files`.
fn is_there(source: &dyn Source, path: &str) -> bool {
    path != MANIFEST
        && source.entries().get(path).is_some_and(|entry| entry.kind == crate::output::folder::EntryKind::File)
}
