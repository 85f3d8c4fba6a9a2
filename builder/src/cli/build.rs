//! `nodekiln build`: payloads for all nodes.

use super::{
    example,
    interrupt::Making,
    plan,
    progress::Progress,
    terminal::{Failure, Terminal},
};
use crate::{
    config::{self, Cluster, Diagnostics, Finding, Loaded, code, examples::Example},
    draft::Blob,
    firstboot::Firstboot,
    node::Sources,
    output::{self, Built, PartRows, WriteError, Written, secrets_file},
    parallel,
    pki::{Authority, Ca, OpenError, certificate::BACKDATE},
    secrets::Secrets,
};
use anyhow::{Context as _, anyhow};
use clap::builder::{PathBufValueParser, TypedValueParser};
use nodekiln_plan::NodeName;
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::{Component, Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Arguments of `build`.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml", conflicts_with = "example")]
    file: PathBuf,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
    /// Build an embedded example instead of a file.
    #[arg(long, value_name = "NAME", value_parser = example::parser())]
    example: Option<&'static Example>,
    /// The secrets: made on first use. `secrets.yaml` beside the cluster file by default, `NAME.secrets.yaml` in the
    /// current folder with `--example NAME`.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// The folder to write. It is replaced as a whole, and only if it is empty or an older output with nothing else in
    /// it; the folder that it lies in has to be there.
    #[arg(short, long, value_name = "FOLDER", default_value = "out", value_parser = named())]
    output: PathBuf,
    /// Static nodekiln-firstboot binary to use, one per architecture; the embedded one serves its own otherwise.
    #[arg(long, value_name = "FILE")]
    firstboot: Vec<PathBuf>,
    /// Remake only this node's payload and keep the others' as they are in the folder. May be given several times.
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Write what each payload lays down as `tree.tar` too.
    #[arg(long)]
    tree: bool,
}

