//! Single values: from a text to the type it stands for.

use super::Cx;
use crate::config::{
    San, code,
    diag::Finding,
    nearest::nearest,
    read::{At, Field, unsupported},
    shown::short,
};
use nodekiln_plan::DnsName;
use std::{fmt::Display, net::IpAddr, str::FromStr};

impl Cx<'_, '_> {
    /// Parses `at`, or reports what is wrong with it.
    pub(super) fn parse<T>(&mut self, at: &At<impl AsRef<str>>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        match at.value.as_ref().parse() {
            Ok(value) => Some(At { value, place: at.place.clone() }),
            Err(e) => {
                self.bad(at, &e.to_string());
                None
            }
        }
    }

    /// Parses a field; a field that is not set is `default`.
    pub(super) fn parse_or<T>(&mut self, field: &Field<impl AsRef<str>>, default: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match field {
            field if field.is_unset() => default.parse().ok(),
            field => self.parse(field.get()?).map(|at| at.value),
        }
    }

    /// Reports that `at` is not valid because of `why`.
    pub(super) fn bad<T: AsRef<str>>(&mut self, at: &At<T>, why: &str) {
        let message = format!("`{}` is not valid: {why}", short(at.value.as_ref()));
        self.found.error_at(&at.place, Finding::new(code::VALUE, message));
    }

    /// Reports that `at` is no IP address.
    pub(super) fn bad_address(&mut self, at: &At<String>) {
        let (host, port) = at.value.rsplit_once(':').unwrap_or((&at.value, ""));
        let hint = match at.value.split_once('/') {
            Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => format!("leave the prefix length out: {ip}"),
            _ if !port.is_empty() && host.parse::<IpAddr>().is_ok() => format!("leave the port out: {host}"),
            _ => "an address is written like 192.0.2.10 or \"2001:db8::10\"; names do not stand here".to_owned(),
        };
        let message = format!("`{}` is not valid: not an IP address", short(&at.value));
        self.found.error_at(&at.place, Finding::new(code::VALUE, message).hint(hint));
    }

    /// One of `choices`, or one of `later`, which this version refuses.
    pub(super) fn choice<T: Copy>(&mut self, at: &At<String>, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == at.value) {
            return Some(*value);
        }
        if later.contains(&at.value.as_str()) {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let finding = unsupported(&format!("`{}`", at.value)).hint(format!("supported: {}", names.join(", ")));
            self.found.error_at(&at.place, finding);
            return None;
        }
        // What this version refuses is not offered.
        let names = || choices.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
        let other = OTHER_NAMES.iter().find(|(other, _)| at.value.eq_ignore_ascii_case(other));
        let meant = other.map(|(_, name)| *name).filter(|name| names().any(|own| own == *name));
        let message = format!("`{}` is not one of: {}", short(&at.value), names().collect::<Vec<_>>().join(", "));
        let finding = Finding::new(code::CHOICE, message);
        let finding = match meant.or_else(|| nearest(&at.value, names())) {
            Some(name) => finding.hint(format!("did you mean `{name}`?")),
            None => finding,
        };
        self.found.error_at(&at.place, finding);
        None
    }

    /// A duration in whole seconds, more than zero.
    pub(super) fn seconds(&mut self, at: &At<String>) -> Option<i64> {
        self.more_than_zero(at, "write how long it is, such as 8760h, 4m or 90s")
    }

    /// The same; `hint` is what helps where it is not more than zero.
    pub(super) fn more_than_zero(&mut self, at: &At<String>, hint: &str) -> Option<i64> {
        match duration(&at.value) {
            Ok(nanos) if nanos <= 0 => {
                let message = format!("`{}` is not more than zero", short(&at.value));
                self.found.error_at(&at.place, Finding::new(code::DURATION, message).hint(hint));
                None
            }
            Ok(nanos) if nanos % 1_000_000_000 != 0 => {
                let message = format!("`{}` is no whole number of seconds", short(&at.value));
                self.found.error_at(&at.place, Finding::new(code::DURATION, message));
                None
            }
            Ok(nanos) => Some(nanos / 1_000_000_000),
            Err(why) => {
                let finding = Finding::new(code::DURATION, format!("`{}` is not a duration: {why}", short(&at.value)));
                self.found.error_at(&at.place, finding.hint("durations are written as in Go: 8760h, 1h30m, 90s"));
                None
            }
        }
    }

    /// A unicast address that a machine can have.
    pub(super) fn machine_address(&mut self, at: &At<String>) -> Option<At<IpAddr>> {
        let Ok(ip) = at.value.parse::<IpAddr>() else {
            self.bad_address(at);
            return None;
        };
        match unusable(ip) {
            None => Some(At { value: ip, place: at.place.clone() }),
            Some(why) => {
                self.found.error_at(&at.place, Finding::new(code::ADDRESS, format!("{ip} is {why}")));
                None
            }
        }
    }

    /// Subject alternative names as kubeadm takes them: an address, a DNS name or one with a leading `*.`.
    pub(super) fn sans(&mut self, field: &Field<Vec<At<String>>>) -> Vec<San> {
        let mut sans = Vec::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let lower = at.value.to_ascii_lowercase();
            let name = lower.strip_prefix("*.").unwrap_or(&lower);
            if let Ok(ip) = at.value.parse() {
                sans.push(San::Ip(ip));
            } else if let Err(e) = name.parse::<DnsName>() {
                self.bad(at, &format!("neither an IP address nor a DNS name ({e})"));
            } else {
                sans.push(San::Dns(lower));
            }
        }
        sans
    }

    /// An image repository such as `registry.k8s.io` or `mirror.example:5000/k8s`: the grammar of distribution's image
    /// references without tag and digest.
    pub(super) fn image_repository(&mut self, at: &At<String>) -> Option<String> {
        let (host, path) = at.value.split_once('/').unwrap_or((&at.value, ""));
        let port_ok = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let host_ok = !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        let component_ok = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        };
        let path_ok = !at.value.contains('/') || path.split('/').all(component_ok);
        if host_ok && path_ok && port.is_none_or(port_ok) && at.value.len() <= 255 {
            return Some(at.value.clone());
        }
        self.bad(at, "not an image repository, such as registry.k8s.io or mirror.example:5000/k8s");
        None
    }

    /// An image tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    pub(super) fn image_tag(&mut self, at: &At<String>) -> Option<String> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if (1..=128).contains(&at.len()) && at.bytes().all(good) && !at.starts_with(['.', '-']) {
            return Some(at.value.clone());
        }
        self.bad(at, "not an image tag");
        None
    }
}

