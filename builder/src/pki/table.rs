//! The one table of certificates and keys: subject, issuer, usage and receivers of each.
//!
//! Adding a certificate is adding a row here (and its golden). The rows follow kubeadm 1.36 (`cmd/kubeadm/app/phases/
//! certs/certlist.go` and `phases/kubeconfig`), with two differences: a kubelet serving certificate per node, signed by
//! the cluster CA, and a client certificate for firstboot's Lease. Lifetimes are certificateValidityPeriod for all rows.

use crate::{
    config::{Algorithm, Cluster, LoadBalancer, Node, NodeIdentity, San},
    draft::{Leaf, Row, Shared},
};
use nodekiln_plan::{Host, NodeName, Role};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A certificate authority of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ca {
    /// `ca`, CN kubernetes.
    Kubernetes,
    /// `etcd-ca`, CN etcd-ca.
    Etcd,
    /// `front-proxy-ca`, CN front-proxy-ca.
    FrontProxy,
}

impl Ca {
    /// All of them, in kubeadm's order of creation.
    pub const ALL: [Ca; 3] = [Ca::Kubernetes, Ca::FrontProxy, Ca::Etcd];

    /// Subject CN and SAN, as kubeadm has them.
    pub fn common_name(self) -> &'static str {
        match self {
            Ca::Kubernetes => "kubernetes",
            Ca::Etcd => "etcd-ca",
            Ca::FrontProxy => "front-proxy-ca",
        }
    }

    /// Name in `secrets.yaml` and in messages: kubeadm's name without `-ca`.
    pub fn name(self) -> &'static str {
        match self {
            Ca::Kubernetes => "kubernetes",
            Ca::Etcd => "etcd",
            Ca::FrontProxy => "front-proxy",
        }
    }
}

/// Subject CN of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommonName {
    /// This text.
    Fixed(&'static str),
    /// This prefix and the node's name.
    Node(&'static str),
}

/// Extended key usage of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// serverAuth.
    Server,
    /// clientAuth.
    Client,
    /// serverAuth and clientAuth: etcd's members call each other, and its gateway calls itself, with the certificate
    /// that they serve with.
    Both,
}

/// For whom a leaf is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Once; all receivers get the same.
    Shared,
    /// Once per node.
    Node,
}

/// What a node does that it needs keys for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Runs the control plane.
    ControlPlane,
    /// Its API server is a client of an etcd whose certificates are this cluster's.
    EtcdClient,
    /// Runs an etcd member.
    EtcdMember,
    /// Its kubelet finds its certificates in the payload.
    Kubelet,
    /// Its kubelet asks for a certificate by bootstrap token.
    Token,
}

/// A node or pool as a holder of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: NodeName,
    /// What it does.
    pub duties: Vec<Duty>,
}

impl Holder {
    /// What `node` is in `cluster`.
    pub fn of(cluster: &Cluster, node: &Node) -> Self {
        let control_plane = node.role == Role::ControlPlane;
        let kubelet = match node.identity {
            NodeIdentity::Baked => Duty::Kubelet,
            NodeIdentity::BootstrapToken { .. } => Duty::Token,
        };
        let duties = [
            (Duty::ControlPlane, control_plane),
            (Duty::EtcdClient, control_plane && cluster.external_etcd.is_none()),
            (Duty::EtcdMember, cluster.runs_member(node)),
            // One that runs etcd alone has no API server to show a certificate to.
            (kubelet, node.role != Role::Etcd),
        ];
        let duties = duties.into_iter().filter_map(|(duty, has)| has.then_some(duty)).collect();
        Self { name: node.name.clone(), duties }
    }

    /// Whether it does that.
    pub fn has(&self, duty: Duty) -> bool {
        self.duties.contains(&duty)
    }
}

/// For how long a receiver keeps a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custody {
    /// For as long as the node lives.
    Kept,
    /// Until firstboot has finished, which erases it. Stands in the output too.
    UntilFinished,
    /// In the output only.
    Output,
}

