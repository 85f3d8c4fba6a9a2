//! os.snippets: files of the user's that lie below the payload's own configuration.

use super::{Cx, files::own_folders, nodes::Shared, paths};
use crate::config::{IgnitionVersion, InputFile, code, diag::Finding, raw::List, read::At, shown::short};
use nodekiln_payload::{Profile, Snippet, SnippetFault, Touched};
use std::{collections::BTreeMap, rc::Rc};

impl Cx<'_, '_> {
    /// Files of an OS layer; what is in them is the profile's affair.
    pub(super) fn snippets(&mut self, list: &At<List<String>>) -> Vec<At<InputFile>> {
        let mut snippets = Vec::new();
        let mut seen = BTreeMap::new();
        for at in &list.value {
            let Some(file) = self.input(at) else { continue };
            if self.once(&mut seen, file.path.clone(), &at.place, "this file") {
                snippets.push(At { value: file, place: at.place.clone() });
            }
        }
        snippets
    }

    /// What a node of this profile cannot take of its snippets. Many nodes have the same, and each is read once.
    pub(super) fn check_snippets(
        &mut self,
        profile: &'static Profile,
        version: IgnitionVersion,
        snippets: &[At<InputFile>],
        shared: &Shared<'_>,
    ) {
        for at in snippets {
            let key = (at.value.path.clone(), profile.name.as_str(), version);
            let findings = match self.snippets.get(&key) {
                Some(known) => Rc::clone(known),
                None => {
                    let findings: Rc<[Finding]> = judge_snippet(profile, version, &at.value, shared).into();
                    self.snippets.insert(key, Rc::clone(&findings));
                    findings
                }
            };
            findings.iter().for_each(|finding| self.found.error_at(&at.place, finding.clone()));
        }
    }
}

/// What a node of this profile cannot take of a snippet.
fn judge_snippet(profile: &Profile, version: IgnitionVersion, file: &InputFile, shared: &Shared<'_>) -> Vec<Finding> {
    let name = short(&file.path);
    let snippet = match Snippet::parse(&file.bytes, profile.format, version) {
        Ok(snippet) => snippet,
        Err(SnippetFault::Yaml(faults)) => {
            let finding = |fault| Finding::new(code::SNIPPET, format!("{name}: {fault}"));
            return faults.iter().map(finding).collect();
        }
        Err(fault) => {
            let finding = Finding::new(code::SNIPPET, format!("{name}: {fault}"));
            return vec![match fault {
                SnippetFault::TooNew(..) => finding.hint("set `ignitionVersion`, or write an older one into it"),
                SnippetFault::Owned(_) => finding.hint("leave it out: cluster.yaml has fields for the most"),
                _ => finding,
            }];
        }
    };
    let (certificates, data_dir) = own_folders(Some(profile), shared);
    let files = snippet.touched().into_iter().filter_map(|touched| match touched {
        Touched::File(path) => Some(path),
        _ => None,
    });
    let reserved = files.filter_map(|path| {
        let why = paths::reserved(&paths::canonical(profile, &path), &certificates, data_dir.as_ref())?;
        let message = format!("{name}: `{}` is not yours to write: {why}", short(path.as_str()));
        Some(Finding::new(code::RESERVED, message))
    });
    reserved.collect()
}
