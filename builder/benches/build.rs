//! How fast `nodekiln build` is: `cargo bench`. Prints a table for clusters of 1, 100, 1,000 and 10,000 nodes with baked
//! identities that fetch firstboot; `NODEKILN_BENCH=1,100` names other sizes.
//!
//! The floor is what cannot be left out: as many leaf keys derived and certificates signed, by the same libraries, and
//! files of the same number and sizes written by a bare loop and synced once, on as many threads. It is measured in the
//! same run, so that a slow machine slows both. Each build and each floor has a process of its own, whose peak memory and
//! CPU time are its own too. Of several rounds the fastest counts.
//!
//! ext4 passes over inodes that were freed in the last five minutes (`recently_deleted`, fs/ext4/ialloc.c), one by one: a
//! second run right behind the first, or behind the removal of other outputs, measures that.
// A table is what this program is for.
#![allow(clippy::print_stdout)]

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use hkdf::Hkdf;
use nix::sys::resource::{UsageWho, getrusage};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    num::NonZero,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

/// What a process took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Taken {
    /// Seconds.
    wall: f64,
    /// Seconds of all its threads.
    cpu: f64,
    /// Bytes.
    peak: u64,
    /// Of a floor: deriving and signing, writing, syncing, in seconds.
    parts: [f64; 3],
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("build") => build(Path::new(&arguments[2])),
        Some("floor") => floor(Path::new(&arguments[2])),
        _ => table(),
    }
}

fn table() -> Result<()> {
    let sizes = env::var("NODEKILN_BENCH").unwrap_or_else(|_| "1,100,1000,10000".to_owned());
    println!("floor: keys derived and certificates signed + files written + sync; threads: {}", threads());
    println!(
        "{:>6} | {:>8} {:>8} {:>7} | {:>8} {:>8} ({:^20}) | {:>5} {:>5} | {:>8} | {:>8} {:>7} {:>5}",
        "nodes",
        "build s",
        "cpu s",
        "MiB",
        "floor s",
        "cpu s",
        "keys, files, sync",
        "wall",
        "cpu",
        "ms/node",
        "again s",
        "MiB",
        "x"
    );
    // Removed at the end: ext4 looks for free inodes past those that were removed a moment ago, one by one.
    let mut folders = Vec::new();
    for size in sizes.split(',') {
        let nodes: usize = size.trim().parse().with_context(|| format!("{size:?} is no number of nodes"))?;
        // The best of each counts: others use the machine too, and for both alike.
        let rounds = (20_000 / nodes.max(1)).clamp(6, 10);
        let (mut again, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            fs::write(folder.path().join("cluster.yaml"), cluster(nodes))?;
            // Secrets are made once in a cluster's life.
            nodekiln(folder.path(), &["-q", "secrets", "new", "-f", "cluster.yaml"])?;
            let made = child("build", folder.path())?;
            bare.push(child("floor", folder.path())?);
            let unchanged = child("build", folder.path())?;
            again.push((made, unchanged));
            folders.push(folder);
        }
        let best = |taken: Vec<Taken>| taken.into_iter().min_by(|a, b| a.wall.total_cmp(&b.wall)).context("no round");
        let made = best(again.iter().map(|pair| pair.0).collect())?;
        let unchanged = best(again.iter().map(|pair| pair.1).collect())?;
        let bare = best(bare)?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{nodes:>6} | {:>8.3} {:>8.3} {:>7.1} | {:>8.3} {:>8.3} ({:>5.3}, {:>5.3}, {:>5.3}) | {:>5.2} {:>5.2} | {:>8.3} | {:>8.3} {:>7.1} {:>5.2}",
            made.wall,
            made.cpu,
            mib(made.peak),
            bare.wall,
            bare.cpu,
            bare.parts[0],
            bare.parts[1],
            bare.parts[2],
            made.wall / bare.wall,
            made.cpu / bare.cpu,
            made.wall * 1000.0 / nodes as f64,
            unchanged.wall,
            mib(unchanged.peak),
            unchanged.wall / made.wall,
        );
    }
    Ok(())
}