impl Build {
    /// Reads, plans, fills, encodes, checks, and only then writes.
    ///
    /// # Errors
    /// Findings in the input, before anything is written; or an environment that does not let it write.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let (source, beside) = match self.example {
            Some(Example { name, .. }) => (format!("{name}.yaml"), PathBuf::from(format!("{name}.secrets.yaml"))),
            None => {
                let source = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (source, secrets_file::beside(&self.file))
            }
        };
        let path = self.secrets.unwrap_or(beside);
        let is_new = !path.exists();
        // The node's program has megabytes: it is read and hashed beside cluster.yaml, and the secrets are opened there.
        let (loaded, (firstboot, opened)) = parallel::both(
            || match self.example {
                Some(Example { text, .. }) => config::load_str(&source, text, None),
                None => config::load(&self.file),
            },
            || {
                let opened = (!is_new).then(|| secrets_file::open(&path, terminal));
                (binaries(&self.firstboot), opened)
            },
        );
        let loaded = loaded?;
        let firstboot = firstboot?;
        let mut sources = sources(&firstboot);
        // Drafts depend on what secrets there are. Faults in them are told after those of the drafts, which may be many.
        if let Some(Ok(secrets)) = &opened {
            sources.shape = secrets.shape();
        }
        // Before keys are made, which may take long, and where not every node has its turn. Otherwise each is planned once.
        let are_whole = matches!(&opened, Some(Ok(secrets)) if !secrets.lack(&loaded.cluster));
        if !are_whole || !self.node.is_empty() {
            plan::check(&loaded, &sources)?;
        }
        terminal.warnings(&loaded.warnings);
        let cluster = &loaded.cluster;
        let only = only(&self.node, cluster)?;
        // Before anything is made: an output that cannot be replaced is refused without a trace.
        let older = output::existing::check(&self.output).map_err(Failure::environment)?;
        // All else in it is read again under the lock.
        let is_of_this = older.is_some_and(|older| older.inputs.contains_key(&source));
        if place(&path).starts_with(place(&self.output)) {
            return Err(Failure::Input(anyhow!(
                "{}: lies in the output {}, which is replaced as a whole; keep the secrets elsewhere with --secrets",
                path.display(),
                self.output.display()
            )));
        }

        let mut secrets = if let Some(opened) = opened {
            opened?
        } else {
            if is_of_this {
                return Err(Failure::Environment(anyhow!(
                    "there is no {}, but {} holds payloads of this cluster: put its secrets back, for new ones would make \
                     another cluster; or move {1} away",
                    path.display(),
                    self.output.display()
                )));
            }
            secrets_file::make(cluster)?
        };
        // What they lack, such as the token of a new pool, is made once and kept.
        let before = secrets.fingerprint();
        let added = complete(&mut secrets, cluster)?;
        let authority = Authority::open(&secrets, cluster).map_err(|error| {
            // Its warnings have been printed.
            unopened(error, &path, &loaded, Diagnostics::new(loaded.warnings.source().clone()))
        })?;
        output::existing::same_cluster(&self.output, authority.bundle(Ca::Kubernetes)).map_err(Failure::environment)?;
        if let Some(warning) = period_is_past(&authority, secrets.created_at(), cluster.ca_certificate_validity) {
            terminal.warn(warning);
        }
        let making = Making::begin();
        let progress = Progress::new(cluster.payloads().count(), terminal.is_watched() && !self.json);
        let each = || {
            making.go_on();
            progress.step();
            if making.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let built = Built {
            cluster,
            sources: &sources,
            authority: &authority,
            secrets: secrets.fingerprint(),
            inputs: &loaded.inputs,
            firstboot: &firstboot,
            only: &only,
            tree: self.tree,
            each: &each,
        };
        let waiting = || {
            making.pause();
            terminal.say(format!("waiting for another build in {}", parent(&self.output).display()));
        };
        let keep = || {
            progress.finish();
            if is_new {
                secrets_file::create(&path, &secrets).map_err(|error| WriteError::Secrets(path.clone(), error))?;
                terminal.say(format!("made {}: keep it safe, it is all of the cluster's keys", path.display()));
            }
            if !is_new && added {
                secrets_file::update(&path, &before, &secrets)
                    .map_err(|error| WriteError::Secrets(path.clone(), error))?;
                terminal.say(format!("added what was missing to {}: keep the new one safe", path.display()));
            }
            Ok(())
        };
        let written = output::write(&built, &self.output, waiting, keep);
        progress.finish();
        if making.is_asked() && matches!(written, Err(WriteError::Stopped)) {
            terminal.say(format!("stopped: {} is as it was", self.output.display()));
        }
        // Ends the process if that was asked for.
        drop(making);
        let written = written.map_err(|error| match error {
            WriteError::Plan(refused) => plan::refused(&loaded, refused),
            WriteError::Bake(errors) => plan::unbaked(&loaded, &errors),
            refused @ (WriteError::Served(_) | WriteError::Only(_)) => Failure::input(refused),
            other => Failure::environment(other),
        })?;
        tell(terminal, &written, &self.output);
        if self.json { super::summary::json(terminal, &written, &self.output) } else { Ok(()) }
    }
}

/// Why the secrets that `path` holds were not opened for the cluster: a finding beside those of `found` where a field of
/// cluster.yaml is at fault.
pub(super) fn unopened(error: OpenError, path: &Path, loaded: &Loaded, mut found: Diagnostics) -> Failure {
    let Some(field) = error.field() else {
        return Failure::Input(anyhow::Error::new(error).context(format!("opening the keys of {}", path.display())));
    };
    found.error(&loaded.places.clusters_own(field), Finding::new(code::SECRETS, error.to_string()));
    found.sort();
    Failure::Findings(Box::new(found))
}

/// Takes a folder that has a name: `.`, `..` and `/` cannot be exchanged for another.
fn named() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.file_name() {
        Some(_) => Ok(path),
        None => Err("the output is replaced as a whole, so it needs a name of its own, such as `out`"),
    })
}

#[cfg(test)]
impl Build {
    /// With these files and the defaults for all else.
    pub(super) fn of(file: PathBuf, output: PathBuf, firstboot: PathBuf) -> Self {
        let (json, example, secrets, node, tree) = (false, None, None, Vec::new(), false);
        Self { file, json, example, secrets, output, firstboot: vec![firstboot], node, tree }
    }
}

