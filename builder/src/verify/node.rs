//! One node: its payload decoded, and held against its plan, its row in the manifest, and its own CAs.

use super::{Findings, is_there};
use crate::{
    inspect::{
        NodeMaterial,
        certificate::{Certificate, ChainError},
    },
    output::{
        folder::{ReadError, Source},
        manifest::NodeRow,
    },
    pki::{Ca, KeyId},
};
use nodekiln_payload::{Artifact, NodeTree, Pointer, Profile, TarKind, decode, read_tar, tree_tar};
use nodekiln_plan::{AbsPath, FileKind, Mode, NodePlan, Sha256, paths};
use std::collections::{BTreeMap, BTreeSet};

/// Where systemd's units lie.
const UNIT_DIR: &str = "/etc/systemd/system";

/// What was read of a node.
pub(super) struct Read {
    /// The file that its payload is in: where a stub points, that is what is served.
    pub(super) file: String,
    pub(super) tree: NodeTree,
    pub(super) profile: &'static Profile,
}

/// Decodes the payload of a node; `served` are the files that stubs may point at, and those that are pointed at are
/// taken out of it.
pub(super) fn read(
    source: &dyn Source,
    row: &NodeRow,
    served: &mut BTreeSet<String>,
    found: &mut Findings,
) -> Result<Option<Read>, ReadError> {
    let folder = format!("nodes/{}", row.name);
    let Some(profile) = Profile::find(&row.profile) else {
        found.add(&folder, format!("the profile `{}` is unknown", row.profile));
        return Ok(None);
    };
    let names = profile.format.artifacts();
    let mut file = format!("{folder}/{}", names[0]);
    let mut artifacts = Vec::new();
    let stub = format!("{folder}/pointer.ign");
    if is_there(source, &stub) {
        let pointer = match Pointer::decode(source.read(&stub)?.expose()) {
            Ok(pointer) => pointer,
            Err(error) => {
                found.add(&stub, format!("does not decode: {error}"));
                return Ok(None);
            }
        };
        let name = pointer.source.rsplit('/').next().unwrap_or_default();
        file = format!("serve/{name}");
        served.remove(&file);
        if !is_there(source, &file) {
            found.add(&stub, "points at something that is not in `serve`");
            return Ok(None);
        }
        let config = Artifact { name: "config.ign", bytes: source.read(&file)? };
        if !pointer.matches(&config) {
            found.add(&stub, "points at a configuration of another digest than the one that is served");
        }
        artifacts.push(config);
    } else {
        for name in names {
            let path = format!("{folder}/{name}");
            if is_there(source, &path) {
                artifacts.push(Artifact { name, bytes: source.read(&path)? });
            }
        }
    }
    match decode(&artifacts, profile) {
        Ok(tree) => Ok(Some(Read { file, tree, profile })),
        Err(error) => {
            found.add(&file, format!("does not decode: {error}"));
            Ok(None)
        }
    }
}

/// Holds the payload against its plan, and both against the row and the files beside it.
pub(super) fn plan(
    source: &dyn Source,
    row: &NodeRow,
    read: &Read,
    found: &mut Findings,
) -> Result<Option<NodePlan>, ReadError> {
    let Read { file, tree, .. } = read;
    for (inside, name) in [(paths::PLAN, "plan.json"), (paths::API_OBJECTS, "api.ndjson")] {
        let path = format!("nodes/{}/{name}", row.name);
        let carried = tree.files.iter().find(|file| file.path.as_str() == inside);
        match (is_there(source, &path), carried) {
            (true, Some(carried)) if *source.read(&path)?.expose() == *carried.contents.expose() => {}
            (false, None) if name != "plan.json" => {}
            (true, _) => found.add(&path, "is not what the payload carries"),
            // A link, a folder: `files` says so.
            (false, _) if source.entries().contains_key(&path) => {}
            (false, _) if name == "plan.json" => found.add(&path, "is missing"),
            (false, _) => found.add(&path, "is missing, but the payload carries it"),
        }
    }
    let carried = tree.files.iter().find(|file| file.path.as_str() == paths::PLAN);
    let plan = match carried.map(|file| NodePlan::from_slice(file.contents.expose())) {
        Some(Ok(plan)) => plan,
        Some(Err(error)) => {
            found.add(file, format!("its plan cannot be read: {error}"));
            return Ok(None);
        }
        None => {
            found.add(file, "carries no plan");
            return Ok(None);
        }
    };
    // A pool's machines have names of their own.
    let host_name = (!plan.spec.pool).then_some(&row.name);
    if (&plan.spec.node, plan.spec.role, tree.node.as_ref()) != (&row.name, row.role, host_name) {
        found.add(file, "is another node's than the manifest says");
    }
    if (plan.identity.not_before, plan.identity.boot_before) != (row.not_before, row.boot_before) {
        found.add(file, "may boot at another time than the manifest says");
    }
    promised(&plan, tree, file, found);
    Ok(Some(plan))
}

