//! Stages of an etcd member on the fake machine: what is left of a log, who may found a cluster.

use super::{etcd_node, pki, run, ship, stage};
use crate::{
    etcd::{machine::Answer, peers, state, statement::Identity},
    exit,
    host::{HttpError, HttpResponse},
    stage::{Marker, mark},
};
use nodekiln_plan::{ApiPlan, Sha256, paths};
use std::{cell::Cell, io, path::PathBuf, rc::Rc};

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
    plan.class.preflight.ignore = vec![NAME.to_owned()];
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
