//! Real etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubelet start with the flags and files of our
//! nodes, in cells: etcd serves, the API server is ready, the others answer or have read all that they are given. What
//! is wrong in a flag or a file, they refuse: shown too.

use anyhow::{Context as _, Result, bail, ensure};
use nodekiln::config::Node;
use nodekiln_plan::Role;
use nodekiln_tests::{
    cache::Cache,
    cell::{self, Cell, SHARED},
    clusters,
    made::{Made, NodeFile, final_files},
    tools::{Need, require},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

pub const PROGRAMS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];

/// The Kubernetes minor of the programs in the cache.
const MINOR: &str = "v1.36.";

/// What a program says of a flag or field that it takes for now: an unknown field of a KubeletConfiguration is only a
/// warning of the kubelet's.
const COMPLAINTS: [&str; 3] = ["strict decoding", "has been deprecated", "unknown field"];

type Files = BTreeMap<String, NodeFile>;

/// A machine's programs, ready to start.
pub struct Machine {
    pub files: Files,
    /// Program by program, as they are started.
    pub argv: BTreeMap<String, Vec<String>>,
    pub addresses: Vec<IpAddr>,
    /// No member of etcd is here.
    pub external: bool,
    endpoint: String,
    pub etcd: String,
    admin: Vec<u8>,
}

fn text<'a>(files: &'a Files, path: &str) -> Result<&'a str> {
    let (_, contents) = files.get(path).with_context(|| format!("looking for {path}"))?;
    Ok(std::str::from_utf8(contents)?)
}

/// The command of a static pod, and the folders that its volumes make.
fn pod(files: &Files, name: &str) -> Result<Option<(Vec<String>, Vec<String>)>> {
    let path = format!("/etc/kubernetes/manifests/{name}.yaml");
    if !files.contains_key(&path) {
        return Ok(None);
    }
    let pod: Value = serde_saphyr::from_str(text(files, &path)?)?;
    let words =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let folders = pod["spec"]["volumes"].as_array().into_iter().flatten().map(|volume| &volume["hostPath"]);
    let folders = folders.filter(|path| path["type"] == "DirectoryOrCreate").filter_map(|path| path["path"].as_str());
    Ok(Some((words(&pod["spec"]["containers"][0]["command"]), folders.map(str::to_owned).collect())))
}

fn set(argv: &mut Vec<String>, flag: &str, value: &str) {
    argv.retain(|word| !word.starts_with(&format!("{flag}=")));
    argv.push(format!("{flag}={value}"));
}

impl Machine {
    /// `node` with a member of etcd that is all of its cluster: its own, or the first that the cluster has elsewhere.
    pub fn of(made: &Made, node: &Node) -> Result<Self> {
        let mut files = final_files(&made.filled(node)?);
        let mut addresses = node.addresses.clone();
        let mut member = node;
        if let Some(other) = made.cluster.with_role(Role::Etcd).next()
            && node.role == Role::ControlPlane
        {
            member = other;
            addresses.extend(&other.addresses);
            for (path, file) in final_files(&made.filled(other)?) {
                let is_etcds = path.contains("/pki/etcd/") || path.ends_with("/manifests/etcd.yaml");
                if is_etcds && files.insert(path.clone(), file.clone()).is_some_and(|before| before != file) {
                    bail!("{} and {} have different files {path}", node.name, other.name);
                }
            }
        }
        let mut argv = BTreeMap::new();
        for name in &PROGRAMS[..4] {
            let Some((mut command, folders)) = pod(&files, name)? else { continue };
            for folder in folders {
                files.entry(format!("{folder}/.keep")).or_insert((0o600, Vec::new()));
            }
            if *name == "etcd" {
                let url = format!("{}=https://{}:2380", member.name, host(member.address()));
                set(&mut command, "--initial-cluster", &url);
                set(&mut command, "--initial-cluster-state", "new");
                // A folder with a file in it is no empty one.
                files.retain(|path, _| !path.starts_with(made.cluster.etcd.data_dir.as_str()));
            }
            argv.insert((*name).to_owned(), command);
        }
        let unit = text(&files, "/etc/systemd/system/kubelet.service")?;
        argv.insert("kubelet".to_owned(), kubelet(unit)?);
        // This machine may have cgroup v1, which the kubelet refuses to run on; the test is not about the machine.
        let config = text(&files, "/var/lib/kubelet/config.yaml")?;
        let mut config: Value = serde_saphyr::from_str(config)?;
        config["failCgroupV1"] = Value::Bool(false);
        files.insert("/var/lib/kubelet/config.yaml".to_owned(), (0o600, serde_json::to_vec(&config)?));
        let [_, (_, admin)] = made.authority.admin_kubeconfigs(&made.cluster)?;
        Ok(Self {
            external: !argv.contains_key("etcd"),
            files,
            argv,
            endpoint: format!("https://{}:6443", host(node.address())),
            etcd: format!("https://{}:2379", host(member.address())),
            addresses,
            admin: admin.expose().to_vec(),
        })
    }

