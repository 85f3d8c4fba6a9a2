use super::{
    fixture::{Memory, cluster, forge, pointed},
    *,
};
use crate::{
    draft::Shared,
    output::{
        folder::{Entry, EntryKind},
        placement::{PLACEMENT, Placement},
    },
    pki::{Authority, fixture::authority},
};
use nodekiln_payload::{NodeTree, TreeFile};
use nodekiln_plan::{Mode, NodePlan, Secret, Sha256};
use std::sync::Arc;

/// `FILE: message` of each finding.
fn findings(output: &Memory) -> Vec<String> {
    let report = verify(output).unwrap();
    assert_eq!(report.sound, report.findings.is_empty());
    report.findings.into_iter().map(|finding| format!("{}: {}", finding.file, finding.message)).collect()
}

#[test]
fn what_was_built_is_sound() {
    for cluster in [cluster("flatcar"), cluster("fedora-coreos"), cluster("cloud-init"), pointed()] {
        let output = Memory::of(&cluster);
        assert_eq!(findings(&output), [""; 0]);
        let report = verify(&output).unwrap();
        assert_eq!((report.nodes, report.files), (3, output.files.len() - 1));
        assert_eq!(report.boot_before, Some(output.manifest().nodes[0].boot_before));
    }
}

/// In the middle of a rotation, too: each key is told apart, and the output says what it was made of.
#[test]
fn two_keys_for_encryption_at_rest() {
    let cluster = cluster("flatcar");
    let mut secrets = crate::secrets::tests::fixture(1);
    for names in [&["key1", "key2"], &["key2", "key1"]] {
        secrets.rotate_encryption(&mut crate::secrets::tests::fixed_random(7)).unwrap();
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let output = Memory::made(&cluster, &authority, secrets.shape());
        assert_eq!(findings(&output), [""; 0]);
        let side = crate::diff::OutputSide::open(&output).unwrap();
        assert_eq!(side.shape().unwrap(), secrets.shape());
        assert_eq!(secrets.shape().encryption_keys, names);
        let placement: Placement = serde_json::from_slice(&output.files[PLACEMENT]).unwrap();
        for key in ["encryption-at-rest", "encryption-at-rest/2"] {
            assert_eq!(placement.keys[key], ["cp1".parse().unwrap()], "{key}");
        }
        let digests: std::collections::BTreeSet<_> = (placement.nodes[&"cp1".parse().unwrap()].iter())
            .filter(|held| held.key.starts_with("encryption-at-rest"))
            .map(|held| held.spki)
            .collect();
        assert_eq!(digests, secrets.encryption.iter().map(|key| Sha256::of(key.key.expose())).collect());
    }
}

/// kubeadm's guide gives the files of somebody else's etcd, and its client, the names that those of ours have.
#[test]
fn somebody_elses_etcd() {
    use crate::{
        config::{ExternalEtcd, InputFile, NodeFile},
        node::{self, fixture},
        pki,
        secrets::tests::fixture as secrets,
    };
    let mut cluster = cluster("flatcar");
    let theirs = Authority::open(&secrets(2), &cluster).unwrap();
    let draft = node::plan(&cluster, &cluster.nodes[0], &fixture::sources()).unwrap();
    let tree = pki::fill(&theirs, &draft).unwrap().tree;
    let file = |name: &str| {
        let path = name.to_owned();
        let bytes = of(&tree, &format!("/etc/kubernetes/pki/{name}")).into();
        Some(NodeFile::Input(InputFile { path, bytes }))
    };
    cluster.external_etcd = Some(ExternalEtcd {
        endpoints: vec!["https://10.9.0.1:2379".to_owned()],
        ca: file("etcd/ca.crt"),
        cert: file("apiserver-etcd-client.crt"),
        key: file("apiserver-etcd-client.key"),
    });
    let own = secrets(1);
    let output = Memory::made(&cluster, &Authority::open(&own, &cluster).unwrap(), own.shape());
    assert_eq!(findings(&output), [""; 0]);
    let placement = String::from_utf8(output.files["placement.json"].clone()).unwrap();
    assert!(placement.contains("etcd.external.keyFile"), "{placement}");
    // The key of another node's in its place is seen.
    let key = of(&tree, "/etc/kubernetes/pki/etcd/peer.key");
    let other =
        forge(&output, "cp1", |tree, plan| put(tree, plan, "/etc/kubernetes/pki/apiserver-etcd-client.key", &key));
    let found = findings(&other);
    assert!(found.iter().any(|found| found.contains("does not belong to the certificate beside it")), "{found:?}");
}

