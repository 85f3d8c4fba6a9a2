//! Three members on loopback addresses, with real sockets and TLS, that decide together.

use super::pki::{self, Pki};
use crate::{
    etcd::{self, peers},
    exit::{self, Refused},
    host::{Host as _, Real},
    stage::Context,
    status::Status,
    tls,
};
use nodekiln_plan::{FileKind, NodePlan, Sha256, paths};
use std::{
    cell::RefCell,
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const TEMPLATE: &str = r#"{"spec":{"containers":[{"command":["etcd"]}]}}"#;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Three plans that differ in the node alone.
fn plans(port: u16) -> Vec<NodePlan> {
    let (_, mut plan) = super::etcd_node();
    let etcd = plan.spec.etcd.as_mut().unwrap();
    etcd.members = serde_json::from_value(serde_json::json!([
        {"name": "n1", "address": "127.0.0.1"}, {"name": "n2", "address": "127.0.0.2"},
        {"name": "n3", "address": "127.0.0.3"}
    ]))
    .unwrap();
    etcd.statement_port = port;
    // Nothing listens there.
    (etcd.client_port, etcd.peer_port) = (1, 1);
    plan.files.retain(|entry| entry.kind == FileKind::Decided);
    plan.files[0].sha256 = Sha256::of(TEMPLATE.as_bytes());
    ["n1", "n2", "n3"]
        .iter()
        .map(|name| {
            let mut plan = plan.clone();
            plan.spec.node = name.parse().unwrap();
            plan
        })
        .collect()
}

fn machine(plan: &NodePlan, pki: &Pki) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("/pki/ca.crt", &pki.ca);
    put("/pki/peer.crt", &pki.cert);
    put("/pki/peer.key", &pki.key);
    put(plan.files[0].staged.as_ref().unwrap().as_str(), TEMPLATE);
    fs::create_dir_all(dir.path().join(paths::DONE_DIR.trim_start_matches('/'))).unwrap();
    dir
}

fn decide(root: &Path, plan: &NodePlan) -> anyhow::Result<()> {
    let host = Real::new(root);
    let status = Status::new(&host, plan.spec.node.clone(), Sha256::of(b""), "boot");
    let context = Context {
        host: &host,
        plan,
        digest: Sha256::of(b""),
        boot: "boot".to_owned(),
        status: &status,
        notes: RefCell::default(),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(etcd::stage(&context))
}

fn manifest(root: &Path) -> String {
    fs::read_to_string(root.join("etc/kubernetes/manifests/etcd.yaml")).unwrap()
}

#[test]
fn three_members_found_one_cluster() {
    let plans = plans(free_port());
    let pki = pki::many(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.3"]]);
    let dirs: Vec<_> = plans.iter().zip(&pki).map(|(plan, pki)| machine(plan, pki)).collect();
    thread::scope(|scope| {
        for (index, (plan, dir)) in plans.iter().zip(&dirs).enumerate() {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(300 * u64::try_from(2 - index).unwrap()));
                decide(dir.path(), plan).unwrap();
            });
        }
    });
    let first = manifest(dirs[0].path());
    assert!(first.contains("--initial-cluster=n1=https://127.0.0.1:1,n2=https://127.0.0.2:1,n3=https://127.0.0.3:1"));
    assert!(first.contains("--initial-cluster-token=nodekiln-") && first.contains("--initial-cluster-state=new"));
    for dir in &dirs {
        assert_eq!(manifest(dir.path()), first);
    }
    // One is wiped now: the others know its earlier life, and it must not start as new. Its own statement is still
    // served by the thread of its first run, so it asks from another port's plan: none; it is refused by the others.
    let again = machine(&plans[2], &pki[2]);
    let mut plan = plans[2].clone();
    plan.spec.etcd.as_mut().unwrap().members[2].address = "127.0.0.4".parse().unwrap();
    let error = decide(again.path(), &plan).unwrap_err();
    assert_eq!(exit::code(&error), exit::REFUSED);
    assert_eq!(error.downcast_ref::<Refused>().unwrap().name, "EtcdRejoin");
    assert!(!again.path().join("etc/kubernetes/manifests/etcd.yaml").exists());
}

