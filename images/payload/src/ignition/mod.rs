//! Ignition configurations: [`encode`], its inverse [`decode`], and the stub that points at one.
//!
//! Rules of the format that shape the output (Ignition `docs/configuration-v3_4.md`, `docs/operator-notes.md`):
//!
//! - Modes are decimal integers and always given, owners are numeric and always root.
//! - Files and links overwrite what is there: without it a second run, or an image that has the file, ends the boot.
//!   Directories never do: overwriting one removes what is in it, an etcd database for instance.
//! - Units are enabled by preset, which systemd applies on a boot without machine-id.
//! - Of a resource only the hash of the *fetched* bytes is verified; contents in the payload need none.

mod decode;
pub(crate) mod pointer;

pub(crate) use decode::decode;

use crate::{
    content::{DataUrl, base64},
    error::EncodeError,
    laid,
    options::EncodeOptions,
    profile::Format,
    tree::{Account, Artifact, Fetch, Link, NodeTree, Unit, UnitState, Verification},
};
use ignition_config::{Config, v3_4 as spec};
use nodekiln_plan::{DirectoryEntry, Mode, Secret};

/// The name of the artifact.
pub(crate) const CONFIG: &str = "config.ign";

/// Root, by number: a name would be looked up in the target's passwd.
const ROOT: i64 = 0;

/// Encodes a tree that has no faults.
pub(crate) fn encode(tree: &NodeTree, options: &EncodeOptions) -> Result<Artifact, EncodeError> {
    let units: Vec<_> = sorted(&tree.units, |unit| unit.name.as_str()).map(unit).collect();
    let users: Vec<_> = sorted(&tree.accounts, |account| account.name.as_str()).map(user).collect();
    let ignition = spec::Ignition { security: tree.fetch_ca.as_deref().map(security), ..Default::default() };
    let config = spec::Config {
        ignition,
        storage: Some(storage(tree, options)),
        systemd: not_empty(units).map(|units| spec::Systemd { units: Some(units) }),
        passwd: not_empty(users).map(|users| spec::Passwd { users: Some(users), groups: None }),
        ..Default::default()
    };
    Ok(Artifact { name: CONFIG, bytes: render(config, options)? })
}

/// Trust in a PEM bundle, for Ignition's own fetches, beside what the initramfs trusts.
fn security(ca: &[u8]) -> spec::Security {
    // Plain base64: a bundle is small, and what a machine trusts should be readable with `base64 -d`.
    let source = Some(format!("data:;base64,{}", base64(ca)));
    let authorities = Some(vec![spec::Resource { source, ..Default::default() }]);
    spec::Security { tls: Some(spec::SecurityTls { certificate_authorities: authorities }) }
}

/// JSON of `config` under the version that `options` ask for, proven to be read without a warning: a field that the
/// version lacks would be ignored by Ignition, not refused.
fn render(mut config: spec::Config, options: &EncodeOptions) -> Result<Secret, EncodeError> {
    config.ignition.version = options.ignition_version.as_str().to_owned();
    let mut value = serde_json::to_value(&config).map_err(|_| EncodeError::Internal("the configuration is no JSON"))?;
    strip_nulls(&mut value);
    let mut bytes = serde_json::to_vec(&value).map_err(|_| EncodeError::Internal("the configuration is no JSON"))?;
    bytes.push(b'\n');
    match Config::parse_slice(&bytes) {
        Ok((_, warnings)) if warnings.is_empty() => Ok(Secret::new(bytes)),
        Ok(_) => Err(EncodeError::Internal("a field that this version of Ignition's specification lacks")),
        Err(_) => Err(EncodeError::Internal("Ignition's own types do not read the configuration")),
    }
}

/// Unset fields are written as `null` by the types; Ignition takes that, at the price of a third of the text.
fn strip_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// `items` in the order of their keys, whatever order they came in.
fn sorted<'a, T, K: Ord + ?Sized>(items: &'a [T], key: fn(&'a T) -> &'a K) -> impl Iterator<Item = &'a T> {
    let mut items: Vec<_> = items.iter().collect();
    items.sort_by(|a, b| key(a).cmp(key(b)));
    items.into_iter()
}

