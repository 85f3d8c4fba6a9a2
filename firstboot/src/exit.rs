//! Exit codes, and the error that means "no" rather than "not yet".

use std::fmt;

/// All is well.
pub const OK: u8 = 0;
/// A stage failed. The service manager starts the unit again, which goes on where it stopped.
pub const FAILED: u8 = 1;
/// Wrong arguments.
pub const USAGE: u8 = 2;
/// No plan, a stdout that cannot be written, or the machine does not let the program work at all.
pub const ENVIRONMENT: u8 = 3;
/// The plan is damaged or of another version.
pub const PLAN: u8 = 4;
/// Refused by name: a check of preflight, or etcd must not be started so.
pub const REFUSED: u8 = 5;
/// `gate`: the kubelet must not start yet.
pub const NOT_YET: u8 = 6;
/// `verify`, `gate`, `run` on a later boot: the node is not as planned.
pub const DIFFERS: u8 = 7;

/// Refused: going on would be wrong, and trying again does not help while things stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The check or rule, such as `NumCPU`.
    pub name: String,
    /// What was found.
    pub what: String,
    /// The way out.
    pub hint: String,
}

impl Refused {
    /// Refuses by `name`.
    pub fn new(name: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.name, self.what)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// The node is not as planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node is not as planned: {0}")]
pub struct Differs(pub String);

/// The plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not there, or not readable.
    #[error("reading {0}")]
    Missing(&'static str, #[source] std::io::Error),
    /// Damaged.
    #[error("reading {0}")]
    Bad(&'static str, #[source] nodekiln_plan::PlanError),
}

/// stdout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("writing to stdout")]
pub struct Unwritten(#[from] std::io::Error);

/// The exit code that tells of `error`.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Unusable>() {
        Some(Unusable::Missing(..)) => return ENVIRONMENT,
        Some(Unusable::Bad(..)) => return PLAN,
        None => {}
    }
    if error.downcast_ref::<Unwritten>().is_some() {
        ENVIRONMENT
    } else if error.downcast_ref::<Refused>().is_some() {
        REFUSED
    } else if error.downcast_ref::<Differs>().is_some() {
        DIFFERS
    } else {
        FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn codes_are_found_below_contexts() {
        let refused = Err::<(), _>(Refused::new("NumCPU", "1 CPU", "")).context("checking").unwrap_err();
        assert_eq!(code(&refused), REFUSED);
        assert_eq!(code(&anyhow::anyhow!("x")), FAILED);
        let full = Unwritten(std::io::ErrorKind::StorageFull.into());
        assert_eq!(code(&anyhow::Error::new(full).context("telling")), ENVIRONMENT);
        assert_eq!(code(&Differs("a".into()).into()), DIFFERS);
    }
}
