//! A draft as a digest: whether two builds would make the same payload of it.
//!
//! Nothing of a draft may be missing here: an unchanged digest means that an older payload is taken over. So every struct
//! is taken apart by name, which a new field breaks, or written by its derived `Debug`, which a new field joins.

use super::{Blob, ClassDraft, Contents, DraftFile, DraftStep, NodeDraft, Part};
use nodekiln_payload::{Account, Dropin, Unit};
use nodekiln_plan::{Secret, Sha256};
use serde::Serialize;
use std::{fmt, io};

/// The digest of all of `draft`.
///
/// # Errors
/// A part that is no JSON, which no plan has.
pub fn digest(draft: &NodeDraft) -> serde_json::Result<Sha256> {
    let NodeDraft { class, spec, holder, files, units, links, network, api } = draft;
    let mut parts = Parts(Vec::with_capacity(4096));
    parts.bytes(class.sha256().as_bytes());
    parts.json(spec)?;
    parts.debug(holder);
    parts.files(files);
    parts.units(units);
    parts.debug(&(links, network));
    parts.count(api.len());
    for step in api {
        match step {
            DraftStep::Step(step) => parts.json(step)?,
            DraftStep::Template(template) => parts.template(template),
        }
    }
    Ok(parts.digest())
}

/// The digest of all of a class's part.
pub(super) fn of_class(class: &ClassDraft) -> Sha256 {
    let ClassDraft {
        spec,
        profile,
        files,
        users_own,
        units,
        accounts,
        fetches,
        fetch_ca,
        time_servers,
        snippets,
        blobs,
    } = class;
    let mut parts = Parts(Vec::with_capacity(1 << 14));
    parts.json(spec).expect("names, paths, numbers and lists of them are JSON");
    parts.text(&profile.name);
    parts.files(files);
    parts.debug(users_own);
    parts.units(units);
    parts.count(accounts.len());
    for Account { name, ssh_authorized_keys, password_hash, groups } in accounts {
        parts.text(name);
        parts.debug(&(ssh_authorized_keys, groups));
        // By digest: it is not kept in the clear.
        let hash = password_hash.as_ref().map(|hash| Sha256::of(hash.expose()));
        parts.debug(&hash);
    }
    parts.debug(fetches);
    parts.debug(&fetch_ca.as_deref().map(Sha256::of));
    parts.debug(time_servers);
    parts.count(snippets.len());
    snippets.iter().for_each(|snippet| parts.bytes(snippet.sha256().as_bytes()));
    parts.count(blobs.len());
    for Blob { sha256, bytes: _ } in blobs {
        parts.bytes(sha256.as_bytes());
    }
    parts.digest()
}

/// What is digested, piece by piece, each after its length: no two lists give the same bytes.
struct Parts(Vec<u8>);

impl Parts {
    /// Adds what `write` appends.
    fn part<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        const LENGTH: usize = size_of::<u64>();
        let start = self.0.len();
        self.0.extend_from_slice(&[0; LENGTH]);
        let result = write(&mut self.0);
        let length = (self.0.len() - start - LENGTH) as u64;
        self.0[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
        result
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.part(|out| out.extend_from_slice(bytes));
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn pair(&mut self, kind: &str, bytes: &[u8]) {
        self.text(kind);
        self.bytes(bytes);
    }

    fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_be_bytes());
    }

    fn debug(&mut self, value: &impl fmt::Debug) {
        self.part(|out| io::Write::write_fmt(out, format_args!("{value:?}"))).expect("memory takes every write");
    }

    fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        self.part(|out| serde_json::to_writer(out, value))
    }

    /// Of all that was added, which may hold what users lay down.
    fn digest(self) -> Sha256 {
        Sha256::of(Secret::new(self.0).expose())
    }

    fn files(&mut self, files: &[DraftFile]) {
        self.count(files.len());
        for DraftFile { path, mode, kind, contents } in files {
            self.text(path.as_str());
            self.bytes(&mode.bits().to_be_bytes());
            self.bytes(&[*kind as u8]);
            match contents {
                Contents::Text(text) => self.pair("text", text.sha256.as_bytes()),
                Contents::Bytes(Blob { sha256, bytes: _ }) => self.pair("bytes", sha256.as_bytes()),
                Contents::Template(template) => self.template(template),
                Contents::Shared(shared) => self.debug(shared),
                Contents::Leaf(leaf, form) => self.debug(&(leaf, form)),
            }
        }
    }

    fn units(&mut self, units: &[Unit]) {
        self.count(units.len());
        for Unit { name, state, contents, dropins } in units {
            self.text(name.as_str());
            self.debug(&(state, contents.is_some()));
            self.text(contents.as_deref().unwrap_or_default());
            self.count(dropins.len());
            for Dropin { name, contents } in dropins {
                self.pair(name, contents.as_bytes());
            }
        }
    }

    fn template(&mut self, template: &[Part]) {
        self.count(template.len());
        for part in template {
            match part {
                Part::Text(text) => self.pair("text", text.as_bytes()),
                other => self.debug(other),
            }
        }
    }
}
