//! What the program prints arrives, or it says so.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

fn version(stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodekiln-firstboot"));
    let Output { status, stderr, .. } = command.arg("--version").stdout(stdout).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_full_disk_is_told() {
    let (code, said) = version(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("writing to stdout: No space left on device"), "{said}");
}

#[test]
fn a_reader_may_go() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(version(writer), (Some(0), String::new()));
}
