//! The two sides of a comparison: an output, or the drafts of a cluster.yaml.

use crate::{
    component::encryption,
    config::{Cluster, San},
    draft::{Contents, DraftStep, Leaf, LeafForm, NodeDraft, Part},
    inspect::{certificate::Certificate, date, material},
    output::{
        folder::{EntryKind, ReadError, Source},
        manifest::{FileRole, MANIFEST, Manifest, NodeRow},
    },
    pki::certificate::BACKDATE,
    secrets::Shape,
    verify,
};
use nodekiln_payload::{Account, Fetch, NodeTree, Snippet, Unit};
use nodekiln_plan::{
    AbsPath, ApiStep, Cidr, Mode, NodeName, NodePlan, NodeSpec, PlanError, Role, Secret, Sha256, UnitName, paths,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a side could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The machine said no.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No output of nodekiln's.
    #[error("there is no manifest.json of nodekiln's")]
    Manifest,
    /// A payload that does not decode.
    #[error("{0}: its payload cannot be read: {1}")]
    Payload(NodeName, String),
    /// A plan that does not.
    #[error("{0}: its plan cannot be read")]
    Plan(NodeName, #[source] PlanError),
}

/// One of the two.
pub trait Side {
    /// The nodes.
    fn nodes(&self) -> Vec<NodeName>;

    /// A digest that is the same for the same payload; `None` where there is none without making it.
    fn digest(&self, name: &NodeName) -> Option<Sha256>;

    /// A node, ready to be compared.
    ///
    /// # Errors
    /// A payload that cannot be read.
    #[doc(hidden)]
    fn node(&self, name: &NodeName) -> Result<NodeView, SideError>;

    /// What is applied to the API.
    ///
    /// # Errors
    /// A payload that cannot be read.
    #[doc(hidden)]
    fn api(&self) -> Result<Api, SideError>;

    /// Files for people by digest, where they are made.
    fn files(&self) -> Option<BTreeMap<String, Sha256>>;
}

/// A file of a node.
#[doc(hidden)]
#[derive(Debug)]
pub struct FileView {
    pub(super) mode: Mode,
    pub(super) body: Body,
}

/// What is known of a file's contents.
#[doc(hidden)]
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Known(Secret),
    /// What stands between the parts that need keys; each is some letters of base64 or of a token.
    Pattern(Vec<Part>),
    /// A value of the secrets: unknown, and taken to be the same.
    Key,
    /// What a certificate will say, and its life in seconds.
    Leaf(Leaf, LeafForm, i64),
}

/// A node, ready to be compared.
#[doc(hidden)]
#[derive(Debug)]
pub struct NodeView {
    /// By final path.
    pub(super) files: BTreeMap<String, FileView>,
    pub(super) units: BTreeMap<UnitName, Unit>,
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) links: BTreeMap<String, String>,
    pub(super) fetches: BTreeMap<String, Fetch>,
    /// What else the payload says.
    pub(super) settings: BTreeMap<String, String>,
    /// Fields of the plan.
    pub(super) plan: BTreeMap<String, Value>,
    pub(super) static_pods: String,
}

/// What firstboot applies.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Api {
    /// By kind, namespace and name.
    pub(super) objects: BTreeMap<String, Body>,
    pub(super) pod_cidrs: BTreeMap<NodeName, Vec<Cidr>>,
    /// How many bootstrap tokens are among them.
    tokens: usize,
}

impl Body {
    /// Whether the two are the same, as far as can be told.
    pub(super) fn is_same(&self, other: &Body) -> bool {
        match (self, other) {
            (Body::Known(a), Body::Known(b)) => a == b,
            (Body::Known(bytes), Body::Pattern(parts)) | (Body::Pattern(parts), Body::Known(bytes)) => {
                matches(parts, bytes.expose())
            }
            (Body::Known(bytes), Body::Leaf(leaf, form, life)) | (Body::Leaf(leaf, form, life), Body::Known(bytes)) => {
                says(bytes.expose(), leaf, *form, *life)
            }
            (Body::Pattern(a), Body::Pattern(b)) => a == b,
            (Body::Leaf(a, form_a, life_a), Body::Leaf(b, form_b, life_b)) => {
                (a, form_a, life_a) == (b, form_b, life_b)
            }
            (Body::Key, _) | (_, Body::Key) => true,
            (Body::Pattern(_), Body::Leaf(..)) | (Body::Leaf(..), Body::Pattern(_)) => false,
        }
    }

