//! Three control planes behind haproxy and a worker, powered on in any order.

use super::{
    payload::{GATEWAY, Output, ha},
    probe,
    single::NEEDS,
};
use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{
    cache::Cache,
    cluster::Cluster,
    haproxy::Haproxy,
    measure::Timeline,
    tools::{Need, require},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const READY: Duration = Duration::from_secs(240);
const NODES: [(&str, &str); 4] =
    [("cp1", "10.77.0.1"), ("cp2", "10.77.0.2"), ("cp3", "10.77.0.3"), ("w1", "10.77.0.4")];

fn machines(cache: &Cache, output: &Output) -> Result<(Cluster, Haproxy)> {
    let specs = NODES.iter().map(|(name, address)| output.ignition(cache, name, address)).collect::<Result<_>>()?;
    let mut cluster = Cluster::new(cache, &[GATEWAY.parse()?], specs)?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    let servers: Vec<_> = NODES[..3].iter().map(|(_, a)| format!("{a}:6443").parse()).collect::<Result<_, _>>()?;
    let balancer = Haproxy::start(cache, cluster.fabric(), "10.77.0.9/24".parse()?, 6443, &servers)?;
    Ok((cluster, balancer))
}

/// The nodes in a random order with random delays of up to three seconds. The seed is printed: `NODEKILN_TEST_SEED`
/// repeats an order.
fn random_order() -> Result<Vec<(&'static str, Duration)>> {
    let seed = match std::env::var("NODEKILN_TEST_SEED") {
        Ok(seed) => seed.parse().context("reading NODEKILN_TEST_SEED")?,
        Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let mut state = seed;
    // Knuth's MMIX generator: enough to shuffle four machines.
    let mut random = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut names: Vec<_> = NODES.iter().map(|(name, _)| *name).collect();
    for last in (1..names.len()).rev() {
        names.swap(last, random(last as u64 + 1) as usize);
    }
    let order: Vec<_> = names.into_iter().map(|name| (name, Duration::from_millis(random(3000)))).collect();
    eprintln!("NODEKILN_TEST_SEED={seed}: power-on order {order:?}");
    Ok(order)
}

/// One etcd cluster of three voters, as every member sees it.
fn three_voters(cluster: &Cluster) -> Result<()> {
    let mut ids = BTreeSet::new();
    for (name, _) in &NODES[..3] {
        let text = cluster.wait_until("three voters", READY, Duration::from_millis(500), |cluster| {
            let text = cluster.node(name)?.etcdctl(&["member", "list", "-w", "json"])?.ok()?;
            let list: Value = serde_json::from_str(&text)?;
            let voters = list["members"].as_array().into_iter().flatten();
            let voters = voters.filter(|member| member["isLearner"] != Value::Bool(true) && member["name"] != "");
            Ok((voters.count() == 3).then_some(list))
        })?;
        ids.insert(text["header"]["cluster_id"].to_string());
    }
    ensure!(ids.len() == 1, "etcd clusters {ids:?} instead of one");
    Ok(())
}

fn finished(cluster: &Cluster, output: &Output) -> Result<()> {
    for (name, _) in NODES {
        cluster.wait_node_ready(name, READY)?;
    }
    three_voters(cluster)?;
    for (name, _) in NODES {
        probe::firstboot_done(cluster, name)?;
        probe::no_superuser(output, cluster.node(name)?)?;
    }
    let worker = probe::get(cluster, &["node", "w1"])?;
    ensure!(worker["metadata"]["labels"]["disk"] == "ssd", "labels of w1: {}", worker["metadata"]["labels"]);
    ensure!(worker["metadata"]["labels"]["node-role.kubernetes.io/edge"] == "", "w1 lacks its role");
    ensure!(worker["spec"]["taints"][0]["key"] == "lab", "taints of w1: {}", worker["spec"]["taints"]);
    let first = probe::get(cluster, &["node", "cp1"])?;
    ensure!(first["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == "", "cp1 lacks its role");
    ensure!(
        first["spec"]["taints"][0]["key"] == "node-role.kubernetes.io/control-plane",
        "taints of cp1: {}",
        first["spec"]["taints"]
    );
    let csrs = probe::get(cluster, &["certificatesigningrequests"])?;
    ensure!(csrs["items"].as_array().is_some_and(Vec::is_empty), "a CSR was needed: {csrs}");
    Ok(())
}

fn needs() -> Vec<Need> {
    NEEDS.into_iter().chain([Need::Program("haproxy")]).collect()
}

#[test]
fn three_control_planes_and_a_worker_in_any_order() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&ha())?;
    let (mut cluster, _balancer) = machines(&cache, &output)?;
    let order = random_order()?;
    cluster.explaining(|cluster| {
        cluster.power_on(&order)?;
        let first = order.first().context("no machine")?.0;
        let mut times = Timeline::of(cluster.node(first)?)?;
        finished(cluster, &output)?;
        times.mark("one etcd cluster, four nodes Ready, firstboot done everywhere")?;
        probe::workload(cluster)?;
        times.mark("workload resolves and reaches a Service")?;
        let result = probe::firstboot_done(cluster, first)?;
        probe::print_times(cluster, first, times, &result)
    })
}

/// Kills firstboot in the very moment in which the last member comes up: between the two rounds of questions, or about
/// there.
const KILLER: &str = "\
[Unit]
DefaultDependencies=no
After=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
ExecStart=/bin/bash -c 'until (: </dev/tcp/10.77.0.2/2382) 2>/dev/null; do :; done; pkill -KILL -x nodekiln-firstb && echo killed'
[Install]
WantedBy=multi-user.target
";

#[test]
fn one_firstboot_killed_while_the_others_found_the_cluster() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&ha())?;
    let (mut cluster, _balancer) = machines(&cache, &output)?;
    cluster.remove("cp3");
    cluster.add(output.ignition(&cache, "cp3", "10.77.0.3")?.unit("killer.service", KILLER))?;
    cluster.explaining(|cluster| {
        cluster.power_on(&[("cp1", Duration::ZERO), ("cp3", Duration::ZERO), ("w1", Duration::ZERO)])?;
        // Without cp2 nobody can decide: both wait for it.
        for name in ["cp1", "cp3"] {
            cluster.wait_until(&format!("{name} to wait for cp2"), READY, Duration::from_millis(100), |cluster| {
                let status: Value = serde_json::from_str(&cluster.node(name)?.read_file("/run/nodekiln/status.json")?)?;
                let waits = status["waitingFor"].as_str().is_some_and(|whom| whom.contains("cp2"));
                Ok((status["stage"] == "etcd" && waits).then_some(()))
            })?;
        }
        cluster.power_on(&[("cp2", Duration::ZERO)])?;
        finished(cluster, &output)?;
        let killer = cluster.node("cp3")?.journal("killer.service", 10);
        ensure!(killer.contains("killed"), "cp3's firstboot was not killed: {killer}");
        Ok(())
    })
}
