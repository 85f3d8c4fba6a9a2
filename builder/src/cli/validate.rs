//! `nodekiln validate`: everything that is wrong with a cluster.yaml, at once.

use super::{
    plan,
    terminal::{Failure, Terminal},
};
use crate::{
    config::{self, Arch},
    node::Sources,
};
use std::{path::PathBuf, sync::Arc};

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
        let planned = config::load(&self.file).map_err(Failure::from).and_then(|mut loaded| {
            // Any program will do: none is carried anywhere.
            let any: Arc<[u8]> = Arc::from([].as_slice());
            let sources = Sources { firstboot: [(Arch::Amd64, any.clone()), (Arch::Arm64, any)].into() };
            plan::all(&mut loaded, &sources).map(|_| loaded)
        });
        if self.json {
            let findings = match &planned {
                Ok(loaded) => Some(&loaded.warnings),
                Err(Failure::Findings(findings)) => Some(&**findings),
                Err(_) => None,
            };
            if let Some(findings) = findings {
                let mut text = serde_json::to_vec_pretty(findings).map_err(Failure::environment)?;
                text.push(b'\n');
                terminal.data(&text)?;
            }
        }
        let loaded = planned?;
        terminal.warnings(&loaded.warnings);
        terminal.say(format!("{}: {} nodes, no errors", self.file.display(), loaded.cluster.nodes.len()));
        Ok(())
    }
}
