//! The stage `files`: folders, staged files, the kubelet's first certificate, archives.

mod archive;

use crate::{
    host::{Host, Kind},
    preflight::{self, restore_labels},
    stage::Context,
};
use anyhow::{Context as _, bail};
use nodekiln_plan::{AbsPath, FileEntry, FileKind, Mode, NodePlan};
use std::path::Path;

/// What is to do. Computed from the plan and the file system, then done.
#[derive(Debug, PartialEq, Eq)]
enum Action<'a> {
    MakeDir(&'a AbsPath, Mode),
    /// Put the staged file to its place, then remove it where it was staged.
    Place(&'a FileEntry, &'a AbsPath),
    /// The file is in its place: remove what is still staged.
    Unstage(&'a AbsPath),
    SetMode(&'a AbsPath, Mode),
    Seed(&'a FileEntry, &'a AbsPath),
}

/// The stage.
///
/// # Errors
/// A file of the payload is missing or damaged; the file system's; a check of the programs.
pub async fn files(c: &Context<'_>) -> anyhow::Result<()> {
    for action in actions(c.host, c.plan)? {
        apply(c, &action)?;
    }
    for archive in &c.plan.class.archives {
        archive::unpack(c, archive)?;
    }
    let mut laid: Vec<&str> = c.plan.class.directories.iter().map(|entry| entry.path.as_str()).collect();
    laid.extend(c.plan.files.iter().filter(|e| e.kind != FileKind::Credential).map(|e| e.path.as_str()));
    laid.extend(c.plan.class.archives.iter().map(|archive| archive.into.as_str()));
    laid.retain(|path| c.host.stat(Path::new(path)).ok().flatten().is_some());
    restore_labels(c, &laid)?;
    preflight::at(c, preflight::Moment::Files)
}

/// All files are looked at before the first is touched: a damaged payload changes nothing.
fn actions<'a>(host: &dyn Host, plan: &'a NodePlan) -> anyhow::Result<Vec<Action<'a>>> {
    let mut actions: Vec<_> =
        plan.class.directories.iter().map(|entry| Action::MakeDir(&entry.path, entry.mode)).collect();
    let mut faults = Vec::new();
    for entry in &plan.files {
        if let Err(fault) = plan_file(host, plan, entry, &mut actions) {
            faults.push(format!("{fault:#}"));
        }
    }
    if !faults.is_empty() {
        bail!("the payload is damaged: {}", faults.join("; "));
    }
    Ok(actions)
}

fn plan_file<'a>(
    host: &dyn Host,
    plan: &NodePlan,
    entry: &'a FileEntry,
    actions: &mut Vec<Action<'a>>,
) -> anyhow::Result<()> {
    match (entry.kind, &entry.staged) {
        (FileKind::Laid, _) => {
            expect(host, &entry.path, entry)?;
            let stat = host.stat(entry.path.as_path())?;
            if stat.is_some_and(|stat| stat.kind == Kind::File && stat.mode != entry.mode.bits()) {
                actions.push(Action::SetMode(&entry.path, entry.mode));
            }
        }
        (FileKind::Staged, Some(staged)) => match host.stat(staged.as_path())? {
            Some(_) => {
                expect(host, staged, entry)?;
                let placed = digest_is(host, &entry.path, entry)?
                    && host.stat(entry.path.as_path())?.is_some_and(|stat| stat.mode == entry.mode.bits());
                actions.push(if placed { Action::Unstage(staged) } else { Action::Place(entry, staged) });
            }
            None => expect(host, &entry.path, entry)?,
        },
        (FileKind::Decided | FileKind::Credential, Some(staged)) => expect(host, staged, entry)?,
        (FileKind::Seed, Some(staged)) => {
            let there = host.stat(entry.path.as_path())?.is_some();
            match host.stat(staged.as_path())? {
                // One of an earlier cluster, or one that ran out while the machine was off, is as good as none.
                Some(_) if there && is_good(host, plan, entry) => actions.push(Action::Unstage(staged)),
                Some(_) => {
                    expect(host, staged, entry)?;
                    actions.push(Action::Seed(entry, staged));
                }
                None if there => {}
                None => bail!("{staged} is missing"),
            }
        }
        (_, None) => bail!("{} has no staged path in the plan", entry.path),
    }
    Ok(())
}

