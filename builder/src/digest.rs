//! [`Parts`]: what is digested together.

use nodekiln_plan::{Secret, Sha256};
use serde::Serialize;
use std::{fmt, io};

/// What is digested, piece by piece, each after its length: no two lists give the same bytes. The digest is that of
/// [`Sha256::of_parts`].
pub(crate) struct Parts(Vec<u8>);

impl Parts {
    /// None yet, with room for so many bytes.
    pub fn with_capacity(size: usize) -> Self {
        Self(Vec::with_capacity(size))
    }

    /// Adds what `write` appends.
    pub fn part<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        const LENGTH: usize = size_of::<u64>();
        let start = self.0.len();
        self.0.extend_from_slice(&[0; LENGTH]);
        let result = write(&mut self.0);
        let length = (self.0.len() - start - LENGTH) as u64;
        self.0[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
        result
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.part(|out| out.extend_from_slice(bytes));
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_be_bytes());
    }

    pub fn format(&mut self, arguments: fmt::Arguments<'_>) {
        self.part(|out| io::Write::write_fmt(out, arguments)).expect("memory takes every write");
    }

    pub fn debug(&mut self, value: &impl fmt::Debug) {
        self.format(format_args!("{value:?}"));
    }

    pub fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        self.part(|out| serde_json::to_writer(out, value))
    }

    /// Of all that was added, which may hold what users lay down.
    pub fn digest(self) -> Sha256 {
        Sha256::of(Secret::new(self.0).expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_its_parts() {
        let mut parts = Parts::with_capacity(0);
        parts.text("a");
        parts.count(2);
        parts.format(format_args!("{}\n{:?}", 3, "four"));
        parts.debug(&Some(5));
        parts.json(&["six"]).unwrap();
        let due: [&[u8]; 5] = [b"a", &[0, 0, 0, 0, 0, 0, 0, 2], b"3\n\"four\"", b"Some(5)", br#"["six"]"#];
        assert_eq!(parts.digest(), Sha256::of_parts(due));
    }
}
