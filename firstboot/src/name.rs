//! The Node's name: the planned one, or on a machine of a pool the machine's own.
//!
//! The kubelet of a pool is told no name and takes the host name, so a machine without one gets one. The first name
//! stays: the kubelet's certificate is made out to it.

use crate::{
    exit::Refused,
    host::{Host, read_text},
    stage::Context,
};
use anyhow::Context as _;
use nodekiln_plan::{NodeName, NodePlan, paths};
use std::path::Path;

/// Host names that are none: what an image or a kernel has until somebody names the machine.
const NAMELESS: [&str; 4] = ["", "localhost", "localhost.localdomain", "fedora"];
/// Digits of the machine ID in a name that is made here.
const DIGITS: usize = 8;
/// In the state folder: the name this machine has.
const FILE: &str = "name";
const HOSTNAME: &str = "/etc/hostname";

/// Puts the name of this machine in the place of its pool's.
///
/// # Errors
/// The machine's name is none that a Node could have; it has no machine ID.
pub fn resolve(host: &dyn Host, plan: &mut NodePlan) -> anyhow::Result<()> {
    if !plan.spec.pool {
        return Ok(());
    }
    let file = format!("{}/{FILE}", paths::DONE_DIR);
    let known = read_text(host, &file).with_context(|| format!("reading {file}"))?;
    if let Some(name) = known.and_then(|text| text.trim().parse().ok()) {
        plan.spec.node = name;
        return Ok(());
    }
    // The kubelet takes it in lower case too.
    let own = host.machine()?.hostname.trim().to_ascii_lowercase();
    let name = if NAMELESS.contains(&own.as_str()) { made(host, &plan.spec.node)? } else { own };
    plan.spec.node = name.parse::<NodeName>().map_err(|e| {
        let what = format!("the host name {name:?} is no name for a Node: {e}");
        Refused::new("Hostname", what, "set one of letters, digits, hyphens and dots (RFC 1123)")
    })?;
    Ok(())
}

/// A name for a machine that has none: its pool's, and the start of the machine ID.
fn made(host: &dyn Host, pool: &NodeName) -> anyhow::Result<String> {
    const PATH: &str = "/etc/machine-id";
    let id = read_text(host, PATH).with_context(|| format!("reading {PATH}"))?.unwrap_or_default();
    match id.trim().get(..DIGITS) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(format!("{pool}-{digits}")),
        _ => {
            let what = format!("the machine has no name, and {PATH} holds no machine ID");
            Err(Refused::new("Hostname", what, "let systemd make one (`systemd-machine-id-setup`)").into())
        }
    }
}

/// Keeps the name, and gives it to a machine that is called otherwise.
///
/// # Errors
/// The file system's.
pub fn keep(c: &Context<'_>) -> anyhow::Result<()> {
    if !c.plan.spec.pool {
        return Ok(());
    }
    let name = c.plan.spec.node.as_str();
    let file = format!("{}/{FILE}", paths::DONE_DIR);
    if read_text(c.host, &file)?.is_none() {
        c.host.make_dir(Path::new(paths::DONE_DIR), 0o700).with_context(|| format!("making {}", paths::DONE_DIR))?;
        c.host.replace(Path::new(&file), 0o600, name.as_bytes()).with_context(|| format!("writing {file}"))?;
    }
    let own = c.host.machine()?.hostname;
    if own.eq_ignore_ascii_case(name) {
        return Ok(());
    }
    if !NAMELESS.contains(&own.as_str()) {
        c.warn(format!("the host name was {own:?}; the Node is {name}, and its machine is called so again"));
    }
    let line = format!("{name}\n");
    c.host.replace(Path::new(HOSTNAME), 0o644, line.as_bytes()).with_context(|| format!("writing {HOSTNAME}"))?;
    c.host.set_hostname(name).with_context(|| format!("setting the host name {name}"))
}
