//! What the consumers of a payload would refuse, found before anything is encoded.
//!
//! Ignition fails in the initramfs, where nobody sees why; cloud-init goes on with half a node. Rules are those of
//! Ignition's `config/v3_*/types` and `config/shared/validations`, kept for cloud-init too, and what neither tells: two
//! paths that are one place on the real system, folders that are read-only there.

use crate::{
    laid::{self, Laid},
    profile::{Format, Profile},
    snippet::Touched,
    tree::{Account, NodeTree, Unit, UnitState, Verification},
    unit_text::{self, Install, UnitFault},
};
use nodekiln_plan::AbsPath;
use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, sync::LazyLock};

/// Something that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Fault {
    /// Path on the node, or the name of a unit or account.
    pub path: String,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a part of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The same path a second time.
    #[error("given twice: as {0} and as {1}")]
    Twice(&'static str, &'static str),
    /// Another path leads to the same place on this OS.
    #[error("the same place as {0} on this system")]
    SamePlace(AbsPath),
    /// Below something that is no folder.
    #[error("lies below {0}, which is a {1}")]
    Below(AbsPath, &'static str),
    /// On this OS there is a link already.
    #[error("is a link to {0} on this system")]
    Alias(AbsPath),
    /// Nothing can be laid down there.
    #[error("{0} is read-only on this system")]
    ReadOnly(AbsPath),
    /// The system makes these anew at each boot.
    #[error("{0} does not outlive a boot; use tmpfiles.d")]
    Volatile(AbsPath),
    /// `/` itself.
    #[error("the root folder itself cannot be laid down")]
    Root,
    /// A folder that root's own programs cannot enter by permission.
    #[error("a folder of mode {0} cannot be entered")]
    Directory(nodekiln_plan::Mode),
    /// A link to nothing.
    #[error("a link needs a target without control characters, other than itself")]
    Target,
    /// `/etc/hostname` says something else.
    #[error("does not hold the node's name")]
    Hostname,
    /// Ignition itself writes this file.
    #[error("Ignition writes this file")]
    Preset,
    /// The same unit a second time.
    #[error("the unit is given twice")]
    UnitTwice,
    /// A masked unit with a body or drop-ins.
    #[error("a masked unit has neither contents nor drop-ins")]
    Masked,
    /// A drop-in whose name is no file name ending in `.conf`.
    #[error("the drop-in `{0}` needs a file name that ends in .conf")]
    Dropin(String),
    /// A unit or drop-in that does not parse.
    #[error("the unit does not parse: {0}")]
    Unit(UnitFault),
    /// Enabling does nothing.
    #[error("an enabled unit needs a section [Install]")]
    NoInstall,
    /// An account whose name no useradd takes.
    #[error("an account is named [a-z_][a-z0-9_-]*, at most 32 characters, once")]
    Account,
    /// A key that is not one line, or is there twice.
    #[error("an SSH key is one line, once")]
    SshKey,
    /// A password hash that would break a line of /etc/shadow.
    #[error("a password hash has no colon, space or control character")]
    PasswordHash,
    /// A group whose name no usermod takes.
    #[error("the group `{0}` is no group name, or is there twice")]
    Group(String),
    /// A URL that no consumer fetches.
    #[error("a fetch needs an http or https URL without spaces")]
    Url,
    /// A hash of the wrong form. Ignition itself looks at its digits only when the machine boots.
    #[error("a sha512 hash is 128 lower-case hex digits")]
    Hash,
    /// A private key among the authorities that are trusted for fetches.
    #[error("the authorities for fetches hold a private key")]
    FetchCa,
    /// A network or time server that cannot be written down.
    #[error("{0}")]
    Network(&'static str),
    /// A snippet sets what is set already.
    #[error("is set by a snippet too")]
    Snippet,
    /// Characters that YAML 1.1 folds or refuses.
    #[error("contains a character that cloud-init's YAML does not carry")]
    Yaml,
}

/// Every fault of `tree` for a machine of this kind, sorted.
pub fn validate(tree: &NodeTree, profile: &Profile) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    let laid = laid::laid(tree, profile.format);
    places(&mut faults, &laid, profile);
    entries(&mut faults, tree, &laid, profile.format);
    units(&mut faults, &tree.units);
    accounts(&mut faults, &tree.accounts);
    network(&mut faults, tree, profile.format);
    // Checked as PEM where it was read; a key in it would be published by a stub and lie in the open here.
    if tree.fetch_ca.as_ref().is_some_and(|ca| ca.windows(12).any(|words| words == b"PRIVATE KEY-")) {
        faults.add(whole(tree), Why::FetchCa);
    }
    for snippet in &tree.snippets {
        for touched in snippet.touched() {
            if is_ours(&touched, tree, &laid) {
                faults.add(touched, Why::Snippet);
            }
        }
    }
    let mut faults = faults.0;
    faults.sort_by(|a, b| a.path.cmp(&b.path));
    faults
}

