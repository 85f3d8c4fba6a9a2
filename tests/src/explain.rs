//! What a failed test says: everything first, then a page, then the reason, so that the end of a log is enough.

use std::cell::Cell;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::cluster::Cluster;
use crate::inside::{dump, without_repeats};
use crate::node::Node;
use crate::redact::redact;

/// A file that collects the pages of failed tests, for who prints them when all tests are done.
const REPORT: &str = "NODEKILN_TEST_REPORT";
/// A folder that gets the whole journals of all nodes after every test, failed or not.
const JOURNALS: &str = "NODEKILN_TEST_JOURNALS";
/// Lines of a page.
const LINES: usize = 120;
/// Characters of a line.
const WIDTH: usize = 240;
/// Characters of a reason.
const REASON: usize = 1500;
/// For each question to a node that may not answer any more.
const PATIENCE: Duration = Duration::from_secs(8);

/// Whether everything was printed already.
#[derive(Debug, Default)]
pub(crate) struct Dumped(Cell<bool>);

impl Cluster {
    /// Does `work`. When it fails, says on stderr what the nodes say: all of it, then a page, then the reason; the error
    /// that is given back is one line, without a backtrace.
    pub fn explaining<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let done = work(self);
        let test = thread::current().name().unwrap_or("test").to_owned();
        if let Some(folder) = env::var_os(JOURNALS)
            && let Err(error) = self.save_journals(&PathBuf::from(folder), &test)
        {
            eprintln!("{error:#}");
        }
        done.map_err(|error| {
            let reason = redact(&cut(&format!("{error:#}"), REASON));
            self.dump_once(&reason);
            let page = format!("===== {test} failed\n{}reason: {reason}\n", self.page());
            eprintln!("\n{page}");
            if let Some(file) = env::var_os(REPORT) {
                let file = PathBuf::from(file);
                let written =
                    File::options().create(true).append(true).open(&file).and_then(|mut open| writeln!(open, "{page}"));
                if let Err(error) = written {
                    eprintln!("writing {}: {error}", file.display());
                }
            }
            anyhow!("{reason}")
        })
    }

    /// Prints everything, unless that was done before.
    pub(crate) fn dump_once(&self, why: &str) {
        if !self.dumped.0.replace(true) {
            eprintln!("\n===== {why}; the nodes:\n{}", self.dump());
        }
    }

    /// What most failures show on, in at most [`LINES`] lines.
    fn page(&self) -> String {
        let share = LINES / (self.nodes().len() + 1);
        let mut text = String::new();
        for node in self.nodes() {
            text.push_str(&head(&about(node), share));
        }
        text.push_str(&head(&self.about_cluster(), share));
        redact(&text)
    }

    /// What the API server and etcd say.
    fn about_cluster(&self) -> String {
        let mut text = String::new();
        let asked: [(&str, &[&str]); 2] =
            [("nodes", &["get", "nodes", "-o", "wide"]), ("pods", &["get", "pods", "-A", "-o", "wide"])];
        for (title, argv) in asked {
            let answer = self.kubectl(argv).and_then(|command| command.limit(PATIENCE).output());
            let said = answer.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
            text.push_str(&format!("-- {title}\n"));
            // Pods that are well say nothing.
            let lines = said.lines().filter(|line| title != "pods" || !line.contains(" Running "));
            lines.for_each(|line| text.push_str(&format!("{line}\n")));
        }
        for node in self.nodes().iter().filter(|node| node.is_on()) {
            let argv = ["member", "list", "-w", "simple"];
            if let Ok(list) = node.etcdctl(&argv).and_then(|command| command.limit(PATIENCE).ok()) {
                text.push_str(&format!("-- etcd members, says {}\n{list}", node.name()));
                break;
            }
        }
        text
    }

    /// Journals of all nodes, for a developer who compares runs.
    fn save_journals(&self, folder: &Path, test: &str) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        for node in self.nodes().iter().filter(|node| node.is_on()) {
            let text = node.run(&["journalctl", "--no-pager", "--quiet", "-o", "short-monotonic", "--all"])?;
            let file = folder.join(format!("{}.{}.{}", test.replace("::", "."), std::process::id(), node.name()));
            fs::write(&file, redact(&text)).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

/// One node in a few lines.
fn about(node: &Node) -> String {
    if !node.is_on() {
        return format!("== {}: off\n", node.name());
    }
    let ask = |script: &str| {
        let answer = node.exec(&["sh", "-c", script]).and_then(|command| command.limit(PATIENCE).output());
        answer.map_or_else(|error| format!("{error:#}\n"), |output| output.stdout + &output.stderr)
    };
    let units = ask("systemctl is-system-running; systemctl --no-pager --no-legend --plain --failed");
    let units: Vec<&str> = units.lines().map(str::trim).collect();
    let mut text = format!("== {}: {}\n", node.name(), units.join("; "));
    let running = ask(
        "ps -eo etimes=,comm= | grep -E 'etcd|kube|nodekiln' | awk '{printf \"%s%s %s s\", (NR > 1 ? \", \" : \"\"), $2, $1}'",
    );
    text.push_str(&format!("up: {}\n", running.trim()));
    text.push_str(&ask("cat /run/nodekiln/status.json | grep -E '\"(stage|waitingFor|error)\"'"));
    text.push_str(&tail(&node.journal("nodekiln-firstboot.service", 8), 8));
    let kubelet = node.journal("kubelet.service", 400);
    // klog marks errors with the letter E.
    let errors = without_repeats(kubelet.lines().filter(|line| line.contains("]: E")));
    text.push_str(&tail(&errors.join("\n"), 6));
    text
}

/// Everything a node says, printed by who made it without a cluster.
pub fn explain(node: &Node) {
    eprintln!("\n{}", dump(node));
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("{line}\n")).collect()
}

/// The first lines, each cut.
fn head(text: &str, lines: usize) -> String {
    text.lines().take(lines).map(|line| format!("{}\n", cut(line, WIDTH))).collect()
}

/// A text without its middle, if it is too long: both its ends tell more.
fn cut(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most * 2 / 3).collect();
    let end: String = text.chars().skip(count - most / 3).collect();
    format!("{start} ... {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        assert_eq!(head("a\nb\nc\n", 2), "a\nb\n");
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(cut("short", 5), "short");
        let long = cut(&"é".repeat(1000), 90);
        assert_eq!(long.chars().count(), 60 + 5 + 30);
    }
}
