//! One machine: systemd in nspawn with a network namespace, control groups and a disk of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::command::Cmd;
use crate::measure::Monotonic;
use crate::net::{Fabric, Nic, Port};
use crate::redact::redact;
use crate::root::{Payload, Root, RootFile};
use crate::run::Run;
use crate::wait::until;

/// What kind of machine to make.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Name in this harness; the host name comes from the payload, or is this one for a bare image.
    pub name: String,
    /// The interface `eth0`.
    pub nic: Nic,
    /// What it boots with.
    pub payload: Payload,
    /// Files that the machine image is to have beyond the cached root.
    pub files: Vec<RootFile>,
    /// Units that the machine image is to start, beyond those of the cached root.
    pub enabled: Vec<String>,
    /// The program that applies an Ignition config: the newest, unless said otherwise.
    pub ignition: String,
    /// Whether it gets the filled containerd root.
    pub containerd: bool,
    /// Folders that are on a disk of their own and survive a wipe.
    pub volumes: Vec<PathBuf>,
}

impl NodeSpec {
    /// A bare machine with these addresses and all images.
    #[must_use]
    pub fn new(name: &str, addresses: &[IpNet]) -> Self {
        Self {
            name: name.to_owned(),
            nic: Nic { addresses: addresses.to_vec(), mac: None },
            payload: Payload::Bare,
            files: Vec::new(),
            enabled: Vec::new(),
            ignition: "ignition-apply".to_owned(),
            containerd: true,
            volumes: Vec::new(),
        }
    }

    /// The same with a payload.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// The same with one more file in the image.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push(RootFile::new(path, mode, contents));
        self
    }

    /// The same with one more unit in the image, which starts at boot.
    #[must_use]
    pub fn unit(mut self, name: &str, contents: &str) -> Self {
        self.enabled.push(name.to_owned());
        self.file(&format!("/etc/systemd/system/{name}"), 0o644, contents)
    }
}

/// A machine, on or off. Dropping it cuts the power and throws the disk away.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    /// Fields are dropped in order: what runs goes before its disk.
    power: Option<Power>,
    root: Root,
    /// Whether the payload still has to be put on the disk.
    blank: bool,
    console: PathBuf,
    boots: u32,
    cache: Cache,
    run: Arc<Run>,
}

/// What exists only while the machine is on.
#[derive(Debug)]
struct Power {
    nspawn: Child,
    cgroup: Cgroup,
    port: Port,
    on: Monotonic,
    at: SystemTime,
}

/// How a machine went off by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// It stays off.
    Halt,
    /// It wants to be started again.
    Reboot,
}

/// How long nspawn may take until there is a first process, and the kernel to end everything after a kill.
const NSPAWN_LIMIT: Duration = Duration::from_secs(20);

impl Node {
    /// A machine that is off, with a blank disk.
    pub fn new(cache: &Cache, spec: NodeSpec) -> Result<Self> {
        let run = Run::current(cache)?;
        let dir = run.dir().join(run.unique(&spec.name));
        let root = Root::create(cache, &dir, spec.containerd, &spec.volumes)
            .with_context(|| format!("making the disk of {}", spec.name))?;
        let console = dir.join("console.log");
        Ok(Self { spec, power: None, root, blank: true, console, boots: 0, cache: cache.clone(), run })
    }

    /// Its name in this harness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its first address.
    pub fn address(&self) -> Result<std::net::IpAddr> {
        let first = self.spec.nic.addresses.first().with_context(|| format!("{} has no address", self.name()))?;
        Ok(first.addr())
    }

    /// Its disk; to be used while it is off.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// Puts files and payload on a blank disk; done by [`Self::power_on`], or earlier so as not to be timed.
    pub fn provision(&mut self) -> Result<()> {
        if !self.blank {
            return Ok(());
        }
        let mut files = self.spec.files.clone();
        if matches!(self.spec.payload, Payload::Bare) {
            files.push(RootFile::new("/etc/hostname", 0o644, format!("{}\n", self.spec.name)));
        }
        self.root.write(&files)?;
        self.root.enable(&self.spec.enabled)?;
        self.root
            .install(&self.cache, &self.spec.payload, &self.spec.ignition)
            .with_context(|| format!("putting the payload on {}", self.name()))?;
        self.blank = false;
        Ok(())
    }

    /// Presses the power button; returns when the first process runs.
    pub fn power_on(&mut self, fabric: &Fabric) -> Result<()> {
        if self.is_on() {
            bail!("powering on {}: it is on", self.name());
        }
        self.provision()?;
        let port = fabric.attach(self.name(), &self.spec.nic)?;
        let cgroup = self.run.cgroup().create(&self.run.unique(self.name()))?;
        let console = File::options()
            .create(true)
            .append(true)
            .open(&self.console)
            .with_context(|| format!("opening {}", self.console.display()))?;
        let (at, on) = (SystemTime::now(), Monotonic::now()?);
        let started = self.nspawn(&port)?.within(&cgroup).spawn(console);
        let nspawn = match started {
            Ok(nspawn) => nspawn,
            Err(error) => {
                cgroup.destroy(NSPAWN_LIMIT).ok();
                return Err(error);
            }
        };
        self.power = Some(Power { nspawn, cgroup, port, on, at });
        self.boots += 1;
        until("the first process", NSPAWN_LIMIT, Duration::from_millis(5), || {
            self.still_on()?;
            Ok(self.pid1().ok())
        })
        .with_context(|| format!("powering on {}; its console:\n{}", self.name(), self.console_tail(20)))?;
        Ok(())
    }

