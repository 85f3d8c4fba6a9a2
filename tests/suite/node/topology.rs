//! etcd on nodes of its own, and machines of a pool that come by token.

use super::{
    payload::{GATEWAY, Output, cluster_yaml},
    probe,
    single::NEEDS,
};
use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{cluster::Cluster, tools::require};
use serde_json::Value;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(300);
const ETCD: [(&str, &str); 3] = [("e1", "10.77.0.1"), ("e2", "10.77.0.2"), ("e3", "10.77.0.3")];

fn external() -> String {
    let nodes: String =
        ETCD.iter().map(|(name, address)| format!("  - {{name: {name}, role: etcd, address: {address}}}\n")).collect();
    let control_plane = "  - {name: cp1, role: control-plane, address: 10.77.0.4, taints: []}\n";
    cluster_yaml("external", "flatcar", "bridge", &format!("nodes:\n{nodes}{control_plane}"))
}

#[test]
fn three_etcd_nodes_and_a_control_plane() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&external())?;
    let mut specs = vec![output.ignition(&cache, "cp1", "10.77.0.4")?];
    for (name, address) in ETCD {
        specs.push(output.ignition(&cache, name, address)?);
    }
    let mut cluster = Cluster::new(&cache, &[GATEWAY.parse()?], specs)?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    cluster.explaining(|cluster| {
        // The control plane comes first: its API server finds no etcd yet.
        cluster.power_on_all()?;
        for (name, _) in ETCD {
            probe::firstboot_done(cluster, name)?;
            let manifest = cluster.node(name)?.read_file("/etc/kubernetes/manifests/etcd.yaml")?;
            ensure!(manifest.contains("--initial-cluster-state=existing"), "{name} would found again: {manifest}");
            let text = cluster.node(name)?.etcdctl(&["member", "list", "-w", "json"])?.ok()?;
            let list: Value = serde_json::from_str(&text)?;
            ensure!(list["members"].as_array().is_some_and(|all| all.len() == 3), "members, says {name}: {text}");
        }
        cluster.wait_node_ready("cp1", probe::READY)?;
        probe::firstboot_done(cluster, "cp1")?;
        let nodes = probe::get(cluster, &["nodes"])?;
        ensure!(nodes["items"].as_array().is_some_and(|all| all.len() == 1), "etcd nodes are no Nodes: {nodes}");
        probe::no_superuser(&output, cluster.node("cp1")?)
    })
}

fn pool(has_pool: bool) -> String {
    let node = "nodes:\n  - {name: n1, role: control-plane, address: 10.77.0.1, taints: []}\n";
    let pool = if has_pool { "pools:\n  - {name: farm, ttl: 24h, labels: {disk: ssd}}\n" } else { "" };
    cluster_yaml("pool", "flatcar", "none", &format!("{node}{pool}"))
}

/// The bootstrap tokens that the cluster has of nodekiln.
fn tokens(cluster: &Cluster) -> Result<usize> {
    let label = "app.kubernetes.io/managed-by=nodekiln";
    let secrets = probe::get(cluster, &["-n", "kube-system", "secrets", "-l", label])?;
    secrets["items"].as_array().map(Vec::len).context("a list")
}

/// A machine without a name, on before the control plane is. And the pool is taken out: its token goes when the control
/// plane boots the payload of a later generation.
#[test]
fn a_machine_of_a_pool_comes_by_token() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let mut output = Output::build(&pool(true))?;
    let mut control_plane = output.ignition(&cache, "n1", "10.77.0.1")?;
    control_plane.volumes.push("/var/lib/etcd".into());
    let specs = vec![output.ignition(&cache, "farm", "10.77.0.2")?, control_plane];
    let mut cluster = Cluster::new(&cache, &[GATEWAY.parse()?], specs)?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    cluster.explaining(|cluster| {
        cluster.power_on_all()?;
        probe::firstboot_done(cluster, "n1")?;
        probe::firstboot_done(cluster, "farm")?;
        let machine = cluster.node("farm")?;
        let id = machine.read_file("/etc/machine-id")?;
        let name = format!("farm-{}", id.get(..8).unwrap_or_default());
        ensure!(machine.run(&["hostname"])?.trim() == name, "the machine has another name than {name}");
        cluster.wait_until("the pool's Node", probe::READY, POLL, |cluster| {
            let node = probe::get(cluster, &["node", &name])?;
            Ok((node["metadata"]["labels"]["disk"] == "ssd").then_some(()))
        })?;
        let bootstrap = machine.exec(&["sh", "-c", "ls /var/lib/nodekiln/stage/*bootstrap*"])?.output()?;
        ensure!(!bootstrap.success(), "the token is still there: {}", bootstrap.stdout);
        ensure!(tokens(cluster)? == 1, "the cluster knows {} tokens", tokens(cluster)?);

        // The machine is made anew, its data disk stays.
        output.renew()?;
        output.rebuild(&pool(false))?;
        let payload = output.ignition(&cache, "n1", "10.77.0.1")?.payload;
        let node = cluster.node_mut("n1")?;
        node.wipe()?;
        node.set_payload(payload);
        cluster.power_on_one("n1")?;
        probe::firstboot_done(cluster, "n1")?;
        let done = probe::get(cluster, &["-n", "kube-system", "configmap", "nodekiln"])?;
        ensure!(done["data"]["generation"] == "2", "what was applied last: {}", done["data"]);
        ensure!(tokens(cluster)? == 0, "the token of a pool that is gone is still there");
        Ok(())
    })
}
