//! The one way programs are run.

use super::Host;
use anyhow::{Context as _, bail};

/// What a program that ended left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program and gives its standard output.
///
/// # Errors
/// It cannot be started, or ends with another code than 0: names the whole command and the tail of its stderr.
pub fn run(host: &dyn Host, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = host.command(program, args).with_context(|| format!("starting `{program} {}`", args.join(" ")))?;
    if output.code == Some(0) {
        return Ok(output.stdout);
    }
    let how = output.code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with code {code}"));
    let tail = tail(&output.stderr, 1024);
    bail!("`{program} {}` {how}{}{tail}", args.join(" "), if tail.is_empty() { "" } else { ": " })
}

/// The last `limit` bytes of `text` on one line.
pub fn tail(text: &str, limit: usize) -> String {
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
