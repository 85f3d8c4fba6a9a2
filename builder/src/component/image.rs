//! Names of container images, pinned where `images.digests` says so.

use super::{ClassSite, Site};
use crate::{
    config::{Cluster, Cni, LoadBalancer},
    release::{self, Addon},
    secrets::Shape,
};
use nodekiln_plan::Role;
use std::collections::BTreeSet;

/// Kubernetes' own registry, where CoreDNS has a level of its own.
const DEFAULT_REPOSITORY: &str = "registry.k8s.io";

/// A component of Kubernetes at the cluster's version.
pub(crate) fn component(site: &ClassSite, name: &str) -> String {
    pinned(site.cluster, format!("{}/{name}:{}", site.cluster.image_repository, site.cluster.version))
}

/// etcd.
pub(crate) fn etcd(site: &ClassSite) -> String {
    let image = &site.cluster.etcd.image;
    let repository = image.repository.as_ref().unwrap_or(&site.cluster.image_repository);
    pinned(site.cluster, format!("{repository}/etcd:{}", etcd_tag(site)))
}

/// etcd's tag.
pub(crate) fn etcd_tag<'a>(site: &ClassSite<'a>) -> &'a str {
    site.cluster.etcd.image.tag.as_deref().unwrap_or(site.release.etcd_tag())
}

/// The sandbox of every pod: of the kubelet's release.
pub(crate) fn pause(site: &ClassSite) -> String {
    pinned(site.cluster, format!("{}/pause:{}", site.cluster.image_repository, site.kubelet.pause_tag()))
}

/// CoreDNS. Only in the default registry is it one level deeper: kubeadm's `GetDNSImage`.
pub(crate) fn coredns(site: &ClassSite) -> String {
    let over = site.cluster.dns.clone().unwrap_or_default();
    let tag = over.tag.as_deref().unwrap_or(site.release.coredns_tag());
    let image = match over.repository {
        Some(repository) => format!("{repository}/coredns:{tag}"),
        None if site.cluster.image_repository == DEFAULT_REPOSITORY => {
            format!("{DEFAULT_REPOSITORY}/coredns/coredns:{tag}")
        }
        None => format!("{}/coredns:{tag}", site.cluster.image_repository),
    };
    pinned(site.cluster, image)
}

/// An image that follows no Kubernetes release.
pub(crate) fn addon(site: &ClassSite, addon: Addon) -> String {
    pinned(site.cluster, release::addon_image(addon).to_owned())
}

/// `REPOSITORY:TAG@DIGEST`, which the runtime pulls by the digest alone, where there is one.
fn pinned(cluster: &Cluster, image: String) -> String {
    match cluster.image_digests.get(&image) {
        Some(digest) => format!("{image}@{digest}"),
        None => image,
    }
}

/// All images that nodekiln names for a cluster, by tag: those that `images.digests` can pin. What a user's own manifests
/// name is not among them.
pub fn all(cluster: &Cluster) -> BTreeSet<String> {
    let unpinned = Cluster { image_digests: Default::default(), ..cluster.clone() };
    let (mut images, shape) = (BTreeSet::new(), Shape::default());
    for node in unpinned.payloads() {
        let Some(site) = Site::new(&unpinned, node, &shape) else { continue };
        images.insert(pause(&site));
        if unpinned.runs_member(node) {
            images.insert(etcd(&site));
        }
        if unpinned.load_balancer == LoadBalancer::Local && node.role != Role::Etcd {
            images.insert(addon(&site, Addon::Haproxy));
        }
        if node.role != Role::ControlPlane {
            continue;
        }
        images
            .extend(["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(|name| component(&site, name)));
        if matches!(unpinned.load_balancer, LoadBalancer::KubeVip(_)) {
            images.insert(addon(&site, Addon::KubeVip));
        }
        if unpinned.proxy {
            images.insert(component(&site, "kube-proxy"));
        }
        if unpinned.dns.is_some() {
            images.insert(coredns(&site));
        }
        if unpinned.cni == Cni::Flannel {
            images.extend([Addon::Flannel, Addon::FlannelCniPlugin].map(|image| addon(&site, image)));
        }
    }
    images
}
