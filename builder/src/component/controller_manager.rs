//! kube-controller-manager.

use super::{
    ClassSite, arg, comma, constant, image,
    static_pod::{Probes, StaticPod, ca_folders, host_path, volumes},
};
use crate::{
    config::{Cni, Volume},
    release::Behaviour,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Its kubeconfig.
pub(crate) const KUBECONFIG: &str = "/etc/kubernetes/controller-manager.conf";
/// Its port.
pub(crate) const PORT: u16 = 10257;
/// Where FlexVolume plugins lie unless told otherwise.
const FLEXVOLUME_DIR: &str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";

/// The volumes that it has of itself.
pub(crate) fn own_volumes(site: &ClassSite) -> Vec<Volume> {
    let mut ours = vec![
        host_path("k8s-certs", &site.cluster.certificates_dir, "DirectoryOrCreate", true),
        host_path("kubeconfig", &constant(KUBECONFIG), "FileOrCreate", true),
    ];
    ours.extend(ca_folders(site));
    if site.release.has(Behaviour::FlexvolumeMount) {
        let folder = arg::last(&site.cluster.controller_manager.extra_args, "flex-volume-plugin-dir")
            .and_then(|value| value.parse().ok());
        let folder = folder.unwrap_or_else(|| flexvolume_dir(site).unwrap_or_else(|| constant(FLEXVOLUME_DIR)));
        ours.push(host_path("flexvolume-dir", &folder, "DirectoryOrCreate", false));
    }
    ours
}

/// `kube-controller-manager.yaml`.
pub(crate) fn manifest(site: &ClassSite) -> Value {
    let user = &site.cluster.controller_manager;
    let pod = StaticPod {
        name: "kube-controller-manager",
        image: image::component(site, "kube-controller-manager"),
        command: command(site),
        requests: json!({"cpu": "200m"}),
        annotations: BTreeMap::new(),
        env: user.extra_envs.clone(),
        volumes: volumes(own_volumes(site), &user.extra_volumes),
        probes: Probes {
            scheme: "HTTPS",
            host: arg::last(&user.extra_args, "bind-address").unwrap_or("127.0.0.1").to_owned(),
            port: PORT,
            liveness: "/healthz",
            readiness: None,
            startup: "/healthz",
        },
    };
    pod.render(site)
}

/// The folder for FlexVolume plugins on a machine that cannot hold kubeadm's: /usr is read-only there.
fn flexvolume_dir(site: &ClassSite) -> Option<nodekiln_plan::AbsPath> {
    super::kubelet::volume_plugin_dir(site)
}

fn command(site: &ClassSite) -> Vec<String> {
    let cluster = site.cluster;
    let pki = |tail: &str| site.pki(tail).to_string();
    // Empty where the CA signs elsewhere, as kubeadm has it: nobody in the cluster signs then.
    let signing = |tail| if site.shape.external_ca { String::new() } else { pki(tail) };
    let mut defaults = vec![
        ("authentication-kubeconfig", KUBECONFIG.to_owned()),
        ("authorization-kubeconfig", KUBECONFIG.to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("cluster-name", cluster.name.to_string()),
        ("cluster-signing-cert-file", signing("ca.crt")),
        ("cluster-signing-key-file", signing("ca.key")),
        ("controllers", "*,bootstrapsigner,tokencleaner".to_owned()),
        ("kubeconfig", KUBECONFIG.to_owned()),
        ("leader-elect", "true".to_owned()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("root-ca-file", pki("ca.crt")),
        ("service-account-private-key-file", pki("sa.key")),
        ("use-service-account-credentials", "true".to_owned()),
    ];
    if !cluster.networking.pods.is_empty() {
        // With `cni: bridge` each node's network is baked, and set on its Node by firstboot.
        let allocate = cluster.cni != Cni::Bridge;
        defaults.extend([
            ("allocate-node-cidrs", allocate.to_string()),
            ("cluster-cidr", comma(&cluster.networking.pods)),
            ("service-cluster-ip-range", comma(&cluster.networking.services)),
        ]);
    }
    if site.release.has(Behaviour::FlexvolumeMount)
        && let Some(folder) = flexvolume_dir(site)
    {
        defaults.push(("flex-volume-plugin-dir", folder.to_string()));
    }
    let mut command = vec!["kube-controller-manager".to_owned()];
    command.extend(arg::arguments(&defaults, &cluster.controller_manager.extra_args, site.release));
    command
}
