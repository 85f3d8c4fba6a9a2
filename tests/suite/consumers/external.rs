//! `etcd.external`: the real API server on a real etcd of somebody else's, with the user's files.

use super::components::{Machine, PROGRAMS, end, needs, refused};
use anyhow::{Context as _, Result, bail, ensure};
use nodekiln::config::examples;
use nodekiln_tests::{
    made::{Made, final_files},
    tools::require,
};
use std::fs;
use tempfile::TempDir;

/// The user's etcd is a member of another cluster, with that cluster's CA. Its files as kubeadm's guide for external etcd
/// calls them, in a folder beside cluster.yaml.
struct Theirs {
    made: Made,
    folder: TempDir,
}

/// Where the files are in the machine image, if not in the payload.
const IMAGE: [(&str, &str); 3] = [
    ("ca.crt", "/etc/own/ca.crt"),
    ("client.crt", "/etc/own/tls/client.crt"),
    ("client.key", "/etc/own/tls/client.key"),
];

impl Theirs {
    fn new() -> Result<Self> {
        let made = Made::of(examples::ALL[0].text, None)?;
        let files = final_files(&made.filled(&made.cluster.nodes[0])?);
        let folder = tempfile::tempdir()?;
        for (name, path) in [
            ("ca.crt", "etcd/ca.crt"),
            ("client.crt", "apiserver-etcd-client.crt"),
            ("client.key", "apiserver-etcd-client.key"),
        ] {
            let (_, bytes) = files.get(&format!("/etc/kubernetes/pki/{path}")).with_context(|| path.to_owned())?;
            fs::write(folder.path().join(name), bytes)?;
        }
        Ok(Self { made, folder })
    }

    /// One control plane that uses it, and the member, as one machine.
    fn with(&self, files: [&str; 3]) -> Result<Machine> {
        let member = &self.made.cluster.nodes[0];
        let [ca, cert, key] = files;
        let text = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nos: {{profile: flatcar}}\n\
             networking: {{podSubnet: 10.200.0.0/16, serviceSubnet: 10.201.0.0/16}}\n\
             etcd: {{external: {{endpoints: [\"https://{}:2379\"], caFile: {ca}, certFile: {cert}, keyFile: {key}}}}}\n\
             nodes: [{{name: cp, role: control-plane, address: 198.51.100.7}}]\n",
            member.address()
        );
        let made = Made::of(&text, Some(self.folder.path()))?;
        let mut machine = Machine::of(&made, &made.cluster.nodes[0])?;
        ensure!(machine.external && !machine.files.contains_key("/etc/kubernetes/manifests/etcd.yaml"), "it has etcd");
        for (name, path) in IMAGE.iter().filter(|(_, path)| files.contains(path)) {
            let bytes = fs::read(self.folder.path().join(name))?;
            machine.files.insert((*path).to_owned(), (0o600, bytes));
        }
        // The member's own files: the CA is there already, and is the same.
        let theirs = Machine::of(&self.made, member)?;
        for (path, file) in theirs.files.into_iter().filter(|(path, _)| path.contains("/pki/etcd/")) {
            if machine.files.get(&path).is_some_and(|ours| ours.1 != file.1) {
                bail!("{path} is another file on the control plane");
            }
            machine.files.insert(path, file);
        }
        machine.argv.insert("etcd".to_owned(), theirs.argv.get("etcd").context("it runs etcd")?.clone());
        machine.addresses.extend(theirs.addresses);
        machine.etcd = theirs.etcd;
        machine.external = false;
        Ok(machine)
    }
}

const INPUTS: [&str; 3] = ["ca.crt", "client.crt", "client.key"];

#[test]
fn the_api_server_works_on_an_etcd_that_somebody_else_runs() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let theirs = Theirs::new()?;
    for files in [INPUTS, IMAGE.map(|(_, path)| path)] {
        let (said, logs) = theirs.with(files)?.run(&cache, &PROGRAMS[..4], 900)?;
        for name in &PROGRAMS[..4] {
            let log = logs.get(*name).with_context(|| format!("{name} did not run"))?;
            ensure!(said.lines().any(|line| line == format!("{name} ok")), "{files:?}: {name}: {said}{}", end(log));
        }
    }
    Ok(())
}

/// Without the right key it does not start, and without the right CA it is never ready.
#[test]
fn the_api_server_needs_the_users_own_files() -> Result<()> {
    let Some(cache) = require(&needs())? else { return Ok(()) };
    let theirs = Theirs::new()?;
    let path = |name: &str| format!("/etc/kubernetes/pki/{name}");
    let mut machine = theirs.with(INPUTS)?;
    let other = machine.files.get(&path("front-proxy-client.key")).context("another key")?.clone();
    machine.files.insert(path("apiserver-etcd-client.key"), other);
    refused(&cache, &machine, "kube-apiserver", "private key does not match public key")?;

    let mut machine = theirs.with(IMAGE.map(|(_, path)| path))?;
    let other = machine.files.get(&path("ca.crt")).context("another CA")?.clone();
    machine.files.insert("/etc/own/ca.crt".to_owned(), other);
    let (said, logs) = machine.run(&cache, &["etcd", "kube-apiserver"], 300)?;
    ensure!(said.contains("etcd ok") && !said.contains("kube-apiserver ok"), "{said}");
    let log = &logs["kube-apiserver"];
    ensure!(log.contains("certificate signed by unknown authority"), "{said}{}", end(log));
    Ok(())
}
