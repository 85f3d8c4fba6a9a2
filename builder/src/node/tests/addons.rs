//! Load balancers, networks, manifests, pinned images: what `loadBalancer`, `addons`, `images` and `patches` add.

use super::*;
use crate::component::image;
use std::net::IpAddr;

fn local() -> Cluster {
    let mut cluster = cluster("flatcar", &["cp1", "cp2"]);
    cluster.load_balancer = LoadBalancer::Local;
    // As it is without controlPlaneEndpoint.
    cluster.endpoint = "127.0.0.1:7443".parse().unwrap();
    cluster
}

fn kube_vip() -> Cluster {
    let mut cluster = cluster("flatcar", &["cp1", "cp2"]);
    cluster.load_balancer = LoadBalancer::KubeVip("10.0.0.10".parse().unwrap());
    cluster
}

fn flannel() -> Cluster {
    let mut cluster = dual_stack();
    cluster.cni = Cni::Flannel;
    cluster
}

fn server_of(draft: &NodeDraft) -> String {
    let Contents::Template(parts) = &file(draft, "/etc/kubernetes/kubelet.conf").contents else { panic!("a template") };
    let text: String = parts.iter().map(|part| format!("{part:?}")).collect();
    text.split("server: \\\"").nth(1).unwrap().split('\\').next().unwrap().to_owned()
}

fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

#[test]
fn every_node_has_a_balancer_of_its_own() {
    let cluster = local();
    for (name, server) in
        [("cp1", "https://10.0.0.11:6443"), ("cp2", "https://10.0.0.12:6443"), ("w1", "https://127.0.0.1:7443")]
    {
        let draft = draft(&cluster, name);
        assert_eq!(server_of(&draft), server);
        let config = file(&draft, "/etc/nodekiln/haproxy.cfg");
        assert_eq!((config.mode, config.kind), (Mode::PUBLIC, FileKind::Laid));
        let pod = file(&draft, "/etc/kubernetes/manifests/haproxy.yaml");
        assert_eq!((pod.mode, pod.kind), (Mode::PRIVATE, FileKind::Staged));
        assert!(draft.class.spec.preflight.ports.contains(&7443));
        golden("haproxy.cfg", text(&draft, "/etc/nodekiln/haproxy.cfg"));
        golden("haproxy.yaml", text(&draft, "/etc/kubernetes/manifests/haproxy.yaml"));
    }
    let objects = objects(&draft(&cluster, "cp1"));
    let kubeconfig = &object(&objects, "ConfigMap", "kube-proxy")["data"]["kubeconfig.conf"];
    assert!(kubeconfig.as_str().unwrap().contains("\"https://127.0.0.1:7443\""));
    // A machine that somebody joins by hand has no balancer before it is a node.
    let info = &object(&objects, "ConfigMap", "cluster-info")["data"]["kubeconfig"];
    assert!(info.as_str().unwrap().contains("https://10.0.0.11:6443"));
    let Contents::Leaf(leaf, _) = &file(&draft(&cluster, "cp2"), "/etc/kubernetes/pki/apiserver.crt").contents.clone()
    else {
        panic!("a leaf")
    };
    assert!(leaf.sans.contains(&San::Ip("127.0.0.1".parse().unwrap())));
}

#[test]
fn a_balancer_listens_in_both_families() {
    let mut cluster = dual_stack();
    cluster.load_balancer = LoadBalancer::Local;
    cluster.nodes[0].addresses.reverse();
    let draft = draft(&cluster, "w1");
    let config = text(&draft, "/etc/nodekiln/haproxy.cfg");
    for line in ["    bind 127.0.0.1:7443\n    bind [::1]:7443\n", "    server cp [2001:db8::10]:6443\n"] {
        assert!(config.contains(line), "{config}");
    }
    // Enforced there, and the file has a label of the host's.
    let pod = json_file(&draft, "/etc/kubernetes/manifests/haproxy.yaml");
    assert_eq!(pod["spec"]["securityContext"]["seLinuxOptions"]["type"], "spc_t");
}

