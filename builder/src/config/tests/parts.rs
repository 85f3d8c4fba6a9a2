//! Components, kernel, binaries, delivery. One row per rule: a change of a sound file, and its findings.

use super::findings::table;

#[test]
fn components() {
    table(&[
        ("", "etcd: {local: {dataDir: /etc/kubernetes/pki/etcd}}\n", &["NK0601 etcd.local.dataDir 10:25"]),
        ("", "certificatesDir: /var/lib/etcd/pki\n", &["NK0601 certificatesDir 10:18"]),
        ("", "certificatesDir: /data/pki\netcd: {local: {dataDir: /data/pk}}\n", &[]),
        (
            "",
            "apiServer: {extraArgs: [{name: audit-log-maxage, value: '30'}], certSANs: [Api.Example, '*.example', 192.0.2.3]}\n",
            &[],
        ),
        (
            "",
            "apiServer: {extraArgs: [{name: audit-log-maxage, value: 30}]}\n",
            &["NK0203 apiServer.extraArgs[0].value 10:57"],
        ),
        (
            "",
            "apiServer: {extraArgs: [{name: --v, value: '2'}, {name: '', value: ''}, {name: a=b, value: c}, {name: a}, {value: b}, {name: v, value: \"a\\nb\"}]}\n",
            &[
                "NK0301 apiServer.extraArgs[0].name 10:32",
                "NK0301 apiServer.extraArgs[1].name 10:57",
                "NK0301 apiServer.extraArgs[2].name 10:80",
                "NK0204 apiServer.extraArgs[3] 10:96",
                "NK0204 apiServer.extraArgs[4] 10:107",
                "NK0301 apiServer.extraArgs[5].value 10:136",
            ],
        ),
        ("", "apiServer: {extraArgs: {v: '2'}}\n", &["NK0202 apiServer.extraArgs 10:13"]),
        (
            "",
            "apiServer: {extraArgs: [{name: client-ca-file, value: x}, {name: etcd-servers, value: x}, {name: anonymous-auth, value: 'false'}, {name: authorization-mode, value: RBAC}, {name: authorization-mode, value: 'Node,RBAC,Webhook'}]}\n",
            &[
                "NK0801 apiServer.extraArgs[0].name 10:32",
                "NK0801 apiServer.extraArgs[1].name 10:66",
                "NK0801 apiServer.extraArgs[2].name 10:98",
                "NK0801 apiServer.extraArgs[3].value 10:165",
            ],
        ),
        (
            "",
            "apiServer: {certSANs: ['a b', '*', 'x.*.y']}\n",
            &[
                "NK0301 apiServer.certSANs[0] 10:24",
                "NK0301 apiServer.certSANs[1] 10:31",
                "NK0301 apiServer.certSANs[2] 10:36",
            ],
        ),
        (
            "",
            "apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /a, pathType: File}, {name: a, hostPath: /b, mountPath: /a}, {name: B, hostPath: c, mountPath: /c, pathType: Dir}, {}]}\n",
            &[
                "NK0305 apiServer.extraVolumes[1].name 10:91",
                "NK0305 apiServer.extraVolumes[1].mountPath 10:119",
                "NK0301 apiServer.extraVolumes[2].name 10:131",
                "NK0301 apiServer.extraVolumes[2].hostPath 10:144",
                "NK0302 apiServer.extraVolumes[2].pathType 10:172",
                "NK0204 apiServer.extraVolumes[3] 10:178",
                "NK0204 apiServer.extraVolumes[3] 10:178",
                "NK0204 apiServer.extraVolumes[3] 10:178",
            ],
        ),
        (
            "",
            "apiServer: {extraEnvs: [{name: A, value: b}, {name: A, value: 1}, {value: x}, {name: A, valueFrom: {secretKeyRef: {}}}, {name: A, x: y}, {name: 'a=b'}, a]}\n",
            &[
                "NK0203 apiServer.extraEnvs[1].value 10:56",
                "NK0204 apiServer.extraEnvs[2] 10:67",
                "NK0301 apiServer.extraEnvs[3].valueFrom.secretKeyRef 10:101",
                "NK0206 apiServer.extraEnvs[4].x 10:134",
                "NK0301 apiServer.extraEnvs[5].name 10:139",
                "NK0202 apiServer.extraEnvs[6] 10:153",
            ],
        ),
        (
            "",
            "controllerManager: {extraArgs: [{name: cluster-cidr, value: x}, {name: cluster-signing-duration, value: 1h}]}\n",
            &["NK0801 controllerManager.extraArgs[0].name 10:40"],
        ),
        (
            "",
            "scheduler: {extraArgs: [{name: kubeconfig, value: x}], certSANs: []}\n",
            &["NK0801 scheduler.extraArgs[0].name 10:32", "NK0201 scheduler.certSANs 10:56"],
        ),
        (
            "",
            "etcd: {local: {extraArgs: [{name: quota-backend-bytes, value: '1'}, {name: initial-cluster-state, value: new}, {name: enable_grpc_gateway, value: 'false'}, {name: listen-client-http-urls, value: x}]}}\n",
            &[
                "NK0801 etcd.local.extraArgs[1].name 10:76",
                "NK0801 etcd.local.extraArgs[2].name 10:119",
                "NK0801 etcd.local.extraArgs[3].name 10:164",
            ],
        ),
        (
            "",
            "etcd: {local: {extraEnvs: [{name: ETCD_FORCE_NEW_CLUSTER, value: 'true'}, {name: ETCD_LOG_LEVEL, value: debug}]}}\n",
            &["NK0801 etcd.local.extraEnvs[0].name 10:29"],
        ),
        ("", "etcd: {local: {dataDir: /run/etcd}}\n", &["NK0601 etcd.local.dataDir 10:25"]),
        ("", "etcd: {local: {dataDir: /var/lib}}\n", &["NK0601 etcd.local.dataDir 10:25"]),
        ("", "etcd: {local: {dataDir: /usr/local/etcd}}\n", &["NK0602 etcd.local.dataDir 10:25"]),
        ("", "etcd: {local: {dataDir: /data/etcd, imageTag: 3.6.8-0, serverCertSANs: [etcd.example]}}\n", &[]),
        ("", "etcd: {local: {imageTag: 3.6}}\n", &["NK0203 etcd.local.imageTag 10:26"]),
        (
            "",
            "kubelet: {maxPods: 60, clusterDNS: [10.96.0.10], authentication: {anonymous: {enabled: true}, webhook: {cacheTTL: 1m}}, staticPodPath: /x}\n",
            &["NK0801 kubelet.authentication.anonymous 10:67", "NK0801 kubelet.staticPodPath 10:121"],
        ),
        ("", "kubelet: {clusterDNS: [10.96.0.53]}\n", &[]),
        ("", "kubelet: {cgroupDriver: cgroupfs}\n", &["NK0801 kubelet.cgroupDriver 10:11"]),
        ("", "    kubelet: {cgroupDriver: 1}\n", &["NK0801 nodes[0].kubelet.cgroupDriver 10:15"]),
        ("", "kubelet: {cgroupDriver: systemd}\n", &[]),
        ("", "kubeletExtraArgs: [{name: cgroup-driver, value: systemd}]\n", &[]),
        (
            "",
            "kubeletExtraArgs: [{name: cgroup-driver, value: cgroupfs}]\n",
            &["NK0801 kubeletExtraArgs[0].name 10:27"],
        ),
        ("", "kubelet: {apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration}\n", &[]),
        (
            "",
            "kubelet: {apiVersion: v1, kind: Kubelet}\n",
            &["NK0301 kubelet.apiVersion 10:11", "NK0301 kubelet.kind 10:27"],
        ),
        ("", "kubelet: [a]\n", &["NK0202 kubelet 10:1"]),
        (
            "",
            "    kubelet: {registerWithTaints: [], maxPods: 20}\n",
            &["NK0801 nodes[0].kubelet.registerWithTaints 10:15"],
        ),
        (
            "",
            "kubeProxy: {mode: nftables, hostnameOverride: x, clientConnection: {kubeconfig: x, qps: 5}}\n",
            &["NK0801 kubeProxy.hostnameOverride 10:29", "NK0801 kubeProxy.clientConnection.kubeconfig 10:69"],
        ),
        (
            "",
            "kubeletExtraArgs: [{name: node-ip, value: x}, {name: cloud-provider, value: external}]\n",
            &["NK0801 kubeletExtraArgs[0].name 10:27"],
        ),
        ("", "    kubeletExtraArgs: [{name: config, value: x}]\n", &["NK0801 nodes[0].kubeletExtraArgs[0].name 10:31"]),
    ]);
}

