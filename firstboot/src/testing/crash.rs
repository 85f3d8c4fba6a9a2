//! Whole runs on the fake machine: to the end, and killed before every single effect.

use super::{etcd_node, lay, run, ship};
use crate::{exit, gate, status, verify};
use nodekiln_plan::{FileKind, paths};

/// What differs from run to run by its nature: times in markers, status and result.
const TIMES: [&str; 4] = ["/var/lib/nodekiln/done", "/run/nodekiln", "/var/lib/nodekiln/result.json", "/proc"];

#[test]
fn a_node_comes_up() {
    let (fake, _) = etcd_node();
    run(&fake).unwrap();
    let text = |path: &str| fake.text(path).unwrap();
    assert_eq!(text("/proc/sys/net/ipv4/ip_forward"), "1\n");
    assert_eq!(text("/proc/sys/fs/x"), "20\n", "a floor lowers nothing");
    assert_eq!(text("/var/lib/kubelet/config.yaml"), "kind: KubeletConfiguration\n");
    assert_eq!(text("/var/lib/kubelet/pki/kubelet-client-2027-01-03-18-13-20.pem"), "seed\n");
    let manifest = text("/etc/kubernetes/manifests/etcd.yaml");
    assert!(manifest.contains("--initial-cluster-state=existing") && !manifest.contains("token"));
    for gone in ["/run/ignition.json", paths::API_CREDENTIAL, "/var/lib/cloud/instances/i-1/user-data.txt"] {
        assert_eq!(fake.text(gone), None, "{gone}");
    }
    assert_eq!(text("/etc/cloud/cloud-init.disabled"), "");
    assert!(fake.text("/var/lib/nodekiln/stage/etc/kubernetes/manifests/etcd.yaml").is_some());
    let result: crate::report::Outcome = serde_json::from_str(&text(paths::RESULT)).unwrap();
    assert_eq!(result.scrubbed.len(), 4, "{:?}", result.scrubbed);
    assert_eq!(result.warnings, Vec::<String>::new());
    assert_eq!(result.stages.len(), 8);
    let said = fake.said.borrow().clone();
    let ready = said.iter().position(|line| line == "READY").unwrap();
    assert!(said[ready - 1].starts_with("etcd: done") && said[ready + 1].starts_with("kubelet:"), "{said:?}");
    assert_eq!(verify::verify(&fake).unwrap(), exit::OK, "{}", fake.printed.borrow());
    assert_eq!(status::show(&fake, false).unwrap(), exit::OK);
}

/// A full stdout is no failed stage, and hides no difference.
#[test]
fn a_full_stdout_keeps_the_verdict() {
    let (fake, _) = etcd_node();
    run(&fake).unwrap();
    fake.is_full.set(true);
    assert_eq!(exit::code(&verify::verify(&fake).unwrap_err()), exit::ENVIRONMENT);
    for json in [false, true] {
        assert_eq!(exit::code(&status::show(&fake, json).unwrap_err()), exit::ENVIRONMENT, "json: {json}");
    }
    fake.put("/var/lib/kubelet/config.yaml", "kind: Other\n");
    fake.said.borrow_mut().clear();
    assert_eq!(verify::verify(&fake).unwrap(), exit::DIFFERS);
    let said = fake.said.borrow();
    assert!(matches!(&said[..], [line] if line.starts_with("writing to stdout: ")), "{said:?}");
}

/// Killed before its n-th effect, for every n, and started again: the same node.
#[test]
fn a_run_that_is_killed_anywhere_ends_the_same() {
    let (whole, _) = etcd_node();
    run(&whole).unwrap();
    let effects = whole.effects.get();
    // Certificates are made anew for each machine.
    let without: Vec<&str> = TIMES.iter().copied().chain(["/pki", paths::PLAN]).collect();
    let wanted = whole.tree(&without);
    assert!(effects > 40, "{effects}");
    for n in 0..effects {
        let (fake, _) = etcd_node();
        fake.lives.set(Some(n));
        assert!(run(&fake).is_err(), "killed before effect {n}");
        fake.lives.set(None);
        run(&fake).unwrap_or_else(|e| panic!("after a kill before effect {n}: {e:#}"));
        let mut found = fake.tree(&without);
        // The random number of the data directory: drawn again when it was not on disk yet.
        let life = |tree: &mut Vec<String>| tree.retain(|line| !line.contains("nodekiln-incarnation"));
        let mut wanted = wanted.clone();
        life(&mut found);
        life(&mut wanted);
        assert_eq!(found, wanted, "after a kill before effect {n}");
        let result: crate::report::Outcome = serde_json::from_str(&fake.text(paths::RESULT).unwrap()).unwrap();
        assert_eq!(result.scrubbed.len(), 4, "after a kill before effect {n}: {:?}", result.scrubbed);
    }
}

