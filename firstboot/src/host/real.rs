//! The machine this process runs on.

use super::{Answer, Fut, Host, HttpError, HttpRequest, HttpResponse, Kind, Level, Machine, Output, Stat, http, serve};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::time::{ClockId, clock_gettime};
use nodekiln_plan::Sha256;
use sha2::Digest as _;
use std::{
    fs,
    io::{self, Read, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where programs are looked for when PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The machine below a root folder.
pub struct Real {
    root: PathBuf,
    under_systemd: bool,
}

impl Real {
    /// The machine with its files below `root`, which is `/` outside tests.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), under_systemd: std::env::var_os("JOURNAL_STREAM").is_some() }
    }

    fn at(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(rest) => self.root.join(rest),
            Err(_) => self.root.join(path),
        }
    }
}

impl Host for Real {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(self.at(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(fs::File::open(self.at(path))?))
    }

    fn digest(&self, path: &Path) -> io::Result<Sha256> {
        let mut file = fs::File::open(self.at(path))?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Sha256::from_bytes(hasher.finalize().into())),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let meta = match fs::symlink_metadata(self.at(path)) {
            Ok(meta) => meta,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(e),
        };
        let kind = match meta.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Dir,
            t if t.is_symlink() => Kind::Link,
            t if t.is_socket() || t.is_fifo() || t.is_block_device() || t.is_char_device() => Kind::Other,
            _ => Kind::Other,
        };
        let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(Some(Stat { kind, mode: meta.mode() & 0o7777, size: meta.size(), mtime }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.at(path)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(self.at(path))
    }

    fn replace(&self, path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
        nodekiln_fs::replace_file(&self.at(path), mode, bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::OpenOptions::new().write(true).truncate(true).open(self.at(path))?.write_all(bytes)
    }

    fn install(&self, from: &mut dyn Read, path: &Path, mode: u32) -> io::Result<()> {
        let path = self.at(path);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let stem: String = name.chars().take(40).collect();
        let temp = path.with_file_name(format!(".{stem}.nodekiln.tmp"));
        let _ = fs::remove_file(&temp);
        let copied = (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(&temp)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            io::copy(from, &mut file)?;
            file.sync_all()
        })();
        if copied.is_err() {
            let _ = fs::remove_file(&temp);
        }
        copied?;
        nodekiln_fs::rename_durably(&temp, &path)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        nodekiln_fs::make_dir(&self.at(path), mode)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        nodekiln_fs::symlink_durably(target, &self.at(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        nodekiln_fs::rename_durably(&self.at(from), &self.at(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        nodekiln_fs::remove_file_durably(&self.at(path))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        match fs::remove_dir_all(&path) {
            Ok(()) => nodekiln_fs::sync_parent(&path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn machine(&self) -> io::Result<Machine> {
        let uname = nix::sys::utsname::uname()?;
        let memory = nix::sys::sysinfo::sysinfo()?.ram_total();
        let mut addresses = Vec::new();
        for link in nix::ifaddrs::getifaddrs()? {
            let Some(address) = link.address else { continue };
            if let Some(v4) = address.as_sockaddr_in() {
                addresses.push(IpAddr::V4(v4.ip()));
            } else if let Some(v6) = address.as_sockaddr_in6() {
                addresses.push(IpAddr::V6(v6.ip()));
            }
        }
        Ok(Machine {
            uid: nix::unistd::geteuid().as_raw(),
            cpus: std::thread::available_parallelism()?.get(),
            memory,
            release: uname.release().to_string_lossy().into_owned(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            addresses,
            cgroup2: statfs(&self.at(Path::new("/sys/fs/cgroup")))
                .is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC),
        })
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name)).find(|path| {
            fs::metadata(self.at(path)).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }

    fn command(&self, program: &str, args: &[&str]) -> io::Result<Output> {
        let output = Command::new(program)
            .args(args)
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()))
            // systemctl and its kin must not take this service's credentials for their own.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .output()?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn set_hostname(&self, name: &str) -> io::Result<()> {
        Ok(nix::unistd::sethostname(name)?)
    }

    fn kill(&self, pid: i32) -> io::Result<()> {
        Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?)
    }

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }

    fn port_free(&self, port: u16) -> io::Result<()> {
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Ok(_) => Ok(()),
            // A kernel without IPv6.
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(|_| ())
            }
            Err(e) => Err(e),
        }
    }

    fn socket_answers(&self, path: &Path) -> io::Result<()> {
        UnixStream::connect(self.at(path)).map(|_| ())
    }

    fn http<'a>(&'a self, request: &'a HttpRequest) -> Fut<'a, Result<HttpResponse, HttpError>> {
        Box::pin(http::exchange(request))
    }

    fn serve(&self, address: SocketAddr, tls: Arc<rustls::ServerConfig>, answer: Answer) -> io::Result<()> {
        serve::spawn(TcpListener::bind(address)?, tls, answer)
    }

    fn sleep(&self, time: Duration) -> Fut<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn notify(&self, ready: bool, status: &str) {
        use sd_notify::NotifyState::{Ready, Status};
        // Outside systemd there is nobody to tell.
        let _ = match ready {
            true => sd_notify::notify(&[Ready, Status(status)]),
            false => sd_notify::notify(&[Status(status)]),
        };
    }

    fn say(&self, level: Level, line: &str) {
        let number = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Info => 6,
        };
        let mut stderr = io::stderr().lock();
        let _ = match self.under_systemd {
            true => writeln!(stderr, "<{number}>{line}"),
            false => writeln!(stderr, "{line}"),
        };
        if self.under_systemd
            && level <= Level::Notice
            && let Ok(mut console) = fs::OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open(self.at(Path::new("/dev/console")))
        {
            let _ = console.write_all(format!("nodekiln: {line}\r\n").as_bytes());
        }
    }

    fn print(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}
