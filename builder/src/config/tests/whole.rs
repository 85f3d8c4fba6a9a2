//! Whole files: what the parts resolve to.

use super::*;
use crate::config::examples;
use nodekiln_plan::Role;

pub(super) fn load_text(text: &str) -> Loaded {
    match load_str("cluster.yaml", text, None) {
        Ok(loaded) => loaded,
        Err(Failure::Findings(found)) => panic!("{found}"),
        Err(e) => panic!("{e}"),
    }
}

pub(super) fn refused(text: &str) -> Diagnostics {
    match load_str("cluster.yaml", text, None) {
        Err(Failure::Findings(found)) => found,
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("taken"),
    }
}

pub(super) const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n";

#[test]
fn examples_have_no_findings() {
    for example in examples::ALL {
        let loaded = load_text(example.text);
        assert!(loaded.warnings.is_empty(), "{}:\n{}", example.name, loaded.warnings);
        assert_eq!((0..).map_while(|index| loaded.places.payload(index)).count(), loaded.cluster.payloads().count());
        assert_eq!(loaded.inputs.len(), 1);
        assert!(examples::find(example.name).is_some());
    }
}

#[test]
fn defaults() {
    let cluster = load_text(&format!(
        "{HEAD}os: {{profile: flatcar}}\nnodes:\n  - {{name: a, role: control-plane, address: 192.0.2.1}}\n  - {{name: b, role: worker, address: 192.0.2.2}}\n"
    ))
    .cluster;
    assert_eq!(cluster.name.as_str(), "kubernetes");
    assert_eq!(cluster.endpoint.to_string(), "192.0.2.1:6443");
    assert_eq!(cluster.networking.services[0].to_string(), "10.96.0.0/12");
    assert!(cluster.networking.pods.is_empty());
    assert_eq!(cluster.networking.dns_domain.as_str(), "cluster.local");
    assert_eq!(cluster.certificates_dir.as_str(), "/etc/kubernetes/pki");
    assert_eq!(cluster.etcd.data_dir.as_str(), "/var/lib/etcd");
    assert_eq!(cluster.image_repository, "registry.k8s.io");
    assert_eq!((cluster.certificate_validity, cluster.ca_certificate_validity), (31_536_000, 315_360_000));
    assert_eq!(cluster.cni, Cni::None);
    assert!(cluster.proxy && cluster.dns.is_some());
    let [a, b] = cluster.nodes.as_slice() else { panic!() };
    assert_eq!(a.taints[0].to_string(), "node-role.kubernetes.io/control-plane:NoSchedule");
    assert!(b.taints.is_empty() && b.pod_cidrs.is_empty());
    assert_eq!((b.role, b.os.platform, b.os.arch), (Role::Worker, Platform::Metal, Arch::Amd64));
    assert!(!b.os.updates && b.os.users.is_empty());
    assert!(matches!(&a.binaries.kubelet, Binary::Path(path) if path.as_str() == "/opt/bin/kubelet"));
    assert!(matches!(&a.binaries.cni_plugins, Binary::Path(path) if path.as_str() == "/opt/cni/bin"));
    assert!(a.binaries.firstboot.is_none());
}

