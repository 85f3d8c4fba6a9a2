//! A random cluster.yaml: what the whole cluster is, and what its control plane is told.

use super::{
    node::{self, Profile},
    tape::Tape,
};
use serde_json::{Map, Value, json};

/// Where members of etcd run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Etcd {
    /// On control planes.
    Stacked,
    /// On nodes of their own.
    Nodes,
    /// Elsewhere.
    External,
}

/// What the parts of the file have to agree on.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Of kubernetesVersion.
    pub minor: u16,
    /// Of nodes' addresses, the first first.
    pub families: &'static str,
    /// networking.podSubnet.
    pub pods: &'static str,
    /// addons.cni.
    pub cni: &'static str,
    /// Where members of etcd run.
    pub etcd: Etcd,
    /// os.profile of those that do not say otherwise.
    pub profile: Profile,
    /// Whether nodes and pools have profiles of their own.
    pub mixed: bool,
    /// delivery.mode.
    pub pointer: bool,
    /// How many control planes, workers, etcd nodes and pools there are.
    pub counts: [usize; 4],
}

/// Pod networks, service networks, families of the nodes.
const NETWORKS: [(&str, &str, &str); 6] = [
    ("10.244.0.0/16", "10.96.0.0/12", "4"),
    ("192.168.0.0/16", "172.16.0.0/20", "4"),
    ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112", "46"),
    ("fd00:10:244::/56,10.244.0.0/16", "fd00:10:96::/112,10.96.0.0/16", "64"),
    ("fd00:10:244::/56", "fd00:10:96::/112", "6"),
    ("fd00:10:240::/48", "fd00:10:97::/108", "6"),
];

/// The newest patch that a minor is given here.
pub const PATCHES: [(u16, u16); 5] = [(36, 3), (33, 13), (34, 9), (35, 6), (37, 1)];

/// The whole file.
pub fn cluster(tape: &mut Tape<'_>) -> Value {
    let (minor, newest) = tape.pick(&PATCHES);
    let (pods, services, families) = tape.pick(&NETWORKS);
    let profile = tape.pick(&Profile::ALL);
    let mixed = tape.one_in(4);
    let algorithm = algorithm(tape, minor);
    // Keys of RSA take long to make, and to sign with: they were made for one control plane.
    let is_rsa = algorithm.starts_with("RSA");
    let etcd = match tape.below(5) {
        3 if !is_rsa => Etcd::Nodes,
        4 => Etcd::External,
        _ => Etcd::Stacked,
    };
    let controls = if is_rsa { 1 } else { [1, 1, 1, 2, 3, 3, 5][tape.below(7)] };
    let etcds = if etcd == Etcd::Nodes { [1, 3][tape.below(2)] } else { 0 };
    let pools = [0, 0, 0, 1, 2][tape.below(5)];
    let cni = if pools > 0 { tape.pick(&["none", "flannel"]) } else { tape.pick(&["none", "bridge", "flannel"]) };
    let pointer = profile != Profile::CloudInit && !mixed && tape.one_in(4);
    let counts = [controls, tape.below(3), etcds, pools];
    let shape = Shape { minor, families, pods, cni, etcd, profile, mixed, pointer, counts };

    let mut file = Map::new();
    let mut set = |key: &str, value: Value| drop(file.insert(key.to_owned(), value));
    set("apiVersion", json!("nodekiln/v1alpha1"));
    set("kind", json!("Cluster"));
    set("kubernetesVersion", json!(format!("v1.{minor}.{}", [newest, 0][tape.below(2)])));
    let mut networking = tape.some(3, &json!({"dnsDomain": "lab.example"}));
    networking.insert("podSubnet".to_owned(), json!(pods));
    networking.insert("serviceSubnet".to_owned(), json!(services));
    set("networking", networking.into());
    set("nodes", node::nodes(tape, &shape));
    set("os", node::cluster_os(tape, &shape));
    if algorithm != "ECDSA-P256" || tape.one_in(8) {
        set("encryptionAlgorithm", json!(algorithm));
    }
    endpoint(tape, &shape, &mut file);
    file.extend(node::pools(tape, &shape));
    file.insert("addons".to_owned(), addons(tape, cni));
    file.extend(etcd_of(tape, &shape));
    tape.maybe(&mut file, 3, "delivery", |tape| delivery(tape, pointer));
    if pointer {
        file.insert("delivery".to_owned(), delivery(tape, true));
    }
    tape.maybe(&mut file, 3, "binaries", |tape| node::binaries(tape, &shape, false));
    tape.maybe(&mut file, 3, "kernel", node::kernel);
    components(tape, &mut file);
    rest(tape, &mut file, &shape, algorithm);
    Value::Object(file)
}

