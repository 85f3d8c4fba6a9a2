//! Why a control plane does not come up: what its containers and the kubelet said last.

use crate::{
    host::{Host, Kind},
    stage::Context,
};
use std::{io::Read as _, path::Path};

/// Where the kubelet keeps the logs of containers.
const LOGS: &str = "/var/log/pods";

/// In words: the state of the kubelet's unit and the last lines of etcd's and the API server's containers.
pub(super) fn find(c: &Context<'_>) -> String {
    let mut parts = vec![unit(c)];
    for component in ["etcd", "kube-apiserver"] {
        if c.plan.file(&format!("{}/{component}.yaml", c.plan.class.kubelet.static_pods)).is_none() {
            continue;
        }
        parts.push(match last_log(c.host, component) {
            Some((path, text)) => format!("{component} said last ({path}): {text}"),
            None => format!(
                "{component} has no log in {LOGS}: its container was never made (see the kubelet's journal: image, runtime)"
            ),
        });
    }
    parts.join("; ")
}

/// The state of the kubelet's unit.
pub(super) fn unit(c: &Context<'_>) -> String {
    let unit = c.plan.class.kubelet.unit.as_str();
    let args = ["show", "--property=ActiveState,SubState,Result,NRestarts", unit];
    match crate::host::run(c.host, "systemctl", &args) {
        Ok(text) => format!("{unit}: {}", text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Err(e) => format!("{e:#}"),
    }
}

/// The newest log of a static pod's container, and its last lines.
fn last_log(host: &dyn Host, component: &str) -> Option<(String, String)> {
    let mut newest: Option<(i128, String, u64)> = None;
    for pod in host.list(Path::new(LOGS)).ok()? {
        if !pod.starts_with(&format!("kube-system_{component}-")) {
            continue;
        }
        let folder = format!("{LOGS}/{pod}/{component}");
        for name in host.list(Path::new(&folder)).unwrap_or_default() {
            let path = format!("{folder}/{name}");
            if let Ok(Some(stat)) = host.stat(Path::new(&path))
                && stat.kind == Kind::File
                && newest.as_ref().is_none_or(|(mtime, _, _)| stat.mtime > *mtime)
            {
                newest = Some((stat.mtime, path, stat.size));
            }
        }
    }
    let (_, path, size) = newest?;
    Some((path.clone(), last_lines(host, &path, size)?))
}

/// The last three lines, of a file that may be large.
fn last_lines(host: &dyn Host, path: &str, size: u64) -> Option<String> {
    const TAIL: u64 = 4096;
    let mut file = host.open(Path::new(path)).ok()?;
    std::io::copy(&mut file.by_ref().take(size.saturating_sub(TAIL)), &mut std::io::sink()).ok()?;
    let mut bytes = Vec::new();
    file.take(2 * TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Some(lines[lines.len().saturating_sub(3)..].join(" / "))
}
