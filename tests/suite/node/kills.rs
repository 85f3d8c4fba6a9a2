//! firstboot killed with SIGKILL after each of its stages: it ends in the same state as one that was left alone.

use super::{
    payload::{Output, single},
    probe,
    single::{NEEDS, machine},
};
use anyhow::{Result, ensure};
use nodekiln_tests::{cluster::Cluster, tools::require};
use serde_json::Value;
use std::collections::BTreeMap;

/// The stages, in order. The last one's marker is written when nothing is left to kill.
const STAGES: [&str; 7] = ["preflight", "kernel", "files", "etcd", "kubelet", "wait", "api"];

type State = (BTreeMap<String, String>, BTreeMap<String, Value>);

fn end_state(cluster: &Cluster) -> Result<State> {
    cluster.wait_node_ready("n1", probe::READY)?;
    probe::firstboot_done(cluster, "n1")?;
    probe::mirror_pods(cluster, "n1")?;
    Ok((probe::disk_state(cluster.node("n1")?)?, probe::api_state(cluster)?))
}

/// A unit that watches for markers and kills firstboot once after each of `stages`.
fn killer(stages: &[&str]) -> String {
    let stages = stages.join(" ");
    format!(
        r#"[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
ExecStart=/bin/bash -c 'for stage in {stages}; do until [ -e /var/lib/nodekiln/done/$stage ] && pkill -KILL -x nodekiln-firstb; do read -t 0.002 <> <(:) || :; done; echo killed after $stage; done'
"#
    )
}

fn boot(output: &Output, stages: &[&str]) -> Result<Option<State>> {
    let Some(cache) = require(&NEEDS)? else { return Ok(None) };
    let mut cluster = machine(&cache, output)?;
    if !stages.is_empty() {
        let spec = output
            .ignition(&cache, "n1", "10.77.0.1")?
            .file("/etc/systemd/system/killer.service", 0o644, killer(stages))
            .file(
                "/etc/systemd/system/nodekiln-firstboot.service.d/50-killer.conf",
                0o644,
                "[Unit]\nWants=killer.service\n",
            );
        cluster.remove("n1");
        cluster.add(spec)?;
    }
    cluster.explaining(|cluster| {
        cluster.power_on_all()?;
        let state = end_state(cluster)?;
        if !stages.is_empty() {
            let node = cluster.node("n1")?;
            let journal = node.journal("killer.service", 40);
            let killed = journal.lines().filter(|line| line.contains("killed after")).count();
            eprintln!("{journal}");
            ensure!(killed == stages.len(), "firstboot was killed {killed} times for {} stages", stages.len());
        }
        Ok(Some(state))
    })
}

fn same(left: &State, right: &State) -> Result<()> {
    for (path, value) in left.0.iter().chain(&right.0) {
        // What only the test lays down.
        if path.contains("killer") || path.contains("nodekiln-firstboot.service.d") {
            continue;
        }
        ensure!(
            left.0.get(path) == Some(value) && right.0.get(path) == Some(value),
            "{path}: {:?} and {:?}",
            left.0.get(path),
            right.0.get(path)
        );
    }
    for (name, value) in left.1.iter().chain(&right.1) {
        ensure!(
            left.1.get(name) == Some(value) && right.1.get(name) == Some(value),
            "{name}: {:?} and {:?}",
            left.1.get(name),
            right.1.get(name)
        );
    }
    Ok(())
}

#[test]
fn killed_after_every_stage_it_ends_in_the_same_state() -> Result<()> {
    let Some(cache) = require(&NEEDS)? else { return Ok(()) };
    let _serial = cache.serial()?;
    let output = Output::build(&single("flatcar"))?;
    let (Some(alone), Some(killed)) = (boot(&output, &[])?, boot(&output, &STAGES)?) else { return Ok(()) };
    ensure!(alone.0.len() > 40 && alone.1.len() > 25, "the state compared is too small: {alone:?}");
    same(&alone, &killed)
}