    /// What the programs named said of themselves, and the end of their logs.
    pub fn run(&self, cache: &Cache, programs: &[&str], tries: u32) -> Result<(String, BTreeMap<String, String>)> {
        let cell = Cell::new(cache)?;
        cell.write_all(&self.files)?;
        let shared = cell.shared();
        let place = |name: &str, bytes: &[u8]| fs::write(shared.join(name), bytes);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/consumers/components.sh");
        place("components.sh", &fs::read(&script).with_context(|| format!("reading {}", script.display()))?)?;
        place("super-admin.conf", &self.admin)?;
        place("apiserver", self.endpoint.as_bytes())?;
        place("etcd", self.etcd.as_bytes())?;
        if self.external {
            place("external", b"")?;
        }
        fs::create_dir(shared.join("argv"))?;
        let order: Vec<_> = programs.iter().filter(|name| self.argv.contains_key(**name)).copied().collect();
        ensure!(!order.is_empty(), "none of {programs:?} runs here");
        place("order", order.join(" ").as_bytes())?;
        for (name, argv) in &self.argv {
            place(&format!("argv/{name}"), argv.iter().map(|word| format!("{word}\0")).collect::<String>().as_bytes())?;
        }
        let bin = cell.program("");
        let addresses = self.addresses.iter().map(|address| match address {
            IpAddr::V4(address) => format!("{address}/24"),
            IpAddr::V6(address) => format!("{address}/64"),
        });
        let addresses: Vec<_> = addresses.collect();
        let script = format!("{SHARED}/components.sh");
        let mut argv = vec!["bash", "-eu", &script, bin.trim_end_matches('/')];
        argv.extend(addresses.iter().map(String::as_str));
        let said = cell.command(&argv).env("TRIES", tries.to_string()).limit(Duration::from_secs(400)).output()?;
        let mut logs = BTreeMap::new();
        for name in order {
            let log = cell::read(&shared, &format!("{name}.log")).unwrap_or_default();
            logs.insert(name.to_owned(), log);
        }
        ensure!(said.success(), "the script: {}{}", said.stdout, said.stderr);
        Ok((said.stdout, logs))
    }
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The kubelet's command line of its unit.
fn kubelet(unit: &str) -> Result<Vec<String>> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("the unit starts a kubelet")?;
    let mut words: Vec<_> = line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
    ensure!(line.matches('"').count() == 0, "a quoted word: {line}");
    words[0] = "kubelet".to_owned();
    Ok(words)
}

