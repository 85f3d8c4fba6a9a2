//! The command as users run it: pure, refusing, leaving old outputs whole. And how fast it is.
// What was measured is printed: a developer reads it there.
#![allow(clippy::print_stderr)]

use anyhow::{Context as _, Result, ensure};
use nodekiln::config::examples;
use nodekiln_tests::{
    command::Cmd,
    tools::{Need, nodekiln, require},
    tree::{Tree, tree},
};
use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// `count` workers and one control plane that get firstboot by URL.
fn many(count: usize) -> String {
    let mut text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
         networking: {podSubnet: 10.128.0.0/9, serviceSubnet: 10.96.0.0/12}\n\
         os: {profile: flatcar}\ndelivery: {baseURL: \"http://192.0.2.1:8080\"}\nnodes:\n\
         \x20 - {name: cp, role: control-plane, address: 172.16.0.1}\n"
        .to_owned();
    for index in 1..count {
        let _ =
            writeln!(text, "  - {{name: w{index}, role: worker, address: 172.16.{}.{}}}", index / 250, index % 250 + 2);
    }
    text
}

#[test]
fn examples_build_with_one_command_and_twice_the_same() -> Result<()> {
    let Some(_cache) = require(&[Need::Program("faketime"), Need::Program("taskset")])? else { return Ok(()) };
    let program = nodekiln()?;
    for example in examples::ALL.iter().map(|example| example.name) {
        let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let build = |folder: &Path, prefix: &[&str], env: &[(&str, &str)]| -> Result<()> {
            let mut command = Cmd::new(["env".as_ref(), "-C".as_ref(), folder.as_os_str()])
                .args(prefix)
                .args([&program])
                .args(["build", "--example", example]);
            for (name, value) in env {
                command = command.env(name, value);
            }
            command.ok().map(drop)
        };
        build(here.path(), &[], &[])?;
        let secrets = format!("{example}.secrets.yaml");
        fs::copy(here.path().join(&secrets), there.path().join(&secrets))?;
        let mode = fs::metadata(here.path().join(&secrets))?.permissions().mode() & 0o7777;
        ensure!(mode == 0o600, "{secrets} has mode {mode:o}");
        let first = tree(&here.path().join("out"))?;
        elsewhere(&mut |prefix, env| {
            let out = there.path().join("out");
            if out.exists() {
                fs::remove_dir_all(&out)?;
            }
            build(there.path(), prefix, env)?;
            same(&first, &tree(&out)?).with_context(|| example.to_owned())
        })?;
        for (path, (mode, digest)) in &first {
            let expected = if digest.is_empty() { 0o700 } else { 0o600 };
            ensure!(*mode == expected, "{example}: {path} has mode {mode:o}");
        }
        for name in ["manifest.json", "placement.json", "admin.conf", "super-admin.conf", "ca.crt"] {
            ensure!(first.contains_key(name), "{example}: no {name}");
        }
    }
    Ok(())
}

/// Clusters with all that could depend on a machine: keys of RSA, which are made once; pools and their tokens; patches,
/// snippets and other files beside cluster.yaml; archives.
#[test]
fn broad_clusters_build_the_same_everywhere() -> Result<()> {
    let Some(_cache) = require(&[Need::Program("faketime"), Need::Program("taskset")])? else { return Ok(()) };
    let program = nodekiln()?;
    for case in ["fcos-vms", "snippets", "external-etcd"] {
        let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(case);
        for folder in [&here, &there] {
            Cmd::new(["cp".as_ref(), "-r".as_ref(), source.as_os_str(), folder.path().join("in").as_os_str()]).ok()?;
        }
        // Named as seen from another folder than the cluster's own.
        let build = |folder: &Path, prefix: &[&str], env: &[(&str, &str)]| -> Result<()> {
            let mut command = Cmd::new(["env".as_ref(), "-C".as_ref(), folder.as_os_str()])
                .args(prefix)
                .args([&program])
                .args(["build", "-f", "in/cluster.yaml", "--tree"]);
            for (name, value) in env {
                command = command.env(name, value);
            }
            command.limit(Duration::from_secs(120)).ok().map(drop)
        };
        build(here.path(), &[], &[])?;
        fs::copy(here.path().join("in/secrets.yaml"), there.path().join("in/secrets.yaml"))?;
        let first = tree(&here.path().join("out"))?;
        ensure!(first.keys().any(|name| name.ends_with("/tree.tar")), "{case}: no tree.tar");
        // The clock that lies is the one that the program sees.
        let late = Cmd::new(["env".as_ref(), "-C".as_ref(), here.path().as_os_str()])
            .args(["faketime", "2041-02-03 04:05:06"])
            .args([&program])
            .args(["build", "-f", "in/cluster.yaml", "--tree"])
            .output()?;
        ensure!(late.success() && late.stderr.contains("could only boot before"), "{case}: {}", late.stderr);
        ensure!(tree(&here.path().join("out"))? == first, "{case}: another year shows");
        elsewhere(&mut |prefix, env| {
            // Nothing is taken over from an older output.
            let out = there.path().join("out");
            if out.exists() {
                fs::remove_dir_all(&out)?;
            }
            build(there.path(), prefix, env)?;
            same(&first, &tree(&out)?).with_context(|| case.to_owned())
        })?;
    }
    Ok(())
}

/// Builds behind a prefix of the command, with these variables.
type Build<'a> = &'a mut dyn FnMut(&[&str], &[(&str, &str)]) -> Result<()>;

/// Calls `build` for other processors, clocks, time zones, locales, homes and limits than this process has.
fn elsewhere(build: Build<'_>) -> Result<()> {
    let far = [("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8"), ("HOME", "/nowhere"), ("COLUMNS", "20")];
    // One thread, and a clock that lies about years.
    build(&["taskset", "-c", "0", "faketime", "2031-02-03 04:05:06"], &far)?;
    build(&["faketime", "1999-12-31 23:59:59"], &[("TZ", "Pacific/Chatham"), ("LANG", "C")])?;
    // Nothing of an environment, and another umask and stack.
    build(&["env", "-i", "sh", "-c", "umask 0; ulimit -s 1024; exec \"$@\"", "sh"], &[])
}

/// Whether two outputs are the same, named by the first file that differs.
fn same(first: &Tree, second: &Tree) -> Result<()> {
    for path in first.keys().chain(second.keys()) {
        ensure!(
            first.get(path) == second.get(path),
            "{path} differs, or its mode: {:?}, {:?}",
            first.get(path),
            second.get(path)
        );
    }
    Ok(())
}

/// The order in which threads take nodes shows in nothing, and neither does what was there before.
#[test]
fn many_nodes_build_the_same_with_one_thread_and_with_all() -> Result<()> {
    let Some(_cache) = require(&[Need::Program("faketime"), Need::Program("taskset")])? else { return Ok(()) };
    let program = nodekiln()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("cluster.yaml"), many(150))?;
    let build = |output: &str, prefix: &[&str], env: &[(&str, &str)]| -> Result<()> {
        let mut command = Cmd::new(prefix).args([&program]).args(["build", "-q", "-f"]);
        command = command.args([folder.path().join("cluster.yaml")]).args(["-o"]).args([folder.path().join(output)]);
        for (name, value) in env {
            command = command.env(name, value);
        }
        command.limit(Duration::from_secs(120)).ok().map(drop)
    };
    build("first", &["env"], &[])?;
    let first = tree(&folder.path().join("first"))?;
    let mut count = 0;
    elsewhere(&mut |prefix, env| {
        count += 1;
        let output = format!("other{count}");
        build(&output, prefix, env)?;
        same(&first, &tree(&folder.path().join(output))?)
    })?;
    // Over an older output too.
    build("other1", &["env"], &[])?;
    same(&first, &tree(&folder.path().join("other1"))?)
}

