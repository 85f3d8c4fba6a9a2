//! What differs between Kubernetes releases: image tags and behaviours, read from `kubernetes.toml`.
//!
//! The only room that compares versions. Everything else asks [`Release::has`].

mod fields;

pub use fields::{Fields, KUBE_PROXY_FIELDS, KUBELET_FIELDS, Kind};

use nodekiln_plan::KubernetesVersion;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// Something that one release does and another does not. Each has a row in `kubernetes.toml`, where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Probes name a container port.
    NamedProbePort,
    /// extraArgs stay in the user's order.
    ExtraArgsOrder,
    /// kube-controller-manager mounts the folder of FlexVolume plugins.
    FlexvolumeMount,
    /// etcd is told by feature gate to check for corruption.
    EtcdFeatureGates,
    /// ... whatever the tag of its image says.
    EtcdFeatureGatesOnly,
    /// The kubelet has `--pod-infra-container-image`.
    PodInfraContainerImage,
    /// kubeadm reads `ECDSA-P384`.
    EcdsaP384,
    /// The runtime's socket stands in instance-config.yaml.
    InstanceConfig,
    /// `kubeproxydaemonset` is a target of patches.
    PatchKubeProxy,
}

/// An image that follows no Kubernetes release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addon {
    /// `loadBalancer: local`.
    Haproxy,
    /// `loadBalancer: kube-vip`.
    KubeVip,
    /// flannel's daemon.
    Flannel,
    /// flannel's plugin for containerd.
    FlannelCniPlugin,
}

/// What a release says about one of kubeadm's feature gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Off unless turned on.
    Off,
    /// On unless turned off.
    On,
    /// On, and cannot be turned off.
    Locked,
}

/// The first patch of each minor that has something.
type Row = BTreeMap<String, u16>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    minors: BTreeMap<String, Tags>,
    images: BTreeMap<Addon, String>,
    behaviours: BTreeMap<Behaviour, Row>,
    gates: BTreeMap<String, BTreeMap<String, Gate>>,
    #[serde(rename = "kubelet-fields")]
    kubelet_fields: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tags {
    proved: bool,
    etcd: String,
    coredns: String,
    pause: String,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    toml::from_str(include_str!("kubernetes.toml")).expect("kubernetes.toml parses: a test reads it all")
});

fn minor(version: KubernetesVersion) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// Repository and tag of an image that follows no Kubernetes release.
pub fn addon_image(addon: Addon) -> &'static str {
    TABLE.images.get(&addon).expect("kubernetes.toml has them all: a test asks for each")
}

/// A Kubernetes release that nodekiln knows.
#[derive(Clone, Copy)]
pub struct Release {
    version: KubernetesVersion,
    minor: &'static str,
    tags: &'static Tags,
}

impl std::fmt::Debug for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Release({})", self.version)
    }
}

impl Release {
    /// The release of this version, or `None` if its minor is not supported.
    pub fn find(version: KubernetesVersion) -> Option<Self> {
        TABLE.minors.get_key_value(&minor(version)).map(|(minor, tags)| Self { version, minor, tags })
    }

