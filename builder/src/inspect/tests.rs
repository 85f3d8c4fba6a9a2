use super::*;
use crate::{
    bake::{Baked, Oven},
    config::{Cluster, Delivery, DeliveryMode, Platform, User},
    node::{fixture, plan},
    output::manifest::FileRole,
    pki::fixture::authority,
};
use crate::{
    inspect::recognise::RecogniseError,
    pki::scan,
    verify::fixture::{LETTER, Memory, PASSWORD as HASH, breadth},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};
use nodekiln_plan::{Role, Sha256};
use std::collections::BTreeSet;

fn bake(cluster: &Cluster, index: usize) -> Baked {
    let node = &cluster.nodes[index];
    let draft = plan(cluster, node, &fixture::sources()).unwrap();
    let oven = Oven::new(cluster, authority(), Sha256::of(b""), false);
    oven.bake(node, &draft, oven.key(node, &draft).unwrap()).unwrap()
}

fn file(baked: &Baked, name: &str) -> Secret {
    let file = baked.files.iter().find(|file| file.path.ends_with(name));
    file.unwrap_or_else(|| panic!("no {name}")).bytes.as_ref().clone()
}

fn alone(bytes: &Secret) -> Inspection {
    inspect(bytes, Beside::default()).unwrap()
}

const PASSWORD: &str = "$6$salt$verysecrethash";

fn cluster(profile: &str) -> Cluster {
    let mut cluster = fixture::cluster(profile, &["cp1"]);
    for node in &mut cluster.nodes {
        node.os.users.push(User {
            name: "ops".to_owned(),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAAKEY ops@example".to_owned()].into(),
            password_hash: Some(Secret::from(PASSWORD.to_owned())),
            groups: vec!["sudo".to_owned()].into(),
        });
    }
    cluster
}

#[test]
fn a_control_plane_is_told_whole() {
    for (profile, name, kind) in
        [("flatcar", "config.ign", Kind::Ignition), ("cloud-init", "user-data", Kind::CloudInit)]
    {
        let baked = bake(&cluster(profile), 0);
        let report = alone(&file(&baked, name));
        assert_eq!(report.kind, kind);
        let node = report.node.as_ref().unwrap();
        assert_eq!((node.name.as_str(), node.role), ("cp1", Some(Role::ControlPlane)));
        assert_eq!((node.not_before, node.boot_before), (Some(baked.row.not_before), Some(baked.row.boot_before)));
        assert_eq!(report.etcd_members.as_deref().map(<[_]>::len), Some(1));

        let certificate = |name: &str| {
            let found = report.certificates.iter().find(|certificate| certificate.name.as_deref() == Some(name));
            found.unwrap_or_else(|| panic!("no certificate {name}: {:?}", report.certificates))
        };
        assert!(certificate("ca").is_ca && certificate("etcd-ca").is_ca && certificate("front-proxy-ca").is_ca);
        let server = certificate("apiserver/cp1");
        assert!(server.sans.contains(&"kubernetes.default.svc.cluster.local".to_owned()), "{:?}", server.sans);
        assert!(server.sans.contains(&"10.96.0.1".to_owned()) && server.usages == ["server"]);
        assert_eq!(server.not_after, baked.row.boot_before);
        assert_eq!(certificate("etcd-server/cp1").path, "/etc/kubernetes/pki/etcd/server.crt");
        assert_eq!(certificate("etcd-peer/cp1").path, "/etc/kubernetes/pki/etcd/peer.crt");

        // The very keys that placement.json has, found without a secret.
        let mut told: Vec<_> =
            report.private_keys.iter().map(|key| (key.name.clone().unwrap(), key.path.clone(), key.spki)).collect();
        let mut placed: Vec<_> =
            baked.holdings.iter().map(|held| (held.key.to_string(), held.path.to_string(), Some(held.spki))).collect();
        told.sort();
        placed.sort();
        assert_eq!(told, placed);

        let conf = report.kubeconfigs.iter().find(|config| config.path == "/etc/kubernetes/scheduler.conf").unwrap();
        assert_eq!(conf.credentials, [material::Credential::Certificate("CN=system:kube-scheduler".to_owned())]);
        let manifest = report.files.iter().find(|file| file.path == "/etc/kubernetes/manifests/etcd.yaml").unwrap();
        assert_eq!(manifest.kind, Some(nodekiln_plan::FileKind::Decided));
        assert_eq!(manifest.staged.as_deref(), Some("/var/lib/nodekiln/stage/etc/kubernetes/manifests/etcd.yaml"));
        let unit = report.units.iter().find(|unit| unit.name == "nodekiln-firstboot.service").unwrap();
        assert_eq!((unit.state, unit.has_contents), ("enabled", true));
        assert_eq!(report.accounts[0].ssh_keys, ["ssh-ed25519 ops@example"]);
        assert!(report.accounts[0].has_password);
        assert!(report.api.contains(&"Node cp1".to_owned()) && report.api.contains(&"Node w1".to_owned()));
    }
}

