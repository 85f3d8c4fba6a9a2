//! etcd on nodes of its own, and machines of a pool that come by token.

use super::{
    payload::{GATEWAY, HARNESS, Output},
    probe,
    single::NEEDS,
};
use anyhow::{Result, ensure};
use nodekiln_tests::{cluster::Cluster, tools::require};
use serde_json::Value;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(300);
const ETCD: [(&str, &str); 3] = [("e1", "10.77.0.1"), ("e2", "10.77.0.2"), ("e3", "10.77.0.3")];

fn external() -> String {
    let nodes: String =
        ETCD.iter().map(|(name, address)| format!("  - {{name: {name}, role: etcd, address: {address}}}\n")).collect();
    format!(
        r#"apiVersion: nodekiln/v1alpha1
kind: Cluster
clusterName: external
kubernetesVersion: v1.36.3
networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}}
addons: {{cni: bridge}}
os: {{profile: flatcar}}
nodes:
{nodes}  - {{name: cp1, role: control-plane, address: 10.77.0.4, taints: []}}
{HARNESS}"#
    )
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

fn pool() -> String {
    format!(
        r#"apiVersion: nodekiln/v1alpha1
kind: Cluster
clusterName: pool
kubernetesVersion: v1.36.3
networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}}
addons: {{cni: none}}
os: {{profile: flatcar}}
nodes:
  - {{name: n1, role: control-plane, address: 10.77.0.1, taints: []}}
pools:
  - {{name: farm, ttl: 24h, labels: {{disk: ssd}}}}
{HARNESS}"#
    )
}

/// A machine without a name, on before the control plane is.
#[test]
fn a_machine_of_a_pool_comes_by_token() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&pool())?;
    let specs = vec![output.ignition(&cache, "farm", "10.77.0.2")?, output.ignition(&cache, "n1", "10.77.0.1")?];
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
        Ok(())
    })
}
