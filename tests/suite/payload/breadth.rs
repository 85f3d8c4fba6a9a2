//! The payloads of every node of every example and case, in every version of their format: to the validators, and laid
//! down twice by the programs that do it on a machine.

use crate::{
    cloud_init::{artifact, assert_schema, written},
    ignition::{DEBIAN, NEWEST, apply, assert_silent, save},
    laid::{Place, assert_laid, expected},
    tree::encoded,
};
use anyhow::{Context as _, Result};
use nix::unistd::Uid;
use nodekiln_payload::{EncodeOptions, Format, IgnitionVersion, NodeTree, Profile};
use nodekiln_tests::{
    clusters,
    tools::{Need, require},
};
use std::fs;
use tempfile::TempDir;

/// A node's tree, under the profile that it was planned for.
struct Planned {
    what: String,
    tree: NodeTree,
    profile: &'static Profile,
}

fn planned(format: Format) -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    for cluster in clusters::all()? {
        for node in cluster.made.cluster.nodes.iter().filter(|node| node.os.profile.format == format) {
            let what = format!("{}: {}", cluster.name, node.name);
            let tree = cluster.made.filled(node)?.tree;
            all.push(Planned { what, tree, profile: node.os.profile });
        }
    }
    assert!(all.len() > 1, "{format:?}: too few nodes");
    Ok(all)
}

/// Without what an applier does to the machine it runs on, or asks of servers that no test has.
fn applicable(tree: &NodeTree) -> NodeTree {
    NodeTree { accounts: Vec::new(), fetches: Vec::new(), fetch_ca: None, ..tree.clone() }
}

#[test]
fn every_config_is_valid_in_every_version() -> Result<()> {
    let needs: Vec<_> = [NEWEST, DEBIAN].concat().into_iter().map(Need::Program).collect();
    let Some(cache) = require(&needs)? else { return Ok(()) };
    for Planned { what, tree, profile } in planned(Format::Ignition)? {
        for ignition_version in IgnitionVersion::ALL {
            let options = EncodeOptions { ignition_version, ..EncodeOptions::default() };
            let artifacts = encoded(&tree, &profile.name, &options);
            assert_silent(&cache, NEWEST[0], &artifacts[0], &what)?;
            if ignition_version == IgnitionVersion::V3_3 {
                assert_silent(&cache, DEBIAN[0], &artifacts[0], &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_config_is_laid_down_twice_as_planned() -> Result<()> {
    let Some(cache) = require(&NEWEST.map(Need::Program))? else { return Ok(()) };
    for Planned { what, tree, profile } in planned(Format::Ignition)? {
        let tree = applicable(&tree);
        let want = expected(&tree);
        let folder = TempDir::new()?;
        let config = save(&folder, &encoded(&tree, &profile.name, &EncodeOptions::default())[0])?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        for run in ["first", "second"] {
            let output = apply(&cache, NEWEST[1], &config, &root)?;
            assert!(output.success(), "{what}, {run} run: {}", output.stderr);
            assert_laid(&root, &want, Uid::effective().as_raw()).with_context(|| format!("{what}, {run} run"))?;
        }
    }
    Ok(())
}

#[test]
fn every_user_data_follows_the_schema_and_is_written_twice_as_planned() -> Result<()> {
    let needs = [Need::Program("cloud-init"), Need::Cached("root/usr/lib/python3/dist-packages/cloudinit")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    for Planned { what, tree, profile } in planned(Format::CloudInit)? {
        let options = EncodeOptions::default();
        assert_schema(&cache, artifact(&encoded(&tree, &profile.name, &options), "user-data")?)
            .with_context(|| what.clone())?;
        // Folders and links are not write_files' work.
        let mut want = expected(&tree);
        want.retain(|_, place| matches!(place, Place::File(..)));
        let folder = TempDir::new()?;
        for _ in 0..2 {
            let config = written(&cache, &tree, &options, &folder).with_context(|| what.clone())?;
            assert_laid(&folder.path().join("root"), &want, Uid::effective().as_raw())?;
            assert_eq!(config["hostname"].as_str(), tree.node.as_ref().map(|node| node.as_str()), "{what}");
        }
    }
    Ok(())
}
