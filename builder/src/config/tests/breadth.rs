//! The fields beside the straight road: pools, tokens, disks, replacements, etcd elsewhere, balancers, gates, digests.
//! One row per rule: a change of a sound file, and its findings.

use super::findings::table_of_all_but_later as table;

#[test]
fn pools() {
    table(&[
        ("", "pools:\n  - {name: p, ttl: 720h, labels: {a: b}, taints: ['a:NoSchedule']}\n", &[]),
        ("", "pools:\n  - {name: p, ttl: 0}\n  - {name: q, ttl: '0', os: {profile: cloud-init}}\n", &[]),
        ("", "pools:\n  - {name: p}\n", &["NK0204 pools[0] 11:5"]),
        ("", "pools:\n  - {ttl: 1h}\n", &["NK0204 pools[0] 11:5"]),
        ("", "pools:\n  - {name: p, ttl: 24}\n", &["NK0203 pools[0].ttl 11:20"]),
        ("", "pools:\n  - {name: p, ttl: -1h}\n", &["NK0304 pools[0].ttl 11:20"]),
        ("", "pools:\n  - {name: p, ttl: 1d}\n", &["NK0304 pools[0].ttl 11:20"]),
        ("", "pools:\n  - {name: a, ttl: 1h}\n", &["NK0305 pools[0].name 11:12"]),
        ("", "pools:\n  - {name: p, ttl: 1h}\n  - {name: p, ttl: 1h}\n", &["NK0305 pools[1].name 12:12"]),
        ("", "pools:\n  - {name: P_, ttl: 1h}\n", &["NK0301 pools[0].name 11:12"]),
        (
            "",
            "pools:\n  - {name: p0123456789012345678901234567890123456789012345678901234, ttl: 1h}\n",
            &["NK0301 pools[0].name 11:12"],
        ),
        ("", "pools:\n  - {name: p, ttl: 1h, role: worker}\n", &["NK0201 pools[0].role 11:24"]),
        (
            "",
            "pools:\n  - {name: p, ttl: 1h, labels: {node-role.kubernetes.io/edge: '', topology.kubernetes.io/zone: x, node-restriction.kubernetes.io/a: b}}\n",
            &[
                "NK0502 pools[0].labels[\"node-role.kubernetes.io/edge\"] 11:33",
                "NK0502 pools[0].labels[\"node-restriction.kubernetes.io/a\"] 11:99",
            ],
        ),
        ("", "pools:\n  - {name: p, ttl: 1h, taints: [x]}\n", &["NK0503 pools[0].taints[0] 11:33"]),
        (
            "",
            "pools:\n  - {name: p, ttl: 1h, kubernetesVersion: v1.37.0}\n",
            &["NK0303 pools[0].kubernetesVersion 11:43"],
        ),
        (
            "",
            "pools:\n  - {name: p, ttl: 1h, kubelet: {maxpods: 1}, kernel: {modules: ['a b']}, kubeletExtraArgs: [{name: config, value: x}]}\n",
            &[
                "NK0201 pools[0].kubelet.maxpods 11:34",
                "NK0301 pools[0].kernel.modules[0] 11:66",
                "NK0801 pools[0].kubeletExtraArgs[0].name 11:101",
            ],
        ),
        ("", "pools:\n  - {name: p, ttl: 1h}\naddons: {cni: bridge}\n", &["NK0407 pools 10:1"]),
        // One /24 for the node, none left for the pool.
        ("10.244.0.0/16}", "10.244.0.0/24}\npools: [{name: p, ttl: 1h}]", &["NK0404 networking.podSubnet 4:25"]),
    ]);
}

#[test]
fn identity() {
    table(&[
        ("", "  - {name: w, role: worker, address: 192.0.2.9, identity: bootstrap-token, ttl: 1h}\n", &[]),
        (
            "",
            "  - {name: w, role: worker, address: 192.0.2.9, identity: bootstrap-token}\n",
            &["NK0204 nodes[1].identity 10:59"],
        ),
        ("", "  - {name: w, role: worker, address: 192.0.2.9, ttl: 1h}\n", &["NK0504 nodes[1].ttl 10:54"]),
        ("", "    ttl: 1h\n    identity: baked\n", &["NK0504 nodes[0].ttl 10:10"]),
        ("", "    ttl: 1h\n    identity: bootstrap-token\n", &["NK0504 nodes[0].identity 11:15"]),
    ]);
}

