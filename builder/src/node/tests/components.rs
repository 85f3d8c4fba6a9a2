//! What components say, beyond the goldens: kubeadm's rules for overrides, and how releases and profiles differ.

use super::*;

/// The tables of kubeadm 1.36: every flag that it gives, in its order. Ours beyond those are named.
#[test]
fn flags_of_the_control_plane() {
    let draft = draft(&plain(), "cp1");
    let pki = "/etc/kubernetes/pki";
    let api_server = format!(
        "kube-apiserver --advertise-address=10.0.0.11 --allow-privileged=true --authorization-mode=Node,RBAC \
         --client-ca-file={pki}/ca.crt --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true \
         --encryption-provider-config={pki}/encryption-config.json \
         --etcd-cafile={pki}/etcd/ca.crt --etcd-certfile={pki}/apiserver-etcd-client.crt \
         --etcd-keyfile={pki}/apiserver-etcd-client.key --etcd-servers=https://127.0.0.1:2379 \
         --kubelet-certificate-authority={pki}/ca.crt \
         --kubelet-client-certificate={pki}/apiserver-kubelet-client.crt \
         --kubelet-client-key={pki}/apiserver-kubelet-client.key \
         --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
         --proxy-client-cert-file={pki}/front-proxy-client.crt --proxy-client-key-file={pki}/front-proxy-client.key \
         --requestheader-allowed-names=front-proxy-client --requestheader-client-ca-file={pki}/front-proxy-ca.crt \
         --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --secure-port=6443 \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local \
         --service-account-key-file={pki}/sa.pub --service-account-signing-key-file={pki}/sa.key \
         --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file={pki}/apiserver.crt \
         --tls-private-key-file={pki}/apiserver.key"
    );
    let controller_manager = format!(
        "kube-controller-manager --allocate-node-cidrs=true \
         --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf \
         --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 \
         --client-ca-file={pki}/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=lab \
         --cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
         --controllers=*,bootstrapsigner,tokencleaner --kubeconfig=/etc/kubernetes/controller-manager.conf \
         --leader-elect=true --requestheader-client-ca-file={pki}/front-proxy-ca.crt --root-ca-file={pki}/ca.crt \
         --service-account-private-key-file={pki}/sa.key --service-cluster-ip-range=10.96.0.0/12 \
         --use-service-account-credentials=true"
    );
    let etcd = format!(
        "etcd --advertise-client-urls=https://10.0.0.11:2379 --cert-file={pki}/etcd/server.crt --client-cert-auth=true \
         --data-dir=/var/lib/etcd --feature-gates=InitialCorruptCheck=true \
         --initial-advertise-peer-urls=https://10.0.0.11:2380 --key-file={pki}/etcd/server.key \
         --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.11:2379 \
         --listen-metrics-urls=http://127.0.0.1:2381 --listen-peer-urls=https://10.0.0.11:2380 --name=cp1 \
         --peer-cert-file={pki}/etcd/peer.crt --peer-client-cert-auth=true --peer-key-file={pki}/etcd/peer.key \
         --peer-trusted-ca-file={pki}/etcd/ca.crt --snapshot-count=10000 --trusted-ca-file={pki}/etcd/ca.crt \
         --watch-progress-notify-interval=5s"
    );
    let scheduler = "kube-scheduler --authentication-kubeconfig=/etc/kubernetes/scheduler.conf \
                     --authorization-kubeconfig=/etc/kubernetes/scheduler.conf --bind-address=127.0.0.1 \
                     --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true";
    for (pod, want) in [
        ("kube-apiserver", api_server.as_str()),
        ("kube-controller-manager", &controller_manager),
        ("kube-scheduler", scheduler),
        ("etcd", &etcd),
    ] {
        assert_eq!(command(&draft, pod), want.split(' ').collect::<Vec<_>>(), "{pod}");
    }
}

