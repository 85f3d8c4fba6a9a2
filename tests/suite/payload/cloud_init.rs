//! cloud-init: its schema, and its own code for writing files.

use crate::{
    laid::{Place, assert_laid, expected},
    tree::{complete, complete_cloud_init, encoded, node},
};
use anyhow::{Context, Result};
use nix::unistd::Uid;
use nodekiln_payload::{Artifact, EncodeOptions, Gzip, NodeTree};
use nodekiln_tests::{
    cache::Cache,
    command::Cmd,
    tools::{Need, require},
};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

fn options() -> [EncodeOptions; 3] {
    Gzip::ALL.map(|gzip| EncodeOptions { gzip, ..Default::default() })
}

pub fn artifact<'a>(artifacts: &'a [Artifact], name: &str) -> Result<&'a [u8]> {
    let artifact = artifacts.iter().find(|artifact| artifact.name == name);
    Ok(artifact.with_context(|| format!("no {name}"))?.bytes.expose())
}

#[test]
fn user_data_follows_the_schema() -> Result<()> {
    let Some(cache) = require(&[Need::Program("cloud-init")])? else { return Ok(()) };
    let mut empty = node();
    empty.directories.clear();
    empty.files.clear();
    empty.links.clear();
    empty.units.clear();
    for tree in [empty, node(), complete(), complete_cloud_init()] {
        for options in options() {
            assert_schema(&cache, artifact(&encoded(&tree, "cloud-init", &options), "user-data")?)?;
        }
    }
    Ok(())
}

/// cloud-init's own schema has nothing to say against it.
pub fn assert_schema(cache: &Cache, user_data: &[u8]) -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("user-data");
    fs::write(&path, user_data)?;
    let said = Cmd::new([cache.program("cloud-init").as_os_str(), "schema".as_ref(), "--config-file".as_ref()])
        .args([&path])
        .ok()?;
    assert_eq!(said.trim(), format!("Valid cloud-config: {}", path.display()));
    Ok(())
}

/// cloud-init's Python packages.
fn packages(cache: &Cache) -> PathBuf {
    cache.current().join("root/usr/lib/python3/dist-packages")
}

/// Reads user data as cloud-init does, from the file's bytes to the merged configuration, and writes the files below
/// another root with the module's own function.
const DRIVER: &str = r#"
import json, os, sys
from cloudinit import helpers, user_data
from cloudinit.config import cc_write_files
from cloudinit.handlers import cloud_config
source, root, scratch = sys.argv[1:]
paths = helpers.Paths({"cloud_dir": scratch, "run_dir": scratch})
message = user_data.UserDataProcessor(paths).process(open(source, "rb").read())
parts = [part for part in message.walk() if part.get_content_maintype() != "multipart"]
assert [part.get_content_type() for part in parts] == ["text/cloud-config"], parts
handler = cloud_config.CloudConfigPartHandler(paths)
handler.handle_part(None, "__begin__", None, None, None, None)
handler.handle_part(None, "text/cloud-config", "user-data", parts[0].get_payload(decode=True).decode(), None, {})
config = handler.cloud_buf
files = [dict(file, path=root + file["path"]) for file in config["write_files"]]
cc_write_files.write_files("write_files", files, "root:root")
print(json.dumps({key: value for key, value in config.items() if key != "write_files"}))
"#;

