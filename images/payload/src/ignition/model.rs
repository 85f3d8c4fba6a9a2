//! The part of an Ignition configuration that nodekiln writes, for writing and for reading back.
//!
//! Strict types of our own: everything but these fields is refused when read, nothing else can be written, and texts are
//! borrowed from the tree or the payload. Fields stand in the order of their names. That Ignition's own types and
//! programs read what these write is a test of every version.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// A text, borrowed where it stands without escapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(pub Cow<'a, str>);

impl<'a> Text<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// A configuration.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config<'a> {
    #[serde(borrow)]
    pub ignition: Ignition<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwd: Option<Passwd<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd: Option<Systemd<'a>>,
}

/// Configurations of the user's, merged by Ignition.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Children<'a> {
    #[serde(borrow)]
    pub merge: Vec<Resource<'a>>,
}

/// Version, and whom to trust when fetching.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ignition<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Children<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Security<'a>>,
    pub version: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Security<'a> {
    #[serde(borrow)]
    pub tls: Tls<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tls<'a> {
    #[serde(borrow)]
    pub certificate_authorities: Vec<Resource<'a>>,
}

/// Bytes: in the text, or somewhere else under a hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Text<'a>>,
    pub source: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verification<'a> {
    #[serde(borrow)]
    pub hash: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Passwd<'a> {
    #[serde(borrow)]
    pub users: Vec<User<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct User<'a> {
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Text<'a>>,
    pub name: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage<'a> {
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link<'a>>,
}

/// An owner by number: a name would be looked up in the target's passwd.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    pub id: u32,
}

impl Owner {
    /// Root.
    pub(crate) const ROOT: Self = Self { id: 0 };
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory<'a> {
    pub group: Owner,
    /// Decimal: JSON has no octal numbers.
    pub mode: u32,
    #[serde(borrow)]
    pub path: Text<'a>,
    pub user: Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File<'a> {
    /// A [`Resource`], as its text: that is what nodes share.
    #[serde(borrow)]
    pub contents: &'a RawValue,
    pub group: Owner,
    /// Decimal: JSON has no octal numbers.
    pub mode: u32,
    pub overwrite: bool,
    pub path: Text<'a>,
    pub user: Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link<'a> {
    pub group: Owner,
    pub hard: bool,
    pub overwrite: bool,
    #[serde(borrow)]
    pub path: Text<'a>,
    pub target: Text<'a>,
    pub user: Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Systemd<'a> {
    #[serde(borrow)]
    pub units: Vec<Unit<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unit<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropins: Vec<Dropin<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<bool>,
    pub name: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dropin<'a> {
    #[serde(borrow)]
    pub contents: Text<'a>,
    pub name: Text<'a>,
}
