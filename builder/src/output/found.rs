//! [`Found`]: the manifest of what stands where the output shall go.

use super::{
    folder,
    kind::{Form, Text},
    lines,
    manifest::{FileRole, FileRow, Manifest, NodeRow},
    shared::Once,
};
use nodekiln_plan::{NodeName, Sha256};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use std::{collections::BTreeSet, fmt, io, path::Path, sync::Arc};

/// The manifest of an older output. Of ten thousand nodes it is the largest thing in memory, so its rows are made small as
/// they are read.
pub type Found = Manifest<FoundNodes, FoundFiles>;

impl Found {
    /// Reads the file at `path`. There is none where it is no manifest.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let (file, _) = folder::open_file(path, 0)?;
        let (mut nodes, mut once) = (FoundNodes::default(), Once::default());
        let (mut files, mut forms) = (FoundFiles::default(), BTreeSet::new());
        let rest = lines::entries(io::BufReader::with_capacity(1 << 16, file), |field, entry| match field {
            b"nodes" => serde_json::from_slice(entry).map(|row| nodes.add(row, &mut once)).is_ok(),
            b"files" => serde_json::from_slice(entry).map(|row| files.add(row, &mut forms)).is_ok(),
            _ => false,
        })?;
        let Ok(mut found) = serde_json::from_slice::<Self>(&rest) else {
            // Some rows have lines of their own, some have not.
            return Ok(serde_json::from_slice(&folder::read_file(path)?).ok());
        };
        found.nodes.0.append(&mut nodes.0);
        found.files.of_nodes.append(&mut files.of_nodes);
        found.files.others.append(&mut files.others);
        found.files.sort();
        Ok(Some(found))
    }
}

/// Its nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundNodes(pub(super) Vec<NodeRow>);

impl<'de> Deserialize<'de> for FoundNodes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (mut nodes, mut once) = (Self::default(), Once::default());
        each(from, |row| nodes.add(row, &mut once))?;
        Ok(nodes)
    }
}

impl FoundNodes {
    fn add(&mut self, mut row: NodeRow, once: &mut Once) {
        once.share_duties(&mut row.duties);
        self.0.push(row);
    }
}

/// Its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundFiles {
    /// Those of nodes, by path.
    pub(super) of_nodes: Vec<FoundFile>,
    /// Those that belong to none, by path.
    pub(super) others: Vec<FileRow>,
}

/// A file of a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    path: Arc<Form>,
    pub(super) node: NodeName,
    sha256: Sha256,
    size: u64,
    role: FileRole,
}

impl FoundFile {
    fn path(&self) -> Text<'_> {
        self.path.with(&self.node)
    }

    pub(super) fn row(&self) -> FileRow {
        let Self { path: _, node, sha256, size, role } = self;
        FileRow { path: self.path().into(), sha256: *sha256, size: *size, role: *role, node: Some(node.clone()) }
    }
}

impl<'de> Deserialize<'de> for FoundFiles {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (mut files, mut forms) = (Self::default(), BTreeSet::new());
        each(from, |row: FileRow| files.add(row, &mut forms))?;
        files.sort();
        Ok(files)
    }
}

impl FoundFiles {
    fn add(&mut self, row: FileRow, forms: &mut BTreeSet<Arc<Form>>) {
        let Some(node) = row.node else { return self.others.push(row) };
        let before = self.of_nodes.last().map(|file| &file.node).filter(|before| **before == node);
        let node = before.cloned().unwrap_or(node);
        let form = Form::of(&row.path, &node);
        let path = match forms.get(&form) {
            Some(known) => Arc::clone(known),
            None => {
                let form = Arc::new(form);
                // Any other is one file's alone.
                if form.has_name() {
                    forms.insert(Arc::clone(&form));
                }
                form
            }
        };
        self.of_nodes.push(FoundFile { path, node, sha256: row.sha256, size: row.size, role: row.role });
    }

    fn sort(&mut self) {
        self.of_nodes.sort_unstable_by(|a, b| a.path().cmp(&b.path()));
        self.others.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }

    /// Whether `path` is one of them.
    pub(super) fn has(&self, path: &str) -> bool {
        self.of_nodes.binary_search_by(|file| file.path().cmp_str(path)).is_ok()
            || self.others.binary_search_by(|row| row.path.as_str().cmp(path)).is_ok()
    }