/// The nodes that `--node` names.
fn only(names: &[String], cluster: &Cluster) -> Result<BTreeSet<NodeName>, Failure> {
    let find = |name: &String| {
        let node = cluster.payloads().find(|node| node.name.as_str() == name.as_str());
        node.map(|node| node.name.clone())
            .ok_or_else(|| Failure::Input(anyhow!("--node {name}: no node has this name")))
    };
    names.iter().map(find).collect()
}

/// Adds to `secrets` what `cluster` needs and they lack. Says whether anything was.
pub(super) fn complete(secrets: &mut Secrets, cluster: &Cluster) -> Result<bool, Failure> {
    if !secrets.lack(cluster) {
        return Ok(false);
    }
    secrets
        .complete(cluster, secrets_file::now()?, getrandom::fill)
        .context("making keys that the secrets lack")
        .map_err(Failure::Environment)
}

/// The node binaries to use: those given, and the embedded one where none is given for its architecture.
pub(super) fn binaries(given: &[PathBuf]) -> Result<Vec<Firstboot>, Failure> {
    let mut binaries: Vec<Firstboot> = Vec::new();
    for path in given {
        let bytes =
            std::fs::read(path).with_context(|| format!("reading {}", path.display())).map_err(Failure::Environment)?;
        let binary = Firstboot::parse(Blob::of(bytes))
            .with_context(|| format!("using {} as nodekiln-firstboot", path.display()))
            .map_err(Failure::Input)?;
        if binaries.iter().any(|other| other.arch == binary.arch) {
            return Err(Failure::Input(anyhow!("{}: a second --firstboot for this architecture", path.display())));
        }
        binaries.push(binary);
    }
    let embedded = Firstboot::embedded().context("reading the embedded nodekiln-firstboot");
    if let Some(embedded) = embedded.map_err(Failure::Environment)?
        && binaries.iter().all(|other| other.arch != embedded.arch)
    {
        binaries.push(embedded);
    }
    Ok(binaries)
}

/// Them, for planning.
pub(super) fn sources(binaries: &[Firstboot]) -> Sources {
    Sources::hashed(binaries.iter().map(|binary| (binary.arch, binary.program.clone())))
}

/// caCertificateValidityPeriod counts when the CAs are made, and never again.
fn period_is_past(authority: &Authority, created: i64, period: i64) -> Option<String> {
    // CAs that were imported have their own lives.
    if authority.ca_validity().not_before != created - BACKDATE {
        return None;
    }
    let hours = authority.ca_validity().not_after.saturating_sub(created) / 3600;
    (hours != period / 3600)
        .then(|| format!("caCertificateValidityPeriod has no effect: the CAs in the secrets were made for {hours}h"))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Where `path` leads, as far as it is there; the rest as it is written. Two that are the same are equal.
fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let Some((ancestor, mut place)) = there else { return path };
    for component in path.strip_prefix(ancestor).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => {
                place.pop();
            }
            other => place.push(other),
        }
    }
    place
}