/// A row: a certificate that exists.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name in drafts.
    pub row: Row,
    /// Its name in key derivation, `placement.json` and messages: kubeadm's where kubeadm has it. It never changes: that
    /// would change the keys of every cluster.
    pub name: &'static str,
    /// Subject CN.
    pub common_name: CommonName,
    /// Subject O: a group, for clients of the API server.
    pub organization: Option<&'static str>,
    /// Who signs it.
    pub issuer: Ca,
    /// Extended key usage.
    pub usage: Usage,
    /// Shared or per node.
    pub scope: Scope,
    /// Who may hold its key: nodes with one of these duties. With [`Scope::Node`] each holds only its own.
    pub receivers: &'static [Duty],
    /// For how long they do.
    pub custody: Custody,
}

const CONTROL_PLANE: &[Duty] = &[Duty::ControlPlane];
const ETCD_CLIENTS: &[Duty] = &[Duty::EtcdClient];
const MEMBERS: &[Duty] = &[Duty::EtcdMember];
const KUBELETS: &[Duty] = &[Duty::Kubelet];

macro_rules! rows {
    ($($row:ident $name:literal, $cn:ident($common_name:literal), $o:expr, $issuer:ident, $usage:ident, $scope:ident,
       $receivers:expr, $custody:ident;)*) => {
        &[$(Spec {
            row: Row::$row,
            name: $name,
            common_name: CommonName::$cn($common_name),
            organization: $o,
            issuer: Ca::$issuer,
            usage: Usage::$usage,
            scope: Scope::$scope,
            receivers: $receivers,
            custody: Custody::$custody,
        }),*]
    };
}

/// The table, in the order of [`Row`].
#[rustfmt::skip]
pub const TABLE: &[Spec] = rows! {
    ApiServer "apiserver", Fixed("kube-apiserver"), None, Kubernetes, Server, Node, CONTROL_PLANE, Kept;
    // No O since 1.33.12, 1.34.8, 1.35.5 and 1.36.1: a ClusterRoleBinding names the user instead.
    ApiServerKubeletClient "apiserver-kubelet-client", Fixed("kube-apiserver-kubelet-client"), None, Kubernetes, Client, Shared, CONTROL_PLANE, Kept;
    ApiServerEtcdClient "apiserver-etcd-client", Fixed("kube-apiserver-etcd-client"), None, Etcd, Client, Shared, ETCD_CLIENTS, Kept;
    FrontProxyClient "front-proxy-client", Fixed("front-proxy-client"), None, FrontProxy, Client, Shared, CONTROL_PLANE, Kept;
    EtcdServer "etcd-server", Node(""), None, Etcd, Both, Node, MEMBERS, Kept;
    EtcdPeer "etcd-peer", Node(""), None, Etcd, Both, Node, MEMBERS, Kept;
    EtcdHealthcheckClient "etcd-healthcheck-client", Fixed("kube-etcd-healthcheck-client"), None, Etcd, Client, Shared, MEMBERS, Kept;
    ControllerManager "controller-manager.conf", Fixed("system:kube-controller-manager"), None, Kubernetes, Client, Shared, CONTROL_PLANE, Kept;
    Scheduler "scheduler.conf", Fixed("system:kube-scheduler"), None, Kubernetes, Client, Shared, CONTROL_PLANE, Kept;
    KubeletClient "kubelet.conf", Node("system:node:"), Some("system:nodes"), Kubernetes, Client, Node, KUBELETS, Kept;
    // Subject as the signer kubernetes.io/kubelet-serving demands it.
    KubeletServer "kubelet-server", Node("system:node:"), Some("system:nodes"), Kubernetes, Server, Node, KUBELETS, Kept;
    Admin "admin.conf", Fixed("kubernetes-admin"), Some("kubeadm:cluster-admins"), Kubernetes, Client, Shared, &[], Output;
    SuperAdmin "super-admin.conf", Fixed("kubernetes-super-admin"), Some("system:masters"), Kubernetes, Client, Shared, CONTROL_PLANE, UntilFinished;
    // Not in the `system:` name space, which is Kubernetes' own.
    Lease "lease", Fixed("nodekiln:lease"), None, Kubernetes, Client, Shared, CONTROL_PLANE, Kept;
    KubeVip "kube-vip.conf", Fixed("nodekiln:kube-vip"), None, Kubernetes, Client, Shared, CONTROL_PLANE, Kept;
};

/// The row's entry.
pub fn spec(row: Row) -> &'static Spec {
    &TABLE[row as usize]
}

