//! Outputs for tests: written once as `build` writes them, then held in memory, where anything can happen to them.

use crate::{
    config::{Cluster, Delivery, DeliveryMode},
    node::fixture,
    output::{
        self, Built,
        folder::{Entry, EntryKind, Folder, ReadError, Source},
        manifest::{MANIFEST, Manifest},
    },
    pki::fixture::authority,
};
use nodekiln_plan::{Secret, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// An output in memory.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Source for Memory {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn read(&self, path: &str) -> Result<Secret, ReadError> {
        let missing = || ReadError { path: PathBuf::from(path), source: std::io::ErrorKind::NotFound.into() };
        self.files.get(path).map(|bytes| Secret::new(bytes.clone())).ok_or_else(missing)
    }
}

impl Memory {
    /// What `build` writes for `cluster`.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let sources = fixture::sources();
        let built = Built {
            cluster,
            sources: &sources,
            authority: authority(),
            secrets: Sha256::of(b"secrets"),
            inputs: &[],
            firstboot: &[],
            only: &BTreeSet::new(),
            tree: false,
        };
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        output::write(&built, &target, || {}, || Ok(())).unwrap();
        let read = Folder::open(&target).unwrap();
        let files = read.entries().iter().filter(|(_, entry)| entry.kind == EntryKind::File);
        let files = files.map(|(path, _)| (path.clone(), read.read(path).unwrap().expose().to_vec())).collect();
        Self { entries: read.entries().clone(), files }
    }

    /// With other bytes in a file, as a disk or a hand would leave it.
    pub(crate) fn with(&self, path: &str, bytes: Vec<u8>) -> Self {
        let mut other = self.clone();
        let entry = Entry { kind: EntryKind::File, mode: 0o600, size: bytes.len() as u64 };
        other.entries.insert(path.to_owned(), entry);
        other.files.insert(path.to_owned(), bytes);
        other
    }

    /// With other bytes in a file, and a manifest that says so.
    pub(crate) fn forged(&self, path: &str, bytes: Vec<u8>) -> Self {
        let mut manifest = self.manifest();
        let row = manifest.files.iter_mut().find(|row| row.path == path).unwrap();
        (row.sha256, row.size) = (Sha256::of(&bytes), bytes.len() as u64);
        self.with(path, bytes).sealed(manifest)
    }

    /// With this manifest.
    pub(crate) fn sealed(&self, mut manifest: Manifest) -> Self {
        self.with(MANIFEST, manifest.seal().unwrap())
    }

    pub(crate) fn manifest(&self) -> Manifest {
        serde_json::from_slice(&self.files[MANIFEST]).unwrap()
    }
}

/// One control plane and two workers.
pub(crate) fn cluster(profile: &str) -> Cluster {
    let mut cluster = fixture::cluster(profile, &["cp1"]);
    let mut other = cluster.nodes[1].clone();
    other.name = "w2".parse().unwrap();
    other.addresses = vec!["10.0.0.99".parse().unwrap()];
    other.pod_cidrs = vec!["10.244.9.0/24".parse().unwrap()];
    cluster.nodes.push(other);
    cluster
}

/// The same, fetched by stubs.
pub(crate) fn pointed() -> Cluster {
    let mut cluster = cluster("flatcar");
    let base_url = Some("https://192.0.2.1/x".to_owned());
    cluster.delivery = Delivery { mode: DeliveryMode::Pointer, base_url, ca: None };
    cluster
}
