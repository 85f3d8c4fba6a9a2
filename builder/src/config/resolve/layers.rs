//! What nodes and pools lay over the cluster's own values.
//!
//! What is said alike is laid over them once, whoever says it: of ten thousand machines most say what others do, and each
//! layer may be as large as all of cluster.yaml.

use super::{
    Cx,
    binaries::BinariesLayer,
    classes::Classes,
    component::{merge, merge_args, without_nulls},
    kernel::KernelLayer,
    nodes::Shared,
    os::OsLayer,
    owned,
};
use crate::config::{
    Arg, Binaries, Common, Fragment, FragmentText, Kernel, Os, code,
    common::Known,
    diag::{Diagnostics, Finding},
    object::Object,
    raw::{List, RawArg, RawBinaries, RawCluster, RawOs},
    read::{At, Field, Place, Read, Reader, place_of},
    source::Source,
    values::Version,
    yaml::{NodeId, Tree, View},
};
use nodekiln_plan::{KubernetesVersion, Role, Sha256};
use std::collections::HashMap;

/// How much of the cluster's own values may be copied for nodes that lay something over them, in units of 32 bytes: a
/// hundred small values for each of ten thousand machines that all differ.
const MOST_COPIED: usize = 1_000_000;

/// The cluster's own values.
pub(super) struct Base {
    os: OsLayer,
    kernel: KernelLayer,
    binaries: BinariesLayer,
    args: Vec<Arg>,
    kubelet: Fragment,
    pub(super) ignored: Common<Vec<String>>,
    laid: Laid,
    copied: usize,
    /// The classes of those that are laid over it.
    pub(super) classes: Classes,
}

/// What came of what was said, by its digest; `None` where nothing was.
#[derive(Default)]
struct Laid {
    os: Memo<Os>,
    kernel: Memo<Kernel>,
    args: Memo<Vec<Arg>>,
    kubelet: Memo<FragmentText>,
    kubelets: Known<FragmentText>,
    /// With the profile, whose places are below.
    binaries: HashMap<(Option<Sha256>, &'static str), Common<Binaries>>,
}

type Memo<T> = HashMap<Option<Sha256>, Common<T>>;

/// A part of a layer.
struct Said {
    node: NodeId,
    place: Place,
    /// Of what it says.
    digest: Sha256,
}

/// What a node or pool says itself.
#[derive(Default)]
pub(super) struct Own {
    version: Option<Said>,
    os: Option<Said>,
    kubelet: Option<Said>,
    args: Option<Said>,
    kernel: Option<Said>,
    binaries: Option<Said>,
}

impl Own {
    /// What the mapping `node` says. Like no value at all, an empty one leaves all as it is.
    pub(super) fn of(tree: &Tree<'_>, node: NodeId, place: &Place) -> Self {
        let mut own = Self::default();
        let View::Map(entries) = tree.view(node) else { return own };
        for entry in entries {
            let part = match entry.key.as_ref() {
                "kubernetesVersion" => &mut own.version,
                "os" => &mut own.os,
                "kubelet" => &mut own.kubelet,
                "kubeletExtraArgs" => &mut own.args,
                "kernel" => &mut own.kernel,
                "binaries" => &mut own.binaries,
                _ => continue,
            };
            let place = place_of(tree, entry.value, entry.key_span, place.path.key(&entry.key));
            *part = tree.said(entry.value).map(|digest| Said { node: entry.value, place, digest });
        }
        own
    }

