//! What crosses crates: goldens, consumers' own parsers, and clusters of real components.
//!
//! The library is the harness for the last of these. A [`cluster::Cluster`] is a [`net::Fabric`] (one bridge in a
//! namespace of its own) with [`node::Node`]s on it: systemd in nspawn, each with an own network namespace, own
//! cgroups, a root file system over the cached one and a private copy of the filled containerd root. Nothing of it
//! reaches the machine: traffic stays inside the namespaces, sysctls are copies, and a reaper removes everything
//! even when the test process is killed.
//!
//! The cache is filled by `tests/tools/prepare`; a test asks for what it needs with [`tools::require`].
// Tests talk on stderr: skips, progress and measured tables are what a developer reads there.
#![allow(clippy::print_stderr)]

pub mod cache;
pub mod cell;
pub mod cgroup;
pub mod cluster;
pub mod clusters;
pub mod command;
pub mod explain;
pub mod haproxy;
pub mod inside;
pub mod machine;
pub mod made;
pub mod measure;
pub mod net;
pub mod node;
pub mod redact;
pub mod root;
pub mod run;
pub mod tools;
pub mod tree;
pub mod wait;
