//! What `build` says when it has finished, and its JSON form.

use super::terminal::{Failure, Terminal};
use crate::{
    inspect::date,
    output::manifest::{FileRole, Manifest},
};
use nodekiln_plan::{NodeName, Role};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// What was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'m> {
    output: String,
    files: usize,
    firstboot: Program,
    nodes: Vec<Payload<'m>>,
}

/// How machines come by the node's program.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Program {
    /// In the payload.
    Carried,
    /// From `serve/`, below delivery.baseURL.
    Fetched,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'m> {
    name: &'m NodeName,
    role: Role,
    profile: &'m str,
    /// The files that the machine is given.
    files: Vec<&'m str>,
    /// Of the largest.
    size: u64,
    not_before: i64,
    boot_before: i64,
}

/// Whether a program that was used is among what is served.
fn program(manifest: &Manifest) -> Program {
    let blob = |path: &str| path.strip_prefix("serve/blobs/").map(str::to_owned);
    let digests: Vec<_> = manifest.firstboot.values().map(ToString::to_string).collect();
    let served = manifest.files.iter().filter_map(|row| blob(&row.path)).any(|name| digests.contains(&name));
    if served { Program::Fetched } else { Program::Carried }
}

/// Until when payloads can boot, and what they lack.
pub fn tell(terminal: &Terminal, manifest: &Manifest) {
    let mut ends: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for row in &manifest.nodes {
        ends.entry(row.boot_before).or_default().push(row.name.as_str());
    }
    let several = ends.len() > 1;
    for (end, names) in ends {
        let who = match several {
            true => some(&names),
            false if manifest.nodes.len() == 1 => "it".to_owned(),
            false => "they".to_owned(),
        };
        terminal.say(format!("{who} can boot until {}", date(end)));
    }
    if program(manifest) == Program::Fetched {
        terminal.say(
            "nodekiln-firstboot is not in the payloads: machines fetch it, so publish the output's `serve` at \
             delivery.baseURL",
        );
    }
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Prints all of it as JSON.
///
/// # Errors
/// stdout is full.
pub fn json(terminal: &Terminal, manifest: &Manifest, folder: &Path) -> Result<(), Failure> {
    let mut given: BTreeMap<&NodeName, (Vec<&str>, u64)> = BTreeMap::new();
    for row in manifest.files.iter().filter(|row| row.role == FileRole::Payload) {
        let Some(node) = &row.node else { continue };
        let (files, size) = given.entry(node).or_default();
        files.push(&row.path);
        *size = row.size.max(*size);
    }
    let nodes = manifest.nodes.iter().map(|row| {
        let (files, size) = given.remove(&row.name).unwrap_or_default();
        Payload {
            name: &row.name,
            role: row.role,
            profile: &row.profile,
            files,
            size,
            not_before: row.not_before,
            boot_before: row.boot_before,
        }
    });
    terminal.json(&Summary {
        output: folder.display().to_string(),
        files: manifest.files.len(),
        nodes: nodes.collect(),
        firstboot: program(manifest),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn few_of_many() {
        assert_eq!(super::some(&["a", "b"]), "a, b");
        assert_eq!(super::some(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
