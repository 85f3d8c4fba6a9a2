//! What real users of Ignition and cloud-init stumbled over, each under the name of the trap.

use crate::{
    Artifact, EncodeOptions, IgnitionVersion, NodeTree, Profile, Why, encode,
    fixture::{directory, empty, file, full, unit},
    tree::UnitState,
    validate,
};
use serde_json::Value;

fn payload(tree: &NodeTree, profile: &str) -> Value {
    let artifacts = encode(tree, Profile::find(profile).unwrap(), &EncodeOptions::default()).unwrap();
    let Artifact { bytes, .. } = &artifacts[0];
    let text = bytes.expose().strip_prefix(b"#cloud-config\n").unwrap_or(bytes.expose());
    serde_json::from_slice(text).unwrap()
}

fn list<'a>(config: &'a Value, path: &str) -> &'a [Value] {
    config.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap()
}

fn entry<'a>(list: &'a [Value], path: &str) -> &'a Value {
    list.iter().find(|entry| entry["path"] == path).unwrap()
}

/// JSON has no octal: 644 would be 01204, `"0644"` a type error. YAML 1.1 reads a bare 0644 as 420.
#[test]
fn modes_are_decimal_under_ignition_and_quoted_octal_under_cloud_init() {
    for (mode, decimal) in [("0644", 420), ("0600", 384), ("0640", 416), ("0755", 493), ("0400", 256), ("0444", 292)] {
        let tree = NodeTree { files: vec![file("/etc/a", mode, b"a")], ..empty() };
        assert_eq!(entry(list(&payload(&tree, "flatcar"), "/storage/files"), "/etc/a")["mode"], decimal);
        assert_eq!(entry(list(&payload(&tree, "cloud-init"), "/write_files"), "/etc/a")["permissions"], mode);
    }
    let tree = NodeTree { directories: vec![directory("/etc/a", "0700")], ..empty() };
    assert_eq!(entry(list(&payload(&tree, "flatcar"), "/storage/directories"), "/etc/a")["mode"], 448);
}

/// Without `overwrite` a file that the image has, or a second run after a power cut, ends in the emergency shell.
#[test]
fn files_and_links_overwrite_what_is_there() {
    let config = payload(&full(), "flatcar");
    for kind in ["/storage/files", "/storage/links"] {
        assert!(list(&config, kind).iter().all(|entry| entry["overwrite"] == true), "{kind}");
    }
}