/// One control plane, workers, and firstboot by URL.
fn cluster(nodes: usize) -> String {
    let mut text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
         networking: {podSubnet: 10.128.0.0/9, serviceSubnet: 10.96.0.0/12}\n\
         os: {profile: flatcar}\ndelivery: {baseURL: \"http://192.0.2.1:8080\"}\nnodes:\n\
         \x20 - {name: cp, role: control-plane, address: 172.16.0.1}\n"
        .to_owned();
    for index in 1..nodes {
        let address = format!("172.{}.{}.{}", 16 + index / 60_000, index / 250 % 240, index % 250 + 2);
        // A String takes every write.
        let _ = writeln!(text, "  - {{name: w{index}, role: worker, address: {address}}}");
    }
    text
}

/// Runs this program anew to measure one thing.
fn child(what: &str, folder: &Path) -> Result<Taken> {
    let output = Command::new(env::current_exe()?).arg(what).arg(folder).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{what} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn usage(who: UsageWho) -> Result<(f64, u64)> {
    let usage = getrusage(who)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok((seconds(usage.user_time()) + seconds(usage.system_time()), u64::try_from(usage.max_rss())? * 1024))
}

fn say(taken: &Taken) -> Result<()> {
    println!("{}", serde_json::to_string(taken)?);
    Ok(())
}

fn nodekiln(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodekiln"));
    let status = command.args(arguments).current_dir(folder).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "nodekiln {} failed", arguments.join(" "));
    Ok(())
}

/// The command as users run it.
fn build(folder: &Path) -> Result<()> {
    let started = Instant::now();
    nodekiln(folder, &["-q", "build", "-f", "cluster.yaml", "-o", "out"])?;
    let wall = started.elapsed().as_secs_f64();
    let (cpu, peak) = usage(UsageWho::RUSAGE_CHILDREN)?;
    say(&Taken { wall, cpu, peak, parts: [0.0; 3] })
}

fn threads() -> usize {
    // As many as the command takes.
    thread::available_parallelism().map_or(1, NonZero::get).min(8)
}

/// As much of both as the output in `folder` holds, and nothing else.
fn floor(folder: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Manifest {
        files: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        path: String,
        size: usize,
    }
    #[derive(Deserialize)]
    struct Placement {
        nodes: BTreeMap<String, Vec<Holding>>,
    }
    #[derive(Deserialize)]
    struct Holding {
        spki: String,
    }
    let out = folder.join("out");
    let mut files = serde_json::from_slice::<Manifest>(&fs::read(out.join("manifest.json"))?)?.files;
    let size = usize::try_from(fs::metadata(out.join("manifest.json"))?.len())?;
    files.push(Row { path: "manifest.json".to_owned(), size });
    let placement: Placement = serde_json::from_slice(&fs::read(out.join("placement.json"))?)?;
    let held: BTreeSet<_> = placement.nodes.into_values().flatten().map(|holding| holding.spki).collect();
    // Not derived: the CA's key, the service account's and the one for encryption at rest. admin.conf's is held by none.
    let keys = (held.len() - 3) + 1;
    let largest = files.iter().map(|file| file.size).max().unwrap_or(0);
    let bytes: Vec<u8> = (0..largest).map(|index| (index % 251) as u8).collect();
    let bare = folder.join("bare");
    fs::create_dir(&bare)?;
    let (before, _) = usage(UsageWho::RUSAGE_SELF)?;

    let started = Instant::now();
    let hkdf = Hkdf::<sha2::Sha256>::new(None, &[7; 32]);
    let authority = SigningKey::from_slice(&[1; 32])?;
    in_parallel(keys, |index| {
        let mut scalar = [0; 32];
        hkdf.expand(&index.to_be_bytes(), &mut scalar).map_err(|_| anyhow::anyhow!("deriving"))?;
        let key = PrivateKey::from_private_key(&ECDH_P256, &scalar)?;
        let public = key.compute_public_key()?;
        // As long as what is signed of a leaf.
        let mut text = [0; 400];
        text[..65].copy_from_slice(public.as_ref());
        let signature: Signature = authority.sign(&text);
        std::hint::black_box(signature);
        Ok(())
    })?;
    let signed = started.elapsed().as_secs_f64();

    in_parallel(files.len(), |index| {
        let Row { path, size } = &files[index];
        let path = bare.join(path);
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match (open(), path.parent()) {
            (Ok(file), _) => file,
            (Err(_), Some(parent)) => {
                fs::create_dir_all(parent)?;
                open()?
            }
            (Err(error), None) => return Err(error.into()),
        };
        file.write_all(&bytes[..*size])?;
        Ok(())
    })?;
    let written = started.elapsed().as_secs_f64();
    nix::unistd::syncfs(fs::File::open(&bare)?)?;
    let wall = started.elapsed().as_secs_f64();
    let (after, peak) = usage(UsageWho::RUSAGE_SELF)?;
    say(&Taken { wall, cpu: after - before, peak, parts: [signed, written - signed, wall - written] })
}

/// Calls `work` with every number below `count`.
fn in_parallel(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let run = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            work(index)?;
        }
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (1..threads()).map(|_| scope.spawn(run)).collect();
        let own = run();
        handles
            .into_iter()
            .try_for_each(|handle| handle.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))?;
        own
    })
}