/// What others call a choice of ours.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("master", "control-plane"),
    ("server", "control-plane"),
    ("agent", "worker"),
    ("node", "worker"),
    ("debian", "cloud-init"),
    ("ubuntu", "cloud-init"),
    ("fcos", "fedora-coreos"),
    ("coreos", "fedora-coreos"),
    ("x86_64", "amd64"),
    ("aarch64", "arm64"),
    ("bare-metal", "metal"),
];

/// Why no machine of a cluster can have this address.
pub(super) fn unusable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("the unspecified address");
    }
    if ip.is_loopback() {
        return Some("a loopback address, which every machine has");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address, which differs from boot to boot"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("in 0.0.0.0/8, which no machine may have"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("a link-local address, which needs an interface beside it")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 form: write the IPv4 address"),
        _ => None,
    }
}

/// A duration in the grammar of Go's `time.ParseDuration`, in nanoseconds.
pub(in crate::config) fn duration(text: &str) -> Result<i64, &'static str> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    if rest.len() > 64 {
        return Err("it is too long");
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or("a unit is missing")?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or("a unit is not known")?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err("a number is missing");
        }
        let digits = |text: &str| {
            if text.is_empty() { Ok(0) } else { text.parse::<i128>().map_err(|_| "a number is too large") }
        };
        let part = digits(whole)?.checked_mul(*scale).ok_or("it is too long")?;
        // At most 13 digits count: beyond nanoseconds of an hour nothing does.
        let fraction = &fraction[..fraction.len().min(13)];
        let power = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        total = total.checked_add(part + digits(fraction)? * scale / power).ok_or("it is too long")?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| "it is longer than 292 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in
            [("8760h", 31_536_000), ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("0", 0), ("-1s", -1)]
        {
            assert_eq!(duration(text), Ok(seconds * 1_000_000_000), "{text}");
        }
        assert_eq!(duration("1ms"), Ok(1_000_000));
        assert_eq!(duration("1µs"), Ok(1_000));
        for bad in
            ["", "1", "h", "1d", "1h1", ".h", "1..2h", "99999999999h", "1 h", "365d", &"9".repeat(60), &"1h".repeat(60)]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn durations_never_panic(text in "[-+0-9.hmsunµ]{0,80}") {
            let _ = duration(&text);
        }
    }
}
