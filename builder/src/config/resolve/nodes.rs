//! nodes[]: who they are, and the layers that each of them carries.

use super::{
    Cx,
    layers::{Base, Own},
    networking::Networks,
};
use crate::config::{
    Cni, Common, ControlPlaneComponent, Fragment, Node, NodeIdentity, NodeKind, Platform, Replaces, StaticNetwork,
    choices, code,
    common::Known,
    diag::Finding,
    raw::{List, RawCluster, RawNode},
    read::{At, Field, Place},
    values::Later,
    yaml::NodeId,
};
use ipnet::IpNet;
use nodekiln_payload::{Format, Profile};
use nodekiln_plan::{AbsPath, Cidr, KubernetesVersion, NodeName, Role, Taint};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What the parts of a node are checked against.
pub(super) struct Shared<'a> {
    pub(super) version: Option<KubernetesVersion>,
    pub(super) kubelet: &'a Fragment,
    pub(super) networking: &'a Networks,
    pub(super) cni: Option<Cni>,
    pub(super) controller_manager: &'a ControlPlaneComponent,
    pub(super) certificates_dir: Option<&'a AbsPath>,
    pub(super) certificates_place: Option<&'a Place>,
    pub(super) data_dir: Option<&'a AbsPath>,
    pub(super) data_dir_place: Option<&'a Place>,
}

/// What rules between nodes need: whatever of a node is sound. What few nodes have has a place of its own in memory.
pub(super) struct NodeFacts {
    pub(super) place: Place,
    pub(super) role: Option<Role>,
    pub(super) addresses: Vec<At<IpAddr>>,
    pub(super) pod_cidr: Option<Box<At<Vec<Cidr>>>>,
    pub(super) name: Option<At<NodeName>>,
    pub(super) network: Option<Box<At<StaticNetwork>>>,
    pub(super) replaces: Option<Box<At<Replaces>>>,
    role_place: Option<Place>,
    /// `None` where it is faulty.
    identity: Option<NodeIdentity>,
    disk: Option<AbsPath>,
    mac: Option<Box<At<String>>>,
    uuid: Option<Box<At<String>>>,
    labels: Common<BTreeMap<String, String>>,
    taints: Common<Vec<Taint>>,
    /// All that it says.
    node: NodeId,
}

/// Labels and taints, which many nodes have in common.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) labels: Known<BTreeMap<String, String>>,
    pub(super) taints: Known<Vec<Taint>>,
}

impl NodeFacts {
    /// Where its role is said.
    pub(super) fn role_place(&self) -> &Place {
        self.role_place.as_ref().unwrap_or(&self.place)
    }

    /// Whether it has a Node and pods: all but nodes that run etcd alone.
    pub(super) fn runs_pods(&self) -> bool {
        self.role != Some(Role::Etcd)
    }
}

/// All nodes and pools.
pub(super) struct Nodes {
    pub(super) facts: Vec<NodeFacts>,
    /// `None` if one of them is faulty.
    pub(super) nodes: Option<Vec<Node>>,
    /// Where the pools are.
    pub(super) pool_places: Vec<Place>,
    /// `None` if one of them is faulty.
    pub(super) pools: Option<Vec<Node>>,
    /// The profile of each node and pool, as far as it is known, and where that is.
    pub(super) profiles: Profiles,
}

