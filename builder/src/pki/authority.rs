//! [`Authority`]: the secrets of a cluster, opened: it issues leaves and knows every key that is not a node's own.

use crate::{
    component::{apiserver, haproxy},
    config::{Cluster, LoadBalancer},
    draft::{Blob, Leaf, LeafForm, Part, Row, Shared, TokenForm},
    pki::{
        certificate::{self, CaCertificate, CaError, CertificateError, Signer, Validity},
        external::{ExternalEtcd, ExternalEtcdError},
        key::KeyPair,
        keyring::{self, Keyring},
        kubeconfig::{self, Credentials},
        outside::{Lacking, Outside, OutsideError},
        pem,
        scan::Needles,
        table::{self, Ca, CommonName, KeyId, Scope, Spec, TABLE},
    },
    secrets::{Secrets, Token},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{Endpoint, NodeName, Role, Secret, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Why an authority was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A CA that [`Secrets::parse`] would have refused.
    #[error("the {} CA's certificate {error}", .ca.name())]
    Ca {
        /// Which.
        ca: Ca,
        /// Why.
        error: CaError,
    },
    /// certificateValidityPeriod leads past what a certificate can say, or not up to the CA.
    #[error("certificateValidityPeriod: leaves would end past the year 9999, or before their CA begins")]
    Validity,
    /// Leaves that nobody would trust to their end.
    #[error(
        "certificateValidityPeriod: leaves would end {}, after the {} CA's certificate, which ends {}; set it to at most \
         {}h, or make another CA (`nodekiln secrets rotate-ca`)",
        date(*.leaf), .ca.name(), date(*.end), .end.saturating_sub(*.start).max(0) / 3600
    )]
    OutlivesCa {
        /// Which CA.
        ca: Ca,
        /// The time that leaves count from.
        start: i64,
        /// notAfter of leaves.
        leaf: i64,
        /// notAfter of the CA.
        end: i64,
    },
    /// CAs that sign elsewhere, and have not signed all that they have to. Displayed one to a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    External(Vec<Lacking>),
    /// See [`OutsideError`].
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The user's own files for etcd.
    #[error(transparent)]
    ExternalEtcd(#[from] ExternalEtcdError),
    /// A shared leaf could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Why a leaf was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A leaf of a per-node row for no node, or the other way round.
    #[error("the certificate `{0}` is made {1}")]
    Scope(&'static str, &'static str),
    /// See [`CertificateError`].
    #[error("issuing the certificate `{0}`")]
    Certificate(&'static str, #[source] CertificateError),
    /// An RSA key that the secrets lack.
    #[error("there is no key for the certificate `{0}`: it is RSA, and the secrets keep none for it")]
    NoKey(&'static str),
    /// A certificate of a CA that the cluster does not use.
    #[error("the certificate `{0}` has no use in this cluster: its CA is somebody else's")]
    Unused(&'static str),
    /// A value that the secrets lack: the draft was planned for others.
    #[error("the secrets have no {0:?}, which the draft asks for")]
    NoValue(Shared),
    /// A token that the secrets lack, or an end of one that never ends.
    #[error("there is no bootstrap token for `{0}`, or it never ends where an end is asked for")]
    Token(NodeName),
}

fn date(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| seconds.to_string(), |at| at.date().to_string())
}

/// Bytes with their digest, shared between nodes.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) bytes: Arc<Secret>,
    pub(crate) sha256: Sha256,
}

impl Value {
    pub(crate) fn new(bytes: Secret) -> Self {
        Self { sha256: Sha256::of(bytes.expose()), bytes: Arc::new(bytes) }
    }
}

/// A leaf in its three forms.
#[derive(Clone)]
pub(crate) struct Issued {
    certificate: Value,
    key: Value,
    /// Digest of the public half.
    pub(crate) spki: Sha256,
    /// Its span.
    pub(crate) validity: Validity,
}

impl Issued {
    pub(crate) fn form(&self, form: LeafForm) -> Value {
        match form {
            LeafForm::Certificate => self.certificate.clone(),
            LeafForm::Key => self.key.clone(),
            LeafForm::Both => {
                let (certificate, key) = (self.certificate.bytes.expose(), self.key.bytes.expose());
                Value::new(Secret::new([certificate, key].concat()))
            }
        }
    }
}

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
    _bytes: Arc<[u8]>,
    value: Value,
}

pub(crate) struct SharedValue {
    pub(crate) value: Value,
    pub(crate) base64: Secret,
    /// Digest of the public half, for keys; of the key itself for the encryption key.
    pub(crate) key: Option<Sha256>,
}

/// A bootstrap token with the end that cluster.yaml gives it.
pub(crate) struct OpenToken {
    token: Token,
    /// Seconds since the Unix epoch.
    pub(crate) end: Option<i64>,
}

