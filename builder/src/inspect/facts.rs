//! [`Inspection`]: what is told of a payload, as types.

use super::{certificate::Certificate, material::Kubeconfig, node::PrivateKey};
use crate::config::Platform;
use nodekiln_plan::{ClusterName, FileKind, KubernetesVersion, Mode, NodeName, Role};
use serde::Serialize;
use std::net::IpAddr;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole Ignition configuration.
    Ignition,
    /// A stub that points at one.
    Pointer,
    /// cloud-init's files.
    CloudInit,
    /// `tree.tar`.
    Tree,
    /// `plan.json`.
    Plan,
    /// `api.ndjson`.
    Api,
    /// A kubeconfig.
    Kubeconfig,
    /// Certificates in PEM, maybe with keys.
    Certificates,
}

/// What a payload holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: usize,
    /// Which platforms take that much.
    pub platforms: Vec<PlatformFacts>,
    /// Where a stub points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<PointerFacts>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeFacts>,
    /// Folders with a mode of their own.
    pub directories: Vec<DirectoryFacts>,
    /// Files.
    pub files: Vec<FileFacts>,
    /// Symbolic links.
    pub links: Vec<LinkFacts>,
    /// systemd units.
    pub units: Vec<UnitFacts>,
    /// Accounts.
    pub accounts: Vec<AccountFacts>,
    /// What the machine fetches.
    pub fetches: Vec<FetchFacts>,
    /// Its static network, under cloud-init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkFacts>,
    /// Time servers, under cloud-init.
    pub time_servers: Vec<String>,
    /// The user's snippets: what each of them sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snippets: Vec<Vec<String>>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Private and symmetric keys, by the digests of their public halves.
    pub private_keys: Vec<PrivateKey>,
    /// Kubeconfigs.
    pub kubeconfigs: Vec<Kubeconfig>,
    /// What firstboot does at the API, in order.
    pub api: Vec<String>,
    /// What firstboot does beyond laying files down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_members: Option<Vec<NodeName>>,
}

/// Whether a platform takes a payload.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformFacts {
    /// `os.platform`.
    pub name: &'static str,
    /// How many bytes it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether this fits.
    pub fits: bool,
}

/// Where a stub points.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PointerFacts {
    /// The address without the name that nobody guesses.
    pub source: String,
    /// SHA-512 of the configuration.
    pub sha512: String,
    /// Whether it brings certificate authorities for the server.
    pub has_authorities: bool,
}

/// Whose payload it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Its cluster. These are missing where there is no plan.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The kubelet's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Version of the plan, which may be another than this program reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_version: Option<u64>,
    /// Generation of its certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Not bootable before this, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Nor after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_before: Option<i64>,
}

/// A folder.
#[derive(Debug, Clone, Serialize)]
pub struct DirectoryFacts {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
}

/// A file.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFacts {
    /// Where it ends.
    pub path: String,
    /// Where the payload lays it, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// Permission bits, at its end.
    pub mode: Mode,
    /// Always `root:root`.
    pub owner: &'static str,
    /// In bytes. Missing in a plan, which does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What becomes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
}

/// A symbolic link.
#[derive(Debug, Clone, Serialize)]
pub struct LinkFacts {
    /// Where.
    pub path: String,
    /// What it points at.
    pub target: String,
}

/// A unit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitFacts {
    /// Its name.
    pub name: String,
    /// `enabled`, `disabled`, `masked` or `unchanged`.
    pub state: &'static str,
    /// Whether the payload brings the unit file.
    pub has_contents: bool,
    /// Names of its drop-ins.
    pub dropins: Vec<String>,
}

/// An account.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountFacts {
    /// Its name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Kind and comment of its SSH keys.
    pub ssh_keys: Vec<String>,
    /// Whether it has a password.
    pub has_password: bool,
}

/// Something that the machine fetches.
#[derive(Debug, Clone, Serialize)]
pub struct FetchFacts {
    /// Where it goes.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// From where, without a query.
    pub url: String,
    /// `sha256-...` or `sha512-...`.
    pub hash: String,
}

/// A static network.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkFacts {
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Gateways.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
}

impl Inspection {
    pub(super) fn empty(kind: Kind, size: usize) -> Self {
        let fits = |(name, platform): (&'static str, Platform)| {
            let limit = platform.limit();
            PlatformFacts { name, limit, fits: limit.is_none_or(|limit| size <= limit) }
        };
        let given = matches!(kind, Kind::Ignition | Kind::Pointer | Kind::CloudInit);
        Self {
            kind,
            size,
            platforms: if given { Platform::ALL.map(fits).into() } else { Vec::new() },
            pointer: None,
            node: None,
            directories: vec![],
            files: vec![],
            links: vec![],
            units: vec![],
            accounts: vec![],
            fetches: vec![],
            network: None,
            time_servers: vec![],
            snippets: vec![],
            certificates: vec![],
            private_keys: vec![],
            kubeconfigs: vec![],
            api: vec![],
            etcd_members: None,
        }
    }
}
