//! The kubelet: its configuration, kubeconfig, unit, and what firstboot knows of it.

use super::{
    ClassSite, MANIFESTS_DIR, NAMESPACE, Site, arg, bootstrap, comma, constant, containerd, feature_gates, image,
    merge, standalone,
    systemd::{UnitFile, command},
};
use crate::{
    config::{Fragment, Node},
    draft::Part,
    pki::kubeconfig::{self, Credentials},
    release::Behaviour,
};
use nodekiln_payload::{Dropin, Format, Unit, UnitState};
use nodekiln_plan::{AbsPath, Cidr, ClusterName, Endpoint, KubeletPlan, Role, UnitName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `--config`. JSON under kubeadm's name.
pub(crate) const CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// kubeadm's `instance-config.yaml`.
pub(crate) const INSTANCE_CONFIG: &str = "/var/lib/kubelet/instance-config.yaml";
/// `--kubeconfig`.
pub(crate) const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
/// Where the kubelet's certificate manager keeps the newest client certificate and its key: `--cert-dir`'s default.
pub(crate) const CLIENT_PEM: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
/// Serving certificate.
pub(crate) const SERVING_CERT: &str = "/var/lib/kubelet/pki/kubelet.crt";
/// Its key.
pub(crate) const SERVING_KEY: &str = "/var/lib/kubelet/pki/kubelet.key";
/// Its unit.
pub(crate) const UNIT: &str = "kubelet.service";
/// The user in the `kubelet.conf` that a kubelet writes when it has joined.
const JOINED_USER: &str = "default-auth";
/// Its own folder.
const ROOT_DIR: &str = "/var/lib/kubelet";

/// Arguments that would take the node's identity or configuration from under nodekiln.
pub(crate) const OWNED_ARGS: [&str; 6] =
    ["bootstrap-kubeconfig", "cert-dir", "config", "config-dir", "hostname-override", "kubeconfig"];

/// Where volume plugins go on a machine whose /usr is read-only: kubeadm#2031.
pub(crate) fn volume_plugin_dir(site: &ClassSite) -> Option<AbsPath> {
    let usr = constant("/usr");
    let sealed = site.class.os.profile.read_only.iter().any(|folder| usr.is_within(folder));
    sealed.then(|| constant("/var/lib/kubelet/volumeplugins"))
}

/// The KubeletConfiguration that is the same on all nodes: kubeadm's defaults, `fragment` over them, and over both what
/// nodekiln owns.
fn base(site: &ClassSite, fragment: &Fragment) -> Value {
    let mut config = json!({
        "cgroupDriver": "systemd",
        "clusterDomain": site.cluster.networking.dns_domain,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
    });
    if let Some(dns) = dns_address(site) {
        config["clusterDNS"] = json!([dns]);
    }
    merge(&mut config, &Value::Object(fragment.clone()));
    merge(
        &mut config,
        &json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": site.pki("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "rotateCertificates": true,
            "staticPodPath": MANIFESTS_DIR,
        }),
    );
    config
}

/// The Service address of the cluster's DNS: host 10 of the first service network, in dual stack too.
pub(crate) fn dns_address(site: &ClassSite) -> Option<std::net::IpAddr> {
    site.cluster.networking.services.first().and_then(|network| network.host(10))
}

/// This node's KubeletConfiguration.
pub(crate) fn config(site: &ClassSite) -> Value {
    let class = site.class;
    if !site.is_node() {
        return standalone::config(site);
    }
    let mut fragment = json!({"resolvConf": class.os.profile.resolv_conf});
    if let Some(folder) = volume_plugin_dir(site) {
        fragment["volumePluginDir"] = json!(folder);
    }
    if class.kernel.swap {
        fragment["failSwapOn"] = json!(false);
    }
    merge(&mut fragment, &Value::Object(Fragment::clone(&class.kubelet)));
    let mut config = base(site, &fragment.as_object().cloned().unwrap_or_default());
    // Without these the kubelet signs a certificate of its own when it starts.
    if site.is_baked() {
        merge(&mut config, &json!({"tlsCertFile": SERVING_CERT, "tlsPrivateKeyFile": SERVING_KEY}));
    }
    if feature_gates::instance_config(site) {
        merge(&mut config, &instance_config());
    }
    // Also in the API steps: this way a Node that was deleted does not come back bare. An empty list, too, is a choice.
    config["registerWithTaints"] = json!(*class.taints);
    config
}

/// kubeadm's file of what is this machine's own: it lays it over the cluster's configuration when it upgrades a node.
pub(crate) fn instance_config() -> Value {
    json!({"containerRuntimeEndpoint": containerd::ENDPOINT})
}

/// The ConfigMap `kubelet-config`, from which `kubeadm join` and `kubeadm upgrade` read: without what is a node's own.
pub(crate) fn config_map(site: &ClassSite) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubelet-config", "namespace": NAMESPACE},
        "data": {"kubelet": super::pretty(&base(site, &site.cluster.kubelet))},
    })
}

