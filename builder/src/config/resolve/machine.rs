//! A node as a machine: addresses, MAC, UUID, static network.

use super::{Cx, endpoint::is_edge, value::unusable};
use crate::config::{
    StaticNetwork, code,
    diag::Finding,
    raw::{RawNetwork, RawNode},
    read::{At, Field, written},
};
use ipnet::IpNet;
use nodekiln_plan::parse_net;
use std::net::IpAddr;

impl Cx<'_, '_> {
    pub(super) fn addresses(&mut self, at: &At<RawNode>) -> Vec<At<IpAddr>> {
        let Some(list) = at.address.required("address", &at.place, self.found) else { return Vec::new() };
        if list.value.0.is_empty() && !matches!(at.address, Field::Faulty) {
            self.found.error_at(&list.place, written("address", Finding::new(code::MISSING, "no address")));
        }
        let mut addresses: Vec<At<IpAddr>> = Vec::with_capacity(list.value.0.len());
        for text in &list.value.0 {
            let Some(ip) = self.machine_address(text) else { continue };
            if let Some(other) = addresses.iter().find(|other| other.is_ipv6() == ip.is_ipv6()) {
                let finding = Finding::new(code::FAMILIES, "two addresses of one family")
                    .second(other.place.span, "the other one")
                    .hint("give one of each family; what else the machine holds stands in `network.addresses`");
                self.found.error_at(&ip.place, finding);
                continue;
            }
            addresses.push(ip);
        }
        addresses
    }

    pub(super) fn mac(&mut self, at: &At<String>) -> Option<At<String>> {
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

    pub(super) fn uuid(&mut self, at: &At<String>) -> Option<At<String>> {
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

    pub(super) fn static_network(&mut self, at: &At<RawNetwork>, own: &[At<IpAddr>]) -> Option<At<StaticNetwork>> {
        let list = at.addresses.required("addresses", &at.place, self.found)?;
        let mut addresses: Vec<(IpAddr, u8)> = Vec::new();
        for text in &list.value {
            let Some(net) = parse_net(&text.value) else {
                self.bad(text, "an address is written with its prefix length here, such as 10.20.0.11/24");
                continue;
            };
            let ip = net.addr();
            let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let why = match unusable(ip).filter(|_| !link_local) {
                _ if net.prefix_len() == 0 => "a network with the prefix length 0 is the whole world",
                Some(why) => why,
                None if is_edge(&net, ip) => "the first or last address of its network, which no machine can have",
                None if addresses.iter().any(|(held, _)| *held == ip) => "it comes twice",
                None => {
                    addresses.push((ip, net.prefix_len()));
                    continue;
                }
            };
            self.bad(text, why);
        }
        for ip in own.iter().filter(|ip| !addresses.iter().any(|(held, _)| held == &ip.value)) {
            let finding = Finding::new(
                code::NETWORK,
                format!("the node's address {} is not among `network.addresses`", ip.value),
            );
            let hint = format!("add {}/PREFIX to them", ip.value);
            self.found.error_at(&list.place, finding.second(ip.place.span, "this address").hint(hint));
        }
        let on_link = |ip: IpAddr| {
            addresses.iter().any(|(held, prefix)| ipnet::IpNet::new(*held, *prefix).is_ok_and(|net| net.contains(&ip)))
        };
        let mut gateways: Vec<IpAddr> = Vec::new();
        for text in at.gateway.get().into_iter().flat_map(|list| &list.value.0) {
            let Ok(ip) = text.value.parse::<IpAddr>() else {
                self.bad_address(text);
                continue;
            };
            if gateways.iter().any(|other| other.is_ipv6() == ip.is_ipv6()) {
                self.found.error_at(&text.place, Finding::new(code::NETWORK, "two gateways of one family"));
            } else if addresses.iter().any(|(held, _)| *held == ip) {
                self.found.error_at(&text.place, Finding::new(code::NETWORK, "the gateway is this machine itself"));
            } else if let Some(why) = no_gateway(&addresses, ip) {
                let finding = Finding::new(code::NETWORK, format!("the gateway {ip} is {why}"));
                self.found.error_at(&text.place, finding.hint("write the router's own address"));
            } else if !on_link(ip) && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                let finding = Finding::new(code::NETWORK, format!("the gateway {ip} is in no network of this machine"));
                self.found.error_at(&text.place, finding.second(list.place.span, "these are its networks"));
            }
            gateways.push(ip);
        }
        let mut nameservers = Vec::new();
        for text in at.nameservers.get().into_iter().flat_map(|list| &list.value) {
            match text.value.parse::<IpAddr>() {
                // A resolver of the machine's own is at a loopback address.
                Ok(ip) if ip.is_unspecified() || ip.is_multicast() => self.bad(text, "no server has this address"),
                Ok(ip) => nameservers.push(ip),
                Err(_) => self.bad_address(text),
            }
        }
        Some(At { value: StaticNetwork { addresses, gateways, nameservers }, place: at.place.clone() })
    }
}

/// Why no router of these networks has this address.
fn no_gateway(addresses: &[(IpAddr, u8)], ip: IpAddr) -> Option<&'static str> {
    if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return None;
    }
    let nets = || addresses.iter().filter_map(|(held, prefix)| IpNet::new(*held, *prefix).ok());
    // The first address of an IPv6 network is that of its routers (RFC 4291 section 2.6.1).
    let edge = ip.is_ipv4() && nets().any(|net| is_edge(&net, ip));
    unusable(ip).or(edge.then_some("the first or last address of its network, which no machine can have"))
}
