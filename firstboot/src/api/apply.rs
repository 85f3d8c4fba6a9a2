//! Server-side apply of planned objects.

use super::client::Server;
use crate::stage::Context;
use anyhow::Context as _;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
    discovery::{self, Scope},
};
use std::collections::HashMap;

/// The name under which the API server remembers our fields.
pub const MANAGER: &str = "nodekiln";

/// Applies objects, and remembers what the API server calls their kinds.
pub(super) struct Applier<'a, 'b> {
    server: &'a Server<'b>,
    kinds: HashMap<GroupVersionKind, (ApiResource, Scope)>,
}

impl<'a, 'b> Applier<'a, 'b> {
    pub(super) fn new(server: &'a Server<'b>) -> Self {
        Self { server, kinds: HashMap::new() }
    }

    /// Applies one object: ours win over fields that others set.
    pub(super) async fn apply(&mut self, c: &Context<'_>, object: serde_json::Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(object).context("reading an object to apply")?;
        let name = object.metadata.name.clone().context("an object to apply has no name")?;
        let types = object.types.clone().context("an object to apply has no kind")?;
        let gvk = GroupVersionKind::try_from(&types).map_err(|e| anyhow::anyhow!("reading a kind: {e}"))?;
        let namespace = object.metadata.namespace.clone();
        let label = match &namespace {
            Some(namespace) => format!("{} {namespace}/{name}", types.kind),
            None => format!("{} {name}", types.kind),
        };
        c.status.info(&format!("api: applying {label}"));
        if !self.kinds.contains_key(&gvk) {
            let found = self
                .server
                .patiently(&format!("finding the kind of {label}"), || {
                    discovery::pinned_kind(&self.server.client, &gvk)
                })
                .await?;
            self.kinds.insert(gvk.clone(), (found.0, found.1.scope));
        }
        let (resource, scope) = self.kinds.get(&gvk).context("a kind that was just found")?;
        let api: Api<DynamicObject> = match (scope, &namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.server.client.clone(), namespace, resource)
            }
            (Scope::Namespaced, None) => Api::namespaced_with(self.server.client.clone(), "default", resource),
            (Scope::Cluster, _) => Api::all_with(self.server.client.clone(), resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        self.server
            .patiently(&format!("applying {label}"), || {
                let (api, name, params, object) = (api.clone(), name.clone(), params.clone(), object.clone());
                async move { api.patch(&name, &params, &Patch::Apply(&object)).await }
            })
            .await?;
        Ok(())
    }
}
