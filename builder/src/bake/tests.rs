//! Tests of baking: pointers, budgets, keys where they must not be, and what a payload's key depends on.

use super::*;
use crate::{
    config::{OsUnit, Platform, User},
    draft::Shared,
    node::{fixture, plan},
    pki::fixture::authority,
};

fn cluster() -> Cluster {
    let mut cluster = fixture::cluster("flatcar", &["cp1"]);
    let base_url = Some("https://192.0.2.1/x".to_owned());
    cluster.delivery = Delivery { mode: DeliveryMode::Pointer, base_url, ca: Some(fixture::input("ca.pem", b"CA")) };
    cluster
}

fn bake(cluster: &Cluster) -> Result<Baked, BakeError> {
    let node = &cluster.nodes[0];
    let draft = plan(cluster, node, &fixture::sources()).unwrap();
    let oven = Oven::new(cluster, authority(), Sha256::of(b""), true);
    oven.bake(node, &draft, oven.key(node, &draft)?)
}

#[test]
fn a_pointer_finds_what_is_served() {
    let baked = bake(&cluster()).unwrap();
    let file = |role| baked.files.iter().find(|file| file.role == role).unwrap();
    let (stub, served) = (file(FileRole::Payload), file(FileRole::Served));
    assert_eq!(stub.path, "nodes/cp1/pointer.ign");
    let pointer = Pointer::decode(stub.bytes.expose()).unwrap();
    let name = served.path.strip_prefix("serve/").unwrap();
    assert_eq!(pointer.source, format!("https://192.0.2.1/x/{name}"));
    assert!(name.len() == 68 && name.ends_with(".ign"), "{name}");
    let config = Artifact { name: "config.ign", bytes: served.bytes.as_ref().clone() };
    assert!(pointer.matches(&config) && pointer.ca.as_deref() == Some(b"CA"));
    // All keys are in what is served, and are counted as the node's.
    assert!(String::from_utf8_lossy(config.bytes.expose()).contains("/etc/kubernetes/pki/ca.key"));
    assert!(baked.holdings.iter().any(|holding| &*holding.key == "ca"));
    // No other configuration of the node is given out.
    assert_eq!(baked.files.iter().filter(|file| file.path.ends_with(".ign")).count(), 2);
}

#[test]
fn a_pointer_fits_where_its_configuration_does_not() {
    let mut cluster = cluster();
    cluster.nodes[0].os.platform = Platform::Aws;
    assert!(bake(&cluster).is_ok());
    cluster.delivery.mode = DeliveryMode::Inline;
    let Err(error @ BakeError::Budget { .. }) = bake(&cluster) else { panic!("no budget") };
    assert_eq!(error.node().map(NodeName::as_str), Some("cp1"));
}

/// What is one node's own of its plan is compressed only where a platform cuts off.
#[test]
fn size_counts_where_a_platform_has_a_limit() {
    let size = |platform| {
        let mut cluster = cluster();
        cluster.nodes.swap(0, 1);
        cluster.nodes[0].os.platform = platform;
        let files = bake(&cluster).unwrap().files;
        files.iter().find(|file| file.role == FileRole::Served).unwrap().bytes.expose().len()
    };
    let (cut_off, metal) = (size(Platform::Aws), size(Platform::Metal));
    assert!(cut_off + 500 < metal, "{cut_off} {metal}");
}

/// What is advised is not refused, and is not what is there already.
#[test]
fn advice_is_of_use() {
    let base_url = Some("https://192.0.2.1".to_owned());
    for (format, base_url, mode, says, never) in [
        (Format::Ignition, None, DeliveryMode::Inline, "baseURL", "cidata"),
        (Format::Ignition, base_url.clone(), DeliveryMode::Inline, "pointer", "baseURL"),
        (Format::Ignition, base_url.clone(), DeliveryMode::Pointer, "caFile", "baseURL"),
        (Format::CloudInit, None, DeliveryMode::Inline, "baseURL", "pointer"),
        (Format::CloudInit, base_url, DeliveryMode::Inline, "cidata", "baseURL"),
    ] {
        let advice = smaller(&Delivery { mode, base_url, ca: None }, format);
        assert!(advice.contains(says) && !advice.contains(never), "{format:?} {mode:?}: {advice}");
    }
}

/// A unit is searched as files are: its text is in the payload too.
#[test]
fn no_key_hides_in_a_unit() {
    let mut cluster = cluster();
    cluster.nodes.swap(0, 1);
    let key = authority().shared(Shared::CaKey).value.bytes.expose();
    let text = format!("[Service]\nEnvironment=KEY={}\n", String::from_utf8_lossy(key).replace('\n', "\\n"));
    let dropins = vec![("key.conf".to_owned(), text)];
    let unit = OsUnit { name: "x.service".parse().unwrap(), enabled: false, content: None, dropins };
    cluster.nodes[0].os.units = vec![unit.into()];
    let Err(BakeError::Placement(violations)) = bake(&cluster) else { panic!("it was not found") };
    assert_eq!(violations[0].to_string(), "w1: x.service holds the key `ca`, which this node must not have");
}

