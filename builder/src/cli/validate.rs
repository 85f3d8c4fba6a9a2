//! `nodekiln validate`: everything that is wrong with a cluster.yaml, at once.

use super::{
    build, plan,
    terminal::{Failure, Terminal},
};
use crate::{
    config::{
        self, Arch, Diagnostic, Loaded, Severity,
        code::{self, Code},
    },
    node::Sources,
    output::secrets_file,
    pki::{Authority, OpenError},
    secrets::Secrets,
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    file: PathBuf,
    /// Print the findings as JSON on stdout too; as text they stay on stderr.
    #[arg(long)]
    json: bool,
    /// Static nodekiln-firstboot binary that `build` will use, one per architecture; the embedded one serves its own
    /// otherwise.
    #[arg(long, value_name = "FILE")]
    firstboot: Vec<PathBuf>,
    /// The secrets that `build` will use, to check against them too: whether a CA's key is elsewhere, until when its
    /// certificate lasts. Without it those of a new cluster are assumed.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

impl Validate {
    /// Checks the file.
    ///
    /// # Errors
    /// Findings, or a file that cannot be read.
    pub fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut sources = sources(&self.firstboot)?;
        let opened = match self.secrets.as_deref().map(|path| secrets_file::open(path, terminal)).transpose() {
            // What was asked for cannot be checked, as with a `--firstboot` that is not there.
            Err(failure @ Failure::Environment(_)) => return Err(failure),
            opened => opened,
        };
        let path = self.secrets.unwrap_or_default();
        if let Ok(Some(secrets)) = &opened {
            sources.shape = secrets.shape();
        }
        let planned = config::load(&self.file)
            .map_err(Failure::from)
            .and_then(|loaded| plan::check(&loaded, &sources).map(|()| loaded));
        // As in `build`, whether the secrets fit comes after the plans.
        let (planned, refused) = match (planned, opened) {
            (Ok(loaded), Ok(Some(secrets))) => match fit(secrets, &path, &loaded) {
                Ok(()) => (Ok(loaded), None),
                Err(failure @ Failure::Input(_)) => (Ok(loaded), Some(failure)),
                Err(failure) => (Err(failure), None),
            },
            (planned, opened) => (planned, opened.err()),
        };
        if self.json {
            let findings = match &planned {
                Ok(loaded) => Some(&loaded.warnings),
                Err(Failure::Findings(findings)) => Some(&**findings),
                Err(_) => None,
            };
            if let Some(findings) = findings {
                let of_secrets = refused.iter().flat_map(|failure| told(failure, &path)).map(Told::Secrets);
                terminal.json(&findings.iter().map(Told::Cluster).chain(of_secrets).collect::<Vec<_>>())?;
            }
        }
        if let Ok(loaded) = &planned {
            terminal.warnings(&loaded.warnings);
        }
        let loaded = match (planned, refused) {
            (Ok(loaded), None) => loaded,
            (Ok(_), Some(refused)) => return Err(refused),
            (Err(failure), refused) => {
                if let Some(refused) = refused {
                    terminal.failure(&refused);
                }
                return Err(failure);
            }
        };
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut what = count(loaded.cluster.nodes.len(), "node");
        if !loaded.cluster.pools.is_empty() {
            what = format!("{what}, {}", count(loaded.cluster.pools.len(), "pool"));
        }
        terminal.say(format!("{}: {what}, no errors", self.file.display()));
        Ok(())
    }
}

/// Whether the secrets, which `path` holds, do for the cluster. What they lack is made as `build` makes it, and dropped:
/// only whole ones can be opened.
///
/// # Errors
/// A finding where a field of cluster.yaml is at fault, with its warnings.
fn fit(mut secrets: Secrets, path: &Path, loaded: &Loaded) -> Result<(), Failure> {
    build::complete(&mut secrets, &loaded.cluster)?;
    let opened = Authority::open(&secrets, &loaded.cluster);
    opened.map(drop).map_err(|error| build::unopened(error, path, loaded, loaded.warnings.clone()))
}

/// An element of the list that `--json` prints.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Cluster(&'a Diagnostic),
    Secrets(InSecrets),
}

/// A finding in the secrets: a [`Diagnostic`] without the text, which is nobody's to see.
#[derive(Serialize)]
struct InSecrets {
    severity: Severity,
    code: Code,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    path: String,
    message: String,
}

/// Why the secrets at `path` were refused, as findings.
fn told(refused: &Failure, path: &Path) -> Vec<InSecrets> {
    let finding = |place: Option<(u64, u64)>, path_in: &str, message: &str| InSecrets {
        severity: Severity::Error,
        code: code::SECRETS,
        file: path.display().to_string(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        path: path_in.to_owned(),
        message: message.to_owned(),
    };
    let (Failure::Input(error) | Failure::Environment(error)) = refused else { return Vec::new() };
    if let Some(refused) = error.downcast_ref::<secrets_file::Refused>() {
        let each = refused.findings.iter();
        return each.map(|found| finding(Some((found.line, found.column)), &found.path, &found.message)).collect();
    }
    if let Some(OpenError::External(lacking)) = error.downcast_ref() {
        return lacking.iter().map(|lacking| finding(None, "", &lacking.to_string())).collect();
    }
    vec![finding(None, "", &format!("{error:#}"))]
}

/// What `build` would have. A builder that holds no binary, as those for development do, does not ask for one: any
/// program will do, since none is carried anywhere.
fn sources(given: &[PathBuf]) -> Result<Sources, Failure> {
    let binaries = build::binaries(given)?;
    if binaries.is_empty() {
        let any: Arc<[u8]> = Arc::from([].as_slice());
        return Ok(Sources::new([(Arch::Amd64, any.clone()), (Arch::Arm64, any)].into()));
    }
    Ok(build::sources(&binaries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firstboot::{Firstboot, tests::elf};

    /// What `build` refuses with the same arguments is refused here.
    #[test]
    fn a_node_without_firstboot_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for (name, machine) in [("intel", 62), ("arm", 183)] {
            std::fs::write(file(name), elf(machine, &[], nodekiln_plan::PLAN_MARKER)).unwrap();
        }
        let text = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n\
            os: {profile: cloud-init, arch: arm64}\nnodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";
        std::fs::write(file("cluster.yaml"), text).unwrap();
        let validate = |given: &[&str]| {
            let firstboot = given.iter().map(|name| file(name)).collect();
            Validate { file: file("cluster.yaml"), json: false, firstboot, secrets: None }.run(&Terminal::new(true))
        };
        let embedded = Firstboot::embedded().unwrap().map(|binary| binary.arch);
        for (given, sound) in [
            (&[][..], embedded.is_none_or(|arch| arch == Arch::Arm64)),
            (&["intel"], embedded == Some(Arch::Arm64)),
            (&["arm"], true),
            (&["intel", "arm"], true),
        ] {
            match validate(given) {
                Ok(()) => assert!(sound, "{given:?}"),
                Err(Failure::Findings(found)) => {
                    let codes: Vec<_> = found.iter().map(|f| f.code).collect();
                    assert!(!sound && codes == [code::PLAN], "{given:?}: {codes:?}");
                }
                Err(other) => panic!("{given:?}: {other:?}"),
            }
        }
    }
}