    /// What can be said of the difference without telling what is in it.
    pub(super) fn note(path: &str, old: &Body, new: &Body) -> Option<String> {
        let first = |body: &Body| match body {
            Body::Known(bytes) => material::of_file(path, bytes.expose()).certificates.into_iter().find(|c| !c.is_ca),
            _ => None,
        };
        let mut said = Vec::new();
        let (before, after_names) = match (first(old), new) {
            (Some(before), Body::Leaf(leaf, ..)) => (before, names(leaf)),
            (Some(before), _) => {
                let after = first(new)?;
                if after.not_after != before.not_after {
                    said.push(format!("ends {} instead of {}", date(after.not_after), date(before.not_after)));
                }
                if after.spki != before.spki {
                    said.push("another key".to_owned());
                }
                (before, sorted(&after))
            }
            (None, _) => return None,
        };
        let known = sorted(&before);
        let only = |a: &[String], b: &[String]| a.iter().filter(|name| !b.contains(name)).cloned().collect::<Vec<_>>();
        let (more, less) = (only(&after_names, &known), only(&known, &after_names));
        if !more.is_empty() {
            said.push(format!("also for {}", more.join(" ")));
        }
        if !less.is_empty() {
            said.push(format!("no longer for {}", less.join(" ")));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

fn sorted(certificate: &Certificate) -> Vec<String> {
    let mut names = certificate.sans.clone();
    names.sort();
    names
}

fn names(leaf: &Leaf) -> Vec<String> {
    let mut names: Vec<String> = leaf
        .sans
        .iter()
        .map(|san| match san {
            San::Dns(name) => name.clone(),
            San::Ip(ip) => ip.to_string(),
        })
        .collect();
    names.sort();
    names
}

/// Whether the bytes are what `parts` may become: their texts in order, between them letters of base64 or of a token.
fn matches(parts: &[Part], bytes: &[u8]) -> bool {
    let Ok(mut rest) = std::str::from_utf8(bytes) else { return false };
    let filling = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=.:-".contains(&b));
    let mut open = false;
    for part in parts {
        let Part::Text(text) = part else {
            open = true;
            continue;
        };
        let found = if open { rest.find(text.as_str()) } else { rest.starts_with(text.as_str()).then_some(0) };
        let Some(start) = found.filter(|start| filling(&rest[..*start])) else { return false };
        rest = &rest[start + text.len()..];
        open = false;
    }
    if open { filling(rest) } else { rest.is_empty() }
}

/// Whether the file holds the certificate that `leaf` describes.
fn says(bytes: &[u8], leaf: &Leaf, form: LeafForm, life: i64) -> bool {
    if form == LeafForm::Key {
        return true;
    }
    let found = material::of_file("", bytes).certificates;
    let Some(certificate) = found.first() else { return false };
    let row = crate::pki::table::spec(leaf.row);
    let node = leaf.node.as_ref().map(NodeName::as_str).unwrap_or_default();
    // Members' two certificates say the same: the path is not asked.
    let is_row = certificate.row(row.issuer, node).is_some_and(|found| {
        (found.common_name, found.organization, found.usage) == (row.common_name, row.organization, row.usage)
    });
    let lived = certificate.not_after - certificate.not_before - BACKDATE;
    is_row && sorted(certificate) == names(leaf) && lived == life
}

/// An output.
pub struct OutputSide<'s> {
    source: &'s dyn Source,
    manifest: Manifest,
    /// Digests of the payloads' files, by node.
    payloads: BTreeMap<NodeName, Vec<Sha256>>,
}

impl<'s> OutputSide<'s> {
    /// The output that `source` reads.
    ///
    /// # Errors
    /// No manifest of nodekiln's in it.
    pub fn open(source: &'s dyn Source) -> Result<Self, SideError> {
        if source.entries().get(MANIFEST).is_none_or(|entry| entry.kind != EntryKind::File) {
            return Err(SideError::Manifest);
        }
        let bytes = source.read(MANIFEST)?;
        let manifest: Manifest = serde_json::from_slice(bytes.expose()).map_err(|_| SideError::Manifest)?;
        let mut payloads: BTreeMap<NodeName, Vec<Sha256>> = BTreeMap::new();
        for row in manifest.files.iter().filter(|row| row.role == FileRole::Payload) {
            if let Some(node) = &row.node {
                payloads.entry(node.clone()).or_default().push(row.sha256);
            }
        }
        Ok(Self { source, manifest, payloads })
    }

    /// What secrets it was made of, as far as it shows: against a cluster file they count as unchanged.
    ///
    /// # Errors
    /// A payload that cannot be read.
    pub fn shape(&self) -> Result<Shape, SideError> {
        let mut shape = Shape::default();
        let Some(row) = self.manifest.nodes.iter().find(|row| row.role == Role::ControlPlane) else { return Ok(shape) };
        let tree = self.tree(&row.name)?;
        let named = |tail: &str| tree.files.iter().find(|file| file.path.as_str().ends_with(tail));
        // etcd's has no key on any node.
        shape.external_ca = named("/ca.key").is_none();
        if let Some(file) = named(&format!("/{}", encryption::FILE)) {
            let names = material::encryption_key_names(file.contents.expose());
            if !names.is_empty() {
                shape.encryption_keys = names;
            }
        }
        Ok(shape)
    }

    fn row(&self, name: &NodeName) -> Option<&NodeRow> {
        self.manifest.nodes.iter().find(|row| row.name == *name)
    }

    fn tree(&self, name: &NodeName) -> Result<NodeTree, SideError> {
        let missing = || SideError::Payload(name.clone(), "it is not in manifest.json".to_owned());
        let row = self.row(name).ok_or_else(missing)?;
        verify::decoded(self.source, row)?.map_err(|why| SideError::Payload(name.clone(), why))
    }
}

impl Side for OutputSide<'_> {
    fn nodes(&self) -> Vec<NodeName> {
        self.manifest.nodes.iter().map(|row| row.name.clone()).collect()
    }

    fn digest(&self, name: &NodeName) -> Option<Sha256> {
        self.payloads
            .get(name)
            .map(|digests| Sha256::of_parts(digests.iter().map(|digest| digest.as_bytes().as_slice())))
    }

    fn node(&self, name: &NodeName) -> Result<NodeView, SideError> {
        let tree = self.tree(name)?;
        let bytes = tree.files.iter().find(|file| file.path.as_str() == paths::PLAN);
        let bytes = bytes.map(|file| file.contents.expose()).unwrap_or_default();
        let plan = NodePlan::from_slice(bytes).map_err(|error| SideError::Plan(name.clone(), error))?;
        let mut files = BTreeMap::new();
        for entry in &plan.files {
            let place = entry.staged.as_ref().unwrap_or(&entry.path);
            let Some(file) = tree.files.iter().find(|file| file.path == *place) else { continue };
            let body = Body::Known(file.contents.as_ref().clone());
            files.insert(entry.path.to_string(), FileView { mode: entry.mode, body });
        }
        files.remove(paths::API_OBJECTS);
        let settings = settings(&tree.fetch_ca, &tree.network, &tree.time_servers, &tree.snippets);
        Ok(view(&plan.spec, files, tree.units, tree.accounts, tree.fetches, settings)
            .with_links(tree.links.into_iter().map(|link| (link.path, link.target))))
    }

    fn api(&self) -> Result<Api, SideError> {
        let mut api = Api::default();
        let Some(row) = self.manifest.nodes.iter().find(|row| row.role == Role::ControlPlane) else { return Ok(api) };
        let tree = self.tree(&row.name)?;
        let file = tree.files.iter().find(|file| file.path.as_str() == paths::API_OBJECTS);
        let bytes = file.map(|file| file.contents.expose()).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            api.add(Body::Known(Secret::new(line.to_vec())), serde_json::from_slice(line).ok());
        }
        Ok(api)
    }

