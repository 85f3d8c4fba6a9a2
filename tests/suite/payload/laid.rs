//! What lies in a folder, against what a tree says.

use anyhow::Result;
use nodekiln_payload::{NodeTree, UnitState};
use std::{
    collections::BTreeMap,
    fmt, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// A place: its mode, and what is there.
#[derive(PartialEq, Eq)]
pub enum Place {
    Directory(u32),
    File(u32, Vec<u8>),
    Link(String),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Directory(mode) => write!(f, "directory {mode:04o}"),
            Place::File(mode, bytes) => write!(f, "file {mode:04o} {}", bytes.escape_ascii()),
            Place::Link(target) => write!(f, "link to {target}"),
        }
    }
}

/// Everything that a tree lays down by itself.
pub fn expected(tree: &NodeTree) -> BTreeMap<String, Place> {
    let mut all = BTreeMap::new();
    for directory in &tree.directories {
        all.insert(directory.path.to_string(), Place::Directory(directory.mode.bits()));
    }
    for file in &tree.files {
        all.insert(file.path.to_string(), Place::File(file.mode.bits(), file.contents.expose().to_vec()));
    }
    for link in &tree.links {
        all.insert(link.path.to_string(), Place::Link(link.target.clone()));
    }
    for unit in &tree.units {
        let path = format!("/etc/systemd/system/{}", unit.name);
        if let Some(contents) = &unit.contents {
            all.insert(path.clone(), Place::File(0o644, contents.clone().into_bytes()));
        }
        for dropin in &unit.dropins {
            all.insert(format!("{path}.d/{}", dropin.name), Place::File(0o644, dropin.contents.clone().into_bytes()));
        }
        if unit.state == UnitState::Masked {
            all.insert(path, Place::Link("/dev/null".into()));
        }
    }
    all
}

/// What is at the same paths below `root`, owned by `owner`.
pub fn found(root: &Path, want: &BTreeMap<String, Place>, owner: u32) -> Result<BTreeMap<String, Place>> {
    let mut all = BTreeMap::new();
    for path in want.keys() {
        let real = root.join(path.trim_start_matches('/'));
        let Ok(data) = fs::symlink_metadata(&real) else { continue };
        assert_eq!((data.uid(), data.gid()), (owner, owner), "{path}");
        let mode = data.permissions().mode() & 0o7777;
        let place = if data.is_symlink() {
            Place::Link(fs::read_link(&real)?.to_string_lossy().into_owned())
        } else if data.is_dir() {
            Place::Directory(mode)
        } else {
            Place::File(mode, fs::read(&real)?)
        };
        all.insert(path.clone(), place);
    }
    Ok(all)
}

/// Asserts that all of `want` is below `root`, and nothing else is different.
pub fn assert_laid(root: &Path, want: &BTreeMap<String, Place>, owner: u32) -> Result<()> {
    let found = found(root, want, owner)?;
    for (path, place) in want {
        assert_eq!(found.get(path), Some(place), "{path}");
    }
    Ok(())
}
