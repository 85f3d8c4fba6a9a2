//! A whole folder replaced at once.
//!
//! Files are plain 0600 creates in a hidden folder beside the target: no fsync each, but one `syncfs` for all at the end,
//! and others before, so that less is left for that. Then one `renameat2(RENAME_EXCHANGE)` and an fsync of the parent:
//! whoever looks at the target sees the old tree or the new one. Where the file system has no exchange, two renames do it,
//! and the next [`StagedTree::begin`] repairs a gap between them.

use crate::writeback::Writeback;
use rustix::{
    fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, renameat_with},
    io::Errno,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

/// Why a tree was not staged. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The target has no name that could be replaced, such as `.`, `/` or `a/..`.
    #[error("{path}: not a folder that can be replaced; name one below an existing folder")]
    Unnamed {
        /// The target.
        path: PathBuf,
    },
    /// The target is a link or a file.
    #[error("{path}: is not a folder")]
    NotAFolder {
        /// The target.
        path: PathBuf,
    },
    /// Something is mounted on the target, which can be neither renamed nor exchanged then.
    #[error("{path}: something is mounted there, so it cannot be replaced; name a folder in it")]
    MountPoint {
        /// The target.
        path: PathBuf,
    },
    /// A file name that leaves the tree, or is named twice.
    #[error("{path}: not a path inside the output")]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// The machine said no.
    #[error("{doing} {path}")]
    Io {
        /// What was tried, in the gerund.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StageError + 'a {
    move |source| StageError::Io { doing, path: path.to_owned(), source }
}

/// A tree being written. Dropped without [`StagedTree::commit`] it removes what it wrote.
///
/// Threads may write at the same time: every method but `commit` takes `&self`.
#[derive(Debug)]
pub struct StagedTree {
    target: PathBuf,
    parent: PathBuf,
    staging: PathBuf,
    old: PathBuf,
    /// Holds the lock on the parent folder for as long as this lives.
    lock: File,
    /// Of the staging folder, from when that is there until the tree is whole or given up.
    writeback: Option<Writeback>,
    committed: bool,
}

