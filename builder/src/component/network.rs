//! A static interface, in the form of the profile's network service.

use super::constant;
use crate::config::{Node, StaticNetwork};
use nodekiln_payload::NetworkService;
use nodekiln_plan::{AbsPath, Mode};
use std::{fmt::Write as _, net::IpAddr};

/// Where the file for the interface lies, or `None` where the payload's format has a place of its own for it.
pub(crate) fn place(service: NetworkService) -> Option<(AbsPath, Mode)> {
    match service {
        NetworkService::Networkd => Some((constant("/etc/systemd/network/10-nodekiln.network"), Mode::PUBLIC)),
        // NetworkManager ignores a keyfile that others can read.
        NetworkService::NetworkManager => {
            Some((constant("/etc/NetworkManager/system-connections/nodekiln.nmconnection"), Mode::PRIVATE))
        }
        NetworkService::CloudInit => None,
    }
}

/// What is in it: nothing on a node without static network, which has no such file.
pub(crate) fn text(node: &Node) -> String {
    let Some(network) = &node.network else { return String::new() };
    let mac = node.mac.as_deref();
    match node.os.profile.network_service {
        NetworkService::Networkd => networkd(network, mac),
        NetworkService::NetworkManager => keyfile(network, mac),
        NetworkService::CloudInit => String::new(),
    }
}

fn networkd(network: &StaticNetwork, mac: Option<&str>) -> String {
    let mut text = String::from("[Match]\n");
    let _ = match mac {
        Some(mac) => writeln!(text, "MACAddress={mac}\nType=ether"),
        // Kind is empty for hardware alone: a pod's veth is an Ethernet link too.
        None => writeln!(text, "Type=ether\nKind=!*"),
    };
    text.push_str("\n[Network]\n");
    for (address, prefix) in &network.addresses {
        let _ = writeln!(text, "Address={address}/{prefix}");
    }
    for gateway in &network.gateways {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    for server in &network.nameservers {
        let _ = writeln!(text, "DNS={server}");
    }
    text
}

fn keyfile(network: &StaticNetwork, mac: Option<&str>) -> String {
    let mut text = String::from("[connection]\nid=nodekiln\ntype=ethernet\nautoconnect-priority=100\n");
    if let Some(mac) = mac {
        let _ = writeln!(text, "\n[ethernet]\nmac-address={mac}");
    }
    for (section, otherwise, is_family) in
        [("ipv4", "disabled", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ipv6", "auto", IpAddr::is_ipv6)]
    {
        let addresses: Vec<_> = network.addresses.iter().filter(|(address, _)| is_family(address)).collect();
        let _ = writeln!(text, "\n[{section}]");
        let _ = writeln!(text, "method={}", if addresses.is_empty() { otherwise } else { "manual" });
        for (number, (address, prefix)) in addresses.iter().enumerate() {
            let _ = writeln!(text, "address{}={address}/{prefix}", number + 1);
        }
        for gateway in network.gateways.iter().filter(|gateway| is_family(gateway)) {
            let _ = writeln!(text, "gateway={gateway}");
        }
        let servers: Vec<_> = network.nameservers.iter().filter(|server| is_family(server)).collect();
        if !servers.is_empty() {
            let _ = writeln!(text, "dns={};", super::comma(servers).replace(',', ";"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> StaticNetwork {
        StaticNetwork {
            addresses: vec![("10.0.0.5".parse().unwrap(), 24), ("2001:db8::5".parse().unwrap(), 64)],
            gateways: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            nameservers: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
        }
    }

    #[test]
    fn networkd_file() {
        assert_eq!(
            networkd(&network(), Some("52:54:00:00:00:01")),
            "[Match]\nMACAddress=52:54:00:00:00:01\nType=ether\n\n[Network]\nAddress=10.0.0.5/24\n\
             Address=2001:db8::5/64\nGateway=10.0.0.1\nGateway=2001:db8::1\nDNS=10.0.0.1\nDNS=10.0.0.2\n"
        );
        assert!(networkd(&network(), None).starts_with("[Match]\nType=ether\nKind=!*\n"));
    }

    #[test]
    fn keyfile_per_family() {
        assert_eq!(
            keyfile(&network(), Some("52:54:00:00:00:01")),
            "[connection]\nid=nodekiln\ntype=ethernet\nautoconnect-priority=100\n\n[ethernet]\n\
             mac-address=52:54:00:00:00:01\n\n[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\ngateway=10.0.0.1\n\
             dns=10.0.0.1;10.0.0.2;\n\n[ipv6]\nmethod=manual\naddress1=2001:db8::5/64\ngateway=2001:db8::1\n"
        );
        let v4 =
            StaticNetwork { addresses: vec![("10.0.0.5".parse().unwrap(), 24)], gateways: vec![], nameservers: vec![] };
        assert!(keyfile(&v4, None).ends_with("[ipv6]\nmethod=auto\n"));
    }
}
