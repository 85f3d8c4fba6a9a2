//! `secrets.yaml` on disk: made once, mode 0600 from its first byte, never replaced by accident.

use crate::{
    cli::{Failure, Terminal},
    config::Cluster,
    secrets::{CaOptions, Finding, Secrets},
};
use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use nodekiln_plan::{Mode, Secret, Sha256};
use std::{
    fs::File,
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// `secrets.yaml` in the folder of the cluster file.
pub fn beside(cluster_file: &Path) -> PathBuf {
    cluster_file.with_file_name("secrets.yaml")
}

/// Makes the secrets of a new cluster, with all that it needs: no build has to add any. They are nowhere but in memory until
/// [`create`] has written them.
///
/// # Errors
/// The machine has no random numbers or no clock.
pub fn make(cluster: &Cluster) -> Result<Secrets, Failure> {
    let now = now()?;
    Secrets::new(CaOptions::of(cluster, now), getrandom::fill)
        .and_then(|mut secrets| secrets.complete(cluster, now, getrandom::fill).map(|_| secrets))
        .context("making the cluster's keys")
        .map_err(Failure::Environment)
}

/// Writes new secrets to `path`, to stay through a power cut.
///
/// # Errors
/// The file exists, or cannot be written, or could not be read again.
pub fn create(path: &Path, secrets: &Secrets) -> io::Result<()> {
    nodekiln_fs::create_file(path, Mode::PRIVATE.bits(), readable(secrets)?.expose())
}

/// The text of `secrets`, which can be read again: a file that nothing reads would be the end of the cluster.
fn readable(secrets: &Secrets) -> io::Result<Secret> {
    let text = secrets.to_vec();
    let refused =
        |findings| io::Error::other(format!("nothing is written, for it could not be read again: {findings}"));
    Secrets::parse(text.expose()).map_err(refused)?;
    Ok(text)
}

/// Puts `secrets` in the place of those at `path`, which were read as `before`.
///
/// The file is whole at any time: the old one until the new one is on the disk. Where `path` is a link, it is what it leads
/// to that is replaced: a link to a vault stays one. Where the new ones lack what cannot be made again
/// ([`Secrets::loses`]), the old ones stay beside them under the name that is returned.
///
/// # Errors
/// Somebody else changed them in the meantime, or the file cannot be written, or could not be read again.
pub fn update(path: &Path, before: &Sha256, secrets: &Secrets) -> io::Result<Option<PathBuf>> {
    let path = &std::fs::canonicalize(path)?;
    let text = readable(secrets)?;
    let lock = lock(path)?;
    let now = std::fs::read(path).map(Secret::new)?;
    let read = Secrets::parse(now.expose()).ok().filter(|now| now.fingerprint() == *before);
    let Some(old) = read else {
        return Err(io::Error::other("it was changed by somebody else in the meantime; run this again"));
    };
    let kept = old.loses(secrets).then(|| keep(path, &now)).transpose()?;
    nodekiln_fs::replace_file(path, Mode::PRIVATE.bits(), text.expose())?;
    drop(lock);
    Ok(kept)
}

/// Writes `old`, the text at `path`, beside it.
fn keep(path: &Path, old: &Secret) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".replaced-{}", &Sha256::of(old.expose()).to_string()[..12]));
    let kept = path.with_file_name(name);
    nodekiln_fs::replace_file(&kept, Mode::PRIVATE.bits(), old.expose())?;
    Ok(kept)
}

/// Makes writers of the file at `path` wait for each other. It is the file itself that is locked: whoever waited for one
/// that was replaced in the meantime waits for the new one.
fn lock(path: &Path) -> io::Result<Flock<File>> {
    loop {
        let lock = Flock::lock(File::open(path)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let (own, there) = (lock.metadata()?, path.metadata()?);
        if (own.dev(), own.ino()) == (there.dev(), there.ino()) {
            return Ok(lock);
        }
    }
}

/// Puts `secrets` in the place of those at `path`, which stay beside them under the name that is returned.
///
/// # Errors
/// Those of the file system, and secrets that could not be read again. The old ones are whole then.
pub fn replace(path: &Path, secrets: &Secrets) -> io::Result<PathBuf> {
    let path = &std::fs::canonicalize(path)?;
    let text = readable(secrets)?;
    let lock = lock(path)?;
    let old = std::fs::read(path).map(Secret::new)?;
    let kept = keep(path, &old)?;
    nodekiln_fs::replace_file(path, Mode::PRIVATE.bits(), text.expose())?;
    drop(lock);
    Ok(kept)
}

/// What to say of secrets that others than their owner may read or replace.
fn readable_by_others(path: &Path, mode: u32) -> Option<String> {
    let others = mode & 0o077;
    (others != 0).then(|| {
        let path = path.display();
        format!("{path} has mode {:04o}: others than its owner can get at it; `chmod 600 {path}`", mode & 0o7777)
    })
}

/// The time, for what is made now. `build` asks for it only when it has to make something.
///
/// # Errors
/// The machine has no clock.
pub fn now() -> Result<i64, Failure> {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).context("reading the clock").map_err(Failure::Environment)?;
    Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Reads the secrets at `path`. Others who may read them are warned of: a copy or a checkout loses the mode, so that
/// refusing them would only be worked around.
///
/// # Errors
/// A file that cannot be read, or whose contents are refused.
pub fn open(path: &Path, terminal: &Terminal) -> Result<Secrets, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).map(nodekiln_plan::Secret::new);
    if let Ok(about) = path.metadata()
        && let Some(words) = readable_by_others(path, about.permissions().mode())
    {
        terminal.warn(words);
    }
    let bytes = bytes.with_context(|| format!("reading {shown}")).map_err(Failure::Environment)?;
    Secrets::parse(bytes.expose())
        .map_err(|findings| Failure::input(Refused { path: shown.to_string(), findings: findings.0 }))
}

/// Secrets that are wrong. Displayed one finding to a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .findings.iter().map(|finding| format!("{path}:{finding}")).collect::<Vec<_>>().join("\nerror: "))]
pub struct Refused {
    /// Their file, as it is shown.
    pub path: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys stay where their owner put them, and the copy there does not grow old.
    #[test]
    fn links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, link) = (folder.path().join("vault.yaml"), folder.path().join("secrets.yaml"));
        let mut secrets = crate::secrets::tests::fixture(1);
        create(&vault, &secrets).unwrap();
        std::os::unix::fs::symlink("vault.yaml", &link).unwrap();
        let mut fingerprints = vec![secrets.fingerprint()];
        secrets.generation += 1;
        update(&link, &fingerprints[0], &secrets).unwrap();
        fingerprints.push(secrets.fingerprint());
        secrets.generation += 1;
        let kept = replace(&link, &secrets).unwrap();
        fingerprints.push(secrets.fingerprint());
        assert!(link.is_symlink() && kept.parent() == std::fs::canonicalize(&vault).unwrap().parent());
        let read = |path: &Path| Secrets::parse(&std::fs::read(path).unwrap()).unwrap().fingerprint();
        assert_eq!((read(&kept), read(&vault)), (fingerprints[1], fingerprints[2]));
    }

    #[test]
    fn modes() {
        let said = |mode| readable_by_others(Path::new("s.yaml"), mode);
        assert_eq!([0o100600, 0o100400, 0o100700].map(said), [None, None, None]);
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o610] {
            let words = format!("s.yaml has mode {mode:04o}: others than its owner can get at it; `chmod 600 s.yaml`");
            assert_eq!(said(0o100000 | mode), Some(words));
        }
    }
}
