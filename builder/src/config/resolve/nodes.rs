//! nodes[]: who they are, and the layers that each of them carries.

use super::{
    Cx,
    component::{merge, merge_args, without_nulls},
    networking::Networks,
    owned,
};
use crate::config::{
    Cni, ControlPlaneComponent, Fragment, Node, NodeIdentity, NodeKind, Platform, StaticNetwork, code,
    diag::Finding,
    raw::{RawCluster, RawNode},
    read::{At, Place, Version, unsupported},
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
    pub(super) certificates_place: Option<&'a Place>,
    pub(super) data_dir: Option<&'a AbsPath>,
    pub(super) data_dir_place: Option<&'a Place>,
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
        let mut facts: Vec<NodeFacts> = list.value.iter().map(|at| self.facts(at)).collect();
        // The advertise address is the one of the service network's first family.
        if let Some(primary) = shared.networking.and_then(|n| n.value.services.first()) {
            for node in &mut facts {
                node.addresses.sort_by_key(|at| at.is_ipv6() != primary.is_ipv6());
            }
        }
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
        if cidrs.is_some() && shared.networking.is_some_and(|n| n.pods.is_some()) && shared.cni == Some(Cni::None) {
            self.pod_cidrs_are_given_out(&facts);
        }
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
        let families = shared.networking.map(|n| n.value.services.as_slice()).unwrap_or_default();
        let base_kernel = self.kernel_layer(&raw.kernel, families);
        let base_binaries = self.binaries_layer(&raw.binaries);
        let base_args = self.args(&raw.kubelet_extra_args, owned::KUBELET_FLAGS);
        let ignored = self.ignored_checks(&raw.ignore_preflight_errors);
        let members = facts.iter().filter(|node| node.role == Some(Role::ControlPlane)).count();
        let mut nodes = Vec::with_capacity(list.len());
        let mut cidrs = cidrs.map(Vec::into_iter);
        for (at, facts) in list.iter().zip(facts) {
            let os = self.os_layer(&at.os);
            let os = self.os(&os, &base_os, &facts.place, shared);
            let kernel = self.kernel_layer(&at.kernel, families).over(&base_kernel);
            let binaries = self.binaries_layer(&at.binaries);
            let own_args = self.args(&at.kubelet_extra_args, owned::KUBELET_FLAGS);
            let own_kubelet = self.kubelet(&at.kubelet, families);
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
            if let Some(uuid) = &facts.uuid {
                let finding = Finding::new(code::UNSUPPORTED, "nothing reads `uuid` yet: it is for booting by PXE");
                self.found.warning_at(&uuid.place, finding);
            }
            let mut kubelet = without_nulls(shared.kubelet);
            merge(&mut kubelet, &own_kubelet);
            let (Some(name), Some(role), Some(version), Some(cidr)) = (&facts.name, facts.role, version, cidr) else {
                continue;
            };
            nodes.push(Node {
                kind: NodeKind::Machine,
                identity: NodeIdentity::Baked,
                disk: None,
                replaces: None,
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
        (nodes.len() == list.len()).then_some(nodes)
    }

    fn node_version(&mut self, at: &At<Version>, cluster: Option<KubernetesVersion>) -> Option<KubernetesVersion> {
        let version = self.version_text(at)?;
        if cluster.is_some_and(|cluster| cluster != version) {
            self.found.error_at(&at.place, unsupported("another version than the cluster's").hint("leave it out"));
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
            // Further addresses of the machine's network: nobody else's either.
            if let Some(network) = &node.network {
                for (ip, _) in &network.addresses {
                    if !node.addresses.iter().any(|own| own.value == *ip) {
                        self.once(&mut addresses, *ip, &network.place, &format!("the address {ip}"));
                    }
                }
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
