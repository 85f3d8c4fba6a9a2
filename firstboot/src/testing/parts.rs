//! Single stages on the fake machine: archives, what is left of an etcd, modules, workers.

use super::{etcd_node, pki, run, ship, stage};
use crate::{
    etcd::{machine::Answer, peers, state, statement::Identity},
    exit,
    files::files,
    host::{HttpError, HttpResponse, Output, fake::Fake},
    kernel::kernel,
    stage::{Marker, mark},
    wait::wait,
};
use flate2::{Compression, write::GzEncoder};
use nodekiln_plan::{ApiPlan, Archive, Role, Sha256, paths};
use std::{cell::Cell, io, path::PathBuf, rc::Rc, time::Duration};

fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, text: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(u64::try_from(text.len()).unwrap());
    // The builder refuses unsafe names; others do not.
    let bytes = &mut header.as_old_mut().name;
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, text.as_bytes()).unwrap();
}

fn link(builder: &mut tar::Builder<Vec<u8>>, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    builder.append_link(&mut header, name, target).unwrap();
}

fn unpack(bytes: &[u8], strip_components: u8) -> (Fake, anyhow::Result<()>) {
    let (fake, mut plan) = etcd_node();
    std::fs::create_dir_all(fake.dir.path().join("opt")).unwrap();
    std::fs::write(fake.dir.path().join("opt/a.tar"), bytes).unwrap();
    plan.spec.archives =
        vec![Archive { path: "/opt/a.tar".parse().unwrap(), into: "/opt/cni/bin".parse().unwrap(), strip_components }];
    *fake.script.borrow_mut() =
        Box::new(|_, _| Output { code: Some(0), stdout: "Kubernetes v1.36.3".to_owned(), ..Output::default() });
    let done = stage(&fake, &plan, async |c| files(c).await);
    (fake, done)
}

#[test]
fn archives_with_and_without_gzip() {
    let plain = tar_of(|builder| {
        file(builder, "top/bridge", 0o755, "program");
        file(builder, "top/doc/x", 0o644, "words");
        link(builder, "top/again", "bridge");
    });
    let gzip = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    };
    let parts = [gzip(&plain[..1024]), gzip(&plain[1024..])].concat();
    for bytes in [gzip(&plain), parts, plain] {
        let (fake, done) = unpack(&bytes, 1);
        done.unwrap();
        assert_eq!(fake.text("/opt/cni/bin/bridge").unwrap(), "program");
        assert_eq!(fake.text("/opt/cni/bin/again").unwrap(), "program");
        assert_eq!(fake.text("/opt/cni/bin/doc/x").unwrap(), "words");
    }
}

#[test]
fn archives_that_leave_their_folder_are_refused() {
    let outside = tar_of(|builder| file(builder, "../evil", 0o644, "x"));
    let absolute = tar_of(|builder| file(builder, "/etc/evil", 0o644, "x"));
    let through = tar_of(|builder| {
        link(builder, "a", "/etc");
        file(builder, "a/evil", 0o644, "x");
    });
    let up = tar_of(|builder| link(builder, "a", "../../etc"));
    for bytes in [outside, absolute, through, up] {
        let (fake, done) = unpack(&bytes, 0);
        assert!(done.is_err());
        assert!(fake.text("/etc/evil").is_none() && fake.text("/opt/cni/evil").is_none());
    }
}

#[test]
fn an_etcd_without_log_is_moved_aside_and_never_deleted() {
    for mount in [None, Some(PathBuf::from("/var/lib/etcd"))] {
        let (mut fake, plan) = etcd_node();
        fake.mount = mount.clone();
        fake.put("/var/lib/etcd/member/snap/db", "data");
        fake.put("/var/lib/etcd/lost+found/x", "");
        run(&fake).unwrap();
        let place = if mount.is_some() { "/var/lib/etcd/nodekiln-aside/1" } else { "/var/lib/etcd.aside/1" };
        assert_eq!(fake.text(&format!("{place}/member/snap/db")).unwrap(), "data");
        assert_eq!(fake.text("/var/lib/etcd/lost+found/x").unwrap(), "");
        let etcd = plan.spec.etcd.as_ref().unwrap();
        assert!(state::load(&fake, etcd).unwrap().unwrap().started);
    }
}

