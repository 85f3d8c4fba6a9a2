//! Planning: a cluster and one of its nodes in, a [`NodeDraft`] out. Pure, and without any key.

mod api;
mod binary;
mod class;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod own;
mod refusal;
mod spec;
mod tree;

pub use refusal::Refusal;

use crate::{
    bytes::Bytes,
    component::{ClassSite, Families, Site},
    config::{Arch, Cluster, Node, NodeClass},
    draft::{Blob, DraftFile, NodeDraft},
    pki::table::Holder,
    secrets::Shape,
};
use class::Class;
use nodekiln_payload::{Network, NetworkService, Unit};
use nodekiln_plan::Role;
use refusal::Fault;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tree::{ClassFile, ClassUnit};

/// What planning needs beside the cluster.
#[derive(Clone, Default)]
pub struct Sources {
    /// The firstboot program per architecture: embedded in the builder, or given by `--firstboot`.
    pub firstboot: BTreeMap<Arch, Bytes>,
    /// What secrets the cluster has: new ones, unless it is told otherwise.
    pub shape: Shape,
    /// What was hashed, by address.
    digests: Digests,
}

/// Large inputs with their digests, by the address of their bytes, which stay alive with it.
#[derive(Clone, Default)]
struct Digests(Arc<Mutex<BTreeMap<usize, Blob>>>);

impl Sources {
    /// From this size on bytes are hashed once, however many nodes have them.
    const LARGE: usize = 64 * 1024;

    /// With these programs.
    pub fn new(firstboot: BTreeMap<Arch, Arc<[u8]>>) -> Self {
        let firstboot = firstboot.into_iter().map(|(arch, bytes)| (arch, bytes.into())).collect();
        Self { firstboot, ..Self::default() }
    }

    /// With these programs, which are hashed.
    pub fn hashed(firstboot: impl IntoIterator<Item = (Arch, Blob)>) -> Self {
        let (mut programs, mut digests) = (BTreeMap::new(), BTreeMap::new());
        for (arch, program) in firstboot {
            programs.insert(arch, program.bytes.clone());
            digests.insert(program.bytes.as_ptr() as usize, program);
        }
        Self { firstboot: programs, shape: Shape::default(), digests: Digests(Arc::new(Mutex::new(digests))) }
    }

    /// `bytes` with their digest.
    pub(crate) fn blob(&self, bytes: impl Into<Bytes>) -> Blob {
        let bytes = bytes.into();
        if bytes.len() < Self::LARGE {
            return Blob::of(bytes);
        }
        let mut known = self.digests.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(bytes.as_ptr() as usize).or_insert_with(|| Blob::of(bytes)).clone()
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.firstboot.iter().map(|(arch, bytes)| (arch, bytes.len()))).finish()
    }
}

/// All of `node` but its keys. For many nodes, a [`Planner`] does what they share once.
///
/// # Errors
/// Everything about this node that cannot be planned, at once.
pub fn plan(cluster: &Cluster, node: &Node, sources: &Sources) -> Result<NodeDraft, Vec<Refusal>> {
    Planner::new(cluster, sources).plan(node)
}

/// Plans the nodes of a cluster. What the nodes of a class share is planned with the first of them and kept for the
/// others: each node costs what is its own.
pub struct Planner<'a> {
    cluster: &'a Cluster,
    sources: &'a Sources,
    classes: Mutex<VecDeque<(Key<'a>, Planned)>>,
}

/// A class, or why it cannot be planned.
type Planned = Arc<Result<Class, Vec<Fault>>>;

/// What a class's plan is made from, beside the cluster: that, and what else decides which files there are.
struct Key<'a> {
    class: &'a NodeClass,
    families: Families,
    has_network: bool,
}

impl PartialEq for Key<'_> {
    /// Classes by their place: `resolve` has made equal ones one.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.class, other.class)
            && self.families == other.families
            && self.has_network == other.has_network
    }
}

