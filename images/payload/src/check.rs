//! The proof that a payload says what the tree says, and nothing else.

use crate::{
    error::DecodeError,
    laid,
    profile::Format,
    tree::{Account, Network, NodeTree, UnitState},
};
use nodekiln_plan::{AbsPath, Mode, UnitName};
use std::collections::BTreeMap;

/// Why a payload does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("the payload cannot be read back: {0}")]
    Decode(#[from] DecodeError),
    /// It says something else.
    #[error("the payload differs from the plan: {}", .0.join(", "))]
    Differs(Vec<String>),
}

/// Everything in which the two differ, by name.
pub(crate) fn differences(tree: &NodeTree, decoded: &NodeTree, format: Format) -> Vec<String> {
    let mut found = Vec::new();
    if is_same(tree, decoded, format) {
        return found;
    }
    if tree.node != decoded.node {
        found.push("the host name".to_owned());
    }
    keys(&mut found, &laid::by_path(tree, format), &laid::by_path(decoded, format), AbsPath::to_string);
    keys(&mut found, &states(tree), &states(decoded), UnitName::to_string);
    keys(&mut found, &accounts(tree), &accounts(decoded), |name| format!("the account {name}"));
    if tree.fetch_ca != decoded.fetch_ca {
        found.push("the authorities for fetches".to_owned());
    }
    if tree.network.as_ref().map(unordered) != decoded.network.as_ref().map(unordered) {
        found.push("the network".to_owned());
    }
    if tree.time_servers != decoded.time_servers {
        found.push("the time servers".to_owned());
    }
    if tree.snippets != decoded.snippets {
        found.push("the snippets".to_owned());
    }
    // What the plan promises to firstboot is what firstboot will find.
    let read: BTreeMap<_, _> = decoded.files.iter().map(|file| (&file.path, file)).collect();
    let wrong = tree.files.iter().filter(|file| {
        // Where the bytes are the same, the digest that was read is theirs.
        let same = read.get(&file.path).filter(|read| read.contents == file.contents);
        same.is_some_and(|read| read.sha256 != file.sha256)
    });
    found.extend(wrong.map(|file| format!("{}: not the digest of its contents", file.path)));
    found
}

/// Whether the two are the same part by part, each in its order: then they lay down the same, and what that is need not be
/// spelled out. Two that are not may still lay down the same.
fn is_same(tree: &NodeTree, decoded: &NodeTree, format: Format) -> bool {
    let NodeTree {
        node,
        directories,
        files,
        links,
        units,
        accounts,
        fetches,
        fetch_ca,
        network,
        time_servers,
        snippets,
    } = tree;
    let implied = laid::implied(tree, format);
    let mut files = files.iter().peekable();
    let all_files = decoded.files.iter().all(|read| match files.next_if(|file| file.path == read.path) {
        Some(file) => file.mode == read.mode && file.sha256 == read.sha256 && file.contents == read.contents,
        None => implied.iter().any(|(path, text)| {
            **path == read.path && read.mode == Mode::PUBLIC && read.contents.expose() == text.as_bytes()
        }),
    });
    // Each path once: an implied file that comes twice would hide another that is missing.
    all_files
        && decoded.files.is_sorted_by(|a, b| a.path < b.path)
        && files.next().is_none()
        && decoded.files.len() == tree.files.len() + implied.len()
        && *node == decoded.node
        && *directories == decoded.directories
        && *links == decoded.links
        && *units == decoded.units
        && *accounts == decoded.accounts
        && *fetches == decoded.fetches
        && *fetch_ca == decoded.fetch_ca
        && *network == decoded.network
        && *time_servers == decoded.time_servers
        && *snippets == decoded.snippets
}

/// There is one gateway a family, so their order says nothing.
fn unordered(network: &Network) -> Network {
    let mut network = network.clone();
    network.gateways.sort();
    network
}

fn states(tree: &NodeTree) -> BTreeMap<UnitName, UnitState> {
    tree.units.iter().map(|unit| (unit.name.clone(), unit.state)).collect()
}

fn accounts(tree: &NodeTree) -> BTreeMap<&str, &Account> {
    tree.accounts.iter().map(|account| (account.name.as_str(), account)).collect()
}

fn keys<K: Ord, V: PartialEq>(
    found: &mut Vec<String>,
    want: &BTreeMap<K, V>,
    got: &BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
) {
    let missing = want.keys().filter(|key| !got.contains_key(key)).map(|key| format!("{}: missing", name(key)));
    let other = want.iter().filter(|(key, value)| got.get(key).is_some_and(|got| got != *value));
    let other = other.map(|(key, _)| format!("{}: different", name(key)));
    let extra = got.keys().filter(|key| !want.contains_key(key)).map(|key| format!("{}: not planned", name(key)));
    found.extend(missing.chain(other).chain(extra));
}
