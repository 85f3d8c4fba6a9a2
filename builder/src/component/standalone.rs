//! The kubelet of a node that runs etcd alone: a service manager for one static pod, without an API server.
//!
//! Its configuration is the one of kubeadm's guide "Set up a High Availability etcd Cluster": no kubeconfig, and nobody
//! may ask it anything.

use super::{ClassSite, MANIFESTS_DIR, containerd, merge};
use serde_json::{Value, json};

/// Fields of the cluster's and the node's KubeletConfiguration that mean nothing without an API server, or that the
/// kubelet would act on: it has no certificate to rotate and no Node to taint.
const MEANINGLESS: [&str; 6] =
    ["clusterDNS", "clusterDomain", "registerNode", "registerWithTaints", "rotateCertificates", "serverTLSBootstrap"];

/// The KubeletConfiguration.
pub(crate) fn config(site: &ClassSite) -> Value {
    let class = site.class;
    let mut config = json!({
        "address": "127.0.0.1",
        "cgroupDriver": "systemd",
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "resolvConf": class.os.profile.resolv_conf,
    });
    if let Some(folder) = super::kubelet::volume_plugin_dir(site) {
        config["volumePluginDir"] = json!(folder);
    }
    if class.kernel.swap {
        config["failSwapOn"] = json!(false);
    }
    let mut fragment = crate::config::Fragment::clone(&class.kubelet);
    fragment.retain(|field, _| !MEANINGLESS.contains(&field.as_str()));
    // Its caches are of no use, and a webhook needs an API server.
    fragment.remove("authentication");
    fragment.remove("authorization");
    merge(&mut config, &Value::Object(fragment));
    merge(
        &mut config,
        &json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": containerd::ENDPOINT,
            "staticPodPath": MANIFESTS_DIR,
        }),
    );
    config
}