#[test]
fn what_a_starting_etcd_makes_is_left_alone() {
    let (fake, plan) = etcd_node();
    let etcd = plan.spec.etcd.as_ref().unwrap();
    fake.put("/var/lib/etcd/x", "");
    std::fs::remove_file(fake.dir.path().join("var/lib/etcd/x")).unwrap();
    let mut state = state::open_empty(&fake, etcd).unwrap();
    state.map = Some([("n1".parse().unwrap(), state.incarnation)].into());
    state::save(&fake, etcd, &state).unwrap();
    fake.put("/var/lib/etcd/member/wal.tmp/0.tmp", "half");
    assert_eq!(state::open_empty(&fake, etcd).unwrap(), state);
    assert_eq!(fake.text("/var/lib/etcd/member/wal.tmp/0.tmp").unwrap(), "half");
    // A log that was seen and is gone: another life.
    state.started = true;
    state::save(&fake, etcd, &state).unwrap();
    assert_ne!(state::open_empty(&fake, etcd).unwrap().incarnation, state.incarnation);
}

/// Who waits for silent members is told what is the case: is one of them only off, or does its etcd run?
#[test]
fn a_member_whose_etcd_runs_is_no_first_start() {
    for (peer_port, told) in [(false, "a first start takes all planned members"), (true, "etcd of n2 runs already")] {
        let (fake, mut plan) = etcd_node();
        let etcd = plan.spec.etcd.as_mut().unwrap();
        for (name, address) in [("n2", "10.0.0.2"), ("n3", "10.0.0.3")] {
            let member = serde_json::json!({"name": name, "address": address});
            etcd.members.push(serde_json::from_value(member).unwrap());
        }
        let rounds = Rc::new(Cell::new(0));
        let asked = Rc::clone(&rounds);
        *fake.web.borrow_mut() = Box::new(move |request| {
            asked.set(asked.get() + 1);
            let n2 = request.endpoint.to_string() == "10.0.0.2:2380";
            match asked.get() {
                // Long enough to be told; then one that differs ends it.
                200.. => Ok(HttpResponse { status: 200, body: other_plan() }),
                _ if peer_port && n2 => Ok(HttpResponse { status: 200, body: Vec::new() }),
                _ => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
            }
        });
        let error = stage(&fake, &plan, async |c| crate::etcd::stage(c).await).unwrap_err();
        assert!(error.to_string().contains("EtcdPlansDiffer"), "{error:#}");
        let said = fake.said.borrow();
        assert!(said.iter().any(|line| line.contains(told)), "{said:?}");
    }
}

fn other_plan() -> Vec<u8> {
    let wire = serde_json::json!({
        "version": 1, "member": "n2", "incarnation": "02".repeat(16), "digest": Sha256::of(b"another"),
    });
    wire.to_string().into_bytes()
}

/// A statement of a later version may mean anything: it is none.
#[test]
fn a_statement_of_another_version_is_not_understood() {
    let (fake, mut plan) = etcd_node();
    let etcd = plan.spec.etcd.as_mut().unwrap();
    etcd.members.push(serde_json::from_value(serde_json::json!({"name": "n2", "address": "10.0.0.2"})).unwrap());
    let etcd = etcd.clone();
    let version = Rc::new(Cell::new(1));
    let says = Rc::clone(&version);
    *fake.web.borrow_mut() = Box::new(move |_| {
        let wire = serde_json::json!({
            "version": says.get(), "member": "n2", "incarnation": "02".repeat(16), "digest": Sha256::of(b"etcd"),
        });
        Ok(HttpResponse { status: 200, body: wire.to_string().into_bytes() })
    });
    for (number, understood) in [(1, true), (2, false)] {
        version.set(number);
        let answer = stage(&fake, &plan, async |c| {
            let identity = Identity::load(c.host, &etcd)?;
            Ok(peers::statements(c, &etcd, 0, &identity).await)
        });
        let answer = answer.unwrap();
        assert_eq!(answer.answers[1] != Answer::Silent, understood, "{:?}", answer.why);
    }
}

