//! A [`Report`] for people.

use super::{Change, Report, What};
use std::fmt::Write as _;

/// All of it, in lines.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if !report.different {
        let _ = writeln!(out, "nothing differs: {}", unchanged(report));
        return out;
    }
    for (names, word) in [(&report.added, "new"), (&report.removed, "gone")] {
        for name in names {
            let _ = writeln!(out, "{name}: {word}");
        }
    }
    for node in &report.nodes {
        let _ = writeln!(out, "{}:", node.name);
        for effect in &node.effects {
            let _ = writeln!(out, "  {effect}");
        }
        for change in &node.changes {
            line(&mut out, "    ", change);
        }
    }
    let join = |nets: &[nodekiln_plan::Cidr]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for moved in &report.pod_cidrs_moved {
        let (from, to) = (join(&moved.from), join(&moved.to));
        let _ =
            writeln!(out, "{}: its podCIDR moves from {from} to {to}: the Node has to be deleted first", moved.node);
    }
    for change in &report.api {
        let _ = writeln!(out, "API: {} {}", sign(change.what), change.object);
    }
    for change in &report.files {
        line(&mut out, "", change);
    }
    if report.unchanged > 0 {
        let _ = writeln!(out, "{}", unchanged(report));
    }
    out
}

fn unchanged(report: &Report) -> String {
    let nodes = if report.unchanged == 1 { "node is as it was" } else { "nodes are as they were" };
    format!("{} {nodes}", report.unchanged)
}

fn sign(what: What) -> char {
    match what {
        What::Added => '+',
        What::Removed => '-',
        What::Changed => '~',
    }
}

fn line(out: &mut String, indent: &str, change: &Change) {
    let note = change.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    let effects: Vec<_> = change.effects.iter().map(ToString::to_string).collect();
    let effects = if effects.is_empty() { String::new() } else { format!(": {}", effects.join(", ")) };
    let _ = writeln!(out, "{indent}{} {}{note}{effects}", sign(change.what), change.name);
}
