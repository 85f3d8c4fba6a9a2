//! The command line: arguments in, exit code out. Data goes to stdout, words to stderr.

mod build;
mod completions;
mod diff;
mod example;
mod init;
mod inspect;
mod interrupt;
mod man;
mod plan;
mod progress;
mod schema;
mod secrets;
mod summary;
mod terminal;
mod validate;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::{ffi::OsString, process::ExitCode};

pub use terminal::{Failure, Terminal, exit};

/// Builds immutable Kubernetes nodes: one cluster.yaml in, a boot payload per machine out.
///
/// Exit codes: 0 done, 1 findings in the input, 2 usage, 3 the environment (files, disk, missing parts).
#[derive(Debug, Parser)]
#[command(name = "nodekiln", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    /// Say only what is or may be wrong.
    #[arg(short, long, global = true)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented cluster.yaml to start from.
    Init(init::Init),
    /// Make payloads for all nodes.
    Build(build::Build),
    /// Check cluster.yaml and say everything that is wrong with it. Needs no secrets and writes nothing.
    Validate(validate::Validate),
    /// Tell what a payload holds, without anything secret: files, units, keys, certificates, until when it can boot.
    Inspect(inspect::Inspect),
    /// Tell which nodes change from an output to another one, or to what cluster.yaml says now, and what restarts.
    Diff(diff::Diff),
    /// Read an output again: every byte, every payload, every chain, and where which key is.
    Verify(verify::Verify),
    /// Print the JSON Schema of cluster.yaml, for editors.
    Schema(schema::Schema),
    /// Make and look at the cluster's secrets.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Print completions of the command line for a shell.
    Completions(completions::Completions),
    /// Print or write manual pages.
    Man(man::Manual),
}

/// Runs the command with `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap prints help and version on stdout with status 0, mistakes on stderr with status 2.
            let code = u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
            let printed = error.print();
            return match terminal::printed(printed) {
                Err(failure) if !error.use_stderr() => {
                    Terminal::new(false).failure(&failure);
                    ExitCode::from(failure.code())
                }
                _ => ExitCode::from(code),
            };
        }
    };
    interrupt::listen();
    let terminal = Terminal::new(arguments.quiet);
    let outcome = match arguments.command {
        Command::Init(init) => init.run(&terminal),
        Command::Build(build) => build.run(&terminal),
        Command::Validate(validate) => validate.run(&terminal),
        Command::Inspect(inspect) => inspect.run(&terminal),
        Command::Verify(verify) => verify.run(&terminal),
        Command::Diff(diff) => match diff.run(&terminal) {
            Ok(diff::Differs::Yes) => return ExitCode::from(exit::FINDINGS),
            Ok(diff::Differs::NoOrNotAsked) => Ok(()),
            Err(failure) => Err(failure),
        },
        Command::Schema(schema) => schema.run(&terminal),
        Command::Secrets(secrets) => secrets.run(&terminal),
        Command::Completions(completions) => completions.run(&terminal, Arguments::command()),
        Command::Man(manual) => manual.run(&terminal, Arguments::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound_and_documented() {
        let mut tree = Arguments::command();
        tree.build();
        tree.clone().debug_assert();
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} of {} has no help", argument.get_id(), command.get_name());
            }
            command.get_subcommands().filter(|command| command.get_name() != "help").for_each(check);
        }
        check(&tree);
    }
}