/// What the kubelet rotated to is kept. What the CA does not vouch for, or what leads nowhere, would keep it out for ever.
#[test]
fn a_client_certificate_that_is_good_is_kept() {
    const CURRENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    let other = pki::pki(&["10.0.0.1"]);
    for (kept, foreign, year) in [(true, false, 2027), (false, true, 2027), (false, false, 4100)] {
        let (fake, plan) = etcd_node();
        fake.clock.set(Duration::from_secs((year - 1970) * 31_556_952));
        let own = format!("{}{}", fake.text("/pki/peer.crt").unwrap(), fake.text("/pki/peer.key").unwrap());
        let pair = if foreign { format!("{}{}", other.cert, other.key) } else { own };
        fake.put("/var/lib/kubelet/pki/kubelet-client-2026.pem", &pair);
        let link = fake.dir.path().join(CURRENT.trim_start_matches('/'));
        std::os::unix::fs::symlink("kubelet-client-2026.pem", link).unwrap();
        *fake.script.borrow_mut() =
            Box::new(|_, _| Output { code: Some(0), stdout: "Kubernetes v1.36.3".to_owned(), ..Output::default() });
        stage(&fake, &plan, async |c| files(c).await).unwrap();
        let target = std::fs::read_link(fake.dir.path().join(CURRENT.trim_start_matches('/'))).unwrap();
        assert_eq!(target.ends_with("kubelet-client-2026.pem"), kept, "{foreign} {year}: {target:?}");
        assert_eq!(fake.text(&format!("{}{CURRENT}", paths::STAGE_DIR)), None, "not left where it was staged");
    }
}

#[test]
fn a_finished_member_that_lost_its_log_is_not_founded_again() {
    let (fake, _) = etcd_node();
    run(&fake).unwrap();
    std::fs::remove_dir_all(fake.dir.path().join("var/lib/etcd")).unwrap();
    let error = run(&fake).unwrap_err();
    assert_eq!(exit::code(&error), exit::REFUSED);
    assert!(format!("{error:#}").contains("[EtcdDataLost]"), "{error:#}");
}

/// A disk that served another cluster.
#[test]
fn the_log_of_another_cluster_is_refused_by_name() {
    const NAME: &str = "DirAvailable--var-lib-etcd";
    let (fake, mut plan) = etcd_node();
    fake.put("/var/lib/etcd/member/wal/0-0.wal", "");
    let error = run(&fake).unwrap_err();
    assert_eq!(exit::code(&error), exit::REFUSED);
    assert!(format!("{error:#}").contains(&format!("[{NAME}]")), "{error:#}");
    assert_eq!(fake.text("/etc/kubernetes/manifests/etcd.yaml"), None);
    plan.spec.preflight.ignore = vec![NAME.to_owned()];
    ship(&fake, &plan);
    run(&fake).unwrap();

    // The machine is made anew, the disk is the member's own.
    let (old, _) = etcd_node();
    run(&old).unwrap();
    let (fake, _) = etcd_node();
    fake.put("/var/lib/etcd/member/wal/0-0.wal", "");
    let file = "/var/lib/etcd/nodekiln-incarnation.json";
    fake.put(file, &old.text(file).unwrap());
    run(&fake).unwrap();
}

/// The log went after the API-side steps and before the end: the new cluster has none of the objects.
#[test]
fn a_founding_after_a_lost_one_does_the_api_steps_again() {
    for (credential, done) in [(true, false), (false, true)] {
        let (fake, mut plan) = etcd_node();
        let path = if credential { paths::API_CREDENTIAL } else { "/none" };
        plan.spec.api = Some(ApiPlan {
            server: "10.0.0.1:6443".parse().unwrap(),
            credential: path.parse().unwrap(),
            lease_credential: path.parse().unwrap(),
            lease: "kube-system/nodekiln".to_owned(),
            done: "kube-system/nodekiln".to_owned(),
        });
        let marker =
            Marker { plan: Sha256::of(b""), boot: "boot".to_owned(), at: 0.0, seconds: 0.0, notes: <_>::default() };
        mark(&fake, "api", &marker).unwrap();
        let decided = stage(&fake, &plan, async |c| crate::etcd::stage(c).await);
        assert_eq!(decided.is_ok(), credential, "{decided:?}");
        assert_eq!(crate::stage::marker(&fake, "api", &Sha256::of(b"")).unwrap().is_some(), done);
    }
}

