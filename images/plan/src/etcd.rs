//! What a node with an etcd member knows of its cluster.

use crate::{file::AbsPath, name::NodeName, net::Endpoint};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A planned member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdMember {
    /// etcd's `--name`.
    pub name: NodeName,
    /// Where its peers and clients reach it.
    pub address: IpAddr,
}

/// etcd on this node. Ports are TCP; URLs are always https.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdPlan {
    /// All planned members, this one too, in the order of cluster.yaml.
    pub members: Vec<EtcdMember>,
    /// etcd's `--data-dir`.
    pub data_dir: AbsPath,
    /// The final path of the static pod manifest whose entry is marked decided.
    pub manifest: AbsPath,
    /// Client port (2379).
    pub client_port: u16,
    /// Peer port (2380).
    pub peer_port: u16,
    /// Port of firstboot's statement (2382).
    pub statement_port: u16,
    /// CA bundle that signs servers, peers and clients.
    pub ca: AbsPath,
    /// Peer certificate: used for the statement, as server and as client.
    pub peer_cert: AbsPath,
    /// Its key.
    pub peer_key: AbsPath,
    /// Client certificate for etcd's own API.
    pub client_cert: AbsPath,
    /// Its key.
    pub client_key: AbsPath,
    /// Where the cluster's API servers answer: one with a certificate by `api_ca` forbids to found a new cluster.
    pub api_servers: Vec<Endpoint>,
    /// CA bundle of the API servers.
    pub api_ca: AbsPath,
    /// The dead member whose place this one takes: it is none of `members`. Its address is this member's own where that is
    /// taken over too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<EtcdMember>,
    /// Where the file system that holds the data directory is mounted, if the payload mounts one: without it the directory
    /// is not empty but missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<AbsPath>,
}

/// A server of an etcd that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdServer {
    /// Its client port.
    pub endpoint: Endpoint,
    /// https, or else http.
    pub tls: bool,
}

/// An etcd that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalEtcdPlan {
    /// Its servers, in the order of cluster.yaml.
    pub servers: Vec<EtcdServer>,
    /// CA bundle of its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<AbsPath>,
    /// Client certificate; with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<AbsPath>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AbsPath>,
}
