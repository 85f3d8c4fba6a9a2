//! What a change takes to count: who reads a file, and what of it has to start again.

use super::side::{Body, NodeView};
use crate::component::{firstboot, kubelet};
use nodekiln_plan::UnitName;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// What a change takes to count, the gravest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The machine is wiped and boots the new payload.
    Reimage,
    /// The machine boots again.
    Reboot,
    /// containerd restarts.
    Containerd,
    /// The kubelet restarts.
    Kubelet,
    /// This static pod restarts.
    StaticPod(String),
    /// This unit restarts.
    Unit(String),
    /// Nothing restarts: it is read when it is needed.
    Live,
    /// It counts at the first boot only.
    FirstBoot,
    /// Whatever reads it: no part of Kubernetes does.
    Other,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Reimage => f.write_str("needs to be wiped and booted anew"),
            Effect::Reboot => f.write_str("reboots"),
            Effect::Containerd => f.write_str("containerd restarts"),
            Effect::Kubelet => f.write_str("the kubelet restarts"),
            Effect::StaticPod(name) => write!(f, "the static pod {name} restarts"),
            Effect::Unit(name) => write!(f, "{name} restarts"),
            Effect::Live => f.write_str("nothing restarts"),
            Effect::FirstBoot => f.write_str("counts at a first boot only"),
            Effect::Other => f.write_str("is read by something of yours"),
        }
    }
}

/// Who reads which file, as manifests and units say.
pub(super) struct Readers {
    /// Static pods with the paths that they name.
    pods: Vec<(String, BTreeSet<String>)>,
    /// What the kubelet's unit, drop-ins and configuration name.
    kubelet: Vec<String>,
    static_pods: String,
}

impl Readers {
    /// Of both states of a node.
    pub(super) fn of(views: [&NodeView; 2]) -> Self {
        let mut readers = Self { pods: vec![], kubelet: vec![], static_pods: String::new() };
        for view in views {
            readers.static_pods.clone_from(&view.static_pods);
            for (path, file) in &view.files {
                let Some(text) = file.body.text() else { continue };
                if let Some(name) = pod(path, &view.static_pods) {
                    let value: Value = serde_json::from_str(text).unwrap_or_default();
                    let mut paths = BTreeSet::new();
                    named(&value, &mut paths);
                    readers.pods.push((name.to_owned(), paths));
                }
                if path == kubelet::CONFIG {
                    readers.kubelet.push(text.to_owned());
                }
            }
            for unit in view.units.values().filter(|unit| unit.name.as_str() == kubelet::UNIT) {
                readers.kubelet.extend(unit.contents.iter().cloned());
                readers.kubelet.extend(unit.dropins.iter().map(|dropin| dropin.contents.clone()));
            }
        }
        readers
    }

    /// What a change of the file at `path` takes.
    pub(super) fn of_file(&self, path: &str) -> Vec<Effect> {
        let mut effects = BTreeSet::new();
        if let Some(name) = pod(path, &self.static_pods) {
            effects.insert(Effect::StaticPod(name.to_owned()));
        }
        let named = self.pods.iter().filter(|(_, paths)| paths.contains(path));
        effects.extend(named.map(|(name, _)| Effect::StaticPod(name.clone())));
        let below = |folders: &[&str]| {
            folders
                .iter()
                .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        if self.kubelet.iter().any(|text| names(text, path)) || below(&["/var/lib/kubelet"]) {
            effects.insert(Effect::Kubelet);
        }
        if below(&["/etc/containerd"]) {
            effects.insert(Effect::Containerd);
        }
        if below(&["/etc/cni", "/opt/cni"]) {
            effects.insert(Effect::Live);
        }
        if below(&["/etc/sysctl.d", "/etc/modules-load.d", "/etc/systemd/network", "/etc/NetworkManager", "/etc/hosts"])
        {
            effects.insert(Effect::Reboot);
        }
        if below(&["/etc/hostname", "/etc/systemd/system-preset"]) {
            effects.insert(Effect::Reimage);
        }
        if below(&["/etc/nodekiln", "/var/lib/nodekiln"]) || path.ends_with(&format!("/{}", firstboot::PROGRAM)) {
            effects.insert(Effect::FirstBoot);
        }
        if path.ends_with("/containerd") || path.ends_with("/runc") {
            effects.insert(Effect::Containerd);
        }
        if effects.is_empty() {
            effects.insert(Effect::Other);
        }
        // What lies in /etc/nodekiln and a running part reads counts at once.
        if effects.len() > 1 {
            effects.remove(&Effect::FirstBoot);
        }
        effects.into_iter().collect()
    }
}

/// The static pod whose manifest `path` is.
fn pod<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?;
    name.strip_suffix(".yaml").filter(|name| !name.contains('/'))
}

/// All paths in a manifest: of host paths, and in arguments.
fn named(value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let parts = text.split(['=', ',']).filter(|part| part.starts_with('/'));
            paths.extend(parts.map(str::to_owned));
        }
        Value::Array(list) => list.iter().for_each(|value| named(value, paths)),
        Value::Object(map) => map.values().for_each(|value| named(value, paths)),
        _ => {}
    }
}

/// Whether `path` stands in `text` as a whole.
fn names(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(start, _)| {
        let next = text[start + path.len()..].chars().next();
        next.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';'))
    })
}

/// What a changed unit takes; a unit that is enabled or masked otherwise is so from its first boot.
pub(super) fn of_unit(name: &UnitName, is_text: bool) -> Vec<Effect> {
    let restart = match name.as_str() {
        kubelet::UNIT => Effect::Kubelet,
        firstboot::UNIT => Effect::FirstBoot,
        "containerd.service" => Effect::Containerd,
        other => Effect::Unit(other.to_owned()),
    };
    if is_text { vec![restart] } else { vec![Effect::Reimage, restart] }
}

/// What a changed field of plan.json takes.
pub(super) fn of_plan(field: &str) -> Effect {
    match field {
        "kubernetesVersion" | "kubelet" => Effect::Kubelet,
        "kernel" => Effect::Reboot,
        "cluster" | "role" | "addresses" | "directories" | "archives" | "etcd" => Effect::Reimage,
        _ => Effect::FirstBoot,
    }
}

impl Body {
    fn text(&self) -> Option<&str> {
        match self {
            Body::Known(bytes) => std::str::from_utf8(bytes.expose()).ok(),
            Body::Pattern(_) | Body::Key | Body::Leaf(..) => None,
        }
    }
}
