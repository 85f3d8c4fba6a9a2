//! The part of `plan.json` that needs no key.

use super::identity;
use crate::{
    component::{
        ClassSite, Families, NAMESPACE, STATE_OBJECT, Site, apiserver, cni, constant, containerd, controller_manager,
        etcd, etcd_access, haproxy, kubelet, scheduler, system,
    },
    config::{Binary, Cni, LoadBalancer},
};
use nodekiln_plan::{
    AbsPath, ApiPlan, Archive, ClassSpec, DirectoryEntry, FinalizePlan, KernelPlan, Mode, NodeSpec, PreflightPlan,
    Role, paths,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// What firstboot is told on all nodes of a class.
pub(super) fn of_class(
    site: &ClassSite,
    kernel: KernelPlan,
    kubelet_config: &Value,
    archives: Vec<Archive>,
) -> ClassSpec {
    let profile = site.class.os.profile;
    ClassSpec {
        preflight: preflight(site, kubelet_config),
        kernel,
        directories: directories(site),
        archives,
        kubelet: kubelet::plan(site, kubelet_config),
        timeouts: site.cluster.timeouts,
        finalize: FinalizePlan {
            scrub: profile.scrub.clone(),
            touch: profile.touch.clone(),
            beyond_reach: profile.beyond_reach.clone(),
        },
    }
}

/// What firstboot is told on one of them.
pub(super) fn spec(site: &Site) -> NodeSpec {
    let (cluster, node) = (site.cluster, site.node);
    let state = format!("{NAMESPACE}/{STATE_OBJECT}");
    NodeSpec {
        cluster: cluster.name.clone(),
        node: node.name.clone(),
        pool: !site.is_machine(),
        role: node.role,
        kubernetes_version: node.version,
        addresses: node.addresses.clone(),
        disk: node.disk.clone(),
        etcd: site.is_member().then(|| etcd::plan(site)),
        server: site.is_node().then(|| kubelet::server(site)),
        api: (node.role == Role::ControlPlane).then(|| ApiPlan {
            server: site.own_server(),
            credential: constant(paths::API_CREDENTIAL),
            lease_credential: constant(paths::LEASE_CREDENTIAL),
            lease: state.clone(),
            done: state,
        }),
    }
}

/// Parents come first: a path sorts before what lies below it.
fn directories(site: &ClassSite) -> Vec<DirectoryEntry> {
    // A folder that is named twice, such as certificatesDir = /etc/kubernetes, gets the narrower mode of both.
    let mut folders: BTreeMap<AbsPath, Mode> = BTreeMap::new();
    for (path, mode) in identity::folders(site) {
        let entry = folders.entry(path).or_insert(mode);
        *entry = (*entry).min(mode);
    }
    folders.into_iter().map(|(path, mode)| DirectoryEntry { path, mode }).collect()
}

fn preflight(site: &ClassSite, kubelet_config: &Value) -> PreflightPlan {
    let control_plane = site.class.role == Role::ControlPlane;
    let mut ports = vec![kubelet::port(kubelet_config)];
    if control_plane {
        ports.extend([apiserver::PORT, controller_manager::PORT, scheduler::PORT]);
    }
    if site.is_member() {
        ports.extend([etcd::CLIENT_PORT, etcd::PEER_PORT, etcd::STATEMENT_PORT]);
    }
    if site.cluster.load_balancer == LoadBalancer::Local && site.class.role != Role::Etcd {
        ports.push(haproxy::PORT);
    }
    ports.sort_unstable();
    ports.dedup();
    // Plugins that come in an archive are not there yet when preflight looks.
    let mut programs = vec![kubelet::binary(site)];
    if site.is_node() && site.cluster.cni != Cni::None && matches!(site.class.binaries.cni_plugins, Binary::Path(_)) {
        programs.extend(cni::programs(site));
    }
    let Families { ipv4, ipv6 } = system::forwarding(site);
    PreflightPlan {
        ignore: site.class.ignore_preflight_errors.to_vec(),
        ports,
        programs,
        etcd_client_files: if control_plane { etcd_access::in_image(site) } else { Vec::new() },
        external_etcd: control_plane.then(|| etcd_access::external(site)).flatten(),
        runtime_endpoint: containerd::ENDPOINT.to_owned(),
        ipv4,
        ipv6,
    }
}
