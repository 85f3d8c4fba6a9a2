//! systemd reads every unit that we write, in a root that has what they refer to. A word of it is a failure.

use anyhow::{Context as _, Result, ensure};
use nodekiln_payload::UnitState;
use nodekiln_tests::{
    cache::Cache,
    cell::{self, Cell},
    clusters,
    made::{Made, final_files},
    tools::require,
};
use std::{collections::BTreeSet, time::Duration};

/// Enables what a preset would, checks the units one by one, then all that a boot would start: ordering cycles show only
/// there.
const VERIFY: &str = "
read -r -a enable </shared/enable
read -r -a units </shared/units
[ ${#enable[@]} = 0 ] || systemctl enable --quiet \"${enable[@]}\"
systemd-analyze verify --man=no --recursive-errors=yes \"${units[@]}\"
systemd-analyze verify --man=no --recursive-errors=yes default.target";

/// The words that systemd says about these files.
fn verify(cell: &Cell, enable: &[String], units: &[String]) -> Result<String> {
    std::fs::write(cell.shared().join("enable"), enable.join(" ") + "\n")?;
    std::fs::write(cell.shared().join("units"), units.join(" ") + "\n")?;
    let said = cell.command(&["bash", "-ec", VERIFY]).limit(Duration::from_secs(120)).output()?;
    let words = format!("{}{}", said.stdout, said.stderr);
    Ok(if said.success() || !words.is_empty() { words } else { format!("{:?}", said.status) })
}

/// The programs that units run: a node has them, the root may not.
fn programs(text: &str) -> BTreeSet<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        key.starts_with("Exec").then(|| value.trim_start_matches(['-', '@', ':', '+', '!']).to_owned())
    };
    let first = |value: String| value.split_whitespace().next().map(str::to_owned);
    text.lines().filter_map(value).filter_map(first).filter(|path| path.starts_with('/')).collect()
}

/// What systemd says about the units of `node`; nothing, if they are good. `more` is added to firstboot's.
fn judged(cache: &Cache, made: &Made, node: &str, more: &str) -> Result<(usize, String)> {
    let filled = made.filled(made.node(node)?)?;
    let cell = Cell::new(cache)?;
    let mut names = Vec::new();
    let mut enable = Vec::new();
    for (path, (mode, contents)) in final_files(&filled) {
        let Some(name) = path.strip_prefix("/etc/systemd/system/") else { continue };
        let text = String::from_utf8(contents).context("units are text")?;
        for program in programs(&text) {
            if !cache.root().join(program.trim_start_matches('/')).exists() {
                cell.write(&program, 0o755, b"#!/bin/sh\n")?;
            }
        }
        let text = if name == "nodekiln-firstboot.service" { text + more } else { text };
        cell.write(&path, mode, text.as_bytes())?;
        names.push(name.split('/').next().unwrap_or(name).trim_end_matches(".d").to_owned());
    }
    for unit in &filled.tree.units {
        match unit.state {
            UnitState::Enabled => enable.push(unit.name.to_string()),
            UnitState::Masked | UnitState::Disabled | UnitState::Unchanged => {}
        }
    }
    // An image may lack what its profile asks for by name; what we write ourselves must be there.
    enable.retain(|name| names.contains(name) || cache.root().join("usr/lib/systemd/system").join(name).exists());
    names.sort();
    names.dedup();
    Ok((names.len(), verify(&cell, &enable, &names)?))
}

#[test]
fn systemd_takes_every_unit_without_a_word() -> Result<()> {
    let Some(cache) = require(&cell::NEEDS)? else { return Ok(()) };
    // Without ours the root has nothing to complain of.
    let bare = verify(&Cell::new(&cache)?, &[], &["containerd.service".to_owned()])?;
    ensure!(bare.is_empty(), "the root by itself: {bare}");
    let mut total = 0;
    for cluster in clusters::all()? {
        for node in &cluster.made.cluster.nodes {
            let (count, said) = judged(&cache, &cluster.made, node.name.as_str(), "")?;
            ensure!(count > 1, "{}: {} has {count} units", cluster.name, node.name);
            ensure!(said.is_empty(), "{}: {}: {said}", cluster.name, node.name);
            total += count;
        }
    }
    eprintln!("systemd-analyze verify: {total} units");
    Ok(())
}

#[test]
fn systemd_finds_what_is_wrong() -> Result<()> {
    let Some(cache) = require(&cell::NEEDS)? else { return Ok(()) };
    let clusters = clusters::all()?;
    let made = &clusters[0].made;
    let node = made.cluster.nodes[0].name.as_str();
    for (more, expected) in [
        ("\n[Unit]\nBogus=1\n", "Unknown key"),
        ("\n[Service]\nExecStartPre=/nowhere\n", "not executable"),
        ("\n[Unit]\nAfter=kubelet.service\nWants=kubelet.service\n", "ordering cycle"),
    ] {
        let (_, said) = judged(&cache, made, node, more)?;
        ensure!(said.contains(expected), "{more}: {said}");
    }
    Ok(())
}
