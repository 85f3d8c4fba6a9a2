//! [`Bytes`]: bytes that many have and nobody copies.

use std::{fmt, ops::Deref, sync::Arc};

/// Bytes that many have and nobody copies: a program has megabytes, and the embedded one is in memory with the builder.
#[derive(Clone)]
pub enum Bytes {
    /// Part of this program.
    Embedded(&'static [u8]),
    /// Read or made.
    Shared(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Embedded(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Shared(bytes.into())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