    /// Where its `updates` are said.
    pub(super) fn os(&self, tree: &Tree<'_>) -> Field<RawOs> {
        read(tree, self.os.as_ref())
    }
}

/// Reads a part. What is wrong with it was told when the whole file was read.
fn read<T: Read>(tree: &Tree<'_>, said: Option<&Said>) -> Field<T> {
    let Some(said) = said else { return Field::Absent };
    let mut told = Diagnostics::new(Source::new("", ""));
    Reader { tree, found: &mut told }.field(said.node, said.place.clone())
}

fn digest(said: Option<&Said>) -> Option<Sha256> {
    said.map(|said| said.digest)
}

/// Both, laid over each other.
pub(super) struct Layers {
    /// `None` where it is faulty.
    pub(super) version: Option<KubernetesVersion>,
    pub(super) os: Common<Os>,
    pub(super) kubelet: Common<FragmentText>,
    pub(super) args: Common<Vec<Arg>>,
    pub(super) kernel: Common<Kernel>,
    pub(super) binaries: Common<Binaries>,
}

impl Cx<'_, '_> {
    pub(super) fn base(&mut self, raw: &RawCluster, shared: &Shared<'_>) -> Base {
        let families = shared.networking.families();
        Base {
            os: self.os_layer(&raw.os),
            kernel: self.kernel_layer(&raw.kernel, families),
            binaries: self.binaries_layer(&raw.binaries),
            args: self.args(&raw.kubelet_extra_args, owned::KUBELET_FLAGS),
            kubelet: without_nulls(shared.kubelet),
            ignored: self.ignored_checks(&raw.ignore_preflight_errors).into(),
            laid: Laid::default(),
            copied: 0,
            classes: Classes::default(),
        }
    }

    /// `None` without a profile. Whatever else is faulty has been reported.
    pub(super) fn layers(
        &mut self,
        own: &Own,
        base: &mut Base,
        place: &Place,
        role: Option<Role>,
        shared: &Shared<'_>,
    ) -> Option<Layers> {
        let os = self.lay_os(own.os.as_ref(), base, place, shared);
        let kernel = self.lay_kernel(own.kernel.as_ref(), base, place, shared)?;
        let args = self.lay_args(own.args.as_ref(), base, place)?;
        let kubelet = self.lay_kubelet(own.kubelet.as_ref(), base, place, shared)?;
        let version = match read(self.tree, own.version.as_ref()) {
            Field::Given(text) => self.node_version(&text, shared.version, role),
            _ => shared.version,
        };
        let os = os?;
        let binaries = self.lay_binaries(own.binaries.as_ref(), base, &os);
        Some(Layers { version, os, kubelet, args, kernel, binaries })
    }

    fn lay_os(
        &mut self,
        said: Option<&Said>,
        base: &mut Base,
        place: &Place,
        shared: &Shared<'_>,
    ) -> Option<Common<Os>> {
        if let Some(known) = base.laid.os.get(&digest(said)) {
            return Some(known.clone());
        }
        self.may_copy(said, base, base.os.weight(), place)?;
        let told = self.found.told();
        let own = self.os_layer(&read(self.tree, said));
        let os: Common<_> = self.os(&own, &base.os, place, shared)?.into();
        self.keep(said, told, &mut base.laid.os, &os);
        Some(os)
    }

    fn lay_kernel(
        &mut self,
        said: Option<&Said>,
        base: &mut Base,
        place: &Place,
        shared: &Shared<'_>,
    ) -> Option<Common<Kernel>> {
        if let Some(known) = base.laid.kernel.get(&digest(said)) {
            return Some(known.clone());
        }
        self.may_copy(said, base, base.kernel.weight(), place)?;
        let told = self.found.told();
        let own = self.kernel_layer(&read(self.tree, said), shared.networking.families());
        let kernel = own.over(&base.kernel).into();
        self.keep(said, told, &mut base.laid.kernel, &kernel);
        Some(kernel)
    }

    fn lay_args(&mut self, said: Option<&Said>, base: &mut Base, place: &Place) -> Option<Common<Vec<Arg>>> {
        if let Some(known) = base.laid.args.get(&digest(said)) {
            return Some(known.clone());
        }
        let weight = base.args.iter().map(|arg| 4 + (arg.name.len() + arg.value.len()) / 32).sum();
        self.may_copy(said, base, weight, place)?;
        let told = self.found.told();
        let own: Field<List<RawArg>> = read(self.tree, said);
        let args = merge_args(&base.args, &self.args(&own, owned::KUBELET_FLAGS)).into();
        self.keep(said, told, &mut base.laid.args, &args);
        Some(args)
    }

