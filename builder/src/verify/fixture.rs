//! Outputs for tests: written once as `build` writes them, then held in memory, where anything can happen to them.

use crate::{
    config::{self, Cluster, Delivery, DeliveryMode},
    node::fixture,
    output::{
        self, Built,
        folder::{Entry, EntryKind, Folder, ReadError, Source},
        manifest::{MANIFEST, Manifest},
    },
    pki::{Authority, fixture::authority},
    secrets::{
        CaOptions, Secrets, Shape,
        tests::{NOW, fixed_random},
    },
};
use nodekiln_payload::{
    Artifact, EncodeOptions, Gzip, IgnitionVersion, NodeTree, Pointer, Profile, SharedPart, decode, encode, tree_tar,
};
use nodekiln_plan::{ClassText, NodeName, NodePlan, PlanText, Secret, Sha256, paths};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
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
    /// What `build` writes for `cluster` of the tests' own keys.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::made(cluster, authority(), Shape::default())
    }

    /// What `build` writes for `cluster` with these secrets.
    pub(crate) fn made(cluster: &Cluster, authority: &Authority, shape: Shape) -> Self {
        Self::built(cluster, authority, shape, false)
    }

    fn built(cluster: &Cluster, authority: &Authority, shape: Shape, tree: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::built_at(&folder.path().join("out"), cluster, authority, shape, tree, &BTreeSet::new())
    }

    fn built_at(
        target: &Path,
        cluster: &Cluster,
        authority: &Authority,
        shape: Shape,
        tree: bool,
        only: &BTreeSet<NodeName>,
    ) -> Self {
        let mut sources = fixture::sources();
        sources.shape = shape;
        let built = Built {
            cluster,
            sources: &sources,
            authority,
            secrets: Sha256::of(b"secrets"),
            inputs: &[],
            firstboot: &[],
            only,
            tree,
            each: &|| std::ops::ControlFlow::Continue(()),
        };
        output::write(&built, target, || {}, || Ok(())).unwrap();
        let read = Folder::open(target).unwrap();
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

/// The output with the payload of `node` changed, and all digests, its stub and its tree made to fit.
pub(crate) fn forge(output: &Memory, node: &str, change: impl Fn(&mut NodeTree, &mut NodePlan)) -> Memory {
    const OPTIONS: EncodeOptions = EncodeOptions { ignition_version: IgnitionVersion::V3_3, gzip: Gzip::WhereShared };
    let manifest = output.manifest();
    let row = manifest.nodes.iter().find(|row| row.name.as_str() == node).unwrap();
    let profile = Profile::find(&row.profile).unwrap();
    let stub = format!("nodes/{node}/pointer.ign");
    let pointer = output.files.get(&stub).map(|bytes| Pointer::decode(bytes).unwrap());
    let place = |name: &str| match &pointer {
        Some(pointer) => format!("serve/{}", pointer.source.rsplit('/').next().unwrap()),
        None => format!("nodes/{node}/{name}"),
    };
    let there = profile.format.artifacts().iter().filter(|name| output.files.contains_key(&place(name)));
    let artifacts: Vec<_> = there.map(|name| Artifact { name, bytes: output.read(&place(name)).unwrap() }).collect();
    let mut tree = decode(&artifacts, profile).unwrap();
    let own = |tree: &NodeTree| tree.files.iter().position(|file| file.path.as_str() == paths::PLAN).unwrap();
    let mut plan = NodePlan::from_slice(tree.files[own(&tree)].contents.expose()).unwrap();
    change(&mut tree, &mut plan);
    // By path its class's files, then its own.
    let descent = plan.files.windows(2).position(|pair| pair[0].path > pair[1].path);
    let (common, its_own) = plan.files.split_at(descent.map_or(plan.files.len(), |index| index + 1));
    let class = ClassText::new(&plan.class, common).unwrap();
    let PlanText { bytes, class: range, .. } = PlanText::new(&plan.identity, &plan.spec, &class, its_own).unwrap();
    let index = own(&tree);
    tree.files[index].shared = Some(SharedPart { range, sha256: class.sha256() });
    tree.files[index].sha256 = Sha256::of(&bytes);
    tree.files[index].contents = Arc::new(Secret::new(bytes.clone()));
    let mut other = output.forged(&format!("nodes/{node}/plan.json"), bytes);
    for artifact in encode(&tree, profile, &OPTIONS).unwrap() {
        other = other.forged(&place(artifact.name), artifact.bytes.expose().to_vec());
        if let Some(pointer) = &pointer {
            let pointer = Pointer::to(&artifact, pointer.source.clone(), pointer.ca.clone());
            other = other.forged(&stub, pointer.encode(&OPTIONS).unwrap().bytes.expose().to_vec());
        }
    }
    let tar = format!("nodes/{node}/tree.tar");
    if output.files.contains_key(&tar) {
        other = other.forged(&tar, tree_tar(&tree, profile).unwrap().bytes.expose().to_vec());
    }
    other
}

/// A cluster file with keys of its own.
pub(crate) struct Kit {
    pub(crate) cluster: Cluster,
    pub(crate) secrets: Secrets,
}

impl Kit {
    /// Of the cluster file `text`, which may name these files.
    pub(crate) fn new(text: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        let cluster = match config::load_str("cluster.yaml", text, Some(folder.path())) {
            Ok(loaded) => loaded.cluster,
            Err(config::Failure::Findings(found)) => panic!("{}", found.render(config::Colors::Off)),
            Err(other) => panic!("{other}"),
        };
        let mut secrets = Secrets::new(CaOptions::of(&cluster, NOW), fixed_random(7)).unwrap();
        secrets.complete(&cluster, NOW, fixed_random(8)).unwrap();
        Self { cluster, secrets }
    }

    /// The same after `secrets renew`, a month later.
    pub(crate) fn renewed(&self) -> Self {
        let now = NOW + 30 * 86_400;
        let mut secrets = Secrets::parse(self.secrets.to_vec().expose()).unwrap();
        secrets.renew(now, &mut fixed_random(9)).unwrap();
        secrets.complete(&self.cluster, now, fixed_random(10)).unwrap();
        Self { cluster: self.cluster.clone(), secrets }
    }

    /// Its keys, opened.
    pub(crate) fn authority(&self) -> Authority {
        Authority::open(&self.secrets, &self.cluster).unwrap()
    }

    /// What `build --tree` writes.
    pub(crate) fn output(&self) -> Memory {
        Memory::built(&self.cluster, &self.authority(), Shape::default(), true)
    }
}

impl Kit {
    /// What `build --node` of `node` writes over the output, once `change` was made to the cluster file.
    pub(crate) fn remade(&self, change: impl FnOnce(&mut Cluster), node: &str) -> Memory {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        Memory::built_at(&target, &self.cluster, &self.authority(), Shape::default(), true, &BTreeSet::new());
        let mut cluster = self.cluster.clone();
        change(&mut cluster);
        let authority = Authority::open(&self.secrets, &cluster).unwrap();
        let only = BTreeSet::from([node.parse().unwrap()]);
        Memory::built_at(&target, &cluster, &authority, Shape::default(), true, &only)
    }
}

/// The password's hash of every account here.
pub(crate) const PASSWORD: &str = "$6$saltsalt$verysecrethashverysecrethash";

/// What the user lays down that nobody else may read.
pub(crate) const LETTER: &str = "a-letter-that-nobody-may-read";

const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n";

/// Clusters that have every kind of file among them: stubs, served files, trees, snippets, pools, RSA keys, both formats,
/// both families, members on machines of their own, every add-on and balancer.
pub(crate) fn breadth() -> &'static [(&'static str, Kit, Memory)] {
    static ALL: LazyLock<Vec<(&str, Kit, Memory)>> = LazyLock::new(|| {
        kits()
            .into_iter()
            .map(|(name, kit)| {
                let output = kit.output();
                (name, kit, output)
            })
            .collect()
    });
    &ALL
}

