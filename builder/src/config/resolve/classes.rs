//! Classes of nodes: what comes out the same for many of them is kept once.

use crate::config::{NodeClass, NodeIdentity};
use nodekiln_plan::{Role, Taint};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The classes that there are so far.
#[derive(Default)]
pub(super) struct Classes {
    all: HashSet<Arc<NodeClass>>,
    /// Those of nodes that lay nothing over the cluster's own values.
    plain: HashMap<Plain, Arc<NodeClass>>,
}

/// What such nodes differ by.
pub(super) type Plain = (Role, NodeIdentity, Vec<Taint>);

impl Classes {
    /// `class`, or the one that equals it and was there before.
    pub(super) fn one(&mut self, class: NodeClass) -> Arc<NodeClass> {
        if let Some(known) = self.all.get(&class) {
            return Arc::clone(known);
        }
        let class = Arc::new(class);
        self.all.insert(Arc::clone(&class));
        class
    }

    /// The same for a node that lays nothing over the cluster's own values: `make` is asked for the first of a kind.
    pub(super) fn plain(&mut self, plain: Plain, make: impl FnOnce() -> NodeClass) -> Arc<NodeClass> {
        if let Some(known) = self.plain.get(&plain) {
            return Arc::clone(known);
        }
        let class = self.one(make());
        self.plain.insert(plain, Arc::clone(&class));
        class
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load_str;
    use std::{
        fmt::Write as _,
        hash::{BuildHasher as _, RandomState},
        sync::Arc,
    };

    #[test]
    fn equal_nodes_are_of_one_class() {
        let mut text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
            os: {profile: cloud-init, users: [{name: a, passwordHash: $6$a$b}]}\nkubelet: {maxPods: 50}\nnodes:\n\
            \x20 - {name: cp, role: control-plane, address: 192.0.2.1}\n"
            .to_owned();
        for (number, own) in [
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
        ]
        .into_iter()
        .enumerate()
        {
            let _ = writeln!(text, "  - {{name: w{number}, role: worker, address: 192.0.2.1{number}, {own}}}");
        }
        let cluster = load_str("cluster.yaml", &text, None).unwrap().cluster;
        let class = |index: usize| &cluster.nodes[index].class;
        let first = |index: usize| (0..=index).find(|other| Arc::ptr_eq(class(*other), class(index))).unwrap();
        let firsts: Vec<_> = (0..cluster.nodes.len()).map(first).collect();
        assert_eq!(firsts, [0, 1, 1, 1, 4, 4, 6, 7, 7, 9, 10, 11, 11, 13, 10]);
    }

    /// Ten thousand machines with a file of their own each are looked up, not compared with one another.
    #[test]
    fn what_is_each_nodes_own_tells_classes_apart() {
        let node = |own: &str| {
            let text = format!(
                "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nos: {{profile: flatcar}}\n\
                 nodes: [{{name: a, role: control-plane, address: 192.0.2.1, os: {own}}}]\n"
            );
            load_str("cluster.yaml", &text, None).unwrap().cluster.nodes.remove(0).class
        };
        let hasher = RandomState::new();
        for pair in [
            ["{files: [{path: /a, content: x1}]}", "{files: [{path: /a, content: x2}]}"],
            ["{users: [{name: a, passwordHash: $6$a$b}]}", "{users: [{name: a, passwordHash: $6$a$c}]}"],
            [
                "{units: [{name: a.service, content: \"[Service]\\n\"}]}",
                "{units: [{name: a.service, content: \"[Install]\\n\"}]}",
            ],
        ] {
            let [a, b] = pair.map(|own| hasher.hash_one(&*node(own)));
            assert_ne!(a, b, "{pair:?}");
        }
    }
}
