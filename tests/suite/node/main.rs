//! The whole road: cluster.yaml, payload, real Ignition or cloud-init, real systemd, kubelet, etcd and API server, Ready.
//!
//! Nothing is done by hand between power-on and the checks. Every test prints what it measured.

mod cloud_init;
mod floor;
mod ha;
mod kills;
mod payload;
mod probe;
mod single;
