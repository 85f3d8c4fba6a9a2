//! pools[]: many machines with one payload.

use super::{
    Cx,
    layers::{Base, Own},
    nodes::{Marks, Profiles, Shared},
};
use crate::{
    component::kubelet::label_is_free,
    config::{
        Common, Node, NodeIdentity, NodeKind, code,
        diag::Finding,
        raw::{RawCluster, RawPool},
        read::{At, Place},
        shown::short,
        values::Ttl,
        yaml::NodeId,
    },
};
use nodekiln_plan::{NodeName, Role, Taint};
use std::collections::BTreeMap;

/// Whatever of a pool is sound.
pub(super) struct PoolFacts {
    pub(super) place: Place,
    pub(super) name: Option<At<NodeName>>,
    /// `None` where it is faulty.
    ttl: Option<Option<i64>>,
    labels: Common<BTreeMap<String, String>>,
    taints: Common<Vec<Taint>>,
    /// All that it says.
    node: NodeId,
}

impl Cx<'_, '_> {
    /// `names`: those of the nodes, which no pool may have.
    pub(super) fn pool_facts(
        &mut self,
        raw: &RawCluster,
        mut names: BTreeMap<NodeName, Place>,
        marks: &mut Marks,
    ) -> Vec<PoolFacts> {
        /// A machine without a name of its own gets the pool's, `-` and 8 digits, and Node names end at 63 characters.
        const LONGEST: usize = 63 - 9;
        let mut pools = Vec::new();
        for At { value: pool, place } in raw.pools.get().into_iter().flat_map(|list| &list.value) {
            let read: Option<RawPool> = self.again(|reader| pool.get(reader, place));
            let Some(value) = read else { continue };
            let at = At { value, place: place.clone() };
            let name = at.name.required("name", &at.place, self.found).and_then(|name| self.parse::<NodeName>(name));
            if let Some(name) = &name {
                self.once(&mut names, name.value.clone(), &name.place, "this node's name");
                if name.value.as_str().len() > LONGEST {
                    let finding = Finding::new(code::VALUE, format!("a pool's name has at most {LONGEST} characters"));
                    self.found.error_at(&name.place, finding.hint("its machines' names are made of it"));
                }
            }
            let ttl = at.ttl.required("ttl", &at.place, self.found).and_then(|ttl| self.ttl(ttl));
            let labels = self.labels(&at.labels);
            for (key, _) in at.labels.get().into_iter().flat_map(|map| &map.value.0) {
                if labels.contains_key(&key.value) && !label_is_free(&key.value) {
                    let message = format!("a kubelet may not give itself the label `{}`", short(&key.value));
                    let finding = Finding::new(code::LABEL, message)
                        .hint("NodeRestriction forbids it, and nobody else knows a pool's machines: take another name");
                    self.found.error_at(&key.place, finding);
                }
            }
            let place = match at.name.get() {
                Some(name) => Place { span: name.place.span, path: at.place.path.clone() },
                None => at.place.clone(),
            };
            let labels = marks.labels.one(labels);
            let taints = marks.taints.one(self.taints(&at.taints, Some(Role::Worker)));
            pools.push(PoolFacts { place, name, ttl, labels, taints, node: pool.node() });
        }
        pools
    }

    /// The life of a bootstrap token in seconds. The inner `None`: it never ends.
    pub(super) fn ttl(&mut self, at: &At<Ttl>) -> Option<Option<i64>> {
        if at.value.0 == "0" {
            return Some(None);
        }
        let text = At { value: at.value.0.clone(), place: at.place.clone() };
        self.more_than_zero(&text, "write the token's life, such as 720h, or `0` for one that never ends").map(Some)
    }

    /// `cni: bridge` bakes a route to every node.
    pub(super) fn bridge_pools(&mut self, raw: &RawCluster) {
        let Some(pools) = raw.pools.get().filter(|pools| !pools.value.is_empty()) else { return };
        let said = raw.addons.get().and_then(|addons| addons.cni.get());
        let finding =
            Finding::new(code::BRIDGE, "`cni: bridge` needs every node's address, and a pool's are not known");
        let finding = match said {
            Some(cni) => finding.second(cni.place.span, "bridge"),
            None => finding,
        };
        self.found.error_at(&pools.place, finding.hint("take `cni: flannel`, or `none` and a network add-on"));
    }

    pub(super) fn assemble_pools(
        &mut self,
        raw: &RawCluster,
        facts: Vec<PoolFacts>,
        base: &mut Base,
        shared: &Shared<'_>,
    ) -> (Option<Vec<Node>>, Profiles) {
        let mut profiles = Profiles::new();
        if matches!(raw.pools, crate::config::read::Field::Faulty) {
            return (None, profiles);
        }
        let count = raw.pools.get().map_or(0, |list| list.value.len());
        let mut pools = Vec::with_capacity(count);
        for pool in facts {
            let own = Own::of(self.tree, pool.node, &pool.place);
            let layers = self.layers(&own, base, &pool.place, Some(Role::Worker), shared);
            let Some(layers) = layers else { continue };
            profiles.push((layers.os.profile, pool.place));
            let (Some(name), Some(ttl)) = (pool.name, pool.ttl) else { continue };
            let identity = NodeIdentity::BootstrapToken { ttl };
            let class = base.class(NodeKind::Pool, identity, Role::Worker, pool.taints, layers);
            let Some(class) = class else { continue };
            pools.push(Node {
                disk: None,
                replaces: None,
                name: name.value,
                addresses: Vec::new(),
                mac: None,
                uuid: None,
                network: None,
                labels: pool.labels,
                pod_cidrs: Vec::new(),
                class,
            });
        }
        ((pools.len() == count).then_some(pools), profiles)
    }
}
