//! What is read and checked, but not built yet: refused by name, never ignored. A row goes when planning acts on it.

use super::Cx;
use crate::config::{
    diag::Finding,
    raw::{RawCluster, RawOs},
    read::{Field, Place, unsupported},
};
use nodekiln_plan::KubernetesVersion;

impl Cx<'_, '_> {
    pub(super) fn not_planned_yet(&mut self, raw: &RawCluster, version: Option<KubernetesVersion>) {
        let mut found: Vec<(Place, Finding)> = Vec::new();
        let mut later = |place: &Place, what: &str| found.push((place.clone(), unsupported(what)));
        let algorithms = ["ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096"];
        if let Some(at) = raw.encryption_algorithm.get().filter(|at| algorithms.contains(&at.value.as_str())) {
            later(&at.place, &format!("`{}`", at.value));
        }
        if let (Some(at), Some(version)) = (raw.kubernetes_version.get(), version)
            && !at.value.0.starts_with("v1.36.")
        {
            later(&at.place, &format!("Kubernetes {version}"));
        }
        if let Some(at) = raw.feature_gates.get().filter(|at| !at.value.0.is_empty()) {
            later(&at.place, "`featureGates`");
        }
        if let Some(at) = raw.patches.get() {
            later(&at.place, "`patches`");
        }
        if let Some(at) = raw.pools.get().filter(|at| !at.value.is_empty()) {
            later(&at.place, "`pools`");
        }
        if let Some(at) = raw.images.get().and_then(|images| images.digests.get()).filter(|at| !at.value.0.is_empty()) {
            later(&at.place, "`digests`");
        }
        if let Some(at) = raw.etcd.get().and_then(|etcd| etcd.external.get()) {
            later(&at.place, "`external`");
        }
        if let Some(addons) = raw.addons.get() {
            if let Some(at) = addons.cni.get().filter(|at| at.value == "flannel") {
                later(&at.place, "`flannel`");
            }
            if let Some(at) = addons.manifests.get().filter(|at| !at.value.is_empty()) {
                later(&at.place, "`manifests`");
            }
        }
        if let Some(at) = raw.load_balancer.get().filter(|at| matches!(at.value.as_str(), "kube-vip" | "local")) {
            later(&at.place, &format!("`loadBalancer: {}`", at.value));
        }
        let pools = raw.pools.get().into_iter().flat_map(|list| &list.value);
        let nodes = || raw.nodes.get().into_iter().flat_map(|list| &list.value);
        let os: Vec<&Field<RawOs>> =
            std::iter::once(&raw.os).chain(nodes().map(|node| &node.os)).chain(pools.map(|pool| &pool.os)).collect();
        for os in os {
            if let Some(at) = os.get().and_then(|os| os.snippets.get()).filter(|at| !at.value.is_empty()) {
                later(&at.place, "`snippets`");
            }
        }
        for node in nodes() {
            if let Some(at) = node.role.get().filter(|at| at.value == "etcd") {
                later(&at.place, "`etcd`");
            }
            if let Some(at) = node.identity.get().filter(|at| at.value == "bootstrap-token") {
                later(&at.place, "`bootstrap-token`");
            }
            if let Some(at) = node.replaces.get() {
                later(&at.place, "`replaces`");
            }
            if let Some(at) = node.disk.get() {
                later(&at.place, "`disk`");
            }
        }
        for (place, finding) in found {
            self.found.error_at(&place, finding);
        }
    }
}