#[test]
fn nodes_lie_over_the_cluster() {
    let text = format!(
        r#"{HEAD}
os:
  profile: flatcar
  timeServers: [192.0.2.250]
  users:
    - {{name: core, groups: [sudo, docker]}}
    - {{name: root}}
  files:
    - {{path: /etc/a, content: base}}
    - {{path: /etc/b, content: base}}
kubelet: {{maxPods: 60, systemReserved: {{cpu: 200m, memory: 1Gi}}, evictionHard: {{}}}}
kubeletExtraArgs: [{{name: v, value: "1"}}, {{name: cloud-provider, value: external}}]
kernel: {{modules: [a], sysctls: [{{name: vm.a, value: 1}}, {{name: vm.b, value: 1, floor: true}}]}}
binaries: {{kubelet: {{url: "http://192.0.2.5/k", sha256: "{hash}"}}}}
nodes:
  - {{name: a, role: control-plane, address: 192.0.2.1}}
  - name: b
    role: worker
    address: 192.0.2.2
    os:
      profile: fedora-coreos
      timeServers: []
      users: [{{name: core, groups: [x]}}, {{name: extra}}]
      files: [{{path: /etc/b, content: own, mode: "0600"}}]
    kubelet: {{maxPods: 20, systemReserved: {{cpu: null}}}}
    kubeletExtraArgs: [{{name: v, value: "4"}}, {{name: v, value: "5"}}]
    kernel: {{sysctls: [{{name: vm.b, value: 2}}], swap: true}}
    binaries: {{kubelet: {{path: /usr/bin/kubelet}}}}
"#,
        hash = "ab".repeat(32)
    );
    let cluster = load_text(&text).cluster;
    let [a, b] = cluster.nodes.as_slice() else { panic!() };
    assert_eq!(
        serde_json::to_string(&*b.kubelet).unwrap(),
        r#"{"evictionHard":{},"maxPods":20,"systemReserved":{"memory":"1Gi"}}"#
    );
    assert_eq!(*a.kubelet, cluster.kubelet);
    let args =
        |node: &Node| node.kubelet_extra_args.iter().map(|a| format!("{}={}", a.name, a.value)).collect::<Vec<_>>();
    assert_eq!(args(a), ["v=1", "cloud-provider=external"]);
    assert_eq!(args(b), ["cloud-provider=external", "v=4", "v=5"]);
    let sysctls = |node: &Node| {
        node.kernel.sysctls.iter().map(|s| format!("{}={}{}", s.name, s.value, s.floor)).collect::<Vec<_>>()
    };
    assert_eq!(sysctls(b), ["vm.a=1false", "vm.b=2true"]);
    assert!(b.kernel.swap && !a.kernel.swap && b.kernel.modules.len() == 1);
    assert_eq!(b.os.profile.name, "fedora-coreos");
    assert!(b.os.time_servers.is_empty() && a.os.time_servers.len() == 1);
    let users =
        |node: &Node| node.os.users.iter().map(|u| format!("{}:{}", u.name, u.groups.join(","))).collect::<Vec<_>>();
    assert_eq!(users(a), ["core:sudo,docker", "root:"]);
    assert_eq!(users(b), ["core:x", "root:", "extra:wheel"]);
    let files = |node: &Node| {
        let text = |f: &OsFile| String::from_utf8_lossy(&f.contents.bytes).into_owned();
        node.os.files.iter().map(|f| format!("{} {} {}", f.path, f.mode, text(f))).collect::<Vec<_>>()
    };
    assert_eq!(files(a), ["/etc/a 0644 base", "/etc/b 0644 base"]);
    assert_eq!(files(b), ["/etc/a 0644 base", "/etc/b 0600 own"]);
    assert!(matches!(a.binaries.kubelet, Binary::Url { .. }) && matches!(b.binaries.kubelet, Binary::Path(_)));
}

