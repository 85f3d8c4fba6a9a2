//! Certificates, keys and kubeconfigs: which leaf of the table lies where.

use super::{kubernetes, tree::Tree};
use crate::{
    component::{Site, below, constant, controller_manager, kube_vip, kubelet, scheduler},
    config::LoadBalancer,
    draft::{Contents, LeafForm, Part, Row, Shared},
    pki::{
        kubeconfig::{self, Credentials},
        table::{self, CommonName},
    },
};
use nodekiln_plan::{AbsPath, FileKind, Mode, Role, paths};

/// Lays down all that identifies this node.
pub(super) fn lay(site: &Site, tree: &mut Tree) {
    shared(site, tree, "ca.crt", Mode::PUBLIC, Shared::Ca);
    let kubeconfig = Contents::Template(kubelet::kubeconfig(site));
    tree.file(constant(kubelet::KUBECONFIG), Mode::PRIVATE, FileKind::Laid, kubeconfig);
    for (path, mode, kind, row, form) in [
        (kubelet::CLIENT_PEM, Mode::PRIVATE, FileKind::Seed, Row::KubeletClient, LeafForm::Both),
        (kubelet::SERVING_CERT, Mode::PUBLIC, FileKind::Staged, Row::KubeletServer, LeafForm::Certificate),
        (kubelet::SERVING_KEY, Mode::PRIVATE, FileKind::Staged, Row::KubeletServer, LeafForm::Key),
    ] {
        tree.file(constant(path), mode, kind, leaf(site, row, form));
    }
    if site.node.role == Role::ControlPlane {
        control_plane(site, tree);
    }
}

/// kubeadm's names below certificatesDir. The keys of the etcd CA and of the front-proxy CA are on no node: every leaf of
/// theirs is made by the builder.
fn control_plane(site: &Site, tree: &mut Tree) {
    for (name, mode, value) in [
        ("ca.key", Mode::PRIVATE, Shared::CaKey),
        ("front-proxy-ca.crt", Mode::PUBLIC, Shared::FrontProxyCa),
        ("etcd/ca.crt", Mode::PUBLIC, Shared::EtcdCa),
        ("sa.key", Mode::PRIVATE, Shared::ServiceAccountKey),
        ("sa.pub", Mode::PUBLIC, Shared::ServiceAccountPublicKey),
    ] {
        shared(site, tree, name, mode, value);
    }
    for (name, row) in [
        ("apiserver", Row::ApiServer),
        ("apiserver-kubelet-client", Row::ApiServerKubeletClient),
        ("apiserver-etcd-client", Row::ApiServerEtcdClient),
        ("front-proxy-client", Row::FrontProxyClient),
        ("etcd/server", Row::EtcdServer),
        ("etcd/peer", Row::EtcdPeer),
        ("etcd/healthcheck-client", Row::EtcdHealthcheckClient),
    ] {
        let cert = leaf(site, row, LeafForm::Certificate);
        tree.file(site.pki(&format!("{name}.crt")), Mode::PUBLIC, FileKind::Laid, cert);
        tree.file(site.pki(&format!("{name}.key")), Mode::PRIVATE, FileKind::Laid, leaf(site, row, LeafForm::Key));
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
        tree.file(path, Mode::PRIVATE, kind, Contents::Template(embedded(site, row)));
    }
}

fn shared(site: &Site, tree: &mut Tree, name: &str, mode: Mode, value: Shared) {
    tree.file(site.pki(name), mode, FileKind::Laid, Contents::Shared(value));
}

fn leaf(site: &Site, row: Row, form: LeafForm) -> Contents {
    Contents::Leaf(table::leaf(row, site.cluster, Some(site.node)), form)
}

/// A kubeconfig for the node's own API server, with the row's certificate and key in it.
fn embedded(site: &Site, row: Row) -> Vec<Part> {
    let user = match table::spec(row).common_name {
        CommonName::Fixed(name) => name.to_owned(),
        CommonName::Node(prefix) => format!("{prefix}{}", site.node.name),
    };
    let credentials = Credentials::Embedded(table::leaf(row, site.cluster, Some(site.node)));
    kubeconfig::template(&site.cluster.name, &user, &site.own_server(), credentials)
}

/// Every folder with a mode of its own.
pub(super) fn folders(site: &Site) -> Vec<(AbsPath, Mode)> {
    let mut folders = vec![
        (kubernetes("manifests"), Mode::PRIVATE_DIR),
        (site.cluster.certificates_dir.clone(), Mode::EXECUTABLE),
        (constant(crate::component::KUBERNETES_DIR), Mode::EXECUTABLE),
        (constant("/var/lib/kubelet"), Mode::PRIVATE_DIR),
        (constant("/var/lib/kubelet/pki"), Mode::PRIVATE_DIR),
        (constant(paths::STATE_DIR), Mode::PRIVATE_DIR),
        (constant(paths::STAGE_DIR), Mode::PRIVATE_DIR),
    ];
    if site.node.role == Role::ControlPlane {
        folders.push((below(&site.cluster.certificates_dir, "etcd"), Mode::EXECUTABLE));
        folders.push((site.cluster.etcd.data_dir.clone(), Mode::PRIVATE_DIR));
    }
    folders
}
