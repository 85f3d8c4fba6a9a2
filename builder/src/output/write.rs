//! Writes an output: the parts of all nodes, what they share, and the manifest; or finds that it is there already.

use super::{
    existing::{self, ExistingError},
    found::Found,
    listing::{Listing, Nodes, Order},
    manifest::{FileRole, FileRow, Hashing, MANIFEST, Manifest, UNSEALED},
    parts::{Bakery, Batch, Published},
    placed::Placed,
    placement::{self, Known, PLACEMENT, Searched},
    reuse::{self, Older},
    rows::{Parts, Rows},
    served,
};
use crate::{
    bake::{BakeError, Oven},
    config::{Cluster, NamedInput},
    firstboot::Firstboot,
    node::{Planner, Refusal, Sources},
    parallel,
    pki::{Authority, Ca, KeyId},
};
use nodekiln_fs::{StageError, StagedTree};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
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
    /// Nodes that cannot be planned, by their index among the cluster's payloads. Every one of them is here.
    #[error("nodes that cannot be planned")]
    Plan(BTreeMap<usize, Vec<Refusal>>),
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
    /// The cluster.
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
    /// The nodes' parts, in the order of cluster.yaml.
    pub parts: Parts,
    /// How many files there are beside the manifest.
    pub files: usize,
    /// Whether machines fetch the node's program, since it is among what is served.
    pub serves_firstboot: bool,
    /// How many nodes were taken over from the older output.
    pub kept: usize,
    /// Whether anything was written: not if the older output is what would have been.
    pub changed: bool,
}

/// Writes the output folder `target` and puts it in the place of an older one. `keep` runs between the two, when
/// nothing was found wrong: it writes new secrets, so that no output is ever there without those that it was made with.
///
/// What would come out as it is there already is left alone.
///
/// # Errors
/// See [`WriteError`]. Whatever stood at `target` still does.
pub fn write(
    built: &Built<'_>,
    target: &Path,
    waiting: impl FnOnce(),
    keep: impl FnOnce() -> Result<(), WriteError>,
) -> Result<Written, WriteError> {
    let staged = StagedTree::begin(target, waiting)?;
    // Under the lock: another build may just have ended.
    let older = existing::check(target)?;

    let firstboot: BTreeMap<String, Sha256> = built
        .firstboot
        .iter()
        .map(|binary| (format!("{:?}", binary.arch).to_lowercase(), binary.program.sha256))
        .collect();
    only_is_possible(built, &firstboot, older.as_ref())?;
    let published = older.as_ref().filter(|_| !built.only.is_empty()).map(served::of).unwrap_or_default();
    let mut rows = Rows::default();
    let older = older.map(|manifest| Older::new(target, manifest, &mut rows));
    let oven = Oven::new(built.cluster, built.authority, built.secrets, built.tree);
    let planner = Planner::new(built.cluster, built.sources);
    let bakery = Bakery { planner: &planner, oven: &oven, built, older: older.as_ref(), staged: &staged };
    let Batch { parts, blobs, kept } = bakery.bake_all(rows)?;

    let shared = shared(built, &firstboot, blobs)?;
    let mut of_none: Vec<FileRow> = shared.iter().map(SharedFile::row).collect();
    // What the payloads that are kept fetch, and none of those that are made.
    let others = published.into_iter().filter(|row| shared.iter().all(|file| file.path != row.path)).collect();
    let served = served::fetched(target, &parts, &kept, others);
    if let Some(row) = served.iter().find(|row| !reuse::is_whole(&target.join(&row.path), row)) {
        return Err(WriteError::Only(format!("{} is not as it was written", row.path)));
    }
    of_none.extend(served.iter().cloned());
    let serves_firstboot = of_none.iter().any(|row| firstboot.values().any(|digest| row.path == served::path(digest)));
    // Where nothing was made there may be nothing to write.
    let is_written = kept.len() < parts.len();
    let ids = built.authority.key_ids();
    // What is to be said of it is known last.
    let last = of_none.len();
    of_none.push(FileRow {
        path: PLACEMENT.to_owned(),
        sha256: UNSEALED,
        size: 0,
        role: FileRole::Placement,
        node: None,
    });
    let (placed, order) = parallel::both(
        || -> Result<_, WriteError> {
            let placed = Placed::new(&parts, ids);
            let written = match is_written {
                true => write_json(PLACEMENT, staged.create(PLACEMENT)?, &placed)?,
                false => write_json(PLACEMENT, io::sink(), &placed)?,
            };
            // Where nothing is written it may have to be after all.
            Ok(((!is_written).then_some(placed), written))
        },
        || -> Result<_, WriteError> {
            let order = Order::of(&parts, &of_none);
            if is_written {
                write_shared(&staged, &shared)?;
            }
            Ok(order)
        },
    );
    let (order, (placed, written)) = (order?, placed?);
    (of_none[last].sha256, of_none[last].size) = written;
    let mut manifest = Manifest {
        made_by: Manifest::MADE_BY.to_owned(),
        version: Manifest::VERSION,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        inputs: built.inputs.iter().map(|input| (input.path.clone(), input.sha256)).collect(),
        secrets: built.secrets,
        firstboot,
        nodes: Nodes(&parts),
        files: Listing { parts: &parts, others: &of_none, order },
        digest: UNSEALED,
    };
    let files = manifest.files.len();
    if let Some(placed) = placed {
        if is_up_to_date(target, &mut manifest)? {
            keep()?;
            return Ok(Written { parts, files, serves_firstboot, kept: kept.len(), changed: false });
        }
        write_json(PLACEMENT, staged.create(PLACEMENT)?, &placed)?;
        write_shared(&staged, &shared)?;
    }

    bakery.link_all(&parts, &kept)?;
    for row in &served {
        staged.link(&row.path)?;
    }
    write_manifest(&mut manifest, staged.create(MANIFEST)?)?;
    keep()?;
    // Whoever keeps the secrets in the output folder would lose them.
    existing::check(target)?;
    staged.commit()?;
    Ok(Written { parts, files, serves_firstboot, kept: kept.len(), changed: true })
}

