//! How long a single node takes, against the floor (the same static pods laid down by hand) and `kubeadm init`, on the
//! same root in the same run.

use super::{
    payload::{Output, single},
    probe,
    single::{NEEDS, machine},
};
use anyhow::{Context as _, Result};
use nodekiln_tests::{
    cache::Cache,
    cluster::Cluster,
    command::Cmd,
    measure::Timeline,
    root::RootFile,
    tools::{Need, require},
};
use serde_json::Value;
use std::{fs, time::Duration};

/// A machine on which the payload is laid down, but firstboot never starts.
fn without_firstboot(cache: &Cache, output: &Output) -> Result<Cluster> {
    let mut cluster = machine(cache, output)?;
    cluster.set_admin_conf(&output.path("super-admin.conf"));
    let node = cluster.node_mut("n1")?;
    node.provision()?;
    node.root().write(&[RootFile::new(
        "/etc/systemd/system/nodekiln-firstboot.service.d/off.conf",
        0o644,
        "[Unit]\nConditionPathExists=/nowhere\n",
    )])?;
    Ok(cluster)
}

/// Everything that firstboot would lay down is there before the power comes on; systemd starts the kubelet.
fn by_hand(cache: &Cache, output: &Output) -> Result<Cluster> {
    let cluster = without_firstboot(cache, output)?;
    let root = cluster.node("n1")?.root();
    let plan: Value = serde_json::from_str(&output.read("nodes/n1/plan.json")?)?;
    let mut files = vec![RootFile::new(
        "/etc/systemd/system/multi-user.target.d/floor.conf",
        0o644,
        "[Unit]\nWants=kubelet.service\n",
    )];
    for file in plan["files"].as_array().into_iter().flatten() {
        let (Some(path), Some(staged)) = (file["path"].as_str(), file["staged"].as_str()) else { continue };
        let mut contents = root.read(staged)?;
        if file["kind"] == "decided" {
            let mut pod: Value = serde_json::from_str(&contents).context("reading etcd's template")?;
            let command = pod["spec"]["containers"][0]["command"].as_array_mut().context("etcd has no command")?;
            command.push("--initial-cluster=n1=https://10.77.0.1:2380".into());
            contents = pod.to_string();
        }
        let mode = u32::from_str_radix(file["mode"].as_str().unwrap_or("0600"), 8)?;
        files.push(RootFile::new(path, mode, contents));
    }
    let unit = root.read("/etc/systemd/system/kubelet.service")?;
    let unit: String = unit.lines().filter(|line| !line.contains("gate")).map(|line| format!("{line}\n")).collect();
    files.push(RootFile::new("/etc/systemd/system/kubelet.service", 0o644, unit));
    root.write(&files)?;
    Ok(cluster)
}

/// The machine as a kubeadm user prepares it: containerd and CNI configured, the packages' kubelet unit.
fn for_kubeadm(cache: &Cache, output: &Output) -> Result<Cluster> {
    let cluster = without_firstboot(cache, output)?;
    let root = cluster.node("n1")?.root();
    let merged = root.merged();
    Cmd::new(["rm", "-rf"])
        .args(["etc/kubernetes", "var/lib/nodekiln", "var/lib/kubelet", "var/lib/etcd"].map(|path| merged.join(path)))
        .behind(root.mounted()?)
        .ok()?;
    let config = r#"
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.77.0.1}
nodeRegistration:
  name: n1
  taints: []
  criSocket: unix:///run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification, Swap, Mem, Hostname]
  kubeletExtraArgs: [{name: node-ip, value: 10.77.0.1}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
resolvConf: /etc/resolv.conf
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
"#;
    let unit = "[Unit]\nWants=network-online.target\nAfter=network-online.target\n\
                [Service]\n\
                Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"\n\
                Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\n\
                EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n\
                ExecStart=/opt/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS\n\
                Restart=always\nRestartSec=10\n[Install]\nWantedBy=multi-user.target\n";
    root.write(&[
        RootFile::new("/etc/kubeadm.yaml", 0o600, config),
        RootFile::new("/etc/systemd/system/kubelet.service", 0o644, unit),
        RootFile::new("/opt/bin/kubeadm", 0o755, fs::read(cache.program("kubeadm")).context("reading kubeadm")?),
        RootFile::new("/opt/bin/kubectl", 0o755, fs::read(cache.program("kubectl")).context("reading kubectl")?),
    ])?;
    Ok(cluster)
}

fn ready(cluster: &mut Cluster, title: &str) -> Result<f64> {
    cluster.explaining(|cluster| {
        cluster.power_on_all()?;
        let mut times = Timeline::of(cluster.node("n1")?)?;
        cluster.wait_node_ready("n1", probe::READY)?;
        let took = times.mark("Node Ready")?.as_secs_f64();
        eprintln!("{title}: {took:.1} s from power-on to Ready");
        Ok(took)
    })
}

#[test]
fn ready_against_the_floor_and_kubeadm() -> Result<()> {
    let needs: Vec<Need> = NEEDS.into_iter().chain([Need::Program("kubeadm")]).collect();
    let Some(cache) = require(&needs)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&single("flatcar"))?;

    let mut cluster = machine(&cache, &output)?;
    cluster.set_admin_conf(&output.path("super-admin.conf"));
    let ours = ready(&mut cluster, "nodekiln")?;
    drop(cluster);

    let floor = ready(&mut by_hand(&cache, &output)?, "floor: the same static pods laid down by hand")?;

    let mut cluster = for_kubeadm(&cache, &output)?;
    let (started, returned, kubeadm) = cluster.explaining(|cluster| {
        cluster.power_on_all()?;
        let node = cluster.node("n1")?;
        let mut times = Timeline::of(node)?;
        node.wait_running(probe::READY)?;
        node.run(&["systemctl", "start", "containerd"])?;
        let started = times.mark("kubeadm starts")?;
        node.exec(&["kubeadm", "init", "--config", "/etc/kubeadm.yaml", "--skip-token-print"])?
            .limit(Duration::from_secs(180))
            .ok()?;
        let returned = times.mark("kubeadm returns")?;
        let node = cluster.node("n1")?;
        let status = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        cluster.wait_until("kubeadm's node", probe::READY, Duration::from_millis(200), |_| {
            let kubeconfig = "--kubeconfig=/etc/kubernetes/admin.conf";
            let text = node.exec(&["kubectl", kubeconfig, "get", "node", "n1", "-o", status])?.ok()?;
            Ok((text == "True").then_some(()))
        })?;
        let kubeadm = times.mark("Node Ready")?;
        Ok((started, returned, kubeadm))
    })?;
    eprintln!(
        "kubeadm init: {:.1} s from its start to its end, {:.1} s to Ready, {:.1} s from power-on",
        (returned - started).as_secs_f64(),
        (kubeadm - started).as_secs_f64(),
        kubeadm.as_secs_f64()
    );
    eprintln!(
        "power-on to Ready: nodekiln {ours:.1} s = {:.2} of the floor, {:.2} of kubeadm",
        ours / floor,
        ours / kubeadm.as_secs_f64()
    );
    Ok(())
}
