//! [`Kind`]: what the parts of many nodes have in common, and how their texts are made of that and their names.

use super::{
    manifest::{FileRole, FileRow, NodeRow},
    part::Part,
    placement::Holding,
    shared::Once,
};
use crate::pki::table::Duty;
use nodekiln_plan::{NodeName, Role, Sha256};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, cmp::Ordering, fmt, sync::Arc};

/// A text in up to three pieces, the middle of which is a node's name. It is one text wherever it is compared or shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t>([&'t str; 3]);

impl<'t> Text<'t> {
    /// Those in which something stands.
    fn pieces(self) -> impl Iterator<Item = &'t [u8]> {
        self.0.into_iter().map(str::as_bytes).filter(|piece| !piece.is_empty())
    }

    /// How it compares to a text in one piece.
    pub(super) fn cmp_str(&self, text: &str) -> Ordering {
        let mut rest = text.as_bytes();
        for piece in self.0 {
            let (now, later) = rest.split_at(rest.len().min(piece.len()));
            let order = piece.as_bytes().cmp(now);
            if order.is_ne() {
                return order;
            }
            rest = later;
        }
        if rest.is_empty() { Ordering::Equal } else { Ordering::Less }
    }
}

impl<'t> From<&'t str> for Text<'t> {
    fn from(text: &'t str) -> Self {
        Self([text, "", ""])
    }
}

impl From<Text<'_>> for String {
    fn from(Text(pieces): Text<'_>) -> Self {
        pieces.concat()
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut ours, mut theirs) = (self.pieces(), other.pieces());
        let (mut a, mut b) = (ours.next().unwrap_or_default(), theirs.next().unwrap_or_default());
        loop {
            let (a_now, a_later) = a.split_at(a.len().min(b.len()));
            let (b_now, b_later) = b.split_at(a_now.len());
            let order = a_now.cmp(b_now);
            // Where nothing is left of both pieces, nothing follows.
            if order.is_ne() || (a.is_empty() || b.is_empty()) {
                return order.then(a.len().cmp(&b.len()));
            }
            a = if a_later.is_empty() { ours.next().unwrap_or_default() } else { a_later };
            b = if b_later.is_empty() { theirs.next().unwrap_or_default() } else { b_later };
        }
    }
}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text<'_> {}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.into_iter().try_for_each(|piece| f.write_str(piece))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A text of a node's part without the node's name, if that stands in it between slashes: then it is the text of others
/// too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    text: Box<str>,
    name_at: Option<usize>,
}

impl Form {
    pub(super) fn of(text: &str, name: &NodeName) -> Self {
        let mut at = 0;
        for part in text.split('/') {
            let end = at + part.len();
            if part == name.as_str() {
                return Self { text: [&text[..at], &text[end..]].concat().into(), name_at: Some(at) };
            }
            at = end + 1;
        }
        Self { text: text.into(), name_at: None }
    }

    pub(super) fn has_name(&self) -> bool {
        self.name_at.is_some()
    }

    /// The text with this node's name.
    pub(super) fn with<'t>(&'t self, name: &'t NodeName) -> Text<'t> {
        match self.name_at {
            Some(at) => Text([&self.text[..at], name.as_str(), &self.text[at..]]),
            None => Text::from(&*self.text),
        }
    }
}

/// What the parts of many nodes have in common. It may be one's alone: whatever stands in a part is kept.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    role: Role,
    duties: Arc<[Duty]>,
    profile: Cow<'static, str>,
    not_before: i64,
    boot_before: i64,
    /// By path.
    pub(super) files: Box<[FileKind]>,
    pub(super) holdings: Box<[HoldingKind]>,
}

/// A file of the nodes of a kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKind {
    /// Its path, where that tells the node by its name and nothing else.
    pub(super) path: Option<Form>,
    pub(super) role: FileRole,
}

/// A key that the nodes of a kind hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HoldingKind {
    pub(super) key: Form,
    pub(super) path: Arc<str>,
    pub(super) custody: Cow<'static, str>,
}

impl Kind {
    pub(super) fn of(Part { row, files, holdings }: &Part) -> Self {
        let NodeRow { name, role, duties, profile, key: _, seal: _, not_before, boot_before } = row;
        let file = |FileRow { path, sha256: _, size: _, role, node: _ }: &FileRow| FileKind {
            path: Some(Form::of(path, name)).filter(Form::has_name),
            role: *role,
        };
        let holding = |Holding { key, path, spki: _, custody }: &Holding| HoldingKind {
            key: Form::of(key, name),
            path: Arc::clone(path),
            custody: custody.clone(),
        };
        Self {
            role: *role,
            duties: Arc::clone(duties),
            profile: profile.clone(),
            not_before: *not_before,
            boot_before: *boot_before,
            files: files.iter().map(file).collect(),
            holdings: holdings.iter().map(holding).collect(),
        }
    }

    /// Has it share what those before it have too.
    pub(super) fn share(&mut self, once: &mut Once) {
        once.share_duties(&mut self.duties);
        self.holdings.iter_mut().for_each(|holding| once.share_path(&mut holding.path));
    }

    /// The row of a node of this kind.
    pub(super) fn row(&self, name: &NodeName, [key, seal]: [Sha256; 2]) -> NodeRow {
        NodeRow {
            name: name.clone(),
            role: self.role,
            duties: Arc::clone(&self.duties),
            profile: self.profile.clone(),
            key,
            seal,
            not_before: self.not_before,
            boot_before: self.boot_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_out_where_it_stands_alone() {
        let name: NodeName = "w1".parse().unwrap();
        let table = [
            ("nodes/w1/plan.json", "nodes//plan.json", Some(6)),
            ("kubelet/w1", "kubelet/", Some(8)),
            ("w1", "", Some(0)),
            ("w1/w1", "/w1", Some(0)),
            ("nodes/w10/plan.json", "nodes/w10/plan.json", None),
            ("sa", "sa", None),
            ("", "", None),
            ("/é/w1/", "/é//", Some(4)),
        ];
        for (text, cut, name_at) in table {
            let form = Form::of(text, &name);
            assert_eq!((&*form.text, form.name_at), (cut, name_at), "{text}");
            assert_eq!(String::from(form.with(&name)), text);
            assert_eq!(form.with(&name).to_string(), text);
            assert!(form.with(&name) == Text::from(text));
        }
    }

    /// As the whole texts are.
    #[test]
    fn texts_are_in_order() {
        let names: Vec<NodeName> = ["a", "a-b", "a.b", "a1", "b"].map(|name| name.parse().unwrap()).into();
        let texts = ["nodes/a/x", "serve/x", "nodes/a", "nodes", "", "nodes/a-b/x"];
        let forms: Vec<Form> = texts.iter().map(|text| Form::of(text, &names[0])).collect();
        let all: Vec<Text<'_>> = names.iter().flat_map(|name| forms.iter().map(|form| form.with(name))).collect();
        for a in &all {
            for b in &all {
                assert_eq!(a.cmp(b), a.to_string().cmp(&b.to_string()), "{a} {b}");
                assert_eq!(a.cmp_str(&b.to_string()), a.cmp(b), "{a} {b}");
            }
        }
    }
}
