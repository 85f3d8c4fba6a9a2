//! A payload on a fake machine, and runs that are killed at every point.

mod apiserver;
mod crash;
mod etcd;
mod kubelet;
mod machine;
pub mod pki;
mod steps;
mod trio;

use crate::{
    host::{HttpError, HttpRequest, HttpResponse, Output, fake::Fake},
    stage::{Context, boot_id},
    status::Status,
};
use nodekiln_plan::{FileEntry, FileKind, NodePlan, Sha256, paths};
use serde_json::json;
use std::{cell::RefCell, io, path::Path};

/// A single node whose kubelet knows of no API server, though one runs beside etcd: every stage but the API-side steps has work.
pub fn etcd_node() -> (Fake, NodePlan) {
    let fake = Fake::machine_that_passes();
    let pki = pki::pki(&["10.0.0.1"]);
    let mut plan: NodePlan = serde_json::from_value(json!({
        "version": nodekiln_plan::PLAN_VERSION,
        "spec": {
            "cluster": "lab", "node": "n1", "role": "etcd", "kubernetesVersion": "v1.36.3", "addresses": ["10.0.0.1"],
            "etcd": {
                "members": [{"name": "n1", "address": "10.0.0.1"}], "dataDir": "/var/lib/etcd",
                "manifest": "/etc/kubernetes/manifests/etcd.yaml",
                "clientPort": 2379, "peerPort": 2380, "statementPort": 2382,
                "ca": "/pki/ca.crt", "peerCert": "/pki/peer.crt", "peerKey": "/pki/peer.key",
                "clientCert": "/pki/peer.crt", "clientKey": "/pki/peer.key",
                "apiServers": ["10.0.0.1:6443"], "apiCa": "/pki/ca.crt"
            }
        },
        "class": {
            "preflight": {
                "ports": [2379, 10250], "programs": [], "runtimeEndpoint": "unix:///run/containerd/containerd.sock",
                "ipv4": true, "ipv6": false
            },
            "kernel": {
                "modules": ["overlay"],
                "sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "fs.x", "value": "10", "floor": true}],
                "swap": false
            },
            "directories": [
                {"path": "/etc/kubernetes/manifests", "mode": "0700"}, {"path": "/var/lib/kubelet", "mode": "0700"}
            ],
            "kubelet": {
                "unit": "kubelet.service", "binary": "/usr/bin/kubelet", "after": ["containerd.service"],
                "healthz": "http://127.0.0.1:10248/healthz", "rootDir": "/var/lib/kubelet",
                "staticPods": "/etc/kubernetes/manifests", "ca": "/pki/ca.crt",
                "clientCertificate": "/var/lib/kubelet/pki/kubelet-client-current.pem"
            },
            "timeouts": {
                "controlPlaneComponentHealthCheck": 240, "kubeletHealthCheck": 240, "kubernetesApiCall": 60,
                "etcdApiCall": 120, "tlsBootstrap": 300
            },
            "finalize": {
                "scrub": ["/var/lib/cloud/instances/*", "/run/ignition.json", "/oem/config.ign"],
                "touch": ["/etc/cloud/cloud-init.disabled"], "beyondReach": ["the metadata service"]
            }
        },
        "identity": {
            "generation": 1, "etcdDigest": Sha256::of(b"etcd"), "notBefore": 1_799_000_000, "bootBefore": 1_900_000_000
        },
        "files": []
    }))
    .unwrap();
    for (path, mode, text) in [
        ("/pki/ca.crt", "0644", pki.ca.as_str()),
        ("/pki/peer.crt", "0644", pki.cert.as_str()),
        ("/pki/peer.key", "0600", pki.key.as_str()),
    ] {
        lay(&fake, &mut plan, FileKind::Laid, path, mode, text);
    }
    lay(&fake, &mut plan, FileKind::Staged, "/var/lib/kubelet/config.yaml", "0644", "kind: KubeletConfiguration\n");
    let template = r#"{"kind":"Pod","spec":{"containers":[{"command":["etcd","--name=n1"]}]}}"#;
    lay(&fake, &mut plan, FileKind::Decided, "/etc/kubernetes/manifests/etcd.yaml", "0600", template);
    lay(&fake, &mut plan, FileKind::Staged, "/etc/kubernetes/manifests/kube-apiserver.yaml", "0600", "{}\n");
    lay(&fake, &mut plan, FileKind::Seed, "/var/lib/kubelet/pki/kubelet-client-current.pem", "0600", "seed\n");
    lay(&fake, &mut plan, FileKind::Credential, "/etc/kubernetes/api.conf", "0600", "credential\n");
    fake.put("/proc/sys/net/ipv4/ip_forward", "0\n");
    fake.put("/proc/sys/fs/x", "20\n");
    fake.put("/sys/module/overlay/x", "");
    fake.put("/usr/bin/kubelet", "program");
    crate::host::Host::set_mode(&fake, Path::new("/usr/bin/kubelet"), 0o755).unwrap();
    fake.put("/run/ignition.json", "payload");
    fake.put("/var/lib/cloud/instances/i-1/user-data.txt", "payload");
    fake.effects.set(0);
    ship(&fake, &plan);
    (fake, plan)
}

