//! `nodekiln diff`: what changes, and what restarts for it.

use super::{
    build, plan,
    terminal::{Failure, Terminal},
};
use crate::{
    config,
    diff::{self, DraftSide, OutputSide, Report, SideError},
    output::folder::Folder,
};
use anyhow::anyhow;
use std::path::{Path, PathBuf};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The output that machines were booted from.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Another output, or the cluster file that would be built now. Against a cluster file keys count as unchanged.
    #[arg(value_name = "NEW", default_value = "cluster.yaml")]
    new: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// End with code 1 if anything differs. Without it the code says only whether the comparison was made.
    #[arg(long)]
    exit_code: bool,
    /// Static nodekiln-firstboot binary that `build` would use with a cluster file, one per architecture; the embedded
    /// one serves its own otherwise.
    #[arg(long, value_name = "FILE")]
    firstboot: Vec<PathBuf>,
}

impl Diff {
    /// Compares the two. Says whether they differ, if that is asked for.
    ///
    /// # Errors
    /// Something that cannot be read.
    pub fn run(self, terminal: &Terminal) -> Result<Differs, Failure> {
        let old = open(&self.old)?;
        let old = side(&self.old, &old)?;
        let report = if self.new.is_dir() {
            let new = open(&self.new)?;
            compare(&old, &side(&self.new, &new)?)?
        } else {
            let loaded = config::load(&self.new)?;
            let mut sources = build::sources(&build::binaries(&self.firstboot)?);
            sources.shape = old.shape().map_err(|error| failed(error, &self.old))?;
            plan::check(&loaded, &sources)?;
            terminal.warnings(&loaded.warnings);
            compare(&old, &DraftSide::new(&loaded.cluster, &sources))?
        };
        match self.json {
            true => terminal.json(&report)?,
            false => terminal.data(diff::text(&report).as_bytes())?,
        }
        Ok(if self.exit_code && report.different { Differs::Yes } else { Differs::NoOrNotAsked })
    }
}

/// Whether the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// They do, and the exit code shall say it.
    Yes,
    /// They do not, or the exit code shall not say it.
    NoOrNotAsked,
}

fn open(path: &Path) -> Result<Folder, Failure> {
    if path.is_file() {
        return Err(Failure::Input(anyhow!("{} is a file; the older side has to be an output", path.display())));
    }
    Folder::open(path).map_err(Failure::environment)
}

fn side<'f>(path: &Path, folder: &'f Folder) -> Result<OutputSide<'f>, Failure> {
    OutputSide::open(folder).map_err(|error| failed(error, path))
}

fn compare(old: &dyn diff::Side, new: &dyn diff::Side) -> Result<Report, Failure> {
    diff::diff(old, new).map_err(|error| match error {
        SideError::Read(error) => Failure::environment(error),
        other => Failure::input(other),
    })
}

fn failed(error: SideError, path: &Path) -> Failure {
    match error {
        SideError::Read(error) => Failure::environment(error),
        other => Failure::Input(anyhow!(other).context(format!("reading {}", path.display()))),
    }
}

#[cfg(test)]
impl Diff {
    /// Of an output and what a cluster file would make now.
    pub(super) fn of(old: PathBuf, new: PathBuf, firstboot: PathBuf) -> Self {
        Self { old, new, json: false, exit_code: true, firstboot: vec![firstboot] }
    }
}
