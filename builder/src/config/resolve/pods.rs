//! podCIDR: every node's part of podSubnet.

use super::{Cx, networking::Networks, nodes::NodeFacts};
use crate::config::{Cni, ControlPlaneComponent, code, diag::Finding};
use nodekiln_plan::Cidr;
use std::{collections::BTreeSet, net::IpAddr};

/// First and last address of a network as numbers.
fn bounds(net: Cidr) -> (u128, u128) {
    let start = match net.network() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let size = 1_u128.checked_shl(u32::from(net.host_bits())).unwrap_or(0);
    (start, start.wrapping_add(size.wrapping_sub(1)))
}

/// The prefix length of a node's part: kube-controller-manager's defaults and its arguments.
fn node_mask(net: Cidr, several: bool, manager: &ControlPlaneComponent) -> u8 {
    let (name, default) =
        if net.is_ipv6() { ("node-cidr-mask-size-ipv6", 64) } else { ("node-cidr-mask-size-ipv4", 24) };
    let arg = |name: &str| {
        manager.extra_args.iter().rev().find(|arg| arg.name == name).and_then(|arg| arg.value.parse().ok())
    };
    let plain = if several { None } else { arg("node-cidr-mask-size") };
    arg(name).or(plain).unwrap_or(default)
}

impl Cx<'_, '_> {
    /// Gives every node its networks, in the order of podSubnet's: the one it names, or the n-th free one. `None` if
    /// that cannot be. Nodes of a pool take what is left, at least one each.
    pub(super) fn pod_cidrs(
        &mut self,
        nodes: &[NodeFacts],
        pools: usize,
        networks: &Networks,
        manager: &ControlPlaneComponent,
        cni: Option<Cni>,
    ) -> Option<Vec<Vec<Cidr>>> {
        let pods = networks.pods();
        let mut out: Vec<Vec<Cidr>> = nodes.iter().map(|_| Vec::with_capacity(pods.len())).collect();
        let Some(place) = &networks.pods_place else {
            for node in nodes {
                if let Some(at) = &node.pod_cidr {
                    let finding = Finding::new(code::SUBNET, "a podCIDR without `networking.podSubnet`")
                        .hint("leave it out, or give `networking.podSubnet` too");
                    self.found.error_at(&at.place, finding);
                }
            }
            return Some(out);
        };
        if !networks.knows_pods() {
            return None;
        }
        let faulty = self.given_cidrs(nodes, networks);
        if matches!(cni, Some(Cni::None | Cni::Flannel)) {
            self.pod_cidrs_are_given_out(nodes.iter().enumerate().filter(|(at, _)| !faulty.contains(at)));
        }
        let mut sound = faulty.is_empty();
        for (family, net) in pods.iter().enumerate() {
            let mask = node_mask(*net, pods.len() > 1, manager);
            // The controller manager's own limit: its bitmap counts at most 2^16 nodes.
            let fits =
                mask >= net.prefix_len() && mask - net.prefix_len() <= 16 && mask <= net.prefix_len() + net.host_bits();
            if !fits {
                let finding = Finding::new(code::TOO_SMALL, format!("{net} cannot be divided into one /{mask} a node"))
                    .hint("the difference of the prefix lengths is 0 to 16; kube-controller-manager's node-cidr-mask-size-ipv4 and -ipv6 change the second");
                self.found.error_at(place, finding);
                sound = false;
                continue;
            }
            let mut taken: Vec<(u128, u128)> = nodes
                .iter()
                .filter_map(|node| node.pod_cidr.as_ref()?.value.get(family))
                .map(|net| bounds(*net))
                .collect();
            taken.sort_unstable();
            let mut index = 0;
            let mut next_free = || loop {
                let candidate = net.subnet(mask, index)?;
                index += 1;
                let (start, end) = bounds(candidate);
                let next = taken.partition_point(|(_, taken_end)| *taken_end < start);
                if taken.get(next).is_none_or(|(taken_start, _)| *taken_start > end) {
                    return Some(candidate);
                }
            };
            let mut enough = true;
            for (node, cidrs) in nodes.iter().zip(&mut out).filter(|(node, _)| node.runs_pods()) {
                match &node.pod_cidr {
                    Some(at) => cidrs.extend(at.value.get(family)),
                    None => match next_free() {
                        Some(cidr) => cidrs.push(cidr),
                        None => enough = false,
                    },
                }
            }
            enough &= (0..pools).all(|_| next_free().is_some());
            if !enough {
                let count = nodes.iter().filter(|node| node.runs_pods()).count();
                let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
                let pools = if pools > 0 { format!(" and {}", many(pools, "pool")) } else { String::new() };
                let message = format!("{net} has too few /{mask} networks for {}{pools}", many(count, "node"));
                self.found.error_at(place, Finding::new(code::TOO_SMALL, message));
                return None;
            }
        }
        sound.then_some(out)
    }

