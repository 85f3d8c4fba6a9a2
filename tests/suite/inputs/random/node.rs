//! Nodes and pools of a random cluster, and what they may say over it.

use super::{
    cluster::{Etcd, PATCHES, Shape},
    tape::Tape,
};
use serde_json::{Map, Value, json};

/// os.profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Flatcar.
    Flatcar,
    /// Fedora CoreOS.
    FedoraCoreos,
    /// Debian and kin.
    CloudInit,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 3] = [Self::Flatcar, Self::FedoraCoreos, Self::CloudInit];

    fn name(self) -> &'static str {
        match self {
            Self::Flatcar => "flatcar",
            Self::FedoraCoreos => "fedora-coreos",
            Self::CloudInit => "cloud-init",
        }
    }
}

/// Last part of the first node's address.
pub const FIRST: usize = 11;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F ops";

/// os of the cluster.
pub fn cluster_os(tape: &mut Tape<'_>, shape: &Shape) -> Value {
    let mut os = os(tape, shape.profile, 3, !shape.mixed);
    os.insert("profile".to_owned(), json!(shape.profile.name()));
    if shape.pointer {
        // A stub fits everywhere.
        tape.maybe(&mut os, 2, "platform", |tape| {
            json!(tape.pick(&["metal", "aws", "openstack", "azure", "gcp", "qemu"]))
        });
    } else {
        tape.maybe(&mut os, 5, "platform", |tape| json!(tape.pick(&["metal", "qemu", "gcp", "aws"])));
    }
    os.into()
}

/// Parts of an os, each once in `n` times. `is_all`: all machines that it is for have this profile.
fn os(tape: &mut Tape<'_>, profile: Profile, n: usize, is_all: bool) -> Map<String, Value> {
    let arch = tape.pick(&["amd64", "arm64"]);
    let mut os = tape.some(
        n,
        &json!({
            "arch": arch,
            "timeServers": ["192.0.2.123", "time.example.org"],
        }),
    );
    tape.maybe(&mut os, n, "updates", |tape| json!(tape.pick(&["off", "on"])));
    tape.maybe(&mut os, n, "users", |tape| {
        let mut user = tape.some(
            2,
            &json!({
                "sshAuthorizedKeys": [KEY], "passwordHash": "$6$salt$hash", "groups": ["adm", "sudo"],
            }),
        );
        user.insert("name".to_owned(), json!("ops"));
        json!([user])
    });
    tape.maybe(&mut os, n, "files", |tape| {
        tape.items(&json!([
            {"path": "/etc/motd", "mode": "0644", "content": "a: b # c\n'\"\t\u{e9}"},
            {"path": "/etc/own/empty", "content": ""},
            {"path": "/etc/own/motd", "mode": "0600", "file": "own/motd"},
        ]))
    });
    tape.maybe(&mut os, n, "units", |tape| {
        tape.items(&json!([
            {"name": "own.service", "enabled": true,
             "content": "[Service]\nType=oneshot\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"},
            {"name": "cron.service", "dropins": [{"name": "10-x.conf", "content": "[Service]\nNice=5\n"}]},
        ]))
    });
    if is_all {
        let snippets = match profile {
            Profile::CloudInit => json!(["snippets/a.cfg", "snippets/b.cfg"]),
            Profile::Flatcar | Profile::FedoraCoreos => json!(["snippets/a.ign", "snippets/b.ign"]),
        };
        tape.maybe(&mut os, n + 1, "snippets", |tape| tape.items(&snippets));
        if profile != Profile::CloudInit {
            tape.maybe(&mut os, n, "ignitionVersion", |tape| json!(tape.pick(&["3.3.0", "3.4.0", "3.5.0"])));
        }
    }
    os
}

