//! What nodekiln sets itself: arguments and fields that a user's value would break, each with the reason.

/// A name that is not the user's to set, and why.
pub(crate) struct Owned {
    name: &'static str,
    /// The only values that are refused; empty: all are.
    values: &'static [&'static str],
    /// The only value that is not.
    pub(crate) allowed: Option<&'static str>,
    pub(crate) why: &'static str,
}

const fn all(name: &'static str, why: &'static str) -> Owned {
    Owned { name, values: &[], allowed: None, why }
}

const fn only(name: &'static str, values: &'static [&'static str], why: &'static str) -> Owned {
    Owned { name, values, allowed: None, why }
}

const fn all_but(name: &'static str, allowed: &'static str, why: &'static str) -> Owned {
    Owned { name, values: &[], allowed: Some(allowed), why }
}

/// The row that refuses argument `name` with `value`, or with any value where that is not known. A row's name may end in
/// `*`.
pub(crate) fn find<'v>(
    table: &'static [Owned],
    name: &str,
    value: impl Into<Option<&'v str>>,
) -> Option<&'static Owned> {
    let value = value.into();
    // Components take flags with underscores too (cobra's normaliser).
    let name = name.replace('_', "-");
    table.iter().find(|row| {
        let matches = match row.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == row.name,
        };
        matches
            && match value {
                Some(value) => row.allowed != Some(value) && (row.values.is_empty() || row.values.contains(&value)),
                None => row.allowed.is_none() && row.values.is_empty(),
            }
    })
}

const PKI: &str = "its file is made and placed by nodekiln";
const KUBECONFIG: &str = "its kubeconfig is made and placed by nodekiln";
const NETWORKING: &str = "it follows from `networking`";
const FALSE: &[&str] = &["false", "False", "FALSE", "0", "f", "F"];

/// kube-apiserver (kubeadm's flags: fact sheet 3.4).
pub(crate) const API_SERVER: &[Owned] = &[
    all("advertise-address", "it is the node's `address`"),
    only("anonymous-auth", FALSE, "the static pod's own probes are anonymous"),
    all("client-ca-file", PKI),
    all("etcd-cafile", PKI),
    all("etcd-certfile", PKI),
    all("etcd-keyfile", PKI),
    all("etcd-servers", "it follows from `etcd`"),
    all("encryption-provider-config", "the keys for encryption at rest are made by nodekiln"),
    all("kubelet-client-certificate", PKI),
    all("kubelet-client-key", PKI),
    all("kubelet-certificate-authority", PKI),
    all("proxy-client-cert-file", PKI),
    all("proxy-client-key-file", PKI),
    all("requestheader-*", "it follows from the front-proxy certificates that nodekiln makes"),
    all("secure-port", "nodes, probes and kubeconfigs expect 6443"),
    all("service-account-key-file", PKI),
    all("service-account-signing-key-file", PKI),
    all("service-cluster-ip-range", NETWORKING),
    all("tls-cert-file", PKI),
    all("tls-private-key-file", PKI),
    all("cert-dir", PKI),
];

/// kube-controller-manager.
pub(crate) const CONTROLLER_MANAGER: &[Owned] = &[
    all("allocate-node-cidrs", "it follows from `networking.podSubnet`"),
    all("authentication-kubeconfig", KUBECONFIG),
    all("authorization-kubeconfig", KUBECONFIG),
    all("client-ca-file", PKI),
    all("cluster-cidr", NETWORKING),
    all("cluster-name", "it is `clusterName`"),
    all("cluster-signing-kube*", PKI),
    all("cluster-signing-legacy*", PKI),
    all("cluster-signing-cert-file", PKI),
    all("cluster-signing-key-file", PKI),
    all("kubeconfig", KUBECONFIG),
    all("requestheader-client-ca-file", PKI),
    all("root-ca-file", PKI),
    all("secure-port", "the static pod's probes expect 10257"),
    all("service-account-private-key-file", PKI),
    all("service-cluster-ip-range", NETWORKING),
];

