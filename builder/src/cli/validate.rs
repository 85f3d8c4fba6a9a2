//! `nodekiln validate`: everything that is wrong with a cluster.yaml, at once.

use super::{
    build, plan,
    terminal::{Failure, Terminal},
};
use crate::{
    config::{self, Arch, Cluster},
    node::Sources,
    output::secrets_file,
    secrets::Secrets,
};
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
        let opened = self.secrets.map(|path| (secrets_file::open(&path, terminal), path));
        if let Some((Ok(secrets), _)) = &opened {
            sources.shape = secrets.shape();
        }
        let planned = config::load(&self.file)
            .map_err(Failure::from)
            .and_then(|loaded| plan::check(&loaded, &sources).map(|()| loaded));
        // As in `build`, faults in the secrets come after those of the plans.
        let fault = match (&planned, opened) {
            (Ok(loaded), Some((opened, path))) => {
                opened.and_then(|secrets| usable(&secrets, &path, &loaded.cluster)).err()
            }
            _ => None,
        };
        if self.json && fault.is_none() {
            let findings = match &planned {
                Ok(loaded) => Some(&loaded.warnings),
                Err(Failure::Findings(findings)) => Some(&**findings),
                Err(_) => None,
            };
            if let Some(findings) = findings {
                terminal.json(findings)?;
            }
        }
        let loaded = planned?;
        terminal.warnings(&loaded.warnings);
        if let Some(fault) = fault {
            return Err(fault);
        }
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut what = count(loaded.cluster.nodes.len(), "node");
        if !loaded.cluster.pools.is_empty() {
            what = format!("{what}, {}", count(loaded.cluster.pools.len(), "pool"));
        }
        terminal.say(format!("{}: {what}, no errors", self.file.display()));
        Ok(())
    }
}

/// Whether the secrets, which `path` holds, do for the cluster. What they lack `build` makes: only then can they be opened.
fn usable(secrets: &Secrets, path: &Path, cluster: &Cluster) -> Result<(), Failure> {
    if secrets.lack(cluster) { Ok(()) } else { build::authority(secrets, path, cluster).map(drop) }
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
    use crate::{
        config::code,
        firstboot::{Firstboot, tests::elf},
    };

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
