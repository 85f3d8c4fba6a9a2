//! What is read: random clusters that have to build and always to the same bytes, hostile files that have to be refused
//! in time, and the targets of tests/fuzz, fed with their corpus and with mutations.
// Measured times are printed: a developer reads them there.
#![allow(clippy::print_stderr)]
// Helpers of tests: clippy's exception for tests covers only functions marked as such.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/src/targets.rs"]
mod targets;

mod fuzz;
mod hostile;
mod random;
