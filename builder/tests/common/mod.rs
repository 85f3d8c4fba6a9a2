//! The command, run as users run it: for tests.
// Each test file takes what it needs.
#![allow(dead_code)]

use assert_cmd::cargo::cargo_bin_cmd;
use std::{fs, path::Path, process::Output};

/// Runs nodekiln in `folder`.
pub fn nodekiln(folder: &Path, arguments: &[&str]) -> Output {
    cargo_bin_cmd!("nodekiln").current_dir(folder).args(arguments).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn data(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The smallest program that passes for a nodekiln-firstboot of amd64: an ELF header and the plan's marker.
pub fn firstboot() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 62;
    bytes[32] = 64;
    bytes[54] = 56;
    bytes.extend(nodekiln_plan::PLAN_MARKER.as_bytes());
    bytes
}

pub const CLUSTER: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
    os: {profile: flatcar}\nnodes:\n  - {name: cp, role: control-plane, address: 192.0.2.1}\n\
    \x20 - {name: w, role: worker, address: 192.0.2.2}\n";

/// A folder with a cluster file and a program.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cluster.yaml"), CLUSTER).unwrap();
    fs::write(folder.path().join("firstboot"), firstboot()).unwrap();
    folder
}
