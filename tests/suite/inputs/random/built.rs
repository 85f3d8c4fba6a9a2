//! Random clusters made by the library, as the command makes them, into a folder.

use super::files::scratch;
use anyhow::{Context as _, Result, anyhow};
use nodekiln::{
    bake::{BakeError, Oven},
    config::{self, Algorithm, Arch, Cluster, Failure, Loaded},
    draft,
    draft::Blob,
    firstboot::Firstboot,
    node::{self, Sources},
    output::{self, Built, WriteError},
    pki::Authority,
    secrets::{CaOptions, Secrets},
};
use nodekiln_plan::{NodeName, Sha256};
use nodekiln_tests::{
    command::Cmd,
    tools::nodekiln,
    tree::{Tree, tree},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

/// 2026-05-28: before today, so that nothing here depends on the day.
pub const NOW: i64 = 1_780_000_000;

/// What came of a cluster.
pub enum Outcome<T> {
    /// It was made.
    Made(T),
    /// It was refused, by these codes.
    Refused(BTreeSet<String>),
}

/// Secrets by algorithm. They gain what clusters need, and no cluster says anything else about them: so a key of RSA is
/// made once for all clusters.
static SECRETS: LazyLock<Mutex<BTreeMap<String, Secrets>>> = LazyLock::new(Mutex::default);

/// Looks random, and is always the same.
fn random(buffer: &mut [u8]) -> Result<(), Infallible> {
    static LAST: Mutex<[u8; 32]> = Mutex::new([0; 32]);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    for chunk in buffer.chunks_mut(32) {
        *last = *Sha256::of(&*last).as_bytes();
        chunk.copy_from_slice(&last[..chunk.len()]);
    }
    Ok(())
}

/// All that a cluster of one control plane `n0` needs, made by the command: without optimization it would take minutes.
fn rsa(algorithm: Algorithm) -> Result<Secrets> {
    let folder = scratch()?;
    let name = match algorithm {
        Algorithm::Rsa2048 => "RSA-2048",
        Algorithm::Rsa3072 => "RSA-3072",
        _ => "RSA-4096",
    };
    let text = format!(
        "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nencryptionAlgorithm: {name}\n\
         controlPlaneEndpoint: 192.0.2.9:6443\nloadBalancer: kube-vip\nos: {{profile: flatcar}}\n\
         networking: {{podSubnet: 10.244.0.0/16}}\nnodes: [{{name: n0, role: control-plane, address: 192.0.2.1}}]\n"
    );
    fs::write(folder.path().join("cluster.yaml"), text)?;
    Cmd::new(["env".as_ref(), "-C".as_ref(), folder.path().as_os_str()])
        .args([nodekiln()?])
        .args(["build", "-q"])
        .limit(Duration::from_secs(300))
        .ok()?;
    let bytes = fs::read(folder.path().join("secrets.yaml")).context("reading secrets.yaml")?;
    Secrets::parse(&bytes).map_err(|findings| anyhow!("{findings:?}"))
}

/// The keys of a cluster, and the fingerprint of the secrets that they are of.
pub fn keys(cluster: &Cluster) -> Result<(Authority, Sha256)> {
    with_secrets(cluster, |secrets| open(secrets, cluster))
}

/// Secrets of a cluster that nobody else adds to.
pub fn secrets(cluster: &Cluster) -> Result<Secrets> {
    with_secrets(cluster, |secrets| {
        Secrets::parse(secrets.to_vec().expose()).map_err(|findings| anyhow!("parsing secrets: {findings:?}"))
    })
}

/// Makes what these secrets lack, and opens them.
pub fn open(secrets: &mut Secrets, cluster: &Cluster) -> Result<(Authority, Sha256)> {
    let now = secrets.renewed_at();
    secrets.complete(cluster, now, random).context("completing secrets")?;
    Ok((Authority::open(secrets, cluster).context("opening secrets")?, secrets.fingerprint()))
}

/// Renews them, a day later.
pub fn renew(secrets: &mut Secrets) -> Result<()> {
    let later = secrets.renewed_at() + 24 * 3600;
    secrets.renew(later, &mut random).context("renewing secrets")
}

fn with_secrets<T>(cluster: &Cluster, work: impl FnOnce(&mut Secrets) -> Result<T>) -> Result<T> {
    let mut all = SECRETS.lock().map_err(|_| anyhow!("another test failed over the secrets"))?;
    let name = format!("{:?}", cluster.algorithm);
    if !all.contains_key(&name) {
        let validity = 87_600 * 3600;
        let options = CaOptions { validity, ..CaOptions::of(cluster, NOW) };
        let made = match cluster.algorithm.is_rsa() {
            true => rsa(cluster.algorithm)?,
            false => Secrets::new(options, random).context("making secrets")?,
        };
        all.insert(name.clone(), made);
    }
    work(all.get_mut(&name).context("they are there")?)
}

/// A firstboot that is none, for both architectures.
pub fn firstboot(text: &str) -> Vec<Firstboot> {
    [Arch::Amd64, Arch::Arm64].map(|arch| Firstboot { arch, program: Blob::of(text.as_bytes().to_vec()) }).into()
}

/// For planning.
pub fn sources(firstboot: &[Firstboot]) -> Sources {
    Sources::hashed(firstboot.iter().map(|binary| (binary.arch, binary.program.clone())))
}

/// Reads a cluster.yaml and plans its nodes.
pub fn read(text: &str, folder: &Path, firstboot: &[Firstboot]) -> Result<Outcome<Loaded>> {
    let loaded = match config::load_str("cluster.yaml", text, Some(folder)) {
        Ok(loaded) => loaded,
        Err(Failure::Findings(found)) => {
            let errors = found.iter().filter(|finding| finding.severity == config::Severity::Error);
            let codes: BTreeSet<_> = errors.map(|finding| finding.code.to_string()).collect();
            if codes.iter().all(|code| EXPECTED.contains(&code.as_str())) {
                return Ok(Outcome::Refused(codes));
            }
            let errors = found.iter().filter(|finding| finding.severity == config::Severity::Error);
            let said: Vec<_> =
                errors.map(|error| format!("{}: {}: {}", error.code, error.path, error.message)).collect();
            return Err(anyhow!("{}", said.join("; ")));
        }
        Err(failure) => return Err(failure.into()),
    };
    let sources = sources(firstboot);
    for node in loaded.cluster.payloads() {
        node::plan(&loaded.cluster, node, &sources).map_err(|refusals| {
            let said: Vec<_> = refusals.iter().map(ToString::to_string).collect();
            anyhow!("{}", said.join("; "))
        })?;
    }
    Ok(Outcome::Made(loaded))
}

/// Findings that a random cluster may have: what the generator cannot know, as the size of a payload.
const EXPECTED: [&str; 1] = ["NK0702"];

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// With `tree.tar`.
    pub tree: bool,
    /// `--node`.
    pub only: BTreeSet<NodeName>,
}

