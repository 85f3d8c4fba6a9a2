//! Waiting for the kubelet and the API server on the fake machine: workers, pools, certificates.

use super::{etcd_node, pki, ship, stage};
use crate::{
    exit,
    files::files,
    host::{HttpError, HttpResponse, Output},
    wait::wait,
};
use nodekiln_plan::{Role, paths};
use std::{cell::Cell, io, rc::Rc, time::Duration};

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

/// The API server goes away for a moment after this: what the kubelet is about to say comes first, in a short while.
#[test]
fn a_node_that_is_never_ready_is_waited_for_a_short_while() {
    for (ready_after, seconds) in [(0, 0), (4, 1), (u32::MAX, 5)] {
        let (fake, mut plan) = etcd_node();
        plan.spec.server = Some("10.0.0.1:6443".parse().unwrap());
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

/// A worker waits for the API server without a deadline, saying for what, then for its Node.
#[test]
fn a_worker_waits_as_long_as_it_takes() {
    let (fake, mut plan) = etcd_node();
    plan.spec.role = Role::Worker;
    plan.spec.etcd = None;
    plan.spec.server = Some("10.0.0.9:6443".parse().unwrap());
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
    plan.spec.server = Some("10.0.0.1:6443".parse().unwrap());
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
    plan.spec.server = Some("127.0.0.1:7443".parse().unwrap());
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
