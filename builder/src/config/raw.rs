//! [`RawCluster`]: a mirror of cluster.yaml, field by field, nothing filled in and no two fields compared.
//!
//! The tables below are the schema, for the reader and for `nodekiln schema`: a field is what it means, the key it is
//! read from, and behind `=>` what its type does not say. A key under `later` is known but refused by name until a
//! version of nodekiln renders it; supporting it means moving it up and giving it a type.

use super::{
    Platform,
    choices::{self, names},
    object::Object,
    read::{Field, Keys, Place, Read, Reader},
    resolve::LOAD_BALANCERS,
    schema::{Key, Shapes, note},
    values::{FileMode, Hidden, Later, Named, NumberOrText, OneOrMany, Switch, Ttl, Version},
    yaml::NodeId,
};
use serde_json::Value;

pub(super) use super::read::At;

macro_rules! raw {
    ($(#[doc = $doc:literal])+ $name:ident {
        $($(#[doc = $about:literal])+ $field:ident: $type:ty = $key:literal $(=> $note:expr)?,)*
    } later [$($later:literal),*]) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default)]
        pub(in crate::config) struct $name {
            $($(#[doc = $about])+ pub(in crate::config) $field: Field<$type>,)*
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

            fn schema(shapes: &mut Shapes) -> Value {
                let keys = vec![$(Key {
                    name: $key,
                    doc: &[$($about),+],
                    note: raw!(@note $($note)?),
                    shape: <$type as Read>::schema,
                },)*];
                shapes.mapping(stringify!($name), &[$($doc),+], keys, &[$($later),*])
            }
        }
    };
    (@note $note:expr) => { $note };
    (@note) => { note() };
}

mod machine;

pub(super) use machine::*;

/// vMAJOR.MINOR.PATCH.
const VERSION: &str = r"^v[0-9]+\.[0-9]+\.[0-9]+$";
/// Go's durations.
const DURATION: &str = r"^\+?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+$";
/// A path from the root.
const ABSOLUTE: &str = "^/";

/// A list whose items know their places.
pub(super) type List<T> = Vec<At<T>>;

raw! {
    /// The whole file.
    RawCluster {
        /// Version of this file's schema.
        api_version: String = "apiVersion" => note().required().one_of(|| vec!["nodekiln/v1alpha1"]),
        /// What this file describes.
        kind: String = "kind" => note().required().one_of(|| vec!["Cluster"]),
        /// Name of the cluster, in kubeconfigs and certificates of its own.
        cluster_name: String = "clusterName" => note().default("kubernetes"),
        /// Version of Kubernetes, all three numbers: `v1.36.3`.
        kubernetes_version: Version = "kubernetesVersion" => note().required().pattern(VERSION),
        /// Where workers and admin.conf find the API server, `HOST:PORT`. By default the address of the only control
        /// plane.
        control_plane_endpoint: String = "controlPlaneEndpoint",
        /// Networks of pods and services, and the DNS domain.
        networking: RawNetworking = "networking",
        /// kube-apiserver.
        api_server: RawApiServer = "apiServer",
        /// kube-controller-manager.
        controller_manager: RawComponent = "controllerManager",
        /// kube-scheduler.
        scheduler: RawComponent = "scheduler",
        /// etcd.
        etcd: RawEtcd = "etcd",
        /// CoreDNS.
        dns: RawDns = "dns",
        /// kube-proxy.
        proxy: RawProxy = "proxy",
        /// Folder of certificates and keys on control planes.
        certificates_dir: String = "certificatesDir" => note().default("/etc/kubernetes/pki"),
        /// Registry and folder that images of Kubernetes are pulled from.
        image_repository: String = "imageRepository" => note().default("registry.k8s.io"),
        /// Algorithm of all keys but the kubelets', which are always ECDSA-P256.
        encryption_algorithm: String = "encryptionAlgorithm" => note().one_of(|| names(&choices::ALGORITHMS)).default("ECDSA-P256"),
        /// Lifetime of certificates, counted from the day the secrets were made or last renewed.
        certificate_validity: String = "certificateValidityPeriod" => note().default("8760h").pattern(DURATION),
        /// Lifetime of the certificate authorities, counted from the day they were made.
        ca_certificate_validity: String = "caCertificateValidityPeriod" => note().default("87600h").pattern(DURATION),
        /// Feature gates of kubeadm.
        feature_gates: Named<bool> = "featureGates",
        /// Folder of patches under kubeadm's file names, relative to cluster.yaml.
        patches: String = "patches",
        /// Fields of KubeletConfiguration (kubelet.config.k8s.io/v1beta1), laid over what nodekiln sets.
        kubelet: Object = "kubelet",
        /// Fields of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), laid over what nodekiln sets.
        kube_proxy: Object = "kubeProxy",
        /// Flags of the kubelet.
        kubelet_extra_args: List<RawArg> = "kubeletExtraArgs",
        /// Checks of firstboot that only warn: kubeadm's names, or `all`.
        ignore_preflight_errors: List<String> = "ignorePreflightErrors",
        /// Deadlines of firstboot.
        timeouts: RawTimeouts = "timeouts",
        /// What stands in front of several control planes.
        load_balancer: String = "loadBalancer" => note().one_of(|| names(&LOAD_BALANCERS)),
        /// The machines.
        nodes: List<Later<RawNode>> = "nodes" => note().required(),
        /// Pools of workers: many machines with one payload, which prove who they are by a bootstrap token.
        pools: List<Later<RawPool>> = "pools",
        /// The operating system of all nodes; a node's own `os` lies over it.
        os: RawOs = "os",
        /// Where programs come from; a node's own `binaries` lie over it.
        binaries: RawBinaries = "binaries",
        /// Modules, sysctls and swap; a node's own `kernel` lies over it.
        kernel: RawKernel = "kernel",
        /// Container images.
        images: RawImages = "images",
        /// What is installed into the cluster.
        addons: RawAddons = "addons",
        /// How machines are given their configuration.
        delivery: RawDelivery = "delivery",
    } later ["pxe"]
}

raw! {
    /// networking.
    RawNetworking {
        /// Network of the pods, `CIDR` or `CIDR,CIDR` with one of each family.
        pod_subnet: String = "podSubnet",
        /// Network of the services, of the same families.
        service_subnet: String = "serviceSubnet" => note().default("10.96.0.0/12"),
        /// DNS domain of services.
        dns_domain: String = "dnsDomain" => note().default("cluster.local"),
    } later []
}

raw! {
    /// An argument.
    RawArg {
        /// Name of the flag, without dashes.
        name: String = "name" => note().required(),
        /// Its value. Numbers and booleans are quoted.
        value: Hidden = "value" => note().required(),
    } later []
}

raw! {
    /// A host path volume.
    RawVolume {
        /// Name of the volume.
        name: String = "name" => note().required(),
        /// Path on the node.
        host_path: String = "hostPath" => note().required().pattern(ABSOLUTE),
        /// Path in the container.
        mount_path: String = "mountPath" => note().required().pattern(ABSOLUTE),
        /// Whether the container cannot write to it.
        read_only: bool = "readOnly",
        /// HostPathType of core/v1.
        path_type: String = "pathType" => note().one_of(|| names(&choices::HOST_PATH_TYPES)),
    } later []
}

raw! {
    /// apiServer.
    RawApiServer {
        /// Flags; a name replaces nodekiln's own flag of that name.
        extra_args: List<RawArg> = "extraArgs",
        /// Host paths; a name replaces nodekiln's own volume of that name.
        extra_volumes: List<RawVolume> = "extraVolumes",
        /// Environment variables (EnvVar of core/v1).
        extra_envs: List<Object> = "extraEnvs",
        /// More names and addresses for the serving certificate.
        cert_sans: List<String> = "certSANs",
    } later []
}

raw! {
    /// controllerManager, scheduler.
    RawComponent {
        /// Flags; a name replaces nodekiln's own flag of that name.
        extra_args: List<RawArg> = "extraArgs",
        /// Host paths; a name replaces nodekiln's own volume of that name.
        extra_volumes: List<RawVolume> = "extraVolumes",
        /// Environment variables (EnvVar of core/v1).
        extra_envs: List<Object> = "extraEnvs",
    } later []
}

raw! {
    /// etcd.
    RawEtcd {
        /// The members that nodekiln makes.
        local: RawLocalEtcd = "local",
        /// Members that somebody else runs. This or `local`.
        external: RawExternalEtcd = "external",
    } later []
}

raw! {
    /// etcd.external.
    RawExternalEtcd {
        /// URLs of the members' client ports.
        endpoints: List<String> = "endpoints" => note().required().pattern("^https?://"),
        /// CA that signs the members' certificates. A relative path is an input file, an absolute one is on the node.
        ca_file: String = "caFile",
        /// Client certificate of the API server; with `keyFile`.
        cert_file: String = "certFile",
        /// Its private key.
        key_file: String = "keyFile",
    } later []
}

raw! {
    /// etcd.local.
    RawLocalEtcd {
        /// Folder of etcd's data, on a disk that outlives the operating system.
        data_dir: String = "dataDir" => note().default("/var/lib/etcd"),
        /// Flags; a name replaces nodekiln's own flag of that name.
        extra_args: List<RawArg> = "extraArgs",
        /// Environment variables (EnvVar of core/v1).
        extra_envs: List<Object> = "extraEnvs",
        /// More names and addresses for etcd's serving certificate.
        server_sans: List<String> = "serverCertSANs",
        /// More names and addresses for etcd's peer certificate.
        peer_sans: List<String> = "peerCertSANs",
        /// Another repository for this image.
        image_repository: String = "imageRepository",
        /// Another tag for this image.
        image_tag: String = "imageTag",
    } later []
}

raw! {
    /// dns.
    RawDns {
        /// Whether CoreDNS is left out.
        disabled: bool = "disabled",
        /// Another repository for this image.
        image_repository: String = "imageRepository",
        /// Another tag for this image.
        image_tag: String = "imageTag",
    } later []
}

raw! {
    /// proxy.
    RawProxy {
        /// Whether kube-proxy is left out.
        disabled: bool = "disabled",
    } later []
}

raw! {
    /// timeouts.
    RawTimeouts {
        /// Until the node's own control plane is healthy.
        control_plane: String = "controlPlaneComponentHealthCheck" => note().default("4m").pattern(DURATION),
        /// Until the kubelet's healthz answers.
        kubelet: String = "kubeletHealthCheck" => note().default("4m").pattern(DURATION),
        /// Each call to the API server, retries included.
        api: String = "kubernetesAPICall" => note().default("1m").pattern(DURATION),
        /// Each call to etcd, retries included.
        etcd: String = "etcdAPICall" => note().default("2m").pattern(DURATION),
        /// Until the kubelet has its certificate by TLS bootstrap.
        tls_bootstrap: String = "tlsBootstrap" => note().default("5m").pattern(DURATION),
    } later []
}

raw! {
    /// images.
    RawImages {
        /// Digests to pin, `sha256:...` by image with its tag.
        digests: Named<String> = "digests",
    } later ["preload"]
}

raw! {
    /// addons.
    RawAddons {
        /// The network add-on.
        cni: String = "cni" => note().one_of(|| names(&choices::NETWORK_ADDONS)).default("none"),
        /// Files or folders of API objects, relative to cluster.yaml, which firstboot applies.
        manifests: List<String> = "manifests",
    } later []
}

raw! {
    /// delivery.
    RawDelivery {
        /// Whether machines are given the whole configuration or a stub that points at it.
        mode: String = "mode" => note().one_of(|| names(&choices::DELIVERY_MODES)).default("inline"),
        /// Where the output's folder `serve` is published. Programs are fetched from there, not carried.
        base_url: String = "baseURL" => note().pattern("^https?://"),
        /// Whether payloads with private keys may be fetched by plain http.
        insecure: bool = "insecure",
        /// Certificate authorities of the server, PEM, for machines that do not know them.
        ca_file: String = "caFile",
    } later []
}
