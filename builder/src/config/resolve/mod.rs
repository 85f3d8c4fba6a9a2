//! From [`RawCluster`] to [`Cluster`]: defaults, layers laid over each other, rules that span fields.
//!
//! Every part reports what it finds and returns what is sound; only at the end is a cluster made, if nothing was wrong.

mod binaries;
mod classes;
mod component;
mod delivery;
mod endpoint;
mod external_etcd;
mod files;
mod fragments;
mod gates;
mod images;
mod kernel;
mod labels;
mod laid;
mod layers;
mod machine;
mod manifests;
mod member;
mod networking;
mod nodes;
mod os;
pub(crate) mod owned;
mod patches;
mod paths;
mod pods;
mod pools;
mod snippets;
mod ssh;
mod units;
mod users;
mod value;

pub(super) use value::duration;

pub(super) use endpoint::LOAD_BALANCERS;

use super::{
    Algorithm, Cluster, Cni, IgnitionVersion, Places, choices, code,
    diag::{Diagnostics, Finding},
    inputs::Inputs,
    raw::{At, List, RawCluster, RawTimeouts},
    read::{Field, Place, Reader},
    shown::short,
    source::Source,
    values::Version,
    yaml::Tree,
};
use crate::release::Release;
use nodekiln_plan::{AbsPath, ClusterName, KubernetesVersion, Timeouts};
use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

/// What resolving works with.
pub(super) struct Cx<'a, 't> {
    tree: &'a Tree<'t>,
    found: &'a mut Diagnostics,
    inputs: &'a mut Inputs,
    /// What is wrong with the snippets that were read, by path, profile and version of Ignition's specification.
    snippets: HashMap<(String, &'static str, IgnitionVersion), snippets::Judged>,
}

/// Resolves a file. `None`: the findings say why.
pub(super) fn resolve(mut raw: RawCluster, mut cx: Cx<'_, '_>) -> Option<(Cluster, Places)> {
    let nodes = mem::take(&mut raw.nodes);
    let raw = &raw;
    let top = Place { span: cx.tree.span(cx.tree.root), ..Place::default() };
    cx.header(raw, &top);
    let name = cx.parse_or::<ClusterName>(&raw.cluster_name, "kubernetes");
    let version = raw.kubernetes_version.required("kubernetesVersion", &top, cx.found);
    let version = version.and_then(|at| {
        let version = cx.version(at)?;
        cx.unproved(at, version);
        Some(version)
    });
    let cni = cx.cni(raw);
    let networking = cx.networking(raw, cni);
    let [api_server, controller_manager, scheduler] = cx.components(raw);
    let api_server_sans = raw.api_server.get().map(|c| cx.sans(&c.cert_sans)).unwrap_or_default();
    let etcd = cx.etcd(raw);
    let dns = cx.dns(&raw.dns);
    let proxy = !raw.proxy.get().and_then(|p| p.disabled.get()).is_some_and(|b| b.value);
    let certificates_dir = cx.certificates_dir(&raw.certificates_dir);
    cx.folders_apart(raw, certificates_dir.as_ref(), etcd.as_ref().map(|etcd| &etcd.data_dir));
    let image_repository = match &raw.image_repository {
        field if field.is_unset() => Some("registry.k8s.io".to_owned()),
        field => field.get().and_then(|at| cx.image_repository(at)),
    };
    let given = match raw.encryption_algorithm.get() {
        Some(at) => cx.choice(at, &choices::ALGORITHMS, &[]),
        None => None,
    };
    let (feature_gates, asked) = cx.feature_gates(&raw.feature_gates, version, given);
    let algorithm = given.or(asked).unwrap_or(Algorithm::EcdsaP256);
    let (certificate_validity, ca_certificate_validity) = cx.validity(raw);
    let kubelet = cx.kubelet(&raw.kubelet, networking.services());
    let kube_proxy = cx.kube_proxy(&raw.kube_proxy);
    let timeouts = cx.timeouts(&raw.timeouts);
    let external_etcd = cx.external_etcd(raw);
    let patches = cx.patches(&raw.patches);
    let image_digests = cx.image_digests(raw);
    let empty = Field::Absent;
    let manifests = cx.manifests(raw.addons.get().map_or(&empty, |addons| &addons.manifests));

    let shared = nodes::Shared {
        version,
        kubelet: &kubelet,
        networking: &networking,
        cni,
        controller_manager: &controller_manager,
        certificates_dir: certificates_dir.as_ref(),
        certificates_place: raw.certificates_dir.get().map(|at| &at.place),
        data_dir: etcd.as_ref().map(|etcd| &etcd.data_dir),
        data_dir_place: raw.etcd.get().and_then(|etcd| etcd.local.get()?.data_dir.get()).map(|at| &at.place),
    };
    let nodes = cx.nodes(raw, nodes, &top, &shared);
    let endpoint = cx.endpoint(raw, &top, &nodes.facts, &networking);
    let delivery = cx.delivery(raw, &nodes);
    if cx.found.has_errors() {
        return None;
    }
    let places = Places {
        nodes: nodes.facts.iter().map(|node| node.place.span).collect(),
        pools: nodes.pool_places.iter().map(|place| place.span).collect(),
        delivery: raw.delivery.get().map_or_else(|| top.origin(), |at| at.place.origin()),
        fields: crate::config::refusable(cx.tree),
    };
    let (endpoint, load_balancer) = endpoint?;
    let cluster = Cluster {
        name: name?,
        version: version?,
        endpoint,
        networking: networking.whole()?,
        api_server,
        api_server_sans,
        controller_manager,
        scheduler,
        etcd: etcd?,
        external_etcd: external_etcd?,
        dns,
        proxy,
        certificates_dir: certificates_dir?,
        image_repository: image_repository?,
        algorithm,
        certificate_validity: certificate_validity?,
        ca_certificate_validity: ca_certificate_validity?,
        kubelet: fragments::without_nulls(&kubelet),
        kube_proxy: fragments::without_nulls(&kube_proxy),
        feature_gates,
        patches,
        image_digests,
        load_balancer,
        cni: cni?,
        manifests,
        delivery: delivery?,
        timeouts,
        nodes: nodes.nodes?,
        pools: nodes.pools?,
    };
    cx.unused_digests(raw, &cluster);
    Some((cluster, places))
}

impl<'a, 't> Cx<'a, 't> {
    pub(super) fn new(tree: &'a Tree<'t>, found: &'a mut Diagnostics, inputs: &'a mut Inputs) -> Self {
        Self { tree, found, inputs, snippets: HashMap::new() }
    }

