//! The stages, their order and their markers.

use crate::{
    api, etcd, files, finalize,
    host::{Fut, Host, read_text},
    kernel, kubelet, preflight,
    status::Status,
    wait,
};
use anyhow::Context as _;
use nodekiln_plan::{NodePlan, Sha256, paths};
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, path::Path};

/// What a stage works with.
pub struct Context<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// What is planned.
    pub plan: &'a NodePlan,
    /// Digest of plan.json: a new payload is new work.
    pub digest: Sha256,
    /// This boot of the machine.
    pub boot: String,
    /// Where progress is told.
    pub status: &'a Status<'a>,
    /// What the running stage leaves for result.json.
    pub notes: RefCell<Notes>,
}

/// What a stage leaves for result.json. Kept in its marker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notes {
    /// What should be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// Paths that were erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scrubbed: Vec<String>,
    /// Paths that could not be erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond_reach: Vec<String>,
}

impl Context<'_> {
    /// Tells a warning and keeps it for result.json.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        self.status.warn(&text);
        let mut notes = self.notes.borrow_mut();
        if !notes.warnings.contains(&text) {
            notes.warnings.push(text);
        }
    }

    /// A warning that is told once in a run.
    pub fn warn_once(&self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.borrow().warnings.contains(&text) {
            self.warn(text);
        }
    }

    /// Keeps a fact for result.json.
    pub fn fact(&self, text: impl Into<String>) {
        self.notes.borrow_mut().facts.push(text.into());
    }
}

/// How long a stage's marker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// As long as the payload is this one.
    Payload,
    /// Until the machine boots again: what it did is in the kernel or in running programs.
    Boot,
    /// Never: the stage is short and finds for itself what is done.
    Never,
}

/// A stage.
pub struct Stage {
    /// Its name, and its marker's.
    pub name: &'static str,
    /// What it is for, as the console says it.
    pub title: &'static str,
    /// How long it stays done.
    pub holds: Holds,
    /// Its work. Killing it at any point and starting it again ends in the same state.
    pub work: for<'a> fn(&'a Context<'a>) -> Fut<'a, anyhow::Result<()>>,
}

/// The stages in their order.
pub const STAGES: [Stage; 8] = [
    Stage {
        name: "preflight",
        title: "checking the machine",
        holds: Holds::Boot,
        work: |c| Box::pin(preflight::preflight(c)),
    },
    Stage { name: "kernel", title: "tuning the kernel", holds: Holds::Boot, work: |c| Box::pin(kernel::kernel(c)) },
    Stage { name: "files", title: "laying files", holds: Holds::Payload, work: |c| Box::pin(files::files(c)) },
    Stage { name: "etcd", title: "deciding for etcd", holds: Holds::Never, work: |c| Box::pin(etcd::stage(c)) },
    Stage {
        name: "kubelet",
        title: "starting the kubelet",
        holds: Holds::Never,
        work: |c| Box::pin(kubelet::kubelet(c)),
    },
    Stage { name: "wait", title: "waiting for the node", holds: Holds::Boot, work: |c| Box::pin(wait::wait(c)) },
    Stage {
        name: "api",
        title: "finishing through the API server",
        holds: Holds::Payload,
        work: |c| Box::pin(api::stage(c)),
    },
    Stage {
        name: "finalize",
        title: "erasing what is not needed",
        holds: Holds::Payload,
        work: |c| Box::pin(finalize::finalize(c)),
    },
];

/// A stage's marker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// Digest of the plan that it was done for.
    pub plan: Sha256,
    /// Boot in which it was done.
    pub boot: String,
    /// When, in seconds since the epoch.
    pub at: f64,
    /// How long it took.
    pub seconds: f64,
    /// For result.json.
    #[serde(flatten)]
    pub notes: Notes,
}

fn path(stage: &str) -> String {
    format!("{}/{stage}", paths::DONE_DIR)
}

/// The marker of a stage, if there is one for this plan.
///
/// # Errors
/// The file system's. A marker that is no marker counts as none.
pub fn marker(host: &dyn Host, stage: &str, plan: &Sha256) -> anyhow::Result<Option<Marker>> {
    let path = path(stage);
    let text = read_text(host, &path).with_context(|| format!("reading {path}"))?;
    let marker: Option<Marker> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(marker.filter(|marker| marker.plan == *plan))
}

/// Writes a marker.
///
/// # Errors
/// The file system's.
pub fn mark(host: &dyn Host, stage: &str, marker: &Marker) -> anyhow::Result<()> {
    let path = path(stage);
    let bytes = serde_json::to_vec(marker).context("writing a marker")?;
    host.make_dir(Path::new(paths::DONE_DIR), 0o700).with_context(|| format!("making {}", paths::DONE_DIR))?;
    host.replace(Path::new(&path), 0o600, &bytes).with_context(|| format!("writing {path}"))
}

/// Removes a marker: the stage is to be done again.
///
/// # Errors
/// The file system's.
pub fn unmark(host: &dyn Host, stage: &str) -> anyhow::Result<()> {
    let path = path(stage);
    host.remove(Path::new(&path)).with_context(|| format!("removing {path}"))
}

/// The id of this boot.
///
/// # Errors
/// /proc is not there.
pub fn boot_id(host: &dyn Host) -> anyhow::Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(read_text(host, PATH).with_context(|| format!("reading {PATH}"))?.unwrap_or_default().trim().to_owned())
}
