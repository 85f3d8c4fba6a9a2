//! nodes[] and os. One row per rule: a change of a sound file, and its findings.

use super::findings::table;

#[test]
fn nodes() {
    table(&[
        ("name: a", "name: A", &["NK0301 nodes[0].name 7:11"]),
        ("name: a", "name: localhost", &["NK0301 nodes[0].name 7:11"]),
        ("name: a\n    ", "", &["NK0204 nodes[0] 7:5"]),
        ("role: control-plane", "role: worker", &["NK0501 nodes 6:1"]),
        ("role: control-plane", "role: master", &["NK0302 nodes[0].role 8:11"]),
        ("role: control-plane", "role: controlplane", &["NK0302 nodes[0].role 8:11"]),
        ("    address: 192.0.2.1\n", "", &["NK0204 nodes[0] 7:5"]),
        ("192.0.2.1", "192.0.2", &["NK0301 nodes[0].address 9:14"]),
        ("192.0.2.1", "127.0.0.1", &["NK0406 nodes[0].address 9:14"]),
        ("192.0.2.1", "0.0.0.0", &["NK0406 nodes[0].address 9:14"]),
        ("192.0.2.1", "169.254.1.1", &["NK0406 nodes[0].address 9:14"]),
        ("192.0.2.1", "'::ffff:192.0.2.1'", &["NK0406 nodes[0].address 9:14"]),
        ("192.0.2.1", "'fe80::1'", &["NK0406 nodes[0].address 9:14"]),
        ("192.0.2.1", "'2001:db8::1'", &["NK0403 nodes[0].address 9:14"]),
        ("192.0.2.1", "[192.0.2.1, 192.0.2.2]", &["NK0403 nodes[0].address[1] 9:26"]),
        ("192.0.2.1", "[192.0.2.1, '2001:db8::1']", &[]),
        ("192.0.2.1", "10.244.3.4", &["NK0402 nodes[0].address 9:14"]),
        ("192.0.2.1", "10.96.3.4", &["NK0402 nodes[0].address 9:14"]),
        ("192.0.2.1", "[]", &["NK0204 nodes[0].address 9:5"]),
        (
            "",
            "  - {name: a, role: worker, address: 192.0.2.1}\n",
            &["NK0305 nodes[1].name 10:12", "NK0305 nodes[1].address 10:38"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    uuid: 6BA7B810-9dad-11d1-80b4-00c04fd430c8\n",
            &["warning NK0205 nodes[0].uuid 11:11"],
        ),
        ("", "    mac: 53:54:00:20:00:11\n", &["NK0301 nodes[0].mac 10:10"]),
        ("", "    mac: 52-54-00-20-00-11\n", &["NK0301 nodes[0].mac 10:10"]),
        ("", "    uuid: 00000000-0000-0000-0000-000000000000\n", &["NK0301 nodes[0].uuid 10:11"]),
        ("", "    uuid: 6ba7b810\n", &["NK0301 nodes[0].uuid 10:11"]),
        (
            "",
            "    mac: 52:54:00:20:00:1a\n  - {name: w, role: worker, address: 192.0.2.9, mac: 52:54:00:20:00:1A}\n",
            &["NK0305 nodes[1].mac 11:54"],
        ),
        (
            "",
            "    uuid: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n  - {name: w, role: worker, address: 192.0.2.9, uuid: 6BA7B810-9DAD-11D1-80B4-00C04FD430C8}\n",
            &["warning NK0205 nodes[0].uuid 10:11", "warning NK0205 nodes[1].uuid 11:55", "NK0305 nodes[1].uuid 11:55"],
        ),
        (
            "",
            "    labels: {a: b, node-role.kubernetes.io/edge: '', gpu: 1, -x: y, b: a/b, kubernetes.io/os: plan9}\n",
            &[
                "NK0203 nodes[0].labels.gpu 10:59",
                "NK0502 nodes[0].labels.-x 10:62",
                "NK0502 nodes[0].labels.b 10:72",
                "NK0502 nodes[0].labels[\"kubernetes.io/os\"] 10:77",
            ],
        ),
        (
            "",
            "    taints: ['gpu=yes:NoSchedule', 'gpu=no:NoSchedule', 'gpu', 'x:Never', '-:NoExecute', 'a=b/c:NoExecute']\n",
            &[
                "NK0305 nodes[0].taints[1] 10:36",
                "NK0503 nodes[0].taints[2] 10:57",
                "NK0503 nodes[0].taints[3] 10:64",
                "NK0503 nodes[0].taints[4] 10:75",
                "NK0503 nodes[0].taints[5] 10:90",
            ],
        ),
        ("", "    kubernetesVersion: v1.36.3\n", &[]),
        ("", "    kubernetesVersion: v1.36.1\n", &[]),
        ("", "    kubernetesVersion: 1.36\n", &["NK0303 nodes[0].kubernetesVersion 10:24"]),
        (
            "",
            "    network: {addresses: [192.0.2.1/24], gateway: 192.0.2.254, nameservers: [192.0.2.254]}\n",
            &["warning NK0408 nodes[0].network 10:5"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.2/24]}\n",
            &["NK0408 nodes[0].network.addresses 11:15"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1]}\n",
            &["NK0408 nodes[0].network.addresses 11:15", "NK0301 nodes[0].network.addresses[0] 11:27"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24, 198.51.100.0/24], gateway: 203.0.113.1, nameservers: [a]}\n",
            &[
                "NK0301 nodes[0].network.addresses[1] 11:41",
                "NK0408 nodes[0].network.gateway 11:68",
                "NK0301 nodes[0].network.nameservers[0] 11:95",
            ],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24], gateway: 192.0.2.1}\n",
            &["NK0408 nodes[0].network.gateway 11:51"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24], gateway: [192.0.2.2, 192.0.2.3]}\n",
            &["NK0408 nodes[0].network.gateway[1] 11:63"],
        ),
        ("", "    mac: 52:54:00:20:00:11\n    network: {gateway: 192.0.2.2}\n", &["NK0204 nodes[0].network 11:5"]),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24]}\n  - {name: w, role: worker, address: 198.51.100.9}\naddons: {cni: bridge}\n",
            &["NK0407 nodes[1].address 12:38"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24, 198.51.100.9/24]}\n  - {name: w, role: worker, address: 198.51.100.9}\n",
            &["NK0305 nodes[1].address 12:38"],
        ),
        (
            "",
            "    mac: 52:54:00:20:00:11\n    network: {addresses: [192.0.2.1/24]}\ndelivery: {baseURL: 'http://192.0.2.5'}\n",
            &["warning NK0703 nodes[0].network 11:5"],
        ),
    ]);
}

