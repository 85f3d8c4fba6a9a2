//! Snippets: what is refused, what they set, and that a payload gives them back.

use crate::{
    Artifact, CheckError, DecodeError, EncodeError, EncodeOptions, Format, IgnitionVersion, NodeTree, Profile, Snippet,
    SnippetFault, Why, check, decode, encode,
    fixture::{full, full_cloud_init},
    implied_meta_data,
};
use nodekiln_plan::Secret;

const DISK: &str = r#"{
  "ignition": {"version": "3.3.0", "timeouts": {"httpTotal": 60}},
  "kernelArguments": {"shouldExist": ["quiet"]},
  "storage": {
    "disks": [{"device": "/dev/vdb", "wipeTable": true, "partitions": [{"label": "data", "number": 1}]}],
    "luks": [{"name": "data", "device": "/dev/disk/by-partlabel/data", "clevis": {"tpm2": true}}],
    "filesystems": [{"device": "/dev/mapper/data", "format": "ext4", "path": "/data"}],
    "files": [{"path": "/etc/bond.conf", "mode": 420, "contents": {"source": "data:;base64,c2VjcmV0"}}]
  },
  "systemd": {"units": [{"name": "data.mount", "enabled": true, "contents": "[Mount]\nWhat=/dev/mapper/data\nWhere=/data\n[Install]\nWantedBy=local-fs.target\n"}]}
}"#;

const CLOUD: &str = "#cloud-config
users: [{name: theirs, shell: /bin/sh}]
packages: [jq]
write_files: [{path: /etc/theirs, content: c2VjcmV0, encoding: b64}]
runcmd: [[echo, a]]
mounts: [[/dev/vdb, /data, ext4]]
";

fn ignition(text: &str) -> Result<Snippet, SnippetFault> {
    Snippet::parse(text.as_bytes(), Format::Ignition, IgnitionVersion::V3_3)
}

fn cloud(text: &str) -> Result<Snippet, SnippetFault> {
    Snippet::parse(text.as_bytes(), Format::CloudInit, IgnitionVersion::V3_3)
}

fn profile(name: &str) -> &'static Profile {
    Profile::find(name).unwrap()
}

