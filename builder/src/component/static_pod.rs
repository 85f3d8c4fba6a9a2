//! The shape that all control-plane pods share: kubeadm's `staticpod.ComponentPod`.

use super::ClassSite;
use crate::{
    config::{Fragment, Volume},
    release::Behaviour,
};
use nodekiln_plan::AbsPath;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A pod of one container in the host's network.
pub(crate) struct StaticPod {
    /// Of the pod, the container and the label `component`.
    pub name: &'static str,
    /// Image.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// resources.requests.
    pub requests: Value,
    /// Annotations.
    pub annotations: BTreeMap<&'static str, String>,
    /// Environment, the user's.
    pub env: Vec<Fragment>,
    /// Ours and the user's, by name.
    pub volumes: BTreeMap<String, Volume>,
    /// How its health is seen.
    pub probes: Probes,
}

/// Health probes of a component: one address, a path per probe.
pub(crate) struct Probes {
    /// `HTTP` or `HTTPS`.
    pub scheme: &'static str,
    /// Host; the pod's own address when empty.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the liveness probe.
    pub liveness: &'static str,
    /// Path of the readiness probe.
    pub readiness: Option<&'static str>,
    /// Path of the startup probe.
    pub startup: &'static str,
}

/// A host path mounted at the same place.
pub(crate) fn host_path(name: &str, path: &AbsPath, path_type: &str, read_only: bool) -> Volume {
    Volume {
        name: name.to_owned(),
        host_path: path.clone(),
        mount_path: path.clone(),
        read_only,
        path_type: path_type.to_owned(),
    }
}

/// The host's CA folders: what the machine trusts, kube-apiserver trusts for webhooks and OIDC. kubeadm looks for them
/// on the host; the profile knows which there are.
pub(crate) fn ca_folders(site: &ClassSite) -> Vec<Volume> {
    let mut volumes = vec![host_path("ca-certs", &super::constant("/etc/ssl/certs"), "DirectoryOrCreate", true)];
    for folder in &site.class.os.profile.ca_dirs {
        let name = folder.as_str().trim_start_matches('/').replace('/', "-");
        volumes.push(host_path(&name, folder, "DirectoryOrCreate", true));
    }
    volumes
}

/// Ours by name, a user's volume of the same name in its place.
pub(crate) fn volumes(ours: Vec<Volume>, users: &[Volume]) -> BTreeMap<String, Volume> {
    ours.into_iter().chain(users.iter().cloned()).map(|volume| (volume.name.clone(), volume)).collect()
}

/// A path at which the user mounts something beside ours: the kubelet refuses a pod with two mounts at one path.
pub(crate) fn clash<'a>(ours: &[Volume], users: &'a [Volume]) -> Option<&'a AbsPath> {
    let kept = || ours.iter().filter(|own| users.iter().all(|user| user.name != own.name));
    users.iter().map(|user| &user.mount_path).find(|path| kept().any(|own| own.mount_path == **path))
}

/// A static pod of one container in the host's network, which the node keeps before all others.
pub(crate) fn pod(site: &ClassSite, labels: Value, name: &str, container: &Value, volumes: &Value) -> Value {
    let mut security = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    if let Some(kind) = &site.class.os.profile.static_pod_selinux_type {
        security["seLinuxOptions"] = json!({"type": kind});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": super::NAMESPACE, "labels": labels},
        "spec": {
            "containers": [container],
            "hostNetwork": true,
            "priority": 2_000_001_000,
            "priorityClassName": "system-node-critical",
            "securityContext": security,
            "volumes": volumes,
        },
        "status": {},
    })
}

impl StaticPod {
    /// The manifest.
    pub fn render(&self, site: &ClassSite) -> Value {
        let labels = json!({"component": self.name, "tier": "control-plane"});
        let volumes: Value = self.volumes.values().map(volume).collect();
        let mut pod = pod(site, labels, self.name, &self.container(site), &volumes);
        if !self.annotations.is_empty() {
            pod["metadata"]["annotations"] = json!(self.annotations);
        }
        pod
    }

    fn container(&self, site: &ClassSite) -> Value {
        let mut container = json!({
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": self.command,
            "resources": {"requests": self.requests},
            "volumeMounts": self.volumes.values().map(mount).collect::<Vec<_>>(),
        });
        let mut env: Vec<_> = self.env.iter().collect();
        env.sort_by_key(|variable| variable.get("name").and_then(Value::as_str).unwrap_or_default());
        if !env.is_empty() {
            container["env"] = json!(env);
        }
        let named = site.release.has(Behaviour::NamedProbePort);
        if named {
            container["ports"] = json!([{"name": "probe-port", "containerPort": self.probes.port, "protocol": "TCP"}]);
        }
        let port = if named { json!("probe-port") } else { json!(self.probes.port) };
        let probe = |path: &str, delay: u32, period: u32, failures: u64| {
            let mut get = json!({"path": path, "port": port, "scheme": self.probes.scheme});
            if !self.probes.host.is_empty() {
                get["host"] = json!(self.probes.host);
            }
            let mut probe = json!({
                "httpGet": get, "periodSeconds": period, "timeoutSeconds": 15, "failureThreshold": failures,
            });
            if delay != 0 {
                probe["initialDelaySeconds"] = json!(delay);
            }
            probe
        };
        // As long as kubeadm's timeout, at one probe in ten seconds.
        let startup = site.cluster.timeouts.control_plane_component_health_check.div_ceil(10).max(1);
        container["livenessProbe"] = probe(self.probes.liveness, 10, 10, 8);
        container["startupProbe"] = probe(self.probes.startup, 10, 10, startup);
        if let Some(path) = self.probes.readiness {
            container["readinessProbe"] = probe(path, 0, 1, 3);
        }
        container
    }
}

fn volume(volume: &Volume) -> Value {
    let mut host = Map::new();
    host.insert("path".to_owned(), json!(volume.host_path));
    if !volume.path_type.is_empty() {
        host.insert("type".to_owned(), json!(volume.path_type));
    }
    json!({"name": volume.name, "hostPath": host})
}

fn mount(volume: &Volume) -> Value {
    let mut mount = json!({"name": volume.name, "mountPath": volume.mount_path});
    if volume.read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}
