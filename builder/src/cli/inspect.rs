//! `nodekiln inspect`: what a payload holds.

use super::terminal::{Failure, Terminal};
use crate::{
    inspect::{self, Inspection},
    output::folder::{self, OnDisk},
};
use anyhow::Context as _;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// A payload (config.ign, pointer.ign, user-data, tree.tar, plan.json), a node's folder, or a whole output; also
    /// api.ndjson, a kubeconfig or certificates.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Print it as JSON: a list with an entry per payload.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    file: String,
    /// Whether it is what this file points at.
    is_served: bool,
    #[serde(flatten)]
    report: Inspection,
}

impl Inspect {
    /// Prints what the payloads hold.
    ///
    /// # Errors
    /// Files that cannot be read, or that are no payloads.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut all = Vec::new();
        for OnDisk { path, is_served, bytes, beside } in folder::payloads(&self.path).map_err(Failure::environment)? {
            let file = path.display().to_string();
            let report = inspect::inspect(&bytes, beside)
                .with_context(|| format!("inspecting {file}"))
                .map_err(Failure::Input)?;
            match self.json {
                true => all.push(Told { file, is_served, report }),
                false => {
                    let served = if is_served { ", what it points at" } else { "" };
                    terminal.data(format!("{file}{served}: {}\n", inspect::text(&report)).as_bytes())?;
                }
            }
        }
        if self.json { terminal.json(&all) } else { Ok(()) }
    }
}
