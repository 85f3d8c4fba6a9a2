//! The command line.

use crate::{
    exit, gate,
    host::{Host, Level, Real, print},
    run, status, verify,
};
use nodekiln_plan::PLAN_MARKER;
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

const HELP: &str = "\
nodekiln-firstboot: turns this machine into the Kubernetes node that its plan describes

  run              do what is left to do; what the unit nodekiln-firstboot.service runs
  gate             say by the exit code whether the kubelet may start; its ExecStartPre
  status [--json]  what is being done, or was
  verify           compare the node with its plan
  --version  --help

Exit codes: 0 ok, 1 a stage failed and is tried again, 2 usage, 3 no plan or a full stdout,
4 damaged plan, 5 refused by name, 6 not yet (gate), 7 the node is not as planned
";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Run,
    Gate,
    Status { json: bool },
    Verify,
    Help,
    Version,
}

#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    task: Task,
    root: PathBuf,
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut task = None;
    let mut json = false;
    let mut root = PathBuf::from("/");
    while let Some(argument) = parser.next()? {
        match argument {
            // For tests: another folder in place of the file system's root.
            Long("root") => root = parser.value()?.into(),
            Long("json") => json = true,
            Long("help") | Short('h') => task = Some(Task::Help),
            Long("version") | Short('V') => task = Some(Task::Version),
            Value(word) if task.is_none() => {
                task = Some(match word.to_str() {
                    Some("run") => Task::Run,
                    Some("gate") => Task::Gate,
                    Some("status") => Task::Status { json: false },
                    Some("verify") => Task::Verify,
                    _ => return Err(Value(word).unexpected()),
                });
            }
            other => return Err(other.unexpected()),
        }
    }
    let task = match task.ok_or("one of run, gate, status, verify is missing")? {
        Task::Status { .. } => Task::Status { json },
        _ if json => return Err("--json goes with status".into()),
        task => task,
    };
    Ok(Arguments { task, root })
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(e) => {
            Real::new("/".as_ref()).say(Level::Error, &format!("{e}\n\n{HELP}"));
            return exit::USAGE.into();
        }
    };
    let host = Real::new(&arguments.root);
    match start(&host, arguments.task) {
        Ok(code) => code.into(),
        Err(e) => {
            host.say(Level::Error, &format!("{e:#}"));
            exit::code(&e).into()
        }
    }
}

fn start(host: &Real, task: Task) -> anyhow::Result<u8> {
    harden();
    // Two providers may be compiled in where the workspace is built as a whole: choose, before kube does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match task {
        Task::Help => print(host, HELP)?,
        Task::Version => print(host, &format!("nodekiln-firstboot {}\n{PLAN_MARKER}\n", env!("CARGO_PKG_VERSION")))?,
        Task::Status { json } => return status::show(host, json),
        Task::Gate => return gate::gate(host),
        Task::Verify => return verify::verify(host),
        Task::Run => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let done = runtime.block_on(run::run(host));
            // A name lookup that hangs must not keep the process.
            runtime.shutdown_background();
            return match done {
                // It has said so before it waited.
                Err(e) if run::is_held_back(&e) => Ok(exit::code(&e)),
                done => done.map(|()| exit::OK),
            };
        }
    }
    Ok(exit::OK)
}

/// No file that others may read, no core dump with keys in it. Best effort: the unit says the same.
fn harden() {
    use nix::sys::{prctl, resource, stat};
    stat::umask(stat::Mode::from_bits_truncate(0o077));
    let _ = resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &[&str]) -> Result<Task, String> {
        parse(words.iter().map(OsString::from)).map(|a| a.task).map_err(|e| e.to_string())
    }

    #[test]
    fn commands() {
        assert_eq!(task(&["run"]), Ok(Task::Run));
        assert_eq!(task(&["status", "--json"]), Ok(Task::Status { json: true }));
        assert_eq!(task(&["--json", "status"]), Ok(Task::Status { json: true }));
        assert_eq!(task(&["verify", "--root", "/x"]), Ok(Task::Verify));
        for bad in [&[][..], &["up"], &["run", "gate"], &["run", "--json"], &["run", "-x"]] {
            assert!(task(bad).is_err(), "{bad:?}");
        }
    }
}