#[test]
fn what_is_no_ignition_snippet() {
    let of = |rest: &str| format!(r#"{{"ignition": {{"version": "3.3.0"}}, {rest}}}"#);
    let file = |path: &str| format!(r#"{{"path": "{path}"}}"#);
    for (text, says) in [
        ("{".to_owned(), "does not parse as an Ignition configuration: line 1, column 1"),
        ("[]".to_owned(), "does not parse"),
        ("{}".to_owned(), "names no version"),
        (r#"{"ignition": {"version": "2.3.0"}}"#.to_owned(), "names no version"),
        (
            r#"{"ignition": {"version": "3.4.0"}}"#.to_owned(),
            "is of Ignition's specification 3.4.0, the payload of 3.3.0",
        ),
        (r#"{"ignition": {"version": "3.6.0"}}"#.to_owned(), "is of Ignition's specification 3.6.0"),
        (
            r#"{"ignition": {"version": "3.2.0"}, "kernelArguments": {}}"#.to_owned(),
            "Ignition would ignore unused key: $.kernelArg",
        ),
        (of(r#""storage": {"disks": 1}"#), "does not parse"),
        (r#"{"ignition": {"version": "3.3.0", "config": {"replace": {"source": "http://a/"}}}}"#.to_owned(), "replace"),
        (r#"{"ignition": {"version": "3.3.0", "config": {"merge": [{"source": "http://a/"}]}}}"#.to_owned(), "merge"),
        (of(&format!(r#""storage": {{"files": [{}]}}"#, file("etc/a"))), "`etc/a` is no absolute path"),
        (
            of(&format!(
                r#""storage": {{"files": [{0}], "links": [{{"path": "/a", "target": "b"}}, {{"path": "/a", "target": "c"}}]}}"#,
                file("/b")
            )),
            "`/a` is given twice",
        ),
        (of(r#""systemd": {"units": [{"name": "a b"}]}"#), "is no name of a unit"),
        (of(r#""systemd": {"units": [{"name": "a.service", "contents": "x"}]}"#), "a.service: the unit does not parse"),
    ] {
        let fault = ignition(&text).unwrap_err().to_string();
        assert!(fault.contains(says), "{text}: {fault}");
    }
    assert_eq!(Snippet::parse(b"\xff", Format::Ignition, IgnitionVersion::V3_3), Err(SnippetFault::Utf8));
    let newer = br#"{"ignition": {"version": "3.4.0"}}"#;
    assert!(Snippet::parse(newer, Format::Ignition, IgnitionVersion::V3_4).is_ok());
}

#[test]
fn what_is_no_cloud_config() {
    for (text, says) in [
        ("packages: []\n", "does not begin with"),
        ("#cloud-config-archive\n- a\n", "does not begin with"),
        ("#cloud-config\na: [\n", "line 2, column 4: no YAML"),
        ("#cloud-config\na: 1\nb: 2032-01-01\n", "line 3, column 4: YAML 1.1, which cloud-init reads, makes a date"),
        ("#cloud-config\n# \u{2028}hostname: a\n", "contains a character"),
        ("#cloud-config\n- a\n", "YAML"),
        ("#cloud-config\nhostname: a\n", "`hostname` is nodekiln's own"),
        ("#cloud-config\nntp: {servers: [a]}\n", "`ntp` is nodekiln's own"),
        ("#cloud-config\ncloud_final_modules: []\n", "`cloud_final_modules` is"),
        ("#cloud-config\nusers: {a: b}\n", "`users` has to be a list"),
        ("#cloud-config\nwrite_files: [{content: a}]\n", "`write_files`: an item without `path`"),
        ("#cloud-config\nruncmd: [\"echo Mime-Version: 1\"]\n", "mime-version"),
        ("#cloud-config\nlocale: \"\\u2028\"\n", "contains a character"),
    ] {
        let fault = cloud(text).unwrap_err().to_string();
        assert!(fault.contains(says), "{text}: {fault}");
    }
}

/// What PyYAML makes of them is what stands in the payload.
#[test]
fn cloud_configs_are_yaml_1_1() {
    let written =
        cloud("#cloud-config\nwrite_files: [{path: /a, permissions: 0644}]\nruncmd: [[echo, 0777]]\n").unwrap();
    let plain = cloud("#cloud-config\nwrite_files: [{path: /a, permissions: 420}]\nruncmd: [[echo, 511]]\n").unwrap();
    assert_eq!(written, plain);
    let artifacts =
        encode(&with(&[written], full_cloud_init()), profile("cloud-init"), &EncodeOptions::default()).unwrap();
    let text = text(&artifacts);
    assert!(text.contains(r#""permissions":420}"#) && text.contains(r#"["echo",511]"#), "{text}");
}

#[test]
fn what_they_set() {
    let touched = |snippet: Snippet| snippet.touched().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(touched(ignition(DISK).unwrap()), ["/etc/bond.conf", "the unit data.mount"]);
    assert_eq!(touched(cloud(CLOUD).unwrap()), ["/etc/theirs", "the account theirs"]);
    assert_eq!(cloud(CLOUD).unwrap().mounts(), (vec![], vec!["/data"]));
    assert_eq!(ignition(DISK).unwrap().mounts(), (vec!["data.mount"], vec![]));
    // Packed contents are seen, and nothing of them in what is shown.
    for snippet in [ignition(DISK).unwrap(), cloud(CLOUD).unwrap()] {
        assert!(snippet.texts().iter().any(|(_, text)| text == b"secret"));
        let shown = format!("{snippet:?}{}", snippet.summary().join(" "));
        assert!(!shown.contains("secret") && !shown.contains("c2Vjcm"), "{shown}");
    }
}

/// Later over earlier, lists one after the other.
#[test]
fn cloud_configs_are_merged() {
    let a = cloud("#cloud-config\nlocale: a\nswap: {size: 1, filename: /s}\npackages: [a]\nusers: []\n").unwrap();
    let b = cloud("#cloud-config\nlocale: b\nswap: {size: 2}\npackages: [b]\n").unwrap();
    let due = cloud("#cloud-config\nlocale: b\nswap: {size: 2, filename: /s}\npackages: [a, b]\n").unwrap();
    assert_eq!(Snippet::merged(&[a.clone(), b]), Some(due));
    assert_eq!(Snippet::merged(&[]), None);
    let alone = Snippet::merged(std::slice::from_ref(&a));
    assert_eq!(alone, Some(a));
}

fn with(snippets: &[Snippet], tree: NodeTree) -> NodeTree {
    NodeTree { snippets: snippets.to_vec(), ..tree }
}

fn text(artifacts: &[Artifact]) -> String {
    String::from_utf8(artifacts[0].bytes.expose().to_vec()).unwrap()
}

#[test]
fn payloads_give_them_back() {
    let disk = [ignition(DISK).unwrap(), ignition(r#"{"ignition": {"version": "3.0.0"}}"#).unwrap()];
    let cloud = [cloud(CLOUD).unwrap()];
    for (name, tree, snippets) in
        [("flatcar", full(), &disk[..]), ("fedora-coreos", full(), &disk), ("cloud-init", full_cloud_init(), &cloud)]
    {
        let profile = profile(name);
        let (tree, bare) = (with(snippets, tree.clone()), tree);
        let artifacts = encode(&tree, profile, &EncodeOptions::default()).unwrap();
        let decoded = check(&tree, &artifacts, profile).unwrap();
        assert_eq!(decoded.snippets, snippets, "{name}");
        // Only the plan's own are left beside them.
        assert_eq!(
            decoded.files.len(),
            check(&bare, &encode(&bare, profile, &EncodeOptions::default()).unwrap(), profile).unwrap().files.len()
        );
        // Neither one too many nor one too few passes.
        let differs = CheckError::Differs(vec!["the snippets".to_owned()]);
        assert_eq!(check(&bare, &artifacts, profile).unwrap_err(), differs, "{name}");
        let plain = encode(&bare, profile, &EncodeOptions::default()).unwrap();
        assert_eq!(check(&tree, &plain, profile).unwrap_err(), differs, "{name}");
    }
}

/// What is ours stands last in each list, and a reader without the tree knows where it begins.
#[test]
fn theirs_before_ours() {
    let profile = profile("cloud-init");
    let tree = with(&[cloud(CLOUD).unwrap()], full_cloud_init());
    let artifacts = encode(&tree, profile, &EncodeOptions::default()).unwrap();
    let text = text(&artifacts);
    assert!(text.starts_with("#cloud-config\n# snippets: 0 1 1 1\n{"), "{}", &text[..60]);
    let data: serde_json::Value = serde_json::from_str(text.splitn(3, '\n').nth(2).unwrap()).unwrap();
    assert_eq!(data["runcmd"][0], serde_json::json!(["echo", "a"]));
    assert_eq!((data["runcmd"].as_array().unwrap().len(), data["bootcmd"].as_array().unwrap().len()), (2, 1));
    assert_eq!((&data["users"][0]["name"], &data["write_files"][0]["path"]), (&"theirs".into(), &"/etc/theirs".into()));
    assert_eq!(data["packages"], serde_json::json!(["jq"]));
    let implied = implied_meta_data(artifacts[0].bytes.expose()).unwrap();
    assert_eq!(implied.bytes.expose(), artifacts[1].bytes.expose());
    for (from, to) in [
        ("# snippets: 0 1 1 1", "# snippets: 0 1 1 2"),
        ("# snippets: 0 1 1 1", "# snippets: 0 1 1 9999"),
        ("# snippets: 0 1 1 1", "# snippets: 1 1"),
        ("# snippets: 0 1 1 1\n", ""),
        ("[\"jq\"]", "[\"jc\"]"),
        ("\"packages\"", "\"cloud_final_modules\""),
    ] {
        assert!(text.contains(from), "{from}");
        let mut forged = artifacts.clone();
        forged[0].bytes = Secret::from(text.replacen(from, to, 1));
        assert!(
            matches!(decode(&forged, profile), Err(DecodeError::Unexpected { .. } | DecodeError::Syntax { .. })),
            "{to}"
        );
    }
}

/// The last line of defence: planning refuses it before, with its place.
#[test]
fn what_is_ours_is_not_theirs() {
    for (name, tree, text, path) in [
        (
            "flatcar",
            full(),
            r#"{"ignition": {"version": "3.3.0"}, "storage": {"directories": [{"path": "/var/lib/etcd"}]}}"#,
            "/var/lib/etcd",
        ),
        (
            "flatcar",
            full(),
            r#"{"ignition": {"version": "3.3.0"}, "systemd": {"units": [{"name": "containerd.service"}]}}"#,
            "the unit containerd.service",
        ),
        (
            "cloud-init",
            full_cloud_init(),
            "#cloud-config\nwrite_files: [{path: /etc/systemd/system/containerd.service.d/10-nodekiln.conf}]\n",
            "/etc/systemd/system/containerd.service.d/10-nodekiln.conf",
        ),
    ] {
        let profile = profile(name);
        let snippet = Snippet::parse(text.as_bytes(), profile.format, IgnitionVersion::V3_3).unwrap();
        let Err(EncodeError::Faults(faults)) = encode(&with(&[snippet], tree), profile, &EncodeOptions::default())
        else {
            panic!("{text} was taken")
        };
        assert_eq!((faults[0].path.as_str(), &faults[0].why), (path, &Why::Snippet));
    }
}

/// Nothing but a configuration that the encoder would take stands in `merge`.
#[test]
fn a_forged_child_is_refused() {
    let profile = profile("flatcar");
    let tree = with(&[ignition(r#"{"ignition": {"version": "3.0.0"}}"#).unwrap()], full());
    let artifacts = encode(&tree, profile, &EncodeOptions::default()).unwrap();
    let text = text(&artifacts);
    let start = text.find(r#""merge":[{"#).unwrap();
    let end = start + text[start..].find(']').unwrap();
    for child in [
        r#"{"source":"http://a/"}"#,
        r#"{"source":"data:,%7B%7D"}"#,
        r#"{"source":"data:,a","verification":{"hash":"sha256-00"}}"#,
    ] {
        let forged = format!("{}\"merge\":[{child}{}", &text[..start], &text[end..]);
        let config = Artifact { name: "config.ign", bytes: Secret::from(forged) };
        let fault = DecodeError::unexpected("", "ignition.config.merge");
        assert_eq!(decode(&[config], profile).unwrap_err(), fault, "{child}");
    }
}