    /// Without `cni: bridge` kube-controller-manager gives the networks out, as nodes come.
    fn pod_cidrs_are_given_out<'n>(&mut self, nodes: impl Iterator<Item = (usize, &'n NodeFacts)>) {
        for at in nodes.filter_map(|(_, node)| node.pod_cidr.as_ref()) {
            let finding = Finding::new(code::SUBNET, "a podCIDR without `addons.cni: bridge` would not be used");
            self.found.error_at(&at.place, finding.hint("kube-controller-manager gives them out; leave it out"));
        }
    }

    /// Rules for the networks that nodes name themselves. The nodes for which they do not hold.
    fn given_cidrs(&mut self, nodes: &[NodeFacts], networks: &Networks) -> BTreeSet<usize> {
        let pods = networks.pods();
        let mut faulty = BTreeSet::new();
        let mut given = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some(at) = &node.pod_cidr else { continue };
            if at.value.len() != pods.len()
                || at.value.iter().zip(pods).any(|(own, net)| own.is_ipv6() != net.is_ipv6())
            {
                let finding = Finding::new(code::FAMILIES, "podCIDR has to have podSubnet's families, in its order");
                let second = networks.pods_place.as_ref().map_or(at.place.span, |place| place.span);
                self.found.error_at(&at.place, finding.second(second, "podSubnet"));
                faulty.insert(index);
                continue;
            }
            for (own, net) in at.value.iter().zip(pods) {
                if own.prefix_len() < net.prefix_len() || !net.contains(own.network()) {
                    let finding = Finding::new(code::SUBNET, format!("{own} lies outside of podSubnet {net}"))
                        .hint("take a part of podSubnet, or leave it out for the next free one");
                    let second = networks.pods_place.as_ref().map_or(at.place.span, |place| place.span);
                    self.found.error_at(&at.place, finding.second(second, "podSubnet"));
                    faulty.insert(index);
                } else if own.host_bits() < 4 {
                    let finding = Finding::new(code::TOO_SMALL, format!("{own} has fewer than 14 addresses for pods"));
                    self.found.error_at(&at.place, finding);
                    faulty.insert(index);
                }
                given.push((own.is_ipv6(), bounds(*own), *own, (index, &at.place)));
            }
        }
        given.sort_by_key(|(family, bounds, ..)| (*family, *bounds));
        for pair in given.windows(2) {
            let [(family, (_, end), first, before), (other, (start, _), second, after)] = pair else { continue };
            if family == other && start <= end {
                let finding = Finding::new(code::OVERLAP, format!("podCIDR {second} overlaps with {first}"));
                // The later of the two in the file is the one to change.
                let ((index, at), (_, with)) =
                    if after.1.span > before.1.span { (after, before) } else { (before, after) };
                self.found.error_at(at, finding.second(with.span, "overlaps with this").hint("give each node its own"));
                faulty.insert(*index);
            }
        }
        faulty
    }
}