/// binaries, of the cluster or of one.
pub fn binaries(tape: &mut Tape<'_>, shape: &Shape, is_own: bool) -> Value {
    let plain = shape.profile == Profile::CloudInit || shape.mixed;
    let mut binaries = Map::new();
    // flannel wants one folder on all nodes.
    let one_folder = is_own && shape.cni == "flannel";
    for name in ["kubelet", "containerd", "runc", "firstboot", "cniPlugins"]
        .iter()
        .take(if one_folder { 4 } else { 5 })
        .copied()
    {
        tape.maybe(&mut binaries, 4, name, |tape| {
            let archive = if name == "cniPlugins" { ".tar.gz" } else { "" };
            match tape.below(5) {
                1 => json!({"file": if name == "cniPlugins" { "own/cni.tgz" } else { "own/kubelet" }}),
                2 => json!({
                    "url": format!("https://dl.example.org/{name}{archive}"), "sha256": "ab".repeat(32),
                }),
                3 => json!({
                    "url": format!("http://dl.example.org/{name}{archive}"), "sha512": "cd".repeat(64),
                }),
                4 if !plain && !["firstboot", "cniPlugins"].contains(&name) => {
                    json!({"sysext": "https://dl.example.org/kubernetes.raw", "sha256": "ef".repeat(32)})
                }
                _ => json!({"path": format!("/opt/own/{name}")}),
            }
        });
    }
    binaries.into()
}

/// kernel, of the cluster or of one.
pub fn kernel(tape: &mut Tape<'_>) -> Value {
    let mut kernel = tape.some(2, &json!({"swap": true}));
    tape.maybe(&mut kernel, 2, "modules", |tape| tape.items(&json!(["ip_vs", "dm_crypt"])));
    tape.maybe(&mut kernel, 2, "sysctls", |tape| {
        tape.items(&json!([
            {"name": "vm.max_map_count", "value": 262_144, "floor": true},
            {"name": "net.ipv4.ip_local_port_range", "value": "20000 60000"},
        ]))
    });
    kernel.into()
}

/// What nodes that are Nodes, and pools, may say over the cluster.
fn over(tape: &mut Tape<'_>, shape: &Shape, entry: &mut Map<String, Value>) {
    entry.extend(tape.some(
        5,
        &json!({
            "kubelet": {"maxPods": 20}, "kubeletExtraArgs": [{"name": "v", "value": "4"}],
            "taints": ["gpu=yes:NoSchedule", "x:PreferNoSchedule"],
        }),
    ));
    tape.maybe(entry, 5, "kernel", kernel);
    tape.maybe(entry, 8, "binaries", |tape| binaries(tape, shape, true));
    let mut profile = shape.profile;
    let mut own = Map::new();
    if shape.mixed && tape.one_in(2) {
        profile = tape.pick(&Profile::ALL);
        own.insert("profile".to_owned(), json!(profile.name()));
    }
    if tape.one_in(5) || !own.is_empty() {
        own.extend(os(tape, profile, 4, true));
        entry.insert("os".to_owned(), own.into());
    }
}

fn older(tape: &mut Tape<'_>, shape: &Shape, by: u16) -> Value {
    let minor = shape.minor.saturating_sub(u16::try_from(tape.below(usize::from(by) + 1)).unwrap_or(0)).max(33);
    let newest = PATCHES.iter().find(|(known, _)| *known == minor).map_or(0, |(_, patch)| *patch);
    json!(format!("v1.{minor}.{}", if minor == shape.minor { 0 } else { newest }))
}

/// nodes.
pub fn nodes(tape: &mut Tape<'_>, shape: &Shape) -> Value {
    let roles = ["control-plane", "worker", "etcd"];
    let all: Vec<_> = roles.iter().zip(shape.counts).flat_map(|(role, count)| vec![*role; count]).collect();
    Value::Array(all.into_iter().enumerate().map(|(index, role)| node(tape, shape, index, role)).collect())
}

