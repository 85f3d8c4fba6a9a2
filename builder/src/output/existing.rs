//! What stands where the output shall go: no build must eat a home directory.

use super::{
    folder,
    found::Found,
    manifest::{MANIFEST, Manifest},
};
use std::{
    collections::BTreeSet,
    fs::{self, FileType},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Why an existing folder is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ExistingError {
    /// There is nothing to make it in.
    #[error("{folder}: there is no folder {parent} to make it in")]
    NoParent {
        /// The output.
        folder: PathBuf,
        /// What it would lie in.
        parent: PathBuf,
    },
    /// A link. What it points at is another name's business: a link cannot be exchanged for a folder.
    #[error("{folder}: is a symbolic link; name the folder itself ({target}) with -o")]
    Link {
        /// The output.
        folder: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A file, a device.
    #[error("{0}: is not a folder; give another name with -o")]
    NotAFolder(PathBuf),
    /// The folder that the command runs in: its users would find themselves in one that is no more.
    #[error(
        "{0}: is the current folder, which cannot be replaced from inside; run this elsewhere, or name a folder in it"
    )]
    Current(PathBuf),
    /// No manifest of ours in it.
    #[error("{0}: is not empty and holds no manifest.json of nodekiln's; give another folder with -o")]
    NotOurs(PathBuf),
    /// A place in another output, which is replaced as a whole, and whose `serve/` is published.
    #[error("{folder}: lies in the output {output}; give a folder beside it with -o")]
    Inside {
        /// The output.
        folder: PathBuf,
        /// What it would lie in.
        output: PathBuf,
    },
    /// A file that the manifest does not list.
    #[error(
        "{folder}: holds `{file}`, which its manifest.json does not list; move it away, or give another folder with -o"
    )]
    Foreign {
        /// The output.
        folder: PathBuf,
        /// Relative to it.
        file: String,
    },
    /// Payloads of another cluster.
    #[error(
        "{0}: holds payloads of another cluster: its ca.crt is none of these secrets'; move it away, or give another \
         folder with -o"
    )]
    OtherCluster(PathBuf),
    /// The folder cannot be read.
    #[error("reading {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Refuses to replace `folder` unless it is missing, empty, or an output of ours with nothing else in it.
///
/// # Errors
/// Anything that would be lost, by name.
pub fn check(folder: &Path) -> Result<Option<Found>, ExistingError> {
    let failed = |source| ExistingError::Io { path: folder.to_owned(), source };
    let not_ours = || ExistingError::NotOurs(folder.to_owned());
    let is_there = is_there(folder)?;
    if let Some(output) = around(folder) {
        return Err(ExistingError::Inside { folder: folder.to_owned(), output });
    }
    if !is_there {
        return Ok(None);
    }
    // The manifest first: a home directory is not walked to learn that it is none of ours.
    if fs::read_dir(folder).map_err(failed)?.next().is_none() {
        return Ok(None);
    }
    let path = folder.join(MANIFEST);
    let manifest = match Found::read(&path) {
        Ok(manifest) => manifest.ok_or_else(not_ours)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_ours()),
        Err(source) => return Err(ExistingError::Io { path, source }),
    };
    if manifest.made_by != Manifest::MADE_BY {
        return Err(not_ours());
    }
    match foreign(folder, &manifest)? {
        Some(file) => Err(ExistingError::Foreign { folder: folder.to_owned(), file }),
        None => Ok(Some(manifest)),
    }
}

/// The output that `folder` would lie in.
fn around(folder: &Path) -> Option<PathBuf> {
    // Links on the way lead to where it would be made.
    let parent = folder.components().as_path().parent()?;
    let parent = fs::canonicalize(if parent == Path::new("") { Path::new(".") } else { parent }).ok()?;
    // Whatever else has that name is not read whole: who made it stands first.
    let is_output = |folder: &&Path| {
        let mut head = Vec::new();
        let Ok((file, _)) = folder::open_file(&folder.join(MANIFEST), 0) else { return false };
        let is_read = file.take(256).read_to_end(&mut head).is_ok();
        let head: String = String::from_utf8_lossy(&head).split_whitespace().collect();
        is_read && head.starts_with(&format!("{{\"madeBy\":\"{}\"", Manifest::MADE_BY))
    };
    parent.ancestors().find(is_output).map(Path::to_owned)
}

