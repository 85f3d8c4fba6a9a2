//! [`fill`]: puts keys into a draft. The only place where a node and its keys meet.

use crate::{
    draft::{Contents, DraftFile, DraftStep, Leaf, LeafForm, NodeDraft, Part, Shared, TokenForm},
    pki::{
        authority::{Authority, IssueError, Issued, Value},
        table::{Ca, Custody, Duty, KeyId},
    },
};
use nodekiln_payload::{NodeTree, TreeFile, Unit};
use nodekiln_plan::{
    AbsPath, ApiStep, DirectoryEntry, FileEntry, FileKind, Identity, Mode, NodeName, NodePlan, NodeSpec, PLAN_VERSION,
    PathError, PlanError, Secret, Sha256, paths,
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, LazyLock},
};

/// Where units are laid.
const UNIT_DIR: &str = "/etc/systemd/system";

/// A node with its keys.
#[derive(Debug)]
pub struct Filled {
    /// What `plan.json` says.
    pub plan: NodePlan,
    /// Everything that the payload carries, `plan.json` among it.
    pub tree: NodeTree,
    /// The keys in it, with the digest of their public half (of the key itself where it is symmetric), by key.
    pub keys: Vec<(KeyId, Sha256)>,
}

/// Why a draft was not filled. All but the first are faults of the planner: a cluster.yaml does not lead to them.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// A certificate that could not be issued, or a token that is not there.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The table says that this node must not hold this key.
    #[error("{path}: this node must not hold the key `{key}`")]
    Placement {
        /// The file.
        path: AbsPath,
        /// The key.
        key: KeyId,
    },
    /// A credential that has to be erased, in a file that stays.
    #[error("{path}: the key `{key}` may only be staged as a credential, which firstboot erases")]
    Custody {
        /// The file.
        path: AbsPath,
        /// The key.
        key: KeyId,
    },
    /// A key that others could read.
    #[error("{path}: holds the key `{key}`, but its mode is {mode}")]
    Mode {
        /// The file.
        path: AbsPath,
        /// The key.
        key: KeyId,
        /// Its mode.
        mode: Mode,
    },
    /// Two files at one place.
    #[error("{0}: two files of this node have this path")]
    Duplicate(AbsPath),
    /// A path that cannot be staged, or a unit whose name makes no path.
    #[error("{0}: cannot be laid")]
    Path(String, #[source] PathError),
    /// A step that is not one line of JSON, or holds a key.
    #[error("API step {0}: is not one line with a step in it, or holds a key")]
    Step(usize),
    /// plan.json could not be written.
    #[error("writing plan.json")]
    Plan(#[source] PlanError),
}

/// Fills `draft`: issues its certificates, renders its templates, and lists all of it in its plan.
///
/// # Errors
/// See [`FillError`].
pub fn fill(authority: &Authority, draft: &NodeDraft) -> Result<Filled, FillError> {
    let mut filler = Filler {
        authority,
        draft,
        leaves: BTreeMap::new(),
        keys: BTreeMap::new(),
        starts: Vec::new(),
        ends: Vec::new(),
    };
    let mut node = Laid::new(draft);
    for file in &draft.files {
        let value = filler.file(file)?;
        node.add(file, value)?;
    }
    for unit in &draft.units {
        node.add_unit(unit)?;
    }
    if !draft.api.is_empty() {
        let lines = filler.api_lines()?;
        node.add_laid(constant(paths::API_OBJECTS), Mode::PRIVATE, Value::new(lines));
    }
    let entries = by_path(node.entries, |entry| &entry.path)?;
    let directories = directories(&draft.spec, &node.files);
    let plan =
        NodePlan { version: PLAN_VERSION, spec: draft.spec.clone(), identity: filler.identity(), files: entries };
    let bytes = Value::new(Secret::new(plan.to_vec().map_err(FillError::Plan)?));
    let path = constant(paths::PLAN);
    node.files.push(TreeFile { path, mode: Mode::PRIVATE, sha256: bytes.sha256, contents: bytes.bytes, shared: None });
    let tree = NodeTree {
        node: (!draft.spec.pool).then(|| draft.spec.node.clone()),
        directories,
        files: by_path(node.files, |file| &file.path)?,
        links: draft.links.clone(),
        units: draft.units.clone(),
        accounts: draft.accounts.clone(),
        fetches: draft.fetches.clone(),
        fetch_ca: draft.fetch_ca.clone(),
        network: draft.network.clone(),
        time_servers: draft.time_servers.clone(),
        snippets: draft.snippets.clone(),
    };
    Ok(Filled { plan, tree, keys: filler.keys.into_iter().collect() })
}

fn constant(path: &str) -> AbsPath {
    path.parse().expect("the paths of nodekiln-plan are clean")
}

/// Where files are staged.
static STAGE: LazyLock<AbsPath> = LazyLock::new(|| constant(paths::STAGE_DIR));

/// Where the payload lays a file that is staged: below the stage folder under its final path. A path that lies there
/// already, such as the API credential's, is its own.
fn staged(path: &AbsPath) -> Result<AbsPath, FillError> {
    if path.is_within(&STAGE) {
        return Ok(path.clone());
    }
    format!("{}{path}", paths::STAGE_DIR).parse().map_err(|error| FillError::Path(path.to_string(), error))
}

/// `list` in the order of its paths, each of them once.
fn by_path<T>(mut list: Vec<T>, path: impl Fn(&T) -> &AbsPath) -> Result<Vec<T>, FillError> {
    list.sort_by(|a, b| path(a).cmp(path(b)));
    let twice = list.windows(2).find(|pair| path(&pair[0]) == path(&pair[1]));
    match twice.map(|pair| path(&pair[0]).clone()) {
        Some(path) => Err(FillError::Duplicate(path)),
        None => Ok(list),
    }
}

/// The folders of the tree: those of the plan, and all that staged files lie in.
fn directories(spec: &NodeSpec, files: &[TreeFile]) -> Vec<DirectoryEntry> {
    let mut all: BTreeMap<AbsPath, Mode> = BTreeMap::new();
    all.insert(constant(paths::STATE_DIR), Mode::PRIVATE_DIR);
    for file in files.iter().filter(|file| file.path.is_within(&STAGE)) {
        let mut folder = file.path.parent();
        while let Some(path) = folder.filter(|path| path.is_within(&STAGE) && !all.contains_key(path)) {
            folder = path.parent();
            all.insert(path, Mode::PRIVATE_DIR);
        }
    }
    all.extend(spec.directories.iter().map(|entry| (entry.path.clone(), entry.mode)));
    all.into_iter().map(|(path, mode)| DirectoryEntry { path, mode }).collect()
}

/// What the payload lays: the plan's list and the files themselves.
struct Laid {
    entries: Vec<FileEntry>,
    files: Vec<TreeFile>,
}

impl Laid {
    /// Nothing yet, with room for all of `draft`, api.ndjson and plan.json.
    fn new(draft: &NodeDraft) -> Self {
        let units: usize = draft.units.iter().map(|unit| 1 + unit.dropins.len()).sum();
        let count = draft.files.len() + 2;
        Self { entries: Vec::with_capacity(count + units), files: Vec::with_capacity(count) }
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

    fn add_laid(&mut self, path: AbsPath, mode: Mode, value: Value) {
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

struct Filler<'a> {
    authority: &'a Authority,
    draft: &'a NodeDraft,
    /// Each leaf is issued once, however many files it is in.
    leaves: BTreeMap<&'a Leaf, Issued>,
    keys: BTreeMap<KeyId, Sha256>,
    /// Beginnings of the user's certificates that this node authenticates with.
    starts: Vec<i64>,
    /// Ends of the tokens and the user's certificates that this node authenticates with.
    ends: Vec<i64>,
}

impl<'a> Filler<'a> {
    fn file(&mut self, file: &'a DraftFile) -> Result<Value, FillError> {
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
        if *owner != self.draft.holder.name {
            // Also not on a control plane: its place there is among the API objects.
            return Err(FillError::Placement { path: file.path.clone(), key });
        }
        self.ends.extend(token.end);
        self.take(key, token.sha256(), file)
    }

    /// Notes that `file` holds `key`, if it may.
    fn take(&mut self, key: KeyId, digest: Sha256, file: &DraftFile) -> Result<(), FillError> {
        let path = file.path.clone();
        if !key.may_be_on(&self.draft.holder) {
            return Err(FillError::Placement { path, key });
        }
        if key.custody() == Custody::UntilFinished && file.kind != FileKind::Credential {
            return Err(FillError::Custody { path, key });
        }
        if file.mode.bits() & 0o077 != 0 {
            return Err(FillError::Mode { path, key, mode: file.mode });
        }
        self.keys.insert(key, digest);
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
    fn api_lines(&mut self) -> Result<Secret, FillError> {
        let mut out = Vec::new();
        for (index, step) in self.draft.api.iter().enumerate() {
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
            let (holder, key) = (&self.draft.holder, KeyId::Token(owner.clone()));
            let digest = self.authority.token(owner)?.sha256();
            if !holder.has(Duty::ControlPlane) || !key.may_be_on(holder) {
                return Err(FillError::Placement { path: constant(paths::API_OBJECTS), key });
            }
            self.keys.insert(key, digest);
        }
        Ok(())
    }

    fn identity(&self) -> Identity {
        let cas = self.authority.ca_validity();
        let leaves = || self.leaves.values().map(|leaf| leaf.validity);
        Identity {
            generation: self.authority.generation(),
            etcd_digest: self.etcd_digest(),
            not_before: leaves()
                .map(|v| v.not_before)
                .chain(self.starts.iter().copied())
                .fold(cas.not_before, i64::max),
            boot_before: leaves().map(|v| v.not_after).chain(self.ends.iter().copied()).fold(cas.not_after, i64::min),
        }
    }

    /// The same on all members of one cluster, and only there. Zero on nodes without a member.
    fn etcd_digest(&self) -> Sha256 {
        let Some(etcd) = &self.draft.spec.etcd else { return Sha256::from_bytes([0; 32]) };
        let members: Vec<_> =
            etcd.members.iter().flat_map(|member| [member.name.to_string(), member.address.to_string()]).collect();
        let head = ["nodekiln etcd 1", self.authority.bundle(Ca::Etcd)];
        Sha256::of_parts(head.into_iter().chain(members.iter().map(String::as_str)).map(str::as_bytes))
    }
}

#[cfg(test)]
mod tests;
