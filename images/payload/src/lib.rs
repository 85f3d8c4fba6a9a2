//! Pure encoders from a node's tree to payloads, and the decoders that check them.
//!
//! [`NodeTree`] goes in, [`Artifact`]s come out: no I/O, no clock, no randomness. What depends on the operating system
//! is data: a [`Profile`], parsed from `profiles/*.toml`.

mod profile;
mod tree;

pub use profile::{ContainerdConfig, Format, NetworkService, Profile, ProfileFile, TimeService};
pub use tree::{
    Account, Artifact, Dropin, Fetch, FetchInto, Link, Network, NodeTree, TreeFile, Unit, UnitState, Verification,
};
