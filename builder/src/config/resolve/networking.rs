//! networking.

use super::{Cx, value::unusable};
use crate::config::{
    Cni, Networking, code,
    diag::Finding,
    raw::{RawCluster, RawNetworking},
    read::{At, Field, Place},
    shown::short,
};
use ipnet::IpNet;
use nodekiln_plan::{Cidr, CidrError, DnsName};
use std::net::IpAddr;

/// The cluster's networks and where they are written. What is faulty is missing, and has been reported.
pub(super) struct Networks {
    pods: Option<Vec<Cidr>>,
    services: Option<Vec<Cidr>>,
    dns_domain: Option<DnsName>,
    /// podSubnet, if it is written.
    pub(super) pods_place: Option<Place>,
    /// serviceSubnet, if it is written.
    services_place: Option<Place>,
    /// What findings about a default point at.
    place: Place,
}

impl Networks {
    /// podSubnet, as far as it is known.
    pub(super) fn pods(&self) -> &[Cidr] {
        self.pods.as_deref().unwrap_or_default()
    }

    /// serviceSubnet, as far as it is known.
    pub(super) fn services(&self) -> &[Cidr] {
        self.services.as_deref().unwrap_or_default()
    }

    /// Networks of the families that the cluster has, as far as they are known.
    pub(super) fn families(&self) -> &[Cidr] {
        if self.services.is_some() { self.services() } else { self.pods() }
    }

    /// `None` where something is faulty.
    pub(super) fn whole(&self) -> Option<Networking> {
        let (pods, services) = (self.pods.clone()?, self.services.clone()?);
        Some(Networking { pods, services, dns_domain: self.dns_domain.clone()? })
    }

    /// Whether podSubnet is what it is meant to be.
    pub(super) fn knows_pods(&self) -> bool {
        self.pods.is_some()
    }

    /// The cluster's network that holds `address`, with its name and place.
    pub(super) fn holding(&self, address: IpAddr) -> Option<(Cidr, &'static str, &Place)> {
        self.find(|net| net.contains(address))
    }

    /// The cluster's network that `lan`, a network of machines, has addresses in common with, with its name and place.
    pub(super) fn meeting(&self, lan: IpNet) -> Option<(Cidr, &'static str, &Place)> {
        self.find(|net| lan.contains(&net.network()) || net.contains(lan.network()))
    }

    fn find(&self, is: impl Fn(&Cidr) -> bool) -> Option<(Cidr, &'static str, &Place)> {
        let pods = self.pods().iter().map(|net| (*net, "podSubnet", self.pods_place.as_ref()));
        let services = self.services().iter().map(|net| (*net, "serviceSubnet", self.services_place.as_ref()));
        let (net, name, place) = pods.chain(services).find(|(net, ..)| is(net))?;
        Some((net, name, place.unwrap_or(&self.place)))
    }
}

impl Cx<'_, '_> {
    /// networking.
    pub(super) fn networking(&mut self, raw: &RawCluster, cni: Option<Cni>) -> Networks {
        let empty = RawNetworking::default();
        let top = Place { span: self.tree.span(self.tree.root), ..Place::default() };
        let (fields, place) = match &raw.networking {
            Field::Given(at) => (&at.value, at.place.clone()),
            Field::Null(place) => (&empty, Place::clone(place)),
            Field::Absent => (&empty, top),
            Field::Faulty => {
                let (pods_place, services_place) = (None, None);
                return Networks {
                    pods: None,
                    services: None,
                    dns_domain: None,
                    pods_place,
                    services_place,
                    place: top,
                };
            }
        };
        let dns_domain = self.parse_or::<DnsName>(&fields.dns_domain, "cluster.local");
        let pods = match &fields.pod_subnet {
            Field::Given(at) => self.subnets(at),
            Field::Faulty => None,
            _ if matches!(cni, Some(Cni::Bridge | Cni::Flannel)) => {
                let name = if cni == Some(Cni::Flannel) { "flannel" } else { "bridge" };
                let message = format!("`networking.podSubnet` is missing: `cni: {name}` needs it");
                let finding = Finding::new(code::MISSING, message).hint("write `podSubnet: 10.244.0.0/16`");
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
            pods,
            services,
            dns_domain,
            pods_place: fields.pod_subnet.get().map(|at| at.place.clone()),
            services_place: fields.service_subnet.get().map(|at| at.place.clone()),
            place,
        };
        self.together(&networks);
        networks
    }

    /// One network, or one of each family. Host bits are reported and left out: what is meant is known.
    pub(super) fn subnets(&mut self, at: &At<String>) -> Option<Vec<Cidr>> {
        let mut nets: Vec<Cidr> = Vec::new();
        for text in at.value.split(',') {
            match text.trim().parse::<Cidr>() {
                Ok(net) => nets.push(net),
                Err(e) => {
                    let finding = Finding::new(code::SUBNET, format!("`{}` is not a network: {e}", short(text.trim())));
                    let finding = match e {
                        CidrError::HostBits(net) => {
                            self.found.error_at(&at.place, finding.hint(format!("write {net}")));
                            nets.extend(net.to_string().parse::<Cidr>());
                            continue;
                        }
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

    /// Rules between the two subnets.
    fn together(&mut self, networks: &Networks) {
        let (Some(pods), Some(services)) = (&networks.pods, &networks.services) else { return };
        let Some(place) = &networks.pods_place else { return };
        let services_place = networks.services_place.as_ref();
        let beside = |finding: Finding, label: &str| match services_place {
            Some(place) => finding.second(place.span, label.to_owned()),
            None => finding,
        };
        let default = || match services_place {
            Some(_) => "",
            None => "; serviceSubnet is 10.96.0.0/12 unless it is set",
        };
        let all = || pods.iter().flat_map(|pod| services.iter().map(move |service| (pod, service)));
        if let Some((pod, service)) = all().find(|(pod, service)| pod.overlaps(service)) {
            let finding = Finding::new(code::OVERLAP, format!("podSubnet {pod} and serviceSubnet {service} overlap"));
            let finding = beside(finding, "overlaps with this");
            self.found
                .error_at(place, finding.hint(format!("choose networks that have no address in common{}", default())));
        }
        let families = |nets: &[Cidr]| nets.iter().map(|net| net.is_ipv6()).collect::<Vec<_>>();
        let (mut left, mut right) = (families(pods), families(services));
        if left == right {
            return;
        }
        left.sort_unstable();
        right.sort_unstable();
        let (message, hint) = match (left == right, pods.as_slice()) {
            (true, [first, second]) => (
                "podSubnet and serviceSubnet name the families in different order: the first is the cluster's primary one",
                format!("write `podSubnet: {second},{first}`"),
            ),
            _ => (
                "podSubnet and serviceSubnet are of different families",
                format!("give both the same families{}", default()),
            ),
        };
        let finding = beside(Finding::new(code::FAMILIES, message), "does not match this");
        self.found.error_at(place, finding.hint(hint));
    }
}
