//! Erasing the payload's leftovers and credentials.
//!
//! Files are unlinked and their folder synced. Overwriting them first would do nothing on flash and copy-on-write
//! file systems.

use crate::{
    host::{Host, Kind},
    stage::{Context, Marker, Notes, mark, marker},
};
use anyhow::{Context as _, bail};
use nodekiln_plan::{AbsPath, FileKind, paths};
use std::{io, path::Path};

/// The marker that remembers, for result.json, what runs that came to no end erased.
const MARKER: &str = "scrub";

pub(super) fn scrub(c: &Context<'_>) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for path in targets(c)? {
        if c.host.stat(Path::new(&path)).with_context(|| format!("looking for {path}"))?.is_some() {
            found.push(path);
        }
    }
    let known = marker(c.host, MARKER, &c.digest)?.map(|marker| marker.notes.scrubbed).unwrap_or_default();
    let mut scrubbed = [known.as_slice(), found.as_slice()].concat();
    scrubbed.sort();
    scrubbed.dedup();
    if scrubbed.len() > known.len() {
        let notes = Notes { scrubbed: scrubbed.clone(), ..Notes::default() };
        let at = c.host.now().as_secs_f64();
        mark(c.host, MARKER, &Marker { plan: c.digest, boot: c.boot.clone(), at, seconds: 0.0, notes })?;
    }
    let mut failed = Vec::new();
    let mut beyond_reach = Vec::new();
    for path in found {
        match erase(c.host, &path) {
            Ok(()) => {}
            Err(e) if is_read_only(&e) && !holds_credential(c, &path) => {
                c.status.warn(&format!("{path} cannot be erased: {e}"));
                beyond_reach.push(format!("{path} ({e})"));
                scrubbed.retain(|erased| *erased != path);
            }
            Err(e) => failed.push(format!("{path}: {e}")),
        }
    }
    let mut notes = c.notes.borrow_mut();
    notes.scrubbed = scrubbed;
    notes.beyond_reach = beyond_reach;
    drop(notes);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("erasing {}", failed.join(", "))
}

/// What another try does not erase either: a read-only file system, a file that may not be changed.
fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Whether the API credential is there, or below. It must never stay.
fn holds_credential(c: &Context<'_>, path: &str) -> bool {
    let credentials = c.plan.files.iter().filter(|entry| entry.kind == FileKind::Credential);
    credentials.filter_map(|entry| entry.staged.as_ref()).any(|staged| staged.as_path().starts_with(path))
}

/// Everything to erase: the plan's leftovers, the credential, the API objects (they hold join tokens), and the stage
/// folder but for the decided template.
fn targets(c: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for pattern in &c.plan.class.finalize.scrub {
        all.extend(matches(c.host, pattern)?);
    }
    let kept: Vec<&AbsPath> = c
        .plan
        .files
        .iter()
        .filter(|entry| entry.kind == FileKind::Decided)
        .filter_map(|entry| entry.staged.as_ref())
        .collect();
    for entry in c.plan.files.iter().filter(|entry| entry.kind == FileKind::Credential) {
        all.extend(entry.staged.iter().map(ToString::to_string));
    }
    all.push(paths::API_OBJECTS.to_owned());
    below(c.host, paths::STAGE_DIR, &kept, &mut all)?;
    all.sort();
    all.dedup();
    Ok(all)
}

/// What lies in a folder and is not kept; whole folders where nothing in them is.
fn below(host: &dyn Host, folder: &str, kept: &[&AbsPath], all: &mut Vec<String>) -> anyhow::Result<()> {
    for name in host.list(Path::new(folder)).with_context(|| format!("listing {folder}"))? {
        let path = format!("{folder}/{name}");
        if kept.iter().any(|keep| keep.as_str() == path) {
            continue;
        }
        if kept.iter().any(|keep| keep.as_str().starts_with(&format!("{path}/"))) {
            below(host, &path, kept, all)?;
        } else {
            all.push(path);
        }
    }
    Ok(())
}

/// The names that a pattern stands for: `*` in its last part is any text.
fn matches(host: &dyn Host, pattern: &AbsPath) -> anyhow::Result<Vec<String>> {
    let name = pattern.file_name();
    let (true, Some(parent)) = (name.contains('*'), pattern.parent()) else { return Ok(vec![pattern.to_string()]) };
    let names = host.list(parent.as_path()).with_context(|| format!("listing {parent}"))?;
    let base = parent.as_str().trim_end_matches('/');
    Ok(names.into_iter().filter(|found| fits(name, found)).map(|found| format!("{base}/{found}")).collect())
}

fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

fn erase(host: &dyn Host, path: &str) -> io::Result<()> {
    let path = Path::new(path);
    match host.stat(path)?.map(|stat| stat.kind) {
        None => Ok(()),
        Some(Kind::Dir) => host.remove_tree(path),
        Some(_) => host.remove(path),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars() {
        for (pattern, name) in [("a", "a"), ("a*", "abc"), ("*.txt", "x.txt"), ("a*b*c", "a1b2c"), ("*", "")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*", "ba"), ("*.txt", "x.tx"), ("a*b*c", "a1c"), ("a*b", "ba")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
