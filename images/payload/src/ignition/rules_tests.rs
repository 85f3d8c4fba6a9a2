//! Each rule beside a configuration that keeps it; ignition-validate says the same of both: but for hashes' digits,
//! files below files, and Flatcar's own scheme.

use crate::{Format, IgnitionVersion, Snippet};

/// What is found in `rest` beside the version.
fn found(version: &str, rest: &str) -> (Vec<String>, Vec<String>) {
    let text = format!(r#"{{"ignition": {{"version": "{version}"}}, {rest}}}"#);
    let snippet = Snippet::parse(text.as_bytes(), Format::Ignition, IgnitionVersion::V3_5);
    let remarks = snippet.unwrap_or_else(|fault| panic!("{text}: {fault}")).remarks();
    let places = |list: Vec<super::rules::Remark>| list.into_iter().map(|remark| remark.place).collect();
    (places(remarks.faults), places(remarks.doubts))
}

/// Contents of a file.
fn file(version: &str, contents: &str) -> Vec<String> {
    found(version, &format!(r#""storage": {{"files": [{{"path": "/etc/a", "contents": {{{contents}}}}}]}}"#)).0
}

#[test]
fn resources() {
    let hash = |kind: &str, digits: usize| {
        format!(r#""source": "https://a/b", "verification": {{"hash": "{kind}-{}"}}"#, "aF".repeat(digits / 2))
    };
    let source = |source: &str| format!(r#""source": "{source}""#);
    let arn = "arn:aws:s3:us-west-1:1:accesspoint/a/object/b";
    for (version, contents) in [
        ("3.0.0", hash("sha512", 128)),
        ("3.1.0", hash("sha256", 64)),
        ("3.0.0", String::new()),
        ("3.0.0", r#""source": """#.to_owned()),
        ("3.0.0", r#""source": "data:,", "compression": """#.to_owned()),
        ("3.0.0", r#""source": "data:;base64,H4sIAAAAAAAAAwMAAAAAAAAAAAA=", "compression": "gzip""#.to_owned()),
        ("3.0.0", source("tftp://a/b")),
        ("3.0.0", source("oem:///a")),
        ("3.0.0", source("s3://a/b")),
        ("3.0.0", source("HTTP://a/b")),
        ("3.2.0", source("gs://a/b")),
        ("3.4.0", source(arn)),
        ("3.0.0", source("data:text/plain;charset=utf-8,a%20b%0A+/=-?&:;@$!'()*,~")),
        ("3.0.0", source("data:text/plain;charset=utf-8;base64,YQ==")),
        ("3.1.0", r#""source": "http://a", "httpHeaders": [{"name": "a", "value": "b"}, {"name": "b"}]"#.to_owned()),
    ] {
        assert_eq!(file(version, &contents), Vec::<String>::new(), "{version} {contents}");
    }
    for (version, contents, place) in [
        ("3.3.0", hash("sha512", 64), "verification.hash"),
        ("3.3.0", hash("sha256", 128), "verification.hash"),
        ("3.3.0", hash("sha1", 40), "verification.hash"),
        ("3.0.0", hash("sha256", 64), "verification.hash"),
        ("3.3.0", hash("sha256", 64).replace("aF", "zz"), "verification.hash"),
        ("3.3.0", r#""source": "http://a", "verification": {"hash": "00"}"#.to_owned(), "verification.hash"),
        ("3.3.0", hash("sha256", 64).replace(r#""source": "https://a/b", "#, ""), "verification.hash"),
        ("3.3.0", r#""source": "data:,", "compression": "xz""#.to_owned(), "compression"),
        ("3.3.0", source("ftp://a/b"), "source"),
        ("3.3.0", source("/a/b"), "source"),
        ("3.1.0", source("gs://a/b"), "source"),
        ("3.3.0", source(arn), "source"),
        ("3.3.0", source("data:a"), "source"),
        ("3.3.0", source("data:,a b"), "source"),
        ("3.3.0", source("data:,a%2"), "source"),
        ("3.3.0", source("data:;base64,YQ"), "source"),
        ("3.3.0", source("data:;base64,Y_=="), "source"),
        ("3.3.0", r#""source": "data:,", "httpHeaders": [{"name": "a", "value": "b"}]"#.to_owned(), "httpHeaders"),
        ("3.3.0", r#""source": "http://a", "httpHeaders": [{"name": "a", "value": ""}]"#.to_owned(), "httpHeaders[0]"),
    ] {
        assert_eq!(file(version, &contents), [format!("storage.files[0].contents.{place}")], "{version} {contents}");
    }
}

#[test]
fn everything_else() {
    let storage = |rest: &str| format!(r#""storage": {{{rest}}}"#);
    let partitions =
        |list: &str| format!(r#""storage": {{"disks": [{{"device": "/dev/vdb", "partitions": [{list}]}}]}}"#);
    let filesystem = |rest: &str| format!(r#""storage": {{"filesystems": [{{"device": "/dev/vdb"{rest}}}]}}"#);
    for (version, rest) in [
        ("3.0.0", storage(r#""files": [{"path": "/etc/a", "mode": 420}, {"path": "/etc/b", "mode": 511}]"#)),
        ("3.0.0", storage(r#""files": [{"path": "/etc/a", "overwrite": true, "contents": {"source": ""}}]"#)),
        ("3.0.0", storage(r#""files": [{"path": "/etc/a", "user": {"id": 0}, "group": {"name": "root"}}]"#)),
        ("3.0.0", storage(r#""links": [{"path": "/etc/a", "target": "b"}], "files": [{"path": "/etc/ab/c"}]"#)),
        ("3.0.0", partitions(r#"{"label": "a"}, {"label": "b"}, {"number": 3}"#)),
        (
            "3.0.0",
            partitions(r#"{"number": 1, "startMiB": 1, "sizeMiB": 9}, {"number": 2, "startMiB": 10, "sizeMiB": 0}"#),
        ),
        ("3.0.0", partitions(r#"{"number": 1, "shouldExist": false}, {"number": 2, "guid": ""}"#)),
        ("3.0.0", partitions(r#"{"label": "a", "typeGuid": "0FC63DAF-8483-4772-8E79-3d69d8477de4"}"#)),
        ("3.0.0", filesystem("")),
        ("3.0.0", filesystem(r#", "format": "xfs", "path": "/var/lib/etcd", "label": "twelve-bytes""#)),
        ("3.3.0", filesystem(r#", "format": "none""#)),
        (
            "3.0.0",
            storage(r#""raid": [{"name": "a", "level": "raid1", "devices": ["/dev/a", "/dev/b"], "spares": 1}]"#),
        ),
        ("3.2.0", storage(r#""luks": [{"name": "a", "device": "/dev/a", "keyFile": {"source": "data:,a"}}]"#)),
        ("3.3.0", r#""kernelArguments": {"shouldExist": ["a", "b"], "shouldNotExist": ["c"]}"#.to_owned()),
        ("3.0.0", r#""systemd": {"units": [{"name": "a@b.service", "dropins": [{"name": "b.conf"}]}]}"#.to_owned()),
    ] {
        assert_eq!(found(version, &rest), (vec![], vec![]), "{version} {rest}");
    }
    for (version, rest, place) in [
        ("3.3.0", storage(r#""files": [{"path": "/etc/a", "mode": 4096}]"#), "storage.files[0].mode"),
        ("3.3.0", storage(r#""directories": [{"path": "/etc/a", "mode": -1}]"#), "storage.directories[0].mode"),
        ("3.3.0", storage(r#""files": [{"path": "/etc/a", "overwrite": true}]"#), "storage.files[0].overwrite"),
        ("3.3.0", storage(r#""files": [{"path": "/etc/a", "user": {"id": 0, "name": "a"}}]"#), "storage.files[0].user"),
        (
            "3.3.0",
            storage(r#""files": [{"path": "/etc/a", "append": [{"source": "x:"}]}]"#),
            "storage.files[0].append[0].source",
        ),
        (
            "3.3.0",
            storage(r#""links": [{"path": "/etc/a", "target": "b"}], "files": [{"path": "/etc/a/c"}]"#),
            "storage.files[0]",
        ),
        // Ignition fails on it when the machine boots.
        ("3.3.0", storage(r#""files": [{"path": "/etc/x/y"}, {"path": "/etc/x"}]"#), "storage.files[0]"),
        ("3.3.0", storage(r#""links": [{"path": "/etc/a", "target": ""}]"#), "storage.links[0].target"),
        (
            "3.3.0",
            storage(r#""directories": [{"path": "/b"}], "links": [{"path": "/a", "target": "/b", "hard": true}]"#),
            "storage.links[0]",
        ),
        ("3.3.0", storage(r#""disks": [{"device": "vdb"}]"#), "storage.disks[0].device"),
        ("3.3.0", storage(r#""disks": [{"device": "/dev//vdb"}]"#), "storage.disks[0].device"),
        ("3.3.0", storage(r#""disks": [{"device": "/dev/a"}, {"device": "/dev/a"}]"#), "storage.disks[1]"),
        ("3.3.0", partitions(r#"{"sizeMiB": 1}"#), "storage.disks[0].partitions[0]"),
        ("3.3.0", partitions(r#"{"label": "a:b"}"#), "storage.disks[0].partitions[0].label"),
        ("3.3.0", partitions(r#"{"label": "a", "guid": "x"}"#), "storage.disks[0].partitions[0].guid"),
        ("3.3.0", partitions(r#"{"number": 1}, {"number": 1}"#), "storage.disks[0].partitions[1]"),
        ("3.3.0", partitions(r#"{"label": "a"}, {"label": "a"}"#), "storage.disks[0].partitions[1]"),
        ("3.3.0", partitions(r#"{"number": 1, "sizeMiB": 0, "shouldExist": false}"#), "storage.disks[0].partitions[0]"),
        ("3.3.0", partitions(r#"{"number": 1, "shouldExist": false}, {"label": "a"}"#), "storage.disks[0].partitions"),
        (
            "3.3.0",
            partitions(r#"{"number": 1, "startMiB": 1, "sizeMiB": 9}, {"number": 2, "startMiB": 9, "sizeMiB": 0}"#),
            "storage.disks[0].partitions[1]",
        ),
        ("3.3.0", filesystem(r#", "path": "/data""#), "storage.filesystems[0].format"),
        ("3.3.0", filesystem(r#", "wipeFilesystem": true"#), "storage.filesystems[0].format"),
        ("3.3.0", filesystem(r#", "format": "ext3""#), "storage.filesystems[0].format"),
        ("3.2.0", filesystem(r#", "format": "none""#), "storage.filesystems[0].format"),
        ("3.3.0", filesystem(r#", "format": "xfs", "path": "data""#), "storage.filesystems[0].path"),
        ("3.3.0", filesystem(r#", "format": "xfs", "label": "thirteen-byte""#), "storage.filesystems[0].label"),
        ("3.3.0", storage(r#""filesystems": [{"device": "vdb"}]"#), "storage.filesystems[0].device"),
        ("3.3.0", storage(r#""raid": [{"name": "a", "level": "9", "devices": ["/dev/a"]}]"#), "storage.raid[0].level"),
        ("3.3.0", storage(r#""raid": [{"name": "a", "level": "1", "devices": []}]"#), "storage.raid[0].devices"),
        (
            "3.3.0",
            storage(r#""raid": [{"name": "a", "level": "0", "devices": ["/a"], "spares": 1}]"#),
            "storage.raid[0].spares",
        ),
        ("3.3.0", storage(r#""luks": [{"name": "a", "device": "a"}]"#), "storage.luks[0].device"),
        ("3.3.0", storage(r#""luks": [{"name": "a/b", "device": "/a"}]"#), "storage.luks[0].name"),
        ("3.3.0", storage(r#""luks": [{"name": "a"}]"#), "storage.luks[0].device"),
        (
            "3.3.0",
            r#""kernelArguments": {"shouldExist": ["a"], "shouldNotExist": ["a"]}"#.to_owned(),
            "kernelArguments.shouldNotExist[0]",
        ),
        (
            "3.3.0",
            r#""systemd": {"units": [{"name": "a.service", "dropins": [{"name": "b"}]}]}"#.to_owned(),
            "systemd.units[0].dropins[0].name",
        ),
        (
            "3.3.0",
            r#""passwd": {"users": [{"name": "a", "sshAuthorizedKeys": ["a", "a"]}]}"#.to_owned(),
            "passwd.users[0].sshAuthorizedKeys[1]",
        ),
    ] {
        assert_eq!(found(version, &rest), (vec![place.to_owned()], vec![]), "{version} {rest}");
    }
}

/// A mode that means another one is taken, and told.
#[test]
fn modes_that_look_octal() {
    for (mode, told) in [
        (644, true),
        (755, true),
        (600, true),
        (400, true),
        (444, true),
        (1777, true),
        (420, false),
        (493, false),
        (256, false),
    ] {
        let rest = format!(r#""storage": {{"files": [{{"path": "/etc/a", "mode": {mode}}}]}}"#);
        let due: &[&str] = if told { &["storage.files[0].mode"] } else { &[] };
        let (faults, doubts) = found("3.3.0", &rest);
        assert!(faults.is_empty() && doubts == due, "{mode}: {faults:?} {doubts:?}");
    }
}