#[test]
fn os() {
    table(&[
        ("os: {profile: flatcar}\n", "", &["NK0204 nodes[0] 6:11"]),
        ("profile: flatcar", "profile: arch", &["NK0302 os.profile 5:15"]),
        ("profile: flatcar", "profile: debian", &["NK0302 os.profile 5:15"]),
        ("profile: flatcar", "platform: metal", &["NK0204 nodes[0] 7:11"]),
        ("profile: flatcar", "profile: flatcar, platform: vmware", &["NK0302 os.platform 5:34"]),
        ("profile: flatcar", "profile: flatcar, arch: riscv64", &["NK0302 os.arch 5:30"]),
        ("profile: flatcar", "profile: flatcar, ignitionVersion: 3.6.0", &["NK0205 os.ignitionVersion 5:41"]),
        ("profile: flatcar", "profile: flatcar, ignitionVersion: 3.5.0", &[]),
        ("profile: flatcar", "profile: cloud-init, ignitionVersion: 3.3.0", &["NK0604 os.ignitionVersion 5:44"]),
        ("profile: flatcar", "profile: flatcar, updates: on", &[]),
        ("profile: flatcar", "profile: flatcar, updates: false", &[]),
        ("profile: flatcar", "profile: flatcar, updates: maybe", &["NK0302 os.updates 5:33"]),
        (
            "profile: flatcar",
            "profile: flatcar, timeServers: [192.0.2.1, ntp.example, 'a b']",
            &["NK0301 os.timeServers[2] 5:62"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, users: [{name: Core}, {sshAuthorizedKeys: []}, {name: x}, {name: x}]",
            &["NK0301 os.users[0].name 5:39", "NK0204 os.users[1] 5:46", "NK0305 os.users[3].name 5:89"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, users: [{name: x, sshAuthorizedKeys: [nonsense], groups: [a b], passwordHash: hunter2}]",
            &[
                "NK0603 os.users[0].sshAuthorizedKeys[0] 5:62",
                "NK0301 os.users[0].groups[0] 5:82",
                "NK0301 os.users[0].passwordHash 5:102",
            ],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, users: [{name: x, passwordHash: 123456}]",
            &["NK0203 os.users[0].passwordHash 5:56"],
        ),
        ("profile: flatcar", "profile: flatcar, users: [{name: x, passwordHash: $6$salt$hash}]", &[]),
        ("profile: flatcar", "profile: flatcar, files: [{path: /etc/motd, content: hi}]", &[]),
        ("profile: flatcar", "profile: flatcar, files: [{path: /etc/motd}]", &["NK0204 os.files[0] 5:32"]),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/motd, content: hi, file: b}]",
            &["NK0301 os.files[0].file 5:69"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/motd, content: hi, mode: 0644}]",
            &["NK0203 os.files[0].mode 5:69"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/motd, content: hi, mode: '4755'}]",
            &["NK0301 os.files[0].mode 5:69"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: etc/motd, content: hi}]",
            &["NK0301 os.files[0].path 5:39"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/../motd, content: hi}]",
            &["NK0301 os.files[0].path 5:39"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/motd, file: ../x}]",
            &["NK0901 os.files[0].file 5:56"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/kubernetes/pki/x, content: ''}, {path: /etc/hostname, content: ''}, {path: /var/run/x, content: ''}, {path: /usr/local/bin/x, content: ''}]",
            &[
                "NK0601 os.files[0].path 5:39",
                "NK0601 os.files[1].path 5:83",
                "NK0602 os.files[2].path 5:119",
                "NK0602 os.files[3].path 5:152",
            ],
        ),
        (
            "profile: flatcar",
            "profile: fedora-coreos, files: [{path: /usr/local/bin/x, content: ''}, {path: /bin/x, content: ''}]",
            &["NK0602 os.files[1].path 5:84"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/a, content: ''}, {path: /etc/a, content: ''}, {path: /etc/b, content: ''}, {path: /etc/b-c, content: ''}, {path: /etc/b/d, content: ''}]",
            &["NK0305 os.files[1].path 5:68", "NK0601 os.files[4].path 5:157"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, files: [{path: /etc/flatcar/update.conf, content: ''}, {path: /etc/chrony.conf, content: ''}]",
            &["NK0601 os.files[0].path 5:39"],
        ),
        (
            "profile: flatcar",
            "profile: fedora-coreos, updates: on, timeServers: [192.0.2.1], files: [{path: /etc/chrony.conf, content: ''}]",
            &["NK0601 os.files[0].path 5:84"],
        ),
        ("profile: flatcar", "profile: flatcar, units: [{name: x.service, enabled: true}]", &[]),
        (
            "profile: flatcar",
            "profile: flatcar, units: [{name: x}, {name: kubelet.service}, {name: containerd.service, content: a}, {name: nodekiln-x.timer}]",
            &[
                "NK0301 os.units[0].name 5:39",
                "NK0601 os.units[1].name 5:50",
                "NK0601 os.units[2].name 5:75",
                "NK0301 os.units[2].content 5:104",
                "NK0601 os.units[3].name 5:115",
            ],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, units: [{name: containerd.service, dropins: [{name: a, content: ''}, {name: b.conf}, {name: 10-nodekiln.conf, content: ''}, {name: c.conf, content: '[X]'}, {name: c.conf, content: '[X]'}]}]",
            &[
                "NK0301 os.units[0].dropins[0].name 5:76",
                "NK0204 os.units[0].dropins[1] 5:93",
                "NK0601 os.units[0].dropins[2].name 5:116",
                "NK0305 os.units[0].dropins[4].name 5:187",
            ],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, units: [{name: x.service}, {name: x.service}]",
            &["NK0305 os.units[1].name 5:58"],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, units: [{name: x.service, enabled: true, content: '[Service]'}, {name: y.service, content: 'A=b'}, {name: z.service, dropins: [{name: a.conf, content: ''}]}]",
            &[
                "NK0301 os.units[0].content 5:74",
                "NK0301 os.units[1].content 5:115",
                "NK0301 os.units[2].dropins[0].content 5:175",
            ],
        ),
        (
            "profile: flatcar",
            "profile: flatcar, users: [{name: x, groups: [a, b, a]}]",
            &["NK0305 os.users[0].groups[2] 5:57"],
        ),
    ]);
}