/// Adds a file to the plan, and lays it as the payload does.
pub fn lay(fake: &Fake, plan: &mut NodePlan, kind: FileKind, path: &str, mode: &str, text: &str) {
    let staged = match kind {
        FileKind::Laid => None,
        FileKind::Credential => Some(paths::API_CREDENTIAL.to_owned()),
        _ => Some(format!("{}{path}", paths::STAGE_DIR)),
    };
    let place = staged.clone().unwrap_or_else(|| path.to_owned());
    fake.put(&place, text);
    let mode: nodekiln_plan::Mode = mode.parse().unwrap();
    crate::host::Host::set_mode(fake, Path::new(&place), mode.bits()).unwrap();
    plan.files.push(FileEntry {
        path: path.parse().unwrap(),
        mode,
        sha256: Sha256::of(text.as_bytes()),
        kind,
        staged: staged.map(|path| path.parse().unwrap()),
    });
}

/// Writes plan.json.
pub fn ship(fake: &Fake, plan: &NodePlan) {
    fake.put(paths::PLAN, std::str::from_utf8(&plan.to_vec().unwrap()).unwrap());
}

/// Does `work` as a stage of this plan.
pub fn stage<T>(
    fake: &Fake,
    plan: &NodePlan,
    work: impl AsyncFnOnce(&Context<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let status = Status::new(fake, plan.spec.node.clone(), Sha256::of(b""), "boot");
    let boot = boot_id(fake).unwrap();
    let notes = RefCell::default();
    let context = Context { host: fake, plan, digest: Sha256::of(b""), boot, status: &status, notes };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work(&context))
}

/// One run of `run`, with a machine that answers as a real one: the kubelet starts etcd, which writes a log.
pub fn run(fake: &Fake) -> anyhow::Result<()> {
    let root = fake.dir.path().to_owned();
    *fake.script.borrow_mut() = {
        let root = root.clone();
        Box::new(move |program, args| {
            if program.ends_with("kubelet") {
                return Output { code: Some(0), stdout: "Kubernetes v1.36.3\n".to_owned(), ..Output::default() };
            }
            if args.first() == Some(&"is-active") {
                let code = if root.join("run/kubelet").exists() { 0 } else { 3 };
                return Output { code: Some(code), ..Output::default() };
            }
            if args == ["start", "--no-block", "kubelet.service"] {
                let runs = |pid: &str| root.join("proc").join(pid).exists();
                let waits = !root.join("run/kubelet").exists() && runs("76") && !runs("77");
                assert!(!waits, "a kubelet that starts waits minutes for an API server without etcd");
                std::fs::write(root.join("run/kubelet"), "").unwrap();
            }
            if args == ["stop", "kubelet.service"] {
                let _ = std::fs::remove_file(root.join("run/kubelet"));
            }
            Output { code: Some(0), ..Output::default() }
        })
    };
    *fake.tick.borrow_mut() = {
        let root = root.clone();
        Box::new(move || kubelet_works(&root))
    };
    *fake.web.borrow_mut() = Box::new(move |request| machine_answers(&root, request));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(crate::run::run(fake))
}

/// The kubelet and etcd of a machine whose kubelet was started.
fn machine_answers(root: &Path, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
    kubelet_works(root);
    let answers = match request.endpoint.port {
        10248 => root.join("run/kubelet").exists(),
        2379 | 2380 => root.join("proc/77").exists(),
        _ => false,
    };
    match answers {
        true => Ok(HttpResponse { status: 200, body: b"{}".to_vec() }),
        false => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
    }
}

/// The kubelet starts etcd and the API server, and etcd again whenever its manifest changes. etcd writes a log. A kubelet
/// that sees the change while it runs would keep the API server away for a minute: nobody may change the manifest of an
/// etcd that runs.
fn kubelet_works(root: &Path) {
    let manifest = std::fs::read_to_string(root.join("etc/kubernetes/manifests/etcd.yaml"));
    let (true, Ok(manifest)) = (root.join("run/kubelet").exists(), manifest) else { return };
    let wal = root.join("var/lib/etcd/member/wal");
    if !wal.exists() {
        assert!(manifest.contains("--initial-cluster-state=new"), "etcd would start on an empty log");
        std::fs::create_dir_all(&wal).unwrap();
        std::fs::write(wal.join("0-0.wal"), "").unwrap();
    }
    let pod: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let mut arguments: Vec<String> = serde_json::from_value(pod["spec"]["containers"][0]["command"].clone()).unwrap();
    arguments.push("--data-dir=/var/lib/etcd".to_owned());
    let command = root.join("proc/77/cmdline");
    if let Ok(running) = std::fs::read_to_string(&command) {
        assert_eq!(running, arguments.join("\0"), "etcd's manifest was changed below a kubelet that runs");
    }
    let server = "kube-apiserver\0--advertise-address=10.0.0.1".to_owned();
    for (pid, arguments) in [("77", arguments.join("\0")), ("76", server)] {
        let process = root.join("proc").join(pid);
        std::fs::create_dir_all(&process).unwrap();
        std::fs::write(process.join("cmdline"), arguments).unwrap();
        std::fs::write(process.join("cgroup"), "0::/kubepods/pod1\n").unwrap();
    }
}
