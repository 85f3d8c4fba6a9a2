//! The user's snippets: what the checkers say of a payload with them, and what Ignition makes of it.

use crate::{
    cloud_init::{artifact, assert_schema, written},
    ignition::{DEBIAN, NEWEST, apply, assert_silent, save},
    tree::{complete, complete_cloud_init, encoded},
};
use anyhow::Result;
use nodekiln_payload::{Artifact, EncodeOptions, Format, IgnitionVersion, NodeTree, Snippet};
use nodekiln_plan::Secret;
use nodekiln_tests::tools::{Need, require};
use std::fs;
use tempfile::TempDir;

const DISK: &str = include_str!("../../cases/snippets/disk.ign");

const LATER: &str = r#"{
  "ignition": {"version": "3.2.0"},
  "storage": {"files": [
    {"path": "/etc/both", "contents": {"source": "data:,later"}},
    {"path": "/etc/theirs", "mode": 384, "contents": {"source": "data:,theirs"}}
  ]}
}"#;

const EARLIER: &str = r#"{
  "ignition": {"version": "3.0.0"},
  "storage": {"files": [{"path": "/etc/both", "mode": 416, "contents": {"source": "data:,earlier"}}]}
}"#;

fn snippet(text: &str, format: Format) -> Snippet {
    Snippet::parse(text.as_bytes(), format, IgnitionVersion::V3_3).unwrap()
}

fn with(texts: &[&str]) -> NodeTree {
    NodeTree { snippets: texts.iter().map(|text| snippet(text, Format::Ignition)).collect(), ..complete() }
}

/// The payload, and the snippet itself: a validator does not look into what is merged.
#[test]
fn ignition_takes_partitions_luks_and_kernel_arguments() -> Result<()> {
    for programs in [NEWEST, DEBIAN] {
        let Some(cache) = require(&programs.map(Need::Program))? else { return Ok(()) };
        let artifacts = encoded(&with(&[DISK, EARLIER, LATER]), "flatcar", &EncodeOptions::default());
        assert_silent(&cache, programs[0], &artifacts[0], "the payload")?;
        let alone = Artifact { name: "config.ign", bytes: Secret::from(DISK.to_owned()) };
        assert_silent(&cache, programs[0], &alone, "the snippet")?;
    }
    Ok(())
}

/// Ignition's own merge: ours as without snippets, theirs beside it, the later over the earlier.
#[test]
fn ignition_merges_them() -> Result<()> {
    for programs in [NEWEST, DEBIAN] {
        let Some(cache) = require(&programs.map(Need::Program))? else { return Ok(()) };
        // What is fetched is another test's affair.
        let tree = NodeTree { accounts: vec![], fetches: vec![], fetch_ca: None, ..with(&[DISK, EARLIER, LATER]) };
        let folder = TempDir::new()?;
        let config = save(&folder, &encoded(&tree, "flatcar", &EncodeOptions::default())[0])?;
        let root = folder.path().join("root");
        fs::create_dir_all(&root)?;
        let output = apply(&cache, programs[1], &config, &root)?;
        assert!(output.success(), "{}: {}", programs[1], output.stderr);
        assert_eq!(fs::read_to_string(root.join("etc/both"))?, "later");
        assert_eq!(fs::read_to_string(root.join("etc/theirs"))?, "theirs");
        let mount = fs::read_to_string(root.join("etc/systemd/system/var-lib-etcd.mount"))?;
        assert!(mount.contains("What=/dev/mapper/etcd"), "{mount}");
        for file in &tree.files {
            let laid = fs::read(root.join(file.path.as_str().trim_start_matches('/')))?;
            assert!(laid == *file.contents.expose(), "{}", file.path);
        }
    }
    Ok(())
}

#[test]
fn cloud_init_takes_them() -> Result<()> {
    let needs = [Need::Program("cloud-init"), Need::Cached("root/usr/lib/python3/dist-packages/cloudinit")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    let texts = [include_str!("../../cases/snippets/disk.yaml"), include_str!("../../cases/snippets/packages.yaml")];
    let snippets: Vec<_> = texts.into_iter().map(|text| snippet(text, Format::CloudInit)).collect();
    let tree = NodeTree { snippets: Snippet::merged(&snippets).into_iter().collect(), ..complete_cloud_init() };
    let options = EncodeOptions::default();
    assert_schema(&cache, artifact(&encoded(&tree, "cloud-init", &options), "user-data")?)?;
    let folder = TempDir::new()?;
    let config = written(&cache, &tree, &options, &folder)?;
    assert_eq!(config["packages"], serde_json::json!(["nfs-common", "jq"]));
    assert_eq!(config["runcmd"][0], serde_json::json!(["modprobe", "nfs"]));
    assert_eq!(config["runcmd"].as_array().map(Vec::len), Some(2));
    assert_eq!(config["mounts"][0][1], "/data");
    assert_eq!(config["users"][0]["name"], "audit");
    assert_eq!(fs::read_to_string(folder.path().join("root/etc/nfsmount.conf"))?, "[ NFSMount_Global_Options ]\n");
    Ok(())
}
