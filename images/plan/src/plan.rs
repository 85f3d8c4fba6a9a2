//! [`NodePlan`]: all that firstboot knows about its node.

use crate::{
    etcd::{EtcdPlan, ExternalEtcdPlan},
    file::{AbsPath, Archive, DirectoryEntry, FileEntry},
    hash::Sha256,
    name::{ClusterName, ModuleName, NodeName, SysctlKey, UnitName},
    net::Endpoint,
    text::{ClassText, PlanText},
    version::KubernetesVersion,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of `plan.json` that this crate reads and writes.
///
/// It is raised by every change that an older firstboot would misread or refuse: a field that it does not know is one.
pub const PLAN_VERSION: u32 = 3;

/// A text that every program that reads this version's plans holds, so that a builder can tell it from its bytes.
pub const PLAN_MARKER: &str = "nodekiln-firstboot: plan version 3.";

/// The plan of one node, the file `plan.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePlan {
    /// [`PLAN_VERSION`] of the builder.
    pub version: u32,
    /// What was decided about all nodes of its class.
    pub class: ClassSpec,
    /// Every file of the payload but this one: by path those that all nodes of the class have, then its own.
    pub files: Vec<FileEntry>,
    /// What follows from the cluster's secrets.
    pub identity: Identity,
    /// What was decided about this node without seeing a key.
    pub spec: NodeSpec,
}

/// Why a `plan.json` was not read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Made by another version of nodekiln.
    #[error("the plan has version {found}, this program reads version {PLAN_VERSION}")]
    Version {
        /// What the file says.
        found: u64,
    },
    /// Not the JSON it should be.
    #[error("not a plan")]
    Syntax(#[source] serde_json::Error),
}

impl NodePlan {
    /// Reads `plan.json`, its version first.
    ///
    /// # Errors
    /// Another version, or bytes that are no plan.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Header {
            version: u64,
        }
        let header: Header = serde_json::from_slice(bytes).map_err(PlanError::Syntax)?;
        if header.version != u64::from(PLAN_VERSION) {
            return Err(PlanError::Version { found: header.version });
        }
        serde_json::from_slice(bytes).map_err(PlanError::Syntax)
    }

    /// The bytes of `plan.json`, see [`PlanText`].
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn to_vec(&self) -> Result<Vec<u8>, PlanError> {
        // The version is this crate's: no other is read.
        let Self { version: _, class, files, identity, spec } = self;
        let class = ClassText::new(class, files)?;
        Ok(PlanText::new(identity, spec, &class, &[])?.bytes)
    }

    /// The entry of the file whose final path is `path`.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|entry| entry.path.as_str() == path)
    }
}

/// A node's part in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the control plane.
    ControlPlane,
    /// Runs workload only.
    Worker,
    /// Runs an etcd member under a kubelet without API server.
    Etcd,
}

/// The part of a plan that needs no key and is each node's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// clusterName.
    pub cluster: ClusterName,
    /// Node name and host name; of a pool the name that its machines' names begin with.
    pub node: NodeName,
    /// Whether this is the plan of a pool: any number of machines share it. Each is named by its own host name or, where
    /// that is empty, `localhost` or `fedora`, by `node`, a hyphen and the first eight digits of its machine ID. The kubelet
    /// is not told a name: it takes the host name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pool: bool,
    /// Its part.
    pub role: Role,
    /// The kubelet's version.
    pub kubernetes_version: KubernetesVersion,
    /// The node's addresses, at most one per family, the advertise address first. The machine has to hold them. None for a
    /// pool.
    pub addresses: Vec<IpAddr>,
    /// The disk that an installer writes the OS to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<AbsPath>,
    /// etcd, where this node runs a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdPlan>,
    /// The API server that this node waits for: its own on a control plane, else controlPlaneEndpoint. None where the
    /// kubelet runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Endpoint>,
    /// API-side steps, where this node carries the credential for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiPlan>,
}

/// The part of a plan that is the same on all nodes of a class: those that differ in their names, addresses and keys alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassSpec {
    /// What preflight needs beyond the rest of the plan.
    pub preflight: PreflightPlan,
    /// Modules, sysctls, swap.
    pub kernel: KernelPlan,
    /// Folders with a mode of their own, by path. Those that the payload made are listed too.
    pub directories: Vec<DirectoryEntry>,
    /// Archives to unpack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// The kubelet.
    pub kubelet: KubeletPlan,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The end.
    pub finalize: FinalizePlan,
}

/// What follows from the cluster's secrets. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Generation of the leaves: raised by `secrets renew`.
    pub generation: u64,
    /// Digest of the etcd CA, the planned members and the snapshot to restore: the same on all members of one cluster,
    /// and only there. Zero on nodes without a member.
    pub etcd_digest: Sha256,
    /// The latest notBefore among the payload's certificates: no stage after preflight runs before it.
    pub not_before: i64,
    /// The earliest end of a leaf or token that the payload authenticates with: preflight refuses the payload past it.
    pub boot_before: i64,
}

