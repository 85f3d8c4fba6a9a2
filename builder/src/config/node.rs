//! [`Node`]: one machine of the cluster, or a pool of them, with all that it is given: the cluster's own `os`, `kubelet`,
//! `kernel` and `binaries` with the node's laid over them.

use super::{Arg, Common, Fragment};
pub use nodekiln_payload::IgnitionVersion;
use nodekiln_payload::Profile;
use nodekiln_plan::{
    AbsPath, Cidr, KubernetesVersion, Mode, ModuleName, NodeName, Role, Sha256, Sysctl, Taint, UnitName,
};
use std::{collections::BTreeMap, net::IpAddr, ops::Deref, sync::Arc};

/// What a payload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// One machine, known by name.
    Machine,
    /// A pool: any number of machines with one payload, each named by its own host name. It has no addresses.
    Pool,
}

/// How a node proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeIdentity {
    /// By the certificates in its payload.
    Baked,
    /// By a bootstrap token: the kubelet asks for its certificate (TLS bootstrap).
    BootstrapToken {
        /// Life of the token in seconds from the secrets' creation or last renewal; `None`: it never ends.
        ttl: Option<i64>,
    },
}

/// nodes[].replaces: a dead member whose place this node takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Its name.
    pub name: NodeName,
    /// Its address, where this node does not take that over too.
    pub address: Option<IpAddr>,
}

/// A machine, or a pool of machines: who it is, and its [`NodeClass`], whose fields are read as its own.
#[derive(Debug, Clone)]
pub struct Node {
    /// name.
    pub name: NodeName,
    /// address, the advertise address first: the one of the service network's primary family.
    pub addresses: Vec<IpAddr>,
    /// mac, lower-case with colons.
    pub mac: Option<String>,
    /// uuid, lower-case.
    pub uuid: Option<String>,
    /// network; DHCP without it. Like `replaces` in memory of its own: few nodes of many have one.
    pub network: Option<Box<StaticNetwork>>,
    /// disk.
    pub disk: Option<AbsPath>,
    /// replaces.
    pub replaces: Option<Box<Replaces>>,
    /// labels, shared with all that have the same.
    pub labels: Common<BTreeMap<String, String>>,
    /// podCIDR, one per pod network; empty without podSubnet.
    pub pod_cidrs: Vec<Cidr>,
    /// What it shares with others.
    pub class: Arc<NodeClass>,
}

impl Node {
    /// The advertise address. Pools have none, and nothing that asks for it.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }
}

impl Deref for Node {
    type Target = NodeClass;

    fn deref(&self) -> &NodeClass {
        &self.class
    }
}

/// In tests: what changes is this node's alone.
#[cfg(test)]
impl std::ops::DerefMut for Node {
    fn deref_mut(&mut self) -> &mut NodeClass {
        Arc::make_mut(&mut self.class)
    }
}

/// What nodes have in common, whatever they are called: a thousand workers are of one class, or of a few. `resolve` makes
/// one of those that say the same, which is kept and planned once; and of those that differ in one part, the others are one.
#[derive(Debug, Clone)]
pub struct NodeClass {
    /// Whether this is one machine.
    pub kind: NodeKind,
    /// identity, ttl.
    pub identity: NodeIdentity,
    /// role.
    pub role: Role,
    /// taints, the role's default filled in.
    pub taints: Common<Vec<Taint>>,
    /// The kubelet's version.
    pub version: KubernetesVersion,
    /// KubeletConfiguration fragment: the cluster's with the node's over it.
    pub kubelet: Common<Fragment>,
    /// kubeletExtraArgs: the cluster's with the node's over it.
    pub kubelet_extra_args: Common<Vec<Arg>>,
    /// ignorePreflightErrors.
    pub ignore_preflight_errors: Common<Vec<String>>,
    /// kernel.
    pub kernel: Common<Kernel>,
    /// os.
    pub os: Common<Os>,
    /// binaries.
    pub binaries: Common<Binaries>,
}

/// nodes[].network.
#[derive(Debug, Clone)]
pub struct StaticNetwork {
    /// Address and prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// One per family.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
}

/// kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// modules beyond our own.
    pub modules: Vec<ModuleName>,
    /// sysctls beyond our own, by name.
    pub sysctls: Vec<Sysctl>,
    /// swap.
    pub swap: bool,
}

/// A file named in cluster.yaml, read once: a named input of the build.
#[derive(Clone, Eq)]
pub struct InputFile {
    /// Relative to cluster.yaml; of contents that stand in it, where they go.
    pub path: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl PartialEq for InputFile {
    /// A program is not read again for every node that has it.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && (Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes)
    }
}