#[test]
fn refused_input_leaves_no_trace() -> Result<()> {
    let program = nodekiln()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("cluster.yaml"), "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nnodes: []\n")?;
    let build = |arguments: &[&str]| {
        Cmd::new(["env".as_ref(), "-C".as_ref(), folder.path().as_os_str()]).args([&program]).args(arguments).output()
    };
    let refused = build(&["build"])?;
    ensure!(refused.status.and_then(|status| status.code()) == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("cluster.yaml:3:1"), "no position in {}", refused.stderr);
    ensure!(refused.stdout.is_empty(), "words on stdout: {}", refused.stdout);
    let names: Vec<_> = fs::read_dir(folder.path())?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    ensure!(names.len() == 1, "a refused build left {names:?}");

    fs::create_dir(folder.path().join("home"))?;
    fs::write(folder.path().join("home/letter"), "dear")?;
    let kept = build(&["build", "--example", "single", "-o", "home"])?;
    ensure!(kept.status.and_then(|status| status.code()) == Some(3), "{kept:?}");
    ensure!(kept.stderr.contains("home") && kept.stderr.contains("-o"), "{}", kept.stderr);
    ensure!(fs::read_to_string(folder.path().join("home/letter"))? == "dear", "the letter is gone");
    ensure!(!folder.path().join("single.secrets.yaml").exists(), "secrets were made for a refused output");
    let dot = build(&["build", "--example", "single", "-o", "."])?;
    ensure!(dot.status.and_then(|status| status.code()) == Some(2), "{dot:?}");
    ensure!(build(&["bild"])?.status.and_then(|status| status.code()) == Some(2), "usage has another code");
    Ok(())
}

