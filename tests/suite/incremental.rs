//! A build over an older output gives what a build into an empty folder gives, byte for byte, whatever was changed in
//! between: in cluster.yaml, or in the output itself.

use anyhow::{Result, ensure};
use nodekiln_tests::{
    command::{Cmd, Output},
    tools::nodekiln,
    tree::{Tree, tree},
};
use std::{fs, os::unix::fs::MetadataExt as _, os::unix::fs::PermissionsExt as _, path::Path};

const CLUSTER: &str = r#"apiVersion: nodekiln/v1alpha1
kind: Cluster
kubernetesVersion: v1.36.3
controlPlaneEndpoint: 172.16.0.9:6443
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}
os: {profile: flatcar}
delivery: {baseURL: "http://192.0.2.1:8080"}
nodes:
  - {name: cp1, role: control-plane, address: 172.16.0.1}
  - {name: cp2, role: control-plane, address: 172.16.0.2}
  - {name: cp3, role: control-plane, address: 172.16.0.3}
  - {name: w1, role: worker, address: 172.16.0.4}
  - {name: w2, role: worker, address: 172.16.0.5, os: {profile: cloud-init}}
  - {name: w3, role: worker, address: 172.16.0.6, os: {profile: fedora-coreos}}
"#;

/// What is changed from one build to the next: a text of [`CLUSTER`], and another in its place.
const EDITS: &[(&str, &str)] = &[
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.3\nclusterName: other"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.2"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.3\ncertificateValidityPeriod: 4000h"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.3\ndns: {disabled: true}"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.3\nkubelet: {maxPods: 50}"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.36.3\napiServer: {certSANs: [api.example]}"),
    ("172.16.0.9:6443", "172.16.0.9:7443"),
    ("10.244.0.0/16", "10.32.0.0/12"),
    ("10.96.0.0/12", "10.112.0.0/12"),
    ("192.0.2.1:8080", "192.0.2.2:8080"),
    ("delivery: {baseURL: \"http://192.0.2.1:8080\"}", "delivery: {}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, ignitionVersion: 3.4.0}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, updates: \"on\"}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, timeServers: [192.0.2.9]}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, users: [{name: ops, passwordHash: $6$a$b}]}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, users: [{name: ops, passwordHash: $6$a$c}]}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, files: [{path: /etc/a, mode: \"0600\", content: a}]}"),
    ("os: {profile: flatcar}", "os: {profile: flatcar, files: [{path: /etc/a, mode: \"0600\", content: b}]}"),
    (
        "os: {profile: flatcar}",
        "os: {profile: flatcar, units: [{name: a.service, content: \"[Service]\\nExecStart=/a\\n\"}]}",
    ),
    ("address: 172.16.0.4}", "address: 172.16.0.7}"),
    ("address: 172.16.0.4}", "address: 172.16.0.4, labels: {disk: ssd}}"),
    ("address: 172.16.0.4}", "address: 172.16.0.4, taints: [\"a=b:NoSchedule\"]}"),
    ("address: 172.16.0.4}", "address: 172.16.0.4, kernel: {swap: true}}"),
    ("  - {name: w1, role: worker, address: 172.16.0.4}\n", ""),
    ("name: w1,", "name: w9,"),
    ("  - {name: cp3, role: control-plane, address: 172.16.0.3}\n", ""),
];

fn build(folder: &Path, arguments: &[&str]) -> Result<Output> {
    Cmd::new(["env".as_ref(), "-C".as_ref(), folder.as_os_str()])
        .args([nodekiln()?])
        .args(["build"])
        .args(arguments)
        .output()
}

fn built(folder: &Path, cluster: &str, arguments: &[&str]) -> Result<Tree> {
    fs::write(folder.join("cluster.yaml"), cluster)?;
    let output = build(folder, arguments)?;
    ensure!(output.success(), "{}\n{cluster}", output.stderr);
    tree(&folder.join("out"))
}

/// Built into a folder where nothing is.
fn fresh(folder: &Path, cluster: &str, arguments: &[&str]) -> Result<Tree> {
    let place = tempfile::tempdir()?;
    fs::copy(folder.join("secrets.yaml"), place.path().join("secrets.yaml"))?;
    built(place.path(), cluster, arguments)
}

fn edited((from, to): (&str, &str)) -> Result<String> {
    ensure!(CLUSTER.contains(from), "no `{from}` in the cluster");
    Ok(CLUSTER.replacen(from, to, 1))
}

#[test]
fn every_edit_gives_what_a_fresh_build_gives() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let plain = built(folder, CLUSTER, &[])?;
    for edit in EDITS {
        let cluster = edited(*edit)?;
        let (again, alone) = (built(folder, &cluster, &[])?, fresh(folder, &cluster, &[])?);
        ensure!(again == alone, "{edit:?}: an older output shows in the new one");
        ensure!(again != plain, "{edit:?} changes nothing");
        // And back, over what the edit left.
        ensure!(built(folder, CLUSTER, &[])? == plain, "{edit:?}: it shows after it was taken back");
    }
    // Without and with tree.tar.
    let with = built(folder, CLUSTER, &["--tree"])?;
    ensure!(with == fresh(folder, CLUSTER, &["--tree"])? && with.contains_key("nodes/w1/tree.tar"));
    ensure!(built(folder, CLUSTER, &[])? == plain, "tree.tar stayed");
    // Other secrets of the same cluster, other keys.
    Ok(())
}

