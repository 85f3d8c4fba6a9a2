//! controlPlaneEndpoint and loadBalancer: how API servers are reached.

use super::{Cx, networking::Networks, nodes::NodeFacts, value::unusable};
use crate::config::{
    LoadBalancer, code,
    diag::Finding,
    raw::RawCluster,
    read::{At, Field, Place},
    shown::short,
};
use ipnet::IpNet;
use nodekiln_plan::{Endpoint, EndpointError, Host, Role};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of every API server.
const API_PORT: u16 = 6443;
/// Where the haproxy of `loadBalancer: local` listens on every node.
const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7443);

/// loadBalancer as it is written; without a value what follows from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Said {
    External,
    None,
    KubeVip,
    Local,
}

/// loadBalancer.
pub(in crate::config) const LOAD_BALANCERS: [(&str, Said); 4] =
    [("external", Said::External), ("none", Said::None), ("kube-vip", Said::KubeVip), ("local", Said::Local)];

impl Cx<'_, '_> {
    /// `None` if one of the two is faulty.
    pub(super) fn endpoint(
        &mut self,
        raw: &RawCluster,
        top: &Place,
        nodes: &[NodeFacts],
        networks: &Networks,
    ) -> Option<(Endpoint, LoadBalancer)> {
        // The inner `None`: nothing is said.
        let said = match &raw.load_balancer {
            Field::Given(at) => self.choice(at, &LOAD_BALANCERS, &[]).map(Some),
            Field::Faulty => None,
            Field::Absent | Field::Null(_) => Some(None),
        };
        let at = match &raw.control_plane_endpoint {
            Field::Given(at) => at,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) => return self.no_endpoint(raw, top, said?, nodes),
        };
        let endpoint = self.host_and_port(at)?;
        let Host::Ip(ip) = endpoint.host else {
            let said = said?;
            let is_local = |name: &str| name == "localhost" || name.ends_with(".localhost");
            if said != Some(Said::Local) && is_local(&endpoint.host.to_string()) {
                let finding = Finding::new(code::ENDPOINT, "`localhost` is every machine itself (RFC 6761)");
                let hint =
                    "name the control planes' balancer, or take `loadBalancer: local` and leave the endpoint out";
                self.found.error_at(&at.place, finding.hint(hint));
                return None;
            }
            match said {
                Some(Said::KubeVip) => self.vip_finding(at, "the VIP of kube-vip is an address, not a name"),
                Some(Said::None) => self.not_a_node(at),
                _ => {}
            }
            return Some((endpoint, said.map_or(LoadBalancer::External, |said| said.with(None))));
        };
        if said == Some(Some(Said::Local)) && (ip, endpoint.port) == (IpAddr::V4(LOCAL.0), LOCAL.1) {
            return Some((endpoint, LoadBalancer::Local));
        }
        if let Some(why) = unusable(ip) {
            let finding = Finding::new(code::ENDPOINT, format!("{ip} is {why}"));
            self.found
                .error_at(&at.place, finding.hint("write an address at which every node reaches the API servers"));
            return None;
        }
        if let Some((net, name, place)) = networks.holding(ip) {
            let finding = Finding::new(code::OVERLAP, format!("{ip} lies in {name} {net}"))
                .second(place.span, "this network is the cluster's own")
                .hint(format!("take an address of the machines' network, or another {name}"));
            self.found.error_at(&at.place, finding);
        }
        let owner = nodes.iter().find_map(|node| {
            let own = node.addresses.iter().find(|own| own.value == ip)?;
            Some((node, own))
        });
        let said = said?;
        match said {
            Some(Said::KubeVip) => self.vip(at, ip, endpoint.port, owner.map(|(_, own)| own), nodes),
            _ => self.endpoint_address(at, endpoint.port, said, owner, nodes),
        }
        let default = if owner.is_some() { LoadBalancer::None } else { LoadBalancer::External };
        Some((endpoint, said.map_or(default, |said| said.with(Some(ip)))))
    }

    fn no_endpoint(
        &mut self,
        raw: &RawCluster,
        top: &Place,
        said: Option<Said>,
        nodes: &[NodeFacts],
    ) -> Option<(Endpoint, LoadBalancer)> {
        let control: Vec<_> = nodes.iter().filter(|node| node.role == Some(Role::ControlPlane)).collect();
        let place = raw.load_balancer.get().map_or(top, |at| &at.place);
        match said {
            Some(Said::Local) => Some((Endpoint::at(IpAddr::V4(LOCAL.0), LOCAL.1), LoadBalancer::Local)),
            Some(Said::KubeVip) => {
                let finding =
                    Finding::new(code::ENDPOINT, "`controlPlaneEndpoint` is missing: its host is kube-vip's VIP");
                self.found.error_at(place, finding.hint("write a free address of the nodes' network, ADDRESS:6443"));
                None
            }
            _ if control.len() > 1 => {
                let message = "`controlPlaneEndpoint` is missing: several control planes need an address of their own";
                let finding = Finding::new(code::ENDPOINT, message).hint(
                    "name the load balancer in front of them, HOST:PORT, or take `loadBalancer: local`, which needs none",
                );
                self.found.error_at(top, finding);
                None
            }
            _ => {
                let address = control.first()?.addresses.first()?;
                let balancer = said.map_or(LoadBalancer::None, |said| said.with(None));
                Some((Endpoint::at(address.value, API_PORT), balancer))
            }
        }
    }

    fn host_and_port(&mut self, at: &At<String>) -> Option<Endpoint> {
        let (host, port) = match Endpoint::parse_host_port(&at.value) {
            Ok(parts) => parts,
            Err(e) => {
                let why = match e {
                    _ if at.value.contains("://") => "it has a scheme".to_owned(),
                    EndpointError::Port(port) => EndpointError::Port(short(&port)).to_string(),
                    EndpointError::Address(text) => EndpointError::Address(short(&text)).to_string(),
                    e => e.to_string(),
                };
                let finding = Finding::new(code::ENDPOINT, format!("`{}` is not an endpoint: {why}", short(&at.value)));
                // Names are compared without case, but Kubernetes has them in lower case; a dot at the end is for resolvers.
                let plain = at.value.to_ascii_lowercase().replace(".:", ":");
                let hint = match Endpoint::parse_host_port(plain.strip_suffix('.').unwrap_or(&plain)) {
                    Ok((host, port)) => format!("write `{}`", Endpoint { host, port: port.unwrap_or(API_PORT) }),
                    Err(_) => "write HOST:PORT, an IPv6 address in brackets".to_owned(),
                };
                self.found.error_at(&at.place, finding.hint(hint));
                return None;
            }
        };
        if port.is_none()
            && let Some(apart) = with_port(&at.value)
        {
            let message = format!("`{}` is an IPv6 address, or one with a port behind it", short(&at.value));
            let whole = Endpoint { host, port: API_PORT };
            let hint = format!("write `{apart}`, or `{whole}` if all of it is the address");
            self.found.error_at(&at.place, Finding::new(code::ENDPOINT, message).hint(hint));
            return None;
        }
        if port.is_none() {
            let finding = Finding::new(code::ENDPOINT, format!("no port: {API_PORT} is taken"));
            let hint = format!("write `{}`", Endpoint { host: host.clone(), port: API_PORT });
            self.found.warning_at(&at.place, finding.hint(hint));
        }
        Some(Endpoint { host, port: port.unwrap_or(API_PORT) })
    }

    fn endpoint_address(
        &mut self,
        at: &At<String>,
        port: u16,
        said: Option<Said>,
        owner: Option<(&NodeFacts, &At<IpAddr>)>,
        nodes: &[NodeFacts],
    ) {
        let several = nodes.iter().filter(|node| node.role == Some(Role::ControlPlane)).count() > 1;
        match owner {
            Some((node, own)) if matches!(node.role, Some(Role::Worker | Role::Etcd)) => {
                let who = if node.role == Some(Role::Etcd) { "an etcd node" } else { "a worker" };
                let finding =
                    Finding::new(code::ENDPOINT, format!("the endpoint is {who}'s address: no API server is there"));
                self.found.error_at(&at.place, finding.second(own.place.span, "this node"));
            }
            Some((_, own)) => {
                if port != API_PORT {
                    let finding =
                        Finding::new(code::ENDPOINT, format!("API servers listen on {API_PORT}, not on {port}"));
                    self.found.error_at(&at.place, finding.second(own.place.span, "the endpoint is this node"));
                }
                // With `local` no node depends on it.
                if several && said != Some(Said::Local) {
                    let finding = Finding::new(
                        code::ENDPOINT,
                        "the endpoint is one node's address: without that node no other is reached",
                    )
                    .second(own.place.span, "this node")
                    .hint("put a load balancer in front of the control planes, or take `loadBalancer: local`");
                    self.found.warning_at(&at.place, finding);
                }
            }
            None if said == Some(Said::None) => self.not_a_node(at),
            None => {}
        }
    }

    fn not_a_node(&mut self, at: &At<String>) {
        let finding = Finding::new(code::ENDPOINT, "`loadBalancer: none`, but the endpoint is no node's address");
        self.found.error_at(&at.place, finding.hint("leave loadBalancer out: `external` is the default"));
    }

    fn vip_finding(&mut self, at: &At<String>, why: impl Into<String>) {
        let finding = Finding::new(code::ENDPOINT, why);
        self.found.error_at(&at.place, finding.hint("kube-vip needs a free address of the control planes' network"));
    }

    /// kube-vip adds the address to one control plane's interface and says so by ARP or neighbour discovery: it has to
    /// be of their network, and nobody's. Ports stay as they are.
    fn vip(&mut self, at: &At<String>, vip: IpAddr, port: u16, owner: Option<&At<IpAddr>>, nodes: &[NodeFacts]) {
        if port != API_PORT {
            self.vip_finding(at, format!("API servers listen on {API_PORT}, and kube-vip changes no port: not {port}"));
        }
        if let Some(own) = owner {
            let finding = Finding::new(code::ENDPOINT, "the VIP is a node's own address")
                .second(own.place.span, "this node's")
                .hint("kube-vip needs a free address of the control planes' network");
            self.found.error_at(&at.place, finding);
            return;
        }
        for node in nodes.iter().filter(|node| node.role == Some(Role::ControlPlane)) {
            if let Some(first) = node.addresses.first()
                && !node.addresses.iter().any(|own| own.is_ipv6() == vip.is_ipv6())
            {
                let family = if vip.is_ipv6() { "IPv6" } else { "IPv4" };
                let finding = Finding::new(
                    code::FAMILIES,
                    format!("the VIP {vip} is {family}, and a control plane has no such address"),
                )
                .second(first.place.span, "this one has none")
                .hint("take a VIP of a family that all control planes have");
                self.found.error_at(&at.place, finding);
                return;
            }
            let Some(network) = &node.network else { continue };
            let nets = || network.addresses.iter().filter_map(|(held, prefix)| IpNet::new(*held, *prefix).ok());
            let why = if network.addresses.iter().any(|(held, _)| *held == vip) {
                "the VIP is among a node's own addresses".to_owned()
            } else if network.gateways.contains(&vip) {
                "the VIP is a node's gateway".to_owned()
            } else if let Some(net) = nets().find(|net| is_edge(net, vip)) {
                format!("the VIP {vip} is the first or last address of {net}: no machine can have it")
            } else if !nets().any(|net| net.contains(&vip)) {
                format!("the VIP {vip} is in no network of this control plane")
            } else {
                continue;
            };
            let finding = Finding::new(code::ENDPOINT, why)
                .second(network.place.span, "this control plane's network")
                .hint("kube-vip needs a free address of the control planes' network");
            self.found.error_at(&at.place, finding);
            return;
        }
    }
}

