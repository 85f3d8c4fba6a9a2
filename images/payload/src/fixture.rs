//! Trees for tests.

use crate::tree::{
    Account, Dropin, Fetch, FetchInto, Link, Network, NodeTree, TreeFile, Unit, UnitState, Verification,
};
use nodekiln_plan::{DirectoryEntry, Secret, Sha256};
use std::sync::Arc;

pub(crate) fn file(path: &str, mode: &str, contents: &[u8]) -> TreeFile {
    TreeFile {
        path: path.parse().unwrap(),
        mode: mode.parse().unwrap(),
        sha256: Sha256::of(contents),
        contents: Arc::new(Secret::new(contents.to_vec())),
        shared: None,
    }
}

pub(crate) fn directory(path: &str, mode: &str) -> DirectoryEntry {
    DirectoryEntry { path: path.parse().unwrap(), mode: mode.parse().unwrap() }
}

pub(crate) fn link(path: &str, target: &str) -> Link {
    Link { path: path.parse().unwrap(), target: target.into() }
}

pub(crate) fn unit(name: &str, state: UnitState, contents: Option<&str>) -> Unit {
    Unit { name: name.parse().unwrap(), state, contents: contents.map(str::to_owned), dropins: Vec::new() }
}

/// Nothing but a name.
pub(crate) fn empty() -> NodeTree {
    NodeTree {
        node: Some("n1".parse().unwrap()),
        directories: Vec::new(),
        files: Vec::new(),
        links: Vec::new(),
        units: Vec::new(),
        accounts: Vec::new(),
        fetches: Vec::new(),
        fetch_ca: None,
        network: None,
        time_servers: Vec::new(),
        snippets: Vec::new(),
    }
}

pub(crate) const FIRSTBOOT: &str =
    "[Unit]\nDescription=first\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";

/// One of everything that every format carries.
pub(crate) fn full() -> NodeTree {
    let mut containerd = unit("containerd.service", UnitState::Enabled, None);
    containerd.dropins =
        vec![Dropin { name: "10-nodekiln.conf".into(), contents: "[Service]\nEnvironment=A=\"b c\"\n".into() }];
    NodeTree {
        directories: vec![
            directory("/etc/kubernetes", "0755"),
            directory("/etc/kubernetes/pki", "0700"),
            directory("/var/lib/etcd", "0700"),
            directory("/var/lib/nodekiln", "0700"),
        ],
        files: vec![
            file(
                "/etc/kubernetes/pki/ca.crt",
                "0644",
                b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            ),
            file(
                "/etc/kubernetes/pki/ca.key",
                "0600",
                b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
            ),
            file("/etc/kubernetes/kubelet.conf", "0600", &b"{\"a\": [1, 2, 3]}\n".repeat(100)),
            file("/etc/empty", "0444", b""),
            file("/var/lib/nodekiln/blob", "0600", &[0, 255, 254, 10, 13]),
        ],
        links: vec![link("/etc/kubernetes/latest", "pki/ca.crt")],
        units: vec![
            containerd,
            unit("docker.service", UnitState::Masked, None),
            unit("kubelet.service", UnitState::Unchanged, Some("[Service]\nExecStart=/a \\\n  --b\n")),
            unit("nodekiln-firstboot.service", UnitState::Enabled, Some(FIRSTBOOT)),
            unit("swap.target", UnitState::Disabled, None),
        ],
        accounts: vec![Account {
            name: "ops".into(),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAA ops@example".into()],
            password_hash: Some(Secret::new(b"$6$salt$hash".to_vec())),
            groups: vec!["sudo".into()],
        }],
        fetches: vec![
            Fetch {
                url: "https://10.0.0.1:8080/blobs/1?a=b&c".into(),
                verification: Verification::Sha256(Sha256::of(b"x")),
                into: FetchInto { path: "/opt/bin/firstboot".parse().unwrap(), mode: "0755".parse().unwrap() },
            },
            Fetch {
                url: "http://10.0.0.1/blobs/2".into(),
                verification: Verification::Sha512("0a".repeat(64)),
                into: FetchInto { path: "/opt/bin/kubelet".parse().unwrap(), mode: "0755".parse().unwrap() },
            },
        ],
        fetch_ca: Some((*b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").into()),
        ..empty()
    }
}

/// One of everything that cloud-init carries.
pub(crate) fn full_cloud_init() -> NodeTree {
    NodeTree {
        node: Some("n1.example.com".parse().unwrap()),
        network: Some(Network {
            mac: Some("52:54:00:20:00:11".into()),
            addresses: vec![("10.0.0.11".parse().unwrap(), 24), ("fd00::11".parse().unwrap(), 64)],
            gateways: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            nameservers: vec!["10.0.0.2".parse().unwrap()],
        }),
        time_servers: vec!["time.example.com".into()],
        ..full()
    }
}
