//! cluster.yaml: parsed to a raw mirror, resolved to a [`Cluster`].
//!
//! `yaml` makes a tree with positions, `raw` reads it field by field, `resolve` fills in defaults and checks rules that
//! span fields. Each stage goes on after a fault, so that all findings come at once ([`Diagnostics`]).

mod choices;
mod cluster;
pub mod code;
mod common;
mod diag;
mod documents;
pub mod examples;
mod inputs;
mod nearest;
mod node;
mod object;
mod raw;
mod read;
mod resolve;
mod scalar;
mod schema;
mod shown;
mod source;
mod types;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

pub use cluster::*;
pub use common::Common;
pub use diag::{Colors, Diagnostic, Diagnostics, Finding, Origin, Severity, Spot};
pub use inputs::NamedInput;
pub use node::*;
pub(crate) use resolve::owned;
pub use schema::schema;
pub use source::{Position, Source, Span};
pub use types::{Wrong, wrong_types};

use nodekiln_plan::Sha256;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A cluster.yaml that can be built.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub cluster: Cluster,
    /// Warnings about it. Later stages add their findings here: it knows the text.
    pub warnings: Diagnostics,
    /// All files that the build depends on: cluster.yaml first, the others by name.
    pub inputs: Vec<NamedInput>,
    /// Where things stand in it, for findings of later stages.
    pub places: Places,
}

/// Where things stand in cluster.yaml.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The nodes, in their order.
    nodes: Vec<Span>,
    /// The pools, in theirs.
    pools: Vec<Span>,
    /// `delivery`, or the whole file without it.
    pub delivery: Origin,
    /// Fields that planning may refuse, and those that the secrets may not fit, by path, where they are said.
    fields: BTreeMap<String, Span>,
}

impl Places {
    /// Where what gets a payload is, by its index among [`Cluster::payloads`]: the nodes, then the pools.
    pub fn payload(&self, index: usize) -> Option<Origin> {
        let (list, spans, index) = match index.checked_sub(self.nodes.len()) {
            None => ("nodes", &self.nodes, index),
            Some(index) => ("pools", &self.pools, index),
        };
        spans.get(index).map(|span| Origin { span: *span, path: format!("{list}[{index}]") })
    }

    /// Where `field` of the payload `index` is said: by the node or pool, or by the cluster for all of them. `None` if
    /// neither says it, or both do, for a list may be made of the two.
    pub fn field(&self, index: usize, field: &str) -> Option<Origin> {
        let own = format!("{}.{field}", self.payload(index)?.path);
        let (path, span) = match (self.fields.get(&own), self.fields.get(field)) {
            (Some(span), None) => (own, *span),
            (None, Some(span)) => (field.to_owned(), *span),
            _ => return None,
        };
        Some(Origin { span, path })
    }

    /// Where the cluster's own `field` is said; its path alone where it has its default.
    pub fn clusters_own(&self, field: &str) -> Origin {
        Origin { span: self.fields.get(field).copied().unwrap_or_default(), path: field.to_owned() }
    }
}

/// [`Places`]' `fields`.
fn refusable(tree: &yaml::Tree<'_>) -> BTreeMap<String, Span> {
    const FIELDS: [&[&str]; 35] = [
        &["apiServer", "extraVolumes"],
        &["controllerManager", "extraVolumes"],
        &["scheduler", "extraVolumes"],
        &["certificatesDir"],
        &["etcd", "local", "dataDir"],
        &["etcd", "local", "extraArgs"],
        &["etcd", "external"],
        &["etcd", "external", "caFile"],
        &["etcd", "external", "certFile"],
        &["etcd", "external", "keyFile"],
        &["certificateValidityPeriod"],
        &["labels"],
        &["kubernetesVersion"],
        &["controlPlaneEndpoint"],
        &["loadBalancer"],
        &["networking", "podSubnet"],
        &["encryptionAlgorithm"],
        &["featureGates"],
        &["patches"],
        &["kubelet"],
        &["kubeletExtraArgs"],
        &["kubeProxy"],
        &["binaries", "kubelet"],
        &["binaries", "runc"],
        &["binaries", "containerd"],
        &["binaries", "cniPlugins"],
        &["binaries", "firstboot"],
        &["os", "files"],
        &["os", "units"],
        &["os", "snippets"],
        &["os", "arch"],
        &["kernel", "sysctls"],
        &["images", "digests"],
        &["addons", "cni"],
        &["addons", "manifests"],
    ];
    let entry = |node, key: &str| match tree.view(node) {
        yaml::View::Map(entries) => entries.iter().find(|entry| entry.key == key),
        _ => None,
    };
    let mut found = BTreeMap::new();
    let mut add = |top, above: &str| {
        for path in FIELDS {
            let (last, parents) = path.split_last().unwrap_or((&"", &[]));
            let parent = parents.iter().try_fold(top, |node, key| entry(node, key).map(|entry| entry.value));
            let Some(entry) = parent.and_then(|parent| entry(parent, last)) else { continue };
            let span = match tree.view(entry.value) {
                yaml::View::Scalar { .. } => tree.span(entry.value),
                _ => entry.key_span,
            };
            found.insert(format!("{above}{}", path.join(".")), span);
        }
    };
    add(tree.root, "");
    let begin: BTreeSet<&str> = FIELDS.iter().filter_map(|path| path.first().copied()).collect();
    for list in ["nodes", "pools"] {
        if let Some(yaml::View::List(items)) = entry(tree.root, list).map(|entry| tree.view(entry.value)) {
            for (index, item) in items.iter().enumerate() {
                // Most machines say none of them.
                if let yaml::View::Map(entries) = tree.view(*item)
                    && entries.iter().any(|entry| begin.contains(&*entry.key))
                {
                    add(*item, &format!("{list}[{index}]."));
                }
            }
        }
    }
    found
}

