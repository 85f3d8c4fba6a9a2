//! `nodekiln secrets`: the cluster's only state.

mod outside;
mod rotate;

use super::{
    build,
    terminal::{Failure, Terminal},
};
use crate::{
    config::{self, Cluster},
    output::secrets_file,
    pki,
    secrets::{
        CaOptions, RotateError,
        import::{self, FILES, ImportError},
        show::Shown,
    },
};
use anyhow::{Context as _, anyhow};
use nodekiln_plan::Secret;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Commands of `secrets`.
#[derive(Debug, clap::Subcommand)]
pub enum Secrets {
    /// Make a new secrets.yaml. An existing one is never replaced: it is the cluster.
    New(New),
    /// Make a secrets.yaml from the pki/ folder of a cluster that kubeadm made, or from CAs of your own. What is not there
    /// is made new.
    Import(Import),
    /// Begin a new generation of certificates and bootstrap tokens. Their lifetimes count from now; old ones stay good
    /// until their own end.
    Renew(Renew),
    /// Take the next step in replacing a CA: trust a new one, issue with it, drop the old one. Rebuild all nodes with the
    /// output of each step before you take the next.
    RotateCa(rotate::RotateCa),
    /// Take the next step in replacing the key for encryption at rest: add a new one, encrypt with it, drop the old one.
    /// Give every control plane the output of each step before you take the next.
    RotateEncryption(rotate::RotateEncryption),
    /// Write a certificate signing request for each certificate of a CA whose key is not in the secrets.
    Requests(outside::Requests),
    /// Take the certificates that such a CA has signed for the requests. Each is checked against what was asked for.
    ImportCertificates(outside::ImportCertificates),
    /// Tell what a secrets.yaml holds, without private material.
    Show(Show),
}

/// Arguments of `secrets new`.
#[derive(Debug, clap::Args)]
pub struct New {
    /// The cluster file, for the algorithm and the lifetime of its CAs, and for the bootstrap tokens and RSA keys that it
    /// needs.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Where to write the secrets; beside the cluster file by default.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

/// Arguments of `secrets import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The folder, with kubeadm's names in it: ca.crt, ca.key, etcd/ca.crt, etcd/ca.key, front-proxy-ca.crt,
    /// front-proxy-ca.key, sa.key, sa.pub. Keys are PKCS#8, PKCS#1 or SEC1.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The cluster file, for what is made new.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Where to write the secrets; beside the cluster file by default.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// Replace an existing secrets.yaml, which is another cluster's from then on. It is kept beside the new one.
    #[arg(long)]
    replace: bool,
}

/// Arguments of `secrets renew`.
#[derive(Debug, clap::Args)]
pub struct Renew {
    /// The secrets.
    #[arg(long, value_name = "FILE", default_value = "secrets.yaml")]
    secrets: PathBuf,
    /// The cluster file, for the lifetime of the certificates, which no CA may end before; `cluster.yaml` beside the secrets
    /// by default, if it is there.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Arguments of `secrets show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The secrets.
    #[arg(long, value_name = "FILE", default_value = "secrets.yaml")]
    secrets: PathBuf,
    /// The cluster file, which says how long certificates and tokens live; `cluster.yaml` beside the secrets by default,
    /// if it is there.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

impl Secrets {
    /// Runs one of them.
    ///
    /// # Errors
    /// Findings in the files, or files that cannot be read or written.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Secrets::New(new) => new.run(terminal),
            Secrets::Import(import) => import.run(terminal),
            Secrets::Renew(renew) => renew.run(terminal),
            Secrets::RotateCa(rotate) => rotate.run(terminal),
            Secrets::RotateEncryption(rotate) => rotate.run(terminal),
            Secrets::Requests(requests) => requests.run(terminal),
            Secrets::ImportCertificates(import) => import.run(terminal),
            Secrets::Show(show) => show.run(terminal),
        }
    }
}

impl New {
    fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let loaded = config::load(&self.file)?;
        let path = self.secrets.unwrap_or_else(|| secrets_file::beside(&self.file));
        // RSA keys take their time, and would be made for nothing.
        refuse_existing(&path)?;
        let secrets = secrets_file::make(&loaded.cluster)?;
        create(&path, &secrets)?;
        terminal.say(format!("wrote {}: keep it safe, it is all of the cluster's keys", path.display()));
        Ok(())
    }
}

impl Import {
    fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let loaded = config::load(&self.file)?;
        let path = self.secrets.unwrap_or_else(|| secrets_file::beside(&self.file));
        if !self.replace {
            refuse_existing(&path)?;
        }
        let files = read(&self.folder)?;
        let options = CaOptions::of(&loaded.cluster, secrets_file::now()?);
        let mut imported = import::import(&files, options, getrandom::fill).map_err(|error| match error {
            ImportError::Files(faults) => {
                let faults: Vec<_> = faults.iter().map(|fault| format!("{}/{fault}", self.folder.display())).collect();
                Failure::Input(anyhow!("{}", faults.join("\nerror: ")))
            }
            error @ ImportError::New(_) => Failure::environment(error),
        })?;
        build::complete(&mut imported.secrets, &loaded.cluster)?;
        for warning in &imported.warnings {
            terminal.warn(format!("{}/{warning}", self.folder.display()));
        }
        if path.exists() {
            let kept = secrets_file::replace(&path, &imported.secrets)
                .with_context(|| format!("replacing {}", path.display()))
                .map_err(Failure::Environment)?;
            terminal.say(format!("kept the secrets that were there as {}", kept.display()));
        } else {
            create(&path, &imported.secrets)?;
        }
        for note in &imported.notes {
            terminal.say(note);
        }
        terminal.say(format!("wrote {}: keep it safe, it is all of the cluster's keys", path.display()));
        Ok(())
    }
}

