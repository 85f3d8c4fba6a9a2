//! Trees to encode: what a node needs, and what parsers stumble over.

use nodekiln_payload::{
    Account, Artifact, Dropin, EncodeOptions, Fetch, FetchInto, Link, Network, NodeTree, Profile, SharedPart, TreeFile,
    Unit, UnitState, Verification, check, encode,
};
use nodekiln_plan::{DirectoryEntry, Secret, Sha256};
use std::sync::Arc;

/// Counts its starts; ordered and wanted as nodekiln-firstboot is.
pub fn firstboot() -> String {
    let profile = Profile::find("cloud-init").unwrap();
    let after: Vec<_> = profile.after.iter().map(ToString::to_string).collect();
    format!(
        "[Unit]\nDescription=first\nWants=network-online.target\nAfter={}\n[Service]\nType=oneshot\n\
         ExecStart=/bin/sh -c 'echo run >>/var/lib/nodekiln/runs'\n[Install]\nWantedBy={}\n",
        after.join(" "),
        profile.wanted_by
    )
}

/// Texts that YAML 1.1, JSON, a data URL or a shell turns into something else if they are not quoted.
pub const NASTY: &[&str] = &[
    "",
    "no",
    "on",
    "Yes",
    "~",
    "null",
    "0644",
    "0o644",
    "1e3",
    "12:30:45",
    "2026-01-01",
    "1_000",
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
    "\"",
    "\\",
    "\\n",
    "%",
    "%41",
    "@a",
    "`id`",
    "|",
    ">",
    "{}",
    "[",
    ",",
    "?",
    "\t",
    " a ",
    "\n",
    "a\n\n b\n",
    "\r",
    "a\r\nb",
    "\u{0}",
    "\u{7}",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}x",
    "\u{2029}",
    "\u{feff}a",
    "\u{fffe}",
    "é",
    "日本",
    "😀",
    "$(id)",
    "${a}",
    "a'b'c",
    "## template: jinja",
    "{{ a }}",
    "MIME-Version: 1.0\nContent-Type: text/plain\n",
    "#cloud-config\n",
    "#!/bin/sh\n",
    "+ /=-",
    "--- a\n...\n",
];

pub fn file(path: &str, mode: &str, contents: &[u8]) -> TreeFile {
    TreeFile {
        path: path.parse().unwrap(),
        mode: mode.parse().unwrap(),
        sha256: Sha256::of(contents),
        contents: Arc::new(Secret::new(contents.to_vec())),
        shared: None,
    }
}

/// A file of which a part is many nodes', between so many lines of its own: it is packed as a series of gzip's members.
fn in_parts(name: &str, before: usize, behind: usize) -> TreeFile {
    let own = |lines| format!("{name}: a line of its own\n").repeat(lines);
    let shared: String = (0..100).map(|line| format!("line {line} of many nodes'\n")).collect();
    let text = [own(before), shared.clone(), own(behind)].concat();
    let range = own(before).len()..own(before).len() + shared.len();
    let mut file = file(&format!("/etc/nodekiln-test/parts/{name}"), "0600", text.as_bytes());
    file.shared = Some(SharedPart { range, sha256: Sha256::of(shared.as_bytes()) });
    file
}

/// Those that read the payload are to meet such a series.
#[test]
fn there_are_files_in_parts() {
    for profile in ["flatcar", "cloud-init"] {
        for index in 0..node().files.len() {
            let mut whole = node();
            let hint = whole.files[index].shared.take();
            let [parts, whole] = [&node(), &whole].map(|tree| encoded(tree, profile, &EncodeOptions::default()));
            assert_eq!(parts[0].bytes != whole[0].bytes, hint.is_some());
        }
    }
}

fn directory(path: &str, mode: &str) -> DirectoryEntry {
    DirectoryEntry { path: path.parse().unwrap(), mode: mode.parse().unwrap() }
}

fn unit(name: &str, state: UnitState, contents: Option<&str>) -> Unit {
    Unit { name: name.parse().unwrap(), state, contents: contents.map(str::to_owned), dropins: Vec::new() }
}

