//! What is being done, for those who look: console, service manager, /run/nodekiln/status.json.

use crate::host::{Host, Level, print, read_text};
use anyhow::Context as _;
use nodekiln_plan::{NodeName, Sha256, paths};
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, fmt::Write as _, path::Path, time::Duration};

/// A moment on two clocks, in seconds: since the epoch, and since boot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the epoch, to the millisecond.
    pub unix: f64,
    /// Since boot, to the millisecond.
    pub monotonic: f64,
}

impl Moment {
    /// Now.
    pub fn now(host: &dyn Host) -> Self {
        Self { unix: millis(host.now()), monotonic: millis(host.monotonic()) }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// How a stage went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// `running`, `done`, `skipped` (done before) or `failed`.
    pub state: String,
    /// Its start.
    pub started: Moment,
    /// Its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Moment>,
}

/// The file status.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// The node.
    pub node: NodeName,
    /// Digest of its plan.
    pub plan: Sha256,
    /// This boot.
    pub boot: String,
    /// How often `run` was started in this boot.
    pub runs: u32,
    /// The start of the last.
    pub started: Moment,
    /// The stage being done; empty when all are.
    pub stage: String,
    /// What is waited for, in words; empty when nothing is.
    pub waiting_for: String,
    /// What stopped the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When READY was told to the service manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Moment>,
    /// The stages of this boot.
    pub stages: Vec<StageStatus>,
}

/// Tells progress.
pub struct Status<'a> {
    host: &'a dyn Host,
    report: RefCell<Report>,
    /// The last waiting line and when it was said.
    said: RefCell<(String, Duration)>,
}

/// How often a wait that does not change is told again.
const AGAIN: Duration = Duration::from_secs(10);

impl<'a> Status<'a> {
    /// Goes on from the status of an earlier run in this boot.
    pub fn new(host: &'a dyn Host, node: NodeName, plan: Sha256, boot: &str) -> Self {
        let earlier = read_text(host, paths::STATUS).ok().flatten();
        let earlier: Option<Report> = earlier.and_then(|text| serde_json::from_str(&text).ok());
        let earlier = earlier.filter(|r| r.boot == boot && r.plan == plan);
        let (runs, stages) = earlier.map_or((0, Vec::new()), |report| (report.runs, report.stages));
        let report = Report {
            version: 1,
            node,
            plan,
            boot: boot.to_owned(),
            runs: runs + 1,
            started: Moment::now(host),
            stage: String::new(),
            waiting_for: String::new(),
            error: None,
            ready: None,
            stages,
        };
        Self { host, report: RefCell::new(report), said: RefCell::default() }
    }

    /// A stage starts.
    pub fn start(&self, name: &str, title: &str) {
        self.host.say(Level::Notice, &format!("{name}: {title}"));
        self.host.notify(false, &format!("{name}: {title}"));
        let now = Moment::now(self.host);
        {
            let mut report = self.report.borrow_mut();
            name.clone_into(&mut report.stage);
            report.waiting_for.clear();
            report.stages.retain(|stage| stage.name != name);
            report.stages.push(StageStatus {
                name: name.to_owned(),
                state: "running".to_owned(),
                started: now,
                finished: None,
            });
        }
        self.save();
    }

    /// A stage was done before.
    pub fn skip(&self, name: &str) {
        let now = Moment::now(self.host);
        let mut report = self.report.borrow_mut();
        if report.stages.iter().any(|stage| stage.name == name && stage.state == "done") {
            return;
        }
        report.stages.retain(|stage| stage.name != name);
        report.stages.push(StageStatus {
            name: name.to_owned(),
            state: "skipped".to_owned(),
            started: now,
            finished: Some(now),
        });
    }

    /// A stage is done; gives the seconds it took.
    pub fn finish(&self, name: &str) -> f64 {
        let now = Moment::now(self.host);
        let seconds = self.end(name, "done", now);
        self.host.say(Level::Notice, &format!("{name}: done in {seconds:.3} s"));
        self.save();
        seconds
    }

    /// A stage failed.
    pub fn fail(&self, name: &str, error: &str) {
        let now = Moment::now(self.host);
        self.end(name, "failed", now);
        self.report.borrow_mut().error = Some(error.to_owned());
        self.host.notify(false, &format!("{name}: {error}"));
        self.save();
    }

