//! Clusters made by the library, as the command makes them: from the text of a cluster.yaml to baked nodes, in memory.

use anyhow::{Context as _, Result, anyhow, bail};
use nodekiln::{
    bake::{Baked, Oven},
    config::{self, Arch, Cluster, Colors, Loaded, Node},
    draft::NodeDraft,
    node::{self, Sources},
    pki::{self, Authority, Filled},
    secrets::{CaOptions, Secrets},
};
use nodekiln_plan::{NodePlan, Sha256, paths};
use sha2::Digest as _;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A cluster with its keys.
#[derive(Debug)]
pub struct Made {
    /// What cluster.yaml says.
    pub cluster: Cluster,
    /// Its keys.
    pub authority: Authority,
}

impl Made {
    /// The cluster of `text`, which may name files below `folder`; its keys are made now.
    pub fn of(text: &str, folder: Option<&Path>) -> Result<Self> {
        let cluster = load(text, folder)?.cluster;
        let authority = authority(&cluster, now()?)?;
        Ok(Self { cluster, authority })
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.cluster.nodes.iter().find(|node| node.name.as_str() == name);
        found.with_context(|| format!("looking for a node {name}"))
    }

    /// The draft of a node.
    pub fn plan(cluster: &Cluster, node: &Node) -> Result<NodeDraft> {
        node::plan(cluster, node, &sources()).map_err(|refusals| {
            let said: Vec<_> = refusals.iter().map(ToString::to_string).collect();
            anyhow!("{}: {}", node.name, said.join("; "))
        })
    }

    /// The tree of a node.
    pub fn filled(&self, node: &Node) -> Result<Filled> {
        let draft = Self::plan(&self.cluster, node)?;
        pki::fill(&self.authority, &draft).with_context(|| format!("filling {}", node.name))
    }

    /// The payload of a node, decoded again and proved to hold no key of another's.
    pub fn bake(cluster: &Cluster, authority: &Authority, node: &Node, draft: &NodeDraft) -> Result<Baked> {
        let oven = Oven::new(cluster, authority, Sha256::of(b""), false);
        let key = oven.key(node, draft)?;
        oven.bake(node, draft, key).with_context(|| format!("baking {}", node.name))
    }
}

/// A cluster without keys; findings are the error.
pub fn load(text: &str, folder: Option<&Path>) -> Result<Loaded> {
    match config::load_str("cluster.yaml", text, folder) {
        Ok(loaded) => Ok(loaded),
        Err(config::Failure::Findings(findings)) => bail!("{}", findings.render(Colors::Off)),
        Err(failure) => Err(failure.into()),
    }
}

/// Keys for `cluster` that were made at `now`. They look random and are always the same.
pub fn authority(cluster: &Cluster, now: i64) -> Result<Authority> {
    let mut secrets = Secrets::new(CaOptions::of(cluster, now), stream()).context("making secrets")?;
    secrets.complete(cluster, now, stream()).context("completing secrets")?;
    Authority::open(&secrets, cluster).context("opening secrets")
}

/// Seconds since the epoch.
pub fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

fn stream() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut block = sha2::Sha256::digest(b"nodekiln tests");
    move |buffer| {
        for chunk in buffer.chunks_mut(32) {
            block = sha2::Sha256::digest(block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

/// A firstboot that is none, for both architectures.
#[must_use]
pub fn sources() -> Sources {
    let program: Arc<[u8]> = b"nodekiln-firstboot of the tests".as_slice().into();
    Sources::new([(Arch::Amd64, program.clone()), (Arch::Arm64, program)].into())
}

/// A file of a node: permission bits and contents.
pub type NodeFile = (u32, Vec<u8>);

/// The files of a node where they are once firstboot is done with them, units included.
#[must_use]
pub fn final_files(filled: &Filled) -> BTreeMap<String, NodeFile> {
    let mut files = BTreeMap::new();
    let plan = filled.tree.files.iter().find(|file| file.path.as_str() == paths::PLAN);
    let plan =
        plan.and_then(|file| NodePlan::from_slice(file.contents.expose()).ok()).expect("every tree has its plan");
    for entry in &plan.files {
        let from = entry.staged.as_ref().unwrap_or(&entry.path);
        if let Some(file) = filled.tree.files.iter().find(|file| file.path == *from) {
            files.insert(entry.path.to_string(), (entry.mode.bits(), file.contents.expose().to_vec()));
        }
    }
    for file in &filled.tree.files {
        if !file.path.as_str().starts_with(paths::STAGE_DIR) {
            let bytes = file.contents.expose().to_vec();
            files.entry(file.path.to_string()).or_insert((file.mode.bits(), bytes));
        }
    }
    for unit in &filled.tree.units {
        let path = format!("/etc/systemd/system/{}", unit.name);
        for dropin in &unit.dropins {
            files.insert(format!("{path}.d/{}", dropin.name), (0o644, dropin.contents.clone().into_bytes()));
        }
        if let Some(contents) = &unit.contents {
            files.insert(path, (0o644, contents.clone().into_bytes()));
        }
    }
    files
}
