//! networking and controlPlaneEndpoint.

use super::{Cx, nodes::NodeFacts, value::unusable};
use crate::config::{
    Cni, Networking, code,
    diag::{Finding, short},
    raw::{RawCluster, RawNetworking},
    read::{At, Field, Place, unsupported},
};
use nodekiln_plan::{Cidr, CidrError, DnsName, Endpoint, EndpointError, Host, Role};
use std::net::IpAddr;

/// The port of every API server.
const API_PORT: u16 = 6443;

/// The cluster's networks and where they are written.
pub(super) struct Networks {
    pub(super) value: Networking,
    /// podSubnet, if it is written.
    pub(super) pods: Option<Place>,
    /// serviceSubnet, if it is written.
    pub(super) services: Option<Place>,
    /// What findings about a default point at.
    pub(super) place: Place,
}

impl Networks {
    /// The cluster's network that holds `address`, with its name and place.
    pub(super) fn holding(&self, address: IpAddr) -> Option<(Cidr, &'static str, &Place)> {
        let pods = self.value.pods.iter().map(|net| (*net, "podSubnet", self.pods.as_ref()));
        let services = self.value.services.iter().map(|net| (*net, "serviceSubnet", self.services.as_ref()));
        let (net, name, place) = pods.chain(services).find(|(net, ..)| net.contains(address))?;
        Some((net, name, place.unwrap_or(&self.place)))
    }
}

impl Cx<'_, '_> {
    /// networking. `None` if a network is faulty.
    pub(super) fn networking(&mut self, raw: &RawCluster, cni: Option<Cni>) -> Option<Networks> {
        let empty = RawNetworking::default();
        let top = Place { span: self.tree.span(self.tree.root), ..Place::default() };
        let (fields, place) = match &raw.networking {
            Field::Given(at) => (&at.value, at.place.clone()),
            Field::Faulty => return None,
            Field::Null(place) => (&empty, place.clone()),
            Field::Absent => (&empty, top),
        };
        let dns_domain = self.parse_or::<DnsName>(&fields.dns_domain, "cluster.local");
        let pods = match &fields.pod_subnet {
            Field::Given(at) => self.subnets(at),
            Field::Faulty => None,
            _ if cni == Some(Cni::Bridge) => {
                let finding = Finding::new(code::MISSING, "`networking.podSubnet` is missing: `cni: bridge` needs it");
                let said = raw.addons.get().and_then(|addons| addons.cni.get());
                self.found.error_at(said.map_or(&place, |at| &at.place), finding);
                None
            }
            _ => Some(Vec::new()),
        };
        let services = match &fields.service_subnet {
            Field::Given(at) => self.subnets(at),
            Field::Faulty => None,
            _ => "10.96.0.0/12".parse().ok().map(|net| vec![net]),
        };
        if let (Some(services), Some(at)) = (&services, fields.service_subnet.get()) {
            self.service_sizes(services, at);
        }
        let networks = Networks {
            value: Networking { pods: pods?, services: services?, dns_domain: dns_domain? },
            pods: fields.pod_subnet.get().map(|at| at.place.clone()),
            services: fields.service_subnet.get().map(|at| at.place.clone()),
            place,
        };
        self.together(&networks).then_some(networks)
    }

    /// One network, or one of each family.
    pub(super) fn subnets(&mut self, at: &At<String>) -> Option<Vec<Cidr>> {
        let mut nets: Vec<Cidr> = Vec::new();
        for text in at.value.split(',') {
            match text.trim().parse::<Cidr>() {
                Ok(net) => nets.push(net),
                Err(e) => {
                    let finding = Finding::new(code::SUBNET, format!("`{}` is not a network: {e}", short(text.trim())));
                    let finding = match e {
                        CidrError::HostBits(net) => finding.hint(format!("write {net}")),
                        CidrError::Syntax => {
                            finding.hint("write its first address and prefix length; for two families `IPV4,IPV6`")
                        }
                    };
                    self.found.error_at(&at.place, finding);
                    return None;
                }
            }
        }
        if let Some(net) = nets.iter().find(|net| unusable(net.network()).is_some() && net.prefix_len() > 0) {
            let finding = Finding::new(code::SUBNET, format!("{net} is no network of unicast addresses"));
            self.found.error_at(&at.place, finding);
            return None;
        }
        let v6 = nets.iter().filter(|net| net.is_ipv6()).count();
        if v6 > 1 || nets.len() - v6 > 1 {
            let finding = Finding::new(code::FAMILIES, "more than one network of a family");
            self.found.error_at(&at.place, finding.hint("give one network, or one IPv4 and one IPv6 network"));
            return None;
        }
        Some(nets)
    }

    /// kubeadm: at least 10 addresses, at most 20 bits (the API server's allocator).
    fn service_sizes(&mut self, nets: &[Cidr], at: &At<String>) {
        for net in nets {
            if net.host_bits() < 4 {
                let finding = Finding::new(code::TOO_SMALL, format!("{net} has fewer than 10 addresses for services"));
                self.found.error_at(&at.place, finding.hint("a /28 is the smallest, a /12 to /20 usual"));
            } else if net.host_bits() > 20 {
                let finding =
                    Finding::new(code::SUBNET, format!("{net} is larger than the API server can allocate from"));
                let largest = if net.is_ipv6() { "/108" } else { "/12" };
                self.found.error_at(&at.place, finding.hint(format!("{largest} is the largest")));
            }
        }
    }

