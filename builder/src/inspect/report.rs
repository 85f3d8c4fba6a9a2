//! [`Inspection`] made of what was recognised.

use super::{
    facts::{
        AccountFacts, DirectoryFacts, FetchFacts, FileFacts, Inspection, Kind, LinkFacts, NetworkFacts, NodeFacts,
        PointerFacts, UnitFacts,
    },
    material::{self, Material},
    node::{NodeMaterial, PrivateKey},
    recognise::Recognised,
};
use crate::pki::Ca;
use nodekiln_payload::{Format, NodeTree, Pointer, Snippet, TarEntry, TarKind, UnitState, Verification};
use nodekiln_plan::{ApiStep, Mode, NodeName, NodePlan, PlanError, Sha256, paths};
use std::collections::BTreeMap;

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
        Recognised::Api(steps) => {
            let mut report = Inspection::empty(Kind::Api, size);
            report.api = api(steps.expose());
            report
        }
        Recognised::Keys(bytes) => {
            let held = material::of_file(THIS, bytes.expose());
            let kind = if held.kubeconfig.is_some() { Kind::Kubeconfig } else { Kind::Certificates };
            let mut report = Inspection::empty(kind, size);
            report.keys(held);
            report
        }
    }
}

/// Where the certificates of a file are that is told about alone.
const THIS: &str = "this file";

/// A URL without its last part, which is a secret's kin: who knows it can fetch keys.
fn pointed(pointer: &Pointer) -> PointerFacts {
    let folder = pointer.source.rsplit_once('/').map_or("", |(folder, _)| folder);
    PointerFacts {
        source: format!("{}/...", without_secrets(folder)),
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
            plan_version: Some(plan.version.into()),
            generation: Some(plan.identity.generation),
            not_before: Some(plan.identity.not_before),
            boot_before: Some(plan.identity.boot_before),
        });
        self.etcd_members =
            spec.etcd.as_ref().map(|etcd| etcd.members.iter().map(|member| member.name.clone()).collect());
    }

    /// What files say: their plan, API steps, keys and certificates.
    fn contents(&mut self, node: Option<&NodeName>, files: &BTreeMap<&str, (Mode, &[u8])>) {
        let plan = files.get(paths::PLAN).map(|(_, bytes)| NodePlan::from_slice(bytes));
        let version = match plan {
            Some(Err(PlanError::Version { found })) => Some(found),
            _ => None,
        };
        let plan = plan.and_then(Result::ok);
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
                    plan_version: version,
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
                url: without_secrets(&fetch.url),
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

    /// A file of keys and certificates that is no node's: a kubeconfig for people, a bundle.
    fn keys(&mut self, held: Material) {
        let Material { mut certificates, private_keys, unreadable_keys, tokens, encryption_keys, kubeconfig, .. } =
            held;
        for certificate in &mut certificates {
            let row = Ca::ALL.into_iter().find_map(|ca| certificate.row(ca, ""));
            certificate.name = row.map(|spec| spec.name.to_owned());
        }
        let key = |name: Option<String>, spki| PrivateKey { path: THIS.to_owned(), name, spki, id: None };
        let named = |spki: &Sha256| {
            let own = certificates.iter().find(|certificate| certificate.spki == *spki);
            own.map(|certificate| certificate.name.clone().unwrap_or_else(|| certificate.subject.clone()))
        };
        self.private_keys.extend(private_keys.iter().map(|spki| key(named(spki), Some(*spki))));
        self.private_keys.extend((0..unreadable_keys).map(|_| key(None, None)));
        let symmetric = |secrets: Vec<nodekiln_plan::Secret>, name: &'static str| {
            secrets.into_iter().map(move |secret| key(Some(name.to_owned()), Some(Sha256::of(secret.expose()))))
        };
        self.private_keys.extend(symmetric(tokens, "bootstrap-token"));
        self.private_keys.extend(symmetric(encryption_keys, "encryption-at-rest"));
        self.certificates = certificates;
        self.kubeconfigs.extend(kubeconfig);
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

/// A URL without what may be a password or a token: user information and query.
pub(super) fn without_secrets(url: &str) -> String {
    // What is no place, such as `data:`, may be the thing itself.
    if let Some((scheme, _)) = url.split_once(':').filter(|_| !url.contains("://")) {
        return format!("{scheme}:...");
    }
    let (place, query) = match url.split_once(['?', '#']) {
        Some((place, _)) => (place, "?..."),
        None => (url, ""),
    };
    let host = place.find("://").map_or(0, |at| at + 3);
    let end = place[host..].find('/').map_or(place.len(), |at| host + at);
    match place[host..end].rfind('@') {
        Some(at) => format!("{}...@{}{query}", &place[..host], &place[host + at + 1..]),
        None => format!("{place}{query}"),
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
