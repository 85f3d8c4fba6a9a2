//! networking.

use super::{Cx, value::unusable};
use crate::config::{
    Cni, Networking, code,
    diag::Finding,
    raw::{RawCluster, RawNetworking},
    read::{At, Field, Place},
    shown::short,
};
use nodekiln_plan::{Cidr, CidrError, DnsName};
use std::net::IpAddr;

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
            let finding = beside(Finding::new(code::FAMILIES, message), "does not match this");
            let finding = match (left == right, pods.as_slice()) {
                (true, [first, second]) => finding.hint(format!("write `podSubnet: {second},{first}`")),
                _ => finding,
            };
            self.found.error_at(place, finding);
            sound = false;
        }
        sound
    }
}
