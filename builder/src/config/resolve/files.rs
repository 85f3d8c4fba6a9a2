//! os.files: files of the user's own, and the places that are not theirs.

use super::{Cx, nodes::Shared, paths};
use crate::config::{
    Common, InputFile, OsFile, code,
    diag::Finding,
    raw::{List, RawFile},
    read::{At, Field, Place},
    shown::short,
};
use nodekiln_payload::{Profile, TimeService};
use nodekiln_plan::{AbsPath, Mode};
use std::collections::BTreeMap;

/// A file as one layer says it.
#[derive(Clone)]
pub(super) struct FileLayer {
    /// With defaults for what is not said.
    pub(super) file: Common<OsFile>,
    says_mode: bool,
    says_contents: bool,
    /// Where all of it is said.
    item: Place,
}

impl FileLayer {
    /// What this says over what `base` says of the same file.
    fn over(self, base: &Self) -> Self {
        let (mode, contents) = (base.says_mode && !self.says_mode, base.says_contents && !self.says_contents);
        if !mode && !contents {
            return self;
        }
        let file = OsFile {
            path: self.file.path.clone(),
            mode: if mode { base.file.mode } else { self.file.mode },
            contents: if contents { base.file.contents.clone() } else { self.file.contents.clone() },
        };
        let says = (self.says_mode || mode, self.says_contents || contents);
        Self { file: file.into(), says_mode: says.0, says_contents: says.1, ..self }
    }
}

/// Files by their real place.
pub(super) type Files = BTreeMap<AbsPath, At<FileLayer>>;

impl Cx<'_, '_> {
    /// The files of a node: `own` over `base`.
    pub(super) fn lay_files(
        &mut self,
        profile: Option<&Profile>,
        base: &[At<FileLayer>],
        own: &[At<FileLayer>],
    ) -> Files {
        let mut files = self.by_place(profile, base);
        for (place, At { value, place: said }) in self.by_place(profile, own) {
            let value = match files.get(&place) {
                Some(below) => value.over(&below.value),
                None => value,
            };
            files.insert(place, At { value, place: said });
        }
        for At { value, .. } in files.values().filter(|at| !at.value.says_contents) {
            let finding = Finding::new(code::MISSING, "`content` or `file` is missing");
            self.found.error_at(&value.item, finding);
        }
        files
    }

    fn by_place(&mut self, profile: Option<&Profile>, layer: &[At<FileLayer>]) -> Files {
        let mut files = Files::new();
        for at in layer {
            let path = &at.value.file.path;
            let first = files.insert(paths::canonical(profile, path), at.clone());
            // The same path twice was told when the layer was read.
            if let Some(first) = first.filter(|first| first.value.file.path != *path) {
                let (path, other) = (short(path.as_str()), short(first.value.file.path.as_str()));
                let finding =
                    Finding::new(code::DUPLICATE, format!("`{path}` and `{other}` are one file on this system"))
                        .second(first.place.span, "the other")
                        .hint("remove one of the two");
                self.found.error_at(&at.place, finding);
            }
        }
        files
    }