impl StagedTree {
    /// Locks the folder that `target` lies in, clears what an interrupted run left there and makes a new staging folder.
    ///
    /// Calls `waiting` once if another process holds the lock, then waits for it.
    ///
    /// # Errors
    /// A target that cannot be replaced, or a parent that does not exist or cannot be written.
    pub fn begin(target: &Path, waiting: impl FnOnce()) -> Result<Self, StageError> {
        let name = match target.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(StageError::Unnamed { path: target.to_owned() }),
        };
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let hidden = |suffix: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(suffix);
            parent.join(hidden)
        };
        let mut tree = Self {
            target: parent.join(name),
            staging: hidden(".nodekiln-new"),
            old: hidden(".nodekiln-old"),
            lock: lock(&parent, waiting)?,
            parent,
            writeback: None,
            committed: false,
        };
        tree.repair()?;
        match fs::symlink_metadata(&tree.target) {
            Ok(metadata) if !metadata.is_dir() => return Err(StageError::NotAFolder { path: tree.target.clone() }),
            Ok(_) if is_mount_point(&tree.target) => return Err(StageError::MountPoint { path: tree.target.clone() }),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("reading", &tree.target)(e)),
        }
        make_dir(&tree.staging)?;
        let folder = File::open(&tree.staging).map_err(io_error("opening", &tree.staging))?;
        tree.writeback = Some(Writeback::new(folder));
        Ok(tree)
    }

    /// The folder that will be replaced.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder that is being written.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Writes `bytes` to the new file `path`, mode 0600 from its first byte, making folders of mode 0700 as needed.
    ///
    /// # Errors
    /// A path outside the tree, one that is there already, or a full disk.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StageError> {
        self.create(path)?.write_all(bytes).map_err(io_error("writing", &self.staging.join(path)))
    }

    /// Makes the new file `path`, mode 0600, making folders of mode 0700 as needed. For what is written piece by piece.
    ///
    /// # Errors
    /// A path outside the tree, or one that is there already.
    pub fn create(&self, path: &str) -> Result<File, StageError> {
        let full = self.place(path)?;
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_parents(&full)?;
                open()
            }
            other => other,
        };
        file.map_err(io_error("creating", &full))
    }

    /// Takes the file `path` over from the old tree by a hard link.
    ///
    /// # Errors
    /// A path outside the tree, or nothing there to link.
    pub fn link(&self, path: &str) -> Result<(), StageError> {
        let full = self.place(path)?;
        let link = || fs::hard_link(self.target.join(path), &full);
        let linked = match link() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_parents(&full)?;
                link()
            }
            other => other,
        };
        linked.map_err(io_error("linking", &full))
    }

    /// Takes all of `paths` over, or none of them.
    ///
    /// # Errors
    /// As for [`StagedTree::link`].
    pub fn link_all<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<(), StageError> {
        let mut linked = Vec::new();
        for path in paths {
            if let Err(error) = self.link(path) {
                for path in linked {
                    let full = self.staging.join::<&str>(path);
                    fs::remove_file(&full).map_err(io_error("removing", &full))?;
                }
                return Err(error);
            }
            linked.push(path);
        }
        Ok(())
    }

    /// Puts the new tree in the target's place, durably, and removes the old one.
    ///
    /// # Errors
    /// The file system refuses; the target is the old tree then.
    pub fn commit(mut self) -> Result<(), StageError> {
        let synced = self.writeback.take().map_or(Ok(()), Writeback::finish);
        synced.map_err(io_error("syncing", &self.staging))?;
        let exists = fs::symlink_metadata(&self.target).is_ok();
        if !exists {
            fs::rename(&self.staging, &self.target).map_err(io_error("renaming", &self.staging))?;
        } else if exchange(&self.staging, &self.target)? {
            // The old tree bears the staging name now: `repair` would clear it too if this is the last that runs.
            fs::rename(&self.staging, &self.old).map_err(io_error("renaming", &self.staging))?;
        } else {
            fs::rename(&self.target, &self.old).map_err(io_error("renaming", &self.target))?;
            fs::rename(&self.staging, &self.target).map_err(io_error("renaming", &self.staging))?;
        }
        self.committed = true;
        let parent = File::open(&self.parent).map_err(io_error("opening", &self.parent))?;
        parent.sync_all().map_err(io_error("syncing", &self.parent))?;
        remove(&self.old)
    }

    /// The staged place of `path`, where something is about to be written.
    fn place(&self, path: &str) -> Result<PathBuf, StageError> {
        let relative = Path::new(path);
        let clean = !path.is_empty() && relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !clean {
            return Err(StageError::Outside { path: relative.to_owned() });
        }
        // A tree that stays empty, since nothing changed, is no reason to have everybody's files synced.
        self.writeback.iter().for_each(Writeback::begin);
        Ok(self.staging.join(relative))
    }

    /// Undoes an interrupted run: half-written trees go, an old tree comes back if nothing has taken its place.
    fn repair(&self) -> Result<(), StageError> {
        let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
        if exists(&self.old) && !exists(&self.target) {
            fs::rename(&self.old, &self.target).map_err(io_error("renaming", &self.old))?;
        }
        remove(&self.staging)?;
        remove(&self.old)
    }
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        // What the disk did not take of what goes now is nobody's business.
        let _ = self.writeback.take().map(|mut writeback| writeback.stop());
        if !self.committed {
            // The next run clears what this cannot.
            let _ = remove(&self.staging);
        }
        let _ = self.lock.unlock();
    }
}

/// Takes the lock on `folder` itself, so that nothing is left behind for it.
fn lock(folder: &Path, waiting: impl FnOnce()) -> Result<File, StageError> {
    let file = File::open(folder).map_err(io_error("opening", folder))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            waiting();
            file.lock().map_err(io_error("locking", folder))?;
            Ok(file)
        }
        Err(fs::TryLockError::Error(e)) => Err(io_error("locking", folder)(e)),
    }
}

/// Whether something is mounted on `path`, even a folder of the same file system. Kernels before 5.8 do not say: there
/// the exchange fails.
fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Makes the folders that `path` lies in.
fn make_parents(path: &Path) -> Result<(), StageError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error("making", folder))
}

