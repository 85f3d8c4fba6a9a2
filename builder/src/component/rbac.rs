//! The objects that make kubeadm's tools and nodekiln's own later visits work: roles, bindings, cluster-info, the Lease.
//!
//! All of kubeadm's are here but those of objects that do not exist (no uploaded certificates); bootstrap tokens are in
//! `bootstrap`. The roles of bootstrappers bind a group that only holders of a token are in: pools, nodes without a baked
//! identity, and whoever an administrator makes one for, so `kubeadm token create` and `kubeadm join` work for a machine
//! that somebody adds by hand.

use super::{ClassSite, NAMESPACE, STATE_OBJECT};
use crate::{
    draft::{DraftStep, Part, Row, Shared},
    pki::table::{self, CommonName},
};
use nodekiln_plan::ApiStep;
use serde_json::{Value, json};

/// kubeadm's group of machines that join by token.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers:kubeadm:default-node-token";
const NODES: &str = "system:nodes";
const API_GROUP: &str = "rbac.authorization.k8s.io";

fn group(name: &str) -> Value {
    json!({"apiGroup": API_GROUP, "kind": "Group", "name": name})
}

fn user(name: &str) -> Value {
    json!({"apiGroup": API_GROUP, "kind": "User", "name": name})
}

/// `roleRef` and subjects under this name for the whole cluster.
pub(crate) fn cluster_binding(name: &str, role: &str, subjects: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": API_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

/// A Role on named objects and the RoleBinding of the same name.
pub(crate) fn role(name: &str, namespace: &str, rule: Value, subjects: Vec<Value>) -> [Value; 2] {
    let metadata = json!({"name": name, "namespace": namespace});
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [rule],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": API_GROUP, "kind": "Role", "name": name},
            "subjects": subjects,
        }),
    ]
}

fn get_config_map(name: &str) -> Value {
    json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]})
}

/// The CN of a row, where it is no node's.
fn common_name(row: Row) -> &'static str {
    match table::spec(row).common_name {
        CommonName::Fixed(name) | CommonName::Node(name) => name,
    }
}

/// Whoever holds a certificate of `row`, as a subject.
pub(crate) fn holder(row: Row) -> Value {
    user(common_name(row))
}

/// What the administrator's certificate and kube-apiserver's own need.
pub(crate) fn identities() -> Vec<Value> {
    vec![
        cluster_binding("kubeadm:cluster-admins", "cluster-admin", vec![group("kubeadm:cluster-admins")]),
        cluster_binding(
            "kubeadm:apiserver-kubelet-client",
            "system:kubelet-api-admin",
            vec![user(common_name(Row::ApiServerKubeletClient))],
        ),
    ]
}

/// The Lease that serialises firstboots, and the rights of the certificate that control planes keep: on that one object.
pub(crate) fn lease() -> Vec<Value> {
    let mut objects = vec![json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": STATE_OBJECT, "namespace": NAMESPACE},
    })];
    let rule = json!({
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [STATE_OBJECT],
        "verbs": ["get", "update", "patch"],
    });
    objects.extend(role("nodekiln:lease", NAMESPACE, rule, vec![user(common_name(Row::Lease))]));
    objects
}

/// Who may read kubeadm's ConfigMaps.
pub(crate) fn config_readers() -> Vec<Value> {
    let readers = || vec![group(BOOTSTRAPPERS), group(NODES)];
    let mut objects = Vec::new();
    objects.extend(role("kubeadm:nodes-kubeadm-config", NAMESPACE, get_config_map("kubeadm-config"), readers()));
    objects.extend(role("kubeadm:kubelet-config", NAMESPACE, get_config_map("kubelet-config"), readers()));
    objects
}

/// kubeadm's phase `bootstrap-token` without the tokens: who may join, and the rotation of kubelets' certificates.
pub(crate) fn bootstrap() -> Vec<Value> {
    const CSR: &str = "system:certificates.k8s.io:certificatesigningrequests";
    let joining = || vec![group(BOOTSTRAPPERS)];
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "kubeadm:get-nodes"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
        }),
        cluster_binding("kubeadm:get-nodes", "kubeadm:get-nodes", joining()),
        cluster_binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", joining()),
        cluster_binding("kubeadm:node-autoapprove-bootstrap", &format!("{CSR}:nodeclient"), joining()),
        cluster_binding(
            "kubeadm:node-autoapprove-certificate-rotation",
            &format!("{CSR}:selfnodeclient"),
            vec![group(NODES)],
        ),
    ]
}

/// kube-proxy's ConfigMap, for machines that join.
pub(crate) fn kube_proxy_readers() -> [Value; 2] {
    role("kube-proxy", NAMESPACE, get_config_map("kube-proxy"), vec![group(BOOTSTRAPPERS)])
}

/// The ConfigMap `cluster-info` that anybody may read: where the cluster is, and its CA.
pub(crate) fn cluster_info(site: &ClassSite) -> Vec<DraftStep> {
    const CA: &str = "@ca@";
    let kubeconfig = super::pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "",
            "cluster": {"certificate-authority-data": CA, "server": site.public_endpoint().https()},
        }],
        "contexts": null,
        "current-context": "",
        "users": null,
    }));
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig},
    });
    let line = serde_json::to_string(&ApiStep::Apply(object)).expect("all keys are texts");
    let mut steps = vec![DraftStep::Template(crate::draft::fill_in(&line, CA, &Part::Base64(Shared::Ca)))];
    let anybody = vec![user("system:anonymous")];
    let reader = role("kubeadm:bootstrap-signer-clusterinfo", "kube-public", get_config_map("cluster-info"), anybody);
    steps.extend(reader.map(|object| DraftStep::Step(ApiStep::Apply(object))));
    steps
}
