//! A client of this node's own API server, and which failures are tried again.

use crate::{host::Host, stage::Context};
use anyhow::Context as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use nodekiln_plan::{AbsPath, ApiPlan};
use std::time::Duration;

/// kubeadm's interval between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The API server.
pub struct Server<'a> {
    pub(super) client: Client,
    host: &'a dyn Host,
    /// For each call, tries included.
    limit: Duration,
}

/// A client with the identity of a kubeconfig, pointed at the plan's server.
///
/// # Errors
/// The kubeconfig is missing or damaged.
pub async fn connect<'a>(c: &Context<'a>, plan: &ApiPlan, kubeconfig: &AbsPath) -> anyhow::Result<Server<'a>> {
    let bytes = c.host.read(kubeconfig.as_path()).map(zeroize::Zeroizing::new);
    let bytes = bytes.with_context(|| format!("reading {kubeconfig}"))?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("reading {kubeconfig}"))?;
    // The error of the parser may quote the text, which holds a key.
    let parsed = Kubeconfig::from_yaml(text).map_err(|_| anyhow::anyhow!("{kubeconfig} is no kubeconfig"))?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|_| anyhow::anyhow!("{kubeconfig} is no usable kubeconfig"))?;
    config.cluster_url = plan.server.https().parse().context("reading the API server's address")?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(20));
    config.write_timeout = Some(Duration::from_secs(20));
    config.proxy_url = None;
    let client = Client::try_from(config).map_err(|e| anyhow::anyhow!("using {kubeconfig}: {e}"))?;
    Ok(Server { client, host: c.host, limit: Duration::from_secs(c.plan.class.timeouts.kubernetes_api_call) })
}

impl Server<'_> {
    /// Calls until it works, fails for good, or the time is over.
    pub(super) async fn patiently<T, F>(&self, what: &str, mut call: impl FnMut() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let start = self.host.monotonic();
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let over = self.host.monotonic().saturating_sub(start) > self.limit;
            if over || !is_passing(&error) {
                return Err(anyhow::anyhow!("{what}: {}", words(&error)));
            }
            self.host.sleep(PAUSE).await;
        }
    }

    pub(super) fn host(&self) -> &dyn Host {
        self.host
    }
}

/// Whether a failure may pass: the namespace or kind is not there yet, another writer was faster, the server or the way
/// to it has a bad moment.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        // 403: rights that were granted a moment ago are not seen by every server at once.
        kube::Error::Api(status) => matches!(status.code, 403 | 404 | 409 | 429) || status.code >= 500,
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        // A kind that is not served yet.
        kube::Error::Discovery(_) => true,
        _ => false,
    }
}

/// An error as one line. kube's own text has the whole Status twice.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({}, {})", status.message, status.reason, status.code),
        kube::Error::Service(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                source = inner.source();
            }
            text
        }
        other => other.to_string(),
    }
}

/// Whether the API server said: no such object.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
