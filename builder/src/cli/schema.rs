//! `nodekiln schema`: the JSON Schema of cluster.yaml.

use super::terminal::{Failure, Terminal};
use crate::config;

/// Arguments of `schema`: none.
#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    /// Prints it.
    ///
    /// # Errors
    /// stdout is full.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        terminal.json(&config::schema())
    }
}
