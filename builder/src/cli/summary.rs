//! What `build` says when it has finished, and its JSON form.

use super::terminal::{Failure, Terminal};
use crate::{
    inspect::date,
    output::{Written, manifest::FileRole},
};
use nodekiln_plan::{NodeName, Role};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, path::Path};

/// What was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    output: String,
    files: usize,
    firstboot: Program,
    nodes: Vec<Payload>,
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
struct Payload {
    name: NodeName,
    role: Role,
    profile: Cow<'static, str>,
    /// The files that the machine is given.
    files: Vec<String>,
    /// Of the largest.
    size: u64,
    not_before: i64,
    boot_before: i64,
}

/// Until when payloads can boot, and what they lack.
pub fn tell(terminal: &Terminal, written: &Written) {
    let mut ends: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for part in written.parts.iter() {
        ends.entry(part.row().boot_before).or_default().push(part.name().as_str());
    }
    let several = ends.len() > 1;
    for (end, names) in ends {
        let who = match several {
            true => some(&names),
            false if written.parts.len() == 1 => "it".to_owned(),
            false => "they".to_owned(),
        };
        terminal.say(format!("{who} can boot until {}", date(end)));
    }
    if written.serves_firstboot {
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
pub fn json(terminal: &Terminal, written: &Written, folder: &Path) -> Result<(), Failure> {
    let nodes = written.parts.iter().map(|part| {
        let row = part.row();
        let given: Vec<_> = part.files().filter(|file| file.role == FileRole::Payload).collect();
        Payload {
            name: row.name,
            role: row.role,
            profile: row.profile,
            size: given.iter().map(|file| file.size).max().unwrap_or_default(),
            files: given.into_iter().map(|file| file.path).collect(),
            not_before: row.not_before,
            boot_before: row.boot_before,
        }
    });
    terminal.json(&Summary {
        output: folder.display().to_string(),
        files: written.files,
        nodes: nodes.collect(),
        firstboot: if written.serves_firstboot { Program::Fetched } else { Program::Carried },
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