/// kube-scheduler.
pub(crate) const SCHEDULER: &[Owned] = &[
    all("authentication-kubeconfig", KUBECONFIG),
    all("authorization-kubeconfig", KUBECONFIG),
    all("kubeconfig", KUBECONFIG),
    all("secure-port", "the static pod's probes expect 10259"),
];

const MEMBERS: &str = "firstboot decides how this member starts";

/// etcd. firstboot needs its JSON gateway and its data where the plan says.
pub(crate) const ETCD: &[Owned] = &[
    all("name", "it is the node's name"),
    all("data-dir", "it is `etcd.local.dataDir`"),
    all("wal-dir", "firstboot looks for the WAL below `etcd.local.dataDir`"),
    all("config-file", "with it etcd ignores every argument"),
    all("initial-*", MEMBERS),
    all("force-new-cluster*", MEMBERS),
    all("discovery*", MEMBERS),
    all("listen-client-urls", "firstboot and the API server expect port 2379 on the node's address"),
    all("listen-peer-urls", "the other members expect port 2380 on the node's address"),
    all("advertise-client-urls", "it follows from the node's `address`"),
    all("listen-client-http-urls", "it takes the JSON gateway, which firstboot needs, off the client port"),
    only("enable-grpc-gateway", FALSE, "firstboot needs the JSON gateway"),
    all("cert-file", PKI),
    all("key-file", PKI),
    all("trusted-ca-file", PKI),
    all("client-cert-auth", "without it anybody could read the cluster's secrets"),
    all("client-crl-file", PKI),
    all("auto-tls", PKI),
    all("peer-cert-file", PKI),
    all("peer-key-file", PKI),
    all("peer-trusted-ca-file", PKI),
    all("peer-client-cert-auth", "without it anybody could join etcd"),
    all("peer-auto-tls", PKI),
    all("peer-crl-file", PKI),
];

const KUBELET_CONFIG: &str = "it is a field of the KubeletConfiguration that nodekiln writes";

/// The only cgroup driver, and why.
pub(crate) const CGROUP_DRIVER: (&str, &str) = ("systemd", "containerd is configured with SystemdCgroup");

/// kubelet flags.
pub(crate) const KUBELET_FLAGS: &[Owned] = &[
    all("anonymous-auth", KUBELET_CONFIG),
    all("authentication-*", KUBELET_CONFIG),
    all("authorization-*", KUBELET_CONFIG),
    all("bootstrap-kubeconfig", "nodes have their identity from the start"),
    all("cert-dir", "the kubelet's certificates are placed by nodekiln"),
    all_but("cgroup-driver", CGROUP_DRIVER.0, CGROUP_DRIVER.1),
    all("client-ca-file", KUBELET_CONFIG),
    all("cluster-dns", KUBELET_CONFIG),
    all("cluster-domain", KUBELET_CONFIG),
    all("config", "it names the KubeletConfiguration that nodekiln writes"),
    all("config-dir", "what it holds would be merged over the KubeletConfiguration that nodekiln writes"),
    all("container-runtime-endpoint", KUBELET_CONFIG),
    all("enable-server", KUBELET_CONFIG),
    all("fail-swap-on", "it follows from `kernel.swap`"),
    all("healthz-*", KUBELET_CONFIG),
    all("hostname-override", "it is the node's name"),
    all("kubeconfig", KUBECONFIG),
    all("manifest-url*", "static pods come from nodekiln"),
    all("node-ip", "it is the node's `address`"),
    all("node-labels", "labels stand in the node's `labels`"),
    all("pod-cidr", "it is the node's `podCIDR`"),
    all("pod-infra-container-image", "it follows from `imageRepository`, and kubelets from 1.35 on do not know it"),
    all("pod-manifest-path", KUBELET_CONFIG),
    all("port", KUBELET_CONFIG),
    all("read-only-port", KUBELET_CONFIG),
    only("register-node", FALSE, "the API objects of the node expect it"),
    all("register-with-taints", "taints stand in the node's `taints`"),
    all("root-dir", "firstboot expects /var/lib/kubelet"),
    all("rotate-certificates", KUBELET_CONFIG),
    all("tls-cert-file", KUBELET_CONFIG),
    all("tls-private-key-file", KUBELET_CONFIG),
];

