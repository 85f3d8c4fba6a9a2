//! What a node lays over the cluster's own values, item by item.

use super::{
    findings::{edited, table},
    *,
};

/// The system and kernel of the worker `w`, whose own values are `own`, over `base` of the cluster's.
fn worker(base: &str, own: &str) -> (Os, Kernel) {
    let text = edited("os: {profile: flatcar}\n", base)
        + &format!("  - {{name: w, role: worker, address: 192.0.2.9, {own}}}\n");
    let cluster = load_str("cluster.yaml", &text, None).unwrap_or_else(|failure| panic!("{failure}")).cluster;
    let class = &cluster.nodes[1].class;
    ((*class.os).clone(), (*class.kernel).clone())
}

#[test]
fn a_file_keeps_what_is_not_said_again() {
    let base =
        "os: {profile: flatcar, files: [{path: /etc/a, content: base, mode: '0600'}, {path: /etc/b, mode: '0750'}]}\n";
    for (own, due) in [
        ("{path: /etc/a, content: own}", ["/etc/a own 0600", "/etc/b x 0750"]),
        ("{path: /etc/a, mode: '0640'}", ["/etc/a base 0640", "/etc/b x 0750"]),
        ("{path: /etc/a, content: own, mode: '0644'}", ["/etc/a own 0644", "/etc/b x 0750"]),
    ] {
        // Every node has to say what the cluster leaves open.
        let base = base.replace("'0750'}", "'0750', content: x}");
        let (os, _) = worker(&base, &format!("os: {{files: [{own}]}}"));
        let found = os
            .files
            .iter()
            .map(|file| format!("{} {} {}", file.path, String::from_utf8_lossy(&file.contents.bytes), file.mode));
        assert_eq!(found.collect::<Vec<_>>(), due, "{own}");
    }
    table(&[
        ("os: {profile: flatcar}\n", base, &["NK0204 os.files[1] 5:77"]),
        (
            "WORKER",
            "  - {name: x, role: worker, address: 192.0.2.8, os: {files: [{path: /etc/a, mode: '0600'}]}}\n",
            &["NK0204 nodes[2].os.files[0] 11:62"],
        ),
    ]);
}

#[test]
fn a_unit_keeps_what_is_not_said_again() {
    const TEXT: &str = "\"[Service]\\nExecStart=/x\\n[Install]\\nWantedBy=multi-user.target\\n\"";
    const BARE: &str = "\"[Service]\\nExecStart=/x\\n\"";
    let base = format!(
        "os: {{profile: flatcar, units: [{{name: u.service, enabled: true, content: {TEXT}, dropins: [{{name: a.conf, \
         content: \"[Service]\\nNice=1\\n\"}}]}}, {{name: v.service, content: {TEXT}}}, {{name: w.service, content: {BARE}}}]}}\n"
    );
    let (os, _) = worker(
        &base,
        "os: {units: [{name: u.service, enabled: false, dropins: [{name: b.conf, content: \"[Service]\\nNice=2\\n\"}]}, \
         {name: v.service, enabled: true}]}",
    );
    let found: Vec<_> = os
        .units
        .iter()
        .map(|unit| {
            let dropins: Vec<_> = unit.dropins.iter().map(|(name, _)| name.as_str()).collect();
            (unit.name.as_str(), unit.enabled, unit.content.is_some(), dropins.join(" "))
        })
        .collect();
    assert_eq!(
        found,
        [
            ("u.service", false, true, "a.conf b.conf".to_owned()),
            ("v.service", true, true, String::new()),
            ("w.service", false, true, String::new()),
        ]
    );
    let (os, _) = worker(
        &base,
        "os: {units: [{name: u.service, dropins: [{name: a.conf, content: \"[Service]\\nNice=3\\n\"}]}]}",
    );
    assert!(os.units[0].enabled && os.units[0].dropins[0].1.contains("Nice=3"));
    let text = edited("os: {profile: flatcar}\n", &base)
        + "  - {name: w, role: worker, address: 192.0.2.9, os: {units: [{name: w.service, enabled: true}]}}\n";
    assert_eq!(findings::findings(&text), ["NK0301 nodes[1].os.units[0].name 10:69"]);
}

#[test]
fn a_setting_stays_a_floor() {
    let base = "os: {profile: flatcar}\nkernel: {sysctls: [{name: vm.max_map_count, value: 100000, floor: true}]}\n";
    for (own, due) in [
        ("value: 200000", true),
        ("value: 200000, floor: false", false),
        ("value: 200000, floor: true", true),
        ("value: '1 2'", false),
    ] {
        let (_, kernel) = worker(base, &format!("kernel: {{sysctls: [{{name: vm.max_map_count, {own}}}]}}"));
        assert_eq!(kernel.sysctls[0].floor, due, "{own}");
        assert_ne!(kernel.sysctls[0].value, "100000");
    }
}

/// On Fedora CoreOS folders of the image lead elsewhere.
#[test]
fn two_paths_to_one_file() {
    let os = "os: {profile: fedora-coreos, files: [{path: /opt/x, content: a}, {path: /var/opt/x, content: b}]}\n";
    table(&[
        ("os: {profile: flatcar}\n", os, &["NK0305 os.files[1].path 5:73"]),
        ("os: {profile: flatcar}\n", &os.replace("fedora-coreos", "flatcar"), &[]),
    ]);
    // One over the other is what layers are for.
    let (os, _) = worker(
        "os: {profile: fedora-coreos, files: [{path: /opt/x, content: a}]}\n",
        "os: {files: [{path: /var/opt/x, content: b}]}",
    );
    assert_eq!(os.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["/var/opt/x"]);
}

#[test]
fn machines_networks_and_the_clusters() {
    let node = |own: &str| format!("  - {{name: w, role: worker, mac: '52:54:00:00:00:01', {own}}}\n");
    let gateway = "gateway: 192.0.2.254";
    table(&[
        ("", &node(&format!("address: 192.0.2.9, network: {{addresses: [192.0.2.9/24], {gateway}}}")), &[]),
        (
            "",
            &node(&format!("address: 192.0.2.9, network: {{addresses: [192.0.2.9/24, 10.96.0.7/24], {gateway}}}")),
            &["NK0402 nodes[1].network 10:75"],
        ),
        (
            "",
            &node(&format!("address: 192.0.2.9, network: {{addresses: [192.0.2.9/24, 10.244.3.4/24], {gateway}}}")),
            &["NK0402 nodes[1].network 10:75"],
        ),
        (
            "",
            &node("address: 10.1.0.9, network: {addresses: [10.1.0.9/8], gateway: 10.0.0.1}"),
            &["warning NK0402 nodes[1].network 10:74"],
        ),
    ]);
}