    fn files(&self) -> Option<BTreeMap<String, Sha256>> {
        let people = |role| matches!(role, FileRole::Kubeconfig | FileRole::Ca);
        let rows = self.manifest.files.iter().filter(|row| people(row.role));
        Some(rows.map(|row| (row.path.clone(), row.sha256)).collect())
    }
}

/// What cluster.yaml would make.
pub struct DraftSide<'d> {
    /// The cluster.
    pub cluster: &'d Cluster,
    /// Its nodes.
    pub drafts: &'d [NodeDraft],
}

impl Side for DraftSide<'_> {
    fn nodes(&self) -> Vec<NodeName> {
        self.drafts.iter().map(|draft| draft.spec.node.clone()).collect()
    }

    fn digest(&self, _: &NodeName) -> Option<Sha256> {
        None
    }

    fn node(&self, name: &NodeName) -> Result<NodeView, SideError> {
        let missing = || SideError::Payload(name.clone(), "it is not in cluster.yaml".to_owned());
        let draft = self.drafts.iter().find(|draft| draft.spec.node == *name).ok_or_else(missing)?;
        let files = draft.files.iter().map(|file| {
            let body = match &file.contents {
                Contents::Text(text) => Body::Known(Secret::from(text.clone())),
                Contents::Bytes(blob) => Body::Known(Secret::new(blob.bytes.to_vec())),
                Contents::Template(parts) => Body::Pattern(parts.clone()),
                Contents::Shared(_) => Body::Key,
                Contents::Leaf(leaf, form) => Body::Leaf(leaf.clone(), *form, self.cluster.certificate_validity),
            };
            (file.path.to_string(), FileView { mode: file.mode, body })
        });
        let settings = settings(&draft.fetch_ca, &draft.network, &draft.time_servers, &draft.snippets);
        let (units, accounts, fetches) = (draft.units.clone(), draft.accounts.clone(), draft.fetches.clone());
        Ok(view(&draft.spec, files.collect(), units, accounts, fetches, settings)
            .with_links(draft.links.iter().map(|link| (link.path.clone(), link.target.clone()))))
    }

    fn api(&self) -> Result<Api, SideError> {
        let mut api = Api::default();
        let steps = self.drafts.iter().find(|draft| draft.spec.role == Role::ControlPlane).map(|draft| &draft.api);
        for step in steps.into_iter().flatten() {
            match step {
                DraftStep::Step(step) => {
                    let line = serde_json::to_vec(step).unwrap_or_default();
                    api.add(Body::Known(Secret::new(line)), Some(step.clone()));
                }
                DraftStep::Template(parts) => {
                    let line: String = parts
                        .iter()
                        .map(|part| match part {
                            Part::Text(text) => text.as_str(),
                            // A letter of all that may stand there.
                            _ => "A",
                        })
                        .collect();
                    api.add(Body::Pattern(parts.clone()), serde_json::from_str(&line).ok());
                }
            }
        }
        Ok(api)
    }

    fn files(&self) -> Option<BTreeMap<String, Sha256>> {
        None
    }
}

