//! A build over an older output comes to what a fresh one does, byte for byte: whatever was edited in between, whatever
//! stands in the older output, and whichever nodes are built.

use super::{
    built::{self, How, Outcome},
    cases,
    cluster::{self, PATCHES},
    files, node, over_tapes,
    tape::Tape,
};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nodekiln::{config::Loaded, firstboot::Firstboot, output::WriteError, pki::Authority, secrets::Secrets};
use nodekiln_plan::{NodeName, Sha256};
use nodekiln_tests::tree::Tree;
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Instant,
};

/// What an output is made of.
struct Inputs {
    file: Value,
    folder: tempfile::TempDir,
    firstboot: String,
    /// Made for the first that is read.
    secrets: Option<Secrets>,
    tree: bool,
}

/// Them, read.
struct Ready {
    loaded: Loaded,
    keys: (Authority, Sha256),
    firstboot: Vec<Firstboot>,
}

impl Inputs {
    /// `None`: refused.
    fn ready(&mut self) -> Result<Option<Ready>> {
        let firstboot = built::firstboot(&self.firstboot);
        let Outcome::Made(loaded) = built::read(&self.file.to_string(), self.folder.path(), &firstboot)? else {
            return Ok(None);
        };
        if self.secrets.is_none() {
            self.secrets = Some(built::secrets(&loaded.cluster)?);
        }
        let keys = built::open(self.secrets.as_mut().context("they are there")?, &loaded.cluster)?;
        Ok(Some(Ready { loaded, keys, firstboot }))
    }

    /// Over what stands at `target`.
    fn build(&self, ready: &Ready, target: &Path, only: &BTreeSet<NodeName>) -> Result<Outcome<Tree>, WriteError> {
        let how = How { tree: self.tree, only: only.clone() };
        built::build(&ready.loaded, &ready.keys, &ready.firstboot, target, &how)
    }

