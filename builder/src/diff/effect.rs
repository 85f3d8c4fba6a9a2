//! What a change takes to count: who reads a file, and what of it has to start again.

use super::side::NodeView;
use crate::component::{firstboot, kubelet};
use nodekiln_plan::{UnitName, paths};
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
    /// Nothing restarts: it counts when nodekiln-firstboot runs again, which is at every boot and before every start of
    /// the kubelet.
    Firstboot,
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
            Effect::Firstboot => f.write_str("counts when nodekiln-firstboot runs again"),
            Effect::FirstBoot => f.write_str("counts at a first boot only"),
            Effect::Other => f.write_str("is read by something of yours"),
        }
    }
}

/// Who reads which file, as manifests and units say.
pub(super) struct Readers {
    /// Static pods with the paths that they name.
    pods: Vec<(String, BTreeSet<String>)>,
    /// Units with their texts, and the kubelet's with that of its configuration.
    units: Vec<(UnitName, String)>,
    /// What plan.json names.
    plan: BTreeSet<String>,
    static_pods: String,
}

/// Who reads what no manifest and no unit names, by path or folder.
const KNOWN: [(&str, Known); 18] = [
    ("/etc/chrony.conf", Known::Unit("chronyd.service")),
    ("/etc/cni", Known::Live),
    ("/etc/containerd", Known::Containerd),
    ("/etc/extensions", Known::Reboot),
    ("/etc/flatcar/update.conf", Known::Unit("update-engine.service")),
    ("/etc/hostname", Known::Reimage),
    ("/etc/hosts", Known::Reboot),
    ("/etc/modules-load.d", Known::Reboot),
    ("/etc/nodekiln", Known::FirstBoot),
    ("/etc/NetworkManager", Known::Reboot),
    ("/etc/sysctl.d", Known::Reboot),
    ("/etc/systemd/network", Known::Reboot),
    ("/etc/systemd/system-preset", Known::Reimage),
    ("/etc/systemd/timesyncd.conf.d", Known::Unit("systemd-timesyncd.service")),
    ("/etc/zincati", Known::Unit("zincati.service")),
    ("/opt/cni", Known::Live),
    ("/var/lib/kubelet", Known::Kubelet),
    // The Lease of etcd's rewrite, which is taken again when a lost disk has etcd decided anew.
    (paths::LEASE_CREDENTIAL, Known::Firstboot),
];

/// An [`Effect`] of the table.
#[derive(Clone, Copy)]
enum Known {
    Reimage,
    Reboot,
    Containerd,
    Kubelet,
    Unit(&'static str),
    Live,
    Firstboot,
    FirstBoot,
}

impl From<Known> for Effect {
    fn from(known: Known) -> Self {
        match known {
            Known::Reimage => Effect::Reimage,
            Known::Reboot => Effect::Reboot,
            Known::Containerd => Effect::Containerd,
            Known::Kubelet => Effect::Kubelet,
            Known::Unit(name) => Effect::Unit(name.to_owned()),
            Known::Live => Effect::Live,
            Known::Firstboot => Effect::Firstboot,
            Known::FirstBoot => Effect::FirstBoot,
        }
    }
}

impl Readers {
    /// Of both states of a node.
    pub(super) fn of(views: [&NodeView; 2]) -> Self {
        let mut readers = Self { pods: vec![], units: vec![], plan: BTreeSet::new(), static_pods: String::new() };
        let kubelet: UnitName = kubelet::UNIT.parse().expect("a unit name of ours");
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
                    readers.units.push((kubelet.clone(), text.to_owned()));
                }
            }
            for unit in view.units.values() {
                let texts = unit.contents.iter().chain(unit.dropins.iter().map(|dropin| &dropin.contents));
                readers.units.extend(texts.map(|text| (unit.name.clone(), text.clone())));
            }
            view.plan.values().for_each(|value| named(value, &mut readers.plan));
        }
        readers
    }

    /// What a change of the file at `path` takes.
    pub(super) fn of_file(&self, path: &str) -> Vec<Effect> {
        // What is the payload's own is erased or done with when the first boot is over, whoever named it until then.
        if is_below(path, paths::STATE_DIR) {
            return vec![Effect::FirstBoot];
        }
        // The kubelet's unit names it too, as its gate.
        if path.rsplit('/').next() == Some(firstboot::PROGRAM) {
            return vec![Effect::Firstboot];
        }
        let mut effects = BTreeSet::new();
        if let Some(name) = pod(path, &self.static_pods) {
            effects.insert(Effect::StaticPod(name.to_owned()));
        }
        let named = self.pods.iter().filter(|(_, paths)| paths.contains(path));
        effects.extend(named.map(|(name, _)| Effect::StaticPod(name.clone())));
        let named = self.units.iter().filter(|(_, text)| names(text, path));
        effects.extend(named.flat_map(|(name, _)| of_unit(name, true)));
        let known = KNOWN.iter().filter(|(place, _)| is_below(path, place));
        effects.extend(known.map(|(_, known)| Effect::from(*known)));
        // Programs, wherever the system has them.
        if matches!(path.rsplit('/').next(), Some("containerd" | "runc")) {
            effects.insert(Effect::Containerd);
        }
        if effects.is_empty() && self.plan.contains(path) {
            effects.insert(Effect::Firstboot);
        }
        if effects.is_empty() {
            effects.insert(Effect::Other);
        }
        // What a running part reads counts at once, wherever it lies.
        if effects.len() > 1 {
            effects.remove(&Effect::FirstBoot);
        }
        effects.into_iter().collect()
    }
}

/// Whether `path` is `place` or lies in it.
fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
        // Neither starts again by itself.
        other if other.ends_with(".target") || other.ends_with(".mount") => Effect::Reboot,
        other => Effect::Unit(other.to_owned()),
    };
    if is_text { vec![restart] } else { vec![Effect::Reimage, restart] }
}

/// What a changed field of plan.json takes.
pub(super) fn of_plan(field: &str) -> Effect {
    match field {
        "kubernetesVersion" | "kubelet" | "server" => Effect::Kubelet,
        "kernel" => Effect::Reboot,
        "cluster" | "role" | "addresses" | "directories" | "archives" | "etcd" => Effect::Reimage,
        _ => Effect::FirstBoot,
    }
}
