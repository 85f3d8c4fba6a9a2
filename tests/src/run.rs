//! What one test process owns on the machine, and the reaper that removes it whatever becomes of the process.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::cgroup::Cgroup;

const REAPER: &str = include_str!("reaper.sh");
const PID1: &str = include_str!("pid1.sh");

/// Everything that this process makes is named or placed after its run.
#[derive(Debug)]
pub struct Run {
    id: String,
    dir: PathBuf,
    cgroup: Cgroup,
    counter: AtomicU32,
    /// The reaper waits for the end of this pipe; nobody writes to it.
    _alive: ChildStdin,
}

/// The start of every run's name; the process's number follows.
pub const PREFIX: &str = "nk";

static RUN: Mutex<Option<Arc<Run>>> = Mutex::new(None);

impl Run {
    /// The run of this process, made at the first call.
    pub fn current(cache: &Cache) -> Result<Arc<Self>> {
        let mut run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = &*run {
            return Ok(Arc::clone(run));
        }
        let new = Arc::new(Self::start(cache)?);
        *run = Some(Arc::clone(&new));
        Ok(new)
    }

    fn start(cache: &Cache) -> Result<Self> {
        let id = id_of(process::id());
        let dir = cache.runs().join(&id);
        let own = Cgroup::own()?;
        let planned: Vec<OsString> = own.dirs().iter().map(|dir| dir.join(&id).into_os_string()).collect();
        // The reaper comes first: from here on, nothing made can be left.
        let mut reaper = Command::new("setsid")
            .args(["sh", "-c", REAPER, "nodekiln-reaper", &id])
            .arg(&dir)
            .args(&planned)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the reaper")?;
        let alive = reaper.stdin.take().context("taking the reaper's pipe")?;
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let cgroup = own.create(&id)?;
        let shim = dir.join("pid1");
        fs::write(&shim, PID1).with_context(|| format!("writing {}", shim.display()))?;
        Ok(Self { id, dir, cgroup, counter: AtomicU32::new(0), _alive: alive })
    }

    /// The name that everything of this run begins with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder of this run.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The script that a node starts with.
    #[must_use]
    pub fn pid1(&self) -> PathBuf {
        self.dir.join("pid1")
    }

    /// The control group of this run.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A name that this run has not used yet: `nkPID-COUNTER-WORD`.
    #[must_use]
    pub fn unique(&self, word: &str) -> String {
        format!("{}-{}-{word}", self.id, self.counter.fetch_add(1, Ordering::Relaxed))
    }
}

/// The name of the run of the process `pid`.
#[must_use]
pub fn id_of(pid: u32) -> String {
    format!("{PREFIX}{pid}")
}
