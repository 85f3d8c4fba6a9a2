//! The shapes that a cluster may have: what they have in common, and what each of them does not have.

use super::*;
use nodekiln_plan::EtcdMember;
use std::collections::BTreeSet;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("cp{number}")).collect()
}

fn stacked(count: usize) -> Cluster {
    let names = names(count);
    cluster("flatcar", &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Five control planes with a member each.
pub(super) fn five() -> Cluster {
    stacked(5)
}

/// Two control planes, three nodes that run etcd alone.
pub(super) fn etcd_nodes() -> Cluster {
    let mut cluster = cluster("flatcar", &["cp1", "cp2"]);
    for (index, name) in ["e1", "e2", "e3"].iter().enumerate() {
        let address = format!("10.0.0.{}", 31 + index).parse().unwrap();
        cluster.nodes.push(node("flatcar", name, Role::Etcd, address));
    }
    cluster
}

/// An etcd that somebody else runs: the CA's certificate comes with the build, the pair with the machine image.
pub(super) fn external() -> Cluster {
    let mut cluster = cluster("cloud-init", &["cp1"]);
    cluster.external_etcd = Some(ExternalEtcd {
        endpoints: vec!["https://10.9.0.1:2379".to_owned(), "https://10.9.0.2:2379".to_owned()],
        ca: Some(NodeFile::Input(input("etcd-ca.crt", b"CA"))),
        cert: Some(NodeFile::Image("/etc/etcd-client/tls.crt".parse().unwrap())),
        key: Some(NodeFile::Image("/etc/etcd-client/private/tls.key".parse().unwrap())),
    });
    cluster
}

/// Dual stack whose first family is IPv6.
pub(super) fn ipv6_first() -> Cluster {
    let mut cluster = dual_stack();
    cluster.networking.pods.reverse();
    cluster.networking.services.reverse();
    cluster.endpoint = "[2001:db8::10]:6443".parse().unwrap();
    for node in &mut cluster.nodes {
        node.addresses.reverse();
        node.pod_cidrs.reverse();
    }
    cluster
}

/// No IPv4 at all.
pub(super) fn ipv6_only() -> Cluster {
    let mut cluster = cluster("flatcar", &["cp1", "cp2", "cp3"]);
    cluster.networking.pods = vec!["fd00:10:244::/56".parse().unwrap()];
    cluster.networking.services = vec!["fd00:10:96::/112".parse().unwrap()];
    cluster.endpoint = "[2001:db8::10]:6443".parse().unwrap();
    cluster.cni = Cni::Bridge;
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.addresses = vec![format!("2001:db8::{}", 11 + index).parse().unwrap()];
        node.pod_cidrs = vec![cluster.networking.pods[0].subnet(64, index as u128).unwrap()];
    }
    cluster
}

/// A pool whose token ends, and a node of its own name that comes by a token without end.
pub(super) fn pools() -> Cluster {
    let mut cluster = cluster("cloud-init", &["cp1"]);
    let mut edge = node("cloud-init", "edge", Role::Worker, "10.0.0.99".parse().unwrap());
    edge.kind = NodeKind::Pool;
    edge.addresses = vec![];
    edge.identity = NodeIdentity::BootstrapToken { ttl: Some(30 * 24 * 3600) };
    *edge.labels = [("pool".to_owned(), "edge".to_owned())].into();
    *edge.taints = vec!["edge=yes:NoSchedule".parse().unwrap()];
    cluster.pools = vec![edge];
    cluster.nodes[1].identity = NodeIdentity::BootstrapToken { ttl: None };
    cluster
}

/// One of each.
pub(super) fn all() -> Vec<Cluster> {
    vec![five(), etcd_nodes(), external(), ipv6_first(), ipv6_only(), pools()]
}

fn paths(draft: &NodeDraft) -> BTreeSet<&str> {
    draft.all_files().into_iter().map(|file| file.path.as_str()).collect()
}

fn members(draft: &NodeDraft) -> Vec<String> {
    let plan = draft.spec.etcd.as_ref().unwrap();
    plan.members.iter().map(|member| format!("{}={}", member.name, member.address)).collect()
}

/// No member is the first: every one has the same list, in the same order, and the same steps.
#[test]
fn stacked_members_are_equal() {
    for count in 1..=6 {
        let cluster = stacked(count);
        let drafts: Vec<_> = names(count).iter().map(|name| draft(&cluster, name)).collect();
        let want: Vec<_> = (1..=count).map(|number| format!("cp{number}=10.0.0.{}", 10 + number)).collect();
        for (draft, name) in drafts.iter().zip(names(count)) {
            assert_eq!(members(draft), want, "{name}");
            assert_eq!(format!("{:?}", draft.api), format!("{:?}", drafts[0].api), "{name}");
            let own = |text: &str| text.replace(&name, "NAME").replace(&draft.spec.addresses[0].to_string(), "ADDRESS");
            let first = text(&drafts[0], "/etc/kubernetes/manifests/etcd.yaml");
            let first = first.replace("cp1", "NAME").replace("10.0.0.11", "ADDRESS");
            assert_eq!(own(text(draft, "/etc/kubernetes/manifests/etcd.yaml")), first, "{name}");
            assert_eq!(paths(draft), paths(&drafts[0]), "{name}");
        }
        // A worker knows nothing of it.
        let worker = draft(&cluster, "w1");
        assert!(worker.spec.etcd.is_none() && worker.api.is_empty());
    }
}

#[test]
fn nodes_that_run_etcd_alone() {
    let cluster = etcd_nodes();
    let want = ["e1=10.0.0.31", "e2=10.0.0.32", "e3=10.0.0.33"];
    for name in ["e1", "e2", "e3"] {
        let draft = draft(&cluster, name);
        assert_eq!(members(&draft), want, "{name}");
        assert_eq!(draft.spec.role, Role::Etcd);
        assert!(draft.api.is_empty() && draft.spec.api.is_none() && draft.spec.server.is_none());
        assert_eq!(draft.class.spec.preflight.ports, [2379, 2380, 2382, 10250]);
        assert!(!draft.class.spec.preflight.ipv4 && !draft.class.spec.preflight.ipv6);
        let config = json_file(&draft, "/var/lib/kubelet/config.yaml");
        assert_eq!(
            config["authentication"],
            json!({"anonymous": {"enabled": false}, "webhook": {"enabled": false}}),
            "nobody may ask it anything, and it has nobody to ask"
        );
        assert_eq!(
            (&config["authorization"]["mode"], &config["address"]),
            (&json!("AlwaysAllow"), &json!("127.0.0.1"))
        );
        let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
        let line = kubelet.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(!line.contains("kubeconfig") && line.contains(" --config=/var/lib/kubelet/config.yaml"), "{line}");
    }
    // Its keys are etcd's, and no other: no kubeconfig, nothing to sign in with. By the CA's certificate it knows an API
    // server of the cluster, beside which it may not found.
    let below: Vec<_> = paths(&draft(&cluster, "e1"))
        .into_iter()
        .filter(|path| path.starts_with("/etc/kubernetes/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        below,
        [
            "/etc/kubernetes/manifests/etcd.yaml",
            "/etc/kubernetes/pki/ca.crt",
            "/etc/kubernetes/pki/etcd/ca.crt",
            "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
            "/etc/kubernetes/pki/etcd/healthcheck-client.key",
            "/etc/kubernetes/pki/etcd/peer.crt",
            "/etc/kubernetes/pki/etcd/peer.key",
            "/etc/kubernetes/pki/etcd/server.crt",
            "/etc/kubernetes/pki/etcd/server.key",
        ]
    );
}

/// Whom a member asks before it founds: controlPlaneEndpoint, or all API servers where each node has a balancer of its
/// own, which does not run then.
#[test]
fn api_servers_that_forbid_to_found() {
    let told = |cluster: &Cluster, node: &str| {
        let etcd = draft(cluster, node).spec.etcd.unwrap();
        assert_eq!(etcd.api_ca.as_str(), "/etc/kubernetes/pki/ca.crt");
        etcd.api_servers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut cluster = etcd_nodes();
    assert_eq!(told(&cluster, "e1"), ["10.0.0.10:6443"]);
    assert_eq!(told(&five(), "cp1"), ["10.0.0.10:6443"]);
    cluster.load_balancer = LoadBalancer::Local;
    assert_eq!(told(&cluster, "e3"), ["10.0.0.11:6443", "10.0.0.12:6443"]);
}

#[test]
fn control_planes_beside_etcd_nodes() {
    let cluster = etcd_nodes();
    let draft = draft(&cluster, "cp2");
    let command = command(&draft, "kube-apiserver");
    let servers = "--etcd-servers=https://10.0.0.31:2379,https://10.0.0.32:2379,https://10.0.0.33:2379";
    for flag in [
        servers,
        "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
        "--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key",
    ] {
        assert!(command.contains(&flag.to_owned()), "{flag} in {command:?}");
    }
    assert!(draft.spec.etcd.is_none());
    assert_eq!(draft.class.spec.preflight.ports, [6443, 10250, 10257, 10259]);
    let etcd: Vec<_> = paths(&draft).into_iter().filter(|path| path.contains("etcd")).collect();
    assert_eq!(
        etcd,
        [
            "/etc/kubernetes/pki/apiserver-etcd-client.crt",
            "/etc/kubernetes/pki/apiserver-etcd-client.key",
            "/etc/kubernetes/pki/etcd/ca.crt",
        ]
    );
    assert!(!draft.class.spec.directories.iter().any(|folder| folder.path.as_str() == "/var/lib/etcd"));
    // etcd nodes are no Nodes.
    let objects = objects(&draft);
    let nodes: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "node")
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    assert_eq!(nodes, ["cp1", "cp2", "w1"]);
    let config = objects.iter().find(|object| object["metadata"]["name"] == "kubeadm-config").unwrap();
    let config: Value = serde_json::from_str(config["data"]["ClusterConfiguration"].as_str().unwrap()).unwrap();
    assert_eq!(
        config["etcd"],
        json!({"external": {
            "caFile": "/etc/kubernetes/pki/etcd/ca.crt",
            "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
            "endpoints": ["https://10.0.0.31:2379", "https://10.0.0.32:2379", "https://10.0.0.33:2379"],
            "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
        }})
    );
}

/// Routes lead to Nodes; a node that runs etcd alone has no pods to lead to, and no bridge.
#[test]
fn no_bridge_where_no_pods_are() {
    let mut cluster = etcd_nodes();
    // flannel's plugin hands its work to the same programs.
    for (cni, wanted) in [(Cni::None, 0), (Cni::Bridge, 4), (Cni::Flannel, 4)] {
        cluster.cni = cni;
        let plugins = |node: &str| {
            let programs = draft(&cluster, node).class.spec.preflight.programs.clone();
            programs.iter().filter(|program| program.as_str().starts_with("/opt/cni/bin/")).count()
        };
        assert_eq!((plugins("cp1"), plugins("w1"), plugins("e1")), (wanted, wanted, 0), "{cni:?}");
    }
    cluster.cni = Cni::Bridge;
    let etcd = draft(&cluster, "e1");
    assert!(!etcd.units.iter().any(|unit| unit.name.as_str() == "nodekiln-network.service"));
    assert!(!unit(&etcd, "nodekiln-firstboot.service").contents.as_ref().unwrap().contains("nodekiln-network"));
    assert!(!paths(&etcd).iter().any(|path| path.starts_with("/etc/cni")));
    assert!(etcd.class.spec.preflight.programs.iter().all(|program| !program.as_str().starts_with("/opt/cni")));
    assert_eq!(text(&etcd, "/etc/modules-load.d/90-nodekiln.conf"), "overlay\n");
    assert!(!text(&etcd, "/etc/sysctl.d/90-nodekiln.conf").contains("net."));
    let worker = draft(&cluster, "w1");
    let routes = unit(&worker, "nodekiln-network.service").contents.as_ref().unwrap();
    assert!(routes.contains("via 10.0.0.11\n") && !routes.contains("10.0.0.31"), "{routes}");
}

/// Everybody's KubeletConfiguration may say what means nothing on such a node.
#[test]
fn a_kubelet_without_api_server_keeps_what_it_can_use() {
    let mut cluster = etcd_nodes();
    let fragment = json!({
        "maxPods": 9, "clusterDNS": ["10.0.0.1"], "authentication": {"webhook": {"cacheTTL": "1m", "enabled": true}},
        "authorization": {"webhook": {"cacheAuthorizedTTL": "1m"}}, "serverTLSBootstrap": true, "healthzPort": 10348,
    });
    for node in &mut cluster.nodes {
        node.kubelet = fragment.as_object().unwrap().clone().into();
    }
    let draft = draft(&cluster, "e1");
    let config = json_file(&draft, "/var/lib/kubelet/config.yaml");
    let fields: Vec<_> = config.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "address",
            "apiVersion",
            "authentication",
            "authorization",
            "cgroupDriver",
            "containerRuntimeEndpoint",
            "healthzBindAddress",
            "healthzPort",
            "kind",
            "maxPods",
            "resolvConf",
            "staticPodPath",
            "volumePluginDir",
        ]
    );
    assert_eq!(config["authentication"]["webhook"], json!({"enabled": false}));
    assert_eq!(config["authorization"], json!({"mode": "AlwaysAllow"}));
    assert_eq!(draft.class.spec.kubelet.healthz, "http://127.0.0.1:10348/healthz");
}

