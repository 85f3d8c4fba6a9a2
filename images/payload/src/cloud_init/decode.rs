//! From cloud-init's files back to a tree.
//!
//! Strict, as for Ignition: a key, an argument or a script that the encoder does not write is refused.

use super::{
    FETCH, FINISH, INTERFACE, META_DATA, NETWORK_CONFIG, PREPARE, RESTART, USER_DATA, has_text, instance_id,
    is_exposed,
    model::{Encoding, Ethernet, MetaData, NetworkConfig, User, UserData, WriteFile},
    render, sudo,
    theirs::Theirs,
    word, written,
};
use crate::{
    codec::{Codec, Contents},
    content::unbase64,
    error::DecodeError,
    laid,
    profile::{Format, Profile},
    snippet::owned_key,
    tree::{
        Account, Artifact, Dropin, Fetch, FetchInto, Link, Network, NodeTree, TreeFile, Unit, UnitState, Verification,
    },
    validate::{is_hex, url_is_sound},
};
use nodekiln_plan::{AbsPath, DirectoryEntry, Secret, Sha256, UnitName};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, str::FromStr};

/// The tree that these artifacts lay down.
pub(crate) fn decode(codec: &Codec, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, DecodeError> {
    let find = |name| artifacts.iter().find(|artifact| artifact.name == name);
    let text = find(USER_DATA).ok_or(DecodeError::Missing(USER_DATA))?.bytes.expose();
    let (theirs, text) = Theirs::split(text).ok_or_else(|| unexpected("the first line"))?;
    if let Some(key) = owned_key(&theirs.other) {
        return Err(unexpected(key));
    }
    let mut data: UserData = parse(USER_DATA, &text)?;
    let meta_data = find(META_DATA).ok_or(DecodeError::Missing(META_DATA))?;
    let meta_data: MetaData = parse(META_DATA, meta_data.bytes.expose())?;

    let node = data.hostname.as_deref().map(str::parse).transpose().map_err(|_| DecodeError::Hostname)?;
    let fqdn = data.hostname.as_ref().filter(|name| name.contains('.'));
    if (data.fqdn.as_ref(), data.preserve_hostname, data.manage_etc_hosts.as_str()) != (fqdn, false, "localhost")
        || meta_data.local_hostname != data.hostname
    {
        return Err(DecodeError::Hostname);
    }
    let digest = take_digest(&mut data, &theirs)?;
    if meta_data.instance_id != instance_id(&digest) {
        return Err(unexpected("instance-id"));
    }

    let prepared = prepared(&data.bootcmd)?;
    let finished = finished(&data.runcmd, profile)?;
    let mut tree = NodeTree {
        node,
        directories: prepared.directories,
        files: data.write_files.into_iter().map(|entry| file(codec, entry)).collect::<Result<_, _>>()?,
        links: prepared.links,
        units: Vec::new(),
        accounts: Vec::new(),
        fetches: finished.fetches,
        fetch_ca: None,
        network: None,
        snippets: theirs.snippet().into_iter().collect(),
        time_servers: data.ntp.map(|ntp| if ntp.enabled { ntp.servers } else { Vec::new() }).unwrap_or_default(),
    };
    if let Some(index) = tree.files.iter().position(|file| file.path.as_str() == laid::FETCH_CA) {
        tree.fetch_ca = Some(tree.files.remove(index).contents.expose().into());
    }
    take_units(&mut tree, &finished.states, &finished.changed)?;
    for user in data.users.unwrap_or_default() {
        tree.accounts.push(account(user, profile)?);
    }
    if let Some(network) = find(NETWORK_CONFIG) {
        tree.network = Some(decode_network(parse(NETWORK_CONFIG, network.bytes.expose())?)?);
    }
    exposed_files_are_prepared(&tree, &prepared.files)?;
    Ok(tree)
}

/// The `meta-data` that this `user-data` goes with: all of it follows from there.
pub(crate) fn implied_meta_data(user_data: &[u8]) -> Result<Artifact, DecodeError> {
    let (_, text) = Theirs::split(user_data).ok_or_else(|| unexpected("the first line"))?;
    let data: UserData = parse(USER_DATA, &text)?;
    let digest = data.write_files.last().map(|file| file.content.as_str());
    let digest = digest.filter(|digest| is_hex(digest, 64)).ok_or_else(|| unexpected("the last of write_files"))?;
    let meta_data = MetaData { instance_id: instance_id(digest), local_hostname: data.hostname };
    let bytes = super::line(&meta_data).map_err(|_| unexpected("the data"))?;
    Ok(Artifact { name: META_DATA, bytes })
}

fn unexpected(what: &str) -> DecodeError {
    DecodeError::unexpected(USER_DATA, what)
}

fn parse<T: DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::syntax(name, &e))
}

