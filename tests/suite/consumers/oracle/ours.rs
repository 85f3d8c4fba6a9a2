//! The same of ours, from the tree that a payload carries.

use super::{
    document::{Documents, object, object_name, set},
    kubeadm::{file, resolve},
};
use anyhow::{Context as _, Result};
use nodekiln_plan::{ApiStep, paths};
use nodekiln_tests::made::{Made, final_files};
use serde_json::{Map, Value, json};

/// Everything that `node` gets, and that its API steps make.
pub fn documents(made: &Made, node: &str) -> Result<Documents> {
    let filled = made.filled(made.node(node)?)?;
    let mut documents = Documents::new();
    let mut modes = Map::new();
    let mut files = final_files(&filled);
    for (name, secret) in made.authority.admin_kubeconfigs(&made.cluster)? {
        files.insert(format!("/etc/kubernetes/{name}"), (0o600, secret.expose().to_vec()));
    }
    for (path, (mode, contents)) in &files {
        if path.starts_with("/etc/kubernetes/") || path.starts_with("/var/lib/kubelet/") {
            modes.insert(path.clone(), json!(format!("{mode:04o}")));
            file(path, std::str::from_utf8(contents).with_context(|| path.clone())?, &mut documents)?;
        }
    }
    documents.insert("files".to_owned(), Value::Object(modes));

    let (_, unit) = files.get("/etc/systemd/system/kubelet.service").context("the kubelet's unit")?;
    documents.insert("kubelet flags".to_owned(), flags(std::str::from_utf8(unit)?));

    let (_, lines) = files.get(paths::API_OBJECTS).context("API steps")?;
    for line in std::str::from_utf8(lines)?.lines() {
        match serde_json::from_str(line)? {
            ApiStep::Apply(applied) => drop(documents.insert(object_name(&applied), object(applied))),
            ApiStep::Node(step) if step.name.as_str() == node => {
                let labels = step
                    .labels
                    .iter()
                    .map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") });
                let mut marks = json!({"labels": set(labels)});
                if !step.taints.is_empty() {
                    marks["taints"] = set(step.taints.iter().map(ToString::to_string));
                }
                if !step.pod_cidrs.is_empty() {
                    marks["podCIDRs"] = json!(step.pod_cidrs);
                }
                documents.insert(format!("node {node}"), marks);
            }
            ApiStep::Node(_) => {}
        }
    }
    resolve(&mut documents);
    Ok(documents)
}

/// The flags of the first program that a unit runs.
fn flags(unit: &str) -> Value {
    let joined = unit.replace("\\\n", " ");
    let line = joined.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default();
    line.split_whitespace().skip(1).map(|word| Value::from(word.trim_matches('"'))).collect()
}
