//! What cannot be planned, and the checks that say so before anything is rendered.

use crate::{
    component::{
        ClassSite, apiserver, containerd, controller_manager, etcd, etcd_access,
        feature_gates::{self, Effect},
        kubelet, scheduler, static_pod,
    },
    config::{Algorithm, Cluster, Cni, LoadBalancer, Node, NodeClass, NodeIdentity, NodeKind, Patch, PatchTarget},
    release::{self, Behaviour},
};
use nodekiln_plan::{AbsPath, NodeName, Role};

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

/// Something that a class of nodes brings and that cannot be planned: a [`Refusal`] of each of them.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// See [`Refusal::field`].
    field: String,
    message: String,
    hint: Option<String>,
}

impl Fault {
    /// One without a hint.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), hint: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, said of `node`.
    pub fn of(self, node: &Node) -> Refusal {
        let Self { field, message, hint } = self;
        Refusal { node: node.name.clone(), field, message, hint }
    }
}

/// No folder of the user's may be longer: names below it still have to fit into a path (4095 bytes).
const LONGEST_FOLDER: usize = 3500;

/// What of `class` does not hold that the components build on, whatever else is found: without it there is nothing to plan.
pub(super) fn check(cluster: &Cluster, class: &NodeClass) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (field, folder) in
        [("certificatesDir", &cluster.certificates_dir), ("etcd.local.dataDir", &cluster.etcd.data_dir)]
    {
        if folder.as_str().len() > LONGEST_FOLDER {
            faults.push(Fault::new(field, format!("is longer than {LONGEST_FOLDER} bytes")));
        }
    }
    for arg in &cluster.etcd.extra_args {
        if etcd::DECIDED.contains(&arg.name.as_str()) {
            let message = format!("`{}` is decided by firstboot, when the members have met", arg.name);
            faults.push(Fault::new("etcd.local.extraArgs", message));
        }
    }
    for arg in &*class.kubelet_extra_args {
        if kubelet::OWNED_ARGS.contains(&arg.name.as_str()) {
            let message = format!("`{}` is set by nodekiln: firstboot and the certificates rely on it", arg.name);
            faults.push(Fault::new("kubeletExtraArgs", message));
        }
    }
    if class.kubelet.get("healthzPort").and_then(serde_json::Value::as_u64) == Some(0) {
        let fault = Fault::new("kubelet.healthzPort", "0 turns off the endpoint that firstboot waits for");
        faults.push(fault.hint("leave it out, or give a port on the loopback address"));
    }
    if class.kind == NodeKind::Pool && cluster.cni == Cni::Bridge {
        let message = "`bridge` lays a route to every node, and the machines of a pool are not known";
        faults.push(Fault::new("addons.cni", message).hint("take `none` with a network add-on, or `flannel`"));
    }
    faults
}

/// What a node says itself that cannot be planned.
pub(super) fn own(node: &Node) -> Option<Fault> {
    let restricted: Vec<_> = node.labels.keys().filter(|key| !kubelet::label_is_free(key)).cloned().collect();
    if node.kind != NodeKind::Pool || restricted.is_empty() {
        return None;
    }
    let fault = Fault::new("labels", format!("a kubelet may not give itself {}", restricted.join(", ")));
    Some(fault.hint("the Nodes of a pool are made by their kubelets: label them through the API"))
}

/// A release that is not known.
pub(super) fn release(cluster: &Cluster, class: &NodeClass) -> Fault {
    let known = crate::release::Release::minors().join(", ");
    let message = format!("{} or {} is not supported", cluster.version, class.version);
    Fault::new("kubernetesVersion", message).hint(format!("supported are {known}"))
}

/// What the components know to be wrong before anything is rendered.
pub(super) fn of_components(site: &ClassSite) -> Vec<Fault> {
    let mut faults = volumes(site);
    faults.extend(etcd_files(site));
    faults.extend(of_release(site));
    faults.extend(addons(site));
    faults.extend(gates(site));
    faults.extend(signer(site));
    faults
}

