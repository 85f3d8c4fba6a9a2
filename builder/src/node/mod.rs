//! Planning: a cluster and one of its nodes in, a [`NodeDraft`] out. Pure, and without any key.

mod api;
mod binary;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod refusal;
mod spec;
mod tree;

pub use refusal::Refusal;

use crate::{
    component::{
        KUBERNETES_DIR, MANIFESTS_DIR, Site, apiserver, below, cni, constant, containerd, controller_manager,
        encryption, etcd, feature_gates, firstboot, haproxy, kube_vip, kubelet, network, patches, pretty, scheduler,
        system,
    },
    config::{Arch, Cluster, LoadBalancer, Node, PatchTarget},
    draft::{Blob, Contents, NodeDraft},
    pki::table::Holder,
    secrets::Shape,
};
use nodekiln_payload::{Account, Fetch, Format, Network, NetworkService, Snippet, TimeService, Unit, UnitState};
use nodekiln_plan::{AbsPath, FileKind, KernelPlan, Mode, Role};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tree::{Snippets, Tree};

/// What planning needs beside the cluster.
#[derive(Clone, Default)]
pub struct Sources {
    /// The firstboot program per architecture: embedded in the builder, or given by `--firstboot`.
    pub firstboot: BTreeMap<Arch, Arc<[u8]>>,
    /// What secrets the cluster has: new ones, unless it is told otherwise.
    pub shape: Shape,
    /// What was hashed, by address.
    digests: Digests,
}

/// Large inputs with their digests, by the address of their bytes, which stay alive with it.
#[derive(Clone, Default)]
struct Digests(Arc<Mutex<BTreeMap<usize, Blob>>>);

impl Sources {
    /// From this size on bytes are hashed once, however many nodes have them.
    const LARGE: usize = 64 * 1024;

    /// With these programs.
    pub fn new(firstboot: BTreeMap<Arch, Arc<[u8]>>) -> Self {
        Self { firstboot, ..Self::default() }
    }

    /// `bytes` with their digest.
    pub(crate) fn blob(&self, bytes: &Arc<[u8]>) -> Blob {
        if bytes.len() < Self::LARGE {
            return Blob::of(Arc::clone(bytes));
        }
        let mut known = self.digests.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(bytes.as_ptr() as usize).or_insert_with(|| Blob::of(Arc::clone(bytes))).clone()
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.firstboot.iter().map(|(arch, bytes)| (arch, bytes.len()))).finish()
    }
}

