//! A small API server: objects in memory, enough of the protocol for the steps of the stage `api`.

use super::pki::Pki;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

/// Objects by path, and every change in order.
#[derive(Default)]
pub struct Store {
    /// By the path of their URL.
    pub objects: BTreeMap<String, Value>,
    /// `METHOD path`.
    pub log: Vec<String>,
    /// Changes left until the server stops answering; none: it does not.
    pub lives: Option<u32>,
    /// How often `/apis/example.com/v1` was asked for.
    pub asked: u32,
    /// Lease updates that meet another writer, from now on.
    pub conflicts: u32,
    version: u64,
}

pub type Shared = Arc<Mutex<Store>>;

/// Serves over TLS, and asks for a certificate of the same CA.
pub fn start(pki: &Pki) -> (SocketAddr, Shared) {
    let tls = crate::tls::server(pki.ca.as_bytes(), pki.cert.as_bytes(), pki.key.as_bytes()).unwrap();
    let store = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(&store);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&tls));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let shared = Arc::clone(&shared);
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let (code, value) = answer(&shared, &parts.method, &parts.uri, &body);
                            let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
                            *response.status_mut() = StatusCode::from_u16(code).unwrap();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    (address, store)
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": reason, "metadata": {}}),
    )
}

fn kinds(path: &str) -> Option<Value> {
    let list = |version: &str, kinds: &[(&str, &str, bool)]| {
        let resources: Vec<Value> = kinds
            .iter()
            .map(|(plural, kind, namespaced)| {
                json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind,
                    "verbs": ["get", "patch", "create"]})
            })
            .collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
    };
    match path {
        "/api/v1" => Some(list(
            "v1",
            &[("configmaps", "ConfigMap", true), ("nodes", "Node", false), ("secrets", "Secret", true)],
        )),
        "/apis/rbac.authorization.k8s.io/v1" => {
            Some(list("rbac.authorization.k8s.io/v1", &[("clusterroles", "ClusterRole", false)]))
        }
        _ => None,
    }
}

/// A group that comes to be served as one whose definition was just applied: not at all, then without the kind, then whole.
fn late_kinds(asked: u32) -> (u16, Value) {
    let widgets =
        json!({"name": "widgets", "singularName": "widget", "namespaced": true, "kind": "Widget", "verbs": ["patch"]});
    let resources = match asked {
        1 => return failure(404, "NotFound"),
        2 => json!([]),
        _ => json!([widgets]),
    };
    (
        200,
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1", "resources": resources}),
    )
}

/// The Secrets that a list asks for by label and type.
fn secrets(store: &Store, query: &str) -> Value {
    assert_eq!(
        query,
        "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dnodekiln"
    );
    let is_listed = |object: &&Value| {
        object["kind"] == "Secret"
            && object["type"] == "bootstrap.kubernetes.io/token"
            && object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "nodekiln"
    };
    let items: Vec<_> =
        store.objects.values().filter(is_listed).map(|found| json!({"metadata": found["metadata"]})).collect();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
}

fn answer(store: &Shared, method: &Method, uri: &http::Uri, body: &[u8]) -> (u16, Value) {
    let path = uri.path();
    let mut store = store.lock().unwrap();
    if let Some(kinds) = kinds(path) {
        return (200, kinds);
    }
    if path == "/apis/example.com/v1" {
        store.asked += 1;
        return late_kinds(store.asked);
    }
    if *method == Method::GET && path == "/api/v1/namespaces/kube-system/secrets" {
        return (200, secrets(&store, uri.query().unwrap_or_default()));
    }
    if *method == Method::GET {
        return store.objects.get(path).map_or_else(|| failure(404, "NotFound"), |object| (200, object.clone()));
    }
    match &mut store.lives {
        Some(0) => return failure(422, "dead"),
        Some(left) => *left -= 1,
        None => {}
    }
    if *method == Method::PUT && path.contains("/leases/") && store.conflicts > 0 {
        store.conflicts -= 1;
        return failure(409, "Conflict");
    }
    let sent: Value = serde_json::from_slice(body).unwrap();
    if *method == Method::DELETE {
        let Some(known) = store.objects.get(path) else { return failure(404, "NotFound") };
        if sent["preconditions"]["uid"] != known["metadata"]["uid"] {
            return failure(409, "Conflict");
        }
        store.objects.remove(path);
        store.log.push(format!("{method} {path}"));
        return (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}));
    }
    let name = sent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = if *method == Method::POST { format!("{path}/{name}") } else { path.to_owned() };
    let known = store.objects.get(&key).cloned();
    if *method == Method::POST && known.is_some() {
        return failure(409, "AlreadyExists");
    }
    if let (Some(version), Some(known)) = (sent["metadata"]["resourceVersion"].as_str(), &known)
        && known["metadata"]["resourceVersion"] != version
    {
        return failure(409, "Conflict");
    }
    store.log.push(format!("{method} {key}"));
    store.version += 1;
    let mut object = known.unwrap_or_else(|| json!({}));
    if *method == Method::PUT {
        object = sent
    } else {
        merge(&mut object, &sent)
    }
    object["metadata"]["resourceVersion"] = json!(store.version.to_string());
    if let Some(manager) = uri.query().and_then(|query| query.split('&').find_map(|q| q.strip_prefix("fieldManager=")))
    {
        object["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Apply"}]);
    }
    if object["metadata"]["uid"].is_null() {
        object["metadata"]["uid"] = json!(format!("uid-{}", store.version));
    }
    store.objects.insert(key, object.clone());
    (if *method == Method::POST { 201 } else { 200 }, object)
}

/// RFC 7386, without removals.
fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}