/// What the plan promises to firstboot is what the payload lays down, and the other way round.
fn promised(plan: &NodePlan, tree: &NodeTree, file: &str, found: &mut Findings) {
    let mut laid: BTreeMap<String, (Mode, Sha256)> = tree
        .files
        .iter()
        .map(|file| (file.path.to_string(), (file.mode, Sha256::of(file.contents.expose()))))
        .collect();
    for unit in &tree.units {
        let text = |text: &str| (Mode::PUBLIC, Sha256::of(text.as_bytes()));
        laid.extend(unit.contents.iter().map(|body| (format!("{UNIT_DIR}/{}", unit.name), text(body))));
        laid.extend(
            unit.dropins
                .iter()
                .map(|dropin| (format!("{UNIT_DIR}/{}.d/{}", unit.name, dropin.name), text(&dropin.contents))),
        );
    }
    laid.remove(paths::PLAN);
    for entry in &plan.files {
        let place = entry.staged.as_ref().unwrap_or(&entry.path);
        let mode = if entry.kind == FileKind::Laid { entry.mode } else { Mode::PRIVATE };
        match laid.remove(place.as_str()) {
            None => found.add(file, format!("does not carry {place}, which its plan promises")),
            Some((_, digest)) if digest != entry.sha256 => {
                found.add(file, format!("carries another {place} than its plan says"));
            }
            Some((given, _)) if given != mode => {
                found.add(file, format!("lays {place} with mode {given}, its plan says {mode}"));
            }
            Some(_) => {}
        }
    }
    // What Ignition needs a file for and a plan does not: host name, presets.
    let implied = |path: &str| path == "/etc/hostname" || path.starts_with("/etc/systemd/system-preset/");
    for path in laid.keys().filter(|path| !implied(path) && path.as_str() != "/var/lib/nodekiln/fetch-ca.pem") {
        found.add(file, format!("carries {path}, which its plan does not know"));
    }
}

/// The format-neutral tree, where there is one, is the payload's.
pub(super) fn tar(source: &dyn Source, row: &NodeRow, read: &Read, found: &mut Findings) -> Result<(), ReadError> {
    let path = format!("nodes/{}/tree.tar", row.name);
    if !is_there(source, &path) {
        return Ok(());
    }
    let given = source.read(&path)?;
    let entries = match read_tar(given.expose()) {
        Ok(entries) => entries,
        Err(error) => {
            found.add(&path, format!("does not decode: {error}"));
            return Ok(());
        }
    };
    if tree_tar(&read.tree, read.profile).is_ok_and(|due| due.bytes.expose() == given.expose()) {
        return Ok(());
    }
    let inside: BTreeMap<&AbsPath, _> = entries.iter().map(|entry| (&entry.path, &entry.what)).collect();
    let same =
        |path: &AbsPath, bytes: &[u8]| matches!(inside.get(path), Some(TarKind::File(own)) if own.expose() == bytes);
    match read.tree.files.iter().find(|file| !same(&file.path, file.contents.expose())) {
        Some(file) => found.add(&path, format!("holds another {} than the payload", file.path)),
        None => found.add(&path, "is not the tree of the payload"),
    }
    Ok(())
}