impl Renew {
    fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut secrets = secrets_file::open(&self.secrets, terminal)?;
        let before = secrets.fingerprint();
        let untold = "whether certificates would outlive their CAs is not checked";
        let cluster = cluster_of(self.file.as_deref(), &self.secrets, untold, terminal)?;
        let now = secrets_file::now()?;
        secrets.renew(now, &mut getrandom::fill).map_err(unrotated)?;
        buildable(&secrets, cluster.as_ref(), now)?;
        update(&self.secrets, &before, &secrets, terminal)?;
        terminal.say(format!(
            "generation {} begins: build, and boot the nodes with the new payloads one after the other, control planes first",
            secrets.generation()
        ));
        tell_outside(terminal, &secrets);
        Ok(())
    }
}

impl Show {
    fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let secrets = secrets_file::open(&self.secrets, terminal)?;
        let untold = "ends of certificates and tokens are not told";
        let cluster = cluster_of(self.file.as_deref(), &self.secrets, untold, terminal)?;
        let shown = Shown::new(&secrets, cluster.as_ref());
        if !self.json {
            return terminal.data(shown.text().as_bytes());
        }
        terminal.json(&shown)
    }
}

/// The cluster of the `secrets`. A file that is named has to be good; one that only lies beside them need not: then `untold`
/// is said.
fn cluster_of(
    file: Option<&Path>,
    secrets: &Path,
    untold: &str,
    terminal: &Terminal,
) -> Result<Option<Cluster>, Failure> {
    if let Some(file) = file {
        return Ok(Some(config::load(file)?.cluster));
    }
    let beside = secrets.with_file_name("cluster.yaml");
    if !beside.exists() {
        return Ok(None);
    }
    match config::load(&beside) {
        Ok(loaded) => Ok(Some(loaded.cluster)),
        Err(_) => {
            terminal.warn(format!("{} has faults: {untold}", beside.display()));
            Ok(None)
        }
    }
}

/// Whether `build` takes leaves that begin `now`: where it does not, no later renewal would help, for times only grow.
fn buildable(secrets: &crate::secrets::Secrets, cluster: Option<&Cluster>, now: i64) -> Result<(), Failure> {
    pki::may_begin(secrets, cluster, now)
        .map_err(|error| Failure::Input(anyhow!("nothing was changed: {}", error.of_now())))
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::Environment(anyhow!(
            "{} exists, and is never replaced by accident: it is the cluster",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("looking for {}", path.display()));
            Err(Failure::Environment(error))
        }
    }
}

fn create(path: &Path, secrets: &crate::secrets::Secrets) -> Result<(), Failure> {
    secrets_file::create(path, secrets)
        .with_context(|| format!("making {}, which is never replaced where it exists", path.display()))
        .map_err(Failure::Environment)
}

fn update(
    path: &Path,
    before: &nodekiln_plan::Sha256,
    secrets: &crate::secrets::Secrets,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let kept = secrets_file::update(path, before, secrets)
        .with_context(|| format!("writing {}", path.display()))
        .map_err(Failure::Environment)?;
    if let Some(kept) = kept {
        terminal.say(format!(
            "kept the older secrets as {}: they hold keys or certificates that the new ones do not; delete them once no node \
             and no backup of etcd needs them",
            kept.display()
        ));
    }
    Ok(())
}

/// Another generation is other keys, of all leaves.
fn tell_outside(terminal: &Terminal, secrets: &crate::secrets::Secrets) {
    if secrets.has_outside_ca() {
        terminal.say("before that, have the certificates of CAs without a key here signed anew (`secrets requests`)");
    }
}

fn unrotated(error: RotateError<getrandom::Error>) -> Failure {
    Failure::Environment(anyhow::Error::new(error).context("nothing was changed"))
}

/// The files of a `pki/` folder. Others in it are leaves, which are made new.
fn read(folder: &Path) -> Result<BTreeMap<&'static str, Secret>, Failure> {
    if let Err(error) = std::fs::read_dir(folder) {
        let error = anyhow::Error::new(error).context(format!("reading {}", folder.display()));
        return Err(Failure::Environment(error));
    }
    let mut files = BTreeMap::new();
    for name in FILES {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                files.insert(name, Secret::new(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("reading {}", path.display()));
                return Err(Failure::Environment(error));
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::Input(anyhow!(
            "{}: none of {} is there; `secrets new` makes all of them",
            folder.display(),
            FILES.join(", ")
        )));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