/// One flipped bit, wherever it is.
#[test]
fn no_byte_changes_unseen() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for cluster in [cluster("cloud-init"), pointed()] {
        let output = Memory::of(&cluster);
        for (path, bytes) in &output.files {
            let mut offsets = vec![random() % bytes.len(), 0, bytes.len() - 1];
            offsets.extend((0..12).map(|_| random() % bytes.len()));
            for (number, offset) in offsets.into_iter().enumerate() {
                let mut other = bytes.clone();
                other[offset] ^= 1 << (random() % 8);
                let other = output.with(path, other);
                // Once in full; the bytes are the first of its steps, and the cheapest.
                let found = if number == 0 { verify(&other).unwrap().findings } else { of_bytes(&other).unwrap().1.0 };
                assert!(found.iter().any(|finding| finding.file == *path), "{path} at {offset}: {found:?}");
            }
        }
    }
}

/// A space more, an upper-case digit: the same to a parser of JSON, and nevertheless not what was written.
#[test]
fn the_manifest_has_one_form() {
    let output = Memory::of(&cluster("flatcar"));
    let text = String::from_utf8(output.files[MANIFEST].clone()).unwrap();
    let digit = text.find("\"sha256\": \"").unwrap() + 11;
    let upper = format!("{}{}{}", &text[..digit], text[digit..digit + 64].to_uppercase(), &text[digit + 64..]);
    for other in [text.replacen("{\n", "{ \n", 1), format!("{text} "), upper] {
        assert_ne!(other, text);
        assert_eq!(
            findings(&output.with(MANIFEST, other.into_bytes())),
            ["manifest.json: was changed: it is not what its own digest says"]
        );
    }
}

/// An output by another nodekiln is not taken for one that somebody changed.
#[test]
fn a_manifest_of_another_version_or_maker() {
    let output = Memory::of(&cluster("flatcar"));
    for (version, made_by, due) in [
        (1, Manifest::MADE_BY, "manifest.json: has version 1, and this nodekiln reads version 2: build again"),
        (Manifest::VERSION, "somebody", "manifest.json: is no manifest of nodekiln's"),
    ] {
        let mut manifest = output.manifest();
        (manifest.version, manifest.made_by) = (version, made_by.to_owned());
        assert_eq!(findings(&output.sealed(manifest)), [due]);
    }
}

#[test]
fn files_that_come_go_or_are_opened_to_others() {
    let output = Memory::of(&cluster("flatcar"));
    let plan = "nodes/w1/plan.json";
    let cut = output.files[plan][..100].to_vec();
    let found = findings(&output.with(plan, cut));
    assert!(found.iter().any(|f| f.starts_with("nodes/w1/plan.json: has 100 bytes")), "{found:?}");

    let mut other = output.clone();
    other.entries.remove(plan);
    assert!(findings(&other).contains(&"nodes/w1/plan.json: is missing".to_owned()));

    for (path, kind, says) in [
        ("nodes/w1/letter", EntryKind::File, "is a file that the manifest does not list"),
        ("photos", EntryKind::Directory, "is a folder that the manifest does not list"),
        ("serve/x", EntryKind::Other, "is neither file nor folder that the manifest does not list"),
        ("serve/y", EntryKind::Link, "is a symbolic link that the manifest does not list"),
        (plan, EntryKind::Link, "is a symbolic link, and should be a file"),
        ("nodes", EntryKind::Link, "is a symbolic link, and should be a folder"),
    ] {
        let mut other = output.clone();
        other.entries.insert(path.to_owned(), Entry { kind, mode: 0o700, size: 0 });
        assert_eq!(findings(&other), [format!("{path}: {says}")]);
    }
    for (path, mode, says) in [
        (plan, 0o644, "has mode 0644, not 0600"),
        ("nodes", 0o755, "has mode 0755, not 0700"),
        ("", 0o1700, "has mode 1700, not 0700"),
        (MANIFEST, 0o400, "has mode 0400, not 0600"),
    ] {
        let mut other = output.clone();
        other.entries.get_mut(path).unwrap().mode = mode;
        assert_eq!(findings(&other), [format!("{path}: {says}")]);
    }
    let mut other = output.clone();
    other.entries.remove(MANIFEST);
    assert_eq!(findings(&other), ["manifest.json: is missing: this is no output of nodekiln's"]);
}

