//! `nodekiln secrets rotate-ca` and `rotate-encryption`: one step at a time.

use super::{buildable, tell_outside, unrotated, update};
use crate::{
    cli::terminal::{Failure, Terminal},
    config,
    output::secrets_file,
    pki::Ca,
    secrets::{CaOptions, EncryptionStep, RotateError, RotationStep, import},
};
use anyhow::{Context as _, anyhow};
use nodekiln_plan::Secret;
use std::path::{Path, PathBuf};

/// Arguments of `secrets rotate-ca`.
#[derive(Debug, clap::Args)]
pub struct RotateCa {
    /// The CA; all three by default.
    #[arg(long = "ca", value_name = "CA", value_enum)]
    pub(super) cas: Vec<Authority>,
    /// In the first step, a certificate (PEM) of a CA of yours that takes the place, instead of a new one. Names one CA by
    /// --ca. Without --key it signs elsewhere.
    #[arg(long, value_name = "FILE", requires = "cas")]
    pub(super) certificate: Option<PathBuf>,
    /// The key of that CA.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(super) key: Option<PathBuf>,
    /// The cluster file, for the algorithm and the lifetime of the new CA.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub(super) file: PathBuf,
    /// The secrets; beside the cluster file by default.
    #[arg(long, value_name = "FILE")]
    pub(super) secrets: Option<PathBuf>,
}

/// Arguments of `secrets rotate-encryption`.
#[derive(Debug, clap::Args)]
pub struct RotateEncryption {
    /// The secrets.
    #[arg(long, value_name = "FILE", default_value = "secrets.yaml")]
    pub(super) secrets: PathBuf,
    /// All Secrets of the cluster have been written again since the new key encrypts: the old one can be dropped. What was
    /// not is lost with it.
    #[arg(long)]
    pub(super) rewritten: bool,
}

/// A CA, by its name on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Authority {
    /// Of the API server and its clients.
    Kubernetes,
    /// Of aggregated API servers' client.
    FrontProxy,
    /// Of etcd.
    Etcd,
}

impl RotateCa {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let loaded = config::load(&self.file)?;
        let path = self.secrets.unwrap_or_else(|| secrets_file::beside(&self.file));
        let mut secrets = secrets_file::open(&path, terminal)?;
        let before = secrets.fingerprint();
        let mut cas: Vec<Ca> = self.cas.iter().map(|ca| ca.ca()).collect();
        if cas.is_empty() {
            cas = Ca::ALL.into();
        }
        cas.sort();
        cas.dedup();
        let steps: Vec<RotationStep> = cas.iter().map(|ca| secrets.next_step(*ca)).collect();
        if steps.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Failure::Input(anyhow!(
                "the CAs are at different steps of their rotations; name those to go on with by --ca"
            )));
        }
        let options = CaOptions::of(&loaded.cluster, secrets_file::now()?);
        if let Some(certificate) = &self.certificate {
            let [ca] = cas[..] else {
                return Err(Failure::Input(anyhow!(
                    "--certificate: name the one CA that it takes the place of by --ca"
                )));
            };
            let new = given(ca, certificate, self.key.as_deref(), options.now, terminal)?;
            let rotated: Result<(), RotateError<getrandom::Error>> = secrets.rotate_to(ca, new);
            rotated.map_err(|error| match error {
                error @ RotateError::Given => Failure::input(error),
                error => unrotated(error),
            })?;
        } else {
            for ca in &cas {
                secrets.rotate(*ca, options, &mut getrandom::fill).map_err(unrotated)?;
            }
            // It renews as well.
            if steps.first() == Some(&RotationStep::Issue) {
                buildable(&secrets, Some(&loaded.cluster), options.now)?;
            }
        }
        // Whatever else secrets.yaml may not hold, such as one key in two places, shows when it is read again.
        if let Err(findings) = crate::secrets::Secrets::parse(secrets.to_vec().expose()) {
            return Err(Failure::input(findings));
        }
        // What was not written has not happened.
        update(&path, &before, &secrets, terminal)?;
        for (ca, step) in cas.iter().zip(&steps) {
            let name = ca.name();
            terminal.say(match step {
                RotationStep::Trust => {
                    format!("{name} CA: a new one is trusted beside the old one, which still issues")
                }
                RotationStep::Issue => format!("{name} CA: the new one issues, the old one is still trusted"),
                RotationStep::Drop => format!("{name} CA: the old one is dropped"),
            });
        }
        terminal.say(match steps.first() {
            Some(RotationStep::Drop) => "build, and rebuild all nodes: then the rotation is done",
            _ => "build, and rebuild all nodes before you run this again for the next step",
        });
        tell_outside(terminal, &secrets);
        Ok(())
    }
}

impl RotateEncryption {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        const REWRITE: &str = "kubectl get secrets -A -o json | kubectl replace -f -";
        let mut secrets = secrets_file::open(&self.secrets, terminal)?;
        let before = secrets.fingerprint();
        match (secrets.next_encryption_step(), self.rewritten) {
            (EncryptionStep::Drop, false) => {
                return Err(Failure::Input(anyhow!(
                    "the next step drops the old key, and whatever it alone can read is lost: write all Secrets again once \
                     every control plane encrypts with the new one (`{REWRITE}`), then say so by --rewritten"
                )));
            }
            (EncryptionStep::Add | EncryptionStep::Use, true) => {
                return Err(Failure::Input(anyhow!("--rewritten: no key is about to be dropped")));
            }
            (EncryptionStep::Drop, true) | (EncryptionStep::Add | EncryptionStep::Use, false) => {}
        }
        let step = secrets.rotate_encryption(&mut getrandom::fill).map_err(|error| match error {
            error @ RotateError::EncryptionKeys => Failure::Input(anyhow!("{}: {error}", self.secrets.display())),
            error => unrotated(error),
        })?;
        update(&self.secrets, &before, &secrets, terminal)?;
        terminal.say(match step {
            EncryptionStep::Add => {
                "a new key decrypts, the old one still encrypts: build, and rebuild all control planes before you run this \
                 again for the next step"
                    .to_owned()
            }
            EncryptionStep::Use => format!(
                "the new key encrypts, the old one still decrypts: build, rebuild all control planes, write all Secrets \
                 again (`{REWRITE}`), and then run this again with --rewritten"
            ),
            EncryptionStep::Drop => {
                "the old key is dropped: build, and rebuild all control planes; then the rotation is done".to_owned()
            }
        });
        Ok(())
    }
}

impl Authority {
    fn ca(self) -> Ca {
        match self {
            Authority::Kubernetes => Ca::Kubernetes,
            Authority::FrontProxy => Ca::FrontProxy,
            Authority::Etcd => Ca::Etcd,
        }
    }
}

/// The CA in these files.
fn given(
    ca: Ca,
    certificate: &Path,
    key: Option<&Path>,
    now: i64,
    terminal: &Terminal,
) -> Result<import::NewCa, Failure> {
    let read = |path: &Path| {
        let bytes = std::fs::read(path).map(Secret::new).with_context(|| format!("reading {}", path.display()));
        bytes.map_err(Failure::Environment)
    };
    let files = (read(certificate)?, key.map(read).transpose()?);
    match import::new_ca_of(ca, files.0, files.1, now) {
        Ok((new, warnings)) => {
            warnings.iter().for_each(|warning| terminal.warn(warning));
            Ok(new)
        }
        Err(faults) => Err(Failure::Input(anyhow!("{}", faults.join("\nerror: ")))),
    }
}