fn not_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

fn storage(tree: &NodeTree, options: &EncodeOptions) -> spec::Storage {
    let carried = tree.files.iter().map(|file| {
        let contents = inline(file.contents.expose(), options);
        spec_file(file.path.as_str(), file.mode, contents)
    });
    let fetched = tree.fetches.iter().map(|Fetch { url, verification, into }| {
        let verification = spec::Verification { hash: Some(hash(verification)) };
        let contents =
            spec::Resource { source: Some(url.clone()), verification: Some(verification), ..Default::default() };
        spec_file(into.path.as_str(), into.mode, contents)
    });
    let implied = laid::implied(tree, Format::Ignition);
    let implied = implied
        .iter()
        .map(|(path, contents)| spec_file(path.as_str(), Mode::PUBLIC, inline(contents.as_bytes(), options)));
    let mut files: Vec<_> = carried.chain(fetched).chain(implied).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    spec::Storage {
        directories: not_empty(sorted(&tree.directories, |dir| &dir.path).map(directory).collect()),
        files: not_empty(files),
        links: not_empty(sorted(&tree.links, |link| &link.path).map(link).collect()),
        ..Default::default()
    }
}

fn directory(entry: &DirectoryEntry) -> spec::Directory {
    let mut directory = spec::Directory::new(entry.path.to_string());
    directory.mode = Some(i64::from(entry.mode.bits()));
    directory.user = Some(spec::NodeUser { id: Some(ROOT), name: None });
    directory.group = Some(spec::NodeGroup { id: Some(ROOT), name: None });
    directory
}

fn spec_file(path: &str, mode: Mode, contents: spec::Resource) -> spec::File {
    let mut file = spec::File::new(path.to_owned());
    file.mode = Some(i64::from(mode.bits()));
    file.overwrite = Some(true);
    file.contents = Some(contents);
    file.user = Some(spec::NodeUser { id: Some(ROOT), name: None });
    file.group = Some(spec::NodeGroup { id: Some(ROOT), name: None });
    file
}

fn link(link: &Link) -> spec::Link {
    let mut entry = spec::Link::new(link.path.to_string());
    entry.target = Some(link.target.clone());
    entry.hard = Some(false);
    entry.overwrite = Some(true);
    entry.user = Some(spec::NodeUser { id: Some(ROOT), name: None });
    entry.group = Some(spec::NodeGroup { id: Some(ROOT), name: None });
    entry
}

fn inline(bytes: &[u8], options: &EncodeOptions) -> spec::Resource {
    let DataUrl { source, gzip } = DataUrl::of(bytes, options.gzip);
    spec::Resource { source: Some(source), compression: gzip.then(|| "gzip".to_owned()), ..Default::default() }
}

/// Ignition's form of a hash.
fn hash(verification: &Verification) -> String {
    match verification {
        Verification::Sha256(hash) => format!("sha256-{hash}"),
        Verification::Sha512(hash) => format!("sha512-{hash}"),
    }
}

fn unit(unit: &Unit) -> spec::Unit {
    let mut entry = spec::Unit::new(unit.name.to_string());
    entry.contents.clone_from(&unit.contents);
    let mut dropins = Vec::with_capacity(unit.dropins.len());
    for dropin in sorted(&unit.dropins, |dropin| dropin.name.as_str()) {
        dropins.push(spec::Dropin { name: dropin.name.clone(), contents: Some(dropin.contents.clone()) });
    }
    entry.dropins = not_empty(dropins);
    match unit.state {
        UnitState::Enabled => entry.enabled = Some(true),
        UnitState::Disabled => entry.enabled = Some(false),
        UnitState::Masked => entry.mask = Some(true),
        UnitState::Unchanged => {}
    }
    entry
}

fn user(account: &Account) -> spec::User {
    let mut user = spec::User::new(account.name.clone());
    user.ssh_authorized_keys = not_empty(account.ssh_authorized_keys.clone());
    let hash = account.password_hash.as_ref();
    user.password_hash = hash.map(|hash| String::from_utf8_lossy(hash.expose()).into_owned());
    user.groups = not_empty(account.groups.clone());
    user
}
