//! Findings in cluster.yaml about nodes that cannot be planned.

use super::terminal::Failure;
use crate::{
    bake::BakeError,
    config::{Diagnostics, Finding, Loaded, Origin, code},
    node::{Planner, Refusal, Sources},
    parallel,
};
use nodekiln_plan::NodeName;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

/// Plans every node and pool, and drops the plans: those of many nodes are large, and made again faster than kept.
///
/// # Errors
/// All findings of all nodes at once, with the warnings that `loaded` has.
pub fn check(loaded: &Loaded, sources: &Sources) -> Result<(), Failure> {
    let refused = Mutex::new(BTreeMap::new());
    let payloads: Vec<_> = loaded.cluster.payloads().collect();
    let planner = Planner::new(&loaded.cluster, sources);
    parallel::each(payloads.len(), |index| {
        if let Err(refusals) = planner.plan(payloads[index]) {
            refused.lock().unwrap_or_else(PoisonError::into_inner).insert(index, refusals);
        }
        ControlFlow::Continue(())
    });
    let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    if refused.is_empty() {
        return Ok(());
    }
    Err(findings(loaded, loaded.warnings.clone(), refused))
}

/// Findings in cluster.yaml about the payloads, by their index, that cannot be planned. Warnings have been printed.
pub fn refused(loaded: &Loaded, refused: BTreeMap<usize, Vec<Refusal>>) -> Failure {
    findings(loaded, Diagnostics::new(loaded.warnings.source().clone()), refused)
}

fn findings(loaded: &Loaded, mut found: Diagnostics, refused: BTreeMap<usize, Vec<Refusal>>) -> Failure {
    let mut told = BTreeSet::new();
    let payloads: Vec<_> = loaded.cluster.payloads().collect();
    // What no field says is the same for many nodes: one finding for all of them, at the first.
    let mut unsaid: BTreeMap<Unsaid, (Origin, Vec<&str>)> = BTreeMap::new();
    for (index, refusals) in refused {
        let place = loaded.places.payload(index).unwrap_or_default();
        for Refusal { field, message, hint, .. } in refusals {
            let said = loaded.places.field(index, &field);
            let for_all = said.as_ref().is_some_and(|origin| origin.path == field);
            let origin = match said {
                // Every node says the same about it.
                _ if (for_all || is_clusters_own(&field)) && !told.insert((field.clone(), message.clone())) => continue,
                Some(origin) => origin,
                None if is_clusters_own(&field) => Origin { span: place.span, path: field },
                None => {
                    let origin = Origin { span: place.span, path: format!("{}.{field}", place.path) };
                    let nodes = &mut unsaid.entry((field, message, hint)).or_insert((origin, Vec::new())).1;
                    nodes.push(payloads[index].name.as_str());
                    continue;
                }
            };
            found.error(&origin, finding(message, hint));
        }
    }
    for ((_, message, hint), (origin, nodes)) in unsaid {
        let message = if nodes.len() > 1 { format!("{message}, for {}", listed(&nodes)) } else { message };
        found.error(&origin, finding(message, hint));
    }
    found.sort();
    Failure::Findings(Box::new(found))
}

/// Field, message and hint of what no field says.
type Unsaid = (String, String, Option<String>);

fn finding(message: String, hint: Option<String>) -> Finding {
    let finding = Finding::new(code::PLAN, message);
    if let Some(hint) = hint { finding.hint(hint) } else { finding }
}

/// How many nodes these are, and the first of their names.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let (count, shown) = (names.len(), names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "));
    match count.checked_sub(SHOWN) {
        None | Some(0) => format!("{count} nodes: {shown}"),
        Some(more) => format!("{count} nodes: {shown} and {more} more"),
    }
}

/// Whether no node says this field itself.
fn is_clusters_own(field: &str) -> bool {
    const OWN: [&str; 5] = ["certificatesDir", "etcd", "apiServer", "controllerManager", "scheduler"];
    OWN.contains(&field.split('.').next().unwrap_or_default())
}