    /// Reads a part of the file once more. What is wrong with it was told when all of the file was read: to tell it again
    /// would count twice what was too much to be kept.
    fn again<T>(&self, read: impl FnOnce(&mut Reader<'_, '_>) -> T) -> T {
        read(&mut Reader { tree: self.tree, found: &mut Diagnostics::new(Source::new("", "")) })
    }
}

impl Cx<'_, '_> {
    /// apiVersion and kind.
    fn header(&mut self, raw: &RawCluster, top: &Place) {
        if let Some(at) = raw.api_version.required("apiVersion", top, self.found)
            && at.value != "nodekiln/v1alpha1"
        {
            let finding = Finding::new(code::CHOICE, "`apiVersion` has to be `nodekiln/v1alpha1`");
            let finding = if at.value.starts_with("kubeadm.k8s.io/") {
                finding.hint("this is kubeadm's configuration; `nodekiln init` writes a cluster.yaml to start from")
            } else {
                finding.hint("write `apiVersion: nodekiln/v1alpha1`")
            };
            self.found.error_at(&at.place, finding);
        }
        if let Some(at) = raw.kind.required("kind", top, self.found)
            && at.value != "Cluster"
        {
            self.found.error_at(
                &at.place,
                Finding::new(code::CHOICE, "`kind` has to be `Cluster`").hint("write `kind: Cluster`"),
            );
        }
    }