#[test]
fn a_later_boot_only_verifies() {
    let (fake, _) = etcd_node();
    run(&fake).unwrap();
    fake.put("/proc/sys/kernel/random/boot_id", "boot-2\n");
    fake.ran.borrow_mut().clear();
    let before = fake.tree(&TIMES);
    run(&fake).unwrap();
    assert_eq!(fake.tree(&TIMES), before);
    assert!(fake.ran.borrow().iter().any(|command| command == "systemctl start --no-block kubelet.service"));
    // A file that somebody changed keeps the kubelet down, and `status` says so.
    fake.put("/var/lib/kubelet/config.yaml", "kind: Other\n");
    assert_eq!(exit::code(&run(&fake).unwrap_err()), exit::DIFFERS);
    fake.printed.borrow_mut().clear();
    status::show(&fake, false).unwrap();
    assert!(fake.printed.borrow().contains("stopped by: the node is not as planned"), "{}", fake.printed.borrow());
    assert_eq!(exit::code(&gate::gate(&fake).unwrap_err()), exit::DIFFERS);
}

/// sysctl.d knows no floors, and swap that could not be masked comes back.
#[test]
fn a_later_boot_tunes_the_kernel_again() {
    let (fake, _) = etcd_node();
    run(&fake).unwrap();
    fake.put("/proc/sys/kernel/random/boot_id", "boot-2\n");
    fake.put("/proc/sys/fs/x", "5\n");
    fake.put("/proc/swaps", "Filename Type\n/dev/sda2 partition\n");
    run(&fake).unwrap();
    assert_eq!(fake.text("/proc/sys/fs/x").unwrap(), "10\n");
    assert!(fake.ran.borrow().iter().any(|command| command == "swapoff -a"));
    // What cannot be set, such as a key that a new kernel lacks, does not keep a node down.
    fake.put("/proc/sys/kernel/random/boot_id", "boot-3\n");
    std::fs::remove_file(fake.dir.path().join("proc/sys/fs/x")).unwrap();
    run(&fake).unwrap();
    assert!(fake.said.borrow().iter().any(|line| line.contains("warning: kernel: reading /proc/sys/fs/x")));
}

/// `hostnamectl`, a package's update, a user's own service: the node goes on, and says so.
#[test]
fn files_of_the_machine_may_change() {
    let (fake, mut plan) = etcd_node();
    lay(&fake, &mut plan, FileKind::Laid, "/etc/hostname", "0644", "n1\n");
    ship(&fake, &plan);
    run(&fake).unwrap();
    fake.put("/etc/hostname", "n1.example.com\n");
    assert_eq!(gate::gate(&fake).unwrap(), exit::OK);
    run(&fake).unwrap();
    assert!(fake.said.borrow().iter().any(|line| line == "warning: /etc/hostname has not the planned content"));
    assert_eq!(verify::verify(&fake).unwrap(), exit::DIFFERS);
    fake.put("/pki/peer.crt", "other");
    assert_eq!(exit::code(&gate::gate(&fake).unwrap_err()), exit::DIFFERS);
}

#[test]
fn a_new_payload_is_new_work() {
    let (fake, mut plan) = etcd_node();
    run(&fake).unwrap();
    plan.files
        .retain(|entry| !matches!(entry.path.as_str(), "/var/lib/kubelet/config.yaml" | "/etc/kubernetes/api.conf"));
    lay(&fake, &mut plan, FileKind::Staged, "/var/lib/kubelet/config.yaml", "0644", "kind: New\n");
    lay(&fake, &mut plan, FileKind::Credential, "/etc/kubernetes/api.conf", "0600", "credential\n");
    ship(&fake, &plan);
    run(&fake).unwrap();
    assert_eq!(fake.text("/var/lib/kubelet/config.yaml").unwrap(), "kind: New\n");
    assert_eq!(fake.text(paths::API_CREDENTIAL), None);
}

#[test]
fn the_gate_looks_for_the_log() {
    let (fake, _) = etcd_node();
    assert_eq!(gate::gate(&fake).unwrap(), exit::NOT_YET, "firstboot has not run");
    run(&fake).unwrap();
    assert_eq!(gate::gate(&fake).unwrap(), exit::OK);
    std::fs::remove_dir_all(fake.dir.path().join("var/lib/etcd/member")).unwrap();
    // Of a pod that somebody runs here.
    fake.put("/proc/78/cmdline", "etcd\0--name=n1\0--data-dir=/data");
    fake.put("/proc/78/cgroup", "0::/kubepods/pod2\n");
    fake.put("/proc/79/cmdline", "kube-apiserver\0--advertise-address=10.244.0.7");
    fake.put("/proc/79/cgroup", "0::/kubepods/pod3\n");
    assert_eq!(gate::gate(&fake).unwrap(), exit::NOT_YET);
    assert_eq!(fake.text("/etc/kubernetes/manifests/etcd.yaml"), None);
    assert!(fake.ran.borrow().last().unwrap().contains("restart --no-block nodekiln-firstboot.service"));
    let runs = |pid: u32| fake.text(&format!("/proc/{pid}/cmdline")).is_some();
    assert_eq!((runs(77), runs(78), runs(79)), (false, true, true));
}

