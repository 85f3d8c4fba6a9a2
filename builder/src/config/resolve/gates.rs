//! featureGates: kubeadm's own.

use super::Cx;
use crate::{
    component::feature_gates::{Effect, judge},
    config::{
        Algorithm, code,
        diag::Finding,
        nearest::nearest,
        read::{Field, Named},
    },
    release::Release,
};
use nodekiln_plan::KubernetesVersion;
use std::collections::BTreeMap;

/// The gates, and the algorithm that one of them asks for.
pub(super) type Gates = (BTreeMap<String, bool>, Option<Algorithm>);

impl Cx<'_, '_> {
    /// `given`: encryptionAlgorithm, where it is said.
    pub(super) fn feature_gates(
        &mut self,
        field: &Field<Named<bool>>,
        version: Option<KubernetesVersion>,
        given: Option<Algorithm>,
    ) -> Gates {
        let mut gates = BTreeMap::new();
        let mut asked = None;
        let Some(release) = version.and_then(Release::find) else { return (gates, asked) };
        for (name, value) in field.get().into_iter().flat_map(|map| &map.value.0) {
            match judge(release, &name.value, value.value) {
                Ok(Effect::Algorithm(algorithm)) if given.is_some_and(|given| given != algorithm) => {
                    let message = format!("`{}` and `encryptionAlgorithm` contradict each other", name.value);
                    let finding = Finding::new(code::FEATURE_GATE, message).hint("leave the gate out");
                    self.found.error_at(&name.place, finding);
                    continue;
                }
                Ok(Effect::Algorithm(algorithm)) => asked = Some(algorithm),
                Ok(_) => {}
                Err(why) => {
                    let known = release.gates();
                    let finding = Finding::new(code::FEATURE_GATE, why);
                    let finding = match nearest(&name.value, known.iter().copied()) {
                        Some(near) if near != name.value => finding.hint(format!("did you mean `{near}`?")),
                        Some(_) => finding.hint("leave it out"),
                        None => finding.hint(format!("kubeadm knows {}", known.join(", "))),
                    };
                    self.found.error_at(&name.place, finding);
                    continue;
                }
            }
            gates.insert(name.value.clone(), value.value);
        }
        (gates, asked)
    }
}
