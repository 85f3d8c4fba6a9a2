//! What a node says, whatever its place: equal for two nodes that were written, or stand, for the same.

use super::{NodeId, Tree, View};
use crate::digest::Parts;
use nodekiln_plan::Sha256;

impl Tree<'_> {
    /// Digest of all that `id` says, aliases followed.
    pub(in crate::config) fn said(&self, id: NodeId) -> Sha256 {
        let mut parts = Parts::with_capacity(1024);
        self.say(id, &mut parts);
        parts.digest()
    }

    /// Recurs no deeper than documents are nested.
    fn say(&self, id: NodeId, parts: &mut Parts) {
        match self.view(id) {
            View::Scalar { text, plain } => {
                parts.text(if plain { "plain" } else { "text" });
                parts.text(text);
            }
            View::List(items) => {
                parts.text("list");
                parts.count(items.len());
                items.iter().for_each(|item| self.say(*item, parts));
            }
            View::Map(entries) => {
                parts.text("map");
                parts.count(entries.len());
                for entry in entries {
                    parts.text(&entry.key);
                    self.say(entry.value, parts);
                }
            }
        }
    }

    /// How many values `id` unfolds to and how many bytes their texts and keys have; no more is counted once either is
    /// beyond `most`.
    pub(in crate::config) fn extent(&self, id: NodeId, most: (usize, usize)) -> (usize, usize) {
        let mut extent = (0, 0);
        self.measure(id, most, &mut extent);
        extent
    }

    fn measure(&self, id: NodeId, most: (usize, usize), extent: &mut (usize, usize)) {
        extent.0 += 1;
        if extent.0 > most.0 || extent.1 > most.1 {
            return;
        }
        match self.view(id) {
            View::Scalar { text, .. } => extent.1 += text.len(),
            View::List(items) => items.iter().for_each(|item| self.measure(*item, most, extent)),
            View::Map(entries) => {
                for entry in entries {
                    extent.1 += entry.key.len();
                    self.measure(entry.value, most, extent);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::config::{diag::Diagnostics, source::Source, yaml::View};

    /// What the values of the keys of `text` say, each by the first that says the same.
    fn firsts(text: &str) -> Vec<usize> {
        let mut found = Diagnostics::new(Source::new("f", text));
        let tree = parse(text, &mut found).unwrap();
        let View::Map(entries) = tree.view(tree.root) else { panic!("{text}") };
        let said: Vec<_> = entries.iter().map(|entry| tree.said(entry.value)).collect();
        said.iter().map(|one| said.iter().position(|other| other == one).unwrap()).collect()
    }

    #[test]
    fn what_is_said_counts_and_not_how() {
        let text = "a: &a {x: 1, y: [b]}\nb: *a\nc:\n  x: 1\n  y:\n  - b\nd: {x: \"1\", y: [b]}\ne: {x: 1, y: [b, []]}\n\
                    f: {y: [b], x: 1}\ng: {}\nh: []\ni: {x: 1, y: b}\nj: {x: {y: [b]}}\nk: {x: 1, y: ['b']}\n";
        assert_eq!(firsts(text), [0, 0, 0, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn extents_count_what_aliases_unfold_to_and_end() {
        let text = "a: &a [xx, xx, xx]\nb: [*a, *a, {kk: yyy}]\n";
        let mut found = Diagnostics::new(Source::new("f", text));
        let tree = parse(text, &mut found).unwrap();
        let View::Map(entries) = tree.view(tree.root) else { panic!("{text}") };
        assert_eq!(tree.extent(entries[0].value, (100, 100)), (4, 6));
        assert_eq!(tree.extent(entries[1].value, (100, 100)), (1 + 4 + 4 + 2, 6 + 6 + 5));
        assert!(tree.extent(entries[1].value, (3, 100)).0 > 3);
        assert!(tree.extent(entries[1].value, (100, 5)).1 > 5);
    }
}