    /// Rules between the two subnets. Whether they hold.
    fn together(&mut self, networks: &Networks) -> bool {
        let (pods, services) = (&networks.value.pods, &networks.value.services);
        let Some(place) = &networks.pods else { return true };
        let services_place = networks.services.as_ref();
        let beside = |finding: Finding, label: &str| match services_place {
            Some(place) => finding.second(place.span, label.to_owned()),
            None => finding.hint("serviceSubnet is 10.96.0.0/12 unless it is set"),
        };
        let mut sound = true;
        if let Some((pod, service)) = pods
            .iter()
            .find_map(|pod| services.iter().find(|service| pod.overlaps(service)).map(|service| (pod, service)))
        {
            let finding = Finding::new(code::OVERLAP, format!("podSubnet {pod} and serviceSubnet {service} overlap"));
            self.found.error_at(place, beside(finding, "overlaps with this"));
            sound = false;
        }
        let families = |nets: &[Cidr]| nets.iter().map(|net| net.is_ipv6()).collect::<Vec<_>>();
        let (mut left, mut right) = (families(pods), families(services));
        if left != right {
            left.sort_unstable();
            right.sort_unstable();
            let message = if left == right {
                "podSubnet and serviceSubnet name the families in different order: the first is the cluster's primary one"
            } else {
                "podSubnet and serviceSubnet are of different families"
            };
            self.found.error_at(place, beside(Finding::new(code::FAMILIES, message), "does not match this"));
            sound = false;
        }
        sound
    }

    /// controlPlaneEndpoint and loadBalancer.
    pub(super) fn endpoint(
        &mut self,
        raw: &RawCluster,
        top: &Place,
        nodes: &[NodeFacts],
        networks: Option<&Networks>,
    ) -> Option<Endpoint> {
        let balancer = self.load_balancer(raw);
        let control: Vec<&NodeFacts> = nodes.iter().filter(|node| node.role == Some(Role::ControlPlane)).collect();
        let at = match &raw.control_plane_endpoint {
            Field::Given(at) => at,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) if control.len() > 1 => {
                let message = "`controlPlaneEndpoint` is missing: several control planes need an address of their own";
                let finding = Finding::new(code::ENDPOINT, message)
                    .hint("name the load balancer in front of them, HOST:PORT, or for a trial one node's address");
                self.found.error_at(top, finding);
                return None;
            }
            Field::Absent | Field::Null(_) => {
                return control.first()?.addresses.first().map(|at| Endpoint::at(at.value, API_PORT));
            }
        };
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
                let finding = finding.hint("write HOST:PORT, an IPv6 address in brackets");
                self.found.error_at(&at.place, finding);
                return None;
            }
        };
        if port.is_none() {
            let finding = Finding::new(code::ENDPOINT, format!("no port: {API_PORT} is taken"));
            self.found.warning_at(&at.place, finding);
        }
        let endpoint = Endpoint { host, port: port.unwrap_or(API_PORT) };
        if let Host::Ip(ip) = endpoint.host {
            self.endpoint_address(at, ip, endpoint.port, balancer, nodes, networks);
        }
        Some(endpoint)
    }

    fn endpoint_address(
        &mut self,
        at: &At<String>,
        ip: IpAddr,
        port: u16,
        balancer: Option<LoadBalancer>,
        nodes: &[NodeFacts],
        networks: Option<&Networks>,
    ) {
        if let Some(why) = unusable(ip) {
            self.found.error_at(&at.place, Finding::new(code::ENDPOINT, format!("{ip} is {why}")));
            return;
        }
        if let Some((net, name, place)) = networks.and_then(|n| n.holding(ip)) {
            let finding = Finding::new(code::OVERLAP, format!("{ip} lies in {name} {net}"));
            self.found.error_at(&at.place, finding.second(place.span, "this network is the cluster's own"));
        }
        let owner = nodes.iter().find_map(|node| {
            let own = node.addresses.iter().find(|own| own.value == ip)?;
            Some((node, own))
        });
        let several = nodes.iter().filter(|node| node.role == Some(Role::ControlPlane)).count() > 1;
        match owner {
            Some((node, own)) if node.role == Some(Role::Worker) => {
                let finding =
                    Finding::new(code::ENDPOINT, "the endpoint is a worker's address: no API server is there");
                self.found.error_at(&at.place, finding.second(own.place.span, "this worker"));
            }
            Some((_, own)) => {
                if port != API_PORT {
                    let finding =
                        Finding::new(code::ENDPOINT, format!("API servers listen on {API_PORT}, not on {port}"));
                    self.found.error_at(&at.place, finding.second(own.place.span, "the endpoint is this node"));
                }
                if several {
                    let finding = Finding::new(
                        code::ENDPOINT,
                        "the endpoint is one node's address: without that node no other is reached",
                    )
                    .second(own.place.span, "this node")
                    .hint("put a load balancer in front of the control planes");
                    self.found.warning_at(&at.place, finding);
                }
            }
            None if balancer == Some(LoadBalancer::None) => {
                let finding =
                    Finding::new(code::ENDPOINT, "`loadBalancer: none`, but the endpoint is no node's address");
                self.found.error_at(&at.place, finding.hint("leave loadBalancer out: `external` is the default"));
            }
            None => {}
        }
    }

    fn load_balancer(&mut self, raw: &RawCluster) -> Option<LoadBalancer> {
        let at = raw.load_balancer.get()?;
        match at.value.as_str() {
            "kube-vip" | "local" => {
                self.found.error_at(
                    &at.place,
                    unsupported(&format!("`loadBalancer: {}`", at.value)).hint("supported: external, none"),
                );
                None
            }
            _ => self.choice(
                at,
                &[("external", LoadBalancer::External), ("none", LoadBalancer::None)],
                &["kube-vip", "local"],
            ),
        }
    }
}

/// loadBalancer, as far as this version goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadBalancer {
    External,
    None,
}
