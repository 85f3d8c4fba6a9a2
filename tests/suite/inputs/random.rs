//! A thousand random clusters: each is accepted, planned, filled, encoded, decoded and its placement proved, twice, in
//! two threads that share nothing but the keys; and both times all bytes are the same.

use anyhow::{Context as _, Result, ensure};
use nodekiln::{
    config::{Cluster, Node},
    draft,
    pki::Authority,
};
use nodekiln_plan::Sha256;
use nodekiln_tests::made::{Made, authority, load};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    cell::Cell,
    fmt::Write as _,
    sync::{Arc, LazyLock},
    thread,
    time::Instant,
};

const CASES: u32 = 1000;

/// 2026-05-28: before today, so that nothing here depends on the day.
const NOW: i64 = 1_780_000_000;

/// The keys of all clusters: none of them says anything about its keys.
static AUTHORITY: LazyLock<Arc<Authority>> = LazyLock::new(|| {
    let text = nodekiln::config::examples::ALL[0].text;
    Arc::new(authority(&load(text, None).unwrap().cluster, NOW).unwrap())
});

/// Lines of a mapping, `name: value`, of which each may be there or not.
fn some(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(lines, 0..=lines.len())
}

const TOP: &[&str] = &[
    "apiServer: {certSANs: [api.example.org, \"*.apps.example.org\", 192.0.2.200, \"2001:db8::200\"], \
     extraArgs: [{name: audit-log-maxage, value: \"30\"}, {name: v, value: \"2\"}], \
     extraVolumes: [{name: audit, hostPath: /var/log/audit, mountPath: /audit, pathType: DirectoryOrCreate}], \
     extraEnvs: [{name: GOMAXPROCS, value: \"2\"}]}",
    "controllerManager: {extraArgs: [{name: node-monitor-grace-period, value: 40s}]}",
    "scheduler: {extraArgs: [{name: profiling, value: \"false\"}], extraEnvs: [{name: A, value: \"b c\"}]}",
    "etcd: {local: {dataDir: /var/lib/etcd, extraArgs: [{name: quota-backend-bytes, value: \"4294967296\"}], \
     serverCertSANs: [etcd.example.org], peerCertSANs: [192.0.2.201]}}",
    "imageRepository: mirror.example.org:5000/k8s",
    "kubelet: {maxPods: 60, systemReserved: {cpu: 200m, memory: 300Mi}}",
    "kubeProxy: {mode: nftables}",
    "kubeletExtraArgs: [{name: v, value: \"2\"}]",
    "ignorePreflightErrors: [NumCPU, Mem]",
    "timeouts: {controlPlaneComponentHealthCheck: 5m, kubernetesAPICall: 90s}",
    "proxy: {disabled: true}",
    "kernel: {modules: [ip_vs, dm_crypt], sysctls: [{name: vm.max_map_count, value: 262144, floor: true}], swap: true}",
];

const OS: &[&str] = &[
    "users: [{name: ops, sshAuthorizedKeys: \
     [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F ops\"], groups: [sudo]}]",
    "timeServers: [192.0.2.123, time.example.org]",
    "updates: off",
    "files: [{path: /etc/motd, mode: \"0644\", content: \"a: b # c\\n'\\\"\\t\\u00e9\"}, \
     {path: /etc/ssl/own/empty, content: \"\"}]",
    "units: [{name: own.service, enabled: true, content: \"[Service]\\nType=oneshot\\nExecStart=/bin/true\\n\
     [Install]\\nWantedBy=multi-user.target\\n\"}, {name: cron.service, dropins: [{name: 10-x.conf, content: \
     \"[Service]\\nNice=5\\n\"}]}]",
];

const NODE: &[&str] = &[
    "labels: {disk: ssd, example.org/a.b: \"c\", node-role.kubernetes.io/edge: \"\"}",
    "taints: [\"gpu=yes:NoSchedule\", \"x:PreferNoSchedule\"]",
    "kubelet: {maxPods: 20}",
    "kubeletExtraArgs: [{name: v, value: \"4\"}]",
    "kernel: {sysctls: [{name: net.ipv4.conf.all.rp_filter, value: 0}]}",
];

