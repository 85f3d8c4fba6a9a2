//! result.json: what firstboot did, written once at its end. No secret stands in it.

use crate::{
    host::{Host, read_text},
    stage::{Context, Notes, STAGES, marker},
    status::{Moment, StageStatus},
};
use anyhow::Context as _;
use nodekiln_plan::{ClusterName, KubernetesVersion, NodeName, Role, Sha256, paths};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, path::Path};

/// The file result.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Of this format.
    pub version: u32,
    /// The program that wrote it.
    pub firstboot: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeName,
    /// Its part.
    pub role: Role,
    /// The kubelet's version.
    pub kubernetes_version: KubernetesVersion,
    /// Generation of the payload's leaves.
    pub generation: u64,
    /// Digest of plan.json.
    pub plan: Sha256,
    /// When all was done.
    pub finished: Moment,
    /// How often `run` was started in the last boot.
    pub runs: u32,
    /// The stages of the last boot.
    pub stages: Vec<StageStatus>,
    /// The most memory that the last run held, in KiB (`VmHWM` of proc(5)); 0 where the kernel does not tell.
    #[serde(default)]
    pub peak_rss_kib: u64,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// What was decided and done.
    pub facts: Vec<String>,
    /// Paths that were erased.
    pub scrubbed: Vec<String>,
    /// Copies of the payload that nothing on the node can erase, and leftovers that it failed to.
    pub beyond_reach: Vec<String>,
}

impl Outcome {
    /// For a human.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "node {} of cluster {} ({}), finished; {} leftovers erased\n",
            self.node,
            self.cluster,
            self.kubernetes_version,
            self.scrubbed.len()
        );
        for warning in &self.warnings {
            let _ = writeln!(text, "  warning: {warning}");
        }
        for left in &self.beyond_reach {
            let _ = writeln!(text, "  not erased: {left}");
        }
        text
    }
}

/// Writes result.json from the markers of the earlier stages and the notes of this one.
///
/// # Errors
/// The file system's.
pub fn write(c: &Context<'_>) -> anyhow::Result<()> {
    let mut all = Notes::default();
    for stage in &STAGES {
        if let Some(marker) = marker(c.host, stage.name, &c.digest)? {
            merge(&mut all, marker.notes);
        }
    }
    merge(&mut all, c.notes.borrow().clone());
    let report = c.status.report();
    let spec = &c.plan.spec;
    let outcome = Outcome {
        version: 1,
        firstboot: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: spec.cluster.clone(),
        node: spec.node.clone(),
        role: spec.role,
        kubernetes_version: spec.kubernetes_version,
        generation: c.plan.identity.generation,
        plan: c.digest,
        finished: Moment::now(c.host),
        runs: report.runs,
        stages: report.stages,
        peak_rss_kib: peak_rss_kib(c.host),
        warnings: all.warnings,
        facts: all.facts,
        scrubbed: all.scrubbed,
        beyond_reach: [c.plan.class.finalize.beyond_reach.as_slice(), all.beyond_reach.as_slice()].concat(),
    };
    save(c.host, &outcome)
}

fn peak_rss_kib(host: &dyn Host) -> u64 {
    let status = read_text(host, "/proc/self/status").ok().flatten().unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Whether firstboot came to its end with this payload before.
///
/// # Errors
/// The file system's.
pub fn is_finished(c: &Context<'_>) -> anyhow::Result<bool> {
    let text = read_text(c.host, paths::RESULT).with_context(|| format!("reading {}", paths::RESULT))?;
    let outcome: Option<Outcome> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(outcome.is_some_and(|outcome| outcome.plan == c.digest))
}

fn save(host: &dyn Host, outcome: &Outcome) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(outcome).context("writing the result")?;
    bytes.push(b'\n');
    host.replace(Path::new(paths::RESULT), 0o600, &bytes).with_context(|| format!("writing {}", paths::RESULT))
}

fn merge(all: &mut Notes, more: Notes) {
    let add = |to: &mut Vec<String>, from: Vec<String>| {
        for item in from {
            if !to.contains(&item) {
                to.push(item);
            }
        }
    };
    add(&mut all.warnings, more.warnings);
    add(&mut all.facts, more.facts);
    add(&mut all.scrubbed, more.scrubbed);
    add(&mut all.beyond_reach, more.beyond_reach);
}
