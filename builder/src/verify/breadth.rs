//! `verify` over outputs of every kind: no byte changes unseen, no file comes, goes or is exchanged, and nothing of before
//! a renewal is taken for what is now.

use super::{
    fixture::{LETTER, Memory, breadth, forge, kit},
    *,
};
use crate::{
    draft::{LeafForm, Row},
    output::{Part, folder::EntryKind, manifest::FileRow, placement::Placement},
    pki::{
        Authority, Ca,
        certificate::{Validity, self_signed},
        table,
    },
    secrets::Secrets,
};
use nodekiln_payload::{Format, IgnitionVersion, Snippet};
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// `FILE: message` of each finding.
fn findings(output: &Memory) -> Vec<String> {
    let report = verify(output).unwrap();
    report.findings.into_iter().map(|finding| format!("{}: {}", finding.file, finding.message)).collect()
}

fn says(other: &Memory, what: &str) {
    let found = findings(other);
    assert!(found.iter().any(|finding| finding.contains(what)), "not {what:?}: {found:#?}");
}

/// Whether the first steps of [`verify`] find something wrong with this file: no other is read.
fn seen(output: &Memory, path: &str) -> bool {
    let mut found = Findings::default();
    if let Some(manifest) = files::manifest(output, &mut found).unwrap() {
        let mut rows = files::listed(output, &manifest, &mut found);
        rows.retain(|other, _| *other == path);
        files::contents(output, &manifest, &rows, &mut found).unwrap();
    }
    found.0.iter().any(|finding| finding.file == path)
}

#[test]
fn every_kind_of_output_is_sound() {
    let mut kinds = BTreeSet::new();
    for (name, _, output) in breadth() {
        assert_eq!(findings(output), [""; 0], "{name}");
        for path in output.files.keys() {
            let kind = match path.rsplit('/').next().unwrap() {
                _ if path.starts_with("serve/blobs/") => "blob",
                _ if path.starts_with("serve/") => "served",
                file => file,
            };
            kinds.insert(kind.to_owned());
        }
    }
    let due = [
        "admin.conf",
        "api.ndjson",
        "blob",
        "ca.crt",
        "config.ign",
        "manifest.json",
        "meta-data",
        "network-config",
        "placement.json",
        "plan.json",
        "pointer.ign",
        "served",
        "super-admin.conf",
        "tree.tar",
        "user-data",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), due);
}

/// One flipped bit: anywhere in the manifest, and at many places of every other file.
#[test]
fn no_bit_flips_unseen() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for (name, _, output) in breadth() {
        for (path, bytes) in output.files.iter().filter(|(path, _)| *path != MANIFEST) {
            let mut offsets = vec![0, bytes.len() - 1];
            offsets.extend((0..3).map(|_| random() % bytes.len()));
            for offset in offsets {
                let mut other = bytes.clone();
                other[offset] ^= 1 << (random() % 8);
                assert!(seen(&output.with(path, other), path), "{name}: {path} at {offset}");
            }
        }
        let manifest = &output.files[MANIFEST];
        // Every byte of one, a few of the others.
        let step = if *name == "rsa" { 1 } else { 97 };
        for offset in (0..manifest.len()).step_by(step) {
            let mut other = manifest.clone();
            other[offset] ^= 1 << (random() % 8);
            let mut found = Findings::default();
            files::manifest(&output.with(MANIFEST, other), &mut found).unwrap();
            assert!(!found.0.is_empty(), "{name}: manifest.json at {offset}");
        }
    }
}

#[test]
fn no_file_comes_goes_or_is_renamed_unseen() {
    for (name, _, output) in breadth() {
        for (path, bytes) in &output.files {
            let at = |what: &str| format!("{name}: {path} {what}");
            for length in [0, bytes.len() - 1] {
                assert!(seen(&output.with(path, bytes[..length].to_vec()), path), "{}", at("cut off"));
            }
            assert!(seen(&output.with(path, [bytes.as_slice(), b"\n"].concat()), path), "{}", at("with a byte more"));
            let mut other = output.clone();
            other.entries.remove(path);
            assert!(seen(&other, path), "{}", at("removed"));
            let entry = output.entries[path];
            let elsewhere = format!("{path}x");
            other.entries.insert(elsewhere.clone(), entry);
            other.files.insert(elsewhere.clone(), bytes.clone());
            assert!(path == MANIFEST || seen(&other, &elsewhere), "{}", at("renamed"));
            for mode in [0o400, 0o640, 0o4600] {
                let mut other = output.clone();
                other.entries.get_mut(path).unwrap().mode = mode;
                assert!(seen(&other, path), "{}", at("of another mode"));
            }
            for kind in [EntryKind::Directory, EntryKind::Link, EntryKind::Other] {
                let mut other = output.clone();
                other.entries.get_mut(path).unwrap().kind = kind;
                assert!(seen(&other, path), "{}", at("of another kind"));
            }
        }
        for path in output.entries.keys().filter(|path| !output.files.contains_key(*path)) {
            let mut other = output.clone();
            other.entries.get_mut(path).unwrap().mode = 0o755;
            assert!(seen(&other, path), "{name}: {path} of another mode");
        }
    }
}