/// Builds into `target`.
pub fn build(
    loaded: &Loaded,
    (authority, secrets): &(Authority, Sha256),
    firstboot: &[Firstboot],
    target: &Path,
    how: &How,
) -> Result<Outcome<Tree>, WriteError> {
    let built = Built {
        cluster: &loaded.cluster,
        sources: &sources(firstboot),
        authority,
        secrets: *secrets,
        inputs: &loaded.inputs,
        firstboot,
        only: &how.only,
        tree: how.tree,
        each: &|| ControlFlow::Continue(()),
    };
    match output::write(&built, target, || {}, || Ok(())) {
        Ok(_) => {}
        Err(WriteError::Bake(errors)) if errors.iter().all(|error| matches!(error, BakeError::Budget { .. })) => {
            return Ok(Outcome::Refused([config::code::BUDGET.to_string()].into()));
        }
        Err(error) => return Err(error),
    }
    let tree = tree(target).map_err(|error| WriteError::Other("a tree", error.into()))?;
    Ok(Outcome::Made(tree))
}

/// How [`baked`] calls the draft.
pub const DRAFT: &str = "draft";

/// Digests of a node's draft and of the files of its payload, without any folder.
pub fn baked(
    cluster: &Cluster,
    (authority, secrets): &(Authority, Sha256),
    sources: &Sources,
    index: usize,
) -> Result<Outcome<BTreeMap<String, Sha256>>> {
    let node = cluster.payloads().nth(index).context("there are so many")?;
    let draft = node::plan(cluster, node, sources).map_err(|_| anyhow!("planned a moment ago"))?;
    let oven = Oven::new(cluster, authority, *secrets, false);
    let baked = match oven.bake(node, &draft, oven.key(node, &draft)?) {
        Ok(baked) => baked,
        Err(BakeError::Budget { .. }) => return Ok(Outcome::Refused([config::code::BUDGET.to_string()].into())),
        Err(error) => return Err(error.into()),
    };
    let files = baked.files.iter().map(|file| (file.path.clone(), Sha256::of(file.bytes.expose())));
    let draft = (DRAFT.to_owned(), Sha256::of(draft::render(&draft).as_bytes()));
    Ok(Outcome::Made(files.chain([draft]).collect()))
}