fn with_snippet(text: String) -> Cluster {
    let mut cluster = cluster();
    cluster.nodes.swap(0, 1);
    cluster.nodes[0].os.snippets = vec![fixture::input("a.ign", text.as_bytes())];
    cluster
}

fn file_snippet(contents: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let source = format!("data:text/plain;base64,{}", STANDARD.encode(contents));
    serde_json::json!({
        "ignition": {"version": "3.3.0"},
        "storage": {"files": [{"path": "/etc/mine", "contents": {"source": source}}]},
    })
    .to_string()
}

/// A snippet is searched as files are, packed contents too; keys of the user's own are the user's affair.
#[test]
fn no_key_hides_in_a_snippet() {
    let key = authority().shared(Shared::CaKey).value.bytes.expose();
    let Err(BakeError::Placement(violations)) = bake(&with_snippet(file_snippet(key))) else {
        panic!("it was not found")
    };
    assert_eq!(
        violations[0].to_string(),
        "w1: os.snippets: storage.files[0].contents.source holds the key `ca`, which this node must not have"
    );
    let own = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert!(bake(&with_snippet(file_snippet(own.as_bytes()))).is_ok());
}

#[test]
fn a_snippet_counts_in_the_key() {
    let key = |text: String| bake(&with_snippet(text)).unwrap().row.key;
    let keys = [key(file_snippet(b"a")), key(file_snippet(b"b")), {
        let mut cluster = cluster();
        cluster.nodes.swap(0, 1);
        bake(&cluster).unwrap().row.key
    }];
    assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
}

/// A user's Secret may hold a key of the user's, but none that this node must not have.
#[test]
fn keys_in_manifests() {
    use crate::{config::ManifestObject, pki::Ca};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let own = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let secrets = crate::secrets::tests::fixture(1);
    let etcd = String::from_utf8_lossy(secrets.authorities[&Ca::Etcd][0].key.as_ref().unwrap().private_pem().expose())
        .into_owned();
    for (pem, refused) in [(own, None), (etcd, Some("api.ndjson holds the key `etcd-ca`"))] {
        for value in [
            serde_json::json!({"data": {"tls.key": STANDARD.encode(&pem)}}),
            serde_json::json!({"stringData": {"tls.key": pem}}),
        ] {
            let mut cluster = cluster();
            let mut value = value;
            value["apiVersion"] = "v1".into();
            value["kind"] = "Secret".into();
            value["metadata"] = serde_json::json!({"name": "tls"});
            cluster.manifests = vec![ManifestObject { path: "s.yaml".to_owned(), value }];
            match (bake(&cluster), refused) {
                (Ok(_), None) => {}
                (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{error}"),
                (Ok(_), Some(why)) => panic!("not found: {why}"),
                (Err(error), None) => panic!("{error}"),
            }
        }
    }
}

/// The key is what an unchanged payload is known by.
#[test]
fn every_input_counts_in_the_key() {
    type Change = fn(&mut Cluster);
    let changes: [Change; 9] = [
        |_| {},
        |c| c.nodes[0].os.platform = Platform::Aws,
        |c| c.nodes[0].os.ignition_version = crate::config::IgnitionVersion::V3_4,
        |c| c.nodes[0].os.users.push(user("$6$a$b")),
        |c| c.nodes[0].os.users.push(user("$6$a$c")),
        |c| c.certificate_validity += 1,
        |c| c.delivery.mode = DeliveryMode::Inline,
        |c| c.delivery.base_url = Some("https://192.0.2.1/y".to_owned()),
        |c| c.delivery.ca = None,
    ];
    let keys: std::collections::BTreeSet<_> = changes
        .iter()
        .map(|change| {
            let mut cluster = cluster();
            change(&mut cluster);
            // A worker's draft does not hold the cluster's settings.
            cluster.nodes.swap(0, 1);
            cluster.nodes[0].os = cluster.nodes[1].os.clone();
            bake(&cluster).unwrap().row.key
        })
        .collect();
    assert_eq!(keys.len(), changes.len());
}

fn user(hash: &str) -> User {
    User {
        name: "ops".to_owned(),
        ssh_authorized_keys: vec![].into(),
        password_hash: Some(Secret::from(hash.to_owned())),
        groups: vec![].into(),
    }
}