/// Files of `node`, by name.
fn of_node(output: &Memory, node: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = format!("nodes/{node}/");
    let own = output.files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&folder)?, bytes)));
    own.map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect()
}

/// The payloads of two nodes are exchanged, and every digest is made to fit.
#[test]
fn exchanged_payloads_are_seen() {
    for (name, _, output) in breadth() {
        let nodes: Vec<String> = output.manifest().nodes.iter().map(|row| row.name.to_string()).collect();
        for pair in nodes.windows(2) {
            let (a, b) = (of_node(output, &pair[0]), of_node(output, &pair[1]));
            let mut other = output.clone();
            for (node, files) in [(&pair[0], &b), (&pair[1], &a)] {
                for (file, bytes) in files {
                    let path = format!("nodes/{node}/{file}");
                    if output.files.contains_key(&path) {
                        other = other.forged(&path, bytes.clone());
                    }
                }
            }
            for node in pair {
                let found = findings(&resealed(&other));
                let own = format!("nodes/{node}/");
                let due = "is another node's than the manifest says";
                let is_due = |finding: &String| {
                    finding.contains(due) && (finding.starts_with(&own) || finding.starts_with("serve/"))
                };
                assert!(found.iter().any(is_due), "{name}: {node}: {found:#?}");
            }
        }
    }
}

/// With seals that fit what the manifest and placement.json say.
fn resealed(output: &Memory) -> Memory {
    let mut manifest = output.manifest();
    let placement: Placement = serde_json::from_slice(&output.files["placement.json"]).unwrap();
    let files = manifest.files.clone();
    for row in &mut manifest.nodes {
        let own: Vec<FileRow> = files.iter().filter(|file| file.node.as_ref() == Some(&row.name)).cloned().collect();
        row.seal = Part::seal(row, &own, &placement.nodes[&row.name]);
    }
    output.sealed(manifest)
}

/// What an output had before `secrets renew` stays with that, however much of the manifest is made to fit.
#[test]
fn older_generations_are_seen() {
    for (name, kit, old) in breadth() {
        let new = kit.renewed().output();
        assert_eq!(findings(&new), [""; 0], "{name}");
        for row in old.manifest().nodes {
            let node = row.name.to_string();
            let mut other = new.clone();
            for (file, bytes) in of_node(old, &node) {
                other = other.forged(&format!("nodes/{node}/{file}"), bytes);
            }
            // What its stub points at, under the name that it has there.
            let served = |output: &Memory| {
                let rows = output.manifest().files;
                let of_node =
                    |row: &&FileRow| row.path.starts_with("serve/") && row.node.as_ref() == Some(&row_name(&node));
                rows.iter().find(of_node).map(|row| row.path.clone())
            };
            if let (Some(before), Some(now)) = (served(old), served(&new)) {
                let bytes = old.files[&before].clone();
                let entry = old.entries[&before];
                other.files.remove(&now);
                other.entries.remove(&now);
                other.files.insert(before.clone(), bytes);
                other.entries.insert(before.clone(), entry);
                let mut manifest = other.manifest();
                manifest.files.retain(|row| row.path != now);
                manifest.files.push(old.manifest().files.iter().find(|row| row.path == before).unwrap().clone());
                manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
                other = other.sealed(manifest);
            }
            // The digests alone.
            says(&other, &format!("manifest.json: its rows of {node} are not what their seal says"));
            says(&other, "may boot at another time than the manifest says");
            // The whole row, and what placement.json says of it.
            let mut manifest = other.manifest();
            *manifest.nodes.iter_mut().find(|other| other.name == row.name).unwrap() = row.clone();
            let mut placement: Placement = serde_json::from_slice(&new.files["placement.json"]).unwrap();
            let before: Placement = serde_json::from_slice(&old.files["placement.json"]).unwrap();
            placement.nodes.insert(row.name.clone(), before.nodes[&row.name].clone());
            let placement = serde_json::to_vec_pretty(&placement).unwrap();
            let other = resealed(&other.sealed(manifest).forged("placement.json", placement));
            says(&other, "of the certificates, ");
        }
        for conf in ["admin.conf", "super-admin.conf"] {
            let other = new.forged(conf, old.files[conf].clone());
            says(&other, &format!("{conf}: its certificate is of another generation than those of the nodes"));
        }
        let plan = old.files.keys().find(|path| path.ends_with("/plan.json")).unwrap();
        says(&new.forged(plan, old.files[plan].clone()), &format!("{plan}: is not what the payload carries"));
    }
}

