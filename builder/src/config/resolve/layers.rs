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
    Arg, Binaries, Common, Fragment, Kernel, Os, code,
    common::Known,
    diag::{Diagnostics, Finding},
    object::Object,
    raw::{List, RawArg, RawBinaries, RawCluster, RawOs},
    read::{At, Field, Place, Read, Reader, place_of},
    scalar::{Plain, kind_of},
    source::Source,
    values::Version,
    yaml::{NodeId, Tree, View},
};
use nodekiln_plan::{KubernetesVersion, Role, Sha256};
use std::collections::HashMap;

/// How much of the cluster's own values may be copied for nodes that lay something over them, in units of 32 bytes: for each
/// of ten thousand machines that all differ seventy files, or fifty arguments.
const MOST_COPIED: usize = 2_000_000;

/// The cluster's own values.
pub(super) struct Base {
    os: OsLayer,
    kernel: KernelLayer,
    binaries: BinariesLayer,
    args: Vec<Arg>,
    kubelet: Fragment,
    pub(super) ignored: Common<Vec<String>>,
    laid: Laid,
    /// In units of 32 bytes.
    copied: usize,
    /// Whether it was told that this is too much.
    is_told: bool,
    /// The classes of those that are laid over it.
    pub(super) classes: Classes,
}

impl Base {
    /// Counts a copy of `weight`; whether it is one too many.
    fn is_too_much(&mut self, weight: usize) -> bool {
        self.copied = self.copied.saturating_add(weight);
        self.copied > MOST_COPIED
    }
}

