//! [`fill`]: puts keys into a draft. The only place where a node and its keys meet.

mod keys;
mod laid;

use crate::{
    draft::{ClassDraft, Digested, NodeDraft},
    pki::{
        authority::{Authority, IssueError, Value},
        table::{Ca, Duty, Holder, KeyId},
    },
};
use keys::Keys;
use laid::Laid;
use nodekiln_payload::{Memory, NodeTree, SharedPart, TreeFile, Unit};
use nodekiln_plan::{
    AbsPath, ClassText, DirectoryEntry, EtcdPlan, FileEntry, Identity, Mode, PathError, PlanError, PlanText, Secret,
    Sha256, paths,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// A node with its keys.
#[derive(Debug)]
pub struct Filled {
    /// What `plan.json` says of its generation and its time.
    pub identity: Identity,
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
    /// A key of a single node's in what all nodes of its class have.
    #[error("the key `{0}` is one node's own, and stands in what its class shares")]
    OneNodes(KeyId),
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

/// Fills `draft`: issues its certificates, renders its templates, and lists all of it in its plan. For many nodes, a
/// [`Filling`] does what they share once.
///
/// # Errors
/// See [`FillError`].
pub fn fill(authority: &Authority, draft: &NodeDraft) -> Result<Filled, FillError> {
    Filling::new(authority).fill(draft)
}

/// Fills the drafts of a cluster. What the nodes of a class share is kept once a second of them comes by: each node costs
/// what is its own.
#[derive(Debug)]
pub struct Filling<'a> {
    authority: &'a Authority,
    classes: Memory<ClassKey, Arc<FilledClass>>,
}

/// What a filled class depends on beside the authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClassKey {
    draft: Sha256,
    duties: Vec<Duty>,
}

impl From<&ClassKey> for ClassKey {
    fn from(key: &ClassKey) -> Self {
        key.clone()
    }
}

/// A class's part of its nodes.
struct FilledClass {
    /// What is laid, both by path.
    laid: Laid,
    directories: Vec<DirectoryEntry>,
    keys: BTreeMap<KeyId, Sha256>,
    span: Span,
    text: ClassText,
}

/// From when to when what a payload authenticates with is good, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Span {
    not_before: i64,
    boot_before: i64,
}

impl<'a> Filling<'a> {
    /// With the keys of `authority`.
    pub fn new(authority: &'a Authority) -> Self {
        Self { authority, classes: Memory::new() }
    }

    /// See [`fill`].
    ///
    /// # Errors
    /// See [`FillError`].
    pub fn fill(&self, draft: &NodeDraft) -> Result<Filled, FillError> {
        let class = self.class(&draft.class, &draft.holder)?;
        let mut keys = Keys::new(self.authority, &draft.holder);
        let mut own = Laid::of(&draft.files, &draft.units, &mut keys)?;
        if !draft.api.is_empty() {
            let lines = keys.api_lines(&draft.api)?;
            own.add_laid(constant(paths::API_OBJECTS), Mode::PRIVATE, Value::new(lines));
        }
        let entries = own.take_entries()?;
        let known =
            |entry: &&FileEntry| class.laid.entries.binary_search_by(|other| other.path.cmp(&entry.path)).is_ok();
        if let Some(twice) = entries.iter().find(known) {
            return Err(FillError::Duplicate(twice.path.clone()));
        }
        let span = keys.span(class.span);
        let identity = Identity {
            generation: self.authority.generation(),
            etcd_digest: self.etcd_digest(draft.spec.etcd.as_ref()),
            not_before: span.not_before,
            boot_before: span.boot_before,
        };
        let plan = PlanText::new(&identity, &draft.spec, &class.text, &entries).map_err(FillError::Plan)?;
        let shared = SharedPart { range: plan.class, sha256: class.text.sha256() };
        let mut directories = class.directories.clone();
        stage_folders(&own.files, &mut directories);
        let mut files = class.laid.files.clone();
        files.append(&mut own.files);
        files.push(TreeFile {
            path: constant(paths::PLAN),
            mode: Mode::PRIVATE,
            sha256: plan.sha256,
            contents: Arc::new(Secret::new(plan.bytes)),
            shared: Some(shared),
        });
        let mut units: Vec<Unit> = draft.class.units.iter().chain(&draft.units).cloned().collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        let ClassDraft { accounts, fetches, fetch_ca, time_servers, snippets, .. } = &**draft.class;
        let tree = NodeTree {
            node: (!draft.spec.pool).then(|| draft.spec.node.clone()),
            directories,
            files: by_path(files, |file| &file.path)?,
            links: draft.links.clone(),
            units,
            accounts: accounts.clone(),
            fetches: fetches.clone(),
            fetch_ca: fetch_ca.clone(),
            network: draft.network.clone(),
            time_servers: time_servers.clone(),
            snippets: snippets.clone(),
        };
        let mut held = class.keys.clone();
        held.append(&mut keys.taken);
        Ok(Filled { identity, tree, keys: held.into_iter().collect() })
    }

