//! SHA-256 digests.

use serde::{Deserialize, Serialize, Serializer};
use sha2::Digest as _;
use std::{fmt, str::FromStr};

/// A SHA-256 digest. Its text form is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256([u8; 32]);

/// A digest that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 digest is 64 hex digits, this has {0} characters or others among them")]
pub struct HashError(usize);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of `parts`, each preceded by its length, so that no two lists give the same input.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Calls `take` with the text form.
    fn text<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits for each byte");
        take(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }
}

/// A digest in the making, of bytes that come piece by piece. A clone goes on from where it was taken.
#[derive(Clone, Default)]
pub struct Hashing(sha2::Sha256);

impl Hashing {
    /// Adds what follows.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn digest(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Hashing {
    /// Without its state: that says something of what was added.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashing(..)")
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text(|digits| serializer.serialize_str(digits))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashError(text.chars().count()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = HashError;

    fn try_from(text: String) -> Result<Self, HashError> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(hash: Sha256) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashing, Sha256};

    #[test]
    fn known_answers() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Sha256::of(b"")));
        assert!("e3".parse::<Sha256>().is_err());
        assert!("z".repeat(64).parse::<Sha256>().is_err());
    }

    #[test]
    fn pieces_make_the_whole() {
        let mut begun = Hashing::default();
        begun.add(b"a");
        let mut whole = begun.clone();
        whole.add(b"bc");
        assert_eq!(whole.digest(), Sha256::of(b"abc"));
        assert_eq!(begun.digest(), Sha256::of(b"a"));
    }

    #[test]
    fn parts_are_framed() {
        assert_ne!(Sha256::of_parts([&b"ab"[..], b"c"]), Sha256::of_parts([&b"a"[..], b"bc"]));
    }
}