/// What came of what was said.
#[derive(Default)]
struct Laid {
    os: Memo<Os>,
    kernel: Memo<Kernel>,
    args: Memo<Vec<Arg>>,
    kubelet: Memo<Fragment>,
    kubelets: Known<Fragment>,
    /// With the profile, whose places are below.
    binaries: HashMap<(Option<Sha256>, &'static str), Laying<Binaries>>,
    /// Whether nodes that say nothing of the system have no profile.
    is_without_profile: bool,
}

/// By the digest of what was said; `None` where nothing was.
type Memo<T> = HashMap<Option<Sha256>, Laying<T>>;

struct Laying<T> {
    laid: Common<T>,
    /// Whether nothing was wrong. What is wrong is told of each that says it.
    is_sound: bool,
}

impl<T> Clone for Laying<T> {
    fn clone(&self) -> Self {
        Self { laid: self.laid.clone(), is_sound: self.is_sound }
    }
}

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
            let is_empty = match tree.view(entry.value) {
                View::Scalar { text, plain } => plain && kind_of(text) == Plain::Null,
                View::List(items) => items.is_empty() && entry.key == "kubeletExtraArgs",
                View::Map(entries) => entries.is_empty() && entry.key != "kubeletExtraArgs",
            };
            if !is_empty {
                let place = place_of(tree, entry.value, entry.key_span, place.path.key(&entry.key));
                *part = Some(Said { node: entry.value, place, digest: tree.said(entry.value) });
            }
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
    pub(super) kubelet: Common<Fragment>,
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
            is_told: false,
            classes: Classes::default(),
        }
    }

    /// `None` without a profile, or where too much is laid over. Whatever else is faulty has been reported.
    pub(super) fn layers(
        &mut self,
        own: &Own,
        base: &mut Base,
        place: &Place,
        role: Option<Role>,
        shared: &Shared<'_>,
    ) -> Option<Layers> {
        let os = self.lay_os(own.os.as_ref(), base, place, shared);
        let kernel = self.lay_kernel(own.kernel.as_ref(), base, shared);
        let binaries = self.lay_binaries(own.binaries.as_ref(), base, os.as_deref());
        let args = self.lay_args(own.args.as_ref(), base);
        let kubelet = self.lay_kubelet(own.kubelet.as_ref(), base, shared);
        let version = match read(self.tree, own.version.as_ref()) {
            Field::Given(text) => self.node_version(&text, shared.version, role),
            _ => shared.version,
        };
        Some(Layers { version, os: os?, kubelet: kubelet?, args: args?, kernel: kernel?, binaries: binaries? })
    }

    fn lay_os(
        &mut self,
        said: Option<&Said>,
        base: &mut Base,
        place: &Place,
        shared: &Shared<'_>,
    ) -> Option<Common<Os>> {
        let known = base.laid.os.get(&digest(said)).cloned();
        if let Some(Laying { laid, is_sound: true }) = known {
            return Some(laid);
        }
        if said.is_none() && base.laid.is_without_profile {
            self.missing_profile(&OsLayer::default(), &base.os, place);
            return None;
        }
        let told = self.found.told();
        let own = self.os_layer(&read(self.tree, said));
        match known {
            // What is wrong is told again, as long as that does not cost too much; it is no reason to say so.
            Some(Laying { laid, .. }) if base.is_too_much(base.os.weight()) => return Some(laid),
            Some(_) => {}
            None => self.may_copy(said, base, base.os.weight())?,
        }
        let Some(os) = self.os(&own, &base.os, place, shared) else {
            base.laid.is_without_profile |= said.is_none();
            return None;
        };
        Some(self.keep(said, told, &mut base.laid.os, os.into()))
    }

    fn lay_kernel(&mut self, said: Option<&Said>, base: &mut Base, shared: &Shared<'_>) -> Option<Common<Kernel>> {
        let known = base.laid.kernel.get(&digest(said)).cloned();
        if let Some(Laying { laid, is_sound: true }) = known {
            return Some(laid);
        }
        let told = self.found.told();
        let own = self.kernel_layer(&read(self.tree, said), shared.networking.families());
        if let Some(Laying { laid, .. }) = known {
            return Some(laid);
        }
        self.may_copy(said, base, base.kernel.weight())?;
        Some(self.keep(said, told, &mut base.laid.kernel, own.over(&base.kernel).into()))
    }

    /// `os`: the node's, if it is known.
    fn lay_binaries(&mut self, said: Option<&Said>, base: &mut Base, os: Option<&Os>) -> Option<Common<Binaries>> {
        let key = os.map(|os| (digest(said), os.profile.name.as_str()));
        let known = key.and_then(|key| base.laid.binaries.get(&key).cloned());
        if let Some(Laying { laid, is_sound: true }) = known {
            return Some(laid);
        }
        let told = self.found.told();
        let raw: Field<RawBinaries> = read(self.tree, said);
        let own = self.binaries_layer(&raw);
        if let Some(Laying { laid, .. }) = known {
            return Some(laid);
        }
        let (key, os) = (key?, os?);
        self.may_copy(said, base, base.binaries.weight())?;
        let laid: Common<_> = own.over(&base.binaries, os.profile).into();
        let is_sound = said.is_none() || self.found.told() == told;
        base.laid.binaries.insert(key, Laying { laid: laid.clone(), is_sound });
        Some(laid)
    }

    fn lay_args(&mut self, said: Option<&Said>, base: &mut Base) -> Option<Common<Vec<Arg>>> {
        let known = base.laid.args.get(&digest(said)).cloned();
        if let Some(Laying { laid, is_sound: true }) = known {
            return Some(laid);
        }
        let told = self.found.told();
        let own: Field<List<RawArg>> = read(self.tree, said);
        let own = self.args(&own, owned::KUBELET_FLAGS);
        if let Some(Laying { laid, .. }) = known {
            return Some(laid);
        }
        let weight = base.args.iter().map(|arg| 4 + (arg.name.len() + arg.value.len()) / 32).sum();
        self.may_copy(said, base, weight)?;
        Some(self.keep(said, told, &mut base.laid.args, merge_args(&base.args, &own).into()))
    }

    fn lay_kubelet(&mut self, said: Option<&Said>, base: &mut Base, shared: &Shared<'_>) -> Option<Common<Fragment>> {
        let known = base.laid.kubelet.get(&digest(said)).cloned();
        if let Some(Laying { laid, is_sound: true }) = known {
            if let Some(said) = said {
                self.show_kubelet(said.node);
            }
            return Some(laid);
        }
        let told = self.found.told();
        let own: Field<Object> = read(self.tree, said);
        let own = self.kubelet(&own, shared.networking.services());
        if let Some(Laying { laid, .. }) = known {
            return Some(laid);
        }
        self.may_copy(said, base, weight(&base.kubelet))?;
        let mut kubelet = base.kubelet.clone();
        merge(&mut kubelet, &own);
        let kubelet = base.laid.kubelets.one(kubelet);
        Some(self.keep(said, told, &mut base.laid.kubelet, kubelet))
    }

    /// Takes `laid` for all that say the same. If anything was found since `told`, that is told of each of them; what is
    /// wrong with the cluster's own values was told with the first.
    fn keep<T>(&self, said: Option<&Said>, told: usize, memo: &mut Memo<T>, laid: Common<T>) -> Common<T> {
        let is_sound = said.is_none() || self.found.told() == told;
        memo.insert(digest(said), Laying { laid: laid.clone(), is_sound });
        laid
    }

    /// Counts a copy of `weight` for what is `said` over it. `None` where there are too many of them, which was reported
    /// with the first.
    fn may_copy(&mut self, said: Option<&Said>, base: &mut Base, weight: usize) -> Option<()> {
        let Some(said) = said else { return Some(()) };
        // Nothing more would be told of what comes of it.
        if !self.found.has_room() {
            return None;
        }
        if !base.is_too_much(weight) {
            return Some(());
        }
        if !base.is_told {
            base.is_told = true;
            let finding = Finding::new(
                code::TOO_LARGE,
                "up to this node, too much of the cluster's own values is laid over with values of single nodes",
            )
            .hint("say what is one node's own in as few of `os`, `kubelet`, `kernel` and the others as can be");
            self.found.error_at(&said.place, finding);
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
        4 + match value {
            // A map has room for eleven values from the start.
            Value::Object(object) => 16 + weight(object),
            Value::Array(list) => list.iter().map(of).sum(),
            Value::String(text) => text.len() / 32,
            _ => 0,
        }
    }
    fragment.iter().map(|(key, value)| key.len() / 32 + of(value)).sum()
}
