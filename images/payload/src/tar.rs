//! `tree.tar`: what a payload lays down, for people and for tools that know neither Ignition nor cloud-init.
//!
//! Reproducible: entries by path, time 0, owner root by number and name. Folders that the tree does not name are left
//! out, so that unpacking over a system does not change their modes. Accounts and what a machine fetches are no files
//! and are not in it.

use crate::{
    check::CheckError,
    error::{DecodeError, EncodeError},
    laid::{self, Laid},
    profile::Profile,
    tree::{Artifact, NodeTree, UnitState},
};
use nodekiln_plan::{AbsPath, Mode, Secret};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Read as _},
};
use tar::{Archive, Builder, EntryType, Header};

const TREE: &str = "tree.tar";

/// Presets in the place of what Ignition writes to `20-ignition.preset`.
const PRESET: &str = "/etc/systemd/system-preset/20-nodekiln.preset";

/// An entry of a `tree.tar`. Everything is root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Where.
    pub path: AbsPath,
    /// Permission bits.
    pub mode: Mode,
    /// What.
    pub what: TarKind,
}

/// What an entry of a `tree.tar` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    /// A folder.
    Directory,
    /// A file.
    File(Secret),
    /// A symbolic link.
    Link(String),
}

/// Reads a `tree.tar` back, strict: what [`pack`] does not write is refused.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<TarEntry>, DecodeError> {
    let fault = || DecodeError::unexpected(TREE, "an entry");
    let mut archive = Archive::new(bytes);
    let mut entries: Vec<TarEntry> = Vec::new();
    for entry in archive.entries().map_err(|_| fault())? {
        let mut entry = entry.map_err(|_| fault())?;
        let name = entry.path_bytes().into_owned();
        let name = std::str::from_utf8(&name).map_err(|_| fault())?.trim_end_matches('/').to_owned();
        let wrong = |what| DecodeError::unexpected(&name, what);
        let header = entry.header();
        let owner = (header.uid().ok(), header.gid().ok(), header.mtime().ok());
        if owner != (Some(0), Some(0), Some(0)) {
            return Err(wrong("owner or time"));
        }
        let mode = format!("{:04o}", header.mode().map_err(|_| wrong("mode"))?);
        let mode = mode.parse().map_err(|_| wrong("mode"))?;
        let what = match header.entry_type() {
            EntryType::Directory => TarKind::Directory,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().and_then(|name| String::from_utf8(name.into_owned()).ok());
                TarKind::Link(target.ok_or_else(|| wrong("target"))?)
            }
            EntryType::Regular => {
                let mut contents = Vec::new();
                entry.read_to_end(&mut contents).map_err(|_| wrong("contents"))?;
                TarKind::File(Secret::new(contents))
            }
            _ => return Err(wrong("kind")),
        };
        let path: AbsPath = format!("/{name}").parse().map_err(|_| wrong("path"))?;
        if entries.last().is_some_and(|last| last.path >= path) {
            return Err(wrong("order"));
        }
        entries.push(TarEntry { path, mode, what });
    }
    Ok(entries)
}

/// Packs a tree without faults.
pub(crate) fn pack(tree: &NodeTree, profile: &Profile) -> Result<Artifact, EncodeError> {
    let fault = |_| EncodeError::Internal("a path that no tar archive can hold");
    let bytes = write(&entries(tree, profile)).map_err(fault)?;
    Ok(Artifact { name: TREE, bytes: Secret::new(bytes) })
}

/// Reads an archive back and compares it with what `tree` lays down.
pub(crate) fn check(tree: &NodeTree, archive: &Artifact, profile: &Profile) -> Result<(), CheckError> {
    let mut planned = entries(tree, profile);
    planned.retain(|_, what| !matches!(what, Laid::Fetch(..)));
    let mut differences = Vec::new();
    for TarEntry { path, mode, what } in unpack(archive.bytes.expose())? {
        let same = match (planned.remove(&path), what) {
            (Some(Laid::Directory(planned)), TarKind::Directory) => planned == mode,
            (Some(Laid::File(planned, bytes)), TarKind::File(read)) => planned == mode && *bytes == *read.expose(),
            (Some(Laid::Link(target)), TarKind::Link(read)) => target == read,
            _ => false,
        };
        if !same {
            differences.push(format!("{path}: different"));
        }
    }
    differences.extend(planned.keys().map(|path| format!("{path}: missing")));
    if differences.is_empty() { Ok(()) } else { Err(CheckError::Differs(differences)) }
}

/// All that lies somewhere, by path.
fn entries<'a>(tree: &'a NodeTree, profile: &Profile) -> BTreeMap<AbsPath, Laid<'a>> {
    let mut entries = laid::by_path(tree, profile.format);
    let preset = preset(tree);
    if !preset.is_empty() {
        let preset = Laid::File(Mode::PUBLIC, Cow::Owned(preset.into_bytes()));
        entries.insert(laid::parse(PRESET), preset);
    }
    entries
}

fn preset(tree: &NodeTree) -> String {
    let mut units: Vec<_> = tree.units.iter().collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    let lines = units.into_iter().filter_map(|unit| match unit.state {
        UnitState::Enabled => Some(format!("enable {}\n", unit.name)),
        UnitState::Disabled => Some(format!("disable {}\n", unit.name)),
        UnitState::Masked | UnitState::Unchanged => None,
    });
    lines.collect()
}

fn write(entries: &BTreeMap<AbsPath, Laid<'_>>) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, what) in entries {
        let name = path.as_str().trim_start_matches('/');
        match what {
            Laid::Directory(mode) => {
                tar.append_data(&mut header(EntryType::Directory, *mode, 0)?, format!("{name}/"), io::empty())?;
            }
            Laid::File(mode, bytes) => {
                let mut header = header(EntryType::Regular, *mode, bytes.len() as u64)?;
                tar.append_data(&mut header, name, bytes.as_ref())?;
            }
            Laid::Link(target) => {
                let mut header = header(EntryType::Symlink, "0777".parse().map_err(io::Error::other)?, 0)?;
                tar.append_link(&mut header, name, target)?;
            }
            Laid::Fetch(..) => {}
        }
    }
    tar.into_inner()
}

fn header(kind: EntryType, mode: Mode, size: u64) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode.bits());
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    Ok(header)
}
