//! Clusters for tests, made by hand.

use super::Sources;
use crate::config::*;
use nodekiln_payload::Profile;
use nodekiln_plan::{Role, Timeouts};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// A firstboot for amd64.
pub(crate) fn sources() -> Sources {
    Sources::new(BTreeMap::from([(Arch::Amd64, Arc::from(&b"firstboot"[..]))]))
}

/// An input file.
pub(crate) fn input(path: &str, bytes: &[u8]) -> InputFile {
    InputFile { path: path.to_owned(), bytes: Arc::from(bytes) }
}

/// A cluster of one control plane per name, then a worker `w1`, under this profile.
pub(crate) fn cluster(profile: &str, control_planes: &[&str]) -> Cluster {
    let pods: nodekiln_plan::Cidr = "10.244.0.0/16".parse().unwrap();
    let names = control_planes.iter().map(|name| (*name, Role::ControlPlane)).chain([("w1", Role::Worker)]);
    let nodes = names.enumerate().map(|(index, (name, role))| {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11 + u8::try_from(index).unwrap()));
        let mut node = node(profile, name, role, address);
        node.pod_cidrs = vec![pods.subnet(24, index as u128).unwrap()];
        node
    });
    Cluster {
        name: "lab".parse().unwrap(),
        version: "v1.36.3".parse().unwrap(),
        endpoint: "10.0.0.10:6443".parse().unwrap(),
        networking: Networking {
            pods: vec![pods],
            services: vec!["10.96.0.0/12".parse().unwrap()],
            dns_domain: "cluster.local".parse().unwrap(),
        },
        api_server: ControlPlaneComponent::default(),
        api_server_sans: vec![],
        controller_manager: ControlPlaneComponent::default(),
        scheduler: ControlPlaneComponent::default(),
        etcd: Etcd {
            data_dir: "/var/lib/etcd".parse().unwrap(),
            extra_args: vec![],
            extra_envs: vec![],
            server_sans: vec![],
            peer_sans: vec![],
            image: ImageOverride::default(),
        },
        external_etcd: None,
        feature_gates: BTreeMap::new(),
        patches: vec![],
        image_digests: BTreeMap::new(),
        load_balancer: LoadBalancer::External,
        manifests: vec![],
        pools: vec![],
        dns: Some(ImageOverride::default()),
        proxy: true,
        certificates_dir: "/etc/kubernetes/pki".parse().unwrap(),
        image_repository: "registry.k8s.io".to_owned(),
        algorithm: Algorithm::EcdsaP256,
        certificate_validity: 8760 * 3600,
        ca_certificate_validity: 87600 * 3600,
        kubelet: Fragment::new(),
        kube_proxy: Fragment::new(),
        cni: Cni::None,
        delivery: Delivery { mode: DeliveryMode::Inline, base_url: None, ca: None },
        timeouts: Timeouts::default(),
        nodes: nodes.collect(),
    }
}

/// A node.
pub(crate) fn node(profile: &str, name: &str, role: Role, address: IpAddr) -> Node {
    Node {
        disk: None,
        replaces: None,
        name: name.parse().unwrap(),
        addresses: vec![address],
        mac: None,
        uuid: None,
        network: None,
        labels: Common::default(),
        pod_cidrs: vec![],
        class: Arc::new(class(profile, role)),
    }
}

/// What it shares with others.
pub(crate) fn class(profile: &str, role: Role) -> NodeClass {
    let taints = match role {
        Role::ControlPlane => vec!["node-role.kubernetes.io/control-plane:NoSchedule".parse().unwrap()],
        _ => vec![],
    };
    let profile = Profile::find(profile).unwrap();
    let path = |path: &str| Binary::Path(path.parse().unwrap());
    NodeClass {
        kind: NodeKind::Machine,
        identity: NodeIdentity::Baked,
        role,
        taints: taints.into(),
        version: "v1.36.3".parse().unwrap(),
        kubelet: Fragment::new().into(),
        kubelet_extra_args: Common::default(),
        ignore_preflight_errors: Common::default(),
        kernel: Common::default(),
        os: Common::from(Os {
            profile,
            platform: Platform::Metal,
            arch: Arch::Amd64,
            ignition_version: IgnitionVersion::V3_3,
            users: vec![],
            time_servers: vec![],
            updates: false,
            files: vec![],
            units: vec![],
            snippets: vec![],
        }),
        binaries: Common::from(Binaries {
            kubelet: path(&format!("{}/kubelet", profile.bin_dir)),
            containerd: path("/usr/bin/containerd"),
            runc: path("/usr/bin/runc"),
            cni_plugins: path("/opt/cni/bin"),
            firstboot: None,
        }),
    }
}

/// Arguments.
pub(crate) fn args(list: &[(&str, &str)]) -> Vec<Arg> {
    list.iter().map(|(name, value)| Arg { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}
