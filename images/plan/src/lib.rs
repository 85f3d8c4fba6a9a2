//! The contract between the builder and the node.
//!
//! Holds [`NodePlan`] (the file `plan.json` of a payload), [`ApiStep`] (a line of `api.ndjson`) and the domain types
//! that both sides share. It does no I/O: the builder fills these types, `nodekiln-firstboot` acts on them.

mod api;
mod etcd;
mod file;
mod hash;
pub mod json;
mod name;
mod net;
mod plan;
mod secret;
mod text;
mod version;

pub use api::{ApiStep, MANAGED_BY, NodeStep, TOKEN_OWNER, Taint, TaintEffect, TaintError};
pub use etcd::{EtcdMember, EtcdPlan, EtcdServer, ExternalEtcdPlan};
pub use file::{AbsPath, Archive, DirectoryEntry, FileEntry, FileKind, Mode, ModeError, PathError};
pub use hash::{HashError, Hashing, Sha256};
pub use name::{ClusterName, DnsName, ModuleName, NameError, NodeName, SysctlKey, UnitName};
pub use net::{Cidr, CidrError, Endpoint, EndpointError, Host, parse_net};
pub use plan::{
    ApiPlan, ClassSpec, FinalizePlan, Identity, KernelPlan, KubeletPlan, NodePlan, NodeSpec, PLAN_MARKER, PLAN_VERSION,
    PlanError, PreflightPlan, Role, Sysctl, Timeouts,
};
pub use secret::Secret;
pub use text::{ClassText, PlanText};
pub use version::{KubernetesVersion, VersionError};

/// Where a payload lays what firstboot reads and writes.
pub mod paths {
    /// Folder of the plan, the API objects, markers and results. Mode 0700.
    pub const STATE_DIR: &str = "/var/lib/nodekiln";
    /// The plan of this node.
    pub const PLAN: &str = "/var/lib/nodekiln/plan.json";
    /// The API objects, one [`crate::ApiStep`] a line, applied in order.
    pub const API_OBJECTS: &str = "/var/lib/nodekiln/api.ndjson";
    /// Files that firstboot moves to their final place, laid below this folder under their final path. Mode 0700.
    pub const STAGE_DIR: &str = "/var/lib/nodekiln/stage";
    /// Markers of stages that are done, one file per stage.
    pub const DONE_DIR: &str = "/var/lib/nodekiln/done";
    /// What firstboot did, written once at its end.
    pub const RESULT: &str = "/var/lib/nodekiln/result.json";
    /// What firstboot is doing now.
    pub const STATUS: &str = "/run/nodekiln/status.json";
    /// The staged kubeconfig in the group `system:masters`, erased by the last stage.
    pub const API_CREDENTIAL: &str = "/var/lib/nodekiln/stage/api.conf";
    /// The kubeconfig whose rights end at the Lease that serialises etcd manifest rewrites. Kept on control planes.
    pub const LEASE_CREDENTIAL: &str = "/etc/kubernetes/nodekiln-lease.conf";
}
