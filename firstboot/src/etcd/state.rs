//! What lies in etcd's data directory: its log, and this member's incarnation.
//!
//! The incarnation must die with the data, so it lies with it; etcd logs a line about a file that is not its own and
//! goes on.

use crate::{
    exit::Refused,
    host::{Host, Kind, read_text},
};
use anyhow::Context as _;
use nodekiln_plan::{AbsPath, EtcdPlan, NodeName, Sha256};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, path::Path};

/// Our file in the data directory.
const FILE: &str = "nodekiln-incarnation.json";
/// Where etcd files without a log go, if they cannot be moved beside the data directory: it is a file system's root.
const ASIDE: &str = "nodekiln-aside";

/// One life of a data directory: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation([u8; 16]);

impl Incarnation {
    fn draw(host: &dyn Host) -> anyhow::Result<Self> {
        let mut bytes = [0; 16];
        host.random(&mut bytes).context("drawing an incarnation")?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Incarnation {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

/// The decided founding: who, in which life.
pub type Map = BTreeMap<NodeName, Incarnation>;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Of this format.
    pub version: u32,
    /// This life.
    pub incarnation: Incarnation,
    /// A log was seen in it.
    pub started: bool,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<Map>,
}

fn file(plan: &EtcdPlan) -> String {
    format!("{}/{FILE}", plan.data_dir)
}

/// etcd's own test for a log: `member/wal/*.wal`.
///
/// # Errors
/// The file system's.
pub fn has_wal(host: &dyn Host, data_dir: &AbsPath) -> anyhow::Result<bool> {
    let path = format!("{data_dir}/member/wal");
    let names = host.list(Path::new(&path)).with_context(|| format!("listing {path}"))?;
    Ok(names.iter().any(|name| name.ends_with(".wal")))
}

/// Where the data directory is on a file system of its own: an empty folder below a mount point that nothing is mounted
/// on is not an empty log.
///
/// # Errors
/// The planned mount is not there: refused by name.
pub fn require_mount(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<()> {
    const PATH: &str = "/proc/self/mountinfo";
    let Some(mount) = &plan.mount else { return Ok(()) };
    let mounts = read_text(host, PATH).with_context(|| format!("reading {PATH}"))?.unwrap_or_default();
    // proc(5): the fifth field is the mount point, with spaces and kin in octal.
    let wanted = mount.as_str().replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    if mounts.lines().any(|line| line.split(' ').nth(4) == Some(wanted.as_str())) {
        return Ok(());
    }
    let what = format!("{mount} is not mounted, and {} is to lie on it", plan.data_dir);
    let hint = "look at the disk, and at the mount's unit (`systemctl --failed`)";
    Err(Refused::new("EtcdMount", what, hint).into())
}

/// The file, if it is there.
///
/// # Errors
/// The file system's. A file that is damaged counts as none: a new life.
pub fn load(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<Option<State>> {
    let path = file(plan);
    let text = read_text(host, &path).with_context(|| format!("reading {path}"))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether the file is there, damaged or not: a member of ours wrote the log beside it.
///
/// # Errors
/// The file system's.
pub fn is_ours(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<bool> {
    let path = file(plan);
    Ok(host.stat(Path::new(&path)).with_context(|| format!("looking for {path}"))?.is_some())
}

/// Writes the file durably.
///
/// # Errors
/// The file system's.
pub fn save(host: &dyn Host, plan: &EtcdPlan, state: &State) -> anyhow::Result<()> {
    let path = file(plan);
    let bytes = serde_json::to_vec(state).context("writing an incarnation")?;
    host.replace(Path::new(&path), 0o600, &bytes).with_context(|| format!("writing {path}"))
}

/// Remembers that a log was seen. Without the file there is nothing to remember it in, and nothing to mistake.
///
/// # Errors
/// The file system's.
pub fn mark_started(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<()> {
    match load(host, plan)? {
        Some(state) if !state.started && has_wal(host, &plan.data_dir)? => {
            save(host, plan, &State { started: true, ..state })
        }
        _ => Ok(()),
    }
}

/// The state of a data directory without a log: as it was left, or a new life.
///
/// # Errors
/// The file system's.
pub fn open_empty(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<State> {
    let known = load(host, plan)?.filter(|state| !state.started);
    if let Some(state) = &known
        && state.map.is_some()
    {
        // Its etcd may be making its log at this moment.
        return Ok(state.clone());
    }
    set_aside(host, plan)?;
    if let Some(state) = known {
        return Ok(state);
    }
    let state = State { version: 1, incarnation: Incarnation::draw(host)?, started: false, map: None };
    save(host, plan, &state)?;
    Ok(state)
}

/// Moves what is left of an etcd without a log out of its way. Nothing is deleted.
fn set_aside(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<()> {
    let dir = &plan.data_dir;
    let names = host.list(dir.as_path()).with_context(|| format!("listing {dir}"))?;
    let left: Vec<_> = names
        .into_iter()
        .filter(|name| !matches!(name.as_str(), "lost+found" | FILE | ASIDE) && !is_temp(name))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    for base in [format!("{dir}.aside"), format!("{dir}/{ASIDE}")] {
        let target = (1..).map(|n| format!("{base}/{n}")).find(|path| free(host, path, &left));
        let Some(target) = target else { continue };
        host.make_dir(Path::new(&base), 0o700).with_context(|| format!("making {base}"))?;
        host.make_dir(Path::new(&target), 0o700).with_context(|| format!("making {target}"))?;
        let mut crossed = false;
        for name in &left {
            let from = format!("{dir}/{name}");
            match host.rename(Path::new(&from), Path::new(&format!("{target}/{name}"))) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => crossed = true,
                Err(e) => return Err(e).with_context(|| format!("moving {from} to {target}")),
            }
        }
        if !crossed {
            return Ok(());
        }
    }
    anyhow::bail!("moving what is left in {dir} aside")
}

fn free(host: &dyn Host, path: &str, names: &[String]) -> bool {
    match host.stat(Path::new(path)) {
        Ok(None) => true,
        Ok(Some(stat)) if stat.kind == Kind::Dir => {
            names.iter().all(|name| matches!(host.stat(Path::new(&format!("{path}/{name}"))), Ok(None)))
        }
        _ => false,
    }
}

/// What a killed write left beside our file.
fn is_temp(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// `--initial-cluster-token`: no two foundings share one, so they can never merge.
pub fn token(map: &Map) -> String {
    let mut parts: Vec<&[u8]> = Vec::new();
    for (name, incarnation) in map {
        parts.push(name.as_str().as_bytes());
        parts.push(&incarnation.0);
    }
    format!("nodekiln-{}", Sha256::of_parts(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_names_the_founding() {
        let map = |byte: u8| Map::from([("n1".parse().unwrap(), Incarnation([byte; 16]))]);
        assert_eq!(token(&map(1)), token(&map(1)));
        assert_ne!(token(&map(1)), token(&map(2)));
    }

    #[test]
    fn the_file_as_it_is_on_disk() {
        let text = r#"{"version":1,"incarnation":"01010101010101010101010101010101","started":false,"map":{"n1":"02020202020202020202020202020202"}}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
        assert_eq!(state.map.unwrap()[&"n1".parse().unwrap()], Incarnation([2; 16]));
    }
}