#[test]
fn fragments() {
    table(&[
        ("", "kubelet: {maxpods: 60}\n", &["NK0201 kubelet.maxpods 10:11"]),
        (
            "",
            "kubelet: {maxPods: 60, evictionHard: {a: b}, featureGates: {X: true}, maxPodss: 1}\n",
            &["NK0201 kubelet.maxPodss 10:71"],
        ),
        (
            "",
            "    kubelet: {x.y: 1, logging: {verbosity: 2, format: json, options: {json: {split: true}}}}\n",
            &["NK0201 nodes[0].kubelet[\"x.y\"] 10:15", "NK0201 nodes[0].kubelet.logging.options.json.split 10:78"],
        ),
        (
            "",
            "kubelet: {maxPod: null, memorySwap: {SwapBehavior: x}, shutdownGracePeriodByPodPriority: [{a: 1}]}\n",
            &["NK0201 kubelet.maxPod 10:11", "NK0201 kubelet.memorySwap.SwapBehavior 10:38"],
        ),
        (
            "",
            "kubeProxy: {Mode: nftables, nftables: {masquerade: true, syncPeriod: 1s}, maxPods: 1}\n",
            &[
                "NK0201 kubeProxy.Mode 10:13",
                "NK0201 kubeProxy.nftables.masquerade 10:40",
                "NK0201 kubeProxy.maxPods 10:75",
            ],
        ),
        (
            "",
            "kubeProxy: {apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, conntrack: {min: 1}}\n",
            &[],
        ),
    ]);
}

