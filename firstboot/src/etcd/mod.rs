//! The stage `etcd`: may this member start, and as what? And the statement server, until the others know.
//!
//! With a log the decision fell long ago. Without one, [`machine`] decides from what the members say of themselves.

pub mod machine;
pub mod manifest;
#[cfg(test)]
mod model;
pub mod peers;
pub mod state;
pub mod statement;

use crate::{
    exit::Refused,
    host::read_text,
    preflight::{Finding, judge},
    report,
    stage::{Context, unmark},
};
use anyhow::Context as _;
use machine::{Answer, Decision, Own, Statement, View, decide};
use manifest::Start;
use nodekiln_plan::{EtcdPlan, paths};
use state::{Incarnation, Map, State};
use statement::{Identity, Served};
use std::{path::Path, time::Duration};

/// Between two sweeps over the members.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a running cluster without a statement is looked at before joining it is refused: the firstboot of its
/// members may just be starting again.
const RUNNING: Duration = Duration::from_secs(20);
/// How long a statement is served after this member's etcd is healthy.
const LINGER: Duration = Duration::from_secs(600);
/// In the state folder: the statement is not needed any more.
const SETTLED: &str = "settled";

const REBUILD: &str = "rejoining a running cluster is not supported by this version of nodekiln; the other members go on \
                       without this one";

/// The stage.
///
/// # Errors
/// A refusal, or the file system's.
pub async fn stage(c: &Context<'_>) -> anyhow::Result<()> {
    let Some(plan) = &c.plan.spec.etcd else { return Ok(()) };
    state::require_mount(c.host, plan)?;
    c.host.make_dir(plan.data_dir.as_path(), 0o700).with_context(|| format!("making {}", plan.data_dir))?;
    if state::has_wal(c.host, &plan.data_dir)? {
        foreign(c, plan)?;
        state::mark_started(c.host, plan)?;
        serve_if_wanted(c).await;
        return keep(c, plan);
    }
    if let Some(dead) = &plan.replaces {
        let what = format!("this member takes the place of {} at {} in a cluster that runs", dead.name, dead.address);
        return Err(Refused::new("EtcdRejoin", what, REBUILD).into());
    }
    let mut state = state::open_empty(c.host, plan)?;
    c.host.remove(Path::new(&format!("{}/{SETTLED}", paths::DONE_DIR))).context("removing a marker")?;
    let identity = Identity::load(c.host, plan)?;
    let lost = if state.map.is_none() { lost(c, plan)? } else { None };
    let served = match plan.members.len() {
        ..2 => None,
        _ => Some(Served::start(c, plan, &state, lost.is_some()).await?),
    };
    let map = match &state.map {
        Some(map) => map.clone(),
        None => found(c, plan, &identity, &state, lost).await?,
    };
    if state.map.is_none() {
        // A founding that was lost before its end had them done. Who has no credential leaves them to who has.
        if c.plan.spec.api.as_ref().is_some_and(|api| !missing(c, api.credential.as_path())) {
            unmark(c.host, "api")?;
        }
        unmark(c.host, "wait")?;
        state.map = Some(map.clone());
        // Before the manifest: what etcd may act on must never be unknown to the others.
        state::save(c.host, plan, &state)?;
    }
    if let Some(served) = served {
        served.say(c, &state, false)?;
    }
    c.fact(format!("etcd: founded with {} members, token {}", map.len(), state::token(&map)));
    write(c, plan, Start::New(&map))
}

fn missing(c: &Context<'_>, path: &Path) -> bool {
    matches!(c.host.stat(path), Ok(None))
}

