//! [`Tree`]: collects the files and units of a class of nodes, and refuses two things in one place.

use super::{
    Sources,
    own::{OwnFile, OwnUnit},
    refusal::Fault,
};
use crate::{
    bytes::Bytes,
    config::{NodeClass, OsFile, OsUnit},
    draft::{Blob, Contents, DraftFile},
};
use nodekiln_payload::{Account, Dropin, Fetch, FetchInto, Snippet, Touched, Unit, UnitState, Verification};
use nodekiln_plan::{AbsPath, Archive, DirectoryEntry, FileKind, Mode, Sha256, UnitName, paths};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::LazyLock,
};

/// A file that every node of a class has.
pub(super) struct ClassFile<C> {
    pub path: AbsPath,
    pub mode: Mode,
    pub kind: FileKind,
    pub contents: C,
}

/// What is in it.
pub(super) enum ClassContents {
    /// The same on all of them.
    Common(Contents),
    /// What is each node's own.
    Own(OwnFile),
}

impl From<Contents> for ClassContents {
    fn from(contents: Contents) -> Self {
        Self::Common(contents)
    }
}

impl From<OwnFile> for ClassContents {
    fn from(own: OwnFile) -> Self {
        Self::Own(own)
    }
}

/// A unit that every node of a class has.
pub(super) struct ClassUnit {
    pub unit: Unit,
    /// Where its text is each node's own.
    pub own: Option<OwnUnit>,
}

/// The parts of a draft, sorted and checked.
pub(super) struct Parts {
    pub files: Vec<DraftFile>,
    pub own_files: Vec<ClassFile<OwnFile>>,
    pub units: Vec<ClassUnit>,
    pub fetches: Vec<Fetch>,
    pub blobs: Vec<Blob>,
    pub users_own: Vec<AbsPath>,
}

/// What a draft has beside files and units, when snippets are held against it.
pub(super) struct Snippets<'a> {
    /// The snippets, in the order of `os.snippets`.
    pub laid: &'a [Snippet],
    /// Folders of ours.
    pub directories: &'a [DirectoryEntry],
    /// Accounts.
    pub accounts: &'a [Account],
}

/// Files and units while they are collected.
pub(super) struct Tree<'a> {
    class: &'a NodeClass,
    sources: &'a Sources,
    files: BTreeMap<AbsPath, ClassFile<ClassContents>>,
    fetches: BTreeMap<AbsPath, Fetch>,
    units: BTreeMap<UnitName, ClassUnit>,
    blobs: BTreeMap<Sha256, Blob>,
    /// Files that hold keys of the user's.
    users_own: Vec<AbsPath>,
    /// Archives for firstboot to unpack.
    pub archives: Vec<Archive>,
    /// Every path that is taken, links of the OS resolved, and the field that took it.
    taken: BTreeMap<AbsPath, String>,
    /// What was found on the way.
    pub faults: Vec<Fault>,
}

