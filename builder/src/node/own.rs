//! What is each node's own: everything that its name, its addresses or its machine decide.

use super::refusal::Fault;
use crate::{
    component::{
        ClassSite, Site, apiserver, bootstrap, cni, etcd, kube_vip,
        kubelet::{self, UnitText},
        network, patches, pretty,
    },
    config::PatchTarget,
    draft::{Contents, LeafForm, Part, Row},
    pki::{
        kubeconfig::{self, Credentials},
        table::{self, CommonName},
    },
};
use nodekiln_payload::Unit;
use serde_json::Value;
use std::net::IpAddr;

/// A file that is each node's own.
#[derive(Debug, Clone, Copy)]
pub(super) enum OwnFile {
    /// Its name.
    HostName,
    /// Its static network.
    Network,
    /// Networks of its pods, as the plugins read them.
    Conflist,
    /// Networks of its pods, as they leave the node.
    Masquerade,
    /// A control plane's kubelet.conf: it leads to its own API server.
    KubeletConfig,
    /// The kubelet's kubeconfig with the token.
    Bootstrap,
    /// A kubeconfig for its own API server.
    Kubeconfig(Row),
    /// A certificate, or its key.
    Leaf(Row, LeafForm),
    /// The static pod that may hold this address.
    KubeVip(IpAddr),
    /// kube-apiserver's static pod.
    ApiServer,
    /// etcd's static pod.
    Etcd,
}

impl OwnFile {
    /// What is in it on this node.
    ///
    /// # Errors
    /// A patch that cannot be laid over it.
    pub fn contents(self, site: &Site) -> Result<Contents, Fault> {
        Ok(match self {
            Self::HostName => Contents::text(format!("{}\n", site.node.name)),
            Self::Network => Contents::text(network::text(site.node)),
            Self::Conflist => Contents::text(cni::conflist(site)),
            Self::Masquerade => Contents::text(cni::masquerade(site)),
            Self::KubeletConfig => Contents::Template(kubelet::own_kubeconfig(site)),
            Self::Bootstrap => Contents::Template(bootstrap::kubeconfig(site)),
            Self::Kubeconfig(row) => Contents::Template(embedded(site, row)),
            Self::Leaf(row, form) => Contents::Leaf(table::leaf(row, site.cluster, Some(site.node)), form),
            Self::KubeVip(address) => Contents::text(pretty(&kube_vip::manifest(site, address))),
            Self::ApiServer => {
                Contents::text(pretty(&patched(site, PatchTarget::ApiServer, apiserver::manifest(site))?))
            }
            Self::Etcd => Contents::text(pretty(&patched(site, PatchTarget::Etcd, etcd::manifest(site))?)),
        })
    }
}

/// `value` with the user's patches over it.
///
/// # Errors
/// The patch that cannot be laid over it.
pub(super) fn patched(site: &ClassSite, target: PatchTarget, value: Value) -> Result<Value, Fault> {
    let refused = |fault: patches::Fault| Fault::new("patches", format!("{}: {}", fault.path, fault.message));
    patches::apply(site.cluster, target, site.kubelet, value).map_err(refused)
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

/// A unit whose text is each node's own.
#[derive(Debug, Clone)]
pub(super) enum OwnUnit {
    /// The kubelet: it is told its name and its addresses.
    Kubelet(UnitText),
    /// Routes to the other nodes' pods.
    Routes,
}

impl OwnUnit {
    /// The unit without its text.
    pub fn frame(&self) -> Unit {
        match self {
            Self::Kubelet(_) => kubelet::unit(),
            Self::Routes => cni::unit(),
        }
    }

    /// Its text on this node.
    pub fn text(&self, site: &Site) -> String {
        match self {
            Self::Kubelet(text) => text.of_node(site),
            Self::Routes => cni::unit_text(site),
        }
    }
}