/// `overwrite: true` on a directory removes what is in it: a database that was kept over a reinstallation.
#[test]
fn the_etcd_directory_is_never_overwritten() {
    let config = payload(&full(), "flatcar");
    let etcd = entry(list(&config, "/storage/directories"), "/var/lib/etcd");
    assert_eq!((etcd["mode"].as_u64(), etcd.get("overwrite")), (Some(0o700), None));
    assert!(list(&config, "/storage/directories").iter().all(|entry| entry.get("overwrite").is_none()));
    // Under cloud-init the folder is made if it is missing, and nothing removes one.
    let config = payload(&full(), "cloud-init");
    let bootcmd = list(&config, "/bootcmd")[0].to_string();
    assert!(bootcmd.contains("install -d -m") && !bootcmd.contains("rm -r"), "{bootcmd}");
    assert!(bootcmd.contains(r#""d","0700","/var/lib/etcd""#), "{bootcmd}");
}

/// `/opt` is `/var/opt` there: two files that meet end the run, which no validator of Ignition sees.
#[test]
fn opt_is_a_link_on_fedora_coreos() {
    let tree = NodeTree { files: vec![file("/opt/x", "0755", b"a"), file("/var/opt/x", "0755", b"b")], ..empty() };
    let why = |profile: &str| -> Vec<Why> {
        validate(&tree, Profile::find(profile).unwrap()).into_iter().map(|fault| fault.why).collect()
    };
    assert!(matches!(why("fedora-coreos").as_slice(), [Why::SamePlace(_)]));
    assert!(why("flatcar").is_empty() && why("cloud-init").is_empty());
    // A program that a unit runs has to lie where the policy gives it bin_t.
    let profile = Profile::find("fedora-coreos").unwrap();
    assert_eq!(profile.bin_dir.as_str(), "/usr/local/bin");
    assert!(profile.selinux && profile.static_pod_selinux_type.as_deref() == Some("spc_t"));
}

#[test]
fn usr_is_read_only_under_ignition() {
    let tree = |path: &str| NodeTree { files: vec![file(path, "0644", b"a")], ..empty() };
    for (profile, path, fits) in [
        ("flatcar", "/usr/libexec/kubernetes/x", false),
        ("flatcar", "/usr/local/bin/x", false),
        ("fedora-coreos", "/usr/libexec/kubernetes/x", false),
        ("fedora-coreos", "/usr/local/bin/x", true),
        ("cloud-init", "/usr/libexec/kubernetes/x", true),
    ] {
        let faults = validate(&tree(path), Profile::find(profile).unwrap());
        let sealed = faults.iter().any(|fault| matches!(fault.why, Why::ReadOnly(_)));
        assert_eq!((faults.is_empty(), sealed), (fits, !fits), "{profile} {path}");
    }
}

/// `write_files` makes a file with mode 0644 in folders of 0755 and narrows it after writing: `bootcmd` runs before it.
#[test]
fn write_files_finds_private_files_prepared() {
    let tree = NodeTree { files: vec![file("/etc/kubernetes/key", "0600", b"key")], ..empty() };
    let config = payload(&tree, "cloud-init");
    let bootcmd = list(&config, "/bootcmd")[0].to_string();
    assert!(bootcmd.contains(r#""f","0600","/etc/kubernetes/key""#), "{bootcmd}");
}

/// `write_files` runs before `mounts`, so that what it writes would lie beneath a mount: nothing of ours is mounted by
/// cloud-init, and no user is named before it is made.
#[test]
fn write_files_runs_before_mounts_and_users() {
    let config = payload(&full(), "cloud-init");
    for module in ["mounts", "fs_setup", "disk_setup"] {
        assert!(config.get(module).is_none(), "{module}");
    }
    assert!(list(&config, "/write_files").iter().all(|entry| entry["owner"] == "root:root"));
}

/// `cloud-final.service` and `cloud-init.target` come after `multi-user.target`.
#[test]
fn firstboot_is_in_no_ordering_cycle() {
    for profile in Profile::all() {
        assert_eq!(profile.wanted_by.as_str(), "multi-user.target", "{}", profile.name);
        let late = |unit: &str| unit.starts_with("cloud-final") || unit.starts_with("cloud-init.target");
        assert!(profile.after.iter().all(|unit| !late(unit.as_str())), "{}", profile.name);
    }
    // What it starts may wait for cloud-init itself.
    let mut tree = empty();
    tree.units = vec![unit("a.service", UnitState::Enabled, Some(crate::fixture::FIRSTBOOT))];
    let runcmd = list(&payload(&tree, "cloud-init"), "/runcmd")[0].to_string();
    assert!(runcmd.contains("systemctl start --no-block") && runcmd.contains("systemctl try-restart --no-block"));
}

/// YAML 1.1 reads `no`, `on`, `y`, `1_000` and `12:30:45` as something else where they stand bare.
#[test]
fn words_of_yaml_1_1_stay_text() {
    for word in ["no", "on", "off", "yes", "y", "null", "1e3", "012"] {
        let mut tree = empty();
        tree.node = Some(word.parse().unwrap());
        tree.files = vec![file("/etc/a", "0644", word.as_bytes())];
        let artifacts = encode(&tree, Profile::find("cloud-init").unwrap(), &EncodeOptions::default()).unwrap();
        for Artifact { name, bytes } in artifacts {
            let text = String::from_utf8(bytes.expose().to_vec()).unwrap();
            assert!(text.contains(&format!("\"{word}\"")), "{name}: {text}");
        }
    }
}

/// No Ignition that could prove it is at hand; it is read by newer ones as it is.
#[test]
fn ignition_3_6_0_is_refused() {
    assert_eq!(IgnitionVersion::ALL.map(IgnitionVersion::as_str), ["3.3.0", "3.4.0", "3.5.0"]);
    for version in ["3.6.0", "3.7.0-experimental", "3.2.0"] {
        assert!(version.parse::<IgnitionVersion>().is_err(), "{version}");
    }
    for version in IgnitionVersion::ALL {
        let options = EncodeOptions { ignition_version: version, ..EncodeOptions::default() };
        let config = encode(&full(), Profile::find("flatcar").unwrap(), &options).unwrap();
        // Through Ignition's own types: no field that the version lacks, which would be ignored.
        let (_, warnings) = ignition_config::Config::parse_slice(config[0].bytes.expose()).unwrap();
        assert!(warnings.is_empty(), "{version}: {warnings:?}");
    }
}

/// An operating system is a file of data.
#[test]
fn a_new_profile_needs_no_code() {
    let text = r#"
        name = "plain-os"
        format = "ignition"
        binDir = "/var/bin"
        readOnly = ["/usr"]
        writable = ["/var", "/etc"]
        aliases = [["/srv", "/var/srv"]]
        adminGroup = "admins"
        containerdUnit = "runtime.service"
        containerdConfig = "default"
        containerdConfigVersion = 3
        selinux = false
        resolvConf = "/etc/resolv.conf"
        caDirs = []
        timeService = "timesyncd"
        networkService = "networkd"
        wantedBy = "multi-user.target"
        after = ["runtime.service"]
        files = [{ path = "/etc/plain", mode = "0644", content = "x" }]
        updatesOffFiles = []
        updatesOffMask = ["updater.service"]
        enable = []
        mask = []
        scrub = []
        touch = []
        beyondReach = []
    "#;
    let profile = Profile::parse(text).unwrap();
    let mut tree = NodeTree { files: vec![file("/var/bin/firstboot", "0755", b"a")], ..empty() };
    let artifacts = encode(&tree, &profile, &EncodeOptions::default()).unwrap();
    crate::check(&tree, &artifacts, &profile).unwrap();
    tree.files = vec![file("/usr/bin/a", "0755", b"a"), file("/opt/a", "0755", b"a"), file("/srv/a", "0755", b"a")];
    let faults = validate(&tree, &profile);
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["/opt/a", "/usr/bin/a"]);
    assert!(Profile::parse(&text.replace("binDir", "binFolder")).is_err());
}

/// Many nodes share contents and one codec: what it remembers shows in no byte.
#[test]
fn a_memory_changes_no_byte() {
    let codec = crate::Codec::default();
    let options = EncodeOptions::default();
    let all = file("/etc/all", "0644", "the same ".repeat(400).as_bytes());
    for round in 0..3 {
        for profile in Profile::all() {
            let mut tree = full();
            tree.files.push(file("/etc/own", "0644", format!("{round} ").repeat(400).as_bytes()));
            tree.files.push(all.clone());
            let (shared, alone) =
                (codec.encode(&tree, profile, &options).unwrap(), encode(&tree, profile, &options).unwrap());
            assert!(shared.iter().zip(&alone).all(|(a, b)| a.name == b.name && a.bytes == b.bytes));
            let (a, b) = (codec.check(&tree, &shared, profile).unwrap(), crate::check(&tree, &alone, profile).unwrap());
            assert!(a.files.iter().zip(&b.files).all(|(a, b)| a.contents == b.contents && a.sha256 == b.sha256));
        }
    }
}

/// A `tree.tar` is read back, and held against what it should hold.
#[test]
fn a_changed_archive_is_found() {
    for profile in Profile::all() {
        let archive = crate::tree_tar(&full(), profile).unwrap();
        crate::check_tree_tar(&full(), &archive, profile).unwrap();
        let mut tree = full();
        tree.files[0].mode = "0640".parse().unwrap();
        tree.links[0].target = "elsewhere".into();
        tree.files.pop();
        let error = crate::check_tree_tar(&tree, &archive, profile).unwrap_err().to_string();
        assert_eq!(error.matches("different").count(), 3, "{error}");
        let less = crate::tree_tar(&tree, profile).unwrap();
        let error = crate::check_tree_tar(&full(), &less, profile).unwrap_err().to_string();
        assert_eq!((error.matches("different").count(), error.matches("missing").count()), (2, 1), "{error}");
    }
}
