//! Texts of cluster.yaml that are one of a few: the reader takes them from here, and the schema names them.

use super::{Algorithm, Arch, Cni, DeliveryMode, IgnitionVersion};
use nodekiln_payload::Profile;
use nodekiln_plan::Role;

/// nodes[].role.
pub(super) const ROLES: [(&str, Role); 3] =
    [("control-plane", Role::ControlPlane), ("worker", Role::Worker), ("etcd", Role::Etcd)];

/// nodes[].identity: whether it is a bootstrap token.
pub(super) const IDENTITIES: [(&str, bool); 2] = [("baked", false), ("bootstrap-token", true)];

/// encryptionAlgorithm.
pub(super) const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("ECDSA-P256", Algorithm::EcdsaP256),
    ("ECDSA-P384", Algorithm::EcdsaP384),
    ("RSA-2048", Algorithm::Rsa2048),
    ("RSA-3072", Algorithm::Rsa3072),
    ("RSA-4096", Algorithm::Rsa4096),
];

/// addons.cni.
pub(super) const NETWORK_ADDONS: [(&str, Cni); 3] =
    [("none", Cni::None), ("bridge", Cni::Bridge), ("flannel", Cni::Flannel)];

/// os.arch.
pub(super) const ARCHITECTURES: [(&str, Arch); 2] = [("amd64", Arch::Amd64), ("arm64", Arch::Arm64)];

/// os.ignitionVersion.
pub(super) const IGNITION_VERSIONS: [(&str, IgnitionVersion); 3] =
    [("3.3.0", IgnitionVersion::V3_3), ("3.4.0", IgnitionVersion::V3_4), ("3.5.0", IgnitionVersion::V3_5)];

/// delivery.mode.
pub(super) const DELIVERY_MODES: [(&str, DeliveryMode); 2] =
    [("inline", DeliveryMode::Inline), ("pointer", DeliveryMode::Pointer)];

/// core/v1 HostPathType.
pub(super) const HOST_PATH_TYPES: [(&str, &str); 8] = [
    ("", ""),
    ("DirectoryOrCreate", "DirectoryOrCreate"),
    ("Directory", "Directory"),
    ("FileOrCreate", "FileOrCreate"),
    ("File", "File"),
    ("Socket", "Socket"),
    ("CharDevice", "CharDevice"),
    ("BlockDevice", "BlockDevice"),
];

/// os.profile.
pub(super) fn profiles() -> Vec<(&'static str, &'static Profile)> {
    Profile::all().iter().map(|profile| (profile.name.as_str(), profile)).collect()
}

/// What can be written.
pub(super) fn names<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}