    /// A version of the form vMAJOR.MINOR.PATCH.
    fn version_text(&mut self, at: &At<Version>) -> Option<KubernetesVersion> {
        let text = at.value.0.as_str();
        let Ok(version) = text.parse() else {
            let label = text.starts_with("stable") || text.starts_with("latest") || text.starts_with("ci/");
            let message = format!("`{}` is not a version", short(text));
            let hint = match label {
                true => "a label means another version tomorrow: write the version itself, such as v1.36.3",
                false => "a Kubernetes version is written vMAJOR.MINOR.PATCH, such as v1.36.3",
            };
            self.found.error_at(&at.place, Finding::new(code::VERSION, message).hint(hint));
            return None;
        };
        Some(version)
    }

    /// A Kubernetes version that this nodekiln renders.
    fn version(&mut self, at: &At<Version>) -> Option<KubernetesVersion> {
        let version = self.version_text(at)?;
        if Release::find(version).is_some() {
            return Some(version);
        }
        let minors: Vec<_> = Release::minors().iter().map(|minor| format!("v{minor}.x")).collect();
        let finding = Finding::new(code::VERSION, format!("Kubernetes {version} cannot be built"));
        self.found.error_at(&at.place, finding.hint(format!("supported: {}", minors.join(", "))));
        None
    }

    /// The cluster's version is built, but was never seen to run. No node's is newer, so that theirs need no warning.
    fn unproved(&mut self, at: &At<Version>, version: KubernetesVersion) {
        if Release::find(version).is_none_or(|release| release.is_proved()) {
            return;
        }
        let message =
            format!("Kubernetes {version} is not yet proved: what is built for it has met none of its programs");
        let newest = Release::newest_proved().unwrap_or("none");
        let finding = Finding::new(code::VERSION, message).hint(format!("the newest that is proved: v{newest}.x"));
        self.found.warning_at(&at.place, finding);
    }

    fn cni(&mut self, raw: &RawCluster) -> Option<Cni> {
        match raw.addons.get().map(|addons| &addons.cni) {
            Some(Field::Given(at)) => self.choice(at, &choices::NETWORK_ADDONS, &[]),
            Some(Field::Faulty) => None,
            _ => Some(Cni::None),
        }
    }

    fn certificates_dir(&mut self, field: &Field<String>) -> Option<AbsPath> {
        let path = self.parse_or::<AbsPath>(field, "/etc/kubernetes/pki")?;
        if let Some(at) = field.get() {
            let why = if paths::is_volatile(&path) {
                "a reboot would lose the certificates"
            } else if paths::is_system_folder(&path) {
                "it is a folder of the system's own"
            } else {
                return Some(path);
            };
            let finding =
                Finding::new(code::RESERVED, format!("certificates cannot be at `{}`: {why}", short(path.as_str())));
            self.found.error_at(&at.place, finding.hint("the default is /etc/kubernetes/pki"));
        }
        Some(path)
    }

    /// An empty member clears its data folder, and whatever else were in it.
    fn folders_apart(&mut self, raw: &RawCluster, certificates: Option<&AbsPath>, data: Option<&AbsPath>) {
        let (Some(certificates), Some(data)) = (certificates, data) else { return };
        if !certificates.is_within(data) && !data.is_within(certificates) {
            return;
        }
        let local = raw.etcd.get().and_then(|etcd| etcd.local.get());
        let said = local.and_then(|local| local.data_dir.get()).or_else(|| raw.certificates_dir.get());
        if let Some(at) = said {
            let message = format!(
                "etcd's data at `{}` and the certificates at `{}` lie in each other",
                short(data.as_str()),
                short(certificates.as_str())
            );
            self.found.error_at(&at.place, Finding::new(code::RESERVED, message).hint("give each a folder of its own"));
        }
    }

    fn validity(&mut self, raw: &RawCluster) -> (Option<i64>, Option<i64>) {
        const HOUR: i64 = 3600;
        let mut period = |field: &Field<String>, default| match field {
            Field::Given(at) => self.seconds(at),
            Field::Faulty => None,
            _ => Some(default),
        };
        let leaf = period(&raw.certificate_validity, 8760 * HOUR);
        let ca = period(&raw.ca_certificate_validity, 87600 * HOUR);
        if let (Some(leaf), Some(ca)) = (leaf, ca)
            && leaf > ca
        {
            let finding = Finding::new(code::DURATION, "certificates would outlive the CA that signs them")
                .hint("shorten `certificateValidityPeriod`, or lengthen `caCertificateValidityPeriod`");
            match (raw.certificate_validity.get(), raw.ca_certificate_validity.get()) {
                (Some(leaf), Some(ca)) => {
                    self.found.error_at(&leaf.place, finding.second(ca.place.span, "the CA ends before"));
                }
                (Some(at), None) | (None, Some(at)) => self.found.error_at(&at.place, finding),
                (None, None) => {}
            }
        }
        (leaf, ca)
    }

