//! Names of container images.

use super::Site;

/// Kubernetes' own registry, where CoreDNS has a level of its own.
const DEFAULT_REPOSITORY: &str = "registry.k8s.io";

/// A component of Kubernetes at the cluster's version.
pub(crate) fn component(site: &Site, name: &str) -> String {
    format!("{}/{name}:{}", site.cluster.image_repository, site.cluster.version)
}

/// etcd.
pub(crate) fn etcd(site: &Site) -> String {
    let image = &site.cluster.etcd.image;
    let repository = image.repository.as_ref().unwrap_or(&site.cluster.image_repository);
    format!("{repository}/etcd:{}", etcd_tag(site))
}

/// etcd's tag.
pub(crate) fn etcd_tag<'a>(site: &Site<'a>) -> &'a str {
    site.cluster.etcd.image.tag.as_deref().unwrap_or(site.release.etcd_tag())
}

/// The sandbox of every pod: of the kubelet's release.
pub(crate) fn pause(site: &Site) -> String {
    format!("{}/pause:{}", site.cluster.image_repository, site.kubelet.pause_tag())
}

/// CoreDNS. Only in the default registry is it one level deeper: kubeadm's `GetDNSImage`.
pub(crate) fn coredns(site: &Site) -> String {
    let over = site.cluster.dns.clone().unwrap_or_default();
    let tag = over.tag.as_deref().unwrap_or(site.release.coredns_tag());
    match over.repository {
        Some(repository) => format!("{repository}/coredns:{tag}"),
        None if site.cluster.image_repository == DEFAULT_REPOSITORY => {
            format!("{DEFAULT_REPOSITORY}/coredns/coredns:{tag}")
        }
        None => format!("{}/coredns:{tag}", site.cluster.image_repository),
    }
}
