//! A cell: one command in namespaces of its own, over the cached node root. Lighter than a [`crate::node::Node`]: no
//! systemd, no containers. What runs in it sees a machine's paths, an empty network and its own processes, and leaves
//! nothing behind but what it wrote into the shared folder.

use crate::{cache::Cache, command::Cmd, made::NodeFile};
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Where the shared folder is inside.
pub const SHARED: &str = "/shared";

/// Mounts an overlay of the node root and the layer, with the cache at its own path, and changes into it.
const ENTER: &str = r#"
scratch=$1 lower=$2 layer=$3 shared=$4 cache=$5
shift 5
mount -t tmpfs -o mode=0755 cell "$scratch"
mkdir "$scratch"/upper "$scratch"/work "$scratch"/root
mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" cell "$scratch/root"
cp -a "$layer/." "$scratch/root/"
mkdir -p "$scratch/root/shared" "$scratch/root$cache"
mount --bind "$shared" "$scratch/root/shared"
mount --bind -o ro "$cache" "$scratch/root$cache"
mount -t proc proc "$scratch/root/proc"
mount --rbind /sys "$scratch/root/sys"
mount --rbind /dev "$scratch/root/dev"
ip link set lo up
exec chroot "$scratch/root" "$@"
"#;

/// A root file system to run commands in; every command finds it as it was made.
#[derive(Debug)]
pub struct Cell {
    folder: TempDir,
    lower: PathBuf,
    cache: PathBuf,
}

impl Cell {
    /// The cached node root.
    pub fn new(cache: &Cache) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for a cell")?;
        for name in ["scratch", "layer", "shared"] {
            fs::create_dir(folder.path().join(name)).context("making a folder for a cell")?;
        }
        let lower = fs::canonicalize(cache.root()).context("looking for the node root")?;
        let cache = cache.current().parent().context("the cache has a folder")?.to_owned();
        Ok(Self { folder, lower, cache })
    }

    /// A file of the root.
    pub fn write(&self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let path = self.layer().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        // The layer may hold an older one that cannot be written.
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
    }

    /// The files of a node.
    pub fn write_all(&self, files: &BTreeMap<String, NodeFile>) -> Result<()> {
        files.iter().try_for_each(|(path, (mode, contents))| self.write(path, *mode, contents))
    }

    fn layer(&self) -> PathBuf {
        self.folder.path().join("layer")
    }

    /// The folder that commands find as [`SHARED`].
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// A command in the root: it ends with all that it started.
    #[must_use]
    pub fn command(&self, argv: &[&str]) -> Cmd {
        let folder = |name: &str| self.folder.path().join(name).into_os_string();
        let unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"];
        let enter = ["sh", "-ec", ENTER, "cell"];
        let places = [
            folder("scratch"),
            self.lower.clone().into(),
            folder("layer"),
            folder("shared"),
            self.cache.clone().into(),
        ];
        let prefix = unshare.iter().chain(&enter).map(Into::into).chain(places);
        Cmd::new(argv).clear_env().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").behind(prefix.collect::<Vec<_>>())
    }

    /// A program of the cache, as the root sees it.
    #[must_use]
    pub fn program(&self, name: &str) -> String {
        self.cache.join("current/bin").join(name).display().to_string()
    }
}

/// What must be on the machine for a cell.
pub const NEEDS: [crate::tools::Need; 3] =
    [crate::tools::Need::Nodes, crate::tools::Need::Program("chroot"), crate::tools::Need::Program("unshare")];

/// A text file of the shared folder.
pub fn read(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
