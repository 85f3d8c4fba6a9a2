//! What the program prints arrives, or it says so.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

fn said(arguments: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodekiln-firstboot"));
    let Output { status, stderr, .. } = command.args(arguments).stdout(stdout).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_full_disk_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let status = ["status", "--root", empty.path().to_str().unwrap()];
    for arguments in [&["--version"][..], &["--help"], &status] {
        let (code, said) = said(arguments, File::options().write(true).open("/dev/full").unwrap());
        // Not 1: no stage failed, and nothing is tried again.
        assert_eq!(code, Some(3), "{arguments:?}: {said}");
        assert!(said.contains("writing to stdout: No space left on device"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_may_go() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(said(&["--version"], writer), (Some(0), String::new()));
}