#[test]
fn findings_come_at_once_and_can_be_ignored() {
    let (mut fake, mut plan) = etcd_node();
    plan.spec.role = nodekiln_plan::Role::ControlPlane;
    ship(&fake, &plan);
    (fake.machine.cpus, fake.machine.memory) = (1, 1 << 30);
    fake.busy = vec![10250];
    let error = run(&fake).unwrap_err();
    assert_eq!(exit::code(&error), exit::REFUSED);
    let text = format!("{error:#}");
    for name in ["NumCPU", "Mem", "Port-10250"] {
        assert!(text.contains(&format!("[{name}]")), "{text}");
    }
    assert!(fake.text("/var/lib/kubelet/config.yaml").is_none(), "refused before anything changed");
    plan.class.preflight.ignore = vec!["numcpu".to_owned(), "MEM".to_owned(), "port-10250".to_owned()];
    ship(&fake, &plan);
    run(&fake).unwrap();
    let result: crate::report::Outcome = serde_json::from_str(&fake.text(paths::RESULT).unwrap()).unwrap();
    assert_eq!(result.warnings.len(), 3, "{:?}", result.warnings);
}

/// The unit starts again two seconds later, whatever the reason was.
#[test]
fn a_refusal_is_not_repeated_every_two_seconds() {
    let (mut fake, _) = etcd_node();
    fake.busy = vec![10250];
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let before = fake.clock.get();
        assert_eq!(exit::code(&run(&fake).unwrap_err()), exit::REFUSED);
        pauses.push((fake.clock.get() - before).as_secs());
    }
    assert_eq!(pauses, [0, 2, 6, 14, 30, 58, 58]);
    let said = fake.said.borrow();
    assert!(said.iter().any(|line| line.contains("[Port-10250]") && line.contains("(tried again in 60 s")), "{said:?}");
}

#[test]
fn an_expired_payload_is_refused_by_name() {
    let (fake, mut plan) = etcd_node();
    plan.identity.boot_before = 1_799_500_000;
    ship(&fake, &plan);
    let error = run(&fake).unwrap_err();
    assert!(format!("{error:#}").contains("[PayloadExpired]"), "{error:#}");
}

#[test]
fn a_clock_that_is_wrong_is_waited_for_in_few_words() {
    let (fake, _) = etcd_node();
    fake.clock.set(std::time::Duration::from_secs(1_798_999_900));
    run(&fake).unwrap();
    let said = fake.said.borrow();
    let lines: Vec<_> = said.iter().filter(|line| line.contains("the clock to reach 2027-01-03T18:13:20Z")).collect();
    assert!(lines.len() > 5 && lines.len() < 15, "every ten seconds: {lines:?}");
    assert!(lines[0].contains("it shows 2027-01-03T18:11:40Z"), "{}", lines[0]);
}

/// A read-only file system must not keep a node from its end; the API credential must never stay.
#[test]
fn leftovers_that_cannot_be_erased_are_told() {
    let (mut fake, _) = etcd_node();
    fake.put("/oem/config.ign", "payload");
    fake.read_only = Some("/oem".into());
    run(&fake).unwrap();
    let text = fake.text(paths::RESULT).unwrap();
    let result: crate::report::Outcome = serde_json::from_str(&text).unwrap();
    assert!(!text.contains("\"/oem/config.ign\""), "not among those that were erased: {text}");
    assert_eq!(result.scrubbed.len(), 4, "{text}");
    assert_eq!(result.beyond_reach.len(), 2, "{text}");
    assert!(result.describe().contains("not erased: /oem/config.ign (read-only"), "{}", result.describe());

    let (mut fake, _) = etcd_node();
    fake.read_only = Some(paths::API_CREDENTIAL.into());
    let error = format!("{:#}", run(&fake).unwrap_err());
    assert!(error.contains("erasing") && error.contains(paths::API_CREDENTIAL), "{error}");
    assert!(fake.text(paths::RESULT).is_none());
}

/// Without its instance folder cloud-init would lay the payload again at the next boot.
#[test]
fn cloud_init_is_off_before_its_folder_is_gone() {
    let (whole, _) = etcd_node();
    run(&whole).unwrap();
    for n in 0..whole.effects.get() {
        let (fake, _) = etcd_node();
        fake.lives.set(Some(n));
        let _ = run(&fake);
        let on = fake.text("/etc/cloud/cloud-init.disabled").is_none();
        let there = fake.text("/var/lib/cloud/instances/i-1/user-data.txt").is_some();
        assert!(there || !on, "killed before effect {n}");
    }
}

#[test]
fn a_damaged_payload_changes_nothing() {
    let (fake, _) = etcd_node();
    fake.put("/pki/peer.crt", "other");
    fake.put(&format!("{}/var/lib/kubelet/config.yaml", paths::STAGE_DIR), "other");
    let error = format!("{:#}", run(&fake).unwrap_err());
    assert!(error.contains("/pki/peer.crt") && error.contains("config.yaml"), "{error}");
    assert!(fake.text("/etc/kubernetes/manifests/etcd.yaml").is_none());
}
