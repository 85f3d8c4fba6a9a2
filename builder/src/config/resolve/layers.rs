//! What nodes and pools lay over the cluster's own values.
//!
//! What is said alike is laid over them once, whoever says it: of ten thousand machines most say what others do, and each
//! layer may be as large as all of cluster.yaml.

use super::{
    Cx,
    binaries::BinariesLayer,
    classes::Classes,
    component::merge_args,
    fragments::{merge, without_nulls},
    kernel::KernelLayer,
    laid::{Before, Copies, Memo, Said},
    nodes::Shared,
    os::OsLayer,
    owned,
};
use crate::config::{
    Arg, Binaries, Common, Fragment, Kernel, NodeClass, NodeIdentity, NodeKind, Os, code,
    common::Known,
    diag::Finding,
    object::Object,
    raw::{List, RawArg, RawCluster, RawKernel},
    read::{At, Field, Place, place_of},
    scalar::{Plain, kind_of},
    values::Version,
    yaml::{NodeId, Tree, View},
};
use nodekiln_plan::{KubernetesVersion, Role, Taint};
use std::{collections::HashMap, sync::Arc};

/// The cluster's own values, and what came of laying others over them.
pub(super) struct Base {
    os: OsLayer,
    kernel: KernelLayer,
    binaries: BinariesLayer,
    args: Vec<Arg>,
    kubelet: Fragment,
    ignored: Common<Vec<String>>,
    laid: Laid,
    copies: Copies,
    /// The classes of those that are laid over it.
    classes: Classes,
}

struct Laid {
    os: Memo<Os>,
    kernel: Memo<Kernel>,
    args: Memo<Vec<Arg>>,
    kubelet: Memo<Fragment>,
    kubelets: Known<Fragment>,
    /// By profile, whose places are below.
    binaries: HashMap<&'static str, Memo<Binaries>>,
    /// Whether nodes that say nothing of the system have no profile.
    is_without_profile: bool,
}

impl Base {
    /// The class of a node or pool. `None` where its version is faulty.
    pub(super) fn class(
        &mut self,
        kind: NodeKind,
        identity: NodeIdentity,
        role: Role,
        taints: Common<Vec<Taint>>,
        layers: Layers,
    ) -> Option<Arc<NodeClass>> {
        Some(self.classes.one(NodeClass {
            kind,
            identity,
            role,
            taints,
            version: layers.version?,
            kubelet: layers.kubelet,
            kubelet_extra_args: layers.args,
            ignore_preflight_errors: self.ignored.clone(),
            kernel: layers.kernel,
            os: layers.os,
            binaries: layers.binaries,
        }))
    }
}

/// What a node or pool says itself.
#[derive(Default)]
pub(super) struct Own {
    version: Option<Said>,
    pub(super) os: Option<Said>,
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
        let os = self.os_layer(&raw.os);
        let kernel = self.kernel_layer(&raw.kernel, shared.networking.families());
        let binaries = self.binaries_layer(&raw.binaries);
        let args = self.args(&raw.kubelet_extra_args, owned::KUBELET_FLAGS);
        let kubelet = without_nulls(shared.kubelet);
        let laid = Laid {
            os: Memo::new(os.weight()),
            kernel: Memo::new(kernel.weight()),
            args: Memo::new(args.iter().map(|arg| 4 + (arg.name.len() + arg.value.len()) / 32).sum()),
            kubelet: Memo::new(weight(&kubelet)),
            kubelets: Known::default(),
            binaries: HashMap::new(),
            is_without_profile: false,
        };
        let ignored = self.ignored_checks(&raw.ignore_preflight_errors).into();
        let (copies, classes) = (Copies::default(), Classes::default());
        Base { os, kernel, binaries, args, kubelet, ignored, laid, copies, classes }
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
        let version = match self.said(own.version.as_ref()) {
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
        let Base { os: below, laid: Laid { os: memo, is_without_profile, .. }, copies, .. } = base;
        let before = memo.before(said);
        if let Before::Sound(laid) = before {
            return Some(laid);
        }
        if said.is_none() && *is_without_profile {
            self.missing_profile(&OsLayer::default(), below, place);
            return None;
        }
        let told = self.found.told();
        let own = self.os_layer(&self.said(said));
        match before {
            // What is wrong is told again, as long as that does not cost too much; it is no reason to say so.
            Before::Wrong(laid) if copies.is_too_much(memo.weight) => return Some(laid),
            Before::Never => self.may_copy(said, copies, memo.weight)?,
            _ => {}
        }
        let Some(os) = self.os(&own, below, place, shared) else {
            *is_without_profile |= said.is_none();
            return None;
        };
        Some(self.keep(said, told, memo, os.into()))
    }

    fn lay_kernel(&mut self, said: Option<&Said>, base: &mut Base, shared: &Shared<'_>) -> Option<Common<Kernel>> {
        let Base { kernel: below, laid: Laid { kernel: memo, .. }, copies, .. } = base;
        let judge = |cx: &mut Self, raw: &Field<RawKernel>| cx.kernel_layer(raw, shared.networking.families());
        self.lay(said, memo, copies, judge, |own| own.over(below).into())
    }

    /// `os`: the node's, if it is known.
    fn lay_binaries(&mut self, said: Option<&Said>, base: &mut Base, os: Option<&Os>) -> Option<Common<Binaries>> {
        let Base { binaries: below, laid: Laid { binaries: memos, .. }, copies, .. } = base;
        let Some(os) = os else {
            self.binaries_layer(&self.said(said));
            return None;
        };
        let memo = memos.entry(&os.profile.name).or_insert_with(|| Memo::new(below.weight()));
        self.lay(said, memo, copies, Self::binaries_layer, |own| own.over(below, os.profile).into())
    }

    fn lay_args(&mut self, said: Option<&Said>, base: &mut Base) -> Option<Common<Vec<Arg>>> {
        let Base { args: below, laid: Laid { args: memo, .. }, copies, .. } = base;
        let judge = |cx: &mut Self, raw: &Field<List<RawArg>>| cx.args(raw, owned::KUBELET_FLAGS);
        self.lay(said, memo, copies, judge, |own| merge_args(below, &own).into())
    }

    fn lay_kubelet(&mut self, said: Option<&Said>, base: &mut Base, shared: &Shared<'_>) -> Option<Common<Fragment>> {
        let Base { kubelet: below, laid: Laid { kubelet: memo, kubelets, .. }, copies, .. } = base;
        if let (Some(said), Before::Sound(_)) = (said, memo.before(said)) {
            // Its keys are fit to be shown in excerpts about this node too.
            self.kubelet_fields(said.node, &said.place);
        }
        let judge = |cx: &mut Self, raw: &Field<Object>| cx.kubelet(raw, shared.networking.services());
        self.lay(said, memo, copies, judge, |own| {
            let mut kubelet = below.clone();
            merge(&mut kubelet, &own);
            kubelets.one(kubelet)
        })
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
