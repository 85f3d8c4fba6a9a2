//! [`Listing`]: the files of an output by path, each where its row is kept.

use super::{
    kind::Text,
    manifest::{FileRow, NodeRow},
    rows::Parts,
};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Where a row is: as the `file`th of a part, or of those that belong to none, which have the number after the last part.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: u32,
    file: u32,
}

/// The order of files by path.
#[derive(Debug)]
pub(super) struct Order(Vec<Place>);

impl Order {
    /// That of the nodes' files and the `others`.
    pub(super) fn of(parts: &Parts, others: &[FileRow]) -> Self {
        let count = parts.iter().map(|part| part.files().len()).sum::<usize>() + others.len();
        let number = |index: usize| u32::try_from(index).expect("no memory has room for so many files");
        let mut places = Vec::with_capacity(count);
        let counts = parts.iter().map(|part| part.files().len()).chain([others.len()]);
        for (part, count) in counts.enumerate() {
            places.extend((0..count).map(|file| Place { part: number(part), file: number(file) }));
        }
        // Nearly in order where the nodes are.
        places.sort_by(|a, b| path(parts, others, *a).cmp(&path(parts, others, *b)));
        Self(places)
    }
}

fn path<'p>(parts: &'p Parts, others: &'p [FileRow], Place { part, file }: Place) -> Text<'p> {
    let (part, file) = (part as usize, file as usize);
    if part < parts.len() { parts.get(part).path(file) } else { Text::from(&*others[file].path) }
}

/// The files of an output by path.
#[derive(Debug)]
pub(super) struct Listing<'p> {
    pub(super) parts: &'p Parts,
    /// Those that belong to no node.
    pub(super) others: &'p [FileRow],
    pub(super) order: Order,
}

impl<'p> Listing<'p> {
    pub(super) fn len(&self) -> usize {
        self.order.0.len()
    }

    fn rows(&self) -> impl ExactSizeIterator<Item = Cow<'p, FileRow>> {
        self.order.0.iter().map(|Place { part, file }| {
            let (part, file) = (*part as usize, *file as usize);
            match part < self.parts.len() {
                true => Cow::Owned(self.parts.get(part).file(file)),
                false => Cow::Borrowed(&self.others[file]),
            }
        })
    }

    /// The folders that they lie in, each once, the output itself being the empty path.
    pub(super) fn folders(&self) -> impl Iterator<Item = String> {
        let paths = self.order.0.iter().map(|place| String::from(path(self.parts, self.others, *place)));
        let mut before = String::new();
        let folders = paths.flat_map(move |path| {
            // What lies in a folder stands together.
            let is_new = |(end, _): &(usize, &str)| !before.starts_with(&path[..=*end]);
            let new: Vec<_> = path.match_indices('/').filter(is_new).map(|(end, _)| path[..end].to_owned()).collect();
            before = path;
            new
        });
        folders.chain([String::new()])
    }
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.rows())
    }
}

/// The nodes of an output in the order of their parts.
#[derive(Debug)]
pub(super) struct Nodes<'p>(pub(super) &'p Parts);

impl Nodes<'_> {
    fn rows(&self) -> impl ExactSizeIterator<Item = NodeRow> {
        self.0.iter().map(|part| part.row())
    }
}

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.rows())
    }
}
