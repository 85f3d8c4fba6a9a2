//! A Lease that one node holds at a time: steps that must not run on two nodes at once.
//!
//! As client-go's leader election: whoever holds it renews it; it is over when nobody changed it for its duration on
//! the clock of the one who looks. Clocks of two nodes are never compared.

use super::{
    client::{Server, is_absent},
    namespaced,
};
use crate::{stage::Context, tls};
use anyhow::bail;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use nodekiln_plan::ApiPlan;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a Lease is good after its last renewal.
pub const SHORT: Duration = Duration::from_secs(20);
/// The same for work that takes the own API server down, so that nothing can be renewed for a while.
pub const LONG: Duration = Duration::from_secs(90);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);
/// How often one who waits looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Does `work` while holding the Lease; gives up waiting for it, and returns `None`, once `needless` is done.
///
/// # Errors
/// Those of the work; the Lease is lost, or cannot be taken.
pub async fn hold<T>(
    c: &Context<'_>,
    server: &Server<'_>,
    plan: &ApiPlan,
    good: Duration,
    needless: impl Future<Output = ()>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    let (namespace, name) = namespaced(&plan.lease)?;
    let api: Api<Lease> = Api::namespaced(server.client.clone(), namespace);
    let me = c.plan.spec.node.as_str();
    let term = Term { namespace, name, holder: me, good };
    tokio::select! {
        biased;
        taken = acquire(c, server, &api, &term) => taken?,
        () = needless => {
            // It may have been taken in the very moment.
            give_back(c, server, plan).await;
            c.status.arrived();
            return Ok(None);
        }
    }
    c.status.arrived();
    // Beside the work, never in its way: the work may be to bring back the API server that a renewal waits for.
    let renewed = async {
        let mut lost_since = None;
        loop {
            c.host.sleep(RENEWAL).await;
            let now = c.host.monotonic();
            match renew(server, &api, &term).await {
                Ok(()) => lost_since = None,
                // The API server may be away for a moment: while etcd restarts, for one.
                Err(Lost::Away(why)) => {
                    let since = *lost_since.get_or_insert(now);
                    if now.saturating_sub(since) > good {
                        c.status.info(&format!("the Lease {} cannot be renewed: {why}", plan.lease));
                        lost_since = Some(now);
                    }
                }
                Err(Lost::Taken(by)) => return by,
            }
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        by = renewed => bail!("the Lease {} was taken by {by} meanwhile", plan.lease),
    };
    match &done {
        // The others wait for it, and the work may have ended the connections to the API server.
        Ok(_) => {
            let released = server.patiently("releasing the Lease", || release(server, &api, &term)).await;
            if let Err(e) = released {
                c.status.info(&format!("{e:#}; it ends by itself in {} s", good.as_secs()));
            }
        }
        // The API server may be why it failed. Not released, it ends by itself.
        Err(_) => drop(release(server, &api, &term).await),
    }
    done.map(Some)
}

/// Gives the Lease back if this node still holds it: an earlier run was killed after its work and before this.
pub async fn give_back(c: &Context<'_>, server: &Server<'_>, plan: &ApiPlan) {
    let Ok((namespace, name)) = namespaced(&plan.lease) else { return };
    let api: Api<Lease> = Api::namespaced(server.client.clone(), namespace);
    let term = Term { namespace, name, holder: c.plan.spec.node.as_str(), good: SHORT };
    if let Err(e) = server.patiently("giving the Lease back", || release(server, &api, &term)).await {
        c.status.info(&format!("{e:#}; it ends by itself"));
    }
}

/// What a Lease says.
#[derive(Clone, Copy)]
struct Term<'a> {
    namespace: &'a str,
    name: &'a str,
    /// Empty: free.
    holder: &'a str,
    good: Duration,
}

