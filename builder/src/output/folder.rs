//! Reading back: an output folder, or a payload wherever it lies.

use super::manifest::MANIFEST;
use crate::inspect::Beside;
use nodekiln_payload::Pointer;
use nodekiln_plan::Secret;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
#[error("reading {}", path.display())]
pub struct ReadError {
    /// What.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link: no output holds one.
    Link,
    /// A device, a socket or something else that no output holds.
    Other,
}

/// An entry of a folder, however deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with setuid and its kin.
    pub mode: u32,
    /// In bytes.
    pub size: u64,
}

/// An output to be read, wherever it is.
pub trait Source {
    /// All that is in it, by path; the folder itself is the empty path. Links are not followed.
    fn entries(&self) -> &BTreeMap<String, Entry>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, path: &str) -> Result<Secret, ReadError>;
}

/// An output on disk.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl Folder {
    /// Lists the folder `root`.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open(root: &Path) -> Result<Self, ReadError> {
        let mut folder = Self { root: root.to_owned(), entries: BTreeMap::new() };
        let entry = entry(&fs::metadata(root).map_err(|source| ReadError { path: root.to_owned(), source })?);
        folder.entries.insert(String::new(), entry);
        walk(root, &mut |name, found| {
            folder.entries.insert(name, self::entry(&found.metadata()?));
            Ok(())
        })?;
        Ok(folder)
    }
}

/// What is done with an entry, by its path below the folder that is walked.
pub(super) type Visit<'v> = &'v mut dyn FnMut(String, &fs::DirEntry) -> io::Result<()>;

/// Visits all that is in `root`, however deep. Links are not followed.
///
/// # Errors
/// A folder that cannot be read, or whose entry `visit` could not look at.
pub(super) fn walk(root: &Path, visit: Visit<'_>) -> Result<(), ReadError> {
    below(root, "", visit)
}

fn below(folder: &Path, prefix: &str, visit: Visit<'_>) -> Result<(), ReadError> {
    let failed = |source| ReadError { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed)?.is_dir() {
            below(&entry.path(), &format!("{name}/"), visit)?;
        }
        visit(name, &entry).map_err(failed)?;
    }
    Ok(())
}

impl Source for Folder {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn read(&self, path: &str) -> Result<Secret, ReadError> {
        read(&self.root.join(path))
    }
}

fn entry(meta: &fs::Metadata) -> Entry {
    let kind = if meta.is_file() {
        EntryKind::File
    } else if meta.is_dir() {
        EntryKind::Directory
    } else if meta.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::Other
    };
    Entry { kind, mode: meta.permissions().mode() & 0o7777, size: meta.len() }
}

/// Opens a file of an output, with these flags of open(2) too. A FIFO in its place is not waited for.
///
/// # Errors
/// It cannot be opened, or is no file.
pub(super) fn open_file(path: &Path, flags: i32) -> io::Result<(fs::File, fs::Metadata)> {
    let file = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"));
    }
    Ok((file, metadata))
}

/// The bytes of a file of an output, or of what a link in its place points at.
///
/// # Errors
/// See [`open_file`].
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, metadata) = open_file(path, 0)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of the file at `path`.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Secret, ReadError> {
    /// What no payload reaches, and `/dev/zero` does.
    const MOST: u64 = 1 << 30;
    let open = || {
        let file = fs::File::open(path)?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(MOST)).unwrap_or_default());
        file.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Secret::new(bytes)) }
    };
    open().map_err(|source| ReadError { path: path.to_owned(), source })
}

/// A payload on disk, and what lies beside it.
#[derive(Debug)]
pub struct OnDisk {
    /// The file that was read; of what a stub points at, the stub: the other name is nobody's business.
    pub path: PathBuf,
    /// Whether it is what a stub points at.
    pub is_served: bool,
    /// Its bytes.
    pub bytes: Secret,
    /// cloud-init's other files.
    pub beside: Beside,
}

/// The payloads that `path` leads to: a file's own, that of a node's folder, or those of all nodes of an output.
///
/// # Errors
/// Files that cannot be read, or a folder that holds no payload.
pub fn payloads(path: &Path) -> Result<Vec<OnDisk>, ReadError> {
    let failed = |source| ReadError { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return with_served(path.to_owned());
    }
    let folders: Vec<PathBuf> = if path.join(MANIFEST).is_file() {
        let nodes = path.join("nodes");
        let failed = |source| ReadError { path: nodes.clone(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&nodes).map_err(failed)? {
            folders.push(entry.map_err(failed)?.path());
        }
        folders.sort();
        folders
    } else {
        vec![path.to_owned()]
    };
    let mut found = Vec::new();
    for folder in folders {
        let names = ["config.ign", "pointer.ign", "user-data"].map(|name| folder.join(name));
        for payload in names.into_iter().filter(|path| path.is_file()) {
            found.extend(with_served(payload)?);
        }
    }
    if found.is_empty() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no config.ign, pointer.ign or user-data in it",
        )));
    }
    Ok(found)
}

/// The payload at `path` and, if it is a stub in an output, what it points at.
fn with_served(path: PathBuf) -> Result<Vec<OnDisk>, ReadError> {
    let payload = on_disk(path)?;
    let name = Pointer::decode(payload.bytes.expose()).ok();
    let name = name.and_then(|pointer| pointer.source.rsplit_once('/').map(|(_, name)| name.to_owned()));
    let output = payload.path.ancestors().nth(3);
    let served = name.zip(output).map(|(name, output)| output.join("serve").join(name)).filter(|path| path.is_file());
    let mut found = Vec::new();
    if let Some(path) = served {
        let bytes = read(&path)?;
        found.push(OnDisk { path: payload.path.clone(), is_served: true, bytes, beside: Beside::default() });
    }
    found.insert(0, payload);
    Ok(found)
}

fn on_disk(path: PathBuf) -> Result<OnDisk, ReadError> {
    let beside = |name: &str| {
        let path = path.with_file_name(name);
        // A user-data that was copied somewhere stands alone there.
        if path.is_file() { read(&path).map(Some) } else { Ok(None) }
    };
    let is_user_data = path.file_name().is_some_and(|name| name == "user-data");
    let beside = match is_user_data {
        true => Beside { meta_data: beside("meta-data")?, network_config: beside("network-config")? },
        false => Beside::default(),
    };
    Ok(OnDisk { bytes: read(&path)?, path, is_served: false, beside })
}
