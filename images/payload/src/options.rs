//! [`EncodeOptions`]: what a user may choose about the encoding.

use std::{fmt, str::FromStr};

/// A version of Ignition's configuration specification.
///
/// Nothing that nodekiln emits came after 3.3.0; 3.3.0 is what every current Flatcar, Fedora CoreOS and Debian reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IgnitionVersion {
    /// 3.3.0, the default: Ignition 2.11 and newer.
    #[default]
    V3_3,
    /// 3.4.0: Ignition 2.15 and newer.
    V3_4,
    /// 3.5.0: Ignition 2.20 and newer.
    V3_5,
}

impl IgnitionVersion {
    /// All of them, oldest first.
    pub const ALL: [IgnitionVersion; 3] = [Self::V3_3, Self::V3_4, Self::V3_5];

    /// As it stands in `ignition.version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3_3 => "3.3.0",
            Self::V3_4 => "3.4.0",
            Self::V3_5 => "3.5.0",
        }
    }
}

/// A text that is no [`IgnitionVersion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an Ignition specification of 3.3.0, 3.4.0 and 3.5.0 is needed")]
pub struct IgnitionVersionError;

impl FromStr for IgnitionVersion {
    type Err = IgnitionVersionError;

    fn from_str(text: &str) -> Result<Self, IgnitionVersionError> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(IgnitionVersionError)
    }
}

impl fmt::Display for IgnitionVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether contents are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Gzip {
    /// File by file, where that is the smallest encoding.
    #[default]
    WhereSmaller,
    /// As that; but of a file of which many nodes have a part, what is one node's own stays as it is below 2 KiB. To
    /// compress it would take as long as all else of the encoding, and make the payload a fifteenth smaller.
    WhereShared,
    /// Not at all: larger, and everything but binary contents can be read in the payload.
    Never,
}

impl Gzip {
    /// All of them, the smallest payload first.
    pub const ALL: [Gzip; 3] = [Self::WhereSmaller, Self::WhereShared, Self::Never];
}

/// What a user may choose about the encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The specification that an Ignition configuration names.
    pub ignition_version: IgnitionVersion,
    /// Whether contents are compressed.
    pub gzip: Gzip,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for version in IgnitionVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for bad in ["", "3.3", "3.2.0", "3.6.0", "3.4.0-experimental"] {
            assert_eq!(bad.parse::<IgnitionVersion>(), Err(IgnitionVersionError), "{bad:?}");
        }
        assert_eq!(EncodeOptions::default().ignition_version.as_str(), "3.3.0");
    }
}
