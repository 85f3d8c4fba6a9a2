//! The keys of the whole output: who holds which, found anew and held against placement.json.

use super::{Findings, is_there, node};
use crate::{
    inspect::{NodeMaterial, certificate::Certificate, material},
    output::{
        Part, Parts,
        folder::{ReadError, Source},
        manifest::{FileRow, MANIFEST, Manifest, NodeRow},
        placed::Placed,
        placement::{self, Known, PLACEMENT, Placement, Searched, Violation},
    },
    pki::{Ca, KeyId, scan::Needles, table::Holder},
};
use nodekiln_payload::Verification;
use nodekiln_plan::{NodeName, Secret, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Decodes every payload and checks it.
pub(super) fn all(
    source: &dyn Source,
    manifest: &Manifest,
    rows: &BTreeMap<&str, &FileRow>,
    found: &mut Findings,
) -> Result<(), ReadError> {
    let mut served: BTreeSet<String> =
        rows.keys().filter(|path| path.starts_with("serve/")).map(|path| (*path).to_owned()).collect();
    let mut ids: BTreeMap<Sha256, KeyId> = BTreeMap::new();
    let mut symmetric: Vec<(KeyId, Secret)> = Vec::new();
    let bundle = if is_there(source, "ca.crt") { Some(source.read("ca.crt")?) } else { None };
    let mut starts: BTreeSet<i64> = BTreeSet::new();
    let mut signs = false;
    let mut generations: BTreeMap<u64, &NodeName> = BTreeMap::new();
    // What is known of all nodes tells whose the keys of each are: the payloads are read once for the one and once for
    // the other, so that no two of them are in memory at a time.
    for row in &manifest.nodes {
        let Some(read) = node::read(source, row, &mut served, found)? else { continue };
        let plan = node::plan(source, row, &read, found)?;
        node::tar(source, row, &read, found)?;
        let files = read.tree.files.iter().map(|file| (file.path.as_str(), file.contents.expose()));
        let mut material = NodeMaterial::of(&row.name, files);
        if let Some(etcd) = plan.as_ref().and_then(|plan| plan.class.preflight.external_etcd.as_ref()) {
            material.not_ours(etcd);
        }
        ids.extend(node::ids(&material));
        symmetric.extend(material.symmetric.iter().cloned());
        if let Some(plan) = &plan {
            generations.entry(plan.identity.generation).or_insert(&row.name);
            // Whoever keeps one node's payload of before a renewal makes all of its own digests fit.
            if let Some((other, of)) = generations.iter().find(|(other, _)| **other != plan.identity.generation) {
                let own = plan.identity.generation;
                found
                    .add(&read.file, format!("is of generation {own} of the certificates, {of} of generation {other}"));
            }
            signs |= material.keys.iter().any(|key| key.id == Some(KeyId::Ca(Ca::Kubernetes)));
            starts.extend(material.identities().filter(|c| c.name.is_some()).map(|c| c.not_before));
            node::chains(plan, row.name.as_str(), &material, &read.file, found);
            node::strangers(plan, &material, &read.file, found);
            let own = read.tree.files.iter().find(|file| file.path == plan.class.kubelet.ca);
            if let (Some(own), Some(bundle)) = (own, &bundle)
                && own.contents.expose() != bundle.expose()
            {
                found.add(&read.file, format!("{}: is another bundle of CAs than ca.crt", own.path));
            }
        }
        for fetch in &read.tree.fetches {
            let Verification::Sha256(digest) = &fetch.verification else { continue };
            if fetch.url.ends_with(&format!("/blobs/{digest}")) {
                let path = format!("serve/blobs/{digest}");
                served.remove(&path);
                if !is_there(source, &path) {
                    found.add(&path, format!("is missing, but {} fetches it", row.name));
                }
            }
        }
    }
    // A CA elsewhere gives each certificate a life of its own.
    if !signs {
        starts.clear();
    }
    for path in served {
        found.add(&path, "is served, but no payload asks for it");
    }
    kubeconfigs(source, manifest, rows, &Cluster { bundle: bundle.as_ref(), starts: &starts }, &mut ids, found)?;
    symmetric.sort_by(|a, b| (&a.0, a.1.expose()).cmp(&(&b.0, b.1.expose())));
    symmetric.dedup();
    let needles = Needles::new(symmetric.iter().map(|(id, secret)| (id.clone(), secret.expose())));
    placed(source, manifest, &ids, &needles, found)
}

/// What files that are no node's are held against.
struct Cluster<'a> {
    /// ca.crt.
    bundle: Option<&'a Secret>,
    /// When the nodes' own certificates begin: those of one CA all at once, for they are of one generation. When they end is
    /// also up to certificateValidityPeriod, and `--node` keeps certificates of before it was changed. Empty where it says
    /// nothing.
    starts: &'a BTreeSet<i64>,
}

