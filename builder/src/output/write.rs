//! Bakes every node and stages the results, on all cores: of a node only its rows outlive its turn. What an older output
//! holds unchanged is linked.

use super::{
    existing::{self, ExistingError},
    manifest::{FileRole, FileRow, Hashing, MANIFEST, Manifest, NodeRow, UNSEALED},
    placement::{self, Holding, Known, PLACEMENT, Placement, Searched},
    reuse::{Older, Part},
};
use crate::{
    bake::{BakeError, Oven},
    config::{Cluster, NamedInput, Node},
    draft::Blob,
    firstboot::Firstboot,
    node::{self, Sources},
    parallel,
    pki::{Authority, Ca, KeyId},
};
use nodekiln_fs::{StageError, StagedTree};
use nodekiln_plan::{NodeName, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Why there is no new output. The old one is whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What stands there must not be replaced.
    #[error(transparent)]
    Existing(#[from] ExistingError),
    /// The machine said no.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Payloads that could not be made, in the order of cluster.yaml.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Bake(Vec<BakeError>),
    /// A key in a file for everybody.
    #[error("a file of `binaries` holds the key `{0}` and would be published with `delivery.baseURL`")]
    Served(KeyId),
    /// Single nodes cannot be remade over what stands there.
    #[error("--node keeps the other nodes' payloads, but {0}; build without it")]
    Only(String),
    /// Somebody asked it to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// The secrets that it was made with could not be written.
    #[error("writing {}", .0.display())]
    Secrets(PathBuf, #[source] io::Error),
    /// A kubeconfig or a file of JSON could not be made.
    #[error("making {0}")]
    Other(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// All that an output is made from.
pub struct Built<'a> {
    /// The cluster. All its nodes can be planned.
    pub cluster: &'a Cluster,
    /// What planning needs beside it.
    pub sources: &'a Sources,
    /// Its keys.
    pub authority: &'a Authority,
    /// Fingerprint of secrets.yaml.
    pub secrets: Sha256,
    /// cluster.yaml and the files that it names.
    pub inputs: &'a [NamedInput],
    /// The node binaries.
    pub firstboot: &'a [Firstboot],
    /// The nodes to make, whatever an older output holds of them; the others' payloads stay as they are. Empty: all.
    pub only: &'a BTreeSet<NodeName>,
    /// Whether each node gets a `tree.tar`.
    pub tree: bool,
    /// Called when a node is done, on any thread; a break ends the build, and the older output stays.
    pub each: &'a (dyn Fn() -> ControlFlow<()> + Sync),
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The manifest.
    pub manifest: Manifest,
    /// How many nodes were taken over from the older output.
    pub kept: usize,
}

/// Writes the output folder `target` and puts it in the place of an older one. `keep` runs between the two, when
/// nothing was found wrong: it writes new secrets, so that no output is ever there without those that it was made with.
///
/// # Errors
/// See [`WriteError`]. Whatever stood at `target` still does.
pub fn write(
    built: &Built<'_>,
    target: &Path,
    waiting: impl FnOnce(),
    keep: impl FnOnce() -> Result<(), WriteError>,
) -> Result<Written, WriteError> {
    existing::check(target)?;
    let staged = StagedTree::begin(target, waiting)?;
    // Once more under the lock: another build may have ended in between.
    let older = existing::check(target)?;

    let firstboot: BTreeMap<String, Sha256> = built
        .firstboot
        .iter()
        .map(|binary| {
            let digest = built.sources.blob(&binary.bytes).sha256;
            (format!("{:?}", binary.arch).to_lowercase(), digest)
        })
        .collect();
    only_is_possible(built, &firstboot, older.as_ref())?;
    let served = older.as_ref().filter(|_| !built.only.is_empty()).map(served).unwrap_or_default();
    let older = older.map(|manifest| Older::new(target, manifest));
    let oven = Oven::new(built.cluster, built.authority, built.secrets, built.tree);
    let Rows { nodes, holdings, mut files, blobs, kept } = bake_all(&oven, built, older.as_ref(), &staged)?;

    let mut put = |path: &str, role: FileRole, bytes: &[u8]| -> Result<(), StageError> {
        staged.write(path, bytes)?;
        let (sha256, size) = (Sha256::of(bytes), bytes.len() as u64);
        files.push(FileRow { path: path.to_owned(), sha256, size, role, node: None });
        Ok(())
    };
    for (name, bytes) in kubeconfigs(built)? {
        put(name, FileRole::Kubeconfig, bytes.expose())?;
    }
    put("ca.crt", FileRole::Ca, built.authority.bundle(Ca::Kubernetes).as_bytes())?;
    let known = Known {
        keys: &|spki| built.authority.identify(spki).or_else(|| built.authority.identify_nodes_own(spki)),
        symmetric: built.authority.needles(),
        user_files: &|_| false,
        searched: &Searched::default(),
    };
    for (digest, Blob { bytes, .. }) in &blobs {
        // The node's own program was checked when it was read.
        let is_ours = firstboot.values().any(|ours| ours == digest);
        if let Some(key) = (!is_ours).then(|| placement::of_served(bytes, &known)).flatten() {
            return Err(WriteError::Served(key));
        }
        put(&format!("serve/blobs/{digest}"), FileRole::Served, bytes)?;
    }
    // What the payloads that are kept fetch.
    for row in served {
        if files.iter().all(|file| file.path != row.path) {
            staged.link(&row.path)?;
            files.push(row);
        }
    }
    let placement = Placement::new(holdings, built.authority.key_ids());
    files.push(stream(&staged, PLACEMENT, FileRole::Placement, &placement)?);

    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut manifest = Manifest {
        made_by: Manifest::MADE_BY.to_owned(),
        version: Manifest::VERSION,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        inputs: built.inputs.iter().map(|input| (input.path.clone(), input.sha256)).collect(),
        secrets: built.secrets,
        firstboot,
        nodes,
        files,
        digest: UNSEALED,
    };
    manifest.set_digest().map_err(|source| WriteError::Other(MANIFEST, source.into()))?;
    stream(&staged, MANIFEST, FileRole::Plan, &manifest)?;
    keep()?;
    // Whoever keeps the secrets in the output folder would lose them.
    existing::check(target)?;
    staged.commit()?;
    Ok(Written { manifest, kept })
}

/// Whether the nodes that are not to be made can stay as they are.
fn only_is_possible(
    built: &Built<'_>,
    firstboot: &BTreeMap<String, Sha256>,
    older: Option<&Manifest>,
) -> Result<(), WriteError> {
    if built.only.is_empty() {
        return Ok(());
    }
    let Some(older) = older else { return Err(WriteError::Only("there is no older output to keep them from".into())) };
    let changed = if older.secrets != built.secrets {
        "the secrets have changed since they were made"
    } else if older.tool != env!("CARGO_PKG_VERSION") {
        "another version of nodekiln made them"
    } else if older.firstboot != *firstboot {
        "they were made with another nodekiln-firstboot"
    } else {
        return Ok(());
    };
    Err(WriteError::Only(changed.to_owned()))
}

/// What an older output publishes for all.
fn served(older: &Manifest) -> Vec<FileRow> {
    older.files.iter().filter(|row| row.role == FileRole::Served && row.node.is_none()).cloned().collect()
}

fn kubeconfigs(built: &Built<'_>) -> Result<Vec<(&'static str, nodekiln_plan::Secret)>, WriteError> {
    built
        .authority
        .admin_kubeconfigs(built.cluster)
        .map(Vec::from)
        .map_err(|source| WriteError::Other("admin.conf", source.into()))
}

/// Writes JSON piece by piece: that of ten thousand nodes would be as large as all else in memory.
fn stream(
    staged: &StagedTree,
    name: &'static str,
    role: FileRole,
    value: &impl serde::Serialize,
) -> Result<FileRow, WriteError> {
    let fault = |source: io::Error| WriteError::Other(name, source.into());
    let mut out = io::BufWriter::with_capacity(1 << 16, Hashing::new(staged.create(name)?));
    serde_json::to_writer_pretty(&mut out, value).map_err(|source| WriteError::Other(name, source.into()))?;
    out.write_all(b"\n").map_err(fault)?;
    let (sha256, size) = out.into_inner().map_err(|error| fault(error.into_error()))?.finish();
    Ok(FileRow { path: name.to_owned(), sha256, size, role, node: None })
}

/// What all nodes leave.
struct Rows {
    nodes: Vec<NodeRow>,
    holdings: BTreeMap<NodeName, Vec<Holding>>,
    files: Vec<FileRow>,
    blobs: BTreeMap<Sha256, Blob>,
    kept: usize,
}

/// Why a node has no part in the output.
enum Failure {
    Bake(BakeError),
    Stage(StageError),
    Gone(NodeName),
    Plan(String),
    Stopped,
}

/// Makes the parts of all nodes and pools, or takes them over.
fn bake_all(
    oven: &Oven<'_>,
    built: &Built<'_>,
    older: Option<&Older>,
    staged: &StagedTree,
) -> Result<Rows, WriteError> {
    struct Done {
        index: usize,
        part: Part,
        kept: bool,
    }
    let nodes: Vec<_> = built.cluster.payloads().collect();
    let done = Mutex::new(Vec::with_capacity(nodes.len()));
    let blobs = Mutex::new(BTreeMap::new());
    let failures = Mutex::new(Vec::new());
    parallel::each(nodes.len(), |index| match part(oven, built, older, staged, nodes[index], &blobs) {
        Ok((part, kept)) => {
            done.lock().unwrap_or_else(PoisonError::into_inner).push(Done { index, part, kept });
            let next = (built.each)();
            if next.is_break() {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, Failure::Stopped));
            }
            next
        }
        Err(failure) => {
            // A machine that says no to one file says no to the next.
            let stop = !matches!(failure, Failure::Bake(_) | Failure::Gone(_));
            let stop = stop || (built.each)().is_break();
            failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, failure));
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|(index, _)| *index);
    refuse(failures.into_iter().map(|(_, failure)| failure))?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|done| done.index);
    let mut rows = Rows {
        nodes: Vec::with_capacity(done.len()),
        holdings: BTreeMap::new(),
        files: Vec::with_capacity(done.len() * 3),
        blobs: blobs.into_inner().unwrap_or_else(PoisonError::into_inner),
        kept: done.iter().filter(|done| done.kept).count(),
    };
    for Done { part: Part { row, files, holdings }, .. } in done {
        rows.holdings.insert(row.name.clone(), holdings);
        rows.nodes.push(row);
        rows.files.extend(files);
    }
    Ok(rows)
}

