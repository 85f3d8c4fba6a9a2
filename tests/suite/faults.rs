//! `nodekiln build` when the machine fails it or the target is not what it should be: the previous output stays whole,
//! secrets.yaml is never lost, and the next build clears what was left.
//!
//! `NODEKILN_KILLS=N` kills a build N times instead of 50, `NODEKILN_SEED=N` repeats a run.
// Seeds and counts are what a developer reads here.
#![allow(clippy::print_stderr)]

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use nodekiln_tests::{
    command::Cmd,
    tools::{Need, nodekiln, require},
    tree::{Tree, tree},
};
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// One control plane and `workers`, which fetch firstboot; `extra` is said of each worker.
fn cluster(workers: usize, extra: &str) -> String {
    let mut text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
         networking: {podSubnet: 10.128.0.0/9, serviceSubnet: 10.96.0.0/12}\n\
         os: {profile: flatcar}\ndelivery: {baseURL: \"http://192.0.2.1:8080\"}\nnodes:\n\
         \x20 - {name: cp, role: control-plane, address: 172.16.0.1}\n"
        .to_owned();
    for index in 1..=workers {
        text.push_str(&format!("  - {{name: w{index}, role: worker, address: 172.16.1.{index}{extra}}}\n"));
    }
    text
}

/// `nodekiln build` in `folder`.
fn build(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(nodekiln()?);
    command.arg("build").args(arguments).current_dir(folder).stdin(Stdio::null());
    Ok(command)
}

/// The exit code and what was said.
fn said(mut command: Command) -> Result<(Option<i32>, String)> {
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn sound(command: Command) -> Result<()> {
    let (code, words) = said(command)?;
    ensure!(code == Some(0), "exit code {code:?}: {words}");
    Ok(())
}

/// What lies directly in `folder`, hidden names too.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Numbers that look random: xorshift64*.
struct Random(u64);

impl Random {
    /// With the seed that is printed, or the one that is asked for.
    fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        let seed = env::var("NODEKILN_SEED").map_or(Ok(now), |seed| seed.parse()).context("NODEKILN_SEED")?;
        eprintln!("NODEKILN_SEED={seed}");
        Ok(Self(seed | 1))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit.max(1)
    }
}

fn kills(default: usize) -> Result<usize> {
    env::var("NODEKILN_KILLS").map_or(Ok(default), |kills| kills.parse().context("NODEKILN_KILLS"))
}

/// Starts `command` and kills it after `delay`. Says whether it was still running.
fn killed(mut command: Command, delay: Duration) -> Result<bool> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    thread::sleep(delay);
    let running = child.try_wait()?.is_none();
    if running {
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
    }
    child.wait()?;
    Ok(running)
}

#[test]
fn killed_at_random_moments_it_leaves_a_whole_output() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    fs::write(folder.join("a.yaml"), cluster(20, ""))?;
    fs::write(folder.join("b.yaml"), cluster(20, ", labels: {disk: ssd}"))?;
    let arguments = |name, output| ["-f", name, "--secrets", "secrets.yaml", "-o", output];
    let mut whole = Vec::new();
    let mut longest = Duration::ZERO;
    for name in ["a.yaml", "b.yaml"] {
        let started = Instant::now();
        sound(build(folder, &arguments(name, "fresh"))?)?;
        longest = longest.max(started.elapsed());
        whole.push(tree(&folder.join("fresh"))?);
        fs::remove_dir_all(folder.join("fresh"))?;
    }
    ensure!(whole[0] != whole[1], "both builds are the same, so that the test shows nothing");
    let secrets = fs::read(folder.join("secrets.yaml"))?;
    sound(build(folder, &arguments("a.yaml", "out"))?)?;

    let mut random = Random::new()?;
    let limit = u64::try_from(longest.as_micros())?;
    let (rounds, mut running, mut changed) = (kills(50)?, 0, 0);
    let mut before: Tree = whole[0].clone();
    for round in 0..rounds {
        let name = ["b.yaml", "a.yaml"][round % 2];
        let delay = Duration::from_micros(random.below(limit * 11 / 10));
        running += usize::from(killed(build(folder, &arguments(name, "out"))?, delay)?);
        ensure!(fs::read(folder.join("secrets.yaml"))? == secrets, "secrets.yaml was changed after {delay:?}");
        // On a file system without an exchange the next build would put the old one back.
        ensure!(folder.join("out").exists(), "there is no output after {delay:?}");
        let after = tree(&folder.join("out"))?;
        ensure!(
            whole.contains(&after),
            "killed after {delay:?} it left an output that is neither the old nor the new one"
        );
        changed += usize::from(after != before);
        before = after;
    }
    eprintln!("{rounds} builds, {running} killed while they ran, {changed} of all changed the output");
    ensure!(running * 3 > rounds, "too few were still running: {running} of {rounds}");
    sound(build(folder, &arguments("b.yaml", "out"))?)?;
    ensure!(tree(&folder.join("out"))? == whole[1], "the last build took something half-written over");
    let left = names(folder)?;
    ensure!(left == ["a.yaml", "b.yaml", "out", "secrets.yaml"], "left over: {left:?}");
    Ok(())
}

