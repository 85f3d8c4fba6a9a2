//! etcd's static pod: the staged template with three arguments filled in.

use super::state::{Map, token};
use anyhow::{Context as _, bail};
use nodekiln_plan::{EtcdMember, EtcdPlan, FileEntry, FileKind, NodeName, NodePlan};
use serde_json::Value;
use std::net::IpAddr;

/// What etcd is told about the cluster it starts in. With a log it looks at none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Found it together with all members of the map.
    New(&'a Map),
    /// There is a log: this member alone is named, so that without the log etcd dies and founds nothing.
    Existing,
}

/// The template's entry in the plan.
///
/// # Errors
/// The plan has none.
pub fn entry<'a>(plan: &'a NodePlan, etcd: &EtcdPlan) -> anyhow::Result<&'a FileEntry> {
    plan.files
        .iter()
        .find(|entry| entry.kind == FileKind::Decided && entry.path == etcd.manifest)
        .with_context(|| format!("the plan has no decided entry for {}", etcd.manifest))
}

/// Fills the template in. Same input, same bytes.
///
/// # Errors
/// The template is no pod with a command list.
pub fn fill(template: &[u8], etcd: &EtcdPlan, node: &NodeName, start: Start<'_>) -> anyhow::Result<Vec<u8>> {
    let mut pod: Value = serde_json::from_slice(template).context("reading etcd's manifest")?;
    let command = pod.pointer_mut("/spec/containers/0/command").and_then(Value::as_array_mut);
    let Some(command) = command else { bail!("etcd's manifest has no spec.containers[0].command") };
    let members: Vec<&EtcdMember> = match start {
        Start::New(_) => etcd.members.iter().collect(),
        Start::Existing => etcd.members.iter().filter(|member| member.name == *node).collect(),
    };
    let urls: Vec<String> =
        members.iter().map(|member| format!("{}={}", member.name, peer_url(etcd, member))).collect();
    set(command, "--initial-cluster", Some(urls.join(",")));
    match start {
        Start::New(map) => {
            set(command, "--initial-cluster-state", Some("new".to_owned()));
            set(command, "--initial-cluster-token", Some(token(map)));
        }
        Start::Existing => {
            set(command, "--initial-cluster-state", Some("existing".to_owned()));
            set(command, "--initial-cluster-token", None);
        }
    }
    let mut bytes = serde_json::to_vec_pretty(&pod).context("writing etcd's manifest")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn peer_url(etcd: &EtcdPlan, member: &EtcdMember) -> String {
    match member.address {
        IpAddr::V4(ip) => format!("https://{ip}:{}", etcd.peer_port),
        IpAddr::V6(ip) => format!("https://[{ip}]:{}", etcd.peer_port),
    }
}

/// Sets or removes one flag in an argument list. It stays where it stood; a new one goes to the end.
fn set(command: &mut Vec<Value>, flag: &str, value: Option<String>) {
    let is_flag = |argument: &Value| {
        argument.as_str().is_some_and(|text| text == flag || text.split_once('=').is_some_and(|(name, _)| name == flag))
    };
    let at = command.iter().position(is_flag).unwrap_or(command.len());
    command.retain(|argument| !is_flag(argument));
    if let Some(value) = value {
        command.insert(at.min(command.len()), Value::String(format!("{flag}={value}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> EtcdPlan {
        serde_json::from_value(serde_json::json!({
            "members": [{"name": "n1", "address": "10.0.0.1"}, {"name": "n2", "address": "fd00::2"}],
            "dataDir": "/var/lib/etcd", "manifest": "/etc/kubernetes/manifests/etcd.yaml",
            "clientPort": 2379, "peerPort": 2380, "statementPort": 2382,
            "ca": "/p/ca.crt", "peerCert": "/p/peer.crt", "peerKey": "/p/peer.key",
            "clientCert": "/p/c.crt", "clientKey": "/p/c.key", "apiServers": [], "apiCa": "/p/ca.crt"
        }))
        .unwrap()
    }

    fn arguments(bytes: &[u8]) -> Vec<String> {
        let pod: Value = serde_json::from_slice(bytes).unwrap();
        serde_json::from_value(pod["spec"]["containers"][0]["command"].clone()).unwrap()
    }

    #[test]
    fn three_arguments_and_no_more() {
        let template = br#"{"spec":{"containers":[{"command":["etcd","--initial-cluster=?","--name=n1"]}]}}"#;
        let map: Map = serde_json::from_str(r#"{"n1":"01010101010101010101010101010101"}"#).unwrap();
        let node = "n1".parse().unwrap();
        let new = arguments(&fill(template, &plan(), &node, Start::New(&map)).unwrap());
        assert_eq!(
            new[..4],
            [
                "etcd",
                "--initial-cluster=n1=https://10.0.0.1:2380,n2=https://[fd00::2]:2380",
                "--name=n1",
                "--initial-cluster-state=new"
            ]
        );
        assert!(new[4].starts_with("--initial-cluster-token=nodekiln-") && new.len() == 5);
        let again = fill(template, &plan(), &node, Start::Existing).unwrap();
        assert_eq!(
            arguments(&again),
            ["etcd", "--initial-cluster=n1=https://10.0.0.1:2380", "--name=n1", "--initial-cluster-state=existing"]
        );
        assert!(fill(b"{}", &plan(), &node, Start::Existing).is_err());
    }
}
