//! Keys and certificates: which there are, how they are made, and who may hold them.
//!
//! [`table`] says what exists; everything else reads it. [`Authority`] opens the secrets, [`fill`] puts keys into drafts,
//! [`scan`] finds them again in payloads. Nothing here writes, reads a clock or draws a random number: all of it is a
//! function of the secrets and the cluster.

pub mod authority;
pub mod certificate;
pub mod derive;
mod external;
mod fill;
#[cfg(test)]
pub(crate) mod fixture;
pub mod key;
pub(crate) mod keyring;
pub mod kubeconfig;
pub mod outside;
pub mod pem;
pub mod scan;
pub mod table;

pub use authority::{Authority, IssueError, OpenError, may_begin};
pub use external::ExternalEtcdError;
pub use fill::{FillError, Filled, Filling, fill};
pub use table::{Ca, KeyId};

#[cfg(test)]
mod tests;
