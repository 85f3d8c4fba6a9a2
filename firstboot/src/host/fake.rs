//! A machine in a temporary folder, with scripted programs and peers, that can die before any of its effects.

use super::{Answer, Fut, Host, HttpError, HttpRequest, HttpResponse, Level, Machine, Output, Real, Stat};
use nodekiln_plan::Sha256;
use std::{
    cell::{Cell, RefCell},
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

type Script = Box<dyn Fn(&str, &[&str]) -> Output>;
type Web = Box<dyn Fn(&HttpRequest) -> Result<HttpResponse, HttpError>>;

/// See the module.
pub struct Fake {
    /// Holds the files.
    pub dir: tempfile::TempDir,
    real: Real,
    /// What `machine` gives.
    pub machine: Machine,
    /// What programs do.
    pub script: RefCell<Script>,
    /// What others answer.
    pub web: RefCell<Web>,
    /// What the rest of the machine does while this program waits.
    pub tick: RefCell<Box<dyn Fn()>>,
    /// The wall clock, moved by `sleep`.
    pub clock: Cell<Duration>,
    /// Effects left before the machine dies; none: it does not.
    pub lives: Cell<Option<u32>>,
    /// Effects so far.
    pub effects: Cell<u32>,
    /// Lines that were said.
    pub said: RefCell<Vec<String>>,
    /// Programs that were run.
    pub ran: RefCell<Vec<String>>,
    /// Ports in use.
    pub busy: Vec<u16>,
    /// Drawn from as random.
    pub seed: Cell<u8>,
    /// Written to standard output.
    pub printed: RefCell<String>,
    /// Refuses to write to standard output.
    pub is_full: Cell<bool>,
    /// Refuses to rename out of this folder: a mount point.
    pub mount: Option<PathBuf>,
    /// Refuses to remove what is in this folder: a read-only file system.
    pub read_only: Option<PathBuf>,
}

impl Fake {
    /// A machine that passes preflight.
    pub fn machine_that_passes() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let real = Real::new(dir.path());
        let fake = Self {
            real,
            machine: Machine {
                uid: 0,
                cpus: 4,
                memory: 4 << 30,
                release: "6.12.1".to_owned(),
                hostname: "n1".to_owned(),
                addresses: vec!["10.0.0.1".parse().unwrap()],
                cgroup2: true,
            },
            script: RefCell::new(Box::new(|_, _| Output { code: Some(0), ..Output::default() })),
            web: RefCell::new(Box::new(|_| Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())))),
            tick: RefCell::new(Box::new(|| {})),
            clock: Cell::new(Duration::from_secs(1_800_000_000)),
            lives: Cell::new(None),
            effects: Cell::new(0),
            said: RefCell::default(),
            ran: RefCell::default(),
            busy: Vec::new(),
            seed: Cell::new(1),
            printed: RefCell::default(),
            is_full: Cell::new(false),
            mount: None,
            read_only: None,
            dir,
        };
        fake.put("/proc/sys/kernel/random/boot_id", "boot-1\n");
        fake.put("/proc/swaps", "Filename Type Size Used Priority\n");
        fake.put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
        fake
    }

    /// Puts a file, as the payload or the kernel does.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join(path.trim_start_matches('/'))).ok()
    }

    /// Every path with mode and content, but for folders named in `without`.
    pub fn tree(&self, without: &[&str]) -> Vec<String> {
        fn walk(root: &Path, dir: &Path, without: &[&str], out: &mut Vec<String>) {
            use std::os::unix::fs::PermissionsExt as _;
            let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
            names.sort();
            for path in names {
                let name = format!("/{}", path.strip_prefix(root).unwrap().display());
                if without.contains(&name.as_str()) || name.ends_with(".tmp") {
                    continue;
                }
                let meta = std::fs::symlink_metadata(&path).unwrap();
                let mode = meta.permissions().mode() & 0o7777;
                if meta.is_dir() {
                    out.push(format!("{name} {mode:o}"));
                    walk(root, &path, without, out);
                } else if meta.is_symlink() {
                    out.push(format!("{name} -> {}", std::fs::read_link(&path).unwrap().display()));
                } else {
                    out.push(format!("{name} {mode:o} {:?}", String::from_utf8_lossy(&std::fs::read(&path).unwrap())));
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir.path(), self.dir.path(), without, &mut out);
        out
    }

    fn removal(&self, path: &Path) -> io::Result<()> {
        match &self.read_only {
            Some(folder) if path.starts_with(folder) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => self.effect(),
        }
    }

    /// Counts an effect, or dies: then nothing has an effect any more.
    fn effect(&self) -> io::Result<()> {
        if let Some(left) = self.lives.get() {
            if left == 0 {
                return Err(io::Error::other("killed"));
            }
            self.lives.set(Some(left - 1));
        }
        self.effects.set(self.effects.get() + 1);
        Ok(())
    }
}

impl Host for Fake {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.real.read(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.real.open(path)
    }

    fn digest(&self, path: &Path) -> io::Result<Sha256> {
        self.real.digest(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.real.stat(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.real.list(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.real.read_link(path)
    }

    fn replace(&self, path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
        // Status and logs are told, not done.
        if !path.starts_with("/run") {
            self.effect()?;
        }
        self.real.replace(path, mode, bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.effect()?;
        self.real.write(path, bytes)
    }

    fn install(&self, from: &mut dyn Read, path: &Path, mode: u32) -> io::Result<()> {
        self.effect()?;
        self.real.install(from, path, mode)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        if !path.starts_with("/run") {
            self.effect()?;
        }
        self.real.make_dir(path, mode)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.effect()?;
        self.real.set_mode(path, mode)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.effect()?;
        self.real.symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect()?;
        if let Some(mount) = &self.mount
            && from.starts_with(mount) != to.starts_with(mount)
        {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.removal(path)?;
        self.real.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.removal(path)?;
        self.real.remove_tree(path)
    }

    fn machine(&self) -> io::Result<Machine> {
        Ok(self.machine.clone())
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        Some(Path::new("/usr/bin").join(name))
    }

    fn command(&self, program: &str, args: &[&str]) -> io::Result<Output> {
        self.effect()?;
        self.ran.borrow_mut().push(format!("{program} {}", args.join(" ")));
        Ok((self.script.borrow())(program, args))
    }

    fn set_hostname(&self, name: &str) -> io::Result<()> {
        self.effect()?;
        self.put("/proc/sys/kernel/hostname", &format!("{name}\n"));
        Ok(())
    }

    fn kill(&self, pid: i32) -> io::Result<()> {
        self.effect()?;
        self.real.remove_tree(Path::new(&format!("/proc/{pid}")))
    }

    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn monotonic(&self) -> Duration {
        self.clock.get()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        bytes.fill(self.seed.get());
        self.seed.set(self.seed.get().wrapping_add(1));
        Ok(())
    }

    fn port_free(&self, port: u16) -> io::Result<()> {
        if self.busy.contains(&port) { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
    }

    fn socket_answers(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn http<'a>(&'a self, request: &'a HttpRequest) -> Fut<'a, Result<HttpResponse, HttpError>> {
        Box::pin(async move { (self.web.borrow())(request) })
    }

    fn serve(&self, _: SocketAddr, _: Arc<rustls::ServerConfig>, _: Answer) -> io::Result<()> {
        Ok(())
    }

    fn sleep(&self, time: Duration) -> Fut<'_, ()> {
        self.clock.set(self.clock.get() + time);
        (self.tick.borrow())();
        Box::pin(async {})
    }

    fn notify(&self, ready: bool, _: &str) {
        if ready {
            self.said.borrow_mut().push("READY".to_owned());
        }
    }

    fn say(&self, _: Level, line: &str) {
        self.said.borrow_mut().push(line.to_owned());
    }

    fn print(&self, text: &str) -> io::Result<()> {
        if self.is_full.get() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.printed.borrow_mut().push_str(text);
        Ok(())
    }
}
