//! [`Inspection`]: what is told of a payload.

use super::{
    certificate::Certificate,
    material::Kubeconfig,
    node::{NodeMaterial, PrivateKey},
    recognise::Recognised,
};
use crate::config::Platform;
use nodekiln_payload::{Format, NodeTree, Pointer, Snippet, TarEntry, TarKind, UnitState, Verification};
use nodekiln_plan::{
    ApiStep, ClusterName, FileKind, KubernetesVersion, Mode, NodeName, NodePlan, PLAN_VERSION, Role, Sha256, paths,
};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole Ignition configuration.
    Ignition,
    /// A stub that points at one.
    Pointer,
    /// cloud-init's files.
    CloudInit,
    /// `tree.tar`.
    Tree,
    /// `plan.json`.
    Plan,
}

/// What a payload holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: usize,
    /// Which platforms take that much.
    pub platforms: Vec<PlatformFacts>,
    /// Where a stub points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<PointerFacts>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeFacts>,
    /// Folders with a mode of their own.
    pub directories: Vec<DirectoryFacts>,
    /// Files.
    pub files: Vec<FileFacts>,
    /// Symbolic links.
    pub links: Vec<LinkFacts>,
    /// systemd units.
    pub units: Vec<UnitFacts>,
    /// Accounts.
    pub accounts: Vec<AccountFacts>,
    /// What the machine fetches.
    pub fetches: Vec<FetchFacts>,
    /// Its static network, under cloud-init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkFacts>,
    /// Time servers, under cloud-init.
    pub time_servers: Vec<String>,
    /// The user's snippets: what each of them sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snippets: Vec<Vec<String>>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Private and symmetric keys, by the digests of their public halves.
    pub private_keys: Vec<PrivateKey>,
    /// Kubeconfigs.
    pub kubeconfigs: Vec<Kubeconfig>,
    /// What firstboot does at the API, in order.
    pub api: Vec<String>,
    /// What firstboot does beyond laying files down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_members: Option<Vec<NodeName>>,
}

/// Whether a platform takes a payload.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformFacts {
    /// `os.platform`.
    pub name: &'static str,
    /// How many bytes it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether this fits.
    pub fits: bool,
}

/// Where a stub points.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PointerFacts {
    /// The address without the name that nobody guesses.
    pub source: String,
    /// SHA-512 of the configuration.
    pub sha512: String,
    /// Whether it brings certificate authorities for the server.
    pub has_authorities: bool,
}

/// Whose payload it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Its cluster. These are missing where there is no plan.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The kubelet's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Version of the plan.
    pub plan_version: u32,
    /// Generation of its certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Not bootable before this, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Nor after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_before: Option<i64>,
}

/// A folder.
#[derive(Debug, Clone, Serialize)]
pub struct DirectoryFacts {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
}

/// A file.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFacts {
    /// Where it ends.
    pub path: String,
    /// Where the payload lays it, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// Permission bits, at its end.
    pub mode: Mode,
    /// Always `root:root`.
    pub owner: &'static str,
    /// In bytes. Missing in a plan, which does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What becomes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
}

/// A symbolic link.
#[derive(Debug, Clone, Serialize)]
pub struct LinkFacts {
    /// Where.
    pub path: String,
    /// What it points at.
    pub target: String,
}

/// A unit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitFacts {
    /// Its name.
    pub name: String,
    /// `enabled`, `disabled`, `masked` or `unchanged`.
    pub state: &'static str,
    /// Whether the payload brings the unit file.
    pub has_contents: bool,
    /// Names of its drop-ins.
    pub dropins: Vec<String>,
}

/// An account.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountFacts {
    /// Its name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Kind and comment of its SSH keys.
    pub ssh_keys: Vec<String>,
    /// Whether it has a password.
    pub has_password: bool,
}

/// Something that the machine fetches.
#[derive(Debug, Clone, Serialize)]
pub struct FetchFacts {
    /// Where it goes.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// From where, without a query.
    pub url: String,
    /// `sha256-...` or `sha512-...`.
    pub hash: String,
}

/// A static network.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkFacts {
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Gateways.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
}