#[test]
fn kernel() {
    table(&[
        (
            "",
            "kernel: {modules: [br_netfilter, nf-nat, 'a b', br_netfilter], swap: true}\n",
            &["NK0301 kernel.modules[2] 10:42", "NK0305 kernel.modules[3] 10:49"],
        ),
        (
            "",
            "kernel: {sysctls: [{name: vm.max_map_count, value: 262144, floor: true}, {name: net.ipv4.tcp_rmem, value: '4096  131072 6291456'}]}\n",
            &[],
        ),
        (
            "",
            "kernel: {sysctls: [{name: net.ipv4.ip_forward, value: 0}, {name: net.ipv6.conf.all.forwarding, value: 0}]}\n",
            &["NK0802 kernel.sysctls[0].value 10:55"],
        ),
        (
            "",
            "kernel: {sysctls: [{name: a.b, value: 1 2, floor: true}, {name: a.c}, {value: 1}, {name: a/b/c, value: 1}, {name: a.b, value: 010}, {name: 'a b', value: 1}, {name: d.e, value: true}]}\n",
            &[
                "NK0802 kernel.sysctls[0].floor 10:51",
                "NK0204 kernel.sysctls[1] 10:58",
                "NK0204 kernel.sysctls[2] 10:71",
                "NK0301 kernel.sysctls[3].name 10:90",
                "NK0305 kernel.sysctls[4].name 10:115",
                "NK0206 kernel.sysctls[4].value 10:127",
                "NK0301 kernel.sysctls[5].name 10:140",
                "NK0202 kernel.sysctls[6].value 10:177",
            ],
        ),
    ]);
}

