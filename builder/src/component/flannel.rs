//! `addons.cni: flannel`: an overlay between the nodes, as flannel's own manifest deploys it (flannel v0.28,
//! `Documentation/kube-flannel.yml`), with this cluster's networks and one or two address families.

use super::{ClassSite, containerd, image};
use crate::{config::Cluster, release::Addon};
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-flannel";
const NAME: &str = "flannel";
const CONFIG: &str = "kube-flannel-cfg";
const CONFIG_DIR: &str = "/etc/kube-flannel/";
/// Where it leaves the node's subnet for its plugin.
const RUN_DIR: &str = "/run/flannel";
const XTABLES_LOCK: &str = "/run/xtables.lock";
/// Its health is asked here.
const HEALTH_PORT: u16 = 8081;

/// What its backend needs of the kernel.
pub(crate) const MODULE: &str = "vxlan";

/// Its objects in order.
pub(crate) fn objects(site: &ClassSite) -> Vec<Value> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let labels = json!({"k8s-app": NAME});
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"k8s-app": NAME, "pod-security.kubernetes.io/enforce": "privileged"},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": NAME, "labels": labels},
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
            ],
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": labels},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": CONFIG,
                "namespace": NAMESPACE,
                "labels": {"tier": "node", "k8s-app": NAME, "app": NAME},
            },
            "data": {
                "cni-conf.json": super::pretty(&plugins()),
                "net-conf.json": super::pretty(&network(site.cluster)),
            },
        }),
        daemon_set(site),
    ]
}

/// What containerd is told.
fn plugins() -> Value {
    json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The pods' networks. Which part of them is a node's, kube-controller-manager decides.
fn network(cluster: &Cluster) -> Value {
    let of_family = |ipv6: bool| cluster.networking.pods.iter().find(|network| network.is_ipv6() == ipv6);
    let mut network = json!({"EnableNFTables": false, "Backend": {"Type": "vxlan"}});
    match of_family(false) {
        Some(pods) => network["Network"] = json!(pods),
        None => network["EnableIPv4"] = json!(false),
    }
    if let Some(pods) = of_family(true) {
        network["EnableIPv6"] = json!(true);
        network["IPv6Network"] = json!(pods);
    }
    network
}

fn daemon_set(site: &ClassSite) -> Value {
    let pod_labels = json!({"tier": "node", "app": NAME});
    let image = image::addon(site, Addon::Flannel);
    let security = security(site.cluster);
    let plugin_dir = containerd::cni_bin_dir(&site.class.binaries);
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut init = [
        json!({
            "name": "install-cni-plugin",
            "image": image::addon(site, Addon::FlannelCniPlugin),
            "command": ["cp"],
            "args": ["-f", "/flannel", "/opt/cni/bin/flannel"],
            "volumeMounts": [mount("cni-plugin", "/opt/cni/bin")],
        }),
        json!({
            "name": "install-cni",
            "image": image,
            "command": ["/opt/bin/install-conf"],
            "args": [format!("{CONFIG_DIR}cni-conf.json"), format!("{}/10-flannel.conflist", containerd::CNI_CONF_DIR)],
            "volumeMounts": [mount("cni", containerd::CNI_CONF_DIR), mount("flannel-cfg", CONFIG_DIR)],
        }),
    ];
    if security["privileged"] == true {
        for container in &mut init {
            container["securityContext"] = json!({"privileged": true});
        }
    }
    let mut args = vec!["--ip-masq".to_owned(), "--kube-subnet-mgr".to_owned()];
    args.push(format!("--healthz-port={HEALTH_PORT}"));
    if let Some(address) = interface(site.cluster) {
        args.push(address.to_owned());
    }
    let probe = |path: &str, delay: u32, period: u32| json!({"httpGet": {"path": path, "port": "healthz"}, "initialDelaySeconds": delay, "periodSeconds": period});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": "kube-flannel-ds",
            "namespace": NAMESPACE,
            "labels": {"tier": "node", "app": NAME, "k8s-app": NAME},
        },
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": pod_labels},
                "spec": {
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [
                            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        ]}],
                    }}},
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    // A node without network is tainted NoSchedule; one that a user tainted NoExecute needs it as well.
                    "tolerations": [{"operator": "Exists"}],
                    "serviceAccountName": NAME,
                    "initContainers": init,
                    "containers": [{
                        "name": "kube-flannel",
                        "image": image,
                        "command": ["/opt/bin/flanneld"],
                        "args": args,
                        "ports": [{"name": "healthz", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
                        "livenessProbe": probe("/healthz", 10, 30),
                        "readinessProbe": probe("/readyz", 5, 10),
                        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
                        "securityContext": security,
                        "env": [
                            field("POD_NAME", "metadata.name"),
                            field("POD_NAMESPACE", "metadata.namespace"),
                            field("HOST_IP", "status.hostIP"),
                            {"name": "EVENT_QUEUE_DEPTH", "value": "5000"},
                            {"name": "CONT_WHEN_CACHE_NOT_READY", "value": "false"},
                        ],
                        "volumeMounts": [
                            mount("run", RUN_DIR),
                            mount("flannel-cfg", CONFIG_DIR),
                            mount("xtables-lock", XTABLES_LOCK),
                        ],
                    }],
                    "volumes": [
                        {"name": "run", "hostPath": {"path": RUN_DIR, "type": "DirectoryOrCreate"}},
                        {"name": "cni-plugin", "hostPath": {"path": plugin_dir, "type": "DirectoryOrCreate"}},
                        {"name": "cni", "hostPath": {"path": containerd::CNI_CONF_DIR, "type": "DirectoryOrCreate"}},
                        {"name": "flannel-cfg", "configMap": {"name": CONFIG}},
                        {"name": "xtables-lock", "hostPath": {"path": XTABLES_LOCK, "type": "FileOrCreate"}},
                    ],
                },
            },
        },
    })
}

/// The interface that holds the node's address, on machines with several. In dual stack with IPv6 first flannel has no
/// way to say it (`pkg/ipmatch`): it takes the one of the default routes then.
fn interface(cluster: &Cluster) -> Option<&'static str> {
    let pods = &cluster.networking.pods;
    let by_route = pods.len() > 1 && pods.first().is_some_and(|network| network.is_ipv6());
    (!by_route).then_some("--iface=$(HOST_IP)")
}

/// One DaemonSet serves all machines: where one of them enforces SELinux, only a privileged container may write to the
/// host's folders.
fn security(cluster: &Cluster) -> Value {
    match cluster.payloads().any(|node| node.os.profile.static_pod_selinux_type.is_some()) {
        true => json!({"privileged": true}),
        false => json!({"privileged": false, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}),
    }
}
