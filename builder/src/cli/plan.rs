//! Drafts of all nodes, or findings in cluster.yaml about those that cannot be planned.

use super::terminal::Failure;
use crate::{
    bake::BakeError,
    config::{Diagnostics, Finding, Loaded, Origin, code},
    draft::NodeDraft,
    node::{self, Sources},
};

/// Plans every node.
///
/// # Errors
/// All findings of all nodes at once, with the warnings that `loaded` had.
pub fn all(loaded: &mut Loaded, sources: &Sources) -> Result<Vec<NodeDraft>, Failure> {
    let mut drafts = Vec::with_capacity(loaded.cluster.nodes.len());
    for (index, node) in loaded.cluster.nodes.iter().enumerate() {
        match node::plan(&loaded.cluster, node, sources) {
            Ok(draft) => drafts.push(draft),
            Err(refusals) => {
                let place = loaded.places.nodes.get(index).cloned().unwrap_or_default();
                for refusal in refusals {
                    let origin = Origin { span: place.span, path: format!("{}.{}", place.path, refusal.field) };
                    let mut finding = Finding::new(code::PLAN, refusal.message);
                    if let Some(hint) = refusal.hint {
                        finding = finding.hint(hint);
                    }
                    loaded.warnings.error(&origin, finding);
                }
            }
        }
    }
    if loaded.warnings.has_errors() {
        loaded.warnings.sort();
        return Err(Failure::Findings(Box::new(loaded.warnings.clone())));
    }
    Ok(drafts)
}

/// Findings in cluster.yaml about payloads that could not be made: what shows only when keys are filled in.
pub fn unbaked(loaded: &Loaded, errors: &[BakeError]) -> Failure {
    // Its warnings have been printed.
    let mut found = Diagnostics::new(loaded.warnings.source().clone());
    for error in errors {
        let index = loaded.cluster.nodes.iter().position(|node| Some(&node.name) == error.node());
        let origin = index.and_then(|index| loaded.places.nodes.get(index)).cloned().unwrap_or_default();
        found.error(&origin, error.finding());
    }
    found.sort();
    Failure::Findings(Box::new(found))
}
