//! `nodekiln secrets requests` and `import-certificates`: leaves of CAs whose keys are elsewhere.

use super::update;
use crate::{
    cli::{
        build,
        terminal::{Failure, Terminal},
    },
    config::{self, Cluster, San},
    output::secrets_file,
    pki::{
        certificate::Validity,
        outside::{Outside, OutsideError, Wanted},
        table::{self, Usage},
    },
    secrets::Secrets,
};
use anyhow::{Context as _, anyhow};
use nodekiln_plan::Sha256;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What says what is asked for, beside the requests.
const INDEX: &str = "requests.json";

/// Arguments of `secrets requests`.
#[derive(Debug, clap::Args)]
pub struct Requests {
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub(super) file: PathBuf,
    /// The secrets; beside the cluster file by default. RSA keys that they lack are made and added.
    #[arg(long, value_name = "FILE")]
    pub(super) secrets: Option<PathBuf>,
    /// The folder to write: a new or an empty one. Requests are NODE/ROW.csr, or cluster/ROW.csr where all nodes share the
    /// certificate; requests.json says who has to sign which, and for how long.
    #[arg(short, long, value_name = "FOLDER")]
    pub(super) output: PathBuf,
    /// Also ask for those that are here already and fit.
    #[arg(long)]
    pub(super) all: bool,
}

/// Arguments of `secrets import-certificates`.
#[derive(Debug, clap::Args)]
pub struct ImportCertificates {
    /// The folder, with a NODE/ROW.crt or cluster/ROW.crt (PEM) for each request that was answered.
    #[arg(value_name = "FOLDER")]
    pub(super) folder: PathBuf,
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub(super) file: PathBuf,
    /// The secrets, which keep the certificates; beside the cluster file by default.
    #[arg(long, value_name = "FILE")]
    pub(super) secrets: Option<PathBuf>,
}

/// requests.json.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    cluster: &'a str,
    generation: u64,
    /// certificateValidityPeriod in seconds, and when it would be over.
    lifetime: i64,
    not_after: String,
    requests: Vec<IndexRow>,
}

/// A request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexRow {
    request: String,
    /// Where the answer is looked for.
    certificate: String,
    /// Who has to sign.
    ca: &'static str,
    issuer: String,
    /// Digest of the issuer's public key.
    issuer_public_key: Sha256,
    common_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'static str>,
    names: Vec<String>,
    usages: &'static [&'static str],
}

impl Requests {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let loaded = config::load(&self.file)?;
        let cluster = &loaded.cluster;
        let path = self.secrets.unwrap_or_else(|| secrets_file::beside(&self.file));
        let mut secrets = secrets_file::open(&path, terminal)?;
        let before = secrets.fingerprint();
        let added = build::complete(&mut secrets, cluster)?;
        let outside = Outside::open(&secrets, cluster).map_err(failed)?;
        if outside.wanted.is_empty() {
            return Err(Failure::Input(anyhow!(
                "{}: every CA that this cluster uses has its key here: there is nothing to ask for",
                path.display()
            )));
        }
        let lacks = outside.lacks(&secrets).map_err(failed)?;
        let asked = outside.wanted.iter().enumerate().filter(|(index, _)| self.all || lacks.contains_key(index));
        let asked: Vec<&Wanted> = asked.map(|(_, wanted)| wanted).collect();
        if asked.is_empty() {
            terminal.say("all certificates of CAs elsewhere are here: there is nothing to ask for");
            return Ok(());
        }
        // Its folder would have the index's name.
        if asked.iter().any(|wanted| wanted.leaf.node.as_ref().is_some_and(|node| node.as_str() == INDEX)) {
            return Err(Failure::Input(anyhow!(
                "the node {INDEX} has the name of the file that says what is asked for: give it another"
            )));
        }
        let rows = asked.iter().map(|wanted| row(wanted, &outside)).collect();
        let files = asked.iter().map(|wanted| Ok((format!("{}.csr", wanted.stem()), outside.request(wanted)?)));
        let files = files.collect::<Result<Vec<_>, _>>().map_err(|error| failed(OutsideError::Issue(error)))?;
        let index = index(cluster, &secrets, rows)?;
        let fault = |error: io::Error| {
            let error = anyhow::Error::new(error).context(format!("writing {}", self.output.display()));
            Failure::Environment(error)
        };
        empty(&self.output)?;
        // Keys that a request is for have to be there when the answer comes.
        if added {
            update(&path, &before, &secrets, terminal)?;
            terminal.say(format!("added what was missing to {}: keep the new one safe", path.display()));
        }
        let mut folders = BTreeSet::new();
        for (name, pem) in &files {
            let file = self.output.join(name);
            if let Some(folder) = file.parent().filter(|folder| folders.insert(folder.to_path_buf())) {
                std::fs::create_dir_all(folder).map_err(fault)?;
            }
            std::fs::write(&file, pem.expose()).map_err(fault)?;
        }
        std::fs::write(self.output.join(INDEX), index).map_err(fault)?;
        terminal.say(format!(
            "wrote {} requests to {}: have them signed, put each answer beside its request as .crt, and run `nodekiln secrets \
             import-certificates`",
            files.len(),
            self.output.display()
        ));
        Ok(())
    }
}

