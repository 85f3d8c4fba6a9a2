//! The stage `wait`: the kubelet's health, then an API server.

mod cause;

use crate::{
    etcd::{peers, state, statement::Identity},
    host::HttpRequest,
    stage::Context,
    tls,
};
use anyhow::{Context as _, bail};
use nodekiln_plan::{Endpoint, FileKind, Host, Role};
use rustls::ClientConfig;
use std::{sync::Arc, time::Duration};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// For one exchange.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stage.
///
/// # Errors
/// The kubelet, or this node's own control plane, is not healthy in time: says what was found.
pub async fn wait(c: &Context<'_>) -> anyhow::Result<()> {
    if is_bootstrapped(c) {
        // Until it has a certificate the kubelet has no healthz either, and for that it needs the API server.
        bootstrap(c).await?;
    }
    kubelet(c).await?;
    let limit = Duration::from_secs(c.plan.class.timeouts.control_plane_component_health_check);
    match (c.plan.spec.role, &c.plan.spec.server) {
        (Role::ControlPlane, Some(server)) => own_server(c, server, limit).await?,
        (Role::Worker | Role::Etcd, Some(server)) => other_server(c, server).await?,
        (_, None) => {}
    }
    if let Some(etcd) = &c.plan.spec.etcd {
        let identity = Identity::load(c.host, etcd)?;
        let start = c.host.monotonic();
        while let Err(why) = peers::healthy(c, etcd, &identity).await {
            if c.host.monotonic().saturating_sub(start) > limit {
                bail!("etcd is not healthy: {why}; {}", cause::find(c));
            }
            c.status.waiting(&format!("etcd ({why})"), "");
            c.host.sleep(PAUSE).await;
        }
        state::mark_started(c.host, etcd)?;
    }
    c.status.arrived();
    Ok(())
}

async fn kubelet(c: &Context<'_>) -> anyhow::Result<()> {
    let url = &c.plan.class.kubelet.healthz;
    let (endpoint, path) = split(url)?;
    let request = HttpRequest::get(endpoint, &path, None, PATIENCE);
    let limit = Duration::from_secs(c.plan.class.timeouts.kubelet_health_check);
    let start = c.host.monotonic();
    loop {
        let why = match c.host.http(&request).await {
            Ok(response) if response.status == 200 => break,
            Ok(response) => format!("status {}", response.status),
            Err(e) => e.to_string(),
        };
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("the kubelet is not healthy: {url}: {why}; {}", cause::unit(c));
        }
        c.status.waiting(&format!("the kubelet at {url}"), "see `journalctl -u kubelet`");
        c.host.sleep(PAUSE).await;
    }
    c.status.arrived();
    Ok(())
}

/// Whether the kubelet gets its certificate from the API server, by a token.
fn is_bootstrapped(c: &Context<'_>) -> bool {
    let seeded = c.plan.files.iter().any(|entry| entry.kind == FileKind::Seed);
    !seeded && c.plan.spec.server.is_some() && c.plan.spec.role == Role::Worker
}

async fn bootstrap(c: &Context<'_>) -> anyhow::Result<()> {
    let plan = &c.plan.class.kubelet;
    let Some(server) = &c.plan.spec.server else { return Ok(()) };
    while let Err(why) = ready(c, server).await? {
        c.status.waiting(&format!("the API server at {server} ({why})"), hint_for(server));
        c.host.sleep(PAUSE).await;
    }
    let limit = Duration::from_secs(c.plan.class.timeouts.tls_bootstrap);
    let start = c.host.monotonic();
    // Without a deadline: the token may be made valid again, or the request approved by hand.
    while c.host.stat(plan.client_certificate.as_path())?.is_none() {
        let mut hint = "see `journalctl -u kubelet`".to_owned();
        if c.host.monotonic().saturating_sub(start) > limit {
            let what =
                format!("the kubelet got no certificate in {} s: is its bootstrap token valid?", limit.as_secs());
            hint = format!("{what} {}; {hint}", cause::unit(c));
            c.warn_once(what);
        }
        c.status.waiting("the kubelet's certificate by TLS bootstrap", &hint);
        c.host.sleep(PAUSE).await;
    }
    c.status.arrived();
    Ok(())
}

/// Whether the Node is Ready by now, for result.json. Nothing waits for it: a network may be installed later.
///
/// # Errors
/// The cluster's CA cannot be read.
pub async fn node_fact(c: &Context<'_>) -> anyhow::Result<()> {
    if let Some(status) = node_status(c).await? {
        c.fact(format!("node: Ready={status} at the end"));
    }
    Ok(())
}

/// Lets the kubelet report its Node Ready before its API server goes away for a moment: a short while, for without a
/// network it never does.
///
/// # Errors
/// The cluster's CA cannot be read.
pub async fn kubelet_reported(c: &Context<'_>) -> anyhow::Result<()> {
    const WHILE: Duration = Duration::from_secs(5);
    let start = c.host.monotonic();
    while let Some("False" | "Unknown") = node_status(c).await?.as_deref() {
        if c.host.monotonic().saturating_sub(start) > WHILE {
            break;
        }
        c.host.sleep(PAUSE).await;
    }
    Ok(())
}