/// Asks, decides, waits, asks again.
async fn found(
    c: &Context<'_>,
    plan: &EtcdPlan,
    identity: &Identity,
    state: &State,
    lost: Option<Refused>,
) -> anyhow::Result<Map> {
    let node = &c.plan.spec.node;
    let me = plan.members.iter().position(|member| member.name == *node);
    let me = me.context("this node is not among the plan's etcd members")?;
    let own = Own { incarnation: state.incarnation, map: None };
    let name = |index: &usize| plan.members.get(*index).map_or("?", |member| member.name.as_str());
    let mut first: Option<Vec<Incarnation>> = None;
    let mut running = None;
    let mut running_since = None;
    loop {
        let sweep = peers::statements(c, plan, me, identity).await;
        let view = View { me, own: &own, first: first.as_deref(), answers: &sweep.answers, running };
        let decision = decide(&view);
        if !matches!(decision, Decision::Exists(_)) {
            running_since = None;
        }
        let with_names =
            |map: Vec<Incarnation>| -> Map { plan.members.iter().map(|member| member.name.clone()).zip(map).collect() };
        first = None;
        match decision {
            Decision::Again(all) => {
                first = Some(all);
                continue;
            }
            Decision::New(map) => match api_in_the_way(c, plan).await? {
                None => {
                    c.status.arrived();
                    return lost.map_or_else(|| Ok(with_names(map)), |lost| Err(lost.into()));
                }
                Some(endpoint) => c.status.waiting(
                    &format!("the API server at {endpoint} to go away, or etcd's data to come back"),
                    "this cluster runs already: founding it again would split it; mount the data, or turn the other off",
                ),
            },
            Decision::Adopt(map) => {
                c.status.arrived();
                return Ok(with_names(map));
            }
            Decision::Wait(silent) => {
                let who: Vec<String> = silent
                    .iter()
                    .map(|index| format!("{} ({})", name(index), sweep.why.get(*index).map_or("", String::as_str)))
                    .collect();
                let (answering, closed) = tokio::join!(
                    peers::running(c, plan, &silent, identity),
                    peers::without_peer_port(c, plan, &silent, identity),
                );
                running = answering;
                let started: Vec<_> = silent.iter().filter(|index| !closed.contains(index)).map(name).collect();
                c.status.waiting(&format!("the etcd members {}", who.join(", ")), &hint(&started));
            }
            Decision::Exists(member) => {
                let now = c.host.monotonic();
                let since = *running_since.get_or_insert(now);
                if now.saturating_sub(since) > RUNNING {
                    let what = format!("the cluster runs (etcd of {} answers) without this member", name(&member));
                    return Err(Refused::new("EtcdRejoin", what, REBUILD).into());
                }
                c.status.waiting(&format!("a statement of {}, whose etcd runs", name(&member)), "");
                running = peers::running(c, plan, &[member], identity).await;
            }
            Decision::Wiped(members) => {
                let who: Vec<_> = members.iter().map(name).collect();
                let nobody = Answer::Said(Statement::Decided(Vec::new()));
                if members.iter().all(|index| sweep.answers.get(*index) == Some(&nobody)) {
                    let what = format!("{} ran in this cluster before, and the log is not there now", who.join(", "));
                    let hint = "restore the data (is its disk mounted?), or boot the payload there again to found a \
                                new, empty cluster";
                    return Err(lost.unwrap_or_else(|| Refused::new("EtcdDataLost", what, hint)).into());
                }
                let what = format!(
                    "{} decided with an earlier life of this member: its data was wiped since, and it must not start \
                     as new",
                    who.join(", ")
                );
                return Err(Refused::new("EtcdRejoin", what, REBUILD).into());
            }
            Decision::Differs(members) => {
                let who: Vec<String> = members
                    .iter()
                    .map(|index| format!("{} {}", name(index), sweep.why.get(*index).map_or("", String::as_str)))
                    .collect();
                let what = format!("{node} has the plan {}, {}", c.plan.identity.etcd_digest, who.join(", "));
                let hint = "boot all members with payloads of one build";
                return Err(Refused::new("EtcdPlansDiffer", what, hint).into());
            }
            Decision::Split(a, b) => {
                let what = format!("{} and {} are of two foundings of this cluster", name(&a), name(&b));
                return Err(Refused::new("EtcdSplit", what, "wipe the one that holds no data of yours").into());
            }
        }
        c.host.sleep(PAUSE).await;
    }
}

/// The way out for who waits for silent members, of which these run etcd.
fn hint(started: &[&str]) -> String {
    if started.is_empty() {
        return "a first start takes all planned members, on and in reach; if the cluster has started before, turn them on: \
                then this one is told so"
            .to_owned();
    }
    format!(
        "etcd of {} runs already, but firstboot there does not say what was decided: turn on enough members for a \
         quorum, and see firstboot's log there",
        started.join(", ")
    )
}