fn row(wanted: &Wanted, outside: &Outside) -> IndexRow {
    let (spec, issuer) = (table::spec(wanted.leaf.row), outside.issuer(wanted));
    let node = wanted.leaf.node.as_ref().map(ToString::to_string).unwrap_or_default();
    IndexRow {
        request: format!("{}.csr", wanted.stem()),
        certificate: format!("{}.crt", wanted.stem()),
        ca: wanted.ca.name(),
        issuer: issuer.name.clone(),
        issuer_public_key: Sha256::of(&issuer.spki),
        common_name: match spec.common_name {
            table::CommonName::Fixed(name) => name.to_owned(),
            table::CommonName::Node(prefix) => format!("{prefix}{node}"),
        },
        organization: spec.organization,
        names: wanted.leaf.sans.iter().map(San::to_string).collect(),
        usages: match spec.usage {
            Usage::Server => &["serverAuth"],
            Usage::Client => &["clientAuth"],
            Usage::Both => &["serverAuth", "clientAuth"],
        },
    }
}

fn index(cluster: &Cluster, secrets: &Secrets, requests: Vec<IndexRow>) -> Result<Vec<u8>, Failure> {
    let cluster_name = cluster.name.to_string();
    let index = Index {
        cluster: &cluster_name,
        generation: secrets.generation(),
        lifetime: cluster.certificate_validity,
        not_after: time(secrets.renewed_at().saturating_add(cluster.certificate_validity)),
        requests,
    };
    let mut text = serde_json::to_vec_pretty(&index).map_err(Failure::environment)?;
    text.push(b'\n');
    Ok(text)
}

/// Requests among older ones or among somebody's files would be taken for each other.
fn empty(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::read_dir(folder)?.next().transpose())
        .with_context(|| format!("looking into {}", folder.display()))
        .map_err(Failure::Environment)
        .and_then(|first| match first {
            None => Ok(()),
            Some(_) => Err(Failure::Environment(anyhow!("{} is not empty", folder.display()))),
        })
}

impl ImportCertificates {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let loaded = config::load(&self.file)?;
        let path = self.secrets.clone().unwrap_or_else(|| secrets_file::beside(&self.file));
        let mut secrets = secrets_file::open(&path, terminal)?;
        let before = secrets.fingerprint();
        let outside = Outside::open(&secrets, &loaded.cluster).map_err(failed)?;
        if outside.wanted.is_empty() {
            let path = path.display();
            return Err(Failure::Input(anyhow!("{path}: every CA that this cluster uses has its key here")));
        }
        let mut known = BTreeSet::new();
        let mut faults = Vec::new();
        let mut spans: Vec<Validity> = Vec::new();
        for wanted in &outside.wanted {
            let name = format!("{}.crt", wanted.stem());
            let read = self.read(&name)?;
            known.insert(name.clone());
            let Some(bytes) = read else { continue };
            let judged = match crate::secrets::import::certificate(&bytes) {
                Err(fault) => Err(fault),
                Ok(der) => match outside.accept(wanted, &der).map_err(|error| failed(OutsideError::Issue(error)))? {
                    Ok(span) => Ok((der, span)),
                    Err(error) => Err(error.to_string()),
                },
            };
            match judged {
                Ok((_, span)) if span.not_after <= secrets_file::now()? => {
                    faults.push(format!("{}/{name}: ended {}", self.folder.display(), time(span.not_after)));
                }
                Ok((der, span)) => {
                    spans.push(span);
                    secrets.keep_certificate(wanted, der);
                }
                Err(fault) => faults.push(format!("{}/{name}: {fault}", self.folder.display())),
            }
        }
        if !faults.is_empty() {
            return Err(Failure::Input(anyhow!("{}", faults.join("\nerror: "))));
        }
        if spans.is_empty() {
            return Err(Failure::Input(anyhow!(
                "{}: holds no certificate that was asked for, such as {}",
                self.folder.display(),
                known.first().map(String::as_str).unwrap_or_default()
            )));
        }
        for name in strangers(&self.folder, &known)? {
            terminal.warn(format!("{}/{name}: no request of this cluster has this name", self.folder.display()));
        }
        let wished = secrets.renewed_at().saturating_add(loaded.cluster.certificate_validity);
        if let Some(end) = spans.iter().map(|span| span.not_after).min().filter(|end| *end < wished) {
            terminal.warn(format!(
                "the first of them ends {}: sooner than {}, as was asked for",
                time(end),
                time(wished)
            ));
        }
        update(&path, &before, &secrets, terminal)?;
        let lacks = outside.lacks(&secrets).map_err(failed)?.len();
        let more = match lacks {
            0 => "all are here: build".to_owned(),
            lacks => format!("{lacks} are still missing"),
        };
        terminal.say(format!("took {} certificates into {}; {more}", spans.len(), path.display()));
        Ok(())
    }

    /// A file of the folder; `None` if it is not there.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => Ok(None),
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("reading {}", path.display()));
                Err(Failure::Environment(error))
            }
        }
    }
}

/// Certificates in the folder that nobody asked for.
fn strangers(folder: &Path, known: &BTreeSet<String>) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut look = |inner: Option<&str>| -> io::Result<Vec<String>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(inner.map_or_else(|| folder.to_path_buf(), |inner| folder.join(inner)))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = inner.map_or_else(|| name.clone(), |inner| format!("{inner}/{name}"));
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if name.ends_with(".crt") && !known.contains(&path) {
                found.push(path);
            }
        }
        Ok(folders)
    };
    let fault = |error: io::Error| {
        Failure::Environment(anyhow::Error::new(error).context(format!("reading {}", folder.display())))
    };
    for inner in look(None).map_err(fault)? {
        look(Some(&inner)).map_err(fault)?;
    }
    found.sort();
    Ok(found)
}

fn failed(error: OutsideError) -> Failure {
    Failure::input(error)
}

fn time(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    at.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests;
