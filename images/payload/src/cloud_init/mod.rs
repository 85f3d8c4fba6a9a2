//! cloud-init: user-data, meta-data and, for a static network, network-config.
//!
//! What differs from Ignition, and what is done about it:
//!
//! - cloud-init runs in the real system, with accounts and services about. `write_files` makes a file with mode 0644 and
//!   narrows it after writing, its folders with 0755. So `bootcmd`, which runs before it, makes every folder with its
//!   mode, and an empty file of mode 0600 wherever a file that not everybody may read lies in a folder that they may
//!   enter (`prepare.sh`).
//! - A module is noted as done before it runs, so a power cut in the middle would leave half a payload for ever.
//!   `bootcmd` runs at every boot: until the payload is complete it removes those notes, and everything runs again.
//! - A failed module does not stop the boot. `write_files` ends at its first failure, so its last file, which holds the
//!   payload's digest, says whether all were written; `finish.sh` does nothing without it.
//! - Nothing is fetched with a hash: `fetch.py` does that, in the one language that every cloud-init machine has.
//! - Units written here are unknown to the running systemd: `finish.sh` reloads, enables and starts them, without
//!   waiting; a container runtime that runs already is restarted. `cloud-final.service`, in which it runs, is ordered after `multi-user.target`: what waited for either would
//!   wait for ever.

mod decode;
mod model;
mod theirs;

pub(crate) use decode::{decode, implied_meta_data};

use crate::{
    codec::Codec,
    content::{base64, base64_len, packed},
    error::EncodeError,
    laid::{self, Laid},
    options::EncodeOptions,
    profile::{Format, Profile},
    tree::{Account, Artifact, Fetch, Network, NodeTree, Unit, UnitState, Verification},
    validate::yaml_safe,
};
use model::{
    Encoding, Ethernet, Ethernets, HEADER, Match, MetaData, Nameservers, NetworkConfig, Ntp, User, UserData, WriteFile,
};
use nodekiln_plan::{AbsPath, Mode, Secret, Sha256, paths};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};
use theirs::Theirs;

/// Names of the artifacts.
pub(crate) const USER_DATA: &str = "user-data";
pub(crate) const META_DATA: &str = "meta-data";
pub(crate) const NETWORK_CONFIG: &str = "network-config";

const PREPARE: &str = include_str!("prepare.sh");
const FINISH: &str = include_str!("finish.sh");
const FETCH: &str = include_str!("fetch.py");

/// The last file of `write_files`, below the state folder: the payload's digest.
const WRITTEN: &str = "payload.written";

/// What `finish.sh` calls the unit that reads its files anew if it runs.
const RESTART: &str = "restart";

/// Interface of a static network, where a MAC address tells which one it is.
const INTERFACE: &str = "lan0";

/// Encodes a tree that has no faults.
pub(crate) fn encode(
    codec: &Codec,
    tree: &NodeTree,
    profile: &Profile,
    options: &EncodeOptions,
) -> Result<Vec<Artifact>, EncodeError> {
    let (user_data, digest) = user_data(codec, tree, profile, options)?;
    let meta_data = MetaData { instance_id: instance_id(&digest), local_hostname: host_name(tree) };
    let mut artifacts =
        vec![Artifact { name: USER_DATA, bytes: user_data }, Artifact { name: META_DATA, bytes: line(&meta_data)? }];
    if let Some(network) = &tree.network {
        artifacts.push(Artifact { name: NETWORK_CONFIG, bytes: line(&network_config(network))? });
    }
    Ok(artifacts)
}

/// The instance-id follows the payload: a changed one is another instance, for which cloud-init runs again.
fn instance_id(digest: &str) -> String {
    format!("nodekiln-{}", &digest[..32])
}

fn json(value: &impl Serialize) -> Result<String, EncodeError> {
    serde_json::to_string(value).map_err(|_| EncodeError::Internal("cloud-init's data is no JSON"))
}

fn line(value: &impl Serialize) -> Result<Secret, EncodeError> {
    Ok(Secret::from(json(value)? + "\n"))
}

