//! The two sides of a comparison: an output, or the drafts of a cluster.yaml.

use super::body::Body;
use crate::{
    component::encryption,
    config::{Cluster, Node},
    draft::{Contents, DraftStep, NodeDraft, Part},
    inspect::material,
    node::{Planner, Sources},
    output::{
        folder::{EntryKind, ReadError, Source},
        manifest::{FileRole, MANIFEST, Manifest, NodeRow},
    },
    secrets::Shape,
    verify,
};
use nodekiln_payload::{Account, Fetch, NodeTree, Snippet, Unit};
use nodekiln_plan::{
    AbsPath, ApiStep, Cidr, ClassSpec, Mode, NodeName, NodePlan, NodeSpec, PlanError, Role, Secret, Sha256, UnitName,
    paths,
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
    /// A node that cannot be planned.
    #[error("{0}: {1}")]
    Refused(NodeName, String),
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
        Ok(view((&plan.spec, &plan.class), files, tree.units, tree.accounts, tree.fetches, settings)
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

/// What cluster.yaml would make. Nodes are planned when they are asked for, and dropped again.
pub struct DraftSide<'d> {
    cluster: &'d Cluster,
    planner: Planner<'d>,
}

impl<'d> DraftSide<'d> {
    /// Of `cluster`, all of whose nodes can be planned.
    pub fn new(cluster: &'d Cluster, sources: &'d Sources) -> Self {
        Self { cluster, planner: Planner::new(cluster, sources) }
    }

    fn draft(&self, node: &'d Node) -> Result<NodeDraft, SideError> {
        self.planner.plan(node).map_err(|refusals| {
            let why: Vec<_> = refusals.into_iter().map(|refusal| refusal.message).collect();
            SideError::Refused(node.name.clone(), why.join("; "))
        })
    }
}

impl Side for DraftSide<'_> {
    fn nodes(&self) -> Vec<NodeName> {
        self.cluster.payloads().map(|node| node.name.clone()).collect()
    }

    fn digest(&self, _: &NodeName) -> Option<Sha256> {
        None
    }

    fn node(&self, name: &NodeName) -> Result<NodeView, SideError> {
        let missing = || SideError::Refused(name.clone(), "it is not in cluster.yaml".to_owned());
        let draft = self.draft(self.cluster.payloads().find(|node| node.name == *name).ok_or_else(missing)?)?;
        let files = draft.all_files().into_iter().map(|file| {
            let body = match &file.contents {
                Contents::Text(text) => Body::Known(Secret::clone(&text.bytes)),
                Contents::Bytes(blob) => Body::Known(Secret::new(blob.bytes.to_vec())),
                Contents::Template(parts) => Body::Pattern(parts.clone()),
                Contents::Shared(_) => Body::Key,
                Contents::Leaf(leaf, form) => Body::Leaf(leaf.clone(), *form, self.cluster.certificate_validity),
            };
            (file.path.to_string(), FileView { mode: file.mode, body })
        });
        let class = &draft.class;
        let settings = settings(&class.fetch_ca, &draft.network, &class.time_servers, &class.snippets);
        let units = draft.all_units().into_iter().cloned().collect();
        let (accounts, fetches) = (class.accounts.clone(), class.fetches.clone());
        Ok(view((&draft.spec, &class.spec), files.collect(), units, accounts, fetches, settings)
            .with_links(draft.links.into_iter().map(|link| (link.path, link.target))))
    }

    fn api(&self) -> Result<Api, SideError> {
        let mut api = Api::default();
        let node = self.cluster.payloads().find(|node| node.role == Role::ControlPlane);
        let Some(node) = node else { return Ok(api) };
        for step in self.draft(node)?.api {
            match step {
                DraftStep::Step(step) => {
                    let line = serde_json::to_vec(&step).unwrap_or_default();
                    api.add(Body::Known(Secret::new(line)), Some(step));
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
                    let step = serde_json::from_str(&line).ok();
                    api.add(Body::Pattern(parts), step);
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
    (spec, class): (&NodeSpec, &ClassSpec),
    mut files: BTreeMap<String, FileView>,
    units: Vec<Unit>,
    accounts: Vec<Account>,
    fetches: Vec<Fetch>,
    settings: BTreeMap<String, String>,
) -> NodeView {
    // Units are told as units.
    files.retain(|path, _| !path.starts_with("/etc/systemd/system/"));
    let fields =
        [serde_json::to_value(spec), serde_json::to_value(class)].into_iter().filter_map(|value| match value {
            Ok(Value::Object(map)) => Some(map),
            _ => None,
        });
    let plan = fields.flatten().collect();
    NodeView {
        files,
        units: units.into_iter().map(|unit| (unit.name.clone(), unit)).collect(),
        accounts: accounts.into_iter().map(|account| (account.name.clone(), account)).collect(),
        links: BTreeMap::new(),
        fetches: fetches.into_iter().map(|fetch| (fetch.into.path.to_string(), fetch)).collect(),
        settings,
        plan,
        static_pods: class.kubelet.static_pods.to_string(),
    }
}

impl NodeView {
    fn with_links(mut self, links: impl Iterator<Item = (AbsPath, String)>) -> Self {
        self.links = links.map(|(path, target)| (path.to_string(), target)).collect();
        self
    }
}
