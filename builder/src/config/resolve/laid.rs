//! What was laid over the cluster's own values, once for all that say the same.

use super::Cx;
use crate::config::{
    Common, code,
    diag::Finding,
    read::{Field, Place, Read},
    yaml::NodeId,
};
use nodekiln_plan::Sha256;
use std::collections::HashMap;

/// How much of the cluster's own values may be copied for nodes that lay something over them, in units of 32 bytes: for each
/// of ten thousand machines that all differ fifty files or arguments.
const MOST_COPIED: usize = 2_000_000;

/// A part of a layer.
pub(super) struct Said {
    pub(super) node: NodeId,
    pub(super) place: Place,
    /// Of what it says.
    pub(super) digest: Sha256,
}

/// The copies of the cluster's own values that were made for nodes.
#[derive(Default)]
pub(super) struct Copies {
    /// In units of 32 bytes.
    weight: usize,
    /// Whether it was told that they are too many.
    is_told: bool,
}

impl Copies {
    /// Counts a copy of `weight`; whether it is one too many.
    pub(super) fn is_too_much(&mut self, weight: usize) -> bool {
        self.weight = self.weight.saturating_add(weight);
        self.weight > MOST_COPIED
    }
}

/// What came of one part of the cluster's own values and of what is laid over it.
pub(super) struct Memo<T> {
    /// What a copy of the cluster's own weighs, in units of 32 bytes.
    pub(super) weight: usize,
    /// By the digest of what was said; `None` where nothing was.
    laid: HashMap<Option<Sha256>, Laying<T>>,
}

struct Laying<T> {
    laid: Common<T>,
    /// Whether nothing was wrong. What is wrong is told of each that says it.
    is_sound: bool,
}

/// What came of it when somebody said the same before.
pub(super) enum Before<T> {
    /// Nothing was wrong.
    Sound(Common<T>),
    /// What is wrong has to be told of this node too.
    Wrong(Common<T>),
    /// Nobody did.
    Never,
}

impl<T> Memo<T> {
    pub(super) fn new(weight: usize) -> Self {
        Self { weight, laid: HashMap::new() }
    }

    pub(super) fn before(&self, said: Option<&Said>) -> Before<T> {
        match self.laid.get(&digest(said)) {
            Some(Laying { laid, is_sound: true }) => Before::Sound(laid.clone()),
            Some(Laying { laid, is_sound: false }) => Before::Wrong(laid.clone()),
            None => Before::Never,
        }
    }
}

fn digest(said: Option<&Said>) -> Option<Sha256> {
    said.map(|said| said.digest)
}

impl Cx<'_, '_> {
    /// Reads a part again. What is wrong with it was told when the whole file was read.
    pub(super) fn said<R: Read>(&self, said: Option<&Said>) -> Field<R> {
        let Some(said) = said else { return Field::Absent };
        self.again(|reader| reader.field(said.node, said.place.clone()))
    }

    /// What comes of `said`: `judge` reads it, `lay` lays it over the cluster's own. `None` where there are too many copies.
    pub(super) fn lay<T, R: Read, O>(
        &mut self,
        said: Option<&Said>,
        memo: &mut Memo<T>,
        copies: &mut Copies,
        judge: impl FnOnce(&mut Self, &Field<R>) -> O,
        lay: impl FnOnce(O) -> Common<T>,
    ) -> Option<Common<T>> {
        let before = memo.before(said);
        if let Before::Sound(laid) = before {
            return Some(laid);
        }
        let told = self.found.told();
        let own = judge(self, &self.said(said));
        if let Before::Wrong(laid) = before {
            return Some(laid);
        }
        self.may_copy(said, copies, memo.weight)?;
        Some(self.keep(said, told, memo, lay(own)))
    }

    /// Takes `laid` for all that say the same. If anything was found since `told`, that is told of each of them; what is
    /// wrong with the cluster's own values was told with the first.
    pub(super) fn keep<T>(&self, said: Option<&Said>, told: usize, memo: &mut Memo<T>, laid: Common<T>) -> Common<T> {
        let is_sound = said.is_none() || self.found.told() == told;
        memo.laid.insert(digest(said), Laying { laid: laid.clone(), is_sound });
        laid
    }

    /// Counts a copy of `weight` for what is `said` over it. `None` where there are too many of them, which was reported
    /// with the first.
    pub(super) fn may_copy(&mut self, said: Option<&Said>, copies: &mut Copies, weight: usize) -> Option<()> {
        let Some(said) = said else { return Some(()) };
        // Nothing more would be told of what comes of it.
        if !self.found.has_room() {
            return None;
        }
        if !copies.is_too_much(weight) {
            return Some(());
        }
        if !copies.is_told {
            copies.is_told = true;
            let finding = Finding::new(
                code::TOO_LARGE,
                "up to this node, too much of the cluster's own values is laid over with values of single nodes",
            )
            .hint("say what is one node's own in as few of `os`, `kubelet`, `kernel` and the others as can be");
            self.found.error_at(&said.place, finding);
        }
        None
    }
}