fn make_dir(path: &Path) -> Result<(), StageError> {
    DirBuilder::new().mode(0o700).create(path).map_err(io_error("making", path))
}

fn remove(path: &Path) -> Result<(), StageError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error("removing", path)(e)),
    }
}

/// Swaps two folders. `false` where the file system cannot.
fn exchange(a: &Path, b: &Path) -> Result<bool, StageError> {
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(io_error("exchanging", b)(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn begin(target: &Path) -> Result<StagedTree, StageError> {
        StagedTree::begin(target, || panic!("nobody else is here"))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_at_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for round in ["one", "two"] {
            let tree = begin(&out).unwrap();
            tree.write("a/b", round.as_bytes()).unwrap();
            tree.commit().unwrap();
            assert_eq!(fs::read_to_string(out.join("a/b")).unwrap(), round);
            assert_eq!(names(dir.path()), ["out"]);
        }
        let mode = |path: &str| fs::metadata(out.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(""), mode("a"), mode("a/b")), (0o700, 0o700, 0o600));
    }

    /// Others write to the same disk, and a build that changes nothing does not wait for them.
    #[test]
    fn what_stays_empty_syncs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tree = begin(&dir.path().join("out")).unwrap();
        let has_begun = |tree: &StagedTree| tree.writeback.as_ref().unwrap().has_begun();
        assert!(!has_begun(&tree));
        tree.write("a", b"").unwrap();
        assert!(has_begun(&tree));
    }

    #[test]
    fn dropped_it_leaves_the_old_tree() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let tree = begin(&out).unwrap();
        tree.write("a", b"old").unwrap();
        tree.commit().unwrap();
        let tree = begin(&out).unwrap();
        tree.write("a", b"new").unwrap();
        drop(tree);
        assert_eq!(fs::read(out.join("a")).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn links_keep_the_inode() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let tree = begin(&out).unwrap();
        tree.write("a", b"x").unwrap();
        tree.commit().unwrap();
        let inode = fs::metadata(out.join("a")).unwrap().ino();
        let tree = begin(&out).unwrap();
        tree.link("a").unwrap();
        tree.commit().unwrap();
        assert_eq!(fs::metadata(out.join("a")).unwrap().ino(), inode);
    }

    #[test]
    fn interrupted_runs_are_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        // Between the two renames of a file system without exchange.
        fs::create_dir(dir.path().join(".out.nodekiln-old")).unwrap();
        fs::write(dir.path().join(".out.nodekiln-old/a"), b"old").unwrap();
        fs::create_dir(dir.path().join(".out.nodekiln-new")).unwrap();
        drop(begin(&out).unwrap());
        assert_eq!(fs::read(out.join("a")).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn hostile_targets_and_names() {
        let dir = tempfile::tempdir().unwrap();
        for target in [".", "/", ".."] {
            assert!(matches!(begin(Path::new(target)), Err(StageError::Unnamed { .. })), "{target}");
        }
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(matches!(begin(&dir.path().join("file")), Err(StageError::NotAFolder { .. })));
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(matches!(begin(&dir.path().join("link")), Err(StageError::NotAFolder { .. })));
        assert!(matches!(begin(&dir.path().join("no/out")), Err(StageError::Io { doing: "opening", .. })));
        let tree = begin(&dir.path().join("out")).unwrap();
        for path in ["", "/a", "../a", "a/../b", "./a"] {
            assert!(matches!(tree.write(path, b""), Err(StageError::Outside { .. })), "{path}");
        }
        tree.write("a", b"").unwrap();
        assert!(matches!(tree.write("a", b""), Err(StageError::Io { doing: "creating", .. })));
    }

    #[test]
    fn a_second_build_waits() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let first = begin(&out).unwrap();
        first.write("a", b"first").unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let out = out.clone();
            move || StagedTree::begin(&out, || sender.send(()).unwrap()).map(|tree| tree.target().join("a").exists())
        });
        receiver.recv().unwrap();
        first.commit().unwrap();
        assert!(second.join().unwrap().unwrap());
    }
}
