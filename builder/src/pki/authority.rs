//! [`Authority`]: the secrets of a cluster, opened: it issues leaves and knows every key that is not a node's own.

mod admin;
mod error;
mod lives;
mod value;

pub use error::{IssueError, OpenError};
pub use lives::may_begin;
use value::shared_values;
pub(crate) use value::{Issued, OpenToken, SharedValue, Value};

use crate::{
    bytes::Bytes,
    config::Cluster,
    draft::{Blob, Leaf, Part, Row, Shared, TokenForm},
    pki::{
        certificate::{self, CaCertificate, Signer, Validity},
        external::ExternalEtcd,
        keyring::{self, Keyring},
        outside::Outside,
        pem,
        scan::Needles,
        table::{self, Ca, KeyId, Scope, Spec, TABLE},
    },
    secrets::Secrets,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// The secrets of a cluster, opened. Made once, used by all threads. `Debug` shows nothing.
pub struct Authority {
    signers: BTreeMap<Ca, Signer>,
    bundles: BTreeMap<Ca, Value>,
    keyring: Keyring,
    /// Certificates of this generation that CAs elsewhere have signed, DER; all that the cluster needs are there and fit.
    given: BTreeMap<(Row, Option<NodeName>), Vec<u8>>,
    generation: u64,
    validity: Validity,
    /// Latest notBefore and earliest notAfter of the signing CAs.
    ca_validity: Validity,
    shared: BTreeMap<Shared, SharedValue>,
    leaves: BTreeMap<Row, Issued>,
    keys: BTreeMap<Sha256, KeyId>,
    /// Every node and pool.
    nodes: Vec<NodeName>,
    /// The keys of all of them, as they are in `keys`: only computed when one turns up where none was announced.
    node_keys: OnceLock<BTreeMap<Sha256, KeyId>>,
    tokens: BTreeMap<NodeName, OpenToken>,
    external_etcd: Option<ExternalEtcd>,
    /// What tells symmetric keys.
    needles: Needles,
    encryption: Vec<Secret>,
    /// Large contents that nodes share, by the address of the bytes, which it keeps alive.
    large: Mutex<BTreeMap<usize, Interned>>,
}

/// Bytes and the contents made of them.
struct Interned {
    /// Keeps the address taken.
    _bytes: Bytes,
    value: Value,
}

/// From this size on, contents are copied once for all nodes.
const LARGE: usize = 64 * 1024;

impl Authority {
    /// Opens `secrets` for `cluster` and issues the leaves that nodes share.
    ///
    /// # Errors
    /// Leaves that would outlive a CA, and what [`Secrets::parse`] refuses.
    pub fn open(secrets: &Secrets, cluster: &Cluster) -> Result<Self, OpenError> {
        let validity =
            Validity::starting(secrets.renewed_at, cluster.certificate_validity).ok_or(OpenError::Validity)?;
        let mut signers = BTreeMap::new();
        let mut bundles = BTreeMap::new();
        let mut keys = BTreeMap::new();
        let mut ca_validity = Validity { not_before: i64::MIN, not_after: i64::MAX };
        for (&ca, pairs) in &secrets.authorities {
            let mut bundle = Vec::new();
            for pair in pairs {
                pem::encode(pem::CERTIFICATE, &pair.certificate, &mut bundle);
                // Of all that are trusted, whether they sign, have their key here or are used: it may turn up in a payload.
                let certificate =
                    CaCertificate::parse(&pair.certificate).map_err(|error| OpenError::Ca { ca, error })?;
                keys.insert(Sha256::of(&certificate.spki), KeyId::Ca(ca));
            }
            bundles.insert(ca, Value::new(Secret::new(bundle)));
            if !table::is_used(ca, cluster) {
                continue;
            }
            let first = pairs.first().expect("secrets hold a certificate of every CA");
            let Some(key) = &first.key else {
                let outside = CaCertificate::parse(&first.certificate).map_err(|error| OpenError::Ca { ca, error })?;
                ca_validity.not_before = ca_validity.not_before.max(outside.validity.not_before);
                ca_validity.not_after = ca_validity.not_after.min(outside.validity.not_after);
                continue;
            };
            let signer = Signer::open(&first.certificate, key.clone()).map_err(|error| OpenError::Ca { ca, error })?;
            let life = signer.validity();
            lives::within(ca, life, secrets.renewed_at, validity)?;
            ca_validity.not_before = ca_validity.not_before.max(life.not_before);
            ca_validity.not_after = ca_validity.not_after.min(life.not_after);
            signers.insert(ca, signer);
        }
        let lacking = Outside::open(secrets, cluster)?.lacking(secrets)?;
        if !lacking.is_empty() {
            return Err(OpenError::External(lacking));
        }
        keys.insert(secrets.service_account.spki_sha256(), KeyId::ServiceAccount);
        let external_etcd = cluster.external_etcd.as_ref();
        let external_etcd = external_etcd.map(|given| ExternalEtcd::read(given, &secrets.authorities)).transpose()?;
        if let Some(spki) = external_etcd.as_ref().and_then(ExternalEtcd::spki) {
            // A key of the cluster's own stays what it is.
            keys.entry(spki).or_insert(KeyId::ExternalEtcd);
        }
        let shared = shared_values(secrets, &signers, &bundles);
        let tokens: BTreeMap<NodeName, OpenToken> = table::tokens(cluster)
            .filter_map(|(owner, ttl)| {
                let token = secrets.token(owner)?;
                Some((owner.clone(), OpenToken { token: token.clone(), end: token.end(ttl) }))
            })
            .collect();
        let encryption: Vec<Secret> = secrets.encryption.iter().map(|key| key.key.clone()).collect();
        let needles = Needles::new(
            ((0..).map(KeyId::Encryption).zip(&encryption))
                .chain(tokens.iter().map(|(owner, open)| (KeyId::Token(owner.clone()), &open.token.secret)))
                .map(|(id, secret)| (id, secret.expose())),
        );
        let mut authority = Self {
            signers,
            bundles,
            keyring: Keyring::new(secrets, cluster),
            given: (secrets.certificates.iter())
                .filter(|((_, _, generation), _)| *generation == secrets.generation)
                .map(|((row, node, _), der)| ((*row, node.clone()), der.clone()))
                .collect(),
            generation: secrets.generation,
            validity,
            ca_validity,
            shared,
            leaves: BTreeMap::new(),
            keys,
            nodes: cluster.payloads().map(|node| node.name.clone()).collect(),
            node_keys: OnceLock::new(),
            tokens,
            external_etcd,
            needles,
            encryption,
            large: Mutex::new(BTreeMap::new()),
        };
        for (row, _) in table::leaves(cluster).into_iter().filter(|(_, node)| node.is_none()) {
            let issued = authority.issue(&table::leaf(row, cluster, None))?;
            authority.keys.insert(issued.spki, KeyId::Leaf(row, None));
            authority.leaves.insert(row, issued);
        }
        Ok(authority)
    }

    /// Certificates of `ca` that are trusted, PEM, the signing one first.
    pub fn bundle(&self, ca: Ca) -> &str {
        std::str::from_utf8(self.bundles[&ca].bytes.expose()).expect("PEM is ASCII")
    }

    /// The CA that signs.
    #[cfg(test)]
    pub(crate) fn signer(&self, ca: Ca) -> &Signer {
        &self.signers[&ca]
    }

    /// The generation of the leaves.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The validity of every leaf.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Latest notBefore and earliest notAfter of the CAs that sign.
    pub(crate) fn ca_validity(&self) -> Validity {
        self.ca_validity
    }

    /// The key whose public half (SubjectPublicKeyInfo) has this digest, if it is a CA's, the service account's or a
    /// shared leaf's. A node's own are known to who filled it: [`crate::pki::Filled::keys`].
    pub fn identify(&self, spki: &Sha256) -> Option<KeyId> {
        self.keys.get(spki).cloned()
    }

    /// The same for any node's own: for a key that turned up where it was not put. Slow the first time, when the keys of all
    /// nodes are made.
    pub fn identify_nodes_own(&self, spki: &Sha256) -> Option<KeyId> {
        self.node_keys().get(spki).cloned()
    }

    fn node_keys(&self) -> &BTreeMap<Sha256, KeyId> {
        self.node_keys.get_or_init(|| {
            let own = |spec: &'static Spec| {
                // Nodes have only the leaves of their duties: where a key is kept there may be none.
                let key = |node: &NodeName| self.keyring.key(spec, Some(node)).ok().map(|key| key.spki_sha256());
                let nodes = self.nodes.iter();
                nodes.filter_map(move |node| Some((key(node)?, KeyId::Leaf(spec.row, Some(node.clone())))))
            };
            TABLE.iter().filter(|spec| spec.scope == Scope::Node).flat_map(own).collect()
        })
    }

    /// Symmetric keys and bootstrap tokens' secret halves: no public half tells them.
    pub fn symmetric_keys(&self) -> Vec<(KeyId, &[u8])> {
        let tokens = self.tokens.iter().map(|(owner, open)| (KeyId::Token(owner.clone()), open.token.secret.expose()));
        let encryption = (0..).map(KeyId::Encryption).zip(self.encryption.iter().map(Secret::expose));
        encryption.chain(tokens).collect()
    }

    /// The same, to be searched for.
    pub fn needles(&self) -> &Needles {
        &self.needles
    }

    /// The user's own files for etcd.external.
    pub(crate) fn external_etcd(&self) -> Option<&ExternalEtcd> {
        self.external_etcd.as_ref()
    }

    /// The bootstrap token of a pool or node.
    pub(crate) fn token(&self, owner: &NodeName) -> Result<&OpenToken, IssueError> {
        self.tokens.get(owner).ok_or_else(|| IssueError::Token(owner.clone()))
    }

    /// Digest of all that drafts are filled in with but for what single nodes get: that comes from the secrets and the
    /// drafts alone.
    pub fn fingerprint(&self) -> Sha256 {
        // What is left out stands in the secrets as it is.
        let Self {
            signers: _,
            bundles,
            keyring: Keyring { deriver: _, kept: _, algorithms },
            given: _,
            generation,
            validity,
            ca_validity,
            shared,
            leaves,
            keys: _,
            tokens,
            needles: _,
            encryption: _,
            large: _,
            nodes: _,
            node_keys: _,
            external_etcd,
        } = self;
        let external_etcd = external_etcd.as_ref().map(ExternalEtcd::digest);
        let mut text = format!("{generation} {validity:?} {ca_validity:?} {algorithms:?} {external_etcd:?}");
        for (name, digest) in bundles.iter().map(|(ca, value)| (format!("{ca:?}"), value.sha256)) {
            text.push_str(&format!("\n{name} {digest}"));
        }
        for (shared, value) in shared {
            text.push_str(&format!("\n{shared:?} {}", value.value.sha256));
        }
        for (row, issued) in leaves {
            text.push_str(&format!("\n{row:?} {} {}", issued.certificate.sha256, issued.key.sha256));
        }
        for (name, token) in tokens {
            text.push_str(&format!("\n{name} {} {} {:?}", token.token.id, token.sha256(), token.end));
        }
        Sha256::of(text.as_bytes())
    }

    /// The name under which `node`'s configuration with this digest is published.
    pub fn served_name(&self, node: &NodeName, digest: &Sha256) -> String {
        self.keyring.deriver.served_name(node, digest)
    }

    /// Every key of the cluster but those of single nodes.
    pub fn key_ids(&self) -> Vec<KeyId> {
        let mut ids: Vec<_> = Ca::ALL.map(KeyId::Ca).into();
        ids.push(KeyId::ServiceAccount);
        ids.extend((0..).map(KeyId::Encryption).zip(&self.encryption).map(|(id, _)| id));
        ids.extend(self.leaves.keys().map(|&row| KeyId::Leaf(row, None)));
        ids.extend(self.tokens.keys().cloned().map(KeyId::Token));
        ids.extend(self.external_etcd.as_ref().and_then(ExternalEtcd::spki).map(|_| KeyId::ExternalEtcd));
        ids.sort();
        ids
    }

    /// Appends a part of a template; `issue` makes leaves, so that a caller can keep what it made.
    pub(crate) fn append<E: From<IssueError>>(
        &self,
        part: &Part,
        out: &mut Vec<u8>,
        issue: &mut dyn FnMut(&Leaf) -> Result<Issued, E>,
    ) -> Result<(), E> {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Base64(shared) => out.extend_from_slice(self.shared(*shared).base64.expose()),
            Part::LeafBase64(leaf, form) => {
                let base64 = Secret::from(STANDARD.encode(issue(leaf)?.form(*form).bytes.expose()));
                out.extend_from_slice(base64.expose());
            }
            Part::Token(owner, form) => out.extend_from_slice(self.token_form(owner, *form)?.expose()),
            Part::TokenBase64(owner, form) => {
                let base64 = Secret::from(STANDARD.encode(self.token_form(owner, *form)?.expose()));
                out.extend_from_slice(base64.expose());
            }
        }
        Ok(())
    }

    fn token_form(&self, owner: &NodeName, form: TokenForm) -> Result<Secret, IssueError> {
        self.token(owner)?.form(form).ok_or_else(|| IssueError::Token(owner.clone()))
    }

    /// Whether the secrets have this value: a draft that was planned for others may ask for one that they lack.
    pub(crate) fn has(&self, shared: Shared) -> bool {
        self.shared.contains_key(&shared)
    }

    pub(crate) fn shared(&self, shared: Shared) -> &SharedValue {
        &self.shared[&shared]
    }

    /// Issues `leaf`: one that nodes share was made when the authority was opened.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub(crate) fn issue(&self, leaf: &Leaf) -> Result<Issued, IssueError> {
        let spec = table::spec(leaf.row);
        let common_name = keyring::common_name(leaf)?;
        if leaf.sans.is_empty()
            && let Some(issued) = self.leaves.get(&leaf.row)
        {
            return Ok(issued.clone());
        }
        let key = self.keyring.key(spec, leaf.node.as_ref())?;
        let (der, validity) = match self.signers.get(&spec.issuer) {
            Some(signer) => {
                // Not before its CA: one that is imported may be younger than the leaves are backdated.
                let not_before = self.validity.not_before.max(signer.validity().not_before);
                let validity = Validity { not_before, ..self.validity };
                let issued = signer.issue(&keyring::subject(leaf, &common_name), &key, validity);
                (issued.map_err(|error| IssueError::Certificate(spec.name, error))?, validity)
            }
            None => self.given(leaf).ok_or(IssueError::Unused(spec.name))?,
        };
        Ok(Issued {
            certificate: Value::new(pem::encode_secret(pem::CERTIFICATE, &der)),
            key: Value::new(key.private_pem()),
            spki: key.spki_sha256(),
            validity,
        })
    }

    /// A certificate that a CA elsewhere has signed, and its span.
    fn given(&self, leaf: &Leaf) -> Option<(Vec<u8>, Validity)> {
        let der = self.given.get(&(leaf.row, leaf.node.clone()))?;
        let validity = certificate::validity(der)?;
        Some((der.clone(), validity))
    }

    /// `bytes` as contents: large ones are copied once, however many nodes have them.
    pub(crate) fn intern(&self, Blob { sha256, bytes }: &Blob) -> Value {
        let value = || Value { sha256: *sha256, bytes: Arc::new(Secret::new(bytes.to_vec())) };
        if bytes.len() < LARGE {
            return value();
        }
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let entry =
            large.entry(bytes.as_ptr() as usize).or_insert_with(|| Interned { _bytes: bytes.clone(), value: value() });
        entry.value.clone()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority(generation {})", self.generation)
    }
}
