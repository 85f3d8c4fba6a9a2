//! [`Cluster`]: cluster.yaml with every default filled in and every rule checked.
//!
//! Valid by construction: only `resolve` makes one. Each node carries its own `os`, `kubelet`, `kernel` and `binaries`,
//! the cluster's merged with its own, in a class that it shares with its equals.

use super::{InputFile, Node, NodeClass};
use nodekiln_plan::{AbsPath, Cidr, ClusterName, DnsName, Endpoint, KubernetesVersion, Role, Timeouts};
use std::{collections::BTreeMap, fmt, net::IpAddr};

/// A JSON object: a fragment of a component's configuration.
pub type Fragment = serde_json::Map<String, serde_json::Value>;

/// A whole cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// clusterName.
    pub name: ClusterName,
    /// kubernetesVersion.
    pub version: KubernetesVersion,
    /// controlPlaneEndpoint; the address of the only control plane by default.
    pub endpoint: Endpoint,
    /// networking.
    pub networking: Networking,
    /// apiServer without its certSANs.
    pub api_server: ControlPlaneComponent,
    /// apiServer.certSANs.
    pub api_server_sans: Vec<San>,
    /// controllerManager.
    pub controller_manager: ControlPlaneComponent,
    /// scheduler.
    pub scheduler: ControlPlaneComponent,
    /// etcd.local.
    pub etcd: Etcd,
    /// etcd.external: run by somebody else. Neither control planes nor `etcd` nodes run a member then.
    pub external_etcd: Option<ExternalEtcd>,
    /// dns; `None` when disabled.
    pub dns: Option<ImageOverride>,
    /// Whether kube-proxy is deployed.
    pub proxy: bool,
    /// certificatesDir.
    pub certificates_dir: AbsPath,
    /// imageRepository.
    pub image_repository: String,
    /// encryptionAlgorithm.
    pub algorithm: Algorithm,
    /// certificateValidityPeriod in seconds.
    pub certificate_validity: i64,
    /// caCertificateValidityPeriod in seconds.
    pub ca_certificate_validity: i64,
    /// The cluster's KubeletConfiguration fragment, for the config map `kubelet-config`. Nodes carry theirs merged.
    pub kubelet: Fragment,
    /// The KubeProxyConfiguration fragment.
    pub kube_proxy: Fragment,
    /// featureGates: kubeadm's own.
    pub feature_gates: BTreeMap<String, bool>,
    /// patches, in the order in which kubeadm applies them: by file name.
    pub patches: Vec<Patch>,
    /// images.digests: `sha256:...` by image reference without digest.
    pub image_digests: BTreeMap<String, String>,
    /// loadBalancer.
    pub load_balancer: LoadBalancer,
    /// addons.cni.
    pub cni: Cni,
    /// addons.manifests: the objects of all files, in the order in which they are applied.
    pub manifests: Vec<ManifestObject>,
    /// delivery.
    pub delivery: Delivery,
    /// timeouts.
    pub timeouts: Timeouts,
    /// nodes, in the order of the file. Never empty, at least one control plane.
    pub nodes: Vec<Node>,
    /// pools, in the order of the file: workers of [`super::NodeKind::Pool`].
    pub pools: Vec<Node>,
}

impl Cluster {
    /// Everything that gets a payload: the nodes, then the pools.
    pub fn payloads(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(&self.pools)
    }

    /// The nodes that run an etcd member: the `etcd` nodes if there are any, else the control planes; none with
    /// etcd.external.
    pub fn etcd_members(&self) -> impl Iterator<Item = &Node> {
        let role = match self.with_role(Role::Etcd).next() {
            Some(_) => Role::Etcd,
            None => Role::ControlPlane,
        };
        self.with_role(role).filter(|_| self.external_etcd.is_none())
    }

    /// Whether `node` runs an etcd member: it is among [`Cluster::etcd_members`].
    pub fn runs_member(&self, node: &NodeClass) -> bool {
        self.external_etcd.is_none()
            && match node.role {
                Role::Etcd => true,
                Role::ControlPlane => self.with_role(Role::Etcd).next().is_none(),
                Role::Worker => false,
            }
    }

    /// The nodes with `role`, in the order of the file.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role == role)
    }
}

/// networking. One network per family, the primary family first; both lists have the same families in the same order.
#[derive(Debug, Clone)]
pub struct Networking {
    /// podSubnet; empty only with `cni: none`.
    pub pods: Vec<Cidr>,
    /// serviceSubnet; at least one.
    pub services: Vec<Cidr>,
    /// dnsDomain.
    pub dns_domain: DnsName,
}

/// A command line argument: `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arg {
    /// Without leading dashes.
    pub name: String,
    /// May be empty: `--name=`.
    pub value: String,
}

