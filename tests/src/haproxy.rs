//! A load balancer before the API servers: Debian's haproxy in a namespace of its own.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;

use crate::cache::Cache;
use crate::net::{Fabric, Nic, Port};
use crate::run::Run;
use crate::tools;
use crate::wait::until;

/// A running balancer; ends when dropped.
#[derive(Debug)]
pub struct Haproxy {
    process: Child,
    port: Port,
    address: SocketAddr,
    log: PathBuf,
}

impl Haproxy {
    /// Listens at `address` on the fabric and forwards TCP to those of `servers` that accept connections.
    ///
    /// The check interval is short, as a balancer's before a small cluster should be. A check may take longer than that:
    /// on a busy machine a slow one must not end the sessions of a server that is well.
    pub fn start(cache: &Cache, fabric: &Fabric, address: IpNet, port: u16, servers: &[SocketAddr]) -> Result<Self> {
        let run = Run::current(cache)?;
        let name = run.unique("lb");
        let end = format!("lb-{}", address.addr().to_string().replace(['.', ':'], "-"));
        let place = fabric.attach(&end, &Nic { addresses: vec![address], mac: None })?;
        let listen = SocketAddr::new(address.addr(), port);
        let (config, log) = (run.dir().join(format!("{name}.cfg")), run.dir().join(format!("{name}.log")));
        fs::write(&config, configuration(listen, servers)).with_context(|| format!("writing {}", config.display()))?;
        let program = tools::find(cache, "haproxy").context("looking for haproxy")?;
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
        let process = place.netns().command(&[&program, "-db", "-q", "-f", &config]).spawn(output)?;
        let mut balancer = Self { process, port: place, address: listen, log };
        balancer.wait_listening()?;
        Ok(balancer)
    }

    fn wait_listening(&mut self) -> Result<()> {
        until("haproxy", Duration::from_secs(10), Duration::from_millis(20), || {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("running haproxy: {status}");
            }
            Ok(self.port.netns().accepts(self.address).then_some(()))
        })
        .with_context(|| self.said())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its place on the network.
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// What it has printed.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn configuration(listen: SocketAddr, servers: &[SocketAddr]) -> String {
    let address = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    };
    let mut text = format!(
        "global\n    maxconn 4096\n\
         defaults\n    mode tcp\n    timeout connect 2s\n    timeout check 5s\n    timeout client 1h\n    timeout server 1h\n    \
         default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n\
         frontend api\n    bind {}\n    default_backend api\n\
         backend api\n    balance roundrobin\n    option tcp-check\n    option redispatch\n    retries 3\n",
        address(&listen)
    );
    for (number, server) in servers.iter().enumerate() {
        text.push_str(&format!("    server s{number} {} check\n", address(server)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_checked() {
        let servers = ["10.77.0.1:6443", "[fd00::2]:6443"].map(|text| text.parse().unwrap());
        let text = configuration("10.77.0.9:6443".parse().unwrap(), &servers);
        assert!(text.contains("bind 10.77.0.9:6443\n"), "{text}");
        assert!(text.contains("server s0 10.77.0.1:6443 check\n    server s1 [fd00::2]:6443 check\n"), "{text}");
    }
}
