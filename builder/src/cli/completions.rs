//! `nodekiln completions`: what a shell needs to complete arguments.

use super::terminal::{Failure, Terminal};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the completions of `command`.
    ///
    /// # Errors
    /// stdout is full.
    pub fn run(self, terminal: &Terminal, mut command: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "nodekiln", &mut script);
        terminal.data(&script)
    }
}