/// Files, folders, links and units of every kind; nothing that needs a network.
pub fn node() -> NodeTree {
    let mut containerd = unit("containerd.service", UnitState::Enabled, None);
    let dropin = "[Service]\n# note\nEnvironment=\"A=b c\" \\\n  D=e%%f\n";
    containerd.dropins = vec![Dropin { name: "10-nodekiln.conf".into(), contents: dropin.into() }];
    let mut files = vec![
        file("/etc/kubernetes/pki/ca.crt", "0644", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
        file("/etc/kubernetes/pki/ca.key", "0600", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
        file("/etc/kubernetes/kubelet.conf", "0600", &br#"{"kind": "Config", "clusters": []}"#.repeat(50)),
        file("/etc/nodekiln-test/read-only", "0444", b"x\n"),
        file("/etc/nodekiln-test/group", "0640", b"x\n"),
        file("/etc/nodekiln-test/program", "0755", b"#!/bin/sh\nexit 0\n"),
        file("/etc/nodekiln-test/binary", "0600", &(0..=255).cycle().take(5000).collect::<Vec<u8>>()),
        file("/etc/nodekiln-test/a name with 'quotes' \"and\" $more", "0600", b"x"),
        file("/var/lib/nodekiln/plan.json", "0600", &b"{\"version\": 1}\n".repeat(100)),
    ];
    // What stands before and behind the part is stored or compressed, or is not there.
    for (name, before, behind) in [("plan", 10, 80), ("first", 0, 10), ("last", 80, 0), ("all", 0, 0)] {
        files.push(in_parts(name, before, behind));
    }
    for (index, text) in NASTY.iter().enumerate() {
        files.push(file(&format!("/etc/nodekiln-test/nasty/{index}"), "0644", text.as_bytes()));
    }
    NodeTree {
        node: Some("n1".parse().unwrap()),
        directories: vec![
            directory("/etc/kubernetes", "0755"),
            directory("/etc/kubernetes/pki", "0700"),
            directory("/var/lib/etcd", "0700"),
            directory("/var/lib/nodekiln", "0700"),
            directory("/var/lib/nodekiln/stage", "0700"),
        ],
        files,
        links: vec![
            Link { path: "/etc/nodekiln-test/link".parse().unwrap(), target: "../kubernetes/pki/ca.crt".into() },
            Link { path: "/etc/nodekiln-test/dangling".parse().unwrap(), target: "/nowhere/a b".into() },
        ],
        units: vec![
            containerd,
            unit("kubelet.service", UnitState::Unchanged, Some("[Service]\nExecStart=/bin/true\n")),
            unit("nodekiln-firstboot.service", UnitState::Enabled, Some(&firstboot())),
            unit("nodekiln-off.service", UnitState::Disabled, Some(&firstboot())),
            unit("nodekiln-updates.timer", UnitState::Masked, None),
        ],
        accounts: Vec::new(),
        fetches: Vec::new(),
        fetch_ca: None,
        network: None,
        time_servers: Vec::new(),
        snippets: Vec::new(),
    }
}

/// Accounts and fetches too.
pub fn complete() -> NodeTree {
    NodeTree {
        accounts: vec![
            Account {
                name: "ops".into(),
                ssh_authorized_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA ops@example".into()],
                password_hash: None,
                groups: vec!["sudo".into()],
            },
            Account {
                name: "root".into(),
                ssh_authorized_keys: Vec::new(),
                password_hash: Some(Secret::new(b"$6$salt$hash".to_vec())),
                groups: Vec::new(),
            },
        ],
        fetches: vec![
            Fetch {
                url: "https://10.0.0.1:8080/blobs/1?a=b&c".into(),
                verification: Verification::Sha256(Sha256::of(b"x")),
                into: FetchInto { path: "/opt/bin/one".parse().unwrap(), mode: "0755".parse().unwrap() },
            },
            Fetch {
                url: "http://[fd00::1]/blobs/2".into(),
                verification: Verification::Sha512("0a".repeat(64)),
                into: FetchInto { path: "/opt/bin/two".parse().unwrap(), mode: "0755".parse().unwrap() },
            },
        ],
        fetch_ca: Some((*b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").into()),
        ..node()
    }
}

/// What only cloud-init takes too.
pub fn complete_cloud_init() -> NodeTree {
    NodeTree {
        node: Some("n1.example.com".parse().unwrap()),
        network: Some(Network {
            mac: Some("52:54:00:20:00:11".into()),
            addresses: vec![("10.0.0.11".parse().unwrap(), 24), ("fd00::11".parse().unwrap(), 64)],
            gateways: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            nameservers: vec!["10.0.0.2".parse().unwrap()],
        }),
        time_servers: vec!["time.example.com".into(), "on".into()],
        ..complete()
    }
}

/// Encodes and checks, as a build does.
pub fn encoded(tree: &NodeTree, profile: &str, options: &EncodeOptions) -> Vec<Artifact> {
    let profile = Profile::find(profile).unwrap();
    let artifacts = encode(tree, profile, options).unwrap();
    check(tree, &artifacts, profile).unwrap();
    artifacts
}
