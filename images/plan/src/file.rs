//! Paths, modes and the entries of a node's file tree.

use crate::hash::Sha256;
use serde::{Deserialize, Serialize, Serializer};
use std::{borrow::Borrow, fmt, path::Path, str::FromStr, sync::Arc};

/// An absolute, clean path on a node: no `.`, `..`, empty part, trailing slash or control character.
///
/// Ignition refuses unclean paths; firstboot relies on it to stay below its root. A clone is the same text: a node's tree
/// names each path many times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct AbsPath(Arc<str>);

/// Why a text is no [`AbsPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not start with `/`.
    #[error("not an absolute path")]
    Relative,
    /// Has an empty part, `.`, `..` or a trailing slash.
    #[error("not a clean path: no empty part, `.`, `..` or trailing slash")]
    Unclean,
    /// Has a control character.
    #[error("contains a control character")]
    Control,
    /// Longer than the kernel takes (`PATH_MAX`), or with a part beyond `NAME_MAX`.
    #[error("longer than 4095 bytes, or a part longer than 255")]
    Long,
}

impl AbsPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for `std::fs`.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The folder this path lies in, or `None` for `/`.
    pub fn parent(&self) -> Option<AbsPath> {
        self.folders().next().map(|folder| Self(folder.into()))
    }

    /// The folders that this path lies in, the nearest first, `/` last.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        fn above(path: &str) -> Option<&str> {
            match path.rsplit_once('/')? {
                ("", "") => None,
                ("", _) => Some("/"),
                (folder, _) => Some(folder),
            }
        }
        std::iter::successors(above(&self.0), |folder| above(folder))
    }

    /// `self` followed by the relative path `tail`.
    ///
    /// # Errors
    /// As for parsing the whole.
    pub fn join(&self, tail: &str) -> Result<AbsPath, PathError> {
        let base = self.0.trim_end_matches('/');
        format!("{base}/{tail}").parse()
    }

    /// Whether this is `folder` itself or lies below it.
    pub fn is_within(&self, folder: &AbsPath) -> bool {
        // Only the root ends in a slash.
        let base = if folder.0.len() == 1 { "" } else { &*folder.0 };
        matches!(self.0.as_bytes().get(base.len()), None | Some(b'/')) && self.0.starts_with(base)
    }
}

impl FromStr for AbsPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(PathError::Relative) };
        // All bytes without a way out between them: that is many at a time, and nearly every path is plain.
        let is_plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
        if !is_plain && text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let parts = || rest.as_bytes().split(|byte| *byte == b'/');
        // Nearly no path has a part that is empty or begins with a dot.
        let pairs = text.bytes().zip(rest.bytes());
        let is_suspect =
            pairs.fold(text.ends_with('/'), |suspect, (a, b)| suspect | (a == b'/' && (b == b'/' || b == b'.')));
        if !rest.is_empty() && is_suspect && parts().any(|part| matches!(part, b"" | b"." | b"..")) {
            return Err(PathError::Unclean);
        }
        if text.len() > 4095 || (rest.len() > 255 && parts().any(|part| part.len() > 255)) {
            return Err(PathError::Long);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl TryFrom<String> for AbsPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl Serialize for AbsPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// For maps that are asked by text. Order and hash are those of the text.
impl Borrow<str> for AbsPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Permission bits, 0 to 0o777. Written as four octal digits, such as `"0644"`.
///
/// The setuid, setgid and sticky bits are left out: Ignition ignores them before spec 3.6.0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

/// A mode that is not four octal digits, or has more than permission bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mode is four octal digits from \"0000\" to \"0777\"")]
pub struct ModeError;

impl Mode {
    /// 0600: secrets.
    pub const PRIVATE: Mode = Mode(0o600);
    /// 0644: what anybody may read.
    pub const PUBLIC: Mode = Mode(0o644);
    /// 0755: programs, and folders that anybody may enter.
    pub const EXECUTABLE: Mode = Mode(0o755);
    /// 0700: folders of secrets.
    pub const PRIVATE_DIR: Mode = Mode(0o700);

    /// The mode with these bits, if they are permission bits alone.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits <= 0o777).then_some(Self(bits))
    }

    /// The bits, as `chmod` takes them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        if text.len() != 4 || !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return Err(ModeError);
        }
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(ModeError),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for Mode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