/// What the user says about a control-plane static pod.
#[derive(Debug, Clone, Default)]
pub struct ControlPlaneComponent {
    /// In the user's order; a name replaces our default of that name.
    pub extra_args: Vec<Arg>,
    /// A name replaces our volume of that name.
    pub extra_volumes: Vec<Volume>,
    /// core/v1 EnvVar objects.
    pub extra_envs: Vec<Fragment>,
}

/// A host path in a static pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Volume name.
    pub name: String,
    /// Path on the node.
    pub host_path: AbsPath,
    /// Path in the container.
    pub mount_path: AbsPath,
    /// Mounted read-only.
    pub read_only: bool,
    /// HostPathType; empty when not given.
    pub path_type: String,
}

/// A subject alternative name. Names are lower-case and may start with `*.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// dNSName.
    Dns(String),
    /// iPAddress.
    Ip(IpAddr),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// etcd.local.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// dataDir.
    pub data_dir: AbsPath,
    /// extraArgs.
    pub extra_args: Vec<Arg>,
    /// extraEnvs.
    pub extra_envs: Vec<Fragment>,
    /// serverCertSANs.
    pub server_sans: Vec<San>,
    /// peerCertSANs.
    pub peer_sans: Vec<San>,
    /// imageRepository, imageTag.
    pub image: ImageOverride,
}

/// etcd.external.
#[derive(Debug, Clone)]
pub struct ExternalEtcd {
    /// endpoints, URLs.
    pub endpoints: Vec<String>,
    /// caFile.
    pub ca: Option<NodeFile>,
    /// certFile; given if and only if `key` is.
    pub cert: Option<NodeFile>,
    /// keyFile.
    pub key: Option<NodeFile>,
}

/// A file that a node needs.
#[derive(Debug, Clone)]
pub enum NodeFile {
    /// A relative path: an input file of the build, baked into the payload.
    Input(InputFile),
    /// An absolute path: already in the machine image.
    Image(AbsPath),
}

/// loadBalancer: how nodes reach the API servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancer {
    /// controlPlaneEndpoint is run by somebody else.
    External,
    /// controlPlaneEndpoint is a node's address.
    None,
    /// kube-vip holds this address, controlPlaneEndpoint's host.
    KubeVip(IpAddr),
    /// A haproxy on every node leads from 127.0.0.1:7443 to all API servers.
    Local,
}

/// A file of `patches` (kubeadm's grammar of names: `TARGET[SUFFIX][+TYPE].EXTENSION`).
#[derive(Clone)]
pub struct Patch {
    /// What it is laid over.
    pub target: PatchTarget,
    /// How.
    pub kind: PatchKind,
    /// Name of the file, relative to cluster.yaml.
    pub path: String,
    /// What it says: a mapping for a merge patch, a list of operations for a JSON patch.
    pub value: serde_json::Value,
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patch({:?}, {:?}, {:?})", self.target, self.kind, self.path)
    }
}

/// Targets of kubeadm's patches that nodekiln writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchTarget {
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
    /// `etcd`.
    Etcd,
    /// `kubeletconfiguration`.
    KubeletConfiguration,
    /// `corednsdeployment`.
    CoreDnsDeployment,
    /// `kubeproxydaemonset`, which kubeadm has from 1.37 on.
    KubeProxyDaemonSet,
}

/// How a patch is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// JSON merge patch (RFC 7386).
    Merge,
    /// JSON patch (RFC 6902).
    Json,
}

/// An object of `addons.manifests`. It may be a Secret: it is not shown by `Debug`.
#[derive(Clone)]
pub struct ManifestObject {
    /// The file that it stands in, relative to cluster.yaml.
    pub path: String,
    /// The object; it has apiVersion, kind and metadata.name.
    pub value: serde_json::Value,
}

impl std::fmt::Debug for ManifestObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManifestObject({:?}, {} {})", self.path, self.value["kind"], self.value["metadata"]["name"])
    }
}

/// Another image repository or tag than the release's.
#[derive(Debug, Clone, Default)]
pub struct ImageOverride {
    /// imageRepository.
    pub repository: Option<String>,
    /// imageTag.
    pub tag: Option<String>,
}

/// encryptionAlgorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256, the default.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl Algorithm {
    /// Whether it is RSA, whose keys cannot be derived.
    pub fn is_rsa(self) -> bool {
        matches!(self, Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096)
    }
}

/// addons.cni.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cni {
    /// The user brings one.
    None,
    /// The `bridge` plugin; routes between the nodes' pod CIDRs are baked in.
    Bridge,
    /// flannel, applied by firstboot.
    Flannel,
}

/// delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What the machine is given.
    pub mode: DeliveryMode,
    /// baseURL without trailing slash.
    pub base_url: Option<String>,
    /// PEM bundle for stubs.
    pub ca: Option<InputFile>,
}

/// delivery.mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The whole configuration.
    Inline,
    /// A stub with URL and hash.
    Pointer,
}
