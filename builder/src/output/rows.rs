//! [`Parts`]: what is kept of the nodes' parts until the end. There may be ten thousand, so it is little more than what no
//! two nodes have alike.

use super::{
    kind::{Kind, Text},
    manifest::{FileRow, NodeRow},
    part::Part,
    placement::Holding,
    shared::Once,
};
use nodekiln_plan::{NodeName, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Nodes in a table: what grows is small, and what does not is full.
const MOST: usize = 256;

/// Tables of parts, in no order.
#[derive(Debug, Default)]
pub(super) struct Rows {
    tables: Vec<Table>,
    /// The last table of each kind.
    last: BTreeMap<Arc<Kind>, usize>,
    once: Once,
}

/// Parts of one kind, by columns: each node has as many of each as any other.
#[derive(Debug)]
struct Table {
    kind: Arc<Kind>,
    names: Vec<NodeName>,
    /// Of each node [`KEY_AND_SEAL`], those of its files, and those of the keys that it holds.
    digests: Vec<Sha256>,
    /// Of files.
    sizes: Vec<u64>,
    /// Paths of files that their kind does not tell.
    paths: Vec<Box<str>>,
}

/// The digests that every node has.
const KEY_AND_SEAL: usize = 2;

/// Where a part is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartId {
    table: u32,
    row: u32,
}

impl Rows {
    pub(super) fn add(&mut self, part: &Part) -> PartId {
        let kind = Kind::of(part);
        let kind = match self.last.get_key_value(&kind) {
            Some((_, &last)) if self.tables[last].names.len() < MOST => return self.add_to(last, part),
            Some((known, _)) => Arc::clone(known),
            None => {
                let mut kind = kind;
                kind.share(&mut self.once);
                Arc::new(kind)
            }
        };
        self.last.insert(Arc::clone(&kind), self.tables.len());
        self.tables.push(Table { kind, names: vec![], digests: vec![], sizes: vec![], paths: vec![] });
        self.add_to(self.tables.len() - 1, part)
    }

    fn add_to(&mut self, table: usize, part: &Part) -> PartId {
        let row = self.tables[table].add(part);
        let number = |index: usize| u32::try_from(index).expect("no memory has room for so many nodes");
        PartId { table: number(table), row: number(row) }
    }

    pub(super) fn part(&self, id: PartId) -> PartRows<'_> {
        PartRows { table: &self.tables[id.table as usize], row: id.row as usize }
    }
}

impl Table {
    fn add(&mut self, Part { row, files, holdings }: &Part) -> usize {
        let own = [row.key, row.seal].into_iter();
        let of_files = files.iter().map(|file| file.sha256);
        self.digests.extend(own.chain(of_files).chain(holdings.iter().map(|holding| holding.spki)));
        self.sizes.extend(files.iter().map(|file| file.size));
        let untold = self.kind.files.iter().zip(files).filter(|(kind, _)| kind.path.is_none());
        self.paths.extend(untold.map(|(_, file)| Box::from(&*file.path)));
        self.names.push(row.name.clone());
        self.names.len() - 1
    }
}

/// What is kept of a node's part, from which all of it is made again.
#[derive(Debug, Clone, Copy)]
pub struct PartRows<'p> {
    table: &'p Table,
    row: usize,
}

impl<'p> PartRows<'p> {
    /// The node's name.
    pub fn name(self) -> &'p NodeName {
        &self.table.names[self.row]
    }

    /// [`NodeRow::key`].
    pub fn key(self) -> &'p Sha256 {
        &self.digests()[0]
    }

    /// The node's row.
    pub fn row(self) -> NodeRow {
        let digests = self.digests();
        self.table.kind.row(self.name(), [digests[0], digests[1]])
    }

    /// Its files, by path.
    pub fn files(self) -> impl ExactSizeIterator<Item = FileRow> + 'p {
        (0..self.table.kind.files.len()).map(move |index| self.file(index))
    }

    pub(super) fn file(self, index: usize) -> FileRow {
        let files = &self.table.kind.files;
        FileRow {
            path: self.path(index).into(),
            sha256: self.digests()[KEY_AND_SEAL + index],
            size: self.table.sizes[self.row * files.len() + index],
            role: files[index].role,
            node: Some(self.name().clone()),
        }
    }

    /// The path of a file.
    pub(super) fn path(self, index: usize) -> Text<'p> {
        let files = &self.table.kind.files;
        let untold = |count: usize| files[..count].iter().filter(|file| file.path.is_none()).count();
        match &files[index].path {
            Some(form) => form.with(self.name()),
            None => Text::from(&*self.table.paths[self.row * untold(files.len()) + untold(index)]),
        }
    }

    /// The keys that its payload holds.
    pub fn holdings(self) -> impl ExactSizeIterator<Item = Holding> + 'p {
        let Kind { files, holdings, .. } = &*self.table.kind;
        let digests = &self.digests()[KEY_AND_SEAL + files.len()..];
        holdings.iter().zip(digests).map(move |(kind, spki)| Holding {
            key: String::from(kind.key.with(self.name())).into(),
            path: Arc::clone(&kind.path),
            spki: *spki,
            custody: kind.custody.clone(),
        })
    }

    /// The names of those keys.
    pub(super) fn keys(self) -> impl ExactSizeIterator<Item = Text<'p>> {
        self.table.kind.holdings.iter().map(move |kind| kind.key.with(self.name()))
    }

    /// The name of one of them.
    pub(super) fn key_name(self, index: usize) -> Text<'p> {
        self.table.kind.holdings[index].key.with(self.name())
    }

    fn digests(self) -> &'p [Sha256] {
        let Kind { files, holdings, .. } = &*self.table.kind;
        let count = KEY_AND_SEAL + files.len() + holdings.len();
        &self.table.digests[self.row * count..][..count]
    }
}