/// Findings in cluster.yaml about payloads that could not be made: what shows only when keys are filled in.
pub fn unbaked(loaded: &Loaded, errors: &[BakeError]) -> Failure {
    // Its warnings have been printed.
    let mut found = Diagnostics::new(loaded.warnings.source().clone());
    let mut add = |node: Option<&NodeName>, finding| {
        let index = loaded.cluster.payloads().position(|other| Some(&other.name) == node);
        let origin = index.and_then(|index| loaded.places.payload(index)).unwrap_or_default();
        found.error(&origin, finding);
    };
    // Payloads that are too large for one platform: the largest tells what to do about all of them.
    let mut large: BTreeMap<&str, Vec<(usize, &NodeName, &BakeError)>> = BTreeMap::new();
    for error in errors {
        match error {
            BakeError::Budget { platform, size, node, .. } => {
                large.entry(platform).or_default().push((*size, node, error));
            }
            other => add(other.node(), other.finding()),
        }
    }
    for payloads in large.into_values() {
        let Some((_, largest, error)) = payloads.iter().max_by_key(|(size, ..)| *size) else { continue };
        let names: Vec<_> = payloads.iter().map(|(_, node, _)| node.as_str()).collect();
        let finding = match names.len() {
            1 => error.finding(),
            _ => error.finding().and(&format!("too large are {}", listed(&names))),
        };
        add(Some(largest), finding);
    }
    found.sort();
    Failure::Findings(Box::new(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, node::fixture};

    #[test]
    fn the_clusters_own_fields_are_told_once() {
        let text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
            controlPlaneEndpoint: api.example:6443\nos: {profile: cloud-init}\n\
            apiServer: {extraVolumes: [{name: x, hostPath: /x, mountPath: /etc/ssl/certs}]}\nnodes:\n\
            \x20 - {name: a, role: control-plane, address: 192.0.2.1}\n\
            \x20 - {name: b, role: control-plane, address: 192.0.2.2}\n\
            \x20 - {name: w, role: worker, address: 192.0.2.3, os: {arch: arm64}}\n";
        let loaded = config::load_str("cluster.yaml", text, None).unwrap();
        let Err(Failure::Findings(found)) = check(&loaded, &fixture::sources()) else { panic!("it was planned") };
        let paths: Vec<_> = found.iter().filter(|f| f.code == code::PLAN).map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["apiServer.extraVolumes", "nodes[2].binaries.firstboot"]);
    }

    #[test]
    fn what_no_node_says_is_told_once() {
        let mut text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
            os: {profile: cloud-init}\nnodes:\n  - {name: cp, role: control-plane, address: 192.0.2.1}\n"
            .to_owned();
        for n in 2..9 {
            text.push_str(&format!("  - {{name: w{n}, role: worker, address: 192.0.2.{n}, os: {{arch: arm64}}}}\n"));
        }
        let loaded = config::load_str("cluster.yaml", &text, None).unwrap();
        let Err(Failure::Findings(found)) = check(&loaded, &fixture::sources()) else { panic!("it was planned") };
        let said: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.message.as_str())).collect();
        let due = "this builder holds no firstboot for arm64, for 7 nodes: w2, w3, w4, w5, w6 and 2 more";
        assert_eq!(said, [("nodes[1].binaries.firstboot", due)]);
    }

    #[test]
    fn payloads_that_are_too_large_are_told_once() {
        let text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
            os: {profile: cloud-init}\nnodes:\n  - {name: a, role: control-plane, address: 192.0.2.1}\n\
            \x20 - {name: b, role: worker, address: 192.0.2.2}\n  - {name: c, role: worker, address: 192.0.2.3}\n";
        let loaded = config::load_str("cluster.yaml", text, None).unwrap();
        let error = |node: &str, platform, size| BakeError::Budget {
            node: node.parse().unwrap(),
            platform,
            size,
            limit: 1,
            largest: "x".to_owned(),
            advice: "less",
        };
        let errors = [error("a", "aws", 9), error("b", "aws", 12), error("c", "gcp", 3)];
        let Failure::Findings(found) = unbaked(&loaded, &errors) else { panic!("they are findings") };
        let said: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.message.as_str(), f.code)).collect();
        let [(first, message, code::BUDGET), (second, other, code::BUDGET)] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!((*first, *second), ("nodes[1]", "nodes[2]"));
        assert!(message.contains("b: the payload has 12 bytes") && message.ends_with("too large are 2 nodes: a, b"));
        assert!(other.contains("c: the payload has 3 bytes") && !other.contains("too large are"), "{other}");
    }

    #[test]
    fn findings_point_at_what_was_said() {
        let archive = format!("{{url: 'https://files.example/a.tgz', sha256: '{}'}}", "0".repeat(64));
        let text = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
             os: {{profile: cloud-init}}\nbinaries:\n  runc: {archive}\n  kubelet: {archive}\nnodes:\n\
             \x20 - {{name: a, role: control-plane, address: 192.0.2.1}}\n\
             \x20 - name: b\n    role: worker\n    address: 192.0.2.2\n    binaries:\n      kubelet: {archive}\n\
             \x20     firstboot: {archive}\n"
        );
        let loaded = config::load_str("cluster.yaml", &text, None).unwrap();
        let Err(Failure::Findings(found)) = check(&loaded, &fixture::sources()) else { panic!("it was planned") };
        let places: Vec<_> =
            found.iter().filter(|f| f.code == code::PLAN).map(|f| format!("{} {}", f.path, f.line)).collect();
        assert_eq!(
            places,
            [
                // What the cluster says for all is told once.
                "binaries.runc 6",
                "binaries.kubelet 7",
                "nodes[1].binaries.kubelet 10",
                "nodes[1].binaries.firstboot 15",
            ]
        );
    }
}
