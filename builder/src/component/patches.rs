//! `patches`: the user's patches over what is written, as kubeadm's `patches.directory` lays them.
//!
//! They come after everything else, in the order of their files. What they make has to remain what firstboot and the
//! kubelet expect: the pod of that name, with the arguments, files and certificates that nodekiln owns.

use crate::{
    config::{Cluster, PatchKind, PatchTarget, owned, wrong_types},
    release::{KUBELET_FIELDS, Release},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// A patch that cannot be laid, or must not be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its file.
    pub path: String,
    /// Why.
    pub message: String,
}

/// `original` with every patch for `target` over it. `kubelet` is the release of the kubelet that reads it.
///
/// # Errors
/// The first patch that fails, or whose result would not do.
pub(crate) fn apply(cluster: &Cluster, target: PatchTarget, kubelet: Release, original: Value) -> Result<Value, Fault> {
    let mut value = original.clone();
    for patch in cluster.patches.iter().filter(|patch| patch.target == target) {
        let fault = |message| Fault { path: patch.path.clone(), message };
        match patch.kind {
            PatchKind::Merge => json_patch::merge(&mut value, &patch.value),
            PatchKind::Json => {
                let operations: json_patch::Patch = serde_json::from_value(patch.value.clone())
                    .map_err(|error| fault(format!("is no list of JSON patch operations: {error}")))?;
                json_patch::patch(&mut value, &operations).map_err(|error| fault(error.to_string()))?;
            }
        }
        check(target, kubelet, &original, &value).map_err(fault)?;
    }
    Ok(value)
}

/// Whether `patched` still is what `original` has to be.
fn check(target: PatchTarget, kubelet: Release, original: &Value, patched: &Value) -> Result<(), String> {
    const OBJECT: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];
    unchanged(&OBJECT, original, patched)?;
    let table = match target {
        PatchTarget::ApiServer => owned::API_SERVER,
        PatchTarget::ControllerManager => owned::CONTROLLER_MANAGER,
        PatchTarget::Scheduler => owned::SCHEDULER,
        PatchTarget::Etcd => owned::ETCD,
        PatchTarget::KubeletConfiguration => return configuration(kubelet, original, patched),
        PatchTarget::CoreDnsDeployment | PatchTarget::KubeProxyDaemonSet => {
            return unchanged(&["/spec/selector"], original, patched);
        }
    };
    pod(table, original, patched)
}

fn unchanged(pointers: &[&str], original: &Value, patched: &Value) -> Result<(), String> {
    match pointers.iter().find(|pointer| original.pointer(pointer) != patched.pointer(pointer)) {
        Some(pointer) => Err(format!("`{}` has to stay as it is", pointer.trim_start_matches('/').replace('/', "."))),
        None => Ok(()),
    }
}

/// A KubeletConfiguration: the fields that cluster.yaml may not set either.
fn configuration(kubelet: Release, original: &Value, patched: &Value) -> Result<(), String> {
    let at = |config: &Value, path: &[&str]| config.pointer(&format!("/{}", path.join("/"))).cloned();
    let (_, driver) = owned::CGROUP_DRIVER;
    let fields = owned::KUBELET_FIELDS.iter().map(|(path, why)| (*path, *why)).chain([(&["cgroupDriver"][..], driver)]);
    for (path, why) in fields {
        if at(original, path) != at(patched, path) {
            return Err(format!("`{}` is set by nodekiln: {why}", path.join(".")));
        }
    }
    if let Some(path) = KUBELET_FIELDS.unknown(patched, |path| kubelet.has_kubelet_field(path)) {
        return Err(format!("a kubelet of {} does not know `{path}`", kubelet.version()));
    }
    match wrong_types(&KUBELET_FIELDS, patched).first() {
        Some(wrong) => Err(format!("`{}`: {}", wrong.path_text(), wrong.message())),
        None => Ok(()),
    }
}

/// Volumes that hold certificates, credentials or data of ours.
const VOLUMES: [&str; 4] = ["etcd-certs", "etcd-data", "k8s-certs", "kubeconfig"];

