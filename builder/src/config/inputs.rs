//! [`Inputs`]: the files and folders that cluster.yaml names, each file read once.

use super::InputFile;
use nodekiln_plan::Sha256;
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest input file: a kubelet has 60 MB.
const MAX_BYTES: u64 = 1 << 30;

/// A file that the build depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedInput {
    /// Relative to cluster.yaml; of cluster.yaml itself, its file name.
    pub path: String,
    /// Digest of its bytes.
    pub sha256: Sha256,
}

/// Reads input files below one folder.
#[derive(Debug)]
pub(super) struct Inputs {
    base: Option<PathBuf>,
    read: BTreeMap<String, Result<Arc<[u8]>, String>>,
}

impl Inputs {
    pub(super) fn new(base: Option<&Path>) -> Self {
        Self { base: base.map(Path::to_owned), read: BTreeMap::new() }
    }

    /// Reads the file `name`, written relative to cluster.yaml.
    ///
    /// # Errors
    /// In words: a path that leaves the folder, or why the file cannot be read.
    pub(super) fn file(&mut self, name: &str) -> Result<InputFile, String> {
        let name = relative(name)?;
        let base = self.base.clone();
        let bytes = self.read.entry(name.clone()).or_insert_with(|| match base {
            Some(base) => slurp(&base.join(&name)),
            None => Err("there is no folder to read files from".to_owned()),
        });
        bytes.clone().map(|bytes| InputFile { path: name, bytes })
    }

    /// How findings name the input file `name`, a path that [`Inputs::file`] or [`Inputs::folder`] gave.
    pub(super) fn display(&self, name: &str) -> String {
        match &self.base {
            Some(base) if base.as_os_str() != "." => base.join(name).display().to_string(),
            _ => name.to_owned(),
        }
    }

    /// Whether `name` is a folder.
    pub(super) fn is_folder(&self, name: &str) -> bool {
        let Ok(name) = relative(name) else { return false };
        self.base.as_ref().is_some_and(|base| base.join(name).is_dir())
    }

    /// The files in the folder `name` and below it, written relative to cluster.yaml, each folder's in the order of
    /// their names. Links to folders are not followed.
    ///
    /// # Errors
    /// In words, as for [`Inputs::file`].
    pub(super) fn folder(&self, name: &str) -> Result<Vec<String>, String> {
        let name = relative(name)?;
        let Some(base) = &self.base else { return Err("there is no folder to read files from".to_owned()) };
        let mut files = Vec::new();
        walk(base, &name, 0, &mut files)?;
        Ok(files)
    }

    /// What was read, by name.
    pub(super) fn named(&self) -> impl Iterator<Item = NamedInput> {
        self.read.iter().filter_map(|(path, bytes)| {
            let sha256 = Sha256::of(bytes.as_ref().ok()?);
            Some(NamedInput { path: path.clone(), sha256 })
        })
    }
}

/// `name` without `.` and doubled slashes: one file has one name.
fn relative(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if name.starts_with('/') {
        return Err("the path has to be relative to cluster.yaml".to_owned());
    }
    if name.contains('\0') {
        return Err("the path holds a NUL".to_owned());
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err("the path may not leave the folder of cluster.yaml by `..`".to_owned());
    }
    if parts.is_empty() { Err("the path names no file".to_owned()) } else { Ok(parts.join("/")) }
}

/// The most files of a folder, and the deepest: more is a mistake, such as naming a checkout.
const MAX_FILES: usize = 10_000;
const MAX_LEVELS: usize = 16;

fn walk(base: &Path, folder: &str, level: usize, files: &mut Vec<String>) -> Result<(), String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(base.join(folder)).map_err(words)? {
        let entry = entry.map_err(words)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(format!("it holds a name that is not UTF-8: {}", entry.file_name().to_string_lossy()));
        };
        names.push((name, entry.file_type().map_err(words)?.is_dir()));
        if names.len() + files.len() > MAX_FILES {
            return Err(format!("it holds more than {MAX_FILES} files"));
        }
    }
    // The order of the file system is an accident.
    names.sort();
    for (name, is_folder) in names {
        let path = format!("{folder}/{name}");
        if !is_folder {
            files.push(path);
        } else if level < MAX_LEVELS {
            walk(base, &path, level + 1, files)?;
        } else {
            return Err(format!("folders lie in each other deeper than {MAX_LEVELS} levels"));
        }
    }
    Ok(())
}

fn words(e: std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        std::io::ErrorKind::NotADirectory => "not a folder".to_owned(),
        _ => e.to_string(),
    }
}

fn slurp(path: &Path) -> Result<Arc<[u8]>, String> {
    // A FIFO or a terminal would make the build wait for ever: look before opening.
    let meta = std::fs::metadata(path).map_err(words)?;
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    if meta.len() > MAX_BYTES {
        return Err(format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(words)?.take(MAX_BYTES).read_to_end(&mut bytes).map_err(words)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(relative("./a//b/./c"), Ok("a/b/c".to_owned()));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", ".", "a\0b"] {
            assert!(relative(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        let mut inputs = Inputs::new(Some(folder.path()));
        let first = inputs.file("a").unwrap();
        std::fs::write(folder.path().join("a"), "2").unwrap();
        assert_eq!(&*inputs.file("./a").unwrap().bytes, b"1");
        assert_eq!(&*first.bytes, b"1");
        assert_eq!(inputs.file("b").unwrap_err(), "no such file or folder");
        assert_eq!(inputs.file(".").unwrap_err(), "the path names no file");
        std::fs::create_dir(folder.path().join("d")).unwrap();
        assert_eq!(inputs.file("d").unwrap_err(), "not a regular file");
        for name in ["d/b.yaml", "d/b/x", "d/a"] {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(inputs.folder("./d/").unwrap(), ["d/a", "d/b/x", "d/b.yaml"]);
        assert_eq!(inputs.folder("a").unwrap_err(), "not a folder");
        assert_eq!(inputs.folder("x").unwrap_err(), "no such file or folder");
        assert!(inputs.folder("..").is_err() && inputs.is_folder("d") && !inputs.is_folder("a"));
        let named: Vec<_> = inputs.named().map(|n| n.path).collect();
        assert_eq!(named, ["a"]);
        assert_eq!(Inputs::new(None).file("a").unwrap_err(), "there is no folder to read files from");
    }
}
