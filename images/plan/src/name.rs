//! Names: parsed once, valid from then on.

use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct NameError {
    what: &'static str,
    why: String,
}

impl NameError {
    fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// A Node name and host name: an RFC 1123 subdomain of at most 63 characters, not `localhost`.
    ///
    /// Kubernetes allows 253 characters (`IsDNS1123Subdomain`); Linux host names end at 64 bytes (`HOST_NAME_MAX`), and
    /// the value of the label `kubernetes.io/hostname` at 63.
    NodeName,
    |text| {
        subdomain("a node name", text)?;
        if text.len() > 63 {
            return Err(NameError::new("a node name", "has more than 63 characters, which no host name may"));
        }
        if text == "localhost" {
            return Err(NameError::new("a node name", "is `localhost`, which every machine answers to"));
        }
        Ok(())
    }
);

name!(
    /// A DNS name: an RFC 1123 subdomain of at most 253 characters.
    DnsName,
    |text| subdomain("a DNS name", text)
);

name!(
    /// `clusterName`: one line of printable ASCII without spaces or quotes, at most 253 characters.
    ///
    /// kubeadm takes any text; it ends in kubeconfigs and in a flag of kube-controller-manager.
    ClusterName,
    |text| {
        let what = "a cluster name";
        if text.is_empty() {
            return Err(NameError::new(what, "is empty"));
        }
        if text.len() > 253 {
            return Err(NameError::new(what, "has more than 253 characters"));
        }
        match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '\'' | '\\' | '`')) {
            Some(c) => Err(NameError::new(what, format!("contains {c:?}"))),
            None => Ok(()),
        }
    }
);

name!(
    /// A systemd unit name with its suffix, systemd.unit(5): at most 255 of `[A-Za-z0-9:_.\@-]`.
    UnitName,
    |text| {
        const SUFFIXES: [&str; 11] = [
            "service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope",
        ];
        let what = "a unit name";
        if text.len() > 255 {
            return Err(NameError::new(what, "has more than 255 characters"));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !":_.\\@-".contains(*c)) {
            return Err(NameError::new(what, format!("contains {c:?}")));
        }
        match text.rsplit_once('.') {
            Some((stem, suffix)) if !stem.is_empty() && SUFFIXES.contains(&suffix) => Ok(()),
            _ => Err(NameError::new(what, "does not end in a suffix of systemd's, such as `.service`")),
        }
    }
);

name!(
    /// A sysctl key with dots, such as `net.ipv4.ip_forward`; a slash stands for a dot within a part, sysctl.d(5).
    SysctlKey,
    |text| {
        let what = "a sysctl key";
        if text.is_empty() || text.len() > 255 {
            return Err(NameError::new(what, "has to have 1 to 255 characters"));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-/:@".contains(*c)) {
            return Err(NameError::new(what, format!("contains {c:?}")));
        }
        if text.split('.').any(|part| part.is_empty() || part.split('/').any(str::is_empty)) {
            return Err(NameError::new(what, "has an empty part"));
        }
        if text.contains("..") || text.split(['.', '/']).any(|part| part == "..") {
            return Err(NameError::new(what, "leaves /proc/sys"));
        }
        Ok(())
    }
);

name!(
    /// A kernel module's name as modprobe(8) takes it.
    ModuleName,
    |text| {
        let what = "a module name";
        if text.is_empty() || text.len() > 64 {
            return Err(NameError::new(what, "has to have 1 to 64 characters"));
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-".contains(*c)) {
            Some(c) => Err(NameError::new(what, format!("contains {c:?}"))),
            None if text.starts_with('-') => Err(NameError::new(what, "starts with a dash")),
            None => Ok(()),
        }
    }
);

/// RFC 1123 subdomain as the API server checks it (`IsDNS1123Subdomain`), labels of at most 63 characters.
fn subdomain(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::new(what, "is empty"));
    }
    if text.len() > 253 {
        return Err(NameError::new(what, "has more than 253 characters"));
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(NameError::new(what, "has an empty label"));
        }
        if label.len() > 63 {
            return Err(NameError::new(what, "has a label of more than 63 characters"));
        }
        if let Some(c) = label.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(NameError::new(what, format!("contains {c:?}; allowed are a-z, 0-9, `-` and `.`")));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::new(what, "has a label that starts or ends with `-`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<T: FromStr<Err = NameError> + fmt::Display>(good: &[&str], bad: &[&str]) {
        for text in good {
            match text.parse::<T>() {
                Ok(name) => assert_eq!(name.to_string(), *text),
                Err(e) => panic!("{text:?} refused: {e}"),
            }
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} taken");
        }
    }

    #[test]
    fn node_names() {
        let long = "a".repeat(63);
        let longer = "a".repeat(64);
        table::<NodeName>(
            &["n1", "a.b-c.d", "1", &long],
            &["", "N1", "a_b", "-a", "a-", "a..b", ".a", "a.", "localhost", "a b", "a\n", &longer],
        );
    }

    #[test]
    fn cluster_names() {
        table::<ClusterName>(&["kubernetes", "lab_1", "Prod/eu"], &["", "a b", "a\nb", "a\"", "é"]);
    }

    #[test]
    fn unit_names() {
        table::<UnitName>(
            &["kubelet.service", "a@b.mount", "var-lib-etcd.mount", "x\\x2d.slice"],
            &["", "kubelet", ".service", "a/b.service", "a b.service", "kubelet.conf"],
        );
    }

    #[test]
    fn sysctl_keys() {
        table::<SysctlKey>(
            &["net.ipv4.ip_forward", "net.ipv4.conf.eth0/1.rp_filter"],
            &["", "a..b", "a/../b", ".a", "a.", "a b", "a=b", "net.ipv4.conf.a//b"],
        );
    }

    #[test]
    fn module_names() {
        table::<ModuleName>(&["br_netfilter", "nf-nat"], &["", "-a", "a b", "a/b"]);
    }
}