/// Says why there is no output, if anything failed.
fn refuse(failures: impl Iterator<Item = Failure>) -> Result<(), WriteError> {
    let (mut unbaked, mut gone) = (Vec::new(), Vec::new());
    for failure in failures {
        match failure {
            Failure::Stage(error) => return Err(error.into()),
            Failure::Stopped => return Err(WriteError::Stopped),
            Failure::Plan(why) => return Err(WriteError::Other("a plan", why.into())),
            Failure::Bake(error) => unbaked.push(error),
            Failure::Gone(name) => gone.push(format!("`{name}`")),
        }
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

/// The part of `node`, and whether it was there already.
fn part(
    oven: &Oven<'_>,
    built: &Built<'_>,
    older: Option<&Older>,
    staged: &StagedTree,
    node: &Node,
    blobs: &Mutex<BTreeMap<Sha256, Blob>>,
) -> Result<(Part, bool), Failure> {
    let link = |part: &Part| staged.link_all(part.files.iter().map(|row| row.path.as_str()));
    if !built.only.is_empty() && !built.only.contains(&node.name) {
        let part = older.and_then(|older| older.whole(&node.name)).ok_or_else(|| Failure::Gone(node.name.clone()))?;
        link(part).map_err(Failure::Stage)?;
        return Ok((part.clone(), true));
    }
    let planned = node::plan(built.cluster, node, built.sources);
    let draft = planned.map_err(|refusals| {
        Failure::Plan(refusals.into_iter().map(|refusal| refusal.message).collect::<Vec<_>>().join("; "))
    })?;
    blobs
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(draft.blobs.iter().map(|blob| (blob.sha256, blob.clone())));
    let key = oven.key(node, &draft).map_err(Failure::Bake)?;
    // Where it cannot be linked, it is made: the file system of the older one may be another.
    if built.only.is_empty()
        && let Some(part) = older.and_then(|older| older.unchanged(&node.name, &key))
        && link(part).is_ok()
    {
        return Ok((part.clone(), true));
    }
    let baked = oven.bake(node, &draft, key).map_err(Failure::Bake)?;
    let mut files = Vec::with_capacity(baked.files.len());
    for file in &baked.files {
        let bytes = file.bytes.expose();
        staged.write(&file.path, bytes).map_err(Failure::Stage)?;
        files.push(FileRow {
            path: file.path.clone(),
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
            role: file.role,
            node: Some(node.name.clone()),
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut row, holdings) = (baked.row, baked.holdings);
    row.seal = Part::seal(&row, &files, &holdings);
    Ok((Part { row, files, holdings }, false))
}