#[test]
fn users_arguments() {
    let mut cluster = plain();
    cluster.api_server.extra_args = args(&[
        ("authorization-config", "/etc/authz.yaml"),
        ("audit-log-maxage", "30"),
        ("encryption-provider-config", "/etc/mine.yaml"),
    ]);
    cluster.etcd.extra_args = args(&[
        ("listen-metrics-urls", "https://0.0.0.0:2399,http://[::1]:1"),
        ("advertise-client-urls", "https://e:1"),
    ]);
    cluster.controller_manager.extra_args = args(&[("bind-address", "0.0.0.0")]);
    let draft = draft(&cluster, "cp1");
    let api_server = command(&draft, "kube-apiserver");
    let tail = [
        "--authorization-config=/etc/authz.yaml",
        "--audit-log-maxage=30",
        "--encryption-provider-config=/etc/mine.yaml",
    ];
    assert_eq!(api_server[api_server.len() - 3..], tail);
    assert!(api_server.contains(&"--etcd-servers=https://e:1".to_owned()));
    assert!(!api_server.iter().any(|arg| arg.starts_with("--authorization-mode")));
    assert!(!draft.all_files().iter().any(|file| file.path.file_name() == "encryption-config.json"));
    let pod = |name: &str| {
        json_file(&draft, &format!("/etc/kubernetes/manifests/{name}.yaml"))["spec"]["containers"][0].clone()
    };
    let get = &pod("etcd")["livenessProbe"]["httpGet"];
    assert_eq!((&get["scheme"], &get["host"]), (&json!("HTTPS"), &json!("0.0.0.0")));
    assert_eq!(pod("etcd")["ports"][0]["containerPort"], 2399);
    assert_eq!(pod("kube-controller-manager")["livenessProbe"]["httpGet"]["host"], "0.0.0.0");
}

#[test]
fn unknown_authorization_modes_are_dropped() {
    for (modes, want) in [("RBAC, Nonsense,Webhook", "RBAC,Webhook"), ("Nonsense", "Node,RBAC")] {
        let mut cluster = plain();
        cluster.api_server.extra_args = args(&[("authorization-mode", modes)]);
        let command = command(&draft(&cluster, "cp1"), "kube-apiserver");
        let given: Vec<_> = command.iter().filter(|arg| arg.starts_with("--authorization-mode")).collect();
        assert_eq!(given, [&format!("--authorization-mode={want}")]);
    }
}

#[test]
fn users_volumes_and_environment() {
    let mut cluster = plain();
    let volume = |name: &str, path: &str, read_only, path_type: &str| Volume {
        name: name.to_owned(),
        host_path: path.parse().unwrap(),
        mount_path: "/mnt".parse().unwrap(),
        read_only,
        path_type: path_type.to_owned(),
    };
    cluster.scheduler.extra_volumes = vec![volume("a", "/a", true, ""), volume("kubeconfig", "/k", false, "File")];
    let env = |name: &str| json!({"name": name, "value": "x"}).as_object().unwrap().clone();
    cluster.scheduler.extra_envs = vec![env("B"), env("A")];
    let pod = json_file(&draft(&cluster, "cp1"), "/etc/kubernetes/manifests/kube-scheduler.yaml");
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            {"name": "a", "hostPath": {"path": "/a"}},
            {"name": "kubeconfig", "hostPath": {"path": "/k", "type": "File"}},
        ])
    );
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "a", "mountPath": "/mnt", "readOnly": true}, {"name": "kubeconfig", "mountPath": "/mnt"}])
    );
    assert_eq!(container["env"], json!([{"name": "A", "value": "x"}, {"name": "B", "value": "x"}]));
}

#[test]
fn older_releases() {
    let mut cluster = plain();
    cluster.version = "v1.33.5".parse().unwrap();
    cluster.nodes[0].version = cluster.version;
    let draft = draft(&cluster, "cp1");
    let pod = |name: &str| json_file(&draft, &format!("/etc/kubernetes/manifests/{name}.yaml"));
    let scheduler = &pod("kube-scheduler")["spec"]["containers"][0];
    assert_eq!((&scheduler["ports"], &scheduler["livenessProbe"]["httpGet"]["port"]), (&Value::Null, &json!(10259)));
    assert!(command(&draft, "etcd").contains(&"--experimental-initial-corrupt-check=true".to_owned()));
    assert_eq!(pod("etcd")["spec"]["containers"][0]["image"], "registry.k8s.io/etcd:3.5.24-0");
    let volumes = pod("kube-controller-manager")["spec"]["volumes"].clone();
    assert!(volumes.as_array().unwrap().iter().any(|volume| volume["name"] == "flexvolume-dir"));
    let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
    assert!(kubelet.contains(" --pod-infra-container-image=registry.k8s.io/pause:3.10\n"), "{kubelet}");
}

