//! Several nodes on one fabric, a kubectl that reaches them, and waits that say what was wrong.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;

use crate::cache::Cache;
use crate::command::Cmd;
use crate::explain::Dumped;
use crate::inside::dump;
use crate::net::Fabric;
use crate::node::{Node, NodeSpec};
use crate::redact::redact;
use crate::run::Run;
use crate::tools;

/// Machines on one network.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    fabric: Fabric,
    admin_conf: Option<PathBuf>,
    cache: Cache,
    pub(crate) dumped: Dumped,
}

impl Cluster {
    /// Machines that are off, on a bridge with these addresses.
    pub fn new(cache: &Cache, gateways: &[IpNet], specs: Vec<NodeSpec>) -> Result<Self> {
        let fabric = Fabric::new(cache, gateways)?;
        let nodes = specs.into_iter().map(|spec| Node::new(cache, spec)).collect::<Result<_>>()?;
        Ok(Self { nodes, fabric, admin_conf: None, cache: cache.clone(), dumped: Dumped::default() })
    }

    /// The network.
    #[must_use]
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// All nodes, in the order they were given.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("no node {name}"))
    }

    /// One node, to switch it.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name() == name).with_context(|| format!("no node {name}"))
    }

    /// One more machine, off.
    pub fn add(&mut self, spec: NodeSpec) -> Result<()> {
        self.nodes.push(Node::new(&self.cache, spec)?);
        Ok(())
    }

    /// Throws a machine away for good.
    pub fn remove(&mut self, name: &str) {
        self.nodes.retain(|node| node.name() != name);
    }

    /// Powers on nodes in this order, each after its delay since the one before.
    ///
    /// All disks are made first, so that the delays are what was asked for.
    pub fn power_on(&mut self, order: &[(&str, Duration)]) -> Result<()> {
        for (name, _) in order {
            self.node_mut(name)?.provision()?;
        }
        for (name, delay) in order {
            thread::sleep(*delay);
            self.power_on_one(name)?;
        }
        Ok(())
    }

    /// Powers on all nodes, as fast as it goes.
    pub fn power_on_all(&mut self) -> Result<()> {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name().to_owned()).collect();
        let order: Vec<(&str, Duration)> = names.iter().map(|name| (name.as_str(), Duration::ZERO)).collect();
        self.power_on(&order)
    }

    /// Powers on one node.
    pub fn power_on_one(&mut self, name: &str) -> Result<()> {
        let Self { nodes, fabric, .. } = self;
        let node = nodes.iter_mut().find(|node| node.name() == name);
        node.with_context(|| format!("no node {name}"))?.power_on(fabric)
    }

    /// Cuts one node's power and starts it again on the same disk.
    pub fn reboot_hard(&mut self, name: &str) -> Result<()> {
        self.node_mut(name)?.power_cut()?;
        self.power_on_one(name)
    }

    /// The kubeconfig for [`Self::kubectl`].
    pub fn set_admin_conf(&mut self, path: &Path) {
        self.admin_conf = Some(path.to_owned());
    }

    /// kubectl at the bridge, with the administrator's kubeconfig.
    pub fn kubectl(&self, argv: &[&str]) -> Result<Cmd> {
        let admin_conf = self.admin_conf.as_ref().context("running kubectl: no admin.conf was given")?;
        let program = tools::find(&self.cache, "kubectl").context("looking for kubectl")?;
        let home = Run::current(&self.cache)?.dir().to_owned();
        let netns = self.fabric.netns();
        let command = netns.command(&[&program.to_string_lossy()]);
        Ok(command.args(argv).env("KUBECONFIG", admin_conf).env("HOME", home))
    }

    /// The same at the API server of one address, whatever the kubeconfig's server is.
    pub fn kubectl_at(&self, server: SocketAddr, argv: &[&str]) -> Result<Cmd> {
        Ok(self.kubectl(&[&format!("--server=https://{server}")])?.args(argv))
    }

    /// Waits until `ask` has an answer. Its errors mean "not yet"; the last one is shown when `limit` has passed,
    /// with the journals, containers and pod logs of all nodes.
    pub fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        poll: Duration,
        mut ask: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut last = None;
        let answer = crate::wait::until(what, limit, poll, || {
            Ok(ask(self).unwrap_or_else(|error| {
                last = Some(error);
                None
            }))
        });
        answer.map_err(|error| {
            let last = last.map_or(String::new(), |last| format!("; last error: {last:#}"));
            self.dump_once(&format!("waiting for {what} failed{}", redact(&last)));
            anyhow!("{error:#}{}", redact(&last))
        })
    }

    /// Waits until an API server says that it is ready.
    pub fn wait_api(&self, server: SocketAddr, limit: Duration) -> Result<()> {
        self.wait_until(&format!("the API server {server}"), limit, Duration::from_millis(100), |cluster| {
            // A connection costs nothing, a kubectl a tenth of a second of one core.
            if !cluster.fabric.netns().accepts(server) {
                return Ok(None);
            }
            cluster.kubectl_at(server, &["get", "--raw", "/readyz"])?.limit(Duration::from_secs(5)).ok().map(Some)
        })?;
        Ok(())
    }

    /// Waits until the API calls this node Ready.
    pub fn wait_node_ready(&self, name: &str, limit: Duration) -> Result<()> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        self.wait_until(&format!("node {name} to be Ready"), limit, Duration::from_millis(200), |cluster| {
            let status = cluster.kubectl(&["get", "node", name, "-o", path])?.limit(Duration::from_secs(5)).ok()?;
            Ok((status.trim() == "True").then_some(()))
        })
    }

    /// What tells why something went wrong, on every node that is on; secrets hidden.
    #[must_use]
    pub fn dump(&self) -> String {
        self.nodes.iter().map(dump).collect()
    }
}