fn host_name(tree: &NodeTree) -> Option<String> {
    tree.node.as_ref().map(ToString::to_string)
}

/// User data and its digest.
fn user_data(
    codec: &Codec,
    tree: &NodeTree,
    profile: &Profile,
    options: &EncodeOptions,
) -> Result<(Secret, String), EncodeError> {
    let theirs = tree.snippets.first().map(Theirs::of).unwrap_or_default();
    if tree.snippets.len() > 1 {
        return Err(EncodeError::Internal("snippets of cloud-init that are not merged"));
    }
    let mut data = UserData {
        hostname: host_name(tree),
        fqdn: host_name(tree).filter(|name| name.contains('.')),
        preserve_hostname: false,
        manage_etc_hosts: "localhost".to_owned(),
        users: users(tree, profile),
        ntp: (!tree.time_servers.is_empty()).then(|| Ntp { enabled: true, servers: tree.time_servers.clone() }),
        bootcmd: vec![prepare(tree, "")],
        write_files: write_files(codec, tree, options),
        runcmd: vec![finish(tree, profile, "")],
    };
    // Of everything but itself.
    let digest = Sha256::of(render(&data, &theirs)?.as_bytes()).to_string();
    data.bootcmd = vec![prepare(tree, &digest)];
    data.write_files.push(written(&digest));
    data.runcmd = vec![finish(tree, profile, &digest)];
    let text = render(&data, &theirs)?;
    // cloud-init takes data with these words near its beginning for a MIME message (user_data.py, convert_string).
    let head = &text.as_bytes()[..text.len().min(4096)];
    if contains_mime_version(head) {
        return Err(EncodeError::Internal("cloud-init would take `mime-version:` in the user data for a MIME header"));
    }
    Ok((Secret::from(text), digest))
}

/// The last file to be written.
fn written(digest: &str) -> WriteFile {
    WriteFile {
        path: format!("{}/{WRITTEN}", paths::STATE_DIR),
        permissions: Mode::PRIVATE.to_string(),
        owner: "root:root".to_owned(),
        encoding: None,
        content: digest.to_owned(),
    }
}

fn contains_mime_version(bytes: &[u8]) -> bool {
    const WORDS: &[u8] = b"mime-version:";
    bytes.windows(WORDS.len()).any(|window| window.ends_with(b":") && window.eq_ignore_ascii_case(WORDS))
}

/// A key a line, and an item of a list a line: the same value as any other JSON, and a diff of it can be read. Lists
/// hold what is theirs before what is ours.
fn render(data: &UserData, theirs: &Theirs) -> Result<String, EncodeError> {
    // Through its fields, so that their order is the struct's.
    let UserData { hostname, fqdn, preserve_hostname, manage_etc_hosts, users, ntp, bootcmd, write_files, runcmd } =
        data;
    let mut lines = vec![("hostname", json(hostname)?)];
    lines.extend(fqdn.as_ref().map(|fqdn| json(fqdn).map(|text| ("fqdn", text))).transpose()?);
    lines.push(("preserve_hostname", json(preserve_hostname)?));
    lines.push(("manage_etc_hosts", json(manage_etc_hosts)?));
    if users.is_some() || !theirs.users.is_empty() {
        lines.push(("users", list(&theirs.users, users.as_deref().unwrap_or_default())?));
    }
    lines.extend(ntp.as_ref().map(|ntp| json(ntp).map(|text| ("ntp", text))).transpose()?);
    lines.push(("bootcmd", list(&theirs.bootcmd, bootcmd)?));
    lines.push(("write_files", list(&theirs.write_files, write_files)?));
    lines.push(("runcmd", list(&theirs.runcmd, runcmd)?));
    let other = theirs.other.iter().map(|(key, value)| Ok((key.as_str(), json(value)?)));
    lines.extend(other.collect::<Result<Vec<_>, EncodeError>>()?);
    let mut text = String::from(HEADER);
    text.push_str(&theirs.line());
    for (index, (key, value)) in lines.iter().enumerate() {
        let open = if index == 0 { "{" } else { ",\n" };
        // A String takes every write.
        let _ = write!(text, "{open}{}: {value}", json(key)?);
    }
    text.push_str("}\n");
    Ok(text)
}

