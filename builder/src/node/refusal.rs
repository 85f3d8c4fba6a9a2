//! What cannot be planned, and the checks that say so before anything is rendered.

use crate::{
    component::{
        Site, apiserver, containerd, controller_manager, etcd, etcd_access,
        feature_gates::{self, Effect},
        kubelet, scheduler, static_pod,
    },
    config::{Algorithm, Cluster, Cni, LoadBalancer, Node, NodeIdentity, NodeKind, Patch, PatchTarget},
    release::{self, Behaviour},
    secrets::Shape,
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
pub(super) fn check<'a>(cluster: &'a Cluster, node: &'a Node, shape: &'a Shape) -> Result<Site<'a>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut refuse = |refusal| refusals.push(refusal);
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
    if node.kind == NodeKind::Pool {
        pool(cluster, node).into_iter().for_each(&mut refuse);
    }
    let site = Site::new(cluster, node, shape);
    if site.is_none() {
        let known = crate::release::Release::minors().join(", ");
        let message = format!("{} or {} is not supported", cluster.version, node.version);
        refuse(Refusal::new(node, "kubernetesVersion", message).hint(format!("supported are {known}")));
    }
    match site {
        Some(site) if refusals.is_empty() => {
            let mut refusals = volumes(&site);
            refusals.extend(etcd_files(&site));
            refusals.extend(of_release(&site));
            refusals.extend(addons(&site));
            refusals.extend(gates(&site));
            refusals.extend(signer(&site));
            if refusals.is_empty() { Ok(site) } else { Err(refusals) }
        }
        _ => Err(refusals),
    }
}

/// What a load balancer or a network of ours cannot do.
fn addons(site: &Site) -> Vec<Refusal> {
    let cluster = site.cluster;
    let mut refusals = Vec::new();
    if matches!(cluster.load_balancer, LoadBalancer::KubeVip(_)) && cluster.endpoint.port != apiserver::PORT {
        let message = format!("kube-vip holds an address and forwards nothing: the port has to be {}", apiserver::PORT);
        refusals.push(Refusal::new(site.node, "controlPlaneEndpoint", message));
    }
    if cluster.cni == Cni::Flannel {
        // Against the first alone: each with each would take minutes for many nodes.
        let first = cluster.payloads().next().map(|node| containerd::cni_bin_dir(&Site { node, ..*site }));
        if first.is_some_and(|first| first != containerd::cni_bin_dir(site)) {
            let message = "flannel installs its plugin in one folder on all nodes, and theirs differ";
            refusals.push(Refusal::new(site.node, "binaries.cniPlugins", message));
        }
    }
    refusals
}

/// What machines that nobody knows by name cannot have.
fn pool(cluster: &Cluster, node: &Node) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if cluster.cni == Cni::Bridge {
        let message = "`bridge` lays a route to every node, and the machines of a pool are not known";
        let refusal = Refusal::new(node, "addons.cni", message);
        refusals.push(refusal.hint("take `none` with a network add-on, or `flannel`"));
    }
    let restricted: Vec<_> = node.labels.keys().filter(|key| !kubelet::label_is_free(key)).cloned().collect();
    if !restricted.is_empty() {
        let message = format!("a kubelet may not give itself {}", restricted.join(", "));
        let refusal = Refusal::new(node, "labels", message);
        refusals.push(refusal.hint("the Nodes of a pool are made by their kubelets: label them through the API"));
    }
    refusals
}

/// Machines that ask for their certificate where nobody signs it.
fn signer(site: &Site) -> Option<Refusal> {
    if !site.shape.external_ca || site.node.identity == NodeIdentity::Baked {
        return None;
    }
    // A pool says nothing of its identity: it is the whole of it.
    let field = if site.node.kind == NodeKind::Pool { "name" } else { "identity" };
    let message = "it asks the cluster for a certificate by bootstrap token, and nothing in the cluster signs one: the \
        cluster CA's key is not in the secrets";
    let refusal = Refusal::new(site.node, field, message);
    Some(refusal.hint("list the machines under `nodes` with `identity: baked`, or import the CA with its key"))
}

/// kubeadm's feature gates: those that mean nothing here, and one that contradicts what is built.
fn gates(site: &Site) -> Vec<Refusal> {
    let refusal = |message| Refusal::new(site.node, "featureGates", message);
    let judge = |(name, value): (&String, &bool)| match feature_gates::judge(site.release, name, *value) {
        Err(message) => Some(refusal(message).hint(format!("it knows {}", site.release.gates().join(", ")))),
        Ok(Effect::Algorithm(algorithm)) if algorithm != site.cluster.algorithm => Some(
            refusal(format!("`{name}` and `encryptionAlgorithm` contradict each other")).hint("leave the gate out"),
        ),
        Ok(_) => None,
    };
    site.cluster.feature_gates.iter().filter_map(judge).collect()
}

/// What the releases of the cluster and of the node's kubelet do not have.
fn of_release(site: &Site) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if site.cluster.algorithm == Algorithm::EcdsaP384 && !site.release.has(Behaviour::EcdsaP384) {
        let message = format!("kubeadm's tools of {} do not know ECDSA-P384", site.cluster.version);
        refusals.push(Refusal::new(site.node, "encryptionAlgorithm", message).hint("ECDSA-P256 is as good here"));
    }
    let over_proxy = |patch: &&Patch| patch.target == PatchTarget::KubeProxyDaemonSet;
    if let Some(patch) = site.cluster.patches.iter().find(over_proxy)
        && !site.release.has(Behaviour::PatchKubeProxy)
    {
        let message = format!("{}: kubeadm of {} has no such target", patch.path, site.cluster.version);
        refusals.push(Refusal::new(site.node, "patches", message).hint("`kubeProxy` says what kube-proxy does"));
    }
    let config = serde_json::Value::Object(site.node.kubelet.clone());
    if let Some(path) = release::KUBELET_FIELDS.unknown(&config, |path| site.kubelet.has_kubelet_field(path)) {
        let message = format!("a kubelet of {} does not know `{path}`", site.node.version);
        refusals.push(Refusal::new(site.node, "kubelet", message).hint("it would ignore the field: leave it out"));
    }
    refusals
}

/// Folders of an external etcd's files that cannot be mounted into kube-apiserver.
fn etcd_files(site: &Site) -> Vec<Refusal> {
    if site.node.role != Role::ControlPlane {
        return Vec::new();
    }
    let at_root = |path: &AbsPath| path.parent().is_none_or(|folder| folder.as_str() == "/");
    let refusal = |path: AbsPath| {
        let message = format!("the folder of `{path}` is mounted into kube-apiserver, and / cannot be");
        Refusal::new(site.node, "etcd.external", message).hint("put the file into a folder of its own")
    };
    etcd_access::in_image(site).into_iter().filter(at_root).map(refusal).collect()
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
