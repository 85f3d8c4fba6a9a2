use super::*;
use crate::{
    config::{self, Arg, Cluster, Cni, San, examples},
    node::fixture,
    verify::fixture::{Memory, breadth, cluster},
};

/// Compares what two clusters build, as outputs and then as an output and drafts. Both ways tell the same, but for what
/// only keys tell.
fn compared(old: &Cluster, new: &Cluster) -> (Report, Report) {
    let (before, after) = (Memory::of(old), Memory::of(new));
    let side = OutputSide::open(&before).unwrap();
    let outputs = diff(&side, &OutputSide::open(&after).unwrap()).unwrap();
    let sources = fixture::sources();
    let drafted = diff(&side, &DraftSide::new(new, &sources)).unwrap();
    (outputs, drafted)
}

/// Name and effects of each change of a node.
fn changes(report: &Report, node: &str) -> Vec<(String, Vec<Effect>)> {
    let found = report.nodes.iter().find(|diff| diff.name.as_str() == node);
    let changes = found.map(|diff| diff.changes.as_slice()).unwrap_or_default();
    changes.iter().map(|change| (change.name.clone(), change.effects.clone())).collect()
}

fn pod(name: &str) -> Effect {
    Effect::StaticPod(name.to_owned())
}

#[test]
fn nothing_differs_from_itself() {
    for profile in ["flatcar", "cloud-init"] {
        let cluster = cluster(profile);
        let (outputs, drafted) = compared(&cluster, &cluster);
        for report in [outputs, drafted] {
            assert!(!report.different && report.unchanged == 3, "{report:#?}");
            assert_eq!(text(&report), "nothing differs: 3 nodes are as they were\n");
        }
    }
}

#[test]
fn a_flag_restarts_its_pod_alone() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.scheduler.extra_args.push(Arg { name: "v".to_owned(), value: "4".to_owned() });
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        assert_eq!(report.unchanged, 2);
        assert_eq!(
            changes(&report, "cp1"),
            [("/etc/kubernetes/manifests/kube-scheduler.yaml".to_owned(), vec![pod("kube-scheduler")])]
        );
        assert_eq!(report.nodes[0].effects, [pod("kube-scheduler")]);
        let api: Vec<_> = report.api.iter().map(|change| (change.object.as_str(), change.what)).collect();
        assert_eq!(api, [("ConfigMap kube-system/kubeadm-config", What::Changed)]);
        assert!(text(&report).contains("cp1:\n  the static pod kube-scheduler restarts\n"), "{}", text(&report));
    }
}

#[test]
fn a_name_more_is_another_certificate() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.api_server_sans.push(San::Dns("api.example.org".to_owned()));
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        let certificate =
            report.nodes[0].changes.iter().find(|c| c.name == "/etc/kubernetes/pki/apiserver.crt").unwrap();
        assert_eq!(certificate.note.as_deref(), Some("also for api.example.org"));
        assert_eq!(certificate.effects, [pod("kube-apiserver")]);
        assert_eq!((report.nodes.len(), report.unchanged), (1, 2));
    }
}