    /// Changes something, and says what; nothing where it does not apply.
    fn edit(&mut self, tape: &mut Tape<'_>) -> Result<Option<&'static str>> {
        let nodes = self.file["nodes"].as_array().context("there are nodes")?;
        let workers: Vec<_> = (0..nodes.len()).filter(|index| nodes[*index]["role"] == "worker").collect();
        let worker = workers.get(tape.below(workers.len())).copied();
        let count = nodes.len();
        let mut seed = [0_u16; 60];
        seed.fill_with(|| u16::try_from(tape.below(usize::from(u16::MAX))).unwrap_or(0));
        let any = tape.below(count);
        Ok(Some(match tape.below(12) {
            0 => {
                self.file["nodes"][any]["uuid"] = json!("6f1b0d0e-7c1c-4f2a-9c55-00000000ffff");
                "a node's uuid"
            }
            1 => {
                let Some(worker) = worker else { return Ok(None) };
                self.file["nodes"][worker]["labels"] = json!({"edited": "yes"});
                "a worker's labels"
            }
            2 => {
                let Some(worker) = worker else { return Ok(None) };
                self.nodes()?.remove(worker);
                "a worker removed"
            }
            3 => {
                let mut new = json!({"name": "new", "role": "worker"});
                new["address"] = match &self.file["nodes"][0]["address"] {
                    Value::Array(all) => all.iter().map(|one| json!(other(one))).collect(),
                    one => json!(other(one)),
                };
                self.nodes()?.push(new);
                "a worker added"
            }
            4 => {
                let Some(worker) = worker else { return Ok(None) };
                self.file["nodes"][worker]["name"] = json!("renamed");
                "a worker renamed"
            }
            5 => {
                built::renew(self.secrets.as_mut().context("it was read once")?)?;
                "the secrets renewed"
            }
            6 => {
                self.firstboot.push_str(" of another build");
                "another firstboot"
            }
            7 => {
                for name in files::CHANGEABLE {
                    let path = self.folder.path().join(name);
                    let text = fs::read_to_string(&path)?;
                    let changed = files::changed(name, &text);
                    ensure!(changed != text, "{name} is not changed");
                    fs::write(&path, changed)?;
                }
                "the files beside cluster.yaml"
            }
            8 => {
                self.tree = !self.tree;
                "--tree"
            }
            9 => {
                let version = self.file["kubernetesVersion"].as_str().unwrap_or_default().to_owned();
                let minor = PATCHES.iter().find(|(minor, _)| version.starts_with(&format!("v1.{minor}.")));
                let (minor, patch) = minor.context("it is one of them")?;
                let other = if version.ends_with(".0") { *patch } else { 0 };
                // Of nodes that say a version none may be newer.
                let says = |entry: &Value| entry.get("kubernetesVersion").is_some();
                let all = [&self.file["nodes"], &self.file["pools"]];
                if all.iter().any(|list| list.as_array().into_iter().flatten().any(says)) {
                    return Ok(None);
                }
                self.file["kubernetesVersion"] = json!(format!("v1.{minor}.{other}"));
                "another patch of Kubernetes"
            }
            10 => {
                self.file["kernel"] = node::kernel(&mut Tape::new(&seed));
                "the kernel's settings"
            }
            _ => {
                self.file["kubelet"] = json!({"maxPods": 77});
                "the kubelet's configuration"
            }
        }))
    }

    fn nodes(&mut self) -> Result<&mut Vec<Value>> {
        self.file["nodes"].as_array_mut().context("there are nodes")
    }
}

/// An address of the same network that no node has.
fn other(address: &Value) -> String {
    let text = address.as_str().unwrap_or_default();
    let at = text.rfind(['.', ':']).map_or(0, |at| at + 1);
    format!("{}99", &text[..at])
}

/// Flips a bit somewhere in an output, or takes a file away, and says where.
fn damage(target: &Path, tree: &Tree, tape: &mut Tape<'_>) -> Result<Option<String>> {
    let files: Vec<_> = tree.iter().filter(|(_, (_, digest))| !digest.is_empty()).map(|(name, _)| name).collect();
    let name = files[tape.below(files.len())];
    // Without it the folder is nobody's, and is refused.
    if name == "manifest.json" || name == "ca.crt" {
        return Ok(None);
    }
    let path = target.join(name);
    if tape.one_in(8) {
        fs::remove_file(&path)?;
        return Ok(Some(format!("{name} gone")));
    }
    let mut bytes = fs::read(&path)?;
    let (at, bit) = (tape.below(bytes.len()), tape.below(8));
    let Some(byte) = bytes.get_mut(at) else { return Ok(None) };
    *byte ^= 1 << bit;
    fs::write(&path, bytes)?;
    Ok(Some(format!("bit {bit} of byte {at} of {name} flipped")))
}

/// How often an edit was made.
type Counts = BTreeMap<String, usize>;

#[test]
fn builds_over_older_outputs_come_to_what_fresh_ones_do() -> Result<()> {
    let started = Instant::now();
    let (count, _) = cases((60, 1))?;
    let counts = RefCell::new(Counts::new());
    over_tapes(count, |tape| one(tape, &mut counts.borrow_mut()))?;
    let counts = counts.into_inner();
    eprintln!("{count} random edits: {counts:?}; {:.1} s", started.elapsed().as_secs_f64());
    let rare = ["a worker added", "the secrets renewed", "--node", "damage", "the files beside cluster.yaml"]
        .into_iter()
        .filter(|what| counts.get(*what).copied().unwrap_or(0) == 0)
        .collect::<Vec<_>>();
    ensure!(rare.is_empty(), "never tried: {rare:?}");
    Ok(())
}

/// One cluster, edited twice.
fn one(tape: &[u16], counts: &mut Counts) -> Result<()> {
    // The edits come first on the tape: what a cluster reads is of no certain length.
    let (edits, cluster) = tape.split_at(160);
    let mut edits = Tape::new(edits);
    let file = cluster::cluster(&mut Tape::new(cluster));
    if file["encryptionAlgorithm"].as_str().is_some_and(|name| name.starts_with("RSA")) {
        return Ok(());
    }
    let firstboot = "nodekiln-firstboot of the tests".to_owned();
    let mut inputs = Inputs { file, folder: files::folder()?, firstboot, secrets: None, tree: edits.one_in(4) };
    let place = files::scratch()?;
    let (target, alone) = (place.path().join("out"), place.path().join("alone"));
    let Some(ready) = inputs.ready()? else { return Ok(()) };
    let Outcome::Made(mut before) = inputs.build(&ready, &target, &BTreeSet::new())? else { return Ok(()) };
    let (mut said, mut last) = (Vec::new(), ready.keys.1);
    for _ in 0..2 {
        let kept = (inputs.firstboot.clone(), last);
        let Some(edit) = inputs.edit(&mut edits)? else { continue };
        said.push(edit.to_owned());
        let Some(ready) = inputs.ready().with_context(|| said.join(", "))? else { return Ok(()) };
        let fresh = match inputs.build(&ready, &alone, &BTreeSet::new())? {
            Outcome::Made(tree) => tree,
            Outcome::Refused(_) => return Ok(()),
        };
        fs::remove_dir_all(&alone)?;
        *counts.entry(edit.to_owned()).or_default() += 1;
        if edits.one_in(3) {
            let is_same_base = kept == (inputs.firstboot.clone(), ready.keys.1);
            single(&inputs, &ready, &target, (&before, &fresh), is_same_base, &mut edits)
                .with_context(|| format!("--node after {}", said.join(", ")))?;
            *counts.entry("--node".to_owned()).or_default() += 1;
        }
        if edits.one_in(2)
            && let Some(what) = damage(&target, &nodekiln_tests::tree::tree(&target)?, &mut edits)?
        {
            said.push(what);
            *counts.entry("damage".to_owned()).or_default() += 1;
        }
        let Outcome::Made(again) = inputs.build(&ready, &target, &BTreeSet::new())? else { bail!("refused this time") };
        last = ready.keys.1;
        same(&fresh, &again).with_context(|| format!("after {}", said.join(", ")))?;
        before = again;
    }
    Ok(())
}

/// `--node` for one of them: its files are the new ones, the others' are the older; and it is refused where that cannot be.
fn single(
    inputs: &Inputs,
    ready: &Ready,
    target: &Path,
    (before, fresh): (&Tree, &Tree),
    is_same_base: bool,
    tape: &mut Tape<'_>,
) -> Result<()> {
    let names: Vec<&NodeName> = ready.loaded.cluster.payloads().map(|node| &node.name).collect();
    let chosen = names[tape.below(names.len())];
    let of = |name: &str| format!("nodes/{name}/");
    let has = |tree: &Tree, name: &str| tree.keys().any(|path| path.starts_with(&of(name)));
    let complete = names.iter().all(|name| *name == chosen || has(before, name.as_str()));
    let result = inputs.build(ready, target, &[chosen.clone()].into());
    let tree = match result {
        Ok(Outcome::Made(tree)) => tree,
        Ok(Outcome::Refused(codes)) => bail!("refused: {codes:?}"),
        Err(WriteError::Only(_)) if !is_same_base || !complete => return Ok(()),
        Err(error) => return Err(anyhow!(error)),
    };
    ensure!(is_same_base && complete, "other nodes were kept that another firstboot or other secrets made");
    for (path, found) in &tree {
        let Some(node) = path.strip_prefix("nodes/").and_then(|path| path.split_once('/')).map(|(node, _)| node) else {
            continue;
        };
        let expected = if node == chosen.as_str() { fresh } else { before };
        ensure!(expected.get(path) == Some(found), "{path} is not what --node {chosen} makes of it");
    }
    Ok(())
}

/// The first file in which two outputs differ.
fn same(fresh: &Tree, again: &Tree) -> Result<()> {
    for path in fresh.keys().chain(again.keys()) {
        ensure!(fresh.get(path) == again.get(path), "{path} is not as a fresh build makes it");
    }
    Ok(())
}
