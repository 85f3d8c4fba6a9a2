//! The stage `api` against a small API server: once per generation, in order, killed at every write.

use super::{
    apiserver::{self, Shared},
    pki::{self, Pki},
};
use crate::{api, host::fake::Fake, stage::Context, status::Status};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{ApiPlan, NodePlan, Sha256, paths};
use serde_json::json;
use std::{cell::RefCell, net::SocketAddr};

const OBJECTS: &str = r#"{"apply":{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"a"}}}
{"node":{"name":"n1","labels":{"x":"1"},"taints":[{"effect":"NoSchedule","key":"k"}]}}
{"apply":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"kube-public"},"data":{"k":"v"}}}

"#;

fn node(server: &(SocketAddr, Pki), name: &str, generation: u64) -> (Fake, NodePlan) {
    let (address, pki) = server;
    let data = |text: &str| STANDARD.encode(text);
    let (fake, mut plan) = super::etcd_node();
    fake.put(paths::API_OBJECTS, OBJECTS);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster":
            {"server": "https://vip.example:1", "certificate-authority-data": data(&pki.ca)}}],
        "users": [{"name": "u", "user":
            {"client-certificate-data": data(&pki.cert), "client-key-data": data(&pki.key)}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    fake.put("/etc/lease.conf", &kubeconfig.to_string());
    plan.spec.node = name.parse().unwrap();
    plan.identity.generation = generation;
    plan.spec.api = Some(ApiPlan {
        server: address.to_string().parse().unwrap(),
        credential: "/etc/lease.conf".parse().unwrap(),
        lease_credential: "/etc/lease.conf".parse().unwrap(),
        lease: "kube-system/nodekiln".to_owned(),
        done: "kube-system/nodekiln".to_owned(),
    });
    (fake, plan)
}

fn new_server() -> ((SocketAddr, Pki), Shared) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pki = pki::pki(&["127.0.0.1"]);
    let (address, store) = apiserver::start(&pki);
    ((address, pki), store)
}

fn stage(fake: &Fake, plan: &NodePlan) -> anyhow::Result<Vec<String>> {
    let status = Status::new(fake, plan.spec.node.clone(), Sha256::of(b""), "boot");
    let context = Context {
        host: fake,
        plan,
        digest: Sha256::of(b""),
        boot: "boot".to_owned(),
        status: &status,
        notes: RefCell::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(api::stage(&context))?;
    Ok(context.notes.take().warnings)
}

fn changes(store: &Shared) -> Vec<String> {
    let log = std::mem::take(&mut store.lock().unwrap().log);
    log.into_iter().filter(|line| !line.contains("/leases")).collect()
}

#[test]
fn objects_are_applied_once_per_generation_and_nodes_always() {
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 2);
    stage(&fake, &plan).unwrap();
    assert_eq!(
        changes(&store),
        [
            "PATCH /apis/rbac.authorization.k8s.io/v1/clusterroles/a",
            "PATCH /api/v1/namespaces/kube-public/configmaps/b",
            "PATCH /api/v1/namespaces/kube-system/configmaps/nodekiln",
            "POST /api/v1/nodes/n1",
        ]
    );
    let lease =
        store.lock().unwrap().objects["/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/nodekiln"].clone();
    assert_eq!(lease["spec"]["holderIdentity"], json!(null), "released: {lease}");
    stage(&fake, &plan).unwrap();
    assert_eq!(changes(&store), Vec::<String>::new());
    // An old payload, and one of the same generation with other objects.
    let (fake, old) = node(&server, "n2", 1);
    stage(&fake, &old).unwrap();
    let (fake, other) = node(&server, "n2", 2);
    fake.put(paths::API_OBJECTS, "\n");
    assert_eq!(stage(&fake, &other).unwrap().len(), 1);
    assert_eq!(changes(&store), Vec::<String>::new());
    let (fake, new) = node(&server, "n2", 3);
    stage(&fake, &new).unwrap();
    assert_eq!(changes(&store).len(), 3);
    // What a kubelet made bare gets what it lacks.
    store.lock().unwrap().objects.insert(
        "/api/v1/nodes/n1".to_owned(),
        json!({"metadata": {"name": "n1", "resourceVersion": "9"}, "spec": {"taints": [{"key": "o", "effect": "NoExecute"}]}}),
    );
    stage(&fake, &new).unwrap();
    assert_eq!(changes(&store), ["PATCH /api/v1/nodes/n1"]);
    let node = store.lock().unwrap().objects["/api/v1/nodes/n1"].clone();
    assert_eq!((node["spec"]["taints"].as_array().unwrap().len(), &node["metadata"]["labels"]["x"]), (2, &json!("1")));
}

