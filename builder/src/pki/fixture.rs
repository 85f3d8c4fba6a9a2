//! A cluster for tests of this room: three control planes in dual stack, one worker, DNS endpoint, every list of user
//! names in use.

use crate::{
    config::*,
    draft::{ClassDraft, Contents, Digested, DraftFile, Leaf, LeafForm, NodeDraft, Part, Row, Shared},
    pki::{
        Authority, Filled,
        kubeconfig::{self, Credentials},
        table,
    },
    secrets,
};
use nodekiln_plan::*;
use std::{collections::BTreeMap, sync::Arc};

pub(crate) const DAY: i64 = 24 * 60 * 60;
pub(crate) const YEAR: i64 = 365 * DAY;

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} does not parse"))
}

fn node(name: &str, role: Role, number: u8) -> Node {
    Node {
        disk: None,
        replaces: None,
        name: parse(name),
        addresses: vec![parse(&format!("10.0.0.{number}")), parse(&format!("2001:db8::{number}"))],
        mac: None,
        uuid: None,
        network: None,
        labels: crate::config::Common::default(),
        pod_cidrs: vec![],
        class: Arc::new(NodeClass { version: parse("v1.36.2"), ..crate::node::fixture::class("flatcar", role) }),
    }
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: parse("prod"),
        version: parse("v1.36.2"),
        endpoint: parse("api.example.org:6443"),
        networking: Networking {
            pods: vec![parse("10.244.0.0/16"), parse("fd00:10:244::/56")],
            services: vec![parse("10.96.0.0/12"), parse("fd00:10:96::/112")],
            dns_domain: parse("cluster.local"),
        },
        api_server: ControlPlaneComponent::default(),
        api_server_sans: vec![San::Dns("*.api.example.org".into()), San::Ip(parse("192.0.2.7"))],
        controller_manager: ControlPlaneComponent::default(),
        scheduler: ControlPlaneComponent::default(),
        etcd: Etcd {
            data_dir: parse("/var/lib/etcd"),
            extra_args: vec![],
            extra_envs: vec![],
            server_sans: vec![San::Dns("etcd.example.org".into())],
            // A name that is there anyway.
            peer_sans: vec![San::Dns("localhost".into()), San::Dns("peer.example.org".into())],
            image: ImageOverride::default(),
        },
        external_etcd: None,
        feature_gates: BTreeMap::new(),
        patches: vec![],
        image_digests: BTreeMap::new(),
        load_balancer: LoadBalancer::External,
        manifests: vec![],
        pools: vec![],
        dns: None,
        proxy: true,
        certificates_dir: parse("/etc/kubernetes/pki"),
        image_repository: "registry.k8s.io".into(),
        algorithm: Algorithm::EcdsaP256,
        certificate_validity: YEAR,
        ca_certificate_validity: 10 * YEAR,
        kubelet: Fragment::new(),
        kube_proxy: Fragment::new(),
        cni: Cni::None,
        delivery: Delivery { mode: DeliveryMode::Inline, base_url: None, ca: None },
        timeouts: Timeouts::default(),
        nodes: vec![
            node("cp1", Role::ControlPlane, 1),
            node("cp2", Role::ControlPlane, 2),
            node("cp3", Role::ControlPlane, 3),
            node("w1", Role::Worker, 9),
        ],
    }
}

/// The authority of these tests, opened once.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: std::sync::LazyLock<Authority> = std::sync::LazyLock::new(fresh_authority);
    &AUTHORITY
}

/// The same, opened again.
pub(crate) fn fresh_authority() -> Authority {
    Authority::open(&secrets::tests::fixture(1), &cluster()).unwrap()
}

/// A cluster of this algorithm, and its authority, opened once. RSA keys take their time: but for P-256 there is one node
/// of each role.
pub(crate) fn of_algorithm(algorithm: Algorithm) -> &'static (Cluster, Authority) {
    static ALL: [std::sync::OnceLock<(Cluster, Authority)>; 5] = [const { std::sync::OnceLock::new() }; 5];
    ALL[algorithm as usize].get_or_init(|| {
        let mut cluster = cluster();
        if algorithm != Algorithm::EcdsaP256 {
            cluster.nodes.drain(1..3);
        }
        cluster.algorithm = algorithm;
        let secrets = secrets::tests::of_algorithm(algorithm, &cluster);
        let authority = Authority::open(&secrets, &cluster).unwrap();
        (cluster, authority)
    })
}

