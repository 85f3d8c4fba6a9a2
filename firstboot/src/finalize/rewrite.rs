//! etcd's manifest in its last form: with a log etcd looks at none of it, without one it dies.
//!
//! etcd restarts for it, so it is done on one node at a time, under the Lease. The kubelet is stopped meanwhile, and etcd
//! and the API server are ended from here. An API server whose etcd is away takes requests and answers them after a
//! minute, and a kubelet has to ask before it starts the new etcd: one that sees the manifest change asks for a mirror
//! pod, one that starts asks for its Node before it mounts a volume, if pods left volumes on the disk (Kubernetes 1.36,
//! pkg/kubelet/volumemanager/reconciler/reconstruct.go; measured: two minutes). No API server at all is passed over at
//! once, as at every boot. Balancers see it too: one without etcd still takes their clients' connections.

use super::lock;
use crate::{
    api::{connect_for_lease, lease},
    etcd::{self, manifest::Start, peers, state, statement::Identity},
    gate,
    host::{HttpRequest, processes, read_text, run},
    kubelet,
    stage::Context,
    tls, wait,
};
use anyhow::{Context as _, bail};
use nodekiln_plan::EtcdPlan;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn rewrite(c: &Context<'_>) -> anyhow::Result<()> {
    let Some(plan) = &c.plan.spec.etcd else { return Ok(()) };
    if !state::has_wal(c.host, &plan.data_dir)? {
        bail!("{} holds no log although etcd is healthy: is it another folder than etcd's?", plan.data_dir);
    }
    state::mark_started(c.host, plan)?;
    let wanted = etcd::wanted(c, plan, Start::Existing)?;
    let now = read_text(c.host, plan.manifest.as_str())?.unwrap_or_default();
    let identity = Identity::load(c.host, plan)?;
    if now.as_bytes() == wanted {
        // Perhaps a run that was killed wrote it just now, and holds the Lease still.
        if !runs_last_form(c) {
            restart(c, plan).await?;
        }
        restarted(c, plan).await?;
        healthy(c, plan, &identity).await?;
        if let Some(api) = &c.plan.spec.api {
            lease::give_back(c, &connect_for_lease(c, api).await?, api).await;
        }
        return Ok(());
    }
    wait::kubelet_reported(c).await?;
    let work = async {
        others_are_up(c, plan, &identity).await?;
        restart(c, plan).await?;
        restarted(c, plan).await?;
        healthy(c, plan, &identity).await
    };
    match &c.plan.spec.api {
        Some(api) => {
            let server = connect_for_lease(c, api).await?;
            lease::hold(c, &server, api, lease::LONG, std::future::pending(), work).await.map(|_| ())
        }
        // Without an API server there is no Lease.
        None if plan.members.len() > 1 => lock::hold(c, plan, &identity, work).await,
        None => work.await,
    }
}

/// Taking this member down must leave a quorum: the others' etcd have to answer.
async fn others_are_up(c: &Context<'_>, plan: &EtcdPlan, identity: &Identity) -> anyhow::Result<()> {
    let limit = Duration::from_secs(c.plan.class.timeouts.etcd_api_call);
    let start = c.host.monotonic();
    let others: Vec<usize> = (0..plan.members.len())
        .filter(|index| plan.members.get(*index).is_some_and(|member| member.name != c.plan.spec.node))
        .collect();
    // One that may be missing without the quorum being lost when this one goes too.
    let spare = (plan.members.len().saturating_sub(1) / 2).saturating_sub(1);
    loop {
        let down = peers::without_peer_port(c, plan, &others, identity).await;
        if down.len() <= spare {
            return Ok(());
        }
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("etcd cannot be restarted: too few of the other members answer");
        }
        let who: Vec<_> = down.iter().filter_map(|i| plan.members.get(*i)).map(|m| m.name.as_str()).collect();
        c.status.waiting(&format!("the etcd members {}", who.join(", ")), "before etcd is restarted here");
        c.host.sleep(PAUSE).await;
    }
}

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// Writes the last form while neither the kubelet nor the API server nor etcd runs, and starts the kubelet again. Each
/// step finds its work done when a run that was killed did it.
///
/// Both are killed, not asked to end: asked, each waits for the other's watches, which never end. What etcd has
/// acknowledged is in its log.
async fn restart(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<()> {
    run(c.host, "systemctl", &["stop", c.plan.class.kubelet.unit.as_str()])?;
    etcd::write(c, plan, Start::Existing)?;
    let start = c.host.monotonic();
    loop {
        let own = gate::own_processes(c.host, c.plan, plan);
        if own.is_empty() {
            return kubelet::start(c).await;
        }
        if c.host.monotonic().saturating_sub(start) > GONE {
            bail!("etcd and the API server do not end, not even by SIGKILL");
        }
        for process in own {
            // One that has just ended is as good.
            let _ = c.host.kill(process.pid);
        }
        c.host.sleep(Duration::from_millis(20)).await;
    }
}

/// Whether an etcd with the last form's arguments runs.
fn runs_last_form(c: &Context<'_>) -> bool {
    let name = format!("--name={}", c.plan.spec.node);
    processes(c.host).iter().any(|process| {
        let has = |wanted: &str| process.args.iter().any(|argument| argument == wanted);
        has("--initial-cluster-state=existing") && has(&name)
    })
}

/// Waits until an etcd with the new arguments runs.
async fn restarted(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<()> {
    let limit = Duration::from_secs(c.plan.class.timeouts.control_plane_component_health_check);
    let start = c.host.monotonic();
    loop {
        if runs_last_form(c) {
            return Ok(());
        }
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("the kubelet did not restart etcd with its new manifest {}", plan.manifest);
        }
        c.status.waiting("the kubelet to restart etcd with its last manifest", "");
        c.host.sleep(PAUSE).await;
    }
}

async fn healthy(c: &Context<'_>, plan: &EtcdPlan, identity: &Identity) -> anyhow::Result<()> {
    let limit = Duration::from_secs(c.plan.class.timeouts.control_plane_component_health_check);
    let start = c.host.monotonic();
    loop {
        let why = match peers::healthy(c, plan, identity).await {
            Err(why) => format!("etcd: {why}"),
            Ok(()) => match api_ready(c).await? {
                None => {
                    c.status.arrived();
                    return Ok(());
                }
                Some(why) => format!("the API server: {why}"),
            },
        };
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("not healthy after etcd's restart: {why}");
        }
        c.status.waiting(&format!("etcd and the API server after etcd's restart ({why})"), "");
        c.host.sleep(PAUSE).await;
    }
}

async fn api_ready(c: &Context<'_>) -> anyhow::Result<Option<String>> {
    let Some(api) = &c.plan.spec.api else { return Ok(None) };
    let ca = &c.plan.class.kubelet.ca;
    let bytes = c.host.read(ca.as_path()).with_context(|| format!("reading {ca}"))?;
    let tls = tls::client(&bytes, None).with_context(|| format!("using {ca}"))?;
    let request = HttpRequest::get(api.server.clone(), "/readyz", Some(tls), Duration::from_secs(5));
    Ok(match c.host.http(&request).await {
        // 401 where anonymous requests are off: it answers, and etcd was asked already.
        Ok(response) if matches!(response.status, 200 | 401 | 403) => None,
        Ok(response) => Some(format!("status {}", response.status)),
        Err(e) => Some(e.to_string()),
    })
}
