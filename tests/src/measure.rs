//! Figures of real runs: a time line that begins at power-on, and memory. Printed as tables on stderr.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::node::Node;

/// A point on the kernel's monotonic clock, which nodes share with this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// Now.
    pub fn now() -> Result<Self> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
        Ok(Self(Duration::from(now)))
    }

    /// A point that systemd or the journal gives in microseconds; zero means never.
    #[must_use]
    pub fn from_micros(micros: u64) -> Option<Self> {
        (micros > 0).then(|| Self(Duration::from_micros(micros)))
    }

    /// A point that firstboot gives in seconds.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }

    /// The time since an earlier point.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What happened when, counted from a start.
#[derive(Clone, Debug)]
pub struct Timeline {
    title: String,
    start: Monotonic,
    rows: BTreeSet<(Duration, String)>,
}

impl Timeline {
    /// A time line that begins when `node` was powered on.
    pub fn of(node: &Node) -> Result<Self> {
        Ok(Self::since(node.name(), node.powered_on()?.0))
    }

    /// A time line that begins at `start`.
    #[must_use]
    pub fn since(title: &str, start: Monotonic) -> Self {
        Self { title: title.to_owned(), start, rows: BTreeSet::new() }
    }

    /// A point that was measured elsewhere.
    pub fn add(&mut self, what: impl Into<String>, at: Monotonic) {
        self.rows.insert((at.since(self.start), what.into()));
    }

    /// Something that has happened just now; gives the time since the start.
    pub fn mark(&mut self, what: impl Into<String>) -> Result<Duration> {
        let now = Monotonic::now()?;
        self.add(what, now);
        Ok(now.since(self.start))
    }

    /// When `what` happened.
    #[must_use]
    pub fn at(&self, what: &str) -> Option<Duration> {
        self.rows.iter().find(|(_, name)| name == what).map(|(at, _)| *at)
    }

    /// What systemd knows: its own start, and when these units began and became active.
    pub fn add_systemd(&mut self, node: &Node, units: &[&str]) -> Result<()> {
        let manager = node.run(&["systemctl", "show", "--property=UserspaceTimestampMonotonic"])?;
        let micros = manager.trim().rsplit('=').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        if let Some(at) = Monotonic::from_micros(micros) {
            self.add("systemd starts", at);
        }
        for unit in units {
            let times = ["ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"];
            let words = ["starts", "is active"];
            for (time, word) in node.unit(unit, &times)?.iter().zip(words) {
                if let Some(at) = Monotonic::from_micros(time.parse().unwrap_or(0)) {
                    self.add(format!("{unit} {word}"), at);
                }
            }
        }
        Ok(())
    }

    /// What firstboot says of itself in status.json: its start, its stages, when the kubelet might start.
    pub fn add_firstboot(&mut self, node: &Node) -> Result<()> {
        let text = node.read_file("/run/nodekiln/status.json")?;
        let status: Value = serde_json::from_str(&text).context("reading status.json")?;
        let point = |value: &Value, name: &str| Monotonic::from_seconds(value.get(name)?.get("monotonic")?.as_f64()?);
        let mut rows = vec![("firstboot starts".to_owned(), point(&status, "started"))];
        rows.push(("firstboot says ready".to_owned(), point(&status, "ready")));
        for stage in status.get("stages").and_then(Value::as_array).into_iter().flatten() {
            let word = |name: &str| stage.get(name).and_then(Value::as_str).unwrap_or("?");
            let title = format!("firstboot {}", word("name"));
            rows.push((format!("{title} starts"), point(stage, "started")));
            rows.push((format!("{title} {}", word("state")), point(stage, "finished")));
        }
        for (what, at) in rows {
            if let Some(at) = at {
                self.add(what, at);
            }
        }
        Ok(())
    }

    /// Entries of a unit's journal for which `name` gives a row, at the time they were written.
    pub fn add_journal(
        &mut self,
        node: &Node,
        unit: &str,
        name: impl Fn(&serde_json::Map<String, Value>) -> Option<String>,
    ) -> Result<()> {
        let text = node.run(&["journalctl", "--no-pager", "--quiet", "-o", "json", "-b", "-u", unit])?;
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).context("reading a journal entry")?;
            let Some(entry) = entry.as_object() else {
                continue;
            };
            let micros = entry.get("__MONOTONIC_TIMESTAMP").and_then(Value::as_str).and_then(|text| text.parse().ok());
            if let (Some(name), Some(at)) = (name(entry), micros.and_then(Monotonic::from_micros)) {
                self.add(name, at);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: seconds since power-on", self.title)?;
        let mut before = Duration::ZERO;
        for (at, what) in &self.rows {
            writeln!(f, "{:>9.3} {:>+9.3}  {what}", at.as_secs_f64(), (*at - before).as_secs_f64())?;
            before = *at;
        }
        Ok(())
    }
}

/// Memory of one process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Its number on this machine.
    pub pid: i32,
    /// Resident now, in KiB.
    pub resident: u64,
    /// Resident at most so far, in KiB.
    pub peak: u64,
}

/// Memory of a node.
#[derive(Clone, Debug)]
pub struct Memory {
    title: String,
    /// Its processes, the largest first.
    pub processes: Vec<Process>,
    /// Anonymous memory of all of them, in bytes, as the control group counts it.
    pub resident: Option<u64>,
    /// The group's peak with page cache, in bytes.
    pub peak: Option<u64>,
}

impl Memory {
    /// As it is now.
    pub fn of(node: &Node) -> Result<Self> {
        let cgroup = node.cgroup()?;
        let mut processes: Vec<Process> = cgroup.processes().into_iter().filter_map(process).collect();
        processes.sort_by_key(|process| std::cmp::Reverse(process.peak));
        Ok(Self {
            title: node.name().to_owned(),
            processes,
            resident: cgroup.memory_resident(),
            peak: cgroup.memory_peak(),
        })
    }

    /// The largest peak among processes of this name, in KiB.
    #[must_use]
    pub fn peak_of(&self, name: &str) -> Option<u64> {
        // The kernel keeps 15 bytes of a name.
        let name = &name[..name.len().min(15)];
        self.processes.iter().filter(|process| process.name == name).map(|process| process.peak).max()
    }
}

/// Reads one process; `None` if it has ended or is the kernel's.
fn process(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kib = |name: &str| field(name)?.strip_suffix(" kB")?.trim().parse().ok();
    Some(Process { name: field("Name:")?.to_owned(), pid, resident: kib("VmRSS:")?, peak: kib("VmHWM:")? })
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1048576.0));
        writeln!(
            f,
            "{}: {} MiB resident, {} MiB at most with page cache; by process, MiB now and at most",
            self.title,
            mib(self.resident),
            mib(self.peak)
        )?;
        for process in &self.processes {
            let [now, most] = [process.resident, process.peak].map(|kib| kib as f64 / 1024.0);
            writeln!(f, "{now:>9.1} {most:>9.1}  {} ({})", process.name, process.pid)?;
        }
        Ok(())
    }
}