fn list(theirs: &[serde_json::Value], ours: &[impl Serialize]) -> Result<String, EncodeError> {
    let theirs = theirs.iter().map(json);
    let items: Vec<_> = theirs.chain(ours.iter().map(|item| json(item))).collect::<Result<_, _>>()?;
    Ok(format!("[\n{}\n]", items.join(",\n")))
}

fn users(tree: &NodeTree, profile: &Profile) -> Option<Vec<User>> {
    let mut accounts: Vec<_> = tree.accounts.iter().collect();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    let users: Vec<_> = accounts.into_iter().map(|account| user(account, profile)).collect();
    // The image's default user is left out then: who may log in is what cluster.yaml says.
    (!users.is_empty()).then_some(users)
}

fn user(account: &Account, profile: &Profile) -> User {
    let hash = account.password_hash.as_ref();
    let hash = hash.map(|hash| String::from_utf8_lossy(hash.expose()).into_owned());
    User {
        name: account.name.clone(),
        shell: "/bin/bash".to_owned(),
        groups: (!account.groups.is_empty()).then(|| account.groups.clone()),
        lock_passwd: hash.is_none(),
        // Without a password nobody could answer sudo; Flatcar's and Fedora CoreOS's own rules ask for none either.
        sudo: sudo(account, profile),
        hashed_passwd: hash,
        ssh_authorized_keys: (!account.ssh_authorized_keys.is_empty()).then(|| account.ssh_authorized_keys.clone()),
    }
}

fn sudo(account: &Account, profile: &Profile) -> Option<String> {
    let rootly = account.password_hash.is_none() && account.groups.contains(&profile.admin_group);
    rootly.then(|| "ALL=(ALL) NOPASSWD:ALL".to_owned())
}

/// The arguments of `prepare.sh`.
fn prepare(tree: &NodeTree, digest: &str) -> Vec<String> {
    let laid = laid::by_path(tree, Format::CloudInit);
    let mut args = script(PREPARE, digest);
    let mut add = |kind: &str, what: &str, path: &AbsPath| args.extend([kind, what, path.as_str()].map(str::to_owned));
    for (path, what) in &laid {
        match what {
            Laid::Directory(mode) => add("d", &mode.to_string(), path),
            Laid::Link(target) => add("l", target, path),
            Laid::File(mode, _) if is_exposed(path, *mode, &laid) => add("f", &mode.to_string(), path),
            Laid::File(..) | Laid::Fetch(..) => {}
        }
    }
    args
}

/// Whether a file that not everybody may read is reachable by everybody while `write_files` writes it.
fn is_exposed(path: &AbsPath, mode: Mode, laid: &BTreeMap<AbsPath, Laid<'_>>) -> bool {
    let everybody_may_read = mode.bits() & 0o044 == 0o044;
    let closed = |folder: &str| match laid.get(folder) {
        Some(Laid::Directory(mode)) => mode.bits() & 0o011 == 0,
        _ => false,
    };
    !everybody_may_read && !path.folders().any(closed)
}

fn script(text: &str, digest: &str) -> Vec<String> {
    ["/bin/sh", "-c", text, "nodekiln", digest].map(str::to_owned).to_vec()
}

/// The arguments of `finish.sh`.
fn finish(tree: &NodeTree, profile: &Profile, digest: &str) -> Vec<String> {
    let mut args = script(FINISH, digest);
    args.push(FETCH.to_owned());
    let mut fetches: Vec<_> = tree.fetches.iter().collect();
    fetches.sort_by(|a, b| a.into.path.cmp(&b.into.path));
    for Fetch { url, verification, into } in fetches {
        let (kind, hex) = match verification {
            Verification::Sha256(hash) => ("sha256", hash.to_string()),
            Verification::Sha512(hash) => ("sha512", hash.clone()),
        };
        args.extend(["fetch", url, kind, &hex, &into.mode.to_string(), into.path.as_str()].map(str::to_owned));
    }
    let mut units: Vec<_> = tree.units.iter().collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    for unit in units {
        args.extend([word(unit.state), unit.name.as_str()].map(str::to_owned));
        if has_text(unit) {
            args.extend(["changed", unit.name.as_str()].map(str::to_owned));
        }
    }
    // Debian's package starts it, so that it runs since before its configuration was written.
    args.extend([RESTART, profile.containerd_unit.as_str()].map(str::to_owned));
    args
}

