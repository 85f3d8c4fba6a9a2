//! `loadBalancer: local`: no balancer but each node's own haproxy, in front of all API servers.

use super::{
    payload::{GATEWAY, Output, cluster_yaml},
    probe,
    single::NEEDS,
};
use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{cluster::Cluster, tools::require};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

const POLL: Duration = Duration::from_millis(300);
const NODES: [(&str, &str); 4] =
    [("cp1", "10.77.0.1"), ("cp2", "10.77.0.2"), ("cp3", "10.77.0.3"), ("w1", "10.77.0.4")];

fn local() -> String {
    let role = |name: &str| if name == "w1" { "worker" } else { "control-plane" };
    let node = |(name, address)| format!("  - {{name: {name}, role: {}, address: {address}}}\n", role(name));
    let nodes: String = NODES.map(node).concat();
    cluster_yaml("local", "flatcar", "bridge", &format!("loadBalancer: local\nnodes:\n{nodes}"))
}

/// The control planes that the worker's haproxy has connections of clients to, most first.
fn behind(cluster: &Cluster) -> Result<Vec<&'static str>> {
    let text = cluster.node("w1")?.run(&["ss", "-Htn", "state", "established"])?;
    let count = |address: &str| text.lines().filter(|line| line.contains(&format!("{address}:6443"))).count();
    let mut found: Vec<_> = NODES[..3].iter().map(|(name, address)| (count(address), *name)).collect();
    found.sort_unstable();
    Ok(found.into_iter().rev().filter(|(count, _)| *count > 0).map(|(_, name)| name).collect())
}

/// When the worker's kubelet last renewed its Lease.
fn renewed(cluster: &Cluster, server: SocketAddr) -> Result<String> {
    let argv = ["-n", "kube-node-lease", "get", "lease", "w1", "-o", "jsonpath={.spec.renewTime}"];
    cluster.kubectl_at(server, &argv)?.limit(Duration::from_secs(5)).ok()
}

#[test]
fn the_worker_loses_an_api_server_and_goes_on_with_another() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&local())?;
    let specs = NODES.iter().map(|(name, address)| output.ignition(&cache, name, address)).collect::<Result<_>>()?;
    let mut cluster = Cluster::new(&cache, &[GATEWAY.parse()?], specs)?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    cluster.explaining(|cluster| {
        cluster.power_on_all()?;
        for (name, _) in NODES {
            cluster.wait_node_ready(name, probe::READY)?;
            probe::firstboot_done(cluster, name)?;
            probe::no_superuser(&output, cluster.node(name)?)?;
        }
        for (name, _) in NODES {
            let pod = format!("haproxy-{name}");
            cluster.wait_until(&format!("{pod} to be Ready"), probe::READY, POLL, |cluster| {
                let pod = probe::get(cluster, &["-n", "kube-system", "pod", &pod])?;
                let status = &pod["status"]["containerStatuses"][0];
                ensure!(status["restartCount"] == 0, "it was started again: {status}");
                Ok((status["ready"] == Value::Bool(true)).then_some(()))
            })?;
        }
        let kubelet = cluster.node("w1")?.read_file("/etc/kubernetes/kubelet.conf")?;
        ensure!(kubelet.contains("https://127.0.0.1:7443"), "w1's kubelet calls another server: {kubelet}");
        // Services, too, are reached by a kube-proxy that asks the node's own balancer.
        probe::workload(cluster)?;

        // One that the worker is connected to goes away without a word.
        let lost = *behind(cluster)?.first().context("w1's balancer is connected to nobody")?;
        cluster.node_mut(lost)?.power_cut()?;
        let other = NODES[..3].iter().find(|(name, _)| *name != lost).context("there are three")?;
        let server: SocketAddr = format!("{}:6443", other.1).parse()?;
        // Not by what was on its way: two renewals, of which there is one in ten seconds.
        let mut last = cluster.wait_until("another API server to answer", probe::READY, POLL, |cluster| {
            renewed(cluster, server).map(Some)
        })?;
        for _ in 0..2 {
            last = cluster.wait_until("w1 to renew its Lease", probe::READY, POLL, |cluster| {
                let now = renewed(cluster, server)?;
                Ok((now != last).then_some(now))
            })?;
        }
        let now = behind(cluster)?;
        ensure!(now.iter().any(|name| *name != lost), "w1's balancer is connected to {now:?}, of which {lost} is off");
        // And it takes orders.
        let overrides = r#"{"spec":{"nodeName":"w1"}}"#;
        let image = "--image=nodekiln.test/tools:1";
        cluster
            .kubectl_at(server, &["run", "after", image, "--overrides", overrides, "--command", "--", "sleep", "1d"])?
            .ok()?;
        cluster.wait_until("a pod on w1", probe::READY, POLL, |cluster| {
            let phase = ["get", "pod", "after", "-o", "jsonpath={.status.phase}"];
            Ok((cluster.kubectl_at(server, &phase)?.ok()? == "Running").then_some(()))
        })
    })
}
