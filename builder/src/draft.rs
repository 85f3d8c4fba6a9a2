//! [`NodeDraft`]: all of a node but its keys.
//!
//! Planning makes drafts without any secret, so that `validate`, `diff` and goldens need none; [`Contents`] says which
//! key goes where, `fill` alone puts it there.

mod digest;
mod render;

pub use digest::digest;
pub use render::render;

use crate::{bytes::Bytes, config::San, pki::table::Holder};
use nodekiln_payload::{Account, Fetch, Link, Network, Profile, Snippet, Unit};
use nodekiln_plan::{AbsPath, ApiStep, ClassSpec, FileKind, Mode, NodeName, NodeSpec, Secret, Sha256};
use std::{ops::Deref, sync::Arc};

/// A node before keys: what its class shares, and what is its own.
#[derive(Debug, Clone)]
pub struct NodeDraft {
    /// What all nodes of its class have.
    pub class: Arc<Digested>,
    /// The node's own part of the plan, as far as it is known without keys.
    pub spec: NodeSpec,
    /// Which keys may be in it.
    pub holder: Holder,
    /// Files beside the class's, by path. No path is twice among all of them. `plan.json` and `api.ndjson` are not among
    /// them: `fill` adds both.
    pub files: Vec<DraftFile>,
    /// systemd units beside the class's, by name.
    pub units: Vec<Unit>,
    /// Symbolic links.
    pub links: Vec<Link>,
    /// Static network, only where the profile's format is cloud-init; under Ignition it is files. `fill` copies it.
    pub network: Option<Network>,
    /// API steps in order; empty on nodes that have none.
    pub api: Vec<DraftStep>,
}

impl NodeDraft {
    /// All its files, by path.
    pub fn all_files(&self) -> Vec<&DraftFile> {
        let mut all: Vec<_> = self.class.files.iter().chain(&self.files).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// All its units, by name.
    pub fn all_units(&self) -> Vec<&Unit> {
        let mut all: Vec<_> = self.class.units.iter().chain(&self.units).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// What the drafts of all nodes of a class have in common. Nothing in it names a node: its keys are shared ones.
#[derive(Debug, Clone)]
pub struct ClassDraft {
    /// The class's part of the plan.
    pub spec: ClassSpec,
    /// How payloads are encoded.
    pub profile: &'static Profile,
    /// Files, by path.
    pub files: Vec<DraftFile>,
    /// Files, the nodes' own among them, that hold keys of the user's own, which are none of this cluster's.
    pub users_own: Vec<AbsPath>,
    /// systemd units, by name.
    pub units: Vec<Unit>,
    /// Accounts.
    pub accounts: Vec<Account>,
    /// What the machine fetches.
    pub fetches: Vec<Fetch>,
    /// delivery.caFile, where something is fetched by https. `fill` copies it.
    pub fetch_ca: Option<Arc<[u8]>>,
    /// Time servers, only where the profile's format is cloud-init; under Ignition they are files. `fill` copies them.
    pub time_servers: Vec<String>,
    /// `os.snippets`, in order; under cloud-init laid over each other already. `fill` copies them.
    pub snippets: Vec<Snippet>,
    /// Files of the build that these nodes fetch: published below `serve/blobs/` under their digest. Hold nothing secret.
    pub blobs: Vec<Blob>,
}

/// A class's part with its digest, taken once for all of its nodes.
#[derive(Debug, Clone)]
pub struct Digested {
    class: ClassDraft,
    sha256: Sha256,
}

impl Digested {
    /// `class` and its digest.
    pub fn new(class: ClassDraft) -> Self {
        Self { sha256: digest::of_class(&class), class }
    }

    /// The digest: whether two classes' parts are the same.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// The part itself, to make another one of it.
    #[cfg(test)]
    pub(crate) fn into_class(self) -> ClassDraft {
        self.class
    }
}

impl Deref for Digested {
    type Target = ClassDraft;

    fn deref(&self) -> &ClassDraft {
        &self.class
    }
}

/// Bytes that nodes share, with their digest: a program has megabytes, and is hashed once.
#[derive(Clone)]
pub struct Blob {
    /// Digest of the bytes; the file's name below `serve/blobs/`, where it is published.
    pub sha256: Sha256,
    /// The bytes.
    pub bytes: Bytes,
}

impl Blob {
    /// `bytes` and their digest.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { sha256: Sha256::of(&bytes), bytes }
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.sha256, self.bytes.len())
    }
}

/// A text with its digest, shared by all nodes that have it.
#[derive(Clone)]
pub struct Text {
    pub(crate) bytes: Arc<Secret>,
    pub(crate) sha256: Sha256,
}

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes.expose()).expect("it was made of a text")
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { sha256: Sha256::of(text.as_bytes()), bytes: Arc::new(Secret::from(text)) }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({}, {} bytes)", self.sha256, self.bytes.expose().len())
    }
}

/// A file before keys.
#[derive(Debug, Clone)]
pub struct DraftFile {
    /// Final place.
    pub path: AbsPath,
    /// Permission bits there.
    pub mode: Mode,
    /// What becomes of it. Every kind but `Laid` is staged below `paths::STAGE_DIR` under its final path, mode 0600.
    pub kind: FileKind,
    /// What is in it.
    pub contents: Contents,
}