#[test]
fn pod_networks_skip_what_is_taken() {
    let text = format!(
        r#"{HEAD}
addons: {{cni: bridge}}
networking: {{podSubnet: "10.244.0.0/16,fd00:1::/56", serviceSubnet: "10.96.0.0/16,fd00:2::/112"}}
os: {{profile: flatcar}}
nodes:
  - {{name: a, role: control-plane, address: ["2001:db8::1", 192.0.2.1]}}
  - {{name: b, role: worker, address: [192.0.2.2, "2001:db8::2"], podCIDR: "10.244.1.0/24,fd00:1::/64"}}
  - {{name: c, role: worker, address: [192.0.2.3, "2001:db8::3"]}}
"#
    );
    let cluster = load_text(&text).cluster;
    let cidrs: Vec<Vec<String>> =
        cluster.nodes.iter().map(|n| n.pod_cidrs.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(cidrs[0], ["10.244.0.0/24", "fd00:1:0:1::/64"]);
    assert_eq!(cidrs[1], ["10.244.1.0/24", "fd00:1::/64"]);
    assert_eq!(cidrs[2], ["10.244.2.0/24", "fd00:1:0:2::/64"]);
    // The primary family is the service network's first, whatever the node says first.
    assert_eq!(cluster.nodes[0].address().to_string(), "192.0.2.1");
    assert_eq!(cluster.endpoint.to_string(), "192.0.2.1:6443");
    let full = text.replace("10.244.0.0/16", "10.244.0.0/23");
    assert!(refused(&full).to_string().contains("too few /24 networks for 3 nodes"));
}

#[test]
fn several_findings_come_at_once_in_order() {
    let text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: latest\nadons: {}\nnetworking:\n  podSubnet: 10.96.0.0/14\n  serviceSubnet: 10.96.0.1/12\nos: {profile: flatcar, arch: z80}\nnodes:\n  - name: A\n    role: worker\n    address: 192.0.2.300\n    os: {}\n  - name: b\n    role: boss\n    address: 192.0.2.2\n    kubelet: {staticPodPath: /x}\nos: {}\n";
    assert_eq!(
        super::findings::findings(text),
        [
            "NK0303 kubernetesVersion 3:20",
            "NK0201 adons 4:1",
            "NK0402 networking.podSubnet 6:14",
            "NK0401 networking.serviceSubnet 7:18",
            "NK0302 os.arch 8:30",
            "NK0301 nodes[0].name 10:11",
            "NK0301 nodes[0].address 12:14",
            "NK0302 nodes[1].role 15:11",
            "NK0801 nodes[1].kubelet.staticPodPath 17:15",
            "NK0105  18:1",
        ]
    );
}

#[test]
fn an_alias_is_said_where_it_is() {
    let text = format!(
        "{HEAD}os: &o {{profile: flatcar, arch: z80}}\nnodes:\n  - {{name: a, role: control-plane, address: &x 192.0.2.1, os: *o}}\n  - {{name: b, role: worker, address: *x}}\n"
    );
    let found = super::findings::findings(&text);
    assert_eq!(found, ["NK0302 os.arch 4:33", "NK0305 nodes[1].address 7:38"]);
}

#[test]
fn input_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    let text = format!(
        "{HEAD}os:\n  profile: flatcar\n  files: [{{path: /etc/a, file: sub/a}}]\nbinaries: {{kubelet: {{file: kubelet}}}}\nnodes:\n  - {{name: a, role: control-plane, address: 192.0.2.1}}\n"
    );
    std::fs::write(&path, &text).unwrap();
    match load(&path) {
        Err(Failure::Findings(found)) => assert_eq!(found.count(), (2, 0), "{found}"),
        other => panic!("{other:?}"),
    }
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/a"), "A").unwrap();
    std::fs::write(folder.path().join("kubelet"), "ELF").unwrap();
    let loaded = load(&path).unwrap();
    let named: Vec<_> = loaded.inputs.iter().map(|i| i.path.as_str()).collect();
    assert_eq!(named, ["cluster.yaml", "kubelet", "sub/a"]);
    assert_eq!(loaded.inputs[0].sha256, nodekiln_plan::Sha256::of(text.as_bytes()));
    assert!(matches!(&loaded.cluster.nodes[0].binaries.kubelet, Binary::File(file) if &*file.bytes == b"ELF"));
    assert!(matches!(load(&folder.path().join("none.yaml")), Err(Failure::Io { .. })));
    assert!(matches!(load(folder.path()), Err(Failure::Io { .. })));
}