#[test]
fn an_etcd_that_somebody_else_runs() {
    let cluster = external();
    let draft = draft(&cluster, "cp1");
    let etcd: Vec<_> =
        command(&draft, "kube-apiserver").into_iter().filter(|argument| argument.starts_with("--etcd-")).collect();
    assert_eq!(
        etcd,
        [
            "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
            "--etcd-certfile=/etc/etcd-client/tls.crt",
            "--etcd-keyfile=/etc/etcd-client/private/tls.key",
            "--etcd-servers=https://10.9.0.1:2379,https://10.9.0.2:2379",
        ]
    );
    // One folder lies in the other: it is mounted once.
    let pod = json_file(&draft, "/etc/kubernetes/manifests/kube-apiserver.yaml");
    let volumes: Vec<_> = pod["spec"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|volume| volume["name"].as_str().unwrap().starts_with("etcd-certs"))
        .collect();
    let volume = json!({"name": "etcd-certs-0", "hostPath": {"path": "/etc/etcd-client", "type": "DirectoryOrCreate"}});
    assert_eq!(volumes, [&volume]);
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(mounts.contains(&json!({"name": "etcd-certs-0", "mountPath": "/etc/etcd-client", "readOnly": true})));
    let needed: Vec<_> = draft.class.spec.preflight.etcd_client_files.iter().map(AbsPath::as_str).collect();
    assert_eq!(needed, ["/etc/etcd-client/tls.crt", "/etc/etcd-client/private/tls.key"]);
    // No member, and nothing of our etcd CA's.
    assert!(draft.spec.etcd.is_none() && draft.spec.api.is_some());
    let text = render(&draft);
    assert!(!text.contains("Etcd certificate") && !text.contains("<EtcdCa>") && !text.contains("EtcdClient"), "{text}");
    assert!(!paths(&draft).contains("/etc/kubernetes/manifests/etcd.yaml"));
    // Its version is asked with the same files.
    assert_eq!(
        serde_json::to_value(&draft.class.spec.preflight.external_etcd).unwrap(),
        json!({
            "servers":
                [{"endpoint": "10.9.0.1:2379", "tls": true}, {"endpoint": "10.9.0.2:2379", "tls": true}],
            "ca": "/etc/kubernetes/pki/etcd/ca.crt",
            "cert": "/etc/etcd-client/tls.crt",
            "key": "/etc/etcd-client/private/tls.key",
        })
    );
    // Workers do not know of it.
    let worker = super::draft(&cluster, "w1").class.spec.preflight.clone();
    assert!(worker.etcd_client_files.is_empty() && worker.external_etcd.is_none());
}

