//! What members tell each other before etcd runs: a small JSON document over mutual TLS.

use super::state::{Incarnation, Map, State};
use crate::{host::Host, stage::Context, tls};
use anyhow::Context as _;
use nodekiln_plan::{EtcdPlan, NodeName, Sha256};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Where it is asked for.
pub const PATH: &str = "/v1/statement";

/// Of the format. Raised by every change that an older firstboot would misread.
pub const VERSION: u32 = 1;

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wire {
    /// [`VERSION`].
    pub version: u32,
    /// Who says it.
    pub member: NodeName,
    /// In which life.
    pub incarnation: Incarnation,
    /// Digest of CA, members and snapshot: the same for all of one cluster.
    pub digest: Sha256,
    /// What it decided; nothing as long as it is empty. A map without the asker means: not you.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Map>,
}

/// The TLS identities of this member towards the others.
#[derive(Clone)]
pub struct Identity {
    /// With the peer certificate: statements.
    pub peer: Arc<ClientConfig>,
    /// With the client certificate: etcd's own API.
    pub etcd: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the certificates.
    ///
    /// # Errors
    /// They are not there, or damaged.
    pub fn load(host: &dyn Host, plan: &EtcdPlan) -> anyhow::Result<Self> {
        let read = |path: &nodekiln_plan::AbsPath| {
            host.read(path.as_path()).map(zeroize::Zeroizing::new).with_context(|| format!("reading {path}"))
        };
        let ca = read(&plan.ca)?;
        let peer = tls::client(&ca, Some((&read(&plan.peer_cert)?, &read(&plan.peer_key)?)))
            .with_context(|| format!("using {}", plan.peer_cert))?;
        let etcd = tls::client(&ca, Some((&read(&plan.client_cert)?, &read(&plan.client_key)?)))
            .with_context(|| format!("using {}", plan.client_cert))?;
        Ok(Self { peer, etcd })
    }
}

/// The statement that is being served.
#[derive(Clone)]
pub struct Served(Arc<Mutex<Vec<u8>>>);

impl Served {
    /// Serves from now on what [`Served::say`] says.
    ///
    /// # Errors
    /// The port is taken, or the certificate damaged.
    pub async fn start(c: &Context<'_>, plan: &EtcdPlan, state: &State, lost: bool) -> anyhow::Result<Self> {
        let served = Self(Arc::default());
        served.say(c, state, lost)?;
        let read = |path: &nodekiln_plan::AbsPath| {
            c.host.read(path.as_path()).map(zeroize::Zeroizing::new).with_context(|| format!("reading {path}"))
        };
        let config = tls::server(&read(&plan.ca)?, &read(&plan.peer_cert)?, &read(&plan.peer_key)?)
            .with_context(|| format!("using {}", plan.peer_cert))?;
        let own = plan.members.iter().find(|member| member.name == c.plan.spec.node);
        let own = own.context("this node is not among the plan's etcd members")?;
        let address = SocketAddr::new(own.address, plan.statement_port);
        let start = c.host.monotonic();
        loop {
            let body = Arc::clone(&served.0);
            let answer: crate::host::Answer = Arc::new(move |path| {
                (path == PATH).then(|| body.lock().unwrap_or_else(PoisonError::into_inner).clone())
            });
            match c.host.serve(address, Arc::clone(&config), answer) {
                Ok(()) => return Ok(served),
                // A run that was just killed may still hold the port.
                Err(_) if c.host.monotonic().saturating_sub(start) < Duration::from_secs(10) => {
                    c.host.sleep(Duration::from_millis(200)).await;
                }
                Err(e) => return Err(e).with_context(|| format!("listening on {address}")),
            }
        }
    }

    /// Says something else from now on. What is said is on disk by then. A member that lost its data is not empty.
    ///
    /// # Errors
    /// None in practice.
    pub fn say(&self, c: &Context<'_>, state: &State, lost: bool) -> anyhow::Result<()> {
        let decided = match (&state.map, state.started || lost) {
            // A log, now or once, but no founding known: decided, with a place for nobody.
            (None, true) => Some(Map::new()),
            (map, _) => map.clone(),
        };
        let wire = Wire {
            version: VERSION,
            member: c.plan.spec.node.clone(),
            incarnation: state.incarnation,
            digest: c.plan.identity.etcd_digest,
            decided,
        };
        let bytes = serde_json::to_vec(&wire).context("writing a statement")?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(())
    }
}
