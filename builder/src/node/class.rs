//! [`Class`]: what planning makes of a class of nodes, once for all of them.

use super::{
    Sources, binary, identity,
    own::{OwnFile, OwnUnit, patched},
    refusal::{self, Fault},
    spec,
    tree::{ClassFile, ClassUnit, Snippets, Tree},
};
use crate::{
    component::{
        ClassSite, KUBERNETES_DIR, MANIFESTS_DIR, below, cni, constant, containerd, controller_manager, encryption,
        feature_gates, firstboot, haproxy, kube_vip,
        kubelet::{self, UnitText},
        network, pretty, scheduler, system,
    },
    config::{LoadBalancer, NodeClass, PatchTarget},
    draft::{ClassDraft, Contents, Digested},
};
use nodekiln_payload::{Account, Fetch, Format, Snippet, TimeService, Unit, UnitState};
use nodekiln_plan::{AbsPath, FileKind, KernelPlan, Mode, Role};
use serde_json::Value;
use std::sync::Arc;

/// A class of nodes: what they share, and what each of them has of its own.
pub(super) struct Class {
    /// What they share.
    pub draft: Arc<Digested>,
    /// By path.
    pub own_files: Vec<ClassFile<OwnFile>>,
    /// By name.
    pub own_units: Vec<ClassUnit>,
    /// What of it cannot be planned. Whatever is each node's own can be looked at all the same.
    pub faults: Vec<Fault>,
}

/// What there is to know of a class.
///
/// # Errors
/// What keeps its components from being rendered at all.
pub(super) fn plan(site: &ClassSite, sources: &Sources) -> Result<Class, Vec<Fault>> {
    let class = site.class;
    let faults = refusal::of_components(site);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut tree = Tree::new(class, sources);
    let firstboot = binary::lay(site, sources, &mut tree);
    let kubelet_config = lay_patches(site, &mut tree, PatchTarget::KubeletConfiguration, kubelet::config(site));

    let kernel = lay_system(site, &mut tree);
    lay_runtime(site, &mut tree);
    lay_network(site, &mut tree);
    lay_balancer(site, &mut tree);
    identity::lay(site, &mut tree);
    if site.is_member() {
        let path = below(&constant(MANIFESTS_DIR), "etcd.yaml");
        tree.file(path, Mode::PRIVATE, FileKind::Decided, OwnFile::Etcd);
    }
    if class.role == Role::ControlPlane {
        lay_control_plane(site, &mut tree);
    }
    tree.text(kubelet::CONFIG, Mode::PUBLIC, FileKind::Staged, pretty(&kubelet_config));
    if site.is_node() && feature_gates::instance_config(site) {
        let text = pretty(&kubelet::instance_config());
        tree.text(kubelet::INSTANCE_CONFIG, Mode::PUBLIC, FileKind::Staged, text);
    }
    tree.own_unit(OwnUnit::Kubelet(UnitText::of_class(site, &firstboot)));
    tree.unit(firstboot::unit(site, &firstboot));
    lay_users_own(site, &mut tree);

    let spec = spec::of_class(site, kernel, &kubelet_config, std::mem::take(&mut tree.archives));
    for directory in &spec.directories {
        tree.check_directory(&directory.path);
    }
    let snippets = snippets(class, &mut tree);
    let accounts = accounts(class);
    let (parts, faults) =
        tree.finish(&Snippets { laid: &snippets, directories: &spec.directories, accounts: &accounts });
    let profile = class.os.profile;
    let (own_units, units): (Vec<_>, Vec<_>) = parts.units.into_iter().partition(|unit| unit.own.is_some());
    let fetches = parts.fetches;
    let draft = ClassDraft {
        spec,
        profile,
        files: parts.files,
        users_own: parts.users_own,
        units: units.into_iter().map(|unit| unit.unit).collect(),
        accounts,
        fetch_ca: site.cluster.delivery.ca.as_ref().filter(|_| is_https(&fetches)).map(|ca| ca.bytes.clone()),
        fetches,
        time_servers: match profile.time_service {
            TimeService::CloudInit => class.os.time_servers.clone(),
            TimeService::Timesyncd | TimeService::Chrony => Vec::new(),
        },
        snippets: match profile.format {
            Format::Ignition => snippets,
            Format::CloudInit => Snippet::merged(&snippets).into_iter().collect(),
        },
        blobs: parts.blobs,
    };
    Ok(Class { draft: Arc::new(Digested::new(draft)), own_files: parts.own_files, own_units, faults })
}

/// Whether a server's certificate has to be verified for any of these.
fn is_https(fetches: &[Fetch]) -> bool {
    fetches.iter().any(|fetch| fetch.url.starts_with("https://"))
}

/// Host name, kernel settings, which it gives back, clock, and what the profile brings.
fn lay_system(site: &ClassSite, tree: &mut Tree) -> KernelPlan {
    let profile = site.class.os.profile;
    let kernel = system::kernel(site);
    if site.is_machine() {
        tree.file(constant("/etc/hostname"), Mode::PUBLIC, FileKind::Laid, OwnFile::HostName);
    }
    tree.text(system::MODULES, Mode::PUBLIC, FileKind::Laid, system::modules_file(&kernel));
    tree.text(system::SYSCTLS, Mode::PUBLIC, FileKind::Laid, system::sysctls_file(&kernel));
    if let Some((path, text)) = system::time_file(site) {
        tree.file(path, Mode::PUBLIC, FileKind::Laid, Contents::text(text));
    }
    let mut files: Vec<_> = profile.files.iter().collect();
    let mut masked: Vec<_> = profile.mask.iter().collect();
    if !site.class.os.updates {
        files.extend(&profile.updates_off_files);
        masked.extend(&profile.updates_off_mask);
    }
    for file in files {
        tree.file(file.path.clone(), file.mode, FileKind::Laid, Contents::text(file.content.clone()));
    }
    for (names, state) in [(masked, UnitState::Masked), (profile.enable.iter().collect(), UnitState::Enabled)] {
        for name in names {
            tree.unit(Unit { name: name.clone(), state, contents: None, dropins: Vec::new() });
        }
    }
    kernel
}

