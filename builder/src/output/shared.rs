//! [`Once`]: what the rows of many nodes have is in memory once.

use super::placement::Holding;
use crate::pki::table::Duty;
use std::{collections::BTreeSet, sync::Arc};

/// What the rows of many nodes have, each in memory once: the paths of keys, which are the same on all workers, and duties.
#[derive(Debug, Default)]
pub(super) struct Once {
    paths: Known<str>,
    duties: Known<[Duty]>,
}

impl Once {
    /// Has `duties` be those of a row before it that are the same.
    pub(super) fn share_duties(&mut self, duties: &mut Arc<[Duty]>) {
        self.duties.share(duties);
    }

    /// Has `path` be that of a key before it that is the same.
    pub(super) fn share_path(&mut self, path: &mut Arc<str>) {
        self.paths.share(path);
    }

    /// Has `holdings` share the paths of those before them.
    pub(super) fn share_paths(&mut self, holdings: &mut [Holding]) {
        holdings.iter_mut().for_each(|holding| self.share_path(&mut holding.path));
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
