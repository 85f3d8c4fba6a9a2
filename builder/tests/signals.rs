//! Ctrl-C and its kin, whenever they come: the older output stays whole, nothing is left beside it, and the process ends by
//! the signal, so that a shell says 130.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLUSTER, code, folder, nodekiln, words};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A cluster that takes a while.
fn many(label: &str) -> String {
    let mut text = CLUSTER.to_owned();
    for index in 1..60 {
        text.push_str(&format!(
            "  - {{name: n{index}, role: worker, address: 192.0.3.{index}, labels: {{a: {label}}}}}\n"
        ));
    }
    text
}

fn start(at: &Path) -> Child {
    let program = fs::canonicalize(assert_cmd::cargo::cargo_bin!("nodekiln")).unwrap();
    // Tests that a shell runs in the background have SIGINT ignored, and what is ignored stays so.
    let child = Command::new("env")
        .current_dir(at)
        .arg("--default-signal=INT,TERM,HUP")
        .arg(&program)
        .args(["build", "--firstboot", "firstboot"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Until env has made way it may ignore them too.
    let (running, started) = (format!("/proc/{}/exe", child.id()), Instant::now());
    while fs::read_link(&running).unwrap() != program {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not start");
        thread::yield_now();
    }
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_stopped_build_leaves_the_older_output_and_nothing_else() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("cluster.yaml"), many("a")).unwrap();
    assert_eq!(code(&nodekiln(at, &["build", "--firstboot", "firstboot"])), 0);
    let manifest = fs::read(at.join("out/manifest.json")).unwrap();
    fs::write(at.join("cluster.yaml"), many("b")).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // At once, and while nodes are made.
        for made in [0, 1, 5] {
            let mut child = start(at);
            let nodes = at.join(".out.nodekiln-new/nodes");
            let started = Instant::now();
            while fs::read_dir(&nodes).map_or(0, Iterator::count) < made {
                assert!(started.elapsed() < Duration::from_secs(60), "no node is made");
                thread::yield_now();
            }
            send(&child, signal);
            let status = child.wait().unwrap();
            let lines: Vec<String> = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
            assert_eq!(status.signal(), Some(signal as i32), "{signal} after {made} nodes: {lines:?}");
            assert!(made == 0 || lines.iter().any(|line| line == "stopped: out is as it was"), "{lines:?}");
            assert_eq!(names(at), ["cluster.yaml", "firstboot", "out", "secrets.yaml"], "{signal} after {made} nodes");
            assert_eq!(fs::read(at.join("out/manifest.json")).unwrap(), manifest, "{signal} after {made} nodes");
            assert_eq!(code(&nodekiln(at, &["verify"])), 0, "{signal} after {made} nodes");
        }
    }
    assert_eq!(code(&nodekiln(at, &["build", "--firstboot", "firstboot"])), 0);
    assert_eq!(code(&nodekiln(at, &["verify"])), 0);
}

/// timeout(1) sends its signal to the command and then to the command's group: that is one signal, not a second one.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("cluster.yaml"), many("a")).unwrap();
    for twice in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = start(at);
        let (nodes, started) = (at.join(".out.nodekiln-new/nodes"), Instant::now());
        while fs::read_dir(&nodes).map_or(0, Iterator::count) < 1 {
            assert!(started.elapsed() < Duration::from_secs(60), "no node is made");
            thread::yield_now();
        }
        send(&child, Signal::SIGTERM);
        // Those that come before the first was taken are one to the kernel already.
        for _ in 0..20 {
            thread::sleep(Duration::from_micros(100));
            send(&child, twice);
        }
        let status = child.wait().unwrap();
        let lines: Vec<String> = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(lines.iter().any(|line| line == "stopped: out is as it was"), "{twice}: {lines:?}");
        assert!(status.signal().is_some(), "{twice}: {status}");
        assert_eq!(names(at), ["cluster.yaml", "firstboot"], "{twice}");
    }
}

/// Who waits for another build is not made to wait for the signal too.
#[test]
fn a_waiting_build_ends_at_once() {
    let folder = folder();
    let at = folder.path();
    let lock = Flock::lock(File::open(at).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut child = start(at);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for another build in .\n");
    send(&child, Signal::SIGINT);
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGINT as i32));
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(lock);
    assert_eq!(names(at), ["cluster.yaml", "firstboot"]);
}

/// What nohup ignores stays ignored.
#[test]
fn an_ignored_signal_is_ignored() {
    let folder = folder();
    let at = folder.path();
    let program = assert_cmd::cargo::cargo_bin!("nodekiln");
    let lock = Flock::lock(File::open(at).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut child = Command::new("sh")
        .current_dir(at)
        .args(["-c", "trap '' HUP; exec \"$0\" build --firstboot firstboot"])
        .arg(program)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for another build in .\n");
    send(&child, Signal::SIGHUP);
    drop(lock);
    let rest: Vec<String> = said.lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    let output = nodekiln(at, &["verify"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
}
