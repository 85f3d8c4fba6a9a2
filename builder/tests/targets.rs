//! `build -o TARGET` for every odd target there is: what is there stays, and what is wrong is said by name.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{code, folder, nodekiln, words};
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

fn build(at: &Path, target: &str) -> Output {
    nodekiln(at, &["build", "--firstboot", "firstboot", "-o", target])
}

/// Contents by path, of files; links by their target.
fn state(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.as_os_str().as_bytes().to_vec();
        if path.is_symlink() {
            found.insert(name, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec());
        } else if path.is_dir() {
            found.insert(name, Vec::new());
            found.extend(state(&path));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// Refused with this code and these words, and nothing has changed.
fn refused(at: &Path, target: &str, due: i32, says: &str) {
    let before = state(at);
    let output = build(at, target);
    assert_eq!(code(&output), due, "-o {target}: {}", words(&output));
    assert!(words(&output).contains(says), "-o {target}: {}", words(&output));
    assert!(state(at) == before, "-o {target} changed something");
}

#[test]
fn folders_without_a_name_are_wrong_arguments() {
    let folder = folder();
    let at = folder.path();
    fs::create_dir(at.join("a")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    for target in [".", "./", "..", "/", "a/..", "../."] {
        refused(at, target, 2, "needs a name of its own");
    }
    // Empty or not: where the command runs does not count.
    let output = nodekiln(&at.join("empty"), &["build", "-f", "../cluster.yaml", "-o", "."]);
    assert_eq!(code(&output), 2, "{}", words(&output));
    // By its name it is the same folder.
    let here = fs::canonicalize(at.join("empty")).unwrap();
    let arguments = ["build", "-f", "../cluster.yaml", "--firstboot", "../firstboot", "-o", here.to_str().unwrap()];
    let output = nodekiln(&here, &arguments);
    assert_eq!(code(&output), 3);
    assert!(words(&output).contains("is the current folder"), "{}", words(&output));
    assert!(state(&here).is_empty() && !at.join("secrets.yaml").exists());
    refused(at, "", 2, "a value is required");
}

#[test]
fn links_and_files_are_not_replaced() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(code(&build(at, "out")), 0);
    fs::create_dir(at.join("home")).unwrap();
    fs::write(at.join("home/letter"), "dear").unwrap();
    fs::write(at.join("file"), "text").unwrap();
    for (target, link) in [("out", "ours"), ("home", "foreign"), ("nowhere", "dangling"), ("file", "filed")] {
        symlink(target, at.join(link)).unwrap();
        for name in [link.to_owned(), format!("{link}/")] {
            refused(at, &name, 3, &format!("{link}: is a symbolic link; name the folder itself ({target}) with -o"));
        }
    }
    refused(at, "file", 3, "file: is not a folder");
    refused(at, "/dev/null", 3, "/dev/null: is not a folder");
    refused(at, "file/out", 3, "file/out: there is no folder file to make it in");
    refused(at, "missing/out", 3, "missing/out: there is no folder missing to make it in");
    refused(at, "dangling/out", 3, "dangling/out: there is no folder dangling to make it in");
    refused(at, "home", 3, "home: is not empty and holds no manifest.json of nodekiln's");
    // Below a link to a folder there is nothing odd.
    fs::remove_file(at.join("home/letter")).unwrap();
    let output = build(at, "foreign/out");
    assert_eq!(code(&output), 0, "{}", words(&output));
    assert!(at.join("home/out/manifest.json").exists());
}

#[test]
fn an_output_of_ours_is_replaced_if_nothing_is_lost() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(code(&build(at, "out")), 0);
    let whole = state(&at.join("out"));
    // A slash at the end is no other folder.
    assert_eq!(code(&build(at, "out/")), 0);
    assert_eq!(code(&build(at, "./out/.")), 0);
    assert!(state(&at.join("out")) == whole);
    for foreign in ["letter", "nodes/letter", "nodes/w/letter"] {
        fs::write(at.join("out").join(foreign), "dear").unwrap();
        refused(at, "out", 3, &format!("out: holds `{foreign}`, which its manifest.json does not list"));
        fs::remove_file(at.join("out").join(foreign)).unwrap();
    }
    fs::create_dir(at.join("out/photos")).unwrap();
    refused(at, "out", 3, "out: holds `photos/`, which its manifest.json does not list");
    fs::remove_dir(at.join("out/photos")).unwrap();
    symlink("/", at.join("out/nodes/w/all")).unwrap();
    refused(at, "out", 3, "out: holds `nodes/w/all`, which its manifest.json does not list");
    fs::remove_file(at.join("out/nodes/w/all")).unwrap();

    // What is missing or damaged is made again.
    let damages: [fn(&Path); 6] = [
        |out| fs::remove_file(out.join("nodes/w/plan.json")).unwrap(),
        |out| {
            fs::remove_dir_all(out.join("nodes/w")).unwrap();
            fs::create_dir(out.join("nodes/w")).unwrap();
        },
        |out| fs::remove_file(out.join("placement.json")).unwrap(),
        |out| fs::write(out.join("placement.json"), "{}").unwrap(),
        |out| fs::write(out.join("nodes/cp/config.ign"), "").unwrap(),
        |out| fs::remove_file(out.join("admin.conf")).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        damage(&at.join("out"));
        let output = build(at, "out");
        assert_eq!(code(&output), 0, "{number}: {}", words(&output));
        assert!(state(&at.join("out")) == whole, "{number}");
        assert_eq!(code(&nodekiln(at, &["verify"])), 0, "{number}");
    }
    // Without a manifest that can be read it is nobody's.
    fs::write(at.join("out/manifest.json"), "{}").unwrap();
    refused(at, "out", 3, "holds no manifest.json of nodekiln's");
    fs::remove_file(at.join("out/manifest.json")).unwrap();
    refused(at, "out", 3, "holds no manifest.json of nodekiln's");
}

#[test]
fn any_name_will_do() {
    let folder = folder();
    let at = folder.path();
    let long = "x".repeat(200);
    let names: [&[u8]; 8] = [
        b"with space",
        b"two\nlines",
        b"\x1b[31mred",
        b"\xff\xfe",
        "ö \u{202e}".as_bytes(),
        b"-o",
        b"...",
        long.as_bytes(),
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        for _ in 0..2 {
            let mut target = std::ffi::OsString::from("--output=");
            target.push(name);
            let mut command = Command::new(assert_cmd::cargo::cargo_bin!("nodekiln"));
            command.current_dir(at).args(["build", "--firstboot", "firstboot", "--json"]).arg(target);
            let output = command.output().unwrap();
            assert_eq!(code(&output), 0, "{name:?}: {}", words(&output));
            assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
            assert!(!words(&output).contains('\x1b'), "{name:?} reaches the terminal");
            assert!(at.join(name).join("manifest.json").is_file());
        }
        let mut verify = Command::new(assert_cmd::cargo::cargo_bin!("nodekiln"));
        let output = verify.current_dir(at).arg("verify").arg("--").arg(name).output().unwrap();
        assert_eq!(code(&output), 0, "{name:?}: {}", words(&output));
    }
    // A name that has no room for the folder that it is made in.
    let longest = "x".repeat(255);
    refused(at, &longest, 3, "File name too long");
}

/// The second of two builds says that it waits, and for what.
#[test]
fn a_second_build_waits_and_says_so() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(code(&build(at, "out")), 0);
    let lock = Flock::lock(File::open(at).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("nodekiln"))
        .current_dir(at)
        .args(["build", "--firstboot", "firstboot"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for another build in .\n");
    assert!(child.try_wait().unwrap().is_none());
    drop(lock);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert_eq!(code(&nodekiln(at, &["verify"])), 0);
}
