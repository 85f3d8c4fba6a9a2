//! What stands where the output shall go: `-o .` must not eat a home directory.

use super::manifest::{MANIFEST, Manifest};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Why an existing folder is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ExistingError {
    /// No manifest of ours in it.
    #[error("{0}: is not empty and holds no manifest.json of nodekiln's; give another folder with -o")]
    NotOurs(PathBuf),
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
pub fn check(folder: &Path) -> Result<Option<Manifest>, ExistingError> {
    let failed = |source| ExistingError::Io { path: folder.to_owned(), source };
    let not_ours = || ExistingError::NotOurs(folder.to_owned());
    // The manifest first: a home directory is not walked to learn that it is none of ours.
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Ok(None),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let path = folder.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_ours()),
        Err(source) => return Err(ExistingError::Io { path, source }),
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| not_ours())?;
    if manifest.made_by != Manifest::MADE_BY {
        return Err(not_ours());
    }
    let mut files = BTreeSet::new();
    list(folder, "", &mut files)?;
    files.remove(MANIFEST);
    let listed: BTreeSet<&str> = manifest.files.iter().map(|row| row.path.as_str()).collect();
    match files.iter().find(|file| !listed.contains(file.as_str())) {
        Some(file) => Err(ExistingError::Foreign { folder: folder.to_owned(), file: file.clone() }),
        None => Ok(Some(manifest)),
    }
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
    match fs::read_to_string(&path) {
        Ok(old) if certificates(&old).is_disjoint(&certificates(bundle)) => {
            Err(ExistingError::OtherCluster(folder.to_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ExistingError::Io { path, source }),
    }
}

/// Every file below `folder`, folders only where they are empty. Links are files: they are not followed.
fn list(folder: &Path, prefix: &str, files: &mut BTreeSet<String>) -> Result<(), ExistingError> {
    let failed = |source| ExistingError::Io { path: folder.to_owned(), source };
    let mut empty = true;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        empty = false;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed)?.is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name);
        }
    }
    if empty && !prefix.is_empty() {
        files.insert(prefix.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::manifest::{FileRole, FileRow};
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
        serde_json::to_vec(&Manifest {
            made_by: Manifest::MADE_BY.to_owned(),
            version: Manifest::VERSION,
            tool: "0".to_owned(),
            inputs: BTreeMap::new(),
            secrets: Sha256::of(b""),
            firstboot: BTreeMap::new(),
            nodes: vec![],
            files: files.iter().map(row).collect(),
            digest: None,
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

        fs::write(out.join("nodes/letter"), b"").unwrap();
        assert!(matches!(check(&out), Err(ExistingError::Foreign { file, .. }) if file == "nodes/letter"));
        fs::remove_file(out.join("nodes/letter")).unwrap();
        fs::create_dir(out.join("photos")).unwrap();
        assert!(matches!(check(&out), Err(ExistingError::Foreign { file, .. }) if file == "photos/"));
    }
}