impl Api {
    fn add(&mut self, body: Body, step: Option<ApiStep>) {
        match step {
            Some(ApiStep::Apply(object)) => {
                let mut name = crate::inspect::object_name(&object);
                // The public half of a token is not known without the secrets.
                if object["type"] == "bootstrap.kubernetes.io/token" {
                    self.tokens += 1;
                    name = format!("bootstrap token {}", self.tokens);
                }
                self.objects.insert(name, body);
            }
            Some(ApiStep::Node(step)) => {
                if !step.pod_cidrs.is_empty() {
                    self.pod_cidrs.insert(step.name.clone(), step.pod_cidrs.clone());
                }
                self.objects.insert(format!("Node {}", step.name), body);
            }
            None => {}
        }
    }
}

fn settings(
    fetch_ca: &Option<std::sync::Arc<[u8]>>,
    network: &Option<nodekiln_payload::Network>,
    time_servers: &[String],
    snippets: &[Snippet],
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    settings.extend(fetch_ca.as_ref().map(|ca| ("authorities for fetches".to_owned(), Sha256::of(ca).to_string())));
    settings.extend(network.as_ref().map(|network| {
        let mut network = network.clone();
        network.gateways.sort();
        ("network".to_owned(), format!("{network:?}"))
    }));
    if !time_servers.is_empty() {
        settings.insert("time servers".to_owned(), time_servers.join(" "));
    }
    for (index, snippet) in snippets.iter().enumerate() {
        settings.insert(format!("snippet {}", index + 1), snippet.sha256().to_string());
    }
    settings
}

fn view(
    spec: &NodeSpec,
    mut files: BTreeMap<String, FileView>,
    units: Vec<Unit>,
    accounts: Vec<Account>,
    fetches: Vec<Fetch>,
    settings: BTreeMap<String, String>,
) -> NodeView {
    // Units are told as units.
    files.retain(|path, _| !path.starts_with("/etc/systemd/system/"));
    let plan = match serde_json::to_value(spec) {
        Ok(Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    NodeView {
        files,
        units: units.into_iter().map(|unit| (unit.name.clone(), unit)).collect(),
        accounts: accounts.into_iter().map(|account| (account.name.clone(), account)).collect(),
        links: BTreeMap::new(),
        fetches: fetches.into_iter().map(|fetch| (fetch.into.path.to_string(), fetch)).collect(),
        settings,
        plan,
        static_pods: spec.kubelet.static_pods.to_string(),
    }
}

impl NodeView {
    fn with_links(mut self, links: impl Iterator<Item = (AbsPath, String)>) -> Self {
        self.links = links.map(|(path, target)| (path.to_string(), target)).collect();
        self
    }
}