/// The kit of this name, and its output.
pub(crate) fn kit(name: &str) -> (&'static Kit, &'static Memory) {
    let (_, kit, output) = breadth().iter().find(|(other, ..)| *other == name).unwrap();
    (kit, output)
}

fn kits() -> Vec<(&'static str, Kit)> {
    let user = format!("users: [{{name: ops, passwordHash: '{PASSWORD}'}}]");
    let letter = "files: [{path: /etc/letter, mode: '0600', file: letter}]";
    let ignition = format!(
        "{{\"ignition\": {{\"version\": \"3.3.0\"}}, \"storage\": {{\"files\": [{{\"path\": \"/etc/mine\", \
         \"contents\": {{\"source\": \"data:,{LETTER}\"}}}}]}}}}"
    );
    let cloud = format!("#cloud-config\nwrite_files:\n  - {{path: /etc/mine, content: {LETTER}}}\n");
    let files = [("letter", LETTER), ("a.ign", ignition.as_str()), ("a.yaml", cloud.as_str())];
    vec![
        (
            "pointer",
            Kit::new(
                &format!(
                    "{HEAD}controlPlaneEndpoint: 10.0.0.11:6443\nnetworking: {{podSubnet: 10.244.0.0/16}}\n\
                     os: {{profile: flatcar, snippets: [a.ign], {letter}, {user}}}\n\
                     delivery: {{mode: pointer, baseURL: 'https://192.0.2.1/x'}}\naddons: {{cni: flannel}}\nnodes:\n\
                     \x20 - {{name: cp1, role: control-plane, address: 10.0.0.11}}\n\
                     \x20 - {{name: w1, role: worker, address: 10.0.0.12}}\n\
                     \x20 - {{name: w2, role: worker, address: 10.0.0.13, identity: bootstrap-token, ttl: 1h}}\n\
                     pools: [{{name: burst, ttl: 720h}}]\n"
                ),
                &files,
            ),
        ),
        (
            "cloud-init",
            Kit::new(
                &format!(
                    "{HEAD}networking: {{podSubnet: 10.244.0.0/16}}\nloadBalancer: local\n\
                     os: {{profile: cloud-init, snippets: [a.yaml], {letter}, {user}, timeServers: [ntp.example]}}\n\
                     addons: {{cni: bridge}}\nnodes:\n\
                     \x20 - {{name: cp1, role: control-plane, address: 10.0.0.11}}\n\
                     \x20 - {{name: cp2, role: control-plane, address: 10.0.0.12}}\n\
                     \x20 - {{name: cp3, role: control-plane, address: 10.0.0.13}}\n\
                     \x20 - {{name: w1, role: worker, address: 10.0.0.14, mac: '52:54:00:00:00:14', \
                     network: {{addresses: [10.0.0.14/24], gateway: 10.0.0.1, nameservers: [10.0.0.1]}}}}\n"
                ),
                &files,
            ),
        ),
        (
            "rsa",
            Kit::new(
                &format!(
                    "{HEAD}encryptionAlgorithm: RSA-2048\ncontrolPlaneEndpoint: '[2001:db8::10]:6443'\n\
                     networking: {{podSubnet: 'fd00:10:244::/56,10.244.0.0/16', serviceSubnet: \
                     'fd00:10:96::/112,10.96.0.0/16'}}\nloadBalancer: kube-vip\n\
                     os: {{profile: fedora-coreos, {user}}}\nnodes:\n\
                     \x20 - {{name: e1, role: etcd, address: ['2001:db8::1', 10.0.0.1]}}\n\
                     \x20 - {{name: cp1, role: control-plane, address: ['2001:db8::11', 10.0.0.11]}}\n\
                     \x20 - {{name: w1, role: worker, address: ['2001:db8::12', 10.0.0.12]}}\n"
                ),
                &[],
            ),
        ),
    ]
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
