//! Tests over all formats: what goes in comes out.

use crate::{
    Artifact, CheckError, EncodeOptions, Format, Gzip, IgnitionVersion, NodeTree, Profile, check, decode, encode,
    fixture::{directory, empty, file, full, full_cloud_init, link},
    tree_tar,
};
use proptest::prelude::*;

fn options() -> impl Iterator<Item = EncodeOptions> {
    IgnitionVersion::ALL
        .into_iter()
        .flat_map(|ignition_version| Gzip::ALL.map(|gzip| EncodeOptions { ignition_version, gzip }))
}

fn passes(tree: &NodeTree, profile: &Profile, options: &EncodeOptions) {
    let artifacts = encode(tree, profile, options).unwrap_or_else(|e| panic!("{}: {e}", profile.name));
    check(tree, &artifacts, profile).unwrap_or_else(|e| panic!("{}: {e}", profile.name));
    let again = encode(tree, profile, options).unwrap();
    let same = artifacts.iter().zip(&again).all(|(a, b)| a.name == b.name && a.bytes == b.bytes);
    assert!(same && artifacts.len() == again.len(), "{}: two runs differ", profile.name);
}

#[test]
fn every_profile_and_version() {
    for options in options() {
        for profile in Profile::all() {
            passes(&full(), profile, &options);
            passes(&empty(), profile, &options);
        }
        passes(&full_cloud_init(), Profile::find("cloud-init").unwrap(), &options);
    }
}

/// The order in which a tree lists things does not matter.
#[test]
fn order_does_not_matter() {
    for profile in Profile::all() {
        let mut tree = full();
        let want = encode(&tree, profile, &EncodeOptions::default()).unwrap();
        tree.directories.reverse();
        tree.files.reverse();
        tree.links.reverse();
        tree.units.reverse();
        tree.fetches.reverse();
        let got = encode(&tree, profile, &EncodeOptions::default()).unwrap();
        assert!(want.iter().zip(&got).all(|(a, b)| a.bytes == b.bytes), "{}", profile.name);
        let (want, got) = (tree_tar(&full(), profile).unwrap(), tree_tar(&tree, profile).unwrap());
        assert_eq!(want.bytes, got.bytes);
    }
}

#[test]
fn check_names_every_difference() {
    for profile in Profile::all() {
        let artifacts = encode(&full(), profile, &EncodeOptions::default()).unwrap();
        let mut tree = full();
        tree.files[0].mode = "0600".parse().unwrap();
        tree.files[1].path = "/etc/kubernetes/pki/other.key".parse().unwrap();
        tree.files[2] = file("/etc/kubernetes/kubelet.conf", "0600", b"other");
        tree.files[4].sha256 = nodekiln_plan::Sha256::of(b"other");
        tree.links[0].target = "elsewhere".into();
        tree.units[0].state = crate::UnitState::Unchanged;
        tree.accounts[0].groups.clear();
        tree.fetches[0].url.push('d');
        let CheckError::Differs(differences) = check(&tree, &artifacts, profile).unwrap_err() else { panic!() };
        assert_eq!(
            differences,
            [
                "/etc/kubernetes/pki/other.key: missing",
                "/etc/kubernetes/kubelet.conf: different",
                "/etc/kubernetes/latest: different",
                "/etc/kubernetes/pki/ca.crt: different",
                "/opt/bin/firstboot: different",
                "/etc/kubernetes/pki/ca.key: not planned",
                "containerd.service: different",
                "the account ops: different",
                "/var/lib/nodekiln/blob: not the digest of its contents",
            ],
            "{}",
            profile.name
        );
    }
}

