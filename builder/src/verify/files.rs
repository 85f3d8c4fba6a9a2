//! The files as such: those that the manifest lists are there, as it says, and no others.

use super::{Findings, is_there};
use crate::output::{
    folder::{Entry, EntryKind, ReadError, Source},
    manifest::{FileRole, FileRow, MANIFEST, Manifest},
};
use nodekiln_plan::Sha256;
use std::collections::{BTreeMap, BTreeSet};

/// Modes of an output: nobody else reads it.
const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Reads manifest.json, every byte of which counts.
pub(super) fn manifest(source: &dyn Source, found: &mut Findings) -> Result<Option<Manifest>, ReadError> {
    if source.entries().get(MANIFEST).is_none_or(|entry| entry.kind != EntryKind::File) {
        found.add(MANIFEST, "is missing: this is no output of nodekiln's");
        return Ok(None);
    }
    let bytes = source.read(MANIFEST)?;
    let parsed: Manifest = match serde_json::from_slice(bytes.expose()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            found.add(MANIFEST, format!("is no manifest of nodekiln's: {place}"));
            return Ok(None);
        }
    };
    if parsed.made_by != Manifest::MADE_BY {
        found.add(MANIFEST, "is no manifest of nodekiln's");
        return Ok(None);
    }
    if parsed.version != Manifest::VERSION {
        let (theirs, ours) = (parsed.version, Manifest::VERSION);
        found.add(MANIFEST, format!("has version {theirs}, and this nodekiln reads version {ours}: build again"));
        return Ok(None);
    }
    let mut sealed = parsed.clone();
    if !sealed.seal().is_ok_and(|due| due == bytes.expose()) {
        found.add(MANIFEST, "was changed: it is not what its own digest says");
    }
    Ok(Some(parsed))
}

/// The rows whose files can be read, by path. Everything else about what is there and what is not is a finding.
pub(super) fn listed<'m>(
    source: &dyn Source,
    manifest: &'m Manifest,
    found: &mut Findings,
) -> BTreeMap<&'m str, &'m FileRow> {
    let mut rows = BTreeMap::new();
    for row in &manifest.files {
        if rows.insert(row.path.as_str(), row).is_some() {
            found.add(&row.path, "is listed twice");
        }
    }
    let folders = manifest.folders();
    for (path, Entry { kind, mode, .. }) in source.entries() {
        let is_file = path == MANIFEST || rows.contains_key(path.as_str());
        let is_folder = folders.contains(path.as_str());
        let (due, what) = match kind {
            EntryKind::Directory if is_folder => (FOLDER, ""),
            EntryKind::File if is_file => (FILE, ""),
            EntryKind::Directory => (FOLDER, "a folder"),
            EntryKind::File => (FILE, "a file"),
            EntryKind::Link => (*mode, "a symbolic link"),
            EntryKind::Other => (*mode, "neither file nor folder"),
        };
        match (is_file, is_folder) {
            _ if what.is_empty() && *mode == due => {}
            _ if what.is_empty() => found.add(path, format!("has mode {mode:04o}, not {due:04o}")),
            (true, _) => found.add(path, format!("is {what}, and should be a file")),
            (_, true) => found.add(path, format!("is {what}, and should be a folder")),
            _ => found.add(path, format!("is {what} that the manifest does not list")),
        }
    }
    for (path, row) in &rows {
        match source.entries().get(*path) {
            None => found.add(path, "is missing"),
            Some(entry) if entry.kind == EntryKind::File && entry.size != row.size => {
                found.add(path, format!("has {} bytes, the manifest says {}", entry.size, row.size));
            }
            Some(_) => {}
        }
    }
    rows.retain(|path, _| is_there(source, path));
    rows
}

/// Digests of all files, and whose they are.
pub(super) fn contents(
    source: &dyn Source,
    manifest: &Manifest,
    rows: &BTreeMap<&str, &FileRow>,
    found: &mut Findings,
) -> Result<(), ReadError> {
    let nodes: BTreeSet<_> = manifest.nodes.iter().map(|row| row.name.as_str()).collect();
    if nodes.len() != manifest.nodes.len() {
        found.add(MANIFEST, "lists a node twice");
    }
    for (path, row) in rows {
        if Sha256::of(source.read(path)?.expose()) != row.sha256 {
            found.add(path, "was changed: its digest is not the manifest's");
        }
        let of_node = path.strip_prefix("nodes/").and_then(|rest| rest.split_once('/')).map(|(node, _)| node);
        let due = match *path {
            "ca.crt" => row.role == FileRole::Ca,
            "placement.json" => row.role == FileRole::Placement,
            path if path.starts_with("serve/") => row.role == FileRole::Served,
            path if path.contains('/') => of_node.is_some_and(|node| nodes.contains(node)),
            _ => row.role == FileRole::Kubeconfig,
        };
        let owner = row.node.as_ref().map(|name| name.as_str());
        if !due || (of_node.is_some() && owner != of_node) {
            found.add(path, "is listed as something that it is not");
        }
    }
    Ok(())
}
