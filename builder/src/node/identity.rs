//! Certificates, keys and kubeconfigs: which leaf of the table lies where.

use super::{
    class::kubernetes,
    own::OwnFile,
    tree::{ClassContents, Tree},
};
use crate::{
    component::{ClassSite, below, bootstrap, constant, controller_manager, etcd_access, kube_vip, kubelet, scheduler},
    config::{LoadBalancer, NodeFile},
    draft::{Contents, LeafForm, Row, Shared},
};
use nodekiln_plan::{AbsPath, FileKind, Mode, Role, paths};

/// Lays down all that identifies a node.
pub(super) fn lay(site: &ClassSite, tree: &mut Tree) {
    // Where etcd runs alone, firstboot knows the cluster's API servers by it.
    shared(site, tree, "ca.crt", Mode::PUBLIC, Shared::Ca);
    if site.is_node() {
        if site.is_baked() { kubelet(site, tree) } else { token(tree) }
    }
    if site.class.role == Role::ControlPlane {
        control_plane(site, tree);
        etcd_client(site, tree);
    }
    if site.is_member() {
        member(site, tree);
    }
}

/// The kubelet's certificates, and a kubeconfig that names them.
fn kubelet(site: &ClassSite, tree: &mut Tree) {
    let kubeconfig: ClassContents = match site.class.role {
        Role::ControlPlane => OwnFile::KubeletConfig.into(),
        Role::Worker | Role::Etcd => Contents::Template(kubelet::joined_kubeconfig(site)).into(),
    };
    tree.file(constant(kubelet::KUBECONFIG), Mode::PRIVATE, FileKind::Laid, kubeconfig);
    for (path, mode, kind, row, form) in [
        (kubelet::CLIENT_PEM, Mode::PRIVATE, FileKind::Seed, Row::KubeletClient, LeafForm::Both),
        (kubelet::SERVING_CERT, Mode::PUBLIC, FileKind::Staged, Row::KubeletServer, LeafForm::Certificate),
        (kubelet::SERVING_KEY, Mode::PRIVATE, FileKind::Staged, Row::KubeletServer, LeafForm::Key),
    ] {
        tree.file(constant(path), mode, kind, OwnFile::Leaf(row, form));
    }
}

/// The token by which the kubelet asks for its certificate. It writes its kubeconfig itself.
fn token(tree: &mut Tree) {
    tree.file(bootstrap::path(), Mode::PRIVATE, FileKind::Credential, OwnFile::Bootstrap);
}

/// What an etcd member has. The CA's key is on no node.
fn member(site: &ClassSite, tree: &mut Tree) {
    // A control plane has it as a client already.
    if site.class.role != Role::ControlPlane {
        shared(site, tree, "etcd/ca.crt", Mode::PUBLIC, Shared::EtcdCa);
    }
    pair(site, tree, "etcd/server", Row::EtcdServer);
    pair(site, tree, "etcd/peer", Row::EtcdPeer);
    pair(site, tree, "etcd/healthcheck-client", Row::EtcdHealthcheckClient);
}

/// What kube-apiserver needs to reach etcd: ours, or what the user gives for an etcd of theirs.
fn etcd_client(site: &ClassSite, tree: &mut Tree) {
    let Some(external) = &site.cluster.external_etcd else {
        shared(site, tree, "etcd/ca.crt", Mode::PUBLIC, Shared::EtcdCa);
        pair(site, tree, "apiserver-etcd-client", Row::ApiServerEtcdClient);
        return;
    };
    for file in etcd_access::files(site, external).into_iter().flatten() {
        if let Some(input) = file.input {
            tree.users_key(file.path, file.mode, input.bytes.clone().into(), "etcd.external");
        }
    }
}

/// kubeadm's names below certificatesDir. The keys of the etcd CA and of the front-proxy CA are on no node: every leaf of
/// theirs is made by the builder.
fn control_plane(site: &ClassSite, tree: &mut Tree) {
    for (name, mode, value) in [
        ("front-proxy-ca.crt", Mode::PUBLIC, Shared::FrontProxyCa),
        ("sa.key", Mode::PRIVATE, Shared::ServiceAccountKey),
        ("sa.pub", Mode::PUBLIC, Shared::ServiceAccountPublicKey),
    ] {
        shared(site, tree, name, mode, value);
    }
    if !site.shape.external_ca {
        shared(site, tree, "ca.key", Mode::PRIVATE, Shared::CaKey);
    }
    for (name, row) in [
        ("apiserver", Row::ApiServer),
        ("apiserver-kubelet-client", Row::ApiServerKubeletClient),
        ("front-proxy-client", Row::FrontProxyClient),
    ] {
        pair(site, tree, name, row);
    }
    let balancer = matches!(site.cluster.load_balancer, LoadBalancer::KubeVip(_));
    let kube_vip = balancer.then(|| (constant(kube_vip::KUBECONFIG), FileKind::Laid, Row::KubeVip));
    for (path, kind, row) in [
        (constant(controller_manager::KUBECONFIG), FileKind::Laid, Row::ControllerManager),
        (constant(scheduler::KUBECONFIG), FileKind::Laid, Row::Scheduler),
        (constant(paths::LEASE_CREDENTIAL), FileKind::Laid, Row::Lease),
        (constant(paths::API_CREDENTIAL), FileKind::Credential, Row::SuperAdmin),
    ]
    .into_iter()
    .chain(kube_vip)
    {
        tree.file(path, Mode::PRIVATE, kind, OwnFile::Kubeconfig(row));
    }
}

fn shared(site: &ClassSite, tree: &mut Tree, name: &str, mode: Mode, value: Shared) {
    tree.file(site.pki(name), mode, FileKind::Laid, Contents::Shared(value));
}

/// Certificate and key below certificatesDir.
fn pair(site: &ClassSite, tree: &mut Tree, name: &str, row: Row) {
    let leaf = |form| OwnFile::Leaf(row, form);
    tree.file(site.pki(&format!("{name}.crt")), Mode::PUBLIC, FileKind::Laid, leaf(LeafForm::Certificate));
    tree.file(site.pki(&format!("{name}.key")), Mode::PRIVATE, FileKind::Laid, leaf(LeafForm::Key));
}

/// Every folder with a mode of its own.
pub(super) fn folders(site: &ClassSite) -> Vec<(AbsPath, Mode)> {
    let mut folders = vec![
        (kubernetes("manifests"), Mode::PRIVATE_DIR),
        (site.cluster.certificates_dir.clone(), Mode::EXECUTABLE),
        (constant(crate::component::KUBERNETES_DIR), Mode::EXECUTABLE),
        (constant("/var/lib/kubelet"), Mode::PRIVATE_DIR),
        (constant("/var/lib/kubelet/pki"), Mode::PRIVATE_DIR),
        (constant(paths::STATE_DIR), Mode::PRIVATE_DIR),
        (constant(paths::STAGE_DIR), Mode::PRIVATE_DIR),
    ];
    let certificates = below(&site.cluster.certificates_dir, "etcd");
    let external = site.cluster.external_etcd.as_ref();
    let is_baked = |file: &Option<NodeFile>| matches!(file, Some(NodeFile::Input(_)));
    let is_client = site.class.role == Role::ControlPlane && external.is_none_or(|etcd| is_baked(&etcd.ca));
    if is_client || site.is_member() {
        folders.push((certificates, Mode::EXECUTABLE));
    }
    if site.is_member() {
        folders.push((site.cluster.etcd.data_dir.clone(), Mode::PRIVATE_DIR));
    }
    folders
}