    fn lay_kubelet(
        &mut self,
        said: Option<&Said>,
        base: &mut Base,
        place: &Place,
        shared: &Shared<'_>,
    ) -> Option<Common<FragmentText>> {
        if let Some(known) = base.laid.kubelet.get(&digest(said)) {
            return Some(known.clone());
        }
        self.may_copy(said, base, weight(&base.kubelet), place)?;
        let told = self.found.told();
        let own: Field<Object> = read(self.tree, said);
        let own = self.kubelet(&own, shared.networking.services());
        let mut kubelet = base.kubelet.clone();
        merge(&mut kubelet, &own);
        let kubelet = base.laid.kubelets.one(kubelet.into());
        self.keep(said, told, &mut base.laid.kubelet, &kubelet);
        Some(kubelet)
    }

    /// Programs are few.
    fn lay_binaries(&mut self, said: Option<&Said>, base: &mut Base, os: &Os) -> Common<Binaries> {
        let key = (digest(said), os.profile.name.as_str());
        if let Some(known) = base.laid.binaries.get(&key) {
            return known.clone();
        }
        let told = self.found.told();
        let raw: Field<RawBinaries> = read(self.tree, said);
        let binaries: Common<_> = self.binaries_layer(&raw).over(&base.binaries, os.profile).into();
        if said.is_none() || self.found.told() == told {
            base.laid.binaries.insert(key, binaries.clone());
        }
        binaries
    }

    /// Takes `laid` for all that say the same, unless something was found since `told`: that is told of each of them.
    fn keep<T>(&self, said: Option<&Said>, told: usize, memo: &mut Memo<T>, laid: &Common<T>) {
        // What is wrong with the cluster's own values was told with the first of them.
        if said.is_none() || self.found.told() == told {
            memo.insert(digest(said), laid.clone());
        }
    }

    /// Counts a copy of `weight` for what is `said` over it. `None` where there are too many of them, which was reported
    /// with the first.
    fn may_copy(&mut self, said: Option<&Said>, base: &mut Base, weight: usize, place: &Place) -> Option<()> {
        if said.is_none() {
            return Some(());
        }
        let before = base.copied;
        base.copied = before.saturating_add(weight);
        if base.copied <= MOST_COPIED {
            return Some(());
        }
        if before <= MOST_COPIED {
            let finding = Finding::new(
                code::TOO_LARGE,
                "up to this node, too much of the cluster's own values is laid over with values of single nodes",
            )
            .hint("say what is one node's own in as few of `os`, `kubelet`, `kernel` and the others as can be");
            let place = said.map_or(place, |said| &said.place);
            self.found.error_at(place, finding);
        }
        None
    }

    /// The kubelet's version: Kubernetes' rules for version skew. A kubelet is never newer than the API server, at most
    /// three minors older, and on a control plane one.
    fn node_version(
        &mut self,
        at: &At<Version>,
        cluster: Option<KubernetesVersion>,
        role: Option<Role>,
    ) -> Option<KubernetesVersion> {
        let version = self.version(at)?;
        let Some(cluster) = cluster else { return Some(version) };
        let most = if role == Some(Role::ControlPlane) { 1 } else { 3 };
        let older = cluster.minor.saturating_sub(version.minor);
        let why = if version > cluster {
            format!("{version} is newer than the cluster's {cluster}: the API server goes first")
        } else if older > most {
            let on = if most == 1 { " on a control plane" } else { "" };
            let minors = if most == 1 { "1 minor" } else { "3 minors" };
            format!("{version} is {older} minors older than the cluster's {cluster}: at most {minors}{on}")
        } else {
            return Some(version);
        };
        self.found.error_at(&at.place, Finding::new(code::VERSION, why).hint("leave it out for the cluster's own"));
        None
    }
}

/// What a copy of `fragment` weighs.
fn weight(fragment: &Fragment) -> usize {
    use serde_json::Value;
    fn of(value: &Value) -> usize {
        1 + match value {
            Value::Object(object) => weight(object),
            Value::Array(list) => list.iter().map(of).sum(),
            Value::String(text) => text.len() / 32,
            _ => 0,
        }
    }
    fragment.iter().map(|(key, value)| key.len() / 32 + of(value)).sum()
}
