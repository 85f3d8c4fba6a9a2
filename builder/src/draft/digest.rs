//! A draft as a digest: whether two builds would make the same payload of it.
//!
//! Nothing of a draft may be missing here: an unchanged digest means that an older payload is taken over. So every struct
//! is taken apart by name, which a new field breaks, or written by its derived `Debug`, which a new field joins.

use super::{Blob, Contents, DraftFile, DraftStep, NodeDraft};
use nodekiln_payload::Account;
use nodekiln_plan::Sha256;
use serde::Serialize;
use std::fmt::Debug;

/// The digest of all of `draft`.
///
/// # Errors
/// A part that is no JSON, which no plan has.
pub fn digest(draft: &NodeDraft) -> serde_json::Result<Sha256> {
    let NodeDraft {
        spec,
        holder,
        users_own,
        profile,
        files,
        links,
        units,
        accounts,
        fetches,
        fetch_ca,
        network,
        time_servers,
        snippets,
        blobs,
        api,
    } = draft;
    let mut parts = Parts(Vec::with_capacity(files.len() * 5 + api.len() + 32));
    parts.json(spec)?;
    parts.text(&profile.name);
    parts.debug(&(holder, users_own));
    parts.count(files.len());
    for DraftFile { path, mode, kind, contents } in files {
        parts.text(path.as_str());
        parts.debug(&(mode, kind));
        match contents {
            Contents::Text(text) => parts.pair("text", text.as_bytes()),
            Contents::Bytes(Blob { sha256, bytes: _ }) => parts.pair("bytes", sha256.as_bytes()),
            Contents::Template(template) => parts.debug(template),
            Contents::Shared(shared) => parts.debug(shared),
            Contents::Leaf(leaf, form) => parts.debug(&(leaf, form)),
        }
    }
    parts.debug(&(links, units, fetches, network, time_servers));
    parts.count(accounts.len());
    for Account { name, ssh_authorized_keys, password_hash, groups } in accounts {
        parts.debug(&(name, ssh_authorized_keys, groups));
        // By digest: it is not kept in the clear.
        let hash = password_hash.as_ref().map(|hash| Sha256::of(hash.expose()));
        parts.debug(&hash);
    }
    parts.debug(&fetch_ca.as_deref().map(Sha256::of));
    parts.count(snippets.len());
    snippets.iter().for_each(|snippet| parts.0.push(snippet.sha256().as_bytes().to_vec()));
    parts.count(blobs.len());
    for Blob { sha256, bytes: _ } in blobs {
        parts.0.push(sha256.as_bytes().to_vec());
    }
    parts.count(api.len());
    for step in api {
        match step {
            DraftStep::Step(step) => parts.json(step)?,
            DraftStep::Template(template) => parts.debug(template),
        }
    }
    Ok(Sha256::of_parts(parts.0.iter().map(Vec::as_slice)))
}

/// What is digested, piece by piece.
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn text(&mut self, text: &str) {
        self.0.push(text.as_bytes().to_vec());
    }

    fn pair(&mut self, kind: &str, bytes: &[u8]) {
        self.text(kind);
        self.0.push(bytes.to_vec());
    }

    fn count(&mut self, count: usize) {
        self.0.push((count as u64).to_be_bytes().to_vec());
    }

    fn debug(&mut self, value: &impl Debug) {
        self.0.push(format!("{value:?}").into_bytes());
    }

    fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        self.0.push(serde_json::to_vec(value)?);
        Ok(())
    }
}