/// Puts `bytes` at `path`, in the plan too.
fn put(tree: &mut NodeTree, plan: &mut NodePlan, path: &str, bytes: &[u8]) {
    let sha256 = Sha256::of(bytes);
    let contents = Arc::new(Secret::new(bytes.to_vec()));
    if let Some(file) = tree.files.iter_mut().find(|file| file.path.as_str() == path) {
        (file.sha256, file.contents) = (sha256, contents);
        let place =
            |entry: &&mut nodekiln_plan::FileEntry| entry.staged.as_ref().unwrap_or(&entry.path).as_str() == path;
        plan.files.iter_mut().find(place).unwrap().sha256 = sha256;
        return;
    }
    let path: nodekiln_plan::AbsPath = path.parse().unwrap();
    tree.files.push(TreeFile { path: path.clone(), mode: Mode::PRIVATE, sha256, contents, shared: None });
    let kind = nodekiln_plan::FileKind::Laid;
    plan.files.push(nodekiln_plan::FileEntry { path, mode: Mode::PRIVATE, sha256, kind, staged: None });
}

fn of(tree: &NodeTree, path: &str) -> Vec<u8> {
    tree.files.iter().find(|file| file.path.as_str() == path).unwrap().contents.expose().to_vec()
}

/// Whoever makes all digests fit is found out by what the files say.
#[test]
fn digests_are_not_all() {
    let output = Memory::of(&cluster("flatcar"));
    assert_eq!(findings(&forge(&output, "w1", |_, _| {})), [""; 0]);
    let ca = authority().shared(Shared::CaKey).value.bytes.expose();
    let says = |other: Memory, what: &str| {
        let found = findings(&other);
        assert!(found.iter().any(|finding| finding.contains(what)), "not {what:?}: {found:#?}");
    };

    // A key where it must not be.
    let other = forge(&output, "w1", |tree, plan| put(tree, plan, "/opt/x", ca));
    says(other, "nodes/w1/config.ign: w1: /opt/x holds the key `ca`, which this node must not have");
    // The keys of another node.
    let stolen = output.files["nodes/w2/config.ign"].clone();
    says(output.forged("nodes/w1/config.ign", stolen), "nodes/w1/config.ign: is another node's than the manifest says");
    // A signature that is none.
    let server = "/etc/kubernetes/pki/apiserver.crt";
    let broken = |tree: &mut NodeTree, plan: &mut NodePlan| {
        let pem = x509_parser::pem::Pem::iter_from_buffer(&of(tree, server)).next().unwrap().unwrap();
        let mut der = pem.contents;
        *der.last_mut().unwrap() ^= 1;
        let mut text = Vec::new();
        crate::pki::pem::encode("CERTIFICATE", &der, &mut text);
        put(tree, plan, server, &text);
    };
    says(forge(&output, "cp1", broken), "apiserver.crt: the certificate for `CN=kube-apiserver` its signature is not");
    // A certificate in the place of another.
    let other = forge(&output, "cp1", |tree, plan| {
        let wrong = of(tree, "/etc/kubernetes/pki/front-proxy-client.crt");
        put(tree, plan, server, &wrong);
    });
    says(other, "/etc/kubernetes/pki/apiserver.key: does not belong to the certificate beside it");
    // A payload that its plan does not know whole, and one that lacks a file.
    let other = forge(&output, "w1", |tree, plan| {
        put(tree, plan, "/opt/x", b"x");
        plan.files.retain(|entry| entry.path.as_str() != "/opt/x");
    });
    says(other, "carries /opt/x, which its plan does not know");
    let other = forge(&output, "w1", |tree, _| {
        tree.files.retain(|file| {
            !file.path.as_str().ends_with("sysctl.d/90-nodekiln.conf") && !file.path.as_str().contains("modules-load.d")
        })
    });
    says(other, "which its plan promises");
    // Another time than the certificates'.
    let other = forge(&output, "w1", |_, plan| plan.identity.boot_before += 1);
    says(other.clone(), "may boot at another time than the manifest says");
    says(other, "a certificate ends");
    // Other CAs than the cluster's.
    let other = forge(&output, "w1", |tree, plan| {
        let wrong = authority().bundle(crate::pki::Ca::Etcd).as_bytes().to_vec();
        put(tree, plan, "/etc/kubernetes/pki/ca.crt", &wrong);
    });
    says(other, "is another bundle of CAs than ca.crt");
    // A proof that hides a holder.
    let proof = String::from_utf8(output.files["placement.json"].clone()).unwrap();
    let other =
        output.forged("placement.json", proof.replacen("kubelet-server/w1", "kubelet-server/w9", 1).into_bytes());
    says(other, "placement.json: does not say");
    let other = output.forged("placement.json", proof.replacen("\"etcd-ca\",", "", 1).into_bytes());
    says(other, "placement.json: does not say that no node holds `etcd-ca`");
    // Files that are not the payload's.
    let other = output.forged("nodes/w1/plan.json", output.files["nodes/w2/plan.json"].clone());
    says(other, "nodes/w1/plan.json: is not what the payload carries");
    let other = output.forged("admin.conf", b"apiVersion: v1\nkind: Config\n".to_vec());
    says(other, "admin.conf: is no kubeconfig with a certificate");
    let conf = String::from_utf8(output.files["admin.conf"].clone()).unwrap();
    let key = conf.lines().find(|line| line.contains("client-key-data")).unwrap();
    let more = String::from_utf8(output.files["super-admin.conf"].clone()).unwrap();
    let wrong = more.lines().find(|line| line.contains("client-key-data")).unwrap();
    says(output.forged("admin.conf", conf.replace(key, wrong).into_bytes()), "admin.conf: its key does not belong");
}

