//! What cannot be planned, and the checks that say so before anything is rendered.

use crate::{
    component::{Site, apiserver, controller_manager, etcd, kubelet, scheduler, static_pod},
    config::{Cluster, Node},
};
use nodekiln_plan::{NodeName, Role};

/// Something about a node that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node}: {field}: {message}")]
pub struct Refusal {
    /// The node.
    pub node: NodeName,
    /// Where in cluster.yaml: a path below the cluster or, where the node may say it itself, below the node, such as
    /// `binaries.kubelet`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(node: &Node, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { node: node.name.clone(), field: field.into(), message: message.into(), hint: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// No folder of the user's may be longer: names below it still have to fit into a path (4095 bytes).
const LONGEST_FOLDER: usize = 3500;

/// The site, if everything holds that the components build on.
pub(super) fn check<'a>(cluster: &'a Cluster, node: &'a Node) -> Result<Site<'a>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut refuse = |refusal| refusals.push(refusal);
    if node.role == Role::Etcd {
        refuse(Refusal::new(node, "role", "nodes that run etcd alone are not supported yet"));
    }
    for (field, folder) in
        [("certificatesDir", &cluster.certificates_dir), ("etcd.local.dataDir", &cluster.etcd.data_dir)]
    {
        if folder.as_str().len() > LONGEST_FOLDER {
            refuse(Refusal::new(node, field, format!("is longer than {LONGEST_FOLDER} bytes")));
        }
    }
    for arg in &cluster.etcd.extra_args {
        if etcd::DECIDED.contains(&arg.name.as_str()) {
            let message = format!("`{}` is decided by firstboot, when the members have met", arg.name);
            refuse(Refusal::new(node, "etcd.local.extraArgs", message));
        }
    }
    for arg in &node.kubelet_extra_args {
        if kubelet::OWNED_ARGS.contains(&arg.name.as_str()) {
            let message = format!("`{}` is set by nodekiln: firstboot and the certificates rely on it", arg.name);
            refuse(Refusal::new(node, "kubeletExtraArgs", message));
        }
    }
    if node.kubelet.get("healthzPort").and_then(serde_json::Value::as_u64) == Some(0) {
        let refusal = Refusal::new(node, "kubelet.healthzPort", "0 turns off the endpoint that firstboot waits for");
        refuse(refusal.hint("leave it out, or give a port on the loopback address"));
    }
    let releases = super::releases(cluster, node);
    if releases.is_none() {
        let known = crate::release::Release::minors().join(", ");
        let message = format!("{} or {} is not supported", cluster.version, node.version);
        refuse(Refusal::new(node, "kubernetesVersion", message).hint(format!("supported are {known}")));
    }
    match releases {
        Some((release, kubelet)) if refusals.is_empty() => {
            let site = Site { cluster, node, release, kubelet };
            let refusals = volumes(&site);
            if refusals.is_empty() { Ok(site) } else { Err(refusals) }
        }
        _ => Err(refusals),
    }
}

/// extraVolumes that would keep a static pod from starting.
fn volumes(site: &Site) -> Vec<Refusal> {
    if site.node.role != Role::ControlPlane {
        return Vec::new();
    }
    let cluster = site.cluster;
    [
        ("apiServer", apiserver::own_volumes(site), &cluster.api_server),
        ("controllerManager", controller_manager::own_volumes(site), &cluster.controller_manager),
        ("scheduler", scheduler::own_volumes(), &cluster.scheduler),
    ]
    .into_iter()
    .filter_map(|(name, ours, component)| {
        let path = static_pod::clash(&ours, &component.extra_volumes)?;
        let message = format!("`{path}` is mounted already");
        let refusal = Refusal::new(site.node, format!("{name}.extraVolumes"), message);
        Some(refusal.hint("a volume of the same name as kubeadm's takes its place"))
    })
    .collect()
}