/// The API server that this node's kubelet talks to: its own, or the one that all nodes are told.
pub(crate) fn server(site: &Site) -> Endpoint {
    match site.class.role {
        Role::ControlPlane => site.own_server(),
        Role::Worker | Role::Etcd => site.endpoint(),
    }
}

/// `kubelet.conf` of a control plane, whose user is called as `kubeadm init` calls it.
pub(crate) fn own_kubeconfig(site: &Site) -> Vec<Part> {
    kubeconfig(&site.cluster.name, &format!("system:node:{}", site.node.name), &site.own_server())
}

/// `kubelet.conf` of workers, which they share: its user is called as the kubelet itself does after `kubeadm join`, and who
/// the kubelet is stands in its certificate.
pub(crate) fn joined_kubeconfig(site: &ClassSite) -> Vec<Part> {
    kubeconfig(&site.cluster.name, JOINED_USER, &site.endpoint())
}

/// It names the certificate manager's file from the start, so the first rotation is no special case.
fn kubeconfig(cluster: &ClusterName, user: &str, server: &Endpoint) -> Vec<Part> {
    kubeconfig::template(cluster, user, server, Credentials::File(constant(CLIENT_PEM)))
}

/// The program.
pub(crate) fn binary(site: &ClassSite) -> AbsPath {
    containerd::place(site, &site.class.binaries.kubelet, "kubelet")
}

/// Arguments that are the same on all nodes of a class.
fn class_arguments(site: &ClassSite) -> Vec<(&'static str, String)> {
    let mut defaults = vec![("config", CONFIG.to_owned())];
    // Without a kubeconfig the kubelet runs static pods and nothing else.
    if site.is_node() {
        defaults.push(("kubeconfig", KUBECONFIG.to_owned()));
        if !site.is_baked() {
            defaults.push(("bootstrap-kubeconfig", bootstrap::path().to_string()));
        }
    }
    if site.is_node() && !feature_gates::instance_config(site) {
        defaults.push(("container-runtime-endpoint", containerd::ENDPOINT.to_owned()));
    }
    if site.kubelet.has(Behaviour::PodInfraContainerImage) {
        defaults.push(("pod-infra-container-image", image::pause(site)));
    }
    defaults
}

/// Arguments that are the node's own.
fn own_arguments(site: &Site) -> Vec<(&'static str, String)> {
    let node = site.node;
    let mut defaults = Vec::with_capacity(3);
    if site.is_machine() {
        defaults.push(("hostname-override", node.name.to_string()));
    }
    defaults.extend(node_ip(site).map(|address| ("node-ip", address)));
    let labels: Vec<_> = node.labels.iter().filter(|(key, _)| label_is_free(key)).collect();
    if !labels.is_empty() && site.is_node() {
        defaults.push(("node-labels", comma(labels.iter().map(|(key, value)| format!("{key}={value}")))));
    }
    defaults
}

/// The addresses that the kubelet registers. Where they are not known, as in a pool, it takes the one of its default route,
/// an IPv4 address if there is one: `::` makes it an IPv6 address in a cluster whose first family that is. It cannot be
/// told to take one of each.
fn node_ip(site: &Site) -> Option<String> {
    if !site.node.addresses.is_empty() {
        return Some(comma(&site.node.addresses));
    }
    let is_ipv6 = site.cluster.networking.services.first().is_some_and(Cidr::is_ipv6);
    is_ipv6.then(|| "::".to_owned())
}

/// Whether a kubelet may give itself this label: its own check of `--node-labels` and the admission plugin
/// NodeRestriction agree on it.
pub(crate) fn label_is_free(key: &str) -> bool {
    const KNOWN: [&str; 11] = [
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    ];
    let Some((namespace, _)) = key.split_once('/') else { return true };
    let is_within =
        |domain: &str| namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !is_within("kubernetes.io") && !is_within("k8s.io") {
        return true;
    }
    KNOWN.contains(&key) || is_within("kubelet.kubernetes.io") || is_within("node.kubernetes.io")
}

/// `kubelet.service`, whole but for its text: where the image has one, ours in /etc wins. firstboot starts it, nothing
/// else does.
pub(crate) fn unit() -> Unit {
    // A drop-in below /usr/lib counts for our unit too. kubeadm's packages have one with a command line of its own; one of
    // the same name in /etc takes its place.
    let shadow = "# In place of the drop-in of kubeadm's packages: kubelet.service says all.\n[Service]\n".to_owned();
    let dropins = vec![Dropin { name: "10-kubeadm.conf".to_owned(), contents: shadow }];
    Unit { name: name(UNIT), state: UnitState::Disabled, contents: None, dropins }
}

