//! nodes[]: who they are, and the layers that each of them carries.

use super::{
    Cx,
    component::{merge, merge_args},
    networking::Networks,
    owned,
};
use crate::config::{
    Cni, ControlPlaneComponent, Fragment, Node, Platform, StaticNetwork, code,
    diag::{Finding, clean},
    raw::{RawCluster, RawNetwork, RawNode},
    read::{At, Field, Place, unsupported},
};
use nodekiln_payload::Format;
use nodekiln_plan::{AbsPath, Cidr, KubernetesVersion, NodeName, Role, Taint};
use std::{collections::BTreeMap, net::IpAddr};

/// What the parts of a node are checked against.
pub(super) struct Shared<'a> {
    pub(super) version: Option<KubernetesVersion>,
    pub(super) kubelet: &'a Fragment,
    pub(super) networking: Option<&'a Networks>,
    pub(super) cni: Option<Cni>,
    pub(super) controller_manager: &'a ControlPlaneComponent,
    pub(super) certificates_dir: Option<&'a AbsPath>,
    pub(super) data_dir: Option<&'a AbsPath>,
}

/// What rules between nodes need: whatever of a node is sound.
pub(super) struct NodeFacts {
    pub(super) place: Place,
    pub(super) role: Option<Role>,
    pub(super) addresses: Vec<At<IpAddr>>,
    pub(super) pod_cidr: Option<At<Vec<Cidr>>>,
    name: Option<At<NodeName>>,
    mac: Option<At<String>>,
    uuid: Option<At<String>>,
    network: Option<At<StaticNetwork>>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

/// All nodes.
pub(super) struct Nodes {
    pub(super) facts: Vec<NodeFacts>,
    /// `None` if one of them is faulty.
    pub(super) nodes: Option<Vec<Node>>,
}

impl Cx<'_, '_> {
    pub(super) fn nodes(&mut self, raw: &RawCluster, top: &Place, shared: &Shared<'_>) -> Nodes {
        let none = Nodes { facts: Vec::new(), nodes: None };
        let Some(list) = raw.nodes.required("nodes", top, self.found) else { return none };
        let facts: Vec<NodeFacts> = list.value.iter().map(|at| self.facts(at)).collect();
        self.identities(&facts);
        self.roles(&facts, &list.place);
        if let Some(networks) = shared.networking {
            self.addresses_and_networks(&facts, networks);
        }
        if shared.cni == Some(Cni::Bridge) {
            self.bridge(&facts, &list.place);
        }
        let cidrs = match shared.networking {
            Some(networks) => self.pod_cidrs(&facts, networks, shared.controller_manager),
            None => None,
        };
        let nodes = self.assemble(raw, &list.value, &facts, cidrs, shared);
        Nodes { facts, nodes }
    }

