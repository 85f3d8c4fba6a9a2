//! patches: a folder of files with kubeadm's names.

use super::Cx;
use crate::config::{
    Patch, PatchKind, PatchTarget, code,
    diag::{Diagnostics, Finding},
    documents::{self, Document},
    nearest::nearest,
    object::find,
    read::{At, Field, unsupported},
    shown::short,
};
use serde_json::Value;

/// kubeadm's targets (fact sheet 7.4), in its spelling.
const TARGETS: [(&str, PatchTarget); 7] = [
    ("kube-apiserver", PatchTarget::ApiServer),
    ("kube-controller-manager", PatchTarget::ControllerManager),
    ("kube-scheduler", PatchTarget::Scheduler),
    ("etcd", PatchTarget::Etcd),
    ("kubeletconfiguration", PatchTarget::KubeletConfiguration),
    ("corednsdeployment", PatchTarget::CoreDnsDeployment),
    ("kubeproxydaemonset", PatchTarget::KubeProxyDaemonSet),
];

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A patch.
    Patch(PatchTarget, PatchKind),
    /// Not a patch by kubeadm's rules: of another kind altogether.
    Other,
    /// A strategic merge patch, which is kubeadm's default.
    Strategic,
    /// Wrong: why, and what helps.
    Wrong(String, String),
}

/// Reads `TARGET[SUFFIX][+TYPE].EXTENSION`, where the suffix has neither `.` nor `+`.
fn parse(file: &str) -> Name {
    let wrong = |why: &str, hint: String| Name::Wrong(why.to_owned(), hint);
    let known = || TARGETS.iter().map(|(name, _)| *name);
    let Some((stem, extension)) = file.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) else {
        return Name::Other;
    };
    let found = TARGETS.iter().find(|(name, _)| stem.starts_with(name));
    if !matches!(extension, "yaml" | "json") {
        return match found {
            Some(_) => wrong("kubeadm reads files that end in .yaml or .json", format!("call it {stem}.yaml")),
            None => Name::Other,
        };
    }
    let (before, kind) = stem.split_once('+').map_or((stem, None), |(before, kind)| (before, Some(kind)));
    let Some((name, target)) = found else {
        let whole = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let hint = match nearest(whole, known()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("targets are {}", known().collect::<Vec<_>>().join(", ")),
        };
        return wrong("its name starts with no target", hint);
    };
    let suffix = before.strip_prefix(name).unwrap_or_default();
    if suffix.contains('.') {
        return wrong("what follows the target may hold no `.`", format!("{name}0+merge.yaml is such a name"));
    }
    match kind {
        None | Some("strategic") => Name::Strategic,
        Some("merge") => Name::Patch(*target, PatchKind::Merge),
        Some("json") => Name::Patch(*target, PatchKind::Json),
        Some(kind) => {
            let why = format!("`{}` is no type of patch", short(kind));
            Name::Wrong(why, format!("types are merge and json: {name}+merge.{extension}"))
        }
    }
}

impl Cx<'_, '_> {
    /// All patches of the folder, in the order in which they are applied.
    pub(super) fn patches(&mut self, field: &Field<String>) -> Vec<Patch> {
        let Some(at) = field.get() else { return Vec::new() };
        let files = match self.inputs.folder(&at.value) {
            Ok(files) => files,
            Err(why) => {
                let finding = Finding::new(code::INPUT, format!("`{}` cannot be read: {why}", short(&at.value)));
                self.found.error_at(&at.place, finding.hint("give a folder beside cluster.yaml"));
                return Vec::new();
            }
        };
        let mut patches = Vec::new();
        let mut sound = true;
        for file in files {
            sound &= self.patch_file(at, &file, &mut patches);
        }
        if patches.is_empty() && sound {
            let finding = Finding::new(code::PATCH, format!("`{}` holds no patch", short(&at.value)));
            self.found.warning_at(&at.place, finding.hint("kube-apiserver0+merge.yaml is the name of one"));
        }
        patches
    }