#[test]
fn every_setting_has_its_reader() {
    type Change = fn(&mut Cluster);
    let old = cluster("flatcar");
    let cases: [(Change, &str, &str, Effect); 6] = [
        (|c| c.nodes[1].kubelet_extra_args.push(arg("v", "4")), "w1", "unit kubelet.service", Effect::Kubelet),
        (
            |c| c.nodes[1].kubelet = crate::config::Fragment::from_iter([("maxPods".to_owned(), 50.into())]).into(),
            "w1",
            "/var/lib/kubelet/config.yaml",
            Effect::Kubelet,
        ),
        (
            |c| c.nodes[1].kernel.modules.push("zfs".parse().unwrap()),
            "w1",
            "/etc/modules-load.d/90-nodekiln.conf",
            Effect::Reboot,
        ),
        (|c| c.nodes[1].os.users.push(user()), "w1", "account ops", Effect::Reimage),
        (
            |c| c.nodes[1].os.files.push(file("/etc/containerd/conf.d/x.toml").into()),
            "w1",
            "/etc/containerd/conf.d/x.toml",
            Effect::Containerd,
        ),
        (|c| c.nodes[1].os.files.push(file("/etc/motd").into()), "w1", "/etc/motd", Effect::Other),
    ];
    for (change, node, name, effect) in cases {
        let mut new = old.clone();
        change(&mut new);
        let (outputs, drafted) = compared(&old, &new);
        for report in [outputs, drafted] {
            let found = changes(&report, node);
            let effects = found.iter().find(|(changed, _)| changed == name);
            assert_eq!(effects.map(|(_, effects)| effects.clone()), Some(vec![effect.clone()]), "{name}: {found:?}");
            assert_eq!(report.nodes.len(), 1, "{name}: {report:#?}");
        }
    }
}

fn arg(name: &str, value: &str) -> Arg {
    Arg { name: name.to_owned(), value: value.to_owned() }
}

fn user() -> crate::config::User {
    let hash = nodekiln_plan::Secret::from("$6$a$verysecret".to_owned());
    crate::config::User {
        name: "ops".to_owned(),
        ssh_authorized_keys: vec![].into(),
        password_hash: Some(hash),
        groups: vec![].into(),
    }
}

fn file(path: &str) -> crate::config::OsFile {
    let contents = fixture::input(path, b"verysecret");
    crate::config::OsFile { path: path.parse().unwrap(), mode: nodekiln_plan::Mode::PUBLIC, contents }
}

/// Clusters that between them have the planner lay all that it can.
fn all_there_is() -> Vec<(String, Cluster)> {
    const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
        networking: {podSubnet: 10.244.0.0/16}\n";
    let digest = "0".repeat(64);
    let url = |name: &str, end: &str| format!("{{url: 'https://files.example/{name}{end}', sha256: '{digest}'}}");
    let programs = format!(
        "binaries: {{kubelet: {}, containerd: {}, runc: {}, cniPlugins: {}}}\n",
        url("kubelet", ""),
        url("containerd", ""),
        url("runc", ""),
        url("cni", ".tgz")
    );
    let sysext = format!(
        "binaries: {{kubelet: {}, containerd: {}}}\n",
        url("kubelet", ".raw").replace("url:", "sysext:"),
        url("containerd", ".raw").replace("url:", "sysext:")
    );
    let mut texts: Vec<(String, String)> =
        examples::ALL.iter().map(|example| (example.name.to_owned(), example.text.to_owned())).collect();
    for profile in ["flatcar", "fedora-coreos", "cloud-init"] {
        let os = |more: &str| {
            format!(
                "os: {{profile: {profile}, timeServers: [ntp.example], users: [{{name: ops, groups: [wheel]}}]{more}}}\n"
            )
        };
        let nodes = "nodes:\n\
            \x20 - {name: cp1, role: control-plane, address: 10.0.0.11}\n\
            \x20 - {name: w1, role: worker, address: 10.0.0.12, mac: '52:54:00:00:00:12', \
            network: {addresses: [10.0.0.12/24], gateway: 10.0.0.1, nameservers: [10.0.0.1]}}\n";
        let pool = "pools: [{name: burst, ttl: 1h}]\n";
        let mut add = |name: &str, more: &str, os: String| {
            texts.push((format!("{profile} {name}"), format!("{HEAD}{more}{os}{nodes}")));
        };
        add("bridge", "addons: {cni: bridge}\nloadBalancer: local\n", os(""));
        add("pool", &format!("addons: {{cni: flannel}}\n{pool}"), os(", updates: on"));
        add("programs", &programs, os(""));
        if profile == "flatcar" {
            add("sysext", &sysext, os(""));
        }
        let external = "etcd: {external: {endpoints: ['https://10.0.0.9:2379'], caFile: /etc/kubernetes/pki/etcd/ca.crt, \
            certFile: /etc/kubernetes/pki/etcd/client.crt, keyFile: /etc/kubernetes/pki/etcd/client.key}}\n";
        add("external etcd", external, os(""));
        let disk = "delivery: {baseURL: 'http://192.0.2.1:8080'}\nkernel: {modules: [zfs], sysctls: [{name: vm.swappiness, value: 1}]}\n";
        add("fetched", disk, os(""));
    }
    let mut clusters: Vec<(String, Cluster)> = texts
        .into_iter()
        .map(|(name, text)| match config::load_str("cluster.yaml", &text, None) {
            Ok(loaded) => (name, loaded.cluster),
            Err(config::Failure::Findings(found)) => panic!("{name}: {}", found.render(config::Colors::Off)),
            Err(other) => panic!("{name}: {other}"),
        })
        .collect();
    clusters.extend(breadth().iter().map(|(name, kit, _)| ((*name).to_owned(), kit.cluster.clone())));
    clusters
}