#[test]
fn disks_and_replacements() {
    const ETCD: &str = "  - {name: b, role: control-plane, address: 192.0.2.2, ";
    let row = |field: &str| format!("{ETCD}{field}}}\ncontrolPlaneEndpoint: api.example:6443\n");
    const EVEN: &str = "warning NK0501 nodes 6:1";
    table(&[
        ("", "    disk: /dev/disk/by-id/nvme-X\n", &[]),
        ("", "    disk: /dev/nvme0n1\n", &[]),
        ("", "    disk: /dev/sda\n", &["warning NK0506 nodes[0].disk 10:11"]),
        ("", "    disk: sda\n", &["NK0301 nodes[0].disk 10:11"]),
        ("", "    disk: /mnt/x\n", &["NK0506 nodes[0].disk 10:11"]),
        ("", "    disk: /dev\n", &["NK0506 nodes[0].disk 10:11"]),
        ("", &row("replaces: dead"), &[EVEN]),
        ("", &row("replaces: dead@192.0.2.7"), &[EVEN]),
        ("", &row("replaces: a"), &[EVEN, "NK0505 nodes[1].replaces 10:66"]),
        ("", &row("replaces: b"), &[EVEN, "NK0505 nodes[1].replaces 10:66"]),
        ("", &row("replaces: dead@192.0.2.1"), &[EVEN, "NK0505 nodes[1].replaces 10:66"]),
        ("", &row("replaces: dead@10.244.3.4"), &[EVEN, "NK0402 nodes[1].replaces 10:66"]),
        ("", &row("replaces: dead@10.96.0.9"), &[EVEN, "NK0402 nodes[1].replaces 10:66"]),
        ("", &row("replaces: dead@host"), &[EVEN, "NK0301 nodes[1].replaces 10:66"]),
        ("", &row("replaces: 'dead@'"), &[EVEN, "NK0301 nodes[1].replaces 10:66"]),
        ("", &row("replaces: DEAD"), &[EVEN, "NK0301 nodes[1].replaces 10:66"]),
        (
            "",
            "    replaces: dead\n  - {name: b, role: control-plane, address: 192.0.2.2, replaces: dead}\ncontrolPlaneEndpoint: api.example:6443\n",
            &[EVEN, "NK0305 nodes[1].replaces 11:66"],
        ),
        ("", "  - {name: w, role: worker, address: 192.0.2.9, replaces: dead}\n", &["NK0505 nodes[1].replaces 10:59"]),
    ]);
}

#[test]
fn etcd_nodes() {
    const E1: &str = "  - {name: e1, role: etcd, address: 192.0.2.31";
    table(&[
        ("", &format!("{E1}}}\n"), &[]),
        ("", &format!("{E1}}}\n  - {{name: e2, role: etcd, address: 192.0.2.32}}\n"), &["warning NK0501 nodes 6:1"]),
        ("role: control-plane", "role: etcd", &["NK0501 nodes 6:1"]),
        (
            "",
            &format!("{E1}, labels: {{a: b}}, taints: [], podCIDR: 10.244.9.0/24}}\naddons: {{cni: bridge}}\n"),
            &["NK0501 nodes[1].labels 10:49", "NK0501 nodes[1].taints 10:65", "NK0501 nodes[1].podCIDR 10:86"],
        ),
        ("", &format!("    replaces: dead\n{E1}}}\n"), &["NK0505 nodes[0].replaces 10:15"]),
        ("", &format!("{E1}, identity: bootstrap-token, ttl: 1h}}\n"), &["NK0504 nodes[1].identity 10:59"]),
        ("", &format!("{E1}}}\ncontrolPlaneEndpoint: 192.0.2.31:6443\n"), &["NK0405 controlPlaneEndpoint 11:23"]),
        (
            "",
            &format!("{E1}}}\netcd: {{external: {{endpoints: ['https://etcd.example:2379']}}}}\n"),
            &["NK0507 nodes[1].role 10:22"],
        ),
    ]);
}