/// Neither of the two forms holds a byte of a key, a password, or the name of what is served.
#[test]
fn nothing_secret_is_told() {
    let mut pointed = cluster("flatcar");
    let base_url = Some("https://192.0.2.1/x".to_owned());
    pointed.delivery = Delivery { mode: DeliveryMode::Pointer, base_url, ca: None };
    let stub = bake(&pointed, 0);
    let served = stub.files.iter().find(|file| file.role == FileRole::Served).unwrap();
    let name = served.path.strip_prefix("serve/").unwrap().strip_suffix(".ign").unwrap();
    let whole = bake(&cluster("flatcar"), 0);
    for bytes in [
        file(&stub, "pointer.ign"),
        served.bytes.as_ref().clone(),
        file(&whole, "plan.json"),
        file(&whole, "config.ign"),
    ] {
        let report = alone(&bytes);
        for told in [text(&report), serde_json::to_string(&report).unwrap()] {
            assert!(crate::pki::scan::private_keys(told.as_bytes()).is_empty());
            let secrets = crate::pki::scan::Needles::new(authority().symmetric_keys());
            assert_eq!(crate::pki::scan::search(told.as_bytes(), &secrets).1, []);
            assert!(!told.contains(PASSWORD) && !told.contains("AAAAKEY") && !told.contains(name), "{told}");
        }
    }
    let report = alone(&file(&stub, "pointer.ign"));
    assert_eq!(report.kind, Kind::Pointer);
    assert_eq!(report.pointer.unwrap().source, "https://192.0.2.1/x/...");
}

#[test]
fn sizes_are_held_against_platforms() {
    let report = alone(&file(&bake(&cluster("flatcar"), 0), "config.ign"));
    for platform in &report.platforms {
        let (_, known) = Platform::ALL.iter().find(|(name, _)| *name == platform.name).unwrap();
        assert_eq!(platform.fits, known.limit().is_none_or(|limit| report.size <= limit));
    }
    let fits = |name| report.platforms.iter().find(|platform| platform.name == name).unwrap().fits;
    assert!(fits("metal") && fits("qemu") && !fits("aws"), "{} bytes", report.size);
}

#[test]
fn a_tree_and_a_plan_are_told_too() {
    let cluster = cluster("flatcar");
    let draft = plan(&cluster, &cluster.nodes[1], &fixture::sources()).unwrap();
    let filled = crate::pki::fill(authority(), &draft).unwrap();
    let tar = nodekiln_payload::tree_tar(&filled.tree, draft.class.profile).unwrap();
    let report = alone(&tar.bytes);
    assert_eq!(report.kind, Kind::Tree);
    assert_eq!(report.node.as_ref().unwrap().name.as_str(), "w1");
    assert!(report.private_keys.iter().any(|key| key.name.as_deref() == Some("kubelet-server/w1")));
    assert!(report.files.iter().any(|file| file.path == "/etc/systemd/system/kubelet.service"));

    let bytes = filled.tree.files.iter().find(|file| file.path.as_str() == nodekiln_plan::paths::PLAN).unwrap();
    let report = alone(&bytes.contents);
    assert_eq!(report.kind, Kind::Plan);
    assert_eq!(report.node.unwrap().boot_before, Some(filled.identity.boot_before));
    assert!(report.files.iter().all(|file| file.size.is_none()) && !report.files.is_empty());
}

