//! The table of checks. Names and severities are kubeadm's where kubeadm has the check.

use super::{Finding, Moment, system};
use crate::{
    host::{Kind, Machine, read_text},
    kubelet,
    stage::{Context, marker},
};
use nodekiln_plan::{AbsPath, Role};
use std::path::Path;

/// What the checks look at.
pub(super) struct Facts {
    pub(super) machine: Machine,
    /// The kubelet was started by an earlier run: ports are in use by the node itself.
    pub(super) kubelet_ran: bool,
}

impl Facts {
    pub(super) fn gather(c: &Context<'_>) -> anyhow::Result<Self> {
        let kubelet_ran = marker(c.host, "kubelet", &c.digest)?.is_some() || kubelet::is_active(c);
        Ok(Self { machine: c.host.machine()?, kubelet_ran })
    }
}

/// A check.
pub(super) struct Check {
    pub(super) moment: Moment,
    pub(super) look: fn(&Context<'_>, &Facts, &mut Vec<Finding>),
}

pub(super) const CHECKS: [Check; 12] = [
    Check { moment: Moment::First, look: privileged },
    Check { moment: Moment::First, look: size },
    Check { moment: Moment::First, look: ports },
    Check { moment: Moment::First, look: tools },
    Check { moment: Moment::First, look: etcd_client_files },
    Check { moment: Moment::First, look: hostname },
    Check { moment: Moment::First, look: system::kernel },
    Check { moment: Moment::First, look: system::cgroups },
    Check { moment: Moment::Kernel, look: swap },
    Check { moment: Moment::Kernel, look: forwarding },
    Check { moment: Moment::Files, look: programs },
    Check { moment: Moment::Files, look: kubelet_version },
];

fn privileged(_: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    if facts.machine.uid != 0 {
        found.push(Finding::error("IsPrivilegedUser", "not running as root", "the unit has to run as root"));
    }
}

fn size(c: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    /// kubeadm's ControlPlaneMem.
    const MEMORY: u64 = 1700 << 20;
    if c.plan.spec.role != Role::ControlPlane {
        return;
    }
    if facts.machine.cpus < 2 {
        let what = format!("a control plane needs 2 CPUs, the machine has {}", facts.machine.cpus);
        found.push(Finding::error("NumCPU", what, "add CPUs, or put NumCPU into ignorePreflightErrors"));
    }
    if facts.machine.memory < MEMORY {
        let what = format!("a control plane needs 1700 MiB of memory, the machine has {}", facts.machine.memory >> 20);
        found.push(Finding::error("Mem", what, "add memory, or put Mem into ignorePreflightErrors"));
    }
}

fn ports(c: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    if facts.kubelet_ran {
        return;
    }
    for port in &c.plan.class.preflight.ports {
        if let Err(e) = c.host.port_free(*port) {
            let what = format!("TCP port {port} is in use: {e}");
            found.push(Finding::error(format!("Port-{port}"), what, "stop what listens there (`ss -ltnp`)"));
        }
    }
}

fn tools(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    for name in ["losetup", "mount", "cp"] {
        if c.host.program(name).is_none() {
            let what = format!("`{name}` is not in PATH");
            found.push(Finding::error(format!("FileExisting-{name}"), what, "add it to the machine image"));
        }
    }
}

fn etcd_client_files(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    for path in &c.plan.class.preflight.etcd_client_files {
        if let Ok(Some(stat)) = c.host.stat(path.as_path())
            && matches!(stat.kind, Kind::File | Kind::Link)
        {
            continue;
        }
        let hint = "check `etcd.external` in cluster.yaml against the machine image";
        found.push(Finding::error("ExternalEtcdClientCertificates", format!("{path} does not exist"), hint));
    }
}

fn hostname(c: &Context<'_>, facts: &Facts, found: &mut Vec<Finding>) {
    // A machine of a pool gets its name later, if it needs one.
    if !c.plan.spec.pool && !facts.machine.hostname.eq_ignore_ascii_case(c.plan.spec.node.as_str()) {
        let what = format!("the host name is {:?}, the node's name {}", facts.machine.hostname, c.plan.spec.node);
        found.push(Finding::warning("Hostname", what, "the kubelet is told its name; logs will differ"));
    }
}

fn swap(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    let swaps = read_text(c.host, "/proc/swaps").ok().flatten().unwrap_or_default();
    if swaps.lines().skip(1).any(|line| !line.trim().is_empty()) {
        let hint = "the kubelet refuses it unless failSwapOn is false";
        found.push(Finding::warning("Swap", "swap is on", hint));
    }
}

fn forwarding(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    let preflight = &c.plan.class.preflight;
    for (wanted, path) in [
        (preflight.ipv4, "/proc/sys/net/ipv4/ip_forward"),
        (preflight.ipv6, "/proc/sys/net/ipv6/conf/default/forwarding"),
    ] {
        if !wanted {
            continue;
        }
        let value = read_text(c.host, path).ok().flatten().unwrap_or_default();
        if value.trim() != "1" {
            let what = format!("{path} holds {:?} in place of 1", value.trim());
            found.push(Finding::error(
                format!("FileContent-{}", path.replace('/', "-")),
                what,
                "pods could not reach other nodes",
            ));
        }
    }
}

fn programs(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    let class = &c.plan.class;
    let mut all: Vec<&AbsPath> = class.preflight.programs.iter().collect();
    if !all.contains(&&class.kubelet.binary) {
        all.push(&class.kubelet.binary);
    }
    for program in all {
        // A symlink is followed by what runs it; whether it leads somewhere shows then.
        let missing = match c.host.stat(program.as_path()) {
            Ok(Some(stat)) if stat.kind == Kind::Link => continue,
            Ok(Some(stat)) if stat.kind == Kind::File && stat.mode & 0o111 != 0 => continue,
            Ok(Some(_)) => "is not executable".to_owned(),
            Ok(None) => "does not exist".to_owned(),
            Err(e) => format!("cannot be looked at: {e}"),
        };
        let what = format!("{program} {missing}");
        let hint = "check `binaries` in cluster.yaml against the machine image";
        found.push(Finding::error(format!("FileExisting-{}", program.file_name()), what, hint));
    }
}

fn kubelet_version(c: &Context<'_>, _: &Facts, found: &mut Vec<Finding>) {
    let planned = c.plan.spec.kubernetes_version;
    let binary = c.plan.class.kubelet.binary.as_str();
    if c.host.stat(Path::new(binary)).ok().flatten().is_none() {
        return;
    }
    let hint = "check `binaries.kubelet` and `kubernetesVersion` in cluster.yaml";
    let text = match crate::host::run(c.host, binary, &["--version"]) {
        Ok(text) => text,
        Err(e) => {
            found.push(Finding::error("KubeletVersion", format!("{e:#}"), hint));
            return;
        }
    };
    // "Kubernetes v1.36.3", with a suffix in builds of vendors.
    let word = text.split_whitespace().last().unwrap_or_default();
    let number: String = word.chars().take_while(|c| matches!(c, 'v' | '.' | '0'..='9')).collect();
    match number.parse::<nodekiln_plan::KubernetesVersion>() {
        Ok(version) if (version.major, version.minor) != (planned.major, planned.minor) => {
            let what = format!("{binary} is {version}, the plan is made for {planned}");
            found.push(Finding::error("KubeletVersion", what, hint));
        }
        Ok(version) if version.patch != planned.patch => {
            let what = format!("{binary} is {version}, the plan says {planned}");
            found.push(Finding::warning("KubeletVersion", what, "both will work"));
        }
        Ok(_) => {}
        Err(_) => {
            found.push(Finding::error("KubeletVersion", format!("{binary} says {:?}", text.trim()), hint));
        }
    }
}