/// Profiles with the nodes or pools that have them.
pub(super) type Profiles = Vec<(&'static Profile, Place)>;

impl Cx<'_, '_> {
    /// `nodes`: the cluster's, taken out of `raw`.
    pub(super) fn nodes(
        &mut self,
        raw: &RawCluster,
        nodes: Field<List<Later<RawNode>>>,
        top: &Place,
        shared: &Shared<'_>,
    ) -> Nodes {
        let none = Nodes { facts: Vec::new(), nodes: None, pool_places: Vec::new(), pools: None, profiles: Vec::new() };
        nodes.required("nodes", top, self.found);
        let Field::Given(list) = nodes else { return none };
        let At { value: list, place } = *list;
        let mut facts = Vec::with_capacity(list.len());
        let mut marks = Marks::default();
        for At { value: node, place } in list {
            let value = self.again(|reader| node.get(reader, &place));
            facts.extend(value.map(|value| self.facts(&At { value, place }, node.node(), &mut marks)));
        }
        // The advertise address is the one of the service network's first family.
        if let Some(primary) = shared.networking.services().first() {
            for node in &mut facts {
                node.addresses.sort_by_key(|at| at.is_ipv6() != primary.is_ipv6());
            }
        }
        let names = self.identities(&facts);
        let pools = self.pool_facts(raw, names, &mut marks);
        self.roles(raw, &facts, &place);
        self.external_etcd_nodes(raw, &facts);
        self.replacements(raw, &facts, &pools);
        self.addresses_and_networks(&facts, shared.networking);
        if shared.cni == Some(Cni::Bridge) {
            self.bridge(&facts, &place);
            self.bridge_pools(raw);
        }
        let cidrs = self.pod_cidrs(&facts, pools.len(), shared.networking, shared.controller_manager, shared.cni);
        let mut base = self.base(raw, shared);
        let (nodes, mut profiles) = self.assemble(raw, &facts, cidrs, &mut base, shared);
        let pool_places = pools.iter().map(|pool| pool.place.clone()).collect();
        let (pools, others) = self.assemble_pools(raw, pools, &mut base, shared);
        profiles.extend(others);
        Nodes { facts, nodes, pool_places, pools, profiles }
    }

    /// Lays each node's own values over the cluster's.
    fn assemble(
        &mut self,
        raw: &RawCluster,
        all: &[NodeFacts],
        cidrs: Option<Vec<Vec<Cidr>>>,
        base: &mut Base,
        shared: &Shared<'_>,
    ) -> (Option<Vec<Node>>, Profiles) {
        let control_planes = all.iter().filter(|node| node.role == Some(Role::ControlPlane)).count();
        let mut nodes = Vec::with_capacity(all.len());
        let mut profiles = Profiles::with_capacity(all.len());
        let mut cidrs = cidrs.map(Vec::into_iter);
        for facts in all {
            let own = Own::of(self.tree, facts.node, &facts.place);
            let layers = self.layers(&own, base, &facts.place, facts.role, shared);
            let cidr = cidrs.as_mut().and_then(Iterator::next);
            let Some(layers) = layers else { continue };
            profiles.push((layers.os.profile, facts.place.clone()));
            if layers.os.updates && control_planes > 1 {
                self.updates_warning(&self.said(own.os.as_ref()), &raw.os);
            }
            self.early_fetch(facts, &layers.os, &layers.binaries, raw);
            if let Some(network) = &facts.network
                && facts.mac.is_none()
                && layers.os.platform == Platform::Metal
            {
                let finding =
                    Finding::new(code::NETWORK, "`network` without `mac` on metal: the only Ethernet port is taken");
                self.found
                    .warning_at(&network.place, finding.hint("name the port by `mac`: many machines have several"));
            }
            if let Some(uuid) = &facts.uuid {
                let finding = Finding::new(code::UNSUPPORTED, "nothing reads `uuid` yet: it is for booting by PXE")
                    .hint("it may stay, for a version of nodekiln that does");
                self.found.warning_at(&uuid.place, finding);
            }
            let (Some(name), Some(role), Some(cidr), Some(identity)) = (&facts.name, facts.role, cidr, facts.identity)
            else {
                continue;
            };
            let class = base.class(NodeKind::Machine, identity, role, facts.taints.clone(), layers);
            let Some(class) = class else { continue };
            nodes.push(Node {
                disk: facts.disk.clone(),
                replaces: facts.replaces.as_ref().map(|at| Box::new(at.value.clone())),
                name: name.value.clone(),
                addresses: facts.addresses.iter().map(|at| at.value).collect(),
                mac: facts.mac.as_ref().map(|at| at.value.clone()),
                uuid: facts.uuid.as_ref().map(|at| at.value.clone()),
                network: facts.network.as_ref().map(|at| Box::new(at.value.clone())),
                labels: facts.labels.clone(),
                pod_cidrs: cidr,
                class,
            });
        }
        ((nodes.len() == all.len()).then_some(nodes), profiles)
    }

    fn facts(&mut self, at: &At<RawNode>, node: NodeId, marks: &mut Marks) -> NodeFacts {
        let name = at.name.required("name", &at.place, self.found).and_then(|name| self.parse::<NodeName>(name));
        let role = at.role.required("role", &at.place, self.found);
        let role_place = role.map(|role| role.place.clone());
        let role = role.and_then(|role| self.choice(role, &choices::ROLES, &[]));
        let addresses = self.addresses(at);
        let identity = self.identity(at, role);
        if role == Some(Role::Etcd) {
            self.etcd_node(at);
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
                Some(Box::new(At { value: nets, place: text.place.clone() }))
            }),
            name,
            role_place,
            identity,
            disk: at.disk.get().and_then(|disk| self.disk(disk)),
            replaces: at.replaces.get().and_then(|replaces| self.replaces(replaces)).map(Box::new),
            mac: at.mac.get().and_then(|mac| self.mac(mac)).map(Box::new),
            uuid: at.uuid.get().and_then(|uuid| self.uuid(uuid)).map(Box::new),
            network: network.map(Box::new),
            labels: marks.labels.one(self.labels(&at.labels)),
            taints: marks.taints.one(self.taints(&at.taints, role)),
            addresses,
            node,
        }
    }

    /// Names, addresses, MACs and UUIDs are each one machine's. The names, with their places.
    fn identities(&mut self, facts: &[NodeFacts]) -> BTreeMap<NodeName, Place> {
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
        names
    }

    fn roles(&mut self, raw: &RawCluster, facts: &[NodeFacts], place: &Place) {
        if facts.iter().any(|node| node.role.is_none()) {
            return;
        }
        let count = |role| facts.iter().filter(|node| node.role == Some(role)).count();
        let (control_planes, etcd) = (count(Role::ControlPlane), count(Role::Etcd));
        if control_planes == 0 {
            let finding = Finding::new(code::ROLES, "no control plane among the nodes");
            self.found.error_at(place, finding.hint("give at least one node `role: control-plane`"));
        }
        if raw.etcd.get().is_some_and(|etcd| !etcd.external.is_unset()) {
            return;
        }
        let (members, who) = if etcd > 0 { (etcd, "etcd nodes") } else { (control_planes, "control planes") };
        if members > 0 && members % 2 == 0 {
            let finding = Finding::new(
                code::ROLES,
                format!("{members} etcd members: no more may fail than with {}", members - 1),
            );
            self.found.warning_at(place, finding.hint(format!("take an odd number of {who}")));
        }
    }

    fn addresses_and_networks(&mut self, facts: &[NodeFacts], networks: &Networks) {
        let mut lans = BTreeSet::new();
        for node in facts {
            self.machines_network(node, networks, &mut lans);
            // A dead member was a machine as well.
            let dead = node.replaces.as_ref().and_then(|at| Some((at.value.address?, &at.place)));
            for (address, at) in node.addresses.iter().map(|at| (at.value, &at.place)).chain(dead) {
                if let Some((net, name, place)) = networks.holding(address) {
                    let finding = Finding::new(code::OVERLAP, format!("{address} lies in {name} {net}"));
                    self.found.error_at(at, finding.second(place.span, "this network is the cluster's own"));
                }
            }
            let Some(first) = node.addresses.first() else { continue };
            for net in networks.services() {
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

    /// A static network and the cluster's. `lans`: those that were judged, for they are most machines'.
    fn machines_network(&mut self, node: &NodeFacts, networks: &Networks, lans: &mut BTreeSet<IpNet>) {
        let Some(network) = &node.network else { return };
        for (ip, prefix) in &network.addresses {
            let is_said = node.addresses.iter().any(|at| at.value == *ip);
            if let Some((net, name, place)) = networks.holding(*ip) {
                // An advertise address is judged where it is said.
                if !is_said {
                    let finding = Finding::new(code::OVERLAP, format!("{ip} lies in {name} {net}"));
                    self.found
                        .error_at(&network.place, finding.second(place.span, "this network is the cluster's own"));
                }
                continue;
            }
            let Some(lan) = IpNet::new(*ip, *prefix).ok().map(|net| net.trunc()) else { continue };
            if lans.insert(lan)
                && let Some((net, name, place)) = networks.meeting(lan)
            {
                let message = format!("the machines' network {lan} has addresses in common with {name} {net}");
                let finding = Finding::new(code::OVERLAP, message)
                    .second(place.span, "this network is the cluster's own")
                    .hint("whatever has such an address there cannot be reached: take other networks for the cluster");
                self.found.warning_at(&network.place, finding);
            }
        }
    }

    /// `cni: bridge` needs one layer-2 network and lays a route per node.
    fn bridge(&mut self, facts: &[NodeFacts], place: &Place) {
        const MOST: usize = 250;
        let count = facts.iter().filter(|node| node.runs_pods()).count();
        if count > MOST {
            let finding =
                Finding::new(code::BRIDGE, format!("`cni: bridge` serves at most {MOST} nodes, here are {count}"));
            self.found.error_at(place, finding.hint("take `cni: none` and a network add-on"));
        }
        // The first node that tells its prefix stands for the network of that family.
        for family in [false, true] {
            let own = |node: &NodeFacts| {
                node.addresses.iter().find(|at| at.is_ipv6() == family).map(|at| (at.value, at.place.clone()))
            };
            let known = facts.iter().filter(|node| node.runs_pods()).find_map(|node| {
                let (ip, place) = own(node)?;
                let (_, prefix) = node.network.as_ref()?.addresses.iter().find(|(held, _)| *held == ip)?;
                Some((IpNet::new(ip, *prefix).ok()?.trunc(), place))
            });
            let Some((net, first)) = known else { continue };
            for node in facts.iter().filter(|node| node.runs_pods()) {
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