impl<'a> Planner<'a> {
    /// So many classes are kept: those that were asked for last.
    const MOST: usize = 64;

    /// For the nodes of `cluster`.
    pub fn new(cluster: &'a Cluster, sources: &'a Sources) -> Self {
        Self { cluster, sources, classes: Mutex::default() }
    }

    /// All of `node` but its keys.
    ///
    /// # Errors
    /// Everything about this node that cannot be planned, at once.
    pub fn plan(&self, node: &'a Node) -> Result<NodeDraft, Vec<Refusal>> {
        let refuse = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.of(node)).collect::<Vec<_>>();
        let mut faults = refusal::check(self.cluster, &node.class);
        faults.extend(refusal::own(node));
        let site = Site::new(self.cluster, node, &self.sources.shape);
        if site.is_none() {
            faults.push(refusal::release(self.cluster, &node.class));
        }
        let Some(site) = site.filter(|_| faults.is_empty()) else { return Err(refuse(faults)) };
        match &*self.class(&site) {
            Ok(class) => draft(&site, class).map_err(refuse),
            Err(faults) => Err(refuse(faults.clone())),
        }
    }

    /// What is known of the site's class.
    fn class(&self, site: &Site<'a>) -> Planned {
        let planned = || Arc::new(class::plan(site, self.sources));
        // Nobody will ask for it again.
        if Arc::strong_count(&site.node.class) == 1 {
            return planned();
        }
        // Named one by one: whatever a class's site gains has to tell classes apart, or to be the same for all.
        let ClassSite { cluster: _, class, release: _, kubelet: _, shape: _, families, has_network } = site.common;
        let key = Key { class, families, has_network };
        let known = |classes: &mut VecDeque<(Key<'a>, Planned)>| {
            let place = classes.iter().position(|(other, _)| *other == key)?;
            let found = classes.remove(place)?;
            let class = Arc::clone(&found.1);
            classes.push_back(found);
            Some(class)
        };
        if let Some(class) = known(&mut self.classes.lock().unwrap_or_else(PoisonError::into_inner)) {
            return class;
        }
        // Two threads may do this at once, and get the same: waiting would hold up the others' classes.
        let class = planned();
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known(&mut classes) {
            return class;
        }
        if classes.len() == Self::MOST {
            classes.pop_front();
        }
        classes.push_back((key, Arc::clone(&class)));
        class
    }
}

/// A node of this class.
fn draft(site: &Site, class: &Class) -> Result<NodeDraft, Vec<Fault>> {
    let (cluster, node) = (site.cluster, site.node);
    let mut faults = class.faults.clone();
    let mut files = Vec::with_capacity(class.own_files.len());
    for ClassFile { path, mode, kind, contents } in &class.own_files {
        match contents.contents(site) {
            Ok(contents) => files.push(DraftFile { path: path.clone(), mode: *mode, kind: *kind, contents }),
            Err(fault) => faults.push(fault),
        }
    }
    let api = match node.role {
        Role::ControlPlane => api::steps(site, &mut faults),
        Role::Worker | Role::Etcd => Vec::new(),
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let unit = |ClassUnit { unit, own }: &ClassUnit| {
        let text = own.as_ref().map(|own| own.text(site));
        Unit { contents: text.or_else(|| unit.contents.clone()), ..unit.clone() }
    };
    let network = node.network.as_ref().filter(|_| node.os.profile.network_service == NetworkService::CloudInit);
    Ok(NodeDraft {
        class: Arc::clone(&class.draft),
        spec: spec::spec(site),
        holder: Holder::of(cluster, node),
        files,
        units: class.own_units.iter().map(unit).collect(),
        links: Vec::new(),
        network: network.map(|network| Network {
            mac: node.mac.clone(),
            addresses: network.addresses.clone(),
            gateways: network.gateways.clone(),
            nameservers: network.nameservers.clone(),
        }),
        api,
    })
}

#[cfg(test)]
mod tests;
