//! What an older output still has of use: the files of nodes whose payload would come out the same.
//!
//! A key in manifest.json is a cache, never an input. It says what a payload was made from; the seal beside it says that
//! the row, the files and what they hold are as they were written; and each file is read again before it is linked.
//! Whatever does not agree is made anew.

use super::{
    folder,
    manifest::{FileRow, Hashing, Manifest, NodeRow},
    placement::{self, Holding, PLACEMENT},
    shared::Once,
};
use crate::digest::Parts;
use nodekiln_plan::{NodeName, Secret, Sha256};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A node's part of an output, as the next build may take it over.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its row.
    pub row: NodeRow,
    /// Its files, by path.
    pub files: Vec<FileRow>,
    /// The keys that its payload holds.
    pub holdings: Vec<Holding>,
}

impl Part {
    /// Digest of all of this but itself.
    pub fn seal(row: &NodeRow, files: &[FileRow], holdings: &[Holding]) -> Sha256 {
        let NodeRow { name, role, duties, profile, key, seal: _, not_before, boot_before } = row;
        let mut parts = Parts::with_capacity(1024);
        parts.text(name.as_str());
        parts.format(format_args!("{role:?} {duties:?}"));
        parts.text(profile);
        parts.bytes(key.as_bytes());
        parts.bytes(&not_before.to_be_bytes());
        parts.bytes(&boot_before.to_be_bytes());
        parts.count(files.len());
        for FileRow { path, sha256, size, role, node } in files {
            let node = node.as_ref().map(NodeName::as_str).unwrap_or_default();
            parts.format(format_args!("{path}\n{sha256}\n{size}\n{role:?}\n{node}"));
        }
        for Holding { key, path, spki, custody } in holdings {
            parts.format(format_args!("{key}\n{path}\n{spki}\n{custody}"));
        }
        parts.digest()
    }
}

/// An older output.
#[derive(Debug)]
pub struct Older {
    folder: PathBuf,
    parts: BTreeMap<NodeName, Arc<Part>>,
}

impl Older {
    /// What `manifest` of `folder` says of its nodes. Those whose rows are not as they were written are left out.
    pub fn new(folder: &Path, manifest: Manifest) -> Self {
        let mut holdings = held(folder).unwrap_or_default();
        let Manifest { mut nodes, mut files, .. } = manifest;
        // Whatever the order in which nodes stand in cluster.yaml, each is taken from where it is and freed there.
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        files.retain(|row| row.node.is_some());
        files.sort_by(|a, b| a.node.cmp(&b.node));
        let mut files = files.into_iter().peekable();
        let mut once = Once::default();
        let mut parts = BTreeMap::new();
        for row in nodes {
            while files.next_if(|file| file.node.as_ref() < Some(&row.name)).is_some() {}
            let mut own = Vec::with_capacity(4);
            while let Some(file) = files.next_if(|file| file.node.as_ref() == Some(&row.name)) {
                own.push(FileRow { node: Some(row.name.clone()), ..file });
            }
            own.shrink_to_fit();
            let holdings = holdings.remove(&row.name).unwrap_or_default();
            let mut part = Part { row, files: own, holdings };
            if part.row.seal == Part::seal(&part.row, &part.files, &part.holdings) {
                once.share(&mut part);
                parts.insert(part.row.name.clone(), Arc::new(part));
            }
        }
        Self { folder: folder.to_owned(), parts }
    }

    /// The part of `node`, whatever it was made from. Its files are as they were written.
    pub fn whole(&self, node: &NodeName) -> Option<&Arc<Part>> {
        let part = self.parts.get(node)?;
        part.files.iter().all(|row| is_whole(&self.folder.join(&row.path), row)).then_some(part)
    }

    /// The part of `node` if it was made from what has this key.
    pub fn unchanged(&self, node: &NodeName, key: &Sha256) -> Option<&Arc<Part>> {
        self.parts.get(node).filter(|part| part.row.key == *key).and_then(|_| self.whole(node))
    }
}

/// What placement.json of `folder` says of nodes.
fn held(folder: &Path) -> Option<BTreeMap<NodeName, Vec<Holding>>> {
    /// Of all that it says, this.
    #[derive(Deserialize)]
    struct Held {
        #[serde(deserialize_with = "placement::holdings")]
        nodes: BTreeMap<NodeName, Vec<Holding>>,
    }
    let bytes = folder::read_file(&folder.join(PLACEMENT)).ok()?;
    serde_json::from_slice(&bytes).ok().map(|Held { nodes }| nodes)
}

/// How much of a file is in memory at once: most payloads are smaller, and the manifest of ten thousand nodes is as large
/// as all else.
const PIECE: u64 = 1 << 18;

/// Whether `path` is the file that `row` tells of: plain, nobody else's to read, and with these bytes.
pub(super) fn is_whole(path: &Path, row: &FileRow) -> bool {
    let digest = || -> io::Result<Sha256> {
        let (file, metadata) = folder::open_file(path, nix::libc::O_NOFOLLOW)?;
        if metadata.mode() & 0o7777 != 0o600 || metadata.len() != row.size {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // A byte more than it has: one that grows meanwhile is another.
        let mut file = file.take(row.size.saturating_add(1));
        let mut hashing = Hashing::new(io::sink());
        loop {
            let mut bytes = Vec::with_capacity(usize::try_from(row.size.min(PIECE)).unwrap_or_default());
            let count = file.by_ref().take(PIECE).read_to_end(&mut bytes)?;
            hashing.write_all(Secret::new(bytes).expose())?;
            if (count as u64) < PIECE {
                return Ok(hashing.finish().0);
            }
        }
    };
    digest().is_ok_and(|digest| digest == row.sha256)
}

/// Whether `path` is a folder, and nobody else's to enter.
pub(super) fn is_private(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.mode() & 0o7777 == 0o700)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::manifest::FileRole;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    /// Nor is anybody waited for who might write into it.
    #[test]
    fn only_a_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let row = FileRow { path: "a".into(), sha256: Sha256::of(b""), size: 0, role: FileRole::Served, node: None };
        let private = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&at("fifo"), private).unwrap();
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at("file"));
        drop(made.unwrap());
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, due) in [("file", true), ("fifo", false), ("link", false), ("folder", false), ("missing", false)] {
            assert_eq!(is_whole(&at(name), &row), due, "{name}");
        }
    }

    /// All of a large file counts, however it comes out in pieces.
    #[test]
    fn every_piece_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let sha256 = Sha256::of(&bytes);
            let row = FileRow { path: "file".into(), sha256, size, role: FileRole::Served, node: None };
            let write = |bytes: &[u8]| {
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            };
            write(&bytes);
            assert!(is_whole(&path, &row), "{size}");
            *bytes.last_mut().unwrap() ^= 1;
            write(&bytes);
            assert!(!is_whole(&path, &row), "{size}");
        }
    }
}
