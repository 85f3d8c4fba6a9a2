//! `nodekiln init`: a cluster.yaml to start from.

use super::{
    example,
    terminal::{Failure, Terminal},
};
use crate::config::examples::Example;
use anyhow::{Context as _, anyhow};
use std::{fs::OpenOptions, io::Write as _, path::PathBuf};

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Which example to start from.
    #[arg(long, value_name = "NAME", default_value = "single", value_parser = example::parser())]
    example: &'static Example,
    /// Where to write it; `-` is stdout. An existing file is never replaced.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
}

impl Init {
    /// Writes the example.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let text = self.example.text;
        if self.file.as_os_str() == "-" {
            return terminal.data(text.as_bytes());
        }
        let shown = self.file.display();
        let mut file = OpenOptions::new().write(true).create_new(true).open(&self.file).map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::AlreadyExists { " (it is never replaced)" } else { "" };
            Failure::environment(anyhow!(error).context(format!("creating {shown}{hint}")))
        })?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing {shown}")).map_err(Failure::environment)?;
        terminal.say(format!("wrote {shown}: edit it, then run `nodekiln build -f {shown}`"));
        Ok(())
    }
}