    /// Lays each node's own values over the cluster's.
    fn assemble(
        &mut self,
        raw: &RawCluster,
        list: &[At<RawNode>],
        facts: &[NodeFacts],
        cidrs: Option<Vec<Vec<Cidr>>>,
        shared: &Shared<'_>,
    ) -> Option<Vec<Node>> {
        let base_os = self.os_layer(&raw.os);
        let base_kernel = self.kernel_layer(&raw.kernel);
        let base_binaries = self.binaries_layer(&raw.binaries);
        let base_args = self.args(&raw.kubelet_extra_args, owned::KUBELET_FLAGS);
        let ignored = self.ignored_checks(&raw.ignore_preflight_errors);
        let members = facts.iter().filter(|node| node.role == Some(Role::ControlPlane)).count();
        let mut nodes = Vec::with_capacity(list.len());
        let mut cidrs = cidrs.map(Vec::into_iter);
        for (at, facts) in list.iter().zip(facts) {
            let os = self.os_layer(&at.os);
            let os = self.os(&os, &base_os, &facts.place, shared);
            let kernel = self.kernel_layer(&at.kernel).over(&base_kernel);
            let binaries = self.binaries_layer(&at.binaries);
            let own_args = self.args(&at.kubelet_extra_args, owned::KUBELET_FLAGS);
            let own_kubelet = self.kubelet(&at.kubelet);
            let version = match at.kubernetes_version.get() {
                Some(text) => self.node_version(text, shared.version),
                None => shared.version,
            };
            let cidr = cidrs.as_mut().and_then(Iterator::next);
            let Some(os) = os else { continue };
            let binaries = binaries.over(&base_binaries, os.profile);
            if os.updates && members > 1 {
                self.updates_warning(&at.os, &raw.os);
            }
            self.early_fetch(facts, &os, &binaries, raw);
            if facts.network.is_some() && facts.mac.is_none() && os.platform == Platform::Metal {
                let place = at.network.get().map_or(&facts.place, |network| &network.place);
                let finding =
                    Finding::new(code::NETWORK, "`network` without `mac` on metal: the only Ethernet port is taken");
                self.found.warning_at(place, finding.hint("name the port by `mac`: many machines have several"));
            }
            // A fragment laid over an empty one loses its nulls, which only take values out.
            let mut kubelet = Fragment::new();
            merge(&mut kubelet, shared.kubelet);
            merge(&mut kubelet, &own_kubelet);
            let (Some(name), Some(role), Some(version), Some(cidr)) = (&facts.name, facts.role, version, cidr) else {
                continue;
            };
            nodes.push(Node {
                name: name.value.clone(),
                role,
                addresses: facts.addresses.iter().map(|at| at.value).collect(),
                mac: facts.mac.as_ref().map(|at| at.value.clone()),
                uuid: facts.uuid.as_ref().map(|at| at.value.clone()),
                network: facts.network.as_ref().map(|at| at.value.clone()),
                labels: facts.labels.clone(),
                taints: facts.taints.clone(),
                pod_cidrs: cidr,
                version,
                kubelet,
                kubelet_extra_args: merge_args(&base_args, &own_args),
                ignore_preflight_errors: ignored.clone(),
                kernel,
                os,
                binaries,
            });
        }
        for node in &mut nodes {
            self.primary_first(node, shared.networking);
        }
        (nodes.len() == list.len()).then_some(nodes)
    }

    /// The advertise address is the one of the service network's first family.
    fn primary_first(&mut self, node: &mut Node, networks: Option<&Networks>) {
        if let Some(primary) = networks.and_then(|n| n.value.services.first()) {
            node.addresses.sort_by_key(|ip| ip.is_ipv6() != primary.is_ipv6());
        }
    }

    fn node_version(&mut self, at: &At<String>, cluster: Option<KubernetesVersion>) -> Option<KubernetesVersion> {
        let version = self.parse::<KubernetesVersion>(at)?.value;
        if cluster.is_some_and(|cluster| cluster != version) {
            self.found.error_at(&at.place, unsupported("another version than the cluster's"));
            return None;
        }
        Some(version)
    }

    fn facts(&mut self, at: &At<RawNode>) -> NodeFacts {
        let name = at.name.required("name", &at.place, self.found).and_then(|name| self.parse::<NodeName>(name));
        let role = at.role.required("role", &at.place, self.found);
        let role = role.and_then(|role| {
            self.choice(role, &[("control-plane", Role::ControlPlane), ("worker", Role::Worker)], &["etcd"])
        });
        let addresses = self.addresses(at);
        if let Some(identity) = at.identity.get() {
            self.choice(identity, &[("baked", ())], &["bootstrap-token"]);
        }
        let network = at.network.get().and_then(|network| self.static_network(network, &addresses));
        // A finding about the whole node points at its name.
        let place = match at.name.get() {
            Some(name) => Place { span: name.place.span, path: at.place.path.clone() },
            None => at.place.clone(),
        };
        NodeFacts {
            place,
            role,
            pod_cidr: at.pod_cidr.get().and_then(|text| {
                let nets = self.subnets(text)?;
                Some(At { value: nets, place: text.place.clone() })
            }),
            name,
            mac: at.mac.get().and_then(|mac| self.mac(mac)),
            uuid: at.uuid.get().and_then(|uuid| self.uuid(uuid)),
            network,
            labels: self.labels(at),
            taints: self.taints(at, role),
            addresses,
        }
    }