/// `build --node` keeps certificates that live as long as certificateValidityPeriod once said.
#[test]
fn a_period_that_changed_between_nodes_is_sound() {
    let (pointer, before) = kit("pointer");
    // w1 has a certificate of its own, w2 and the pool have tokens.
    for node in ["cp1", "w1", "w2", "burst"] {
        let output = pointer.remade(|cluster| cluster.certificate_validity /= 2, node);
        assert_eq!(findings(&output), [""; 0], "{node}");
        assert_ne!(output.files["admin.conf"], before.files["admin.conf"], "{node}");
        let renewed = pointer.renewed().output();
        let other = output.forged("admin.conf", renewed.files["admin.conf"].clone());
        says(&other, "admin.conf: its certificate is of another generation than those of the nodes");
    }
}

/// Which CA signs what is up to the table, even where two of them have the same name.
#[test]
fn another_ca_than_its_own_is_seen() {
    let (cloud_init, _) = kit("cloud-init");
    let (rsa, output) = kit("rsa");
    let copy = |secrets: &Secrets| Secrets::parse(secrets.to_vec().expose()).unwrap();
    // CAs of one name, as imported ones may have.
    let mut namesakes = copy(&cloud_init.secrets);
    let etcd = &mut namesakes.authorities.get_mut(&Ca::Etcd).unwrap()[0];
    let key = etcd.key.as_ref().unwrap();
    let validity = Validity::starting(namesakes.created_at, 10 * 365 * 86_400).unwrap();
    etcd.certificate = self_signed(Ca::Kubernetes, key, validity).unwrap();
    let authority = Authority::open(&namesakes, &cloud_init.cluster).unwrap();
    let same = Memory::made(&cloud_init.cluster, &authority, namesakes.shape());
    assert_eq!(findings(&same), [""; 0]);
    for (output, cluster, secrets, node, row, path) in [
        (&same, &cloud_init.cluster, &namesakes, "cp1", Row::EtcdServer, "/etcd/server.crt"),
        (&same, &cloud_init.cluster, &namesakes, "cp2", Row::EtcdPeer, "/etcd/peer.crt"),
        (output, &rsa.cluster, &rsa.secrets, "e1", Row::EtcdServer, "/etcd/server.crt"),
        (output, &rsa.cluster, &rsa.secrets, "cp1", Row::ApiServerEtcdClient, "/apiserver-etcd-client.crt"),
    ] {
        let mut wrong = copy(secrets);
        wrong.authorities.insert(Ca::Etcd, secrets.authorities[&Ca::Kubernetes].clone());
        let machine = cluster.nodes.iter().find(|machine| machine.name.as_str() == node);
        let leaf = table::leaf(row, cluster, machine);
        let issued = Authority::open(&wrong, cluster).unwrap().issue(&leaf).unwrap();
        let certificate = issued.form(LeafForm::Certificate);
        let bytes = certificate.bytes.expose();
        let other = forge(output, node, |tree, plan| {
            let file = tree.files.iter_mut().find(|file| file.path.as_str().ends_with(path)).unwrap();
            let place = file.path.clone();
            (file.sha256, file.contents) = (Sha256::of(bytes), Arc::new(Secret::new(bytes.to_vec())));
            let entry = plan.files.iter_mut().find(|entry| *entry.staged.as_ref().unwrap_or(&entry.path) == place);
            entry.unwrap().sha256 = Sha256::of(bytes);
        });
        says(&other, &format!("{path}: another CA than its own signed the certificate for `"));
    }
}

