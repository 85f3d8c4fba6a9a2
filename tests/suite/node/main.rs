//! The whole road: cluster.yaml, payload, real Ignition or cloud-init, real systemd, kubelet, etcd and API server, Ready.
//!
//! Nothing is done by hand between power-on and the checks. Every test prints what it measured.
// What was measured is printed: a developer reads it there.
#![allow(clippy::print_stderr)]

mod cloud_init;
mod floor;
mod ha;
mod kills;
mod local;
mod payload;
mod probe;
mod single;
mod topology;