    fn nspawn(&self, port: &Port) -> Result<Cmd> {
        let merged = self.root.merged();
        let shim = self.run.pid1();
        let mut argv: Vec<OsString> = [
            "systemd-nspawn",
            "--quiet",
            "--keep-unit",
            "--register=no",
            "--kill-signal=SIGRTMIN+3",
            "--capability=all",
            "--system-call-filter=add_key keyctl bpf",
            "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--hostname=localhost",
            "--bind=/dev/kmsg",
        ]
        .map(OsString::from)
        .into();
        argv.push(format!("--machine={}", self.run.unique("m")).into());
        argv.push(format!("--network-namespace-path={}", port.netns().path().display()).into());
        argv.push(format!("--bind-ro={}:/pid1", shim.display()).into());
        argv.extend(["-D".into(), merged.into_os_string(), "/bin/sh".into(), "/pid1".into()]);
        // nspawn's own locks under /run/systemd go with this namespace.
        let private = ["sh", "-euc", r#"mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; exec "$@""#, "run"];
        Ok(Cmd::new(argv).behind(private).behind(self.root.mounted()?))
    }

    /// Whether it is still there, unless somebody has switched it off from inside.
    pub(crate) fn still_on(&self) -> Result<()> {
        let power = self.power()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", power.nspawn.id())).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if state.is_empty() || state.starts_with('Z') {
            bail!("nspawn has ended");
        }
        Ok(())
    }

    fn power(&self) -> Result<&Power> {
        self.power.as_ref().with_context(|| format!("{} is off", self.name()))
    }

    /// The number of its first process on this machine; another at every start.
    pub fn pid1(&self) -> Result<i32> {
        let nspawn = self.power()?.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))
            .with_context(|| format!("reading the children of nspawn of {}", self.name()))?;
        for child in children.split_whitespace() {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
            let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            // Before it is systemd it is the shim, whose mounts are not complete.
            if name.map(str::trim) == Some("systemd") && inner.is_some_and(|pids| pids.trim_end().ends_with("\t1")) {
                return child.parse().with_context(|| format!("reading the children of nspawn of {}", self.name()));
            }
        }
        bail!("{} has no first process yet", self.name())
    }

    /// Stops all its processes at one instant without ending them: a machine that hangs.
    pub fn freeze(&self) -> Result<()> {
        self.power()?.cgroup.freeze()
    }

    /// Lets a frozen machine go on.
    pub fn thaw(&self) -> Result<()> {
        self.power()?.cgroup.thaw()
    }

    /// Its place on the network.
    pub fn port(&self) -> Result<&Port> {
        Ok(&self.power()?.port)
    }

    /// Its control group.
    pub fn cgroup(&self) -> Result<&Cgroup> {
        Ok(&self.power()?.cgroup)
    }

    /// When it was last powered on.
    pub fn powered_on(&self) -> Result<(Monotonic, SystemTime)> {
        let power = self.power()?;
        Ok((power.on, power.at))
    }

    /// The last lines of everything it ever printed on its console, secrets hidden.
    #[must_use]
    pub fn console_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        redact(&all[all.len().saturating_sub(lines)..].join("\n"))
    }

    /// Cuts the power: everything dies at once, nothing is told. Does nothing to a machine that is off.
    pub fn power_cut(&mut self) -> Result<()> {
        let pid1 = self.pid1().ok();
        let Some(mut power) = self.power.take() else {
            return Ok(());
        };
        if let Some(pid1) = pid1 {
            // The kernel kills whatever lives in its process namespace.
            kill(Pid::from_raw(pid1), Signal::SIGKILL).ok();
        }
        power.nspawn.kill().ok();
        let ended = power.cgroup.destroy(NSPAWN_LIMIT);
        power.nspawn.wait().ok();
        ended.with_context(|| format!("cutting the power of {}", self.name()))
    }

    /// Waits until the machine goes off by itself; then it is as after [`Self::power_cut`].
    pub fn wait_off(&mut self, limit: Duration) -> Result<Off> {
        let ended = until("it to go off", limit, Duration::from_millis(20), || {
            let power = self.power.as_mut().with_context(|| format!("{} is off", self.spec.name))?;
            Ok(power.nspawn.try_wait()?)
        });
        let ended =
            ended.with_context(|| format!("waiting for {}; its console:\n{}", self.name(), self.console_tail(20)));
        self.power_cut()?;
        // nspawn leaves the restart of its service to whoever runs it.
        Ok(if ended?.code() == Some(133) { Off::Reboot } else { Off::Halt })
    }

    /// Shuts down in order, as the power button does.
    pub fn shutdown(&mut self, limit: Duration) -> Result<()> {
        self.exec(&["systemctl", "--no-block", "poweroff"])?.output()?;
        self.wait_off(limit)?;
        Ok(())
    }

    /// Cuts the power and boots the same disk again.
    pub fn reboot_hard(&mut self, fabric: &Fabric) -> Result<()> {
        self.power_cut()?;
        self.power_on(fabric)
    }

    /// Throws away all that the machine has written, volumes excepted; the next start boots the payload anew.
    pub fn wipe(&mut self) -> Result<()> {
        self.power_cut()?;
        self.root.wipe().with_context(|| format!("wiping {}", self.name()))?;
        self.blank = true;
        Ok(())
    }

    /// Another payload for the next start after a wipe.
    pub fn set_payload(&mut self, payload: Payload) {
        self.spec.payload = payload;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.power_cut().ok();
    }
}
