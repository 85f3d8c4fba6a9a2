//! Addresses, prefixes and endpoints over `std::net`.

use crate::name::{DnsName, NameError};
use serde::{Deserialize, Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A network prefix without host bits, such as `10.96.0.0/12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(ipnet::IpNet);

/// Why a text is no [`Cidr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not ADDRESS/PREFIX.
    #[error("a network is written ADDRESS/PREFIX, such as 10.96.0.0/12")]
    Syntax,
    /// The address has bits beyond the prefix.
    #[error("host bits are set; the network is {0}")]
    HostBits(ipnet::IpNet),
}

impl Cidr {
    /// The first address, the network's own.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// The prefix length in bits.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// How many bits count hosts.
    pub fn host_bits(&self) -> u8 {
        self.0.max_prefix_len() - self.0.prefix_len()
    }

    /// Whether this is an IPv6 network.
    pub fn is_ipv6(&self) -> bool {
        self.0.network().is_ipv6()
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the two share an address. Networks of different families never do.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// Address number `index` counted from the network's own, or `None` beyond the end.
    pub fn host(&self, index: u128) -> Option<IpAddr> {
        if self.host_bits() < 128 && index >> self.host_bits() != 0 {
            return None;
        }
        match self.0.network() {
            IpAddr::V4(v4) => u32::try_from(index).ok().map(|i| IpAddr::V4((u32::from(v4) + i).into())),
            IpAddr::V6(v6) => Some(IpAddr::V6((u128::from(v6) + index).into())),
        }
    }

    /// Subnet number `index` of `prefix_len` bits, or `None` if there is none.
    pub fn subnet(&self, prefix_len: u8, index: u128) -> Option<Cidr> {
        let max = self.0.max_prefix_len();
        if prefix_len < self.prefix_len() || prefix_len > max {
            return None;
        }
        let offset = if max == prefix_len { index } else { index.checked_shl(u32::from(max - prefix_len))? };
        if index != 0 && offset >> (max - prefix_len) != index {
            return None;
        }
        let network = self.host(offset)?;
        ipnet::IpNet::new(network, prefix_len).ok().map(Cidr)
    }
}

/// An address with its prefix length. ipnet takes `010.0.0.0/8`, which is 8.0.0.0 to some programs and 10.0.0.0 to others:
/// the standard library refuses leading zeros (RFC 6943 section 3.1.1).
pub fn parse_net(text: &str) -> Option<ipnet::IpNet> {
    let (address, _) = text.split_once('/')?;
    address.parse::<IpAddr>().ok()?;
    text.parse().ok()
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let net = parse_net(text).ok_or(CidrError::Syntax)?;
        if net.trunc() != net {
            return Err(CidrError::HostBits(net.trunc()));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

/// The host part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A DNS name.
    Name(DnsName),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

/// A host and a TCP port. IPv6 literals are written in brackets (RFC 3986).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint {
    /// Host part.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
}

/// Why a text is no [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `:PORT` at the end.
    #[error("the port is missing")]
    NoPort,
    /// The port is not in 1 to 65535.
    #[error("the port `{0}` is not in 1 to 65535")]
    Port(String),
    /// The host is neither an address nor a name.
    #[error("the host is neither an IP address nor a DNS name ({0}); an IPv6 address needs brackets")]
    Host(NameError),
    /// Looks like an IPv4 address and is none.
    #[error("`{0}` is not an IPv4 address")]
    Address(String),
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Endpoint {
    /// An endpoint at a literal address.
    pub fn at(address: IpAddr, port: u16) -> Self {
        Self { host: Host::Ip(address), port }
    }

    /// `https://HOST:PORT`.
    pub fn https(&self) -> String {
        format!("https://{self}")
    }

    /// Splits `host[:port]` without requiring the port.
    ///
    /// # Errors
    /// A host that is neither address nor name, or a port out of range.
    pub fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), EndpointError> {
        let (host, port) = split(text);
        let host = match (text.starts_with('['), host.parse::<IpAddr>()) {
            (true, Ok(ip @ IpAddr::V6(_))) | (false, Ok(ip @ IpAddr::V4(_))) => Host::Ip(ip),
            (false, Ok(ip @ IpAddr::V6(_))) if port.is_none() => Host::Ip(ip),
            _ => Host::Name(host_name(host)?),
        };
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number != 0 && !port.starts_with('+') => Some(number),
                _ => return Err(EndpointError::Port(port.to_owned())),
            },
        };
        Ok((host, port))
    }
}

/// A DNS name whose last label is not a number: RFC 3696 section 2 keeps those apart from IPv4 addresses.
fn host_name(text: &str) -> Result<DnsName, EndpointError> {
    let name: DnsName = text.parse().map_err(EndpointError::Host)?;
    match text.rsplit('.').next() {
        Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => Err(EndpointError::Address(text.to_owned())),
        _ => Ok(name),
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, tail)) = rest.split_once(']')
    {
        return match tail.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if tail.is_empty() => (host, None),
            None => (text, None),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = Self::parse_host_port(text)?;
        Ok(Self { host, port: port.ok_or(EndpointError::NoPort)? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidr_hosts_and_subnets() {
        let net: Cidr = "10.96.0.0/12".parse().unwrap();
        assert_eq!(net.host(1).unwrap().to_string(), "10.96.0.1");
        assert_eq!(net.host(1 << 20), None);
        let pods: Cidr = "10.244.0.0/16".parse().unwrap();
        assert_eq!(pods.subnet(24, 255).unwrap().to_string(), "10.244.255.0/24");
        assert_eq!(pods.subnet(24, 256), None);
        let v6: Cidr = "fd00:10:244::/56".parse().unwrap();
        assert_eq!(v6.subnet(64, 3).unwrap().to_string(), "fd00:10:244:3::/64");
        assert!("010.96.0.0/12".parse::<Cidr>().is_err() && "10.96.0.0/012".parse::<Cidr>().is_err());
        assert_eq!("10.96.0.1/12".parse::<Cidr>(), Err(CidrError::HostBits("10.96.0.0/12".parse().unwrap())));
        assert!("10.96.0.0".parse::<Cidr>().is_err());
    }

    #[test]
    fn endpoints() {
        for good in ["10.0.0.1:6443", "[2001:db8::1]:6443", "api.example:443"] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        assert_eq!("api.example".parse::<Endpoint>(), Err(EndpointError::NoPort));
        assert_eq!("a:0".parse::<Endpoint>(), Err(EndpointError::Port("0".into())));
        assert_eq!("a:99999".parse::<Endpoint>(), Err(EndpointError::Port("99999".into())));
        assert!(matches!("a b:1".parse::<Endpoint>(), Err(EndpointError::Host(_))));
        assert_eq!("10.0.0.300:1".parse::<Endpoint>(), Err(EndpointError::Address("10.0.0.300".into())));
        let (host, port) = Endpoint::parse_host_port("2001:db8::1").unwrap();
        assert_eq!((host.to_string().as_str(), port), ("2001:db8::1", None));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<Endpoint>();
            let _ = text.parse::<Cidr>();
        }

        #[test]
        fn subnets_lie_inside(index in 0u128..100_000, prefix in 0u8..=32) {
            let net: Cidr = "10.0.0.0/8".parse().unwrap();
            if let Some(sub) = net.subnet(prefix, index) {
                assert!(net.overlaps(&sub) && net.contains(sub.network()));
            }
        }
    }
}
