//! `featureGates`: what kubeadm's own gates mean here.
//!
//! Which release knows a gate is data of the release; what a gate does to what nodekiln writes stands here. A gate that
//! would change nothing but its name is refused, so that nobody waits for an effect.

use super::ClassSite;
use crate::{
    config::Algorithm,
    release::{Behaviour, Gate, Release},
};

/// What a gate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What nodekiln does anyway.
    None,
    /// It is an older way to say encryptionAlgorithm: this one.
    Algorithm(Algorithm),
    /// Whether the runtime's socket stands in instance-config.yaml. Read from the cluster where that is written.
    InstanceConfig,
}

/// What the gate `name` with this value does in a cluster of `release`.
///
/// # Errors
/// In words, why it cannot be set so.
pub fn judge(release: Release, name: &str, value: bool) -> Result<Effect, String> {
    let version = release.version();
    match release.gate(name) {
        None => return Err(format!("kubeadm of {version} has no feature gate `{name}`")),
        Some(Gate::Locked) if !value => return Err(format!("`{name}` cannot be turned off in {version}")),
        Some(_) => {}
    }
    match (name, value) {
        ("PublicKeysECDSA", true) => Ok(Effect::Algorithm(Algorithm::EcdsaP256)),
        ("PublicKeysECDSA", false) => Ok(Effect::Algorithm(Algorithm::Rsa2048)),
        ("NodeLocalCRISocket", _) => Ok(Effect::InstanceConfig),
        ("ControlPlaneKubeletLocalMode" | "WaitForAllControlPlaneComponents", true)
        | ("RootlessControlPlane", false) => Ok(Effect::None),
        ("ControlPlaneKubeletLocalMode", false) => {
            Err("a control plane's kubelet always talks to its own API server".to_owned())
        }
        ("RootlessControlPlane", true) => Err("`RootlessControlPlane` is not supported".to_owned()),
        _ => Err(format!("`{name}` has no meaning here")),
    }
}

/// Whether the runtime's socket stands in instance-config.yaml rather than in the kubelet's arguments.
pub(crate) fn instance_config(site: &ClassSite) -> bool {
    let given = site.cluster.feature_gates.get("NodeLocalCRISocket").copied();
    given.unwrap_or_else(|| site.release.has(Behaviour::InstanceConfig))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_by_release() {
        let no = |why: &str| Err(why.to_owned());
        for (version, name, value, want) in [
            ("v1.36.3", "PublicKeysECDSA", true, Ok(Effect::Algorithm(Algorithm::EcdsaP256))),
            ("v1.36.3", "PublicKeysECDSA", false, Ok(Effect::Algorithm(Algorithm::Rsa2048))),
            ("v1.37.0", "PublicKeysECDSA", true, no("kubeadm of v1.37.0 has no feature gate `PublicKeysECDSA`")),
            ("v1.33.0", "NodeLocalCRISocket", true, Ok(Effect::InstanceConfig)),
            ("v1.36.0", "NodeLocalCRISocket", false, no("`NodeLocalCRISocket` cannot be turned off in v1.36.0")),
            ("v1.34.0", "ControlPlaneKubeletLocalMode", true, Ok(Effect::None)),
            (
                "v1.34.0",
                "ControlPlaneKubeletLocalMode",
                false,
                no("a control plane's kubelet always talks to its own API server"),
            ),
            (
                "v1.33.0",
                "WaitForAllControlPlaneComponents",
                false,
                no("`WaitForAllControlPlaneComponents` has no meaning here"),
            ),
            ("v1.33.0", "WaitForAllControlPlaneComponents", true, Ok(Effect::None)),
            ("v1.36.0", "RootlessControlPlane", true, no("`RootlessControlPlane` is not supported")),
            ("v1.36.0", "RootlessControlPlane", false, Ok(Effect::None)),
            ("v1.36.0", "EtcdLearnerMode", true, no("kubeadm of v1.36.0 has no feature gate `EtcdLearnerMode`")),
        ] {
            assert_eq!(judge(Release::find(version.parse().unwrap()).unwrap(), name, value), want, "{version} {name}");
        }
    }
}
