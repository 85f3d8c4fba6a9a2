//! The stage `finalize`: etcd's manifest takes its last form, what is not needed is erased, the result is written.

mod lock;
mod rewrite;
mod scrub;

use crate::{report, stage::Context, wait};
use anyhow::Context as _;
use nodekiln_plan::Mode;

/// The stage.
///
/// # Errors
/// etcd does not come back with its new manifest; something cannot be erased.
pub async fn finalize(c: &Context<'_>) -> anyhow::Result<()> {
    let rewritten = rewrite::rewrite(c).await;
    // A member that is away must not keep secrets on this disk; the next try has a credential of its own for the Lease.
    let may_erase = match &c.plan.spec.api {
        Some(api) => c.host.stat(api.lease_credential.as_path())?.is_some(),
        None => true,
    };
    if rewritten.is_ok() || may_erase {
        // First: without its instance folder cloud-init would take the next boot for a first one, and lay the payload
        // again.
        touch(c)?;
        scrub::scrub(c)?;
    }
    rewritten?;
    wait::node_fact(c).await?;
    report::write(c)
}

fn touch(c: &Context<'_>) -> anyhow::Result<()> {
    for path in &c.plan.class.finalize.touch {
        if c.host.stat(path.as_path())?.is_some() {
            continue;
        }
        if let Some(parent) = path.parent()
            && c.host.stat(parent.as_path())?.is_none()
        {
            c.host.make_dir(parent.as_path(), 0o755).with_context(|| format!("making {parent}"))?;
        }
        c.host.replace(path.as_path(), Mode::PUBLIC.bits(), b"").with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}
