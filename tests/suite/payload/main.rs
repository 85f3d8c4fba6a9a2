//! Payloads and those who read them: Ignition of two releases and cloud-init, their checkers first, then the programs
//! that lay files down, then a machine.

// Helpers of tests: clippy's exception for tests covers only functions marked as such.
#![allow(clippy::unwrap_used)]

mod breadth;
mod cloud_init;
mod ignition;
mod laid;
mod machine;
mod snippets;
mod tar;
mod tree;