    fn end(&self, name: &str, state: &str, now: Moment) -> f64 {
        let mut report = self.report.borrow_mut();
        report.stage.clear();
        report.waiting_for.clear();
        let Some(stage) = report.stages.iter_mut().find(|stage| stage.name == name) else { return 0.0 };
        state.clone_into(&mut stage.state);
        stage.finished = Some(now);
        ((now.monotonic - stage.started.monotonic) * 1000.0).round() / 1000.0
    }

    /// Something is waited for. Said at once when it is new, then every ten seconds.
    pub fn waiting(&self, what: &str, way_out: &str) {
        let now = self.host.monotonic();
        {
            let mut said = self.said.borrow_mut();
            if said.0 == what && now.saturating_sub(said.1) < AGAIN {
                return;
            }
            *said = (what.to_owned(), now);
        }
        let stage = self.report.borrow().stage.clone();
        // After the last stage, the other members are still told what was decided.
        let stage = if stage.is_empty() { "run".to_owned() } else { stage };
        let hint = if way_out.is_empty() { String::new() } else { format!(" ({way_out})") };
        self.host.say(Level::Notice, &format!("{stage}: waiting for {what}{hint}"));
        self.host.notify(false, &format!("{stage}: waiting for {what}"));
        what.clone_into(&mut self.report.borrow_mut().waiting_for);
        self.save();
    }

    /// Nothing is waited for any more.
    pub fn arrived(&self) {
        *self.said.borrow_mut() = Default::default();
        if !std::mem::take(&mut self.report.borrow_mut().waiting_for).is_empty() {
            self.save();
        }
    }

    /// Tells the service manager that units ordered after this one may start.
    pub fn ready(&self) {
        self.host.notify(true, "the kubelet may start");
        self.report.borrow_mut().ready = Some(Moment::now(self.host));
        self.save();
    }

    /// A warning.
    pub fn warn(&self, text: &str) {
        self.host.say(Level::Warning, &format!("warning: {text}"));
    }

    /// A line for the journal.
    pub fn info(&self, text: &str) {
        self.host.say(Level::Info, text);
    }

    /// All is done.
    pub fn end_run(&self) {
        self.host.notify(false, "done");
        self.save();
    }

    /// What status.json says now.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Best effort: a full /run must not stop a node.
    fn save(&self) {
        let Ok(mut bytes) = serde_json::to_vec_pretty(&*self.report.borrow()) else { return };
        bytes.push(b'\n');
        let path = Path::new(paths::STATUS);
        if let Some(parent) = path.parent() {
            let _ = self.host.make_dir(parent, 0o755);
        }
        let _ = self.host.replace(path, 0o644, &bytes);
    }
}

/// The subcommand `status`.
///
/// # Errors
/// Neither file can be read, or stdout cannot be written.
pub fn show(host: &dyn Host, json: bool) -> anyhow::Result<u8> {
    let running = read_text(host, paths::STATUS).with_context(|| format!("reading {}", paths::STATUS))?;
    let result = read_text(host, paths::RESULT).with_context(|| format!("reading {}", paths::RESULT))?;
    let Some(text) = running.clone().or(result.clone()) else {
        print(host, "firstboot has not run in this boot, and never to its end\n")?;
        return Ok(crate::exit::OK);
    };
    if json {
        print(host, &text)?;
        return Ok(crate::exit::OK);
    }
    if let Some(report) = running.and_then(|text| serde_json::from_str::<Report>(&text).ok()) {
        print(host, &describe(&report))?;
    }
    if let Some(result) = result.and_then(|text| serde_json::from_str::<crate::report::Outcome>(&text).ok()) {
        print(host, &result.describe())?;
    }
    Ok(crate::exit::OK)
}

fn describe(report: &Report) -> String {
    let mut text = format!("node {}, run {} of this boot\n", report.node, report.runs);
    for stage in &report.stages {
        let seconds =
            stage.finished.map_or(String::new(), |f| format!(" {:.3} s", f.monotonic - stage.started.monotonic));
        let _ = writeln!(text, "  {:<10} {}{seconds}", stage.name, stage.state);
    }
    if !report.waiting_for.is_empty() {
        let _ = writeln!(text, "waiting for {}", report.waiting_for);
    }
    if let Some(error) = &report.error {
        let _ = writeln!(text, "stopped by: {error}");
    }
    text
}
