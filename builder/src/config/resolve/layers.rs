//! What nodes and pools lay over the cluster's own values.

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
    Arg, Binaries, Fragment, Kernel, Os, code,
    diag::Finding,
    object::Object,
    raw::{List, RawArg, RawBinaries, RawCluster, RawKernel, RawNode, RawOs, RawPool},
    read::{At, Field, Place},
    values::Version,
};
use nodekiln_plan::{KubernetesVersion, Role};
use std::rc::Rc;

/// The cluster's own values.
pub(super) struct Base {
    os: OsLayer,
    kernel: KernelLayer,
    binaries: BinariesLayer,
    args: Vec<Arg>,
    pub(super) ignored: Vec<String>,
    /// What comes of them where nothing is laid over them, once it was asked for.
    plain: Option<Rc<Layers>>,
    /// The classes of those that are laid over it.
    pub(super) classes: Classes,
}

/// What a node or pool says itself.
pub(super) struct Own<'a> {
    version: &'a Field<Version>,
    os: &'a Field<RawOs>,
    kubelet: &'a Field<Object>,
    args: &'a Field<List<RawArg>>,
    kernel: &'a Field<RawKernel>,
    binaries: &'a Field<RawBinaries>,
}

impl<'a> Own<'a> {
    /// What a node says.
    pub(super) fn of_node(raw: &'a RawNode) -> Self {
        let RawNode { kubernetes_version: version, os, kubelet, kubelet_extra_args: args, kernel, binaries, .. } = raw;
        Self { version, os, kubelet, args, kernel, binaries }
    }

    /// Whether it says nothing: the cluster's own values are the node's.
    pub(super) fn is_unset(&self) -> bool {
        let Self { version, os, kubelet, args, kernel, binaries } = self;
        version.is_unset()
            && os.is_unset()
            && kubelet.is_unset()
            && args.is_unset()
            && kernel.is_unset()
            && binaries.is_unset()
    }

    /// What a pool says.
    pub(super) fn of_pool(raw: &'a RawPool) -> Self {
        let RawPool { kubernetes_version: version, os, kubelet, kubelet_extra_args: args, kernel, binaries, .. } = raw;
        Self { version, os, kubelet, args, kernel, binaries }
    }
}

/// Both, laid over each other.
#[derive(Clone)]
pub(super) struct Layers {
    /// `None` where it is faulty.
    pub(super) version: Option<KubernetesVersion>,
    pub(super) os: Os,
    pub(super) kubelet: Fragment,
    pub(super) args: Vec<Arg>,
    pub(super) kernel: Kernel,
    pub(super) binaries: Binaries,
}

impl Cx<'_, '_> {
    pub(super) fn base(&mut self, raw: &RawCluster, shared: &Shared<'_>) -> Base {
        let families = shared.networking.families();
        Base {
            os: self.os_layer(&raw.os),
            kernel: self.kernel_layer(&raw.kernel, families),
            binaries: self.binaries_layer(&raw.binaries),
            args: self.args(&raw.kubelet_extra_args, owned::KUBELET_FLAGS),
            ignored: self.ignored_checks(&raw.ignore_preflight_errors),
            plain: None,
            classes: Classes::default(),
        }
    }

    /// `None` without a profile. Whatever else is faulty has been reported.
    pub(super) fn layers(
        &mut self,
        own: &Own<'_>,
        base: &mut Base,
        place: &Place,
        role: Option<Role>,
        shared: &Shared<'_>,
    ) -> Option<Rc<Layers>> {
        if !own.is_unset() {
            return self.lay(own, base, place, role, shared).map(Rc::new);
        }
        // Most nodes of many: what is wrong with the cluster's own values was told with the first of them.
        if base.plain.is_none() {
            base.plain = self.lay(own, base, place, role, shared).map(Rc::new);
        }
        base.plain.clone()
    }

    fn lay(
        &mut self,
        own: &Own<'_>,
        base: &Base,
        place: &Place,
        role: Option<Role>,
        shared: &Shared<'_>,
    ) -> Option<Layers> {
        let families = shared.networking.families();
        let os = self.os_layer(own.os);
        let os = self.os(&os, &base.os, place, shared);
        let kernel = self.kernel_layer(own.kernel, families).over(&base.kernel);
        let binaries = self.binaries_layer(own.binaries);
        let args = self.args(own.args, owned::KUBELET_FLAGS);
        let own_kubelet = self.kubelet(own.kubelet, shared.networking.services());
        let version = match own.version.get() {
            Some(text) => self.node_version(text, shared.version, role),
            None => shared.version,
        };
        let os = os?;
        let mut kubelet = without_nulls(shared.kubelet);
        merge(&mut kubelet, &own_kubelet);
        Some(Layers {
            version,
            kubelet,
            args: merge_args(&base.args, &args),
            kernel,
            binaries: binaries.over(&base.binaries, os.profile),
            os,
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
