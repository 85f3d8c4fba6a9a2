//! What is read and checked, but not built yet: refused by name, never ignored. A row goes when planning acts on it.

use super::Cx;
use crate::config::{
    diag::Finding,
    raw::{RawCluster, RawOs},
    read::{Field, Place, unsupported},
};

impl Cx<'_, '_> {
    pub(super) fn not_planned_yet(&mut self, raw: &RawCluster) {
        let mut found: Vec<(Place, Finding)> = Vec::new();
        let mut later = |place: &Place, what: &str| found.push((place.clone(), unsupported(what)));
        let pools = raw.pools.get().into_iter().flat_map(|list| &list.value);
        let nodes = raw.nodes.get().into_iter().flat_map(|list| &list.value);
        let os: Vec<&Field<RawOs>> =
            std::iter::once(&raw.os).chain(nodes.map(|node| &node.os)).chain(pools.map(|pool| &pool.os)).collect();
        for os in os {
            if let Some(at) = os.get().and_then(|os| os.snippets.get()).filter(|at| !at.value.is_empty()) {
                later(&at.place, "`snippets`");
            }
        }
        for (place, finding) in found {
            self.found.error_at(&place, finding);
        }
    }
}