/// What an IPv6 address without brackets means if its end is a port: of three or four digits, as ports of API servers
/// are, behind what is an address too.
fn with_port(text: &str) -> Option<Endpoint> {
    let (address, port) = text.rsplit_once(':')?;
    let is_port = (3..=4).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    let address: Ipv6Addr = address.parse().ok()?;
    is_port.then(|| Some(Endpoint::at(IpAddr::V6(address), port.parse().ok()?)))?
}

/// Whether `address` stands for the network itself, or for all machines in it. Networks of two addresses have none of
/// these (RFC 3021, RFC 6164); the last address of an IPv6 network is like any other, the first is its routers'
/// (RFC 4291 section 2.6.1).
pub(super) fn is_edge(net: &IpNet, address: IpAddr) -> bool {
    let small = net.prefix_len() + 1 >= net.max_prefix_len();
    !small && (address == net.network() || address.is_ipv4() && address == net.broadcast())
}

impl Said {
    fn with(self, vip: Option<IpAddr>) -> LoadBalancer {
        match (self, vip) {
            (Self::None, _) => LoadBalancer::None,
            (Self::Local, _) => LoadBalancer::Local,
            (Self::KubeVip, Some(vip)) => LoadBalancer::KubeVip(vip),
            // A VIP that is none has been reported.
            (Self::KubeVip, None) | (Self::External, _) => LoadBalancer::External,
        }
    }
}