    fn timeouts(&mut self, field: &Field<RawTimeouts>) -> Timeouts {
        let mut timeouts = Timeouts::default();
        let Some(raw) = field.get() else { return timeouts };
        for (field, slot) in [
            (&raw.control_plane, &mut timeouts.control_plane_component_health_check),
            (&raw.kubelet, &mut timeouts.kubelet_health_check),
            (&raw.api, &mut timeouts.kubernetes_api_call),
            (&raw.etcd, &mut timeouts.etcd_api_call),
            (&raw.tls_bootstrap, &mut timeouts.tls_bootstrap),
        ] {
            if let Some(seconds) = field.get().and_then(|at| self.seconds(at))
                && let Ok(seconds) = u64::try_from(seconds)
            {
                *slot = seconds;
            }
        }
        timeouts
    }

    /// Names of preflight checks to ignore (kubeadm's, compared without case).
    fn ignored_checks(&mut self, field: &Field<List<String>>) -> Vec<String> {
        let Some(list) = field.get() else { return Vec::new() };
        let mut names = Vec::new();
        for at in &list.value {
            let all = at.value.eq_ignore_ascii_case("all");
            if all && list.value.len() > 1 {
                let finding = Finding::new(code::CHECK_NAME, "`all` has to stand alone");
                self.found.error_at(&at.place, finding);
            } else if !all && !is_check(&at.value) {
                let finding =
                    Finding::new(code::CHECK_NAME, format!("no preflight check has the name `{}`", short(&at.value)));
                let finding = match super::nearest::nearest(&at.value, CHECKS.iter().copied()) {
                    Some(name) => finding.hint(format!("did you mean `{name}`?")),
                    None => finding,
                };
                self.found.warning_at(&at.place, finding);
            }
            names.push(at.value.clone());
        }
        names
    }

    /// Reports the second occurrence of `key`, with the first.
    fn once<K: Ord>(&mut self, seen: &mut BTreeMap<K, Place>, key: K, place: &Place, what: &str) -> bool {
        match seen.get(&key) {
            None => {
                seen.insert(key, place.clone());
                true
            }
            Some(first) => {
                let hint = match what.strip_prefix("this ") {
                    Some("node's name") => "rename one of the two nodes: names are unique in the cluster",
                    Some("address" | "MAC address" | "UUID") => "correct one of the two: it is one machine's",
                    Some("volume's name") => "rename one of the two",
                    Some("key" | "group" | "module") => "remove one of the two",
                    Some(_) => "remove one of the two, or change this one",
                    None => "correct one of the two",
                };
                let finding = Finding::new(code::DUPLICATE, format!("{what} comes twice"))
                    .second(first.span, "first here")
                    .hint(hint);
                self.found.error_at(place, finding);
                false
            }
        }
    }
}

/// kubeadm's preflight checks without a variable part (fact sheet 6).
const CHECKS: &[&str] = &[
    "IsPrivilegedUser",
    "NumCPU",
    "Mem",
    "KubernetesVersion",
    "Firewalld",
    "HTTPProxy",
    "HTTPProxyCIDR",
    "CRI",
    "ContainerRuntimeVersion",
    "Swap",
    "SystemVerification",
    "Hostname",
    "KubeletVersion",
    "Service-kubelet",
    "ExternalEtcdVersion",
    "ExternalEtcdClientCertificates",
    "ImagePull",
];

fn is_check(name: &str) -> bool {
    const FAMILIES: [&str; 5] = ["port-", "fileavailable-", "fileexisting-", "filecontent-", "diravailable-"];
    let lower = name.to_ascii_lowercase();
    CHECKS.iter().any(|check| check.eq_ignore_ascii_case(name))
        || FAMILIES.iter().any(|family| lower.len() > family.len() && lower.starts_with(family))
}