#[test]
fn external_etcd() {
    let row = |inside: &str| format!("etcd: {{external: {{{inside}}}}}\n");
    let one = "endpoints: ['https://192.0.2.30:2379']";
    table(&[
        ("", &row(one), &[]),
        ("", &row(&format!("{one}, caFile: /etc/e/ca.crt, certFile: /etc/e/c.crt, keyFile: /etc/e/c.key")), &[]),
        ("", &row(""), &["NK0204 etcd.external 10:8"]),
        ("", &row("endpoints: []"), &["NK0507 etcd.external.endpoints 10:19"]),
        (
            "",
            &row("endpoints: ['192.0.2.30:2379', 'https://192.0.2.30', 'https://a:1', 'https://a:1/']"),
            &[
                "NK0507 etcd.external.endpoints[0] 10:31",
                "NK0507 etcd.external.endpoints[1] 10:50",
                "NK0305 etcd.external.endpoints[3] 10:87",
            ],
        ),
        ("", &row("endpoints: ['http://a:2379']"), &["warning NK0507 etcd.external.endpoints[0] 10:31"]),
        ("", &row("endpoints: ['http://a:2379'], caFile: /etc/e/ca.crt"), &["NK0507 etcd.external.endpoints[0] 10:31"]),
        (
            "",
            &row(&format!("{one}, caFile: /etc/e/ca.crt, certFile: /etc/e/c.crt")),
            &["NK0507 etcd.external.certFile 10:92"],
        ),
        (
            "",
            &row(&format!("{one}, caFile: /etc/e/ca.crt, keyFile: /etc/e/c.key")),
            &["NK0507 etcd.external.keyFile 10:91"],
        ),
        (
            "",
            &row(&format!("{one}, certFile: /etc/e/c.crt, keyFile: /etc/e/c.key")),
            &["NK0507 etcd.external.certFile 10:69"],
        ),
        ("", &row(&format!("{one}, caFile: /etc/../ca.crt")), &["NK0301 etcd.external.caFile 10:67"]),
        ("", &row(&format!("{one}, caFile: nowhere.crt")), &["NK0901 etcd.external.caFile 10:67"]),
        ("", &format!("etcd: {{external: {{{one}}}, local: {{imageTag: 3.6.8-0}}}}\n"), &["NK0507 etcd.external 10:8"]),
        // Nobody here votes: two control planes are no even number of members.
        (
            "",
            &format!(
                "  - {{name: b, role: control-plane, address: 192.0.2.2}}\ncontrolPlaneEndpoint: api.example:6443\netcd: {{external: {{{one}}}}}\n"
            ),
            &[],
        ),
    ]);
}

#[test]
fn load_balancers() {
    const TWO: &str = "  - {name: b, role: control-plane, address: 192.0.2.2}\n  - {name: c, role: control-plane, address: 192.0.2.3}\n";
    let three = |rest: &str| format!("{TWO}{rest}");
    table(&[
        ("", &three("loadBalancer: local\n"), &[]),
        ("", &three("controlPlaneEndpoint: 192.0.2.1:6443\nloadBalancer: local\n"), &[]),
        ("", &three("controlPlaneEndpoint: 127.0.0.1:7443\nloadBalancer: local\n"), &[]),
        (
            "",
            &three("controlPlaneEndpoint: 127.0.0.1:6443\nloadBalancer: local\n"),
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        ("", &three("controlPlaneEndpoint: 192.0.2.5:6443\nloadBalancer: kube-vip\n"), &[]),
        ("", &three("loadBalancer: kube-vip\n"), &["NK0405 loadBalancer 12:15"]),
        (
            "",
            &three("controlPlaneEndpoint: 192.0.2.2:6443\nloadBalancer: kube-vip\n"),
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            &three("controlPlaneEndpoint: api.example:6443\nloadBalancer: kube-vip\n"),
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            &three("controlPlaneEndpoint: 192.0.2.5:443\nloadBalancer: kube-vip\n"),
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            &three("controlPlaneEndpoint: '[2001:db8::5]:6443'\nloadBalancer: kube-vip\n"),
            &["NK0403 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/28]}\ncontrolPlaneEndpoint: 192.0.2.20:6443\nloadBalancer: kube-vip\n",
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24, 192.0.2.20/24]}\ncontrolPlaneEndpoint: 192.0.2.20:6443\nloadBalancer: kube-vip\n",
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24]}\ncontrolPlaneEndpoint: 192.0.2.20:6443\nloadBalancer: kube-vip\n",
            &[],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24], gateway: 192.0.2.254}\ncontrolPlaneEndpoint: 192.0.2.255:6443\nloadBalancer: kube-vip\n",
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24], gateway: 192.0.2.254}\ncontrolPlaneEndpoint: 192.0.2.0:6443\nloadBalancer: kube-vip\n",
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24], gateway: 192.0.2.254}\ncontrolPlaneEndpoint: 192.0.2.254:6443\nloadBalancer: kube-vip\n",
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
        ("", &three("loadBalancer: none\n"), &["NK0405  1:1"]),
        (
            "",
            &three("controlPlaneEndpoint: api.example:6443\nloadBalancer: none\n"),
            &["NK0405 controlPlaneEndpoint 12:23"],
        ),
    ]);
}

