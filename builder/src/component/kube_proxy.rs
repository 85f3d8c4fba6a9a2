//! kube-proxy, as kubeadm deploys it.

use super::{NAMESPACE, Site, comma, image, merge, pretty, rbac};
use serde_json::{Value, json};

const FOLDER: &str = "/var/lib/kube-proxy";

/// Its objects in order.
pub(crate) fn objects(site: &Site) -> Vec<Value> {
    let account = json!({"kind": "ServiceAccount", "name": "kube-proxy", "namespace": NAMESPACE});
    let mut objects = vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "kube-proxy", "namespace": NAMESPACE},
        }),
        rbac::cluster_binding("kubeadm:node-proxier", "system:node-proxier", vec![account]),
    ];
    objects.extend(rbac::kube_proxy_readers());
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-proxy", "namespace": NAMESPACE, "labels": {"app": "kube-proxy"}},
        "data": {"config.conf": pretty(&configuration(site)), "kubeconfig.conf": pretty(&kubeconfig(site))},
    }));
    objects.push(daemon_set(site));
    objects
}

/// The KubeProxyConfiguration: kubeadm's defaults, the user's fragment over them, and what belongs to the DaemonSet.
fn configuration(site: &Site) -> Value {
    let mut config = json!({"bindAddress": if site.node.address().is_ipv6() { "::" } else { "0.0.0.0" }});
    if !site.cluster.networking.pods.is_empty() {
        config["clusterCIDR"] = json!(comma(&site.cluster.networking.pods));
    }
    merge(&mut config, &Value::Object(site.cluster.kube_proxy.clone()));
    merge(
        &mut config,
        &json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": format!("{FOLDER}/kubeconfig.conf")},
        }),
    );
    config
}

fn kubeconfig(site: &Site) -> Value {
    const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "default",
            "cluster": {
                "certificate-authority": format!("{ACCOUNT}/ca.crt"),
                "server": site.endpoint().https(),
            },
        }],
        "contexts": [{"name": "default", "context": {"cluster": "default", "namespace": "default", "user": "default"}}],
        "current-context": "default",
        "users": [{"name": "default", "user": {"tokenFile": format!("{ACCOUNT}/token")}}],
    })
}

fn daemon_set(site: &Site) -> Value {
    let labels = json!({"k8s-app": "kube-proxy"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "kube-proxy", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "kube-proxy",
                    "hostNetwork": true,
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [{
                        "name": "kube-proxy",
                        "image": image::component(site, "kube-proxy"),
                        "imagePullPolicy": "IfNotPresent",
                        "command": [
                            "/usr/local/bin/kube-proxy",
                            format!("--config={FOLDER}/config.conf"),
                            "--hostname-override=$(NODE_NAME)",
                        ],
                        "env": [{
                            "name": "NODE_NAME",
                            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
                        }],
                        "securityContext": {"privileged": true},
                        "volumeMounts": [
                            {"name": "kube-proxy", "mountPath": FOLDER},
                            {"name": "xtables-lock", "mountPath": "/run/xtables.lock"},
                            {"name": "lib-modules", "mountPath": "/lib/modules", "readOnly": true},
                        ],
                    }],
                    "volumes": [
                        {"name": "kube-proxy", "configMap": {"name": "kube-proxy"}},
                        {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
                        {"name": "lib-modules", "hostPath": {"path": "/lib/modules"}},
                    ],
                },
            },
        },
    })
}
