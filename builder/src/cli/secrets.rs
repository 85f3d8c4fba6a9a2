//! `nodekiln secrets`: the cluster's only state.

use super::terminal::{Failure, Terminal};
use crate::{config, output::secrets_file};
use anyhow::Context as _;
use std::path::PathBuf;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Commands of `secrets`.
#[derive(Debug, clap::Subcommand)]
pub enum Secrets {
    /// Make a new secrets.yaml. An existing one is never replaced: it is the cluster.
    New(New),
    /// Tell what a secrets.yaml holds, without private material.
    Show(Show),
}

/// Arguments of `secrets new`.
#[derive(Debug, clap::Args)]
pub struct New {
    /// The cluster file, for the lifetime of its CAs.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Where to write the secrets; beside the cluster file by default.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

/// Arguments of `secrets show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The secrets.
    #[arg(long, value_name = "FILE", default_value = "secrets.yaml")]
    secrets: PathBuf,
}

impl Secrets {
    /// Runs one of them.
    ///
    /// # Errors
    /// Findings in the files, or files that cannot be read or written.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Secrets::New(new) => {
                let loaded = config::load(&new.file)?;
                let path = new.secrets.unwrap_or_else(|| secrets_file::beside(&new.file));
                let secrets = secrets_file::make(&loaded.cluster)?;
                secrets_file::create(&path, &secrets)
                    .with_context(|| format!("making {}, which is never replaced where it exists", path.display()))
                    .map_err(Failure::Environment)?;
                terminal.say(format!("wrote {}: keep it safe, it is all of the cluster's keys", path.display()));
                Ok(())
            }
            Secrets::Show(show) => {
                let secrets = secrets_file::open(&show.secrets)?;
                let date = |seconds: i64| {
                    let date =
                        OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
                    date.unwrap_or_else(|| seconds.to_string())
                };
                terminal.data(
                    format!(
                        "created:      {}\ngeneration:   {}, of {}\nfingerprint:  {}\n",
                        date(secrets.created_at()),
                        secrets.generation(),
                        date(secrets.renewed_at()),
                        secrets.fingerprint()
                    )
                    .as_bytes(),
                )
            }
        }
    }
}