#[test]
fn kube_vip_holds_the_endpoint() {
    let cluster = kube_vip();
    let cp = draft(&cluster, "cp2");
    golden("kube-vip.yaml", text(&cp, "/etc/kubernetes/manifests/kube-vip.yaml"));
    let config = file(&cp, "/etc/kubernetes/kube-vip.conf");
    assert_eq!((config.mode, config.kind), (Mode::PRIVATE, FileKind::Laid));
    let worker = draft(&cluster, "w1");
    assert_eq!(server_of(&worker), "https://10.0.0.10:6443");
    assert!(worker.files.iter().all(|file| !file.path.as_str().contains("kube-vip")));
    let objects = objects(&cp);
    let role = object(&objects, "Role", "nodekiln:kube-vip");
    assert_eq!(
        role["rules"],
        json!([{
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["plndr-cp-lock"],
            "verbs": ["get", "update"],
        }])
    );
    assert_eq!(object(&objects, "RoleBinding", "nodekiln:kube-vip")["subjects"][0]["name"], "nodekiln:kube-vip");
    assert_eq!(object(&objects, "Lease", "plndr-cp-lock")["metadata"]["namespace"], "kube-system");
}

#[test]
fn kube_vip_in_ipv6() {
    let mut cluster = kube_vip();
    let vip: IpAddr = "2001:db8::a".parse().unwrap();
    cluster.load_balancer = LoadBalancer::KubeVip(vip);
    cluster.endpoint = "[2001:db8::a]:6443".parse().unwrap();
    cluster.nodes[0].addresses = vec!["2001:db8::1".parse().unwrap()];
    let pod = json_file(&draft(&cluster, "cp1"), "/etc/kubernetes/manifests/kube-vip.yaml");
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|item| item["name"] == name).unwrap()["value"].clone();
    assert_eq!((value("address"), value("vip_subnet")), (json!("2001:db8::a"), json!("128")));
    assert_eq!(pod["spec"]["hostAliases"][0]["ip"], "2001:db8::1");
}

#[test]
fn flannel_knows_the_networks() {
    let mut cluster = flannel();
    let all = objects(&draft(&cluster, "cp"));
    let ours: Vec<_> = all.iter().filter(|object| object.to_string().contains("flannel")).collect();
    golden("flannel.json", &format!("{:#}\n", json!(ours)));
    // One privileged DaemonSet, since this machine enforces SELinux; the nodes' networks are not baked.
    assert_eq!(
        object(&all, "DaemonSet", "kube-flannel-ds")["spec"]["template"]["spec"]["containers"][0]["securityContext"],
        json!({"privileged": true})
    );
    let cp = draft(&cluster, "cp");
    assert!(command(&cp, "kube-controller-manager").contains(&"--allocate-node-cidrs=true".to_owned()));
    assert!(text(&cp, "/etc/modules-load.d/90-nodekiln.conf").lines().any(|line| line == "vxlan"));
    assert!(!render(&cp).contains("10-nodekiln.conflist"));
    // IPv6 alone.
    cluster.networking.pods.remove(0);
    let all = objects(&draft(&cluster, "cp"));
    let network = object(&all, "ConfigMap", "kube-flannel-cfg")["data"]["net-conf.json"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(network).unwrap(),
        json!({
            "Backend": {"Type": "vxlan"},
            "EnableIPv4": false,
            "EnableIPv6": true,
            "EnableNFTables": false,
            "IPv6Network": "fd00:10:244::/56",
        })
    );
}

/// After all objects of ours, in the order in which they were read, and no more than that.
#[test]
fn manifests_come_last_and_in_order() {
    let mut cluster = plain();
    let object = |kind: &str, name: &str| ManifestObject {
        path: "manifests/a.yaml".to_owned(),
        value: json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": name}}),
    };
    cluster.manifests = vec![object("Zebra", "z"), object("Ape", "a"), object("Zebra", "b")];
    let draft = draft(&cluster, "cp1");
    let all = objects(&draft);
    let names: Vec<_> =
        all.iter().rev().take(5).rev().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["z", "a", "b", "cp1", "w1"]);
}

/// A Secret goes into the payload and nowhere else.
#[test]
fn secrets_in_manifests_are_not_shown() {
    let mut cluster = plain();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "annotations": {"a": "hunter1"}},
        "stringData": {"password": "hunter2"},
        "data": {"key": "aHVudGVyMw=="},
    });
    cluster.manifests = vec![ManifestObject { path: "s.yaml".to_owned(), value: secret.clone() }];
    let shown = |cluster: &Cluster| {
        let draft = draft(cluster, "cp1");
        format!("{}{:?}{:?}", render(&draft), draft, cluster.manifests)
    };
    let first = shown(&cluster);
    for word in ["hunter", "aHVudGVyMw=="] {
        assert!(!first.contains(word), "{word}");
    }
    // But a change of it is a change of the draft.
    cluster.manifests[0].value["stringData"]["password"] = json!("hunter4");
    assert_ne!(shown(&cluster), first);
    cluster.manifests[0].value = secret;
    assert_eq!(shown(&cluster), first);
}