/// Contents before keys.
#[derive(Debug, Clone)]
pub enum Contents {
    /// Known now.
    Text(Text),
    /// Known now, shared between nodes.
    Bytes(Blob),
    /// Text with values from the secrets in it.
    Template(Vec<Part>),
    /// A value of the cluster's own, as it is.
    Shared(Shared),
    /// A leaf certificate or its key, or both.
    Leaf(Leaf, LeafForm),
}

impl Contents {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into().into())
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// A shared value in base64 (standard alphabet, padded).
    Base64(Shared),
    /// A leaf in base64.
    LeafBase64(Leaf, LeafForm),
    /// A value of the bootstrap token of this pool or node, as it is: no letter of it needs an escape in JSON or YAML.
    Token(NodeName, TokenForm),
    /// The same in base64, as the `data` of a Secret has it.
    TokenBase64(NodeName, TokenForm),
}

/// What is written of a bootstrap token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenForm {
    /// The public half, which also names the Secret: `bootstrap-token-ID`.
    Id,
    /// The secret half.
    Secret,
    /// `ID.SECRET`: what a kubeconfig's `token` is.
    Whole,
    /// Its end, RFC 3339 in UTC. Only for tokens that end: `fill` refuses it for another.
    End,
}

impl TokenForm {
    /// Whether it can be used to authenticate.
    pub fn is_secret(self) -> bool {
        matches!(self, TokenForm::Secret | TokenForm::Whole)
    }
}

/// Values that are the same on every node that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// Bundle of the Kubernetes CA's certificates, PEM.
    Ca,
    /// The Kubernetes CA's key, PEM.
    CaKey,
    /// Bundle of the front-proxy CA's certificates, PEM.
    FrontProxyCa,
    /// Bundle of the etcd CA's certificates, PEM.
    EtcdCa,
    /// The service-account key, PEM.
    ServiceAccountKey,
    /// Its public half, PEM (PKIX).
    ServiceAccountPublicKey,
    /// A key for encryption at rest by its place in the list, 32 raw bytes. The first encrypts.
    EncryptionKey(u8),
}

/// How a leaf is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeafForm {
    /// Certificate, PEM.
    Certificate,
    /// Private key, PEM (PKCS#8).
    Key,
    /// Certificate, then key, in one PEM file.
    Both,
}

/// The certificate to be issued: a row of the table in `pki::table` with its variables filled in. Plain data, so that a
/// draft names all that `fill` needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// Row of the table.
    pub row: Row,
    /// The node it is for; `None` for a leaf that nodes share.
    pub node: Option<NodeName>,
    /// Subject alternative names, sorted and without duplicates.
    pub sans: Vec<San>,
}

/// Rows of the certificate table (kubeadm's names where kubeadm has them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Serving certificate of kube-apiserver.
    ApiServer,
    /// kube-apiserver as client of kubelets. Shared.
    ApiServerKubeletClient,
    /// kube-apiserver as client of etcd. Shared.
    ApiServerEtcdClient,
    /// kube-apiserver as client of aggregated API servers. Shared.
    FrontProxyClient,
    /// Serving certificate of etcd.
    EtcdServer,
    /// etcd between members; also firstboot's statement.
    EtcdPeer,
    /// Client of etcd for probes and firstboot. Shared.
    EtcdHealthcheckClient,
    /// kube-controller-manager's kubeconfig. Shared.
    ControllerManager,
    /// kube-scheduler's kubeconfig. Shared.
    Scheduler,
    /// A kubelet as client.
    KubeletClient,
    /// A kubelet as server.
    KubeletServer,
    /// `admin.conf`, group `kubeadm:cluster-admins`: in the output only, on no node.
    Admin,
    /// `super-admin.conf`, group `system:masters`: in the output, and staged on control planes until firstboot's end.
    SuperAdmin,
    /// firstboot's later visits: rights on one Lease. Kept on control planes.
    Lease,
    /// kube-vip's kubeconfig: rights on one Lease. Shared.
    KubeVip,
}

/// An API step before keys. JSON text; shared values are public (the CA bundle) and go in as base64, which needs no
/// escape in JSON. The one secret that may be in it is a bootstrap token: firstboot erases the file when it is done.
#[derive(Debug, Clone)]
pub enum DraftStep {
    /// Complete.
    Step(ApiStep),
    /// One line of `api.ndjson` with shared values in it.
    Template(Vec<Part>),
}

/// `text` as a template in which `part` stands wherever `mark` does.
pub(crate) fn fill_in(text: &str, mark: &str, part: &Part) -> Vec<Part> {
    fill_in_all(text, &[(mark, part.clone())])
}

/// `text` as a template in which each part stands wherever its mark does. No mark is part of another.
pub(crate) fn fill_in_all(text: &str, marks: &[(&str, Part)]) -> Vec<Part> {
    let mut parts = vec![Part::Text(text.to_owned())];
    for (mark, part) in marks {
        let mut filled = Vec::new();
        for piece in parts {
            let Part::Text(text) = piece else {
                filled.push(piece);
                continue;
            };
            for (number, text) in text.split(mark).enumerate() {
                if number != 0 {
                    filled.push(part.clone());
                }
                filled.push(Part::Text(text.to_owned()));
            }
        }
        parts = filled;
    }
    parts
}
