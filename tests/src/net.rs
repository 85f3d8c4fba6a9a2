//! Networks without the machine: a bridge in a namespace, and namespaces with one interface on it.
//!
//! No interface ever exists in the machine's own namespace: both ends of every pair are made inside.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::command::Cmd;
use crate::run::Run;

/// A network namespace with a name under /run/netns; removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    run: Arc<Run>,
}

impl Netns {
    fn create(run: &Arc<Run>, word: &str) -> Result<Self> {
        let name = run.unique(word);
        Cmd::new(["ip", "netns", "add", &name]).ok()?;
        let netns = Self { name, run: Arc::clone(run) };
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(netns)
    }

    /// Its name for `ip -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command of the machine that sees only this network; it dies with the run.
    #[must_use]
    pub fn command(&self, argv: &[&str]) -> Cmd {
        // Not `ip netns exec`, which mounts another /sys and hides the control groups.
        let enter = format!("--net={}", self.path().display());
        Cmd::new(argv).behind(["nsenter", &enter, "--"]).within(self.run.cgroup())
    }

    /// Runs `act` in a thread that sees only this network.
    pub fn inside<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("opening {}", self.path().display()))?;
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            Ok(act())
        })
        .join()
        .map_err(|_| anyhow!("running inside a network namespace: the thread panicked"))?
    }

    /// Whether something accepts connections there.
    #[must_use]
    pub fn accepts(&self, address: SocketAddr) -> bool {
        let connect = move || TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok();
        self.inside(connect).unwrap_or(false)
    }

    /// Lines of `ip` commands, in one process.
    fn ip(&self, lines: &[String]) -> Result<()> {
        Cmd::new(["ip", "-n", &self.name, "-batch", "-"])
            .input(lines.join("\n") + "\n")
            .ok()
            .with_context(|| format!("configuring the network namespace {}", self.name))?;
        Ok(())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Cmd::new(["ip", "netns", "del", &self.name]).ok().ok();
    }
}

/// What an interface on the fabric is to have.
#[derive(Clone, Debug, Default)]
pub struct Nic {
    /// Addresses with prefix; none leaves it to the node's own configuration.
    pub addresses: Vec<IpNet>,
    /// Hardware address; without it, one derived from the name, the same at every start.
    pub mac: Option<String>,
}

/// A bridge in a namespace of its own. What is attached reaches what else is attached, and nothing more.
#[derive(Debug)]
pub struct Fabric {
    netns: Netns,
    gateways: Vec<IpNet>,
    run: Arc<Run>,
}

impl Fabric {
    /// A bridge with these addresses, at most one per family; they are the default gateways of what is attached.
    pub fn new(cache: &Cache, gateways: &[IpNet]) -> Result<Self> {
        let run = Run::current(cache)?;
        let netns = Netns::create(&run, "br")?;
        let mut lines =
            vec!["link add br0 type bridge stp_state 0 forward_delay 0".to_owned(), "link set br0 up".to_owned()];
        lines.extend(gateways.iter().map(|gateway| add_address("br0", gateway)));
        netns.ip(&lines)?;
        // The router refuses what is not for here, with a code that ends a TCP connection attempt (net unreachable
        // does not, RFC 1122). Swallowed packets would let whoever asks for a service before kube-proxy is up wait
        // half a minute.
        netns.ip(&["route add prohibit default".to_owned(), "route add prohibit ::/0".to_owned()])?;
        netns.inside(|| {
            let settings = [
                ("ipv4/ip_forward", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/icmp/ratelimit", "0"),
            ];
            settings.iter().try_for_each(|(name, value)| {
                fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| format!("setting {name}"))
            })
        })??;
        Ok(Self { netns, gateways: gateways.to_vec(), run })
    }

    /// The bridge's namespace: what runs in it sees every node from the gateways' addresses.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A new namespace whose `eth0` is on the bridge.
    pub fn attach(&self, name: &str, nic: &Nic) -> Result<Port> {
        let netns = Netns::create(&self.run, name)?;
        let digest = Sha256::digest(format!("{}/{name}", self.netns.name()));
        let bridge_end = format!("v{}", hex::encode(&digest[..5]));
        // Locally administered; stable, so that neighbours' tables stay right over a restart.
        let mac = nic.mac.clone().unwrap_or_else(|| {
            let bytes: Vec<String> = digest[..5].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("02:{}", bytes.join(":"))
        });
        self.netns.ip(&[
            format!("link add {bridge_end} type veth peer name eth0 address {mac} netns {}", netns.name()),
            format!("link set {bridge_end} master br0 up"),
        ])?;
        let mut lines = vec!["link set eth0 up".to_owned()];
        lines.extend(nic.addresses.iter().map(|address| add_address("eth0", address)));
        for gateway in &self.gateways {
            if nic.addresses.iter().any(|address| address.addr().is_ipv4() == gateway.addr().is_ipv4()) {
                lines.push(format!("route add default via {} dev eth0", gateway.addr()));
            }
        }
        netns.ip(&lines)?;
        Ok(Port { netns, bridge: self.netns.name().to_owned(), bridge_end })
    }
}

fn add_address(device: &str, address: &IpNet) -> String {
    // Duplicate address detection would keep a version 6 address unusable for a second.
    let nodad = if matches!(address.addr(), IpAddr::V6(_)) { " nodad" } else { "" };
    format!("addr add {address} dev {device}{nodad}")
}

/// A namespace attached to a [`Fabric`]; detached and removed when dropped.
#[derive(Debug)]
pub struct Port {
    netns: Netns,
    bridge: String,
    bridge_end: String,
}

impl Port {
    /// The namespace at this end.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Pulls the cable: no packet passes, and the other side is not told.
    pub fn unplug(&self) -> Result<()> {
        // Leaving the bridge keeps the carrier, as a dead switch in between would.
        self.bridge_ip(&["nomaster"])
    }

    /// Puts the cable back.
    pub fn plug(&self) -> Result<()> {
        self.bridge_ip(&["master", "br0"])
    }

    fn bridge_ip(&self, what: &[&str]) -> Result<()> {
        Cmd::new(["ip", "-n", &self.bridge, "link", "set", &self.bridge_end]).args(what).ok()?;
        Ok(())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The namespace may outlive its name in a process that is still dying; the pair must not.
        Cmd::new(["ip", "-n", &self.bridge, "link", "del", &self.bridge_end]).ok().ok();
    }
}
