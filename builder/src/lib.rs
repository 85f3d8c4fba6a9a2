//! Builds immutable Kubernetes nodes: one cluster.yaml in, a boot payload per machine out.
//!
//! Data flows one way, with a type at every arrow: [`config`] parses and resolves cluster.yaml to a
//! [`config::Cluster`]; [`node`] plans a [`draft::NodeDraft`] per node from it and the components, without seeing a
//! key; [`pki`] opens the [`secrets`] to an authority and fills drafts to node trees; `nodekiln_payload` encodes those;
//! [`output`] stages the results and is the only part that writes.

pub mod bake;
pub mod bytes;
pub mod cli;
mod component;
pub mod config;
pub mod diff;
mod digest;
pub mod draft;
pub mod firstboot;
pub mod inspect;
pub mod node;
pub mod output;
mod parallel;
pub mod pki;
pub mod release;
pub mod secrets;
pub mod verify;