/// A static pod. The kubelet refuses a malformed one at boot, where nobody sees it.
fn pod(table: &'static [owned::Owned], original: &Value, patched: &Value) -> Result<(), String> {
    // The first container is the component: firstboot and the probes find it there.
    unchanged(&["/spec/hostNetwork", "/spec/containers/0/name", "/spec/containers/0/command/0"], original, patched)?;
    shape(patched)?;
    let (before, after) = (owned_arguments(table, original), owned_arguments(table, patched));
    if let Some((argument, why)) = before.symmetric_difference(&after).next() {
        let name = argument.split('=').next().unwrap_or_default().trim_start_matches('-');
        return Err(format!("the argument `{name}` is set by nodekiln: {why}"));
    }
    for name in VOLUMES {
        let volume = |pod: &Value| named(pod.pointer("/spec/volumes"), name);
        let mount = |pod: &Value| named(pod.pointer("/spec/containers/0/volumeMounts"), name);
        if volume(original) != volume(patched) || mount(original) != mount(patched) {
            return Err(format!("the volume `{name}` is nodekiln's own and has to stay as it is"));
        }
    }
    Ok(())
}

/// The arguments of the first container that `table` has, each with the reason. Both forms: `--name=value` and two words.
fn owned_arguments(table: &'static [owned::Owned], pod: &Value) -> BTreeSet<(String, &'static str)> {
    let container = &pod["spec"]["containers"][0];
    let words: Vec<&str> =
        ["command", "args"].iter().flat_map(|key| list(container.get(*key))).filter_map(Value::as_str).collect();
    let mut found = BTreeSet::new();
    for (index, word) in words.iter().enumerate().skip(1) {
        let Some(flag) = word.strip_prefix('-') else { continue };
        let flag = flag.trim_start_matches('-');
        let (name, value) = match flag.split_once('=') {
            Some(parts) => parts,
            None => (flag, words.get(index + 1).copied().unwrap_or_default()),
        };
        if let Some(row) = owned::find(table, name, value) {
            found.insert((format!("{name}={value}"), row.why));
        }
    }
    found
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn named(value: Option<&Value>, name: &str) -> Vec<Value> {
    list(value).iter().filter(|item| item["name"] == name).cloned().collect()
}

/// The rules of core/v1 that a patch breaks most easily.
fn shape(pod: &Value) -> Result<(), String> {
    let spec = &pod["spec"];
    let text = |value: &Value, key: &str, what: &str| match value[key].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{what} has no `{key}`")),
    };
    let lists = ["containers", "initContainers", "volumes"];
    if let Some(key) = lists.iter().find(|key| !matches!(spec[**key], Value::Null | Value::Array(_))) {
        return Err(format!("`spec.{key}` has to be a list"));
    }
    let mut volumes = BTreeSet::new();
    for volume in list(spec.get("volumes")) {
        let name = text(volume, "name", "a volume")?;
        if !volumes.insert(name.clone()) {
            return Err(format!("the volume `{name}` comes twice"));
        }
    }
    let mut containers = BTreeSet::new();
    for container in list(spec.get("containers")).iter().chain(list(spec.get("initContainers"))) {
        let name = text(container, "name", "a container")?;
        text(container, "image", &format!("the container `{name}`"))?;
        for key in ["command", "args"] {
            let value = &container[key];
            if !value.is_null() && !value.as_array().is_some_and(|list| list.iter().all(Value::is_string)) {
                return Err(format!("`{key}` of the container `{name}` has to be a list of texts"));
            }
        }
        let mut paths = BTreeSet::new();
        for mount in list(container.get("volumeMounts")) {
            let volume = text(mount, "name", "a volume mount")?;
            let path = text(mount, "mountPath", &format!("the mount of `{volume}`"))?;
            if !volumes.contains(&volume) {
                return Err(format!("the container `{name}` mounts `{volume}`, and the pod has no such volume"));
            }
            if !paths.insert(path.clone()) {
                return Err(format!("the container `{name}` has two mounts at `{path}`"));
            }
        }
        if !containers.insert(name.clone()) {
            return Err(format!("the container `{name}` comes twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Shape;
    use crate::{
        component::{Site, apiserver, coredns, etcd, kubelet},
        config::Patch,
        node::fixture,
    };
    use serde_json::json;

    fn patched(target: PatchTarget, kind: PatchKind, value: Value) -> Result<Value, Fault> {
        let mut cluster = fixture::cluster("cloud-init", &["cp1"]);
        cluster.patches = vec![Patch { target, kind, path: "patches/x.yaml".to_owned(), value }];
        let shape = &Shape::default();
        let site = Site::new(&cluster, &cluster.nodes[0], shape).unwrap();
        let original = match target {
            PatchTarget::ApiServer => apiserver::manifest(&site),
            PatchTarget::Etcd => etcd::manifest(&site),
            PatchTarget::KubeletConfiguration => kubelet::config(&site),
            PatchTarget::CoreDnsDeployment => {
                let objects = coredns::objects(&site);
                objects.into_iter().find(|object| object["kind"] == "Deployment").unwrap()
            }
            PatchTarget::ControllerManager | PatchTarget::Scheduler | PatchTarget::KubeProxyDaemonSet => {
                unreachable!("not in these tests")
            }
        };
        apply(&cluster, target, site.kubelet, original)
    }

    use PatchKind::{Json, Merge};
    use PatchTarget::{ApiServer, CoreDnsDeployment, Etcd, KubeletConfiguration};

    #[test]
    fn laid() {
        for (target, kind, value, pointer, want) in [
            (
                ApiServer,
                Merge,
                json!({"metadata": {"annotations": {"lab.example/owner": "platform"}}}),
                "/metadata/annotations/lab.example~1owner",
                json!("platform"),
            ),
            (
                Etcd,
                Json,
                json!([{"op": "add", "path": "/spec/containers/0/resources/requests/ephemeral-storage", "value": "200Mi"}]),
                "/spec/containers/0/resources/requests",
                json!({"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "200Mi"}),
            ),
            (
                ApiServer,
                Json,
                json!([{"op": "add", "path": "/spec/containers/0/command/-", "value": "--audit-log-path=-"}]),
                "/spec/containers/0/command/30",
                json!("--audit-log-path=-"),
            ),
            (KubeletConfiguration, Merge, json!({"maxPods": 7, "healthzPort": 10248}), "/maxPods", json!(7)),
            (CoreDnsDeployment, Merge, json!({"spec": {"replicas": 5}}), "/spec/replicas", json!(5)),
            // RFC 7386: null takes a member away, a list replaces a list.
            (ApiServer, Merge, json!({"metadata": {"annotations": null}}), "/metadata/annotations", Value::Null),
        ] {
            let found = patched(target, kind, value).unwrap();
            assert_eq!(found.pointer(pointer).unwrap_or(&Value::Null), &want, "{pointer}");
        }
    }

    #[test]
    fn in_the_order_of_their_files() {
        let mut cluster = fixture::cluster("cloud-init", &["cp1"]);
        let patch = |path: &str, kind, value| Patch { target: CoreDnsDeployment, kind, path: path.to_owned(), value };
        cluster.patches = vec![
            patch("a", Merge, json!({"spec": {"replicas": 3}})),
            patch(
                "b",
                Json,
                json!([{"op": "test", "path": "/spec/replicas", "value": 3},
                                    {"op": "replace", "path": "/spec/replicas", "value": 4}]),
            ),
        ];
        let shape = &Shape::default();
        let site = Site::new(&cluster, &cluster.nodes[0], shape).unwrap();
        let original = json!({"spec": {"replicas": 2}});
        let found = apply(&cluster, CoreDnsDeployment, site.kubelet, original.clone()).unwrap();
        assert_eq!(found, json!({"spec": {"replicas": 4}}));
        cluster.patches.reverse();
        let site = Site::new(&cluster, &cluster.nodes[0], shape).unwrap();
        let fault = apply(&cluster, CoreDnsDeployment, site.kubelet, original).unwrap_err();
        assert!(fault.path == "b" && fault.message.contains("value did not match"), "{fault:?}");
    }

    #[test]
    fn refused() {
        let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
        let container = json!({"spec": {"containers": [{"name": "kube-apiserver", "image": "x"}]}});
        for (target, kind, value, want) in [
            (Etcd, Json, json!({"op": "add"}), "is no list of JSON patch operations"),
            (Etcd, Json, add("/spec/nowhere/0", json!(1)), "path is invalid"),
            (Etcd, Json, json!([{"op": "test", "path": "/kind", "value": "x"}]), "value did not match"),
            (Etcd, Merge, json!([1]), "`apiVersion` has to stay as it is"),
            (Etcd, Merge, json!({"metadata": {"name": "other"}}), "`metadata.name` has to stay as it is"),
            (Etcd, Merge, json!({"metadata": {"namespace": "x"}}), "`metadata.namespace` has to stay as it is"),
            (Etcd, Merge, json!({"spec": {"hostNetwork": false}}), "`spec.hostNetwork` has to stay as it is"),
            (
                Etcd,
                Json,
                add("/spec/containers/0/command/-", json!("--initial-cluster-state=new")),
                "the argument `initial-cluster-state` is set by nodekiln: firstboot decides how this member starts",
            ),
            (
                Etcd,
                Json,
                add("/spec/containers/0/args", json!(["--data-dir", "/x"])),
                "the argument `data-dir` is set by nodekiln: it is `etcd.local.dataDir`",
            ),
            (
                ApiServer,
                Json,
                json!([{"op": "remove", "path": "/spec/containers/0/command/1"}]),
                "the argument `advertise-address` is set by nodekiln: it is the node's `address`",
            ),
            (ApiServer, Merge, container, "`spec.containers.0.command.0` has to stay as it is"),
            (
                Etcd,
                Merge,
                json!({"spec": {"volumes": []}}),
                "the container `etcd` mounts `etcd-certs`, and the pod has no such volume",
            ),
            (
                Etcd,
                Json,
                json!([{"op": "replace", "path": "/spec/volumes/1/hostPath/path", "value": "/tmp"}]),
                "the volume `etcd-data` is nodekiln's own and has to stay as it is",
            ),
            (
                ApiServer,
                Json,
                add("/spec/containers/0/volumeMounts/-", json!({"name": "ca-certs", "mountPath": "/etc/ssl/certs"})),
                "the container `kube-apiserver` has two mounts at `/etc/ssl/certs`",
            ),
            (ApiServer, Json, add("/spec/containers/-", json!({"name": "x"})), "the container `x` has no `image`"),
            (
                KubeletConfiguration,
                Merge,
                json!({"staticPodPath": "/x"}),
                "`staticPodPath` is set by nodekiln: firstboot lays the static pods at /etc/kubernetes/manifests",
            ),
            (
                KubeletConfiguration,
                Merge,
                json!({"authentication": {"anonymous": {"enabled": true}}}),
                "`authentication.anonymous` is set by nodekiln: kubelets trust clients of the cluster's CA only",
            ),
            (KubeletConfiguration, Merge, json!({"cgroupDriver": "cgroupfs"}), "`cgroupDriver` is set by nodekiln"),
            (KubeletConfiguration, Merge, json!({"maxPodz": 1}), "a kubelet of v1.36.3 does not know `maxPodz`"),
            (
                KubeletConfiguration,
                Merge,
                json!({"reservedMemory": [{"numaNode": "0"}]}),
                "`reservedMemory[0].numaNode`: this has to be a whole number, not a text",
            ),
            (
                KubeletConfiguration,
                Json,
                add("/syncFrequency", Value::Null),
                "`syncFrequency`: this has to be a duration, not nothing",
            ),
            (
                CoreDnsDeployment,
                Merge,
                json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
                "`spec.selector` has to stay as it is",
            ),
        ] {
            let fault = patched(target, kind, value).expect_err(want);
            assert_eq!(fault.path, "patches/x.yaml");
            assert!(fault.message.contains(want), "{}\n{want}", fault.message);
        }
    }
}