/// Fields of KubeletConfiguration, by path.
pub(crate) const KUBELET_FIELDS: &[(&[&str], &str)] = &[
    (&["authentication", "anonymous"], "kubelets trust clients of the cluster's CA only"),
    (&["authentication", "webhook", "enabled"], "kubelets trust clients of the cluster's CA only"),
    (&["authentication", "x509"], PKI),
    (&["authorization", "mode"], "the API server decides who may ask a kubelet"),
    (&["clusterDomain"], "it is `networking.dnsDomain`"),
    (&["containerRuntimeEndpoint"], "it is containerd's socket"),
    (&["enableServer"], "firstboot asks the kubelet for its health"),
    (&["healthzBindAddress"], "firstboot asks 127.0.0.1:10248"),
    (&["healthzPort"], "firstboot asks 127.0.0.1:10248"),
    (&["podCIDR"], "it is the node's `podCIDR`"),
    (&["port"], "the API server and preflight expect 10250"),
    (&["readOnlyPort"], "it would show the node's pods to anybody"),
    (&["registerNode"], "the API objects of the node expect it"),
    (&["registerWithTaints"], "taints stand in the node's `taints`"),
    (&["rotateCertificates"], "the baked client certificate is renewed by the kubelet itself"),
    (&["serverTLSBootstrap"], "the serving certificate is made by nodekiln"),
    (&["staticPodPath"], "firstboot lays the static pods at /etc/kubernetes/manifests"),
    (&["staticPodURL"], "static pods come from nodekiln"),
    (&["tlsCertFile"], PKI),
    (&["tlsPrivateKeyFile"], PKI),
    (&["failSwapOn"], "it follows from `kernel.swap`"),
];

/// Fields of KubeProxyConfiguration, by path.
pub(crate) const KUBE_PROXY_FIELDS: &[(&[&str], &str)] = &[
    (&["clientConnection", "kubeconfig"], "it is the service account's, mounted into the pod"),
    (&["clusterCIDR"], "it is `networking.podSubnet`"),
    (&["hostnameOverride"], "one configuration serves all nodes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        assert!(find(ETCD, "initial-cluster-token", "x").is_some());
        assert!(find(ETCD, "initial_cluster", "x").is_some());
        assert!(find(ETCD, "enable-grpc-gateway", "false").is_some());
        assert!(find(ETCD, "enable-grpc-gateway", "true").is_none());
        assert!(find(ETCD, "quota-backend-bytes", "1").is_none());
        assert!(find(API_SERVER, "audit-log-path", "/x").is_none());
        assert!(find(KUBELET_FLAGS, "cloud-provider", "external").is_none());
        // Components hold these for constants.
        assert!(find(API_SERVER, "secure-port", "6443").is_some() && find(KUBELET_FLAGS, "root-dir", "/x").is_some());
        assert!(find(KUBELET_FLAGS, "cgroup_driver", "cgroupfs").is_some());
        assert!(find(KUBELET_FLAGS, "cgroup-driver", "systemd").is_none());
        // What the configuration may not say, no flag may either: flags win.
        for flag in [
            "port",
            "read-only-port",
            "enable-server",
            "fail-swap-on",
            "healthz-port",
            "tls-cert-file",
            "pod-infra-container-image",
        ] {
            assert!(find(KUBELET_FLAGS, flag, "1").is_some(), "{flag}");
        }
    }
}
