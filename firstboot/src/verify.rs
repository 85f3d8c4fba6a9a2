//! Whether the node is as planned: every file that does not change by itself. And the subcommand `verify`.

use crate::{
    etcd::{manifest, state},
    exit,
    files::digest_is,
    host::{Host, Kind, Level, print},
    run::load,
    stage::{STAGES, marker},
};
use nodekiln_plan::{AbsPath, EtcdPlan, FileEntry, FileKind, NodePlan, Sha256, paths};
use std::path::Path;

/// How closely files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Before each start of the kubelet: large files (programs) have to be there, the others to have their digest.
    Fast,
    /// Every byte.
    Full,
}

/// Files from this size on are not read in [`Depth::Fast`].
const LARGE: u64 = 4 << 20;

/// What is not as planned, in words.
#[derive(Debug, Default)]
pub struct Differences {
    /// Of Kubernetes: the kubelet must not start so.
    pub kubernetes: Vec<String>,
    /// Of the machine: files that its administrator, its services or its updates may have changed since.
    pub machine: Vec<String>,
}

/// Compares all files with the plan.
///
/// # Errors
/// The file system's.
pub fn differences(host: &dyn Host, plan: &NodePlan, digest: &Sha256, depth: Depth) -> anyhow::Result<Differences> {
    let finished = marker(host, "finalize", digest)?.is_some();
    let mut differences = Differences::default();
    for entry in &plan.files {
        let found = match is_of_kubernetes(plan, entry) {
            true => &mut differences.kubernetes,
            false => &mut differences.machine,
        };
        // Holds join tokens: erased by the last stage.
        if finished && entry.path.as_str() == paths::API_OBJECTS {
            continue;
        }
        match entry.kind {
            FileKind::Laid | FileKind::Staged => look(host, entry, depth, found)?,
            FileKind::Decided => {
                if let Some(etcd) = &plan.spec.etcd
                    && entry.path == etcd.manifest
                    && !decided_is_right(host, plan, etcd, entry)?
                {
                    found.push(format!("{} is not the template with what was decided", entry.path));
                }
            }
            FileKind::Seed => {
                if host.stat(entry.path.as_path())?.is_none() {
                    found.push(format!("{} is missing", entry.path));
                }
            }
            FileKind::Credential => {
                if finished
                    && let Some(staged) = &entry.staged
                    && host.stat(staged.as_path())?.is_some()
                {
                    found.push(format!("{staged} should have been erased"));
                }
            }
        }
    }
    Ok(differences)
}

/// Whether a file is one of Kubernetes: what firstboot placed, keys and kubeconfigs, the kubelet's. The rest is the
/// machine's: host name, time servers, the user's own files.
fn is_of_kubernetes(plan: &NodePlan, entry: &FileEntry) -> bool {
    let kubelet = &plan.class.kubelet;
    let etcd = plan.spec.etcd.as_ref().map(|etcd| &etcd.ca);
    let beside = [Some(&kubelet.static_pods), Some(&kubelet.ca), etcd];
    let folders = beside.into_iter().flatten().filter_map(AbsPath::parent);
    entry.kind != FileKind::Laid
        || entry.path == kubelet.binary
        || folders.chain([kubelet.root_dir.clone()]).any(|folder| entry.path.is_within(&folder))
}

fn look(host: &dyn Host, entry: &FileEntry, depth: Depth, found: &mut Vec<String>) -> anyhow::Result<()> {
    let path = &entry.path;
    match host.stat(path.as_path())? {
        None => found.push(format!("{path} is missing")),
        Some(stat) if depth == Depth::Fast && stat.kind == Kind::File && stat.size >= LARGE => {}
        Some(stat) => {
            if !digest_is(host, path, entry)? {
                found.push(format!("{path} has not the planned content"));
            } else if stat.kind == Kind::File && stat.mode != entry.mode.bits() {
                found.push(format!("{path} has the mode {:04o} in place of {}", stat.mode, entry.mode));
            }
        }
    }
    Ok(())
}

fn decided_is_right(host: &dyn Host, plan: &NodePlan, etcd: &EtcdPlan, entry: &FileEntry) -> anyhow::Result<bool> {
    let Some(staged) = &entry.staged else { return Ok(false) };
    let Ok(template) = host.read(staged.as_path()) else { return Ok(false) };
    let Ok(now) = host.read(entry.path.as_path()) else { return Ok(false) };
    if Sha256::of(&template) != entry.sha256 {
        return Ok(false);
    }
    let node = &plan.spec.node;
    if manifest::fill(&template, etcd, node, manifest::Start::Existing)? == now {
        return Ok(true);
    }
    match state::load(host, etcd)?.and_then(|state| state.map) {
        Some(map) => Ok(manifest::fill(&template, etcd, node, manifest::Start::New(&map))? == now),
        None => Ok(false),
    }
}

/// The subcommand.
///
/// # Errors
/// No plan, the file system's, or a stdout that cannot be written where the node is as planned.
pub fn verify(host: &dyn Host) -> anyhow::Result<u8> {
    let (plan, digest) = load(host)?;
    let mut found = Vec::new();
    for stage in &STAGES {
        if marker(host, stage.name, &digest)?.is_none() {
            found.push(format!("the stage {} is not done", stage.name));
        }
    }
    let differences = differences(host, &plan, &digest, Depth::Full)?;
    found.extend(differences.kubernetes.into_iter().chain(differences.machine));
    for directory in &plan.class.directories {
        match host.stat(directory.path.as_path())? {
            Some(stat) if stat.kind == Kind::Dir && stat.mode == directory.mode.bits() => {}
            Some(stat) if stat.kind == Kind::Dir => {
                found.push(format!("{} has the mode {:04o} in place of {}", directory.path, stat.mode, directory.mode));
            }
            _ => found.push(format!("the folder {} is missing", directory.path)),
        }
    }
    if let Some(etcd) = &plan.spec.etcd
        && !state::has_wal(host, &etcd.data_dir)?
    {
        found.push(format!("{} holds no etcd log", etcd.data_dir));
    }
    if host.stat(Path::new(paths::API_CREDENTIAL))?.is_some() {
        found.push(format!("{} is still there", paths::API_CREDENTIAL));
    }
    if found.is_empty() {
        print(host, &format!("node {} is as planned: {} files\n", plan.spec.node, plan.files.len()))?;
        return Ok(exit::OK);
    }
    // The verdict stands even where its reasons cannot be told: the exit code is all that a script has then.
    if let Err(error) = found.iter().try_for_each(|line| print(host, &format!("{line}\n"))) {
        host.say(Level::Error, &format!("{:#}", anyhow::Error::from(error)));
    }
    Ok(exit::DIFFERS)
}