    /// What one layer says.
    pub(super) fn files(&mut self, field: &Field<List<RawFile>>) -> Vec<At<FileLayer>> {
        let mut files = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let path = at.path.required("path", &at.place, self.found).and_then(|path| self.parse::<AbsPath>(path));
            let mode = self.parse_or::<Mode>(&at.mode, "0644");
            let contents = match (&at.content, &at.file) {
                (content, file) if !content.is_unset() && !file.is_unset() => {
                    let place = file.get().map_or(&at.place, |file| &file.place);
                    self.found
                        .error_at(place, Finding::new(code::VALUE, "both `content` and `file`: one of them is enough"));
                    None
                }
                (Field::Given(content), _) => {
                    let path = path.as_ref().map(|p| p.value.to_string()).unwrap_or_default();
                    Some(InputFile { path, bytes: content.value.0.as_bytes().into() })
                }
                (_, Field::Given(file)) => self.input(file),
                _ => None,
            };
            let Some(path) = path else { continue };
            self.once(&mut seen, path.value.clone(), &path.place, "this path");
            // Its place is judged whatever is wrong with the rest, which has been reported.
            let faulty = || InputFile { path: path.value.to_string(), bytes: b"".as_slice().into() };
            let contents = contents.unwrap_or_else(faulty);
            if let Some(mode) = mode.or_else(|| "0644".parse().ok()) {
                let file = OsFile { path: path.value, mode, contents }.into();
                let (says_mode, item) = (!at.mode.is_unset(), at.place.clone());
                let says_contents = !(at.content.is_unset() && at.file.is_unset());
                files.push(At { value: FileLayer { file, says_mode, says_contents, item }, place: path.place });
            }
        }
        files
    }

    /// Files at places that are not the user's, on any system.
    pub(super) fn check_reserved(&mut self, profile: Option<&Profile>, files: &Files, shared: &Shared<'_>) {
        let (certificates, data_dir) = own_folders(profile, shared);
        for (place, at) in files {
            let path = short(at.value.file.path.as_str());
            if let Some(why) = paths::reserved(place, &certificates, data_dir.as_ref()) {
                let finding = Finding::new(code::RESERVED, format!("`{path}` is not yours to write: {why}"));
                self.found.error_at(&at.place, finding.hint("leave it out, or take another path"));
            } else if let Some(below) = first_below(files, place) {
                let finding = Finding::new(code::RESERVED, format!("`{path}` would be a file and a folder"));
                let finding = finding.second(at.place.span, "a file").hint("rename one of the two");
                self.found.error_at(&below.place, finding);
            }
        }
    }

    /// Files that this profile has itself, or cannot take.
    pub(super) fn check_writable(
        &mut self,
        profile: &Profile,
        profile_place: &Place,
        files: &Files,
        written: &[AbsPath],
    ) {
        for (place, at) in files {
            let path = short(at.value.file.path.as_str());
            if written.contains(place) {
                let message = format!("`{path}` is written by nodekiln on {}", profile.name);
                let finding = Finding::new(code::RESERVED, message);
                self.found.error_at(&at.place, finding.hint("leave it out, or take another path"));
            } else if paths::is_read_only(profile, place) {
                let message = format!("`{path}` cannot be written on {}", profile.name);
                let finding = Finding::new(code::READ_ONLY, message).second(profile_place.span, "this profile");
                let hint = format!("programs go to {}, everything else below /etc, /opt or /var", profile.bin_dir);
                self.found.error_at(&at.place, finding.hint(hint));
            }
        }
    }

    /// certificatesDir and dataDir have to be writable on this node.
    pub(super) fn check_folders(&mut self, profile: &Profile, profile_place: &Place, shared: &Shared<'_>) {
        for (folder, said) in
            [(shared.certificates_dir, shared.certificates_place), (shared.data_dir, shared.data_dir_place)]
        {
            let (Some(folder), Some(said)) = (folder, said) else { continue };
            let place = paths::canonical(profile, folder);
            if paths::is_read_only(profile, &place) && !paths::is_volatile(&place) {
                let finding = Finding::new(
                    code::READ_ONLY,
                    format!("`{}` cannot be written on {}", short(folder.as_str()), profile.name),
                );
                self.found.error_at(said, finding.second(profile_place.span, "this profile"));
            }
        }
    }
}

/// certificatesDir and dataDir, canonical; the default where the first is faulty.
pub(super) fn own_folders(profile: Option<&Profile>, shared: &Shared<'_>) -> (AbsPath, Option<AbsPath>) {
    let default = || "/etc/kubernetes/pki".parse().expect("the default is a clean absolute path");
    let certificates = shared.certificates_dir.cloned().unwrap_or_else(default);
    let data_dir = shared.data_dir.map(|dir| paths::canonical(profile, dir));
    (paths::canonical(profile, &certificates), data_dir)
}

/// What nodekiln lays down because of the profile, canonical.
pub(super) fn written(profile: &Profile, updates: bool, time_servers: bool) -> Vec<AbsPath> {
    let off = if updates { &[][..] } else { &profile.updates_off_files };
    let chrony = (time_servers && profile.time_service == TimeService::Chrony).then(|| "/etc/chrony.conf".parse().ok());
    let files = profile.files.iter().chain(off).map(|file| file.path.clone());
    files.chain(chrony.flatten()).map(|path| paths::canonical(profile, &path)).collect()
}

/// A file whose path needs a folder where `place` is a file.
fn first_below<'a>(files: &'a Files, place: &AbsPath) -> Option<&'a At<FileLayer>> {
    // `/a-b` sorts between `/a` and `/a/b`.
    let near = files.range(place.clone()..).skip(1).take_while(|(path, _)| path.as_str().starts_with(place.as_str()));
    near.into_iter().find(|(path, _)| path.is_within(place)).map(|(_, at)| at)
}
