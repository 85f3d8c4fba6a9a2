//! What a payload holds, read from its bytes alone: no cluster.yaml, no secrets, and nothing secret in what is told.
//!
//! [`inspect`] takes bytes and gives an [`Inspection`]; [`text`] is its form for people, its JSON form the one for
//! programs.

pub mod certificate;
mod facts;
pub mod material;
mod node;
pub mod recognise;
mod report;
mod text;

pub use facts::{
    AccountFacts, DirectoryFacts, FetchFacts, FileFacts, Inspection, Kind, LinkFacts, NetworkFacts, NodeFacts,
    PlatformFacts, PointerFacts, UnitFacts,
};
pub use node::{NodeMaterial, PrivateKey};
pub use recognise::{Beside, RecogniseError, Recognised};
pub(crate) use report::object_name;
pub use text::{date, text};

use nodekiln_plan::Secret;

/// Tells what `bytes` hold.
///
/// # Errors
/// Bytes that are no payload, or one that nodekiln would not have written.
pub fn inspect(bytes: &Secret, beside: Beside) -> Result<Inspection, RecogniseError> {
    let size = bytes.expose().len();
    Ok(report::of(recognise::recognise(bytes, beside)?, size))
}

#[cfg(test)]
mod tests;