/// Machines of a pool keep their names.
#[test]
fn a_payload_without_a_name() {
    for profile in Profile::all() {
        let tree = NodeTree { node: None, ..empty() };
        let artifacts = encode(&tree, profile, &EncodeOptions::default()).unwrap();
        assert!(artifacts.iter().all(|artifact| {
            !String::from_utf8_lossy(artifact.bytes.expose()).contains("hostname\":\"")
                && !String::from_utf8_lossy(artifact.bytes.expose()).contains("/etc/hostname")
        }));
        assert_eq!(check(&tree, &artifacts, profile).unwrap().node, None, "{}", profile.name);
        assert_eq!(
            check(&empty(), &artifacts, profile).unwrap_err(),
            CheckError::Differs(match profile.format {
                Format::Ignition => vec!["the host name".to_owned(), "/etc/hostname: missing".to_owned()],
                Format::CloudInit => vec!["the host name".to_owned()],
            })
        );
    }
}

#[test]
fn check_compares_authorities() {
    for profile in Profile::all() {
        let artifacts = encode(&full(), profile, &EncodeOptions::default()).unwrap();
        let tree = NodeTree { fetch_ca: None, ..full() };
        let CheckError::Differs(differences) = check(&tree, &artifacts, profile).unwrap_err() else { panic!() };
        assert!(differences.contains(&"the authorities for fetches".to_owned()), "{differences:?}");
    }
}

/// Texts that YAML, JSON or a shell would turn into something else.
const NASTY: &[&str] = &[
    "",
    "no",
    "on",
    "Yes",
    "~",
    "null",
    "0644",
    "1e3",
    "12:30:45",
    "2026-01-01",
    "=",
    "<<",
    "*a",
    "&a",
    "!!int 1",
    "- a",
    "a: b",
    "# a",
    "a #b",
    "'",
    "''",
    "\"",
    "\\",
    "\\n",
    "%",
    "@a",
    "`a`",
    "|",
    ">",
    "{}",
    "[",
    "]",
    ",",
    "?",
    ":",
    "\t",
    " ",
    " a",
    "a ",
    "\n",
    "a\n\nb\n",
    "\r",
    "a\r\nb",
    "\u{0}",
    "\u{7}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}a",
    "\u{fffe}",
    "é",
    "日本",
    "😀",
    "$(id)",
    "${a}",
    "$a",
    "a'b'c",
    "## template: jinja",
    "{{ a }}",
    "MIME-Version: 1.0\n",
    "#cloud-config",
    "#!/bin/sh",
    "%41",
    "+",
    "data:,",
    "--- a",
    "...",
    "\u{d7ff}",
    "\u{10ffff}",
];

#[test]
fn nasty_contents() {
    let mut tree = empty();
    for (index, text) in NASTY.iter().enumerate() {
        tree.files.push(file(&format!("/etc/nasty/{index}"), "0644", text.as_bytes()));
    }
    for profile in Profile::all() {
        options().for_each(|options| passes(&tree, profile, &options));
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9 '\"$_.%é-]{0,8}[a-z]"
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1500),
        prop::sample::select(NASTY).prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(prop::sample::select(NASTY), 0..30).prop_map(|parts| parts.concat().into_bytes()),
        "\\PC{0,200}".prop_map(String::into_bytes),
        "[ -~\n]{0,1500}".prop_map(String::into_bytes),
    ]
}

