//! The top level, its shape, networks and the endpoint. One row per rule: a change of a sound file, and its findings.

use super::findings::table;

#[test]
fn header() {
    table(&[
        ("apiVersion: nodekiln/v1alpha1", "apiVersion: kubeadm.k8s.io/v1beta4", &["NK0302 apiVersion 1:13"]),
        ("apiVersion: nodekiln/v1alpha1\n", "", &["NK0204  1:1"]),
        ("kind: Cluster", "kind:", &["NK0204 kind 2:1"]),
        ("kind: Cluster", "kind: Node", &["NK0302 kind 2:7"]),
        ("v1.36.3", "latest", &["NK0303 kubernetesVersion 3:20"]),
        ("v1.36.3", "1.36.3", &["NK0303 kubernetesVersion 3:20"]),
        ("v1.36.3", "v1.35.2", &[]),
        ("v1.36.3", "v1.37.0", &["warning NK0303 kubernetesVersion 3:20"]),
        ("v1.36.3", "v1.38.0", &["NK0303 kubernetesVersion 3:20"]),
        ("v1.36.3", "v1.32.1", &["NK0303 kubernetesVersion 3:20"]),
        ("v1.36.3", "v2.36.1", &["NK0303 kubernetesVersion 3:20"]),
        ("kubernetesVersion: v1.36.3", "kubernetesVersion: 1.30", &["NK0303 kubernetesVersion 3:20"]),
        ("kubernetesVersion: v1.36.3", "kubernetesVersion: [v1]", &["NK0202 kubernetesVersion 3:1"]),
        ("kubernetesVersion: v1.36.3\n", "", &["NK0204  1:1"]),
        ("", "clusterName: ''\n", &["NK0301 clusterName 10:14"]),
        ("", "clusterName: a b\n", &["NK0301 clusterName 10:14"]),
        ("", "clusterName: 12\n", &["NK0203 clusterName 10:14"]),
        ("", "clusterName: lab\n", &[]),
        ("", "certificateValidityPeriod: 1d\n", &["NK0304 certificateValidityPeriod 10:28"]),
        ("", "certificateValidityPeriod: 0s\n", &["NK0304 certificateValidityPeriod 10:28"]),
        ("", "certificateValidityPeriod: -1h\n", &["NK0304 certificateValidityPeriod 10:28"]),
        ("", "certificateValidityPeriod: 1500ms\n", &["NK0304 certificateValidityPeriod 10:28"]),
        ("", "certificateValidityPeriod: 87601h\n", &["NK0304 certificateValidityPeriod 10:28"]),
        (
            "",
            "certificateValidityPeriod: 2h\ncaCertificateValidityPeriod: 1h\n",
            &["NK0304 certificateValidityPeriod 10:28"],
        ),
        ("", "certificateValidityPeriod: 8760\n", &["NK0203 certificateValidityPeriod 10:28"]),
        ("", "encryptionAlgorithm: RSA-2048\n", &[]),
        ("", "encryptionAlgorithm: RSA-4096\n", &[]),
        ("", "encryptionAlgorithm: ECDSA-P256\n", &[]),
        ("", "encryptionAlgorithm: ECDSA-P384\n", &[]),
        ("", "encryptionAlgorithm: RSA-1024\n", &["NK0302 encryptionAlgorithm 10:22"]),
        ("", "encryptionAlgorithm: ed25519\n", &["NK0302 encryptionAlgorithm 10:22"]),
        ("", "imageRepository: Mirror/K8S\n", &["NK0301 imageRepository 10:18"]),
        ("", "imageRepository: mirror.lab.example:5000/k8s\n", &[]),
        ("", "imageRepository: https://registry.k8s.io\n", &["NK0301 imageRepository 10:18"]),
        ("", "certificatesDir: pki\n", &["NK0301 certificatesDir 10:18"]),
        ("", "certificatesDir: /etc/kubernetes\n", &["NK0601 certificatesDir 10:18"]),
        ("", "certificatesDir: /tmp/pki\n", &["NK0601 certificatesDir 10:18"]),
        ("", "certificatesDir: /usr/share/pki\n", &["NK0602 certificatesDir 10:18"]),
        ("", "certificatesDir: /etc/pki/kubernetes\n", &[]),
        ("", "ignorePreflightErrors: [Swap, numcpu, FileAvailable--etc-x]\n", &[]),
        ("", "ignorePreflightErrors: [Swapp]\n", &["warning NK0306 ignorePreflightErrors[0] 10:25"]),
        ("", "ignorePreflightErrors: [all, Swap]\n", &["NK0306 ignorePreflightErrors[0] 10:25"]),
        ("", "timeouts: {kubeletHealthCheck: 0s}\n", &["NK0304 timeouts.kubeletHealthCheck 10:32"]),
        ("", "timeouts: {kubeletHealthCheck: 5m, discovery: 5m}\n", &["NK0201 timeouts.discovery 10:36"]),
    ]);
}