impl OpenToken {
    /// Digest of the secret half: how it is named in `placement.json`.
    pub(crate) fn sha256(&self) -> Sha256 {
        Sha256::of(self.token.secret.expose())
    }

    fn form(&self, form: TokenForm) -> Option<Secret> {
        Some(match form {
            TokenForm::Id => Secret::from(self.token.id.clone()),
            TokenForm::Secret => self.token.secret.clone(),
            TokenForm::Whole => self.token.whole(),
            TokenForm::End => {
                let end = time::OffsetDateTime::from_unix_timestamp(self.end?).ok()?;
                Secret::from(end.format(&time::format_description::well_known::Rfc3339).ok()?)
            }
        })
    }
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
            let end = signer.validity().not_after;
            if validity.not_after <= signer.validity().not_before {
                return Err(OpenError::Validity);
            }
            if validity.not_after > end {
                return Err(OpenError::OutlivesCa { ca, start: secrets.renewed_at, leaf: validity.not_after, end });
            }
            ca_validity.not_before = ca_validity.not_before.max(signer.validity().not_before);
            ca_validity.not_after = ca_validity.not_after.min(end);
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

    /// `admin.conf` and `super-admin.conf`, for the output.
    ///
    /// # Errors
    /// None in practice: their leaves were issued already.
    pub fn admin_kubeconfigs(&self, cluster: &Cluster) -> Result<[(&'static str, Secret); 2], IssueError> {
        let file = |row| {
            let spec = table::spec(row);
            let CommonName::Fixed(user) = spec.common_name else {
                return Err(IssueError::Scope(spec.name, "for a node"));
            };
            let credentials = Credentials::Embedded(table::leaf(row, cluster, None));
            let mut out = Vec::with_capacity(8192);
            for part in kubeconfig::contexts(&admin_servers(cluster), user, credentials) {
                self.append(&part, &mut out, &mut |leaf| self.issue(leaf))?;
            }
            Ok((spec.name, Secret::new(out)))
        };
        Ok([file(Row::Admin)?, file(Row::SuperAdmin)?])
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
        let entry = large
            .entry(bytes.as_ptr() as usize)
            .or_insert_with(|| Interned { _bytes: Arc::clone(bytes), value: value() });
        entry.value.clone()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority(generation {})", self.generation)
    }
}

fn shared_values(
    secrets: &Secrets,
    signers: &BTreeMap<Ca, Signer>,
    bundles: &BTreeMap<Ca, Value>,
) -> BTreeMap<Shared, SharedValue> {
    let ca_key = signers.get(&Ca::Kubernetes).map(|signer| (Shared::CaKey, signer.key()));
    let service_account = &secrets.service_account;
    let encryption = (0..)
        .map(Shared::EncryptionKey)
        .zip(&secrets.encryption)
        .map(|(shared, key)| (shared, (Value::new(key.key.clone()), Some(Sha256::of(key.key.expose())))));
    let public = |key: &KeyPair| Value::new(key.public_pem());
    let private = |key: &KeyPair| (Value::new(key.private_pem()), Some(key.spki_sha256()));
    [
        (Shared::Ca, (bundles[&Ca::Kubernetes].clone(), None)),
        (Shared::FrontProxyCa, (bundles[&Ca::FrontProxy].clone(), None)),
        (Shared::EtcdCa, (bundles[&Ca::Etcd].clone(), None)),
        (Shared::ServiceAccountKey, private(service_account)),
        (Shared::ServiceAccountPublicKey, (public(service_account), None)),
    ]
    .into_iter()
    .chain(encryption)
    .chain(ca_key.map(|(shared, key)| (shared, private(key))))
    .map(|(shared, (value, key))| {
        let base64 = Secret::from(STANDARD.encode(value.bytes.expose()));
        (shared, SharedValue { value, base64, key })
    })
    .collect()
}
/// What the administrator's machine is told, (name of the cluster, server). Where every node has a balancer of its own,
/// an administrator has none: each control plane gets a context.
fn admin_servers(cluster: &Cluster) -> Vec<(String, Endpoint)> {
    let name = cluster.name.to_string();
    if cluster.load_balancer != LoadBalancer::Local {
        return vec![(name, cluster.endpoint.clone())];
    }
    let own: Vec<_> = cluster
        .with_role(Role::ControlPlane)
        .map(|node| (format!("{name}-{}", node.name), Endpoint::at(node.address(), apiserver::PORT)))
        .collect();
    let is_another = |server: &Endpoint| *server != haproxy::endpoint() && own.iter().all(|(_, known)| known != server);
    let given = Some((name, cluster.endpoint.clone())).filter(|(_, server)| is_another(server));
    given.into_iter().chain(own.iter().cloned()).collect()
}
