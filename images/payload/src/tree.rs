//! [`NodeTree`]: a complete node, contents included, before it is encoded.

use crate::snippet::Snippet;
use nodekiln_plan::{AbsPath, DirectoryEntry, Mode, NodeName, Secret, Sha256, UnitName};
use std::{net::IpAddr, ops::Range, sync::Arc};

/// A complete node. Everything is owned by root.
#[derive(Debug, Clone)]
pub struct NodeTree {
    /// Host name; none for a pool, whose machines have names of their own.
    pub node: Option<NodeName>,
    /// Folders with a mode of their own, by path: parents come first.
    pub directories: Vec<DirectoryEntry>,
    /// Files by path, each path once: where the payload lays them, `plan.json` and `api.ndjson` among them.
    pub files: Vec<TreeFile>,
    /// Symbolic links, by path.
    pub links: Vec<Link>,
    /// systemd units, by name.
    pub units: Vec<Unit>,
    /// Accounts, by name.
    pub accounts: Vec<Account>,
    /// What the machine fetches, by path.
    pub fetches: Vec<Fetch>,
    /// Certificate authorities, PEM, that are trusted for what is fetched, beside the system's own.
    pub fetch_ca: Option<Arc<[u8]>>,
    /// Static network, for cloud-init's network-config; DHCP without it. Under Ignition it has to be `None`: there the
    /// planner lays down the files of networkd or NetworkManager.
    pub network: Option<Network>,
    /// Time servers, for cloud-init's module `ntp`. Under Ignition it has to be empty: there the planner lays down the
    /// files of the time service.
    pub time_servers: Vec<String>,
    /// What the user has below it. For cloud-init at most one, see [`Snippet::merged`].
    pub snippets: Vec<Snippet>,
}

/// A static configuration of one Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The interface's address, lower-case with colons; without it the machine's only Ethernet interface is meant.
    pub mac: Option<String>,
    /// Address and prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// One per family.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
}

/// A file that the payload carries.
#[derive(Debug, Clone)]
pub struct TreeFile {
    /// Where the payload lays it.
    pub path: AbsPath,
    /// Permission bits.
    pub mode: Mode,
    /// Digest of the contents.
    pub sha256: Sha256,
    /// The contents. Shared between nodes where they are the same, so that they are encoded once.
    pub contents: Arc<Secret>,
    /// The part of the contents that many nodes have too, if they are not the same as a whole.
    pub shared: Option<SharedPart>,
}

/// The part of a file's contents that many nodes have too: packed apart, so that it is packed once.
///
/// A hint: it says nothing about what the file is. It is not read back, and one that is out of bounds is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPart {
    /// Where in the contents.
    pub range: Range<usize>,
    /// Digest of the part.
    pub sha256: Sha256,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where.
    pub path: AbsPath,
    /// What it points at.
    pub target: String,
}

/// What becomes of a unit on first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// Enabled by preset.
    Enabled,
    /// Disabled by preset.
    Disabled,
    /// Linked to /dev/null.
    Masked,
    /// Left as the image has it: only contents or drop-ins are laid down.
    Unchanged,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name with suffix.
    pub name: UnitName,
    /// On first boot.
    pub state: UnitState,
    /// The unit file for /etc/systemd/system; `None` where the image has one.
    pub contents: Option<String>,
    /// Drop-ins.
    pub dropins: Vec<Dropin>,
}

/// A drop-in of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropin {
    /// File name, ending in `.conf`.
    pub name: String,
    /// Contents.
    pub contents: String,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Lines of authorized_keys.
    pub ssh_authorized_keys: Vec<String>,
    /// crypt(5) hash.
    pub password_hash: Option<Secret>,
    /// Supplementary groups.
    pub groups: Vec<String>,
}

/// Something that the machine fetches before firstboot runs, hash checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// http or https.
    pub url: String,
    /// Hash of the bytes as served.
    pub verification: Verification,
    /// Where it goes.
    pub into: FetchInto,
}

/// Where a fetched file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchInto {
    /// Path of the file.
    pub path: AbsPath,
    /// Permission bits.
    pub mode: Mode,
}

/// A hash in Ignition's sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// `sha256-`.
    Sha256(Sha256),
    /// `sha512-`, 128 lower-case hex digits.
    Sha512(String),
}

/// A file of the output that belongs to one node.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// File name below `nodes/NAME/`.
    pub name: &'static str,
    /// Contents.
    pub bytes: Secret,
}

impl Artifact {
    /// Size in bytes, for the platform's budget.
    pub fn size(&self) -> usize {
        self.bytes.expose().len()
    }
}
