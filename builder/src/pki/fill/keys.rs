//! [`Keys`]: what goes into the files of one holder, and whether it may.

use super::{FillError, Span, constant};
use crate::{
    draft::{Contents, DraftFile, DraftStep, Leaf, LeafForm, Part, Shared, TokenForm},
    pki::{
        authority::{Authority, IssueError, Issued, Value},
        table::{Custody, Duty, Holder, KeyId},
    },
};
use nodekiln_plan::{ApiStep, FileKind, NodeName, Secret, Sha256, paths};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// The keys that a holder takes.
pub(super) struct Keys<'a> {
    authority: &'a Authority,
    holder: &'a Holder,
    /// Each leaf is issued once, however many files it is in.
    leaves: BTreeMap<&'a Leaf, Issued>,
    /// What was taken, with its digest.
    pub taken: BTreeMap<KeyId, Sha256>,
    /// Beginnings of the user's certificates that this node authenticates with.
    starts: Vec<i64>,
    /// Ends of the tokens and the user's certificates that this node authenticates with.
    ends: Vec<i64>,
}

impl<'a> Keys<'a> {
    /// None yet.
    pub fn new(authority: &'a Authority, holder: &'a Holder) -> Self {
        Self {
            authority,
            holder,
            leaves: BTreeMap::new(),
            taken: BTreeMap::new(),
            starts: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// What is in `file`.
    ///
    /// # Errors
    /// A value that there is not, or that this holder may not have there.
    pub fn file(&mut self, file: &'a DraftFile) -> Result<Value, FillError> {
        Ok(match &file.contents {
            Contents::Text(text) => Value { bytes: Arc::clone(&text.bytes), sha256: text.sha256 },
            Contents::Bytes(blob) => {
                self.take_users(&blob.bytes, file)?;
                self.authority.intern(blob)
            }
            Contents::Shared(shared) => {
                self.take_shared(*shared, file)?;
                self.authority.shared(*shared).value.clone()
            }
            Contents::Leaf(leaf, form) => {
                self.take_leaf(leaf, *form, file)?;
                self.issue(leaf)?.form(*form)
            }
            Contents::Template(parts) => {
                for part in parts {
                    match part {
                        Part::Text(_) => {}
                        Part::Base64(shared) => self.take_shared(*shared, file)?,
                        Part::LeafBase64(leaf, form) => self.take_leaf(leaf, *form, file)?,
                        Part::Token(owner, form) | Part::TokenBase64(owner, form) => {
                            self.take_token(owner, *form, file)?;
                        }
                    }
                }
                Value::new(self.render(parts)?)
            }
        })
    }

    fn issue(&mut self, leaf: &'a Leaf) -> Result<&Issued, IssueError> {
        Ok(match self.leaves.entry(leaf) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => slot.insert(self.authority.issue(leaf)?),
        })
    }

    fn take_shared(&mut self, shared: Shared, file: &DraftFile) -> Result<(), FillError> {
        if !self.authority.has(shared) {
            return Err(IssueError::NoValue(shared).into());
        }
        if let (Some(key), Some(digest)) = (KeyId::of_shared(shared), self.authority.shared(shared).key) {
            self.take(key, digest, file)?;
        }
        Ok(())
    }

    fn take_leaf(&mut self, leaf: &'a Leaf, form: LeafForm, file: &DraftFile) -> Result<(), FillError> {
        let spki = self.issue(leaf)?.spki;
        match form {
            LeafForm::Certificate => Ok(()),
            LeafForm::Key | LeafForm::Both => self.take(KeyId::Leaf(leaf.row, leaf.node.clone()), spki, file),
        }
    }

    /// The user's own files for etcd: the key is placed as ours would be, and the payload ends with its certificate.
    fn take_users(&mut self, bytes: &[u8], file: &DraftFile) -> Result<(), FillError> {
        let Some(users) = self.authority.external_etcd() else { return Ok(()) };
        if let Some(validity) = users.is_certificate(bytes) {
            self.starts.push(validity.not_before);
            self.ends.push(validity.not_after);
        }
        match users.is_key(bytes) {
            // One of the cluster's own under that name stays what it is.
            Some(spki) => self.take(self.authority.identify(&spki).unwrap_or(KeyId::ExternalEtcd), spki, file),
            None => Ok(()),
        }
    }

    fn take_token(&mut self, owner: &NodeName, form: TokenForm, file: &DraftFile) -> Result<(), FillError> {
        if !form.is_secret() {
            return Ok(());
        }
        let token = self.authority.token(owner)?;
        let key = KeyId::Token(owner.clone());
        if *owner != self.holder.name {
            // Also not on a control plane: its place there is among the API objects.
            return Err(FillError::Placement { path: file.path.clone(), key });
        }
        self.ends.extend(token.end);
        self.take(key, token.sha256(), file)
    }

    /// Notes that `file` holds `key`, if it may.
    fn take(&mut self, key: KeyId, digest: Sha256, file: &DraftFile) -> Result<(), FillError> {
        let path = file.path.clone();
        if !key.may_be_on(self.holder) {
            return Err(FillError::Placement { path, key });
        }
        if key.custody() == Custody::UntilFinished && file.kind != FileKind::Credential {
            return Err(FillError::Custody { path, key });
        }
        if file.mode.bits() & 0o077 != 0 {
            return Err(FillError::Mode { path, key, mode: file.mode });
        }
        self.taken.insert(key, digest);
        Ok(())
    }

    fn render(&mut self, parts: &'a [Part]) -> Result<Secret, IssueError> {
        // All leaves were issued by `take_leaf`; sizes are known roughly, so that growing leaves no copies behind.
        let size = parts.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Base64(shared) => self.authority.shared(*shared).base64.expose().len(),
            Part::LeafBase64(..) => 8192,
            Part::Token(..) | Part::TokenBase64(..) => 64,
        });
        let mut out = Vec::with_capacity(size.sum());
        for part in parts {
            let leaves = &self.leaves;
            let issue =
                &mut |leaf: &Leaf| leaves.get(leaf).map_or_else(|| self.authority.issue(leaf), |i| Ok(i.clone()));
            self.authority.append(part, &mut out, issue)?;
        }
        Ok(Secret::new(out))
    }

    /// api.ndjson. Its objects are stored in etcd for many to read: no key may be in it but bootstrap tokens, which the
    /// API server has to be told.
    ///
    /// # Errors
    /// A step that is not one line, or holds another key.
    pub fn api_lines(&mut self, steps: &'a [DraftStep]) -> Result<Secret, FillError> {
        let mut out = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let fault = || FillError::Step(index);
            match step {
                DraftStep::Step(step) => serde_json::to_writer(&mut out, step).map_err(|_| fault())?,
                DraftStep::Template(parts) => {
                    for part in parts {
                        match part {
                            Part::Text(_) => {}
                            Part::Base64(shared) if KeyId::of_shared(*shared).is_none() => {}
                            Part::Base64(_) | Part::LeafBase64(..) => return Err(fault()),
                            Part::Token(owner, form) | Part::TokenBase64(owner, form) => {
                                self.tell_token(owner, *form)?;
                            }
                        }
                    }
                    let line = self.render(parts)?;
                    let whole = !line.expose().contains(&b'\n');
                    if !whole || serde_json::from_slice::<ApiStep>(line.expose()).is_err() {
                        return Err(fault());
                    }
                    out.extend_from_slice(line.expose());
                }
            }
            out.push(b'\n');
        }
        Ok(Secret::new(out))
    }

    /// Notes that api.ndjson, which firstboot erases, holds a token, if it may.
    fn tell_token(&mut self, owner: &NodeName, form: TokenForm) -> Result<(), FillError> {
        if form.is_secret() {
            let (holder, key) = (self.holder, KeyId::Token(owner.clone()));
            let digest = self.authority.token(owner)?.sha256();
            if !holder.has(Duty::ControlPlane) || !key.may_be_on(holder) {
                return Err(FillError::Placement { path: constant(paths::API_OBJECTS), key });
            }
            self.taken.insert(key, digest);
        }
        Ok(())
    }

    /// A key or certificate that was taken here and is a single node's own.
    pub fn of_one_node(&self) -> Option<KeyId> {
        let leaves = self.leaves.keys().map(|leaf| KeyId::Leaf(leaf.row, leaf.node.clone()));
        let is_one_nodes = |key: &KeyId| matches!(key, KeyId::Token(_) | KeyId::Leaf(_, Some(_)));
        self.taken.keys().cloned().chain(leaves).find(is_one_nodes)
    }

    /// `span`, as far as all that was taken here is good too.
    pub fn span(&self, span: Span) -> Span {
        let leaves = || self.leaves.values().map(|leaf| leaf.validity);
        let starts = leaves().map(|validity| validity.not_before).chain(self.starts.iter().copied());
        let ends = leaves().map(|validity| validity.not_after).chain(self.ends.iter().copied());
        Span { not_before: starts.fold(span.not_before, i64::max), boot_before: ends.fold(span.boot_before, i64::min) }
    }
}