fn algorithm(tape: &mut Tape<'_>, minor: u16) -> &'static str {
    match tape.below(60) {
        51..=55 if minor > 33 => "ECDSA-P384",
        56 | 57 => "RSA-2048",
        58 => "RSA-3072",
        59 => "RSA-4096",
        _ => "ECDSA-P256",
    }
}

/// loadBalancer and the endpoint that it wants.
fn endpoint(tape: &mut Tape<'_>, shape: &Shape, file: &mut Map<String, Value>) {
    let literal = |host: usize, port: u16| match shape.families.starts_with('4') {
        true => format!("192.0.2.{host}:{port}"),
        false => format!("[2001:db8::{host}]:{port}"),
    };
    let several = shape.counts[0] > 1;
    let (balancer, endpoint) = match tape.below(8) {
        0 | 1 if several => (None, Some(literal(254, 8443))),
        0 | 1 => (None, None),
        2 => (Some("external"), Some("api.example.org:6443".to_owned())),
        3 => (None, Some("api.example.org:443".to_owned())),
        4 => (Some("none"), Some(literal(node::FIRST, 6443))),
        5 => (Some("kube-vip"), Some(literal(250, 6443))),
        6 => (Some("local"), None),
        _ => (Some("local"), Some("api.example.org:6443".to_owned())),
    };
    for (key, value) in [("loadBalancer", balancer.map(str::to_owned)), ("controlPlaneEndpoint", endpoint)] {
        if let Some(value) = value {
            file.insert(key.to_owned(), json!(value));
        }
    }
}

fn addons(tape: &mut Tape<'_>, cni: &str) -> Value {
    let mut addons = Map::from_iter([("cni".to_owned(), json!(cni))]);
    tape.maybe(&mut addons, 4, "manifests", |tape| tape.items(&json!(["objects/a.yaml", "objects/more"])));
    addons.into()
}

fn etcd_of(tape: &mut Tape<'_>, shape: &Shape) -> Map<String, Value> {
    let mut etcd = Map::new();
    if shape.etcd != Etcd::External {
        tape.maybe(&mut etcd, 3, "local", |tape| {
            tape.some(
                2,
                &json!({
                    "dataDir": "/var/lib/etcd-data",
                    "extraArgs": [{"name": "quota-backend-bytes", "value": "4294967296"}],
                    "extraEnvs": [{"name": "GOGC", "value": "50"}],
                    "serverCertSANs": ["etcd.example.org", "192.0.2.201"],
                    "peerCertSANs": ["2001:db8::201"],
                    "imageRepository": "mirror.example.org/etcd",
                    "imageTag": "3.5.24-0",
                }),
            )
            .into()
        });
    } else {
        let files = match tape.below(3) {
            0 => json!({"caFile": "etcd/ca.crt", "certFile": "etcd/client.crt", "keyFile": "etcd/client.key"}),
            1 => json!({"caFile": "/etc/etcd/ca.crt", "certFile": "/etc/etcd/c.crt", "keyFile": "/etc/etcd/c.key"}),
            _ => json!({}),
        };
        let scheme = if files["caFile"].is_string() { "https" } else { "http" };
        let all = ["198.51.100.1:2379", "etcd.example.org:2379", "[2001:db8:1::3]:2379"];
        let endpoints: Vec<_> = all[..=tape.below(3)].iter().map(|host| format!("{scheme}://{host}")).collect();
        let mut external = files;
        external["endpoints"] = json!(endpoints);
        etcd.insert("external".to_owned(), external);
    }
    if etcd.is_empty() { Map::new() } else { Map::from_iter([("etcd".to_owned(), etcd.into())]) }
}

fn delivery(tape: &mut Tape<'_>, pointer: bool) -> Value {
    let ca = |tape: &mut Tape<'_>| tape.some(3, &json!({"caFile": "etcd/ca.crt"}));
    match (pointer, tape.below(3)) {
        (false, 0) => json!({"mode": "inline"}),
        (false, _) => json!({"baseURL": "http://192.0.2.5:8080/x"}),
        (true, 0) => json!({"mode": "pointer", "baseURL": "http://192.0.2.5/x", "insecure": true}),
        (true, _) => {
            let mut delivery = ca(tape);
            delivery.extend([
                ("mode".to_owned(), json!("pointer")),
                ("baseURL".to_owned(), json!("https://boot.example.org/x")),
            ]);
            delivery.into()
        }
    }
}

fn volumes(tape: &mut Tape<'_>) -> Value {
    const TYPES: [&str; 8] =
        ["DirectoryOrCreate", "", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    let kind = tape.pick(&TYPES);
    let mut volume = tape.some(2, &json!({"readOnly": true, "pathType": kind}));
    for (key, value) in [("name", "own"), ("hostPath", "/srv/own"), ("mountPath", "/own")] {
        volume.insert(key.to_owned(), json!(value));
    }
    json!([volume])
}

fn components(tape: &mut Tape<'_>, file: &mut Map<String, Value>) {
    for (name, flag) in [
        ("apiServer", json!([{"name": "audit-log-maxage", "value": "30"}, {"name": "v", "value": "2"}])),
        ("controllerManager", json!([{"name": "node-monitor-grace-period", "value": "40s"}])),
        ("scheduler", json!([{"name": "profiling", "value": "false"}])),
    ] {
        tape.maybe(file, 4, name, |tape| {
            let mut component = tape.some(2, &json!({
                "extraArgs": flag, "extraEnvs": [{"name": "GOMAXPROCS", "value": "2"}, {"name": "A", "value": "b c"}],
            }));
            tape.maybe(&mut component, 2, "extraVolumes", volumes);
            if name == "apiServer" {
                tape.maybe(&mut component, 2, "certSANs", |tape| {
                    tape.items(&json!(["api.example.org", "*.apps.example.org", "192.0.2.200", "2001:db8::200"]))
                });
            }
            component.into()
        });
    }
}

fn rest(tape: &mut Tape<'_>, file: &mut Map<String, Value>, shape: &Shape, algorithm: &str) {
    let minor = shape.minor;
    file.extend(tape.some(
        6,
        &json!({
            "clusterName": "prod-eu.1",
            "certificatesDir": "/etc/kubernetes/own/pki",
            "imageRepository": "mirror.example.org:5000/k8s",
            "certificateValidityPeriod": "4000h",
            "caCertificateValidityPeriod": "80000h",
            "kubelet": {"maxPods": 60, "systemReserved": {"cpu": "200m", "memory": "300Mi"}},
            "kubeProxy": {"mode": "nftables"},
            "kubeletExtraArgs": [{"name": "v", "value": "2"}],
            "ignorePreflightErrors": ["NumCPU", "Mem", "ExternalEtcdVersion"],
            "proxy": {"disabled": true},
            "images": {"digests": {
                "registry.k8s.io/pause:3.10": format!("sha256:{}", "a".repeat(64)),
            }},
            "patches": if minor == 37 { "patches-proxy" } else { "patches" },
        }),
    ));
    tape.maybe(file, 6, "timeouts", |tape| {
        tape.some(
            2,
            &json!({
                "controlPlaneComponentHealthCheck": "5m", "kubeletHealthCheck": "3m30s", "kubernetesAPICall": "90s",
                "etcdAPICall": "1m", "tlsBootstrap": "10m",
            }),
        )
        .into()
    });
    tape.maybe(file, 6, "dns", |tape| {
        tape.some(2, &json!({"disabled": true, "imageRepository": "mirror.example.org/dns", "imageTag": "v1.12.0"}))
            .into()
    });
    tape.maybe(file, 5, "featureGates", |tape| {
        let known = [
            ("NodeLocalCRISocket", 33..=35, tape.one_in(2)),
            ("NodeLocalCRISocket", 36..=36, true),
            ("ControlPlaneKubeletLocalMode", 33..=35, true),
            ("WaitForAllControlPlaneComponents", 33..=34, true),
            ("RootlessControlPlane", 33..=37, false),
            ("PublicKeysECDSA", 33..=36, algorithm == "ECDSA-P256"),
        ];
        let fits = |name: &str| name != "PublicKeysECDSA" || ["ECDSA-P256", "RSA-2048"].contains(&algorithm);
        let mut gates = Map::new();
        for (name, minors, value) in known {
            if minors.contains(&minor) && fits(name) && tape.one_in(2) {
                gates.insert(name.to_owned(), json!(value));
            }
        }
        gates.into()
    });
}
