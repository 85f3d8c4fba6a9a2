//! `nodekiln verify`: whether an output is whole.

use super::terminal::{Failure, Terminal};
use crate::{
    inspect::date,
    output::folder::Folder,
    verify::{self, Report},
};
use anyhow::anyhow;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The output of `build`.
    #[arg(value_name = "FOLDER", default_value = "out")]
    folder: PathBuf,
    /// Print what was found as JSON on stdout too; as text it stays on stderr.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Reads the folder.
    ///
    /// # Errors
    /// Anything that is wrong with it, all at once; or a folder that cannot be read.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let folder = Folder::open(&self.folder).map_err(Failure::environment)?;
        let report = verify::verify(&folder).map_err(Failure::environment)?;
        if self.json {
            terminal.json(&report)?;
        }
        let Report { sound, nodes, files, boot_before, findings } = report;
        if sound {
            let payloads = if nodes == 1 { "payload" } else { "payloads" };
            let who = if nodes == 1 { "it" } else { "all of them" };
            let until = boot_before.map(|end| format!(", {who} can boot until {}", date(end))).unwrap_or_default();
            terminal.say(format!("{}: sound: {nodes} {payloads} in {files} files{until}", self.folder.display()));
            return Ok(());
        }
        let lines: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}: {}", self.folder.join(&finding.file).display(), finding.message))
            .collect();
        Err(Failure::Input(anyhow!("{}", lines.join("\nerror: "))))
    }
}

#[cfg(test)]
impl Verify {
    /// Of this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, json: false }
    }
}
