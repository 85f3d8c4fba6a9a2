//! [`RawCluster`]: a mirror of cluster.yaml, field by field, nothing filled in and no two fields compared.
//!
//! The tables below are the schema: a field is one line with the key it is read from. A key under `later` is known but
//! refused by name until a version of nodekiln renders it; supporting it means moving it up and giving it a type.

use super::{
    object::Object,
    read::{Field, Hidden, Keys, NumberOrText, OneOrMany, Place, Read, Reader, Switch, Texts, Version},
    yaml::NodeId,
};

pub(super) use super::read::At;

macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $key:literal,)* } later [$($later:literal),*]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Field<$type>,)*
        }

        impl Read for $name {
            fn read(reader: &mut Reader<'_, '_>, node: NodeId, place: &Place) -> Option<Self> {
                const KEYS: Keys = Keys { known: &[$($key),*], later: &[$($later),*] };
                let mut raw = Self::default();
                for (key, value, place) in reader.entries(node, place, &KEYS)? {
                    match key {
                        $($key => raw.$field = reader.field(value, place),)*
                        _ => {}
                    }
                }
                Some(raw)
            }
        }
    };
}

/// A list whose items know their places.
pub(super) type List<T> = Vec<At<T>>;

raw! {
    /// The whole file.
    RawCluster {
        api_version: String = "apiVersion",
        kind: String = "kind",
        cluster_name: String = "clusterName",
        kubernetes_version: Version = "kubernetesVersion",
        control_plane_endpoint: String = "controlPlaneEndpoint",
        networking: RawNetworking = "networking",
        api_server: RawApiServer = "apiServer",
        controller_manager: RawComponent = "controllerManager",
        scheduler: RawComponent = "scheduler",
        etcd: RawEtcd = "etcd",
        dns: RawDns = "dns",
        proxy: RawProxy = "proxy",
        certificates_dir: String = "certificatesDir",
        image_repository: String = "imageRepository",
        encryption_algorithm: String = "encryptionAlgorithm",
        certificate_validity: String = "certificateValidityPeriod",
        ca_certificate_validity: String = "caCertificateValidityPeriod",
        kubelet: Object = "kubelet",
        kube_proxy: Object = "kubeProxy",
        kubelet_extra_args: List<RawArg> = "kubeletExtraArgs",
        ignore_preflight_errors: List<String> = "ignorePreflightErrors",
        timeouts: RawTimeouts = "timeouts",
        load_balancer: String = "loadBalancer",
        nodes: List<RawNode> = "nodes",
        os: RawOs = "os",
        binaries: RawBinaries = "binaries",
        kernel: RawKernel = "kernel",
        addons: RawAddons = "addons",
        delivery: RawDelivery = "delivery",
    } later ["featureGates", "patches", "pools", "images", "pxe"]
}

raw! {
    /// networking.
    RawNetworking {
        pod_subnet: String = "podSubnet",
        service_subnet: String = "serviceSubnet",
        dns_domain: String = "dnsDomain",
    } later []
}

raw! {
    /// An argument.
    RawArg { name: String = "name", value: String = "value", } later []
}

raw! {
    /// A host path volume.
    RawVolume {
        name: String = "name",
        host_path: String = "hostPath",
        mount_path: String = "mountPath",
        read_only: bool = "readOnly",
        path_type: String = "pathType",
    } later []
}

raw! {
    /// apiServer.
    RawApiServer {
        extra_args: List<RawArg> = "extraArgs",
        extra_volumes: List<RawVolume> = "extraVolumes",
        extra_envs: List<Object> = "extraEnvs",
        cert_sans: List<String> = "certSANs",
    } later []
}

raw! {
    /// controllerManager, scheduler.
    RawComponent {
        extra_args: List<RawArg> = "extraArgs",
        extra_volumes: List<RawVolume> = "extraVolumes",
        extra_envs: List<Object> = "extraEnvs",
    } later []
}

raw! {
    /// etcd.
    RawEtcd { local: RawLocalEtcd = "local", } later ["external"]
}

raw! {
    /// etcd.local.
    RawLocalEtcd {
        data_dir: String = "dataDir",
        extra_args: List<RawArg> = "extraArgs",
        extra_envs: List<Object> = "extraEnvs",
        server_sans: List<String> = "serverCertSANs",
        peer_sans: List<String> = "peerCertSANs",
        image_repository: String = "imageRepository",
        image_tag: String = "imageTag",
    } later []
}

