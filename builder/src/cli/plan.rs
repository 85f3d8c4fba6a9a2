//! Findings in cluster.yaml about nodes that cannot be planned.

use super::terminal::Failure;
use crate::{
    bake::BakeError,
    config::{Diagnostics, Finding, Loaded, Origin, code},
    node::{self, Sources},
    parallel,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

/// Plans every node and pool, and drops the plans: those of many nodes are large, and made again faster than kept.
///
/// # Errors
/// All findings of all nodes at once, with the warnings that `loaded` had.
pub fn check(loaded: &mut Loaded, sources: &Sources) -> Result<(), Failure> {
    let refused = Mutex::new(BTreeMap::new());
    let nodes: Vec<_> = loaded.cluster.payloads().collect();
    parallel::each(nodes.len(), |index| {
        if let Err(refusals) = node::plan(&loaded.cluster, nodes[index], sources) {
            refused.lock().unwrap_or_else(PoisonError::into_inner).insert(index, refusals);
        }
        ControlFlow::Continue(())
    });
    let mut told = BTreeSet::new();
    for (index, refusals) in refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let place = loaded.places.payloads.get(index).cloned().unwrap_or_default();
        for refusal in refusals {
            let said = loaded.places.field(index, &refusal.field);
            let for_all = said.as_ref().is_some_and(|origin| origin.path == refusal.field);
            let origin = match for_all || is_clusters_own(&refusal.field) {
                // Every node says the same about it.
                true if !told.insert((refusal.field.clone(), refusal.message.clone())) => continue,
                true => said.unwrap_or(Origin { span: place.span, path: refusal.field }),
                false => said
                    .unwrap_or_else(|| Origin { span: place.span, path: format!("{}.{}", place.path, refusal.field) }),
            };
            let mut finding = Finding::new(code::PLAN, refusal.message);
            if let Some(hint) = refusal.hint {
                finding = finding.hint(hint);
            }
            loaded.warnings.error(&origin, finding);
        }
    }
    if loaded.warnings.has_errors() {
        loaded.warnings.sort();
        return Err(Failure::Findings(Box::new(loaded.warnings.clone())));
    }
    Ok(())
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
    for error in errors {
        let index = loaded.cluster.payloads().position(|node| Some(&node.name) == error.node());
        let origin = index.and_then(|index| loaded.places.payloads.get(index)).cloned().unwrap_or_default();
        found.error(&origin, error.finding());
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
        let mut loaded = config::load_str("cluster.yaml", text, None).unwrap();
        let Err(Failure::Findings(found)) = check(&mut loaded, &fixture::sources()) else { panic!("it was planned") };
        let paths: Vec<_> = found.iter().filter(|f| f.code == code::PLAN).map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["apiServer.extraVolumes", "nodes[2].binaries.firstboot"]);
    }

    #[test]
    fn findings_point_at_what_was_said() {
        let archive = format!("{{url: 'https://files.example/a.tgz', sha256: '{}'}}", "0".repeat(64));
        let text = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
             os: {{profile: cloud-init}}\nbinaries:\n  runc: {archive}\n  kubelet: {archive}\nnodes:\n\
             \x20 - {{name: a, role: control-plane, address: 192.0.2.1}}\n\
             \x20 - name: b\n    role: worker\n    address: 192.0.2.2\n    binaries:\n      kubelet: {archive}\n\
             \x20     containerd: {archive}\n"
        );
        let mut loaded = config::load_str("cluster.yaml", &text, None).unwrap();
        let Err(Failure::Findings(found)) = check(&mut loaded, &fixture::sources()) else { panic!("it was planned") };
        let places: Vec<_> =
            found.iter().filter(|f| f.code == code::PLAN).map(|f| format!("{} {}", f.path, f.line)).collect();
        assert_eq!(
            places,
            [
                // What the cluster says for all is told once.
                "binaries.runc 6",
                "binaries.kubelet 7",
                "nodes[1].binaries.kubelet 10",
                "nodes[1].binaries.containerd 15",
            ]
        );
    }
}
