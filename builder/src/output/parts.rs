//! The nodes' parts of an output: baked and staged on all cores, of a node only its rows outlive its turn. What an older
//! output holds unchanged is taken over.

use super::{
    manifest::FileRow,
    part::Part,
    reuse::Older,
    rows::{PartId, PartRows, Parts, Rows},
    served,
    write::{Built, WriteError},
};
use crate::{
    bake::{BakeError, OutputFile, Oven},
    config::Node,
    draft::{Blob, NodeDraft},
    node::{Planner, Refusal},
    parallel,
};
use nodekiln_fs::{StageError, StagedTree};
use nodekiln_plan::{NodeName, Sha256};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What all nodes leave.
pub(super) struct Batch {
    /// In the order of cluster.yaml.
    pub(super) parts: Parts,
    pub(super) blobs: BTreeMap<Sha256, Published>,
    /// Which of them are taken over and not linked yet.
    pub(super) kept: Vec<usize>,
}

/// Something that machines fetch.
pub(super) struct Published {
    pub(super) blob: Blob,
    /// Whether it is in the new output already.
    pub(super) is_staged: bool,
}

/// Why a node has no part in the output.
enum Failure {
    Bake(BakeError),
    Stage(StageError),
    Gone(NodeName),
    Plan(Vec<Refusal>),
    Stopped,
}

/// The parts of the nodes that are done.
struct Done {
    /// Those of an older output too.
    rows: Rows,
    /// By the index of the node.
    parts: Vec<Option<PartId>>,
    kept: Vec<usize>,
}

impl Done {
    fn add(&mut self, index: usize, made: Made) {
        self.parts[index] = match made {
            Made::New(part) => Some(self.rows.add(&part)),
            Made::Kept(part) => {
                self.kept.push(index);
                Some(part)
            }
            Made::Skipped => None,
        };
    }
}

/// How a node came by its part.
enum Made {
    Kept(PartId),
    New(Part),
    /// Not at all: another cannot be planned.
    Skipped,
}

/// Where parts are made.
pub(super) struct Bakery<'a> {
    pub(super) planner: &'a Planner<'a>,
    pub(super) oven: &'a Oven<'a>,
    pub(super) built: &'a Built<'a>,
    pub(super) older: Option<&'a Older>,
    pub(super) staged: &'a StagedTree,
}

