//! [`Found`]: the manifest of what stands where the output shall go.

use super::{
    kind::{Form, Text},
    manifest::{FileRole, FileRow, Manifest, NodeRow},
    shared::Once,
};
use nodekiln_plan::{NodeName, Sha256};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The manifest of an older output. Of ten thousand nodes it is the largest thing in memory, so its rows are made small as
/// they are read.
pub type Found = Manifest<FoundNodes, FoundFiles>;

/// Its nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundNodes(pub(super) Vec<NodeRow>);

impl<'de> Deserialize<'de> for FoundNodes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (mut nodes, mut once) = (Vec::new(), Once::default());
        each(from, |mut row: NodeRow| {
            once.share_duties(&mut row.duties);
            nodes.push(row);
        })?;
        Ok(Self(nodes))
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
        files.of_nodes.sort_unstable_by(|a, b| a.path().cmp(&b.path()));
        files.others.sort_unstable_by(|a, b| a.path.cmp(&b.path));
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

    /// Whether `path` is one of them.
    pub(super) fn has(&self, path: &str) -> bool {
        self.of_nodes.binary_search_by(|file| file.path().cmp(&Text::from(path))).is_ok()
            || self.others.binary_search_by(|row| row.path.as_str().cmp(path)).is_ok()
    }

    /// Whether one of them lies in `folder`, however deep.
    pub(super) fn has_folder(&self, folder: &str) -> bool {
        let start = format!("{folder}/");
        let of_nodes = self.of_nodes.partition_point(|file| file.path() < Text::from(&*start));
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

    #[test]
    fn files_are_found_again() {
        let row = |path: &str, node: Option<&str>| FileRow {
            path: path.to_owned(),
            sha256: Sha256::of(path.as_bytes()),
            size: path.len() as u64,
            role: FileRole::Plan,
            node: node.map(|node| node.parse().unwrap()),
        };
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
