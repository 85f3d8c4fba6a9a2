//! What is refused, by field and message.

use super::*;

fn refused(change: impl Fn(&mut Cluster)) -> Vec<String> {
    let mut cluster = plain();
    change(&mut cluster);
    let node = &cluster.nodes[0];
    let refusals = plan(&cluster, node, &sources()).expect_err("refused");
    assert!(refusals.iter().all(|refusal| refusal.node == node.name));
    refusals.iter().map(|refusal| format!("{}: {}", refusal.field, refusal.message)).collect()
}

fn os_file(path: &str) -> Common<OsFile> {
    OsFile { path: path.parse().unwrap(), mode: Mode::PUBLIC, contents: input("x", b"x") }.into()
}

fn os_unit(name: &str, content: Option<&str>, dropin: Option<&str>) -> Common<OsUnit> {
    Common::from(OsUnit {
        name: name.parse().unwrap(),
        enabled: false,
        content: content.map(str::to_owned),
        dropins: dropin.map(|name| (name.to_owned(), "[Unit]\n".to_owned())).into_iter().collect(),
    })
}

fn url(url: &str) -> Binary {
    Binary::Url { url: url.to_owned(), hash: FetchHash::Sha512("0".repeat(128)) }
}

type Change = fn(&mut Cluster);

#[test]
fn one_by_one() {
    let cases: [(Change, &str); 17] = [
        (
            |c| c.nodes[0].binaries.firstboot = Some(url("https://a/firstboot.tgz")),
            "binaries.firstboot: is an archive, this is one program",
        ),
        (
            |c| c.api_server.extra_volumes = vec![volume("mine", "/etc/ssl/certs")],
            "apiServer.extraVolumes: `/etc/ssl/certs` is mounted already",
        ),
        (|c| c.nodes[0].os.arch = Arch::Arm64, "binaries.firstboot: this builder holds no firstboot for arm64"),
        (|c| c.version = "v1.32.0".parse().unwrap(), "kubernetesVersion: v1.32.0 or v1.36.3 is not supported"),
        (
            |c| c.etcd.extra_args = args(&[("initial-cluster-state", "new")]),
            "etcd.local.extraArgs: `initial-cluster-state` is decided by firstboot, when the members have met",
        ),
        (
            |c| c.nodes[0].kubelet_extra_args = args(&[("cert-dir", "/x")]).into(),
            "kubeletExtraArgs: `cert-dir` is set by nodekiln: firstboot and the certificates rely on it",
        ),
        (
            |c| c.nodes[0].kubelet = json!({"healthzPort": 0}).as_object().unwrap().clone().into(),
            "kubelet.healthzPort: 0 turns off the endpoint that firstboot waits for",
        ),
        (
            |c| c.certificates_dir = format!("/{}", "a/".repeat(1800).trim_end_matches('/')).parse().unwrap(),
            "certificatesDir: is longer than 3500 bytes",
        ),
        (
            |c| c.nodes[0].binaries.kubelet = Binary::File(input("kubelet.tar.gz", b"")),
            "binaries.kubelet: is an archive, this is one program",
        ),
        (
            |c| c.nodes[0].binaries.cni_plugins = Binary::File(input("bridge", b"")),
            "binaries.cniPlugins: is not a .tgz, .tar.gz or .tar, and the plugins are several",
        ),
        (|c| c.nodes[0].os.files = vec![os_file("/etc/hostname")], "os.files: /etc/hostname is written by nodekiln"),
        (
            |c| c.nodes[0].os.files = vec![os_file("/var/lib/nodekiln/stage/var/lib/kubelet/config.yaml")],
            "os.files: /var/lib/nodekiln/stage/var/lib/kubelet/config.yaml is written by nodekiln",
        ),
        (
            |c| c.nodes[0].os.files = vec![os_file("/bin/x"), os_file("/usr/bin/x")],
            "os.files: /usr/bin/x is given twice, by os.files too",
        ),
        (
            |c| c.nodes[0].os.files = vec![os_file("/etc/hostname/x")],
            "os.files: /etc/hostname/x lies below /etc/hostname, which is a file",
        ),
        (
            |c| c.nodes[0].os.files = vec![os_file("/etc/kubernetes")],
            "os.files: /etc/kubernetes/controller-manager.conf lies below /etc/kubernetes, which is a file",
        ),
        (
            |c| c.nodes[0].os.units = vec![os_unit("kubelet.service", Some("[Service]\n"), None)],
            "os.units: `kubelet.service` is a unit of nodekiln's",
        ),
        (
            |c| c.nodes[0].os.units = vec![os_unit("kubelet.service", None, Some("10-kubeadm.conf"))],
            "os.units: nodekiln has a drop-in `10-kubeadm.conf` for `kubelet.service` itself",
        ),
    ];
    for (change, want) in cases {
        let found = refused(change);
        assert_eq!(found.first().map(String::as_str), Some(want), "{found:?}");
    }
}

