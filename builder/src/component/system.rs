//! What the operating system is told: host name, modules, sysctls, time servers.

use super::{ClassSite, Families, constant, flannel};
use crate::config::Cni;
use nodekiln_payload::TimeService;
use nodekiln_plan::{AbsPath, KernelPlan, ModuleName, Sysctl};
use std::{collections::BTreeMap, fmt::Write as _};

/// Modules to load at boot.
pub(crate) const MODULES: &str = "/etc/modules-load.d/90-nodekiln.conf";
/// Settings to apply at boot.
pub(crate) const SYSCTLS: &str = "/etc/sysctl.d/90-nodekiln.conf";

/// Modules, settings and swap: ours and the user's.
pub(crate) fn kernel(site: &ClassSite) -> KernelPlan {
    let user = &site.class.kernel;
    // overlay: containerd's snapshots. br_netfilter: Services of pods that share a bridge.
    let ours: &[&str] = if site.is_node() { &["overlay", "br_netfilter"] } else { &["overlay"] };
    let flannel = (site.cluster.cni == Cni::Flannel && site.is_node()).then_some(flannel::MODULE);
    let ours = ours.iter().copied().chain(flannel);
    let mut modules: Vec<ModuleName> = ours.map(|name| name.parse().expect("a module name")).collect();
    for module in &user.modules {
        if !modules.contains(module) {
            modules.push(module.clone());
        }
    }
    let mut sysctls: BTreeMap<_, _> = ours_sysctls(site).into_iter().map(|s| (s.name.clone(), s)).collect();
    sysctls.extend(user.sysctls.iter().map(|sysctl| (sysctl.name.clone(), sysctl.clone())));
    KernelPlan { modules, sysctls: sysctls.into_values().collect(), swap: user.swap }
}

fn ours_sysctls(site: &ClassSite) -> Vec<Sysctl> {
    let mut list = vec![
        // The kubelet writes these itself, unless protectKernelDefaults makes it refuse instead.
        ("kernel.keys.root_maxbytes", "25000000", false),
        ("kernel.keys.root_maxkeys", "1000000", false),
        ("kernel.panic", "10", false),
        ("kernel.panic_on_oops", "1", false),
        ("vm.overcommit_memory", "1", false),
        ("vm.panic_on_oom", "0", false),
        // Every kubelet, runtime and log collector watches files; 128 instances are too few for a full node.
        ("fs.inotify.max_user_instances", "8192", true),
        ("fs.inotify.max_user_watches", "524288", true),
    ];
    if site.is_node() {
        list.push(("net.bridge.bridge-nf-call-ip6tables", "1", false));
        list.push(("net.bridge.bridge-nf-call-iptables", "1", false));
    }
    let forwarded = forwarding(site);
    if forwarded.ipv4 {
        list.push(("net.ipv4.ip_forward", "1", false));
    }
    if forwarded.ipv6 {
        list.push(("net.ipv6.conf.all.forwarding", "1", false));
        list.push(("net.ipv6.conf.default.forwarding", "1", false));
    }
    let sysctl = |(name, value, floor): (&str, &str, bool)| Sysctl {
        name: name.parse().expect("a sysctl key"),
        value: value.to_owned(),
        floor,
    };
    list.into_iter().map(sysctl).collect()
}

/// Which families these nodes forward, IPv4 and IPv6: all that are in use; none where no pod has an address of its own.
pub(crate) fn forwarding(site: &ClassSite) -> Families {
    if site.is_node() { families(site) } else { Families::NONE }
}

/// Which families pods, services and the node use.
pub(crate) fn families(site: &ClassSite) -> Families {
    site.families.and(&site.cluster.networking.pods).and(&site.cluster.networking.services)
}

/// modules-load.d(5).
pub(crate) fn modules_file(kernel: &KernelPlan) -> String {
    kernel.modules.iter().fold(String::new(), |mut text, module| {
        let _ = writeln!(text, "{module}");
        text
    })
}

/// sysctl.d(5). A floor cannot be told there, it would lower a larger value: firstboot raises those at every boot.
pub(crate) fn sysctls_file(kernel: &KernelPlan) -> String {
    kernel.sysctls.iter().filter(|sysctl| !sysctl.floor).fold(String::new(), |mut text, sysctl| {
        let _ = writeln!(text, "{} = {}", sysctl.name, sysctl.value);
        text
    })
}

/// The time service's file, or `None` where there is nothing to say or the payload's format says it.
pub(crate) fn time_file(site: &ClassSite) -> Option<(AbsPath, String)> {
    let os = &site.class.os;
    if os.time_servers.is_empty() {
        return None;
    }
    match os.profile.time_service {
        TimeService::Timesyncd => {
            let text = format!("[Time]\nNTP={}\n", os.time_servers.join(" "));
            Some((constant("/etc/systemd/timesyncd.conf.d/90-nodekiln.conf"), text))
        }
        // Fedora's file includes no folder that would outlive a reboot, so it is replaced whole.
        TimeService::Chrony => {
            let mut text = os.time_servers.iter().fold(String::new(), |mut text, server| {
                let _ = writeln!(text, "server {server} iburst");
                text
            });
            text.push_str("driftfile /var/lib/chrony/drift\nmakestep 1.0 3\nrtcsync\nleapsectz right/UTC\n");
            text.push_str("logdir /var/log/chrony\n");
            Some((constant("/etc/chrony.conf"), text))
        }
        TimeService::CloudInit => None,
    }
}
