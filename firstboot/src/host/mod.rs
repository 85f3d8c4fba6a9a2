//! The machine, as the stages see it. Nothing outside this folder touches it.
//!
//! Paths are those of the node; the host puts its root in front, so that a stage runs in a temporary folder too.

#[cfg(test)]
pub mod fake;
mod http;
mod program;
mod real;
mod serve;

pub use http::{HttpError, HttpRequest, HttpResponse};
pub use program::{Output, run};
pub use real::Real;
pub use serve::Answer;

use crate::exit::Unwritten;
use nodekiln_plan::Sha256;
use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

/// A future of a host.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a name in the file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symlink.
    Link,
    /// A socket, a device, a pipe.
    Other,
}

/// Facts about a name, symlinks not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change in nanoseconds since the epoch.
    pub mtime: i128,
}

/// How loud a line is: the journal's priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `<3>`
    Error,
    /// `<4>`
    Warning,
    /// `<5>`: what belongs on the console.
    Notice,
    /// `<6>`: journal only.
    Info,
}

/// What the kernel says about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Effective user id.
    pub uid: u32,
    /// CPUs this process may run on.
    pub cpus: usize,
    /// RAM in bytes.
    pub memory: u64,
    /// Kernel release.
    pub release: String,
    /// Host name.
    pub hostname: String,
    /// Addresses on the machine's links.
    pub addresses: Vec<IpAddr>,
    /// Whether /sys/fs/cgroup is cgroup v2.
    pub cgroup2: bool,
}

/// The machine.
pub trait Host {
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A file to read piece by piece.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;
    /// The digest of a file.
    fn digest(&self, path: &Path) -> io::Result<Sha256>;
    /// What is at `path`; `None` where nothing is.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// The names in a folder, sorted; none where there is no folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Where a symlink leads.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Puts a file at `path`, durably and whole.
    fn replace(&self, path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()>;
    /// Writes into what is at `path`: /proc/sys, /run. Not durable.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Copies `from` into a new file, durably and whole.
    fn install(&self, from: &mut dyn Read, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes a folder, or gives one that exists its mode.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Gives a file its mode.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes a symlink, durably.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;
    /// Renames, durably.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or symlink, durably; nothing there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it, durably; nothing there is no error.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;

    /// Facts about the machine.
    fn machine(&self) -> io::Result<Machine>;
    /// Where a program of PATH lies.
    fn program(&self, name: &str) -> Option<PathBuf>;
    /// Runs a program to its end, stdin closed.
    fn command(&self, program: &str, args: &[&str]) -> io::Result<Output>;
    /// Names the running machine, not durably. Where /proc/sys is read-only this works too.
    fn set_hostname(&self, name: &str) -> io::Result<()>;
    /// Ends a process at once.
    fn kill(&self, pid: i32) -> io::Result<()>;
    /// Time since the epoch.
    fn now(&self) -> Duration;
    /// Time since boot.
    fn monotonic(&self) -> Duration;
    /// Fills `bytes` from the kernel's generator.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Whether a TCP port can be listened on, on all addresses.
    fn port_free(&self, port: u16) -> io::Result<()>;
    /// Whether something listens on a Unix socket.
    fn socket_answers(&self, path: &Path) -> io::Result<()>;
    /// One HTTP exchange.
    fn http<'a>(&'a self, request: &'a HttpRequest) -> Fut<'a, Result<HttpResponse, HttpError>>;
    /// Answers GET requests over TLS from a thread of its own, until the process ends.
    fn serve(&self, address: SocketAddr, tls: Arc<rustls::ServerConfig>, answer: Answer) -> io::Result<()>;
    /// Waits.
    fn sleep(&self, time: Duration) -> Fut<'_, ()>;

    /// Tells the service manager: ready, if so, and what is being done.
    fn notify(&self, ready: bool, status: &str);
    /// A line for a human.
    fn say(&self, level: Level, line: &str);
    /// Data on standard output.
    fn print(&self, text: &str) -> io::Result<()>;
}

/// Prints data on stdout.
///
/// # Errors
/// stdout is full.
pub fn print(host: &dyn Host, text: &str) -> Result<(), Unwritten> {
    Ok(host.print(text)?)
}

/// The content of a file as text, `None` where it is not there.
pub fn read_text(host: &dyn Host, path: &str) -> io::Result<Option<String>> {
    match host.read(Path::new(path)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its arguments, the program first.
    pub args: Vec<String>,
    /// Its control groups as /proc shows them.
    pub cgroup: String,
}

/// All processes that still are there when they are looked at.
pub fn processes(host: &dyn Host) -> Vec<Process> {
    let mut found = Vec::new();
    for name in host.list(Path::new("/proc")).unwrap_or_default() {
        let Ok(pid) = name.parse::<i32>() else { continue };
        let Ok(bytes) = host.read(Path::new(&format!("/proc/{pid}/cmdline"))) else { continue };
        let args: Vec<String> = bytes
            .split(|b| *b == 0)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        if args.is_empty() {
            continue;
        }
        let cgroup = read_text(host, &format!("/proc/{pid}/cgroup")).ok().flatten().unwrap_or_default();
        found.push(Process { pid, args, cgroup });
    }
    found
}