/// A node may lag behind its cluster: its kubelet and sandbox image are of its own release.
#[test]
fn a_node_of_an_older_release() {
    let mut cluster = plain();
    cluster.nodes[1].version = "v1.34.2".parse().unwrap();
    let draft = draft(&cluster, "w1");
    assert!(text(&draft, "/etc/containerd/config.toml").contains("registry.k8s.io/pause:3.10.1"));
    assert_eq!(draft.spec.kubernetes_version.to_string(), "v1.34.2");
}

#[test]
fn kubelet_configuration() {
    let mut cluster = plain();
    let fragment = |value: Value| value.as_object().unwrap().clone();
    cluster.kubelet = fragment(json!({"maxPods": 60}));
    cluster.nodes[1].kernel.swap = true;
    cluster.nodes[1].kubelet = fragment(json!({
        "maxPods": 20,
        "resolvConf": "/etc/resolv.conf",
        "clusterDNS": ["169.254.20.10"],
        "port": 10350,
        "healthzPort": 10348,
        "staticPodPath": "/elsewhere",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"cacheTTL": "1m"}},
    }))
    .into();
    let draft = draft(&cluster, "w1");
    let config = json_file(&draft, "/var/lib/kubelet/config.yaml");
    for (pointer, want) in [
        ("/maxPods", json!(20)),
        ("/resolvConf", json!("/etc/resolv.conf")),
        ("/clusterDNS", json!(["169.254.20.10"])),
        ("/failSwapOn", json!(false)),
        // Owned: the fragment does not get through.
        ("/staticPodPath", json!("/etc/kubernetes/manifests")),
        ("/authentication/anonymous/enabled", json!(false)),
        // Beside what is owned it does.
        ("/authentication/webhook", json!({"cacheTTL": "1m", "enabled": true})),
        ("/registerWithTaints", json!([])),
    ] {
        assert_eq!(config.pointer(pointer), Some(&want), "{pointer}");
    }
    assert_eq!(draft.class.spec.preflight.ports, [10350]);
    assert_eq!(draft.class.spec.kubelet.healthz, "http://127.0.0.1:10348/healthz");
    assert!(config.get("volumePluginDir").is_none(), "/usr can be written under cloud-init");
    // What is the cluster's goes into the config map, what is the node's does not.
    let steps = objects(&super::draft(&cluster, "cp1"));
    let map = steps.iter().find(|object| object["metadata"]["name"] == "kubelet-config").unwrap();
    let shared: Value = serde_json::from_str(map["data"]["kubelet"].as_str().unwrap()).unwrap();
    assert_eq!(shared["maxPods"], 60);
    for own in ["resolvConf", "registerWithTaints", "tlsCertFile", "containerRuntimeEndpoint"] {
        assert!(shared.get(own).is_none(), "{own}");
    }
}

/// Debian's images have systemd-resolved or not; the other systems always do.
#[test]
fn a_resolver_file_for_pods() {
    let starts = |cluster: &Cluster| {
        let draft = super::draft(cluster, "cp1");
        let unit = draft.all_units().into_iter().find(|unit| unit.name.as_str() == "kubelet.service").unwrap();
        unit.contents.as_deref().unwrap().contains("ln -sf /etc/resolv.conf /run/systemd/resolve/resolv.conf")
    };
    let mut cluster = plain();
    assert!(starts(&cluster));
    cluster.nodes[0].kubelet = json!({"resolvConf": "/etc/resolv.conf"}).as_object().unwrap().clone().into();
    assert!(!starts(&cluster));
    assert!(!starts(&super::cluster("flatcar", &["cp1"])));
}

