//! One durable change at a time: what is on disk after each of these calls survives a power cut, whole.
//!
//! For secrets.yaml and for everything on a node. A folder of many files that need no such care one by one is written
//! by the other half of this crate.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Puts `bytes` at `path` with the permission bits `mode`, in one step: a reader sees the old file or the new one.
///
/// The content goes to a hidden file beside the target that has its mode before its first byte; file and folder are
/// synced before this returns. A symlink at `path` is replaced, not followed.
///
/// # Errors
/// Those of the file system. The hidden file is removed then.
pub fn replace_file(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let temp = beside(path)?;
    let done = write_new(&temp, mode, bytes).and_then(|()| fs::rename(&temp, path));
    if done.is_err() {
        let _ = fs::remove_file(&temp);
    }
    done?;
    sync_parent(path)
}

/// Puts `bytes` at `path`, where nothing may be yet, as [`replace_file`] does.
///
/// The hidden file gets its name by link(2), which never replaces anything.
///
/// # Errors
/// `AlreadyExists` if something bears the name, even a dangling symlink; else those of the file system.
pub fn create_file(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let temp = beside(path)?;
    let done = write_new(&temp, mode, bytes).and_then(|()| fs::hard_link(&temp, path));
    let _ = fs::remove_file(&temp);
    done?;
    sync_parent(path)
}

/// Removes the file or symlink at `path` for good. One that is not there is no error.
///
/// # Errors
/// Those of the file system.
pub fn remove_file_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Renames `from` to `to` and syncs both folders. What is at `to` is replaced.
///
/// # Errors
/// Those of the file system.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)?;
    if from.parent() != to.parent() { sync_parent(from) } else { Ok(()) }
}

/// Makes the folder `path` with the permission bits `mode`, and missing parents with 0755. A folder that exists gets
/// the mode.
///
/// # Errors
/// Those of the file system, also when `path` is there and no folder.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
        && !parent.is_dir()
    {
        make_dir(parent, 0o755)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            sync_parent(path)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            if fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
        Err(e) => Err(e),
    }
}

/// Makes `path` a symlink to `target`, in one step, in place of what file or symlink was there.
///
/// # Errors
/// Those of the file system.
pub fn symlink_durably(target: &Path, path: &Path) -> io::Result<()> {
    let temp = beside(path)?;
    let done = std::os::unix::fs::symlink(target, &temp).and_then(|()| fs::rename(&temp, path));
    if done.is_err() {
        let _ = fs::remove_file(&temp);
    }
    done?;
    sync_parent(path)
}

/// Syncs the folder that `path` lies in, so that a name made or removed there stays so.
///
/// # Errors
/// Those of the file system.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}

fn write_new(temp: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    // 0600 until fchmod: the umask may have taken bits away, and must not add any in between.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(temp)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name for a hidden file in the folder of `path`: unique within this process, and left over only by a crash.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    // A name of NAME_MAX bytes has no room for more.
    let stem: String = name.to_string_lossy().chars().take(40).collect();
    remove_leftovers(path, &stem);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temp = path.with_file_name(format!(".{stem}.{}-{number}.tmp", std::process::id()));
        match fs::symlink_metadata(&temp) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(temp),
            Err(e) => return Err(e),
            // Left by a process of the same number that was killed.
            Ok(_) => fs::remove_file(&temp)?,
        }
    }
}

/// Removes hidden files that writes of the same target left when their process was killed: they may hold keys. One that
/// cannot be removed is no reason not to write.
fn remove_leftovers(path: &Path, stem: &str) {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let writer = name
            .to_str()
            .and_then(|name| name.strip_prefix('.')?.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".tmp"))
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(process, number)| Some((process.parse::<u32>().ok()?, number.parse::<u32>().ok()?)));
        if writer.is_some_and(|(process, _)| !Path::new("/proc").join(process.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd");
        // Beyond the kernel's largest process number (PID_MAX_LIMIT).
        fs::write(dir.path().join(".etcd.4194305-2.tmp"), "key").unwrap();
        let alive = dir.path().join(format!(".etcd.{}-999999.tmp", std::process::id()));
        let others = [alive, dir.path().join(".etcd2.4194305-2.tmp"), dir.path().join(".etcd.x-2.tmp")];
        others.iter().for_each(|other| fs::write(other, "").unwrap());
        replace_file(&path, 0o600, b"new").unwrap();
        assert!(!dir.path().join(".etcd.4194305-2.tmp").exists());
        assert!(others.iter().all(|other| other.exists()));
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.yaml");
        create_file(&path, 0o600, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(create_file(&path, 0o600, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let link = dir.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(create_file(&link, 0o600, b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn replaces_with_mode_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace_file(&path, 0o600, b"one").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"one".to_vec()));
        replace_file(&path, 0o644, b"two").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o644, b"two".to_vec()));
        assert_eq!(names(dir.path()), ["a"]);
        let long = dir.path().join("é".repeat(127));
        replace_file(&long, 0o400, b"").unwrap();
        assert_eq!(mode(&long), 0o400);
    }

    #[test]
    fn a_failed_replace_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(replace_file(&path, 0o600, b"x").is_err());
        assert_eq!(names(dir.path()), ["a"]);
        assert!(replace_file(&dir.path().join("no/b"), 0o600, b"x").is_err());
        assert!(replace_file(Path::new("/"), 0o600, b"x").is_err());
    }

    #[test]
    fn a_symlink_is_replaced_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&other, "old").unwrap();
        symlink_durably(Path::new("b"), &path).unwrap();
        symlink_durably(Path::new("b"), &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace_file(&path, 0o600, b"new").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"old");
        remove_file_durably(&path).unwrap();
        remove_file_durably(&path).unwrap();
        assert_eq!(names(dir.path()), ["b"]);
    }

    #[test]
    fn folders_get_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        make_dir(&path, 0o700).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o755));
        make_dir(&path, 0o750).unwrap();
        assert_eq!(mode(&path), 0o750);
        fs::write(dir.path().join("f"), "").unwrap();
        assert!(make_dir(&dir.path().join("f"), 0o700).is_err());
        rename_durably(&path, &dir.path().join("d")).unwrap();
        assert_eq!(mode(&dir.path().join("d")), 0o750);
    }
}