    /// The supported minors, such as `1.36`, oldest first.
    pub fn minors() -> Vec<&'static str> {
        TABLE.minors.keys().map(String::as_str).collect()
    }

    /// The newest minor that [`Release::is_proved`] holds for.
    pub fn newest_proved() -> Option<&'static str> {
        TABLE.minors.iter().rev().find(|(_, tags)| tags.proved).map(|(minor, _)| minor.as_str())
    }

    /// Whether the components of its minor took what is built for it. Otherwise it is built from the same facts, unseen.
    pub fn is_proved(&self) -> bool {
        self.tags.proved
    }

    /// Its version.
    pub fn version(&self) -> KubernetesVersion {
        self.version
    }

    /// Whether this release does that.
    pub fn has(&self, behaviour: Behaviour) -> bool {
        TABLE.behaviours.get(&behaviour).is_some_and(|row| self.is_in(row))
    }

    fn is_in(&self, row: &Row) -> bool {
        row.get(self.minor).is_some_and(|first| self.version.patch >= *first)
    }

    /// Whether its kubelet knows the field `path` of KubeletConfiguration, one of [`KUBELET_FIELDS`].
    pub fn has_kubelet_field(&self, path: &str) -> bool {
        TABLE.kubelet_fields.get(path).is_none_or(|row| self.is_in(row))
    }

    /// What its kubeadm says about the feature gate `name`; `None`: it has no such gate.
    pub fn gate(&self, name: &str) -> Option<Gate> {
        TABLE.gates.get(name)?.get(self.minor).copied()
    }

    /// The feature gates that its kubeadm has, by name.
    pub fn gates(&self) -> Vec<&'static str> {
        TABLE.gates.iter().filter(|(_, row)| row.contains_key(self.minor)).map(|(name, _)| name.as_str()).collect()
    }

    /// Tag of etcd's image.
    pub fn etcd_tag(&self) -> &'static str {
        &self.tags.etcd
    }

    /// Tag of CoreDNS's image.
    pub fn coredns_tag(&self) -> &'static str {
        &self.tags.coredns
    }

    /// Tag of the sandbox image.
    pub fn pause_tag(&self) -> &'static str {
        &self.tags.pause
    }

    /// Whether etcd of this image tag is told by feature gate, which it knows from 3.6 on. A tag that is no version
    /// counts as a new one, as in kubeadm.
    pub fn etcd_feature_gates(&self, tag: &str) -> bool {
        let mut numbers = tag.trim_start_matches('v').split(['.', '-']).map(str::parse::<u32>);
        let old = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (3, 6),
            _ => false,
        };
        self.has(Behaviour::EtcdFeatureGatesOnly) || (self.has(Behaviour::EtcdFeatureGates) && !old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    pub(super) fn release(version: &str) -> Release {
        Release::find(version.parse().unwrap()).unwrap()
    }

    #[test]
    fn images() {
        let tags = |version| {
            let release = release(version);
            [release.etcd_tag(), release.coredns_tag(), release.pause_tag()]
        };
        assert_eq!(tags("v1.36.3"), ["3.6.16-0", "v1.14.2", "3.10.2"]);
        assert_eq!(tags("v1.33.0"), ["3.5.24-0", "v1.12.0", "3.10"]);
        assert_eq!(tags("v1.37.1"), ["3.7.0-0", "v1.14.6", "3.10.2"]);
        assert_eq!(Release::minors(), ["1.33", "1.34", "1.35", "1.36", "1.37"]);
        let unproved: Vec<_> =
            Release::minors().into_iter().filter(|minor| !release(&format!("v{minor}.1")).is_proved()).collect();
        assert_eq!(unproved, ["1.37"]);
        assert_eq!(Release::newest_proved(), Some("1.36"));
        for unknown in ["v1.32.9", "v1.38.0", "v2.36.0"] {
            assert!(Release::find(unknown.parse().unwrap()).is_none(), "{unknown}");
        }
    }

    #[test]
    fn every_image_has_a_repository_and_a_tag() {
        for addon in [Addon::Haproxy, Addon::KubeVip, Addon::Flannel, Addon::FlannelCniPlugin] {
            let (repository, tag) = addon_image(addon).rsplit_once(':').unwrap();
            assert!(repository.contains('/') && tag.contains('.') && !tag.contains('@'), "{addon:?}");
        }
        assert_eq!(TABLE.images.len(), 4);
    }

    #[test]
    fn kubelets_know_the_fields_of_their_release() {
        for (version, field, has) in [
            ("v1.35.9", "tlsCurvePreferences", false),
            ("v1.36.0", "tlsCurvePreferences", true),
            ("v1.36.6", "defaultPodSysctls", false),
            ("v1.37.0", "defaultPodSysctls", true),
            ("v1.33.0", "maxPods", true),
        ] {
            assert_eq!(release(version).has_kubelet_field(field), has, "{version} {field}");
        }
        for (field, row) in &TABLE.kubelet_fields {
            assert!(KUBELET_FIELDS.kind(field).is_some(), "{field}");
            assert!(row.keys().all(|minor| TABLE.minors.contains_key(minor)), "{field}");
        }
    }

    #[test]
    fn gates() {
        for (version, gate, want) in [
            ("v1.33.2", "NodeLocalCRISocket", Some(Gate::Off)),
            ("v1.34.2", "NodeLocalCRISocket", Some(Gate::On)),
            ("v1.36.2", "NodeLocalCRISocket", Some(Gate::Locked)),
            ("v1.37.0", "NodeLocalCRISocket", None),
            ("v1.36.2", "ControlPlaneKubeletLocalMode", None),
            ("v1.35.2", "WaitForAllControlPlaneComponents", None),
            ("v1.36.2", "EtcdLearnerMode", None),
        ] {
            assert_eq!(release(version).gate(gate), want, "{version} {gate}");
        }
        assert_eq!(release("v1.37.0").gates(), ["RootlessControlPlane"]);
        assert!(TABLE.gates.values().flat_map(BTreeMap::keys).all(|minor| TABLE.minors.contains_key(minor)));
    }

    #[test]
    fn behaviours_begin_with_a_patch() {
        use Behaviour::*;
        for (behaviour, version, has) in [
            (NamedProbePort, "v1.33.13", false),
            (NamedProbePort, "v1.34.0", true),
            (ExtraArgsOrder, "v1.33.7", false),
            (ExtraArgsOrder, "v1.33.8", true),
            (ExtraArgsOrder, "v1.35.0", false),
            (ExtraArgsOrder, "v1.36.0", true),
            (FlexvolumeMount, "v1.35.6", true),
            (FlexvolumeMount, "v1.36.0", false),
            (PodInfraContainerImage, "v1.34.9", true),
            (PodInfraContainerImage, "v1.35.0", false),
            (EcdsaP384, "v1.33.13", false),
            (EcdsaP384, "v1.34.0", true),
            (InstanceConfig, "v1.33.13", false),
            (InstanceConfig, "v1.37.0", true),
        ] {
            assert_eq!(release(version).has(behaviour), has, "{behaviour:?} {version}");
        }
    }

    #[test]
    fn every_behaviour_has_a_row_of_known_minors() {
        use Behaviour::*;
        let all = [
            NamedProbePort,
            ExtraArgsOrder,
            FlexvolumeMount,
            EtcdFeatureGates,
            EtcdFeatureGatesOnly,
            PodInfraContainerImage,
            EcdsaP384,
            InstanceConfig,
            PatchKubeProxy,
        ];
        assert_eq!(TABLE.behaviours.keys().copied().collect::<Vec<_>>(), all);
        for (behaviour, row) in &TABLE.behaviours {
            assert!(!row.is_empty(), "{behaviour:?}");
            assert!(row.keys().all(|minor| TABLE.minors.contains_key(minor)), "{behaviour:?}");
        }
    }

    #[test]
    fn etcd_flags_follow_its_version() {
        for (version, tag, gates) in [
            ("v1.33.13", "3.5.24-0", false),
            ("v1.34.9", "3.6.5-0", true),
            ("v1.34.9", "3.5.24-0", false),
            ("v1.34.9", "v3.5.24", false),
            ("v1.34.9", "mine", true),
            ("v1.36.3", "3.5.24-0", true),
            ("v1.37.0", "3.7.0-0", true),
        ] {
            assert_eq!(release(version).etcd_feature_gates(tag), gates, "{version} {tag}");
        }
    }

    /// A version comparison anywhere else would be a behaviour without a row. `config` may compare: version skew between
    /// a node and its cluster is a rule over any two versions.
    #[test]
    fn nobody_else_compares_versions() {
        fn visit(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if !path.ends_with("release") && !path.ends_with("config") {
                        visit(&path, found);
                    }
                } else if path.extension().is_some_and(|ext| ext == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    for (number, line) in text.lines().enumerate() {
                        if line.contains(".minor") || line.contains(".patch >") || line.contains(".patch <") {
                            found.push(format!("{}:{}", path.display(), number + 1));
                        }
                    }
                }
            }
        }
        let mut found = Vec::new();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "ask Release::has: {found:?}");
    }
}