/// Every certificate of ours verifies to the CA beside it that the table of certificates names, is what its key is for,
/// and lives as long as the plan says. `node` is whose payload it is.
pub(super) fn chains(plan: &NodePlan, node: &str, material: &NodeMaterial, file: &str, found: &mut Findings) {
    let authorities: Vec<&Certificate> = material.certificates.iter().filter(|certificate| certificate.is_ca).collect();
    let cas: Vec<(Ca, &Certificate)> =
        material.authorities().into_iter().filter(|(_, ca)| is_ours(plan, &ca.path)).collect();
    // The user's own certificates for an etcd of the user's may have been signed anywhere.
    let client = plan.class.preflight.external_etcd.as_ref().and_then(|etcd| etcd.cert.as_ref());
    let ours: Vec<&Certificate> = material.certificates.iter().filter(|c| !c.is_ca && is_ours(plan, &c.path)).collect();
    for leaf in &ours {
        let said = |what: &str| format!("{}: {what}", leaf.path);
        if client.is_some_and(|client| client.as_str() == leaf.path) {
            continue;
        }
        let mut why = None;
        let vouched = cas.iter().any(|(_, ca)| match leaf.verify(ca) {
            Ok(()) => true,
            Err(ChainError::Issuer) => false,
            Err(error) => {
                why = Some(error);
                false
            }
        });
        match why {
            _ if vouched => {}
            Some(error) => found.add(file, said(&format!("the certificate for `{}` {error}", leaf.subject))),
            None => found.add(file, said(&format!("no CA here signed the certificate for `{}`", leaf.subject))),
        }
        if !vouched {
            continue;
        }
        // Two CAs may have the same name: that of the row is meant, and its rows are no other's.
        let rows = cas.iter().filter(|(kind, _)| leaf.row(*kind, node).is_some()).map(|(_, ca)| ca);
        let due: Vec<_> = rows.collect();
        if due.is_empty() {
            found.add(file, said(&format!("`{}` with these usages is no certificate of nodekiln's", leaf.subject)));
        } else if !due.iter().any(|ca| leaf.verify(ca).is_ok()) {
            found.add(file, said(&format!("another CA than its own signed the certificate for `{}`", leaf.subject)));
        }
    }
    for ca in authorities.iter().filter(|ca| is_ours(plan, &ca.path)) {
        if let Err(error) = ca.verify_root() {
            found.add(file, format!("{}: the CA `{}` {error}", ca.path, ca.subject));
        }
    }
    pairs(material, file, found);
    let identity = &plan.identity;
    let ends: Vec<i64> = material.identities().filter(|c| is_ours(plan, &c.path)).map(|c| c.not_after).collect();
    if let Some(end) = ends.iter().min().filter(|end| **end < identity.boot_before) {
        found.add(file, format!("its plan lets it boot until {}, a certificate ends {end}", identity.boot_before));
    }
    let starts = material.identities().filter(|c| is_ours(plan, &c.path)).map(|c| c.not_before);
    if let Some(start) = starts.max().filter(|start| *start > identity.not_before) {
        found.add(file, format!("its plan lets it boot from {}, a certificate starts {start}", identity.not_before));
    }
}

/// A certificate and the key that lies beside it belong together.
fn pairs(material: &NodeMaterial, file: &str, found: &mut Findings) {
    let mut checked = BTreeSet::new();
    for certificate in &material.certificates {
        let Some(stem) = certificate.path.strip_suffix(".crt") else { continue };
        let beside = format!("{stem}.key");
        let keys: Vec<_> = material.keys.iter().filter(|key| key.path == beside).collect();
        let belongs = keys.iter().any(|key| key.spki == Some(certificate.spki));
        // The first of a bundle is the one that signs.
        if checked.insert(stem) && !keys.is_empty() && !belongs {
            found.add(file, format!("{beside}: does not belong to the certificate beside it"));
        }
    }
}

/// Whether nodekiln lays what is at `path`: users may not.
pub(super) fn is_ours(plan: &NodePlan, path: &str) -> bool {
    let certificates = plan.class.kubelet.ca.parent();
    let certificates = certificates.as_ref().map_or("/etc/kubernetes/pki", AbsPath::as_str);
    [certificates, "/etc/kubernetes", "/var/lib/kubelet", paths::STATE_DIR]
        .iter()
        .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

/// Keys that lie where only ours do, and are none of ours.
pub(super) fn strangers(plan: &NodePlan, material: &NodeMaterial, file: &str, found: &mut Findings) {
    for key in material.keys.iter().filter(|key| key.id.is_none() && is_ours(plan, &key.path)) {
        // The key of a client of an etcd of the user's.
        let known = material.certificates.iter().any(|certificate| Some(certificate.spki) == key.spki);
        if !known {
            found.add(file, format!("{}: holds a private key without a certificate", key.path));
        }
    }
}

/// The ids of the keys that a node's own certificates and public keys tell of.
pub(super) fn ids(material: &NodeMaterial) -> impl Iterator<Item = (Sha256, KeyId)> + '_ {
    material.ids.iter().map(|(spki, id)| (*spki, id.clone()))
}
