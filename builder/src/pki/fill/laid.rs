//! [`Laid`]: where filled files are laid, and how the plan lists them.

use super::{FillError, STAGE, by_path, keys::Keys};
use crate::{draft::DraftFile, pki::authority::Value};
use nodekiln_payload::{TreeFile, Unit};
use nodekiln_plan::{AbsPath, FileEntry, FileKind, Mode, Sha256, paths};
use std::mem;

/// Where units are laid.
pub(super) const UNIT_DIR: &str = "/etc/systemd/system";

/// Where the payload lays a file that is staged: below the stage folder under its final path. A path that lies there
/// already, such as the API credential's, is its own.
fn staged(path: &AbsPath) -> Result<AbsPath, FillError> {
    if path.is_within(&STAGE) {
        return Ok(path.clone());
    }
    format!("{}{path}", paths::STAGE_DIR).parse().map_err(|error| FillError::Path(path.to_string(), error))
}

/// What the payload lays: the plan's list and the files themselves.
#[derive(Debug)]
pub(super) struct Laid {
    /// As the plan lists them.
    pub entries: Vec<FileEntry>,
    /// Where they are laid.
    pub files: Vec<TreeFile>,
}

impl Laid {
    /// Those of `files`, filled in, and of `units`.
    ///
    /// # Errors
    /// A file that cannot be filled in or laid.
    pub fn of<'a>(files: &'a [DraftFile], units: &[Unit], keys: &mut Keys<'a>) -> Result<Self, FillError> {
        let dropins: usize = units.iter().map(|unit| unit.dropins.len()).sum();
        // With room for api.ndjson, and for plan.json.
        let count = files.len() + 2;
        let entries = Vec::with_capacity(count + units.len() + dropins);
        let mut laid = Self { entries, files: Vec::with_capacity(count) };
        for file in files {
            let value = keys.file(file)?;
            laid.add(file, value)?;
        }
        for unit in units {
            laid.add_unit(unit)?;
        }
        Ok(laid)
    }

    /// Takes the plan's list out, by path.
    ///
    /// # Errors
    /// Two files at one path.
    pub fn take_entries(&mut self) -> Result<Vec<FileEntry>, FillError> {
        by_path(mem::take(&mut self.entries), |entry| &entry.path)
    }

    fn add(&mut self, file: &DraftFile, value: Value) -> Result<(), FillError> {
        if file.kind == FileKind::Laid {
            self.add_laid(file.path.clone(), file.mode, value);
            return Ok(());
        }
        let staged = staged(&file.path)?;
        self.entries.push(FileEntry {
            path: file.path.clone(),
            mode: file.mode,
            sha256: value.sha256,
            kind: file.kind,
            staged: Some(staged.clone()),
        });
        self.file(staged, Mode::PRIVATE, value);
        Ok(())
    }

    /// Adds a file that is laid at its path.
    pub fn add_laid(&mut self, path: AbsPath, mode: Mode, value: Value) {
        self.laid(path.clone(), mode, value.sha256);
        self.file(path, mode, value);
    }

    /// Units are in the plan, so that `verify` sees them, but not among the tree's files: payloads have a place of
    /// their own for them.
    fn add_unit(&mut self, unit: &Unit) -> Result<(), FillError> {
        let mut add = |path: String, contents: &str| {
            let path = path.parse().map_err(|error| FillError::Path(path, error))?;
            self.laid(path, Mode::PUBLIC, Sha256::of(contents.as_bytes()));
            Ok::<_, FillError>(())
        };
        if let Some(contents) = &unit.contents {
            add(format!("{UNIT_DIR}/{}", unit.name), contents)?;
        }
        for dropin in &unit.dropins {
            add(format!("{UNIT_DIR}/{}.d/{}", unit.name, dropin.name), &dropin.contents)?;
        }
        Ok(())
    }

    fn laid(&mut self, path: AbsPath, mode: Mode, sha256: Sha256) {
        self.entries.push(FileEntry { path, mode, sha256, kind: FileKind::Laid, staged: None });
    }

    fn file(&mut self, path: AbsPath, mode: Mode, value: Value) {
        self.files.push(TreeFile { path, mode, sha256: value.sha256, contents: value.bytes, shared: None });
    }
}