#[test]
fn shape() {
    table(&[
        ("", "adons: {}\n", &["NK0201 adons 10:1"]),
        ("", "pools: []\nfeatureGates: {}\nimages: {digests: {}}\n", &[]),
        ("", "pxe: {}\nimages: {preload: []}\n", &["NK0205 pxe 10:1", "NK0205 images.preload 11:10"]),
        // Without a value they ask for nothing, as any other key.
        ("", "pxe:\nimages: {preload: null}\n", &[]),
        ("", "pxe: ~\nimages: {preload: \"\"}\n", &["NK0205 images.preload 11:10"]),
        ("", "pxee:\n", &["NK0201 pxee 10:1"]),
        ("role:", "rol:", &["NK0204 nodes[0] 7:5", "NK0201 nodes[0].rol 8:5"]),
        ("", "    identity: baked\n", &[]),
        ("networking: {podSubnet: 10.244.0.0/16}", "networking: 3", &["NK0202 networking 4:13"]),
        ("networking: {podSubnet: 10.244.0.0/16}", "networking: [a]", &["NK0202 networking 4:1"]),
        ("networking: {podSubnet: 10.244.0.0/16}", "networking:", &[]),
        ("name: a", "name: 12", &["NK0203 nodes[0].name 7:11"]),
        ("name: a", "name: true", &["NK0203 nodes[0].name 7:11"]),
        ("name: a", "name: [a]", &["NK0202 nodes[0].name 7:5"]),
        ("name: a", "name: null", &["NK0204 nodes[0].name 7:11"]),
        ("nodes:\n", "nodes: []\nnode:\n", &["NK0501 nodes 6:1", "NK0201 node 7:1"]),
        ("", "addons: {cni: calico}\n", &["NK0302 addons.cni 10:15"]),
        ("", "dns: {disabled: yes}\n", &["NK0202 dns.disabled 10:17"]),
        ("", "dns: {disabled: 'true'}\n", &["NK0202 dns.disabled 10:17"]),
        ("", "dns: {disabled: true, imageTag: v1.12.0}\n", &[]),
        (
            "",
            "dns: {imageTag: '-x', imageRepository: a//b}\n",
            &["NK0301 dns.imageTag 10:17", "NK0301 dns.imageRepository 10:40"],
        ),
        ("", "os: {profile: flatcar}\n", &["NK0105  10:1"]),
        ("", "<<: {a: b}\n", &["NK0201 [\"<<\"] 10:1"]),
        (
            "",
            "kubelet: {evictionHard: {a: 0644, b: off, c: .nan, d: 99999999999999999999, e: [no]}}\n",
            &[
                "NK0206 kubelet.evictionHard.a 10:29",
                "NK0206 kubelet.evictionHard.b 10:38",
                "NK0301 kubelet.evictionHard.c 10:46",
                "NK0301 kubelet.evictionHard.d 10:55",
                "NK0202 kubelet.evictionHard.e 10:77",
                "NK0206 kubelet.evictionHard.e[0] 10:81",
            ],
        ),
    ]);
}