impl Inspection {
    fn empty(kind: Kind, size: usize) -> Self {
        let fits = |(name, platform): (&'static str, Platform)| {
            let limit = platform.limit();
            PlatformFacts { name, limit, fits: limit.is_none_or(|limit| size <= limit) }
        };
        let given = matches!(kind, Kind::Ignition | Kind::Pointer | Kind::CloudInit);
        Self {
            kind,
            size,
            platforms: if given { Platform::ALL.map(fits).into() } else { Vec::new() },
            pointer: None,
            node: None,
            directories: vec![],
            files: vec![],
            links: vec![],
            units: vec![],
            accounts: vec![],
            fetches: vec![],
            network: None,
            time_servers: vec![],
            snippets: vec![],
            certificates: vec![],
            private_keys: vec![],
            kubeconfigs: vec![],
            api: vec![],
            etcd_members: None,
        }
    }
}

pub(super) fn of(what: Recognised, size: usize) -> Inspection {
    match what {
        Recognised::Pointer(pointer) => {
            let mut report = Inspection::empty(Kind::Pointer, size);
            report.pointer = Some(pointed(&pointer));
            report
        }
        Recognised::Plan(plan) => {
            let mut report = Inspection::empty(Kind::Plan, size);
            report.plan(&plan);
            report.files = plan.files.iter().map(|entry| file_facts(entry, None)).collect();
            report
        }
        Recognised::Payload(format, tree) => {
            let kind = match format {
                Format::Ignition => Kind::Ignition,
                Format::CloudInit => Kind::CloudInit,
            };
            let mut report = Inspection::empty(kind, size);
            report.tree(&tree);
            report
        }
        Recognised::Tree(entries) => {
            let mut report = Inspection::empty(Kind::Tree, size);
            report.archive(&entries);
            report
        }
    }
}

/// A URL without its last part, which is a secret's kin: who knows it can fetch keys.
fn pointed(pointer: &Pointer) -> PointerFacts {
    let folder = pointer.source.rsplit_once('/').map_or("", |(folder, _)| folder);
    PointerFacts {
        source: format!("{folder}/..."),
        sha512: pointer.sha512.clone(),
        has_authorities: pointer.ca.is_some(),
    }
}

fn file_facts(entry: &nodekiln_plan::FileEntry, size: Option<usize>) -> FileFacts {
    FileFacts {
        path: entry.path.to_string(),
        staged: entry.staged.as_ref().filter(|staged| **staged != entry.path).map(ToString::to_string),
        mode: entry.mode,
        owner: "root:root",
        size,
        kind: Some(entry.kind),
    }
}

impl Inspection {
    fn plan(&mut self, plan: &NodePlan) {
        let spec = &plan.spec;
        self.node = Some(NodeFacts {
            name: spec.node.clone(),
            cluster: Some(spec.cluster.clone()),
            role: Some(spec.role),
            kubernetes_version: Some(spec.kubernetes_version),
            addresses: spec.addresses.clone(),
            plan_version: plan.version,
            generation: Some(plan.identity.generation),
            not_before: Some(plan.identity.not_before),
            boot_before: Some(plan.identity.boot_before),
        });
        self.etcd_members =
            spec.etcd.as_ref().map(|etcd| etcd.members.iter().map(|member| member.name.clone()).collect());
    }

