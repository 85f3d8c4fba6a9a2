//! Random clusters, over every key of the schema: each builds, verifies, and always comes to the same bytes; and a build
//! over an older output comes to what a fresh one does, whatever was changed in between.

mod built;
mod cluster;
mod coverage;
mod edits;
mod files;
mod node;
mod tape;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use built::{How, Outcome};
use nodekiln::{config, output::folder::Folder, verify::verify};
use nodekiln_plan::Sha256;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, env, fs, path::Path, thread, time::Instant};
use tape::{LENGTH, Tape};

/// How many clusters, and of how many one is made whole. `NODEKILN_CLUSTERS=10000` makes so many, all of them whole.
fn cases(default: (u32, usize)) -> Result<(u32, usize)> {
    match env::var("NODEKILN_CLUSTERS") {
        Ok(count) => Ok((count.parse().context("NODEKILN_CLUSTERS")?, 1)),
        Err(_) => Ok(default),
    }
}

/// Runs `test` over tapes: always the same, but `NODEKILN_SEED` chooses others.
fn over_tapes(count: u32, test: impl Fn(&[u16]) -> Result<()>) -> Result<()> {
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let seed = env::var("NODEKILN_SEED").map_or(Ok(0), |seed| seed.parse::<u64>()).context("NODEKILN_SEED")?;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let failed = runner.run(&vec(any::<u16>(), LENGTH), |tape| {
        test(&tape).map_err(|error| {
            // Said at once: making it smaller takes a while.
            eprintln!("a random cluster failed: {error:#.600}");
            TestCaseError::fail(format!("{error:#}\n{:#}", cluster::cluster(&mut Tape::new(&tape))))
        })
    });
    match failed {
        Ok(()) => Ok(()),
        Err(proptest::test_runner::TestError::Fail(reason, _)) => bail!("{reason}"),
        Err(error) => bail!("{error}"),
    }
}

/// What the clusters of a run were.
#[derive(Default)]
struct Seen {
    all: usize,
    made: usize,
    whole: usize,
    refused: BTreeMap<String, usize>,
    files: usize,
    /// Releases, pod networks and gates: what the schema has no choices of.
    kinds: BTreeMap<String, usize>,
}

#[test]
fn random_clusters_build_and_verify_and_always_come_to_the_same_bytes() -> Result<()> {
    let started = Instant::now();
    let (count, whole) = cases((1000, 6))?;
    let schema = config::schema();
    let folder = files::folder()?;
    let coverage = RefCell::new(coverage::Coverage::of(&schema));
    let seen = RefCell::new(Seen::default());
    over_tapes(count, |tape| {
        let file = cluster::cluster(&mut Tape::new(tape));
        let mut seen = seen.borrow_mut();
        seen.all += 1;
        let is_whole = seen.all.is_multiple_of(whole);
        match one(&file, folder.path(), is_whole)? {
            Outcome::Made(files) => {
                seen.made += 1;
                seen.whole += usize::from(is_whole);
                seen.files += files;
                coverage.borrow_mut().count(&schema, &file);
                for kind in kinds(&file) {
                    *seen.kinds.entry(kind).or_default() += 1;
                }
                if seen.made.is_multiple_of(100) {
                    eprintln!("{} random clusters: {:.1} s", seen.made, started.elapsed().as_secs_f64());
                }
            }
            Outcome::Refused(codes) => {
                *seen.refused.entry(codes.into_iter().collect::<Vec<_>>().join(" ")).or_default() += 1
            }
        }
        Ok(())
    })?;
    let (seen, coverage) = (seen.into_inner(), coverage.into_inner());
    eprintln!(
        "{} of {count} random clusters, twice, {} whole and verified, {} files, {} keys and choices; refused: {:?}; {:.1} s",
        seen.made,
        seen.whole,
        seen.files,
        coverage.len(),
        seen.refused,
        started.elapsed().as_secs_f64()
    );
    ensure!(seen.made * 10 >= count as usize * 9, "only {} of {count} were made", seen.made);
    eprintln!("{:?}", seen.kinds);
    // Five minors, six networks, and every gate of kubeadm's; hardly all of them in a few clusters.
    ensure!(count < 200 || seen.kinds.len() == 5 + 6 + 5, "only these were seen: {:?}", seen.kinds);
    let rare = coverage.rare(count as usize / 200);
    ensure!(rare.is_empty(), "hardly any random cluster has {}", rare.join(", "));
    Ok(())
}

/// The release, networks and feature gates of a cluster.
fn kinds(file: &Value) -> Vec<String> {
    let version = file["kubernetesVersion"].as_str().unwrap_or_default();
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let pods = file["networking"]["podSubnet"].as_str().unwrap_or_default();
    let gates = file["featureGates"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    gates.chain([minor.to_owned(), pods.to_owned()]).collect()
}

/// How many files came of a cluster: of one of its nodes, made twice, in two threads that share nothing but the keys; and
/// of all of it where it is made whole, into a folder that is verified.
fn one(file: &Value, folder: &Path, is_whole: bool) -> Result<Outcome<usize>> {
    let text = file.to_string();
    let firstboot = built::firstboot("nodekiln-firstboot of the tests");
    let loaded = match built::read(&text, folder, &firstboot)? {
        Outcome::Made(loaded) => loaded,
        Outcome::Refused(codes) => return Ok(Outcome::Refused(codes)),
    };
    let keys = built::keys(&loaded.cluster)?;
    let chosen = text.len() % loaded.cluster.payloads().count();
    let sources = built::sources(&firstboot);
    let (one, other) = thread::scope(|scope| {
        // It has hash keys of its own, and the text is at another address.
        let other = scope.spawn(|| -> Result<_> {
            let text = text.clone();
            let Outcome::Made(loaded) = built::read(&text, folder, &firstboot)? else { bail!("refused this time") };
            built::baked(&loaded.cluster, &keys, &built::sources(&firstboot), chosen)
        });
        let one = built::baked(&loaded.cluster, &keys, &sources, chosen)?;
        Ok::<_, anyhow::Error>((one, other.join().map_err(|_| anyhow!("the other thread panicked"))??))
    })?;
    let (one, other) = match (one, other) {
        (Outcome::Made(one), Outcome::Made(other)) => (one, other),
        (Outcome::Refused(codes), _) | (_, Outcome::Refused(codes)) => return Ok(Outcome::Refused(codes)),
    };
    for (name, digest) in &one {
        ensure!(other.get(name) == Some(digest), "{name} differs");
    }
    ensure!(one.len() == other.len(), "another number of files");
    if !is_whole {
        return Ok(Outcome::Made(one.len()));
    }

    let place = files::scratch()?;
    let target = place.path().join("out");
    // Now and then the archive too, which is most of the work.
    let how = How { tree: text.len().is_multiple_of(16), ..How::default() };
    let made = match built::build(&loaded, &keys, &firstboot, &target, &how)? {
        Outcome::Made(tree) => tree,
        Outcome::Refused(codes) => return Ok(Outcome::Refused(codes)),
    };
    for (name, digest) in one.iter().filter(|(name, _)| *name != built::DRAFT) {
        let first = Sha256::of(&fs::read(target.join(name)).with_context(|| format!("reading {name}"))?);
        ensure!(first == *digest, "{name} differs when all nodes are built");
    }
    let report = verify(&Folder::open(&target)?)?;
    ensure!(report.sound, "verify: {:?}", report.findings);
    Ok(Outcome::Made(made.len()))
}
