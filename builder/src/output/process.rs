//! The builder's own process.

use nix::sys::resource::{Resource, setrlimit};

/// Turns core dumps off: this process holds keys.
///
/// # Errors
/// The kernel refuses.
pub fn no_core_dumps() -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(Into::into)
}