#[test]
fn ca_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    let text = format!(
        "{HEAD}os: {{profile: flatcar}}\ndelivery: {{mode: pointer, baseURL: 'https://192.0.2.5:8443/x/', caFile: ca.pem}}\nnodes:\n  - {{name: a, role: control-plane, address: 192.0.2.1}}\n"
    );
    std::fs::write(&path, text).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
    for (bytes, sound) in [
        (certificate.clone(), true),
        (format!("{certificate}{certificate}"), true),
        (format!("{certificate}{}", key.serialize_pem()), false),
        (String::new(), false),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), false),
    ] {
        std::fs::write(folder.path().join("ca.pem"), &bytes).unwrap();
        match load(&path) {
            Ok(loaded) => {
                assert!(sound && loaded.warnings.is_empty(), "{bytes}");
                assert_eq!(loaded.cluster.delivery.base_url.as_deref(), Some("https://192.0.2.5:8443/x"));
            }
            Err(Failure::Findings(found)) => {
                assert!(!sound, "{found}");
                assert_eq!(found.iter().next().unwrap().code, code::INPUT);
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let secret = "$6$s$Zz9Q8yTsecret";
    for text in [
        format!("{HEAD}os: {{profile: flatcar, users: [{{nam: x, passwordHash: '{secret}'}}]}}\n"),
        format!("{HEAD}os:\n  users:\n    - name: x\n      passwordHash: {secret}\n      passwordHash: {secret}\n"),
        format!("{HEAD}os: {{users: [{{passwordHash: '{secret}', name: [}}]}}\n"),
        format!("{HEAD}os: {{users: [{{passwordHash: [{secret}]}}]}}\n"),
        format!("{HEAD}os: {{users: [{{passwordHash: \"x {secret}\"}}]}}\n"),
        format!("{HEAD}os: {{files: [{{pat: /x, content: {secret}}}]}}\n"),
        format!("{HEAD}os:\n  users:\n    - passwordHash:\n        {secret}\n      nme: x\n"),
    ] {
        let found = refused(&text);
        let (text, json) = (found.to_string(), serde_json::to_string(&found).unwrap());
        assert!(!text.contains("Q8yT") && !json.contains("Q8yT"), "{text}");
        assert!(!format!("{found:?}").contains("Q8yT"));
    }
}

#[test]
fn pools_and_tokens() {
    let text = format!(
        "{HEAD}kubelet: {{maxPods: 60}}\nos: {{profile: flatcar}}\nnodes:\n  - {{name: a, role: control-plane, address: 192.0.2.1}}\n  - {{name: t, role: worker, address: 192.0.2.2, identity: bootstrap-token, ttl: 0}}\npools:\n  - name: burst\n    ttl: 720h\n    labels: {{pool: burst}}\n    kubelet: {{maxPods: 20}}\n    os: {{profile: fedora-coreos}}\n"
    );
    let loaded = load_text(&text);
    let cluster = &loaded.cluster;
    assert_eq!(cluster.nodes[1].identity, NodeIdentity::BootstrapToken { ttl: None });
    let [pool] = cluster.pools.as_slice() else { panic!() };
    assert_eq!((pool.kind, pool.role, pool.name.as_str()), (NodeKind::Pool, Role::Worker, "burst"));
    assert_eq!(pool.identity, NodeIdentity::BootstrapToken { ttl: Some(720 * 3600) });
    assert!(pool.addresses.is_empty() && pool.pod_cidrs.is_empty() && pool.taints.is_empty());
    assert_eq!((pool.kubelet["maxPods"].as_i64(), pool.os.profile.name.as_str()), (Some(20), "fedora-coreos"));
    let paths: Vec<_> = (0..).map_while(|index| loaded.places.payload(index)).map(|origin| origin.path).collect();
    assert_eq!(paths, ["nodes[0]", "nodes[1]", "pools[0]"]);
    assert_eq!(loaded.places.field(2, "labels").map(|origin| origin.path), Some("pools[0].labels".to_owned()));
    // Both say it: a list may be made of the two.
    assert_eq!(loaded.places.field(2, "kubelet"), None);
    assert_eq!(loaded.places.field(1, "kubelet").map(|origin| origin.path), Some("kubelet".to_owned()));
}

#[test]
fn balancers() {
    let load = |rest: &str| {
        let nodes = "nodes:\n  - {name: a, role: control-plane, address: 192.0.2.1}\n";
        let cluster = load_text(&format!("{HEAD}os: {{profile: flatcar}}\n{nodes}{rest}")).cluster;
        (cluster.load_balancer, cluster.endpoint.to_string())
    };
    let two = "  - {name: b, role: control-plane, address: 192.0.2.2}\n  - {name: c, role: control-plane, address: 192.0.2.3}\n";
    for (rest, balancer, endpoint) in [
        (String::new(), LoadBalancer::None, "192.0.2.1:6443"),
        ("controlPlaneEndpoint: 192.0.2.1:6443\n".to_owned(), LoadBalancer::None, "192.0.2.1:6443"),
        ("controlPlaneEndpoint: api.example:443\n".to_owned(), LoadBalancer::External, "api.example:443"),
        (format!("{two}controlPlaneEndpoint: 192.0.2.9:443\n"), LoadBalancer::External, "192.0.2.9:443"),
        (format!("{two}controlPlaneEndpoint: 192.0.2.2:6443\n"), LoadBalancer::None, "192.0.2.2:6443"),
        (format!("{two}loadBalancer: local\n"), LoadBalancer::Local, "127.0.0.1:7443"),
        (
            format!("{two}loadBalancer: local\ncontrolPlaneEndpoint: api.example:6443\n"),
            LoadBalancer::Local,
            "api.example:6443",
        ),
        (
            format!("{two}loadBalancer: kube-vip\ncontrolPlaneEndpoint: 192.0.2.9:6443\n"),
            LoadBalancer::KubeVip("192.0.2.9".parse().unwrap()),
            "192.0.2.9:6443",
        ),
    ] {
        assert_eq!(load(&rest), (balancer, endpoint.to_owned()), "{rest}");
    }
}

#[test]
fn gates_may_name_the_algorithm() {
    let nodes = "os: {profile: flatcar}\nnodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";
    for (rest, algorithm) in [
        ("", Algorithm::EcdsaP256),
        ("featureGates: {PublicKeysECDSA: true}\n", Algorithm::EcdsaP256),
        ("encryptionAlgorithm: ECDSA-P256\nfeatureGates: {PublicKeysECDSA: true}\n", Algorithm::EcdsaP256),
    ] {
        assert_eq!(load_text(&format!("{HEAD}{nodes}{rest}")).cluster.algorithm, algorithm, "{rest}");
    }
}

#[test]
fn both_families_in_every_order() {
    let load = |pods: &str, services: &str, addresses: &str| {
        let text = format!(
            "{HEAD}networking: {{podSubnet: '{pods}', serviceSubnet: '{services}'}}\nos: {{profile: flatcar}}\nnodes: [{{name: a, role: control-plane, address: {addresses}}}]\n"
        );
        let node = load_text(&text).cluster.nodes.remove(0);
        let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
        let pods: Vec<_> = node.pod_cidrs.iter().map(ToString::to_string).collect();
        (addresses.join(" "), pods.join(" "))
    };
    let (v4, v6) = ("10.244.0.0/16", "fd00:1::/56");
    let (s4, s6) = ("10.96.0.0/16", "fd00:2::/112");
    for addresses in ["[192.0.2.1, '2001:db8::1']", "['2001:db8::1', 192.0.2.1]"] {
        assert_eq!(
            load(&format!("{v4},{v6}"), &format!("{s4},{s6}"), addresses),
            ("192.0.2.1 2001:db8::1".to_owned(), "10.244.0.0/24 fd00:1::/64".to_owned())
        );
        assert_eq!(
            load(&format!("{v6},{v4}"), &format!("{s6},{s4}"), addresses),
            ("2001:db8::1 192.0.2.1".to_owned(), "fd00:1::/64 10.244.0.0/24".to_owned())
        );
    }
    assert_eq!(load(v6, s6, "'2001:db8::1'"), ("2001:db8::1".to_owned(), "fd00:1::/64".to_owned()));
}
