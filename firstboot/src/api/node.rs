//! Bringing a Node to what is planned, without taking from it what others gave it.

use super::client::{Server, is_absent};
use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use nodekiln_plan::NodeStep;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Makes the Node, or adds what it lacks.
pub(super) async fn bring(server: &Server<'_>, step: &NodeStep) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(server.client.clone());
    let name = step.name.as_str();
    // One try is: read, compute, write what was computed from what was read. A conflict repeats the whole.
    server
        .patiently(&format!("writing Node {name}"), || async {
            match api.get(name).await {
                Ok(found) => match change(&to_value(&found)?, step) {
                    Some(patch) => api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ()),
                    None => Ok(()),
                },
                Err(e) if is_absent(&e) => {
                    let node: Node = serde_json::from_value(new(step)).map_err(kube::Error::SerdeError)?;
                    api.create(&PostParams::default(), &node).await.map(|_| ())
                }
                Err(e) => Err(e),
            }
        })
        .await
        .with_context(|| format!("looking after Node {name}"))
}

fn to_value(node: &Node) -> kube::Result<Value> {
    serde_json::to_value(node).map_err(kube::Error::SerdeError)
}

/// The whole Node.
fn new(step: &NodeStep) -> Value {
    let mut spec = Map::new();
    if !step.taints.is_empty() {
        spec.insert("taints".to_owned(), json!(step.taints));
    }
    if let Some(first) = step.pod_cidrs.first() {
        spec.insert("podCIDR".to_owned(), json!(first));
        spec.insert("podCIDRs".to_owned(), json!(step.pod_cidrs));
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": step.name, "labels": step.labels, "annotations": step.annotations},
        "spec": spec,
    })
}

/// Those of `wanted` that the metadata's map `field` lacks, or has otherwise.
fn missing(found: &Value, field: &str, wanted: &BTreeMap<String, String>) -> Option<Value> {
    let missing: Map<String, Value> = wanted
        .iter()
        .filter(|(key, value)| found["metadata"][field][key.as_str()].as_str() != Some(value.as_str()))
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    (!missing.is_empty()).then_some(Value::Object(missing))
}

/// A merge patch of what is missing; `None` if nothing is. `spec.taints` is one atomic list, so the patch carries the
/// resourceVersion that it was computed from.
fn change(found: &Value, step: &NodeStep) -> Option<Value> {
    let mut metadata = Map::new();
    for (field, wanted) in [("labels", &step.labels), ("annotations", &step.annotations)] {
        metadata.extend(missing(found, field, wanted).map(|values| (field.to_owned(), values)));
    }
    let mut spec = Map::new();
    let mut taints = found["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let before = taints.len();
    for taint in &step.taints {
        let same = |have: &Value| have["key"] == json!(taint.key) && have["effect"] == json!(taint.effect);
        if !taints.iter().any(same) {
            taints.push(json!(taint));
        }
    }
    if taints.len() > before {
        spec.insert("taints".to_owned(), Value::Array(taints));
    }
    let has_cidr = found["spec"]["podCIDR"].as_str().is_some_and(|cidr| !cidr.is_empty());
    if let (false, Some(first)) = (has_cidr, step.pod_cidrs.first()) {
        spec.insert("podCIDR".to_owned(), json!(first));
        spec.insert("podCIDRs".to_owned(), json!(step.pod_cidrs));
    }
    if metadata.is_empty() && spec.is_empty() {
        return None;
    }
    let mut patch = Map::new();
    if !spec.is_empty() {
        metadata.insert("resourceVersion".to_owned(), found["metadata"]["resourceVersion"].clone());
        patch.insert("spec".to_owned(), Value::Object(spec));
    }
    patch.insert("metadata".to_owned(), Value::Object(metadata));
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> NodeStep {
        serde_json::from_value(json!({
            "name": "n1",
            "labels": {"a": "1"},
            "annotations": {"example.org/c": "3"},
            "taints": [{"key": "k", "effect": "NoSchedule"}],
            "podCidrs": ["10.0.0.0/24"],
        }))
        .unwrap()
    }

    #[test]
    fn what_others_gave_stays() {
        let found = json!({
            "metadata": {"resourceVersion": "7", "labels": {"b": "2"}},
            "spec": {"podCIDR": "10.9.0.0/24", "taints": [{"key": "other", "effect": "NoExecute"}]},
        });
        let patch = change(&found, &step()).unwrap();
        assert_eq!(
            patch,
            json!({
                "metadata":
                    {"labels": {"a": "1"}, "annotations": {"example.org/c": "3"}, "resourceVersion": "7"},
                "spec": {"taints": [{"key": "other", "effect": "NoExecute"}, {"key": "k", "effect": "NoSchedule"}]},
            })
        );
    }

    #[test]
    fn nothing_missing_nothing_written() {
        let mut found = new(&step());
        assert_eq!(change(&found, &step()), None);
        found["spec"]["taints"][0]["value"] = "changed by somebody".into();
        assert_eq!(change(&found, &step()), None);
        found["metadata"]["annotations"]["example.org/c"] = "4".into();
        assert_eq!(change(&found, &step()).unwrap(), json!({"metadata": {"annotations": {"example.org/c": "3"}}}));
        let bare = json!({"metadata": {"resourceVersion": "1"}});
        assert_eq!(change(&bare, &step()).unwrap()["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    }
}
