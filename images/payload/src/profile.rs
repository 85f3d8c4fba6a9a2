//! [`Profile`]: what nodekiln has to know of an operating system, as data.

use crate::{cloud_init, ignition};
use nodekiln_plan::{AbsPath, Mode, UnitName};
use serde::Deserialize;
use std::{
    hash::{Hash, Hasher},
    sync::LazyLock,
};

/// How a machine of this kind takes its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Ignition JSON.
    Ignition,
    /// cloud-init user-data, meta-data and network-config.
    CloudInit,
}

impl Format {
    /// The names of all files that a payload may have, the one that is always there first.
    pub fn artifacts(self) -> &'static [&'static str] {
        match self {
            Format::Ignition => &[ignition::CONFIG],
            Format::CloudInit => &[cloud_init::USER_DATA, cloud_init::META_DATA, cloud_init::NETWORK_CONFIG],
        }
    }
}

/// How containerd is made to read `/etc/containerd/config.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerdConfig {
    /// It does by itself.
    Default,
    /// The image's unit takes the path from the variable CONTAINERD_CONFIG: a drop-in sets it.
    Environment,
}

/// What keeps the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeService {
    /// systemd-timesyncd.
    Timesyncd,
    /// chrony.
    Chrony,
    /// The module `ntp` of cloud-init picks one.
    CloudInit,
}

/// What configures network interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkService {
    /// systemd-networkd.
    Networkd,
    /// NetworkManager, by keyfiles.
    NetworkManager,
    /// cloud-init renders its network-config for whatever there is.
    CloudInit,
}

/// A file that a profile lays down.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileFile {
    /// Where.
    pub path: AbsPath,
    /// Permission bits.
    pub mode: Mode,
    /// What.
    pub content: String,
}

/// An operating system.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// os.profile.
    pub name: String,
    /// How it is configured.
    pub format: Format,
    /// Where programs go that the image does not hold.
    pub bin_dir: AbsPath,
    /// Folders that nothing can be laid in, beyond what every system has (/proc, /sys, /dev, /run, /tmp).
    pub read_only: Vec<AbsPath>,
    /// If not empty, the only folders that anything can be laid in: on Fedora CoreOS `/` itself is immutable.
    pub writable: Vec<AbsPath>,
    /// Paths that are links into another place, as (link, place): two files may not meet there.
    pub aliases: Vec<(AbsPath, AbsPath)>,
    /// Group that may become root.
    pub admin_group: String,
    /// The container runtime's unit.
    pub containerd_unit: UnitName,
    /// How it finds its configuration.
    pub containerd_config: ContainerdConfig,
    /// Version of containerd's configuration format: 2 is read by 1.x and 2.x.
    pub containerd_config_version: u32,
    /// Whether containerd labels containers (SELinux).
    pub selinux: bool,
    /// The resolver file that pods get.
    pub resolv_conf: AbsPath,
    /// Type for static pods that mount host folders, where SELinux is enforced and those folders keep their own labels.
    #[serde(default)]
    pub static_pod_selinux_type: Option<String>,
    /// Folders of CA certificates beside /etc/ssl/certs, for kube-apiserver and kube-controller-manager: those of
    /// kubeadm's list that this OS has, since links in /etc/ssl/certs lead there.
    pub ca_dirs: Vec<AbsPath>,
    /// What keeps the clock.
    pub time_service: TimeService,
    /// What configures network interfaces.
    pub network_service: NetworkService,
    /// The target that wants firstboot: one that is not ordered before what firstboot waits for.
    pub wanted_by: UnitName,
    /// Units that have finished before firstboot starts.
    pub after: Vec<UnitName>,
    /// Files that every node of this kind gets.
    pub files: Vec<ProfileFile>,
    /// Files that keep the OS from updating itself.
    pub updates_off_files: Vec<ProfileFile>,
    /// Units that are masked to keep the OS from updating itself.
    pub updates_off_mask: Vec<UnitName>,
    /// Units that are enabled.
    pub enable: Vec<UnitName>,
    /// Units that are masked.
    pub mask: Vec<UnitName>,
    /// Copies of the payload that firstboot erases; `*` in the last part.
    pub scrub: Vec<AbsPath>,
    /// Empty files that firstboot leaves.
    pub touch: Vec<AbsPath>,
    /// Copies of the payload that nothing on the node can erase, in words.
    pub beyond_reach: Vec<String>,
}

/// By name, which no two profiles share.
impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Profile {}

impl Hash for Profile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    [
        include_str!("../profiles/flatcar.toml"),
        include_str!("../profiles/fedora-coreos.toml"),
        include_str!("../profiles/cloud-init.toml"),
    ]
    .iter()
    .map(|text| Profile::parse(text).expect("the profiles of this crate parse: a test reads them all"))
    .collect()
});

impl Profile {
    /// Reads a profile. All that nodekiln knows of an operating system is in it.
    ///
    /// # Errors
    /// A field that is missing, unknown, or of another type.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// All profiles.
    pub fn all() -> &'static [Profile] {
        &PROFILES
    }

    /// The profile of this name.
    pub fn find(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Profile;

    #[test]
    fn all_profiles_parse() {
        let names: Vec<_> = Profile::all().iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, ["flatcar", "fedora-coreos", "cloud-init"]);
        assert!(Profile::find("flatcar").is_some() && Profile::find("windows").is_none());
    }
}
