//! [`Once`]: what the rows of many nodes have is in memory once.

use super::{placement::Holding, reuse::Part};
use crate::pki::table::Duty;
use std::{collections::BTreeSet, sync::Arc};

/// What the rows of many nodes have, each in memory once: the paths of keys, which are the same on all workers, and duties.
#[derive(Debug, Default)]
pub(super) struct Once {
    paths: Known<str>,
    duties: Known<[Duty]>,
}

impl Once {
    /// Has `part` share what the parts before it have too.
    pub(super) fn share(&mut self, part: &mut Part) {
        self.duties.share(&mut part.row.duties);
        self.share_paths(&mut part.holdings);
    }

    /// Has `holdings` share the paths of those before them.
    pub(super) fn share_paths(&mut self, holdings: &mut [Holding]) {
        holdings.iter_mut().for_each(|holding| self.paths.share(&mut holding.path));
    }
}

#[derive(Debug)]
struct Known<T: ?Sized>(BTreeSet<Arc<T>>);

impl<T: ?Sized + Ord> Default for Known<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: ?Sized + Ord> Known<T> {
    fn share(&mut self, value: &mut Arc<T>) {
        match self.0.get(&**value) {
            Some(known) => *value = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(value));
            }
        }
    }
}