/// The definition of a kind and an object of it may follow each other: the kind is waited for. Without a namespace the
/// object goes where kubectl would put it.
#[test]
fn a_kind_that_is_served_late_is_waited_for() {
    const LATE: &str = r#"{"apply":{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"}}}
{"apply":{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"v","namespace":"team"}}}
"#;
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 1);
    fake.put(paths::API_OBJECTS, LATE);
    stage(&fake, &plan).unwrap();
    assert_eq!(
        changes(&store)[..2],
        [
            "PATCH /apis/example.com/v1/namespaces/default/widgets/w",
            "PATCH /apis/example.com/v1/namespaces/team/widgets/v",
        ]
    );
    // Asked until it was there, and not again.
    assert_eq!(store.lock().unwrap().asked, 3);
}

/// One that is never served is named, after the time that calls have.
#[test]
fn a_kind_that_is_never_served_is_named() {
    let (server, _) = new_server();
    let (fake, mut plan) = node(&server, "n1", 1);
    plan.class.timeouts.kubernetes_api_call = 5;
    fake.put(
        paths::API_OBJECTS,
        r#"{"apply":{"apiVersion":"other.example/v1","kind":"Gadget","metadata":{"name":"g"}}}"#,
    );
    let before = fake.clock.get();
    let error = format!("{:#}", stage(&fake, &plan).unwrap_err());
    assert!(error.contains("finding the kind of Gadget g"), "{error}");
    assert!((fake.clock.get() - before).as_secs() >= 5);
}

fn token(id: &str, owner: &str) -> String {
    let secret = json!({"apply": {
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {
            "name": format!("bootstrap-token-{id}"), "namespace": "kube-system",
            "labels": {"app.kubernetes.io/managed-by": "nodekiln"}, "annotations": {"nodekiln/token-owner": owner},
        },
    }});
    format!("{secret}\n")
}

/// The Secrets of tokens that are there.
fn tokens(store: &Shared) -> Vec<String> {
    let store = store.lock().unwrap();
    let names = store.objects.keys().filter_map(|path| path.split_once("/secrets/bootstrap-token-"));
    names.map(|(_, id)| id.to_owned()).collect()
}