    fn addresses(&mut self, at: &At<RawNode>) -> Vec<At<IpAddr>> {
        let Some(list) = at.address.required("address", &at.place, self.found) else { return Vec::new() };
        if list.value.0.is_empty() && !matches!(at.address, Field::Faulty) {
            self.found.error_at(&list.place, Finding::new(code::MISSING, "no sound address"));
        }
        let mut addresses: Vec<At<IpAddr>> = Vec::new();
        for text in &list.value.0 {
            let Some(ip) = self.machine_address(text) else { continue };
            if let Some(other) = addresses.iter().find(|other| other.is_ipv6() == ip.is_ipv6()) {
                let finding = Finding::new(code::FAMILIES, "two addresses of one family");
                self.found.error_at(&ip.place, finding.second(other.place.span, "the other one"));
                continue;
            }
            addresses.push(ip);
        }
        addresses
    }

    fn mac(&mut self, at: &At<String>) -> Option<At<String>> {
        let parts: Vec<&str> = at.value.split(':').collect();
        let octet = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if parts.len() != 6 || !parts.iter().all(octet) {
            self.bad(at, "a MAC address is six pairs of hex digits with colons, such as 52:54:00:20:00:11");
            return None;
        }
        // The lowest bit of the first octet marks groups (IEEE 802).
        if u8::from_str_radix(parts[0], 16).is_ok_and(|first| first & 1 == 1) || at.value == "00:00:00:00:00:00" {
            self.bad(at, "no machine's own MAC address");
            return None;
        }
        Some(At { value: at.value.to_ascii_lowercase(), place: at.place.clone() })
    }

    fn uuid(&mut self, at: &At<String>) -> Option<At<String>> {
        let lengths: Vec<usize> = at.value.split('-').map(str::len).collect();
        let hex = at.value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if lengths != [8, 4, 4, 4, 12] || !hex {
            self.bad(at, "a UUID is hex digits in groups of 8-4-4-4-12");
            return None;
        }
        let lower = at.value.to_ascii_lowercase();
        // What firmware says that has none.
        if lower.bytes().all(|b| matches!(b, b'0' | b'-')) || lower.bytes().all(|b| matches!(b, b'f' | b'-')) {
            self.bad(at, "no machine's own UUID: firmware says so when it has none");
            return None;
        }
        Some(At { value: lower, place: at.place.clone() })
    }

    fn static_network(&mut self, at: &At<RawNetwork>, own: &[At<IpAddr>]) -> Option<At<StaticNetwork>> {
        let list = at.addresses.required("addresses", &at.place, self.found)?;
        let mut addresses: Vec<(IpAddr, u8)> = Vec::new();
        for text in &list.value {
            let Ok(net) = text.value.parse::<ipnet::IpNet>() else {
                self.bad(text, "an address is written with its prefix length here, such as 10.20.0.11/24");
                continue;
            };
            if net.prefix_len() == 0 || (net.addr() == net.network() && net.prefix_len() < net.max_prefix_len() - 1) {
                self.bad(text, "the network's own address, not a machine's");
                continue;
            }
            addresses.push((net.addr(), net.prefix_len()));
        }
        for ip in own.iter().filter(|ip| !addresses.iter().any(|(held, _)| held == &ip.value)) {
            let finding = Finding::new(
                code::NETWORK,
                format!("the node's address {} is not among `network.addresses`", ip.value),
            );
            self.found.error_at(&list.place, finding.second(ip.place.span, "this address"));
        }
        let on_link = |ip: IpAddr| {
            addresses.iter().any(|(held, prefix)| ipnet::IpNet::new(*held, *prefix).is_ok_and(|net| net.contains(&ip)))
        };
        let mut gateways: Vec<IpAddr> = Vec::new();
        for text in at.gateway.get().into_iter().flat_map(|list| &list.value.0) {
            let Ok(ip) = text.value.parse::<IpAddr>() else {
                self.bad(text, "not an IP address");
                continue;
            };
            if gateways.iter().any(|other| other.is_ipv6() == ip.is_ipv6()) {
                self.found.error_at(&text.place, Finding::new(code::NETWORK, "two gateways of one family"));
            } else if addresses.iter().any(|(held, _)| *held == ip) {
                self.found.error_at(&text.place, Finding::new(code::NETWORK, "the gateway is this machine itself"));
            } else if !on_link(ip) && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                let finding = Finding::new(code::NETWORK, format!("the gateway {ip} is in no network of this machine"));
                self.found.error_at(&text.place, finding.second(list.place.span, "these are its networks"));
            }
            gateways.push(ip);
        }
        let mut nameservers = Vec::new();
        for text in at.nameservers.get().into_iter().flat_map(|list| &list.value) {
            match text.value.parse::<IpAddr>() {
                Ok(ip) => nameservers.push(ip),
                Err(_) => self.bad(text, "not an IP address"),
            }
        }
        Some(At { value: StaticNetwork { addresses, gateways, nameservers }, place: at.place.clone() })
    }

