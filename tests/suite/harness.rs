//! The harness itself: nodes boot, containers run in them, and nothing stays behind.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nodekiln_tests::cache::Cache;
use nodekiln_tests::cluster::Cluster;
use nodekiln_tests::haproxy::Haproxy;
use nodekiln_tests::inside::dump;
use nodekiln_tests::machine::Snapshot;
use nodekiln_tests::measure::{Memory, Timeline};
use nodekiln_tests::node::{NodeSpec, Off};
use nodekiln_tests::root::{Payload, RootFile};
use nodekiln_tests::run::{self, Run};
use nodekiln_tests::tools::{Need, require};
use nodekiln_tests::wait::until;

const BOOT: Duration = Duration::from_secs(60);

fn spec(name: &str, address: &str) -> NodeSpec {
    NodeSpec::new(name, &[address.parse().expect("an address with prefix")])
}

fn cluster(cache: &Cache, specs: Vec<NodeSpec>) -> Result<Cluster> {
    Cluster::new(cache, &["10.77.0.254/24".parse()?], specs)
}

/// Inode, size, mode, time of change and owner of every file.
type State = BTreeMap<PathBuf, (u64, u64, u32, i64, u32)>;

/// What must never change below a shared folder.
fn state(dir: &Path) -> Result<State> {
    let mut found = State::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)?.flatten() {
            let data = entry.metadata()?;
            if data.is_dir() {
                open.push(entry.path());
            }
            // A folder's size, and the change time that linking moves, say nothing of contents.
            let size = if data.is_dir() { 0 } else { data.size() };
            found.insert(entry.path(), (data.ino(), size, data.mode(), data.mtime_nsec(), data.uid()));
        }
    }
    Ok(found)
}

#[test]
fn a_node_boots_and_runs_containers() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let before = Snapshot::take();
    let originals = state(&cache.containerd_root())?;
    let made = Instant::now();
    let mut cluster =
        cluster(&cache, vec![spec("n1", "10.77.0.1/24").file("/etc/nodekiln-test/marker", 0o600, "here")])?;
    eprintln!("disk made in {:?}", made.elapsed());
    cluster.power_on_all()?;
    let node = cluster.node("n1")?;
    let mut times = Timeline::of(node)?;
    node.wait_running(BOOT)?;
    times.mark("booted")?;
    assert_eq!(node.run(&["systemctl", "is-system-running"])?.trim(), "running", "{}", dump(node));
    assert_eq!(node.run(&["hostname"])?.trim(), "n1");
    assert_eq!(node.read_file("/etc/nodekiln-test/marker")?, "here");
    assert_eq!(node.run(&["stat", "-c", "%a", "/etc"])?.trim(), "755");

    node.run(&["systemctl", "start", "containerd"])?;
    times.mark("containerd started")?;
    let images = node.run(&["ctr", "-n", "k8s.io", "images", "ls", "-q"])?;
    let pause =
        images.lines().find(|name| name.contains("/pause:")).with_context(|| format!("no pause in {images}"))?;
    node.run(&["ctr", "-n", "k8s.io", "run", "--detach", pause, "one"])?;
    times.mark("container runs")?;
    let tasks = node.run(&["ctr", "-n", "k8s.io", "tasks", "ls"])?;
    assert!(tasks.contains("RUNNING"), "{tasks}");

    // All that firstboot and kubelet write there reads back, and none of it leaves the node.
    for (name, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("vm/max_map_count", "262144"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "0"),
        ("kernel/keys/root_maxkeys", "1000001"),
        ("kernel/keys/root_maxbytes", "25000001"),
        ("fs/inotify/max_user_instances", "8193"),
        ("fs/inotify/max_user_watches", "524289"),
        ("net/ipv4/ip_forward", "1"),
    ] {
        let path = format!("/proc/sys/{name}");
        node.run(&["sh", "-c", r#"printf %s "$1" >"$2""#, "set", value, &path])?;
        assert_eq!(node.read_file(&path)?.trim(), value, "{name}");
    }
    times.add_systemd(node, &["containerd.service"])?;
    let memory = Memory::of(node)?;
    assert!(memory.peak_of("containerd").is_some_and(|kib| kib > 1000), "{memory}");
    eprintln!("{times}{memory}");

    let off = Instant::now();
    drop(cluster);
    eprintln!("removed in {:?}", off.elapsed());
    assert_eq!(before.changes(), Vec::<String>::new());
    let changed: Vec<_> = {
        let now = state(&cache.containerd_root())?;
        originals.iter().filter(|(path, data)| now.get(*path) != Some(data)).map(|(path, _)| path.clone()).collect()
    };
    assert!(changed.is_empty(), "the shared containerd root was changed: {changed:?}");
    Ok(())
}

#[test]
fn disks_live_as_long_as_they_should() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let mut spec = spec("n1", "10.77.0.1/24");
    spec.volumes.push("/var/lib/etcd".into());
    let mut cluster = cluster(&cache, vec![spec])?;
    cluster.power_on_all()?;
    let node = cluster.node("n1")?;
    node.wait_systemd(BOOT)?;
    node.write_file("/var/lib/own", 0o600, "system")?;
    node.write_file("/var/lib/etcd/own", 0o600, "data")?;

    cluster.reboot_hard("n1")?;
    let node = cluster.node("n1")?;
    node.wait_systemd(BOOT)?;
    assert_eq!(node.read_file("/var/lib/own")?, "system", "a power cut keeps the disk");
    assert_eq!(node.read_file("/var/lib/etcd/own")?, "data");

    cluster.node_mut("n1")?.wipe()?;
    cluster.power_on_one("n1")?;
    let node = cluster.node("n1")?;
    node.wait_systemd(BOOT)?;
    assert!(node.read_file("/var/lib/own").is_err(), "a wipe keeps nothing of the system");
    assert_eq!(node.read_file("/var/lib/etcd/own")?, "data", "a wipe keeps the data disk");

    node.exec(&["systemctl", "--no-block", "reboot"])?.output()?;
    assert_eq!(cluster.node_mut("n1")?.wait_off(BOOT)?, Off::Reboot);
    cluster.power_on_one("n1")?;
    let node = cluster.node("n1")?;
    node.wait_systemd(BOOT)?;
    node.write_file("/var/lib/off", 0o600, "later")?;
    let node = cluster.node_mut("n1")?;
    node.shutdown(BOOT)?;
    assert_eq!(node.root().read("/var/lib/off")?, "later", "an off machine's disk can be read");
    Ok(())
}