#[test]
fn images_are_pinned_wherever_they_are_named() {
    let mut cluster = local();
    cluster.cni = Cni::Flannel;
    let digest = format!("sha256:{}", "a".repeat(64));
    let images = image::all(&cluster);
    assert_eq!(
        images.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "docker.io/library/haproxy:3.2.21-alpine",
            "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3",
            "ghcr.io/flannel-io/flannel:v0.28.9",
            "registry.k8s.io/coredns/coredns:v1.14.2",
            "registry.k8s.io/etcd:3.6.16-0",
            "registry.k8s.io/kube-apiserver:v1.36.3",
            "registry.k8s.io/kube-controller-manager:v1.36.3",
            "registry.k8s.io/kube-proxy:v1.36.3",
            "registry.k8s.io/kube-scheduler:v1.36.3",
            "registry.k8s.io/pause:3.10.2",
        ]
    );
    cluster.image_digests = images.iter().map(|image| (image.clone(), digest.clone())).collect();
    let text = render(&draft(&cluster, "cp1"));
    for image in &images {
        let pinned = format!("{image}@{digest}");
        assert!(text.contains(&pinned), "{image}");
        assert!(!text.replace(&pinned, "").contains(image.as_str()), "{image}");
    }
    // They are the images to pin, whatever is pinned already.
    assert_eq!(image::all(&cluster), images);
    let vip = image::all(&kube_vip());
    assert!(vip.contains("ghcr.io/kube-vip/kube-vip:v1.2.3") && !vip.iter().any(|image| image.contains("haproxy")));
}

/// A kubelet of an older release brings a sandbox image of its own.
#[test]
fn an_older_kubelet_has_its_own_pause_image() {
    let mut cluster = plain();
    cluster.nodes[1].version = "v1.33.2".parse().unwrap();
    let images = image::all(&cluster);
    for image in ["registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10.2"] {
        assert!(images.contains(image), "{images:?}");
    }
}

#[test]
fn kube_proxy_is_patched_where_kubeadm_does() {
    let mut cluster = plain();
    cluster.version = "v1.37.0".parse().unwrap();
    let value = json!({"spec": {"template": {"spec": {"nodeSelector": {"lab.example/proxy": "yes"}}}}});
    let path = "patches/kubeproxydaemonset+merge.yaml".to_owned();
    cluster.patches = vec![Patch { target: PatchTarget::KubeProxyDaemonSet, kind: PatchKind::Merge, path, value }];
    let objects = objects(&draft(&cluster, "cp1"));
    assert_eq!(
        object(&objects, "DaemonSet", "kube-proxy")["spec"]["template"]["spec"]["nodeSelector"],
        json!({"kubernetes.io/os": "linux", "lab.example/proxy": "yes"})
    );
}

/// kubeadm's tools find the gates where kubeadm keeps them.
#[test]
fn gates_stand_in_kubeadms_configuration() {
    let mut cluster = plain();
    let gates = |cluster: &Cluster| {
        let objects = objects(&draft(cluster, "cp1"));
        let text = object(&objects, "ConfigMap", "kubeadm-config")["data"]["ClusterConfiguration"].clone();
        serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()["featureGates"].clone()
    };
    assert_eq!(gates(&cluster), Value::Null);
    cluster.feature_gates = [("NodeLocalCRISocket".to_owned(), true)].into();
    assert_eq!(gates(&cluster), json!({"NodeLocalCRISocket": true}));
}

