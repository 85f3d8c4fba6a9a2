//! The ConfigMap `kubeadm-config`: this cluster as kubeadm's ClusterConfiguration (v1beta4), for kubeadm's own tools.

use super::{NAMESPACE, Site, comma, etcd_access, image, pretty};
use crate::config::{Algorithm, Arg, ControlPlaneComponent, ImageOverride, San, Volume};
use serde_json::{Map, Value, json};

/// The ConfigMap.
pub(crate) fn config_map(site: &Site) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": NAMESPACE},
        "data": {"ClusterConfiguration": pretty(&cluster_configuration(site))},
    })
}

fn cluster_configuration(site: &Site) -> Value {
    let cluster = site.cluster;
    let mut api_server = component(&cluster.api_server);
    insert(&mut api_server, "certSANs", sans(&cluster.api_server_sans));
    let mut networking = json!({
        "dnsDomain": cluster.networking.dns_domain,
        "serviceSubnet": comma(&cluster.networking.services),
    });
    if !cluster.networking.pods.is_empty() {
        networking["podSubnet"] = json!(comma(&cluster.networking.pods));
    }
    let mut configuration = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "apiServer": api_server,
        "caCertificateValidityPeriod": duration(cluster.ca_certificate_validity),
        "certificateValidityPeriod": duration(cluster.certificate_validity),
        "certificatesDir": cluster.certificates_dir,
        "clusterName": cluster.name,
        "controlPlaneEndpoint": site.public_endpoint(),
        "controllerManager": component(&cluster.controller_manager),
        "dns": match &cluster.dns {
            Some(over) => image_override(over),
            None => Map::from_iter([("disabled".to_owned(), json!(true))]),
        },
        "encryptionAlgorithm": match cluster.algorithm {
            Algorithm::EcdsaP256 => "ECDSA-P256",
            Algorithm::EcdsaP384 => "ECDSA-P384",
            Algorithm::Rsa2048 => "RSA-2048",
            Algorithm::Rsa3072 => "RSA-3072",
            Algorithm::Rsa4096 => "RSA-4096",
        },
        "etcd": etcd(site),
        "imageRepository": cluster.image_repository,
        "kubernetesVersion": cluster.version,
        "networking": networking,
        "proxy": if cluster.proxy { json!({}) } else { json!({"disabled": true}) },
        "scheduler": component(&cluster.scheduler),
    });
    if !cluster.feature_gates.is_empty() {
        configuration["featureGates"] = json!(cluster.feature_gates);
    }
    configuration
}

/// What the API servers reach: `local` beside them, or `external`, which to kubeadm `etcd` nodes are too.
fn etcd(site: &Site) -> Value {
    if site.is_member() {
        return json!({"local": local_etcd(site)});
    }
    let access = etcd_access::access(site);
    let mut external = Map::new();
    insert(&mut external, "endpoints", Some(json!(access.endpoints)));
    for (name, file) in [("caFile", access.ca), ("certFile", access.cert), ("keyFile", access.key)] {
        insert(&mut external, name, file.map(|file| json!(file)));
    }
    json!({"external": external})
}

fn local_etcd(site: &Site) -> Map<String, Value> {
    let etcd = &site.cluster.etcd;
    let mut local = image_override(&etcd.image);
    // Ours is not kubeadm's default: said here, so that its tools do not go back to that.
    insert(&mut local, "imageTag", Some(json!(image::etcd_tag(site))));
    insert(&mut local, "dataDir", Some(json!(etcd.data_dir)));
    insert(&mut local, "extraArgs", args(&etcd.extra_args));
    insert(&mut local, "extraEnvs", (!etcd.extra_envs.is_empty()).then(|| json!(etcd.extra_envs)));
    insert(&mut local, "serverCertSANs", sans(&etcd.server_sans));
    insert(&mut local, "peerCertSANs", sans(&etcd.peer_sans));
    local
}

fn component(component: &ControlPlaneComponent) -> Map<String, Value> {
    let mut map = Map::new();
    insert(&mut map, "extraArgs", args(&component.extra_args));
    let volumes: Vec<_> = component.extra_volumes.iter().map(volume).collect();
    insert(&mut map, "extraVolumes", (!volumes.is_empty()).then(|| json!(volumes)));
    insert(&mut map, "extraEnvs", (!component.extra_envs.is_empty()).then(|| json!(component.extra_envs)));
    map
}

fn volume(volume: &Volume) -> Value {
    let mut map = Map::new();
    insert(&mut map, "name", Some(json!(volume.name)));
    insert(&mut map, "hostPath", Some(json!(volume.host_path)));
    insert(&mut map, "mountPath", Some(json!(volume.mount_path)));
    insert(&mut map, "readOnly", volume.read_only.then_some(Value::Bool(true)));
    insert(&mut map, "pathType", (!volume.path_type.is_empty()).then(|| json!(volume.path_type)));
    Value::Object(map)
}

fn args(args: &[Arg]) -> Option<Value> {
    let list: Vec<_> = args.iter().map(|arg| json!({"name": arg.name, "value": arg.value})).collect();
    (!list.is_empty()).then(|| json!(list))
}

fn sans(sans: &[San]) -> Option<Value> {
    (!sans.is_empty()).then(|| json!(sans.iter().map(San::to_string).collect::<Vec<_>>()))
}

fn image_override(over: &ImageOverride) -> Map<String, Value> {
    let mut map = Map::new();
    insert(&mut map, "imageRepository", over.repository.as_ref().map(|text| json!(text)));
    insert(&mut map, "imageTag", over.tag.as_ref().map(|text| json!(text)));
    map
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

/// A Go duration, as `time.Duration` prints it.
fn duration(seconds: i64) -> String {
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
