//! What a file is, told by its bytes alone.

use nodekiln_payload::{Artifact, Format, NodeTree, Pointer, Profile, decode};
use nodekiln_plan::{NodePlan, PlanError, Secret};
use serde_json::Value;

/// A file that says something about a node.
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
}

/// Why a file is not told about.
#[derive(Debug, thiserror::Error)]
pub enum RecogniseError {
    /// Nothing that nodekiln writes.
    #[error("this is no payload of nodekiln's: neither Ignition, nor cloud-init, nor tree.tar, nor plan.json")]
    Unknown,
    /// One that cannot be read.
    #[error(transparent)]
    Decode(#[from] nodekiln_payload::DecodeError),
    /// A plan that cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A part of a payload, without the part that tells what it is.
    #[error("this is a part of a cloud-init payload: name the `user-data` beside it")]
    Part,
}

/// A cloud-init payload's own files beside `user-data`.
#[derive(Debug, Default)]
pub struct Beside {
    /// `meta-data`.
    pub meta_data: Option<Secret>,
    /// `network-config`.
    pub network_config: Option<Secret>,
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
    let value: Value = serde_json::from_slice(raw).map_err(|_| RecogniseError::Unknown)?;
    let has = |key: &str| value.get(key).is_some();
    if has("ignition") {
        if !value["ignition"]["config"]["replace"].is_null() {
            return Ok(Recognised::Pointer(Pointer::decode(raw)?));
        }
        // Ignition's form is the same for all profiles.
        let artifacts = [Artifact { name: "config.ign", bytes: bytes.clone() }];
        let profile = of_format(Format::Ignition).next().ok_or(RecogniseError::Unknown)?;
        return Ok(Recognised::Payload(Format::Ignition, Box::new(decode(&artifacts, profile)?)));
    }
    if has("spec") && has("identity") {
        return Ok(Recognised::Plan(Box::new(NodePlan::from_slice(raw)?)));
    }
    if has("instance-id") || has("ethernets") { Err(RecogniseError::Part) } else { Err(RecogniseError::Unknown) }
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
