//! Pure encoders from a node's tree to payloads, and the decoders that check them.
//!
//! [`NodeTree`] goes in, [`Artifact`]s come out: no I/O, no clock, no randomness, the same bytes for the same tree. What
//! depends on the operating system is data: a [`Profile`], parsed from `profiles/*.toml`.
//!
//! [`validate`] finds what the consumers of a payload would refuse, [`encode`] refuses the same, [`decode`] reads a
//! payload back and [`check`] compares the two; a [`Codec`] does all of it for many nodes that share contents. Encoders'
//! buffers are not wiped: what they leave in freed memory is for the process that runs them to protect.

mod cache;
mod check;
mod cloud_init;
mod codec;
mod content;
mod error;
#[cfg(test)]
mod fixture;
mod gzip;
#[cfg(test)]
mod gzip_tests;
mod ignition;
mod laid;
mod options;
mod profile;
mod python_yaml;
#[cfg(test)]
mod python_yaml_tests;
#[cfg(test)]
mod roundtrip;
mod snippet;
#[cfg(test)]
mod snippet_tests;
mod tar;
#[cfg(test)]
mod traps;
mod tree;
mod unit_text;
mod validate;
#[cfg(test)]
mod validate_tests;

pub use cache::Memory;
pub use check::CheckError;
pub use codec::Codec;
pub use error::{DecodeError, EncodeError};
pub use ignition::{
    pointer::Pointer,
    rules::{Remark, Remarks},
};
pub use options::{EncodeOptions, Gzip, IgnitionVersion, IgnitionVersionError};
pub use profile::{ContainerdConfig, Format, NetworkService, Profile, ProfileFile, TimeService};
pub use python_yaml::YamlFault;
pub use snippet::{Snippet, SnippetFault, Touched};
pub use tar::{TarEntry, TarKind};
pub use tree::{
    Account, Artifact, Dropin, Fetch, FetchInto, Link, Network, NodeTree, SharedPart, TreeFile, Unit, UnitState,
    Verification,
};
pub use unit_text::UnitFault;
pub use validate::{Fault, Why, unit_text as unit_fault, validate};

/// Encodes `tree` in the profile's format: `config.ign`, or `user-data`, `meta-data` and, for a static network,
/// `network-config`.
///
/// # Errors
/// [`EncodeError::Faults`] with everything that [`validate`] finds.
pub fn encode(tree: &NodeTree, profile: &Profile, options: &EncodeOptions) -> Result<Vec<Artifact>, EncodeError> {
    Codec::default().encode(tree, profile, options)
}

/// Reads a payload back into the tree that it lays down. Under Ignition the files that say what a tree says without one
/// (host name, disabled units) are among its files.
///
/// # Errors
/// Anything in it that [`encode`] would not have written.
pub fn decode(artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, DecodeError> {
    Codec::default().decode(artifacts, profile)
}

/// Decodes `artifacts` and compares the result with `tree`: every path with its kind, mode, bytes and digest, every
/// unit's state, accounts, network. Returns what was decoded, for checks of placement.
///
/// # Errors
/// A payload that does not decode, or all differences by name.
pub fn check(tree: &NodeTree, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, CheckError> {
    Codec::default().check(tree, artifacts, profile)
}

/// The same tree as `tree.tar`, format-neutral.
///
/// # Errors
/// As [`encode`].
pub fn tree_tar(tree: &NodeTree, profile: &Profile) -> Result<Artifact, EncodeError> {
    let faults = validate(tree, profile);
    if !faults.is_empty() {
        return Err(EncodeError::Faults(faults));
    }
    tar::pack(tree, profile)
}

/// Reads a `tree.tar` back and compares it with `tree`.
///
/// # Errors
/// An archive that cannot be read, or all differences by name.
pub fn check_tree_tar(tree: &NodeTree, archive: &Artifact, profile: &Profile) -> Result<(), CheckError> {
    tar::check(tree, archive, profile)
}

/// Reads what [`tree_tar`] has packed.
///
/// # Errors
/// Anything that it would not have written.
pub fn read_tar(bytes: &[u8]) -> Result<Vec<TarEntry>, DecodeError> {
    tar::unpack(bytes)
}

/// The `meta-data` that goes with this `user-data`, for a reader who has only the latter.
///
/// # Errors
/// A `user-data` that [`encode`] would not have written.
pub fn implied_meta_data(user_data: &[u8]) -> Result<Artifact, DecodeError> {
    cloud_init::implied_meta_data(user_data)
}