/// Every path, unit, field and link that the planner can emit, with what a change of it takes. Nothing of ours is read by
/// something of the user's: whoever adds a file says here who reads it.
///
/// `NODEKILN_BLESS=1` writes the table anew; read what changed.
#[test]
fn all_that_is_laid_has_a_known_reader() {
    let sources = fixture::sources();
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, cluster) in all_there_is() {
        let side = DraftSide::new(&cluster, &sources);
        for node in cluster.payloads() {
            let view = side.node(&node.name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let readers = Readers::of([&view, &view]);
            let own = |path: &str| node.os.files.iter().any(|file| file.path.as_str() == path);
            let mut add = |what: String, effects: Vec<Effect>| {
                let words: Vec<_> = effects.iter().map(ToString::to_string).collect();
                assert!(
                    !effects.is_empty() && !effects.contains(&Effect::Other),
                    "{name}: {}: {what}: {words:?}",
                    node.name
                );
                table.entry(what).or_default().extend(words);
            };
            for path in view.files.keys().chain(view.fetches.keys()).filter(|path| !own(path)) {
                add(path.clone(), readers.of_file(path));
            }
            for unit in view.units.keys() {
                add(format!("unit {unit}"), effect::of_unit(unit, true));
            }
            for field in view.plan.keys() {
                add(format!("plan {field}"), vec![effect::of_plan(field)]);
            }
        }
    }
    let mut lines = String::new();
    for (what, effects) in &table {
        let effects: Vec<&str> = effects.iter().map(String::as_str).collect();
        lines.push_str(&format!("{what}: {}\n", effects.join("; ")));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/diff/effects.txt");
    if std::env::var_os("NODEKILN_BLESS").is_some() {
        std::fs::write(path, &lines).unwrap();
    }
    let due = std::fs::read_to_string(path).unwrap_or_default();
    let news: Vec<_> = lines.lines().filter(|line| !due.lines().any(|other| other == *line)).collect();
    assert!(lines == due, "not as in effects.txt: {news:#?}");
}

#[test]
fn what_only_a_unit_names_has_that_reader() {
    let mut old = cluster("flatcar");
    old.cni = Cni::Bridge;
    let mut new = old.clone();
    // The pods' network is spared by the rule; routes and subnets stay.
    new.networking.pods.push("10.245.0.0/16".parse().unwrap());
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        let found = changes(&report, "w1");
        let unit = Effect::Unit("nodekiln-network.service".to_owned());
        let rule = found.iter().find(|(name, _)| name == "/etc/nodekiln/masquerade.nft");
        assert_eq!(rule.map(|(_, effects)| effects.as_slice()), Some(&[unit][..]), "{found:?}");
    }
}

