//! The cache that `tests/tools/prepare` fills: programs, images, a node root, a filled containerd root.
//! Looking up only; what a test does when something is missing is in [`crate::tools`].

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder `${NODEKILN_CACHE:-$HOME/.cache/nodekiln}`.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache of this user, whether filled or not.
    pub fn locate() -> Result<Self> {
        let dir = match env::var_os("NODEKILN_CACHE").filter(|value| !value.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(env::var_os("HOME").context("locating the cache: HOME is not set")?)
                .join(".cache/nodekiln"),
        };
        Ok(Self { dir })
    }

    /// Where prepared things lie: `bin`, `cni`, `images`, `containerd-root`, `root`.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        // Overlay mounts and hard links want the real place, not a link that may turn to another.
        let link = self.dir.join("current");
        fs::canonicalize(&link).unwrap_or(link)
    }

    /// A prepared program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.current().join("bin").join(name)
    }

    /// The unpacked node root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.current().join("root")
    }

    /// The containerd root with all images.
    #[must_use]
    pub fn containerd_root(&self) -> PathBuf {
        self.current().join("containerd-root")
    }

    /// Where runs keep their nodes: on the cache's file system, because containerd's root is hard-linked.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Waits for all other tests with nodes to end, and keeps them waiting until the guard is dropped.
    pub fn serial(&self) -> Result<Serial> {
        fs::create_dir_all(&self.dir).with_context(|| format!("creating {}", self.dir.display()))?;
        Serial::lock(&self.dir.join("serial.lock"))
    }
}

/// Holds the right to run nodes; nodes are heavy, so one test at a time has them.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct Serial {
    _lock: File,
}

impl Serial {
    fn lock(path: &Path) -> Result<Self> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        lock.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(Self { _lock: lock })
    }
}