const BINARIES: &[&str] = &[
    "kubelet: {url: \"https://192.0.2.5/kubelet\", \
     sha256: \"4f1d2ae5c0fd8dbf2c6e1ad8ea8d24e0a2d4a1d1d4c3e2b1a0f9e8d7c6b5a493\"}",
    "cniPlugins: {url: \"http://192.0.2.5/cni.tgz\", \
     sha256: \"0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeeff0\"}",
    "containerd: {path: /usr/local/bin/containerd}",
];

/// Pod network, service network, and whether nodes have an address of each family or of which.
const NETWORKS: [(&str, &str, &str); 4] = [
    ("10.244.0.0/16", "10.96.0.0/12", "4"),
    ("192.168.0.0/16", "172.16.0.0/20", "4"),
    ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112", "46"),
    ("fd00:10:244::/56,10.244.0.0/16", "fd00:10:96::/112,10.96.0.0/16", "64"),
];

const PROFILES: [&str; 3] = ["flatcar", "fedora-coreos", "cloud-init"];

/// One machine's part of the file.
#[derive(Debug, Clone)]
struct Machine {
    more: Vec<&'static str>,
    profile: Option<&'static str>,
    mac: bool,
    is_static: bool,
}

fn machine() -> impl Strategy<Value = Machine> {
    (some(NODE), option::weighted(0.3, select(&PROFILES[..])), any::<bool>(), any::<bool>())
        .prop_map(|(more, profile, mac, is_static)| Machine { more, profile, mac, is_static })
}

fn cluster() -> impl Strategy<Value = String> {
    let names = (select(&["", "lab", "prod-eu.1"][..]), select(&["", "lab.example", "cluster.internal"][..]));
    let os = (select(&PROFILES[..]), select(&["", "3.3.0", "3.4.0", "3.5.0"][..]), some(OS));
    let delivery = select(&["", "inline", "pointer"][..]);
    let nodes = (vec(machine(), 1..=5), vec(machine(), 0..=4));
    let more =
        (select(&NETWORKS[..]), select(&["bridge", "none"][..]), 0..=3_u8, some(TOP), some(BINARIES), any::<bool>());
    (names, os, delivery, nodes, more).prop_map(|(names, os, delivery, (controls, workers), more)| {
        let (profile, ignition, os) = os;
        let ((pods, services, families), cni, patch, top, binaries, by_name) = more;
        let mut text = format!("apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.{patch}\n");
        let mut line = |words: String| writeln!(text, "{words}").unwrap();
        if !names.0.is_empty() {
            line(format!("clusterName: {}", names.0));
        }
        if by_name {
            line("controlPlaneEndpoint: api.example.org:6443".to_owned());
        } else if controls.len() > 1 {
            line("controlPlaneEndpoint: 192.0.2.254:8443".to_owned());
        }
        let domain = if names.1.is_empty() { String::new() } else { format!(", dnsDomain: {}", names.1) };
        line(format!("networking: {{podSubnet: \"{pods}\", serviceSubnet: \"{services}\"{domain}}}"));
        line(format!("addons: {{cni: {cni}}}"));
        let all = controls.iter().chain(&workers).map(|machine| machine.profile.unwrap_or(profile));
        let mixed = all.clone().any(|profile| profile == "cloud-init");
        if delivery == "inline" || delivery == "pointer" && mixed {
            line("delivery: {baseURL: \"http://192.0.2.5:8080/x\"}".to_owned());
        } else if delivery == "pointer" {
            line("delivery: {mode: pointer, baseURL: \"https://192.0.2.5/x\"}".to_owned());
        }
        // A version of Ignition is refused where there is none.
        let version =
            if ignition.is_empty() || mixed { String::new() } else { format!(", ignitionVersion: {ignition}") };
        let os: String = os.iter().map(|entry| format!(", {entry}")).collect();
        line(format!("os: {{profile: {profile}{version}{os}}}"));
        top.iter().for_each(|entry| line((*entry).to_owned()));
        if !binaries.is_empty() {
            line(format!("binaries: {{{}}}", binaries.join(", ")));
        }
        line("nodes:".to_owned());
        let machines = controls.iter().map(|machine| ("control-plane", machine));
        for (index, (role, machine)) in machines.chain(workers.iter().map(|machine| ("worker", machine))).enumerate() {
            let host = index + 11;
            let addresses: Vec<_> = families
                .chars()
                .map(|family| match family {
                    '4' => (format!("192.0.2.{host}"), "24"),
                    _ => (format!("2001:db8::{host}"), "64"),
                })
                .collect();
            let plain: Vec<_> = addresses.iter().map(|(address, _)| format!("\"{address}\"")).collect();
            let mut node = format!("  - {{name: n{index}, role: {role}, address: [{}]", plain.join(", "));
            if machine.mac || machine.is_static {
                let _ = write!(node, ", mac: \"52:54:00:00:00:{host:02x}\"");
            }
            if machine.is_static {
                let own: Vec<_> = addresses.iter().map(|(address, length)| format!("\"{address}/{length}\"")).collect();
                let gateway = |family| if family == '4' { "192.0.2.1" } else { "\"2001:db8::1\"" };
                let gateways: Vec<_> = families.chars().map(gateway).collect();
                let (own, gateways) = (own.join(", "), gateways.join(", "));
                let _ =
                    write!(node, ", network: {{addresses: [{own}], gateway: [{gateways}], nameservers: [192.0.2.53]}}");
            }
            if let Some(profile) = machine.profile {
                let _ = write!(node, ", os: {{profile: {profile}}}");
            }
            machine.more.iter().for_each(|entry| node.push_str(&format!(", {entry}")));
            line(node + "}");
        }
        text
    })
}

