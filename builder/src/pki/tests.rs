//! The whole room at once: real nodes are planned and filled, then searched as if nobody knew what was put in.

use super::{
    Authority, KeyId, fill, scan,
    scan::Found,
    table::{self, Custody},
};
use crate::{config, node, secrets};
use nodekiln_plan::{FileKind, Mode, Role};
use std::collections::BTreeMap;

/// A firstboot program: no ELF, for nothing here runs it.
fn sources() -> node::Sources {
    use config::Arch::{Amd64, Arm64};
    let bytes: std::sync::Arc<[u8]> = vec![0x7f; 1000].into();
    node::Sources::new([(Amd64, bytes.clone()), (Arm64, bytes)].into())
}

/// Each key in the payload of each node of the example, as `NODE PATH KEY`.
fn found(example: &str) -> Vec<String> {
    let text = config::examples::find(example).unwrap().text;
    let cluster = config::load_str(example, text, None).unwrap().cluster;
    let authority = Authority::open(&secrets::tests::fixture(1), &cluster).unwrap();
    let mut lines = Vec::new();
    for node in &cluster.nodes {
        let filled = fill(&authority, &node::plan(&cluster, node, &sources()).unwrap()).unwrap();
        let plan = crate::pki::fixture::plan(&filled);
        let own: BTreeMap<_, _> = filled.keys.iter().map(|(key, spki)| (*spki, key.clone())).collect();
        let mut seen = Vec::new();
        for file in &filled.tree.files {
            let mut keys: Vec<KeyId> = Vec::new();
            let (found, symmetric) = scan::search(file.contents.expose(), authority.needles());
            for key in found {
                let Found::Key(spki) = key else { panic!("{}: a key that cannot be read", file.path) };
                let known = own.get(&spki).cloned().or_else(|| authority.identify(&spki));
                keys.push(known.unwrap_or_else(|| panic!("{}: nobody's key", file.path)));
            }
            keys.extend(symmetric);
            for key in keys {
                assert!(key.may_be_on(&crate::pki::table::Holder::of(&cluster, node)), "{}: {key}", file.path);
                assert_eq!(file.mode, Mode::PRIVATE, "{}: {key}", file.path);
                let erased = plan.files.iter().any(|entry| {
                    entry.kind == FileKind::Credential && entry.staged.as_ref().unwrap_or(&entry.path) == &file.path
                });
                assert_eq!(key.custody() == Custody::UntilFinished, erased, "{}: {key}", file.path);
                lines.push(format!("{} {} {key}", node.name, file.path));
                seen.push(key);
            }
        }
        seen.sort();
        seen.dedup();
        // RSA keys are kept for the leaves that the table tells of: no draft has another.
        let leaves = table::leaves(&cluster);
        for key in &seen {
            let KeyId::Leaf(row, owner) = key else { continue };
            assert!(leaves.contains(&(*row, owner.clone())), "{key} is not among the cluster's leaves");
        }
        // Nothing is told that is not there, and nothing is there that was not told.
        assert_eq!(seen, filled.keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), "{}", node.name);
        assert_eq!(node.role == Role::ControlPlane, seen.contains(&KeyId::ServiceAccount));
    }
    lines.sort();
    lines
}

#[test]
fn every_key_of_the_example_ha() {
    let expected: Vec<&str> = include_str!("placement_of_ha.txt").lines().collect();
    assert_eq!(found("ha"), expected);
}

#[test]
fn every_key_of_the_example_single() {
    assert!(!found("single").is_empty());
}