impl<'a> Tree<'a> {
    pub fn new(class: &'a NodeClass, sources: &'a Sources) -> Self {
        Self {
            class,
            sources,
            files: BTreeMap::new(),
            fetches: BTreeMap::new(),
            units: BTreeMap::new(),
            blobs: BTreeMap::new(),
            users_own: Vec::new(),
            archives: Vec::new(),
            taken: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// A file at a path of ours.
    pub fn text(&mut self, path: &str, mode: Mode, kind: FileKind, text: String) {
        self.file(crate::component::constant(path), mode, kind, Contents::text(text));
    }

    /// A file of ours.
    pub fn file(&mut self, path: AbsPath, mode: Mode, kind: FileKind, contents: impl Into<ClassContents>) {
        self.put(path, mode, kind, contents.into(), "nodekiln");
    }

    /// A file of the user's.
    pub fn users_file(&mut self, file: &OsFile) {
        let contents = Contents::Bytes(self.sources.blob(file.contents.bytes.clone()));
        self.put(file.path.clone(), file.mode, FileKind::Laid, contents.into(), "os.files");
    }

    fn put(&mut self, path: AbsPath, mode: Mode, kind: FileKind, contents: ClassContents, field: &str) {
        if kind != FileKind::Laid && kind != FileKind::Credential {
            let stage = crate::component::constant(paths::STAGE_DIR);
            match stage.join(path.as_str().trim_start_matches('/')) {
                Ok(staged) => {
                    self.take(&staged, field);
                }
                Err(fault) => self.faults.push(Fault::new(field, format!("{path}: {fault}"))),
            }
        }
        if self.take(&path, field) {
            self.files.insert(path.clone(), ClassFile { path, mode, kind, contents });
        }
    }

    /// A file that the machine fetches.
    pub fn fetch(&mut self, path: AbsPath, mode: Mode, url: String, verification: Verification, field: &str) {
        if self.take(&path, field) {
            self.fetches.insert(path.clone(), Fetch { url, verification, into: FetchInto { path, mode } });
        }
    }

    /// A file to publish below `base_url`, fetched from there. Its name is its digest, so it is stored once.
    pub fn publish(&mut self, path: AbsPath, mode: Mode, base_url: &str, bytes: Bytes, field: &str) {
        let blob = self.sources.blob(bytes);
        let sha256 = blob.sha256;
        self.blobs.entry(sha256).or_insert(blob);
        self.fetch(path, mode, format!("{base_url}/blobs/{sha256}"), Verification::Sha256(sha256), field);
    }

    /// A file of the build, in the payload itself.
    pub fn bytes(&mut self, path: AbsPath, mode: Mode, bytes: Bytes, field: &str) {
        let contents = Contents::Bytes(self.sources.blob(bytes));
        self.put(path, mode, FileKind::Laid, contents.into(), field);
    }

    /// A file of the user's that may hold a key, at a path of ours.
    pub fn users_key(&mut self, path: AbsPath, mode: Mode, bytes: Bytes, field: &str) {
        self.users_own.push(path.clone());
        self.bytes(path, mode, bytes, field);
    }

    /// A unit of ours, or more about one: contents and drop-ins add up, what happens to it is what was said last, except
    /// that `Unchanged` says nothing.
    pub fn unit(&mut self, unit: Unit) {
        match self.units.entry(unit.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(ClassUnit { unit, own: None });
            }
            Entry::Occupied(mut entry) => {
                let known = &mut entry.get_mut().unit;
                if unit.state != UnitState::Unchanged {
                    known.state = unit.state;
                }
                known.contents = unit.contents.or(known.contents.take());
                known.dropins.extend(unit.dropins);
            }
        }
    }

    /// A unit of ours whose text is each node's own.
    pub fn own_unit(&mut self, own: OwnUnit) {
        let unit = own.frame();
        self.units.insert(unit.name.clone(), ClassUnit { unit, own: Some(own) });
    }

    /// A unit of the user's. To one that nodekiln has it may add drop-ins, no more.
    pub fn users_unit(&mut self, unit: &OsUnit) {
        let dropins: Vec<_> = unit
            .dropins
            .iter()
            .map(|(name, contents)| Dropin { name: name.clone(), contents: contents.clone() })
            .collect();
        let Some(ClassUnit { unit: ours, .. }) = self.units.get(&unit.name) else {
            let state = match (unit.enabled, &unit.content) {
                (true, _) => UnitState::Enabled,
                (false, Some(_)) => UnitState::Disabled,
                (false, None) => UnitState::Unchanged,
            };
            self.unit(Unit { name: unit.name.clone(), state, contents: unit.content.clone(), dropins });
            return;
        };
        let masked = ours.state == UnitState::Masked;
        let clash = dropins.iter().find(|dropin| ours.dropins.iter().any(|known| known.name == dropin.name));
        let message = if unit.content.is_some() {
            Some(format!("`{}` is a unit of nodekiln's", unit.name))
        } else if masked {
            Some(format!("`{}` is masked by nodekiln", unit.name))
        } else {
            clash.map(|dropin| format!("nodekiln has a drop-in `{}` for `{}` itself", dropin.name, unit.name))
        };
        if let Some(message) = message {
            self.faults.push(Fault::new("os.units", message).hint("a drop-in of another name may add to it"));
            return;
        }
        self.unit(Unit { name: unit.name.clone(), state: UnitState::Unchanged, contents: None, dropins });
    }

    /// Refuses a folder where nothing can be made.
    pub fn check_directory(&mut self, path: &AbsPath) {
        let real = self.real(path);
        self.check_writable(path, &real, "nodekiln");
    }

    /// Takes a path for a file. Says whether it was free and can be written.
    fn take(&mut self, path: &AbsPath, field: &str) -> bool {
        let real = self.real(path);
        if !self.check_writable(path, &real, field) {
            return false;
        }
        if let Some(other) = self.taken.get(&real) {
            let fault = match (field, other.as_str()) {
                ("os.files", "nodekiln") => Fault::new(field, format!("{path} is written by nodekiln")),
                _ => Fault::new(field, format!("{path} is given twice, by {other} too")),
            };
            self.faults.push(fault);
            return false;
        }
        self.taken.insert(real, field.to_owned());
        true
    }

    fn check_writable(&mut self, path: &AbsPath, real: &AbsPath, field: &str) -> bool {
        static NOWHERE: LazyLock<[AbsPath; 5]> =
            LazyLock::new(|| ["/proc", "/sys", "/dev", "/run", "/tmp"].map(crate::component::constant));
        let sealed = self.class.os.profile.read_only.iter();
        let Some(folder) = sealed.chain(&*NOWHERE).find(|folder| real.is_within(folder)) else { return true };
        let message = format!("{path}: {folder} cannot be written on {}", self.class.os.profile.name);
        self.faults.push(Fault::new(field, message));
        false
    }

    /// The path with the OS's own links resolved: two files may not meet behind one.
    fn real(&self, path: &AbsPath) -> AbsPath {
        let mut real = path.clone();
        // No profile has links in links; the bound keeps a wrong one from going round for ever.
        for _ in 0..4 {
            let aliases = &self.class.os.profile.aliases;
            let Some((link, place)) = aliases.iter().find(|(link, _)| real.is_within(link)) else { break };
            let tail = real.as_str()[link.as_str().len()..].trim_start_matches('/');
            let next = if tail.is_empty() { Ok(place.clone()) } else { place.join(tail) };
            match next {
                Ok(next) => real = next,
                Err(_) => break,
            }
        }
        real
    }

    /// Units are files too, and no file lies below another. With what was found on the way and here.
    pub fn finish(mut self, snippets: &Snippets<'_>) -> (Parts, Vec<Fault>) {
        let folder = crate::component::constant("/etc/systemd/system");
        let mut names = Vec::new();
        for ClassUnit { unit, own } in self.units.values() {
            if unit.contents.is_some() || own.is_some() || unit.state == UnitState::Masked {
                names.push(unit.name.to_string());
            }
            names.extend(unit.dropins.iter().map(|dropin| format!("{}.d/{}", unit.name, dropin.name)));
        }
        for name in names {
            match folder.join(&name) {
                Ok(path) => {
                    self.take(&path, "os.units");
                }
                Err(fault) => self.faults.push(Fault::new("os.units", format!("{name}: {fault}"))),
            }
        }
        for (path, field) in &self.taken {
            for folder in path.folders() {
                if let Some(other) = self.taken.get(folder) {
                    let field = if field == "nodekiln" { other } else { field };
                    let message = format!("{path} lies below {folder}, which is a file");
                    self.faults.push(Fault::new(field.clone(), message));
                }
            }
        }
        for (index, snippet) in snippets.laid.iter().enumerate() {
            for touched in snippet.touched() {
                if let Some(why) = self.clash(&touched, snippets) {
                    let file = self.class.os.snippets.get(index).map_or("a snippet", |file| file.path.as_str());
                    let fault = Fault::new("os.snippets", format!("{file}: {touched} {why}"));
                    self.faults.push(fault.hint("take it out of the snippet, or say it by `os` itself"));
                }
            }
        }
        let (mut files, mut own_files) = (Vec::new(), Vec::new());
        for ClassFile { path, mode, kind, contents } in self.files.into_values() {
            match contents {
                ClassContents::Common(contents) => files.push(DraftFile { path, mode, kind, contents }),
                ClassContents::Own(contents) => own_files.push(ClassFile { path, mode, kind, contents }),
            }
        }
        let parts = Parts {
            files,
            own_files,
            units: self.units.into_values().collect(),
            fetches: self.fetches.into_values().collect(),
            blobs: self.blobs.into_values().collect(),
            users_own: self.users_own,
        };
        (parts, self.faults)
    }

    /// Why a snippet may not set this: it would be set twice, or one of the two would be in the other's way.
    fn clash(&self, touched: &Touched, snippets: &Snippets<'_>) -> Option<String> {
        let said = |field: &str| match field {
            "nodekiln" => "nodekiln".to_owned(),
            field => format!("`{field}`"),
        };
        let (path, is_file) = match touched {
            Touched::Directory(path) => (path, false),
            Touched::File(path) => (path, true),
            Touched::Unit(name) => {
                return self.units.contains_key(name).then(|| "is set by nodekiln, or by `os.units`, too".to_owned());
            }
            Touched::User(name) => {
                let known = snippets.accounts.iter().any(|account| account.name == *name);
                return known.then(|| "is set by `os.users` too".to_owned());
            }
        };
        let real = self.real(path);
        let own_folder = snippets
            .directories
            .iter()
            .map(|entry| self.real(&entry.path))
            .find(|own| *own == real || (is_file && own.is_within(&real)));
        if real.is_within(&crate::component::constant(paths::STATE_DIR)) || own_folder.is_some() {
            return Some("is nodekiln's own".to_owned());
        }
        if let Some(field) = self.taken.get(&real) {
            return Some(format!("is set by {} too", said(field)));
        }
        if let Some(field) = real.folders().find_map(|folder| self.taken.get(folder)) {
            return Some(format!("lies below a file of {}", said(field)));
        }
        let below = self.taken.iter().find(|(taken, _)| is_file && taken.is_within(&real));
        below.map(|(taken, _)| format!("would have to be a folder: {taken} lies below it"))
    }
}