/// Whether the tree itself says something about what a snippet sets.
fn is_ours(touched: &Touched, tree: &NodeTree, laid: &[(Cow<'_, AbsPath>, Laid<'_>)]) -> bool {
    match touched {
        Touched::Directory(path) | Touched::File(path) => laid.iter().any(|(own, _)| **own == *path),
        Touched::Unit(name) => tree.units.iter().any(|unit| unit.name == *name),
        Touched::User(name) => tree.accounts.iter().any(|account| account.name == *name),
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, path: impl ToString, why: Why) {
        self.0.push(Fault { path: path.to_string(), why });
    }
}

/// What a fault of no single path is about.
fn whole(tree: &NodeTree) -> &str {
    tree.node.as_ref().map_or("the payload", |node| node.as_str())
}

/// Links that every system has.
static COMMON_ALIASES: LazyLock<[(AbsPath, AbsPath); 2]> = LazyLock::new(|| {
    [("/var/run", "/run"), ("/var/lock", "/run/lock")].map(|(from, to)| (laid::parse(from), laid::parse(to)))
});

/// Folders that are empty after each boot, or not mounted when Ignition writes.
static VOLATILE: LazyLock<[AbsPath; 5]> = LazyLock::new(|| ["/proc", "/sys", "/dev", "/run", "/tmp"].map(laid::parse));

/// Paths against each other and against the system's own layout.
fn places(faults: &mut Faults, laid: &[(Cow<'_, AbsPath>, Laid<'_>)], profile: &Profile) {
    // By path, so that what comes twice, or lies below another, comes right behind it.
    let mut sorted: Vec<(&AbsPath, &Laid<'_>)> = laid.iter().map(|(path, what)| (&**path, what)).collect();
    sorted.sort_by_key(|(path, _)| *path);
    // What begins with the path of a folder stands together there. Few folders of the system have any of it: the others
    // need not be held against each path, unless a link may lead into them.
    let begins = |folder: &AbsPath| {
        let first = sorted.partition_point(|(path, _)| *path < folder);
        sorted.get(first).is_some_and(|(path, _)| path.as_str().starts_with(folder.as_str()))
    };
    let linked = aliases(profile).any(|(from, _)| begins(from));
    let near = |folder: &&AbsPath| linked || begins(folder);
    let volatile: Vec<_> = VOLATILE.iter().filter(near).collect();
    let read_only: Vec<_> = profile.read_only.iter().filter(near).collect();
    let mut real: Vec<(Cow<'_, AbsPath>, &AbsPath, &Laid<'_>)> = Vec::with_capacity(sorted.len());
    let mut before: Option<(&AbsPath, &Laid<'_>)> = None;
    for &(path, what) in &sorted {
        if path.as_str() == "/" {
            faults.add(path, Why::Root);
            continue;
        }
        if let Some((_, other)) = before.replace((path, what)).filter(|(other, _)| *other == path) {
            faults.add(path, Why::Twice(other.kind(), what.kind()));
            continue;
        }
        if let Some((_, to)) = aliases(profile).filter(|_| linked).find(|(from, _)| from == path) {
            faults.add(path, Why::Alias(to.clone()));
            continue;
        }
        let place = if linked { resolve(path, profile) } else { Cow::Borrowed(path) };
        if let Some(folder) = volatile.iter().find(|folder| place.is_within(folder)) {
            faults.add(path, Why::Volatile((*folder).clone()));
        } else if let Some(folder) = read_only.iter().find(|folder| place.is_within(folder)) {
            faults.add(path, Why::ReadOnly((*folder).clone()));
        } else if !profile.writable.is_empty() && !profile.writable.iter().any(|folder| place.is_within(folder)) {
            faults.add(path, Why::ReadOnly(laid::parse("/")));
        }
        real.push((place, path, what));
    }
    // By real place, so that a file below a link of the OS is found below its other name too. Mostly they are it already.
    if linked {
        real.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    }
    for two in real.windows(2) {
        let [(place, first, _), (other, second, _)] = two else { continue };
        if place == other {
            faults.add(second, Why::SamePlace((*first).clone()));
        }
    }
    for (index, (place, path, what)) in real.iter().enumerate() {
        if matches!(what, Laid::Directory(_)) {
            continue;
        }
        let behind = real[index + 1..].iter().take_while(|(other, ..)| other.as_str().starts_with(place.as_str()));
        for (_, below, _) in behind.filter(|(other, ..)| other != place && other.is_within(place)) {
            faults.add(below, Why::Below((*path).clone(), what.kind()));
        }
    }
}

/// The system's own links.
fn aliases(profile: &Profile) -> impl Iterator<Item = &(AbsPath, AbsPath)> {
    profile.aliases.iter().chain(&*COMMON_ALIASES)
}

/// Where `path` lies once the system's own links are followed.
fn resolve<'a>(path: &'a AbsPath, profile: &Profile) -> Cow<'a, AbsPath> {
    let mut place = Cow::Borrowed(path);
    // A link may lead into another: no profile has more of them than this.
    for _ in 0..8 {
        let longest =
            aliases(profile).filter(|(from, _)| place.is_within(from)).max_by_key(|(from, _)| from.as_str().len());
        let Some((from, to)) = longest else { break };
        let Ok(next) = format!("{to}{}", &place.as_str()[from.as_str().len()..]).parse() else { break };
        place = Cow::Owned(next);
    }
    place
}

