//! The subcommand `run`: all stages that are not done, in order.

use crate::{
    etcd,
    exit::{self, Unusable},
    gate,
    host::{Host, Level},
    kernel, kubelet, name,
    stage::{Context, Holds, Marker, STAGES, boot_id, mark, marker},
    status::Status,
};
use nodekiln_plan::{NodePlan, Sha256, paths};
use std::{cell::RefCell, path::Path, time::Duration};

/// The unit's `RestartSec`.
const RESTART: Duration = Duration::from_secs(2);
/// The longest time between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// The plan and its digest.
///
/// # Errors
/// It is not there, or damaged; the machine of a pool has no name.
pub fn load(host: &dyn Host) -> anyhow::Result<(NodePlan, Sha256)> {
    let bytes = host.read(Path::new(paths::PLAN)).map_err(|e| Unusable::Missing(paths::PLAN, e))?;
    let mut plan = NodePlan::from_slice(&bytes).map_err(|e| Unusable::Bad(paths::PLAN, e))?;
    name::resolve(host, &mut plan)?;
    Ok((plan, Sha256::of(&bytes)))
}

/// Does what is left to do. What is refused, and would be again in two seconds, is held back for a while first.
///
/// # Errors
/// The first stage that fails.
pub async fn run(host: &dyn Host) -> anyhow::Result<()> {
    let (plan, digest) = load(host)?;
    let boot = boot_id(host)?;
    let status = Status::new(host, plan.spec.node.clone(), digest, &boot);
    let context = Context { host, plan: &plan, digest, boot, status: &status, notes: RefCell::default() };
    let done = work(&context).await;
    if let Err(error) = &done
        && is_held_back(error)
    {
        let pause = pause(status.report().runs);
        let when =
            format!("tried again in {} s, or by `systemctl restart {}`", (pause + RESTART).as_secs(), gate::UNIT);
        host.say(Level::Error, &format!("{error:#} ({when})"));
        host.sleep(pause).await;
    }
    done
}

/// Whether an error is told here, and held back: trying again at once does not help. systemd could wait longer each time
/// only from version 254 on (`RestartSteps=`); Debian 12 has 252.
pub fn is_held_back(error: &anyhow::Error) -> bool {
    matches!(exit::code(error), exit::REFUSED | exit::DIFFERS)
}

/// How long the run with this number, from one, is held back: with the unit's own pause 2, 4, 8 ... seconds in all.
fn pause(runs: u32) -> Duration {
    let whole = Duration::from_secs(1u64.checked_shl(runs).unwrap_or(u64::MAX)).min(LONGEST);
    whole.saturating_sub(RESTART)
}

async fn work(c: &Context<'_>) -> anyhow::Result<()> {
    if marker(c.host, "finalize", &c.digest)?.is_some() {
        return later_boot(c).await.inspect_err(|e| c.status.fail("later boot", &format!("{e:#}")));
    }
    let spec = &c.plan.spec;
    c.host.say(Level::Notice, &format!("node {} of cluster {}, {}", spec.node, spec.cluster, spec.kubernetes_version));
    stages(c).await?;
    etcd::linger(c).await?;
    c.status.end_run();
    Ok(())
}

async fn stages(c: &Context<'_>) -> anyhow::Result<()> {
    for stage in &STAGES {
        let marker = marker(c.host, stage.name, &c.digest)?;
        let done = match stage.holds {
            Holds::Payload => marker.is_some(),
            Holds::Boot => marker.is_some_and(|marker| marker.boot == c.boot),
            Holds::Never => false,
        };
        if done {
            c.status.skip(stage.name);
            continue;
        }
        c.notes.replace(Default::default());
        c.status.start(stage.name, stage.title);
        if let Err(error) = (stage.work)(c).await {
            c.status.fail(stage.name, &format!("{error:#}"));
            return Err(error.context(format!("stage {}", stage.name)));
        }
        let seconds = c.status.finish(stage.name);
        let at = c.host.now().as_secs_f64();
        let notes = c.notes.take();
        mark(c.host, stage.name, &Marker { plan: c.digest, boot: c.boot.clone(), at, seconds, notes })?;
        if stage.name == "etcd" {
            c.status.ready();
        }
    }
    Ok(())
}

/// After a reboot: all was done, so compare, and start the kubelet.
async fn later_boot(c: &Context<'_>) -> anyhow::Result<()> {
    if let gate::Verdict::Again = gate::check(c.host, c.plan, &c.digest)? {
        gate::forget(c.host, c.plan)?;
        stages(c).await?;
        etcd::linger(c).await?;
        c.status.end_run();
        return Ok(());
    }
    // What the stage did lives in the kernel; sysctl.d and modules-load.d bring back a part of it. A cluster that runs is
    // not kept waiting for the rest.
    if let Err(e) = kernel::kernel(c).await {
        c.warn(format!("kernel: {e:#}"));
    }
    c.status.ready();
    kubelet::start(c).await?;
    etcd::serve_if_wanted(c).await;
    c.status.info("all was done in an earlier run; the node is as planned");
    etcd::linger(c).await?;
    c.status.end_run();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds: Vec<u64> = [1, 2, 3, 5, 6, 64, u32::MAX].iter().map(|runs| pause(*runs).as_secs()).collect();
        assert_eq!(seconds, [0, 2, 6, 30, 58, 58, 58]);
    }
}