/// The API server goes away for a moment after this: what the kubelet is about to say comes first, in a short while.
#[test]
fn a_node_that_is_never_ready_is_waited_for_a_short_while() {
    for (ready_after, seconds) in [(0, 0), (4, 1), (u32::MAX, 5)] {
        let (fake, mut plan) = etcd_node();
        plan.spec.kubelet.server = Some("10.0.0.1:6443".parse().unwrap());
        let asked = Cell::new(0);
        *fake.web.borrow_mut() = Box::new(move |_| {
            let status = if asked.get() >= ready_after { "True" } else { "False" };
            asked.set(asked.get() + 1);
            let node = serde_json::json!({
                "kind": "Node", "status": {"conditions": [{"type": "Ready", "status": status}]},
            });
            Ok(HttpResponse { status: 200, body: node.to_string().into_bytes() })
        });
        let before = fake.clock.get();
        stage(&fake, &plan, async |c| crate::wait::kubelet_reported(c).await).unwrap();
        assert_eq!((fake.clock.get() - before).as_secs(), seconds, "Ready after {ready_after}");
    }
}

/// An etcd node has no API server of its own, and may not found beside one of its cluster either.
#[test]
fn an_api_server_of_the_cluster_keeps_an_etcd_node_from_founding() {
    let (fake, mut plan) = etcd_node();
    plan.spec.etcd.as_mut().unwrap().api_servers =
        ["10.0.0.8:6443", "10.0.0.9:6443"].map(|at| at.parse().unwrap()).into();
    let asked = Rc::new(Cell::new(0u32));
    let count = Rc::clone(&asked);
    *fake.web.borrow_mut() = Box::new(move |request| {
        if request.endpoint.to_string() == "10.0.0.9:6443" {
            count.set(count.get() + 1);
            if count.get() <= 40 {
                return Ok(HttpResponse { status: 500, body: Vec::new() });
            }
        }
        Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into()))
    });
    stage(&fake, &plan, async |c| crate::etcd::stage(c).await).unwrap();
    assert_eq!(asked.get(), 41, "it founded while the API server answered");
    let said = fake.said.borrow();
    assert!(said.iter().any(|line| line.contains("the API server at 10.0.0.9:6443 to go away")), "{said:?}");
    assert!(fake.text("/etc/kubernetes/manifests/etcd.yaml").unwrap().contains("--initial-cluster-state=new"));
}

/// An API server under load, or a balancer before one, may be slow to take a session; one that never does is nobody.
#[test]
fn a_silent_endpoint_is_asked_again() {
    let ca = pki::pki(&["10.0.0.1"]).ca;
    for (silent, answers) in [(0, true), (2, true), (u32::MAX, false)] {
        let (fake, plan) = etcd_node();
        let asked = Rc::new(Cell::new(0u32));
        let count = Rc::clone(&asked);
        *fake.web.borrow_mut() = Box::new(move |request| {
            count.set(count.get() + 1);
            if count.get() <= silent {
                return Err(HttpError::Timeout(request.timeout));
            }
            Ok(HttpResponse { status: 200, body: Vec::new() })
        });
        let endpoint = ["10.0.0.9:6443".parse().unwrap()];
        let found =
            stage(&fake, &plan, async |c| Ok(peers::api_answers(c.host, &endpoint, ca.as_bytes()).await?.is_some()));
        assert_eq!(found.unwrap(), answers, "after {silent}");
        assert!(asked.get() <= 3);
    }
}