fn value<T: FromStr>(text: &str) -> Result<T, DecodeError> {
    text.parse().map_err(|_| DecodeError::unexpected(text, "the value"))
}

/// Takes the digest out of its three places and sees that it is the rest's.
fn take_digest(data: &mut UserData, theirs: &Theirs) -> Result<String, DecodeError> {
    let last = data.write_files.pop().ok_or_else(|| unexpected("write_files"))?;
    let digest = last.content.clone();
    if !is_hex(&digest, 64) || last != written(&digest) {
        return Err(unexpected("the last of write_files"));
    }
    for list in [&mut data.bootcmd, &mut data.runcmd] {
        match list.as_mut_slice() {
            [args] if args.get(4) == Some(&digest) => args[4].clear(),
            _ => return Err(unexpected("the digest of bootcmd or runcmd")),
        }
    }
    let text = render(data, theirs).map_err(|_| unexpected("the data"))?;
    if Sha256::of(text.as_bytes()).to_string() != digest {
        return Err(unexpected("the digest"));
    }
    Ok(digest)
}

/// The arguments behind a script of ours.
fn arguments<'a>(commands: &'a [Vec<String>], script: &str) -> Result<&'a [String], DecodeError> {
    match commands {
        [args] if args.len() >= 5 && args[..4] == ["/bin/sh", "-c", script, "nodekiln"] => Ok(&args[5..]),
        _ => Err(unexpected("a command")),
    }
}

struct Prepared {
    directories: Vec<DirectoryEntry>,
    links: Vec<Link>,
    files: Vec<AbsPath>,
}

fn prepared(commands: &[Vec<String>]) -> Result<Prepared, DecodeError> {
    let mut prepared = Prepared { directories: Vec::new(), links: Vec::new(), files: Vec::new() };
    for triple in arguments(commands, PREPARE)?.chunks(3) {
        let [kind, what, path] = triple else { return Err(unexpected("the arguments of bootcmd")) };
        let path = value(path)?;
        match kind.as_str() {
            "d" => prepared.directories.push(DirectoryEntry { path, mode: value(what)? }),
            "f" => prepared.files.push(path),
            "l" => prepared.links.push(Link { path, target: what.clone() }),
            _ => return Err(unexpected("the arguments of bootcmd")),
        }
    }
    Ok(prepared)
}

struct Finished {
    fetches: Vec<Fetch>,
    states: BTreeMap<UnitName, UnitState>,
    changed: Vec<UnitName>,
}

fn finished(commands: &[Vec<String>], profile: &Profile) -> Result<Finished, DecodeError> {
    const STATES: [UnitState; 4] = [UnitState::Enabled, UnitState::Disabled, UnitState::Masked, UnitState::Unchanged];
    let fault = || unexpected("the arguments of runcmd");
    let mut finished = Finished { fetches: Vec::new(), states: BTreeMap::new(), changed: Vec::new() };
    let Some((fetch, mut rest)) = arguments(commands, FINISH)?.split_first() else { return Err(fault()) };
    if fetch != FETCH {
        return Err(fault());
    }
    loop {
        rest = match rest {
            [kind, unit] if kind == RESTART && unit == profile.containerd_unit.as_str() => break,
            [word, url, kind, hex, mode, path, rest @ ..] if word == "fetch" => {
                let verification = match kind.as_str() {
                    "sha256" if is_hex(hex, 64) => Verification::Sha256(value(hex)?),
                    "sha512" if is_hex(hex, 128) => Verification::Sha512(hex.clone()),
                    _ => return Err(fault()),
                };
                if !url_is_sound(url) {
                    return Err(fault());
                }
                let into = FetchInto { path: value(path)?, mode: value(mode)? };
                finished.fetches.push(Fetch { url: url.clone(), verification, into });
                rest
            }
            [kind, unit, rest @ ..] if kind == "changed" => {
                finished.changed.push(value(unit)?);
                rest
            }
            [kind, unit, rest @ ..] => {
                let state = STATES.into_iter().find(|state| word(*state) == kind).ok_or_else(fault)?;
                if finished.states.insert(value(unit)?, state).is_some() {
                    return Err(fault());
                }
                rest
            }
            _ => return Err(fault()),
        };
    }
    Ok(finished)
}