/// One node: number `index` has name and addresses of its own.
pub fn node(tape: &mut Tape<'_>, shape: &Shape, index: usize, role: &str) -> Value {
    let host = FIRST + index;
    let address = |family: char| match family {
        '4' => (format!("192.0.2.{host}"), 24, "192.0.2.1"),
        _ => (format!("2001:db8::{host}"), 64, "2001:db8::1"),
    };
    let addresses: Vec<_> = shape.families.chars().map(address).collect();
    let plain: Vec<_> = addresses.iter().map(|(address, ..)| address.as_str()).collect();
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    set("name", json!(format!("n{index}")));
    set("role", json!(role));
    set("address", if plain.len() == 1 { json!(plain[0]) } else { json!(plain) });
    let is_static = tape.one_in(4);
    if is_static {
        let own: Vec<_> = addresses.iter().map(|(address, length, _)| format!("{address}/{length}")).collect();
        let gateways: Vec<_> = addresses.iter().map(|(.., gateway)| *gateway).collect();
        let mut network = tape.some(2, &json!({"nameservers": ["192.0.2.53"], "gateway": gateways}));
        network.insert("addresses".to_owned(), json!(own));
        set("network", network.into());
    }
    if is_static || tape.one_in(4) {
        set("mac", json!(format!("52:54:00:00:00:{host:02x}")));
    }
    if tape.one_in(5) {
        set("uuid", json!(format!("6f1b0d0e-7c1c-4f2a-9c55-0000000000{host:02x}")));
    }
    if tape.one_in(5) {
        set("disk", json!("/dev/disk/by-id/nvme-1"));
    }
    if role == "etcd" {
        tape.maybe(&mut entry, 5, "kernel", kernel);
        return entry.into();
    }
    tape.maybe(&mut entry, 3, "labels", |tape| {
        tape.some(2, &json!({"disk": "ssd", "example.org/a.b": "c", "node-role.kubernetes.io/edge": ""})).into()
    });
    tape.maybe(&mut entry, 6, "kubernetesVersion", |tape| older(tape, shape, if role == "worker" { 3 } else { 1 }));
    if shape.cni == "bridge" && tape.one_in(4) {
        let part = |net: &str| match net {
            "10.244.0.0/16" => format!("10.244.{}.0/24", 200 + index),
            "192.168.0.0/16" => format!("192.168.{}.0/24", 200 + index),
            // Of the length that kube-controller-manager gives out.
            _ => format!("{}:{:x}::/64", net.split("::").next().unwrap_or_default(), 200 + index),
        };
        let parts: Vec<_> = shape.pods.split(',').map(part).collect();
        entry.insert("podCIDR".to_owned(), json!(parts.join(",")));
    }
    if role == "worker" {
        if tape.one_in(5) {
            entry.insert("identity".to_owned(), json!("bootstrap-token"));
            entry.insert("ttl".to_owned(), if tape.one_in(2) { json!(0) } else { json!("720h") });
        } else {
            entry.extend(tape.some(8, &json!({"identity": "baked"})));
        }
    } else if shape.etcd == Etcd::Stacked && index + 1 == shape.counts[0] && tape.one_in(6) {
        entry.insert("replaces".to_owned(), json!(tape.pick(&["gone", "gone@192.0.2.99"])));
    }
    over(tape, shape, &mut entry);
    entry.into()
}

/// pools.
pub fn pools(tape: &mut Tape<'_>, shape: &Shape) -> Map<String, Value> {
    let pool = |tape: &mut Tape<'_>, index: usize| {
        let mut entry = tape.some(2, &json!({"labels": {"disk": "ssd", "example.org/a.b": "c"}}));
        entry.insert("name".to_owned(), json!(format!("pool{index}")));
        entry.insert("ttl".to_owned(), [json!("24h"), json!(0)][tape.below(2)].clone());
        tape.maybe(&mut entry, 4, "kubernetesVersion", |tape| older(tape, shape, 3));
        over(tape, shape, &mut entry);
        Value::Object(entry)
    };
    let all: Vec<_> = (0..shape.counts[3]).map(|index| pool(tape, index)).collect();
    if all.is_empty() { Map::new() } else { Map::from_iter([("pools".to_owned(), json!(all))]) }
}
