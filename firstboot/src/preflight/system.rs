//! kubeadm's `SystemVerification`: kernel and control groups.

use super::{Finding, checks::Facts};
use crate::{
    host::{read_text, run},
    stage::Context,
};
use nodekiln_plan::FileKind;

const NAME: &str = "SystemVerification";

/// Kernels that kubeadm's validator takes: 5.4, 5.10, 5.15 and from 6 on.
pub(super) fn kernel(_: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    let release = &facts.machine.release;
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version.0 < 6 && !matches!(version, (5, 4 | 10 | 15)) {
        let what = format!("kernel {release} is none that Kubernetes is tested with");
        found.push(Finding::warning(NAME, what, "5.4, 5.10, 5.15 and 6 or later are"));
    }
}

/// The controllers that the kubelet needs, and the version of the interface.
pub(super) fn cgroups(c: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    if !facts.machine.cgroup2 {
        let what = "the machine uses cgroup v1";
        let fatal = c.plan.spec.kubernetes_version.minor >= 35 && !v1_is_allowed(c);
        found.push(match fatal {
            true => {
                Finding::error(NAME, what, "the kubelet refuses it: boot with cgroup v2, or set failCgroupV1: false")
            }
            false => Finding::warning(NAME, what, "Kubernetes is leaving it: boot with cgroup v2"),
        });
        return;
    }
    let text = read_text(c.host, "/sys/fs/cgroup/cgroup.controllers").ok().flatten().unwrap_or_default();
    let has: Vec<&str> = text.split_whitespace().collect();
    // devices and freezer are no controllers in v2: BPF and core.
    let missing: Vec<&str> =
        ["cpu", "cpuset", "memory", "pids"].into_iter().filter(|name| !has.contains(name)).collect();
    if !missing.is_empty() {
        let what = format!("the kernel offers no cgroup controller {}", missing.join(", "));
        found.push(Finding::error(NAME, what, "check the kernel and its command line (cgroup_disable)"));
    }
    let optional: Vec<&str> = ["hugetlb", "io"].into_iter().filter(|name| !has.contains(name)).collect();
    if !optional.is_empty() {
        let what = format!("the kernel offers no cgroup controller {}", optional.join(", "));
        found.push(Finding::warning(NAME, what, "limits on these will not work"));
    }
}

/// Whether the kubelet's configuration, laid or still staged, has `failCgroupV1: false`.
fn v1_is_allowed(c: &Context<'_>) -> bool {
    let configs = c.plan.files.iter().filter(|entry| {
        matches!(entry.kind, FileKind::Laid | FileKind::Staged) && entry.path.is_within(&c.plan.class.kubelet.root_dir)
    });
    for entry in configs {
        let places = [entry.staged.as_ref(), Some(&entry.path)];
        for place in places.into_iter().flatten() {
            let text = read_text(c.host, place.as_str()).ok().flatten().unwrap_or_default();
            let squeezed: String = text.chars().filter(|c| !matches!(c, ' ' | '"')).collect();
            if squeezed.contains("failCgroupV1:false") {
                return true;
            }
        }
    }
    false
}

/// Whether SELinux is on.
pub fn selinux(c: &Context<'_>) -> bool {
    c.host.stat("/sys/fs/selinux/enforce".as_ref()).ok().flatten().is_some()
}

/// Gives what was laid its SELinux label.
///
/// # Errors
/// restorecon fails.
pub fn restore_labels(c: &Context<'_>, paths: &[&str]) -> anyhow::Result<()> {
    if paths.is_empty() || !selinux(c) || c.host.program("restorecon").is_none() {
        return Ok(());
    }
    for some in paths.chunks(100) {
        let mut args = vec!["-R"];
        args.extend(some);
        run(c.host, "restorecon", &args)?;
    }
    Ok(())
}
