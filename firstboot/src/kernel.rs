//! The stage `kernel`: the host name of a machine without one, modules, settings, swap.

use crate::{
    host::{Host, read_text, run},
    name, preflight,
    stage::Context,
};
use anyhow::{Context as _, bail};
use nodekiln_plan::{KernelPlan, ModuleName, Sysctl};
use std::path::Path;

/// What is to do. Computed from the plan and the machine, then done.
#[derive(Debug, PartialEq, Eq)]
enum Action<'a> {
    Load(&'a ModuleName),
    Set(&'a Sysctl),
    SwapOff(Vec<String>),
}

/// The stage.
///
/// # Errors
/// All that failed, after everything was tried: modules that are not there, settings that the kernel does not take,
/// swap that stays. Then a check of the machine.
pub async fn kernel(c: &Context<'_>) -> anyhow::Result<()> {
    name::keep(c)?;
    let plan = &c.plan.class.kernel;
    let mut unloaded = Vec::new();
    let mut failed: Vec<anyhow::Error> = Vec::new();
    for action in actions(c.host, plan) {
        match action {
            Action::Load(module) => {
                if let Err(e) = run(c.host, "modprobe", &["--", module.as_str()]) {
                    // A kernel with the feature built in, but without the file that says so, has its settings.
                    unloaded.push((module, e));
                }
            }
            Action::Set(sysctl) => failed.extend(set(c.host, sysctl).err()),
            Action::SwapOff(units) => {
                let off = run(c.host, "swapoff", &["-a"]);
                for unit in &units {
                    // A unit file in /etc cannot be masked. Swap is turned off at every boot anyway.
                    if let Err(e) = run(c.host, "systemctl", &["mask", "--now", unit]) {
                        c.warn(format!("swap may come back for a moment at the next boot: {e:#}"));
                    }
                }
                match off {
                    Ok(_) => c.fact("swap was turned off"),
                    Err(e) => failed.push(e),
                }
            }
        }
    }
    for (module, error) in unloaded {
        if witness(module.as_str()).is_some_and(|path| c.host.stat(Path::new(path)).ok().flatten().is_some()) {
            c.status.info(&format!("module {module} is not loaded, but the kernel has what it brings"));
        } else if c.host.stat(Path::new("/proc/modules"))?.is_none() {
            // A kernel that loads none: built in, or not to be had. What needs it will say so.
            c.warn(format!("the kernel loads no modules; whether it has {module} built in is not known"));
        } else {
            failed.push(error.context(format!("loading the module {module}")));
        }
    }
    match failed.len() {
        0 => {}
        1 => return Err(failed.remove(0)),
        n => {
            let all: Vec<_> = failed.iter().map(|e| format!("{e:#}")).collect();
            bail!("{n} failures: {}", all.join(" | "));
        }
    }
    preflight::at(c, preflight::Moment::Kernel)
}

fn actions<'a>(host: &dyn Host, plan: &'a KernelPlan) -> Vec<Action<'a>> {
    let mut actions = Vec::new();
    actions.extend(plan.modules.iter().filter(|module| !present(host, module.as_str())).map(Action::Load));
    actions.extend(plan.sysctls.iter().map(Action::Set));
    if !plan.swap {
        let swaps = read_text(host, "/proc/swaps").ok().flatten().unwrap_or_default();
        if swaps.lines().skip(1).any(|line| !line.trim().is_empty()) {
            actions.push(Action::SwapOff(swap_units(host)));
        }
    }
    actions
}

/// Loaded, or built in.
fn present(host: &dyn Host, module: &str) -> bool {
    let name = module.replace('-', "_");
    if host.stat(Path::new(&format!("/sys/module/{name}"))).ok().flatten().is_some() {
        return true;
    }
    let Ok(machine) = host.machine() else { return false };
    ["/lib/modules", "/usr/lib/modules"].iter().any(|base| {
        let path = format!("{base}/{}/modules.builtin", machine.release);
        read_text(host, &path).ok().flatten().is_some_and(|text| {
            text.lines().any(|line| {
                let file = line.rsplit('/').next().unwrap_or_default();
                file.strip_suffix(".ko").unwrap_or(file).replace('-', "_") == name
            })
        })
    })
}

/// What shows that the kernel has what a module brings, although no module of that name is loaded.
fn witness(module: &str) -> Option<&'static str> {
    match module {
        "br_netfilter" => Some("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        "nf_conntrack" => Some("/proc/sys/net/netfilter/nf_conntrack_max"),
        "ip_vs" => Some("/proc/net/ip_vs"),
        "overlay" => Some("/sys/module/overlay"),
        _ => None,
    }
}

/// Writes a setting and reads it back.
fn set(host: &dyn Host, sysctl: &Sysctl) -> anyhow::Result<()> {
    let path = proc_path(sysctl.name.as_str());
    let path = Path::new(&path);
    let read = || -> anyhow::Result<String> {
        let bytes = host.read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(normal(&String::from_utf8_lossy(&bytes)))
    };
    let (before, wanted) = (read()?, normal(&sysctl.value));
    if before == wanted || (sysctl.floor && at_least(&before, &wanted)) {
        return Ok(());
    }
    host.write(path, format!("{wanted}\n").as_bytes())
        .with_context(|| format!("setting {} to {wanted}", sysctl.name))?;
    let after = read()?;
    if after != wanted && !(sysctl.floor && at_least(&after, &wanted)) {
        bail!("setting {} to {wanted}: the kernel keeps {after}", sysctl.name);
    }
    Ok(())
}

/// Dots separate parts, a slash stands for a dot within one, sysctl.d(5).
fn proc_path(key: &str) -> String {
    let path: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    format!("/proc/sys/{path}")
}

fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether each number of `has` is as large as that of `floor`.
fn at_least(has: &str, floor: &str) -> bool {
    let numbers = |text: &str| text.split(' ').map(str::parse::<i128>).collect::<Result<Vec<_>, _>>();
    match (numbers(has), numbers(floor)) {
        (Ok(has), Ok(floor)) => has.len() == floor.len() && has.iter().zip(&floor).all(|(h, f)| h >= f),
        _ => false,
    }
}

/// systemd's units for swap, so that they do not come back at the next boot.
fn swap_units(host: &dyn Host) -> Vec<String> {
    let args = ["list-units", "--type=swap", "--all", "--no-legend", "--plain"];
    let text = run(host, "systemctl", &args).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|u| u.ends_with(".swap"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        assert_eq!(proc_path("net.ipv4.conf.eth0/1.rp_filter"), "/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
        assert_eq!(normal("1\t 2\n"), "1 2");
        assert!(at_least("10 20", "10 5") && !at_least("10", "11") && !at_least("10 1", "10") && !at_least("a", "1"));
    }
}