/// What is in a payload of another version can be told, but for its plan.
#[test]
fn a_plan_of_another_version_is_told_by_it() {
    let cluster = cluster("flatcar");
    let draft = plan(&cluster, &cluster.nodes[1], &fixture::sources()).unwrap();
    let mut tree = crate::pki::fill(authority(), &draft).unwrap().tree;
    let file = tree.files.iter_mut().find(|file| file.path.as_str() == nodekiln_plan::paths::PLAN).unwrap();
    let text = String::from_utf8(file.contents.expose().to_vec()).unwrap();
    let other = text.replacen("\"version\": ", "\"version\": 9", 1);
    (file.sha256, file.contents) = (Sha256::of(other.as_bytes()), std::sync::Arc::new(Secret::from(other)));
    let options = nodekiln_payload::EncodeOptions::default();
    let report = alone(&nodekiln_payload::encode(&tree, draft.class.profile, &options).unwrap()[0].bytes);
    let version = 90 + u64::from(nodekiln_plan::PLAN_VERSION);
    let node = report.node.as_ref().unwrap();
    assert_eq!((node.plan_version, node.role), (Some(version), None));
    assert!(super::text(&report).contains(&format!("its plan has version {version}, and is not read")));
}

#[test]
fn what_is_no_payload_is_refused() {
    let refusal = |bytes: &[u8]| inspect(&Secret::new(bytes.to_vec()), Beside::default()).unwrap_err();
    for bytes in [&b""[..], b"hello", b"{}", b"[1]", b"\x00\xff", b"apiVersion: v1\n"] {
        assert!(matches!(refusal(bytes), RecogniseError::Unknown), "{bytes:?}");
    }
    assert!(matches!(refusal(br#"{"instance-id": "x", "local-hostname": "a"}"#), RecogniseError::Part));
    assert!(matches!(refusal(b"#cloud-config\nusers: []\n"), RecogniseError::Decode(_)));
    assert!(matches!(refusal(br#"{"ignition": {"version": "2.2.0"}}"#), RecogniseError::Decode(_)));
    let plan = refusal(br#"{"version": 99, "spec": {}, "identity": {}}"#);
    assert!(matches!(plan, RecogniseError::PlanVersion { found: 99 }));
    let plan = refusal(br#"{"version": 3, "spec": "hush", "identity": {}}"#);
    assert!(matches!(plan, RecogniseError::Plan { line: 1, .. }) && !plan.to_string().contains("hush"), "{plan}");
    // A payload that was cut off.
    let whole = file(&bake(&cluster("cloud-init"), 1), "user-data");
    assert!(matches!(refusal(&whole.expose()[..whole.expose().len() / 2]), RecogniseError::Decode(_)));
}

/// What a secret looks like where somebody forgot that it is one.
fn forms(secret: &[u8]) -> Vec<String> {
    let mut forms = vec![hex::encode(secret), hex::encode_upper(secret)];
    // From each of the three places that a byte can have in a group.
    for skip in 0..3.min(secret.len()) {
        let rest = &secret[skip..];
        let whole = &rest[..rest.len() / 3 * 3];
        forms.extend([STANDARD.encode(whole), STANDARD_NO_PAD.encode(whole), URL_SAFE.encode(whole)]);
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.push(text.to_owned());
    }
    forms.retain(|form| form.len() >= 12);
    forms
}

/// All that is private in an output: keys as PEM, DER and scalars, tokens, the key for encryption at rest, password
/// hashes, letters, names of what is served.
fn canaries(kit: &crate::verify::fixture::Kit, output: &Memory) -> BTreeSet<String> {
    let mut secrets: Vec<Vec<u8>> = vec![HASH.into(), LETTER.into()];
    let authority = kit.authority();
    secrets.extend(authority.symmetric_keys().into_iter().map(|(_, bytes)| bytes.to_vec()));
    secrets.extend(output.files.keys().filter_map(|path| {
        let name = path.strip_prefix("serve/")?.strip_suffix(".ign")?;
        Some(name.as_bytes().to_vec())
    }));
    let mut pems: Vec<Vec<u8>> = vec![kit.secrets.to_vec().expose().to_vec()];
    for row in output.manifest().nodes {
        let tree = crate::verify::decoded(output, &row).unwrap().unwrap();
        pems.extend(tree.files.iter().map(|file| file.contents.expose().to_vec()));
    }
    for name in ["admin.conf", "super-admin.conf"] {
        let text = String::from_utf8(output.files[name].clone()).unwrap();
        let data = text.split(|c: char| c.is_whitespace() || c == '"').filter_map(|word| STANDARD.decode(word).ok());
        pems.extend(data);
    }
    for text in pems {
        let text = String::from_utf8_lossy(&text).replace("\\n", "\n");
        for block in text.split("-----BEGIN ").skip(1).filter(|block| block.contains("PRIVATE KEY-----")) {
            let lines = block.lines().map(str::trim).skip(1).take_while(|line| !line.starts_with("-----"));
            let lines: Vec<String> = lines.map(|line| line.trim_matches('"').to_owned()).collect();
            let der = STANDARD.decode(lines.concat()).unwrap_or_default();
            // The middle of a key is its scalar, or its exponent: not the curve, not the public half.
            if der.len() > 64 {
                secrets.push(der[36..60].to_vec());
            }
            secrets.extend(lines.first().map(|line| line.as_bytes()[16..].to_vec()));
        }
    }
    secrets.iter().flat_map(|secret| forms(secret)).collect()
}

fn check(told: &str, canaries: &BTreeSet<String>, at: &str) {
    assert!(scan::private_keys(told.as_bytes()).is_empty() && !told.contains("PRIVATE KEY"), "{at}");
    let canary = canaries.iter().find(|canary| told.contains(canary.as_str()));
    assert!(canary.is_none(), "{at}: {canary:?} is told:\n{told}");
}

/// Every file of every kind of output, whole and damaged: what is told, and what is said of one that cannot be told about,
/// holds nothing that is private.
#[test]
fn no_canary_sings() {
    for (name, kit, output) in breadth() {
        let canaries = canaries(kit, output);
        let expected = if *name == "rsa" { 60 } else { 100 };
        assert!(canaries.len() > expected, "{name}: only {} canaries", canaries.len());
        let told_of = |bytes: Vec<u8>| match inspect(&Secret::new(bytes), Beside::default()) {
            Ok(report) => text(&report) + &serde_json::to_string(&report).unwrap(),
            Err(error) => error.to_string(),
        };
        let secrets = kit.secrets.to_vec().expose().to_vec();
        let mut seen = BTreeSet::new();
        for (path, bytes) in output.files.iter().chain([(&"secrets.yaml".to_owned(), &secrets)]) {
            let at = format!("{name}: {path}");
            // Those that are nothing but private are, as bytes, what the canaries were made of.
            let found =
                canaries.iter().filter(|canary| String::from_utf8_lossy(bytes).contains(canary.as_str())).count();
            if found > 0 {
                seen.insert(path.rsplit('/').next().unwrap().to_owned());
            }
            check(&told_of(bytes.clone()), &canaries, &at);
            for cut in [bytes.len() / 3, bytes.len() - 2] {
                check(&told_of(bytes[..cut].to_vec()), &canaries, &at);
                check(&told_of(bytes[cut..].to_vec()), &canaries, &at);
                let mut other = bytes.clone();
                other[cut] = b'"';
                check(&told_of(other), &canaries, &at);
            }
        }
        assert!(seen.contains("secrets.yaml") && seen.len() > 1, "{name}: canaries are nowhere: {seen:?}");
    }
}

/// Every file of an output is told about, or it is said what to do instead.
#[test]
fn every_file_of_an_output_has_an_answer() {
    let mut kinds = BTreeSet::new();
    for (name, kit, output) in breadth() {
        for (path, bytes) in &output.files {
            let file = path.rsplit('/').next().unwrap();
            let answer = inspect(&Secret::new(bytes.clone()), Beside::default());
            let due = match file {
                "config.ign" => "Ok(Ignition)",
                "pointer.ign" => "Ok(Pointer)",
                "user-data" => "Ok(CloudInit)",
                "tree.tar" => "Ok(Tree)",
                "plan.json" => "Ok(Plan)",
                "api.ndjson" => "Ok(Api)",
                "ca.crt" => "Ok(Certificates)",
                _ if file.ends_with(".conf") => "Ok(Kubeconfig)",
                "manifest.json" => "Err(Manifest)",
                "placement.json" => "Err(Placement)",
                "meta-data" | "network-config" => "Err(Part)",
                _ if file.ends_with(".ign") => "Ok(Ignition)",
                _ => "Err(Unknown)",
            };
            let is = match &answer {
                Ok(report) => format!("Ok({:?})", report.kind),
                Err(error) => format!("Err({error:?})"),
            };
            assert_eq!(is, due, "{name}: {path}");
            kinds.insert(due);
            let Ok(report) = answer else { continue };
            let row = output.manifest().nodes.into_iter().find(|row| path.starts_with(&format!("nodes/{}/", row.name)));
            match (report.kind, row) {
                // A stub says no more than where it points.
                (Kind::Pointer, _) => assert!(report.node.is_none()),
                (Kind::Ignition | Kind::CloudInit | Kind::Tree | Kind::Plan, Some(row)) => {
                    let node = report.node.as_ref().unwrap();
                    assert_eq!((&node.name, node.boot_before), (&row.name, Some(row.boot_before)), "{name}: {path}");
                    assert!(
                        super::text(&report).contains(&format!("to {}\n", date(row.boot_before))),
                        "{name}: {path}"
                    );
                }
                (Kind::Kubeconfig, _) => {
                    assert!(super::text(&report).contains("can be used until 20"), "{}", text(&report));
                    assert!(report.private_keys.iter().all(|key| key.name.is_some()) && report.private_keys.len() == 1);
                }
                (Kind::Api, _) => assert!(report.api.iter().any(|step| step.starts_with("Node "))),
                _ => {}
            }
        }
        let secrets = Secret::new(kit.secrets.to_vec().expose().to_vec());
        assert!(matches!(inspect(&secrets, Beside::default()), Err(RecogniseError::Secrets)));
    }
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}

#[test]
fn addresses_are_told_without_what_they_hide() {
    for (url, told) in [
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/x?token=hush", "https://a.example/x?..."),
        ("https://u:hush@a.example:1/x@y", "https://...@a.example:1/x@y"),
        ("https://u:hu@sh@a.example", "https://...@a.example"),
        ("https://u:hush@a.example?x#y", "https://...@a.example?..."),
        ("a.example#hush", "a.example?..."),
        ("u:hush@a", "u:..."),
        ("data:;base64,aHVzaA==", "data:..."),
    ] {
        assert_eq!(report::without_secrets(url), told);
    }
}

/// Files that others wrote are refused without a word of theirs.
#[test]
fn strangers_are_refused_without_being_quoted() {
    const HUSH: &str = "hush-hush-hush";
    let foreign = |text: &str| text.replace("HUSH", HUSH).into_bytes();
    for text in [
        r#"{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "core", "passwordHash": "HUSH"}]}}"#,
        r#"{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/a", "contents": {"source": "data:,HUSH"}}]}}"#,
        r#"{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/a", "contents": {"source": "HUSH"}}]}}"#,
        r#"{"ignition": {"version": "HUSH"}}"#,
        r#"{"ignition": {"version": "3.3.0", "config": {"replace": {"source": "https://a/HUSH"}}}}"#,
        "variant: flatcar\nversion: 1.0.0\npasswd: {users: [{name: core, password_hash: HUSH}]}\n",
        "#cloud-config\nusers: [{name: a, passwd: HUSH}]\nchpasswd: {list: 'a:HUSH'}\n",
        "#cloud-config\nwrite_files: [{path: /a, content: HUSH}]\n",
        "#cloud-config\n\tHUSH: [\n",
        "#!/bin/sh\necho HUSH\n",
        "apiVersion: v1\nkind: Secret\nstringData: {a: HUSH}\n",
        r#"{"spec": {"node": "HUSH"}, "identity": {"generation": "HUSH"}, "version": 2}"#,
        "leafSeed: HUSH\n",
        "-----BEGIN HUSH-----\nHUSH\n",
    ] {
        match inspect(&Secret::new(foreign(text)), Beside::default()) {
            Err(error) => assert!(!error.to_string().contains(HUSH), "{text}: {error}"),
            Ok(report) => {
                let told = self::text(&report) + &serde_json::to_string(&report).unwrap();
                assert!(!told.contains(HUSH), "{text}: {told}");
            }
        }
    }
    // A kubeconfig with a password and a token that is none of ours.
    let conf = foreign(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://u:HUSH@a:6443'}}]\n\
         users: [{name: u, user: {token: HUSH, password: HUSH}}]\n",
    );
    let report = inspect(&Secret::new(conf), Beside::default()).unwrap();
    let told = self::text(&report) + &serde_json::to_string(&report).unwrap();
    assert!(report.kind == Kind::Kubeconfig && !told.contains(HUSH), "{told}");
}