#[test]
fn kubelet_arguments() {
    let mut cluster = plain();
    let node = &mut cluster.nodes[1];
    *node.labels =
        [("a", "1"), ("node-role.kubernetes.io/x", ""), ("z", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    *node.kubelet_extra_args = args(&[("v", "4"), ("node-ip", "::"), ("x", "50% of $HOME \"q\"")]);
    node.binaries.kubelet = Binary::Path("/opt/my bin/kubelet".parse().unwrap());
    let draft = draft(&cluster, "w1");
    let contents = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
    let line = contents.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert_eq!(
        line,
        "ExecStart=\"/opt/my bin/kubelet\" --config=/var/lib/kubelet/config.yaml --hostname-override=w1 \
         --kubeconfig=/etc/kubernetes/kubelet.conf --node-labels=a=1,z= --v=4 --node-ip=:: \
         \"--x=50%% of $$HOME \\\"q\\\"\""
    );
}

/// Its unit unpacks it: what firstboot did would come too late.
#[test]
fn containerd_in_an_archive() {
    let mut cluster = plain();
    let hash = FetchHash::Sha256(nodekiln_plan::Sha256::of(b""));
    let archives = [
        Binary::Url { url: "https://a/containerd-2.3.3-linux-amd64.tar.gz?x=1".to_owned(), hash },
        Binary::File(input("containerd.tgz", b"archive")),
    ];
    for archive in archives {
        cluster.nodes[1].binaries.containerd = archive;
        let draft = draft(&cluster, "w1");
        let at = "/var/lib/nodekiln/archives/containerd.tgz";
        match draft.class.fetches.first() {
            Some(fetch) => assert_eq!((fetch.into.path.as_str(), fetch.into.mode), (at, Mode::PRIVATE)),
            None => assert_eq!(file(&draft, at).mode, Mode::PRIVATE),
        }
        let unit = &unit(&draft, "containerd.service").dropins[0].contents;
        let lines: Vec<_> = unit.lines().collect();
        let unpacks = lines.iter().position(|line| line.starts_with("ExecStartPre=/bin/sh \"-c\" \"[ -e "));
        assert!(
            unpacks.is_some_and(|index| lines[index].contains(&format!("tar -xf {at} -C /usr/local/bin "))),
            "{unit}"
        );
        assert!(
            unit.ends_with("ExecStart=\nExecStart=/usr/local/bin/containerd --config /etc/containerd/config.toml\n")
        );
        assert!(!unit.contains("%") && !unit.contains("$$"), "{unit}");
    }
}

#[test]
fn containerd_elsewhere() {
    let mut cluster = plain();
    let node = &mut cluster.nodes[1];
    node.binaries.containerd = Binary::Path("/opt/bin/containerd".parse().unwrap());
    node.binaries.runc = Binary::File(input("runc", b"runc"));
    node.binaries.cni_plugins = Binary::Path("/usr/lib/cni".parse().unwrap());
    let draft = draft(&cluster, "w1");
    let unit = unit(&draft, "containerd.service");
    assert_eq!((unit.state, unit.contents.is_none()), (UnitState::Unchanged, true));
    assert_eq!(
        unit.dropins[0].contents,
        "[Service]\nExecStart=\nExecStart=/opt/bin/containerd --config /etc/containerd/config.toml\n"
    );
    let config: toml::Table = toml::from_str(text(&draft, "/etc/containerd/config.toml")).unwrap();
    let cri = &config["plugins"]["io.containerd.grpc.v1.cri"];
    assert_eq!(cri["cni"]["bin_dir"].as_str(), Some("/usr/lib/cni"));
    let options = &cri["containerd"]["runtimes"]["runc"]["options"];
    assert_eq!(options["BinaryName"].as_str(), Some("/usr/local/bin/runc"));
    assert_eq!(file(&draft, "/usr/local/bin/runc").mode, Mode::EXECUTABLE);
}

/// `imports` counts only before the first table.
#[test]
fn containerd_imports_at_the_top() {
    for cluster in [bare_metal(), plain(), dual_stack()] {
        let draft = draft(&cluster, "w1");
        let config = text(&draft, "/etc/containerd/config.toml");
        assert!(config.find("imports = ").unwrap() < config.find("[plugins").unwrap());
        assert_eq!(toml::from_str::<toml::Table>(config).unwrap()["version"].as_integer(), Some(2));
    }
}

#[test]
fn networks_and_clocks_by_profile() {
    for (profile, paths, by_encoder) in [
        (
            "flatcar",
            vec!["/etc/systemd/network/10-nodekiln.network", "/etc/systemd/timesyncd.conf.d/90-nodekiln.conf"],
            false,
        ),
        (
            "fedora-coreos",
            vec!["/etc/NetworkManager/system-connections/nodekiln.nmconnection", "/etc/chrony.conf"],
            false,
        ),
        ("cloud-init", vec![], true),
    ] {
        let mut cluster = cluster(profile, &["cp1"]);
        cluster.nodes[0].os.time_servers = vec!["a".to_owned(), "b".to_owned()];
        cluster.nodes[0].network = Some(Box::new(StaticNetwork {
            addresses: vec![("10.0.0.11".parse().unwrap(), 24)],
            gateways: vec![],
            nameservers: vec![],
        }));
        let draft = draft(&cluster, "cp1");
        for path in paths {
            let mode = if path.ends_with(".nmconnection") { Mode::PRIVATE } else { Mode::PUBLIC };
            assert_eq!(file(&draft, path).mode, mode, "{profile}");
        }
        assert_eq!(
            (draft.network.is_some(), !draft.class.time_servers.is_empty()),
            (by_encoder, by_encoder),
            "{profile}"
        );
    }
}

#[test]
fn the_network_of_a_bridge() {
    let draft = draft(&dual_stack(), "cp");
    let contents = unit(&draft, "nodekiln-network.service").contents.as_ref().unwrap();
    assert!(contents.contains("ExecStart=ip -4 route replace 10.244.1.0/24 via 10.0.0.12\n"), "{contents}");
    assert!(contents.contains("ExecStart=ip -6 route replace fd00:10:244:1::/64 via 2001:db8::11\n"), "{contents}");
    assert!(!contents.contains("10.244.0.0/24"), "no route to its own network");
    let rules = text(&draft, "/etc/nodekiln/masquerade.nft");
    assert!(rules.contains("ip saddr 10.244.0.0/24 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } masquerade\n"));
    assert!(rules.contains("ip6 saddr fd00:10:244::/64 ip6 daddr != { fd00:10:244::/56, ff00::/8 } masquerade\n"));
    assert!(command(&draft, "kube-controller-manager").contains(&"--allocate-node-cidrs=false".to_owned()));
}

#[test]
fn programs_by_url_and_hash() {
    let draft = draft(&bare_metal(), "box1");
    let fetches: Vec<_> =
        draft.class.fetches.iter().map(|fetch| (fetch.into.path.as_str(), fetch.url.as_str())).collect();
    let sha = |bytes: &[u8]| format!("http://10.0.0.5/x/blobs/{}", nodekiln_plan::Sha256::of(bytes));
    assert_eq!(
        fetches,
        [
            ("/opt/bin/kubelet", "http://10.0.0.5/kubelet"),
            ("/opt/bin/nodekiln-firstboot", sha(b"firstboot").as_str()),
            ("/opt/bin/runc", sha(b"runc").as_str()),
            ("/var/lib/nodekiln/archives/cni-plugins.tgz", sha(b"plugins").as_str()),
        ]
    );
    let blobs: Vec<_> = draft.class.blobs.iter().map(|blob| &blob.bytes[..]).collect();
    assert_eq!(blobs.len(), 3);
    assert!([&b"firstboot"[..], b"runc", b"plugins"].iter().all(|bytes| blobs.contains(bytes)));
    assert_eq!(draft.class.spec.archives[0].into.as_str(), "/opt/cni/bin");
    // The same under cloud-init, which could not hold it on platforms with small user data.
    let mut cluster = plain();
    cluster.delivery.base_url = Some("http://10.0.0.5".to_owned());
    let draft = super::draft(&cluster, "w1");
    assert_eq!((draft.class.fetches.len(), draft.class.blobs.len()), (1, 1));
    assert_eq!(draft.class.fetches[0].into.path.as_str(), "/usr/local/bin/nodekiln-firstboot");
    assert_eq!(draft.class.fetches[0].into.mode, Mode::EXECUTABLE);
    // Without a place to fetch from it is in the payload.
    cluster.delivery.base_url = None;
    let draft = super::draft(&cluster, "w1");
    assert!(draft.class.fetches.is_empty() && draft.class.blobs.is_empty());
    assert_eq!(file(&draft, "/usr/local/bin/nodekiln-firstboot").mode, Mode::EXECUTABLE);
}