/// What the build brings lies where kubeadm's guide has it, the key for root alone; what is not given is not named.
#[test]
fn files_for_an_external_etcd() {
    let mut cluster = external();
    let etcd = cluster.external_etcd.as_mut().unwrap();
    etcd.cert = Some(NodeFile::Input(input("client.crt", b"CERT")));
    etcd.key = Some(NodeFile::Input(input("client.key", b"KEY")));
    let draft = draft(&cluster, "cp1");
    for (path, bytes, mode) in [
        ("/etc/kubernetes/pki/etcd/ca.crt", &b"CA"[..], Mode::PUBLIC),
        ("/etc/kubernetes/pki/apiserver-etcd-client.crt", b"CERT", Mode::PUBLIC),
        ("/etc/kubernetes/pki/apiserver-etcd-client.key", b"KEY", Mode::PRIVATE),
    ] {
        let file = file(&draft, path);
        let Contents::Bytes(contents) = &file.contents else { panic!("{path}: {:?}", file.contents) };
        assert_eq!((&contents.bytes[..], file.mode), (bytes, mode), "{path}");
    }
    assert!(!render(&draft).contains("KEY\n"), "a key of the user's is not shown");
    assert!(!text(&draft, "/etc/kubernetes/manifests/kube-apiserver.yaml").contains("etcd-certs"));

    let etcd = cluster.external_etcd.as_mut().unwrap();
    *etcd = ExternalEtcd { endpoints: vec!["http://10.9.0.1:2379".to_owned()], ca: None, cert: None, key: None };
    let draft = super::draft(&cluster, "cp1");
    let etcd: Vec<_> =
        command(&draft, "kube-apiserver").into_iter().filter(|argument| argument.starts_with("--etcd-")).collect();
    assert_eq!(etcd, ["--etcd-servers=http://10.9.0.1:2379"]);
    assert_eq!(
        serde_json::to_value(&draft.class.spec.preflight.external_etcd).unwrap(),
        json!({"servers": [{"endpoint": "10.9.0.1:2379", "tls": false}]})
    );
    assert!(!draft.class.spec.directories.iter().any(|folder| folder.path.as_str().ends_with("/etcd")));
}