/// The end of a log, for a failure's message.
pub fn end(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

pub fn needs() -> Vec<Need> {
    let programs =
        ["etcd", "etcdctl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];
    cell::NEEDS.into_iter().chain(programs.map(Need::Program)).collect()
}

#[test]
fn real_components_start_with_our_flags_and_files() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let mut wrong = Vec::new();
    for cluster in clusters::all()? {
        let made = &cluster.made;
        // One machine of each kind.
        for role in [Role::ControlPlane, Role::Etcd, Role::Worker] {
            let Some(node) = made.cluster.with_role(role).next() else { continue };
            if !node.version.to_string().starts_with(MINOR) {
                continue;
            }
            let started = Instant::now();
            let machine = Machine::of(made, node)?;
            let (said, logs) = machine.run(&cache, &PROGRAMS, 900)?;
            for (name, log) in &logs {
                let complaint = log.lines().find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
                wrong.extend(complaint.map(|line| format!("{}: {}: {name}: {line}", cluster.name, node.name)));
                if !said.lines().any(|line| line == format!("{name} ok")) {
                    wrong.push(format!("{}: {}: {name}: {said}{}", cluster.name, node.name, end(log)));
                }
            }
            let programs: Vec<_> = logs.keys().map(String::as_str).collect();
            let took = started.elapsed().as_secs_f64();
            eprintln!("{}: {}: {} in {took:.1} s", cluster.name, node.name, programs.join(", "));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

/// Every program refuses a flag that it does not know, and a file that is wrong.
#[test]
fn real_components_refuse_what_is_wrong() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let clusters = clusters::all()?;
    let made = &clusters[0].made;
    let node = &made.cluster.nodes[0];
    type Spoil = fn(&mut Machine) -> Result<()>;
    let wrong: [(&str, &str, Spoil); 5] = [
        ("etcd", "private key does not match public key", |machine| {
            other(machine, "/etc/kubernetes/pki/etcd/server.key", "/etc/kubernetes/pki/etcd/peer.key")
        }),
        ("kube-apiserver", "private key does not match public key", |machine| {
            other(machine, "/etc/kubernetes/pki/apiserver.key", "/etc/kubernetes/pki/front-proxy-client.key")
        }),
        ("kube-controller-manager", "controller-manager.conf", |machine| garbage(machine, "controller-manager.conf")),
        ("kube-scheduler", "scheduler.conf", |machine| garbage(machine, "scheduler.conf")),
        ("kubelet", "failed to load kubelet config file", |machine| {
            let file = machine.files.get_mut("/var/lib/kubelet/config.yaml").context("the kubelet's configuration")?;
            let mut config: Value = serde_json::from_slice(&file.1)?;
            config["maxPods"] = Value::from("many");
            file.1 = serde_json::to_vec(&config)?;
            Ok(())
        }),
    ];
    for (name, said, spoil) in wrong {
        let mut machine = Machine::of(made, node)?;
        spoil(&mut machine)?;
        refused(&cache, &machine, name, said)?;
        let mut machine = Machine::of(made, node)?;
        machine.argv.get_mut(name).context("it runs")?.push("--no-such-flag=1".to_owned());
        refused(&cache, &machine, name, "no-such-flag")?;
    }
    Ok(())
}

/// Alone, as far as its files: without what it would talk to.
pub fn refused(cache: &Cache, machine: &Machine, name: &str, because: &str) -> Result<()> {
    let (said, logs) = machine.run(cache, &[name], 300)?;
    let log = &logs[name];
    ensure!(said.contains(&format!("{name} ended: ")), "{name} did not end: {said}{}", end(log));
    ensure!(log.contains(because), "{name} did not say `{because}`:\n{}", end(log));
    Ok(())
}

fn other(machine: &mut Machine, path: &str, with: &str) -> Result<()> {
    let file = machine.files.get(with).with_context(|| with.to_owned())?.clone();
    ensure!(machine.files.insert(path.to_owned(), file).is_some(), "no {path}");
    Ok(())
}

fn garbage(machine: &mut Machine, name: &str) -> Result<()> {
    let path = format!("/etc/kubernetes/{name}");
    let file = machine.files.get_mut(&path).with_context(|| path.clone())?;
    file.1 = b"{\"apiVersion\": \"v1\", \"kind\": \"Config\", \"clusters\": 7}".to_vec();
    Ok(())
}
