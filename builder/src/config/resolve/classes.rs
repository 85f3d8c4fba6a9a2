//! Classes of nodes: what comes out the same for many of them is kept once.

use crate::config::{NodeClass, NodeIdentity, NodeKind};
use nodekiln_plan::{KubernetesVersion, Role};
use std::{collections::HashMap, sync::Arc};

/// The classes that there are so far.
#[derive(Default)]
pub(super) struct Classes(HashMap<Key, Arc<NodeClass>>);

/// What classes differ by. What is said alike of a part is one: where it is in memory tells it, as long as its class is here.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: NodeKind,
    identity: NodeIdentity,
    role: Role,
    version: KubernetesVersion,
    parts: [usize; 6],
}

impl Classes {
    /// `class`, or the one that equals it and was there before.
    pub(super) fn one(&mut self, class: NodeClass) -> Arc<NodeClass> {
        let NodeClass {
            kind,
            identity,
            role,
            taints,
            version,
            kubelet,
            kubelet_extra_args,
            ignore_preflight_errors: _,
            kernel,
            os,
            binaries,
        } = &class;
        let parts = [
            taints.address(),
            kubelet.address(),
            kubelet_extra_args.address(),
            kernel.address(),
            os.address(),
            binaries.address(),
        ];
        let key = Key { kind: *kind, identity: *identity, role: *role, version: *version, parts };
        Arc::clone(self.0.entry(key).or_insert_with(|| Arc::new(class)))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Diagnostics, Failure, load_str};
    use std::{fmt::Write as _, sync::Arc};

    /// A file with `own` values of the cluster's, a control plane, and a worker for each of `workers` with what it says.
    fn file(own: &str, workers: &[&str]) -> String {
        let mut text = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n{own}\nnodes:\n\
             \x20 - {{name: cp, role: control-plane, address: 192.0.2.1}}\n"
        );
        for (number, own) in workers.iter().enumerate() {
            let _ = writeln!(text, "  - {{name: w{number}, role: worker, address: 192.0.2.1{number}, {own}}}");
        }
        text
    }

    fn findings(text: &str) -> Diagnostics {
        match load_str("cluster.yaml", text, None) {
            Err(Failure::Findings(found)) => found,
            _ => panic!("it is wrong"),
        }
    }

    #[test]
    fn equal_nodes_are_of_one_class() {
        let own = "os: {profile: cloud-init, users: [{name: a, passwordHash: $6$a$b}]}\nkubelet: {maxPods: 50}";
        let workers = [
            "",
            "labels: {a: b}, mac: '52:54:00:00:00:01'",
            "kubelet: {maxPods: 50}",
            "kubelet: {maxPods: 51}",
            "kubelet: {maxPods: 51}, kubernetesVersion: v1.36.3",
            "os: {files: [{path: /a, content: x}]}",
            "os: {files: [{path: /a, content: y}]}",
            "os: {files: [{path: /a, content: y}]}",
            "os: {users: [{name: a, passwordHash: $6$a$c}]}",
            "taints: ['a=b:NoSchedule']",
            "identity: bootstrap-token, ttl: 720h",
            "identity: bootstrap-token, ttl: 720h, os: {}",
            "identity: bootstrap-token, ttl: 0",
            "taints: ['a=b:NoSchedule'], kernel: {}",
        ];
        let cluster = load_str("cluster.yaml", &file(own, &workers), None).unwrap().cluster;
        let class = |index: usize| &cluster.nodes[index].class;
        let first = |index: usize| (0..=index).find(|other| Arc::ptr_eq(class(*other), class(index))).unwrap();
        let firsts: Vec<_> = (0..cluster.nodes.len()).map(first).collect();
        assert_eq!(firsts, [0, 1, 1, 1, 4, 4, 6, 7, 7, 9, 10, 11, 11, 13, 10]);
    }

    /// What one part of a layer says leaves the others to be shared, and is shared itself.
    #[test]
    fn parts_of_nodes_that_differ_are_one() {
        let own = "os: {profile: flatcar, files: [{path: /b, content: x}]}";
        let workers = [
            "kubelet: {maxPods: 50}",
            "kubelet: {maxPods: 51}, os: {files: [{path: /a, content: x}]}",
            "kubelet: {maxPods: 50}, os: {files: [{path: /a, content: x}]}, labels: {a: b}",
            "labels: {a: b}, taints: ['a=b:NoSchedule'], kernel: {swap: true}",
            "taints: ['a=b:NoSchedule']",
        ];
        let nodes = load_str("cluster.yaml", &file(own, &workers), None).unwrap().cluster.nodes;
        assert!(nodes[0].os.is(&nodes[1].os) && nodes[0].binaries.is(&nodes[4].binaries));
        assert!(nodes[2].os.is(&nodes[3].os) && !nodes[1].os.is(&nodes[2].os));
        assert!(nodes[1].kubelet.is(&nodes[3].kubelet) && !nodes[1].kubelet.is(&nodes[2].kubelet));
        assert!(nodes[3].labels.is(&nodes[4].labels) && nodes[0].labels.is(&nodes[5].labels));
        assert!(nodes[4].taints.is(&nodes[5].taints) && !nodes[4].kernel.is(&nodes[5].kernel));
        // Of the cluster's own files, nodes that add others have references.
        assert!(nodes[0].os.files[0].is(&nodes[2].os.files[1]));
    }

    /// Also where there is no profile to lay them over.
    #[test]
    fn programs_are_judged_without_a_profile() {
        for os in ["{}", "[]", "{profile: zzz}", "{arch: amd64}"] {
            let text = format!(
                "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nnodes:\n\
                 \x20 - {{name: cp, role: control-plane, address: 192.0.2.1, os: {os}, binaries: {{kubelet: {{path: a}}}}}}\n"
            );
            let found = findings(&text);
            let found: Vec<_> = found.iter().map(|d| d.path.as_str()).collect();
            let due = match os {
                "[]" => "nodes[0].os",
                "{profile: zzz}" => "nodes[0].os.profile",
                _ => "nodes[0]",
            };
            assert_eq!(
                found.iter().filter(|path| **path == "nodes[0].binaries.kubelet.path").count(),
                1,
                "{os}: {found:?}"
            );
            assert_eq!((found.len(), found.contains(&due)), (2, true), "{os}: {found:?}");
        }
    }

    /// Keys of the kubelet's stand in excerpts of every node that says them.
    #[test]
    fn what_is_laid_once_is_shown_of_each() {
        let own = "kubelet: {logging: {flushFrequency: 5}}, bogus: 1";
        let found = findings(&file("os: {profile: flatcar}", &[own, own]));
        assert_eq!(found.to_string().matches("kubelet: {logging: {flushFrequency: ****").count(), 2, "{found}");
    }

    /// It is laid once for all, and told of each.
    #[test]
    fn what_is_wrong_alike_is_told_of_each() {
        let own = "kubelet: {cgroupDriver: a}, os: {files: [{path: /proc/x, content: y}]}, kernel: {modules: [a, a]}, \
            binaries: {kubelet: {path: a}}, kubeletExtraArgs: [{name: --a, value: b}]";
        let found = findings(&file("os: {profile: flatcar}", &[own; 3]));
        for part in ["kubelet", "os", "kernel", "binaries", "kubeletExtraArgs"] {
            for number in 1..4 {
                let above = format!("nodes[{number}].{part}");
                let below = |path: &str| path.strip_prefix(&above).is_some_and(|rest| rest.starts_with(['.', '[']));
                assert_eq!(found.iter().filter(|d| below(&d.path)).count(), 1, "{above}: {found}");
            }
        }
    }
}