/// IPv6 literals are in brackets where a port follows, and nowhere else.
#[test]
fn ipv6() {
    let cluster = ipv6_only();
    let draft = draft(&cluster, "cp2");
    let api_server = command(&draft, "kube-apiserver");
    let controller_manager = command(&draft, "kube-controller-manager");
    let etcd = command(&draft, "etcd");
    for (command, flag) in [
        (&api_server, "--advertise-address=2001:db8::12"),
        (&api_server, "--etcd-servers=https://[::1]:2379"),
        (&api_server, "--service-cluster-ip-range=fd00:10:96::/112"),
        (&controller_manager, "--cluster-cidr=fd00:10:244::/56"),
        (&etcd, "--listen-client-urls=https://[::1]:2379,https://[2001:db8::12]:2379"),
        (&etcd, "--initial-advertise-peer-urls=https://[2001:db8::12]:2380"),
        (&etcd, "--listen-metrics-urls=http://[::1]:2381"),
    ] {
        assert!(command.contains(&flag.to_owned()), "{flag} in {command:?}");
    }
    let pod = |name: &str| json_file(&draft, &format!("/etc/kubernetes/manifests/{name}.yaml"));
    // A probe's host is an address; the kubelet adds the port.
    let host = |name: &str| pod(name)["spec"]["containers"][0]["livenessProbe"]["httpGet"]["host"].clone();
    assert_eq!((host("kube-apiserver"), host("etcd")), (json!("2001:db8::12"), json!("::1")));
    assert_eq!(
        pod("kube-apiserver")["metadata"]["annotations"]["kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"],
        "[2001:db8::12]:6443"
    );
    let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
    assert!(kubelet.contains(" --node-ip=2001:db8::12\n") || kubelet.contains(" --node-ip=2001:db8::12 "), "{kubelet}");
    assert_eq!(json_file(&draft, "/var/lib/kubelet/config.yaml")["clusterDNS"], json!(["fd00:10:96::a"]));
    let sysctls = text(&draft, "/etc/sysctl.d/90-nodekiln.conf");
    assert!(sysctls.contains("net.ipv6.conf.all.forwarding = 1\n") && !sysctls.contains("ip_forward"), "{sysctls}");
    assert_eq!((draft.class.spec.preflight.ipv4, draft.class.spec.preflight.ipv6), (false, true));
    assert_eq!(draft.spec.api.as_ref().unwrap().server.to_string(), "[2001:db8::12]:6443");
    let text = render(&draft);
    assert!(text.contains("server: \"https://[2001:db8::12]:6443\""));
    assert!(text.contains("\"bindAddress\": \"::\"") || text.contains("bindAddress\\\": \\\"::"), "kube-proxy");
    for ipv4 in ["10.244.", "10.96.", "10.0.0."] {
        assert!(!text.contains(ipv4), "{ipv4}");
    }
}

