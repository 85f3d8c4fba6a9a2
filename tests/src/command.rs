//! One way to run a program: with a total limit, its output captured, and errors that name the command.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::redact::redact;

/// How long a command may take when nothing else is said.
const LIMIT: Duration = Duration::from_secs(30);

/// A command to run: an argument list, never a shell line.
#[derive(Clone, Debug)]
pub struct Cmd {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    limit: Duration,
    input: Option<Vec<u8>>,
    /// What the error calls it, when the argument list is wrapped.
    title: Option<String>,
}

/// What a command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; `None` when it was stopped for exceeding its limit.
    pub status: Option<ExitStatus>,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
    title: String,
}

impl Output {
    /// Whether it ended by itself with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Standard output, or an error with the command and the tail of what it said.
    pub fn ok(self) -> Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        let end = match self.status {
            Some(status) => status.to_string(),
            None => "still running at its limit".to_owned(),
        };
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        bail!("{}: {end}: {}", self.title, redact(tail(said.trim(), 2000)));
    }
}

/// The last `bytes` of a text, cut at a character.
fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

impl Cmd {
    /// A command with its arguments.
    pub fn new<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            env: Vec::new(),
            clear_env: false,
            limit: LIMIT,
            input: None,
            title: None,
        }
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        for word in argv {
            let word = word.as_ref();
            if let Some(title) = &mut self.title {
                title.push(' ');
                title.push_str(&word.to_string_lossy());
            }
            self.argv.push(word.to_owned());
        }
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Nothing of the caller's environment.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The total time it may take; then it and its process group are killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs it behind `prefix`, a program that ends by executing its arguments; errors keep the inner name.
    #[must_use]
    pub fn behind<S: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        self.title = Some(self.title());
        let mut argv: Vec<OsString> = prefix.into_iter().map(|word| word.as_ref().to_owned()).collect();
        argv.append(&mut self.argv);
        self.argv = argv;
        self
    }

    /// Runs it as a member of `cgroup`.
    #[must_use]
    pub fn within(self, cgroup: &Cgroup) -> Self {
        let prefix = cgroup.enter();
        self.behind(prefix)
    }

    fn title(&self) -> String {
        let title = self.title.clone().unwrap_or_else(|| {
            let words: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        });
        redact(head(&title, 300))
    }

    fn command(&self) -> Result<Command> {
        let (program, args) = self.argv.split_first().context("running a command without a name")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).process_group(0);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts it with both outputs into `log`; the caller waits for it or kills it.
    pub fn spawn(&self, log: File) -> Result<Child> {
        let other = log.try_clone().context("duplicating a log file")?;
        self.command()?.stdout(log).stderr(other).spawn().with_context(|| format!("starting {}", self.title()))
    }

    /// Runs it to its end, whatever its status.
    pub fn output(self) -> Result<Output> {
        let title = self.title();
        let mut command = self.command()?;
        if self.input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {title}"))?;
        if let (Some(input), Some(mut pipe)) = (self.input, child.stdin.take()) {
            // A program that does not read to the end is no error of ours.
            thread::spawn(move || pipe.write_all(&input).ok());
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let deadline = Instant::now() + self.limit;
        let status = wait(&mut child, deadline).with_context(|| format!("waiting for {title}"))?;
        let grace = deadline.max(Instant::now() + Duration::from_millis(500));
        let take = |from: Option<mpsc::Receiver<Vec<u8>>>| {
            let left = grace.saturating_duration_since(Instant::now());
            let bytes = from.and_then(|receiver| receiver.recv_timeout(left).ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(Output { status, stdout: take(stdout), stderr: take(stderr), title })
    }

    /// Runs it and gives standard output; any other end than status 0 is an error.
    pub fn ok(self) -> Result<String> {
        self.output()?.ok()
    }
}

/// The first `bytes` of a text, cut at a character.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a pipe to its end in a thread, so that a full pipe never blocks the program.
fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        sender.send(bytes).ok();
    });
    receiver
}

/// Waits until `deadline`, then kills the process group; `None` says that it had to.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let group = Pid::from_raw(i32::try_from(child.id())?);
            killpg(group, Signal::SIGKILL).ok();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_command_and_its_last_words() {
        let error = Cmd::new(["sh", "-c", "echo broken >&2; exit 3"]).ok().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("broken"), "{error}");
    }

    #[test]
    fn a_limit_ends_the_whole_group() {
        let start = Instant::now();
        let output = Cmd::new(["sh", "-c", "sleep 60 & wait"]).limit(Duration::from_millis(100)).output().unwrap();
        assert!(output.status.is_none());
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn input_is_passed_on() {
        assert_eq!(Cmd::new(["cat"]).input("words").ok().unwrap(), "words");
    }
}