impl<'a> Bakery<'a> {
    /// Makes the parts of all nodes and pools, or finds them in the older output, whose parts are in `rows`.
    pub(super) fn bake_all(&self, rows: Rows) -> Result<Batch, WriteError> {
        let nodes: Vec<_> = self.built.cluster.payloads().collect();
        let done = Mutex::new(Done { rows, parts: vec![None; nodes.len()], kept: Vec::new() });
        let blobs = Mutex::new(BTreeMap::new());
        let failures = Mutex::new(Vec::new());
        // Once a node cannot be planned, the others are only planned: all that is found comes at once.
        let refused = AtomicBool::new(false);
        parallel::each(nodes.len(), |index| match self.part(nodes[index], &done, &blobs, &refused) {
            Ok(made) => {
                lock(&done).add(index, made);
                let next = (self.built.each)();
                if next.is_break() {
                    lock(&failures).push((index, Failure::Stopped));
                }
                next
            }
            Err(failure) => {
                // A machine that says no to one file says no to the next.
                let stop = matches!(failure, Failure::Stage(_)) || (self.built.each)().is_break();
                lock(&failures).push((index, failure));
                if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        });
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|(index, _)| *index);
        refuse(failures)?;
        let Done { rows, parts, mut kept } = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.sort_unstable();
        let parts = Parts::new(rows, parts.into_iter().flatten().collect());
        let blobs = blobs.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Batch { parts, blobs, kept })
    }

    /// Takes the files of those of `parts` that are `kept` over into the new output.
    pub(super) fn link_all(&self, parts: &Parts, kept: &[usize]) -> Result<(), WriteError> {
        let nodes: Vec<_> = self.built.cluster.payloads().collect();
        let failures = Mutex::new(Vec::new());
        parallel::each(kept.len(), |number| {
            let index = kept[number];
            match self.link(nodes[index], parts.get(index)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    lock(&failures).push((index, failure));
                    ControlFlow::Break(())
                }
            }
        });
        refuse(failures.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Links a node's files. Where that cannot be, they are made: the file system may know no links.
    fn link(&self, node: &'a Node, part: PartRows<'_>) -> Result<(), Failure> {
        let paths: Vec<String> = part.files().map(|row| row.path).collect();
        let linked = self.staged.link_all(paths.iter().map(String::as_str));
        match linked {
            Err(_) if self.built.only.is_empty() => {
                let draft = self.plan(node)?;
                self.bake(node, &draft, *part.key()).map(drop)
            }
            linked => linked.map_err(Failure::Stage),
        }
    }

    /// The part of `node`; none once `refused` is set.
    fn part(
        &self,
        node: &'a Node,
        done: &Mutex<Done>,
        blobs: &Mutex<BTreeMap<Sha256, Published>>,
        refused: &AtomicBool,
    ) -> Result<Made, Failure> {
        let only = &self.built.only;
        if !only.is_empty() && !only.contains(&node.name) {
            let whole = self.whole(&node.name, None, done);
            return whole.map(Made::Kept).ok_or_else(|| Failure::Gone(node.name.clone()));
        }
        let draft = self.plan(node).inspect_err(|_| refused.store(true, Ordering::Relaxed))?;
        if refused.load(Ordering::Relaxed) {
            return Ok(Made::Skipped);
        }
        let key = self.oven.key(node, &draft).map_err(Failure::Bake)?;
        if only.is_empty()
            && let Some(part) = self.whole(&node.name, Some(&key), done)
        {
            self.publish(&draft, blobs, false)?;
            return Ok(Made::Kept(part));
        }
        self.publish(&draft, blobs, true)?;
        self.bake(node, &draft, key).map(Made::New)
    }

    /// The part of `node` in the older output, made from what has this `key` if one is given, if its files are as they were
    /// written.
    fn whole(&self, node: &NodeName, key: Option<&Sha256>, done: &Mutex<Done>) -> Option<PartId> {
        let older = self.older?;
        let (part, files) = {
            let rows = &lock(done).rows;
            let part = older.part(node, rows)?;
            let found = rows.part(part);
            if key.is_some_and(|key| key != found.key()) {
                return None;
            }
            (part, found.files().collect::<Vec<_>>())
        };
        older.is_whole(&files).then_some(part)
    }

    /// Takes down what the node fetches. A node that is made has it staged too, once and while others are made: a program
    /// takes as long as many payloads. Without one there may be nothing to write.
    fn publish(
        &self,
        draft: &NodeDraft,
        blobs: &Mutex<BTreeMap<Sha256, Published>>,
        is_made: bool,
    ) -> Result<(), Failure> {
        for blob in &draft.class.blobs {
            let mut known = lock(blobs);
            let published =
                known.entry(blob.sha256).or_insert_with(|| Published { blob: blob.clone(), is_staged: false });
            let is_due = is_made && !published.is_staged;
            published.is_staged |= is_made;
            drop(known);
            if is_due {
                self.staged.write(&served::path(&blob.sha256), &blob.bytes).map_err(Failure::Stage)?;
            }
        }
        Ok(())
    }

    fn plan(&self, node: &'a Node) -> Result<NodeDraft, Failure> {
        self.planner.plan(node).map_err(Failure::Plan)
    }

    /// Makes the part of `node` and stages it.
    fn bake(&self, node: &Node, draft: &NodeDraft, key: Sha256) -> Result<Part, Failure> {
        let baked = self.oven.bake(node, draft, key).map_err(Failure::Bake)?;
        let mut files = Vec::with_capacity(baked.files.len());
        for OutputFile { path, role, bytes, sha256 } in baked.files {
            self.staged.write(&path, bytes.expose()).map_err(Failure::Stage)?;
            let size = bytes.expose().len() as u64;
            files.push(FileRow { path, sha256, size, role, node: Some(node.name.clone()) });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let (mut row, holdings) = (baked.row, baked.holdings);
        row.seal = Part::seal(&row, &files, &holdings);
        Ok(Part { row, files, holdings })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says why there is no output, if anything failed.
fn refuse(failures: Vec<(usize, Failure)>) -> Result<(), WriteError> {
    let (mut unplanned, mut unbaked, mut gone) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (index, failure) in failures {
        match failure {
            Failure::Stage(error) => return Err(error.into()),
            Failure::Stopped => return Err(WriteError::Stopped),
            Failure::Plan(refusals) => {
                unplanned.insert(index, refusals);
            }
            Failure::Bake(error) => unbaked.push(error),
            Failure::Gone(name) => gone.push(format!("`{name}`")),
        }
    }
    if !unplanned.is_empty() {
        return Err(WriteError::Plan(unplanned));
    }
    if !unbaked.is_empty() {
        return Err(WriteError::Bake(unbaked));
    }
    if !gone.is_empty() {
        let (of, have) = (gone.join(", "), if gone.len() == 1 { "has" } else { "have" });
        return Err(WriteError::Only(format!("{of} {have} none that is whole in the older output")));
    }
    Ok(())
}
