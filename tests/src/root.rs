//! A node's disk: an overlay over the cached root, a private containerd root, volumes that survive a wipe.
//!
//! Every mount is made in a mount namespace that ends with the command that needed it, so none can be left.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::command::Cmd;
use crate::tools;

/// What a machine boots with.
#[derive(Clone, Debug, Default)]
pub enum Payload {
    /// The image as it is.
    #[default]
    Bare,
    /// An Ignition config, applied before systemd starts, as Flatcar and Fedora CoreOS do from the initramfs.
    Ignition(PathBuf),
    /// A NoCloud seed; cloud-init is switched on.
    NoCloud {
        /// The file `user-data`.
        user_data: PathBuf,
        /// The file `meta-data`.
        meta_data: PathBuf,
        /// The file `network-config`, if any.
        network_config: Option<PathBuf>,
    },
}

/// A file to lay into a root.
#[derive(Clone)]
pub struct RootFile {
    /// Absolute path on the node.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Contents; not shown by Debug, they may be secret.
    pub contents: Vec<u8>,
}

impl RootFile {
    /// A file of the node.
    pub fn new(path: impl Into<PathBuf>, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, contents: contents.into() }
    }
}

impl std::fmt::Debug for RootFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootFile({}, {:o}, {} bytes)", self.path.display(), self.mode, self.contents.len())
    }
}

/// The disk of one node.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
    lower: PathBuf,
    containerd: Option<PathBuf>,
    volumes: Vec<PathBuf>,
}

/// Parts of containerd's root that are written once and never changed: linked, not copied.
const IMMUTABLE: [&str; 2] =
    ["io.containerd.content.v1.content/blobs", "io.containerd.snapshotter.v1.overlayfs/snapshots"];

impl Root {
    /// A fresh disk in the folder `dir`, which must be on the cache's file system.
    ///
    /// `volumes` are paths on the node whose contents survive [`Self::wipe`], as a data disk does.
    pub fn create(cache: &Cache, dir: &Path, containerd: bool, volumes: &[PathBuf]) -> Result<Self> {
        let root = Self {
            dir: dir.to_owned(),
            lower: cache.root(),
            containerd: containerd.then(|| cache.containerd_root()),
            volumes: volumes.to_vec(),
        };
        for number in 0..volumes.len() {
            let volume = root.volume(number);
            fs::create_dir_all(&volume).with_context(|| format!("creating {}", volume.display()))?;
        }
        root.format()?;
        Ok(root)
    }

    /// Everything as it was before the first boot, volumes excepted.
    pub fn wipe(&self) -> Result<()> {
        let system = self.dir.join("system");
        fs::remove_dir_all(&system).with_context(|| format!("removing {}", system.display()))?;
        self.format()
    }