#[test]
fn of_pools_and_external_etcd() {
    let refused = |change: Change| {
        let mut cluster = topology::pools();
        change(&mut cluster);
        let node = if cluster.external_etcd.is_some() { &cluster.nodes[0] } else { &cluster.pools[0] };
        let refusals = plan(&cluster, node, &sources()).expect_err("refused");
        refusals.iter().map(|refusal| format!("{}: {}", refusal.field, refusal.message)).collect::<Vec<_>>()
    };
    let cases: [(Change, &str); 3] = [
        (
            |c| c.cni = Cni::Bridge,
            "addons.cni: `bridge` lays a route to every node, and the machines of a pool are not known",
        ),
        (
            |c| {
                let labels = ["node-role.kubernetes.io/edge", "topology.kubernetes.io/zone", "x.k8s.io/y"];
                *c.pools[0].labels = labels.map(|key| (key.to_owned(), String::new())).into();
            },
            "labels: a kubelet may not give itself node-role.kubernetes.io/edge, x.k8s.io/y",
        ),
        (
            |c| {
                *c = topology::external();
                c.external_etcd.as_mut().unwrap().key = Some(NodeFile::Image("/key".parse().unwrap()));
            },
            "etcd.external: the folder of `/key` is mounted into kube-apiserver, and / cannot be",
        ),
    ];
    for (change, want) in cases {
        assert_eq!(refused(change), [want]);
    }
}

#[test]
fn places_that_cannot_be_written() {
    for (path, refused) in [
        ("/usr/lib/x", Some("/usr/lib/x: /usr cannot be written on fedora-coreos")),
        ("/bin/x", Some("/bin/x: /usr cannot be written on fedora-coreos")),
        ("/run/x", Some("/run/x: /run cannot be written on fedora-coreos")),
        ("/usr/local/bin/x", None),
        ("/opt/x", None),
    ] {
        let mut cluster = dual_stack();
        cluster.nodes[0].os.files = vec![os_file(path)];
        let found = plan(&cluster, &cluster.nodes[0], &sources());
        let message = found.as_ref().err().map(|refusals| refusals[0].message.as_str());
        assert_eq!(message, refused, "{path}");
    }
    let mut cluster = dual_stack();
    cluster.etcd.data_dir = "/usr/etcd".parse().unwrap();
    let found = plan(&cluster, &cluster.nodes[0], &sources()).unwrap_err();
    assert_eq!(found[0].message, "/usr/etcd: /usr cannot be written on fedora-coreos");
}

#[test]
fn all_at_once() {
    let found = refused(|cluster| {
        let node = &mut cluster.nodes[0];
        node.os.files = vec![os_file("/etc/hostname"), os_file("/proc/x")];
        node.binaries.runc = url("https://a/runc.tar.gz");
        node.os.arch = Arch::Arm64;
    });
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_unit_of_ones_own_is_taken_as_it_is() {
    let mut cluster = plain();
    cluster.nodes[0].os.units = vec![
        os_unit("a.service", Some("[Service]\nExecStart=true\n"), None),
        os_unit("b.service", None, Some("x.conf")),
        os_unit("kubelet.service", None, Some("50-mine.conf")),
    ];
    let draft = draft(&cluster, "cp1");
    assert_eq!(unit(&draft, "a.service").state, UnitState::Disabled);
    assert_eq!(unit(&draft, "b.service").state, UnitState::Unchanged);
    let kubelet = unit(&draft, "kubelet.service");
    assert!(kubelet.contents.is_some());
    let names: Vec<_> = kubelet.dropins.iter().map(|dropin| dropin.name.as_str()).collect();
    assert_eq!(names, ["10-kubeadm.conf", "50-mine.conf"]);
}

fn volume(name: &str, mount: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        host_path: "/data".parse().unwrap(),
        mount_path: mount.parse().unwrap(),
        read_only: true,
        path_type: String::new(),
    }
}