impl std::fmt::Debug for InputFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InputFile({:?}, {} bytes)", self.path, self.bytes.len())
    }
}

/// os.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    /// profile.
    pub profile: &'static Profile,
    /// platform, which sets the size budget.
    pub platform: Platform,
    /// arch.
    pub arch: Arch,
    /// ignitionVersion.
    pub ignition_version: IgnitionVersion,
    /// users, groups filled in.
    pub users: Vec<User>,
    /// timeServers.
    pub time_servers: Vec<String>,
    /// Whether the OS updates itself.
    pub updates: bool,
    /// files, by path.
    pub files: Vec<Common<OsFile>>,
    /// units, by name.
    pub units: Vec<Common<OsUnit>>,
    /// snippets, in the order of the file.
    pub snippets: Vec<InputFile>,
}

/// os.platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// No budget.
    Metal,
    /// fw_cfg: 256 KiB.
    Qemu,
    /// 16384 bytes.
    Aws,
    /// 49151 bytes.
    OpenStack,
    /// 48 KiB.
    Azure,
    /// 262144 bytes.
    Gcp,
}

impl Platform {
    /// All of them, by the name that cluster.yaml has for them.
    pub const ALL: [(&'static str, Platform); 6] = [
        ("metal", Platform::Metal),
        ("qemu", Platform::Qemu),
        ("aws", Platform::Aws),
        ("openstack", Platform::OpenStack),
        ("azure", Platform::Azure),
        ("gcp", Platform::Gcp),
    ];

    /// How many bytes it takes. The limits are those of the platforms' own documentation; fw_cfg's is where its reading
    /// takes minutes (coreos/ignition#1259).
    pub fn limit(self) -> Option<usize> {
        match self {
            Platform::Metal => None,
            Platform::Qemu => Some(256 * 1024),
            Platform::Aws => Some(16384),
            Platform::OpenStack => Some(49151),
            Platform::Azure => Some(48 * 1024),
            Platform::Gcp => Some(262_144),
        }
    }

    /// Its name in cluster.yaml.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, platform)| *platform == self).map_or("metal", |(name, _)| name)
    }
}

/// os.arch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

/// os.users[].
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// name.
    pub name: String,
    /// sshAuthorizedKeys.
    pub ssh_authorized_keys: Common<Vec<String>>,
    /// passwordHash.
    pub password_hash: Option<nodekiln_plan::Secret>,
    /// groups.
    pub groups: Common<Vec<String>>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?})", self.name)
    }
}

/// os.files[]. Contents may be secret: they are not shown by `Debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsFile {
    /// path.
    pub path: AbsPath,
    /// mode.
    pub mode: Mode,
    /// content or file.
    pub contents: InputFile,
}

/// os.units[]. Texts may be secret: they are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct OsUnit {
    /// name.
    pub name: UnitName,
    /// enabled.
    pub enabled: bool,
    /// content; `None` when only drop-ins are given.
    pub content: Option<String>,
    /// dropins, (name, content).
    pub dropins: Vec<(String, String)>,
}

impl std::fmt::Debug for OsUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OsUnit({:?})", self.name)
    }
}

/// binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// kubelet.
    pub kubelet: Binary,
    /// containerd.
    pub containerd: Binary,
    /// runc.
    pub runc: Binary,
    /// cniPlugins: a folder.
    pub cni_plugins: Binary,
    /// firstboot; `None`: the one embedded in the builder or given by `--firstboot`.
    pub firstboot: Option<Binary>,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binary {
    /// In the machine image.
    Path(AbsPath),
    /// An input file of the build.
    File(InputFile),
    /// Fetched by the machine, hash checked.
    Url {
        /// http or https.
        url: String,
        /// Of the bytes as served.
        hash: FetchHash,
    },
    /// In a system extension image (systemd-sysext(8)), fetched by the machine, hash checked.
    Sysext {
        /// http or https.
        url: String,
        /// Of the bytes as served.
        hash: FetchHash,
    },
}

impl Binary {
    /// What it is called where it comes from.
    fn source(&self) -> &str {
        match self {
            Self::Path(path) => path.as_str(),
            Self::File(file) => &file.path,
            Self::Url { url, .. } | Self::Sysext { url, .. } => url.split(['?', '#']).next().unwrap_or_default(),
        }
    }

    /// Whether several files come in it, by its name.
    pub fn is_archive(&self) -> bool {
        !matches!(self, Self::Path(_)) && [".tgz", ".tar.gz", ".tar"].iter().any(|end| self.source().ends_with(end))
    }
}

/// The hash of something that a machine fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchHash {
    /// 32 bytes.
    Sha256(Sha256),
    /// 128 hex digits.
    Sha512(String),
}
