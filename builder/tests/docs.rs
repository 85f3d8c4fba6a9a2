//! docs/commands.md against the command itself: options, fields of JSON, examples.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{code, data, folder, nodekiln, words};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

const PAGE: &str = include_str!("../../docs/commands.md");

/// Text of each `## COMMAND`.
fn sections() -> BTreeMap<&'static str, &'static str> {
    PAGE.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// The names of long options in a page of help.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.lines().flat_map(str::split_whitespace).filter(|word| word.starts_with("--"));
    let names = words.map(|word| word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>());
    names.filter(|name| name.len() > 2).collect()
}

/// The commands in a page of help.
fn names(help: &str) -> Vec<String> {
    let list = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let heads = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = heads.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_is_on_the_page() {
    let folder = folder();
    let at = folder.path();
    let commands = names(&data(&nodekiln(at, &["--help"])));
    assert_eq!(commands.len(), 10, "{commands:?}");
    let sections = sections();
    for command in commands.iter().map(String::as_str) {
        let section = sections.get(command).unwrap_or_else(|| panic!("no section `{command}`"));
        let mut has = options(&data(&nodekiln(at, &[command, "--help"])));
        if command == "secrets" {
            for name in names(&data(&nodekiln(at, &[command, "--help"]))) {
                assert!(section.contains(&format!("`{name}")), "`secrets {name}` is not told of");
                has.extend(options(&data(&nodekiln(at, &[command, &name, "--help"]))));
            }
        }
        for option in &has {
            let common = ["--help", "--version", "--quiet"].contains(&option.as_str());
            assert!(common || section.contains(option), "`{command}` does not tell of {option}");
        }
        let told = options(section);
        let gone: Vec<_> = told.difference(&has).collect();
        assert!(gone.is_empty(), "`{command}` tells of {gone:?}");
    }
    assert!(sections["For scripts"].contains("`--quiet`"));
}

/// All names of fields, however deep.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                found.insert(name.clone());
                fields(value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// What each `--json` prints is JSON, and each of its fields is on the page; where the work could not be done it prints none.
#[test]
fn every_field_of_json_is_on_the_page() {
    let folder = folder();
    let at = folder.path();
    let cluster = |more: &str| {
        format!(
            "{}  - {{name: v, role: worker, address: 192.0.2.3, mac: '52:54:00:00:00:01', os: {{profile: cloud-init, \
             timeServers: [a.example], users: [{{name: ops, sshAuthorizedKeys: ['ssh-ed25519 \
             AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F me'], groups: [adm]}}], snippets: \
             [s.yaml]}}, network: {{addresses: [192.0.2.3/24], gateway: 192.0.2.254, nameservers: [192.0.2.254]}}}}\n\
             networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}}\naddons: {{cni: bridge}}\n{more}",
            common::CLUSTER
        )
    };
    fs::write(at.join("s.yaml"), "#cloud-config\npackages: [tmux]\n").unwrap();
    fs::write(at.join("cluster.yaml"), cluster("")).unwrap();
    fs::write(at.join("other.yaml"), cluster("controllerManager: {extraArgs: [{name: v, value: '4'}]}\n")).unwrap();
    let base = common::CLUSTER
        .replace("{profile: flatcar}", "{profile: flatcar}\ndelivery: {mode: pointer, baseURL: 'https://a.example'}");
    fs::write(at.join("pointer.yaml"), base).unwrap();
    fs::write(at.join("wrong.yaml"), cluster("bogus: 1\n").replace("10.244.0.0/16", "10.96.0.0/16")).unwrap();
    for (file, out) in [("cluster.yaml", "out"), ("other.yaml", "other"), ("pointer.yaml", "pointer")] {
        let arguments = ["build", "--firstboot", "firstboot", "-f", file, "-o", out, "--tree"];
        let output = nodekiln(at, &[&arguments[..], &["--secrets", "secrets.yaml"]].concat());
        assert_eq!(code(&output), 0, "{}", words(&output));
    }
    fs::copy(at.join("other/nodes/w/plan.json"), at.join("plan.json")).unwrap();
    let sections = sections();
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (arguments, due) in [
        (&["validate", "--json"][..], 0),
        (&["validate", "--json", "-f", "wrong.yaml"], 1),
        (&["build", "--json", "--firstboot", "firstboot", "--tree"], 0),
        (&["inspect", "--json", "out"], 0),
        (&["inspect", "--json", "pointer"], 0),
        (&["inspect", "--json", "out/nodes/cp/tree.tar"], 0),
        (&["inspect", "--json", "out/nodes/cp/api.ndjson"], 0),
        (&["inspect", "--json", "out/admin.conf"], 0),
        (&["inspect", "--json", "out/ca.crt"], 0),
        (&["inspect", "--json", "plan.json"], 0),
        (&["verify", "--json", "out"], 0),
        (&["verify", "--json", "out/nodes"], 1),
        (&["diff", "--json", "out", "other"], 0),
        (&["diff", "--json", "out", "pointer"], 0),
        (&["diff", "--json", "--exit-code", "out", "other.yaml", "--firstboot", "firstboot"], 1),
    ] {
        let output = nodekiln(at, arguments);
        assert_eq!(code(&output), due, "{arguments:?}: {}", words(&output));
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", data(&output)));
        fields(&value, found.entry(arguments[0]).or_default());
    }
    for (command, names) in &found {
        let missing: Vec<_> = names
            .iter()
            .filter(|name| {
                !sections[command].contains(&format!("`{name}`")) && !sections[command].contains(&format!("\"{name}\""))
            })
            .collect();
        assert!(missing.is_empty(), "`{command}` does not tell of {missing:?}");
    }
    // What this looked at is what there is: these are the rarest.
    for (command, rare) in [
        ("validate", &["hint", "second", "label"][..]),
        ("inspect", &["pointer", "network", "snippets", "etcdMembers", "staged", "generation", "fetches", "sshKeys"]),
        ("verify", &["findings", "bootBefore"]),
        ("diff", &["staticPod", "removed", "podCidrsMoved", "object"]),
    ] {
        let missing: Vec<_> = rare.iter().filter(|name| !found[command].contains(**name)).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} was not seen");
    }
    // No JSON where the work could not be done.
    for (arguments, due) in [
        (&["validate", "--json", "-f", "missing"][..], 3),
        (&["build", "--json", "-f", "wrong.yaml"], 1),
        (&["build", "--json", "--firstboot", "missing"], 3),
        (&["inspect", "--json", "cluster.yaml"], 1),
        (&["inspect", "--json", "missing"], 3),
        (&["verify", "--json", "missing"], 3),
        (&["diff", "--json", "out/nodes", "other"], 1),
        (&["diff", "--json", "out", "wrong.yaml"], 1),
        (&["diff", "--json", "out", "missing"], 3),
    ] {
        let output = nodekiln(at, arguments);
        assert_eq!((code(&output), data(&output).as_str()), (due, ""), "{arguments:?}: {}", words(&output));
        assert!(!words(&output).is_empty(), "{arguments:?}");
    }
}

/// A nodekiln that holds a program, as release builds do.
fn with_firstboot(at: &Path) {
    let own = assert_cmd::cargo::cargo_bin!("nodekiln");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" build \"*|*\" validate \"*|*\" diff \"*) set -- \"$@\" --firstboot '{}';; esac\n\
         exec '{}' \"$@\"\n",
        at.join("firstboot").display(),
        own.display()
    );
    fs::create_dir(at.join("bin")).unwrap();
    fs::write(at.join("bin/nodekiln"), script).unwrap();
    fs::set_permissions(at.join("bin/nodekiln"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every line that begins with `$` in a block of examples, in order, in a folder that begins empty.
#[test]
fn the_examples_run() {
    let folder = folder();
    with_firstboot(folder.path());
    let at = folder.path().join("work");
    fs::create_dir(&at).unwrap();
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut count = 0;
    for block in PAGE.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let due = line.split_once("# exit code ").map_or(0, |(_, code)| code.parse().unwrap());
            let output = Command::new("sh").current_dir(&at).env("PATH", &path).args(["-c", line]).output().unwrap();
            assert_eq!(output.status.code(), Some(due), "{line}: {}", words(&output));
            count += 1;
        }
    }
    assert!(count > 20, "only {count} examples");
}
