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
use nodekiln_tests::haproxy::Haproxy;
use nodekiln_tests::measure::{Memory, Timeline};
use nodekiln_tests::node::NodeSpec;
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
localAPIEndpoint: {advertiseAddress: 10.77.0.1}
nodeRegistration:
  name: cp1
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: Never
  kubeletExtraArgs: [{name: node-ip, value: 10.77.0.1}]
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

fn spec(cache: &Cache, name: &str, address: &str) -> Result<NodeSpec> {
    let kubeadm = fs::read(cache.program("kubeadm")).context("reading kubeadm")?;
    Ok(NodeSpec::new(name, &[address.parse()?])
        .file("/opt/bin/kubeadm", 0o755, kubeadm)
        .file("/etc/containerd/config.toml", 0o644, CONTAINERD)
        .file("/etc/systemd/system/containerd.service.d/10-config.conf", 0o644, CONTAINERD_UNIT)
        .unit("kubelet.service", KUBELET_UNIT)
        .file("/etc/cni/net.d/10-pods.conflist", 0o644, CNI)
        .file("/etc/kubeadm.yaml", 0o600, CONFIG))
}

#[test]
fn kubeadm_makes_a_node_ready() -> Result<()> {
    let needs = [Need::Nodes, Need::Cached("bin/kubeadm"), Need::Cached("bin/kubectl"), Need::Program("haproxy")];
    let Some(cache) = require(&needs)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let mut cluster = Cluster::new(&cache, &["10.77.0.254/24".parse()?], vec![spec(&cache, "cp1", "10.77.0.1/24")?])?;
    let api: SocketAddr = "10.77.0.1:6443".parse()?;
    let balancer = Haproxy::start(&cache, cluster.fabric(), "10.77.0.100/24".parse()?, 6443, &[api])?;
    cluster.power_on_all()?;
    let node = cluster.node("cp1")?;
    let mut times = Timeline::of(node)?;
    node.wait_running(LIMIT)?;
    node.run(&["systemctl", "start", "containerd"])?;
    times.mark("containerd is active")?;
    let init = ["kubeadm", "init", "--config=/etc/kubeadm.yaml", "--ignore-preflight-errors=all"];
    let said = node.exec(&init)?.limit(LIMIT).ok();
    times.mark("kubeadm init has ended")?;
    let said = said.with_context(|| nodekiln_tests::inside::dump(node))?;
    assert!(said.contains("initialized successfully"), "{said}");
    let folder = tempfile::tempdir()?;
    let admin = folder.path().join("admin.conf");
    fs::write(&admin, node.read_file("/etc/kubernetes/admin.conf")?)?;
    cluster.set_admin_conf(&admin);
    cluster.wait_api(balancer.address(), LIMIT)?;
    times.mark("the API is ready behind the balancer")?;
    cluster.wait_node_ready("cp1", LIMIT)?;
    times.mark("the node is Ready")?;
    let node = cluster.node("cp1")?;
    times.add_systemd(node, &["containerd.service", "kubelet.service"])?;
    let taint = "node-role.kubernetes.io/control-plane-";
    cluster.kubectl(&["taint", "node", "cp1", taint])?.ok()?;
    cluster.wait_until("CoreDNS", LIMIT, Duration::from_millis(250), |cluster| {
        let argv = ["-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.status.readyReplicas}"];
        Ok((cluster.kubectl(&argv)?.ok()? == "2").then_some(()))
    })?;
    times.mark("CoreDNS is ready")?;
    eprintln!("{times}{}", Memory::of(cluster.node("cp1")?)?);
    Ok(())
}