/// A private or symmetric key of the cluster: what `placement.json` counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyId {
    /// A CA's key.
    Ca(Ca),
    /// The service-account key.
    ServiceAccount,
    /// A key for encryption at rest, by its place in the list: the first encrypts.
    Encryption(u8),
    /// A leaf's key.
    Leaf(Row, Option<NodeName>),
    /// The bootstrap token of a pool, or of a node without baked identity.
    Token(NodeName),
    /// The user's own key for etcd.external.
    ExternalEtcd,
}

impl KeyId {
    /// Who may hold it: nodes with one of these duties.
    pub fn receivers(&self) -> &'static [Duty] {
        match self {
            // kube-controller-manager signs with it.
            KeyId::Ca(Ca::Kubernetes) | KeyId::ServiceAccount | KeyId::Encryption(_) | KeyId::ExternalEtcd => {
                CONTROL_PLANE
            }
            // Every leaf of theirs is made by the builder.
            KeyId::Ca(Ca::Etcd | Ca::FrontProxy) => &[],
            KeyId::Leaf(row, _) => spec(*row).receivers,
            // Those who authenticate with it, and those who tell the API server of it.
            KeyId::Token(_) => &[Duty::Token, Duty::ControlPlane],
        }
    }

    /// Whether `holder` may hold it.
    pub fn may_be_on(&self, holder: &Holder) -> bool {
        let own = match self {
            KeyId::Leaf(row, node) => match spec(*row).scope {
                Scope::Shared => node.is_none(),
                Scope::Node => node.as_ref() == Some(&holder.name),
            },
            KeyId::Token(owner) => *owner == holder.name || holder.has(Duty::ControlPlane),
            _ => true,
        };
        own && self.receivers().iter().any(|duty| holder.has(*duty))
    }

    /// For how long a receiver keeps it.
    pub fn custody(&self) -> Custody {
        match self {
            KeyId::Ca(Ca::Etcd | Ca::FrontProxy) => Custody::Output,
            KeyId::Ca(Ca::Kubernetes) | KeyId::ServiceAccount | KeyId::Encryption(_) | KeyId::ExternalEtcd => {
                Custody::Kept
            }
            KeyId::Leaf(row, _) => spec(*row).custody,
            // firstboot erases the API objects that tell of it, and, when the kubelet has its certificate, the kubeconfig.
            KeyId::Token(_) => Custody::UntilFinished,
        }
    }

    /// The key that this value of the cluster is, if it is secret.
    pub fn of_shared(shared: Shared) -> Option<KeyId> {
        match shared {
            Shared::CaKey => Some(KeyId::Ca(Ca::Kubernetes)),
            Shared::ServiceAccountKey => Some(KeyId::ServiceAccount),
            Shared::EncryptionKey(index) => Some(KeyId::Encryption(index)),
            Shared::Ca | Shared::FrontProxyCa | Shared::EtcdCa | Shared::ServiceAccountPublicKey => None,
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyId::Ca(Ca::Kubernetes) => f.write_str("ca"),
            KeyId::Ca(Ca::Etcd) => f.write_str("etcd-ca"),
            KeyId::Ca(Ca::FrontProxy) => f.write_str("front-proxy-ca"),
            KeyId::ServiceAccount => f.write_str("sa"),
            KeyId::Encryption(0) => f.write_str("encryption-at-rest"),
            KeyId::Encryption(index) => write!(f, "encryption-at-rest/{}", u16::from(*index) + 1),
            KeyId::Leaf(row, None) => f.write_str(spec(*row).name),
            KeyId::Leaf(row, Some(node)) => write!(f, "{}/{node}", spec(*row).name),
            KeyId::Token(owner) => write!(f, "bootstrap-token/{owner}"),
            KeyId::ExternalEtcd => f.write_str("etcd.external.keyFile"),
        }
    }
}

/// The bootstrap tokens of a cluster: whose they are, and their life in seconds (`None`: they never end).
pub fn tokens(cluster: &Cluster) -> impl Iterator<Item = (&NodeName, Option<i64>)> {
    cluster.payloads().filter_map(|node| match node.identity {
        NodeIdentity::Baked => None,
        NodeIdentity::BootstrapToken { ttl } => Some((&node.name, ttl)),
    })
}