#[test]
fn modules_that_cannot_be_loaded() {
    let (fake, mut plan) = etcd_node();
    plan.spec.kernel.modules = vec!["br_netfilter".parse().unwrap()];
    *fake.script.borrow_mut() = Box::new(|program, _| Output {
        code: Some(i32::from(program == "modprobe")),
        stderr: "not found".to_owned(),
        ..Output::default()
    });
    fake.put("/proc/modules", "");
    let error = stage(&fake, &plan, async |c| kernel(c).await).unwrap_err();
    assert!(format!("{error:#}").contains("`modprobe -- br_netfilter` ended with code 1: not found"), "{error:#}");
    // Built in, as its settings show.
    fake.put("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    // Built in, as the kernel's list shows: not even tried.
    fake.put("/lib/modules/6.12.1/modules.builtin", "kernel/net/bridge/br_netfilter.ko\n");
    fake.ran.borrow_mut().clear();
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    assert!(!fake.ran.borrow().iter().any(|command| command.starts_with("modprobe")));
}

#[test]
fn a_swap_unit_that_cannot_be_masked() {
    let (fake, plan) = etcd_node();
    fake.put("/proc/swaps", "Filename Type\n/dev/sda2 partition\n");
    *fake.script.borrow_mut() = Box::new(|_, args| Output {
        code: Some(i32::from(args.first() == Some(&"mask"))),
        stdout: if args.first() == Some(&"list-units") { "dev-sda2.swap loaded active" } else { "" }.to_owned(),
        stderr: "File '/etc/systemd/system/dev-sda2.swap' already exists".to_owned(),
    });
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    assert!(fake.said.borrow().iter().any(|line| line.contains("already exists")));
}

#[test]
fn a_setting_that_the_kernel_does_not_take() {
    let (fake, mut plan) = etcd_node();
    plan.spec.kernel.sysctls[0].name = "net.ipv4.missing".parse().unwrap();
    let error = stage(&fake, &plan, async |c| kernel(c).await).unwrap_err();
    assert!(format!("{error:#}").contains("/proc/sys/net/ipv4/missing"), "{error:#}");
}

/// One thing that fails keeps nothing else from being done, and all that failed is told at once.
#[test]
fn the_kernel_gets_all_that_it_takes() {
    let (fake, mut plan) = etcd_node();
    plan.spec.kernel.modules = vec!["br_netfilter".parse().unwrap()];
    plan.spec
        .kernel
        .sysctls
        .insert(0, serde_json::from_value(serde_json::json!({"name": "a.b", "value": "1"})).unwrap());
    fake.put("/proc/modules", "");
    fake.put("/proc/swaps", "Filename Type\n/dev/sda2 partition\n");
    *fake.script.borrow_mut() =
        Box::new(|program, _| Output { code: Some(i32::from(program == "modprobe")), ..Output::default() });
    let error = format!("{:#}", stage(&fake, &plan, async |c| kernel(c).await).unwrap_err());
    assert!(error.starts_with("2 failures: ") && error.contains("/proc/sys/a/b"), "{error}");
    assert!(error.contains("loading the module br_netfilter"), "{error}");
    assert_eq!(fake.text("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
    assert!(fake.ran.borrow().iter().any(|command| command == "swapoff -a"));
}

/// A worker waits for the API server without a deadline, saying for what, then for its Node.
#[test]
fn a_worker_waits_as_long_as_it_takes() {
    let (fake, mut plan) = etcd_node();
    plan.spec.role = Role::Worker;
    plan.spec.etcd = None;
    plan.spec.kubelet.server = Some("10.0.0.9:6443".parse().unwrap());
    plan.files.retain(|entry| entry.kind != nodekiln_plan::FileKind::Decided);
    fake.put("/pki/ca.crt", &pki::pki(&["10.0.0.9"]).ca);
    ship(&fake, &plan);
    let asked = Rc::new(Cell::new(0u32));
    let count = Rc::clone(&asked);
    *fake.web.borrow_mut() = Box::new(move |request| {
        let ok = Ok(HttpResponse { status: 200, body: Vec::new() });
        if request.endpoint.port == 10248 {
            return ok;
        }
        count.set(count.get() + 1);
        match (request.path.as_str(), count.get()) {
            (_, ..4000) => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
            ("/readyz", _) => ok,
            ("/api/v1/nodes/n1", ..4100) => Ok(HttpResponse { status: 404, body: Vec::new() }),
            _ => ok,
        }
    });
    let start = fake.clock.get();
    stage(&fake, &plan, async |c| wait(c).await).unwrap();
    assert!(fake.clock.get() - start > Duration::from_secs(900));
    let said = fake.said.borrow();
    assert!(said.iter().any(|line| line.contains("waiting for the API server at 10.0.0.9:6443")));
    assert!(said.iter().any(|line| line.contains("waiting for the Node n1")));
    assert!(said.len() < 200, "every ten seconds, not more often");
}

/// A control plane that does not come up is told with the last words of its containers.
#[test]
fn the_cause_is_named() {
    let (fake, mut plan) = etcd_node();
    plan.spec.role = Role::ControlPlane;
    plan.spec.kubelet.server = Some("10.0.0.1:6443".parse().unwrap());
    fake.put("/pki/ca.crt", &pki::pki(&["10.0.0.1"]).ca);
    fake.put("/var/log/pods/kube-system_etcd-n1_1/etcd/0.log", "a\nb\nfatal: no space left\n");
    *fake.web.borrow_mut() = Box::new(|request| match request.endpoint.port {
        10248 => Ok(HttpResponse { status: 200, body: Vec::new() }),
        _ => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
    });
    let error = format!("{:#}", stage(&fake, &plan, async |c| wait(c).await).unwrap_err());
    assert!(error.contains("10.0.0.1:6443 is not ready") && error.contains("fatal: no space left"), "{error}");
}

/// Each machine of a pool has a name of its own, and keeps it.
#[test]
fn machines_of_a_pool_are_named() {
    const KEPT: &str = "/var/lib/nodekiln/done/name";
    for (hostname, id, wanted) in [
        ("Box7.example.com", "", Ok("box7.example.com")),
        ("localhost", "0123456789abcdef0123456789abcdef\n", Ok("farm-01234567")),
        ("fedora", "89abcdef\n", Ok("farm-89abcdef")),
        ("", "feedfeedfeed\n", Ok("farm-feedfeed")),
        ("", "uninitialized\n", Err("holds no machine ID")),
        ("my_box", "", Err("is no name for a Node")),
    ] {
        let (mut fake, mut plan) = etcd_node();
        plan.spec.node = "farm".parse().unwrap();
        plan.spec.pool = true;
        fake.machine.hostname = hostname.to_owned();
        fake.put("/etc/machine-id", id);
        fake.put("/proc/sys/kernel/hostname", hostname);
        let resolved = crate::name::resolve(&fake, &mut plan);
        let name = match (resolved, wanted) {
            (Ok(()), Ok(name)) => name,
            (Err(e), Err(why)) => {
                assert_eq!(exit::code(&e), exit::REFUSED);
                assert!(e.to_string().contains(why), "{e:#}");
                continue;
            }
            (other, wanted) => panic!("{hostname:?}: {other:?}, not {wanted:?}"),
        };
        assert_eq!(plan.spec.node.as_str(), name);
        stage(&fake, &plan, async |c| crate::name::keep(c)).unwrap();
        let given = (!hostname.contains('.')).then(|| format!("{name}\n"));
        assert_eq!(fake.text("/etc/hostname"), given, "a machine with a name keeps its file");
        if let Some(given) = given {
            assert_eq!(fake.text("/proc/sys/kernel/hostname").unwrap(), given);
        }
        assert_eq!(fake.text(KEPT).unwrap(), name);
        // Another name that comes by DHCP: the certificate is made out to the first.
        fake.machine.hostname = "other".to_owned();
        plan.spec.node = "farm".parse().unwrap();
        crate::name::resolve(&fake, &mut plan).unwrap();
        assert_eq!(plan.spec.node.as_str(), name);
        stage(&fake, &plan, async |c| crate::name::keep(c)).unwrap();
        assert_eq!(fake.text("/proc/sys/kernel/hostname").unwrap(), format!("{name}\n"));
        assert!(fake.said.borrow().iter().any(|line| line.contains("the host name was \"other\"")));
    }
}

/// The token may be made valid again: it is told, and waited for.
#[test]
fn a_certificate_that_does_not_come_is_told() {
    let (fake, mut plan) = etcd_node();
    plan.spec.role = Role::Worker;
    plan.spec.etcd = None;
    plan.spec.kubelet.server = Some("127.0.0.1:7443".parse().unwrap());
    plan.files.retain(|entry| entry.kind != nodekiln_plan::FileKind::Seed);
    let asked = Rc::new(Cell::new(0u32));
    let count = Rc::clone(&asked);
    *fake.web.borrow_mut() = Box::new(move |request| {
        count.set(count.get() + 1);
        match count.get() {
            ..20 => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
            // Anonymous requests are off, or not allowed this.
            _ if request.path == "/readyz" => Ok(HttpResponse { status: 401, body: Vec::new() }),
            _ => Ok(HttpResponse { status: 200, body: Vec::new() }),
        }
    });
    let start = fake.clock.get();
    let pem = fake.dir.path().join("var/lib/kubelet/pki/kubelet-client-current.pem");
    let ticks = Cell::new(0u32);
    *fake.tick.borrow_mut() = Box::new(move || {
        ticks.set(ticks.get() + 1);
        if ticks.get() == 4000 {
            std::fs::create_dir_all(pem.parent().unwrap()).unwrap();
            std::fs::write(&pem, "pair").unwrap();
        }
    });
    let warnings = stage(&fake, &plan, async |c| {
        wait(c).await?;
        Ok(c.notes.borrow().warnings.clone())
    });
    assert!(fake.clock.get() - start > Duration::from_secs(900), "longer than the time it is given");
    assert_eq!(warnings.unwrap(), ["the kubelet got no certificate in 300 s: is its bootstrap token valid?"]);
    let said = fake.said.borrow();
    assert!(
        said.iter().any(|line| line.contains("127.0.0.1:7443") && line.contains("this node's own balancer")),
        "{said:?}"
    );
}

/// An empty folder where a disk should be is no empty log, neither for a founding nor for the gate.
#[test]
fn a_disk_that_is_not_mounted_is_no_empty_log() {
    let (fake, mut plan) = etcd_node();
    let etcd = plan.spec.etcd.as_mut().unwrap();
    etcd.mount = Some("/var/lib/etcd".parse().unwrap());
    ship(&fake, &plan);
    fake.put(
        "/proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:2 / /var/lib/etcd2 rw - ext4 /dev/sdb rw\n",
    );
    let error = run(&fake).unwrap_err();
    assert_eq!(exit::code(&error), exit::REFUSED);
    assert!(format!("{error:#}").contains("[EtcdMount] /var/lib/etcd is not mounted"), "{error:#}");
    assert!(fake.text("/var/lib/etcd/nodekiln-incarnation.json").is_none(), "nothing was drawn");
    fake.put("/proc/self/mountinfo", "23 22 8:2 / /var/lib/etcd rw - ext4 /dev/sdb rw\n");
    run(&fake).unwrap();
    assert_eq!(crate::gate::gate(&fake).unwrap(), exit::OK);
    fake.put("/proc/self/mountinfo", "");
    assert_eq!(exit::code(&crate::gate::gate(&fake).unwrap_err()), exit::REFUSED);
    assert!(fake.text("/etc/kubernetes/manifests/etcd.yaml").is_some(), "nothing is decided anew");
}

/// A member that takes a dead one's place must not found anything.
#[test]
fn a_member_that_replaces_another_does_not_found() {
    let (fake, mut plan) = etcd_node();
    let dead = serde_json::json!({"name": "n0", "address": "10.0.0.9"});
    plan.spec.etcd.as_mut().unwrap().replaces = Some(serde_json::from_value(dead).unwrap());
    ship(&fake, &plan);
    let error = format!("{:#}", run(&fake).unwrap_err());
    assert!(error.contains("[EtcdRejoin]") && error.contains("n0 at 10.0.0.9"), "{error}");
    assert!(fake.text("/etc/kubernetes/manifests/etcd.yaml").is_none());
}