/// All of `node` but its keys.
///
/// # Errors
/// Everything about this node that cannot be planned, at once.
pub fn plan(cluster: &Cluster, node: &Node, sources: &Sources) -> Result<NodeDraft, Vec<Refusal>> {
    let site = refusal::check(cluster, node, &sources.shape)?;
    let mut tree = Tree::new(node, sources);
    let firstboot = binary::lay(&site, sources, &mut tree);
    let kubelet_config = patched(&site, &mut tree, PatchTarget::KubeletConfiguration, kubelet::config(&site));

    let kernel = lay_system(&site, &mut tree);
    lay_runtime(&site, &mut tree);
    lay_network(&site, &mut tree);
    lay_balancer(&site, &mut tree);
    identity::lay(&site, &mut tree);
    if site.is_member() {
        let path = below(&constant(MANIFESTS_DIR), "etcd.yaml");
        let manifest = pretty(&patched(&site, &mut tree, PatchTarget::Etcd, etcd::manifest(&site)));
        tree.file(path, Mode::PRIVATE, FileKind::Decided, Contents::Text(manifest));
    }
    if node.role == Role::ControlPlane {
        lay_control_plane(&site, &mut tree);
    }
    tree.text(kubelet::CONFIG, Mode::PUBLIC, FileKind::Staged, pretty(&kubelet_config));
    if site.is_node() && feature_gates::instance_config(&site) {
        let text = pretty(&kubelet::instance_config());
        tree.text(kubelet::INSTANCE_CONFIG, Mode::PUBLIC, FileKind::Staged, text);
    }
    tree.unit(kubelet::unit(&site, &firstboot));
    tree.unit(firstboot::unit(&site, &firstboot));
    lay_users_own(&site, &mut tree);

    let api = if node.role == Role::ControlPlane { api::steps(&site, &mut tree) } else { Vec::new() };

    let spec = spec::spec(&site, kernel, &kubelet_config, std::mem::take(&mut tree.archives));
    for directory in &spec.directories {
        tree.check_directory(&directory.path);
    }
    let snippets = snippets(node, &mut tree);
    let accounts = accounts(node);
    let parts = tree.finish(&Snippets { laid: &snippets, directories: &spec.directories, accounts: &accounts })?;
    let is_cloud_init = |network| network == NetworkService::CloudInit;
    Ok(NodeDraft {
        spec,
        holder: Holder::of(cluster, node),
        profile: node.os.profile,
        files: parts.files,
        users_own: parts.users_own,
        links: Vec::new(),
        units: parts.units,
        accounts,
        fetch_ca: cluster.delivery.ca.as_ref().filter(|_| is_https(&parts.fetches)).map(|ca| ca.bytes.clone()),
        fetches: parts.fetches,
        network: node.network.as_ref().filter(|_| is_cloud_init(node.os.profile.network_service)).map(|network| {
            Network {
                mac: node.mac.clone(),
                addresses: network.addresses.clone(),
                gateways: network.gateways.clone(),
                nameservers: network.nameservers.clone(),
            }
        }),
        time_servers: match node.os.profile.time_service {
            TimeService::CloudInit => node.os.time_servers.clone(),
            TimeService::Timesyncd | TimeService::Chrony => Vec::new(),
        },
        snippets: match node.os.profile.format {
            Format::Ignition => snippets,
            Format::CloudInit => Snippet::merged(&snippets).into_iter().collect(),
        },
        blobs: parts.blobs,
        api,
    })
}

/// Whether a server's certificate has to be verified for any of these.
fn is_https(fetches: &[Fetch]) -> bool {
    fetches.iter().any(|fetch| fetch.url.starts_with("https://"))
}

/// Host name, kernel settings, which it gives back, clock, and what the profile brings.
fn lay_system(site: &Site, tree: &mut Tree) -> KernelPlan {
    let profile = site.node.os.profile;
    let kernel = system::kernel(site);
    if site.is_machine() {
        tree.text("/etc/hostname", Mode::PUBLIC, FileKind::Laid, format!("{}\n", site.node.name));
    }
    tree.text(system::MODULES, Mode::PUBLIC, FileKind::Laid, system::modules_file(&kernel));
    tree.text(system::SYSCTLS, Mode::PUBLIC, FileKind::Laid, system::sysctls_file(&kernel));
    if let Some((path, text)) = system::time_file(site) {
        tree.file(path, Mode::PUBLIC, FileKind::Laid, Contents::Text(text));
    }
    let mut files: Vec<_> = profile.files.iter().collect();
    let mut masked: Vec<_> = profile.mask.iter().collect();
    if !site.node.os.updates {
        files.extend(&profile.updates_off_files);
        masked.extend(&profile.updates_off_mask);
    }
    for file in files {
        tree.file(file.path.clone(), file.mode, FileKind::Laid, Contents::Text(file.content.clone()));
    }
    for (names, state) in [(masked, UnitState::Masked), (profile.enable.iter().collect(), UnitState::Enabled)] {
        for name in names {
            tree.unit(Unit { name: name.clone(), state, contents: None, dropins: Vec::new() });
        }
    }
    kernel
}

/// containerd.
fn lay_runtime(site: &Site, tree: &mut Tree) {
    tree.text(containerd::CONFIG, Mode::PUBLIC, FileKind::Laid, containerd::config(site));
    let dropins = containerd::dropins(site);
    if !dropins.is_empty() {
        let name = site.node.os.profile.containerd_unit.clone();
        tree.unit(Unit { name, state: UnitState::Unchanged, contents: None, dropins });
    }
}