/// The parts of nodes.
#[derive(Debug)]
pub struct Parts {
    rows: Rows,
    ids: Vec<PartId>,
}

impl Parts {
    pub(super) fn new(rows: Rows, ids: Vec<PartId>) -> Self {
        Self { rows, ids }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One of them.
    ///
    /// # Panics
    /// There are not so many.
    pub fn get(&self, index: usize) -> PartRows<'_> {
        self.rows.part(self.ids[index])
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PartRows<'_>> {
        self.ids.iter().map(|id| self.rows.part(*id))
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        let mut rows = Rows::default();
        let ids = parts.into_iter().map(|part| rows.add(&part)).collect();
        Self { rows, ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::{fixture, manifest::FileRole},
        pki::table::Duty,
    };
    use nodekiln_plan::Role;

    fn part(name: &str, files: &[&str], keys: &[&str]) -> Part {
        let name: NodeName = name.parse().unwrap();
        let digest = |what: &str| Sha256::of(format!("{name} {what}").as_bytes());
        let file = |path: &&str| FileRow {
            sha256: digest(path),
            size: u64::MAX - path.len() as u64,
            ..fixture::file(path, Some(&name))
        };
        let holding = |key: &&str| Holding { spki: digest(key), ..fixture::holding(key, &format!("/{}", key.len())) };
        let row = NodeRow {
            duties: [Duty::Kubelet].into(),
            profile: "somebody's".into(),
            key: digest("key"),
            seal: digest("seal"),
            not_before: i64::MIN,
            boot_before: i64::MAX,
            ..fixture::node(&name)
        };
        Part { files: files.iter().map(file).collect(), holdings: keys.iter().map(holding).collect(), row }
    }

    /// Whatever it is.
    #[test]
    fn what_was_added_comes_back() {
        let mut all = Vec::new();
        for index in 0..=2 * MOST {
            let name = format!("w{index}");
            let (plan, key) = (format!("nodes/{name}/plan.json"), format!("kubelet/{name}"));
            all.push(part(&name, &[&format!("nodes/{name}/config.ign"), &plan], &["sa", &key]));
            let (own, other) = (format!("pool{index}"), format!("serve/{index}"));
            all.push(part(&own, &["a", &format!("nodes/{own}/x"), &other, "\0\u{10ffff}"], &[&other, &own, ""]));
        }
        all.push(part("nodes", &["nodes/nodes/plan.json"], &["kubelet/nodes"]));
        all.push(part("kubelet", &["nodes/kubelet/kubelet"], &["kubelet/kubelet"]));
        all.push(part("none", &[], &[]));
        let changes: [fn(&mut Part); 8] = [
            |part| part.row.role = Role::Etcd,
            |part| part.row.duties = [].into(),
            |part| part.row.profile = "flatcar".into(),
            |part| part.row.not_before += 1,
            |part| part.row.boot_before -= 1,
            |part| part.files[0].role = FileRole::Tree,
            |part| part.holdings[1].custody = "\n".into(),
            |part| part.holdings[1].path = "/elsewhere".into(),
        ];
        for change in changes {
            let mut other = part("w0", &["nodes/w0/config.ign", "nodes/w0/plan.json"], &["sa", "kubelet/w0"]);
            change(&mut other);
            all.push(other);
        }
        let parts: Parts = all.iter().cloned().collect();
        assert_eq!((parts.len(), parts.is_empty()), (all.len(), false));
        for (index, due) in all.iter().enumerate() {
            let found = parts.get(index);
            let (row, files, holdings) = (found.row(), found.files().collect(), found.holdings().collect());
            assert_eq!(Part { row, files, holdings }, *due);
            assert_eq!((found.name(), *found.key()), (&due.row.name, due.row.key));
            let keys: Vec<_> = due.holdings.iter().map(|holding| holding.key.to_string()).collect();
            assert_eq!(found.keys().map(String::from).collect::<Vec<_>>(), keys);
            assert_eq!((0..keys.len()).map(|key| found.key_name(key).to_string()).collect::<Vec<_>>(), keys);
        }
    }

    /// What a thousand nodes have in common is in memory once.
    #[test]
    fn nodes_of_a_kind_share() {
        let worker = |index: usize| {
            let name = format!("w{index:03}");
            part(&name, &[&format!("nodes/{name}/config.ign")], &[&format!("kubelet/{name}")])
        };
        let parts: Parts = (0..3 * MOST).map(worker).collect();
        assert_eq!((parts.rows.last.len(), parts.rows.tables.len()), (1, 3));
        let kinds = parts.iter().map(|part| Arc::as_ptr(&part.table.kind));
        assert_eq!(kinds.collect::<std::collections::BTreeSet<_>>().len(), 1);
        assert!(parts.rows.tables.iter().all(|table| table.digests.capacity() == table.digests.len()), "none is spare");
    }
}