fn file(codec: &Codec, entry: WriteFile) -> Result<TreeFile, DecodeError> {
    let WriteFile { path, permissions, owner, encoding, content } = entry;
    if owner != "root:root" {
        return Err(DecodeError::unexpected(&path, "owner"));
    }
    let contents = match encoding {
        None => Some(Contents::new(content.into_bytes().into())),
        Some(Encoding::Base64) => unbase64(&content).map(|bytes| Contents::new(bytes.into())),
        Some(Encoding::GzipBase64) => codec.contents_of_gzip_base64(&content),
    };
    let Contents { bytes, sha256 } = contents.ok_or_else(|| DecodeError::unexpected(&path, "content"))?;
    let mode = permissions.parse().map_err(|_| DecodeError::unexpected(&path, "permissions"))?;
    Ok(TreeFile { path: value(&path)?, mode, sha256, contents: bytes, shared: None })
}

/// Makes units of the files and links that lie where units lie and belong to a unit that `finish.sh` is told of.
fn take_units(
    tree: &mut NodeTree,
    states: &BTreeMap<UnitName, UnitState>,
    changed: &[UnitName],
) -> Result<(), DecodeError> {
    for (name, &state) in states {
        let path = laid::unit_path(name);
        if state == UnitState::Masked {
            let links = tree.links.len();
            tree.links.retain(|link| link.path != path || link.target != "/dev/null");
            if tree.links.len() == links {
                return Err(DecodeError::unexpected(name.as_str(), "a mask without its link"));
            }
        }
        let mut unit = Unit { name: name.clone(), state, contents: None, dropins: Vec::new() };
        let folder = laid::parse(&format!("{path}.d"));
        let text = |file: &TreeFile| String::from_utf8(file.contents.expose().to_vec()).ok();
        if let Some(index) = tree.files.iter().position(|file| file.path == path) {
            unit.contents = text(&tree.files.remove(index));
        }
        while let Some(index) = tree.files.iter().position(|file| file.path.folders().next() == Some(folder.as_str())) {
            let file = tree.files.remove(index);
            let contents = text(&file).ok_or_else(|| DecodeError::unexpected(file.path.as_str(), "content"))?;
            unit.dropins.push(Dropin { name: file.path.file_name().to_owned(), contents });
        }
        if has_text(&unit) != changed.contains(name) {
            return Err(DecodeError::unexpected(name.as_str(), "`changed`"));
        }
        tree.units.push(unit);
    }
    Ok(())
}

fn account(user: User, profile: &Profile) -> Result<Account, DecodeError> {
    let account = Account {
        name: user.name.clone(),
        ssh_authorized_keys: user.ssh_authorized_keys.clone().unwrap_or_default(),
        password_hash: user.hashed_passwd.clone().map(Secret::from),
        groups: user.groups.clone().unwrap_or_default(),
    };
    if sudo(&account, profile) != user.sudo || user.lock_passwd != account.password_hash.is_none() {
        return Err(DecodeError::unexpected(&user.name, "sudo or lock_passwd"));
    }
    Ok(account)
}

fn decode_network(config: NetworkConfig) -> Result<Network, DecodeError> {
    let Ethernet { matches, set_name, dhcp4, dhcp6, addresses, gateway4, gateway6, nameservers } =
        config.ethernets.lan0;
    let named = set_name.as_deref() == Some(INTERFACE);
    let matched = matches.macaddress.is_some() == named && matches.name.is_some() != named;
    if config.version != 2 || dhcp4 || dhcp6 || !matched {
        return Err(DecodeError::unexpected(NETWORK_CONFIG, "the interface"));
    }
    let mut network = Network { mac: matches.macaddress, addresses: vec![], gateways: vec![], nameservers: vec![] };
    for address in addresses {
        let (address, length) = address.split_once('/').ok_or_else(|| unexpected("an address"))?;
        network.addresses.push((value(address)?, value(length)?));
    }
    for gateway in gateway4.iter().chain(&gateway6) {
        network.gateways.push(value(gateway)?);
    }
    for address in nameservers.map(|servers| servers.addresses).unwrap_or_default() {
        network.nameservers.push(value(&address)?);
    }
    Ok(network)
}

/// Invariant: modes are right from the first byte.
fn exposed_files_are_prepared(tree: &NodeTree, prepared: &[AbsPath]) -> Result<(), DecodeError> {
    let laid = laid::by_path(tree, Format::CloudInit);
    for file in &tree.files {
        if is_exposed(&file.path, file.mode, &laid) && !prepared.contains(&file.path) {
            return Err(DecodeError::unexpected(file.path.as_str(), "a private file that bootcmd does not prepare"));
        }
    }
    Ok(())
}
