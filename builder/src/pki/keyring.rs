//! [`Keyring`]: the keys of leaves, derived or kept.

use super::{
    authority::IssueError,
    certificate::Subject,
    derive::Deriver,
    key::KeyPair,
    table::{self, CommonName, Scope, Spec, TABLE},
};
use crate::{
    config::{Algorithm, Cluster},
    draft::{Leaf, Row},
    secrets::Secrets,
};
use nodekiln_plan::NodeName;
use std::collections::BTreeMap;

/// Every key that a leaf of this generation has: known before anybody signs anything.
pub(crate) struct Keyring {
    pub(super) deriver: Deriver,
    /// Keys of this generation that are kept, not derived.
    pub(super) kept: BTreeMap<(Row, Option<NodeName>), KeyPair>,
    /// The algorithm of each row's keys.
    pub(super) algorithms: BTreeMap<Row, Algorithm>,
}

impl Keyring {
    /// The keys of the leaves of `cluster`.
    pub(crate) fn new(secrets: &Secrets, cluster: &Cluster) -> Self {
        Self {
            deriver: Deriver::new(&secrets.leaf_seed, secrets.generation),
            kept: (secrets.leaf_keys.iter())
                .filter(|((_, _, generation), _)| *generation == secrets.generation)
                .map(|((row, node, _), key)| ((*row, node.clone()), key.clone()))
                .collect(),
            algorithms: TABLE.iter().map(|spec| (spec.row, table::algorithm(spec.row, cluster))).collect(),
        }
    }

    /// The key of a leaf: derived, or kept where it cannot be.
    pub(crate) fn key(&self, spec: &Spec, node: Option<&NodeName>) -> Result<KeyPair, IssueError> {
        let algorithm = self.algorithms[&spec.row];
        let kept = || {
            let key = self.kept.get(&(spec.row, node.cloned()));
            key.filter(|key| key.algorithm() == Some(algorithm)).cloned()
        };
        self.deriver.leaf(spec, node, algorithm).or_else(kept).ok_or(IssueError::NoKey(spec.name))
    }
}

/// What the certificate of `leaf` says; `common_name` is that of [`common_name`].
pub(crate) fn subject<'a>(leaf: &'a Leaf, common_name: &'a str) -> Subject<'a> {
    let spec = table::spec(leaf.row);
    Subject { common_name, organization: spec.organization, sans: &leaf.sans, usage: spec.usage }
}

/// CN of `leaf`.
///
/// # Errors
/// A leaf of a per-node row for no node, or the other way round.
pub(crate) fn common_name(leaf: &Leaf) -> Result<String, IssueError> {
    let spec = table::spec(leaf.row);
    match (spec.scope, &leaf.node, spec.common_name) {
        (Scope::Node, None, _) => Err(IssueError::Scope(spec.name, "for a node")),
        (Scope::Shared, Some(_), _) => Err(IssueError::Scope(spec.name, "for all nodes, not for one")),
        (_, _, CommonName::Fixed(name)) => Ok(name.to_owned()),
        (_, None, CommonName::Node(_)) => Err(IssueError::Scope(spec.name, "for a node")),
        (_, Some(node), CommonName::Node(prefix)) => Ok(format!("{prefix}{node}")),
    }
}
