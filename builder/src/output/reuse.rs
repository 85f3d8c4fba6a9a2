//! What an older output still has of use: the files of nodes whose payload would come out the same.
//!
//! A key in manifest.json is a cache, never an input. It says what a payload was made from; the seal beside it says that
//! the row, the files and what they hold are as they were written; and each file is read again before it is linked.
//! Whatever does not agree is made anew.

use super::{
    folder,
    found::{Found, FoundFile, FoundFiles, FoundNodes},
    manifest::{FileRow, Hashing, NodeRow},
    part::Part,
    placement::{self, Holding, PLACEMENT},
    rows::{PartId, Rows},
};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// An older output.
#[derive(Debug)]
pub struct Older {
    folder: PathBuf,
    /// The parts of its nodes, by their names.
    parts: Vec<PartId>,
}

impl Older {
    /// What `manifest` of `folder` says of its nodes, kept in `rows`. Those whose rows are not as they were written are left
    /// out.
    pub fn new(folder: &Path, manifest: Found, rows: &mut Rows) -> Self {
        let Found { nodes: FoundNodes(mut nodes), files: FoundFiles { mut of_nodes, .. }, .. } = manifest;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        of_nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let mut files = of_nodes.as_slice();
        let files_of = |row: &NodeRow| {
            let (_, own) = files.split_at(files.iter().take_while(|file| file.node < row.name).count());
            let (own, later) = own.split_at(own.iter().take_while(|file| file.node == row.name).count());
            files = later;
            own
        };
        let files: Vec<&[FoundFile]> = nodes.iter().map(files_of).collect();
        let mut add = |node: usize, holdings: Vec<Holding>| {
            let (row, files) = (nodes[node].clone(), files[node].iter().map(FoundFile::row).collect::<Vec<_>>());
            let is_as_written = row.seal == Part::seal(&row, &files, &holdings);
            is_as_written.then(|| rows.add(&Part { row, files, holdings }))
        };
        let mut parts: Vec<Option<PartId>> = vec![None; nodes.len()];
        let mut next = 0;
        held(folder, |name, holdings| {
            // They come in order, but for what others made of it.
            let is_next = nodes.get(next).is_some_and(|row| row.name == name);
            let found = if is_next { Ok(next) } else { nodes.binary_search_by(|row| row.name.cmp(&name)) };
            if let Ok(node) = found {
                parts[node] = add(node, holdings);
                next = node + 1;
            }
        });
        // Of which nothing is said, or nothing that their seal knows of.
        for (node, part) in parts.iter_mut().enumerate() {
            *part = part.or_else(|| add(node, Vec::new()));
        }
        Self { folder: folder.to_owned(), parts: parts.into_iter().flatten().collect() }
    }

    /// The part of `node`, whatever it was made from, among the `rows` that it is kept in.
    pub fn part(&self, node: &NodeName, rows: &Rows) -> Option<PartId> {
        let found = self.parts.binary_search_by_key(&node, |id| rows.part(*id).name());
        found.ok().map(|place| self.parts[place])
    }

    /// Whether its files `rows` are as they were written.
    pub fn is_whole(&self, rows: &[FileRow]) -> bool {
        rows.iter().all(|row| is_whole(&self.folder.join(&row.path), row))
    }
}

/// Gives what placement.json of `folder` says of each node to `take`, as far as it can be read: seals say what of it counts.
fn held(folder: &Path, take: impl FnMut(NodeName, Vec<Holding>)) {
    if let Ok((file, _)) = folder::open_file(&folder.join(PLACEMENT), 0) {
        placement::each_node(io::BufReader::with_capacity(1 << 16, file), take);
    }
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
    use crate::output::{
        fixture::{file, holding, node},
        listing::{Listing, Nodes, Order},
        manifest::{FileRole, MANIFEST, Manifest, UNSEALED},
        placed::Placed,
        placement::Placement,
        rows::Parts,
    };
    use std::{
        collections::BTreeMap,
        os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    };

    fn part(name: &str, path: &str, keys: &[&str]) -> Part {
        let name: NodeName = name.parse().unwrap();
        let mut part = Part {
            row: node(&name),
            files: vec![FileRow { size: 1, ..file(path, Some(&name)) }],
            holdings: keys.iter().map(|key| holding(key, "/key")).collect(),
        };
        part.row.seal = Part::seal(&part.row, &part.files, &part.holdings);
        part
    }

    /// Rows come back as they were written, whoever set the lines; those that were changed do not.
    #[test]
    fn what_is_sealed_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let due: Vec<Part> = [
            part("b", "nodes/b/x", &["ca", "kubelet/b"]),
            part("a", "serve/1", &["kubelet/a"]),
            part("none", "nodes/none/x", &[]),
            part("a-b", "odd \"path\"", &["\u{e9}\n"]),
        ]
        .into();
        let parts: Parts = due.iter().cloned().collect();
        let placement = Placed::new(&parts, []);
        let mut manifest = Manifest {
            made_by: Manifest::MADE_BY.to_owned(),
            version: Manifest::VERSION,
            tool: "0".to_owned(),
            inputs: BTreeMap::new(),
            secrets: UNSEALED,
            firstboot: BTreeMap::new(),
            nodes: Nodes(&parts),
            files: Listing { parts: &parts, others: &[], order: Order::of(&parts, &[]) },
            digest: UNSEALED,
        };
        manifest.write(fs::File::create(at(MANIFEST)).unwrap()).unwrap();
        let manifest = fs::read_to_string(at(MANIFEST)).unwrap();
        let mut lines = Vec::new();
        nodekiln_plan::json::to_writer(&mut lines, &placement).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let found = |manifest: &str, placement: &str| -> Vec<Part> {
            fs::write(at(MANIFEST), manifest).unwrap();
            fs::write(at(PLACEMENT), placement).unwrap();
            let mut rows = Rows::default();
            let older = Older::new(folder.path(), Found::read(&at(MANIFEST)).unwrap().unwrap(), &mut rows);
            let ids = due.iter().filter_map(|part| older.part(&part.row.name, &rows)).map(|id| rows.part(id));
            ids.map(|id| Part { row: id.row(), files: id.files().collect(), holdings: id.holdings().collect() })
                .collect()
        };
        let read: Placement = serde_json::from_str(&lines).unwrap();
        for form in [&lines, &serde_json::to_string(&read).unwrap(), &serde_json::to_string_pretty(&read).unwrap()] {
            assert_eq!(found(&manifest, form), due, "{form}");
        }
        let without =
            |name: &str| -> Vec<Part> { due.iter().filter(|part| part.row.name.as_str() != name).cloned().collect() };
        let other = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        };
        assert_eq!(
            found(
                &other(
                    &manifest,
                    "\"size\": 1, \"role\": \"payload\", \"node\": \"b\"",
                    "\"size\": 2, \
            \"role\": \"payload\", \"node\": \"b\""
                ),
                &lines
            ),
            without("b")
        );
        assert_eq!(found(&other(&manifest, "serve/1", "serve/2"), &lines), without("a"));
        assert_eq!(found(&manifest, &other(&lines, "{\"key\": \"ca\"", "{\"key\": \"sa\"")), without("b"));
        assert_eq!(found(&manifest, &other(&lines, "\"none\": []", "\"none\": [], \"c\": []")), due);
        // Of nodes that hold nothing, nothing need be said.
        for none in ["", "{}", "[", "{\"nodes\": 1}"] {
            assert_eq!(found(&manifest, none), due[2..3], "{none}");
        }
    }

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