/// All leaves of a cluster: each row for each of its receivers, shared ones once.
pub(crate) fn all_leaves(cluster: &Cluster) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let known = table::leaves(cluster);
    // RSA keys are kept for those that the cluster needs; all others can be issued in any cluster.
    for spec in
        table::TABLE.iter().filter(|spec| !cluster.algorithm.is_rsa() || known.iter().any(|(row, _)| *row == spec.row))
    {
        match spec.scope {
            table::Scope::Shared => leaves.push(table::leaf(spec.row, cluster, None)),
            table::Scope::Node => leaves.extend(
                (cluster.nodes.iter())
                    .filter(|node| spec.receivers.iter().any(|duty| table::Holder::of(cluster, node).has(*duty)))
                    .map(|node| table::leaf(spec.row, cluster, Some(node))),
            ),
        }
    }
    leaves
}

pub(crate) fn file(path: &str, mode: Mode, kind: FileKind, contents: Contents) -> DraftFile {
    DraftFile { path: parse(path), mode, kind, contents }
}

/// A draft with every form of contents that the node's role may have.
pub(crate) fn draft(cluster: &Cluster, name: &str) -> NodeDraft {
    let node = cluster.nodes.iter().find(|node| node.name.as_str() == name).unwrap();
    let leaf = |row| table::leaf(row, cluster, Some(node));
    let (public, private) = (Mode::PUBLIC, Mode::PRIVATE);
    let pem = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    let user = format!("system:node:{name}");
    let kubeconfig = kubeconfig::template(&cluster.name, &user, &cluster.endpoint, Credentials::File(parse(pem)));
    let mut files = vec![
        file("/etc/kubernetes/kubelet.conf", private, FileKind::Laid, Contents::Template(kubeconfig)),
        file("/etc/kubernetes/pki/ca.crt", public, FileKind::Laid, Contents::Shared(Shared::Ca)),
        file("/etc/motd", public, FileKind::Laid, Contents::text("hello\n")),
        file("/opt/big", public, FileKind::Laid, Contents::Bytes(crate::draft::Blob::of(big()))),
        file(pem, private, FileKind::Seed, Contents::Leaf(leaf(Row::KubeletClient), LeafForm::Both)),
        file("/var/lib/kubelet/pki/kubelet.crt", public, FileKind::Staged, {
            Contents::Leaf(leaf(Row::KubeletServer), LeafForm::Certificate)
        }),
        file("/var/lib/kubelet/pki/kubelet.key", private, FileKind::Staged, {
            Contents::Leaf(leaf(Row::KubeletServer), LeafForm::Key)
        }),
    ];
    let embedded = |row, user: &str| {
        let credentials = Credentials::Embedded(table::leaf(row, cluster, None));
        Contents::Template(kubeconfig::template(&cluster.name, user, &cluster.endpoint, credentials))
    };
    if node.role == Role::ControlPlane {
        files.extend([
            file("/etc/kubernetes/pki/ca.key", private, FileKind::Laid, Contents::Shared(Shared::CaKey)),
            file("/etc/kubernetes/pki/sa.key", private, FileKind::Laid, Contents::Shared(Shared::ServiceAccountKey)),
            file("/etc/kubernetes/pki/sa.pub", public, FileKind::Laid, {
                Contents::Shared(Shared::ServiceAccountPublicKey)
            }),
            file("/etc/kubernetes/pki/enc.json", private, FileKind::Laid, {
                Contents::Template(vec![
                    Part::Text("{\"secret\":\"".into()),
                    Part::Base64(Shared::EncryptionKey(0)),
                    Part::Text("\"}".into()),
                ])
            }),
            file("/etc/kubernetes/scheduler.conf", private, FileKind::Laid, {
                embedded(Row::Scheduler, "system:kube-scheduler")
            }),
            file(paths::API_CREDENTIAL, private, FileKind::Credential, {
                embedded(Row::SuperAdmin, "kubernetes-super-admin")
            }),
            file("/etc/kubernetes/manifests/etcd.yaml", private, FileKind::Decided, Contents::text("{}")),
        ]);
        for (stem, row) in [
            ("apiserver", Row::ApiServer),
            ("apiserver-etcd-client", Row::ApiServerEtcdClient),
            ("etcd/peer", Row::EtcdPeer),
        ] {
            let path = |end| format!("/etc/kubernetes/pki/{stem}.{end}");
            let certificate = Contents::Leaf(leaf(row), LeafForm::Certificate);
            files.push(file(&path("crt"), public, FileKind::Laid, certificate));
            files.push(file(&path("key"), private, FileKind::Laid, Contents::Leaf(leaf(row), LeafForm::Key)));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // As planning does: what names no node is the class's.
    let (common, files) = files.into_iter().partition(|file: &DraftFile| match &file.contents {
        Contents::Text(_) | Contents::Bytes(_) | Contents::Shared(_) => true,
        Contents::Leaf(leaf, _) => leaf.node.is_none(),
        Contents::Template(_) => file.path.file_name() == "scheduler.conf",
    });
    let class = ClassDraft {
        spec: class_spec(),
        profile: node.os.profile,
        files: common,
        users_own: vec![],
        units: vec![],
        accounts: vec![],
        fetches: vec![],
        fetch_ca: None,
        time_servers: vec![],
        snippets: vec![],
        blobs: vec![],
    };
    NodeDraft {
        class: Digested::new(class).into(),
        spec: spec(cluster, node),
        holder: table::Holder::of(cluster, node),
        files,
        links: vec![],
        units: vec![],
        network: None,
        api: vec![],
    }
}

/// What `filled` says in its plan.json.
pub(crate) fn plan(filled: &Filled) -> NodePlan {
    let file = filled.tree.files.iter().find(|file| file.path.as_str() == paths::PLAN).unwrap();
    NodePlan::from_slice(file.contents.expose()).unwrap()
}

/// Changes what the class of `draft` has.
pub(crate) fn with_class(draft: &mut NodeDraft, change: impl FnOnce(&mut ClassDraft)) {
    let mut class = Digested::clone(&draft.class).into_class();
    change(&mut class);
    draft.class = Digested::new(class).into();
}

/// Contents that are shared by address.
fn big() -> std::sync::Arc<[u8]> {
    static BIG: std::sync::LazyLock<std::sync::Arc<[u8]>> = std::sync::LazyLock::new(|| vec![0x5a; 100_000].into());
    std::sync::Arc::clone(&BIG)
}

fn spec(cluster: &Cluster, node: &Node) -> NodeSpec {
    let path = |text: &str| parse::<AbsPath>(text);
    let etcd = (node.role == Role::ControlPlane).then(|| EtcdPlan {
        members: (cluster.with_role(Role::ControlPlane))
            .map(|node| EtcdMember { name: node.name.clone(), address: node.address() })
            .collect(),
        data_dir: cluster.etcd.data_dir.clone(),
        manifest: path("/etc/kubernetes/manifests/etcd.yaml"),
        client_port: 2379,
        peer_port: 2380,
        statement_port: 2382,
        ca: path("/etc/kubernetes/pki/etcd/ca.crt"),
        peer_cert: path("/etc/kubernetes/pki/etcd/peer.crt"),
        peer_key: path("/etc/kubernetes/pki/etcd/peer.key"),
        client_cert: path("/etc/kubernetes/pki/etcd/healthcheck-client.crt"),
        client_key: path("/etc/kubernetes/pki/etcd/healthcheck-client.key"),
        api_servers: vec![],
        api_ca: path("/etc/kubernetes/pki/ca.crt"),
        replaces: None,
        mount: None,
    });
    NodeSpec {
        cluster: cluster.name.clone(),
        node: node.name.clone(),
        pool: false,
        role: node.role,
        kubernetes_version: node.version,
        addresses: node.addresses.clone(),
        disk: None,
        etcd,
        server: Some(cluster.endpoint.clone()),
        api: None,
    }
}

fn class_spec() -> ClassSpec {
    let path = |text: &str| parse::<AbsPath>(text);
    ClassSpec {
        preflight: PreflightPlan {
            ignore: vec![],
            ports: vec![],
            programs: vec![],
            etcd_client_files: vec![],
            external_etcd: None,
            runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            ipv4: true,
            ipv6: true,
        },
        kernel: KernelPlan { modules: vec![], sysctls: vec![], swap: false },
        directories: vec![DirectoryEntry { path: path("/etc/kubernetes/pki"), mode: Mode::EXECUTABLE }],
        archives: vec![],
        kubelet: KubeletPlan {
            unit: parse("kubelet.service"),
            binary: path("/usr/bin/kubelet"),
            after: vec![],
            healthz: "http://127.0.0.1:10248/healthz".into(),
            root_dir: path("/var/lib/kubelet"),
            static_pods: path("/etc/kubernetes/manifests"),
            ca: path("/etc/kubernetes/pki/ca.crt"),
            client_certificate: path("/var/lib/kubelet/pki/kubelet-client-current.pem"),
        },
        timeouts: Timeouts::default(),
        finalize: FinalizePlan { scrub: vec![], touch: vec![], beyond_reach: vec![] },
    }
}
