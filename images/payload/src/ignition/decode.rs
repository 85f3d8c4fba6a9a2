//! From an Ignition configuration back to a tree.
//!
//! Strict: what the encoder does not write is refused, so that nothing in a payload can go unseen by the check.

use crate::{
    content::DataUrl,
    error::DecodeError,
    laid,
    tree::{Account, Dropin, Fetch, FetchInto, Link, NodeTree, TreeFile, Unit, UnitState, Verification},
    validate::is_hex,
};
use ignition_config::{Config, v3_4 as spec};
use nodekiln_plan::{AbsPath, DirectoryEntry, Mode, Secret, Sha256};
use serde::Deserialize as _;
use std::sync::Arc;

/// Reads a configuration through Ignition's own types, warnings being errors.
pub(super) fn parse(bytes: &[u8]) -> Result<spec::Config, DecodeError> {
    match Config::parse_slice(bytes) {
        Ok((Config::V3_3(_) | Config::V3_4(_) | Config::V3_5(_), warnings)) if warnings.is_empty() => {}
        Ok((_, warnings)) if warnings.is_empty() => return Err(DecodeError::Version),
        Ok((_, warnings)) => {
            let keys: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            return Err(DecodeError::Warnings(keys.join(", ")));
        }
        Err(ignition_config::Error::Serialization(e)) => return Err(DecodeError::syntax("config.ign", &e)),
        Err(_) => return Err(DecodeError::Version),
    }
    // The versions differ only in fields that nodekiln does not use; those of 3.4 are a superset of 3.3's.
    let mut json = serde_json::Deserializer::from_slice(bytes);
    spec::Config::deserialize(&mut json).map_err(|e| DecodeError::syntax("config.ign", &e))
}

/// The tree that the configuration lays down.
pub(crate) fn decode(bytes: &[u8]) -> Result<NodeTree, DecodeError> {
    let config = parse(bytes)?;
    let spec::Ignition { config: children, proxy, security, timeouts, version: _ } = config.ignition;
    absent("ignition.config", children)?;
    absent("ignition.proxy", proxy)?;
    let fetch_ca = security.map(authority).transpose()?.map(Into::into);
    absent("ignition.timeouts", timeouts)?;
    absent("kernelArguments", config.kernel_arguments)?;
    let spec::Storage { directories, disks, files, filesystems, links, luks, raid } =
        config.storage.unwrap_or_default();
    absent("storage.disks", disks)?;
    absent("storage.filesystems", filesystems)?;
    absent("storage.luks", luks)?;
    absent("storage.raid", raid)?;
    let spec::Passwd { users, groups } = config.passwd.unwrap_or_default();
    absent("passwd.groups", groups)?;

    let mut carried = Vec::new();
    let mut fetches = Vec::new();
    for entry in files.unwrap_or_default() {
        match file(entry)? {
            File::Carried(file) => carried.push(file),
            File::Fetched(fetch) => fetches.push(fetch),
        }
    }
    let node = carried.iter().find(|file| file.path.as_str() == laid::HOSTNAME);
    let node = node.and_then(|file| std::str::from_utf8(file.contents.expose()).ok()?.trim_end().parse().ok());
    Ok(NodeTree {
        node: node.ok_or(DecodeError::Hostname)?,
        directories: directories.unwrap_or_default().into_iter().map(directory).collect::<Result<_, _>>()?,
        files: carried,
        links: links.unwrap_or_default().into_iter().map(link).collect::<Result<_, _>>()?,
        units: config
            .systemd
            .unwrap_or_default()
            .units
            .unwrap_or_default()
            .into_iter()
            .map(unit)
            .collect::<Result<_, _>>()?,
        accounts: users.unwrap_or_default().into_iter().map(account).collect::<Result<_, _>>()?,
        fetches,
        fetch_ca,
        network: None,
        time_servers: Vec::new(),
    })
}

/// The one bundle of authorities.
pub(super) fn authority(security: spec::Security) -> Result<Vec<u8>, DecodeError> {
    let authorities = security.tls.and_then(|tls| tls.certificate_authorities);
    let one = authorities.filter(|list| list.len() == 1).and_then(|mut list| list.pop());
    let bytes = one.and_then(|resource| DataUrl::decode(&resource.source?, resource.compression.as_deref()));
    bytes.ok_or_else(|| DecodeError::unexpected("", "ignition.security.tls"))
}

fn absent<T>(what: &str, value: Option<T>) -> Result<(), DecodeError> {
    match value {
        None => Ok(()),
        Some(_) => Err(DecodeError::unexpected("", what)),
    }
}

fn path(text: &str) -> Result<AbsPath, DecodeError> {
    text.parse().map_err(|_| DecodeError::unexpected(text, "path"))
}

/// A mode written as the decimal number that it is.
fn mode(path: &str, mode: Option<i64>) -> Result<Mode, DecodeError> {
    let bits = mode.filter(|bits| (0..=0o777).contains(bits)).ok_or_else(|| DecodeError::unexpected(path, "mode"))?;
    format!("{bits:04o}").parse().map_err(|_| DecodeError::unexpected(path, "mode"))
}