raw! {
    /// dns.
    RawDns {
        disabled: bool = "disabled",
        image_repository: String = "imageRepository",
        image_tag: String = "imageTag",
    } later []
}

raw! {
    /// proxy.
    RawProxy { disabled: bool = "disabled", } later []
}

raw! {
    /// timeouts.
    RawTimeouts {
        control_plane: String = "controlPlaneComponentHealthCheck",
        kubelet: String = "kubeletHealthCheck",
        api: String = "kubernetesAPICall",
        etcd: String = "etcdAPICall",
        tls_bootstrap: String = "tlsBootstrap",
    } later []
}

raw! {
    /// nodes[].
    RawNode {
        name: String = "name",
        role: String = "role",
        address: OneOrMany<String> = "address",
        mac: String = "mac",
        uuid: String = "uuid",
        network: RawNetwork = "network",
        labels: Texts = "labels",
        taints: List<String> = "taints",
        identity: String = "identity",
        kubernetes_version: Version = "kubernetesVersion",
        pod_cidr: String = "podCIDR",
        kubelet: Object = "kubelet",
        kubelet_extra_args: List<RawArg> = "kubeletExtraArgs",
        kernel: RawKernel = "kernel",
        os: RawOs = "os",
        binaries: RawBinaries = "binaries",
    } later ["disk", "replaces", "ttl"]
}

raw! {
    /// nodes[].network.
    RawNetwork {
        addresses: List<String> = "addresses",
        gateway: OneOrMany<String> = "gateway",
        nameservers: List<String> = "nameservers",
    } later []
}

raw! {
    /// os, of the cluster or of a node.
    RawOs {
        profile: String = "profile",
        platform: String = "platform",
        arch: String = "arch",
        ignition_version: String = "ignitionVersion",
        users: List<RawUser> = "users",
        time_servers: List<String> = "timeServers",
        updates: Switch = "updates",
        files: List<RawFile> = "files",
        units: List<RawUnit> = "units",
    } later ["snippets"]
}

raw! {
    /// os.users[].
    RawUser {
        name: String = "name",
        ssh_authorized_keys: List<String> = "sshAuthorizedKeys",
        password_hash: Hidden = "passwordHash",
        groups: List<String> = "groups",
    } later []
}

raw! {
    /// os.files[].
    RawFile {
        path: String = "path",
        mode: String = "mode",
        content: Hidden = "content",
        file: String = "file",
    } later []
}

raw! {
    /// os.units[].
    RawUnit {
        name: String = "name",
        enabled: bool = "enabled",
        content: Hidden = "content",
        dropins: List<RawDropin> = "dropins",
    } later []
}

raw! {
    /// os.units[].dropins[].
    RawDropin { name: String = "name", content: Hidden = "content", } later []
}

raw! {
    /// binaries, of the cluster or of a node.
    RawBinaries {
        kubelet: RawBinary = "kubelet",
        containerd: RawBinary = "containerd",
        runc: RawBinary = "runc",
        cni_plugins: RawBinary = "cniPlugins",
        firstboot: RawBinary = "firstboot",
    } later []
}

raw! {
    /// binaries.NAME.
    RawBinary {
        path: String = "path",
        file: String = "file",
        url: String = "url",
        sha256: String = "sha256",
        sha512: String = "sha512",
        sysext: String = "sysext",
    } later []
}

raw! {
    /// kernel, of the cluster or of a node.
    RawKernel {
        modules: List<String> = "modules",
        sysctls: List<RawSysctl> = "sysctls",
        swap: bool = "swap",
    } later []
}

raw! {
    /// kernel.sysctls[].
    RawSysctl {
        name: String = "name",
        value: NumberOrText = "value",
        floor: bool = "floor",
    } later []
}

raw! {
    /// addons.
    RawAddons { cni: String = "cni", } later ["manifests"]
}

raw! {
    /// delivery.
    RawDelivery {
        mode: String = "mode",
        base_url: String = "baseURL",
        insecure: bool = "insecure",
        ca_file: String = "caFile",
    } later []
}