/// What a load balancer or a network of ours cannot do.
fn addons(site: &ClassSite) -> Vec<Fault> {
    let cluster = site.cluster;
    let mut faults = Vec::new();
    if matches!(cluster.load_balancer, LoadBalancer::KubeVip(_)) && cluster.endpoint.port != apiserver::PORT {
        let message = format!("kube-vip holds an address and forwards nothing: the port has to be {}", apiserver::PORT);
        faults.push(Fault::new("controlPlaneEndpoint", message));
    }
    if cluster.cni == Cni::Flannel {
        // Against the first alone: each with each would take minutes for many nodes.
        let first = cluster.payloads().next().map(|node| containerd::cni_bin_dir(&node.binaries));
        if first.is_some_and(|first| first != containerd::cni_bin_dir(&site.class.binaries)) {
            let message = "flannel installs its plugin in one folder on all nodes, and theirs differ";
            faults.push(Fault::new("binaries.cniPlugins", message));
        }
    }
    faults
}

/// Machines that ask for their certificate where nobody signs it.
fn signer(site: &ClassSite) -> Option<Fault> {
    if !site.shape.external_ca || site.class.identity == NodeIdentity::Baked {
        return None;
    }
    // A pool says nothing of its identity: it is the whole of it.
    let field = if site.class.kind == NodeKind::Pool { "name" } else { "identity" };
    let message = "it asks the cluster for a certificate by bootstrap token, and nothing in the cluster signs one: the \
        cluster CA's key is not in the secrets";
    let fault = Fault::new(field, message);
    Some(fault.hint("list the machines under `nodes` with `identity: baked`, or import the CA with its key"))
}

/// kubeadm's feature gates: those that mean nothing here, and one that contradicts what is built.
fn gates(site: &ClassSite) -> Vec<Fault> {
    let fault = |message| Fault::new("featureGates", message);
    let judge = |(name, value): (&String, &bool)| match feature_gates::judge(site.release, name, *value) {
        Err(message) => Some(fault(message).hint(format!("it knows {}", site.release.gates().join(", ")))),
        Ok(Effect::Algorithm(algorithm)) if algorithm != site.cluster.algorithm => {
            Some(fault(format!("`{name}` and `encryptionAlgorithm` contradict each other")).hint("leave the gate out"))
        }
        Ok(_) => None,
    };
    site.cluster.feature_gates.iter().filter_map(judge).collect()
}

/// What the releases of the cluster and of the node's kubelet do not have.
fn of_release(site: &ClassSite) -> Vec<Fault> {
    let mut faults = Vec::new();
    if site.cluster.algorithm == Algorithm::EcdsaP384 && !site.release.has(Behaviour::EcdsaP384) {
        let message = format!("kubeadm's tools of {} do not know ECDSA-P384", site.cluster.version);
        faults.push(Fault::new("encryptionAlgorithm", message).hint("ECDSA-P256 is as good here"));
    }
    let over_proxy = |patch: &&Patch| patch.target == PatchTarget::KubeProxyDaemonSet;
    if let Some(patch) = site.cluster.patches.iter().find(over_proxy)
        && !site.release.has(Behaviour::PatchKubeProxy)
    {
        let message = format!("{}: kubeadm of {} has no such target", patch.path, site.cluster.version);
        faults.push(Fault::new("patches", message).hint("`kubeProxy` says what kube-proxy does"));
    }
    let config = serde_json::Value::Object(crate::config::Fragment::clone(&site.class.kubelet));
    if let Some(path) = release::KUBELET_FIELDS.unknown(&config, |path| site.kubelet.has_kubelet_field(path)) {
        let message = format!("a kubelet of {} does not know `{path}`", site.class.version);
        faults.push(Fault::new("kubelet", message).hint("it would ignore the field: leave it out"));
    }
    faults
}

/// Folders of an external etcd's files that cannot be mounted into kube-apiserver.
fn etcd_files(site: &ClassSite) -> Vec<Fault> {
    if site.class.role != Role::ControlPlane {
        return Vec::new();
    }
    let at_root = |path: &AbsPath| path.parent().is_none_or(|folder| folder.as_str() == "/");
    let fault = |path: AbsPath| {
        let message = format!("the folder of `{path}` is mounted into kube-apiserver, and / cannot be");
        Fault::new("etcd.external", message).hint("put the file into a folder of its own")
    };
    etcd_access::in_image(site).into_iter().filter(at_root).map(fault).collect()
}

/// extraVolumes that would keep a static pod from starting.
fn volumes(site: &ClassSite) -> Vec<Fault> {
    if site.class.role != Role::ControlPlane {
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
        let fault = Fault::new(format!("{name}.extraVolumes"), message);
        Some(fault.hint("a volume of the same name as kubeadm's takes its place"))
    })
    .collect()
}
