//! What is written, and read back: the output folder and `secrets.yaml`. The only part of the builder that touches the machine.

pub mod existing;
#[cfg(test)]
mod fixture;
pub mod folder;
pub mod found;
mod kind;
mod lines;
mod listing;
pub mod manifest;
pub mod pages;
mod part;
mod parts;
pub mod placed;
pub mod placement;
mod process;
mod reuse;
mod rows;
pub mod secrets_file;
mod served;
mod shared;
mod write;

pub use part::Part;
pub use process::no_core_dumps;
pub use rows::{PartRows, Parts};
pub use write::{Built, WriteError, Written, write};