/// A volume of the same name takes the place of ours, as kubeadm has it.
#[test]
fn a_volume_may_be_replaced() {
    let mut cluster = plain();
    cluster.api_server.extra_volumes = vec![volume("ca-certs", "/etc/ssl/certs")];
    assert!(plan(&cluster, &cluster.nodes[0], &sources()).is_ok());
}

/// A snippet may set nothing that is set otherwise, nor lie in its way.
#[test]
fn snippets_against_the_plan() {
    let ignition = |rest: &str| format!("{{\"ignition\": {{\"version\": \"3.3.0\"}}, {rest}}}");
    let storage = |kind: &str, path: &str| {
        let target = if kind == "links" { ", \"target\": \"/x\"" } else { "" };
        ignition(&format!("\"storage\": {{\"{kind}\": [{{\"path\": \"{path}\"{target}}}]}}"))
    };
    let unit = |name: &str| ignition(&format!("\"systemd\": {{\"units\": [{{\"name\": \"{name}\"}}]}}"));
    let user = |name: &str| ignition(&format!("\"passwd\": {{\"users\": [{{\"name\": \"{name}\"}}]}}"));
    for (text, due) in [
        (storage("files", "/etc/mine"), None),
        (storage("directories", "/data"), None),
        // A folder that ours lie in may be said, a link in its place may not.
        (storage("directories", "/etc"), None),
        (storage("links", "/etc"), Some("a: /etc is nodekiln's own")),
        (storage("links", "/etc/sysctl.d"), Some("a: /etc/sysctl.d would have to be a folder")),
        (storage("files", "/etc/hostname"), Some("a: /etc/hostname is set by nodekiln too")),
        (storage("files", "/etc/hostname/x"), Some("a: /etc/hostname/x lies below a file of nodekiln")),
        (storage("files", "/etc/users-own"), Some("a: /etc/users-own is set by `os.files` too")),
        (storage("directories", "/var/lib/etcd"), Some("a: /var/lib/etcd is nodekiln's own")),
        (storage("directories", "/var/lib/nodekiln/x"), Some("a: /var/lib/nodekiln/x is nodekiln's own")),
        (unit("data.mount"), None),
        (unit("kubelet.service"), Some("a: the unit kubelet.service is set by nodekiln, or by `os.units`, too")),
        (unit("users-own.service"), Some("a: the unit users-own.service is set by nodekiln, or by `os.units`, too")),
        (user("other"), None),
        (user("ops"), Some("a: the account ops is set by `os.users` too")),
        ("{".to_owned(), Some("a: does not parse as an Ignition configuration: line 1, column 1")),
    ] {
        let mut cluster = crate::node::fixture::cluster("flatcar", &["cp1"]);
        let os = &mut cluster.nodes[0].os;
        os.files = vec![os_file("/etc/users-own")];
        os.units = vec![os_unit("users-own.service", Some("[Service]\nExecStart=true\n"), None)];
        os.users = vec![crate::config::User {
            name: "ops".to_owned(),
            ssh_authorized_keys: vec![].into(),
            password_hash: None,
            groups: vec![].into(),
        }];
        os.snippets = vec![crate::node::fixture::input("a", text.as_bytes())];
        let found = plan(&cluster, &cluster.nodes[0], &sources()).err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(|refusal| (refusal.field.as_str(), refusal.message.as_str())).collect();
        match due {
            None => assert!(found.is_empty(), "{text}: {found:?}"),
            Some(due) => {
                assert_eq!(found.len(), 1, "{text}: {found:?}");
                assert!(found[0].0 == "os.snippets" && found[0].1.starts_with(due), "{text}: {found:?}");
            }
        }
    }
}