    /// Whether nothing is wrong with the file.
    fn patch_file(&mut self, at: &At<String>, file: &str, patches: &mut Vec<Patch>) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        let (target, kind) = match parse(name) {
            Name::Patch(target, kind) => (target, kind),
            // Editors and version control leave such files; kubeadm passes over them with a message too.
            Name::Other if name.starts_with('.') => return true,
            Name::Other => {
                let finding = Finding::new(code::PATCH, format!("`{}` is not read as a patch", short(file)));
                self.found.warning_at(&at.place, finding.hint("patches end in .yaml or .json"));
                return true;
            }
            Name::Strategic => {
                let finding = unsupported(&format!("`{}`: a strategic merge patch", short(file)));
                let hint = "a name without `+TYPE` means strategic: write it as a merge patch (+merge) or a JSON patch (+json)";
                self.found.error_at(&at.place, finding.hint(hint));
                return false;
            }
            Name::Wrong(why, hint) => {
                let finding = Finding::new(code::PATCH, format!("`{}` is no patch: {why}", short(file)));
                self.found.error_at(&at.place, finding.hint(hint));
                return false;
            }
        };
        let Some(input) = self.input(&At { value: file.to_owned(), place: at.place.clone() }) else { return false };
        let shown = self.inputs.display(file);
        let before = patches.len();
        let errors = self.found.count().0;
        documents::read(&input, &shown, self.found, |document, found| {
            let sound = match kind {
                PatchKind::Merge => merge_patch(&document, found),
                PatchKind::Json => json_patch(&document, found),
            };
            if sound {
                patches.push(Patch { target, kind, path: input.path.clone(), value: document.value });
            }
        });
        if patches.len() == before && self.found.count().0 == errors {
            let finding = Finding::new(code::PATCH, format!("`{}` holds no patch", short(file)));
            self.found.error_at(&at.place, finding);
            return false;
        }
        self.found.count().0 == errors
    }
}

/// RFC 7386. Anything but a mapping would replace the whole object.
fn merge_patch(document: &Document<'_, '_>, found: &mut Diagnostics) -> bool {
    let sound = document.value.is_object();
    if !sound {
        let finding = Finding::new(code::PATCH, "a merge patch is a mapping");
        found.error_at(&document.place, finding.hint("a list of operations is a JSON patch: its file is called +json"));
    }
    sound
}

/// RFC 6902, as far as it can be told without the object.
fn json_patch(document: &Document<'_, '_>, found: &mut Diagnostics) -> bool {
    const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "move", "copy", "test"];
    let Value::Array(list) = &document.value else {
        let finding = Finding::new(code::PATCH, "a JSON patch is a list of operations");
        found.error_at(&document.place, finding.hint("a mapping is a merge patch: its file is called +merge"));
        return false;
    };
    let crate::config::yaml::View::List(nodes) = document.tree.view(document.node) else { return false };
    let mut sound = true;
    for (index, (operation, node)) in list.iter().zip(nodes).enumerate() {
        let place =
            crate::config::read::Place { span: document.tree.span(*node), path: document.place.path.index(index) };
        let mut bad = |at: &str, why: String| {
            let place = find(document.tree, *node, &place, &[at]).unwrap_or_else(|| place.clone());
            found.error_at(&place, Finding::new(code::PATCH, why));
            sound = false;
        };
        let pointer = |name: &str| operation[name].as_str().is_some_and(|p| p.is_empty() || p.starts_with('/'));
        let Some(op) = operation["op"].as_str().filter(|op| OPERATIONS.contains(op)) else {
            bad("op", format!("`op` has to be one of {}", OPERATIONS.join(", ")));
            continue;
        };
        if !pointer("path") {
            bad("path", "`path` has to be a JSON pointer such as /spec/containers/0".to_owned());
        }
        if matches!(op, "move" | "copy") && !pointer("from") {
            bad("from", format!("`{op}` needs a JSON pointer in `from`"));
        }
        if matches!(op, "add" | "replace" | "test") && operation.get("value").is_none() {
            bad("value", format!("`{op}` needs a `value`"));
        }
    }
    sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, due) in [
            ("kube-apiserver0+merge.yaml", Name::Patch(PatchTarget::ApiServer, PatchKind::Merge)),
            ("etcd+json.json", Name::Patch(PatchTarget::Etcd, PatchKind::Json)),
            ("etcd-mine+json.yaml", Name::Patch(PatchTarget::Etcd, PatchKind::Json)),
            ("kubeletconfiguration+merge.yaml", Name::Patch(PatchTarget::KubeletConfiguration, PatchKind::Merge)),
            ("corednsdeployment1+merge.yaml", Name::Patch(PatchTarget::CoreDnsDeployment, PatchKind::Merge)),
            ("kube-scheduler.yaml", Name::Strategic),
            ("kube-scheduler+strategic.yaml", Name::Strategic),
            ("kubeproxydaemonset+merge.yaml", Name::Patch(PatchTarget::KubeProxyDaemonSet, PatchKind::Merge)),
            ("README.md", Name::Other),
            (".gitkeep", Name::Other),
            ("notes", Name::Other),
        ] {
            assert_eq!(parse(name), due, "{name}");
        }
        for wrong in [
            "kube-proxy+merge.yaml",
            "apiserver.yaml",
            "etcd.old+merge.yaml",
            "etcd+Merge.yaml",
            "etcd+merge+json.yaml",
            "etcd+merge.yml",
            "etcd+.yaml",
        ] {
            assert!(matches!(parse(wrong), Name::Wrong(..)), "{wrong}: {:?}", parse(wrong));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(name in "(etcd|kube-apiserver|x)?[a-z0-9.+]{0,12}(\\.yaml|\\.json|\\.md)?") {
            let _ = parse(&name);
        }
    }
}