/// After `secrets renew` all that changes is keys and certificates, and each has a reader.
#[test]
fn a_renewal_is_read_by_known_parts() {
    for (name, kit, old) in breadth() {
        let new = kit.renewed().output();
        let report = diff(&OutputSide::open(old).unwrap(), &OutputSide::open(&new).unwrap()).unwrap();
        assert_eq!((report.nodes.len(), report.unchanged), (kit.cluster.payloads().count(), 0), "{name}");
        let mut firstboot = BTreeSet::new();
        for change in report.nodes.iter().flat_map(|node| &node.changes) {
            assert!(!change.effects.contains(&Effect::Other), "{name}: {change:?}");
            if change.effects == [Effect::Firstboot] {
                firstboot.insert(change.name.as_str());
            }
        }
        if *name == "cloud-init" {
            let due = [
                "/etc/kubernetes/nodekiln-lease.conf",
                "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
                "/etc/kubernetes/pki/etcd/healthcheck-client.key",
            ];
            assert_eq!(firstboot.into_iter().collect::<Vec<_>>(), due);
        }
    }
}

#[test]
fn nodes_come_and_go_and_subnets_move() {
    let mut old = cluster("flatcar");
    old.cni = Cni::Bridge;
    let mut new = old.clone();
    new.nodes.remove(1);
    new.nodes[1].pod_cidrs = vec!["10.244.1.0/24".parse().unwrap()];
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        assert_eq!(report.removed.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["w1"]);
        let moved: Vec<_> = report.pod_cidrs_moved.iter().map(|moved| moved.node.as_str()).collect();
        assert_eq!(moved, ["w2"]);
        let told = text(&report);
        assert!(told.contains("w1: gone\n"), "{told}");
        assert!(told.contains("w2: its podCIDR moves from 10.244.9.0/24 to 10.244.1.0/24"), "{told}");
        assert!(told.contains("API: - Node w1\n"), "{told}");
        // Routes to the others are on every node.
        assert!(report.nodes.iter().any(|diff| diff.name.as_str() == "cp1"), "{told}");
    }
    let (outputs, _) = compared(&new, &old);
    assert_eq!(outputs.added.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["w1"]);
}

#[test]
fn renewed_certificates_are_told_by_their_end() {
    let old = cluster("flatcar");
    let mut new = old.clone();
    new.certificate_validity -= 3600;
    let (_, drafted) = compared(&old, &new);
    let worker = changes(&drafted, "w1");
    let kubelet = worker.iter().find(|(name, _)| name == "/var/lib/kubelet/pki/kubelet.crt").unwrap();
    assert_eq!(kubelet.1, [Effect::Kubelet]);
}

#[test]
fn nothing_secret_is_told() {
    let old = cluster("cloud-init");
    let mut new = old.clone();
    for node in &mut new.nodes {
        node.os.users.push(user());
        node.os.files.push(file("/etc/secret").into());
    }
    let (outputs, drafted) = compared(&old, &new);
    for report in [outputs, drafted] {
        for told in [text(&report), serde_json::to_string(&report).unwrap()] {
            assert!(told.contains("/etc/secret") && !told.contains("verysecret"), "{told}");
        }
    }
}

#[test]
fn what_is_no_output_is_refused() {
    let output = Memory::of(&cluster("flatcar"));
    let mut other = output.clone();
    other.entries.remove("manifest.json");
    assert!(matches!(OutputSide::open(&other), Err(SideError::Manifest)));
    let other = output.with("nodes/w1/config.ign", b"{}".to_vec());
    let mut manifest = output.manifest();
    manifest.files.iter_mut().find(|row| row.path == "nodes/w1/config.ign").unwrap().size = 2;
    manifest.files.iter_mut().find(|row| row.path == "nodes/w1/config.ign").unwrap().sha256 =
        nodekiln_plan::Sha256::of(b"{}");
    let other = other.sealed(manifest);
    let (old, new) = (OutputSide::open(&output).unwrap(), OutputSide::open(&other).unwrap());
    let Err(SideError::Payload(name, _)) = diff(&old, &new) else { panic!("it was read") };
    assert_eq!(name.as_str(), "w1");
}