#[test]
fn binaries() {
    table(&[
        ("", "binaries: {kubelet: {path: /usr/bin/kubelet}}\n", &[]),
        ("", "binaries: {kubeletd: {path: /usr/bin/kubelet}}\n", &["NK0201 binaries.kubeletd 10:12"]),
        ("", "binaries: {kubelet: {}}\n", &["NK0701 binaries.kubelet 10:12"]),
        ("", "binaries: {kubelet: {path: /a, file: b}}\n", &["NK0701 binaries.kubelet.file 10:38"]),
        ("", "binaries: {kubelet: {path: /a, sha256: b}}\n", &["NK0701 binaries.kubelet.sha256 10:40"]),
        ("", "binaries: {kubelet: {file: nowhere}}\n", &["NK0901 binaries.kubelet.file 10:28"]),
        ("", "binaries: {kubelet: {sysext: 'http://a/b'}}\n", &["NK0701 binaries.kubelet 10:12"]),
        ("", "binaries: {kubelet: {url: 'http://a/b'}}\n", &["NK0701 binaries.kubelet 10:12"]),
        (
            "",
            "binaries: {kubelet: {url: 'ftp://a/b', sha256: '12'}}\n",
            &["NK0701 binaries.kubelet.url 10:27", "NK0701 binaries.kubelet.sha256 10:48"],
        ),
        (
            "",
            "binaries: {kubelet: {url: 'http://a/b', sha256: 1111111111111111111111111111111111111111111111111111111111111111}}\n",
            &["NK0203 binaries.kubelet.sha256 10:49"],
        ),
        (
            "",
            "binaries: {kubelet: {url: 'http://a/b', sha256: 'gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg'}}\n",
            &["NK0701 binaries.kubelet.sha256 10:49"],
        ),
        (
            "",
            "binaries: {kubelet: {url: 'http://a/b', sha256: 'aBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaB'}}\n",
            &[],
        ),
        (
            "",
            "binaries: {kubelet: {url: 'http://a/b', sha512: 'abababababababababababababababababababababababababababababababab'}}\n",
            &["NK0701 binaries.kubelet.sha512 10:49"],
        ),
        (
            "",
            "binaries: {kubelet: {url: 'http://a/b', sha256: 'abababababababababababababababababababababababababababababababab', sha512: 'abababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababab'}}\n",
            &["NK0701 binaries.kubelet.sha512 10:125"],
        ),
    ]);
}

#[test]
fn delivery() {
    table(&[
        ("", "delivery: {mode: pointer}\n", &["NK0702 delivery.mode 10:18"]),
        ("", "delivery: {mode: stub}\n", &["NK0302 delivery.mode 10:18"]),
        ("", "delivery: {mode: pointer, baseURL: 'http://192.0.2.5'}\n", &["NK0702 delivery.baseURL 10:36"]),
        ("", "delivery: {mode: pointer, baseURL: 'http://192.0.2.5', insecure: true}\n", &[]),
        ("", "delivery: {mode: pointer, baseURL: 'https://192.0.2.5'}\n", &["warning NK0702 delivery.baseURL 10:36"]),
        ("", "delivery: {mode: pointer, baseURL: 'https://serve.example/x/'}\n", &[]),
        (
            "",
            "delivery: {mode: pointer, baseURL: 'https://serve.example'}\npools:\n  - {name: p, ttl: 1h, os: {profile: cloud-init}}\n",
            &["NK0702 delivery.mode 10:18"],
        ),
        ("", "delivery: {baseURL: 'http://192.0.2.5/?a'}\n", &["NK0301 delivery.baseURL 10:21"]),
        ("", "delivery: {baseURL: nonsense}\n", &["NK0701 delivery.baseURL 10:21"]),
        ("", "delivery: {caFile: nowhere.pem}\n", &["NK0901 delivery.caFile 10:20"]),
        (
            "profile: flatcar}",
            "profile: cloud-init}\ndelivery: {mode: pointer, baseURL: 'https://serve.example'}",
            &["NK0702 delivery.mode 6:18"],
        ),
    ]);
}