#[test]
fn networks() {
    table(&[
        ("10.244.0.0/16", "10.244.0.1/16", &["NK0401 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "10.244.0.0", &["NK0401 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "10.96.0.0/16", &["NK0402 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "192.0.0.0/16", &["NK0402 nodes[0].address 9:14"]),
        ("10.244.0.0/16", "10.244.0.0/25", &["NK0404 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "10.0.0.0/7", &["NK0402 networking.podSubnet 4:25", "NK0404 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "10.244.0.0/24", &[]),
        ("10.244.0.0/16", "fd00:1::/56", &["NK0403 networking.podSubnet 4:25"]),
        ("10.244.0.0/16", "'10.244.0.0/16,10.245.0.0/16'", &["NK0403 networking.podSubnet 4:25"]),
        (
            "podSubnet: 10.244.0.0/16",
            "podSubnet: '10.244.0.0/16,fd00:1::/56', serviceSubnet: '10.96.0.0/16,fd00:2::/112'",
            &["NK0403 nodes[0].address 9:14"],
        ),
        (
            "podSubnet: 10.244.0.0/16",
            "podSubnet: 'fd00:1::/56,10.244.0.0/16', serviceSubnet: '10.96.0.0/16,fd00:2::/112'",
            &["NK0403 networking.podSubnet 4:25", "NK0403 nodes[0].address 9:14"],
        ),
        ("podSubnet: 10.244.0.0/16", "serviceSubnet: 10.96.0.0/29", &["NK0404 networking.serviceSubnet 4:29"]),
        ("podSubnet: 10.244.0.0/16", "serviceSubnet: 10.0.0.0/11", &["NK0401 networking.serviceSubnet 4:29"]),
        ("podSubnet: 10.244.0.0/16", "serviceSubnet: 192.0.2.0/24", &["NK0402 nodes[0].address 9:14"]),
        (
            "podSubnet: 10.244.0.0/16",
            "serviceSubnet: 'fd00:2::/64'",
            &["NK0401 networking.serviceSubnet 4:29", "NK0403 nodes[0].address 9:14"],
        ),
        ("podSubnet: 10.244.0.0/16", "dnsDomain: Lab_1", &["NK0301 networking.dnsDomain 4:25"]),
        ("podSubnet: 10.244.0.0/16", "dnsDomain: lab.example", &[]),
        ("networking: {podSubnet: 10.244.0.0/16}", "addons: {cni: bridge}", &["NK0204 addons.cni 4:15"]),
        ("10.244.0.0/16", "224.0.0.0/16", &["NK0401 networking.podSubnet 4:25"]),
        ("", "    podCIDR: 10.245.0.0/24\n", &["NK0401 nodes[0].podCIDR 10:14"]),
        ("", "    podCIDR: 10.244.7.0/24\naddons: {cni: bridge}\n", &[]),
        ("", "    podCIDR: 10.244.7.0/24\n", &["NK0401 nodes[0].podCIDR 10:14"]),
        ("", "    podCIDR: 10.244.7.0/30\n", &["NK0404 nodes[0].podCIDR 10:14"]),
        ("", "    podCIDR: fd00::/64\n", &["NK0403 nodes[0].podCIDR 10:14"]),
        (
            "",
            "    podCIDR: 10.244.7.0/24\n  - {name: w, role: worker, address: 192.0.2.9, podCIDR: 10.244.0.0/20}\n",
            &["NK0401 nodes[0].podCIDR 10:14", "NK0402 nodes[1].podCIDR 11:58"],
        ),
        (
            "networking: {podSubnet: 10.244.0.0/16}\nos: {profile: flatcar}\nnodes:\n  - name: a\n",
            "os: {profile: flatcar}\nnodes:\n  - name: a\n    podCIDR: 10.0.0.0/24\n",
            &["NK0401 nodes[0].podCIDR 7:14"],
        ),
        (
            "",
            "controllerManager: {extraArgs: [{name: node-cidr-mask-size, value: '15'}]}\n",
            &["NK0404 networking.podSubnet 4:25"],
        ),
    ]);
}

#[test]
fn endpoint() {
    table(&[
        ("", "controlPlaneEndpoint: api.example:6443\n", &[]),
        ("", "controlPlaneEndpoint: api.example\n", &["warning NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: api.example:0\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: api.example:99999\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: https://api.example\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 10.0.0.300:6443\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 10.96.0.1:6443\n", &["NK0402 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 10.244.0.1:6443\n", &["NK0402 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 127.0.0.1:6443\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 192.0.2.1:443\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 192.0.2.1:6443\n", &[]),
        ("", "controlPlaneEndpoint: 192.0.2.77:6443\nloadBalancer: none\n", &["NK0405 controlPlaneEndpoint 10:23"]),
        ("", "controlPlaneEndpoint: 192.0.2.77:6443\nloadBalancer: external\n", &[]),
        ("WORKER", "controlPlaneEndpoint: 192.0.2.9:6443\n", &["NK0405 controlPlaneEndpoint 11:23"]),
        (
            "",
            "  - {name: b, role: control-plane, address: 192.0.2.2}\n  - {name: c, role: control-plane, address: 192.0.2.3}\n",
            &["NK0405  1:1"],
        ),
        (
            "",
            "  - {name: b, role: control-plane, address: 192.0.2.2}\n  - {name: c, role: control-plane, address: 192.0.2.3}\ncontrolPlaneEndpoint: 192.0.2.1:6443\n",
            &["warning NK0405 controlPlaneEndpoint 12:23"],
        ),
        (
            "",
            "  - {name: b, role: control-plane, address: 192.0.2.2}\ncontrolPlaneEndpoint: 192.0.2.99:6443\n",
            &["warning NK0501 nodes 6:1"],
        ),
        ("", "loadBalancer: metallb\n", &["NK0302 loadBalancer 10:15"]),
    ]);
}
