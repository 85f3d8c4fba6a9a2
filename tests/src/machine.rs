//! Proof that a test leaves the machine as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::cgroup::Cgroup;

/// The machine's state before a test, as far as nodes could change it.
#[derive(Debug)]
pub struct Snapshot {
    sysctls: BTreeMap<PathBuf, String>,
    links: BTreeSet<String>,
}

/// Sysctls that change by themselves.
const RESTLESS: [&str; 17] = [
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota",
    "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate",
    "kernel/pty/nr",
    "kernel/random",
    "kernel/tainted",
    "net/ipv4/tcp_fastopen_key",
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/route/flush",
    "net/ipv6/route/flush",
    "vm/stat_refresh",
    "vm/nr_hugepages_mempolicy",
];

impl Snapshot {
    /// The state now.
    #[must_use]
    pub fn take() -> Self {
        let mut sysctls = BTreeMap::new();
        read_sysctls(Path::new("/proc/sys"), &mut sysctls);
        Self { sysctls, links: names("/sys/class/net") }
    }

    /// Sysctls and interfaces of the machine that differ from the snapshot.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let now = Self::take();
        let mut changes = Vec::new();
        for path in self.sysctls.keys().chain(now.sysctls.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (self.sysctls.get(path), now.sysctls.get(path));
            if before != after {
                changes.push(format!("sysctl {}: {before:?} became {after:?}", path.display()));
            }
        }
        changes.extend(now.links.symmetric_difference(&self.links).map(|link| format!("interface {link}")));
        changes
    }

    /// [`Self::changes`], and what the run `id` (see [`crate::run::id_of`]) still has on the machine: namespaces,
    /// mounts, control groups, processes, its folder.
    pub fn leftovers(&self, cache: &Cache, id: &str) -> Result<Vec<String>> {
        let mut left = self.changes();
        let prefix = format!("{id}-");
        left.extend(
            names("/run/netns")
                .into_iter()
                .filter(|name| name.starts_with(&prefix))
                .map(|name| format!("netns {name}")),
        );
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        let dir = cache.runs().join(id);
        let inside = |mount: &&str| mount.split(' ').nth(1).is_some_and(|place| Path::new(place).starts_with(&dir));
        left.extend(mounts.lines().filter(inside).map(|mount| format!("mount {mount}")));
        for group in Cgroup::own()?.dirs() {
            let group = group.join(id);
            if group.exists() {
                left.push(format!("control group {}", group.display()));
            }
        }
        if dir.exists() {
            left.push(format!("folder {}", dir.display()));
        }
        left.extend(processes(id, &dir));
        Ok(left)
    }
}

/// Processes that are in a group of the run, or name its folder in their arguments; the reaper is one of these.
fn processes(id: &str, dir: &Path) -> Vec<String> {
    let group = format!("/{id}/");
    let dir = dir.to_string_lossy();
    names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| *pid != std::process::id().to_string())
        .filter_map(|pid| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
            let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let ours = groups.lines().any(|line| format!("{line}/").contains(&group)) || arguments.contains(&*dir);
            ours.then(|| {
                let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
                format!("process {pid} ({name})")
            })
        })
        .collect()
}

fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read_sysctls(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let relative = path.strip_prefix("/proc/sys").unwrap_or(&path);
        if RESTLESS.iter().any(|name| relative.starts_with(name)) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_sysctls(&path, found);
        } else if let Ok(value) = fs::read(&path) {
            // Some can only be written.
            found.insert(relative.to_owned(), String::from_utf8_lossy(&value).trim().to_owned());
        }
    }
}
