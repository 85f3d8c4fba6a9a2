//! `addons.cni: bridge`: one bridge per node, and routes between the nodes' pod networks.
//!
//! The nodes share a layer-2 network, so a pod network is reached through the address of its node. Routes and the
//! masquerade rule are laid by a unit of our own: networkd, NetworkManager and netplan would each want them in another
//! form, `ip` and `nft` are on all three families.

use super::{ClassSite, Site, constant, containerd, systemd};
use nodekiln_payload::{Unit, UnitState};
use nodekiln_plan::{AbsPath, Cidr, Role};
use serde_json::{Value, json};
use std::{fmt::Write as _, net::IpAddr};

/// The network's configuration.
pub(crate) const CONFLIST: &str = "/etc/cni/net.d/10-nodekiln.conflist";
/// The masquerade rule.
pub(crate) const MASQUERADE: &str = "/etc/nodekiln/masquerade.nft";
/// The unit that lays both.
pub(crate) const UNIT: &str = "nodekiln-network.service";
/// Plugins that the configuration names, and the one that containerd sets up every pod's `lo` with. flannel's, too, hands
/// its work to `bridge`, which has its addresses from `host-local`; flannel's daemon brings its own.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// The configuration list for the plugins.
///
/// `ipMasq` is off: the plugin would hide every pod from the pods of other nodes behind its node's address, and
/// Kubernetes wants pods to reach pods without NAT. The rule of [`masquerade`] spares the whole pod network instead.
pub(crate) fn conflist(site: &Site) -> String {
    let ranges: Vec<Value> = site.node.pod_cidrs.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    super::pretty(&json!({
        "cniVersion": "1.0.0",
        "name": "nodekiln",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": true,
                "ipMasq": false,
                // A pod that calls its own Service comes back on the port it left by.
                "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": ranges},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    }))
}

/// The plugins that have to be on the machine when they are not unpacked there later.
pub(crate) fn programs(site: &ClassSite) -> Vec<AbsPath> {
    let folder = containerd::cni_bin_dir(&site.class.binaries);
    PLUGINS.iter().filter_map(|plugin| folder.join(plugin).ok()).collect()
}

/// What leaves the pod network gets the node's address. One transaction that replaces the table: the file can be loaded
/// any number of times.
pub(crate) fn masquerade(site: &Site) -> String {
    let mut text = String::from("table inet nodekiln\ndelete table inet nodekiln\ntable inet nodekiln {\n");
    text.push_str("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    for subnet in &site.node.pod_cidrs {
        let (family, multicast) = if subnet.is_ipv6() { ("ip6", "ff00::/8") } else { ("ip", "224.0.0.0/4") };
        let pods: Vec<_> =
            site.cluster.networking.pods.iter().filter(|net| net.is_ipv6() == subnet.is_ipv6()).collect();
        let spared =
            super::comma(pods.iter().map(ToString::to_string).chain([multicast.to_owned()])).replace(',', ", ");
        let _ = writeln!(text, "\t\t{family} saddr {subnet} {family} daddr != {{ {spared} }} masquerade");
    }
    text.push_str("\t}\n}\n");
    text
}

/// Each other node's pod networks and the address they are reached through.
fn routes(site: &Site) -> Vec<(Cidr, IpAddr)> {
    let others = site.cluster.nodes.iter().filter(|node| node.name != site.node.name && node.role != Role::Etcd);
    others
        .flat_map(|node| {
            node.pod_cidrs.iter().filter_map(|cidr| {
                let via = node.addresses.iter().find(|address| address.is_ipv6() == cidr.is_ipv6())?;
                Some((*cidr, *via))
            })
        })
        .collect()
}

/// The unit, but for its text.
pub(crate) fn unit() -> Unit {
    let name = UNIT.parse().expect("a unit name of ours");
    Unit { name, state: UnitState::Enabled, contents: None, dropins: Vec::new() }
}

/// Its text. A gateway is refused while the node's own address is not there yet, so it tries again until it succeeds.
pub(crate) fn unit_text(site: &Site) -> String {
    let commands = routes(site).into_iter().map(|(cidr, via)| {
        let family = if cidr.is_ipv6() { "-6" } else { "-4" };
        format!("ip {family} route replace {cidr} via {via}")
    });
    systemd::UnitFile::default()
        .section("Unit")
        .set("Description", "Routes between the nodes' pod networks")
        .set("Wants", "network-online.target")
        // Both flush or reload rules when they start.
        .set("After", "network-online.target nftables.service firewalld.service")
        .set("PartOf", "nftables.service")
        .set("StartLimitIntervalSec", "0")
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .each("ExecStart", commands)
        .set("ExecStart", &format!("nft -f {MASQUERADE}"))
        .set("Restart", "on-failure")
        .set("RestartSec", "5")
        .section("Install")
        .set("WantedBy", "multi-user.target")
        .render()
}

/// Where its files lie.
pub(crate) fn paths() -> [AbsPath; 2] {
    [constant(CONFLIST), constant(MASQUERADE)]
}