/// A folder with a mode of its own. Owner is root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryEntry {
    /// Where.
    pub path: AbsPath,
    /// Permission bits. An existing folder gets them too; its contents stay.
    pub mode: Mode,
}

/// How a file gets to its path and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileKind {
    /// The payload lays it at its path. `verify` expects the digest.
    Laid,
    /// The payload lays it below the stage folder, the stage `files` puts it at its path. `verify` expects the digest.
    Staged,
    /// As `Staged`, but the stage `etcd` fills in three arguments first; the digest is the template's, which stays in
    /// the stage folder for as long as the node lives.
    Decided,
    /// The kubelet's first client certificate and key in one PEM file: put at its path, a symlink to a dated file as
    /// the kubelet's certificate manager makes it, unless a pair is there that the CA vouches for now. Never
    /// verified: the kubelet rotates it.
    Seed,
    /// The API credential: used by the stages `api` and `finalize` where it was staged, then erased.
    Credential,
}

/// A file of the node. Owner is root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Its final place.
    pub path: AbsPath,
    /// Permission bits at the final place.
    pub mode: Mode,
    /// Digest of the contents that the payload lays down.
    pub sha256: Sha256,
    /// What happens to it.
    pub kind: FileKind,
    /// Where the payload lays it, if not at `path`: set for every kind but `Laid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<AbsPath>,
}

/// An archive that the payload or a fetch left on the node, to be unpacked by the stage `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    /// The archive: tar, gzip'd or not.
    pub path: AbsPath,
    /// The folder it is unpacked into, made with mode 0755 if missing.
    pub into: AbsPath,
    /// How many leading path parts of each member are dropped.
    pub strip_components: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["/", "/a", "/a/b.c", "/a b", "/.a/..b/.../c."] {
            assert_eq!(good.parse::<AbsPath>().unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("", PathError::Relative),
            ("a", PathError::Relative),
            ("/a/", PathError::Unclean),
            ("//a", PathError::Unclean),
            ("/a/../b", PathError::Unclean),
            ("/./a", PathError::Unclean),
            ("/a/.", PathError::Unclean),
            ("/..", PathError::Unclean),
            ("/a//b", PathError::Unclean),
            ("/a\nb", PathError::Control),
        ] {
            assert_eq!(bad.parse::<AbsPath>(), Err(why), "{bad:?}");
        }
        assert_eq!("/a\u{85}b".parse::<AbsPath>(), Err(PathError::Control), "a control character beyond ASCII");
        assert!("/a\u{e9}b".parse::<AbsPath>().is_ok());
        assert_eq!(format!("/{}", "a".repeat(256)).parse::<AbsPath>(), Err(PathError::Long));
        let etc: AbsPath = "/etc".parse().unwrap();
        assert_eq!(etc.join("x/y").unwrap().as_str(), "/etc/x/y");
        assert!(etc.join("../x").is_err());
        assert!(etc.join("x").unwrap().is_within(&etc) && etc.is_within(&etc));
        assert!(!"/etcd".parse::<AbsPath>().unwrap().is_within(&etc));
        assert_eq!(etc.parent().unwrap().as_str(), "/");
        assert_eq!(etc.parent().unwrap().parent(), None);
        let deep = etc.join("x/y").unwrap();
        assert_eq!(deep.parent().unwrap().as_str(), "/etc/x");
        assert_eq!(deep.folders().collect::<Vec<_>>(), ["/etc/x", "/etc", "/"]);
    }

    #[test]
    fn modes() {
        for good in ["0000", "0644", "0777"] {
            assert_eq!(good.parse::<Mode>().unwrap().to_string(), good);
        }
        for bad in ["", "644", "0o644", "0844", "1777", "00644"] {
            assert_eq!(bad.parse::<Mode>(), Err(ModeError), "{bad:?}");
        }
    }
}
