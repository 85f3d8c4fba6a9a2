//! Control groups of a run: one folder in every hierarchy that this process is in, version 1 or 2.
//!
//! They lie under the caller's own group, so whatever limits the test also limits the nodes it starts.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A control group: the folder of each hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// The group that this process is in.
    pub fn own() -> Result<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let dirs: Vec<PathBuf> = membership.lines().filter_map(|line| folder_of(line, &mounts)).collect();
        if dirs.is_empty() {
            bail!("finding control groups: none is mounted");
        }
        Ok(Self { dirs })
    }

    /// A new group inside this one.
    pub fn create(&self, name: &str) -> Result<Self> {
        let dirs: Vec<PathBuf> = self.dirs.iter().map(|dir| dir.join(name)).collect();
        for dir in &dirs {
            fs::create_dir(dir).with_context(|| format!("creating {}", dir.display()))?;
            // A new cpuset of version 1 is empty and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (from, to) = (dir.with_file_name(file), dir.join(file));
                let copy = fs::read_to_string(&from).unwrap_or_default();
                if to.exists() && !dir.join("cgroup.controllers").exists() && !copy.trim().is_empty() {
                    fs::write(&to, copy).with_context(|| format!("writing {}", to.display()))?;
                }
            }
        }
        Ok(Self { dirs })
    }

    /// The folders, one per hierarchy.
    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The start of an argument list that enters this group and executes the rest.
    #[must_use]
    pub fn enter(&self) -> Vec<OsString> {
        let script = r#"while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@""#;
        let mut argv: Vec<OsString> = ["/bin/sh", "-c", script, "cgroup"].map(OsString::from).into();
        argv.extend(self.dirs.iter().map(|dir| dir.as_os_str().to_owned()));
        argv.push("--".into());
        argv
    }

    /// Every process in this group and the groups below it.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        self.dirs.iter().for_each(|dir| members(dir, &mut found));
        found
    }

    /// Stops every process at one instant, where the hierarchy can.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen("FROZEN", "1")
    }

    /// Undoes [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen("THAWED", "0")
    }

    fn set_frozen(&self, v1: &str, v2: &str) -> Result<()> {
        for dir in &self.dirs {
            for (file, value) in [("freezer.state", v1), ("cgroup.freeze", v2)] {
                let path = dir.join(file);
                // The empty version 2 tree of a hybrid machine can freeze too; one hierarchy is enough.
                if path.exists() {
                    fs::write(&path, value).with_context(|| format!("writing {}", path.display()))?;
                    return Ok(());
                }
            }
        }
        bail!("freezing a control group: no hierarchy can")
    }

    /// Bytes in use at most so far, page cache included.
    #[must_use]
    pub fn memory_peak(&self) -> Option<u64> {
        self.number(&["memory.max_usage_in_bytes", "memory.peak"])
    }

    /// Bytes of anonymous memory in use now.
    #[must_use]
    pub fn memory_resident(&self) -> Option<u64> {
        self.dirs.iter().find_map(|dir| {
            let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
            let field = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            field("total_rss ").or_else(|| field("anon "))
        })
    }

    fn number(&self, files: &[&str]) -> Option<u64> {
        let mut paths = self.dirs.iter().flat_map(|dir| files.iter().map(|file| dir.join(file)));
        paths.find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
    }

    /// Kills everything in it and removes it, within `limit`.
    pub fn destroy(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(2);
        loop {
            for pid in self.processes() {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            // Frozen processes die only when they run again.
            self.thaw().ok();
            self.dirs.iter().for_each(|dir| remove_tree(dir));
            let left: Vec<_> = self.dirs.iter().filter(|dir| dir.exists()).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("removing control groups: {left:?} still there, with processes {:?}", self.processes());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Where the hierarchy of one line of /proc/self/cgroup is mounted, with the path of that line.
fn folder_of(line: &str, mounts: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    mounts.lines().find_map(|mount| {
        let (place, kind) = mount.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let matches = match file_system {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => {
                !controllers.is_empty() && controllers.split(',').all(|name| options.split(',').any(|o| o == name))
            }
            _ => false,
        };
        let inside = Path::new(path).strip_prefix(root).ok()?;
        matches.then(|| Path::new(point).join(inside))
    })
}

fn members(dir: &Path, found: &mut BTreeSet<i32>) {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    each_folder(dir, |child| members(child, found));
}

/// Removes a tree of groups, deepest first, as far as it is empty.
fn remove_tree(dir: &Path) {
    each_folder(dir, remove_tree);
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {} // busy: the caller tries again
        _ => {}
    }
}

fn each_folder(dir: &Path, mut act: impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            act(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
33 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 25 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
35 25 0:30 /docker/x /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 25 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn folders_of_all_hierarchies() {
        for (line, folder) in [
            ("4:cpu,cpuacct:/a/b", Some("/sys/fs/cgroup/cpu,cpuacct/a/b")),
            ("9:name=systemd:/", Some("/sys/fs/cgroup/systemd")),
            ("3:memory:/docker/x/y", Some("/sys/fs/cgroup/memory/y")),
            ("0::/a", Some("/sys/fs/cgroup/unified/a")),
            ("8:pids:/a", None),
        ] {
            assert_eq!(folder_of(line, MOUNTS), folder.map(PathBuf::from), "{line}");
        }
    }
}
