//! The part of cloud-init's formats that nodekiln uses, for writing and for reading back.
//!
//! User data is JSON behind the line `#cloud-config`: JSON is YAML 1.1 as long as no string holds a character that YAML
//! folds or refuses, and it has none of YAML's traps (`on`, `0644`, `12:30:45`, `=`). Such strings go as base64.

use serde::{Deserialize, Serialize};

/// The first line, by which cloud-init knows the format. Without it the data is ignored.
pub(super) const HEADER: &str = "#cloud-config\n";

/// User data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserData {
    /// Not given for a pool: a machine has its name from its platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Given where the name has dots: cloud-init would take the first part for the host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    pub preserve_hostname: bool,
    pub manage_etc_hosts: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ntp: Option<Ntp>,
    pub bootcmd: Vec<Vec<String>>,
    pub write_files: Vec<WriteFile>,
    pub runcmd: Vec<Vec<String>>,
}

/// An account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub name: String,
    pub shell: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Not `passwd`: that one is set only where the account did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashed_passwd: Option<String>,
    pub lock_passwd: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_authorized_keys: Option<Vec<String>>,
}

impl std::fmt::Debug for User {
    /// Without the password's hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?})", self.name)
    }
}

/// Time servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ntp {
    pub enabled: bool,
    pub servers: Vec<String>,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteFile {
    pub path: String,
    /// A string: YAML 1.1 reads a bare 0644 as 420, and cloud-init's schema refuses numbers.
    pub permissions: String,
    pub owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    pub content: String,
}

impl std::fmt::Debug for WriteFile {
    /// Without contents.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteFile({:?})", self.path)
    }
}

/// How contents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Encoding {
    #[serde(rename = "b64")]
    Base64,
    #[serde(rename = "gz+b64")]
    GzipBase64,
}

/// NoCloud's meta-data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetaData {
    /// Another one makes cloud-init run its modules again.
    #[serde(rename = "instance-id")]
    pub instance_id: String,
    #[serde(rename = "local-hostname", default, skip_serializing_if = "Option::is_none")]
    pub local_hostname: Option<String>,
}

/// Network configuration, version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkConfig {
    pub version: u32,
    pub ethernets: Ethernets,
}

/// The one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ethernets {
    pub lan0: Ethernet,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ethernet {
    #[serde(rename = "match")]
    pub matches: Match,
    /// Needed with a MAC address by the renderers that do not write netplan.
    #[serde(rename = "set-name", default, skip_serializing_if = "Option::is_none")]
    pub set_name: Option<String>,
    pub dhcp4: bool,
    pub dhcp6: bool,
    pub addresses: Vec<String>,
    /// Deprecated by netplan, which takes it with a warning. The other renderers make `::/64` of a route to `::/0`
    /// (canonical/cloud-init#4600), and 22.4 refuses `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway4: Option<String>,
    /// See `gateway4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nameservers: Option<Nameservers>,
}

/// Which interface is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Match {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macaddress: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// DNS servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nameservers {
    pub addresses: Vec<String>,
}