/// Whether there is a folder that might be replaced. Something else of its name is an error, and so is a place where no
/// folder can be.
fn is_there(folder: &Path) -> Result<bool, ExistingError> {
    // A slash at the end would have a link followed.
    let folder: PathBuf = folder.components().collect();
    match fs::symlink_metadata(&folder) {
        Ok(found) if found.is_symlink() => {
            let target = fs::read_link(&folder).unwrap_or_default();
            Err(ExistingError::Link { folder, target })
        }
        Ok(found) if !found.is_dir() => Err(ExistingError::NotAFolder(folder)),
        Ok(found) => match fs::metadata(".") {
            Ok(here) if (here.dev(), here.ino()) == (found.dev(), found.ino()) => Err(ExistingError::Current(folder)),
            _ => Ok(true),
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            match folder.parent().filter(|parent| *parent != Path::new("")) {
                Some(parent) if !parent.is_dir() => {
                    Err(ExistingError::NoParent { parent: parent.to_owned(), folder: folder.clone() })
                }
                _ => Ok(false),
            }
        }
        Err(source) => Err(ExistingError::Io { path: folder, source }),
    }
}

/// The first entry of `folder`, by name, that an output with this manifest does not have. What it has and is not there is
/// nothing that could be lost.
fn foreign(folder: &Path, Found { files, .. }: &Found) -> Result<Option<String>, ExistingError> {
    let mut first: Option<String> = None;
    folder::walk(folder, &mut |name, entry| {
        let kind: FileType = entry.file_type()?;
        let (known, name) = match kind.is_dir() {
            true => (files.has_folder(&name), format!("{name}/")),
            // A link is made anew as a file: what it points at is not lost. No build made a FIFO, a socket or a device.
            false => ((kind.is_file() || kind.is_symlink()) && (name == MANIFEST || files.has(&name)), name),
        };
        if !known && first.as_ref().is_none_or(|first| name < *first) {
            first = Some(name);
        }
        Ok(())
    })
    .map_err(|folder::ReadError { path, source }| ExistingError::Io { path, source })?;
    Ok(first)
}