/// Writes what is not staged yet.
fn write_shared(staged: &StagedTree, shared: &[SharedFile]) -> Result<(), WriteError> {
    let is_due = |file: &&SharedFile| !matches!(&file.bytes, Bytes::Blob(published) if published.is_staged);
    Ok(shared.iter().filter(is_due).try_for_each(|file| staged.write(&file.path, file.bytes()))?)
}

/// Writes the manifest; its digest and size.
fn write_manifest(
    manifest: &mut Manifest<Nodes<'_>, Listing<'_>>,
    out: impl io::Write,
) -> Result<(Sha256, u64), WriteError> {
    manifest.write(out).map_err(|source| WriteError::Other(MANIFEST, source.into()))
}

/// A file that belongs to no node.
struct SharedFile {
    path: String,
    role: FileRole,
    bytes: Bytes,
}

enum Bytes {
    Secret(Secret),
    Public(Arc<[u8]>),
    Blob(Published),
}

impl SharedFile {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Secret(bytes) => bytes.expose(),
            Bytes::Public(bytes) => bytes,
            Bytes::Blob(published) => &published.blob.bytes,
        }
    }

    fn row(&self) -> FileRow {
        let sha256 = match &self.bytes {
            Bytes::Blob(published) => published.blob.sha256,
            Bytes::Secret(_) | Bytes::Public(_) => Sha256::of(self.bytes()),
        };
        let size = self.bytes().len() as u64;
        FileRow { path: self.path.clone(), sha256, size, role: self.role, node: None }
    }
}

/// Kubeconfigs for people, the CA bundle, and what all machines may fetch.
fn shared(
    built: &Built<'_>,
    firstboot: &BTreeMap<String, Sha256>,
    blobs: BTreeMap<Sha256, Published>,
) -> Result<Vec<SharedFile>, WriteError> {
    let kubeconfigs = built.authority.admin_kubeconfigs(built.cluster);
    let kubeconfigs = kubeconfigs.map_err(|source| WriteError::Other("admin.conf", source.into()))?;
    let mut files: Vec<_> = kubeconfigs
        .into_iter()
        .map(|(name, bytes)| SharedFile {
            path: name.to_owned(),
            role: FileRole::Kubeconfig,
            bytes: Bytes::Secret(bytes),
        })
        .collect();
    let bundle = built.authority.bundle(Ca::Kubernetes).as_bytes();
    files.push(SharedFile { path: "ca.crt".to_owned(), role: FileRole::Ca, bytes: Bytes::Public(bundle.into()) });
    let known = Known {
        keys: &|spki| built.authority.identify(spki).or_else(|| built.authority.identify_nodes_own(spki)),
        symmetric: built.authority.needles(),
        user_files: &|_| false,
        searched: &Searched::default(),
    };
    for (digest, published) in blobs {
        // The node's own program was checked when it was read.
        let is_ours = firstboot.values().any(|ours| *ours == digest);
        if let Some(key) = (!is_ours).then(|| placement::of_served(&published.blob.bytes, &known)).flatten() {
            return Err(WriteError::Served(key));
        }
        let path = served::path(&digest);
        files.push(SharedFile { path, role: FileRole::Served, bytes: Bytes::Blob(published) });
    }
    Ok(files)
}

/// Whether `target` is what `manifest` says, of whose nodes' files that is known: then there is nothing to write.
fn is_up_to_date(target: &Path, manifest: &mut Manifest<Nodes<'_>, Listing<'_>>) -> Result<bool, WriteError> {
    let (sha256, size) = write_manifest(manifest, io::sink())?;
    let own = FileRow { path: MANIFEST.to_owned(), sha256, size, role: FileRole::Plan, node: None };
    Ok(manifest.files.others.iter().chain([&own]).all(|row| reuse::is_whole(&target.join(&row.path), row))
        && manifest.files.folders().all(|folder| reuse::is_private(&target.join(folder))))
}

/// Whether the nodes that are not to be made can stay as they are.
fn only_is_possible(
    built: &Built<'_>,
    firstboot: &BTreeMap<String, Sha256>,
    older: Option<&Found>,
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

/// Writes JSON piece by piece, and gives its digest and size: that of ten thousand nodes would be as large as all else in
/// memory.
fn write_json(
    name: &'static str,
    out: impl io::Write,
    value: &impl serde::Serialize,
) -> Result<(Sha256, u64), WriteError> {
    let fault = |source: io::Error| WriteError::Other(name, source.into());
    let mut out = io::BufWriter::with_capacity(1 << 16, Hashing::new(out));
    nodekiln_plan::json::to_writer(&mut out, value).map_err(|source| WriteError::Other(name, source.into()))?;
    Ok(out.into_inner().map_err(|error| fault(error.into_error()))?.finish())
}
