//! The stage `preflight`: kubeadm's checks where they still make sense, under kubeadm's names, and our own.
//!
//! A check runs where what it looks at exists: most before anything is changed, some after the stage `kernel`, after
//! `files` (programs out of archives), or before the kubelet (the container runtime starts in parallel). All findings
//! of one moment come at once.

mod checks;
mod external_etcd;
mod system;

pub use system::restore_labels;

use crate::{exit::Refused, stage::Context};
use checks::{CHECKS, Facts};
use std::time::Duration;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Stops, unless its name is in the plan's ignore list.
    Error,
    /// Goes to result.json.
    Warning,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// kubeadm's name of the check, or ours.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// The way out.
    pub hint: String,
}

impl Finding {
    pub(crate) fn error(name: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), severity: Severity::Error, what: what.into(), hint: hint.into() }
    }

    pub(crate) fn warning(name: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(name, what, hint) }
    }
}

/// When a check can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything is changed.
    First,
    /// After the stage `kernel`.
    Kernel,
    /// After the stage `files`.
    Files,
}

/// How long addresses may take to appear: DHCP comes late.
const ADDRESSES: Duration = Duration::from_secs(60);
/// How long the container runtime may take to listen.
const RUNTIME: Duration = Duration::from_secs(120);

/// The stage.
///
/// # Errors
/// A finding of severity error that is not ignored.
pub async fn preflight(c: &Context<'_>) -> anyhow::Result<()> {
    clock(c).await?;
    addresses(c).await?;
    at(c, Moment::First)?;
    external_etcd::version(c).await
}

/// Makes the checks of one moment: tells all findings, then refuses if one of them is an error.
///
/// # Errors
/// A finding of severity error that is not ignored.
pub fn at(c: &Context<'_>, moment: Moment) -> anyhow::Result<()> {
    let facts = Facts::gather(c)?;
    let mut found = Vec::new();
    for check in CHECKS.iter().filter(|check| check.moment == moment) {
        (check.look)(c, &facts, &mut found);
    }
    judge(c, found)
}

/// Waits for the container runtime's socket.
///
/// # Errors
/// It does not answer in time: the finding `CRI`, unless ignored.
pub async fn runtime(c: &Context<'_>) -> anyhow::Result<()> {
    let endpoint = &c.plan.class.preflight.runtime_endpoint;
    let Some(path) = endpoint.strip_prefix("unix://") else { return Ok(()) };
    let start = c.host.monotonic();
    loop {
        let error = match c.host.socket_answers(path.as_ref()) {
            Ok(()) => {
                c.status.arrived();
                return Ok(());
            }
            Err(error) => error,
        };
        if c.host.monotonic().saturating_sub(start) > RUNTIME {
            let hint = "see the journal of the container runtime's unit";
            return judge(c, vec![Finding::error("CRI", format!("{endpoint} does not answer: {error}"), hint)]);
        }
        if c.host.monotonic().saturating_sub(start) > Duration::from_secs(2) {
            c.status.waiting(&format!("the container runtime at {endpoint}"), "see the journal of its unit");
        }
        c.host.sleep(Duration::from_millis(50)).await;
    }
}

/// Applies the ignore list, tells the findings, refuses by the errors among them.
///
/// # Errors
/// A finding of severity error that is not ignored.
pub(crate) fn judge(c: &Context<'_>, mut found: Vec<Finding>) -> anyhow::Result<()> {
    for finding in &mut found {
        if finding.severity == Severity::Error && ignored(&c.plan.class.preflight.ignore, &finding.name) {
            finding.severity = Severity::Warning;
            finding.what.push_str(" (ignored by the plan)");
        }
    }
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|finding| finding.severity == Severity::Error);
    for finding in warnings {
        c.warn(Refused::new(finding.name, finding.what, finding.hint).to_string());
    }
    let mut errors: Vec<Refused> = errors.into_iter().map(|f| Refused::new(f.name, f.what, f.hint)).collect();
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0).into()),
        _ => {
            let names: Vec<_> = errors.iter().map(|e| e.name.as_str()).collect();
            let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Err(Refused::new(names.join(","), format!("{} findings: {}", errors.len(), all.join(" | ")), "").into())
        }
    }
}

/// Whether the ignore list has a check, or `all`; without regard to case.
pub(crate) fn ignored(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| entry.eq_ignore_ascii_case("all") || entry.eq_ignore_ascii_case(name))
}

/// Certificates are not valid before their time, and worth nothing after it.
async fn clock(c: &Context<'_>) -> anyhow::Result<()> {
    let identity = &c.plan.identity;
    let now = || i64::try_from(c.host.now().as_secs()).unwrap_or(i64::MAX);
    while now() < identity.not_before {
        let what = format!("the clock to reach {}", crate::tls::date(identity.not_before));
        // Not a part of what is waited for: it changes every second, and would be told as often.
        let hint = format!(
            "it shows {}; certificates are not valid yet: set the clock or give the machine a time server",
            crate::tls::date(now())
        );
        c.status.waiting(&what, &hint);
        c.host.sleep(Duration::from_millis(500)).await;
    }
    c.status.arrived();
    if now() > identity.boot_before && !ignored(&c.plan.class.preflight.ignore, "PayloadExpired") {
        return Err(Refused::new(
            "PayloadExpired",
            format!(
                "this payload was good until {}, the clock shows {}",
                crate::tls::date(identity.boot_before),
                crate::tls::date(now())
            ),
            "build it again after `nodekiln secrets renew`",
        )
        .into());
    }
    Ok(())
}

/// The plan's addresses are in certificates and manifests: without them nothing works.
async fn addresses(c: &Context<'_>) -> anyhow::Result<()> {
    let start = c.host.monotonic();
    loop {
        let held = c.host.machine()?.addresses;
        let missing: Vec<String> =
            c.plan.spec.addresses.iter().filter(|a| !held.contains(a)).map(ToString::to_string).collect();
        if missing.is_empty() {
            c.status.arrived();
            return Ok(());
        }
        if c.host.monotonic().saturating_sub(start) > ADDRESSES {
            let held: Vec<_> = held.iter().filter(|a| !a.is_loopback()).map(ToString::to_string).collect();
            let what = format!("the machine does not hold {}; it holds {}", missing.join(", "), held.join(", "));
            let hint = "check the network, or `nodes[].address` in cluster.yaml";
            return judge(c, vec![Finding::error("NodeAddress", what, hint)]);
        }
        c.status.waiting(&format!("the address {}", missing.join(", ")), "check DHCP, cabling, or cluster.yaml");
        c.host.sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ignored_without_case() {
        let list = ["numcpu".to_owned(), "Port-6443".to_owned()];
        assert!(ignored(&list, "NumCPU") && ignored(&list, "port-6443") && !ignored(&list, "Mem"));
        assert!(ignored(&["ALL".to_owned()], "Mem"));
    }
}