enum Lost {
    Away(String),
    Taken(String),
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

async fn acquire(c: &Context<'_>, server: &Server<'_>, api: &Api<Lease>, term: &Term<'_>) -> anyhow::Result<()> {
    let (namespace, name, me) = (term.namespace, term.name, term.holder);
    // What was seen last, and when it was seen first.
    let mut seen: Option<(String, Duration)> = None;
    loop {
        let found = server
            .patiently(&format!("reading the Lease {namespace}/{name}"), || async {
                match api.get(name).await {
                    Ok(lease) => Ok(Some(lease)),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(e),
                }
            })
            .await?;
        let now = c.host.monotonic();
        let Some(found) = found else {
            let lease = lease(c.host.now(), term, None)?;
            match api.create(&PostParams::default(), &lease).await {
                Ok(_) => return Ok(()),
                Err(e) => {
                    c.status.waiting(&format!("the Lease {namespace}/{name} ({})", super::client::words(&e)), "");
                    let start = seen.get_or_insert((String::new(), now)).1;
                    if now.saturating_sub(start) > Duration::from_secs(c.plan.class.timeouts.kubernetes_api_call) {
                        bail!("making the Lease {namespace}/{name}: {}", super::client::words(&e));
                    }
                }
            }
            c.host.sleep(PAUSE).await;
            continue;
        };
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let since = match &seen {
            Some((known, since)) if *known == version => *since,
            _ => {
                seen = Some((version.clone(), now));
                now
            }
        };
        let by = holder(&found);
        let duration = found.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let duration = Duration::from_secs(u64::try_from(duration).unwrap_or(0));
        if by.is_empty() || by == me || now.saturating_sub(since) > duration {
            let mine = lease(c.host.now(), term, Some(&version))?;
            if api.replace(name, &PostParams::default(), &mine).await.is_ok() {
                return Ok(());
            }
        } else {
            c.status.waiting(&format!("the Lease {namespace}/{name}, which {by} holds"), "it works on the cluster now");
        }
        c.host.sleep(PAUSE).await;
    }
}

async fn renew(server: &Server<'_>, api: &Api<Lease>, term: &Term<'_>) -> Result<(), Lost> {
    let away = |e: kube::Error| Lost::Away(super::client::words(&e));
    let found = api.get(term.name).await.map_err(away)?;
    if holder(&found) != term.holder {
        return Err(Lost::Taken(holder(&found).to_owned()));
    }
    let mine = lease(server.host().now(), term, found.metadata.resource_version.as_deref()).map_err(away)?;
    api.replace(term.name, &PostParams::default(), &mine).await.map_err(away)?;
    Ok(())
}

/// One try. A renewal that was on its way when the work ended may still come, and is a conflict.
async fn release(server: &Server<'_>, api: &Api<Lease>, term: &Term<'_>) -> kube::Result<()> {
    let found = api.get(term.name).await?;
    if holder(&found) == term.holder {
        let free = Term { holder: "", good: Duration::from_secs(1), ..*term };
        let free = lease(server.host().now(), &free, found.metadata.resource_version.as_deref())?;
        api.replace(term.name, &PostParams::default(), &free).await?;
    }
    Ok(())
}

/// A Lease of such a term.
fn lease(now: Duration, term: &Term<'_>, version: Option<&str>) -> kube::Result<Lease> {
    let Term { namespace, name, holder, good } = *term;
    let mut metadata = json!({"name": name, "namespace": namespace});
    if let (Some(version), Some(map)) = (version, metadata.as_object_mut()) {
        map.insert("resourceVersion".to_owned(), Value::from(version));
    }
    let mut spec = json!({"leaseDurationSeconds": good.as_secs(), "renewTime": tls::micro_date(now)});
    if let (false, Some(map)) = (holder.is_empty(), spec.as_object_mut()) {
        map.insert("holderIdentity".to_owned(), Value::from(holder));
        map.insert("acquireTime".to_owned(), Value::from(tls::micro_date(now)));
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(lease).map_err(kube::Error::SerdeError)
}