/// Inputs of preflight's checks that stand nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightPlan {
    /// Names of checks whose errors become warnings; compared without case; `all` means every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// TCP ports that must be free on a first boot.
    pub ports: Vec<u16>,
    /// Programs that must exist and be executable.
    pub programs: Vec<AbsPath>,
    /// Certificates and keys for an external etcd that the machine image brings (kubeadm's check
    /// `ExternalEtcdClientCertificates`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub etcd_client_files: Vec<AbsPath>,
    /// An etcd that somebody else runs, whose version is asked (kubeadm's check `ExternalEtcdVersion`). On control planes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_etcd: Option<ExternalEtcdPlan>,
    /// The container runtime's socket, `unix:///...`.
    pub runtime_endpoint: String,
    /// Whether IPv4 and IPv6 forwarding must be on after the stage `kernel`.
    pub ipv4: bool,
    /// See `ipv4`.
    pub ipv6: bool,
}

/// A kernel setting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sysctl {
    /// The key.
    pub name: SysctlKey,
    /// The value as written to /proc/sys; several numbers are separated by one space.
    pub value: String,
    /// Only raise: a larger number that is already set stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub floor: bool,
}

/// Kernel settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KernelPlan {
    /// Modules to load, by modprobe; one that is built in counts as loaded.
    pub modules: Vec<ModuleName>,
    /// Settings to write and read back, by name.
    pub sysctls: Vec<Sysctl>,
    /// Whether swap is left alone. Otherwise it is turned off and its units are masked.
    pub swap: bool,
}

/// The kubelet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeletPlan {
    /// Its unit, started by firstboot alone.
    pub unit: UnitName,
    /// The program.
    pub binary: AbsPath,
    /// Units that have to run before it: the container runtime's.
    pub after: Vec<UnitName>,
    /// `http://ADDRESS:PORT/healthz`.
    pub healthz: String,
    /// `--root-dir`.
    pub root_dir: AbsPath,
    /// Folder of static pods.
    pub static_pods: AbsPath,
    /// CA bundle of the cluster.
    pub ca: AbsPath,
    /// The kubelet's client certificate and key in one PEM file, from its first boot on.
    pub client_certificate: AbsPath,
}

/// The API-side steps of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiPlan {
    /// This node's own API server.
    pub server: Endpoint,
    /// The staged kubeconfig in `system:masters`.
    pub credential: AbsPath,
    /// Kubeconfig whose rights end at the Lease.
    pub lease_credential: AbsPath,
    /// Namespace and name of the Lease that serialises these steps and etcd's manifest rewrites.
    pub lease: String,
    /// Namespace and name of the ConfigMap {generation, digest} that says the steps are done.
    pub done: String,
}

/// Deadlines in seconds: kubeadm's `timeouts` (v1beta4). Waiting for etcd peers and, on a worker, for the API server has
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// Until the node's own control plane is healthy.
    pub control_plane_component_health_check: u64,
    /// Until the kubelet's healthz answers.
    pub kubelet_health_check: u64,
    /// For each call to the API server, retries included.
    pub kubernetes_api_call: u64,
    /// For each call to etcd, retries included.
    pub etcd_api_call: u64,
    /// Until the kubelet has its client certificate by TLS bootstrap.
    pub tls_bootstrap: u64,
}

impl Default for Timeouts {
    /// kubeadm's defaults: 4m, 4m, 1m, 2m, 5m.
    fn default() -> Self {
        Self {
            control_plane_component_health_check: 240,
            kubelet_health_check: 240,
            kubernetes_api_call: 60,
            etcd_api_call: 120,
            tls_bootstrap: 300,
        }
    }
}

/// What the last stage removes and leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FinalizePlan {
    /// Leftovers of the payload: files and folders that are erased where they exist. The last part of a path may hold
    /// `*`, which stands for any text.
    pub scrub: Vec<AbsPath>,
    /// Empty files that are made, such as cloud-init's off switch.
    pub touch: Vec<AbsPath>,
    /// Copies of the payload that nothing on the node can erase, in words, for `result.json`.
    pub beyond_reach: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::{PLAN_MARKER, PLAN_VERSION};
    use crate::Sha256;

    /// The lines of a source that say what a plan is made of: types, their fields and variants, and how serde takes them.
    fn shape(source: &str) -> impl Iterator<Item = &str> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default().lines().map(str::trim);
        code.filter(|line| {
            let declares = line.starts_with("pub ") && !line.contains("fn ") && !line.contains("const ");
            let variant = line.starts_with(|c: char| c.is_ascii_uppercase()) && line.ends_with([',', '{']);
            declares || variant || line.starts_with("#[serde")
        })
    }

    /// Every struct refuses what it does not know, so that a new field needs a new version: a firstboot of before would
    /// take the plan for none when the machine boots.
    #[test]
    fn another_shape_is_another_version() {
        let sources =
            [include_str!("plan.rs"), include_str!("etcd.rs"), include_str!("api.rs"), include_str!("file.rs")];
        let lines: Vec<&str> = sources.iter().flat_map(|source| shape(source)).collect();
        assert!(lines.len() > 100 && lines.contains(&"pub version: u32,"));
        let found = (PLAN_VERSION, Sha256::of(lines.join("\n").as_bytes()).to_string());
        let known = (3, "4024209e9057d58cbc8b6582347e8e749f7934fae0545cf55480ed38afdb0aed".to_owned());
        assert_eq!(found, known, "raise PLAN_VERSION and PLAN_MARKER if a plan is made of something else now");
        assert!(PLAN_MARKER.ends_with(&format!("version {PLAN_VERSION}.")));
    }
}