/// Which family comes first is the service network's choice, everywhere.
#[test]
fn both_families_in_both_orders() {
    for (cluster, first, second) in
        [(dual_stack(), "10.0.0.11", "2001:db8::10"), (ipv6_first(), "2001:db8::10", "10.0.0.11")]
    {
        let draft = draft(&cluster, "cp");
        let join = |networks: &[nodekiln_plan::Cidr]| crate::component::comma(networks);
        let (pods, services) = (join(&cluster.networking.pods), join(&cluster.networking.services));
        assert!(command(&draft, "kube-apiserver").contains(&format!("--advertise-address={first}")));
        assert!(command(&draft, "kube-apiserver").contains(&format!("--service-cluster-ip-range={services}")));
        assert!(command(&draft, "kube-controller-manager").contains(&format!("--cluster-cidr={pods}")));
        let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
        assert!(kubelet.contains(&format!("--node-ip={first},{second}")), "{kubelet}");
        assert_eq!((draft.class.spec.preflight.ipv4, draft.class.spec.preflight.ipv6), (true, true));
        let dns = cluster.networking.services[0].host(10).unwrap();
        assert_eq!(json_file(&draft, "/var/lib/kubelet/config.yaml")["clusterDNS"], json!([dns]));
        let proxy = objects(&draft)
            .into_iter()
            .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == "kube-proxy");
        let proxy: Value = serde_json::from_str(proxy.unwrap()["data"]["config.conf"].as_str().unwrap()).unwrap();
        assert_eq!(proxy["clusterCIDR"], pods);
        assert_eq!(proxy["bindAddress"], if first.contains(':') { "::" } else { "0.0.0.0" });
        let ranges = &json_file(&draft, "/etc/cni/net.d/10-nodekiln.conflist")["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges.as_array().unwrap().len(), 2);
    }
}

