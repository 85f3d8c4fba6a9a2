//! A draft as a digest: whether two builds would make the same payload of it.
//!
//! Nothing of a draft may be missing here: an unchanged digest means that an older payload is taken over. So every struct
//! is taken apart by name, which a new field breaks, or written by its derived `Debug`, which a new field joins.

use super::{Blob, ClassDraft, Contents, DraftFile, DraftStep, Leaf, LeafForm, NodeDraft, Part};
use crate::{config::San, digest::Parts, pki::table::Holder};
use nodekiln_payload::{Account, Dropin, Unit};
use nodekiln_plan::{NodeName, Sha256};
use std::net::IpAddr;

/// The digest of all of `draft`.
///
/// # Errors
/// A part that is no JSON, which no plan has.
pub fn digest(draft: &NodeDraft) -> serde_json::Result<Sha256> {
    let NodeDraft { class, spec, holder, files, units, links, network, api } = draft;
    let mut parts = Parts::with_capacity(4096);
    parts.bytes(class.sha256().as_bytes());
    parts.json(spec)?;
    parts.holder(holder);
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
    let mut parts = Parts::with_capacity(1 << 14);
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

/// The parts of a draft.
impl Parts {
    fn pair(&mut self, kind: &str, bytes: &[u8]) {
        self.text(kind);
        self.bytes(bytes);
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
                Contents::Leaf(leaf, form) => self.leaf(leaf, *form),
            }
        }
    }

    fn holder(&mut self, Holder { name, duties }: &Holder) {
        self.text(name.as_str());
        self.part(|out| out.extend(duties.iter().map(|duty| *duty as u8)));
    }

    fn leaf(&mut self, Leaf { row, node, sans }: &Leaf, form: LeafForm) {
        self.pair("leaf", &[*row as u8, form as u8, u8::from(node.is_some())]);
        self.text(node.as_ref().map_or("", NodeName::as_str));
        self.count(sans.len());
        for san in sans {
            match san {
                San::Dns(name) => self.pair("dns", name.as_bytes()),
                San::Ip(IpAddr::V4(ip)) => self.pair("ip", &ip.octets()),
                San::Ip(IpAddr::V6(ip)) => self.pair("ip", &ip.octets()),
            }
        }
    }

    fn units(&mut self, units: &[Unit]) {
        self.count(units.len());
        for Unit { name, state, contents, dropins } in units {
            self.text(name.as_str());
            self.bytes(&[*state as u8, u8::from(contents.is_some())]);
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
