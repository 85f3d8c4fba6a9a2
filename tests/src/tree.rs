//! A folder as a value, to compare what two builds made.

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

/// Mode and digest by path; folders have no digest, and of a link the digest is its target's name.
pub type Tree = BTreeMap<String, (u32, String)>;

/// Everything below `folder`.
pub fn tree(folder: &Path) -> Result<Tree> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            let digest = if metadata.is_dir() {
                String::new()
            } else if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path)?.display())
            } else {
                hex::encode(Sha256::digest(fs::read(&path)?))
            };
            found.insert(name, (metadata.permissions().mode() & 0o7777, digest));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(found)
}
