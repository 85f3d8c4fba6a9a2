//! etcd: the static pod, a template that firstboot completes, and what firstboot knows of the members.

use super::{
    ClassSite, MANIFESTS_DIR, Site, apiserver, arg, constant, image, mount,
    static_pod::{Probes, StaticPod, host_path, volumes},
    url,
};
use crate::config::{LoadBalancer, Node};
use nodekiln_plan::{Endpoint, EtcdMember, EtcdPlan, Role};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// For clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Between members.
pub(crate) const PEER_PORT: u16 = 2380;
/// For probes and metrics, on the loopback.
const METRICS_PORT: u16 = 2381;
/// firstboot's statement, from before etcd starts until all members have met.
pub(crate) const STATEMENT_PORT: u16 = 2382;

/// The arguments that firstboot decides: the template does not have them, and a user may not give them.
pub(crate) const DECIDED: [&str; 3] = ["initial-cluster", "initial-cluster-state", "initial-cluster-token"];

/// `etcd.yaml`, without the arguments of [`DECIDED`].
pub(crate) fn manifest(site: &Site) -> Value {
    let etcd = &site.cluster.etcd;
    let address = site.node.address();
    let ours = vec![
        host_path("etcd-data", &etcd.data_dir, "DirectoryOrCreate", false),
        host_path("etcd-certs", &site.pki("etcd"), "DirectoryOrCreate", false),
    ];
    let pod = StaticPod {
        name: "etcd",
        image: image::etcd(site),
        command: command(site),
        requests: json!({"cpu": "100m", "memory": "100Mi"}),
        annotations: BTreeMap::from([(
            "kubeadm.kubernetes.io/etcd.advertise-client-urls",
            url("https", address, CLIENT_PORT),
        )]),
        env: etcd.extra_envs.clone(),
        volumes: volumes(ours, &[]),
        probes: probes(site),
    };
    pod.render(site)
}

fn command(site: &Site) -> Vec<String> {
    let etcd = &site.cluster.etcd;
    let address = site.node.address();
    let pki = |tail: &str| site.pki(tail).to_string();
    let peers = url("https", address, PEER_PORT);
    let client = url("https", address, CLIENT_PORT);
    let mut defaults = vec![
        ("advertise-client-urls", client.clone()),
        ("cert-file", pki("etcd/server.crt")),
        ("client-cert-auth", "true".to_owned()),
        ("data-dir", etcd.data_dir.to_string()),
        ("initial-advertise-peer-urls", peers.clone()),
        ("key-file", pki("etcd/server.key")),
        ("listen-client-urls", format!("{},{client}", url("https", site.loopback(), CLIENT_PORT))),
        ("listen-metrics-urls", url("http", site.loopback(), METRICS_PORT)),
        ("listen-peer-urls", peers),
        ("name", site.node.name.to_string()),
        ("peer-cert-file", pki("etcd/peer.crt")),
        ("peer-client-cert-auth", "true".to_owned()),
        ("peer-key-file", pki("etcd/peer.key")),
        ("peer-trusted-ca-file", pki("etcd/ca.crt")),
        ("snapshot-count", "10000".to_owned()),
        ("trusted-ca-file", pki("etcd/ca.crt")),
    ];
    if site.release.etcd_feature_gates(image::etcd_tag(site)) {
        defaults.push(("feature-gates", "InitialCorruptCheck=true".to_owned()));
        defaults.push(("watch-progress-notify-interval", "5s".to_owned()));
    } else {
        defaults.push(("experimental-initial-corrupt-check", "true".to_owned()));
        defaults.push(("experimental-watch-progress-notify-interval", "5s".to_owned()));
    }
    let mut command = vec!["etcd".to_owned()];
    command.extend(arg::arguments(&defaults, &etcd.extra_args, site.release));
    command
}

/// Where a `listen-metrics-urls` of the user's moves the metrics, the probes follow: its first URL (kubeadm's
/// `GetEtcdProbeEndpoint`).
fn probes(site: &Site) -> Probes {
    let moved = arg::last(&site.cluster.etcd.extra_args, "listen-metrics-urls").and_then(metrics_url);
    let (scheme, host, port) = moved.unwrap_or_else(|| ("HTTP", site.loopback().to_string(), METRICS_PORT));
    Probes { scheme, host, port, liveness: "/livez", readiness: Some("/readyz"), startup: "/readyz" }
}

fn metrics_url(urls: &str) -> Option<(&'static str, String, u16)> {
    let (scheme, rest) = urls.split(',').next()?.trim().split_once("://")?;
    let scheme = if scheme == "https" { "HTTPS" } else { "HTTP" };
    let (host, port) = nodekiln_plan::Endpoint::parse_host_port(rest.trim_end_matches('/')).ok()?;
    Some((scheme, host.to_string(), port.unwrap_or(METRICS_PORT)))
}

/// Where this cluster's API servers answer. A balancer of each node's own does not run yet when firstboot asks.
fn api_servers(site: &ClassSite) -> Vec<Endpoint> {
    match site.cluster.load_balancer {
        LoadBalancer::Local => site
            .cluster
            .with_role(Role::ControlPlane)
            .map(|node| Endpoint::at(node.address(), apiserver::PORT))
            .collect(),
        LoadBalancer::External | LoadBalancer::None | LoadBalancer::KubeVip(_) => vec![site.cluster.endpoint.clone()],
    }
}

/// What firstboot knows of etcd.
pub(crate) fn plan(site: &Site) -> EtcdPlan {
    let member = |node: &Node| EtcdMember { name: node.name.clone(), address: node.address() };
    EtcdPlan {
        members: site.cluster.etcd_members().map(member).collect(),
        data_dir: site.cluster.etcd.data_dir.clone(),
        manifest: super::below(&constant(MANIFESTS_DIR), "etcd.yaml"),
        client_port: CLIENT_PORT,
        peer_port: PEER_PORT,
        statement_port: STATEMENT_PORT,
        ca: site.pki("etcd/ca.crt"),
        peer_cert: site.pki("etcd/peer.crt"),
        peer_key: site.pki("etcd/peer.key"),
        client_cert: site.pki("etcd/healthcheck-client.crt"),
        client_key: site.pki("etcd/healthcheck-client.key"),
        api_servers: api_servers(site),
        api_ca: site.pki("ca.crt"),
        replaces: site
            .node
            .replaces
            .as_ref()
            .map(|dead| EtcdMember { name: dead.name.clone(), address: dead.address.unwrap_or(site.node.address()) }),
        mount: mount::of(site, &site.cluster.etcd.data_dir),
    }
}
