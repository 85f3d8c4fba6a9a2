//! Tokens, and what users bring of their own.

use super::*;

/// A pool's token is on its payload and, until firstboot has finished, on control planes; its end is the payload's.
#[test]
fn tokens() {
    use crate::{
        config::{Cluster, NodeIdentity, NodeKind},
        draft::TokenForm,
        pki::{Authority, IssueError, table::Holder},
    };
    let mut cluster: Cluster = fixture::cluster();
    let mut pool = cluster.nodes[3].clone();
    pool.name = "pool".parse().unwrap();
    pool.kind = NodeKind::Pool;
    pool.identity = NodeIdentity::BootstrapToken { ttl: Some(DAY) };
    cluster.pools = vec![pool];
    cluster.nodes[3].identity = NodeIdentity::BootstrapToken { ttl: None };
    let [pool, worker] = ["pool", "w1"].map(|name| name.parse::<nodekiln_plan::NodeName>().unwrap());
    let mut secrets = secrets::tests::fixture(1);
    let lacking = Authority::open(&secrets, &cluster).unwrap();
    assert!(secrets.complete(&cluster, NOW + DAY, secrets::tests::fixed_random(3)).unwrap());
    assert!(!secrets.complete(&cluster, NOW + 2 * DAY, secrets::tests::fixed_random(4)).unwrap());
    let authority = Authority::open(&secrets, &cluster).unwrap();

    let bootstrap = |owner: &nodekiln_plan::NodeName, mode| {
        let parts = vec![Part::Text("token: ".into()), Part::Token(owner.clone(), TokenForm::Whole)];
        file("/var/lib/nodekiln/stage/bootstrap.conf", mode, FileKind::Credential, Contents::Template(parts))
    };
    let draft = |name: &nodekiln_plan::NodeName, owner: &nodekiln_plan::NodeName, mode| {
        let mut draft = fixture::draft(&cluster, "w1");
        draft.spec.node = name.clone();
        draft.holder = Holder { name: name.clone(), duties: vec![Duty::Token] };
        draft.files = vec![bootstrap(owner, mode)];
        draft
    };
    let filled = |owner: &nodekiln_plan::NodeName| fill(&authority, &draft(owner, owner, Mode::PRIVATE)).unwrap();
    let token = secrets.token(&pool).unwrap();
    let conf = filled(&pool);
    let text = contents(&conf, "/var/lib/nodekiln/stage/bootstrap.conf");
    assert!(text.starts_with(&format!("token: {}.", token.id())) && text.len() == "token: ".len() + 23, "{text}");
    assert_eq!(key_names(&conf), ["bootstrap-token/pool"]);
    assert_eq!(conf.identity.boot_before, NOW + 2 * DAY);
    // A token without end: the CAs' end is the payload's.
    assert_eq!(filled(&worker).identity.boot_before, authority.ca_validity().not_after);

    // Nobody else's, and nothing that others could read.
    let error = fill(&authority, &draft(&worker, &pool, Mode::PRIVATE)).unwrap_err();
    let placed = "/var/lib/nodekiln/stage/bootstrap.conf: this node must not hold the key `bootstrap-token/pool`";
    assert_eq!(error.to_string(), placed);
    let error = fill(&authority, &draft(&pool, &pool, Mode::PUBLIC)).unwrap_err();
    assert!(matches!(error, FillError::Mode { .. }), "{error}");
    let error = fill(&lacking, &draft(&pool, &pool, Mode::PRIVATE)).unwrap_err();
    assert!(matches!(&error, FillError::Issue(IssueError::Token(owner)) if *owner == pool), "{error}");

    // On a control plane it may stand among the API objects, and nowhere else.
    let text = |text: &str| Part::Text(text.into());
    let object = |end| {
        DraftStep::Template(vec![
            text(r#"{"apply":{"kind":"Secret","name":"bootstrap-token-"#),
            Part::Token(pool.clone(), TokenForm::Id),
            text(r#"","data":""#),
            Part::TokenBase64(pool.clone(), TokenForm::Secret),
            text(r#"","end":""#),
            end,
            text("\"}}"),
        ])
    };
    let mut control_plane = fixture::draft(&cluster, "cp1");
    control_plane.api = vec![object(Part::Token(pool.clone(), TokenForm::End))];
    let told = fill(&authority, &control_plane).unwrap();
    assert!(key_names(&told).contains(&"bootstrap-token/pool".to_owned()));
    assert_eq!(told.identity.boot_before, NOW + YEAR, "it does not authenticate with it");
    let ApiStep::Apply(object_told) = serde_json::from_str(contents(&told, paths::API_OBJECTS).trim()).unwrap() else {
        panic!()
    };
    assert_eq!(object_told["name"], format!("bootstrap-token-{}", token.id()));
    assert_eq!(object_told["end"], "2026-02-02T12:00:00Z");
    let found = crate::pki::scan::search(contents(&told, paths::API_OBJECTS).as_bytes(), authority.needles());
    assert_eq!(found, (vec![], vec![KeyId::Token(pool.clone())]));

    control_plane.api = vec![object(Part::Token(worker.clone(), TokenForm::End))];
    assert!(matches!(fill(&authority, &control_plane), Err(FillError::Issue(IssueError::Token(_)))), "it has no end");
    control_plane.api = vec![];
    control_plane.files = vec![bootstrap(&pool, Mode::PRIVATE)];
    assert!(matches!(fill(&authority, &control_plane), Err(FillError::Placement { .. })));
    // The pool's own is erased too.
    let mut kept = draft(&pool, &pool, Mode::PRIVATE);
    kept.files[0].kind = FileKind::Laid;
    assert!(matches!(fill(&authority, &kept), Err(FillError::Custody { .. })));
    let mut other = draft(&pool, &pool, Mode::PRIVATE);
    other.api = vec![object(text("x"))];
    assert!(matches!(fill(&authority, &other), Err(FillError::Placement { .. })), "pools tell nobody");
}

/// The user's own key for etcd is placed as ours would be, told as the user's, and its certificate bounds the payload.
#[test]
fn the_users_own_files_for_etcd() {
    use crate::{
        config::{ExternalEtcd, InputFile, NodeFile},
        pki::{Authority, ExternalEtcdError, OpenError, table::Usage},
    };
    let other = Authority::open(&secrets::tests::fixture(2), &fixture::cluster()).unwrap();
    let key = crate::pki::key::tests::rsa_fixture();
    let subject =
        crate::pki::certificate::Subject { common_name: "theirs", organization: None, sans: &[], usage: Usage::Client };
    let validity = crate::pki::certificate::Validity::starting(NOW + 2 * DAY, 3 * DAY).unwrap();
    let certificate = other.signer(Ca::Etcd).issue(&subject, &key, validity).unwrap();
    let certificate = crate::pki::pem::encode_secret("CERTIFICATE", &certificate);
    let input = |bytes: &[u8]| Some(NodeFile::Input(InputFile { path: "x".into(), bytes: bytes.into() }));
    let with = |cert, key| {
        let mut cluster = fixture::cluster();
        cluster.external_etcd = Some(ExternalEtcd { endpoints: vec![], ca: None, cert, key });
        cluster
    };
    let pkcs1: &[u8] = include_bytes!("../../key/fixtures/rsa-pkcs1.pem");
    let cluster = with(input(certificate.expose()), input(pkcs1));
    let authority = Authority::open(&secrets::tests::fixture(1), &cluster).unwrap();
    let bytes = |file: &Option<NodeFile>| match file {
        Some(NodeFile::Input(file)) => Contents::Bytes(crate::draft::Blob::of(file.bytes.clone())),
        _ => panic!(),
    };
    let external = cluster.external_etcd.as_ref().unwrap();
    let (path, private) = ("/etc/kubernetes/pki/apiserver-etcd-client.key", Mode::PRIVATE);
    let draft = |name: &str, mode| {
        let mut draft = fixture::draft(&cluster, name);
        let keep = |file: &crate::draft::DraftFile| !matches!(&file.contents, Contents::Leaf(leaf, _) if table::spec(leaf.row).issuer == Ca::Etcd);
        draft.files.retain(keep);
        fixture::with_class(&mut draft, |class| class.files.retain(keep));
        draft.files.push(file(path, mode, FileKind::Laid, bytes(&external.key)));
        draft.files.push(file("/etc/kubernetes/pki/x.crt", mode, FileKind::Laid, bytes(&external.cert)));
        draft
    };
    let filled = fill(&authority, &draft("cp1", private)).unwrap();
    assert!(filled.keys.contains(&(KeyId::ExternalEtcd, key.spki_sha256())));
    assert_eq!(filled.identity.boot_before, NOW + 5 * DAY);
    // It was made after the cluster's own, and is backdated as they are.
    assert_eq!(filled.identity.not_before, NOW + DAY);
    assert_eq!(authority.identify(&key.spki_sha256()), Some(KeyId::ExternalEtcd));
    assert!(authority.key_ids().contains(&KeyId::ExternalEtcd));
    // Nothing of our own etcd is issued.
    assert!(!authority.key_ids().contains(&KeyId::Leaf(Row::ApiServerEtcdClient, None)));
    let leaf = table::leaf(Row::ApiServerEtcdClient, &cluster, None);
    assert!(matches!(authority.issue(&leaf), Err(IssueError::Unused("apiserver-etcd-client"))));
    assert!(matches!(fill(&authority, &draft("cp1", Mode::PUBLIC)), Err(FillError::Mode { .. })));
    let Err(error @ FillError::Placement { .. }) = fill(&authority, &draft("w1", private)) else { panic!() };
    assert_eq!(error.to_string(), format!("{path}: this node must not hold the key `etcd.external.keyFile`"));

    let open = |cert, key| match Authority::open(&secrets::tests::fixture(1), &with(cert, key)).err() {
        Some(OpenError::ExternalEtcd(error)) => Some(error),
        other => panic!("{other:?}"),
    };
    let encrypted: &[u8] = include_bytes!("../../key/fixtures/p256-encrypted.pem");
    let p256: &[u8] = include_bytes!("../../key/fixtures/p256-sec1.pem");
    let good = || input(certificate.expose());
    assert_eq!(open(good(), input(b"x")), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(encrypted)), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(&[pkcs1, p256].concat())), Some(ExternalEtcdError::Key));
    assert_eq!(open(good(), input(p256)), Some(ExternalEtcdError::OtherKey));
    assert_eq!(open(input(b"x"), input(pkcs1)), Some(ExternalEtcdError::Certificate));
    // A key of the cluster's own stays what it is, whoever names it.
    let ca_key = secrets::tests::fixture(1).authorities[&Ca::Kubernetes][0].key.clone().unwrap();
    let authority =
        Authority::open(&secrets::tests::fixture(1), &with(None, input(ca_key.private_pem().expose()))).unwrap();
    assert_eq!(authority.identify(&ca_key.spki_sha256()), Some(KeyId::Ca(Ca::Kubernetes)));
}
