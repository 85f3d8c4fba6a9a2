//! Payloads and those who read them: Ignition of two releases and cloud-init, their checkers first, then the programs
//! that lay files down, then a machine.

mod cloud_init;
mod ignition;
mod laid;
mod machine;
mod tree;