/// A member that was finished and holds no log now, because its disk is not mounted or was lost, is not empty to the
/// others: founding without its data would lose acknowledged writes.
#[test]
fn a_member_that_lost_its_data_is_no_founder() {
    let plans = plans(free_port());
    let pki = pki::many(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.3"]]);
    let dirs: Vec<_> = plans.iter().zip(&pki).map(|(plan, pki)| machine(plan, pki)).collect();
    let result = serde_json::json!({
        "version": 1, "firstboot": "0", "cluster": "lab", "node": "n2", "role": "etcd", "kubernetesVersion": "v1.36.3",
        "generation": 1, "plan": Sha256::of(b""), "finished": {"unix": 0.0, "monotonic": 0.0}, "runs": 1, "stages": [],
        "warnings": [], "facts": [], "scrubbed": [], "beyondReach": [],
    });
    fs::write(dirs[1].path().join(paths::RESULT.trim_start_matches('/')), result.to_string()).unwrap();
    thread::scope(|scope| {
        for (plan, dir) in plans.iter().zip(&dirs) {
            scope.spawn(|| {
                let error = decide(dir.path(), plan).unwrap_err();
                assert_eq!(error.downcast_ref::<Refused>().unwrap().name, "EtcdDataLost", "{error:#}");
                assert!(!dir.path().join("etc/kubernetes/manifests/etcd.yaml").exists());
            });
        }
    });
}

#[test]
fn another_plan_and_another_ca_are_not_listened_to() {
    let mut plans = plans(free_port());
    plans[1].identity.etcd_digest = Sha256::of(b"another");
    let pki = pki::many(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let dirs: Vec<_> = plans.iter().zip(&pki).map(|(plan, pki)| machine(plan, pki)).collect();
    let errors: Vec<_> = thread::scope(|scope| {
        let work: Vec<_> = plans
            .iter()
            .zip(&dirs)
            .map(|(plan, dir)| scope.spawn(|| decide(dir.path(), plan).unwrap_err().to_string()))
            .collect();
        work.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for error in errors {
        assert!(error.contains("[EtcdPlansDiffer]") && error.contains("n1") && error.contains("n2"), "{error}");
    }
}

/// What a server of ours says of its age and name does not make it another cluster's.
#[test]
fn an_api_server_of_ours_is_in_the_way_whatever_its_certificate_says() {
    let good = pki::pki(&["127.0.0.1"]);
    let other_name = pki::pki(&["10.9.9.9"]);
    let expired = pki::until(&[&["127.0.0.1"]], 2001).remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = Real::new(Path::new("/"));
    let endpoint = |port: u16| format!("127.0.0.1:{port}").parse().unwrap();
    runtime.block_on(async {
        for (server, ours) in [(&good, true), (&other_name, true), (&expired, true), (&good, false), (&expired, false)]
        {
            let config = tls::server(server.ca.as_bytes(), server.cert.as_bytes(), server.key.as_bytes()).unwrap();
            let port = free_port();
            let address: SocketAddr = ([127, 0, 0, 1], port).into();
            host.serve(address, config, Arc::new(|_| Some(Vec::new()))).unwrap();
            let foreign = pki::pki(&["127.0.0.1"]).ca;
            let ca = if ours { &server.ca } else { &foreign };
            // The second of two: the first is nobody.
            let endpoints = [endpoint(free_port()), endpoint(port)];
            let found = peers::api_answers(&host, &endpoints, ca.as_bytes()).await.unwrap();
            assert_eq!(found, ours.then_some(&endpoints[1]));
        }
        // Nobody, at once.
        let start = Instant::now();
        let nobody = [endpoint(free_port())];
        assert_eq!(peers::api_answers(&host, &nobody, good.ca.as_bytes()).await.unwrap(), None);
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}