#[test]
fn machines_of_a_pool() {
    let cluster = pools();
    let draft = draft(&cluster, "edge");
    assert!(draft.spec.pool && draft.spec.addresses.is_empty());
    // Nothing that tells one machine from another.
    assert!(!paths(&draft).contains("/etc/hostname"));
    let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
    let line = kubelet.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert_eq!(
        line,
        "ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/var/lib/nodekiln/stage/bootstrap-kubelet.conf \
         --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --node-labels=pool=edge"
    );
    let config = json_file(&draft, "/var/lib/kubelet/config.yaml");
    assert_eq!(config["rotateCertificates"], true);
    assert_eq!(config["registerWithTaints"], json!([{"key": "edge", "value": "yes", "effect": "NoSchedule"}]));
    // The kubelet signs its own serving certificate, and writes its own kubeconfig.
    assert!(config.get("tlsCertFile").is_none() && config.get("tlsPrivateKeyFile").is_none());
    let identity: Vec<_> = paths(&draft)
        .into_iter()
        .filter(|path| path.starts_with("/etc/kubernetes") || path.contains("/pki/") || path.contains("stage"))
        .collect();
    assert_eq!(identity, ["/etc/kubernetes/pki/ca.crt", "/var/lib/nodekiln/stage/bootstrap-kubelet.conf"]);
    let token = file(&draft, "/var/lib/nodekiln/stage/bootstrap-kubelet.conf");
    assert_eq!((token.mode, token.kind), (Mode::PRIVATE, FileKind::Credential));
}

/// In a cluster whose first family is IPv6 a machine whose addresses are not known must not register with IPv4.
#[test]
fn the_family_of_a_pool() {
    let mut cluster = pools();
    cluster.networking.services = vec!["fd00:10:96::/112".parse().unwrap()];
    let draft = plan(&cluster, &cluster.pools[0], &sources()).unwrap();
    assert!(unit(&draft, "kubelet.service").contents.as_ref().unwrap().contains(" --node-ip=:: "));
}

/// One machine that comes by token keeps its name and addresses.
#[test]
fn a_node_by_token() {
    let cluster = pools();
    let draft = draft(&cluster, "w1");
    assert!(!draft.spec.pool);
    assert_eq!(text(&draft, "/etc/hostname"), "w1\n");
    let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
    assert!(kubelet.contains("--hostname-override=w1") && kubelet.contains("--bootstrap-kubeconfig="), "{kubelet}");
    assert!(!paths(&draft).contains("/etc/kubernetes/kubelet.conf"));
}

