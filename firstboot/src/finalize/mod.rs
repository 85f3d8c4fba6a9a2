//! The stage `finalize`: etcd's manifest takes its last form, what is not needed is erased, the result is written.

mod rewrite;
mod scrub;

use crate::{report, stage::Context};
use anyhow::Context as _;
use nodekiln_plan::Mode;

/// The stage.
///
/// # Errors
/// etcd does not come back with its new manifest; something cannot be erased.
pub async fn finalize(c: &Context<'_>) -> anyhow::Result<()> {
    rewrite::rewrite(c).await?;
    scrub::scrub(c)?;
    for path in &c.plan.spec.finalize.touch {
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
    report::write(c)
}
