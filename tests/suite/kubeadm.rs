//! The harness carries real Kubernetes: kubeadm makes a cluster on its nodes, behind its balancer.
//!
//! What fails here is the harness or the cache; what fails only with our payloads is ours. It is also the time
//! that our own first boot is compared with.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use nodekiln_tests::cache::Cache;
use nodekiln_tests::cluster::Cluster;
use nodekiln_tests::explain::explain;
use nodekiln_tests::haproxy::Haproxy;
use nodekiln_tests::machine::Snapshot;
use nodekiln_tests::measure::{Memory, Monotonic, Timeline};
use nodekiln_tests::node::{Node, NodeSpec};
use nodekiln_tests::run::Run;
use nodekiln_tests::tools::{Need, require};

const LIMIT: Duration = Duration::from_secs(120);

const CONTAINERD: &str = r#"
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.10.2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
"#;

const CONTAINERD_UNIT: &str = "[Service]\nEnvironment=CONTAINERD_CONFIG=/etc/containerd/config.toml\n";

const KUBELET_UNIT: &str = "\
[Unit]
ConditionPathExists=/var/lib/kubelet/config.yaml
[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/opt/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
";

const CNI: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,
"ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}"#;

const CONFIG: &str = "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: TOKEN}]
certificateKey: \"KEY\"
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: Never
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: 10.77.0.100:6443
encryptionAlgorithm: ECDSA-P256
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
failSwapOn: false
resolvConf: /etc/resolv.conf
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
";

const TOKEN: &str = "abcdef.0123456789abcdef";
const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn spec(cache: &Cache, name: &str, address: &str) -> Result<NodeSpec> {
    let kubeadm = fs::read(cache.program("kubeadm")).context("reading kubeadm")?;
    let mut spec = NodeSpec::new(name, &[address.parse()?])
        .file("/opt/bin/kubeadm", 0o755, kubeadm)
        .file("/etc/containerd/config.toml", 0o644, CONTAINERD)
        .file("/etc/systemd/system/containerd.service.d/10-config.conf", 0o644, CONTAINERD_UNIT)
        .unit("kubelet.service", KUBELET_UNIT)
        .file("/etc/cni/net.d/10-pods.conflist", 0o644, CNI)
        .file("/etc/kubeadm.yaml", 0o600, CONFIG.replace("TOKEN", TOKEN).replace("KEY", KEY));
    spec.enabled.push("containerd.service".to_owned());
    Ok(spec)
}

const NEEDS: [Need; 4] =
    [Need::Nodes, Need::Cached("bin/kubeadm"), Need::Cached("bin/kubectl"), Need::Program("haproxy")];

/// Machines with the programs of kubeadm behind a balancer; the first is initialised.
fn initialised(
    cache: &Cache,
    nodes: &[(&str, &str)],
    times: &mut Timeline,
    more: &[&str],
) -> Result<(Cluster, Haproxy)> {
    let specs =
        nodes.iter().map(|(name, address)| spec(cache, name, &format!("{address}/24"))).collect::<Result<_>>()?;
    let mut cluster = Cluster::new(cache, &["10.77.0.254/24".parse()?], specs)?;
    let servers: Vec<SocketAddr> =
        nodes.iter().map(|(_, address)| Ok(SocketAddr::new(address.parse()?, 6443))).collect::<Result<_>>()?;
    let balancer = Haproxy::start(cache, cluster.fabric(), "10.77.0.100/24".parse()?, 6443, &servers)?;
    *times = Timeline::since("kubeadm", Monotonic::now()?);
    cluster.power_on_all()?;
    for node in cluster.nodes() {
        node.wait_running(LIMIT)?;
    }
    times.mark("containerd is active")?;
    let node = cluster.node(nodes[0].0)?;
    kubeadm(node, &[&["init", "--config=/etc/kubeadm.yaml"], more].concat())?;
    times.mark("kubeadm init has ended")?;
    let admin = Run::current(cache)?.dir().join("admin.conf");
    fs::write(&admin, node.read_file("/etc/kubernetes/admin.conf")?)?;
    cluster.set_admin_conf(&admin);
    cluster.wait_api(balancer.address(), LIMIT)?;
    times.mark("the API is ready behind the balancer")?;
    cluster.wait_node_ready(nodes[0].0, LIMIT)?;
    times.mark(format!("{} is Ready", nodes[0].0))?;
    Ok((cluster, balancer))
}

fn kubeadm(node: &Node, argv: &[&str]) -> Result<()> {
    let argv = [&["kubeadm"], argv, &["--ignore-preflight-errors=all"]].concat();
    node.exec(&argv)?.limit(LIMIT).ok().inspect_err(|_| explain(node))?;
    Ok(())
}

#[test]
fn kubeadm_makes_a_node_ready() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let before = Snapshot::take();
    let mut times = Timeline::since("kubeadm", Monotonic::now()?);
    let (cluster, balancer) = initialised(&cache, &[("cp1", "10.77.0.1")], &mut times, &[])?;
    let taint = "node-role.kubernetes.io/control-plane-";
    cluster.kubectl(&["taint", "node", "cp1", taint])?.ok()?;
    cluster.wait_until("CoreDNS", LIMIT, Duration::from_millis(250), |cluster| {
        let argv = ["-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.status.readyReplicas}"];
        Ok((cluster.kubectl(&argv)?.ok()? == "2").then_some(()))
    })?;
    times.mark("CoreDNS is ready")?;
    let node = cluster.node("cp1")?;
    times.add_systemd(node, &["containerd.service", "kubelet.service"])?;
    eprintln!("{times}{}", Memory::of(node)?);
    drop((balancer, cluster));
    assert_eq!(before.changes(), Vec::<String>::new(), "what kubelet and kube-proxy set must stay in the node");
    Ok(())
}

#[test]
fn three_members_survive_a_power_cut() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let nodes = [("cp1", "10.77.0.1"), ("cp2", "10.77.0.2"), ("cp3", "10.77.0.3")];
    let mut times = Timeline::since("kubeadm", Monotonic::now()?);
    let (mut cluster, _balancer) = initialised(&cache, &nodes, &mut times, &["--upload-certs"])?;
    for (name, address) in &nodes[1..] {
        let join = ["join", "10.77.0.100:6443", "--control-plane", "--certificate-key", KEY, "--token", TOKEN];
        let more = ["--discovery-token-unsafe-skip-ca-verification", "--apiserver-advertise-address", address];
        kubeadm(cluster.node(name)?, &[&join[..], &more].concat())?;
        times.mark(format!("kubeadm join of {name} has ended"))?;
        cluster.wait_node_ready(name, LIMIT)?;
        times.mark(format!("{name} is Ready"))?;
    }
    cluster.node_mut("cp1")?.power_cut()?;
    times.mark("the power of cp1 is cut")?;
    let write = |cluster: &Cluster, name: &str| {
        let argv = ["create", "configmap", name];
        cluster.kubectl(&argv)?.limit(Duration::from_secs(5)).ok().map(Some)
    };
    let poll = Duration::from_millis(250);
    cluster.wait_until("a write without cp1", LIMIT, poll, |cluster| write(cluster, "without"))?;
    times.mark("a write succeeds without cp1")?;
    cluster.power_on_one("cp1")?;
    times.mark("cp1 is powered on")?;
    let api = SocketAddr::new(cluster.node("cp1")?.address()?, 6443);
    cluster.wait_api(api, LIMIT)?;
    times.mark("the API server of cp1 is ready")?;
    cluster.kubectl_at(api, &["get", "configmap", "without"])?.ok()?;
    eprintln!("{times}");
    Ok(())
}
