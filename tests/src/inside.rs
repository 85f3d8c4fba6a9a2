//! What a test does inside a running node: commands, files, units, and the dump that explains a failure.

use std::fs::File;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::command::Cmd;
use crate::node::Node;
use crate::redact::redact;
use crate::wait::until;

/// The search path inside a node: Flatcar's /opt/bin first.
const NODE_PATH: &str = "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Units whose journals tell why a node did not come up.
const UNITS: [&str; 3] = ["nodekiln-firstboot.service", "kubelet.service", "containerd.service"];

/// Lines of each journal that are shown.
const LINES: usize = 60;

impl Node {
    /// A command inside the node, with its control groups and nothing of this process's environment.
    pub fn exec(&self, argv: &[&str]) -> Result<Cmd> {
        let pid1 = self.pid1()?.to_string();
        let enter = ["nsenter", "-t", &pid1, "-m", "-u", "-i", "-n", "-p", "-C", "--"];
        Ok(Cmd::new(argv)
            .clear_env()
            .env("PATH", NODE_PATH)
            .env("HOME", "/root")
            .env("LC_ALL", "C")
            .behind(enter)
            .within(self.cgroup()?))
    }

    /// Runs a command inside to its end and gives its output; any other status than 0 is an error.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        self.exec(argv)?.ok().with_context(|| format!("on {}", self.name()))
    }

    /// Starts a command inside that goes on, with its output in a file of the run; killed with the node.
    pub fn spawn(&self, argv: &[&str], log: File) -> Result<Child> {
        self.exec(argv)?.spawn(log)
    }

    /// A file of the running node.
    pub fn read_file(&self, path: &str) -> Result<String> {
        self.run(&["cat", path])
    }

    /// Writes a file on the running node.
    pub fn write_file(&self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Result<()> {
        let script = r#"umask 077; mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1""#;
        let mode = format!("{mode:o}");
        self.exec(&["sh", "-euc", script, "write", path, &mode])?.input(contents).ok()?;
        Ok(())
    }

    /// Waits until systemd answers, jobs may still be waiting.
    pub fn wait_systemd(&self, limit: Duration) -> Result<()> {
        self.wait_state(limit, |state| !matches!(state, "" | "offline" | "unknown"))
    }

    /// Waits until everything that starts at boot has started.
    pub fn wait_running(&self, limit: Duration) -> Result<()> {
        self.wait_state(limit, |state| matches!(state, "running" | "degraded"))
    }

    fn wait_state(&self, limit: Duration, good: impl Fn(&str) -> bool) -> Result<()> {
        let mut last = String::new();
        until("systemd", limit, Duration::from_millis(50), || {
            self.still_on()?;
            last = self.exec(&["systemctl", "is-system-running"])?.output()?.stdout.trim().to_owned();
            Ok(good(&last).then_some(()))
        })
        .with_context(|| {
            format!("waiting for {} (last: {last:?}); its console:\n{}", self.name(), self.console_tail(20))
        })
    }

    /// Properties of a unit, in the order asked for.
    pub fn unit(&self, unit: &str, properties: &[&str]) -> Result<Vec<String>> {
        let mut argv = vec!["systemctl", "show", unit];
        let wanted: Vec<String> = properties.iter().map(|name| format!("--property={name}")).collect();
        argv.extend(wanted.iter().map(String::as_str));
        let shown = self.run(&argv)?;
        let value = |name: &str| {
            shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        Ok(properties.iter().map(|name| value(name)).collect())
    }

    /// The last lines of a unit's journal, secrets hidden.
    #[must_use]
    pub fn journal(&self, unit: &str, lines: usize) -> String {
        let lines = lines.to_string();
        let argv = ["journalctl", "--no-pager", "--quiet", "-o", "short-monotonic", "-n", &lines, "-u", unit];
        self.run(&argv).map_or_else(|error| format!("{error:#}\n"), |text| redact(&text))
    }

    /// etcdctl out of the image of the etcd that runs there, as its health check's client.
    pub fn etcdctl(&self, argv: &[&str]) -> Result<Cmd> {
        let script = r#"
            program=$(ls -d /run/containerd/io.containerd.runtime.v2.task/k8s.io/*/rootfs/usr/local/bin/etcdctl | head -n 1)
            pki=/etc/kubernetes/pki/etcd
            exec "$program" --endpoints=https://127.0.0.1:2379 --cacert=$pki/ca.crt \
                --cert=$pki/healthcheck-client.crt --key=$pki/healthcheck-client.key "$@""#;
        Ok(self.exec(&["sh", "-c", script, "etcdctl"])?.args(argv))
    }

    /// Sends a signal to a unit's main process alone.
    pub fn kill_main(&self, unit: &str, signal: Signal) -> Result<()> {
        self.run(&["systemctl", "kill", "--kill-whom=main", &format!("--signal={}", signal.as_str()), unit])?;
        Ok(())
    }
}

/// Console, journals, containers and pod logs of one node, secrets hidden.
#[must_use]
pub fn dump(node: &Node) -> String {
    let mut text = format!("===== node {}\n--- console\n{}\n", node.name(), node.console_tail(LINES));
    if !node.is_on() {
        text.push_str("--- it is off\n");
        return text;
    }
    for unit in UNITS {
        // containerd tells every step it takes.
        let journal = node.journal(unit, LINES * 20);
        let told = without_repeats(journal.lines().filter(|line| !line.contains(" level=info ")));
        let last = told[told.len().saturating_sub(LINES)..].join("\n");
        text.push_str(&format!("--- journal of {unit}\n{last}\n"));
    }
    let pod_logs = r#"
        for log in $(find /var/log/pods -name '*.log' 2>/dev/null | sort); do
            echo "--- $log"
            tail -n 25 "$log"
        done"#;
    let commands: [(&str, &[&str]); 5] = [
        ("failed units", &["systemctl", "--no-pager", "--no-legend", "--failed"]),
        ("status.json", &["cat", "/run/nodekiln/status.json"]),
        ("containers", &["ctr", "-n", "k8s.io", "containers", "ls"]),
        ("tasks", &["ctr", "-n", "k8s.io", "tasks", "ls"]),
        ("pod logs", &["sh", "-c", pod_logs]),
    ];
    for (title, argv) in commands {
        let output = node.exec(argv).and_then(|command| command.limit(Duration::from_secs(10)).output());
        let shown = match output {
            Ok(output) => output.stdout + &output.stderr,
            Err(error) => format!("{error:#}\n"),
        };
        text.push_str(&format!("--- {title}\n{}", redact(&shown)));
    }
    text
}

/// Lines without those that say what the one before said: a kubelet that waits says so ten times a second.
#[must_use]
pub fn without_repeats<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut kept: Vec<&str> = Vec::new();
    for line in lines {
        // Before the first quote there are times and numbers.
        let words = |line: &'a str| line.find('"').map(|at| &line[at..]);
        if words(line).is_none() || kept.last().and_then(|last| words(last)) != words(line) {
            kept.push(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::without_repeats;

    #[test]
    fn repeats_go() {
        let lines = ["1 a \"x\"", "2 b \"x\"", "3 \"y\"", "4 \"x\"", "plain", "plain"];
        assert_eq!(without_repeats(lines.into_iter()), ["1 a \"x\"", "3 \"y\"", "4 \"x\"", "plain", "plain"]);
    }
}