fn has_text(unit: &Unit) -> bool {
    unit.contents.is_some() || !unit.dropins.is_empty()
}

/// What `finish.sh` calls a state.
fn word(state: UnitState) -> &'static str {
    match state {
        UnitState::Enabled => "enabled",
        UnitState::Disabled => "disabled",
        UnitState::Masked => "masked",
        UnitState::Unchanged => "unchanged",
    }
}

/// Every file, by path.
fn write_files(codec: &Codec, tree: &NodeTree, options: &EncodeOptions) -> Vec<WriteFile> {
    let laid = laid::by_path(tree, Format::CloudInit);
    let carried: BTreeMap<_, _> = tree.files.iter().map(|file| (&file.path, file)).collect();
    let mut files = Vec::with_capacity(laid.len());
    for (path, what) in &laid {
        if let Laid::File(mode, bytes) = what {
            let content = match carried.get(path) {
                Some(file) => codec.content(file, options.gzip),
                None => Content::of(bytes, packed(bytes, options.gzip).as_deref()).into(),
            };
            files.push(WriteFile {
                path: path.to_string(),
                permissions: mode.to_string(),
                owner: "root:root".to_owned(),
                encoding: content.encoding,
                content: content.text.clone(),
            });
        }
    }
    files
}

/// A file's bytes in user data.
pub(crate) struct Content {
    encoding: Option<Encoding>,
    text: String,
}

impl Content {
    /// The shortest form that cloud-init reads back unchanged, of `bytes` or of what they are packed; text as it is at a
    /// tie.
    pub(crate) fn of(bytes: &[u8], packed: Option<&[u8]>) -> Self {
        let packed = packed.filter(|packed| base64_len(packed.len()) < base64_len(bytes.len()));
        let gzip = |packed| Self { encoding: Some(Encoding::GzipBase64), text: base64(packed) };
        // No byte of a text is less than one in JSON: mostly that says enough.
        let packed = match packed {
            Some(packed) if base64_len(packed.len()) < bytes.len() => return gzip(packed),
            packed => packed,
        };
        let text = std::str::from_utf8(bytes).ok().filter(|text| yaml_safe(text) && !contains_mime_version(bytes));
        if let Some(packed) = packed.filter(|packed| base64_len(packed.len()) < text.map_or(usize::MAX, json_len)) {
            return gzip(packed);
        }
        // Text is worth more than the bytes that base64 may save on it.
        match text {
            Some(text) => Self { encoding: None, text: text.to_owned() },
            None => Self { encoding: Some(Encoding::Base64), text: base64(bytes) },
        }
    }
}

/// Length inside a JSON string.
fn json_len(text: &str) -> usize {
    text.bytes().map(|byte| if matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t') { 2 } else { 1 }).sum()
}

fn network_config(network: &Network) -> NetworkConfig {
    let Network { mac, addresses, gateways, nameservers } = network;
    let matches = match mac {
        Some(mac) => Match { macaddress: Some(mac.clone()), name: None },
        None => Match { macaddress: None, name: Some("e*".to_owned()) },
    };
    let gateway = |v4: bool| gateways.iter().find(|gateway| gateway.is_ipv4() == v4).map(ToString::to_string);
    let nameservers: Vec<_> = nameservers.iter().map(ToString::to_string).collect();
    let lan0 = Ethernet {
        set_name: matches.macaddress.as_ref().map(|_| INTERFACE.to_owned()),
        matches,
        dhcp4: false,
        dhcp6: false,
        addresses: addresses.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
        gateway4: gateway(true),
        gateway6: gateway(false),
        nameservers: (!nameservers.is_empty()).then_some(Nameservers { addresses: nameservers }),
    };
    NetworkConfig { version: 2, ethernets: Ethernets { lan0 } }
}