/// The algorithm of the row's keys: the cluster's, but P-256 for kubelets. There are two for each node, derived at every
/// build; and the keys that a kubelet makes itself when it renews are P-256 too.
pub fn algorithm(row: Row, cluster: &Cluster) -> Algorithm {
    match row {
        Row::KubeletClient | Row::KubeletServer => Algorithm::EcdsaP256,
        _ => cluster.algorithm,
    }
}

/// Whether the cluster has use for `ca`: somebody else's etcd has its own.
pub fn is_used(ca: Ca, cluster: &Cluster) -> bool {
    ca != Ca::Etcd || cluster.external_etcd.is_none()
}

/// All leaves of a cluster, shared ones once: the row, and the node where it is per node.
pub fn leaves(cluster: &Cluster) -> Vec<(Row, Option<NodeName>)> {
    let mut leaves = Vec::new();
    let wanted = |row| row != Row::KubeVip || matches!(cluster.load_balancer, LoadBalancer::KubeVip(_));
    for spec in TABLE.iter().filter(|spec| is_used(spec.issuer, cluster) && wanted(spec.row)) {
        if spec.scope == Scope::Shared {
            leaves.push((spec.row, None));
            continue;
        }
        let receives = |node: &&Node| {
            let holder = Holder::of(cluster, node);
            spec.receivers.iter().any(|duty| holder.has(*duty))
        };
        let receivers = cluster.nodes.iter().filter(receives);
        leaves.extend(receivers.map(|node| (spec.row, Some(node.name.clone()))));
    }
    leaves
}

/// The leaf of `row`: for `node` where the row is per node (which then must be given: `fill` refuses a leaf without),
/// shared otherwise.
pub fn leaf(row: Row, cluster: &Cluster, node: Option<&Node>) -> Leaf {
    let node = node.filter(|_| spec(row).scope == Scope::Node);
    let mut sans = match (row, node) {
        (Row::ApiServer, Some(node)) => api_server_sans(cluster, node),
        (Row::EtcdServer, Some(node)) => etcd_sans(&cluster.etcd.server_sans, node),
        (Row::EtcdPeer, Some(node)) => etcd_sans(&cluster.etcd.peer_sans, node),
        (Row::KubeletServer, Some(node)) => node_sans(node),
        _ => Vec::new(),
    };
    sans.sort();
    sans.dedup();
    Leaf { row, node: node.map(|node| node.name.clone()), sans }
}

/// The node's name and all its addresses. kubeadm has the advertise address only: it knows no other.
fn node_sans(node: &Node) -> Vec<San> {
    let mut sans = vec![San::Dns(node.name.to_string())];
    sans.extend(node.addresses.iter().copied().map(San::Ip));
    sans
}

/// kubeadm's `GetAPIServerAltNames`.
fn api_server_sans(cluster: &Cluster, node: &Node) -> Vec<San> {
    let mut sans = node_sans(node);
    sans.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(|name| San::Dns(name.to_owned())));
    sans.push(San::Dns(format!("kubernetes.default.svc.{}", cluster.networking.dns_domain)));
    sans.push(match &cluster.endpoint.host {
        Host::Ip(ip) => San::Ip(*ip),
        Host::Name(name) => San::Dns(name.to_string()),
    });
    // The address of the Service `kubernetes`: only the first network's, also in dual stack.
    sans.extend(cluster.networking.services.first().and_then(|net| net.host(1)).map(San::Ip));
    // Each node's own balancer is called by its address.
    if cluster.load_balancer == LoadBalancer::Local {
        sans.extend([San::Ip(Ipv4Addr::LOCALHOST.into()), San::Ip(Ipv6Addr::LOCALHOST.into())]);
    }
    sans.extend(cluster.api_server_sans.iter().cloned());
    sans
}

/// kubeadm's `GetEtcdAltNames` and `GetEtcdPeerAltNames`.
fn etcd_sans(user: &[San], node: &Node) -> Vec<San> {
    let mut sans = node_sans(node);
    sans.push(San::Dns("localhost".to_owned()));
    sans.push(San::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    sans.push(San::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    sans.extend(user.iter().cloned());
    sans
}

#[cfg(test)]
mod tests;