    /// Whether one of them lies in `folder`, however deep.
    pub(super) fn has_folder(&self, folder: &str) -> bool {
        let start = format!("{folder}/");
        let of_nodes = self.of_nodes.partition_point(|file| file.path().cmp_str(&start).is_lt());
        let others = self.others.partition_point(|row| row.path < start);
        self.of_nodes.get(of_nodes).is_some_and(|file| String::from(file.path()).starts_with(&start))
            || self.others.get(others).is_some_and(|row| row.path.starts_with(&start))
    }
}

/// Reads a list, one entry at a time.
fn each<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D, take: impl FnMut(T)) -> Result<(), D::Error> {
    struct Each<T, F>(F, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(entry) = list.next_element()? {
                (self.0)(entry);
            }
            Ok(())
        }
    }

    from.deserialize_seq(Each(take, std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{
        fixture::{file, node},
        manifest::UNSEALED,
    };
    use std::{collections::BTreeMap, fs};

    /// In whatever lines it stands, it is the same.
    #[test]
    fn a_manifest_is_read_in_any_form() {
        let [a, b]: [NodeName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let mut manifest = Manifest {
            made_by: Manifest::MADE_BY.to_owned(),
            version: Manifest::VERSION,
            tool: "0.1.0".to_owned(),
            inputs: [("cluster.yaml".to_owned(), UNSEALED)].into(),
            secrets: UNSEALED,
            firstboot: BTreeMap::new(),
            nodes: vec![node(&b), node(&a)],
            files: vec![file("ca.crt", None), file("nodes/a/x", Some(&a)), file("nodes/b/x", Some(&b))],
            digest: UNSEALED,
        };
        let text = String::from_utf8(manifest.seal().unwrap()).unwrap();
        let due: Found = serde_json::from_str(&text).unwrap();
        assert_eq!((due.nodes.0.len(), due.files.of_nodes.len(), due.files.others.len()), (2, 2, 1));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Found::read(&path).unwrap()
        };
        let rest = "{\"path\": \"ca.crt\"";
        let split = text.replace(rest, &rest.replace(": ", ":\n"));
        let last = text.replace("{\"path\": \"nodes/b", "\n{\"path\": \"nodes/b");
        for form in [&*text, &serde_json::to_string(&manifest).unwrap(), &split, &last, &text.replace('\n', "\r\n")] {
            assert_eq!(read(form).as_ref(), Some(&due), "{form}");
        }
        assert_eq!(read(&serde_json::to_string_pretty(&manifest).unwrap()), Some(due));
        for form in ["", "{", "[]", &text[..text.len() - 3], &text.replace("\"size\": 9", "\"size\": -9")] {
            assert_eq!(read(form), None, "{form}");
        }
        for field in ["nodes", "files", "inputs"] {
            assert_eq!(read(&text.replace(&format!("\"{field}\":"), "\"other\":")), None, "{field}");
        }
        assert!(Found::read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn files_are_found_again() {
        let row = |path: &str, node: Option<&str>| file(path, node.map(|node| node.parse().unwrap()).as_ref());
        let rows = [
            row("nodes/b/x", Some("b")),
            row("nodes/a/x", Some("a")),
            row("nodes/a-b/deep/er/x", Some("a-b")),
            row("nodes/b/y", Some("b")),
            row("serve/1", Some("a")),
            row("serve/2", None),
            row("ca.crt", None),
            row("elsewhere/a/x", Some("b")),
        ];
        let files: FoundFiles = serde_json::from_str(&serde_json::to_string(&rows).unwrap()).unwrap();
        let mut found: Vec<_> = files.of_nodes.iter().map(FoundFile::row).chain(files.others.iter().cloned()).collect();
        found.sort_by_key(|row| rows.iter().position(|due| due.path == row.path));
        assert_eq!(found, rows);
        assert!(files.of_nodes.is_sorted_by_key(|file| file.path().to_string()));
        for row in &rows {
            assert!(files.has(&row.path), "{}", row.path);
            assert!(!files.has(&format!("{}/", row.path)) && !files.has_folder(&row.path), "{}", row.path);
        }
        for folder in ["nodes", "nodes/a", "nodes/a-b/deep/er", "nodes/a-b/deep", "serve", "elsewhere"] {
            assert!(files.has_folder(folder) && !files.has(folder), "{folder}");
        }
        for folder in ["", "node", "nodes/", "nodes/a-b/dee", "nodes/c", "serv", "x"] {
            assert!(!files.has_folder(folder) && !files.has(folder), "{folder}");
        }
        let shared = files.of_nodes.iter().filter(|file| file.path.has_name()).map(|file| Arc::as_ptr(&file.path));
        assert_eq!(shared.collect::<BTreeSet<_>>().len(), 3, "x, deep/er/x and y");
    }
}