    fn labels(&mut self, at: &At<RawNode>) -> BTreeMap<String, String> {
        const KUBELET: [&str; 3] = ["kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"];
        let mut labels = BTreeMap::new();
        for (key, value) in at.labels.get().into_iter().flat_map(|map| &map.value.0) {
            if let Err(why) = qualified_name(&key.value) {
                let finding = Finding::new(code::LABEL, format!("`{}` is no label's name: {why}", clean(&key.value)));
                self.found.error_at(&key.place, finding);
            } else if KUBELET.contains(&key.value.as_str()) {
                let finding = Finding::new(code::LABEL, format!("the kubelet sets `{}` itself", key.value));
                self.found.error_at(&key.place, finding);
            } else if let Err(why) = label_value(&value.value) {
                let finding =
                    Finding::new(code::LABEL, format!("`{}` is no label's value: {why}", clean(&value.value)));
                self.found.error_at(&value.place, finding);
            } else {
                labels.insert(key.value.clone(), value.value.clone());
            }
        }
        labels
    }

    fn taints(&mut self, at: &At<RawNode>, role: Option<Role>) -> Vec<Taint> {
        let Some(list) = at.taints.get() else {
            let default = "node-role.kubernetes.io/control-plane:NoSchedule".parse();
            return if role == Some(Role::ControlPlane) { default.into_iter().collect() } else { Vec::new() };
        };
        let mut taints: Vec<Taint> = Vec::new();
        let mut seen = BTreeMap::new();
        for text in &list.value {
            let taint = match text.value.parse::<Taint>() {
                Ok(taint) => taint,
                Err(e) => {
                    let finding = Finding::new(code::TAINT, format!("`{}` is no taint: {e}", clean(&text.value)));
                    self.found.error_at(&text.place, finding);
                    continue;
                }
            };
            let fault = qualified_name(&taint.key).err().or_else(|| label_value(&taint.value).err());
            if let Some(why) = fault {
                let finding = Finding::new(code::TAINT, format!("`{}` is no taint: {why}", clean(&text.value)));
                self.found.error_at(&text.place, finding);
                continue;
            }
            if self.once(&mut seen, (taint.key.clone(), taint.effect), &text.place, "a taint of this key and effect") {
                taints.push(taint);
            }
        }
        taints
    }

    /// Names, addresses, MACs and UUIDs are each one machine's.
    fn identities(&mut self, facts: &[NodeFacts]) {
        let mut names = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut macs = BTreeMap::new();
        let mut uuids = BTreeMap::new();
        for node in facts {
            if let Some(at) = &node.name {
                self.once(&mut names, at.value.clone(), &at.place, "this node's name");
            }
            for at in &node.addresses {
                self.once(&mut addresses, at.value, &at.place, "this address");
            }
            if let Some(at) = &node.mac {
                self.once(&mut macs, at.value.clone(), &at.place, "this MAC address");
            }
            if let Some(at) = &node.uuid {
                self.once(&mut uuids, at.value.clone(), &at.place, "this UUID");
            }
        }
    }

    fn roles(&mut self, facts: &[NodeFacts], place: &Place) {
        if facts.iter().any(|node| node.role.is_none()) {
            return;
        }
        let members = facts.iter().filter(|node| node.role == Some(Role::ControlPlane)).count();
        if members == 0 {
            let finding = Finding::new(code::ROLES, "no control plane among the nodes");
            self.found.error_at(place, finding.hint("give at least one node `role: control-plane`"));
        } else if members % 2 == 0 {
            let finding = Finding::new(
                code::ROLES,
                format!("{members} etcd members: no more may fail than with {}", members - 1),
            );
            self.found.warning_at(place, finding.hint("take an odd number of control planes"));
        }
    }

