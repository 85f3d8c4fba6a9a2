//! Bootstrap tokens of pools and nodes that are not planned any more: their Secrets are deleted.
//!
//! Server-side apply of fewer objects removes none. A Secret that stays would let in every machine that still has the
//! payload of a pool that was taken out of cluster.yaml, until the token's end; a `ttl` of 0 has none.

use super::{
    apply::MANAGER,
    client::{Server, is_absent},
};
use crate::stage::Context;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
};
use nodekiln_plan::{MANAGED_BY, TOKEN_OWNER};
use std::collections::BTreeSet;

/// Where the API server looks for tokens.
const NAMESPACE: &str = "kube-system";
/// Of a token's Secret.
const KIND: &str = "bootstrap.kubernetes.io/token";

/// Whose token an object holds that is to be applied; `None` if it is no such Secret.
pub(super) fn owner(object: &serde_json::Value) -> Option<&str> {
    if object["kind"] != "Secret" || object["type"] != KIND {
        return None;
    }
    object["metadata"]["annotations"][TOKEN_OWNER].as_str()
}

/// Deletes the Secrets of tokens that nodekiln made for anybody who is not among `owners`.
///
/// What an owner had before a renewal stays until its own end, as machines may still come by an older payload.
pub(super) async fn prune(c: &Context<'_>, server: &Server<'_>, owners: &BTreeSet<String>) -> anyhow::Result<()> {
    let api: Api<Secret> = Api::namespaced(server.client.clone(), NAMESPACE);
    let params =
        ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)).fields(&format!("type={KIND}"));
    let found = server.patiently("listing bootstrap tokens", || api.list_metadata(&params)).await?;
    for secret in found {
        let Some((name, owner)) = ours(&secret.metadata) else { continue };
        if owners.contains(owner) {
            continue;
        }
        // The very object that was looked at: somebody may have made another of this name since.
        let preconditions = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        server
            .patiently(&format!("deleting Secret {NAMESPACE}/{name}"), || async {
                match api.delete(name, &params).await {
                    Ok(_) => Ok(()),
                    Err(e) if is_absent(&e) => Ok(()),
                    Err(e) => Err(e),
                }
            })
            .await?;
        c.fact(format!("api: the bootstrap token of {owner}, which is not planned any more, deleted"));
    }
    Ok(())
}

/// Name and owner of a Secret that nodekiln applied: a label alone could be anybody's.
fn ours(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    let managers = metadata.managed_fields.as_deref().unwrap_or_default();
    let applied = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    if !managers.iter().any(applied) {
        return None;
    }
    let owner = metadata.annotations.as_ref()?.get(TOKEN_OWNER)?;
    Some((metadata.name.as_deref()?, owner))
}