/// Addresses that no machine can have, in spellings that look sound.
#[test]
fn addresses_that_cannot_be() {
    let net = |fields: &str| format!("    mac: 52:54:00:20:00:11\n    network: {{{fields}}}\n");
    let own = "192.0.2.1/24";
    table(&[
        ("10.244.0.0/16", "010.244.0.0/16", &["NK0401 networking.podSubnet 4:25"]),
        ("", &net(&format!("addresses: [{own}, 010.0.0.1/8]")), &["NK0301 nodes[0].network.addresses[1] 11:41"]),
        ("", &net(&format!("addresses: [{own}, {own}]")), &["NK0301 nodes[0].network.addresses[1] 11:41"]),
        ("", &net(&format!("addresses: [{own}, 127.0.0.1/8]")), &["NK0301 nodes[0].network.addresses[1] 11:41"]),
        ("", &net(&format!("addresses: [{own}, 198.51.100.255/24]")), &["NK0301 nodes[0].network.addresses[1] 11:41"]),
        ("", &net(&format!("addresses: [{own}, 198.51.100.0/24]")), &["NK0301 nodes[0].network.addresses[1] 11:41"]),
        ("", &net(&format!("addresses: [{own}, 198.51.100.0/31, 'fe80::1/64']")), &[]),
        ("", &net(&format!("addresses: [{own}], gateway: 192.0.2.255")), &["NK0408 nodes[0].network.gateway 11:51"]),
        ("", &net(&format!("addresses: [{own}], gateway: 192.0.2.0")), &["NK0408 nodes[0].network.gateway 11:51"]),
        ("", &net(&format!("addresses: [{own}], gateway: 127.0.0.1")), &["NK0408 nodes[0].network.gateway 11:51"]),
        ("", &net(&format!("addresses: [{own}], gateway: 'fe80::1'")), &[]),
        (
            "",
            &net(&format!("addresses: [{own}], nameservers: [0.0.0.0]")),
            &["NK0301 nodes[0].network.nameservers[0] 11:56"],
        ),
        ("", "controlPlaneEndpoint: localhost:6443\n", &["NK0405 controlPlaneEndpoint 10:23"]),
    ]);
}

#[test]
fn environments_and_volumes_that_cannot_be() {
    let env = |fields: &str| format!("apiServer: {{extraEnvs: [{{name: A, {fields}}}]}}\n");
    const FIELD: &str = "valueFrom: {fieldRef: {fieldPath: spec.nodeName}}";
    table(&[
        ("", &env(FIELD), &[]),
        ("", &env(&format!("value: '', {FIELD}")), &[]),
        ("", &env(&format!("value: a, {FIELD}")), &["NK0301 apiServer.extraEnvs[0].valueFrom 10:45"]),
        ("", &env("valueFrom: {}"), &["NK0301 apiServer.extraEnvs[0].valueFrom 10:35"]),
        (
            "",
            "apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /}]}\n",
            &["NK0601 apiServer.extraVolumes[0].mountPath 10:63"],
        ),
    ]);
}