/// Who is not planned any more loses his token when a later generation is applied; what others made is left alone, and
/// so is a token from before a renewal.
#[test]
fn tokens_of_who_is_not_planned_are_deleted() {
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 1);
    fake.put(paths::API_OBJECTS, &(token("aaaaaa", "pool-a") + &token("bbbbbb", "pool-b")));
    stage(&fake, &plan).unwrap();
    for (id, label, annotation, manager) in [
        // By hand, with our label.
        ("cccccc", "nodekiln", Some("pool-a"), ("kubectl", "Update")),
        ("dddddd", "nodekiln", None, ("nodekiln", "Apply")),
        ("eeeeee", "kubeadm", Some("pool-a"), ("nodekiln", "Apply")),
    ] {
        let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
        let mut object = json!({
            "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {
                "name": format!("bootstrap-token-{id}"), "namespace": "kube-system", "uid": id,
                "labels": {"app.kubernetes.io/managed-by": label},
                "managedFields": [{"manager": manager.0, "operation": manager.1}],
            },
        });
        if let Some(owner) = annotation {
            object["metadata"]["annotations"] = json!({"nodekiln/token-owner": owner});
        }
        store.lock().unwrap().objects.insert(path, object);
    }
    // Without a higher generation nothing is applied, and nothing deleted.
    let (fake, same) = node(&server, "n2", 1);
    fake.put(paths::API_OBJECTS, &token("bbbbbb", "pool-b"));
    stage(&fake, &same).unwrap();
    assert_eq!(tokens(&store), ["aaaaaa", "bbbbbb", "cccccc", "dddddd", "eeeeee"]);
    // Renewed: the pool that stays has a new token, and its old one.
    changes(&store);
    let (fake, new) = node(&server, "n2", 2);
    fake.put(paths::API_OBJECTS, &token("ffffff", "pool-b"));
    stage(&fake, &new).unwrap();
    assert_eq!(tokens(&store), ["bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff"]);
    assert_eq!(
        changes(&store),
        [
            "PATCH /api/v1/namespaces/kube-system/secrets/bootstrap-token-ffffff",
            "DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-aaaaaa",
            "PATCH /api/v1/namespaces/kube-system/configmaps/nodekiln",
        ]
    );
    // Nobody comes by token any more; killed before the deletion, it is done by the next run.
    let (fake, last) = node(&server, "n1", 3);
    fake.put(paths::API_OBJECTS, "\n");
    // The Lease is taken by an update of one that exists.
    store.lock().unwrap().lives = Some(1);
    stage(&fake, &last).unwrap_err();
    assert!(tokens(&store).contains(&"bbbbbb".to_owned()));
    store.lock().unwrap().lives = None;
    stage(&fake, &last).unwrap();
    assert_eq!(tokens(&store), ["cccccc", "dddddd", "eeeeee"]);
}

#[test]
fn steps_that_are_killed_at_any_write_end_the_same() {
    let objects = |store: &Shared| {
        let objects = store.lock().unwrap().objects.clone();
        objects
            .into_iter()
            .filter(|(path, _)| !path.contains("/leases"))
            .map(|(path, mut object)| {
                object["metadata"]["resourceVersion"] = json!(null);
                object["metadata"]["uid"] = json!(null);
                (path, object)
            })
            .collect::<Vec<_>>()
    };
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 1);
    stage(&fake, &plan).unwrap();
    let wanted = objects(&store);
    for n in 0..6 {
        let (server, store) = new_server();
        let (fake, plan) = node(&server, "n1", 1);
        store.lock().unwrap().lives = Some(n);
        let first = stage(&fake, &plan);
        assert!(first.is_err() || n >= 5, "killed before write {n}");
        store.lock().unwrap().lives = None;
        stage(&fake, &plan).unwrap();
        assert_eq!(objects(&store), wanted, "after a kill before write {n}");
    }
}

/// Others wait for it: one failure must not leave it with a node that is done.
#[test]
fn the_lease_is_given_back_over_failures() {
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 1);
    store.lock().unwrap().conflicts = 3;
    stage(&fake, &plan).unwrap();
    let store = store.lock().unwrap();
    let lease = &store.objects["/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/nodekiln"];
    assert_eq!((store.conflicts, &lease["spec"]["holderIdentity"]), (0, &json!(null)), "{lease}");
}

#[test]
fn a_lease_of_another_node_is_waited_for() {
    let (server, store) = new_server();
    let (fake, plan) = node(&server, "n1", 1);
    store.lock().unwrap().objects.insert(
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/nodekiln".to_owned(),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "nodekiln", "namespace": "kube-system", "resourceVersion": "5"},
            "spec": {"holderIdentity": "n2", "leaseDurationSeconds": 20}}),
    );
    let before = fake.clock.get();
    stage(&fake, &plan).unwrap();
    assert!((fake.clock.get() - before).as_secs() >= 20, "n2 had its time");
    assert!(fake.said.borrow().iter().any(|line| line.contains("which n2 holds")));
}
