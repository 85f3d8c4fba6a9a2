//! featureGates: kubeadm's own.

use super::Cx;
use crate::{
    component::feature_gates::{Effect, judge},
    config::{Algorithm, code, diag::Finding, nearest::nearest, read::Field, values::Named},
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
        for (name, value) in field.get().into_iter().flat_map(|map| &map.value.0) {
            // Without a version: what no release takes.
            let judged = match version.and_then(Release::find) {
                Some(release) => judge(release, &name.value, value.value).map_err(|why| (why, release.gates())),
                None => judge_by_any(&name.value, value.value),
            };
            match judged {
                Ok(Effect::Algorithm(algorithm)) if given.is_some_and(|given| given != algorithm) => {
                    let message = format!("`{}` and `encryptionAlgorithm` contradict each other", name.value);
                    let finding = Finding::new(code::FEATURE_GATE, message).hint("leave the gate out");
                    self.found.error_at(&name.place, finding);
                    continue;
                }
                Ok(Effect::Algorithm(algorithm)) => asked = Some(algorithm),
                Ok(_) => {}
                Err((why, known)) => {
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

/// What the newest release that takes the gate makes of it; without one, why the newest does not, and what it knows.
fn judge_by_any(name: &str, value: bool) -> Result<Effect, (String, Vec<&'static str>)> {
    let versions = Release::minors().into_iter().rev().filter_map(|minor| format!("v{minor}.0").parse().ok());
    let mut refused = None;
    for release in versions.filter_map(Release::find) {
        match judge(release, name, value) {
            Ok(effect) => return Ok(effect),
            Err(why) => refused = refused.or(Some((why, release.gates()))),
        }
    }
    refused.map_or(Ok(Effect::None), Err)
}
