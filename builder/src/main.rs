//! The nodekiln command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // No core file may hold keys. A kernel that refuses is no reason to refuse the build.
    let _ = nodekiln::output::no_core_dumps();
    nodekiln::cli::run(std::env::args_os())
}
