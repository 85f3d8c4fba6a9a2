//! The single node again, through cloud-init's own modules and units.

use super::{
    payload::{GATEWAY, Output, single},
    probe,
    single::NEEDS,
};
use anyhow::{Result, ensure};
use nodekiln_tests::{cluster::Cluster, tools::require};

#[test]
fn a_single_node_by_cloud_init() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&single("cloud-init"))?;
    let mut cluster = Cluster::new(&cache, &[GATEWAY.parse()?], vec![output.cloud_init("n1", "10.77.0.1")?])?;
    cluster.set_admin_conf(&output.path("admin.conf"));
    cluster.explaining(|cluster| {
        let (times, result) = probe::power_on(cluster, "n1", "10.77.0.1")?;
        probe::mirror_pods(cluster, "n1")?;
        probe::workload(cluster)?;
        let node = cluster.node("n1")?;
        ensure!(node.run(&["hostname"])?.trim() == "n1", "cloud-init did not set the host name");
        probe::kubelet_certificates(cluster, &output, node)?;
        probe::no_superuser(&output, node)?;
        probe::print_times(cluster, "n1", times, &result)?;

        // cloud-init is off for good: another boot brings nothing of the payload back.
        cluster.reboot_hard("n1")?;
        cluster.wait_node_ready("n1", probe::READY)?;
        let node = cluster.node("n1")?;
        node.wait_running(probe::READY)?;
        probe::no_superuser(&output, node)?;
        Ok(())
    })
}