#[test]
fn unchanged_nodes_are_linked_and_changed_ones_are_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    built(folder, CLUSTER, &[])?;
    let inode = |node: &str| -> Result<u64> {
        let name = if node == "w2" { "user-data" } else { "config.ign" };
        Ok(fs::metadata(folder.join(format!("out/nodes/{node}/{name}")))?.ino())
    };
    // Held open, so that no new file can have the number of an old one.
    let _held: Vec<_> = ["w1", "w2", "w3"]
        .iter()
        .map(|node| fs::File::open(folder.join(format!("out/nodes/{node}/plan.json"))))
        .collect::<Result<_, _>>()?;
    let before = (inode("w1")?, inode("w2")?, inode("w3")?);
    let output = build(folder, &[])?;
    ensure!(output.success() && output.stderr.contains("(6 as they were)"), "{}", output.stderr);
    ensure!((inode("w1")?, inode("w2")?, inode("w3")?) == before, "an unchanged node was made again");
    built(folder, &edited(("address: 172.16.0.4}", "address: 172.16.0.4, kernel: {swap: true}}"))?, &[])?;
    ensure!((inode("w2")?, inode("w3")?) == (before.1, before.2), "an unchanged node was made again");
    Ok(())
}

/// Whatever stands in the old output, it costs time, not bytes.
#[test]
fn a_damaged_output_is_made_anew() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let plain = built(folder, CLUSTER, &[])?;
    let out = folder.join("out");
    let flip = |name: &str, at: f64| -> Result<()> {
        let mut bytes = fs::read(out.join(name))?;
        let index = ((bytes.len() - 1) as f64 * at) as usize;
        bytes[index] ^= 1;
        Ok(fs::write(out.join(name), bytes)?)
    };
    let replace = |name: &str, from: &str, to: &str| -> Result<()> {
        let text = fs::read_to_string(out.join(name))?;
        ensure!(text.contains(from), "no `{from}` in {name}");
        Ok(fs::write(out.join(name), text.replace(from, to))?)
    };
    type Damage<'a> = &'a dyn Fn() -> Result<()>;
    let damages: [(&str, Damage<'_>); 9] = [
        ("a flipped byte of a payload", &|| flip("nodes/w1/config.ign", 0.5)),
        ("a flipped byte of a plan", &|| flip("nodes/w2/plan.json", 0.9)),
        ("a payload that is gone", &|| Ok(fs::remove_file(out.join("nodes/w1/config.ign"))?)),
        ("a payload that others may read", &|| {
            Ok(fs::set_permissions(out.join("nodes/w1/config.ign"), fs::Permissions::from_mode(0o644))?)
        }),
        ("a link in its place", &|| {
            fs::rename(out.join("nodes/w1/config.ign"), folder.join("away"))?;
            Ok(std::os::unix::fs::symlink(folder.join("away"), out.join("nodes/w1/config.ign"))?)
        }),
        ("another role in the manifest", &|| replace("manifest.json", "\"worker\"", "\"etcd\"")),
        ("another time in the manifest", &|| replace("manifest.json", "\"bootBefore\": 1", "\"bootBefore\": 2")),
        ("no proof of placement", &|| Ok(fs::remove_file(out.join("placement.json"))?)),
        ("another proof of placement", &|| replace("placement.json", "\"kept\"", "\"until firstboot has finished\"")),
    ];
    for (what, damage) in damages {
        damage()?;
        ensure!(built(folder, CLUSTER, &[])? == plain, "{what} shows in the next output");
    }
    Ok(())
}

#[test]
fn single_nodes_are_remade() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    fs::write(folder.join("cluster.yaml"), CLUSTER)?;
    let refused = |arguments: &[&str], code: i32, words: &str| -> Result<()> {
        let output = build(folder, arguments)?;
        let is = output.status.and_then(|status| status.code());
        ensure!(is == Some(code) && output.stderr.contains(words), "{arguments:?}: {is:?} {}", output.stderr);
        Ok(())
    };
    refused(&["--node", "w1"], 1, "there is no older output")?;
    let plain = built(folder, CLUSTER, &[])?;
    refused(&["--node", "w7"], 1, "--node w7: no node has this name")?;

    // The edit reaches all nodes, but only one is made.
    let cluster = edited(("10.96.0.0/12", "10.112.0.0/12"))?;
    let one = built(folder, &cluster, &["--node", "w1"])?;
    let whole = fresh(folder, &cluster, &[])?;
    for (name, digest) in &one {
        if let Some(node) = name.strip_prefix("nodes/").filter(|name| name.contains('/')) {
            let expected = if node.starts_with("w1/") { &whole } else { &plain };
            ensure!(expected.get(name) == Some(digest), "{name} is not what --node w1 makes of it");
        }
    }
    // The others are made when all are.
    ensure!(built(folder, &cluster, &[])? == whole, "what --node kept is still there");

    // What is not there cannot be kept, nor what other secrets made.
    fs::remove_file(folder.join("out/nodes/w3/plan.json"))?;
    refused(&["--node", "w1"], 1, "`w3` has none that is whole")?;
    built(folder, &cluster, &[])?;
    let secrets = fs::read_to_string(folder.join("secrets.yaml"))?;
    fs::write(folder.join("secrets.yaml"), format!("{secrets}# a note\n"))?;
    built(folder, &cluster, &["--node", "w1"])?;
    Ok(())
}