/// The unit's text, but for the arguments that are each node's own.
#[derive(Debug, Clone)]
pub(crate) struct UnitText {
    before: String,
    arguments: Vec<(&'static str, String)>,
    after: String,
}

impl UnitText {
    /// That of a class, where firstboot is at `firstboot`.
    pub fn of_class(site: &ClassSite, firstboot: &AbsPath) -> Self {
        let containerd = site.class.os.profile.containerd_unit.as_str();
        let resolver = resolver(site).map(|script| format!("-{}", command("/bin/sh", ["-c", &script])));
        let before = UnitFile::default()
            .section("Unit")
            .set("Description", "Kubernetes kubelet")
            .set("Documentation", "https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/")
            .units("Wants", ["network-online.target", containerd])
            .units("After", ["network-online.target", containerd, super::firstboot::UNIT])
            .set("StartLimitIntervalSec", "0")
            .section("Service")
            // Runs at every restart too: a kubelet must not start etcd over a data directory that lost its log.
            .set("ExecStartPre", &command(firstboot.as_str(), ["gate"]))
            .each("ExecStartPre", resolver);
        let after = UnitFile::default().set("Restart", "always").set("RestartSec", "5");
        Self { before: before.render(), arguments: class_arguments(site), after: after.render() }
    }

    /// That of one of its nodes.
    pub fn of_node(&self, site: &Site) -> String {
        let own = own_arguments(site);
        let defaults: Vec<_> = self.arguments.iter().chain(&own).map(|(name, value)| (*name, value.as_str())).collect();
        let arguments = arg::arguments(&defaults, &site.node.kubelet_extra_args, site.kubelet);
        let command = command(binary(site).as_str(), arguments);
        [&self.before, "ExecStart=", &command, "\n", &self.after].concat()
    }
}

/// Some of the systems under cloud-init run no systemd-resolved, and pods do not start without the file that it writes.
/// kubeadm looks for the service on the machine; here the file leads to the system's own unless it is there.
fn resolver(site: &ClassSite) -> Option<String> {
    let profile = site.class.os.profile;
    if profile.format != Format::CloudInit || site.class.kubelet.contains_key("resolvConf") {
        return None;
    }
    let file = &profile.resolv_conf;
    let folder = file.parent()?;
    Some(format!("test -e {file} || {{ mkdir -p {folder} && ln -sf /etc/resolv.conf {file}; }}"))
}

fn name(unit: &str) -> UnitName {
    unit.parse().expect("a unit name of ours")
}

/// What firstboot knows of it, without the server that it talks to.
pub(crate) fn plan(site: &ClassSite, config: &Value) -> KubeletPlan {
    KubeletPlan {
        unit: name(UNIT),
        binary: binary(site),
        after: vec![site.class.os.profile.containerd_unit.clone()],
        healthz: healthz(config),
        root_dir: constant(ROOT_DIR),
        static_pods: constant(MANIFESTS_DIR),
        ca: site.pki("ca.crt"),
        client_certificate: constant(CLIENT_PEM),
    }
}

fn healthz(config: &Value) -> String {
    let host = config["healthzBindAddress"].as_str().and_then(|text| text.parse().ok());
    let port = config["healthzPort"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(10248);
    let host = match host {
        // A wildcard is bound, not called.
        Some(std::net::IpAddr::V4(v4)) if !v4.is_unspecified() => v4.into(),
        Some(std::net::IpAddr::V6(v6)) if !v6.is_unspecified() => v6.into(),
        Some(std::net::IpAddr::V6(_)) => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => std::net::Ipv4Addr::LOCALHOST.into(),
    };
    format!("{}/healthz", super::url("http", host, port))
}

/// The port of the kubelet's API, for preflight.
pub(crate) fn port(config: &Value) -> u16 {
    config["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(10250)
}

/// The labels and the role's labels that the API steps give this node: those it may not give itself, and the free ones
/// too, since a kubelet labels only a Node that it makes itself.
pub(crate) fn api_labels(node: &Node) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::clone(&node.labels);
    if node.role == Role::ControlPlane {
        for key in ["node-role.kubernetes.io/control-plane", "node.kubernetes.io/exclude-from-external-load-balancers"]
        {
            labels.entry(key.to_owned()).or_default();
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_kubelet_may_set() {
        for (key, free) in [
            ("pool", true),
            ("example.com/a", true),
            ("notkubernetes.io/a", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/anything", true),
            ("x.kubelet.kubernetes.io/a", true),
            ("node-role.kubernetes.io/edge", false),
            ("node-restriction.kubernetes.io/a", false),
            ("kubernetes.io/other", false),
            ("a.k8s.io/b", false),
        ] {
            assert_eq!(label_is_free(key), free, "{key}");
        }
    }

    #[test]
    fn healthz_follows_the_configuration() {
        for (config, want) in [
            (json!({}), "http://127.0.0.1:10248/healthz"),
            (json!({"healthzBindAddress": "::1", "healthzPort": 1}), "http://[::1]:1/healthz"),
            (json!({"healthzBindAddress": "0.0.0.0"}), "http://127.0.0.1:10248/healthz"),
            (json!({"healthzBindAddress": "::"}), "http://[::1]:10248/healthz"),
        ] {
            assert_eq!(healthz(&config), want);
        }
    }
}