#[test]
fn gates_and_digests() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    table(&[
        ("", "featureGates: {NodeLocalCRISocket: true, RootlessControlPlane: false}\n", &[]),
        ("", "featureGates: {PublicKeysECDSA: true}\n", &[]),
        (
            "",
            "encryptionAlgorithm: ECDSA-P256\nfeatureGates: {PublicKeysECDSA: false}\n",
            &["NK0803 featureGates.PublicKeysECDSA 11:16"],
        ),
        ("", "featureGates: {RootlessControlPlane: true}\n", &["NK0803 featureGates.RootlessControlPlane 10:16"]),
        ("", "featureGates: {NodeLocalCRISockets: true}\n", &["NK0803 featureGates.NodeLocalCRISockets 10:16"]),
        ("", "featureGates: {NodeLocalCRISocket: 'true'}\n", &["NK0202 featureGates.NodeLocalCRISocket 10:36"]),
        ("", "featureGates: [a]\n", &["NK0202 featureGates 10:1"]),
        ("", &format!("images: {{digests: {{'registry.k8s.io/pause:3.10.2': '{digest}'}}}}\n"), &[]),
        (
            "",
            &format!(
                "images: {{digests: {{registry.k8s.io/pause: '{digest}', pause:1: '{digest}', 'a/b:1@{digest}': '{digest}', 'a/b:-': '{digest}', 'a/b:1': 'sha256:00', 'a/b:2': '{}'}}}}\n",
                digest.to_uppercase()
            ),
            &[
                "NK0704 images.digests[\"registry.k8s.io/pause\"] 10:20",
                "NK0704 images.digests[\"pause:1\"] 10:118",
                "NK0704 images.digests[\"a/b:1@sha256:abababababababababababababababababababababababababababababababab\"] 10:202",
                "NK0301 images.digests[\"a/b:-\"] 10:358",
                "NK0704 images.digests[\"a/b:1\"] 10:451",
                "NK0704 images.digests[\"a/b:2\"] 10:473",
            ],
        ),
    ]);
}

#[test]
fn version_skew() {
    table(&[
        ("", "    kubernetesVersion: v1.35.2\n", &[]),
        ("", "    kubernetesVersion: v1.34.2\n", &["NK0303 nodes[0].kubernetesVersion 10:24"]),
        ("", "    kubernetesVersion: v1.36.4\n", &["NK0303 nodes[0].kubernetesVersion 10:24"]),
        ("", "    kubernetesVersion: v1.37.0\n", &["NK0303 nodes[0].kubernetesVersion 10:24"]),
        ("", "  - {name: w, role: worker, address: 192.0.2.9, kubernetesVersion: v1.33.2}\n", &[]),
        (
            "",
            "  - {name: w, role: worker, address: 192.0.2.9, kubernetesVersion: v1.32.2}\n",
            &["NK0303 nodes[1].kubernetesVersion 10:68"],
        ),
        ("v1.36.3", "v1.37.0", &["warning NK0303 kubernetesVersion 3:20"]),
    ]);
}