fn row_name(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// Another plan than `plan.json` beside a sound payload, another tree than `tree.tar`.
#[test]
fn what_lies_beside_a_payload_is_what_it_carries() {
    for (name, _, output) in breadth() {
        for (path, bytes) in &output.files {
            let (Some(said), at) = (
                match path.rsplit('/').next().unwrap() {
                    "plan.json" | "api.ndjson" => Some("is not what the payload carries"),
                    "tree.tar" => Some("tree.tar: "),
                    _ => None,
                },
                bytes.len() / 2,
            ) else {
                continue;
            };
            let mut other = bytes.clone();
            other[at] ^= 1;
            let found = findings(&output.forged(path, other));
            assert!(found.iter().any(|f| f.starts_with(path) && f.contains(said)), "{name}: {path}: {found:#?}");
        }
        // A tree that is one, but another's.
        let trees: Vec<_> = output.files.keys().filter(|path| path.ends_with("tree.tar")).collect();
        let other = output.forged(trees[0], output.files[trees[1]].clone());
        says(&other, &format!("{}: holds another ", trees[0]));
    }
}

/// A letter of the user's may be anything, but no key of the cluster, wherever it stands.
#[test]
fn keys_of_the_cluster_are_found_in_snippets_and_letters() {
    let (kit, output) = kit("cloud-init");
    assert!(output.files.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(LETTER)));
    let authority = kit.authority();
    let key = authority.shared(crate::draft::Shared::CaKey).value.bytes.expose().to_vec();
    let other = forge(output, "w1", |tree, plan| {
        let letter = tree.files.iter_mut().find(|file| file.path.as_str() == "/etc/letter").unwrap();
        (letter.sha256, letter.contents) = (Sha256::of(&key), Arc::new(Secret::new(key.clone())));
        plan.files.iter_mut().find(|entry| entry.path.as_str() == "/etc/letter").unwrap().sha256 = Sha256::of(&key);
    });
    says(&other, "w1: /etc/letter holds the key `ca`, which this node must not have");
    // In a snippet, which no plan tells of.
    let snippet =
        serde_json::json!({"write_files": [{"path": "/etc/mine", "content": String::from_utf8(key).unwrap()}]});
    let snippet = format!("#cloud-config\n{snippet}");
    let snippet = Snippet::parse(snippet.as_bytes(), Format::CloudInit, IgnitionVersion::V3_3).unwrap();
    let other = forge(output, "w1", |tree, _| tree.snippets = vec![snippet.clone()]);
    says(&other, "holds the key `ca`, which this node must not have");
}

/// Chains, pairs and tokens, whatever their algorithm.
#[test]
fn rsa_and_tokens_are_checked_as_all_else() {
    let (_, output) = kit("rsa");
    for (node, path, what) in [
        (
            "cp1",
            "/etc/kubernetes/pki/apiserver.crt",
            "apiserver.crt: the certificate for `CN=kube-apiserver` its signature",
        ),
        ("e1", "/etc/kubernetes/pki/etcd/server.crt", "server.crt: the certificate for `CN=e1` its signature"),
        (
            "w1",
            "/var/lib/kubelet/pki/kubelet.crt",
            "kubelet.crt: the certificate for `O=system:nodes, CN=system:node:w1`",
        ),
    ] {
        let other = forge(output, node, |tree, plan| {
            let file = tree
                .files
                .iter_mut()
                .find(|file| file.path.as_str().ends_with(path))
                .unwrap_or_else(|| panic!("{node} has no {path}"));
            let pem = x509_parser::pem::Pem::iter_from_buffer(file.contents.expose()).next().unwrap().unwrap();
            let mut der = pem.contents;
            *der.last_mut().unwrap() ^= 1;
            let mut text = Vec::new();
            crate::pki::pem::encode("CERTIFICATE", &der, &mut text);
            let place = file.path.clone();
            (file.sha256, file.contents) = (Sha256::of(&text), Arc::new(Secret::new(text.clone())));
            let entry = plan.files.iter_mut().find(|entry| *entry.staged.as_ref().unwrap_or(&entry.path) == place);
            entry.unwrap().sha256 = Sha256::of(&text);
        });
        says(&other, what);
    }
    // The token of a pool on another machine.
    let (_, output) = kit("pointer");
    let conf = "/bootstrap-kubelet.conf";
    let held = |node: &str| {
        let found = std::cell::RefCell::new(None);
        forge(output, node, |tree, plan| {
            let entry = plan.files.iter().find(|entry| entry.path.as_str().ends_with(conf)).unwrap();
            let place = entry.staged.clone().unwrap_or_else(|| entry.path.clone());
            *found.borrow_mut() = tree.files.iter().find(|file| file.path == place).cloned();
        });
        found.into_inner().unwrap()
    };
    let stolen = held("burst");
    let other = forge(output, "w2", |tree, plan| {
        *tree.files.iter_mut().find(|file| file.path == stolen.path).unwrap() = stolen.clone();
        let entry = plan.files.iter_mut().find(|entry| entry.path.as_str().ends_with(conf)).unwrap();
        entry.sha256 = stolen.sha256;
    });
    says(&other, "w2: ");
    says(&other, "holds the key `bootstrap-token/burst`, which this node must not have");
}