    /// What files say: their plan, API steps, keys and certificates.
    fn contents(&mut self, node: Option<&NodeName>, files: &BTreeMap<&str, (Mode, &[u8])>) {
        let plan = files.get(paths::PLAN).and_then(|(_, bytes)| NodePlan::from_slice(bytes).ok());
        let name = plan.as_ref().map(|plan| plan.spec.node.clone()).or_else(|| node.cloned());
        match (&plan, &name) {
            (Some(plan), _) => self.plan(plan),
            (None, Some(name)) => {
                self.node = Some(NodeFacts {
                    name: name.clone(),
                    cluster: None,
                    role: None,
                    kubernetes_version: None,
                    addresses: vec![],
                    plan_version: PLAN_VERSION,
                    generation: None,
                    not_before: None,
                    boot_before: None,
                });
            }
            (None, None) => {}
        }
        let entries = plan.as_ref().map(|plan| plan.files.as_slice()).unwrap_or_default();
        let by_place: BTreeMap<&str, _> =
            entries.iter().map(|entry| (entry.staged.as_ref().unwrap_or(&entry.path).as_str(), entry)).collect();
        for (path, (mode, bytes)) in files {
            self.files.push(match by_place.get(path) {
                Some(entry) => file_facts(entry, Some(bytes.len())),
                None => FileFacts {
                    path: (*path).to_owned(),
                    staged: None,
                    mode: *mode,
                    owner: "root:root",
                    size: Some(bytes.len()),
                    kind: None,
                },
            });
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some((_, bytes)) = files.get(paths::API_OBJECTS) {
            self.api = api(bytes);
        }
        if let Some(name) = &name {
            let found = NodeMaterial::of(name, files.iter().map(|(path, (_, bytes))| (*path, *bytes)));
            self.certificates = found.certificates;
            self.private_keys = found.keys;
            self.kubeconfigs = found.kubeconfigs;
        }
    }

    fn tree(&mut self, tree: &NodeTree) {
        let files: BTreeMap<_, _> =
            tree.files.iter().map(|file| (file.path.as_str(), (file.mode, file.contents.expose()))).collect();
        self.contents(tree.node.as_ref(), &files);
        self.directories =
            tree.directories.iter().map(|dir| DirectoryFacts { path: dir.path.to_string(), mode: dir.mode }).collect();
        self.links = tree
            .links
            .iter()
            .map(|link| LinkFacts { path: link.path.to_string(), target: link.target.clone() })
            .collect();
        self.units = tree
            .units
            .iter()
            .map(|unit| UnitFacts {
                name: unit.name.to_string(),
                state: match unit.state {
                    UnitState::Enabled => "enabled",
                    UnitState::Disabled => "disabled",
                    UnitState::Masked => "masked",
                    UnitState::Unchanged => "unchanged",
                },
                has_contents: unit.contents.is_some(),
                dropins: unit.dropins.iter().map(|dropin| dropin.name.clone()).collect(),
            })
            .collect();
        self.accounts = tree
            .accounts
            .iter()
            .map(|account| AccountFacts {
                name: account.name.clone(),
                groups: account.groups.clone(),
                ssh_keys: account.ssh_authorized_keys.iter().map(|key| ssh_key(key)).collect(),
                has_password: account.password_hash.is_some(),
            })
            .collect();
        self.fetches = tree
            .fetches
            .iter()
            .map(|fetch| FetchFacts {
                path: fetch.into.path.to_string(),
                mode: fetch.into.mode,
                url: without_query(&fetch.url),
                hash: match &fetch.verification {
                    Verification::Sha256(hash) => format!("sha256-{hash}"),
                    Verification::Sha512(hash) => format!("sha512-{hash}"),
                },
            })
            .collect();
        self.network = tree.network.as_ref().map(|network| NetworkFacts {
            mac: network.mac.clone(),
            addresses: network.addresses.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
            gateways: network.gateways.clone(),
            nameservers: network.nameservers.clone(),
        });
        self.time_servers.clone_from(&tree.time_servers);
        self.snippets = tree.snippets.iter().map(Snippet::summary).collect();
    }

    fn archive(&mut self, entries: &[TarEntry]) {
        let mut files = BTreeMap::new();
        for TarEntry { path, mode, what } in entries {
            match what {
                TarKind::Directory => {
                    self.directories.push(DirectoryFacts { path: path.to_string(), mode: *mode });
                }
                TarKind::Link(target) => {
                    self.links.push(LinkFacts { path: path.to_string(), target: target.clone() });
                }
                TarKind::File(contents) => {
                    files.insert(path.as_str(), (*mode, contents.expose()));
                }
            }
        }
        self.contents(None, &files);
    }
}

/// A line of authorized_keys without the key: its kind and comment.
fn ssh_key(line: &str) -> String {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let comment: Vec<_> = words.skip(1).collect();
    format!("{kind} {}", comment.join(" ")).trim_end().to_owned()
}

/// Queries may hold a token.
fn without_query(url: &str) -> String {
    match url.split_once('?') {
        Some((place, _)) => format!("{place}?..."),
        None => url.to_owned(),
    }
}

/// Steps of `api.ndjson`, by name. What is in the objects is not told: Secrets may be among them.
pub(crate) fn api(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| match serde_json::from_slice::<ApiStep>(line) {
            Ok(ApiStep::Apply(object)) => object_name(&object),
            Ok(ApiStep::Node(step)) => format!("Node {}", step.name),
            Err(_) => "a line that is no step".to_owned(),
        })
        .collect()
}

/// `Kind namespace/name` of an object.
pub(crate) fn object_name(object: &serde_json::Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("?");
    let name = object["metadata"]["name"].as_str().unwrap_or("?");
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// A digest, short: enough to compare by eye.
pub(crate) fn brief(digest: &Sha256) -> String {
    digest.to_string().chars().take(16).collect()
}