/// Refuses to replace the output of a cluster that trusts none of the authorities in `bundle`, PEM: whoever still boots
/// from it would be left without.
///
/// # Errors
/// It is another cluster's, or cannot be read.
pub fn same_cluster(folder: &Path, bundle: &str) -> Result<(), ExistingError> {
    let certificates = |pem: &str| -> BTreeSet<String> {
        pem.split("-----BEGIN CERTIFICATE-----").skip(1).map(|one| one.trim().to_owned()).collect()
    };
    let path = folder.join("ca.crt");
    let read = || folder::read_file(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match read() {
        Ok(old) if certificates(&old).is_disjoint(&certificates(bundle)) => {
            Err(ExistingError::OtherCluster(folder.to_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ExistingError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::manifest::{FileRole, FileRow, NodeRow, UNSEALED};
    use nodekiln_plan::Sha256;
    use std::collections::BTreeMap;

    fn ours(files: &[&str]) -> Vec<u8> {
        let row = |path: &&str| FileRow {
            path: (*path).to_owned(),
            sha256: Sha256::of(b""),
            size: 0,
            role: FileRole::Payload,
            node: None,
        };
        serde_json::to_vec(&Manifest::<Vec<NodeRow>, Vec<FileRow>> {
            made_by: Manifest::MADE_BY.to_owned(),
            version: Manifest::VERSION,
            tool: "0".to_owned(),
            inputs: BTreeMap::new(),
            secrets: Sha256::of(b""),
            firstboot: BTreeMap::new(),
            nodes: vec![],
            files: files.iter().map(row).collect(),
            digest: UNSEALED,
        })
        .unwrap()
    }

    #[test]
    fn only_ours_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        assert_eq!(check(&out).unwrap(), None);
        fs::create_dir(&out).unwrap();
        assert_eq!(check(&out).unwrap(), None);

        fs::create_dir(out.join("nodes")).unwrap();
        fs::write(out.join("nodes/a"), b"").unwrap();
        assert!(matches!(check(&out), Err(ExistingError::NotOurs(path)) if path == out));
        fs::write(out.join(MANIFEST), b"{}").unwrap();
        assert!(matches!(check(&out), Err(ExistingError::NotOurs(_))));
        fs::write(out.join(MANIFEST), ours(&["nodes/a"])).unwrap();
        assert!(check(&out).unwrap().is_some());

        let foreign = |at: &Path, due: &str| {
            assert!(matches!(check(at), Err(ExistingError::Foreign { file, .. }) if file == due), "{due}");
        };
        fs::write(out.join("nodes/letter"), b"").unwrap();
        foreign(&out, "nodes/letter");
        fs::remove_file(out.join("nodes/letter")).unwrap();
        fs::create_dir(out.join("photos")).unwrap();
        foreign(&out, "photos/");
        fs::remove_dir(out.join("photos")).unwrap();
        // A folder where the manifest has a file, and a file where it has a folder.
        fs::remove_file(out.join("nodes/a")).unwrap();
        assert!(check(&out).unwrap().is_some(), "what is missing cannot be lost");
        fs::create_dir(out.join("nodes/a")).unwrap();
        foreign(&out, "nodes/a/");
        fs::remove_dir_all(out.join("nodes")).unwrap();
        fs::write(out.join("nodes"), b"").unwrap();
        foreign(&out, "nodes");
    }

    /// Nor is anything made in one, however deep.
    #[test]
    fn no_output_lies_in_another() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        fs::create_dir_all(out.join("serve/x")).unwrap();
        fs::write(out.join(MANIFEST), ours(&[])).unwrap();
        std::os::unix::fs::symlink("out/serve", dir.path().join("link")).unwrap();
        for name in ["out/new", "out/serve/x", "out/serve/new/", "link/new"] {
            let found = check(&dir.path().join(name));
            let Err(ExistingError::Inside { output, .. }) = found else { panic!("{name}: {found:?}") };
            assert_eq!(output, fs::canonicalize(&out).unwrap(), "{name}");
        }
        assert_eq!(check(&dir.path().join("other")).unwrap(), None);
        fs::write(out.join(MANIFEST), b"{}").unwrap();
        assert_eq!(check(&out.join("new")).unwrap(), None, "somebody else's manifest.json");
    }

    /// Nothing waits for somebody to write into it.
    #[test]
    fn what_is_no_file_is_foreign() {
        let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join(MANIFEST), ours(&["a", "ca.crt", "placement.json"])).unwrap();
        for name in ["a", "ca.crt", "placement.json"] {
            let refused = |what: &str| {
                let found = check(&out);
                assert!(
                    matches!(&found, Err(ExistingError::Foreign { file, .. }) if file == name),
                    "{what}: {found:?}"
                );
                fs::remove_file(out.join(name)).unwrap();
            };
            fifo(&out.join(name));
            refused("a FIFO");
            drop(std::os::unix::net::UnixListener::bind(out.join(name)).unwrap());
            refused("a socket");
        }
        // A link costs what it stands for, and not the build.
        fifo(&dir.path().join("fifo"));
        for name in ["ca.crt", "placement.json"] {
            std::os::unix::fs::symlink("../fifo", out.join(name)).unwrap();
        }
        let manifest = check(&out).unwrap().unwrap();
        assert!(matches!(same_cluster(&out, ""), Err(ExistingError::Io { path, .. }) if path == out.join("ca.crt")));
        crate::output::reuse::Older::new(&out, manifest, &mut Default::default());
        fs::remove_file(out.join(MANIFEST)).unwrap();
        fifo(&out.join(MANIFEST));
        assert!(matches!(check(&out), Err(ExistingError::Io { path, .. }) if path == out.join(MANIFEST)));
    }

    #[test]
    fn only_folders_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("out")).unwrap();
        fs::write(at("file"), b"").unwrap();
        std::os::unix::fs::symlink("out", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (name, target) in [("link", "out"), ("link/", "out"), ("dangling", "nowhere")] {
            let found = check(&at(name));
            let Err(ExistingError::Link { target: found, .. }) = found else { panic!("{name}: {found:?}") };
            assert_eq!(found, Path::new(target));
        }
        assert!(matches!(check(&at("file")), Err(ExistingError::NotAFolder(_))));
        for (name, parent) in [("file/out", "file"), ("missing/out", "missing"), ("dangling/out", "dangling")] {
            let found = check(&at(name));
            let Err(ExistingError::NoParent { parent: found, .. }) = found else { panic!("{name}: {found:?}") };
            assert_eq!(found, at(parent));
        }
        let here = std::env::current_dir().unwrap();
        assert!(matches!(check(&here), Err(ExistingError::Current(_))));
        // Links on the way are no concern.
        assert_eq!(check(&at("link/out")).unwrap(), None);
        assert_eq!(check(&at("out/")).unwrap(), None);
    }
}
