//! What is printed, and what a failure becomes.

use crate::config::{self, Colors, Diagnostics};
use anyhow::{Context as _, anyhow};
use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

/// Exit codes: part of the command's interface.
pub mod exit {
    /// Findings in the input: cluster.yaml, secrets.yaml, a payload.
    pub const FINDINGS: u8 = 1;
    /// Wrong arguments.
    pub const USAGE: u8 = 2;
    /// The environment: files that cannot be read or written, a part that is missing.
    pub const ENVIRONMENT: u8 = 3;
}

/// Why a command ended without success.
#[derive(Debug)]
pub enum Failure {
    /// Findings with positions.
    Findings(Box<Diagnostics>),
    /// The input is wrong in a way that has no position.
    Input(anyhow::Error),
    /// The environment.
    Environment(anyhow::Error),
}

impl Failure {
    /// The input is wrong.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self::Input(error.into())
    }

    /// The environment is.
    pub fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self::Environment(error.into())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Findings(_) | Failure::Input(_) => exit::FINDINGS,
            Failure::Environment(_) => exit::ENVIRONMENT,
        }
    }
}

impl From<config::Failure> for Failure {
    fn from(failure: config::Failure) -> Self {
        match failure {
            config::Failure::Findings(findings) => Failure::Findings(Box::new(findings)),
            config::Failure::Io { path, source } if source.kind() == io::ErrorKind::NotFound => Failure::Environment(
                anyhow!("reading {}: {source}; `nodekiln init` writes one to start from", path.display()),
            ),
            failure @ config::Failure::Io { .. } => Failure::environment(failure),
        }
    }
}

/// Where words and data go.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    colors: Colors,
    is_terminal: bool,
}

impl Terminal {
    /// Colours only on a terminal that did not opt out (no-color.org).
    pub fn new(quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let wanted = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { quiet, colors: if wanted { Colors::On } else { Colors::Off }, is_terminal }
    }

    /// Whether somebody may be watching who wants to know how far it is.
    pub fn is_watched(&self) -> bool {
        self.is_terminal && !self.quiet
    }

    /// Says something, unless quiet.
    pub fn say(&self, words: impl fmt::Display) {
        if !self.quiet {
            print(&printable(words));
        }
    }

    /// Says what should be looked at, even when quiet.
    pub fn warn(&self, words: impl fmt::Display) {
        print(&printable(format_args!("warning: {words}")));
    }

    /// Warnings are said even when quiet.
    pub fn warnings(&self, warnings: &Diagnostics) {
        if !warnings.is_empty() {
            print(&warnings.render(self.colors).trim_end());
        }
    }

    /// Prints data on stdout. A reader that has seen enough, such as `head`, is no failure.
    ///
    /// # Errors
    /// stdout is full.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        printed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Prints a value as JSON on stdout.
    ///
    /// # Errors
    /// stdout is full.
    pub fn json(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(value).map_err(Failure::environment)?;
        text.push(b'\n');
        self.data(&text)
    }

    /// Prints why the command failed.
    pub fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Findings(findings) => print(&findings.render(self.colors).trim_end()),
            Failure::Input(error) | Failure::Environment(error) => {
                let mut text = format!("error: {error}");
                let mut cause = error.source();
                while let Some(error) = cause {
                    text.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                print(&printable(text));
            }
        }
    }
}

/// What came of writing to stdout.
///
/// # Errors
/// stdout is full. That its reader has gone is no error.
pub(super) fn printed(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout").map_err(Failure::Environment),
    }
}

/// Words without what a terminal would act on: names of files may hold anything.
fn printable(words: impl fmt::Display) -> String {
    let mut text = String::new();
    for c in words.to_string().chars() {
        // Marks of direction show a name as another one (Unicode TR 9).
        let acts = (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if acts { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// Words that nobody can read any more are no reason to stop.
fn print(words: &impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_do_not_reach_the_terminal_raw() {
        for (name, shown) in
            [("ö\nx", "ö\nx"), ("\x1b[31m", "\\u{1b}[31m"), ("a\u{202e}b\r", "a\\u{202e}b\\r"), ("\u{9b}", "\\u{9b}")]
        {
            assert_eq!(printable(name), shown);
        }
    }
}
