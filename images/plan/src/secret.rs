//! Bytes that must not be printed and do not outlive their use.

use std::fmt;

/// Secret bytes: redacted in `Debug`, wiped on drop, compared by value.
///
/// There is no `Display` and no `Serialize`: a caller that writes one out has to say so with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes ownership of `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    /// All that was allocated, in one go: `Zeroize` writes byte by byte, and whole payloads are secrets.
    fn drop(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        // Without it the zeros, which nobody reads, would be left out.
        zeroize::optimization_barrier(self.0.as_slice());
    }
}

impl zeroize::ZeroizeOnDrop for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"key".to_vec())), "Secret(..)");
    }
}
