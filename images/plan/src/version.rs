//! Kubernetes versions.

use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A released version, `vMAJOR.MINOR.PATCH`. Ordered by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct KubernetesVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Feature releases.
    pub minor: u16,
    /// Fixes.
    pub patch: u16,
}

/// A text that is no [`KubernetesVersion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a Kubernetes version is written vMAJOR.MINOR.PATCH, such as v1.36.3")]
pub struct VersionError;

impl Serialize for KubernetesVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = |part: Option<&str>| match part {
            Some(text) if text == "0" || !text.starts_with(['0', '+']) => text.parse().map_err(|_| VersionError),
            _ => Err(VersionError),
        };
        let mut parts = text.strip_prefix('v').ok_or(VersionError)?.split('.');
        let version = Self { major: number(parts.next())?, minor: number(parts.next())?, patch: number(parts.next())? };
        if parts.next().is_some() { Err(VersionError) } else { Ok(version) }
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Debug for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for KubernetesVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<KubernetesVersion> for String {
    fn from(version: KubernetesVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!("v1.36.3".parse::<KubernetesVersion>().unwrap().to_string(), "v1.36.3");
        for bad in ["", "1.36.3", "v1.36", "v1.36.3.4", "v1.036.3", "latest", "v1.36.3-rc.0", "v1.+6.3", "v1..3"] {
            assert_eq!(bad.parse::<KubernetesVersion>(), Err(VersionError), "{bad:?}");
        }
        assert!("v1.9.0".parse::<KubernetesVersion>().unwrap() < "v1.10.0".parse().unwrap());
    }
}
