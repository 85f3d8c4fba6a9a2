//! Turns a freshly booted machine into the planned Kubernetes node.
//!
//! [`cli::main`] is the program. `run` goes through the stages of [`stage::STAGES`] in order; each computes what is to
//! do from the plan and facts, does it, and leaves a marker. [`host`] alone touches the machine.

pub mod api;
pub mod cli;
pub mod etcd;
pub mod exit;
pub mod files;
pub mod finalize;
pub mod gate;
pub mod host;
pub mod kernel;
pub mod kubelet;
pub mod name;
pub mod preflight;
pub mod report;
pub mod run;
pub mod stage;
pub mod status;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod verify;
pub mod wait;