/// What was made, and until when it can boot. The clock only warns: it never changes a byte.
fn tell(terminal: &Terminal, written: &Written, folder: &Path) {
    let Written { parts, files, kept, changed, .. } = written;
    let payloads = parts.len();
    let nodes = if payloads == 1 { "node" } else { "nodes" };
    let unchanged = match (*kept, payloads) {
        (0, _) => String::new(),
        (1, 1) => " (as it was)".to_owned(),
        (1, _) => " (1 as it was)".to_owned(),
        (kept, _) => format!(" ({kept} as they were)"),
    };
    let did = if *changed { "wrote" } else { "nothing to change in" };
    terminal.say(format!("{did} {}: payloads for {payloads} {nodes}{unchanged}, {files} files", folder.display()));
    super::summary::tell(terminal, written);
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    for node in parts.iter().map(PartRows::row) {
        let lifetime = node.boot_before.saturating_sub(node.not_before);
        let date = time::OffsetDateTime::from_unix_timestamp(node.boot_before).map(|time| time.date());
        let date = date.map_or_else(|_| node.boot_before.to_string(), |date| date.to_string());
        if now >= node.boot_before {
            terminal.warn(format!("{}: this payload could only boot before {date}", node.name));
        } else if now >= node.boot_before.saturating_sub(lifetime / 10) {
            terminal.warn(format!("{}: this payload can only boot before {date}", node.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Arch, firstboot::tests::elf};

    #[test]
    fn a_period_that_comes_too_late_is_told() {
        let authority = crate::pki::fixture::authority();
        let validity = authority.ca_validity();
        let (created, end) = (validity.not_before + BACKDATE, validity.not_after);
        assert_eq!(period_is_past(authority, created, end - created), None);
        assert!(period_is_past(authority, created, end - created + 7200).is_some());
        assert_eq!(period_is_past(authority, created + 60, end - created), None, "imported");
    }

    /// New keys in the place of lost ones would be another cluster under the old one's name.
    #[test]
    fn lost_secrets_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("firstboot"), elf(62, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
        let text = crate::config::examples::ALL[0].text;
        for name in ["cluster.yaml", "other.yaml"] {
            std::fs::write(file(name), text).unwrap();
        }
        let build = |cluster: &str, secrets: &str| {
            let build = Build {
                file: file(cluster),
                json: false,
                example: None,
                secrets: Some(file(secrets)),
                output: file("out"),
                firstboot: vec![file("firstboot")],
                node: vec![],
                tree: false,
            };
            build.run(&Terminal::new(true))
        };
        build("cluster.yaml", "s1").unwrap();
        let admin = std::fs::read(file("out/admin.conf")).unwrap();
        assert!(matches!(build("cluster.yaml", "s2"), Err(Failure::Environment(_))));
        assert!(!file("s2").exists() && std::fs::read(file("out/admin.conf")).unwrap() == admin);
        build("cluster.yaml", "s1").unwrap();
        // Nor is one cluster's output replaced by another's.
        assert!(matches!(build("other.yaml", "s2"), Err(Failure::Environment(_))));
        assert!(!file("s2").exists() && std::fs::read(file("out/admin.conf")).unwrap() == admin);
        std::fs::remove_dir_all(file("out")).unwrap();
        build("other.yaml", "s2").unwrap();

        // Nor are they published as if they were a program.
        let served =
            format!("{text}\ndelivery: {{baseURL: 'https://192.0.2.1'}}\nbinaries: {{kubelet: {{file: s3}}}}\n");
        std::fs::copy(file("s2"), file("s3")).unwrap();
        std::fs::write(file("other.yaml"), served).unwrap();
        assert!(matches!(build("other.yaml", "s2"), Err(Failure::Input(_))));
        assert!(!file("out/serve").exists());
    }

    /// Secrets are left behind with an output, or with nothing that could be lost.
    #[test]
    fn secrets_are_kept_when_all_is_baked() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("firstboot"), elf(62, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
        std::fs::create_dir(file("out")).unwrap();
        let text = crate::config::examples::ALL[0].text;
        let build = |text: &str, secrets: &str| {
            std::fs::write(file("cluster.yaml"), text).unwrap();
            let build = Build {
                file: file("cluster.yaml"),
                json: false,
                example: None,
                secrets: Some(file(secrets)),
                output: file("out"),
                firstboot: vec![file("firstboot")],
                node: vec![],
                tree: false,
            };
            build.run(&Terminal::new(true))
        };
        let is_empty = || std::fs::read_dir(file("out")).unwrap().next().is_none();
        // Too large for a payload, which shows when it is baked.
        let large = text.replace("\nos:\n", "\nos:\n  platform: aws\n");
        assert!(matches!(build(&large, "s"), Err(Failure::Findings(_))));
        assert!(!file("s").exists() && is_empty());
        // Secrets that cannot be written.
        assert!(matches!(build(text, "missing/s"), Err(Failure::Environment(_))));
        assert!(is_empty());
        // Secrets where the output goes would have to be replaced by it, whatever way leads there.
        std::os::unix::fs::symlink("out", file("link")).unwrap();
        let inside = |secrets: &str| {
            let found = build(text, secrets);
            let Err(Failure::Input(error)) = &found else { panic!("{secrets}: {found:?}") };
            assert!(error.to_string().contains("lies in the output"), "{secrets}: {error}");
        };
        for secrets in ["out/s", "./out/s", "missing/../out/s", "link/s", "link/../out/s", "out"] {
            inside(secrets);
            assert!(is_empty(), "{secrets}");
        }
        std::fs::remove_dir(file("out")).unwrap();
        for secrets in ["out", "out/s", "out/deep/../s"] {
            inside(secrets);
            assert!(!file("out").exists(), "{secrets}");
        }
        build(text, "outside").unwrap();
        std::fs::remove_dir_all(file("out")).unwrap();
        build(text, "s").unwrap();
        assert!(file("s").exists() && file("out/admin.conf").exists());
    }

    /// What nodes that are kept fetch is linked only as it was written.
    #[test]
    fn what_kept_nodes_fetch_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("firstboot"), elf(62, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
        let kept = "nodes:\n  - {name: kept, role: worker, address: 192.0.2.99}\n";
        let text = crate::config::examples::ALL[0].text.replacen("nodes:\n", kept, 1);
        let text =
            format!("{text}\ndelivery: {{baseURL: 'https://192.0.2.1'}}\nbinaries: {{kubelet: {{file: kubelet}}}}\n");
        std::fs::write(file("cluster.yaml"), text).unwrap();
        let build = |node: &[&str]| {
            let node = node.iter().map(|name| (*name).to_owned()).collect();
            let build = Build { node, ..Build::of(file("cluster.yaml"), file("out"), file("firstboot")) };
            build.run(&Terminal::new(true))
        };
        std::fs::write(file("kubelet"), "one kubelet").unwrap();
        build(&[]).unwrap();
        std::fs::write(file("kubelet"), "another kubelet").unwrap();
        let blob = format!("serve/blobs/{}", nodekiln_plan::Sha256::of(b"one kubelet"));
        let path = file("out").join(&blob);
        let refused = |what: &str| {
            let found = build(&["node1"]);
            let Err(Failure::Input(error)) = &found else { panic!("{what}: {found:?}") };
            assert!(error.to_string().contains(&format!("{blob} is not as it was written")), "{what}: {error}");
        };
        std::fs::write(&path, "One kubelet").unwrap();
        refused("a flipped bit");
        std::fs::rename(&path, file("away")).unwrap();
        refused("gone");
        std::os::unix::fs::symlink(file("away"), &path).unwrap();
        refused("a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(file("away"), &path).unwrap();
        std::fs::write(&path, "one kubelet").unwrap();
        build(&["node1"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one kubelet");
        let new = format!("out/serve/blobs/{}", nodekiln_plan::Sha256::of(b"another kubelet"));
        assert!(file(&new).is_file());
    }

    #[test]
    fn one_binary_for_each_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, machine| {
            let path = folder.path().join(name);
            std::fs::write(&path, elf(machine, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
            path
        };
        let (intel, arm, other) = (file("intel", 62), file("arm", 183), file("other", 183));
        let archs = |given: &[PathBuf]| -> Result<Vec<Arch>, Failure> {
            Ok(binaries(given)?.iter().map(|binary| binary.arch).collect())
        };
        assert_eq!(archs(&[intel.clone(), arm.clone()]).unwrap(), [Arch::Amd64, Arch::Arm64]);
        let embedded: Vec<_> = Firstboot::embedded().unwrap().iter().map(|binary| binary.arch).collect();
        let beside: Vec<_> =
            [Arch::Arm64].into_iter().chain(embedded.into_iter().filter(|a| *a != Arch::Arm64)).collect();
        assert_eq!(archs(std::slice::from_ref(&arm)).unwrap(), beside);
        assert!(matches!(archs(&[arm, other]), Err(Failure::Input(_))));
    }
}
