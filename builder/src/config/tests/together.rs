//! Findings do not hide each other: every fault of a table is found alone, beside each other one, and among all.

use super::*;
use std::collections::BTreeSet;

const BROAD: &str = r#"apiVersion: nodekiln/v1alpha1
kind: Cluster
clusterName: broad
kubernetesVersion: v1.36.3
controlPlaneEndpoint: 192.0.2.100:6443
loadBalancer: kube-vip
networking:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
  dnsDomain: cluster.local
apiServer:
  extraArgs: [{name: audit-log-maxage, value: "30"}, {name: profiling, value: "false"}]
  extraVolumes: [{name: audit, hostPath: /var/log/audit, mountPath: /audit}, {name: more, hostPath: /more, mountPath: /moredata}]
  extraEnvs: [{name: GOGC, value: "80"}]
  certSANs: [api.example]
controllerManager: {extraArgs: [{name: node-monitor-period, value: 5s}]}
etcd:
  local:
    dataDir: /var/lib/etcd
    imageTag: 3.6.8-0
    extraArgs: [{name: quota-backend-bytes, value: "4294967296"}]
    extraEnvs: [{name: ETCD_METRICS, value: basic}]
    peerCertSANs: [etcd.example]
dns: {imageTag: v1.12.4}
certificatesDir: /etc/kubernetes/pki
imageRepository: mirror.example/k8s
encryptionAlgorithm: ECDSA-P384
certificateValidityPeriod: 8760h
caCertificateValidityPeriod: 87600h
featureGates: {NodeLocalCRISocket: true}
kubelet: {maxPods: 60, clusterDNS: [10.96.0.10]}
kubeProxy: {mode: nftables}
kubeletExtraArgs: [{name: v, value: "2"}]
ignorePreflightErrors: [NumCPU]
timeouts: {kubeletHealthCheck: 4m, etcdAPICall: 2m}
os:
  profile: flatcar
  platform: metal
  arch: amd64
  ignitionVersion: 3.4.0
  users: [{name: core, groups: [docker], sshAuthorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F me"]}]
  timeServers: [192.0.2.123]
  updates: off
  files: [{path: /etc/motd, mode: "0644", content: hi}]
  units: [{name: own.service, enabled: true, content: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}]
binaries:
  kubelet: {url: "https://files.example/kubelet", sha256: "abababababababababababababababababababababababababababababababab"}
  runc: {path: /usr/bin/runc}
kernel: {modules: [ip_vs], sysctls: [{name: vm.max_map_count, value: 262144, floor: true}, {name: vm.swappiness, value: 10}]}
images: {digests: {"mirror.example/k8s/pause:3.10.2": "sha256:abababababababababababababababababababababababababababababababab"}}
addons: {cni: flannel}
delivery: {mode: pointer, baseURL: "https://files.example/x"}
nodes:
  - name: cp1
    role: control-plane
    address: 192.0.2.11
    mac: "52:54:00:00:00:01"
    network: {addresses: [192.0.2.11/24], gateway: 192.0.2.254, nameservers: [192.0.2.253]}
    taints: ["gpu=yes:NoSchedule"]
    disk: /dev/disk/by-id/x
  - {name: cp2, role: control-plane, address: 192.0.2.12, kernel: {modules: [ip_gre]}}
  - {name: cp3, role: control-plane, address: 192.0.2.13, replaces: dead}
  - name: w1
    role: worker
    address: 192.0.2.21
    uuid: 4c4c4544-0000-0000-0000-000000000001
    labels: {rack: a1}
    kubernetesVersion: v1.35.2
    os: {timeServers: [ntp.example]}
    kubelet: {maxPods: 20}
  - {name: w2, role: worker, address: 192.0.2.22, identity: bootstrap-token, ttl: 720h}
pools:
  - {name: burst, ttl: 24h, labels: {pool: burst}, taints: ["burst:NoSchedule"]}
"#;

/// What is replaced, by what, and the finding that it gives: code and path.
const FAULTS: &[(&str, &str, &str)] = &[
    ("nodekiln/v1alpha1", "v1", "NK0302 apiVersion"),
    ("kind: Cluster", "kind: Clusters", "NK0302 kind"),
    ("clusterName: broad", "clusterName: ''", "NK0301 clusterName"),
    ("clusterName: broad", "clustername: broad", "NK0201 clustername"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: latest", "NK0303 kubernetesVersion"),
    ("kubernetesVersion: v1.36.3", "kubernetesVersion: v1.20.0", "NK0303 kubernetesVersion"),
    ("192.0.2.100:6443", "192.0.2.100:0", "NK0405 controlPlaneEndpoint"),
    ("192.0.2.100:6443", "192.0.2.100:443", "NK0405 controlPlaneEndpoint"),
    ("192.0.2.100:6443", "192.0.2.12:6443", "NK0405 controlPlaneEndpoint"),
    ("192.0.2.100:6443", "10.96.0.9:6443", "NK0402 controlPlaneEndpoint"),
    ("192.0.2.100:6443", "192.0.3.1:6443", "NK0405 controlPlaneEndpoint"),
    ("loadBalancer: kube-vip", "loadBalancer: metallb", "NK0302 loadBalancer"),
    ("podSubnet: 10.244.0.0/16", "podSubnet: 10.244.0.1/16", "NK0401 networking.podSubnet"),
    ("podSubnet: 10.244.0.0/16", "podSubnet: 10.96.0.0/12", "NK0402 networking.podSubnet"),
    ("podSubnet: 10.244.0.0/16", "podSubnet: 10.244.0.0/22", "NK0404 networking.podSubnet"),
    ("podSubnet: 10.244.0.0/16", "podSubnet: fd00::/48", "NK0403 networking.podSubnet"),
    ("podSubnet: 10.244.0.0/16", "podSubnet: 192.0.2.0/24", "NK0402 nodes[0].address"),
    ("serviceSubnet: 10.96.0.0/16", "serviceSubnet: 10.96.0.0/30", "NK0404 networking.serviceSubnet"),
    ("serviceSubnet: 10.96.0.0/16", "serviceSubnet: 10.0.0.0/8", "NK0401 networking.serviceSubnet"),
    ("serviceSubnet: 10.96.0.0/16", "serviceSubnet: 1", "NK0203 networking.serviceSubnet"),
    ("cluster.local", "Cluster_Local", "NK0301 networking.dnsDomain"),
    ("name: audit-log-maxage", "name: --audit-log-maxage", "NK0301 apiServer.extraArgs[0].name"),
    ("value: \"30\"", "value: 30", "NK0203 apiServer.extraArgs[0].value"),
    ("name: profiling", "name: etcd-servers", "NK0801 apiServer.extraArgs[1].name"),
    ("value: \"false\"", "value: \"a\\nb\"", "NK0301 apiServer.extraArgs[1].value"),
    ("name: audit,", "name: Audit,", "NK0301 apiServer.extraVolumes[0].name"),
    ("name: more,", "name: audit,", "NK0305 apiServer.extraVolumes[1].name"),
    ("mountPath: /moredata", "mountPath: more", "NK0301 apiServer.extraVolumes[1].mountPath"),
    ("mountPath: /moredata", "mountPath: /audit", "NK0305 apiServer.extraVolumes[1].mountPath"),
    ("hostPath: /more,", "hostPath: /more, pathType: Folder,", "NK0302 apiServer.extraVolumes[1].pathType"),
    ("hostPath: /var/log/audit", "hostPath: var", "NK0301 apiServer.extraVolumes[0].hostPath"),
    ("name: GOGC", "name: 'GO=GC'", "NK0301 apiServer.extraEnvs[0].name"),
    ("value: \"80\"", "value: 80", "NK0203 apiServer.extraEnvs[0].value"),
    ("api.example]", "-api.example]", "NK0301 apiServer.certSANs[0]"),
    ("node-monitor-period", "cluster-cidr", "NK0801 controllerManager.extraArgs[0].name"),
    ("dataDir: /var/lib/etcd", "dataDir: /run/etcd", "NK0601 etcd.local.dataDir"),
    ("imageTag: 3.6.8-0", "imageTag: 3.6", "NK0203 etcd.local.imageTag"),
    ("quota-backend-bytes", "initial-cluster", "NK0801 etcd.local.extraArgs[0].name"),
    ("ETCD_METRICS", "ETCD_NAME", "NK0801 etcd.local.extraEnvs[0].name"),
    ("value: basic", "value: [a]", "NK0202 etcd.local.extraEnvs[0].value"),
    ("etcd.example]", "'*']", "NK0301 etcd.local.peerCertSANs[0]"),
    ("imageTag: v1.12.4", "imageTag: 'v1/12'", "NK0301 dns.imageTag"),
    ("certificatesDir: /etc/kubernetes/pki", "certificatesDir: pki", "NK0301 certificatesDir"),
    ("certificatesDir: /etc/kubernetes/pki", "certificatesDir: /tmp/pki", "NK0601 certificatesDir"),
    ("imageRepository: mirror.example/k8s", "imageRepository: https://mirror.example", "NK0301 imageRepository"),
    ("ECDSA-P384", "ED25519", "NK0302 encryptionAlgorithm"),
    ("certificateValidityPeriod: 8760h", "certificateValidityPeriod: 1y", "NK0304 certificateValidityPeriod"),
    ("certificateValidityPeriod: 8760h", "certificateValidityPeriod: 99999h", "NK0304 certificateValidityPeriod"),
    ("caCertificateValidityPeriod: 87600h", "caCertificateValidityPeriod: 0s", "NK0304 caCertificateValidityPeriod"),
    ("NodeLocalCRISocket: true", "NodeLocalCRISockets: true", "NK0803 featureGates.NodeLocalCRISockets"),
    ("NodeLocalCRISocket: true", "NodeLocalCRISocket: 1", "NK0202 featureGates.NodeLocalCRISocket"),
    ("kubelet: {maxPods: 60", "kubelet: {maxpods: 60", "NK0201 kubelet.maxpods"),
    ("kubelet: {maxPods: 60", "kubelet: {staticPodPath: /x", "NK0801 kubelet.staticPodPath"),
    ("clusterDNS: [10.96.0.10]", "clusterDNS: [192.0.2.9]", "NK0801 kubelet.clusterDNS"),
    ("{mode: nftables}", "{modes: nftables}", "NK0201 kubeProxy.modes"),
    ("{name: v, value: \"2\"}", "{name: config, value: \"2\"}", "NK0801 kubeletExtraArgs[0].name"),
    ("[NumCPU]", "[NumCPUs]", "NK0306 ignorePreflightErrors[0]"),
    ("kubeletHealthCheck: 4m", "kubeletHealthCheck: 0s", "NK0304 timeouts.kubeletHealthCheck"),
    ("etcdAPICall: 2m", "etcdAPICall: 2", "NK0203 timeouts.etcdAPICall"),
    ("profile: flatcar", "profile: debian", "NK0302 os.profile"),
    ("profile: flatcar", "profile: cloud-init", "NK0702 delivery.mode"),
    ("platform: metal", "platform: vmware", "NK0302 os.platform"),
    ("arch: amd64", "arch: riscv", "NK0302 os.arch"),
    ("ignitionVersion: 3.4.0", "ignitionVersion: 3.6.0", "NK0205 os.ignitionVersion"),
    ("name: core", "name: Core", "NK0301 os.users[0].name"),
    ("[docker]", "[docker, docker]", "NK0305 os.users[0].groups[1]"),
    ("ssh-ed25519 ", "ssh-rsa ", "NK0603 os.users[0].sshAuthorizedKeys[0]"),
    ("[192.0.2.123]", "['a b']", "NK0301 os.timeServers[0]"),
    ("updates: off", "updates: never", "NK0302 os.updates"),
    ("path: /etc/motd", "path: /etc/hostname", "NK0601 os.files[0].path"),
    ("path: /etc/motd", "path: /usr/share/motd", "NK0602 os.files[0].path"),
    ("mode: \"0644\"", "mode: 0644", "NK0203 os.files[0].mode"),
    ("content: hi", "contents: hi", "NK0201 os.files[0].contents"),
    ("own.service", "own.services", "NK0301 os.units[0].name"),
    ("own.service", "kubelet.service", "NK0601 os.units[0].name"),
    ("[Service]\\n", "Service\\n", "NK0301 os.units[0].content"),
    ("https://files.example/kubelet", "ftp://files.example/kubelet", "NK0701 binaries.kubelet.url"),
    ("sha256: \"ab", "sha256: \"xb", "NK0701 binaries.kubelet.sha256"),
    ("{path: /usr/bin/runc}", "{}", "NK0701 binaries.runc"),
    ("[ip_vs]", "['ip vs']", "NK0301 kernel.modules[0]"),
    ("vm.max_map_count", "vm/max_map_count", "NK0301 kernel.sysctls[0].name"),
    ("value: 262144", "value: many", "NK0802 kernel.sysctls[0].floor"),
    ("vm.swappiness, value: 10", "net.ipv4.ip_forward, value: 0", "NK0802 kernel.sysctls[1].value"),
    ("\"sha256:ab", "\"sha256:xb", "NK0704 images.digests[\"mirror.example/k8s/pause:3.10.2\"]"),
    ("cni: flannel", "cni: cilium", "NK0302 addons.cni"),
    ("cni: flannel", "cni: bridge", "NK0407 pools"),
    ("mode: pointer", "mode: stub", "NK0302 delivery.mode"),
    ("https://files.example/x", "http://files.example/x", "NK0702 delivery.baseURL"),
    ("https://files.example/x", "files.example/x", "NK0701 delivery.baseURL"),
    ("name: cp1", "name: CP1", "NK0301 nodes[0].name"),
    ("name: cp1", "hostname: cp1", "NK0204 nodes[0]"),
    ("address: 192.0.2.11\n", "address: 192.0.2.311\n", "NK0301 nodes[0].address"),
    ("address: 192.0.2.11\n", "address: 192.0.2.51\n", "NK0408 nodes[0].network.addresses"),
    ("address: 192.0.2.11\n", "address: 192.0.2.12\n", "NK0305 nodes[1].address"),
    ("52:54:00:00:00:01", "52:54:00:00:01", "NK0301 nodes[0].mac"),
    ("gateway: 192.0.2.254", "gateway: 192.0.3.254", "NK0408 nodes[0].network.gateway"),
    ("[192.0.2.253]", "[dns]", "NK0301 nodes[0].network.nameservers[0]"),
    ("gpu=yes:NoSchedule", "gpu=yes:NoSchedul", "NK0503 nodes[0].taints[0]"),
    ("/dev/disk/by-id/x", "/dev/sda", "NK0506 nodes[0].disk"),
    ("name: cp2", "name: cp3", "NK0305 nodes[2].name"),
    ("name: cp2, role: control-plane", "name: cp2, role: master", "NK0302 nodes[1].role"),
    ("name: cp2, role: control-plane", "name: cp2, role: worker", "NK0501 nodes"),
    ("modules: [ip_gre]", "modules: ip_gre", "NK0202 nodes[1].kernel.modules"),
    ("replaces: dead", "replaces: w1", "NK0505 nodes[2].replaces"),
    ("4c4c4544-0000-0000-0000-000000000001", "4c4c4544", "NK0301 nodes[3].uuid"),
    ("rack: a1", "rack: 'a 1'", "NK0502 nodes[3].labels.rack"),
    ("v1.35.2", "v1.32.0", "NK0303 nodes[3].kubernetesVersion"),
    ("[ntp.example]", "{a: ntp.example}", "NK0202 nodes[3].os.timeServers"),
    ("kubelet: {maxPods: 20}", "kubelet: {staticPodPath: /x}", "NK0801 nodes[3].kubelet.staticPodPath"),
    ("identity: bootstrap-token, ttl: 720h", "identity: bootstrap-token", "NK0204 nodes[4].identity"),
    ("identity: bootstrap-token, ttl: 720h", "identity: baked, ttl: 720h", "NK0504 nodes[4].ttl"),
    ("ttl: 24h", "ttl: -24h", "NK0304 pools[0].ttl"),
    ("name: burst", "name: w1", "NK0305 pools[0].name"),
    ("{pool: burst}", "{node-role.kubernetes.io/x: ''}", "NK0502 pools[0].labels[\"node-role.kubernetes.io/x\"]"),
    ("burst:NoSchedule", "burst", "NK0503 pools[0].taints[0]"),
];

/// Pairs of which the first takes away what the second is about.
const APART: &[(&str, &str)] = &[
    ("caCertificateValidityPeriod: 0s", "certificateValidityPeriod: 99999h"),
    ("name: Audit,", "name: audit,"),
    ("serviceSubnet: 1", "10.96.0.9:6443"),
    ("serviceSubnet: 10.96.0.0/30", "10.96.0.9:6443"),
    ("serviceSubnet: 1", "podSubnet: 10.96.0.0/12"),
    ("serviceSubnet: 1", "podSubnet: fd00::/48"),
    ("serviceSubnet: 1", "clusterDNS: [192.0.2.9]"),
    ("address: 192.0.2.311\n", "podSubnet: 192.0.2.0/24"),
    // What an endpoint has to be depends on the balancer.
    ("loadBalancer: metallb", "192.0.2.100:443"),
    ("loadBalancer: metallb", "192.0.2.12:6443"),
    ("loadBalancer: metallb", "192.0.3.1:6443"),
    // What can be written depends on the profile.
    ("profile: cloud-init", "path: /usr/share/motd"),
    ("profile: debian", "path: /usr/share/motd"),
    // Only a pointer points at something.
    ("mode: stub", "http://files.example/x"),
    ("mode: stub", "profile: cloud-init"),
];

fn place(from: &str) -> std::ops::Range<usize> {
    let at: Vec<_> = BROAD.match_indices(from).collect();
    assert_eq!(at.len(), 1, "{from:?} is not once in the file");
    at[0].0..at[0].0 + from.len()
}

/// The broad file with these faults; `None` if two are of the same words, or exclude each other.
fn with(faults: &[usize]) -> Option<String> {
    let mut edits: Vec<_> = faults.iter().map(|index| (place(FAULTS[*index].0), FAULTS[*index])).collect();
    edits.sort_by_key(|(range, _)| range.start);
    let apart = |a: &(&str, &str, &str), b: &(&str, &str, &str)| {
        APART.iter().any(|pair| *pair == (a.1, b.1) || *pair == (b.1, a.1))
    };
    for (index, (range, fault)) in edits.iter().enumerate() {
        if edits[index + 1..].iter().any(|(next, other)| next.start < range.end || apart(fault, other)) {
            return None;
        }
    }
    let mut text = BROAD.to_owned();
    for (range, (_, to, _)) in edits.into_iter().rev() {
        text.replace_range(range, to);
    }
    Some(text)
}

/// Findings as `CODE path`.
fn found(text: &str) -> BTreeSet<String> {
    let found = match load_str("cluster.yaml", text, None) {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Findings(found)) => found,
        Err(e) => panic!("{e}"),
    };
    super::findings::helpful(&found);
    found.iter().map(|d| format!("{} {}", d.code, d.path)).collect()
}

/// What of these faults is not found.
fn lost(faults: &[usize]) -> Vec<String> {
    let Some(text) = with(faults) else { return Vec::new() };
    let found = found(&text);
    let lost = faults.iter().filter(|index| !found.contains(FAULTS[**index].2));
    let names: Vec<_> = faults.iter().map(|index| FAULTS[*index].1).collect();
    lost.map(|index| format!("{} for {:?} among {names:?}", FAULTS[*index].2, FAULTS[*index].1)).collect()
}

#[test]
fn each_is_found_alone() {
    let warnings = found(BROAD);
    assert_eq!(warnings.into_iter().collect::<Vec<_>>(), ["NK0205 nodes[3].uuid", "NK0703 nodes[0].network"]);
    let mut wrong = Vec::new();
    for (index, (_, to, due)) in FAULTS.iter().enumerate() {
        let found = found(&with(&[index]).unwrap());
        if !found.contains(*due) {
            wrong.push(format!("{to}: due {due}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every fifth of all pairs, and as many threes, spread over the table.
#[test]
fn none_hides_another() {
    let mut wrong = Vec::new();
    for a in 0..FAULTS.len() {
        for b in (a + 1..FAULTS.len()).filter(|b| (a * 7 + b) % 5 == 0) {
            wrong.extend(lost(&[a, b]));
            let c = (a * 31 + b * 17) % FAULTS.len();
            if c != a && c != b {
                wrong.extend(lost(&[a, b, c]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} lost\n{}", wrong.len(), wrong.join("\n"));
}

/// As many as go together, beginning with each in turn.
#[test]
fn all_are_found_among_all() {
    let mut wrong = BTreeSet::new();
    for first in 0..FAULTS.len() {
        let mut faults = vec![first];
        for next in (first + 1..FAULTS.len()).chain(0..first) {
            faults.push(next);
            if with(&faults).is_none() {
                faults.pop();
            }
        }
        assert!(faults.len() > 60, "only {} go together", faults.len());
        let found = found(&with(&faults).unwrap());
        wrong.extend(faults.iter().filter(|i| !found.contains(FAULTS[**i].2)).map(|i| FAULTS[*i]));
    }
    assert!(wrong.is_empty(), "{} lost: {wrong:#?}", wrong.len());
}
