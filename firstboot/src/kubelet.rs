//! The stage `kubelet`: the container runtime's unit, then the kubelet's.

use crate::{
    host::{Host, run},
    preflight,
    stage::Context,
};

/// The stage. Short, and done at every run: a unit that runs is left alone.
///
/// # Errors
/// systemctl fails, or the container runtime does not answer.
pub async fn kubelet(c: &Context<'_>) -> anyhow::Result<()> {
    start(c).await
}

/// Starts what the kubelet needs, waits for the runtime's socket, starts the kubelet without waiting for it: its unit is
/// ordered after ours.
///
/// # Errors
/// systemctl fails, or the container runtime does not answer.
pub async fn start(c: &Context<'_>) -> anyhow::Result<()> {
    let plan = &c.plan.class.kubelet;
    if needs_reload(c.host, plan.unit.as_str()) {
        run(c.host, "systemctl", &["daemon-reload"])?;
    }
    if !plan.after.is_empty() {
        let mut args = vec!["start", "--no-block"];
        args.extend(plan.after.iter().map(|unit| unit.as_str()));
        run(c.host, "systemctl", &args)?;
    }
    preflight::runtime(c).await?;
    run(c.host, "systemctl", &["start", "--no-block", plan.unit.as_str()])?;
    Ok(())
}

/// Units that were laid after systemd read its own.
fn needs_reload(host: &dyn Host, unit: &str) -> bool {
    run(host, "systemctl", &["show", "--property=NeedDaemonReload,LoadState", unit])
        .is_ok_and(|text| text.contains("NeedDaemonReload=yes") || text.contains("LoadState=not-found"))
}

/// Whether the kubelet's unit runs.
pub fn is_active(c: &Context<'_>) -> bool {
    c.host
        .command("systemctl", &["is-active", "--quiet", c.plan.class.kubelet.unit.as_str()])
        .is_ok_and(|output| output.code == Some(0))
}