/// The node's own interface and the pods' network.
fn lay_network(site: &Site, tree: &mut Tree) {
    if let Some(network) = &site.node.network
        && let Some((path, mode, text)) = network::file(site.node, network)
    {
        tree.file(path, mode, FileKind::Laid, Contents::Text(text));
    }
    if site.has_bridge() {
        let [conflist, masquerade] = cni::paths();
        tree.file(conflist, Mode::PUBLIC, FileKind::Laid, Contents::Text(cni::conflist(site)));
        tree.file(masquerade, Mode::PUBLIC, FileKind::Laid, Contents::Text(cni::masquerade(site)));
        tree.unit(cni::unit(site));
    }
}

/// What leads to the API servers, where nodekiln brings it.
fn lay_balancer(site: &Site, tree: &mut Tree) {
    let (name, manifest) = match site.cluster.load_balancer {
        LoadBalancer::External | LoadBalancer::None => return,
        LoadBalancer::Local if site.node.role == Role::Etcd => return,
        LoadBalancer::KubeVip(_) if site.node.role != Role::ControlPlane => return,
        LoadBalancer::Local => {
            let config = Contents::Text(haproxy::config(site));
            // Its image runs as a user of its own.
            tree.file(haproxy::config_path(), Mode::PUBLIC, FileKind::Laid, config);
            (haproxy::NAME, haproxy::manifest(site))
        }
        LoadBalancer::KubeVip(vip) => (kube_vip::NAME, kube_vip::manifest(site, vip)),
    };
    let path = below(&constant(MANIFESTS_DIR), &format!("{name}.yaml"));
    tree.file(path, Mode::PRIVATE, FileKind::Staged, Contents::Text(pretty(&manifest)));
}

/// Static pods, in kubeadm's file names.
fn lay_control_plane(site: &Site, tree: &mut Tree) {
    if encryption::wanted(site) {
        let config = Contents::Template(encryption::config(site));
        tree.file(encryption::path(site), Mode::PRIVATE, FileKind::Laid, config);
    }
    for (name, target, manifest) in [
        ("kube-apiserver.yaml", PatchTarget::ApiServer, apiserver::manifest(site)),
        ("kube-controller-manager.yaml", PatchTarget::ControllerManager, controller_manager::manifest(site)),
        ("kube-scheduler.yaml", PatchTarget::Scheduler, scheduler::manifest(site)),
    ] {
        let path = below(&constant(MANIFESTS_DIR), name);
        let manifest = pretty(&patched(site, tree, target, manifest));
        tree.file(path, Mode::PRIVATE, FileKind::Staged, Contents::Text(manifest));
    }
}

/// `value` with the user's patches over it.
fn patched(site: &Site, tree: &mut Tree, target: PatchTarget, value: Value) -> Value {
    match patches::apply(site.cluster, target, site.kubelet, value.clone()) {
        Ok(value) => value,
        Err(fault) => {
            let message = format!("{}: {}", fault.path, fault.message);
            tree.refusals.push(Refusal::new(site.node, "patches", message));
            value
        }
    }
}

/// `os.files` and `os.units`.
fn lay_users_own(site: &Site, tree: &mut Tree) {
    for file in &site.node.os.files {
        tree.users_file(file);
    }
    for unit in &site.node.os.units {
        tree.users_unit(unit);
    }
}

/// `os.snippets`, read.
fn snippets(node: &Node, tree: &mut Tree) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    for file in &node.os.snippets {
        match Snippet::parse(&file.bytes, node.os.profile.format, node.os.ignition_version) {
            Ok(snippet) => snippets.push(snippet),
            Err(fault) => {
                tree.refusals.push(Refusal::new(node, "os.snippets", format!("{}: {fault}", file.path)));
            }
        }
    }
    snippets
}

fn accounts(node: &Node) -> Vec<Account> {
    let mut accounts: Vec<_> = node
        .os
        .users
        .iter()
        .map(|user| Account {
            name: user.name.clone(),
            ssh_authorized_keys: user.ssh_authorized_keys.clone(),
            password_hash: user.password_hash.clone(),
            groups: user.groups.clone(),
        })
        .collect();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    accounts
}

/// The folder of kubeconfigs.
fn kubernetes(name: &str) -> AbsPath {
    below(&constant(KUBERNETES_DIR), name)
}

#[cfg(test)]
mod tests;