#[test]
fn an_ignition_config_is_applied_before_the_first_boot() -> Result<()> {
    let engines = ["ignition-apply", "ignition-apply-2.14"];
    let Some(cache) = require(&[Need::Nodes, Need::Program(engines[0]), Need::Program(engines[1])])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let config = serde_json::json!({
        "ignition": {"version": "3.3.0"},
        "storage": {"files": [
            {"path": "/etc/hostname", "mode": 420, "overwrite": true, "contents": {"source": "data:,ignited%0A"}},
            {"path": "/etc/secret", "mode": 384, "contents": {"source": "data:,hidden"}},
        ]},
        "systemd": {"units": [{
            "name": "marker.service",
            "enabled": true,
            "contents": "[Service]\nType=oneshot\nExecStart=/bin/touch /run/marker\n[Install]\nWantedBy=multi-user.target\n",
        }]},
    });
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.ign");
    fs::write(&path, config.to_string())?;
    for engine in engines {
        let mut spec = spec("n1", "10.77.0.1/24").payload(Payload::Ignition(path.clone()));
        spec.ignition = engine.to_owned();
        let mut cluster = cluster(&cache, vec![spec])?;
        cluster.power_on_all()?;
        let node = cluster.node("n1")?;
        node.wait_running(BOOT)?;
        assert_eq!(node.run(&["hostname"])?.trim(), "ignited", "{engine}");
        assert_eq!(node.run(&["stat", "-c", "%a", "/etc/secret"])?.trim(), "600", "{engine}");
        node.run(&["test", "-e", "/run/marker"]).with_context(|| format!("{engine}: the preset enabled no unit"))?;
    }
    Ok(())
}

#[test]
fn cloud_init_reads_its_seed() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes, Need::Cached("root/usr/bin/cloud-init")])? else { return Ok(()) };
    let _serial = cache.serial()?;
    let folder = tempfile::tempdir()?;
    let (user_data, meta_data) = (folder.path().join("user-data"), folder.path().join("meta-data"));
    let config = "#cloud-config\nwrite_files:\n- {path: /etc/seeded, permissions: '0600', content: yes it is}\n\
                  runcmd:\n- [touch, /run/ran]\n";
    fs::write(&user_data, config)?;
    fs::write(&meta_data, "instance-id: i-1\nlocal-hostname: seeded\n")?;
    let payload = Payload::NoCloud { user_data, meta_data, network_config: None };
    let mut cluster = cluster(&cache, vec![spec("n1", "10.77.0.1/24").payload(payload)])?;
    cluster.power_on_all()?;
    let node = cluster.node("n1")?;
    let mut times = Timeline::of(node)?;
    node.wait_running(BOOT)?;
    times.mark("cloud-init is through")?;
    let units = ["cloud-init-local.service", "cloud-init.service", "cloud-config.service", "cloud-final.service"];
    times.add_systemd(node, &units)?;
    eprintln!("{times}");
    assert_eq!(node.read_file("/etc/seeded")?, "yes it is");
    assert_eq!(node.run(&["stat", "-c", "%a", "/etc/seeded"])?.trim(), "600");
    assert_eq!(node.run(&["hostname"])?.trim(), "seeded");
    node.run(&["test", "-e", "/run/ran"])?;
    Ok(())
}