    fn addresses_and_networks(&mut self, facts: &[NodeFacts], networks: &Networks) {
        for node in facts {
            for at in &node.addresses {
                if let Some((net, name, place)) = networks.holding(at.value) {
                    let finding = Finding::new(code::OVERLAP, format!("{} lies in {name} {net}", at.value));
                    self.found.error_at(&at.place, finding.second(place.span, "this network is the cluster's own"));
                }
            }
            let Some(first) = node.addresses.first() else { continue };
            for net in &networks.value.services {
                if !node.addresses.iter().any(|at| at.is_ipv6() == net.is_ipv6()) {
                    let family = if net.is_ipv6() { "IPv6" } else { "IPv4" };
                    let finding = Finding::new(
                        code::FAMILIES,
                        format!("the node has no {family} address, but serviceSubnet is {net}"),
                    );
                    self.found.error_at(
                        &first.place,
                        finding.hint("give one address per family: [192.0.2.10, \"2001:db8::10\"]"),
                    );
                }
            }
        }
    }

    /// `cni: bridge` needs one layer-2 network and lays a route per node.
    fn bridge(&mut self, facts: &[NodeFacts], place: &Place) {
        const MOST: usize = 250;
        if facts.len() > MOST {
            let finding = Finding::new(
                code::BRIDGE,
                format!("`cni: bridge` serves at most {MOST} nodes, here are {}", facts.len()),
            );
            self.found.error_at(place, finding.hint("take `cni: none` and a network add-on"));
        }
        // The first node that tells its prefix stands for the network of that family.
        for family in [false, true] {
            let own = |node: &NodeFacts| {
                node.addresses.iter().find(|at| at.is_ipv6() == family).map(|at| (at.value, at.place.clone()))
            };
            let known = facts.iter().find_map(|node| {
                let (ip, place) = own(node)?;
                let (_, prefix) = node.network.as_ref()?.addresses.iter().find(|(held, _)| *held == ip)?;
                Some((ipnet::IpNet::new(ip, *prefix).ok()?.trunc(), place))
            });
            let Some((net, first)) = known else { continue };
            for node in facts {
                if let Some((ip, place)) = own(node).filter(|(ip, _)| !net.contains(ip)) {
                    let finding = Finding::new(
                        code::BRIDGE,
                        format!("{ip} is not in the network {net}: `cni: bridge` needs all nodes in one"),
                    )
                    .second(first.span, "this node is");
                    self.found.error_at(&place, finding);
                }
            }
        }
    }

    /// What Ignition fetches before a static network exists.
    fn early_fetch(
        &mut self,
        node: &NodeFacts,
        os: &crate::config::Os,
        binaries: &crate::config::Binaries,
        raw: &RawCluster,
    ) {
        let Some(network) = &node.network else { return };
        if os.profile.format != Format::Ignition || (node.mac.is_some() && os.platform != Platform::Metal) {
            return;
        }
        let delivery = raw.delivery.get();
        if binaries.fetches() || delivery.is_some_and(|d| d.base_url.get().is_some()) {
            let finding = Finding::new(code::FETCH, "Ignition fetches files before this static network exists")
                .hint("the machine needs DHCP on first boot, or everything inline or in its image");
            self.found.warning_at(&network.place, finding);
        }
    }
}

/// A qualified name of Kubernetes: `[prefix/]name`.
fn qualified_name(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            prefix.parse::<nodekiln_plan::DnsName>().map_err(|e| format!("its prefix is none ({e})"))?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    name_part(name)
}

/// A label's value: as a name, or empty.
fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { name_part(text) }
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`, at most 63 characters.
fn name_part(text: &str) -> Result<(), String> {
    if text.chars().count() > 63 {
        return Err("more than 63 characters".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        return Err(format!("it contains {c:?}"));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(text.chars().next()) || !edge(text.chars().last()) {
        return Err("it has to start and end with a letter or digit".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes() {
        for good in ["a", "a.b/c", "node-role.kubernetes.io/edge", "A_b.c-d", "1"] {
            assert_eq!(qualified_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/", "/a", "A.b/c", "a/b/c", "-a", "a-", "a b", "é", &"a".repeat(64)] {
            assert!(qualified_name(bad).is_err(), "{bad}");
        }
        assert!(label_value("").is_ok() && label_value("rack-1").is_ok() && label_value("a/b").is_err());
    }
}
