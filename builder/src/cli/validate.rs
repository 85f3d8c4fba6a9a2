//! `nodekiln validate`: everything that is wrong with a cluster.yaml, at once.

use super::terminal::{Failure, Terminal};
use crate::config;
use std::path::PathBuf;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Print the findings as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Validate {
    /// Checks the file.
    ///
    /// # Errors
    /// Findings, or a file that cannot be read.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let outcome = config::load(&self.file);
        if self.json {
            let findings = match &outcome {
                Ok(loaded) => Some(&loaded.warnings),
                Err(config::Failure::Findings(findings)) => Some(findings),
                Err(config::Failure::Io(_)) => None,
            };
            if let Some(findings) = findings {
                let mut text = serde_json::to_vec_pretty(findings).map_err(Failure::environment)?;
                text.push(b'\n');
                terminal.data(&text)?;
            }
        }
        let loaded = outcome?;
        terminal.warnings(&loaded.warnings);
        terminal.say(format!("{}: {} nodes, nothing wrong", self.file.display(), loaded.cluster.nodes.len()));
        Ok(())
    }
}