/// Whether the API server takes the pair that is there.
fn is_good(host: &dyn Host, plan: &NodePlan, entry: &FileEntry) -> bool {
    let pair = host.read(entry.path.as_path()).map(zeroize::Zeroizing::new);
    match (host.read(plan.class.kubelet.ca.as_path()), pair) {
        (Ok(ca), Ok(pair)) => crate::tls::is_good_client(&ca, &pair, host.now()),
        _ => false,
    }
}

fn apply(c: &Context<'_>, action: &Action<'_>) -> anyhow::Result<()> {
    let host = c.host;
    match action {
        Action::MakeDir(path, mode) => {
            host.make_dir(path.as_path(), mode.bits()).with_context(|| format!("making {path}"))
        }
        Action::SetMode(path, mode) => {
            host.set_mode(path.as_path(), mode.bits()).with_context(|| format!("setting the mode of {path}"))
        }
        Action::Place(entry, staged) => {
            make_parent(host, &entry.path)?;
            let bytes = host.read(staged.as_path()).with_context(|| format!("reading {staged}"))?;
            let bytes = zeroize::Zeroizing::new(bytes);
            host.replace(entry.path.as_path(), entry.mode.bits(), &bytes)
                .with_context(|| format!("writing {}", entry.path))?;
            host.remove(staged.as_path()).with_context(|| format!("removing {staged}"))
        }
        Action::Unstage(staged) => host.remove(staged.as_path()).with_context(|| format!("removing {staged}")),
        Action::Seed(entry, staged) => seed(c, entry, staged),
    }
}

/// As the kubelet's certificate manager stores it: a dated file, and a symlink to it. The date is the plan's, so that a
/// second try writes the same file.
fn seed(c: &Context<'_>, entry: &FileEntry, staged: &AbsPath) -> anyhow::Result<()> {
    let name = entry.path.file_name();
    let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, "pem"));
    let stem = stem.strip_suffix("-current").unwrap_or(stem);
    let dated = format!("{stem}-{}.{suffix}", crate::tls::file_date(c.plan.identity.not_before));
    make_parent(c.host, &entry.path)?;
    let bytes = c.host.read(staged.as_path()).with_context(|| format!("reading {staged}"))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let target = entry.path.as_path().with_file_name(&dated);
    c.host.replace(&target, entry.mode.bits(), &bytes).with_context(|| format!("writing {}", target.display()))?;
    c.host.symlink(&target, entry.path.as_path()).with_context(|| format!("linking {}", entry.path))?;
    c.host.remove(staged.as_path()).with_context(|| format!("removing {staged}"))
}

fn make_parent(host: &dyn Host, path: &AbsPath) -> anyhow::Result<()> {
    match path.parent() {
        Some(parent) if host.stat(parent.as_path())?.is_none() => {
            host.make_dir(parent.as_path(), 0o755).with_context(|| format!("making {parent}"))
        }
        _ => Ok(()),
    }
}

/// Whether the file at `path` has the planned digest.
///
/// # Errors
/// The file system's; a file that is not there has not.
pub fn digest_is(host: &dyn Host, path: &AbsPath, entry: &FileEntry) -> anyhow::Result<bool> {
    match host.digest(path.as_path()) {
        Ok(digest) => Ok(digest == entry.sha256),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("reading {path}")),
    }
}

fn expect(host: &dyn Host, path: &AbsPath, entry: &FileEntry) -> anyhow::Result<()> {
    if host.stat(path.as_path())?.is_none() {
        bail!("{path} is missing");
    }
    if !digest_is(host, path, entry)? {
        bail!("{path} has not the planned content");
    }
    Ok(())
}