/// A log that no member of ours wrote, before this payload was finished: a disk of another cluster, perhaps. kubeadm
/// refuses a data directory that is not empty.
fn foreign(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<()> {
    if state::is_ours(c.host, plan)? || report::is_finished(c)? {
        return Ok(());
    }
    let dir = &plan.data_dir;
    let name = format!("DirAvailable-{}", dir.as_str().replace('/', "-"));
    let what = format!("{dir} holds the log of an etcd that nodekiln did not found");
    let hint =
        format!("wipe it if it is another cluster's; to go on with its data put {name} into ignorePreflightErrors");
    judge(c, vec![Finding::error(name, what, hint)])
}

/// Why this member, which holds no log, may have no part in a founding: its data was lost, or is not mounted. To others
/// it must not look empty either: they would found without the data.
fn lost(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<Option<Refused>> {
    let lost = match &c.plan.spec.api {
        // A new cluster has to be set up, and that needs it.
        Some(api) if missing(c, api.credential.as_path()) => "the credential to set a new cluster up is erased",
        None if report::is_finished(c)? => "this payload was finished on this machine: its log is gone",
        _ => return Ok(None),
    };
    let what = format!("{} is empty, but {lost}", plan.data_dir);
    let hint = "restore the data (is its disk mounted?), or boot the payload again to found a new, empty cluster";
    Ok(Some(Refused::new("EtcdDataLost", what, hint)))
}

/// An API server with our CA forbids to found.
async fn api_in_the_way(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<Option<String>> {
    let ca = &plan.api_ca;
    let bytes = c.host.read(ca.as_path()).with_context(|| format!("reading {ca}"))?;
    let answering =
        peers::api_answers(c.host, &plan.api_servers, &bytes).await.with_context(|| format!("using {ca}"))?;
    Ok(answering.map(ToString::to_string))
}

/// Writes the manifest, if it is not there as wanted.
///
/// # Errors
/// The template is damaged; the file system's.
pub fn write(c: &Context<'_>, plan: &EtcdPlan, start: Start<'_>) -> anyhow::Result<()> {
    let wanted = wanted(c, plan, start)?;
    let entry = manifest::entry(c.plan, plan)?;
    let path = plan.manifest.as_path();
    if read_text(c.host, plan.manifest.as_str())?.is_some_and(|text| text.as_bytes() == wanted) {
        return Ok(());
    }
    if let Some(parent) = plan.manifest.parent()
        && missing(c, parent.as_path())
    {
        c.host.make_dir(parent.as_path(), 0o700).with_context(|| format!("making {parent}"))?;
    }
    c.host.replace(path, entry.mode.bits(), &wanted).with_context(|| format!("writing {}", plan.manifest))?;
    crate::preflight::restore_labels(c, &[plan.manifest.as_str()])
}

/// The manifest's bytes.
///
/// # Errors
/// The template is missing or damaged.
pub fn wanted(c: &Context<'_>, plan: &EtcdPlan, start: Start<'_>) -> anyhow::Result<Vec<u8>> {
    let entry = manifest::entry(c.plan, plan)?;
    let staged = entry.staged.as_ref().context("etcd's template has no staged path in the plan")?;
    let template = c.host.read(staged.as_path()).with_context(|| format!("reading {staged}"))?;
    anyhow::ensure!(nodekiln_plan::Sha256::of(&template) == entry.sha256, "{staged} has not the planned content");
    manifest::fill(&template, plan, &c.plan.spec.node, start)
}

/// With a log: keeps a manifest that founded with it, until the last stage rewrites it; else writes the last form.
fn keep(c: &Context<'_>, plan: &EtcdPlan) -> anyhow::Result<()> {
    let now = read_text(c.host, plan.manifest.as_str())?.unwrap_or_default();
    if let Some(map) = state::load(c.host, plan)?.and_then(|state| state.map)
        && now.as_bytes() == wanted(c, plan, Start::New(&map))?
    {
        return Ok(());
    }
    write(c, plan, Start::Existing)
}

/// Serves the statement again after a restart, as long as not every member has started. A node whose etcd runs must not
/// fail over this: it warns.
pub async fn serve_if_wanted(c: &Context<'_>) {
    let served = match unsettled(c) {
        Ok(None) => return,
        Ok(Some((plan, state))) => Served::start(c, plan, &state, false).await,
        Err(e) => Err(e),
    };
    if let Err(e) = served {
        c.warn(format!("the other etcd members cannot be told what was decided: {e:#}"));
    }
}

fn unsettled<'a>(c: &Context<'a>) -> anyhow::Result<Option<(&'a EtcdPlan, State)>> {
    let Some(plan) = &c.plan.spec.etcd else { return Ok(None) };
    let settled = Path::new(paths::DONE_DIR).join(SETTLED);
    if plan.members.len() < 2 || !missing(c, &settled) {
        return Ok(None);
    }
    let state = state::load(c.host, plan)?;
    Ok(state.filter(|state| state.map.is_some()).map(|state| (plan, state)))
}

/// Keeps the statement up until every member's etcd was seen, at most ten minutes after the own is healthy.
///
/// # Errors
/// The file system's.
pub async fn linger(c: &Context<'_>) -> anyhow::Result<()> {
    let Some((plan, _)) = unsettled(c)? else { return Ok(()) };
    let identity = Identity::load(c.host, plan)?;
    let mut unseen: Vec<usize> = (0..plan.members.len()).collect();
    let mut since = None;
    loop {
        unseen = peers::without_peer_port(c, plan, &unseen, &identity).await;
        let now = c.host.monotonic();
        if since.is_none() && peers::healthy(c, plan, &identity).await.is_ok() {
            since = Some(now);
        }
        let over = since.is_some_and(|since| now.saturating_sub(since) > LINGER);
        if unseen.is_empty() || over {
            break;
        }
        let who: Vec<_> = unseen.iter().filter_map(|i| plan.members.get(*i)).map(|m| m.name.as_str()).collect();
        c.status.waiting(&format!("etcd of {} to start, to tell it what was decided", who.join(", ")), "");
        c.host.sleep(Duration::from_secs(1)).await;
    }
    c.status.arrived();
    let settled = Path::new(paths::DONE_DIR).join(SETTLED);
    c.host.replace(&settled, 0o600, b"").with_context(|| format!("writing {}", settled.display()))
}
