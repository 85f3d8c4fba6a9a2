//! Keys and certificates: which there are, how they are made, and who may hold them.
//!
//! [`table`] says what exists; everything else reads it. Nothing here writes, reads a clock or draws a random number: an
//! authority is a function of the secrets and the cluster.

pub mod certificate;
pub mod derive;
pub mod key;
pub mod kubeconfig;
pub mod pem;
pub mod table;

pub use table::KeyId;