/// Why a cluster.yaml was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file itself could not be read: exit code 3.
    #[error("reading {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was read and cannot be built: exit code 1.
    #[error("{} cannot be built", .0.source().name())]
    Findings(Diagnostics),
}

/// Reads and resolves the cluster.yaml at `path`. Input files are looked for beside it.
///
/// # Errors
/// A file that cannot be read, or findings among which is an error.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let failed = |source| Failure::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let mut bytes = Vec::new();
    // Asked before reading, and not trusted after: a pipe has no size.
    if meta.len() <= yaml::MAX_BYTES {
        // A byte more: reading finds the end without room for as much again.
        bytes.reserve_exact(usize::try_from(meta.len() + 1).unwrap_or_default());
        file.take(yaml::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    let name = path.display().to_string();
    if meta.len().max(bytes.len() as u64) > yaml::MAX_BYTES {
        return Err(fault(&name, "", code::TOO_LARGE, 0, &format!("larger than {} MiB", yaml::MAX_BYTES >> 20)));
    }
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    };
    match String::from_utf8(bytes) {
        Ok(text) => load_text(&name, text.into(), Some(folder)),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            // What comes before the fault can be shown.
            let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
            Err(fault(&name, &text, code::ENCODING, at, "not UTF-8"))
        }
    }
}

fn fault(name: &str, text: &str, code: code::Code, offset: usize, message: &str) -> Failure {
    let mut found = Diagnostics::new(Source::new(name, text));
    let origin = Origin { span: Span::new(offset..offset), path: String::new() };
    found.error(&origin, Finding::new(code, message));
    Failure::Findings(found)
}

/// Resolves `text`, which findings call `name`. Input files are looked for in `base_dir`; without one there are none.
///
/// # Errors
/// Findings among which is an error.
pub fn load_str(name: &str, text: &str, base_dir: Option<&Path>) -> Result<Loaded, Failure> {
    load_text(name, text.into(), base_dir)
}

/// Resolves `text`, which stays in memory once: findings show parts of it.
fn load_text(name: &str, text: Arc<str>, base_dir: Option<&Path>) -> Result<Loaded, Failure> {
    if text.len() as u64 > yaml::MAX_BYTES {
        return Err(fault(name, "", code::TOO_LARGE, 0, &format!("larger than {} MiB", yaml::MAX_BYTES >> 20)));
    }
    let mut found = Diagnostics::new(Source::new(name, Arc::clone(&text)));
    let mut inputs = inputs::Inputs::new(base_dir);
    let cluster = read_and_resolve(&text, &mut found, &mut inputs);
    found.sort();
    match cluster {
        Some((cluster, places)) if !found.has_errors() => {
            let own = name.rsplit('/').next().unwrap_or(name).to_owned();
            let own = NamedInput { path: own, sha256: Sha256::of(text.as_bytes()) };
            let inputs = std::iter::once(own).chain(inputs.named()).collect();
            Ok(Loaded { cluster, warnings: found, inputs, places })
        }
        _ => {
            if !found.has_errors() {
                // No path leads here; silence would be worse than an odd message.
                found.error(&Origin::default(), Finding::new(code::SYNTAX, "this file cannot be built"));
            }
            Err(Failure::Findings(found))
        }
    }
}

fn read_and_resolve(text: &str, found: &mut Diagnostics, inputs: &mut inputs::Inputs) -> Option<(Cluster, Places)> {
    let tree = yaml::parse(text, found)?;
    found.set_parsed();
    let top = read::Place { span: tree.span(tree.root), ..read::Place::default() };
    let mut reader = read::Reader { tree: &tree, found: &mut *found };
    if reader.is_null(tree.root) {
        reader.found.error_at(&top, Finding::new(code::DOCUMENTS, "the file holds no value").hint(diag::EMPTY));
        return None;
    }
    let raw = <raw::RawCluster as read::Read>::read(&mut reader, tree.root, &top)?;
    resolve::resolve(raw, resolve::Cx::new(&tree, found, inputs))
}
