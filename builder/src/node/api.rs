//! The API steps, in order: what kubeadm does once its API server answers, then nodekiln's own objects and the Nodes.

use super::{own::patched, refusal::Fault};
use crate::{
    component::{
        ClassSite, Site, bootstrap, containerd, coredns, feature_gates, flannel, kube_proxy, kube_vip, kubeadm_config,
        kubelet, rbac,
    },
    config::{Cni, LoadBalancer, PatchTarget},
    draft::DraftStep,
};
use nodekiln_plan::{ApiStep, NodeStep, Role};
use serde_json::Value;
use std::collections::BTreeMap;

/// All steps. Every control plane has the same, so any of them may do them.
pub(super) fn steps(site: &Site, faults: &mut Vec<Fault>) -> Vec<DraftStep> {
    let mut lay = |target, object: Value| {
        let patched = patched(site, target, object.clone());
        apply(patched.unwrap_or_else(|fault| {
            faults.push(fault);
            object
        }))
    };
    let mut objects: Vec<Value> = rbac::identities();
    objects.extend(rbac::lease());
    if matches!(site.cluster.load_balancer, LoadBalancer::KubeVip(_)) {
        objects.extend(kube_vip::objects());
    }
    objects.push(kubeadm_config::config_map(site));
    objects.push(kubelet::config_map(site));
    objects.extend(rbac::config_readers());
    let mut steps: Vec<_> = objects.into_iter().map(apply).collect();
    steps.extend(bootstrap::secrets(site.cluster));
    steps.extend(rbac::bootstrap().into_iter().map(apply));
    steps.extend(rbac::cluster_info(site));
    if site.cluster.dns.is_some() {
        steps.extend(coredns::objects(site).into_iter().map(|object| match object["kind"] == "Deployment" {
            true => lay(PatchTarget::CoreDnsDeployment, object),
            false => apply(object),
        }));
    }
    if site.cluster.proxy {
        steps.extend(kube_proxy::objects(site).into_iter().map(|object| match object["kind"] == "DaemonSet" {
            true => lay(PatchTarget::KubeProxyDaemonSet, object),
            false => apply(object),
        }));
    }
    if site.cluster.cni == Cni::Flannel {
        steps.extend(flannel::objects(site).into_iter().map(apply));
    }
    // After all of ours: a user's object may need the network, and a kind that an earlier one defines.
    steps.extend(site.cluster.manifests.iter().map(|object| apply(object.value.clone())));
    // What the machines of a pool are called is not known; what runs etcd alone is no Node.
    for node in site.cluster.nodes.iter().filter(|node| node.role != Role::Etcd) {
        steps.push(DraftStep::Step(ApiStep::Node(NodeStep {
            name: node.name.clone(),
            labels: kubelet::api_labels(node),
            annotations: annotations(site),
            taints: node.taints.to_vec(),
            // Otherwise kube-controller-manager gives them out.
            pod_cidrs: if site.cluster.cni == Cni::Bridge { node.pod_cidrs.clone() } else { Vec::new() },
        })));
    }
    steps
}

/// Without instance-config.yaml kubeadm's tools read the runtime's socket off the Node (kubeadm's `AnnotateCRISocket`).
fn annotations(site: &ClassSite) -> BTreeMap<String, String> {
    const CRI_SOCKET: &str = "kubeadm.alpha.kubernetes.io/cri-socket";
    match feature_gates::instance_config(site) {
        true => BTreeMap::new(),
        false => [(CRI_SOCKET.to_owned(), containerd::ENDPOINT.to_owned())].into(),
    }
}

fn apply(object: Value) -> DraftStep {
    DraftStep::Step(ApiStep::Apply(object))
}