#[test]
fn killed_at_first_use_it_leaves_no_half_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut random = Random::new()?;
    let build_in = |folder: &Path| build(folder, &["-f", "cluster.yaml"]);
    let fresh = |name: usize| -> Result<_> {
        let path = folder.path().join(name.to_string());
        fs::create_dir(&path)?;
        fs::write(path.join("cluster.yaml"), cluster(3, ""))?;
        Ok(path)
    };
    let path = fresh(0)?;
    let started = Instant::now();
    sound(build_in(&path)?)?;
    let limit = u64::try_from(started.elapsed().as_micros())?;
    for round in 1..=kills(50)?.div_ceil(5) {
        let path = fresh(round)?;
        let delay = Duration::from_micros(random.below(limit * 11 / 10));
        killed(build_in(&path)?, delay)?;
        let secrets = path.join("secrets.yaml");
        if path.join("out/manifest.json").exists() {
            ensure!(secrets.exists(), "killed after {delay:?} it left an output without its secrets");
        }
        let kept = secrets.exists().then(|| fs::read(&secrets)).transpose()?;
        if kept.is_some() {
            let mut show = Command::new(nodekiln()?);
            show.args(["secrets", "show", "--secrets"]).arg(&secrets);
            let (code, words) = said(show)?;
            ensure!(code == Some(0), "killed after {delay:?} it left secrets that are refused: {words}");
        }
        sound(build_in(&path)?)?;
        ensure!(kept.is_none_or(|kept| fs::read(&secrets).is_ok_and(|now| now == kept)), "the secrets were replaced");
        let left = names(&path)?;
        ensure!(left == ["cluster.yaml", "out", "secrets.yaml"], "left over: {left:?}");
    }
    Ok(())
}

/// Runs `script` where mounts are its own. It finds the program in `$NODEKILN` and an empty folder in `$DIR`.
fn in_own_mounts(folder: &Path, script: &str) -> Result<()> {
    let mut command = vec!["unshare", "--mount"];
    if !Uid::effective().is_root() {
        command.push("--map-root-user");
    }
    let output = Cmd::new(command)
        .args(["sh", "-euc", script])
        .env("NODEKILN", nodekiln()?.display().to_string())
        .env("DIR", folder.display().to_string())
        .output()?;
    ensure!(output.success(), "{}{}", output.stdout, output.stderr);
    Ok(())
}

/// The test's own words about a state: every file with its digest.
const SHELL: &str = r#"
state() { (cd "$1" && find . -type f | sort | xargs sha256sum); }
refused() {
    code=0
    "$@" 2>"$DIR/said" || code=$?
    [ $code = 3 ] || { echo "exit code $code"; cat "$DIR/said"; exit 1; }
}
"#;

#[test]
fn a_full_disk_leaves_the_output_and_the_secrets() -> Result<()> {
    let Some(_) = require(&[Need::Program("unshare")])? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("disk"))?;
    fs::write(folder.path().join("a.yaml"), cluster(2, ""))?;
    fs::write(folder.path().join("b.yaml"), cluster(2, ", labels: {disk: ssd}"))?;
    in_own_mounts(
        folder.path(),
        &format!(
            r#"{SHELL}
        mount -t tmpfs -o size=9m tmpfs "$DIR/disk"
        cd "$DIR/disk"
        "$NODEKILN" build -f "$DIR/a.yaml" --secrets secrets.yaml -o out
        state . >"$DIR/before"
        # There is no room for two.
        refused "$NODEKILN" build -f "$DIR/b.yaml" --secrets secrets.yaml -o out
        grep -q "No space left on device" "$DIR/said" || {{ cat "$DIR/said"; exit 1; }}
        state . >"$DIR/after"
        cmp "$DIR/before" "$DIR/after"
        [ "$(ls -A | tr '\n' ' ')" = "out secrets.yaml " ] || {{ ls -lA; exit 1; }}
        # Nor for new secrets: no output without them.
        rm -r out secrets.yaml
        dd if=/dev/zero of=filler bs=4096 2>/dev/null || :
        refused "$NODEKILN" build -f "$DIR/a.yaml" --secrets secrets.yaml -o "$DIR/out"
        [ "$(ls -A | tr '\n' ' ')" = "filler " ] || {{ ls -lA; exit 1; }}
        [ ! -e "$DIR/out" ]
        # With room it goes on.
        rm filler
        "$NODEKILN" build -f "$DIR/a.yaml" --secrets secrets.yaml -o out"#
        ),
    )
}

