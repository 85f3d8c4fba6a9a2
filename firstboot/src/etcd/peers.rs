//! Asking the other members: for their statement, and whether their etcd runs.

use super::{
    machine::{Answer, Statement},
    state::Incarnation,
    statement::{Identity, PATH, VERSION, Wire},
};
use crate::{
    host::{Host, HttpError, HttpRequest},
    stage::Context,
    tls,
};
use nodekiln_plan::{Endpoint, EtcdMember, EtcdPlan};
use std::{pin::Pin, sync::Arc, time::Duration};

/// For connecting to a peer, and for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one sweep over the members brought.
pub struct Sweep {
    /// By index in the plan.
    pub answers: Vec<Answer<Incarnation>>,
    /// Why, in words, for those without a statement.
    pub why: Vec<String>,
}

/// Asks all other members for their statement, at the same time.
pub async fn statements(c: &Context<'_>, plan: &EtcdPlan, me: usize, identity: &Identity) -> Sweep {
    let asked = plan.members.iter().enumerate().map(|(index, member)| async move {
        if index == me { (Answer::Silent, String::new()) } else { statement(c, plan, member, identity).await }
    });
    let (answers, why) = all(asked).await.into_iter().unzip();
    Sweep { answers, why }
}

async fn statement(
    c: &Context<'_>,
    plan: &EtcdPlan,
    member: &EtcdMember,
    identity: &Identity,
) -> (Answer<Incarnation>, String) {
    let endpoint = Endpoint::at(member.address, plan.statement_port);
    let request = HttpRequest::get(endpoint, PATH, Some(identity.peer.clone()), PATIENCE);
    let response = match c.host.http(&request).await {
        Ok(response) if response.status == 200 => response,
        Ok(response) => return (Answer::Silent, format!("answers with status {}", response.status)),
        Err(e) => return (Answer::Silent, e.to_string()),
    };
    let wire: Wire = match serde_json::from_slice(&response.body) {
        Ok(wire) => wire,
        Err(e) => return (Answer::Silent, format!("says what is no statement: {e}")),
    };
    if wire.version != VERSION {
        let what = format!("its firstboot says version {} of what this one says as version {VERSION}", wire.version);
        return (Answer::Silent, format!("{what}: boot all members with payloads of one build"));
    }
    // The certificate is good for this address; a name that does not belong there is a mistake in some plan.
    if wire.digest != c.plan.identity.etcd_digest || wire.member != member.name {
        return (Answer::Differs, format!("has the plan {} of a member {}", wire.digest, wire.member));
    }
    let Some(map) = wire.decided else { return (Answer::Said(Statement::Empty(wire.incarnation)), String::new()) };
    // A place for everybody, or for nobody: what is missing differs from every incarnation in being absent.
    let decided: Option<Vec<Incarnation>> = plan.members.iter().map(|m| map.get(&m.name).copied()).collect();
    (Answer::Said(Statement::Decided(decided.unwrap_or_default())), String::new())
}

/// A member whose etcd answers a linearizable member list: it has a quorum. The plain list succeeds without one.
pub async fn running(c: &Context<'_>, plan: &EtcdPlan, members: &[usize], identity: &Identity) -> Option<usize> {
    let asked = members.iter().filter_map(|index| plan.members.get(*index).map(|m| (*index, m))).map(
        |(index, member)| async move {
            let endpoint = Endpoint::at(member.address, plan.client_port);
            let body = br#"{"linearizable":true}"#.to_vec();
            let request = HttpRequest::post(endpoint, "/v3/cluster/member/list", body, identity.etcd.clone(), PATIENCE);
            matches!(c.host.http(&request).await, Ok(response) if response.status == 200).then_some(index)
        },
    );
    all(asked).await.into_iter().flatten().next()
}

/// Whether this member's own etcd is healthy: it answers a linearizable read.
///
/// # Errors
/// In words, why not.
pub async fn healthy(c: &Context<'_>, plan: &EtcdPlan, identity: &Identity) -> Result<(), String> {
    let own = plan.members.iter().find(|member| member.name == c.plan.spec.node);
    let Some(own) = own else { return Err("this node is not among the members".to_owned()) };
    let endpoint = Endpoint::at(own.address, plan.client_port);
    let request = HttpRequest::get(endpoint, "/health", Some(identity.etcd.clone()), Duration::from_secs(5));
    match c.host.http(&request).await {
        Ok(response) if response.status == 200 => Ok(()),
        Ok(response) => Err(String::from_utf8_lossy(&response.body).trim().to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// The members among `members` whose peer port does not answer.
pub async fn without_peer_port(c: &Context<'_>, plan: &EtcdPlan, members: &[usize], identity: &Identity) -> Vec<usize> {
    let asked = members.iter().filter_map(|index| plan.members.get(*index).map(|m| (*index, m))).map(
        |(index, member)| async move {
            let endpoint = Endpoint::at(member.address, plan.peer_port);
            let request = HttpRequest::get(endpoint, "/version", Some(identity.peer.clone()), PATIENCE);
            c.host.http(&request).await.is_err().then_some(index)
        },
    );
    all(asked).await.into_iter().flatten().collect()
}

/// How often an API server that says nothing is asked, and until when it is asked again.
const TRIES: (u32, Duration) = (3, Duration::from_secs(4));

/// The first of `endpoints` at which a server answers whose certificate `ca` has signed. An expired certificate, or one
/// for other names, is of this cluster all the same.
///
/// # Errors
/// `ca` is no PEM.
pub async fn api_answers<'e>(
    host: &dyn Host,
    endpoints: &'e [Endpoint],
    ca: &[u8],
) -> anyhow::Result<Option<&'e Endpoint>> {
    let tls = tls::client_of_any_age(ca)?;
    let asked = endpoints.iter().map(|endpoint| (endpoint, Arc::clone(&tls))).map(|(endpoint, tls)| async move {
        let request = HttpRequest::get(endpoint.clone(), "/readyz", Some(tls), PATIENCE);
        answers(host, &request).await.then_some(endpoint)
    });
    Ok(all(asked).await.into_iter().flatten().next())
}

async fn answers(host: &dyn Host, request: &HttpRequest) -> bool {
    let start = host.monotonic();
    for _ in 0..TRIES.0 {
        match host.http(request).await {
            Ok(_) | Err(HttpError::Exchange(_)) => return true,
            Err(HttpError::Connect(_) | HttpError::Tls(_)) => return false,
            // A machine under load, or one that drops what it is asked.
            Err(HttpError::Timeout(_)) => {}
        }
        if host.monotonic().saturating_sub(start) >= TRIES.1 {
            break;
        }
    }
    false
}

/// Runs futures side by side and gives their results in order.
async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<(Pin<Box<_>>, Option<T>)> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, result) in &mut running {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}
