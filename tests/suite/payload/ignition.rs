//! Ignition: its validator and its files stage, of the newest release and of Debian 12.

use crate::{
    laid::{Place, assert_laid, expected},
    tree::{complete, encoded, node},
};
use anyhow::Result;
use nix::unistd::Uid;
use nodekiln_payload::{Artifact, EncodeOptions, Gzip, IgnitionVersion, Pointer, Profile};
use nodekiln_tests::{
    cache::Cache,
    command::{Cmd, Output},
    tools::{Need, require},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

pub const NEWEST: [&str; 2] = ["ignition-validate", "ignition-apply"];
pub const DEBIAN: [&str; 2] = ["ignition-validate-2.14", "ignition-apply-2.14"];

fn programs(names: [&'static str; 2]) -> Result<Option<Cache>> {
    require(&names.map(Need::Program))
}

pub fn save(folder: &TempDir, artifact: &Artifact) -> Result<PathBuf> {
    let path = folder.path().join(artifact.name);
    fs::write(&path, artifact.bytes.expose())?;
    Ok(path)
}

fn validate(cache: &Cache, program: &str, artifact: &Artifact) -> Result<Output> {
    let folder = TempDir::new()?;
    Cmd::new([cache.program(program), save(&folder, artifact)?]).output()
}

/// Accepted without a word.
pub fn assert_silent(cache: &Cache, program: &str, artifact: &Artifact, what: &str) -> Result<()> {
    let output = validate(cache, program, artifact)?;
    assert!(output.success(), "{what}: {}{}", output.stdout, output.stderr);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{what}");
    Ok(())
}

pub fn apply(cache: &Cache, program: &str, config: &Path, root: &Path) -> Result<Output> {
    let command = Cmd::new([
        cache.program(program).as_os_str(),
        "--root".as_ref(),
        root.as_os_str(),
        "--offline".as_ref(),
        "--ignore-unsupported".as_ref(),
        config.as_os_str(),
    ]);
    // It refuses to run where it could hit a real system.
    let command = command.env("container", "test");
    // Without root's rights, root in a namespace of one's own: owners are set all the same.
    if Uid::effective().is_root() { command.output() } else { command.behind(["unshare", "--map-root-user"]).output() }
}

/// With every option.
fn options(versions: &[IgnitionVersion]) -> impl Iterator<Item = EncodeOptions> {
    versions.iter().flat_map(|&ignition_version| Gzip::ALL.map(|gzip| EncodeOptions { ignition_version, gzip }))
}

#[test]
fn every_version_is_valid_without_a_warning() -> Result<()> {
    let Some(cache) = programs(NEWEST)? else { return Ok(()) };
    for options in options(&IgnitionVersion::ALL) {
        for profile in ["flatcar", "fedora-coreos"] {
            let artifacts = encoded(&complete(), profile, &options);
            assert_silent(&cache, NEWEST[0], &artifacts[0], &format!("{profile} {options:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn debians_ignition_takes_the_default_version() -> Result<()> {
    let Some(cache) = programs(DEBIAN)? else { return Ok(()) };
    let artifacts = encoded(&complete(), "flatcar", &EncodeOptions::default());
    assert_silent(&cache, DEBIAN[0], &artifacts[0], "3.3.0")?;
    // And the test can fail: this release ends at 3.3.0.
    let newer = EncodeOptions { ignition_version: IgnitionVersion::V3_4, ..Default::default() };
    let output = validate(&cache, DEBIAN[0], &encoded(&complete(), "flatcar", &newer)[0])?;
    assert!(!output.success() && output.stderr.contains("unsupported config version"), "{}", output.stderr);
    Ok(())
}

#[test]
fn pointers_are_valid() -> Result<()> {
    let Some(cache) = programs(NEWEST)? else { return Ok(()) };
    let ca = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".to_vec();
    for options in options(&IgnitionVersion::ALL) {
        let artifacts = encoded(&node(), "flatcar", &options);
        for ca in [None, Some(ca.clone())] {
            let pointer = Pointer::to(&artifacts[0], "https://10.0.0.1:8080/a/config.ign".into(), ca);
            assert_silent(&cache, NEWEST[0], &pointer.encode(&options).unwrap(), "pointer")?;
        }
    }
    Ok(())
}

/// What our rules for units let pass, both releases take; what they refuse of Ignition's own, both refuse.
#[test]
fn rules_for_units_are_ignitions() -> Result<()> {
    let Some(cache) = require(&[NEWEST, DEBIAN].concat().into_iter().map(Need::Program).collect::<Vec<_>>())? else {
        return Ok(());
    };
    let line = |length: usize| format!("[Service]\nExecStart=/a {}\n", "x".repeat(length - 13));
    for (body, sound) in [
        (line(2047), true),
        (line(2048), false),
        ("[Service]\nExecStart=/a \\\n  --b \\\n  --c\n".to_owned(), true),
        ("[Service]\nExecStart=/a \\\n# note\n  --b\n".to_owned(), false),
        ("[Service]\nExecStart\n".to_owned(), false),
        ("[Service\nExecStart=/a\n".to_owned(), false),
        ("[Service] # note\nExecStart=/a\n".to_owned(), false),
        ("[a]b]\nExecStart=/a\n".to_owned(), false),
    ] {
        let mut tree = node();
        tree.units.retain(|unit| unit.name.as_str() == "kubelet.service");
        tree.units[0].contents = Some(body.clone());
        let faults = nodekiln_payload::validate(&tree, Profile::find("flatcar").unwrap());
        assert_eq!(faults.is_empty(), sound, "{body} {faults:?}");
        let unit = serde_json::json!({"name": "kubelet.service", "contents": body});
        let config = serde_json::json!({"ignition": {"version": "3.3.0"}, "systemd": {"units": [unit]}});
        for program in [NEWEST[0], DEBIAN[0]] {
            let verdict =
                Cmd::new([cache.program(program).as_os_str(), "-".as_ref()]).input(config.to_string()).output()?;
            assert_eq!(verdict.success(), sound, "{program}: {body} {}{}", verdict.stdout, verdict.stderr);
        }
    }
    Ok(())
}

/// Twice, over a root that has some of the files already: the tree is as planned both times.
fn applies(names: [&'static str; 2], versions: &[IgnitionVersion]) -> Result<()> {
    let Some(cache) = programs(names)? else { return Ok(()) };
    let tree = node();
    let mut want = expected(&tree);
    want.insert("/etc/hostname".into(), Place::File(0o644, b"n1\n".to_vec()));
    want.insert(
        "/etc/systemd/system-preset/10-nodekiln.preset".into(),
        Place::File(0o644, b"disable nodekiln-off.service\n".to_vec()),
    );
    for options in options(versions) {
        let folder = TempDir::new()?;
        let config = save(&folder, &encoded(&tree, "flatcar", &options)[0])?;
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("var/lib/etcd/member"))?;
        fs::write(root.join("var/lib/etcd/member/data"), "kept")?;
        fs::create_dir_all(root.join("etc/kubernetes"))?;
        fs::write(root.join("etc/hostname"), "localhost\n")?;
        fs::write(root.join("etc/kubernetes/kubelet.conf"), "the image's own")?;
        fs::set_permissions(root.join("etc/kubernetes/kubelet.conf"), fs::Permissions::from_mode(0o666))?;
        for run in ["first", "second"] {
            let output = apply(&cache, names[1], &config, &root)?;
            assert!(output.success(), "{run} run, {options:?}: {}", output.stderr);
            assert_laid(&root, &want, Uid::effective().as_raw())?;
            // Ignition appends at every run; the newest writes `disable` only for what the image enables.
            let preset = fs::read_to_string(root.join("etc/systemd/system-preset/20-ignition.preset"))?;
            for unit in ["containerd.service", "nodekiln-firstboot.service"] {
                assert!(preset.lines().any(|line| line == format!("enable {unit}")), "{preset}");
            }
            assert!(!preset.contains("enable nodekiln-off") && !preset.contains("kubelet"), "{preset}");
            // Known hazard: `overwrite` on the folder would take etcd's database away.
            assert_eq!(fs::read_to_string(root.join("var/lib/etcd/member/data"))?, "kept", "{run} run");
        }
    }
    Ok(())
}

#[test]
fn the_newest_ignition_lays_down_what_is_planned() -> Result<()> {
    applies(NEWEST, &IgnitionVersion::ALL)
}

#[test]
fn debians_ignition_lays_down_what_is_planned() -> Result<()> {
    applies(DEBIAN, &[IgnitionVersion::V3_3])
}

/// Known hazards of the format, looked for in the JSON itself: neither validator finds all of them.
#[test]
fn hazards_of_the_format() {
    for profile in Profile::all().iter().filter(|profile| profile.name != "cloud-init") {
        let artifacts = encoded(&complete(), &profile.name, &EncodeOptions::default());
        let text = std::str::from_utf8(artifacts[0].bytes.expose()).unwrap();
        let config: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(!has_null(&config), "an unset field is written out");
        assert!(config.get("kernelArguments").is_none(), "fatal on diskless boots");
        let list = |name: &str| config["storage"][name].as_array().unwrap().clone();
        let mode = |entry: &serde_json::Value| entry["mode"].as_u64().unwrap();
        let find = |name: &str, path: &str| list(name).into_iter().find(|entry| entry["path"] == path).unwrap();
        // Decimal: 0600 is 384, and a decimal 600 would be octal 1130.
        assert_eq!(mode(&find("files", "/etc/kubernetes/pki/ca.key")), 384);
        assert_eq!(mode(&find("files", "/etc/kubernetes/pki/ca.crt")), 420);
        assert_eq!(mode(&find("directories", "/etc/kubernetes/pki")), 448);
        for directory in list("directories") {
            assert!(directory.get("overwrite").is_none(), "{directory}: overwriting removes what is in it");
        }
        for entry in list("files").into_iter().chain(list("links")) {
            assert_eq!(entry["overwrite"], true, "{entry}: an image that has it would not boot");
            assert_eq!((&entry["user"]["id"], &entry["group"]["id"]), (&0.into(), &0.into()), "{entry}");
        }
    }
}

fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(list) => list.iter().any(has_null),
        serde_json::Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}