/// The condition Ready of the own Node; none where there is no API server, or it does not say.
async fn node_status(c: &Context<'_>) -> anyhow::Result<Option<String>> {
    let Some(server) = &c.plan.spec.server else { return Ok(None) };
    let path = format!("/api/v1/nodes/{}", c.plan.spec.node);
    let request = HttpRequest::get(server.clone(), &path, Some(identity(c)?), PATIENCE);
    let Ok(response) = c.host.http(&request).await else { return Ok(None) };
    let node = serde_json::from_slice::<serde_json::Value>(&response.body).unwrap_or_default();
    // A Node that the kubelet has not found yet has no conditions.
    if node["kind"] != "Node" {
        return Ok(None);
    }
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
    let status = ready.and_then(|condition| condition["status"].as_str()).unwrap_or("Unknown");
    Ok(Some(status.to_owned()))
}

/// `http://HOST:PORT/PATH`.
fn split(url: &str) -> anyhow::Result<(Endpoint, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not http://HOST:PORT/PATH"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((host.parse().with_context(|| format!("reading {url}"))?, format!("/{path}")))
}

/// With the kubelet's client certificate, where there is one by now.
fn identity(c: &Context<'_>) -> anyhow::Result<Arc<ClientConfig>> {
    let plan = &c.plan.class.kubelet;
    let ca = c.host.read(plan.ca.as_path()).with_context(|| format!("reading {}", plan.ca))?;
    // A pair that is just being rotated is as good as none: the next look takes the new one.
    let pair = c.host.read(plan.client_certificate.as_path()).ok().map(zeroize::Zeroizing::new);
    if let Some(pair) = pair
        && let Ok(config) = tls::client(&ca, Some((&pair, &pair)))
    {
        return Ok(config);
    }
    tls::client(&ca, None).with_context(|| format!("using {}", plan.ca))
}

async fn ready(c: &Context<'_>, server: &Endpoint) -> anyhow::Result<Result<(), String>> {
    let request = HttpRequest::get(server.clone(), "/readyz", Some(identity(c)?), PATIENCE);
    Ok(match c.host.http(&request).await {
        Ok(response) if response.status == 200 => Ok(()),
        // Without a certificate yet, where anonymous requests are off.
        Ok(response) if matches!(response.status, 401 | 403) && is_bootstrapped(c) => Ok(()),
        Ok(response) => {
            let text = String::from_utf8_lossy(&response.body);
            let failed: Vec<_> = text.lines().filter(|line| line.starts_with("[-]")).collect();
            Err(format!("status {} {}", response.status, failed.join(" ")).trim_end().to_owned())
        }
        Err(e) => Err(e.to_string()),
    })
}

async fn own_server(c: &Context<'_>, server: &Endpoint, limit: Duration) -> anyhow::Result<()> {
    let start = c.host.monotonic();
    while let Err(why) = ready(c, server).await? {
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("the API server at {server} is not ready: {why}; {}", cause::find(c));
        }
        c.status.waiting(&format!("the API server at {server} ({why})"), "");
        c.host.sleep(PAUSE).await;
    }
    c.status.arrived();
    Ok(())
}

/// What has to be the case for an API server to answer.
fn hint_for(server: &Endpoint) -> &'static str {
    match server.host {
        Host::Ip(ip) if ip.is_loopback() => {
            "this node's own balancer, a static pod, leads there: the control plane has to be up, and reachable from here; \
             see `journalctl -u kubelet`"
        }
        _ => "the control plane has to be up, and reachable from here",
    }
}

/// Waits for the control plane without a deadline, then for the Node that the kubelet makes.
async fn other_server(c: &Context<'_>, server: &Endpoint) -> anyhow::Result<()> {
    while let Err(why) = ready(c, server).await? {
        c.status.waiting(&format!("the API server at {server} ({why})"), hint_for(server));
        c.host.sleep(PAUSE).await;
    }
    let path = format!("/api/v1/nodes/{}", c.plan.spec.node);
    loop {
        let request = HttpRequest::get(server.clone(), &path, Some(identity(c)?), PATIENCE);
        let why = match c.host.http(&request).await {
            Ok(response) if response.status == 200 => break,
            Ok(response) => format!("status {}", response.status),
            Err(e) => e.to_string(),
        };
        let hint = "the kubelet makes it: see `journalctl -u kubelet`";
        c.status.waiting(&format!("the Node {} at {server} ({why})", c.plan.spec.node), hint);
        c.host.sleep(PAUSE).await;
    }
    c.status.arrived();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let (endpoint, path) = split("http://127.0.0.1:10248/healthz").unwrap();
        assert_eq!((endpoint.to_string().as_str(), path.as_str()), ("127.0.0.1:10248", "/healthz"));
        assert_eq!(split("http://[::1]:10248/healthz").unwrap().0.to_string(), "[::1]:10248");
        assert!(split("https://a:1/").is_err() && split("http://a/").is_err());
    }
}
