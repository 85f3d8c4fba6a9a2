//! `secrets.yaml` on disk: made once, mode 0600 from its first byte, never replaced by accident.

use crate::{cli::Failure, config::Cluster, secrets::Secrets};
use anyhow::{Context as _, anyhow};
use nodekiln_plan::Mode;
use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// `secrets.yaml` in the folder of the cluster file.
pub fn beside(cluster_file: &Path) -> PathBuf {
    cluster_file.with_file_name("secrets.yaml")
}

/// Makes the secrets of a new cluster. They are nowhere but in memory until [`create`] has written them.
///
/// # Errors
/// The machine has no random numbers or no clock.
pub fn make(cluster: &Cluster) -> Result<Secrets, Failure> {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).context("reading the clock").map_err(Failure::Environment)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Secrets::new(now, cluster.ca_certificate_validity, getrandom::fill)
        .context("making the cluster's keys")
        .map_err(Failure::Environment)
}

/// Writes new secrets to `path`, to stay through a power cut.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn create(path: &Path, secrets: &Secrets) -> io::Result<()> {
    nodekiln_fs::create_file(path, Mode::PRIVATE.bits(), secrets.to_vec().expose())
}

/// Reads the secrets at `path`.
///
/// # Errors
/// A file that cannot be read, or whose contents are refused.
pub fn open(path: &Path) -> Result<Secrets, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).map(nodekiln_plan::Secret::new);
    let bytes = bytes.with_context(|| format!("reading {shown}")).map_err(Failure::Environment)?;
    Secrets::parse(bytes.expose()).map_err(|findings| {
        let lines: Vec<String> = findings.0.iter().map(|finding| format!("{shown}:{finding}")).collect();
        Failure::Input(anyhow!("{}", lines.join("\nerror: ")))
    })
}
