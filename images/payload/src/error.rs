//! What can go wrong, without a byte of the contents: they hold keys.

use crate::validate::Fault;
use std::fmt::Write as _;

/// Why a tree was not encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The tree itself.
    #[error("the payload would not work: {}", list(.0))]
    Faults(Vec<Fault>),
    /// A stub.
    #[error("the stub cannot be made: {0}")]
    Pointer(&'static str),
    /// A mistake of this crate.
    #[error("the payload was not made: {0}")]
    Internal(&'static str),
}

fn list(faults: &[Fault]) -> String {
    let mut text = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // A String takes every write.
        let _ = write!(text, "{separator}{fault}");
    }
    text
}

/// Why a payload was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// One of the files is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// The bytes do not parse. The parser's own words are left out: they quote the input.
    #[error("{name} does not parse: line {line}, column {column}")]
    Syntax {
        /// Which file.
        name: &'static str,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Another version of the specification than the three that are written.
    #[error("the version of Ignition's specification is none of 3.3.0, 3.4.0 and 3.5.0")]
    Version,
    /// Keys that the version lacks.
    #[error("Ignition would ignore: {0}")]
    Warnings(String),
    /// Something that the encoder does not write.
    #[error("{place}: {what} is not what nodekiln writes")]
    Unexpected {
        /// Path, unit or account; empty at the top level.
        place: String,
        /// Field.
        what: String,
    },
    /// No host name in it.
    #[error("the payload does not name its host")]
    Hostname,
}

impl DecodeError {
    /// A parser's error without what it quotes.
    pub(crate) fn syntax(name: &'static str, error: &serde_json::Error) -> Self {
        Self::Syntax { name, line: error.line(), column: error.column() }
    }

    /// Something that the encoder does not write.
    pub(crate) fn unexpected(place: &str, what: &str) -> Self {
        Self::Unexpected { place: place.to_owned(), what: what.to_owned() }
    }
}
