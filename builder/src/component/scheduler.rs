//! kube-scheduler.

use super::{
    ClassSite, arg, constant, image,
    static_pod::{Probes, StaticPod, host_path, volumes},
};
use crate::config::Volume;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Its kubeconfig.
pub(crate) const KUBECONFIG: &str = "/etc/kubernetes/scheduler.conf";
/// Its port.
pub(crate) const PORT: u16 = 10259;

/// The volumes that it has of itself.
pub(crate) fn own_volumes() -> Vec<Volume> {
    vec![host_path("kubeconfig", &constant(KUBECONFIG), "FileOrCreate", true)]
}

/// `kube-scheduler.yaml`.
pub(crate) fn manifest(site: &ClassSite) -> Value {
    let user = &site.cluster.scheduler;
    let defaults = [
        ("authentication-kubeconfig", KUBECONFIG.to_owned()),
        ("authorization-kubeconfig", KUBECONFIG.to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("kubeconfig", KUBECONFIG.to_owned()),
        ("leader-elect", "true".to_owned()),
    ];
    let mut command = vec!["kube-scheduler".to_owned()];
    command.extend(arg::arguments(&defaults, &user.extra_args, site.release));
    let pod = StaticPod {
        name: "kube-scheduler",
        image: image::component(site, "kube-scheduler"),
        command,
        requests: json!({"cpu": "100m"}),
        annotations: BTreeMap::new(),
        env: user.extra_envs.clone(),
        volumes: volumes(own_volumes(), &user.extra_volumes),
        probes: Probes {
            scheme: "HTTPS",
            host: arg::last(&user.extra_args, "bind-address").unwrap_or("127.0.0.1").to_owned(),
            port: PORT,
            liveness: "/livez",
            readiness: Some("/readyz"),
            startup: "/livez",
        },
    };
    pod.render(site)
}
