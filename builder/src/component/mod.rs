//! The parts of a node, one file each: cluster and node, or class of nodes, in, text or objects out. Pure, without keys.
//!
//! What a component writes follows kubeadm 1.36 unless a comment says otherwise; [`crate::node`] puts the pieces of a
//! node together.

pub(crate) mod apiserver;
pub(crate) mod arg;
pub(crate) mod bootstrap;
pub(crate) mod cni;
pub(crate) mod containerd;
pub(crate) mod controller_manager;
pub(crate) mod coredns;
pub(crate) mod encryption;
pub(crate) mod etcd;
pub(crate) mod etcd_access;
pub(crate) mod feature_gates;
pub(crate) mod firstboot;
pub(crate) mod flannel;
pub(crate) mod haproxy;
pub(crate) mod image;
pub(crate) mod kube_proxy;
pub(crate) mod kube_vip;
pub(crate) mod kubeadm_config;
pub(crate) mod kubelet;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod patches;
pub(crate) mod rbac;
pub(crate) mod scheduler;
pub(crate) mod standalone;
pub(crate) mod static_pod;
pub(crate) mod sysext;
pub(crate) mod system;
pub(crate) mod systemd;

use crate::{
    config::{Cluster, Cni, LoadBalancer, Node, NodeClass, NodeIdentity, NodeKind},
    release::Release,
    secrets::Shape,
};
use nodekiln_plan::{AbsPath, Cidr, Endpoint, Role};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Deref,
};

/// Where kubeconfigs and static pods lie (kubeadm's `/etc/kubernetes`).
pub(crate) const KUBERNETES_DIR: &str = "/etc/kubernetes";
/// Folder of static pod manifests.
pub(crate) const MANIFESTS_DIR: &str = "/etc/kubernetes/manifests";
/// The namespace of everything that the cluster itself runs.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Namespace and name of the Lease that serialises firstboots, and of the ConfigMap that says their steps are done.
pub(crate) const STATE_OBJECT: &str = "nodekiln";

/// A class of nodes in its cluster, with the releases that both run: all that a component sees that need not know which
/// node it is. What is made of it alone is made once for all nodes of the class.
#[derive(Clone, Copy)]
pub(crate) struct ClassSite<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What its nodes have in common.
    pub class: &'a NodeClass,
    /// The cluster's release.
    pub release: Release,
    /// The release of the nodes' kubelets.
    pub kubelet: Release,
    /// What secrets the cluster has.
    pub shape: &'a Shape,
    /// The families of the nodes' addresses.
    pub families: Families,
    /// Whether the nodes have a static network.
    pub has_network: bool,
}

/// A node in its cluster: its class's site, whose fields are read as its own, and who it is.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    /// What it shares with its class.
    pub common: ClassSite<'a>,
    /// The node.
    pub node: &'a Node,
}

impl<'a> Deref for Site<'a> {
    type Target = ClassSite<'a>;

    fn deref(&self) -> &ClassSite<'a> {
        &self.common
    }
}

impl<'a> Site<'a> {
    /// A node in its cluster; `None` if one of the releases is not supported.
    pub fn new(cluster: &'a Cluster, node: &'a Node, shape: &'a Shape) -> Option<Self> {
        let (release, kubelet) = (Release::find(cluster.version)?, Release::find(node.version)?);
        let (families, has_network) = (Families::of(&node.addresses), node.network.is_some());
        let common = ClassSite { cluster, class: &node.class, release, kubelet, shape, families, has_network };
        Some(Self { common, node })
    }

    /// The loopback address of the advertise address's family.
    pub fn loopback(&self) -> IpAddr {
        match self.node.address() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The node's own API server.
    pub fn own_server(&self) -> Endpoint {
        Endpoint::at(self.node.address(), apiserver::PORT)
    }
}

impl ClassSite<'_> {
    /// A path below certificatesDir.
    pub fn pki(&self, tail: &str) -> AbsPath {
        below(&self.cluster.certificates_dir, tail)
    }

    /// Where nodes reach an API server: controlPlaneEndpoint, or the balancer that each has of its own.
    pub fn endpoint(&self) -> Endpoint {
        match self.cluster.load_balancer {
            LoadBalancer::Local => haproxy::endpoint(),
            LoadBalancer::External | LoadBalancer::None | LoadBalancer::KubeVip(_) => self.cluster.endpoint.clone(),
        }
    }

    /// Where the cluster is reached from outside: what cluster-info and kubeadm's configuration carry. A balancer that
    /// only nodes have is of no use to a machine that becomes one by hand: without controlPlaneEndpoint it is the first
    /// control plane.
    pub fn public_endpoint(&self) -> Endpoint {
        let first = self.cluster.with_role(Role::ControlPlane).next();
        match first {
            Some(first) if self.cluster.endpoint == haproxy::endpoint() => {
                Endpoint::at(first.address(), apiserver::PORT)
            }
            _ => self.cluster.endpoint.clone(),
        }
    }

    /// Whether an API server knows these nodes: all but those that run etcd alone.
    pub fn is_node(&self) -> bool {
        self.class.role != Role::Etcd
    }

    /// Whether each of these is one machine, known by name.
    pub fn is_machine(&self) -> bool {
        self.class.kind == NodeKind::Machine
    }

    /// Whether the payload holds the kubelet's certificates.
    pub fn is_baked(&self) -> bool {
        self.is_node() && self.class.identity == NodeIdentity::Baked
    }

    /// Whether these nodes run an etcd member each.
    pub fn is_member(&self) -> bool {
        self.cluster.runs_member(self.class)
    }

    /// Whether these nodes have pods with addresses of their own, for which `cni: bridge` is set up.
    pub fn has_bridge(&self) -> bool {
        self.cluster.cni == Cni::Bridge && self.is_node()
    }
}

/// Families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Families {
    /// IPv4 is among them.
    pub ipv4: bool,
    /// IPv6 is among them.
    pub ipv6: bool,
}

impl Families {
    /// None of them.
    pub const NONE: Self = Self { ipv4: false, ipv6: false };

    /// Those of `addresses`.
    pub fn of(addresses: &[IpAddr]) -> Self {
        Self { ipv4: addresses.iter().any(IpAddr::is_ipv4), ipv6: addresses.iter().any(IpAddr::is_ipv6) }
    }

    /// These, and those of `networks`.
    #[must_use]
    pub fn and(self, networks: &[Cidr]) -> Self {
        let ipv6 = networks.iter().any(Cidr::is_ipv6);
        Self { ipv4: self.ipv4 || !networks.iter().all(Cidr::is_ipv6), ipv6: self.ipv6 || ipv6 }
    }
}

/// `folder/tail`, for a folder that [`crate::node::plan`] has found short enough and a tail of ours.
pub(crate) fn below(folder: &AbsPath, tail: &str) -> AbsPath {
    folder.join(tail).expect("a clean tail below a folder whose length was checked")
}

/// A path that stands in this program's source.
pub(crate) fn constant(path: &str) -> AbsPath {
    path.parse().expect("a clean path")
}

/// `scheme://ADDRESS:PORT`, IPv6 in brackets.
pub(crate) fn url(scheme: &str, address: IpAddr, port: u16) -> String {
    format!("{scheme}://{}", std::net::SocketAddr::new(address, port))
}

/// JSON for a file that is read as YAML: every JSON text is a YAML one, and all YAML readers agree on it.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// `over` laid over `base`: objects merge key by key, anything else is replaced.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The networks in kubeadm's comma form.
pub(crate) fn comma<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
