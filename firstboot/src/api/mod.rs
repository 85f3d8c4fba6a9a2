//! The stage `api`: what kubeadm does through the API server, from api.ndjson.
//!
//! Cluster-wide objects are applied once per generation, under a Lease, and a ConfigMap written last says so. Nodes are
//! looked at every time. Each step may be repeated.

mod apply;
mod client;
mod done;
pub mod lease;
mod node;
mod tokens;

use crate::stage::Context;
use anyhow::Context as _;
use client::Server;
pub use client::connect;
use nodekiln_plan::{ApiPlan, ApiStep, Sha256, paths};
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    time::Duration,
};

/// The stage.
///
/// # Errors
/// The API server refuses something, or does not answer in time.
pub async fn stage(c: &Context<'_>) -> anyhow::Result<()> {
    let Some(plan) = &c.plan.spec.api else { return Ok(()) };
    let server = connect(c, plan, &plan.credential).await?;
    let own = done::Done { generation: c.plan.identity.generation, digest: objects_digest(c)? };
    if done::read(&server, &plan.done).await?.is_none_or(|done| done.generation < own.generation) {
        let work = async {
            // Another node may have done it while this one waited.
            if done::read(&server, &plan.done).await?.is_some_and(|done| done.generation >= own.generation) {
                return Ok(());
            }
            let (count, owners) = apply_objects(c, &server).await?;
            tokens::prune(c, &server, &owners).await?;
            done::write(&server, &plan.done, &own).await?;
            c.fact(format!("api: {count} objects applied, generation {}", own.generation));
            Ok(())
        };
        let done_by_another = async {
            loop {
                c.host.sleep(Duration::from_secs(1)).await;
                let done = done::read(&server, &plan.done).await;
                if matches!(done, Ok(Some(done)) if done.generation >= own.generation) {
                    return;
                }
            }
        };
        lease::hold(c, &server, plan, lease::SHORT, done_by_another, work).await?;
    } else if let Some(done) = done::read(&server, &plan.done).await?
        && done.digest != own.digest
    {
        let what = "the cluster's objects were applied from another build of this or a later generation, and stay";
        c.warn(format!("api: {what}; `nodekiln secrets renew` raises the generation"));
    }
    for step in steps(c)? {
        if let ApiStep::Node(step) = step? {
            node::bring(&server, &step).await.with_context(|| format!("bringing Node {} to its state", step.name))?;
        }
    }
    c.status.arrived();
    Ok(())
}

/// How many there were, and who comes by bootstrap token.
async fn apply_objects(c: &Context<'_>, server: &Server<'_>) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let mut applier = apply::Applier::new(server);
    let (mut count, mut owners) = (0, BTreeSet::new());
    for step in steps(c)? {
        if let ApiStep::Apply(object) = step? {
            owners.extend(tokens::owner(&object).map(str::to_owned));
            applier.apply(c, object).await?;
            count += 1;
        }
    }
    Ok((count, owners))
}

/// The steps, read one line at a time.
fn steps(c: &Context<'_>) -> anyhow::Result<impl Iterator<Item = anyhow::Result<ApiStep>> + use<>> {
    let file = c.host.open(Path::new(paths::API_OBJECTS)).with_context(|| format!("opening {}", paths::API_OBJECTS))?;
    let lines = BufReader::new(file).lines().enumerate();
    Ok(lines.filter(|(_, line)| !matches!(line, Ok(line) if line.trim().is_empty())).map(|(number, line)| {
        let place = || format!("reading line {} of {}", number + 1, paths::API_OBJECTS);
        let line = line.with_context(place)?;
        serde_json::from_str(&line).with_context(place)
    }))
}

/// The digest that says which objects these are.
fn objects_digest(c: &Context<'_>) -> anyhow::Result<Sha256> {
    match c.plan.file(paths::API_OBJECTS) {
        Some(entry) => Ok(entry.sha256),
        None => {
            let path = Path::new(paths::API_OBJECTS);
            c.host.digest(path).with_context(|| format!("reading {}", paths::API_OBJECTS))
        }
    }
}

/// Namespace and name out of `NAMESPACE/NAME`.
fn namespaced(text: &str) -> anyhow::Result<(&str, &str)> {
    text.split_once('/').with_context(|| format!("{text} is not NAMESPACE/NAME"))
}

/// A client with the rights for the Lease: by the credential that is kept, or else the one that is erased.
///
/// # Errors
/// The API server does not answer in time.
pub async fn connect_for_lease<'a>(c: &Context<'a>, plan: &ApiPlan) -> anyhow::Result<Server<'a>> {
    let has = c.host.stat(plan.lease_credential.as_path())?.is_some();
    connect(c, plan, if has { &plan.lease_credential } else { &plan.credential }).await
}
