//! From an Ignition configuration back to a tree.
//!
//! Strict: what the encoder does not write is refused, so that nothing in a payload can go unseen by the check.

use super::model;
use crate::{
    codec::{Codec, Contents},
    content::DataUrl,
    error::DecodeError,
    gzip::Parts,
    laid,
    options::IgnitionVersion,
    profile::Format,
    snippet::Snippet,
    tree::{Account, Dropin, Fetch, FetchInto, Link, NodeTree, TreeFile, Unit, UnitState, Verification},
    validate::{is_hex, url_is_sound},
};
use ignition_config::{Config, v3_4 as spec};
use model::Text;
use nodekiln_plan::{AbsPath, DirectoryEntry, Mode, Secret};
use serde::Deserialize as _;

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
pub(crate) fn decode(codec: &Codec, bytes: &[u8]) -> Result<NodeTree, DecodeError> {
    // As a text it is looked at once for what is no text, and not again for every string.
    let config = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    let config: model::Config<'_> = config.map_err(|e| DecodeError::syntax(super::CONFIG, &e))?;
    let model::Ignition { config: children, security, version } = config.ignition;
    let version = version.parse::<IgnitionVersion>().map_err(|_| DecodeError::Version)?;
    let children = children.map(|children| children.merge).unwrap_or_default();
    let snippets = children.into_iter().map(|child| snippet(&child, version)).collect::<Result<_, _>>()?;
    let fetch_ca = security.map(|security| bundle(&security)).transpose()?.map(Into::into);
    let storage = config.storage.ok_or_else(|| DecodeError::unexpected("", "storage"))?;

    let mut carried = Vec::with_capacity(storage.files.len());
    let mut fetches = Vec::new();
    for entry in storage.files {
        match file(codec, entry)? {
            File::Carried(file) => carried.push(file),
            File::Fetched(fetch) => fetches.push(fetch),
        }
    }
    let node = carried.iter().find(|file| file.path.as_str() == laid::HOSTNAME);
    let name = |file: &TreeFile| std::str::from_utf8(file.contents.expose()).ok()?.trim_end().parse().ok();
    let node = node.map(|file| name(file).ok_or(DecodeError::Hostname)).transpose()?;
    let units = config.systemd.map(|systemd| systemd.units).unwrap_or_default();
    let users = config.passwd.map(|passwd| passwd.users).unwrap_or_default();
    Ok(NodeTree {
        node,
        directories: storage.directories.into_iter().map(directory).collect::<Result<_, _>>()?,
        files: carried,
        links: storage.links.into_iter().map(link).collect::<Result<_, _>>()?,
        units: units.into_iter().map(unit).collect::<Result<_, _>>()?,
        accounts: users.into_iter().map(account).collect(),
        fetches,
        fetch_ca,
        network: None,
        time_servers: Vec::new(),
        snippets,
    })
}

/// A configuration of the user's: one that the encoder would take.
fn snippet(child: &model::Resource<'_>, version: IgnitionVersion) -> Result<Snippet, DecodeError> {
    let fault = || DecodeError::unexpected("", "ignition.config.merge");
    let model::Resource { compression, source, verification: None } = child else { return Err(fault()) };
    let text = DataUrl::decode(source, compression.as_deref(), None).ok_or_else(fault)?;
    Snippet::parse(&text.bytes, Format::Ignition, version).map_err(|_| fault())
}

/// The one bundle of authorities.
fn bundle(security: &model::Security<'_>) -> Result<Vec<u8>, DecodeError> {
    let bytes = match security.tls.certificate_authorities.as_slice() {
        [model::Resource { compression: None, source, verification: None }] => DataUrl::decode(source, None, None),
        _ => None,
    };
    Ok(bytes.ok_or_else(|| DecodeError::unexpected("", "ignition.security.tls"))?.bytes)
}

/// The one bundle of authorities of a stub.
pub(super) fn authority(security: spec::Security) -> Result<Vec<u8>, DecodeError> {
    let authorities = security.tls.and_then(|tls| tls.certificate_authorities);
    let one = authorities.filter(|list| list.len() == 1).and_then(|mut list| list.pop());
    let bytes = one.and_then(|resource| DataUrl::decode(&resource.source?, resource.compression.as_deref(), None));
    Ok(bytes.ok_or_else(|| DecodeError::unexpected("", "ignition.security.tls"))?.bytes)
}

fn path(text: &str) -> Result<AbsPath, DecodeError> {
    text.parse().map_err(|_| DecodeError::unexpected(text, "path"))
}

/// A mode written as the decimal number that it is.
fn mode(path: &str, bits: u32) -> Result<Mode, DecodeError> {
    Mode::from_bits(bits).ok_or_else(|| DecodeError::unexpected(path, "mode"))
}

fn root(path: &str, user: &model::Owner, group: &model::Owner) -> Result<(), DecodeError> {
    match (user.id, group.id) {
        (0, 0) => Ok(()),
        _ => Err(DecodeError::unexpected(path, "owner")),
    }
}