prop_compose! {
    fn tree()(
        directories in prop::collection::btree_map(name(), 0o100u32..=0o777, 0..4),
        files in prop::collection::btree_map((name(), name()), (contents(), 0u32..=0o777), 0..8),
        links in prop::collection::btree_map(name(), "[!-~]{1,20}", 0..3),
    ) -> NodeTree {
        let mode = |bits: u32| format!("{:04o}", bits | 0o100);
        NodeTree {
            directories: directories.iter().map(|(name, bits)| directory(&format!("/etc/d{name}"), &mode(*bits))).collect(),
            files: files.iter().map(|((folder, name), (contents, bits))| {
                file(&format!("/etc/d{folder}/{name}"), &format!("{bits:04o}"), contents)
            }).collect(),
            links: links.iter().map(|(name, target)| link(&format!("/etc/l{name}"), target)).collect(),
            ..empty()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip(tree in tree(), gzip in prop::sample::select(&Gzip::ALL)) {
        for profile in Profile::all() {
            passes(&tree, profile, &EncodeOptions { gzip, ..Default::default() });
        }
    }

    /// What the encoder writes is the same to a YAML parser as to the JSON parser of the decoder.
    #[test]
    fn yaml_reads_the_same(tree in tree()) {
        let artifacts = encode(&tree, Profile::find("cloud-init").unwrap(), &EncodeOptions::default()).unwrap();
        for artifact in &artifacts {
            let text = std::str::from_utf8(artifact.bytes.expose()).unwrap();
            let yaml: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            let json: serde_json::Value = serde_json::from_str(text.trim_start_matches("#cloud-config\n")).unwrap();
            prop_assert_eq!(yaml, json);
        }
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        for profile in Profile::all() {
            let mut artifacts = encode(&full(), profile, &EncodeOptions::default()).unwrap();
            let mut damaged = artifacts[0].bytes.expose().to_vec();
            let at = at.index(damaged.len());
            damaged.splice(at..(at + bytes.len()).min(damaged.len()), bytes.clone());
            artifacts[0].bytes = nodekiln_plan::Secret::new(damaged);
            let _ = decode(&artifacts, profile);
        }
    }
}

/// Ignition would lay down what such a resource holds, and nobody would have looked at it.
#[test]
fn nothing_hides_behind_a_resource() {
    let profile = Profile::find("flatcar").unwrap();
    let artifacts = encode(&full(), profile, &EncodeOptions::default()).unwrap();
    let text = String::from_utf8(artifacts[0].bytes.expose().to_vec()).unwrap();
    let fetch = &full().fetches[0];
    let place = fetch.into.path.as_str();
    let at = text.find(&format!("\"source\":\"{}\"", fetch.url)).unwrap();
    let (before, rest) = text.split_at(at);
    let start = before.rfind('{').unwrap();
    let end = at + rest.find("}}").unwrap() + 2;
    for (contents, what) in [
        (text[start..end].replace(&fetch.url, "data:;base64,QQ=="), "source"),
        (text[start..end].replace(&fetch.url, "file:///etc/shadow"), "source"),
        (r#"[null,"data:,a",null]"#.to_owned(), "contents"),
        (r#"{"source":"data:,a","source":"data:,b"}"#.to_owned(), "contents"),
        (r#"{"source":"data:,a","other":"b"}"#.to_owned(), "contents"),
        (r#"{"source":"data:,a\u0022"}"#.to_owned(), "source"),
    ] {
        let forged = [&text[..start], &contents, &text[end..]].concat();
        let forged = [Artifact { name: "config.ign", bytes: nodekiln_plan::Secret::from(forged) }];
        assert_eq!(decode(&forged, profile).unwrap_err(), crate::DecodeError::unexpected(place, what), "{contents}");
    }
}

#[test]
fn a_cloud_init_payload_cannot_be_changed_unseen() {
    let profile = Profile::find("cloud-init").unwrap();
    assert_eq!(profile.format, Format::CloudInit);
    let mut artifacts = encode(&full(), profile, &EncodeOptions::default()).unwrap();
    let text = String::from_utf8(artifacts[0].bytes.expose().to_vec()).unwrap();
    let changed = text.replacen("10-nodekiln", "11-nodekiln", 1);
    assert_ne!(text, changed);
    artifacts[0].bytes = nodekiln_plan::Secret::from(changed);
    assert_eq!(decode(&artifacts, profile).unwrap_err(), crate::DecodeError::unexpected("user-data", "the digest"));
}

/// Its package has started containerd long before cloud-init writes its configuration, and nothing else makes it read that.
#[test]
fn cloud_init_restarts_the_container_runtime() {
    let profile = Profile::find("cloud-init").unwrap();
    for tree in [empty(), full()] {
        let artifacts = encode(&tree, profile, &EncodeOptions::default()).unwrap();
        let text = String::from_utf8(artifacts[0].bytes.expose().to_vec()).unwrap();
        assert!(text.contains(r#""restart","containerd.service"]"#), "{text}");
    }
}