/// What each path holds.
fn entries(faults: &mut Faults, tree: &NodeTree, laid: &[(Cow<'_, AbsPath>, Laid<'_>)], format: Format) {
    for (path, what) in laid {
        if format == Format::CloudInit && !yaml_safe(path.as_str()) {
            faults.add(path, Why::Yaml);
        }
        match what {
            Laid::Directory(mode) if mode.bits() & 0o100 == 0 => faults.add(path, Why::Directory(*mode)),
            Laid::Link(target) if !target_is_sound(path, target) => faults.add(path, Why::Target),
            Laid::Link(target) if format == Format::CloudInit && !yaml_safe(target) => faults.add(path, Why::Yaml),
            Laid::File(_, bytes)
                if path.as_str() == laid::HOSTNAME
                    && tree.node.as_ref().is_none_or(|node| bytes.trim_ascii() != node.as_str().as_bytes()) =>
            {
                faults.add(path, Why::Hostname);
            }
            Laid::Fetch(_, url, verification) => {
                if !url_is_sound(url) {
                    faults.add(path, Why::Url);
                }
                if let Verification::Sha512(hash) = verification
                    && !is_hex(hash, 128)
                {
                    faults.add(path, Why::Hash);
                }
            }
            _ => {}
        }
        if format == Format::Ignition && path.as_str() == laid::IGNITION_PRESET {
            faults.add(path, Why::Preset);
        }
    }
}

fn target_is_sound(path: &AbsPath, target: &str) -> bool {
    !target.is_empty() && target.len() <= 4095 && !target.chars().any(char::is_control) && target != path.as_str()
}