#[test]
fn stubs_and_what_they_point_at() {
    let output = Memory::of(&pointed());
    let says = |other: Memory, what: &str| {
        let found = findings(&other);
        assert!(found.iter().any(|finding| finding.contains(what)), "not {what:?}: {found:#?}");
    };
    let served: Vec<_> =
        output.files.keys().filter(|path| path.ends_with(".ign") && path.starts_with("serve/")).collect();
    assert_eq!(served.len(), 3);
    // Two that were exchanged.
    let other = output.forged(served[0], output.files[served[1]].clone());
    says(other, "points at a configuration of another digest than the one that is served");
    // One that nobody asks for any more.
    let stub = output.files["nodes/w1/pointer.ign"].clone();
    let other = output.forged("nodes/w2/pointer.ign", stub);
    says(other.clone(), "is served, but no payload asks for it");
    says(other, "is another node's than the manifest says");
    // A program that is gone.
    let blob = output.files.keys().find(|path| path.starts_with("serve/blobs/")).unwrap().clone();
    let mut manifest = output.manifest();
    manifest.files.retain(|row| row.path != blob);
    let mut other = output.sealed(manifest);
    other.entries.remove(&blob);
    other.entries.remove("serve/blobs");
    says(other, "is missing, but cp1 fetches it");
}
