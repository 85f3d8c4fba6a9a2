//! The ConfigMap that says which objects the cluster has.

use super::{
    client::{Server, is_absent},
    namespaced,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use nodekiln_plan::Sha256;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) generation: u64,
    pub(super) digest: Sha256,
}

/// `None` where it is not there, or says nothing.
pub(super) async fn read(server: &Server<'_>, place: &str) -> anyhow::Result<Option<Done>> {
    let (namespace, name) = namespaced(place)?;
    let api: Api<ConfigMap> = Api::namespaced(server.client.clone(), namespace);
    let found = server
        .patiently(&format!("reading ConfigMap {place}"), || async {
            match api.get(name).await {
                Ok(map) => Ok(Some(map)),
                Err(e) if is_absent(&e) => Ok(None),
                Err(e) => Err(e),
            }
        })
        .await?;
    let data = found.and_then(|map| map.data).unwrap_or_default();
    let get = |key: &str| data.get(key);
    let (Some(generation), Some(digest)) = (get("generation"), get("digest")) else { return Ok(None) };
    match (generation.parse(), digest.parse()) {
        (Ok(generation), Ok(digest)) => Ok(Some(Done { generation, digest })),
        _ => Ok(None),
    }
}

/// Written after all objects.
pub(super) async fn write(server: &Server<'_>, place: &str, done: &Done) -> anyhow::Result<()> {
    let (namespace, name) = namespaced(place)?;
    let api: Api<ConfigMap> = Api::namespaced(server.client.clone(), namespace);
    let map = serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"generation": done.generation.to_string(), "digest": done.digest.to_string()},
    });
    let params = PatchParams::apply(super::apply::MANAGER).force();
    let patch = Patch::Apply(&map);
    server.patiently(&format!("writing ConfigMap {place}"), || api.patch(name, &params, &patch)).await?;
    Ok(())
}
