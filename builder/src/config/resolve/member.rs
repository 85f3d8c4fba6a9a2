//! What only machines say of themselves: identity, disk, the member that they replace.

use super::{Cx, nodes::NodeFacts, pools::PoolFacts};
use crate::config::{
    NodeIdentity, Replaces, choices, code,
    diag::Finding,
    raw::{RawCluster, RawNode},
    read::{At, Field},
    shown::short,
};
use nodekiln_plan::{AbsPath, NodeName, Role};
use std::{collections::BTreeMap, net::IpAddr};

impl Cx<'_, '_> {
    /// identity and ttl.
    pub(super) fn identity(&mut self, at: &At<RawNode>, role: Option<Role>) -> Option<NodeIdentity> {
        let token = match &at.identity {
            Field::Given(identity) => self.choice(identity, &choices::IDENTITIES, &[])?,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) => false,
        };
        if !token {
            if let Some(ttl) = at.ttl.get() {
                let finding = Finding::new(code::IDENTITY, "`ttl` is the life of a bootstrap token, and there is none");
                self.found.error_at(&ttl.place, finding.hint("add `identity: bootstrap-token`, or leave `ttl` out"));
            }
            return Some(NodeIdentity::Baked);
        }
        let place = at.identity.get().map_or(&at.place, |identity| &identity.place);
        if let Some(role @ (Role::ControlPlane | Role::Etcd)) = role {
            let what = if role == Role::Etcd { "an etcd node" } else { "a control plane" };
            let finding = Finding::new(code::IDENTITY, format!("{what} cannot wait for an API server to know it"));
            self.found.error_at(place, finding.hint("leave `identity` out: its certificates are in its payload"));
        }
        if at.ttl.is_unset() {
            let finding = Finding::new(code::MISSING, "`ttl` is missing: how long the bootstrap token lives");
            self.found.error_at(place, finding.hint("write `ttl: 720h`, or `ttl: 0` for one that never ends"));
        }
        let ttl = at.ttl.get().and_then(|ttl| self.ttl(ttl))?;
        Some(NodeIdentity::BootstrapToken { ttl })
    }

    /// The disk of an installer.
    pub(super) fn disk(&mut self, at: &At<String>) -> Option<AbsPath> {
        let path = self.parse::<AbsPath>(at)?.value;
        let Some(device) = path.as_str().strip_prefix("/dev/") else {
            let finding = Finding::new(code::DISK, format!("`{}` is no disk: it does not lie below /dev", short(at)));
            self.found.error_at(&at.place, finding.hint("/dev/disk/by-id/ has names that stay"));
            return None;
        };
        let letters = device.strip_prefix("sd").filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        if letters.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric())) {
            let message = format!("`{}` may be another disk after a reboot", short(at));
            self.found.warning_at(&at.place, Finding::new(code::DISK, message).hint("name it by /dev/disk/by-id/"));
        }
        Some(path)
    }

    /// `NAME[@ADDRESS]`.
    pub(super) fn replaces(&mut self, at: &At<String>) -> Option<At<Replaces>> {
        let (name, address) = match at.value.split_once('@') {
            Some((name, address)) => (name, Some(address)),
            None => (at.value.as_str(), None),
        };
        let name = self.parse::<NodeName>(&At { value: name.to_owned(), place: at.place.clone() })?.value;
        let address = match address {
            Some(text) => Some(self.machine_address(&At { value: text.to_owned(), place: at.place.clone() })?.value),
            None => None,
        };
        Some(At { value: Replaces { name, address }, place: at.place.clone() })
    }

    /// Who may take whose place.
    pub(super) fn replacements(&mut self, raw: &RawCluster, facts: &[NodeFacts], pools: &[PoolFacts]) {
        let external = raw.etcd.get().is_some_and(|etcd| !etcd.external.is_unset());
        let dedicated = facts.iter().any(|node| node.role == Some(Role::Etcd));
        let mut seen: BTreeMap<NodeName, _> = BTreeMap::new();
        for node in facts {
            let Some(at) = &node.replaces else { continue };
            let member = !external
                && match node.role {
                    Some(Role::Etcd) | None => true,
                    Some(Role::ControlPlane) => !dedicated,
                    Some(Role::Worker) => false,
                };
            if !member {
                let finding = Finding::new(code::REPLACES, "this node runs no etcd member: it takes no member's place");
                self.found.error_at(
                    &at.place,
                    finding.hint("leave `replaces` out: a worker's name alone makes it that worker"),
                );
                continue;
            }
            let names = facts.iter().map(|node| &node.name).chain(pools.iter().map(|pool| &pool.name));
            if let Some(other) = names.flatten().find(|name| name.value == at.value.name) {
                let finding = Finding::new(code::REPLACES, format!("`{}` is still a node", at.value.name))
                    .second(other.place.span, "here")
                    .hint("`replaces` names a dead member; a machine that keeps the name needs none");
                self.found.error_at(&at.place, finding);
            }
            let owner = |address: IpAddr| {
                let others = facts.iter().filter(|other| !std::ptr::eq(*other, node));
                others.flat_map(|other| &other.addresses).find(|held| held.value == address)
            };
            if let Some((address, held)) = at.value.address.and_then(|address| Some((address, owner(address)?))) {
                let finding =
                    Finding::new(code::REPLACES, format!("{address} is another node's: the member is not dead"))
                        .second(held.place.span, "this node's");
                self.found.error_at(&at.place, finding);
            }
            self.once(&mut seen, at.value.name.clone(), &at.place, "this member's replacement");
        }
    }

    /// Nodes that run etcd alone have no Node object and no pods.
    pub(super) fn etcd_node(&mut self, at: &At<RawNode>) {
        let fields = [
            ("labels", at.labels.get().map(|at| &at.place)),
            ("taints", at.taints.get().map(|at| &at.place)),
            ("podCIDR", at.pod_cidr.get().map(|at| &at.place)),
        ];
        for (name, place) in fields {
            if let Some(place) = place {
                let finding =
                    Finding::new(code::ROLES, format!("an etcd node has no Node object: `{name}` has no meaning"));
                self.found.error_at(place, finding.hint("leave it out"));
            }
        }
    }
}