/// Gives what cloud-init understood, `write_files` left out, after it has written the files below `root`.
pub fn written(cache: &Cache, tree: &NodeTree, options: &EncodeOptions, folder: &TempDir) -> Result<serde_json::Value> {
    let source = folder.path().join("user-data");
    fs::write(&source, artifact(&encoded(tree, "cloud-init", options), "user-data")?)?;
    let (root, scratch) = (folder.path().join("root"), folder.path().join("scratch"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&scratch)?;
    let command = Cmd::new(["/usr/bin/python3", "-c", DRIVER])
        .args([&source, &root, &scratch])
        .env("PYTHONPATH", packages(cache))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let rooted = Uid::effective().is_root();
    let said = if rooted { command.ok()? } else { command.behind(["unshare", "--map-root-user"]).ok()? };
    Ok(serde_json::from_str(&said)?)
}

#[test]
fn cloud_init_writes_what_is_planned() -> Result<()> {
    let needs = [Need::Cached("root/usr/lib/python3/dist-packages/cloudinit")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    let tree = complete_cloud_init();
    // Folders and links are not write_files' work.
    let mut want = expected(&tree);
    want.retain(|_, place| matches!(place, Place::File(..)));
    assert!(want.len() > 60);
    for options in options() {
        let folder = TempDir::new()?;
        let config = written(&cache, &tree, &options, &folder)?;
        assert_laid(&folder.path().join("root"), &want, Uid::effective().as_raw())?;
        // YAML 1.1 has not turned a text into something else on the way.
        assert_eq!(config["hostname"], "n1.example.com");
        assert_eq!(config["fqdn"], "n1.example.com");
        assert_eq!(config["ntp"]["servers"], serde_json::json!(["time.example.com", "on"]));
        assert_eq!(config["users"][1]["hashed_passwd"], "$6$salt$hash");
        assert_eq!(config["users"][0]["sudo"], "ALL=(ALL) NOPASSWD:ALL");
    }
    Ok(())
}

/// Host names that YAML 1.1 takes for other things.
#[test]
fn names_stay_text() -> Result<()> {
    let needs = [Need::Cached("root/usr/lib/python3/dist-packages/cloudinit")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    for name in ["on", "no", "null", "1", "1e3", "0x10", "2026-01-01", "1.5"] {
        let tree = NodeTree { node: Some(name.parse().unwrap()), ..node() };
        let folder = TempDir::new()?;
        let config = written(&cache, &tree, &EncodeOptions::default(), &folder)?;
        assert_eq!(config["hostname"], name);
        let artifacts = encoded(&tree, "cloud-init", &EncodeOptions::default());
        let program = "import sys, yaml; print(yaml.safe_load(sys.stdin)['local-hostname'] == sys.argv[1])";
        let same = Cmd::new(["/usr/bin/python3", "-c", program, name])
            .env("PYTHONPATH", packages(&cache))
            .input(artifact(&artifacts, "meta-data")?)
            .ok()?;
        assert_eq!(same.trim(), "True", "{name}");
    }
    Ok(())
}

/// The order in which things happen: a folder is closed, or a file there with its mode, before a key is written.
#[test]
fn no_secret_is_ever_in_the_open() -> Result<()> {
    let artifacts = encoded(&node(), "cloud-init", &EncodeOptions::default());
    let text = std::str::from_utf8(artifact(&artifacts, "user-data")?)?;
    let config: serde_json::Value = serde_json::from_str(text.strip_prefix("#cloud-config\n").context("header")?)?;
    let arguments: Vec<_> = config["bootcmd"][0].as_array().context("bootcmd")?[5..].iter().collect();
    let prepared = |kind: &str, mode: &str, path: &str| arguments.chunks(3).any(|triple| triple == [kind, mode, path]);
    // In a folder that only root may enter: the folder is enough.
    assert!(prepared("d", "0700", "/etc/kubernetes/pki") && !prepared("f", "0600", "/etc/kubernetes/pki/ca.key"));
    // In a folder that everybody may enter: the file is there before its contents.
    assert!(prepared("f", "0600", "/etc/kubernetes/kubelet.conf"));
    assert!(prepared("f", "0640", "/etc/nodekiln-test/group"));
    assert!(!prepared("f", "0444", "/etc/nodekiln-test/read-only"));
    Ok(())
}

/// What the renderers of cloud-init make of a static network; each distribution uses another one.
const RENDER: &str = r#"
import json, sys
from cloudinit.net import eni, netplan, network_state, networkd
state = lambda: network_state.parse_net_config_data(json.loads(text))
text = sys.stdin.read()
print(json.dumps([
    netplan.Renderer({})._render_content(state()),
    "".join(networkd.Renderer({})._render_content(state()).values()),
    eni.Renderer()._render_interfaces(state()),
]))
"#;

#[test]
fn every_renderer_makes_the_network() -> Result<()> {
    let needs = [Need::Cached("root/usr/lib/python3/dist-packages/cloudinit")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    let artifacts = encoded(&complete_cloud_init(), "cloud-init", &EncodeOptions::default());
    let said = Cmd::new(["/usr/bin/python3", "-c", RENDER])
        .env("PYTHONPATH", packages(&cache))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .input(artifact(&artifacts, "network-config")?)
        .ok()?;
    let [netplan, networkd, eni]: [String; 3] = serde_json::from_str(&said)?;
    for (text, lines) in [
        (&netplan, ["- 10.0.0.11/24", "- fd00::11/64", "gateway4: 10.0.0.1", "gateway6: fd00::1", "- 10.0.0.2"]),
        (
            &networkd,
            ["Address=10.0.0.11/24", "Address=fd00::11/64", "Gateway=10.0.0.1", "Gateway=fd00::1", "DNS=10.0.0.2"],
        ),
        (
            &eni,
            [
                "address 10.0.0.11/24",
                "address fd00::11/64",
                "gateway 10.0.0.1",
                "gateway fd00::1",
                "dns-nameservers 10.0.0.2",
            ],
        ),
    ] {
        for line in lines {
            assert!(text.lines().any(|found| found.trim() == line), "{line} in {text}");
        }
        // A route to ::/0 would be one to ::/64 here (canonical/cloud-init#4600).
        assert!(!text.contains("::/64") && !text.contains("Destination"), "{text}");
    }
    assert!(netplan.contains("macaddress: '52:54:00:20:00:11'"), "{netplan}");
    assert!(networkd.contains("MACAddress=52:54:00:20:00:11"), "{networkd}");
    Ok(())
}
