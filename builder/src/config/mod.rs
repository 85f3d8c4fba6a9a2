//! cluster.yaml: parsed to a raw mirror, resolved to a [`Cluster`].

mod cluster;

pub use cluster::*;