/// What every minor writes otherwise than its neighbours (kubeadm's changes at a glance), seen in what a node gets.
#[test]
fn releases_differ_where_kubeadm_says() {
    let facts = |version: &str| {
        let mut cluster = plain();
        cluster.version = version.parse().unwrap();
        cluster.nodes.iter_mut().for_each(|node| node.version = cluster.version);
        cluster.api_server.extra_args = args(&[("zz", "1"), ("aa", "2")]);
        let draft = draft(&cluster, "cp1");
        let has = |pod: &str, flag: &str| command(&draft, pod).iter().any(|arg| arg.starts_with(flag));
        let kubelet = unit(&draft, "kubelet.service").contents.as_ref().unwrap();
        let pod = |name: &str| json_file(&draft, &format!("/etc/kubernetes/manifests/{name}.yaml"));
        let in_order = command(&draft, "kube-apiserver").ends_with(&["--zz=1".to_owned(), "--aa=2".to_owned()]);
        [
            ("named probe port", pod("kube-apiserver")["spec"]["containers"][0]["ports"].is_array()),
            ("arguments in the user's order", in_order),
            ("feature gates of etcd", has("etcd", "--feature-gates=")),
            ("FlexVolume", pod("kube-controller-manager").to_string().contains("flexvolume-dir")),
            ("pause in the kubelet's arguments", kubelet.contains("--pod-infra-container-image=")),
            (
                "socket in a file",
                draft.all_files().iter().any(|file| file.path.as_str().ends_with("instance-config.yaml")),
            ),
        ]
        .into_iter()
        .filter_map(|(fact, holds)| holds.then_some(fact))
        .collect::<Vec<_>>()
        .join(", ")
    };
    for (version, want) in [
        ("v1.33.0", "FlexVolume, pause in the kubelet's arguments"),
        ("v1.33.13", "arguments in the user's order, FlexVolume, pause in the kubelet's arguments"),
        (
            "v1.34.9",
            "named probe port, arguments in the user's order, feature gates of etcd, FlexVolume, pause in the kubelet's \
             arguments, socket in a file",
        ),
        (
            "v1.35.6",
            "named probe port, arguments in the user's order, feature gates of etcd, FlexVolume, socket in a file",
        ),
        ("v1.36.3", "named probe port, arguments in the user's order, feature gates of etcd, socket in a file"),
        ("v1.37.1", "named probe port, arguments in the user's order, feature gates of etcd, socket in a file"),
    ] {
        assert_eq!(facts(version), want, "{version}");
    }
}

#[test]
fn the_sockets_place_follows_release_and_gate() {
    for (version, gate, in_file) in [
        ("v1.33.5", None, false),
        ("v1.33.5", Some(true), true),
        ("v1.34.5", None, true),
        ("v1.34.5", Some(false), false),
        ("v1.37.0", None, true),
    ] {
        let mut cluster = plain();
        cluster.version = version.parse().unwrap();
        cluster.nodes.iter_mut().for_each(|node| node.version = cluster.version);
        cluster.feature_gates = gate.map(|gate| ("NodeLocalCRISocket".to_owned(), gate)).into_iter().collect();
        // Where no file has it, kubeadm's tools look for it on the Node.
        let marks = draft(&cluster, "cp1").api.into_iter().filter_map(|step| match step {
            DraftStep::Step(ApiStep::Node(step)) => Some(step.annotations),
            _ => None,
        });
        let socket = ("kubeadm.alpha.kubernetes.io/cri-socket", "unix:///run/containerd/containerd.sock");
        let wanted = if in_file { json!({}) } else { json!({socket.0: socket.1}) };
        assert_eq!(json!(marks.collect::<Vec<_>>()), json!([wanted, wanted]), "{version} {gate:?}");
        let draft = draft(&cluster, "w1");
        let has = draft.all_files().iter().any(|file| file.path.as_str() == "/var/lib/kubelet/instance-config.yaml");
        let config = json_file(&draft, "/var/lib/kubelet/config.yaml");
        let flag = unit(&draft, "kubelet.service").contents.as_ref().unwrap().contains("--container-runtime-endpoint=");
        assert_eq!(
            (has, config["containerRuntimeEndpoint"].is_string(), flag),
            (in_file, in_file, !in_file),
            "{version}"
        );
    }
}

/// Merged into /usr before anything starts; one image may hold several programs.
#[test]
fn programs_in_system_extensions() {
    let mut cluster = cluster("fedora-coreos", &["cp1"]);
    let hash = FetchHash::Sha512("0".repeat(128));
    let url = "https://extensions.example/kubernetes-v1.36.3-x86-64.raw".to_owned();
    let node = &mut cluster.nodes[0];
    node.binaries.kubelet = Binary::Sysext { url: url.clone(), hash: hash.clone() };
    node.binaries.runc = Binary::Sysext { url: url.clone(), hash: hash.clone() };
    let cp = draft(&cluster, "cp1");
    let fetched: Vec<_> = cp.class.fetches.iter().map(|fetch| (fetch.into.path.as_str(), fetch.url.as_str())).collect();
    assert_eq!(fetched, [("/etc/extensions/kubernetes.raw", url.as_str())]);
    assert_eq!(unit(&cp, "systemd-sysext.service").state, UnitState::Enabled);
    assert_eq!(unit(&cp, "multi-user.target").dropins[0].name, "10-kubelet-service.conf");
    assert_eq!(cp.class.spec.kubelet.binary.as_str(), "/usr/bin/kubelet");
    assert!(unit(&cp, "kubelet.service").contents.as_ref().unwrap().contains("ExecStart=/usr/bin/kubelet "));
    let other = Binary::Sysext { url, hash };
    for (change, want) in [
        (
            (|node, other| node.binaries.cni_plugins = other) as fn(&mut Node, Binary),
            "binaries.cniPlugins: a system extension is not supported here",
        ),
        (|node, _| node.os.arch = Arch::Arm64, "binaries.kubelet: is for x86-64, the machine is arm64"),
        (
            |node, _| node.os.profile = nodekiln_payload::Profile::find("cloud-init").unwrap(),
            "binaries.kubelet: a system extension under cloud-init is not supported: it would come after systemd merges",
        ),
    ] {
        let mut cluster = cluster.clone();
        change(&mut cluster.nodes[0], other.clone());
        let refusals = plan(&cluster, &cluster.nodes[0], &sources()).expect_err("refused");
        assert_eq!(format!("{}: {}", refusals[0].field, refusals[0].message), want);
    }
}