#[test]
fn a_folder_that_cannot_be_written_is_left_alone() -> Result<()> {
    let Some(_) = require(&[Need::Program("unshare")])? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("disk"))?;
    fs::write(folder.path().join("a.yaml"), cluster(2, ""))?;
    in_own_mounts(
        folder.path(),
        &format!(
            r#"{SHELL}
        mount -t tmpfs tmpfs "$DIR/disk"
        "$NODEKILN" build -f "$DIR/a.yaml" --secrets "$DIR/disk/secrets.yaml" -o "$DIR/disk/out"
        state "$DIR/disk" >"$DIR/before"
        mount -o remount,ro "$DIR/disk"
        refused "$NODEKILN" build -f "$DIR/a.yaml" --secrets "$DIR/disk/secrets.yaml" -o "$DIR/disk/out"
        grep -q "disk" "$DIR/said" && grep -q "Read-only file system" "$DIR/said" || {{ cat "$DIR/said"; exit 1; }}
        state "$DIR/disk" >"$DIR/after"
        cmp "$DIR/before" "$DIR/after"
        # A name beside it on the same file system, which is not there yet.
        refused "$NODEKILN" build -f "$DIR/a.yaml" --secrets "$DIR/disk/secrets.yaml" -o "$DIR/disk/new"
        # Secrets that cannot be written are not made.
        refused "$NODEKILN" build -f "$DIR/a.yaml" --secrets "$DIR/disk/new.yaml" -o "$DIR/out"
        [ ! -e "$DIR/out" ]"#
        ),
    )
}

/// A volume that a container has at the place of the output: what cannot be exchanged is refused before anything is made.
#[test]
fn a_mount_point_is_refused_by_name() -> Result<()> {
    let Some(_) = require(&[Need::Program("unshare")])? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("volume"))?;
    fs::create_dir(folder.path().join("bound"))?;
    fs::create_dir(folder.path().join("source"))?;
    fs::write(folder.path().join("a.yaml"), cluster(1, ""))?;
    in_own_mounts(
        folder.path(),
        &format!(
            r#"{SHELL}
        mount -t tmpfs tmpfs "$DIR/volume"
        mount --bind "$DIR/source" "$DIR/bound"
        cd "$DIR"
        for target in volume bound; do
            refused "$NODEKILN" build -f a.yaml --secrets secrets.yaml -o "$target"
            grep -q "$target: something is mounted there" "$DIR/said" || {{ cat "$DIR/said"; exit 1; }}
        done
        [ "$(ls -A | tr '\n' ' ')" = "a.yaml bound said source volume " ] || {{ ls -lA; exit 1; }}
        "$NODEKILN" build -f a.yaml --secrets secrets.yaml -o volume/out"#
        ),
    )
}

#[test]
fn targets_that_are_not_ours_are_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.yaml"), cluster(1, ""))?;
    fs::create_dir(path("home"))?;
    fs::write(path("home/letter"), "dear")?;
    fs::write(path("file"), "text")?;
    symlink("home", path("link"))?;
    symlink("nowhere", path("dangling"))?;
    let kept = names(folder.path())?;
    for (target, due, words) in [
        (".", 2, "needs a name of its own"),
        ("..", 2, "needs a name of its own"),
        ("/", 2, "needs a name of its own"),
        ("home", 3, "home: is not empty and holds no manifest.json of nodekiln's"),
        ("file", 3, "file: is not a folder"),
        ("link", 3, "link: is a symbolic link; name the folder itself (home)"),
        ("dangling", 3, "dangling: is a symbolic link; name the folder itself (nowhere)"),
        ("missing/out", 3, "missing/out: there is no folder missing"),
    ] {
        let (code, said) = said(build(folder.path(), &["-f", "a.yaml", "-o", target])?)?;
        ensure!(code == Some(due) && said.contains(words), "-o {target}: {code:?} {said}");
        ensure!(names(folder.path())? == kept, "-o {target} left {:?}", names(folder.path())?);
        ensure!(fs::read_to_string(path("home/letter"))? == "dear" && fs::read_to_string(path("file"))? == "text");
    }
    Ok(())
}

#[test]
fn another_clusters_output_is_not_replaced() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("a.yaml"), cluster(1, ""))?;
    fs::write(folder.path().join("b.yaml"), cluster(1, ""))?;
    sound(build(folder.path(), &["-f", "a.yaml", "--secrets", "a.secrets"])?)?;
    let before = tree(&folder.path().join("out"))?;
    let (code, said) = said(build(folder.path(), &["-f", "b.yaml", "--secrets", "b.secrets"])?)?;
    ensure!(code == Some(3) && said.contains("out: holds payloads of another cluster"), "{code:?} {said}");
    ensure!(tree(&folder.path().join("out"))? == before && !folder.path().join("b.secrets").exists());
    Ok(())
}

#[test]
fn two_builds_at_once_make_one_output() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("cluster.yaml"), cluster(10, ""))?;
    sound(build(folder.path(), &["-o", "fresh"])?)?;
    let fresh = tree(&folder.path().join("fresh"))?;
    fs::remove_dir_all(folder.path().join("fresh"))?;
    for _ in 0..5 {
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push(build(folder.path(), &[])?.stderr(Stdio::piped()).spawn()?);
        }
        for child in both {
            let output = child.wait_with_output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        ensure!(tree(&folder.path().join("out"))? == fresh, "two builds at once made something else");
        let left = names(folder.path())?;
        ensure!(left == ["cluster.yaml", "out", "secrets.yaml"], "left over: {left:?}");
        fs::remove_dir_all(folder.path().join("out"))?;
    }
    Ok(())
}
