//! The subcommand `gate`, before every start of the kubelet: is the node ready for it, and etcd's log still there?

use crate::{
    etcd::{manifest, state},
    exit::{self, Differs},
    host::{Host, Level, Process, processes, run},
    run::load,
    stage::{marker, unmark},
    verify::{Depth, differences},
};
use anyhow::Context as _;
use nodekiln_plan::{EtcdPlan, NodePlan, Sha256};

/// Our unit.
pub const UNIT: &str = "nodekiln-firstboot.service";

/// What the gate found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kubelet may start.
    Go,
    /// etcd's data is not that of the manifest any more: decide anew before anything starts.
    Again,
}

/// The subcommand.
///
/// # Errors
/// The node is not as planned.
pub fn gate(host: &dyn Host) -> anyhow::Result<u8> {
    let (plan, digest) = load(host)?;
    if marker(host, "etcd", &digest)?.is_none() {
        host.say(Level::Notice, "gate: firstboot has not come to the kubelet yet");
        // It does, in the end; best effort, for the case that it was stopped.
        let _ = host.command("systemctl", &["start", "--no-block", UNIT]);
        return Ok(exit::NOT_YET);
    }
    match check(host, &plan, &digest)? {
        Verdict::Go => Ok(exit::OK),
        Verdict::Again => {
            forget(host, &plan)?;
            run(host, "systemctl", &["restart", "--no-block", UNIT])?;
            Ok(exit::NOT_YET)
        }
    }
}

/// Compares files with the plan, and the manifest with etcd's data.
///
/// # Errors
/// A file of Kubernetes differs; the file system's.
pub fn check(host: &dyn Host, plan: &NodePlan, digest: &Sha256) -> anyhow::Result<Verdict> {
    if let Some(etcd) = &plan.spec.etcd
        && !may_start(host, plan, etcd)?
    {
        return Ok(Verdict::Again);
    }
    let found = differences(host, plan, digest, Depth::Fast)?;
    for line in found.machine {
        host.say(Level::Warning, &format!("warning: {line}"));
    }
    if found.kubernetes.is_empty() { Ok(Verdict::Go) } else { Err(Differs(found.kubernetes.join("; ")).into()) }
}

/// With a log etcd goes on with it. Without one the manifest must be the founding that this very life decided: anything
/// else would start a member with an empty log under an identity that has voted.
fn may_start(host: &dyn Host, plan: &NodePlan, etcd: &EtcdPlan) -> anyhow::Result<bool> {
    // Without its disk the member waits; it decides nothing anew.
    state::require_mount(host, etcd)?;
    if state::has_wal(host, &etcd.data_dir)? {
        state::mark_started(host, etcd)?;
        return Ok(true);
    }
    let Some(state) = state::load(host, etcd)? else { return Ok(false) };
    let (false, Some(map)) = (state.started, &state.map) else { return Ok(false) };
    let Some(staged) = &manifest::entry(plan, etcd)?.staged else { return Ok(false) };
    let template = host.read(staged.as_path()).with_context(|| format!("reading {staged}"))?;
    let wanted = manifest::fill(&template, etcd, &plan.spec.node, manifest::Start::New(map))?;
    Ok(host.read(etcd.manifest.as_path()).is_ok_and(|now| now == wanted))
}

/// Takes back what was decided: markers, etcd's manifest, and the containers that may still run on the lost data. The
/// kubelet does not run, so nothing starts them again.
///
/// # Errors
/// The file system's.
pub fn forget(host: &dyn Host, plan: &NodePlan) -> anyhow::Result<()> {
    let Some(etcd) = &plan.spec.etcd else { return Ok(()) };
    host.say(Level::Warning, &format!("gate: {} lost its log; deciding anew", etcd.data_dir));
    for stage in ["finalize", "wait", "etcd"] {
        unmark(host, stage)?;
    }
    host.remove(etcd.manifest.as_path()).with_context(|| format!("removing {}", etcd.manifest))?;
    for process in own_processes(host, plan, etcd) {
        // One that has just ended is as good.
        let _ = host.kill(process.pid);
    }
    Ok(())
}

/// This node's own API server and etcd, as far as they run; the API server, which needs the other, first.
pub fn own_processes(host: &dyn Host, plan: &NodePlan, etcd: &EtcdPlan) -> Vec<Process> {
    let mut own = processes(host);
    own.retain(|process| process.cgroup.contains("kubepods") && is_ours(plan, etcd, &process.args));
    own.sort_by_key(|process| program(&process.args) == "etcd");
    own
}

/// A process's file name.
fn program(args: &[String]) -> &str {
    args.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

/// Whether a program is this node's own etcd or API server, and not one that a pod of somebody's runs here.
fn is_ours(plan: &NodePlan, etcd: &EtcdPlan, args: &[String]) -> bool {
    let value = |flag: &str| args.iter().rev().find_map(|arg| arg.strip_prefix(flag)?.strip_prefix('='));
    match program(args) {
        "etcd" => {
            value("--data-dir") == Some(etcd.data_dir.as_str()) && value("--name") == Some(plan.spec.node.as_str())
        }
        "kube-apiserver" => value("--advertise-address")
            .is_none_or(|text| text.parse().is_ok_and(|address| plan.spec.addresses.contains(&address))),
        _ => false,
    }
}