/// What control planes do for them: the tokens' Secrets, and no trust in serving certificates that nobody signed.
#[test]
fn control_planes_of_pools() {
    let cluster = pools();
    let draft = draft(&cluster, "cp1");
    assert!(!command(&draft, "kube-apiserver").iter().any(|flag| flag.starts_with("--kubelet-certificate-authority")));
    assert!(command(&draft, "kube-apiserver").contains(&"--enable-bootstrap-token-auth=true".to_owned()));
    let objects = objects(&draft);
    let secrets: Vec<_> = objects.iter().filter(|object| object["kind"] == "Secret").collect();
    let keys = |secret: &Value| secret["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let common = ["auth-extra-groups", "description", "token-id", "token-secret", "usage-bootstrap-authentication"];
    // Nodes first, then pools. A token without an end has none.
    assert_eq!(keys(secrets[0]), common);
    let mut ending = vec!["auth-extra-groups", "description", "expiration"];
    ending.extend(&common[2..]);
    assert_eq!(keys(secrets[1]), ending);
    // By these firstboot deletes those whose owner is gone.
    let owners: Vec<_> =
        secrets.iter().map(|secret| &secret["metadata"]["annotations"]["nodekiln/token-owner"]).collect();
    assert_eq!(owners, ["w1", "edge"]);
    for secret in secrets {
        assert_eq!(secret["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "nodekiln"}));
        assert_eq!(secret["type"], "bootstrap.kubernetes.io/token");
        assert_eq!(
            (&secret["metadata"]["namespace"], &secret["metadata"]["name"]),
            (&json!("kube-system"), &json!("bootstrap-token-abcdef"))
        );
        assert_eq!(secret["data"]["usage-bootstrap-authentication"], "dHJ1ZQ==", "base64 of true");
    }
    let nodes: Vec<_> =
        objects.iter().filter(|object| object["kind"] == "node").map(|object| &object["metadata"]["name"]).collect();
    assert_eq!(nodes, ["cp1", "w1"], "the machines of a pool make their own Nodes");
    // Without tokens none of this.
    let other = super::draft(&plain(), "cp1");
    assert!(command(&other, "kube-apiserver").iter().any(|flag| flag.starts_with("--kubelet-certificate-authority")));
}

#[test]
fn what_a_plan_tells_of_a_member() {
    let mut cluster = five();
    cluster.nodes[1].disk = Some("/dev/disk/by-id/x".parse().unwrap());
    cluster.nodes[1].replaces =
        Some(Box::new(Replaces { name: "old".parse().unwrap(), address: Some("10.0.0.77".parse().unwrap()) }));
    cluster.nodes[2].replaces = Some(Box::new(Replaces { name: "older".parse().unwrap(), address: None }));
    let mount = |name: &str| OsUnit {
        name: name.parse().unwrap(),
        enabled: true,
        content: Some("[Mount]\n".to_owned()),
        dropins: vec![],
    };
    cluster.nodes[1].os.units = vec![mount("var-lib.mount").into(), mount("var-lib-etcd.mount").into()];
    cluster.nodes[2].os.units = vec![mount("var-lib.mount").into()];
    let member =
        |name: &str, address: &str| EtcdMember { name: name.parse().unwrap(), address: address.parse().unwrap() };
    let etcd = |name: &str| {
        let etcd = draft(&cluster, name).spec.etcd.unwrap();
        (etcd.replaces, etcd.mount.map(|path| path.to_string()))
    };
    assert_eq!(etcd("cp1"), (None, None));
    assert_eq!(etcd("cp2"), (Some(member("old", "10.0.0.77")), Some("/var/lib/etcd".to_owned())));
    assert_eq!(etcd("cp3"), (Some(member("older", "10.0.0.13")), Some("/var/lib".to_owned())));
    let disk = |name: &str| draft(&cluster, name).spec.disk.map(|disk| disk.to_string());
    assert_eq!((disk("cp1"), disk("cp2").as_deref()), (None, Some("/dev/disk/by-id/x")));
}

/// A node's kubelet may be older than its cluster: what it is told is what its release knows.
#[test]
fn kubelets_of_older_releases() {
    for (version, infra) in [("v1.34.2", true), ("v1.35.1", false)] {
        for (cluster, name) in [(etcd_nodes(), "e1"), (pools(), "edge"), (plain(), "w1")] {
            let mut cluster = cluster;
            let index = cluster.payloads().position(|node| node.name.as_str() == name).unwrap();
            let count = cluster.nodes.len();
            let node = if index < count { &mut cluster.nodes[index] } else { &mut cluster.pools[index - count] };
            node.version = version.parse().unwrap();
            let draft = draft(&cluster, name);
            let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
            assert_eq!(kubelet.contains("--pod-infra-container-image="), infra, "{name} {version}");
            assert_eq!(draft.spec.kubernetes_version.to_string(), version);
        }
    }
}