fn directory(entry: model::Directory<'_>) -> Result<DirectoryEntry, DecodeError> {
    root(&entry.path, &entry.user, &entry.group)?;
    Ok(DirectoryEntry { path: path(&entry.path)?, mode: mode(&entry.path, entry.mode)? })
}

enum File {
    Carried(TreeFile),
    Fetched(Fetch),
}

fn file(codec: &Codec, entry: model::File<'_>) -> Result<File, DecodeError> {
    let place: &str = &entry.path;
    root(place, &entry.user, &entry.group)?;
    if !entry.overwrite {
        return Err(DecodeError::unexpected(place, "overwrite"));
    }
    let (path, mode) = (path(place)?, mode(place, entry.mode)?);
    let resource = entry.contents.get();
    Ok(match codec.behind(resource, |parts| behind(place, resource, parts))? {
        Behind::Bytes(Contents { bytes, sha256 }) => {
            File::Carried(TreeFile { path, mode, sha256, contents: bytes, shared: None })
        }
        Behind::Url(url, verification) => File::Fetched(Fetch { url, verification, into: FetchInto { path, mode } }),
    })
}

/// What stands behind a resource.
#[derive(Clone)]
pub(crate) enum Behind {
    /// Bytes that it holds.
    Bytes(Contents),
    /// Bytes that are fetched.
    Url(String, Verification),
}

impl Behind {
    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Bytes(contents) => contents.bytes.expose().len(),
            Self::Url(url, _) => url.len(),
        }
    }
}

/// Source and compression of a resource in the form that the encoder puts together. If the source is a data URL that
/// decodes, it has neither quote nor escape in it: then this is what the text says.
fn put_together(resource: &str) -> Option<(&str, Option<&str>)> {
    let (compression, rest) = match resource.strip_prefix(r#"{"compression":"gzip","source":""#) {
        Some(rest) => (Some("gzip"), rest),
        None => (None, resource.strip_prefix(r#"{"source":""#)?),
    };
    Some((rest.strip_suffix(r#""}"#)?, compression))
}

/// Reads the resource of the file at `place`, which is JSON.
fn behind(place: &str, resource: &str, parts: &Parts) -> Result<Behind, DecodeError> {
    let decode = |(source, compression)| DataUrl::decode(source, compression, Some(parts));
    if let Some(bytes) = put_together(resource).and_then(decode) {
        return Ok(Behind::Bytes(Contents::new(bytes)));
    }
    // serde takes a list for a structure; Ignition does not.
    let resource = Some(resource).filter(|text| text.starts_with('{')).map(serde_json::from_str);
    let resource = resource.and_then(Result::ok).ok_or_else(|| DecodeError::unexpected(place, "contents"))?;
    let model::Resource { compression, source, verification } = resource;
    let compression = compression.as_deref();
    match verification {
        None => {
            let bytes = decode((&source, compression));
            let bytes = bytes.ok_or_else(|| DecodeError::unexpected(place, "source"))?;
            Ok(Behind::Bytes(Contents::new(bytes)))
        }
        Some(_) if compression.is_some() => Err(DecodeError::unexpected(place, "compression")),
        // A data URL that is verified holds bytes, which nobody would search for keys.
        Some(_) if !url_is_sound(&source) => Err(DecodeError::unexpected(place, "source")),
        Some(model::Verification { hash }) => {
            let verification = self::verification(&hash).ok_or_else(|| DecodeError::unexpected(place, "hash"))?;
            Ok(Behind::Url(source.0.into_owned(), verification))
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

fn link(entry: model::Link<'_>) -> Result<Link, DecodeError> {
    root(&entry.path, &entry.user, &entry.group)?;
    if (entry.overwrite, entry.hard) != (true, false) {
        return Err(DecodeError::unexpected(&entry.path, "overwrite or hard"));
    }
    Ok(Link { path: path(&entry.path)?, target: entry.target.0.into_owned() })
}

fn unit(entry: model::Unit<'_>) -> Result<Unit, DecodeError> {
    let name = entry.name.parse().map_err(|_| DecodeError::unexpected(&entry.name, "name"))?;
    let state = match (entry.enabled, entry.mask) {
        (Some(true), None) => UnitState::Enabled,
        (Some(false), None) => UnitState::Disabled,
        (None, Some(true)) => UnitState::Masked,
        (None, None) => UnitState::Unchanged,
        _ => return Err(DecodeError::unexpected(&entry.name, "enabled and mask")),
    };
    let dropin = |model::Dropin { contents, name }| Dropin { name: owned(name), contents: owned(contents) };
    let dropins = entry.dropins.into_iter().map(dropin).collect();
    Ok(Unit { name, state, contents: entry.contents.map(owned), dropins })
}

fn owned(text: Text<'_>) -> String {
    text.0.into_owned()
}

fn account(user: model::User<'_>) -> Account {
    Account {
        name: owned(user.name),
        ssh_authorized_keys: user.ssh_authorized_keys.into_iter().map(owned).collect(),
        password_hash: user.password_hash.map(|hash| Secret::from(owned(hash))),
        groups: user.groups.into_iter().map(owned).collect(),
    }
}