/// Everything that comes of `text`: a digest of each node's draft, and of every file of some nodes' payloads.
fn built(text: &str, authority: Arc<Authority>) -> Result<Vec<(String, Sha256)>> {
    let cluster = load(text, None)?.cluster;
    let made = Shared { cluster, authority };
    let mut all = Vec::new();
    // Every node is planned, one is given its keys: they are most of the work.
    let chosen = text.len() % made.cluster.nodes.len();
    for (index, node) in made.cluster.nodes.iter().enumerate() {
        let (draft, files) = made.baked(node, index == chosen).with_context(|| format!("making {}", node.name))?;
        all.push((format!("{} draft", node.name), draft));
        all.extend(files);
    }
    Ok(all)
}

/// A cluster whose keys are another's too.
struct Shared {
    cluster: Cluster,
    authority: Arc<Authority>,
}

impl Shared {
    fn baked(&self, node: &Node, with_keys: bool) -> Result<(Sha256, Vec<(String, Sha256)>)> {
        let planned = Made::plan(&self.cluster, node)?;
        let digest = Sha256::of(draft::render(&planned).as_bytes());
        if !with_keys {
            return Ok((digest, Vec::new()));
        }
        let baked = Made::bake(&self.cluster, &self.authority, node, &planned)?;
        let files = baked.files.iter().map(|file| (file.path.clone(), Sha256::of(file.bytes.expose())));
        Ok((digest, files.collect()))
    }
}

fn twice(text: &str) -> Result<usize> {
    // A thread has hash keys of its own, and the text is at another address.
    let other = {
        let (text, authority) = (text.to_owned(), Arc::clone(&AUTHORITY));
        thread::spawn(move || built(&text, authority))
    };
    let one = built(text, Arc::clone(&AUTHORITY))?;
    let other = other.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
    for (one, other) in one.iter().zip(&other) {
        ensure!(one == other, "{} differs from {}", one.0, other.0);
    }
    ensure!(one.len() == other.len(), "another number of files");
    Ok(one.len())
}

#[test]
fn a_thousand_random_clusters_build_and_always_to_the_same_bytes() {
    let started = Instant::now();
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (clusters, files) = (Cell::new(0_usize), Cell::new(0_usize));
    let result = runner.run(&cluster(), |text| match twice(&text) {
        Ok(count) => {
            clusters.set(clusters.get() + 1);
            files.set(files.get() + count);
            if clusters.get().is_multiple_of(100) {
                eprintln!("{} random clusters: {:.1} s", clusters.get(), started.elapsed().as_secs_f64());
            }
            Ok(())
        }
        Err(error) => {
            // Said at once: making it smaller takes a while.
            eprintln!("a random cluster failed: {error:#}");
            Err(TestCaseError::fail(format!("{error:#}\n{text}")))
        }
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert_eq!(clusters.get(), CASES as usize);
    let took = started.elapsed().as_secs_f64();
    eprintln!("{} random clusters twice, {} digests: {took:.1} s", clusters.get(), files.get());
}