    /// A class's part, for a holder with these duties: nothing in it is one node's alone.
    fn class(&self, draft: &Digested, holder: &Holder) -> Result<Arc<FilledClass>, FillError> {
        // About what its rendered files take.
        let size = 4096 + 1024 * draft.files.len();
        let key = ClassKey { draft: draft.sha256(), duties: holder.duties.clone() };
        self.classes.try_get_or(&key, size, || self.fill_class(draft, holder).map(Arc::new))
    }

    fn fill_class(&self, draft: &ClassDraft, holder: &Holder) -> Result<FilledClass, FillError> {
        let mut keys = Keys::new(self.authority, holder);
        let mut laid = Laid::of(&draft.files, &draft.units, &mut keys)?;
        // Whether a holder may have such a one depends on its name.
        if let Some(key) = keys.of_one_node() {
            return Err(FillError::OneNodes(key));
        }
        laid.entries = laid.take_entries()?;
        let text = ClassText::new(&draft.spec, &laid.entries).map_err(FillError::Plan)?;
        let cas = self.authority.ca_validity();
        let span = keys.span(Span { not_before: cas.not_before, boot_before: cas.not_after });
        let directories = directories(&draft.spec.directories, &laid.files);
        Ok(FilledClass { laid, directories, keys: keys.taken, span, text })
    }

    /// The same on all members of one cluster, and only there. Zero on nodes without a member.
    fn etcd_digest(&self, etcd: Option<&EtcdPlan>) -> Sha256 {
        let Some(etcd) = etcd else { return Sha256::from_bytes([0; 32]) };
        let members: Vec<_> =
            etcd.members.iter().flat_map(|member| [member.name.to_string(), member.address.to_string()]).collect();
        let head = ["nodekiln etcd 1", self.authority.bundle(Ca::Etcd)];
        Sha256::of_parts(head.into_iter().chain(members.iter().map(String::as_str)).map(str::as_bytes))
    }
}

fn constant(path: &str) -> AbsPath {
    path.parse().expect("the paths of nodekiln-plan are clean")
}

/// Where files are staged.
static STAGE: LazyLock<AbsPath> = LazyLock::new(|| constant(paths::STAGE_DIR));

/// `list` in the order of its paths, each of them once.
fn by_path<T>(mut list: Vec<T>, path: impl Fn(&T) -> &AbsPath) -> Result<Vec<T>, FillError> {
    list.sort_by(|a, b| path(a).cmp(path(b)));
    let twice = list.windows(2).find(|pair| path(&pair[0]) == path(&pair[1]));
    match twice.map(|pair| path(&pair[0]).clone()) {
        Some(path) => Err(FillError::Duplicate(path)),
        None => Ok(list),
    }
}

/// The folders of the tree: those of the plan, and all that staged files lie in. By path.
fn directories(planned: &[DirectoryEntry], files: &[TreeFile]) -> Vec<DirectoryEntry> {
    let mut all = BTreeMap::from([(constant(paths::STATE_DIR), Mode::PRIVATE_DIR)]);
    all.extend(planned.iter().map(|entry| (entry.path.clone(), entry.mode)));
    let mut all = all.into_iter().map(|(path, mode)| DirectoryEntry { path, mode }).collect();
    stage_folders(files, &mut all);
    all
}

/// Adds the folders below the stage folder that `files` lie in to `all`, which is sorted and stays so.
fn stage_folders(files: &[TreeFile], all: &mut Vec<DirectoryEntry>) {
    for file in files.iter().filter(|file| file.path.is_within(&STAGE)) {
        // Nearest first: what the stage folder itself lies in comes last.
        for folder in file.path.folders().take_while(|folder| folder.len() >= STAGE.as_str().len()) {
            if let Err(place) = all.binary_search_by(|entry| entry.path.as_str().cmp(folder)) {
                all.insert(place, DirectoryEntry { path: constant(folder), mode: Mode::PRIVATE_DIR });
            }
        }
    }
}

#[cfg(test)]
mod tests;