fn root(path: &str, user: Option<spec::NodeUser>, group: Option<spec::NodeGroup>) -> Result<(), DecodeError> {
    match (user, group) {
        (
            Some(spec::NodeUser { id: Some(super::ROOT), name: None }),
            Some(spec::NodeGroup { id: Some(super::ROOT), name: None }),
        ) => Ok(()),
        _ => Err(DecodeError::unexpected(path, "owner")),
    }
}

fn directory(entry: spec::Directory) -> Result<DirectoryEntry, DecodeError> {
    root(&entry.path, entry.user, entry.group)?;
    if entry.overwrite.is_some() {
        return Err(DecodeError::unexpected(&entry.path, "overwrite"));
    }
    Ok(DirectoryEntry { path: path(&entry.path)?, mode: mode(&entry.path, entry.mode)? })
}

enum File {
    Carried(TreeFile),
    Fetched(Fetch),
}

fn file(entry: spec::File) -> Result<File, DecodeError> {
    let place = entry.path.as_str();
    root(place, entry.user, entry.group)?;
    if entry.overwrite != Some(true) {
        return Err(DecodeError::unexpected(place, "overwrite"));
    }
    if entry.append.is_some() {
        return Err(DecodeError::unexpected(place, "append"));
    }
    let (path, mode) = (path(place)?, mode(place, entry.mode)?);
    let contents = entry.contents.ok_or_else(|| DecodeError::unexpected(place, "contents"))?;
    if contents.http_headers.is_some() {
        return Err(DecodeError::unexpected(place, "httpHeaders"));
    }
    let source = contents.source.ok_or_else(|| DecodeError::unexpected(place, "source"))?;
    let compression = contents.compression.as_deref();
    match contents.verification {
        None => {
            let bytes =
                DataUrl::decode(&source, compression).ok_or_else(|| DecodeError::unexpected(place, "source"))?;
            Ok(File::Carried(TreeFile {
                path,
                mode,
                sha256: Sha256::of(&bytes),
                contents: Arc::new(Secret::new(bytes)),
            }))
        }
        Some(_) if compression.is_some() => Err(DecodeError::unexpected(place, "compression")),
        Some(spec::Verification { hash }) => {
            let verification = hash.as_deref().and_then(verification);
            let verification = verification.ok_or_else(|| DecodeError::unexpected(place, "hash"))?;
            Ok(File::Fetched(Fetch { url: source, verification, into: FetchInto { path, mode } }))
        }
    }
}

/// Reads Ignition's form of a hash, its digits included.
pub(super) fn verification(hash: &str) -> Option<Verification> {
    match hash.split_once('-')? {
        ("sha256", digits) if is_hex(digits, 64) => Some(Verification::Sha256(digits.parse().ok()?)),
        ("sha512", digits) if is_hex(digits, 128) => Some(Verification::Sha512(digits.to_owned())),
        _ => None,
    }
}

fn link(entry: spec::Link) -> Result<Link, DecodeError> {
    root(&entry.path, entry.user, entry.group)?;
    if (entry.overwrite, entry.hard) != (Some(true), Some(false)) {
        return Err(DecodeError::unexpected(&entry.path, "overwrite or hard"));
    }
    let target = entry.target.ok_or_else(|| DecodeError::unexpected(&entry.path, "target"))?;
    Ok(Link { path: path(&entry.path)?, target })
}

fn unit(entry: spec::Unit) -> Result<Unit, DecodeError> {
    let name = entry.name.parse().map_err(|_| DecodeError::unexpected(&entry.name, "name"))?;
    let state = match (entry.enabled, entry.mask) {
        (Some(true), None) => UnitState::Enabled,
        (Some(false), None) => UnitState::Disabled,
        (None, Some(true)) => UnitState::Masked,
        (None, None) => UnitState::Unchanged,
        _ => return Err(DecodeError::unexpected(&entry.name, "enabled and mask")),
    };
    let mut dropins = Vec::new();
    for spec::Dropin { name, contents } in entry.dropins.unwrap_or_default() {
        let contents = contents.ok_or_else(|| DecodeError::unexpected(&entry.name, &name))?;
        dropins.push(Dropin { name, contents });
    }
    Ok(Unit { name, state, contents: entry.contents, dropins })
}

fn account(user: spec::User) -> Result<Account, DecodeError> {
    let spec::User { name, ssh_authorized_keys, password_hash, groups, .. } = user.clone();
    let mut rest = spec::User::new(name.clone());
    rest.ssh_authorized_keys.clone_from(&ssh_authorized_keys);
    rest.password_hash.clone_from(&password_hash);
    rest.groups.clone_from(&groups);
    if rest != user {
        return Err(DecodeError::unexpected(&name, "a field of passwd.users"));
    }
    Ok(Account {
        name,
        ssh_authorized_keys: ssh_authorized_keys.unwrap_or_default(),
        password_hash: password_hash.map(Secret::from),
        groups: groups.unwrap_or_default(),
    })
}
