//! A lock in etcd itself, for members without an API server: a key under an etcd lease, made only if it is not there.

use crate::{
    etcd::statement::Identity,
    host::{Host, HttpRequest},
    stage::Context,
};
use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{Endpoint, EtcdPlan};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const KEY: &str = "nodekiln/rewrite";
/// After a crash of its holder the lock is free again after so many seconds; longer than etcd takes to restart.
const TTL: u32 = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// Does `work` while holding the lock.
pub(super) async fn hold<T>(
    c: &Context<'_>,
    plan: &EtcdPlan,
    identity: &Identity,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let own = plan.members.iter().find(|member| member.name == c.plan.spec.node);
    let own = own.context("this node is not among the plan's etcd members")?;
    let gateway = Gateway {
        host: c.host,
        endpoint: Endpoint::at(own.address, plan.client_port),
        tls: Arc::clone(&identity.etcd),
    };
    let limit = limit(c.plan.class.timeouts.etcd_api_call);
    let start = c.host.monotonic();
    let lease = loop {
        let why = match acquire(&gateway, c.plan.spec.node.as_str()).await {
            Ok(Some(lease)) => break lease,
            Ok(None) => "another member holds it".to_owned(),
            Err(e) => format!("{e:#}"),
        };
        if c.host.monotonic().saturating_sub(start) > limit {
            bail!("taking the lock {KEY} in etcd: {why}");
        }
        c.status.waiting(&format!("the lock {KEY} in etcd ({why})"), "members restart one at a time");
        c.host.sleep(PAUSE).await;
    };
    c.status.arrived();
    let done = work.await;
    // Not revoked, it ends by itself.
    let _ = gateway.call("/v3/lease/revoke", &json!({"ID": lease})).await;
    done
}

/// How long the lock is tried for: the others may hold it one after the other, and one of them may have crashed.
fn limit(etcd_api_call: u64) -> Duration {
    Duration::from_secs(etcd_api_call.saturating_add(u64::from(TTL) * 4))
}

/// The lease's ID, or `None` if another holds the lock.
async fn acquire(gateway: &Gateway<'_>, holder: &str) -> anyhow::Result<Option<String>> {
    let granted = gateway.call("/v3/lease/grant", &json!({"TTL": TTL.to_string()})).await?;
    let lease = granted["ID"].as_str().context("a lease without ID")?.to_owned();
    let put = json!({"requestPut": {"key": STANDARD.encode(KEY), "value": STANDARD.encode(holder), "lease": lease}});
    let absent = json!({
        "result": "EQUAL", "target": "CREATE", "key": STANDARD.encode(KEY), "createRevision": "0",
    });
    let own = json!({
        "result": "EQUAL", "target": "VALUE", "key": STANDARD.encode(KEY), "value": STANDARD.encode(holder),
    });
    // Ours already: an earlier run of this node was killed.
    for compare in [absent, own] {
        let answer = gateway.call("/v3/kv/txn", &json!({"compare": [compare], "success": [put]})).await?;
        if answer["succeeded"] == true {
            return Ok(Some(lease));
        }
    }
    let _ = gateway.call("/v3/lease/revoke", &json!({"ID": lease})).await;
    Ok(None)
}

/// etcd's JSON gateway on this member.
struct Gateway<'a> {
    host: &'a dyn Host,
    endpoint: Endpoint,
    tls: Arc<rustls::ClientConfig>,
}

impl Gateway<'_> {
    async fn call(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(body).context("writing a request")?;
        let tls = Arc::clone(&self.tls);
        let request = HttpRequest::post(self.endpoint.clone(), path, body, tls, Duration::from_secs(5));
        let response = self.host.http(&request).await.with_context(|| format!("asking etcd for {path}"))?;
        if response.status != 200 {
            bail!("etcd answers {path} with status {}", response.status);
        }
        serde_json::from_slice(&response.body).with_context(|| format!("reading etcd's answer to {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_timeout_is_no_overflow() {
        assert_eq!(limit(60), Duration::from_secs(540));
        assert_eq!(limit(u64::MAX), Duration::from_secs(u64::MAX));
    }
}