/// admin.conf and its kin: their certificates are the cluster's, and their keys are theirs.
fn kubeconfigs(
    source: &dyn Source,
    manifest: &Manifest,
    rows: &BTreeMap<&str, &FileRow>,
    cluster: &Cluster<'_>,
    ids: &mut BTreeMap<Sha256, KeyId>,
    found: &mut Findings,
) -> Result<(), ReadError> {
    let Some(name) = manifest.nodes.first().map(|row| &row.name) else { return Ok(()) };
    let Cluster { bundle, starts } = *cluster;
    let authorities: Vec<Certificate> =
        bundle.map(|bundle| material::of_file("ca.crt", bundle.expose()).certificates).unwrap_or_default();
    if authorities.is_empty() && bundle.is_some() {
        found.add("ca.crt", "holds no certificate");
    }
    for path in rows.keys().filter(|path| path.ends_with(".conf") && !path.contains('/')) {
        let bytes = source.read(path)?;
        let held = NodeMaterial::of(name, std::iter::once((*path, bytes.expose())));
        let leaves: Vec<_> = held.certificates.iter().filter(|certificate| !certificate.is_ca).collect();
        if leaves.is_empty() || held.kubeconfigs.is_empty() {
            found.add(path, "is no kubeconfig with a certificate");
        }
        for leaf in leaves {
            let vouched = authorities.iter().any(|ca| leaf.verify(ca).is_ok());
            if !vouched {
                found.add(path, format!("no CA of ca.crt signed the certificate for `{}`", leaf.subject));
            }
            if !starts.is_empty() && !starts.contains(&leaf.not_before) {
                found.add(path, "its certificate is of another generation than those of the nodes");
            }
            if !held.keys.iter().any(|key| key.spki == Some(leaf.spki)) {
                found.add(path, "its key does not belong to its certificate");
            }
        }
        ids.extend(held.ids);
    }
    Ok(())
}

/// Looks for all known keys in every payload, and compares with placement.json.
fn placed(
    source: &dyn Source,
    manifest: &Manifest,
    ids: &BTreeMap<Sha256, KeyId>,
    needles: &Needles,
    found: &mut Findings,
) -> Result<(), ReadError> {
    let mut nodes = BTreeMap::new();
    let mut complete = true;
    for row in &manifest.nodes {
        // Its findings were made the first time.
        let Some(read) = node::read(source, row, &mut BTreeSet::new(), &mut Findings::default())? else {
            complete = false;
            continue;
        };
        let known = Known {
            keys: &|spki| ids.get(spki).cloned(),
            symmetric: needles,
            user_files: &|_| true,
            searched: &Searched::default(),
        };
        let holder = Holder { name: row.name.clone(), duties: row.duties.to_vec() };
        match placement::of_node(&holder, &read.tree, &known) {
            Ok(holdings) => {
                nodes.insert(row.name.clone(), holdings);
            }
            Err(violations) => {
                complete = false;
                for violation in violations {
                    let (Violation::Misplaced { .. } | Violation::Unknown { .. }) = &violation;
                    found.add(&read.file, violation.to_string());
                }
            }
        }
    }
    if !complete || !is_there(source, PLACEMENT) {
        return Ok(());
    }
    let said: Placement = match serde_json::from_slice(source.read(PLACEMENT)?.expose()) {
        Ok(said) => said,
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            found.add(PLACEMENT, format!("cannot be read: {place}"));
            return Ok(());
        }
    };
    seals(manifest, &said, found);
    for name in nodes.keys().chain(said.nodes.keys()).collect::<BTreeSet<&NodeName>>() {
        let (is, said) = (nodes.get(name), said.nodes.get(name));
        if is != said {
            found.add(PLACEMENT, format!("does not say what the payload of {name} holds{}", difference(is, said)));
        }
    }
    let part =
        |row: &NodeRow| nodes.remove(&row.name).map(|holdings| Part { row: row.clone(), files: Vec::new(), holdings });
    let parts: Parts = manifest.nodes.iter().filter_map(part).collect();
    let is = Placed::new(&parts, ids.values().cloned());
    if !is.keys().eq(said.keys.iter().map(|(key, holders)| (key.clone(), holders.iter().collect()))) {
        found.add(PLACEMENT, "does not say who holds which key");
    }
    if let Some(key) = said.on_no_node.iter().find(|key| is.is_held(key)) {
        found.add(PLACEMENT, format!("says that no node holds `{key}`"));
    }
    // Of those whose certificates the output has: a CA's key that stays in secrets.yaml is told by its certificate.
    if let Some(key) = is.on_no_node.iter().find(|key| !said.on_no_node.contains(*key)) {
        found.add(PLACEMENT, format!("does not say that no node holds `{key}`"));
    }
    Ok(())
}

/// The rows of each node are as they were written together.
fn seals(manifest: &Manifest, said: &Placement, found: &mut Findings) {
    let mut files: BTreeMap<&NodeName, Vec<FileRow>> = BTreeMap::new();
    for row in &manifest.files {
        if let Some(node) = &row.node {
            files.entry(node).or_default().push(row.clone());
        }
    }
    for row in &manifest.nodes {
        let holdings = said.nodes.get(&row.name).map(Vec::as_slice).unwrap_or_default();
        if Part::seal(row, files.get(&row.name).map(Vec::as_slice).unwrap_or_default(), holdings) != row.seal {
            found.add(MANIFEST, format!("its rows of {} are not what their seal says", row.name));
        }
    }
}

/// The first key that only one of the two has.
fn difference(is: Option<&Vec<placement::Holding>>, said: Option<&Vec<placement::Holding>>) -> String {
    let (is, said) = (is.map(Vec::as_slice).unwrap_or_default(), said.map(Vec::as_slice).unwrap_or_default());
    let missing = is.iter().find(|held| !said.contains(held)).map(|held| format!(": {} in {}", held.key, held.path));
    let extra = said.iter().find(|held| !is.contains(held)).map(|held| format!(": not {} in {}", held.key, held.path));
    missing.or(extra).unwrap_or_default()
}
