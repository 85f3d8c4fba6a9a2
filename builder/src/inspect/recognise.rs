//! What a file is, told by its bytes alone.

use nodekiln_payload::{Artifact, Format, NodeTree, Pointer, Profile, decode};
use nodekiln_plan::{ApiStep, NodePlan, PlanError, Secret};
use serde::{Deserialize, de::IgnoredAny};

/// A file that says something about a node or a cluster.
#[derive(Debug)]
pub enum Recognised {
    /// A whole payload, and what it lays down.
    Payload(Format, Box<NodeTree>),
    /// A stub.
    Pointer(Pointer),
    /// `plan.json`.
    Plan(Box<NodePlan>),
    /// `tree.tar`.
    Tree(Vec<nodekiln_payload::TarEntry>),
    /// `api.ndjson`.
    Api(Secret),
    /// A kubeconfig, or PEM.
    Keys(Secret),
}

/// Why a file is not told about. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum RecogniseError {
    /// Nothing that nodekiln writes.
    #[error(
        "this is no payload of nodekiln's: neither Ignition, nor cloud-init, nor tree.tar, plan.json, api.ndjson, a \
         kubeconfig or certificates"
    )]
    Unknown,
    /// One that cannot be read.
    #[error(transparent)]
    Decode(#[from] nodekiln_payload::DecodeError),
    /// A plan of another version.
    #[error("the plan has version {found}, this program reads version {}", nodekiln_plan::PLAN_VERSION)]
    PlanVersion {
        /// What the file says.
        found: u64,
    },
    /// A plan that cannot be read.
    #[error("is not a plan: line {line}, column {column}")]
    Plan {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A part of a payload, without the part that tells what it is.
    #[error("this is a part of a cloud-init payload: name the `user-data` beside it")]
    Part,
    /// `manifest.json`.
    #[error("this is an output's manifest: name the output's folder, or ask `nodekiln verify` whether it is whole")]
    Manifest,
    /// `placement.json`.
    #[error("this is an output's placement.json, which says itself who holds which key; `nodekiln verify` checks it")]
    Placement,
    /// `secrets.yaml`.
    #[error("these are a cluster's secrets: `nodekiln secrets show` tells what they are")]
    Secrets,
}

impl From<PlanError> for RecogniseError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Version { found } => Self::PlanVersion { found },
            // The parser's own words quote the file.
            PlanError::Syntax(error) => Self::Plan { line: error.line(), column: error.column() },
        }
    }
}

/// A cloud-init payload's own files beside `user-data`.
#[derive(Debug, Default)]
pub struct Beside {
    /// `meta-data`.
    pub meta_data: Option<Secret>,
    /// `network-config`.
    pub network_config: Option<Secret>,
}

/// The keys that tell documents of JSON apart. Whatever else is in one is skipped, not kept: a file may be large.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    ignition: Option<Ignition>,
    spec: Option<IgnoredAny>,
    identity: Option<IgnoredAny>,
    #[serde(rename = "instance-id")]
    instance_id: Option<IgnoredAny>,
    ethernets: Option<IgnoredAny>,
    made_by: Option<IgnoredAny>,
    on_no_node: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ignition {
    config: Option<Config>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    replace: Option<IgnoredAny>,
}

/// What `bytes` are.
///
/// # Errors
/// See [`RecogniseError`].
pub fn recognise(bytes: &Secret, beside: Beside) -> Result<Recognised, RecogniseError> {
    let raw = bytes.expose();
    if raw.starts_with(b"#cloud-config") {
        return cloud_init(bytes, beside);
    }
    if raw.get(257..262) == Some(b"ustar") {
        return Ok(Recognised::Tree(nodekiln_payload::read_tar(raw)?));
    }
    let Ok(keys) = serde_json::from_slice::<Keys>(raw) else { return other(bytes) };
    if let Some(ignition) = keys.ignition {
        if ignition.config.is_some_and(|config| config.replace.is_some()) {
            return Ok(Recognised::Pointer(Pointer::decode(raw)?));
        }
        // Ignition's form is the same for all profiles.
        let artifacts = [Artifact { name: "config.ign", bytes: bytes.clone() }];
        let profile = of_format(Format::Ignition).next().ok_or(RecogniseError::Unknown)?;
        return Ok(Recognised::Payload(Format::Ignition, Box::new(decode(&artifacts, profile)?)));
    }
    if keys.spec.is_some() && keys.identity.is_some() {
        return Ok(Recognised::Plan(Box::new(NodePlan::from_slice(raw)?)));
    }
    if keys.made_by.is_some() {
        return Err(RecogniseError::Manifest);
    }
    if keys.on_no_node.is_some() {
        return Err(RecogniseError::Placement);
    }
    if keys.instance_id.is_some() || keys.ethernets.is_some() { Err(RecogniseError::Part) } else { other(bytes) }
}

/// A file that is no single document of JSON with keys of ours.
fn other(bytes: &Secret) -> Result<Recognised, RecogniseError> {
    const LARGEST: usize = 1 << 20;
    let raw = bytes.expose();
    let mut lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    if lines.next().is_some_and(|line| serde_json::from_slice::<ApiStep>(line).is_ok()) {
        return Ok(Recognised::Api(bytes.clone()));
    }
    let text = match std::str::from_utf8(raw) {
        Ok(text) if text.len() <= LARGEST => text,
        _ => return Err(RecogniseError::Unknown),
    };
    if text.lines().any(|line| line.starts_with("leafSeed:")) {
        return Err(RecogniseError::Secrets);
    }
    let held = super::material::of_file("", raw);
    let keys = held.private_keys.len() + held.unreadable_keys + held.encryption_keys.len();
    if held.kubeconfig.is_none() && held.certificates.is_empty() && keys == 0 {
        return Err(RecogniseError::Unknown);
    }
    Ok(Recognised::Keys(bytes.clone()))
}

fn of_format(format: Format) -> impl Iterator<Item = &'static Profile> {
    Profile::all().iter().filter(move |profile| profile.format == format)
}

fn cloud_init(bytes: &Secret, beside: Beside) -> Result<Recognised, RecogniseError> {
    let mut artifacts = vec![Artifact { name: "user-data", bytes: bytes.clone() }];
    match beside.meta_data {
        Some(bytes) => artifacts.push(Artifact { name: "meta-data", bytes }),
        // What it has to be follows from the rest.
        None => artifacts.push(nodekiln_payload::implied_meta_data(bytes.expose())?),
    }
    artifacts.extend(beside.network_config.map(|bytes| Artifact { name: "network-config", bytes }));
    let mut fault = RecogniseError::Unknown;
    for profile in of_format(Format::CloudInit) {
        match decode(&artifacts, profile) {
            Ok(tree) => return Ok(Recognised::Payload(Format::CloudInit, Box::new(tree))),
            Err(error) => fault = error.into(),
        }
    }
    Err(fault)
}