/// What `Debug`, errors and output must never show: no private key outside files meant for it.
#[test]
fn nothing_private_is_said_or_published() -> Result<()> {
    let program = nodekiln()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("cluster.yaml"), many(3))?;
    let said = Cmd::new(["env".as_ref(), "-C".as_ref(), folder.path().as_os_str()])
        .args([&program])
        .args(["build"])
        .output()?;
    ensure!(said.success(), "{}", said.stderr);
    ensure!(!said.stderr.contains("PRIVATE") && said.stdout.is_empty(), "{}{}", said.stdout, said.stderr);
    let out = folder.path().join("out");
    for name in tree(&out)?.keys().filter(|name| name.starts_with("serve/") || *name == "placement.json") {
        let path = out.join(name);
        if path.is_file() {
            let bytes = fs::read(&path)?;
            let text = String::from_utf8_lossy(&bytes);
            ensure!(!text.contains("PRIVATE KEY-----\nM"), "{name} holds a private key");
        }
    }
    Ok(())
}

/// On a terminal a build of more than a second shows how far it is, and takes that away again; nowhere else.
#[test]
fn a_bar_on_a_terminal_alone() -> Result<()> {
    /// On one core they take some seconds on any machine.
    const NODES: usize = 8000;
    let Some(_cache) = require(&[Need::Program("script"), Need::Program("taskset")])? else { return Ok(()) };
    let program = nodekiln()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("cluster.yaml"), many(NODES))?;
    let build = format!("taskset -c 0 '{}' build", program.display());
    let run = |line: &str, is_typed: bool| -> Result<String> {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let command = Cmd::new(["env".as_ref(), "-C".as_ref(), folder.path().as_os_str()]);
        let command = match is_typed {
            true => command.args(["script", "--quiet", "--return", "--command", line, "/dev/null"]),
            false => command.args(["sh", "-c", line]),
        };
        let output = command.limit(Duration::from_secs(180)).output()?;
        ensure!(output.success(), "{line}: {}{}", output.stdout, output.stderr);
        Ok(output.stdout + &output.stderr)
    };
    for (more, is_shown) in [("", true), (" -q", false), (" --json", false)] {
        let typed = run(&format!("{build}{more}"), true)?;
        let bars: Vec<&str> = typed.split('\r').filter(|part| part.starts_with("\u{1b}[K[")).collect();
        ensure!(bars.is_empty() != is_shown, "{more}: {} bars", bars.len());
        ensure!(bars.iter().all(|bar| bar.contains(&format!("/{NODES} nodes"))), "{more}: {bars:?}");
        // The next word comes on an empty line.
        ensure!(!is_shown || typed.contains("\r\u{1b}[Kmade secrets.yaml"), "{typed:?}");
    }
    let said = run(&build, false)?;
    ensure!(!said.contains('\r') && !said.contains('\u{1b}'), "{said:?}");
    Ok(())
}

#[test]
fn build_time_of_one_node_and_of_a_thousand() -> Result<()> {
    let program = nodekiln()?;
    let mut times = Vec::new();
    for count in [1, 1000] {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("cluster.yaml"), many(count))?;
        let started = Instant::now();
        Cmd::new(["env".as_ref(), "-C".as_ref(), folder.path().as_os_str()])
            .args([&program])
            .args(["build"])
            .limit(Duration::from_secs(120))
            .ok()?;
        let took = started.elapsed();
        eprintln!("build of {count} nodes: {:.3} s", took.as_secs_f64());
        times.push(took.as_secs_f64());
    }
    eprintln!("each further node: {:.2} ms", (times[1] - times[0]) * 1000.0 / 999.0);
    Ok(())
}