    fn format(&self) -> Result<()> {
        for name in ["upper", "work", "merged"] {
            let dir = self.dir.join("system").join(name);
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        if let Some(seed) = &self.containerd {
            clone_containerd(seed, &self.dir.join("system/containerd"))?;
        }
        Ok(())
    }

    fn volume(&self, number: usize) -> PathBuf {
        self.dir.join(format!("volume-{number}"))
    }

    /// Where the merged root is mounted for the programs of [`Self::mounted`].
    #[must_use]
    pub fn merged(&self) -> PathBuf {
        self.dir.join("system/merged")
    }

    /// The start of an argument list that mounts everything at [`Self::merged`] for the rest alone.
    pub fn mounted(&self) -> Result<Vec<OsString>> {
        let system = self.dir.join("system");
        let (lower, system_text) = (text(&self.lower)?, text(&system)?);
        if [lower, system_text].iter().any(|path| path.contains([',', ':', '\\'])) {
            bail!("mounting the root {lower}: overlayfs takes no path with a comma, colon or backslash");
        }
        // Anonymous arguments: script, overlay options, merged, then pairs to bind, `--`, the program.
        let script = r#"
            merged=$2
            mount -t overlay -o "$1" overlay "$merged"
            shift 2
            while [ "$1" != -- ]; do
                mkdir -p "$merged$2"
                mount --bind "$1" "$merged$2"
                shift 2
            done
            shift
            exec "$@""#;
        let mut argv: Vec<OsString> =
            ["unshare", "--mount", "--propagation", "slave", "sh", "-euc", script, "root"].map(OsString::from).into();
        argv.push(format!("lowerdir={lower},upperdir={system_text}/upper,workdir={system_text}/work").into());
        argv.push(self.merged().into_os_string());
        if self.containerd.is_some() {
            argv.extend([system.join("containerd").into_os_string(), "/var/lib/containerd".into()]);
        }
        for (number, path) in self.volumes.iter().enumerate() {
            argv.extend([self.volume(number).into_os_string(), path.clone().into_os_string()]);
        }
        argv.push("--".into());
        Ok(argv)
    }

    /// Lays files down while the node is off.
    pub fn write(&self, files: &[RootFile]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let staging = self.dir.join("staging");
        fs::create_dir_all(&staging).with_context(|| format!("creating {}", staging.display()))?;
        for file in files {
            let relative = file.path.strip_prefix("/").with_context(|| format!("staging {file:?}: not absolute"))?;
            let path = staging.join(relative);
            let parent = path.parent().with_context(|| format!("staging {file:?}"))?;
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
            fs::write(&path, &file.contents).with_context(|| format!("writing {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(file.mode))
                .with_context(|| format!("setting the mode of {}", path.display()))?;
        }
        // Existing folders keep their modes, and links to folders (/lib of a merged /usr) stay links.
        let script = r#"tar -c -C "$1" . | tar -x -C "$2" --no-overwrite-dir --keep-directory-symlink"#;
        let copy = Cmd::new(["sh", "-euc", script, "lay"]).args([&staging, &self.merged()]);
        copy.behind(self.mounted()?).ok().context("laying files into a root")?;
        fs::remove_dir_all(&staging).with_context(|| format!("removing {}", staging.display()))
    }

    /// Enables units while the node is off.
    pub fn enable(&self, units: &[String]) -> Result<()> {
        if units.is_empty() {
            return Ok(());
        }
        let root = format!("--root={}", self.merged().display());
        Cmd::new(["systemctl", &root, "enable"]).args(units).behind(self.mounted()?).ok()?;
        Ok(())
    }

    /// Reads a file while the node is off.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.merged().join(path.trim_start_matches('/'));
        Cmd::new(["cat".as_ref(), file.as_os_str()]).behind(self.mounted()?).ok()
    }

    /// Puts the payload where the machine finds it at its first boot; `ignition` is the program that applies it.
    pub fn install(&self, cache: &Cache, payload: &Payload, ignition: &str) -> Result<()> {
        if matches!(payload, Payload::Bare) {
            return Ok(());
        }
        // systemd applies presets, and makes a machine ID, only at what it takes for a first boot.
        let mut files = vec![RootFile::new("/etc/machine-id", 0o444, "uninitialized\n")];
        if let Payload::NoCloud { user_data, meta_data, network_config } = payload {
            let seed = [("user-data", Some(user_data)), ("meta-data", Some(meta_data))];
            for (name, path) in seed.into_iter().chain([("network-config", network_config.as_ref())]) {
                let Some(path) = path else { continue };
                let contents = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                files.push(RootFile::new(Path::new("/var/lib/cloud/seed/nocloud").join(name), 0o600, contents));
            }
            files.push(RootFile::new("/etc/nodekiln-test/cloud-init", 0o644, ""));
        }
        self.write(&files)?;
        if let Payload::Ignition(config) = payload {
            self.ignite(cache, config, ignition)?;
        }
        Ok(())
    }

    /// What Ignition's files stage does, on the root that is not running yet.
    fn ignite(&self, cache: &Cache, config: &Path, program: &str) -> Result<()> {
        let program = tools::find(cache, program).with_context(|| format!("looking for {program}"))?;
        let merged = self.merged();
        Cmd::new([program.as_os_str(), "--root".as_ref(), merged.as_os_str(), "--ignore-unsupported".as_ref()])
            .args([config])
            // It refuses to touch a root unless it believes to be in a container.
            .env("container", "systemd-nspawn")
            .limit(Duration::from_secs(60))
            .behind(self.mounted()?)
            .ok()
            .with_context(|| format!("applying {}", config.display()))?;
        Ok(())
    }
}

/// A containerd root of one's own: immutable blobs and layers as hard links, everything else as copies.
fn clone_containerd(seed: &Path, target: &Path) -> Result<()> {
    let script = r#"
        seed=$1 target=$2
        shift 2
        mkdir -p "$target"
        (cd "$seed" && tar -c --exclude=./io.containerd.grpc.v1.introspection/uuid "$@" .) | tar -x -C "$target"
        for path; do
            path=${path#--exclude=./}
            path=${path%/\*}
            [ -d "$seed/$path" ] || continue
            cp -al "$seed/$path/." "$target/$path/"
        done"#;
    let exclude = IMMUTABLE.map(|path| format!("--exclude=./{path}/*"));
    Cmd::new(["sh", "-euc", script, "clone"])
        .args([seed, target])
        .args(exclude)
        .ok()
        .with_context(|| format!("cloning {}", seed.display()))?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("mounting {}: not UTF-8", path.display()))
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}
