//! Ignition configurations: [`encode`], its inverse [`decode`], and the stub that points at one.
//!
//! Rules of the format that shape the output (Ignition `docs/configuration-v3_4.md`, `docs/operator-notes.md`):
//!
//! - Modes are decimal integers and always given, owners are numeric and always root.
//! - Files and links overwrite what is there: without it a second run, or an image that has the file, ends the boot.
//!   Directories never do: overwriting one removes what is in it, an etcd database for instance.
//! - Units are enabled by preset, which systemd applies on a boot without machine-id.
//! - Snippets of the user's are merged by Ignition itself (`ignition.config.merge`). That its rules let a child win says
//!   nothing here: no snippet may touch what is ours.
//! - Of a resource only the hash of the *fetched* bytes is verified; contents in the payload need none.

mod decode;
mod disks;
mod model;
pub(crate) mod pointer;
pub(crate) mod rules;
#[cfg(test)]
mod rules_tests;

pub(crate) use decode::{Behind, decode};

use crate::{
    codec::Codec,
    content::{DataUrl, base64, packed},
    error::EncodeError,
    laid,
    options::EncodeOptions,
    profile::Format,
    snippet::Snippet,
    tree::{Account, Artifact, Dropin, Fetch, Link, NodeTree, Unit, UnitState, Verification},
};
use ignition_config::{Config as SpecConfig, v3_4 as spec};
use model::Text;
use nodekiln_plan::{AbsPath, DirectoryEntry, Mode, Secret};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// The name of the artifact.
pub(crate) const CONFIG: &str = "config.ign";

/// Encodes a tree that has no faults.
pub(crate) fn encode(codec: &Codec, tree: &NodeTree, options: &EncodeOptions) -> Result<Artifact, EncodeError> {
    let implied = laid::implied(tree, Format::Ignition);
    let resources = resources(codec, tree, &implied, options)?;
    let storage = storage(tree, &implied, &resources);
    let size = resources.iter().map(|resource| resource.get().len() + 200).sum::<usize>() + 8192;
    let authority = tree.fetch_ca.as_deref().map(|ca| format!("data:;base64,{}", base64(ca)));
    let security = authority.as_deref().map(|source| {
        let certificate_authorities =
            vec![model::Resource { compression: None, source: Text::new(source), verification: None }];
        model::Security { tls: model::Tls { certificate_authorities } }
    });
    let units: Vec<_> = sorted(&tree.units, |unit| unit.name.as_str()).map(unit).collect();
    let users: Vec<_> = sorted(&tree.accounts, |account| account.name.as_str()).map(user).collect();
    let snippets: Vec<_> = tree.snippets.iter().map(|snippet| child(snippet, options)).collect::<Result<_, _>>()?;
    let merge = snippets.iter().map(|url| model::Resource {
        compression: url.gzip.then(|| Text::new("gzip")),
        source: Text::new(&url.source),
        verification: None,
    });
    let children = (!snippets.is_empty()).then(|| model::Children { merge: merge.collect() });
    let config = model::Config {
        ignition: model::Ignition { config: children, security, version: Text::new(options.ignition_version.as_str()) },
        passwd: (!users.is_empty()).then_some(model::Passwd { users }),
        storage: Some(storage),
        systemd: (!units.is_empty()).then_some(model::Systemd { units }),
    };
    let mut bytes = Vec::with_capacity(size);
    serde_json::to_writer(&mut bytes, &config).map_err(|_| EncodeError::Internal("the configuration is no JSON"))?;
    bytes.push(b'\n');
    Ok(Artifact { name: CONFIG, bytes: Secret::new(bytes) })
}

