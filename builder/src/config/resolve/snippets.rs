//! os.snippets: files of the user's that lie below the payload's own configuration.

use super::{Cx, files::own_folders, nodes::Shared, paths};
use crate::config::{
    IgnitionVersion, InputFile, code,
    diag::{Finding, Severity},
    raw::List,
    read::At,
    shown::short,
};
use nodekiln_payload::{Format, Profile, Remarks, Snippet, SnippetFault, Touched};
use std::{collections::BTreeMap, fmt::Display, rc::Rc};

/// What was found of a snippet, for all that have it.
pub(super) type Judged = Rc<[(Severity, Finding)]>;

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
                    let findings: Judged = judge_snippet(profile, version, &at.value, shared).into();
                    self.snippets.insert(key, Rc::clone(&findings));
                    findings
                }
            };
            for (severity, finding) in findings.iter() {
                match severity {
                    Severity::Error => self.found.error_at(&at.place, finding.clone()),
                    Severity::Warning => self.found.warning_at(&at.place, finding.clone()),
                }
            }
        }
    }
}

/// What a node of this profile cannot take of a snippet, or what is hardly meant.
fn judge_snippet(
    profile: &Profile,
    version: IgnitionVersion,
    file: &InputFile,
    shared: &Shared<'_>,
) -> Vec<(Severity, Finding)> {
    let name = short(&file.path);
    let error = |finding| (Severity::Error, finding);
    let told = |fault: &dyn Display| Finding::new(code::SNIPPET, format!("{name}: {fault}"));
    let snippet = match Snippet::parse(&file.bytes, profile.format, version) {
        Ok(snippet) => snippet,
        Err(SnippetFault::Yaml(faults)) => return faults.iter().map(|fault| error(told(fault))).collect(),
        Err(fault) => {
            let finding = told(&fault);
            return vec![error(match fault {
                SnippetFault::TooNew(..) => finding.hint("set `ignitionVersion`, or write an older one into it"),
                SnippetFault::Owned(_) => finding.hint("leave it out: cluster.yaml has fields for the most"),
                _ => finding,
            })];
        }
    };
    let Remarks { faults, doubts } = snippet.remarks();
    let mut found: Vec<_> = faults.iter().map(|fault| error(told(fault))).collect();
    found.extend(doubts.iter().map(|doubt| (Severity::Warning, told(doubt))));
    places(profile, &snippet, shared, &name, &mut |finding| found.push(error(finding)));
    found
}

/// Places that are not the user's, or that cannot be written.
fn places(profile: &Profile, snippet: &Snippet, shared: &Shared<'_>, name: &str, add: &mut dyn FnMut(Finding)) {
    let (certificates, data_dir) = own_folders(Some(profile), shared);
    let mut real = BTreeMap::new();
    for touched in snippet.touched() {
        let (Touched::File(path) | Touched::Directory(path)) = &touched else { continue };
        let place = paths::canonical(profile, path);
        let shown = short(path.as_str());
        let is_file = matches!(touched, Touched::File(_));
        if let Some(why) = paths::reserved(&place, &certificates, data_dir.as_ref()).filter(|_| is_file) {
            add(Finding::new(code::RESERVED, format!("{name}: `{shown}` is not yours to write: {why}")));
        }
        // cloud-init writes in the running system, where /run and /tmp can well be used.
        if profile.format == Format::CloudInit {
            continue;
        }
        if paths::is_read_only(profile, &place) {
            let message = format!("{name}: `{shown}` cannot be written on {}", profile.name);
            add(Finding::new(code::READ_ONLY, message));
        }
        if let Some(other) = real.insert(place, shown.to_string()) {
            let message = format!("{name}: `{shown}` and `{other}` are one place on {}", profile.name);
            add(Finding::new(code::SNIPPET, message));
        }
    }
    for path in snippet.mounts().1.into_iter().chain(snippet.filesystems()) {
        let Ok(place) = path.parse() else { continue };
        if let Some(why) = paths::no_mount(&paths::canonical(profile, &place), &certificates) {
            let message = format!("{name}: nothing can be mounted at `{}`: {why}", short(path));
            add(Finding::new(code::RESERVED, message));
        }
    }
}
