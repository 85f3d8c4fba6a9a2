//! `loadBalancer: local`: a haproxy on every node that knows all API servers, so that no balancer outside is needed.
//!
//! A static pod with a file of its own: it runs before there is an API server to ask for anything, and forwards the
//! connection as it is, so that client and server authenticate each other through it.

use super::{ClassSite, apiserver, constant, image, static_pod, system};
use crate::release::Addon;
use nodekiln_plan::{AbsPath, Endpoint, Role};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Its port on the loopback.
pub(crate) const PORT: u16 = 7443;
/// Its configuration.
pub(crate) const CONFIG: &str = "/etc/nodekiln/haproxy.cfg";
/// Name of the pod and of its container.
pub(crate) const NAME: &str = "haproxy";

/// Where clients on a node reach it.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint::at(Ipv4Addr::LOCALHOST.into(), PORT)
}

/// Its path.
pub(crate) fn config_path() -> AbsPath {
    constant(CONFIG)
}

/// `haproxy.cfg`.
///
/// A server is taken while its `/readyz` answers 200, which anybody may ask. The check does not verify its certificate:
/// whoever answers in its place gets a connection that its clients break off. Connections to a server that fails are
/// ended, so that watches move on at once; those that live may be idle for as long as `kubectl exec` may.
pub(crate) fn config(site: &ClassSite) -> String {
    let mut text = String::from(
        "global
    log stdout format raw daemon notice
    maxconn 4096

defaults
    mode tcp
    log global
    option dontlognull
    option redispatch
    timeout connect 5s
    timeout check 5s
    timeout client 4h
    timeout server 4h

frontend kubernetes
",
    );
    let mut binds = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)];
    if system::families(site).ipv6 {
        binds.push(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), PORT));
    }
    for bind in binds {
        let _ = writeln!(text, "    bind {bind}");
    }
    text.push_str(
        "    default_backend api-servers

backend api-servers
    balance leastconn
    option httpchk
    http-check send meth GET uri /readyz
    http-check expect status 200
    default-server check check-ssl verify none inter 3s fastinter 1s downinter 1s fall 3 rise 1 on-marked-down shutdown-sessions
",
    );
    for node in site.cluster.with_role(Role::ControlPlane) {
        let _ = writeln!(text, "    server {} {}", node.name, SocketAddr::new(node.address(), apiserver::PORT));
    }
    text
}

/// `haproxy.yaml`.
pub(crate) fn manifest(site: &ClassSite) -> Value {
    let container = json!({
        "name": NAME,
        "image": image::addon(site, Addon::Haproxy),
        "imagePullPolicy": "IfNotPresent",
        "command": ["haproxy", "-db", "-f", CONFIG],
        "livenessProbe": {
            "tcpSocket": {"host": Ipv4Addr::LOCALHOST.to_string(), "port": PORT},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [{"name": "config", "mountPath": CONFIG, "readOnly": true}],
    });
    let volumes = json!([{"name": "config", "hostPath": {"path": CONFIG, "type": "File"}}]);
    static_pod::pod(site, json!({"component": NAME}), NAME, &container, &volumes)
}