#[test]
fn nodes_reach_each_other_and_nothing_else() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let gateways = ["10.77.0.254/24".parse()?, "fd77::fe/64".parse()?];
    let both = |name: &str, four: &str, six: &str| anyhow::Ok(NodeSpec::new(name, &[four.parse()?, six.parse()?]));
    let specs = vec![both("n1", "10.77.0.1/24", "fd77::1/64")?, both("n2", "10.77.0.2/24", "fd77::2/64")?];
    let mut cluster = Cluster::new(&cache, &gateways, specs)?;
    cluster.power_on(&[("n2", Duration::ZERO), ("n1", Duration::from_millis(200))])?;
    let (one, two) = (cluster.node("n1")?, cluster.node("n2")?);
    one.wait_systemd(BOOT)?;
    two.wait_systemd(BOOT)?;
    let ping = |address: &str| one.run(&["ping", "-c", "1", "-W", "1", address]);
    ping("10.77.0.2")?;
    ping("10.77.0.254")?;
    ping("fd77::2")?;
    two.port()?.unplug()?;
    assert!(ping("10.77.0.2").is_err());
    two.port()?.plug()?;
    ping("10.77.0.2")?;
    let routes = cluster.fabric().netns().command(&["ip", "-o", "route"]).ok()?;
    let onward: Vec<_> = routes.lines().filter(|route| route.contains("default")).collect();
    assert!(onward.iter().all(|route| route.starts_with("prohibit")), "the bridge must lead nowhere: {routes}");
    let outside = one.exec(&["ping", "-c", "1", "-W", "5", "192.0.2.1"])?.output()?;
    assert!(outside.stdout.contains("Packet filtered"), "the outside must be refused at once: {outside:?}");
    two.freeze()?;
    two.thaw()?;
    two.run(&["true"])?;
    Ok(())
}

#[test]
fn killed_units_are_seen_and_a_balancer_follows_its_servers() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes, Need::Program("haproxy")])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let unit = "[Service]\nExecStart=/bin/sleep infinity\n";
    let node = spec("n1", "10.77.0.1/24").file("/etc/systemd/system/sleeper.service", 0o644, unit);
    let mut cluster = cluster(&cache, vec![node])?;
    cluster.power_on_all()?;
    let node = cluster.node("n1")?;
    node.wait_systemd(BOOT)?;
    node.run(&["systemctl", "start", "sleeper"])?;
    node.kill_main("sleeper.service", Signal::SIGKILL)?;
    until("the unit to fail", BOOT, Duration::from_millis(20), || {
        Ok((node.unit("sleeper.service", &["Result"])? == ["signal"]).then_some(()))
    })?;
    assert!(node.journal("sleeper.service", 10).contains("code=killed"));

    let balancer = Haproxy::start(&cache, cluster.fabric(), "10.77.0.9/24".parse()?, 6443, &["10.77.0.1:22".parse()?])?;
    assert!(cluster.fabric().netns().accepts(balancer.address()));
    Ok(())
}

/// Not a test of its own: what [`a_killed_test_process_leaves_nothing`] starts and kills.
#[test]
fn child_of_the_reaper_test() -> Result<()> {
    let Some(report) = env::var_os("NODEKILN_HARNESS_CHILD") else {
        return Ok(());
    };
    let cache = Cache::locate()?;
    let mut cluster = cluster(&cache, vec![spec("n1", "10.77.0.1/24"), spec("n2", "10.77.0.2/24")])?;
    cluster.power_on_all()?;
    for node in cluster.nodes() {
        node.wait_systemd(BOOT)?;
    }
    let run = Run::current(&cache)?;
    fs::write(run.dir().join("up"), "")?;
    fs::rename(run.dir().join("up"), report)?;
    std::thread::sleep(BOOT);
    Ok(())
}

#[test]
fn a_killed_test_process_leaves_nothing() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes])? else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let before = Snapshot::take();
    fs::create_dir_all(cache.runs())?;
    let folder = tempfile::tempdir_in(cache.runs())?;
    let report = folder.path().join("report");
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "child_of_the_reaper_test", "--nocapture"])
        .env("NODEKILN_HARNESS_CHILD", &report)
        .stdout(Stdio::null())
        .spawn()?;
    let id = run::id_of(child.id());
    until("the child's nodes", BOOT, Duration::from_millis(20), || {
        assert!(child.try_wait()?.is_none(), "the child ended");
        Ok(report.exists().then_some(()))
    })?;
    let alive = before.leftovers(&cache, &id)?;
    for kind in ["netns", "control group", "folder", "process"] {
        assert!(alive.iter().any(|line| line.starts_with(kind)), "{kind} not seen in {alive:?}");
    }
    child.kill()?;
    child.wait()?;
    let killed = Instant::now();
    let left = until("everything to go", Duration::from_secs(10), Duration::from_millis(20), || {
        Ok(before.leftovers(&cache, &id)?.is_empty().then_some(()))
    });
    assert!(left.is_ok(), "left: {:#?}", before.leftovers(&cache, &id)?);
    eprintln!("everything of a killed test process was gone after {:?}", killed.elapsed());
    Ok(())
}

#[test]
fn files_never_show_their_contents() {
    assert!(!format!("{:?}", RootFile::new("/etc/key", 0o600, "topsecret")).contains("topsecret"));
}
