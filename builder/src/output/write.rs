//! Bakes every node and stages the results: two threads take nodes from a counter, of a node only its rows outlive its
//! turn.

use super::{
    existing::{self, ExistingError},
    manifest::{FileRole, FileRow, MANIFEST, Manifest, NodeRow},
    placement::{self, Holding, Known, Placement},
};
use crate::{
    bake::{BakeError, Oven},
    config::{Cluster, NamedInput},
    draft::NodeDraft,
    firstboot::Firstboot,
    pki::{Authority, Ca, KeyId},
};
use nodekiln_fs::{StageError, StagedTree};
use nodekiln_plan::{NodeName, Sha256};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
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
    /// The secrets that it was made with could not be written.
    #[error("writing {}", .0.display())]
    Secrets(PathBuf, #[source] io::Error),
    /// A kubeconfig or a file of JSON could not be made.
    #[error("making {0}")]
    Other(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// All that an output is made from.
pub struct Built<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// One draft per node, in the same order.
    pub drafts: &'a [NodeDraft],
    /// Its keys.
    pub authority: &'a Authority,
    /// Fingerprint of secrets.yaml.
    pub secrets: Sha256,
    /// cluster.yaml and the files that it names.
    pub inputs: &'a [NamedInput],
    /// The node binaries.
    pub firstboot: &'a [Firstboot],
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The manifest.
    pub manifest: Manifest,
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
    existing::check(target)?;

    let firstboot: BTreeMap<String, Sha256> = built
        .firstboot
        .iter()
        .map(|binary| (format!("{:?}", binary.arch).to_lowercase(), Sha256::of(&binary.bytes)))
        .collect();
    let mut base = vec![env!("CARGO_PKG_VERSION").as_bytes().to_vec(), built.secrets.as_bytes().to_vec()];
    base.extend(firstboot.values().map(|digest| digest.as_bytes().to_vec()));
    let base_key = Sha256::of_parts(base.iter().map(Vec::as_slice));
    let oven = Oven::new(built.cluster, built.authority, base_key);
    let (nodes, holdings, mut files) = bake_all(&oven, built.cluster, built.drafts, &staged)?;

    let mut put = |path: &str, role: FileRole, bytes: &[u8]| -> Result<(), StageError> {
        staged.write(path, bytes)?;
        files.push(FileRow {
            path: path.to_owned(),
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
            role,
            node: None,
        });
        Ok(())
    };
    for (name, bytes) in kubeconfigs(built)? {
        put(name, FileRole::Kubeconfig, bytes.expose())?;
    }
    put("ca.crt", FileRole::Ca, built.authority.bundle(Ca::Kubernetes).as_bytes())?;
    let blobs: BTreeMap<Sha256, _> =
        built.drafts.iter().flat_map(|draft| &draft.blobs).map(|blob| (blob.sha256, &blob.bytes)).collect();
    let known = Known {
        keys: &|spki| built.authority.identify(spki).or_else(|| built.authority.identify_nodes_own(spki)),
        symmetric: built.authority.needles(),
        user_files: &|_| false,
    };
    for (digest, bytes) in blobs {
        // The node's own program was checked when it was read.
        let is_ours = firstboot.values().any(|ours| *ours == digest);
        if let Some(key) = (!is_ours).then(|| placement::of_served(bytes, &known)).flatten() {
            return Err(WriteError::Served(key));
        }
        put(&format!("serve/blobs/{digest}"), FileRole::Served, bytes)?;
    }
    let placement = Placement::new(holdings, built.authority.key_ids());
    put("placement.json", FileRole::Placement, &json("placement.json", &placement)?)?;

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
        digest: None,
    };
    staged.write(MANIFEST, &manifest.seal().map_err(|source| WriteError::Other(MANIFEST, source.into()))?)?;
    keep()?;
    // Whoever keeps the secrets in the output folder would lose them.
    existing::check(target)?;
    staged.commit()?;
    Ok(Written { manifest })
}

fn kubeconfigs(built: &Built<'_>) -> Result<Vec<(&'static str, nodekiln_plan::Secret)>, WriteError> {
    built
        .authority
        .admin_kubeconfigs(built.cluster)
        .map(Vec::from)
        .map_err(|source| WriteError::Other("admin.conf", source.into()))
}

fn json(name: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, WriteError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| WriteError::Other(name, source.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

type Rows = (Vec<NodeRow>, BTreeMap<NodeName, Vec<Holding>>, Vec<FileRow>);

/// Bakes all nodes and pools on two threads and writes their files as they are done.
fn bake_all(oven: &Oven<'_>, cluster: &Cluster, drafts: &[NodeDraft], staged: &StagedTree) -> Result<Rows, WriteError> {
    enum Failure {
        Bake(usize, BakeError),
        Stage(StageError),
    }
    struct Done {
        index: usize,
        row: NodeRow,
        holdings: Vec<Holding>,
        files: Vec<FileRow>,
    }
    let nodes: Vec<_> = cluster.payloads().collect();
    let next = AtomicUsize::new(0);
    let full = AtomicBool::new(false);
    let done = Mutex::new(Vec::with_capacity(drafts.len()));
    let failures = Mutex::new(Vec::new());
    let work = || {
        while !full.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(node), Some(draft)) = (nodes.get(index).copied(), drafts.get(index)) else { return };
            let outcome = oven.bake(node, draft).map_err(|error| Failure::Bake(index, error)).and_then(|baked| {
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
                Ok(Done { index, row: baked.row, holdings: baked.holdings, files })
            });
            match outcome {
                Ok(row) => done.lock().unwrap_or_else(PoisonError::into_inner).push(row),
                Err(failure) => {
                    if matches!(failure, Failure::Stage(_)) {
                        full.store(true, Ordering::Relaxed);
                    }
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });

    let mut bake_failures = Vec::new();
    for failure in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match failure {
            Failure::Stage(error) => return Err(error.into()),
            Failure::Bake(index, error) => bake_failures.push((index, error)),
        }
    }
    if !bake_failures.is_empty() {
        bake_failures.sort_by_key(|(index, _)| *index);
        return Err(WriteError::Bake(bake_failures.into_iter().map(|(_, error)| error).collect()));
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|row| row.index);
    let mut rows = Rows::default();
    for node in done {
        rows.1.insert(node.row.name.clone(), node.holdings);
        rows.0.push(node.row);
        rows.2.extend(node.files);
    }
    Ok(rows)
}
