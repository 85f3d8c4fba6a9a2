//! What a test needs from the machine and the cache, and what happens when it is missing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use crate::cache::Cache;

/// One thing that a test cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program, prepared in the cache or else on PATH.
    Program(&'static str),
    /// A Python with this module.
    PythonModule(&'static str),
    /// A file or folder under the cache's `current`.
    Cached(&'static str),
    /// Root, nspawn and the commands that nodes are made with, the node root and containerd's root.
    Nodes,
}

/// Programs of the machine that every node takes.
const NODE_PROGRAMS: [&str; 11] =
    ["awk", "cp", "find", "ip", "mount", "nsenter", "setsid", "sh", "systemd-nspawn", "tar", "unshare"];

/// The cache if everything is there.
///
/// If something is missing: an error where `CI=true`, elsewhere `None` after saying on stderr that the test is
/// skipped, and why. This is the only way in which a test may skip.
pub fn require(needs: &[Need]) -> Result<Option<Cache>> {
    let cache = Cache::locate()?;
    let missing = missing(&cache, needs);
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    Ok(complete(&missing, ci)?.then_some(cache))
}

/// Whether nothing is missing; what is, is an error in CI and a loud skip elsewhere.
fn complete(missing: &[String], ci: bool) -> Result<bool> {
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join(", ");
    if ci {
        bail!("missing: {missing}; tests/tools/prepare makes the cache (CI never skips)");
    }
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("\n*** SKIPPED {test}: missing {missing}. Run tests/tools/prepare first. ***\n");
    Ok(false)
}

fn missing(cache: &Cache, needs: &[Need]) -> Vec<String> {
    let mut missing = Vec::new();
    for need in needs {
        match need {
            Need::Program(name) => {
                if find(cache, name).is_none() {
                    missing.push((*name).to_owned());
                }
            }
            Need::PythonModule(name) => {
                if python_with(name).is_none() {
                    missing.push(format!("Python's {name}"));
                }
            }
            Need::Cached(path) => missing.extend(absent(&cache.current().join(path))),
            Need::Nodes => {
                if !Uid::effective().is_root() {
                    missing.push("root's rights".to_owned());
                }
                missing.extend(NODE_PROGRAMS.iter().filter(|name| on_path(name).is_none()).map(ToString::to_string));
                missing.extend(absent(&cache.root()));
                missing.extend(absent(&cache.containerd_root()));
            }
        }
    }
    missing
}

fn absent(path: &Path) -> Option<String> {
    (!path.exists()).then(|| path.display().to_string())
}

/// A program: the prepared one, or else the machine's.
#[must_use]
pub fn find(cache: &Cache, name: &str) -> Option<PathBuf> {
    let prepared = cache.program(name);
    if prepared.is_file() { Some(prepared) } else { on_path(name) }
}

/// A Python that has `module`: the user's own, or else the system's, for which packages of the system are.
#[must_use]
pub fn python_with(module: &str) -> Option<PathBuf> {
    let all = [on_path("python3"), Some(PathBuf::from("/usr/bin/python3"))];
    all.into_iter().flatten().find(|python| {
        let import = std::process::Command::new(python).arg("-c").arg(format!("import {module}")).output();
        import.is_ok_and(|output| output.status.success())
    })
}

/// The release build of the command: it carries a firstboot, as users have it.
///
/// `NODEKILN` names another one. Beside the test's own binary (`target/debug/deps`) lies `target/release`.
pub fn nodekiln() -> Result<PathBuf> {
    if let Some(path) = env::var_os("NODEKILN") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("looking for the test's own binary")?;
    let target = own.ancestors().nth(3).context("looking for the target folder")?;
    let path = target.join("release/nodekiln");
    if !path.exists() {
        bail!("no {}: `cargo build --release` or `tests/run release` makes it", path.display());
    }
    Ok(path)
}

/// A program of the machine, sbin folders included whatever PATH says.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ci_fails_for_what_is_missing() {
        assert!(complete(&[], true).unwrap());
        let missing = ["kubelet".to_owned()];
        assert!(!complete(&missing, false).unwrap());
        let error = complete(&missing, true).unwrap_err().to_string();
        assert!(error.contains("kubelet") && error.contains("tests/tools/prepare"), "{error}");
    }
}
