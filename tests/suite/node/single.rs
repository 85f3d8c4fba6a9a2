//! One control plane by Ignition.

use super::{
    payload::{GATEWAY, Output, single},
    probe,
};
use anyhow::{Result, ensure};
use nodekiln_tests::{
    cache::Cache,
    cluster::Cluster,
    command::Cmd,
    machine::Snapshot,
    measure::Timeline,
    tools::{Need, require},
};

/// What the node tests cannot do without.
pub const NEEDS: [Need; 5] = [
    Need::Nodes,
    Need::Program("ignition-apply"),
    Need::Program("ignition-validate"),
    Need::Program("kubectl"),
    Need::Program("openssl"),
];

/// A cluster of one machine, off.
pub fn machine(cache: &Cache, output: &Output) -> Result<Cluster> {
    let mut cluster = Cluster::new(cache, &[GATEWAY.parse()?], vec![output.ignition(cache, "n1", "10.77.0.1")?])?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    Ok(cluster)
}

#[test]
fn a_single_node_by_ignition() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let before = Snapshot::take();
    let output = Output::build(&single("flatcar"))?;
    eprintln!("build of one node: {:?}", output.took);
    let mut cluster = machine(&cache, &output)?;
    cluster.explaining(|cluster| {
        let (mut times, result) = probe::power_on(cluster, "n1", "10.77.0.1")?;
        probe::mirror_pods(cluster, "n1")?;
        times.mark("four mirror pods Ready")?;
        probe::workload(cluster)?;
        times.mark("workload resolves and reaches a Service")?;
        let node = cluster.node("n1")?;
        probe::kubelet_certificates(cluster, &output, node)?;
        probe::no_superuser(&output, node)?;
        node.run(&["/opt/bin/nodekiln-firstboot", "verify"])?;
        node.run(&["/opt/bin/nodekiln-firstboot", "status"])?;
        probe::print_times(cluster, "n1", times, &result)?;

        // The same machine after a power cut: verified, not made anew.
        cluster.reboot_hard("n1")?;
        let mut times = Timeline::of(cluster.node("n1")?)?;
        cluster.wait_api("10.77.0.1:6443".parse()?, probe::READY)?;
        times.mark("API ready again")?;
        cluster.wait_until(
            "the node to report again",
            probe::READY,
            std::time::Duration::from_millis(200),
            |cluster| cluster.kubectl(&["exec", "client", "--", "true"])?.ok().map(Some),
        )?;
        times.mark("pods run again")?;
        let again = probe::firstboot_done(cluster, "n1")?;
        ensure!(again == result, "a later boot wrote another result.json");
        probe::print_times(cluster, "n1", times, &again)?;
        Ok(())
    })?;
    drop(cluster);
    assert_eq!(before.changes(), Vec::<String>::new(), "the machine is not as it was");
    Ok(())
}

/// As a release of containerd is packed, in the payload of a machine whose image has another.
#[test]
fn containerd_comes_in_an_archive() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let text = single("flatcar") + "binaries: {containerd: {file: containerd.tar.gz}}\n";
    let output = Output::build_beside(&text, |folder| {
        let (archive, bin) = (folder.join("containerd.tar.gz"), cache.program(""));
        Cmd::new(["tar", "--dereference", "--transform=s,^,bin/,", "-czf"])
            .args([archive])
            .args(["-C"])
            .args([bin])
            .args(["containerd", "containerd-shim-runc-v2"])
            .ok()
            .map(drop)
    })?;
    let mut cluster = machine(&cache, &output)?;
    cluster.explaining(|cluster| {
        probe::power_on(cluster, "n1", "10.77.0.1")?;
        probe::workload(cluster)?;
        let program = |cluster: &Cluster| -> Result<String> {
            let script = "readlink /proc/$(systemctl show --value -p MainPID containerd)/exe";
            Ok(cluster.node("n1")?.run(&["sh", "-c", script])?.trim().to_owned())
        };
        ensure!(program(cluster)? == "/opt/bin/containerd", "{} runs", program(cluster)?);
        let unpacked = ["stat", "-c", "%Y", "/var/lib/nodekiln/archives/containerd.tgz.unpacked"];
        let once = cluster.node("n1")?.run(&unpacked)?;
        cluster.reboot_hard("n1")?;
        cluster.wait_node_ready("n1", probe::READY)?;
        ensure!(program(cluster)? == "/opt/bin/containerd", "{} runs after a reboot", program(cluster)?);
        ensure!(cluster.node("n1")?.run(&unpacked)? == once, "it was unpacked again");
        Ok(())
    })
}
