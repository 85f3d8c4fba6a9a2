//! The nodekiln command.

use std::process::ExitCode;

/// A node is made of thousands of small allocations: glibc's allocator takes a tenth of a build's time for them, this one
/// a fiftieth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // No core file may hold keys. A kernel that refuses is no reason to refuse the build.
    let _ = nodekiln::output::no_core_dumps();
    nodekiln::cli::run(std::env::args_os())
}