/// A snippet as a resource.
fn child(snippet: &Snippet, options: &EncodeOptions) -> Result<DataUrl, EncodeError> {
    let text = serde_json::to_vec(snippet.map()).map_err(|_| EncodeError::Internal("a snippet is no JSON"))?;
    Ok(DataUrl::of(&text, packed(&text, options.gzip).as_deref()))
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
    match SpecConfig::parse_slice(&bytes) {
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

/// `bytes`, or what they are `packed`, as a resource in JSON. No character of a data URL is escaped there.
pub(crate) fn resource(bytes: &[u8], packed: Option<&[u8]>) -> Result<Arc<RawValue>, EncodeError> {
    let DataUrl { source, gzip } = DataUrl::of(bytes, packed);
    let compression = if gzip { r#""compression":"gzip","# } else { "" };
    let text = RawValue::from_string(format!(r#"{{{compression}"source":"{source}"}}"#));
    text.map(Arc::from).map_err(|_| EncodeError::Internal("a resource is no JSON"))
}

/// Something to fetch as a resource, in JSON.
fn fetched(Fetch { url, verification, .. }: &Fetch) -> Result<Arc<RawValue>, EncodeError> {
    let verification = Some(model::Verification { hash: Text(Cow::Owned(hash(verification))) });
    let resource = model::Resource { compression: None, source: Text::new(url), verification };
    let text = serde_json::value::to_raw_value(&resource);
    text.map(Arc::from).map_err(|_| EncodeError::Internal("a fetch is no JSON"))
}

/// The resources of all files: of those that the tree carries, of those that are implied, of those that are fetched.
fn resources(
    codec: &Codec,
    tree: &NodeTree,
    implied: &[(&AbsPath, String)],
    options: &EncodeOptions,
) -> Result<Vec<Arc<RawValue>>, EncodeError> {
    let carried = tree.files.iter().map(|file| codec.resource(file, options.gzip));
    let implied =
        implied.iter().map(|(_, text)| resource(text.as_bytes(), packed(text.as_bytes(), options.gzip).as_deref()));
    carried.chain(implied).chain(tree.fetches.iter().map(fetched)).collect()
}

fn storage<'a>(
    tree: &'a NodeTree,
    implied: &'a [(&'a AbsPath, String)],
    resources: &'a [Arc<RawValue>],
) -> model::Storage<'a> {
    let carried = tree.files.iter().map(|file| (&file.path, file.mode));
    let implied = implied.iter().map(|(path, _)| (*path, Mode::PUBLIC));
    let fetched = tree.fetches.iter().map(|Fetch { into, .. }| (&into.path, into.mode));
    let places = carried.chain(implied).chain(fetched);
    let mut files: Vec<_> = places.zip(resources).map(|((path, mode), contents)| file(path, mode, contents)).collect();
    files.sort_by(|a, b| a.path.0.cmp(&b.path.0));
    model::Storage {
        directories: sorted(&tree.directories, |dir| &dir.path).map(directory).collect(),
        files,
        links: sorted(&tree.links, |link| &link.path).map(link).collect(),
    }
}

fn directory(entry: &DirectoryEntry) -> model::Directory<'_> {
    let DirectoryEntry { path, mode } = entry;
    model::Directory {
        group: model::Owner::ROOT,
        mode: mode.bits(),
        path: Text::new(path.as_str()),
        user: model::Owner::ROOT,
    }
}

fn file<'a>(path: &'a AbsPath, mode: Mode, contents: &'a RawValue) -> model::File<'a> {
    model::File {
        contents,
        group: model::Owner::ROOT,
        mode: mode.bits(),
        overwrite: true,
        path: Text::new(path.as_str()),
        user: model::Owner::ROOT,
    }
}

fn link(link: &Link) -> model::Link<'_> {
    model::Link {
        group: model::Owner::ROOT,
        hard: false,
        overwrite: true,
        path: Text::new(link.path.as_str()),
        target: Text::new(&link.target),
        user: model::Owner::ROOT,
    }
}

/// Ignition's form of a hash.
fn hash(verification: &Verification) -> String {
    match verification {
        Verification::Sha256(hash) => format!("sha256-{hash}"),
        Verification::Sha512(hash) => format!("sha512-{hash}"),
    }
}

fn unit(unit: &Unit) -> model::Unit<'_> {
    let (enabled, mask) = match unit.state {
        UnitState::Enabled => (Some(true), None),
        UnitState::Disabled => (Some(false), None),
        UnitState::Masked => (None, Some(true)),
        UnitState::Unchanged => (None, None),
    };
    model::Unit {
        contents: unit.contents.as_deref().map(Text::new),
        dropins: sorted(&unit.dropins, |dropin| dropin.name.as_str()).map(dropin).collect(),
        enabled,
        mask,
        name: Text::new(unit.name.as_str()),
    }
}

fn dropin(Dropin { name, contents }: &Dropin) -> model::Dropin<'_> {
    model::Dropin { contents: Text::new(contents), name: Text::new(name) }
}

fn user(account: &Account) -> model::User<'_> {
    let hash = account.password_hash.as_ref();
    model::User {
        groups: account.groups.iter().map(|group| Text::new(group)).collect(),
        name: Text::new(&account.name),
        password_hash: hash.map(|hash| Text(String::from_utf8_lossy(hash.expose()))),
        ssh_authorized_keys: account.ssh_authorized_keys.iter().map(|key| Text::new(key)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Gzip;
    use proptest::prelude::*;

    proptest! {
        /// What is put together by hand is what serde makes of the model.
        #[test]
        fn a_resource_is_the_models(bytes in prop::collection::vec(any::<u8>(), 0..400), times in 1usize..8) {
            for policy in Gzip::ALL {
                let bytes = bytes.repeat(times);
                let packed = packed(&bytes, policy);
                let DataUrl { source, gzip } = DataUrl::of(&bytes, packed.as_deref());
                let compression = gzip.then(|| Text::new("gzip"));
                let resource = model::Resource { compression, source: Text::new(&source), verification: None };
                let text = super::resource(&bytes, packed.as_deref()).unwrap();
                prop_assert_eq!(text.get(), serde_json::to_string(&resource).unwrap());
            }
        }
    }
}
