//! kube-apiserver.

use super::{
    ClassSite, Site, arg, bootstrap, comma, encryption, etcd_access, image,
    static_pod::{Probes, StaticPod, ca_folders, host_path, volumes},
};
use crate::config::{Arg, Volume};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The port that all API servers of the cluster listen on: kubeadm's `bindPort`.
pub(crate) const PORT: u16 = 6443;

/// The modes that `--authorization-mode` knows.
const AUTHORIZATION_MODES: [&str; 6] = ["Node", "RBAC", "ABAC", "AlwaysAllow", "AlwaysDeny", "Webhook"];

/// The volumes that it has of itself.
pub(crate) fn own_volumes(site: &ClassSite) -> Vec<Volume> {
    let mut ours = vec![host_path("k8s-certs", &site.cluster.certificates_dir, "DirectoryOrCreate", true)];
    ours.extend(ca_folders(site));
    ours.extend(etcd_access::volumes(site, &ours));
    ours
}

/// `kube-apiserver.yaml`.
pub(crate) fn manifest(site: &Site) -> Value {
    let user = &site.cluster.api_server;
    let address = site.node.address();
    let pod = StaticPod {
        name: "kube-apiserver",
        image: image::component(site, "kube-apiserver"),
        command: command(site),
        requests: json!({"cpu": "250m"}),
        annotations: BTreeMap::from([(
            "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint",
            site.own_server().to_string(),
        )]),
        env: user.extra_envs.clone(),
        volumes: volumes(own_volumes(site), &user.extra_volumes),
        probes: Probes {
            scheme: "HTTPS",
            host: address.to_string(),
            port: PORT,
            liveness: "/livez",
            readiness: Some("/readyz"),
            startup: "/livez",
        },
    };
    pod.render(site)
}

fn command(site: &Site) -> Vec<String> {
    let cluster = site.cluster;
    let pki = |tail: &str| site.pki(tail).to_string();
    let etcd = etcd_access::access(site);
    let mut defaults = vec![
        ("advertise-address", site.node.address().to_string()),
        ("allow-privileged", "true".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("enable-bootstrap-token-auth", "true".to_owned()),
        // Not kubeadm's: Secrets are encrypted at rest from the first write on.
        ("encryption-provider-config", encryption::path(site).to_string()),
        ("etcd-servers", comma(&etcd.endpoints)),
        ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname".to_owned()),
        ("proxy-client-cert-file", pki("front-proxy-client.crt")),
        ("proxy-client-key-file", pki("front-proxy-client.key")),
        ("requestheader-allowed-names", "front-proxy-client".to_owned()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("secure-port", PORT.to_string()),
        ("service-account-issuer", format!("https://kubernetes.default.svc.{}", cluster.networking.dns_domain)),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", comma(&cluster.networking.services)),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
    ];
    for (name, file) in [("etcd-cafile", etcd.ca), ("etcd-certfile", etcd.cert), ("etcd-keyfile", etcd.key)] {
        defaults.extend(file.map(|file| (name, file.to_string())));
    }
    // Not kubeadm's: every kubelet's serving certificate is signed by the cluster CA, so it can be verified; but nobody
    // signs those of kubelets that come by token.
    if !bootstrap::is_used(cluster) {
        defaults.push(("kubelet-certificate-authority", pki("ca.crt")));
    }
    let user = authorization(&cluster.api_server.extra_args);
    // The two exclude each other in kube-apiserver.
    if arg::last(&user, "authorization-config").is_some() {
        defaults.retain(|(name, _)| *name != "authorization-mode");
    }
    let mut command = vec!["kube-apiserver".to_owned()];
    command.extend(arg::arguments(&defaults, &user, site.release));
    command
}

/// The user's arguments with unknown authorization modes dropped, and the argument with them when none is left
/// (kubeadm's `getAuthzModes`).
fn authorization(args: &[Arg]) -> Vec<Arg> {
    let valid = |arg: &Arg| {
        if arg.name != "authorization-mode" {
            return Some(arg.clone());
        }
        let modes: Vec<_> = arg.value.split(',').map(str::trim).filter(|m| AUTHORIZATION_MODES.contains(m)).collect();
        (!modes.is_empty()).then(|| Arg { name: arg.name.clone(), value: modes.join(",") })
    };
    args.iter().filter_map(valid).collect()
}