#[test]
fn refused() {
    let first = |cluster: &Cluster, index: usize| {
        let refusals = plan(cluster, &cluster.nodes[index], &sources()).expect_err("refused");
        format!("{}: {}", refusals[0].field, refusals[0].message)
    };
    let mut vip = kube_vip();
    vip.endpoint.port = 8443;
    assert_eq!(
        first(&vip, 0),
        "controlPlaneEndpoint: kube-vip holds an address and forwards nothing: the port has to be 6443"
    );
    let mut cluster = flannel();
    cluster.nodes[1].binaries.cni_plugins = Binary::Path("/usr/lib/cni".parse().unwrap());
    // The first node's folder is everybody's: the others are held against it.
    assert!(plan(&cluster, &cluster.nodes[0], &sources()).is_ok());
    assert_eq!(
        first(&cluster, 1),
        "binaries.cniPlugins: flannel installs its plugin in one folder on all nodes, and theirs differ"
    );
    let mut old = plain();
    old.nodes[1].version = "v1.35.2".parse().unwrap();
    old.nodes[1].kubelet = json!({"tlsCurvePreferences": []}).as_object().unwrap().clone().into();
    assert_eq!(first(&old, 1), "kubelet: a kubelet of v1.35.2 does not know `tlsCurvePreferences`");
    let mut p384 = plain();
    p384.version = "v1.33.13".parse().unwrap();
    p384.nodes.iter_mut().for_each(|node| node.version = p384.version);
    p384.algorithm = Algorithm::EcdsaP384;
    assert_eq!(first(&p384, 0), "encryptionAlgorithm: kubeadm's tools of v1.33.13 do not know ECDSA-P384");
    let mut gates = plain();
    gates.feature_gates = [("EtcdLearnerMode".to_owned(), true)].into();
    assert_eq!(first(&gates, 0), "featureGates: kubeadm of v1.36.3 has no feature gate `EtcdLearnerMode`");
    gates.feature_gates = [("PublicKeysECDSA".to_owned(), false)].into();
    assert_eq!(first(&gates, 1), "featureGates: `PublicKeysECDSA` and `encryptionAlgorithm` contradict each other");
    gates.feature_gates = [("PublicKeysECDSA".to_owned(), true)].into();
    assert!(plan(&gates, &gates.nodes[0], &sources()).is_ok());
    let mut patched = plain();
    let value = json!({"metadata": {"name": "x"}});
    let path = "patches/etcd+merge.yaml".to_owned();
    patched.patches = vec![Patch { target: PatchTarget::Etcd, kind: PatchKind::Merge, path, value }];
    assert_eq!(first(&patched, 0), "patches: patches/etcd+merge.yaml: `metadata.name` has to stay as it is");
    patched.patches[0].target = PatchTarget::KubeProxyDaemonSet;
    assert_eq!(first(&patched, 0), "patches: patches/etcd+merge.yaml: kubeadm of v1.36.3 has no such target");
    patched.patches[0].target = PatchTarget::Etcd;
    // A node without that file has nothing to refuse.
    assert!(plan(&patched, &patched.nodes[1], &sources()).is_ok());
}

/// Every addon goes the whole way into a payload of every profile.
#[test]
fn addons_become_payloads() {
    use crate::{pki, secrets};
    use nodekiln_payload::{EncodeOptions, check, encode};
    for cluster in [local(), kube_vip(), flannel()] {
        let authority = pki::Authority::open(&secrets::tests::fixture(1), &cluster).unwrap();
        for node in &cluster.nodes {
            let draft = plan(&cluster, node, &sources()).unwrap();
            let tree = pki::fill(&authority, &draft).unwrap().tree;
            let artifacts = encode(&tree, draft.class.profile, &EncodeOptions::default()).unwrap();
            check(&tree, &artifacts, draft.class.profile).unwrap();
        }
    }
}
