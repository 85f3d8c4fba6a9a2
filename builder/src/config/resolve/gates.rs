//! featureGates: kubeadm's own.

use super::Cx;
use crate::{
    config::{
        Algorithm, code,
        diag::{Finding, short},
        nearest::nearest,
        read::{Field, Flags},
    },
    release::{Gate, Release},
};
use nodekiln_plan::KubernetesVersion;
use std::collections::BTreeMap;

/// kubeadm's old way to ask for ECDSA keys, which nodekiln has unless told otherwise.
const PUBLIC_KEYS_ECDSA: &str = "PublicKeysECDSA";

impl Cx<'_, '_> {
    /// A gate may say what holds anyway. Those that would change how kubeadm works have no meaning here.
    pub(super) fn feature_gates(
        &mut self,
        field: &Field<Flags>,
        version: Option<KubernetesVersion>,
        algorithm: Option<Algorithm>,
    ) -> BTreeMap<String, bool> {
        let mut gates = BTreeMap::new();
        let Some(release) = version.and_then(Release::find) else { return gates };
        for (name, value) in field.get().into_iter().flat_map(|map| &map.value.0) {
            let Some(gate) = release.gate(&name.value) else {
                let message = format!("kubeadm {} has no feature gate `{}`", release.version(), short(&name.value));
                let known = release.gates();
                let finding = Finding::new(code::FEATURE_GATE, message);
                let finding = match nearest(&name.value, known.iter().copied()) {
                    Some(name) => finding.hint(format!("did you mean `{name}`?")),
                    None => finding.hint(format!("its own are {}", known.join(", "))),
                };
                self.found.error_at(&name.place, finding);
                continue;
            };
            let due = match gate {
                _ if name.value == PUBLIC_KEYS_ECDSA => {
                    algorithm.is_none_or(|algorithm| algorithm == Algorithm::EcdsaP256)
                }
                Gate::Off => false,
                Gate::On | Gate::Locked => true,
            };
            if value.value == due {
                gates.insert(name.value.clone(), value.value);
                continue;
            }
            let finding = Finding::new(
                code::FEATURE_GATE,
                format!("`{}: {}` has no meaning here", short(&name.value), value.value),
            );
            let hint = match name.value.as_str() {
                PUBLIC_KEYS_ECDSA => "leave it out: `encryptionAlgorithm` names the keys".to_owned(),
                _ => format!("leave it out: nodekiln does what `{due}` means"),
            };
            self.found.error_at(&name.place, finding.hint(hint));
        }
        gates
    }
}