/// containerd.
fn lay_runtime(site: &ClassSite, tree: &mut Tree) {
    tree.text(containerd::CONFIG, Mode::PUBLIC, FileKind::Laid, containerd::config(site));
    let dropins = containerd::dropins(site);
    if !dropins.is_empty() {
        let name = site.class.os.profile.containerd_unit.clone();
        tree.unit(Unit { name, state: UnitState::Unchanged, contents: None, dropins });
    }
}

/// The node's own interface and the pods' network.
fn lay_network(site: &ClassSite, tree: &mut Tree) {
    if site.has_network
        && let Some((path, mode)) = network::place(site.class.os.profile.network_service)
    {
        tree.file(path, mode, FileKind::Laid, OwnFile::Network);
    }
    if site.has_bridge() {
        let [conflist, masquerade] = cni::paths();
        tree.file(conflist, Mode::PUBLIC, FileKind::Laid, OwnFile::Conflist);
        tree.file(masquerade, Mode::PUBLIC, FileKind::Laid, OwnFile::Masquerade);
        tree.own_unit(OwnUnit::Routes);
    }
}

/// What leads to the API servers, where nodekiln brings it.
fn lay_balancer(site: &ClassSite, tree: &mut Tree) {
    let manifest = |name: &str| below(&constant(MANIFESTS_DIR), &format!("{name}.yaml"));
    match site.cluster.load_balancer {
        LoadBalancer::Local if site.class.role != Role::Etcd => {
            // Its image runs as a user of its own.
            let config = Contents::text(haproxy::config(site));
            tree.file(haproxy::config_path(), Mode::PUBLIC, FileKind::Laid, config);
            let pod = Contents::text(pretty(&haproxy::manifest(site)));
            tree.file(manifest(haproxy::NAME), Mode::PRIVATE, FileKind::Staged, pod);
        }
        LoadBalancer::KubeVip(vip) if site.class.role == Role::ControlPlane => {
            tree.file(manifest(kube_vip::NAME), Mode::PRIVATE, FileKind::Staged, OwnFile::KubeVip(vip));
        }
        LoadBalancer::External | LoadBalancer::None | LoadBalancer::Local | LoadBalancer::KubeVip(_) => {}
    }
}

/// Static pods, in kubeadm's file names.
fn lay_control_plane(site: &ClassSite, tree: &mut Tree) {
    if encryption::wanted(site) {
        let config = Contents::Template(encryption::config(site));
        tree.file(encryption::path(site), Mode::PRIVATE, FileKind::Laid, config);
    }
    let place = |name| below(&constant(MANIFESTS_DIR), name);
    tree.file(place("kube-apiserver.yaml"), Mode::PRIVATE, FileKind::Staged, OwnFile::ApiServer);
    for (name, target, manifest) in [
        ("kube-controller-manager.yaml", PatchTarget::ControllerManager, controller_manager::manifest(site)),
        ("kube-scheduler.yaml", PatchTarget::Scheduler, scheduler::manifest(site)),
    ] {
        let manifest = Contents::text(pretty(&lay_patches(site, tree, target, manifest)));
        tree.file(place(name), Mode::PRIVATE, FileKind::Staged, manifest);
    }
}

/// `value` with the user's patches over it, as far as they can be laid.
fn lay_patches(site: &ClassSite, tree: &mut Tree, target: PatchTarget, value: Value) -> Value {
    patched(site, target, value.clone()).unwrap_or_else(|fault| {
        tree.faults.push(fault);
        value
    })
}

/// `os.files` and `os.units`.
fn lay_users_own(site: &ClassSite, tree: &mut Tree) {
    for file in &site.class.os.files {
        tree.users_file(file);
    }
    for unit in &site.class.os.units {
        tree.users_unit(unit);
    }
}

/// `os.snippets`, read.
fn snippets(class: &NodeClass, tree: &mut Tree) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    for file in &class.os.snippets {
        match Snippet::parse(&file.bytes, class.os.profile.format, class.os.ignition_version) {
            Ok(snippet) => snippets.push(snippet),
            Err(fault) => {
                tree.faults.push(Fault::new("os.snippets", format!("{}: {fault}", file.path)));
            }
        }
    }
    snippets
}

fn accounts(class: &NodeClass) -> Vec<Account> {
    let mut accounts: Vec<_> = class
        .os
        .users
        .iter()
        .map(|user| Account {
            name: user.name.clone(),
            ssh_authorized_keys: user.ssh_authorized_keys.to_vec(),
            password_hash: user.password_hash.clone(),
            groups: user.groups.to_vec(),
        })
        .collect();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    accounts
}

/// The folder of kubeconfigs.
pub(super) fn kubernetes(name: &str) -> AbsPath {
    below(&constant(KUBERNETES_DIR), name)
}