/// A URL of http or https with a host, in characters that need no escape (RFC 3986): both consumers take it as it is.
pub(crate) fn url_is_sound(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

/// Whether `text` is `digits` lower-case hex digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` survives as a JSON string that is read as YAML 1.1: PyYAML refuses what its `NON_PRINTABLE` lists,
/// folds the line breaks of Unicode inside double quotes, and does not put surrogate pairs of JSON together again.
pub(crate) fn yaml_safe(text: &str) -> bool {
    let plain = |byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    text.bytes().all(plain)
        || text.chars().all(|c| match c {
            '\t' | '\n' | '\r' | ' '..='~' => true,
            '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
            '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => true,
            _ => false,
        })
}

fn units(faults: &mut Faults, units: &[Unit]) {
    let mut names = BTreeSet::new();
    for unit in units {
        if !names.insert(&unit.name) {
            faults.add(&unit.name, Why::UnitTwice);
        }
        if unit.state == UnitState::Masked && (unit.contents.is_some() || !unit.dropins.is_empty()) {
            faults.add(&unit.name, Why::Masked);
        }
        if let Some(why) = unit.contents.as_deref().and_then(|text| unit_text(text, unit.state == UnitState::Enabled)) {
            faults.add(&unit.name, why);
        }
        for dropin in &unit.dropins {
            let stem = dropin.name.strip_suffix(".conf").unwrap_or_default();
            if stem.is_empty() || dropin.name.contains('/') || laid::dropin_path(&unit.name, &dropin.name).is_none() {
                faults.add(&unit.name, Why::Dropin(dropin.name.clone()));
            }
            if let Some(why) = unit_text(&dropin.contents, false) {
                faults.add(format!("{}.d/{}", unit.name, dropin.name), why);
            }
        }
    }
}

/// What is wrong with the text of a unit, or of a drop-in, which is never `enabled`.
pub fn unit_text(text: &str, enabled: bool) -> Option<Why> {
    match unit_text::check(text) {
        Err(fault) => Some(Why::Unit(fault)),
        Ok(Install::Absent) if enabled => Some(Why::NoInstall),
        Ok(_) => None,
    }
}

fn accounts(faults: &mut Faults, accounts: &[Account]) {
    let mut names = BTreeSet::new();
    for account in accounts {
        if !is_account_name(&account.name) || !names.insert(&account.name) {
            faults.add(&account.name, Why::Account);
        }
        let mut keys = BTreeSet::new();
        let keys_are_sound = account.ssh_authorized_keys.iter().all(|key| {
            !key.trim().is_empty() && !key.chars().any(char::is_control) && yaml_safe(key) && keys.insert(key)
        });
        if !keys_are_sound {
            faults.add(&account.name, Why::SshKey);
        }
        if let Some(hash) = &account.password_hash
            && !hash.expose().iter().all(|byte| byte.is_ascii_graphic() && *byte != b':')
        {
            faults.add(&account.name, Why::PasswordHash);
        }
        let mut groups = BTreeSet::new();
        for group in &account.groups {
            if !is_account_name(group) || !groups.insert(group) {
                faults.add(&account.name, Why::Group(group.clone()));
            }
        }
    }
}

/// What Debian's and Fedora's useradd take, dots and capitals left out.
fn is_account_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

fn network(faults: &mut Faults, tree: &NodeTree, format: Format) {
    if format == Format::Ignition && (tree.network.is_some() || !tree.time_servers.is_empty()) {
        faults.add(whole(tree), Why::Network("static network and time servers are files under Ignition"));
    }
    if !tree.time_servers.iter().all(|server| !server.is_empty() && server.bytes().all(|b| b.is_ascii_graphic())) {
        faults.add(whole(tree), Why::Network("a time server is a host name or address"));
    }
    let Some(network) = &tree.network else { return };
    if network.addresses.is_empty() {
        faults.add(whole(tree), Why::Network("a static network needs an address"));
    }
    let fits = |(address, length): &(IpAddr, u8)| *length <= if address.is_ipv4() { 32 } else { 128 };
    if !network.addresses.iter().all(fits) {
        faults.add(whole(tree), Why::Network("a prefix length is longer than its address"));
    }
    if network.mac.as_deref().is_some_and(|mac| !is_mac(mac)) {
        faults.add(whole(tree), Why::Network("a MAC address is written aa:bb:cc:dd:ee:ff in lower case"));
    }
    let families = |v4: bool| network.gateways.iter().filter(|gateway| gateway.is_ipv4() == v4).count();
    if families(true) > 1 || families(false) > 1 {
        faults.add(whole(tree), Why::Network("more than one gateway of a family"));
    }
}

fn is_mac(text: &str) -> bool {
    text.len() == 17 && text.split(':').count() == 6 && text.split(':').all(|part| is_hex(part, 2))
}
