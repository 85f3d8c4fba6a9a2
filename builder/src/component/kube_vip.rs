//! `loadBalancer: kube-vip`: one of the control planes holds controlPlaneEndpoint's address and announces it by ARP or
//! neighbour discovery. The pod is the one that `kube-vip manifest pod --controlplane --arp --leaderElection` makes
//! (kube-vip v1.2, `pkg/kubevip/config_generator.go`), but for its credential: that of an administrator there, here one
//! whose rights end at the Lease by which the holder is elected.

use super::{NAMESPACE, Site, apiserver, image, rbac, static_pod};
use crate::{draft::Row, release::Addon};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Its kubeconfig.
pub(crate) const KUBECONFIG: &str = "/etc/kubernetes/kube-vip.conf";
/// Name of the pod and of its container.
pub(crate) const NAME: &str = "kube-vip";
/// The Lease by which the holder of the address is elected.
const LEASE: &str = "plndr-cp-lock";
/// Where its image looks for a kubeconfig.
const KUBECONFIG_INSIDE: &str = "/etc/kubernetes/admin.conf";

/// `kube-vip.yaml`.
///
/// Without `vip_interface` it takes the interface of the default route: a payload that knows its machine by MAC address
/// does not know what the kernel calls the interface.
pub(crate) fn manifest(site: &Site, vip: IpAddr) -> Value {
    let prefix = if vip.is_ipv6() { "128" } else { "32" };
    let env = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut environment = vec![
        env("vip_arp", "true"),
        env("port", &apiserver::PORT.to_string()),
        json!({"name": "vip_nodename", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}),
        env("vip_subnet", prefix),
        env("cp_enable", "true"),
        env("cp_namespace", NAMESPACE),
        env("vip_leaderelection", "true"),
        env("vip_leasename", LEASE),
        // kube-vip's own values: an address that moves within five seconds.
        env("vip_leaseduration", "5"),
        env("vip_renewdeadline", "3"),
        env("vip_retryperiod", "1"),
        env("address", &vip.to_string()),
    ];
    // Its metrics are nobody's but this machine's: by default they are on all addresses.
    environment.push(env("prometheus_server", "127.0.0.1:2112"));
    let container = json!({
        "name": NAME,
        "image": image::addon(site, Addon::KubeVip),
        "imagePullPolicy": "IfNotPresent",
        "args": ["manager"],
        "env": environment,
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
        "volumeMounts": [{"name": "kubeconfig", "mountPath": KUBECONFIG_INSIDE, "readOnly": true}],
    });
    let volumes = json!([{"name": "kubeconfig", "hostPath": {"path": KUBECONFIG, "type": "FileOrCreate"}}]);
    let labels = json!({"component": NAME, "tier": "control-plane"});
    let mut pod = static_pod::pod(site, labels, NAME, &container, &volumes);
    // It calls the API server by this name, which every serving certificate has: the node's own, whoever holds the
    // address.
    pod["spec"]["hostAliases"] = json!([{"ip": site.node.address(), "hostnames": ["kubernetes"]}]);
    pod
}

/// The Lease, and the rights of kube-vip's certificate on it. Made here because RBAC cannot grant to create one object
/// by name.
pub(crate) fn objects() -> Vec<Value> {
    let mut objects = vec![json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE},
    })];
    let rule = json!({
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [LEASE],
        "verbs": ["get", "update"],
    });
    objects.extend(rbac::role("nodekiln:kube-vip", NAMESPACE, rule, vec![rbac::holder(Row::KubeVip)]));
    objects
}
