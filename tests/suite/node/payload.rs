//! Payloads for test nodes, made by the real command from a cluster.yaml.

use anyhow::{Context as _, Result, bail};
use nodekiln_tests::{cache::Cache, command::Cmd, node::NodeSpec, root::Payload, tools::nodekiln};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a kernel with cgroup v1 and without CAP_SYS_RESOURCE needs, and what makes tests short. None of it is a default
/// of the product's.
const HARNESS: &str = r#"
kubelet:
  failCgroupV1: false
  resolvConf: /etc/resolv.conf
  imageGCHighThresholdPercent: 100
  imageGCLowThresholdPercent: 99
  evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
kubeProxy:
  conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
ignorePreflightErrors: [SystemVerification]
kernel:
  swap: true
"#;

/// Every node is reached below this network.
pub const GATEWAY: &str = "10.77.0.254/24";

/// A cluster.yaml of the harness: `rest` has its nodes, and what else differs.
pub fn cluster_yaml(name: &str, profile: &str, cni: &str, rest: &str) -> String {
    format!(
        "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nclusterName: {name}\nkubernetesVersion: v1.36.3\n\
         networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}}\n\
         addons: {{cni: {cni}}}\nos: {{profile: {profile}}}\n{rest}{HARNESS}"
    )
}

/// One control plane that runs workload too.
pub fn single(profile: &str) -> String {
    let nodes = "nodes:\n  - {name: n1, role: control-plane, address: 10.77.0.1, taints: []}\n";
    cluster_yaml("single", profile, "bridge", nodes)
}

/// Three control planes behind a balancer, and a worker.
pub fn ha() -> String {
    let rest = r#"controlPlaneEndpoint: 10.77.0.9:6443
nodes:
  - {name: cp1, role: control-plane, address: 10.77.0.1}
  - {name: cp2, role: control-plane, address: 10.77.0.2}
  - {name: cp3, role: control-plane, address: 10.77.0.3}
  - {name: w1, role: worker, address: 10.77.0.4, labels: {disk: ssd, node-role.kubernetes.io/edge: ""}, taints: ["lab=yes:PreferNoSchedule"]}
"#;
    cluster_yaml("ha", "flatcar", "bridge", rest)
}

/// An output folder, removed when dropped.
pub struct Output {
    folder: tempfile::TempDir,
    /// How long the command took.
    pub took: Duration,
}

impl Output {
    /// Builds `cluster_yaml`.
    pub fn build(cluster_yaml: &str) -> Result<Self> {
        Self::build_beside(cluster_yaml, |_| Ok(()))
    }

    /// Builds `cluster_yaml` in a folder where `inputs` makes the files that it names.
    pub fn build_beside(cluster_yaml: &str, inputs: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder")?;
        inputs(folder.path())?;
        let mut output = Self { folder, took: Duration::ZERO };
        output.rebuild(cluster_yaml)?;
        Ok(output)
    }

    /// Renews the secrets, as before a change of what the cluster's objects are.
    pub fn renew(&self) -> Result<()> {
        let secrets = self.folder.path().join("secrets.yaml");
        Cmd::new([nodekiln()?.as_os_str(), "secrets".as_ref(), "renew".as_ref(), "--secrets".as_ref()])
            .args([secrets])
            .ok()
            .map(drop)
    }

    /// Builds `cluster_yaml` with the same secrets.
    pub fn rebuild(&mut self, cluster_yaml: &str) -> Result<()> {
        let folder = self.folder.path();
        fs::write(folder.join("cluster.yaml"), cluster_yaml).context("writing cluster.yaml")?;
        let program = nodekiln()?;
        let started = Instant::now();
        Cmd::new([program.as_os_str(), "build".as_ref(), "-f".as_ref()])
            .args([folder.join("cluster.yaml")])
            .args(["-o"])
            .args([folder.join("out")])
            .limit(Duration::from_secs(60))
            .ok()?;
        self.took = started.elapsed();
        Ok(())
    }

    /// A file of the output.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// A file of the output, read.
    pub fn read(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// A machine that boots with the Ignition config of `node`, which real Ignition has validated.
    pub fn ignition(&self, cache: &Cache, node: &str, address: &str) -> Result<NodeSpec> {
        let config = self.path(&format!("nodes/{node}/config.ign"));
        let validate = cache.program("ignition-validate");
        let said = Cmd::new([validate.as_os_str(), config.as_os_str()]).output()?;
        if !said.success() || !said.stdout.is_empty() || !said.stderr.is_empty() {
            bail!("ignition-validate on {node}: {}{}", said.stdout, said.stderr);
        }
        Ok(spec(node, address)?.payload(Payload::Ignition(config)))
    }

    /// A machine that finds the seed of `node` for cloud-init.
    pub fn cloud_init(&self, node: &str, address: &str) -> Result<NodeSpec> {
        let file = |name: &str| self.path(&format!("nodes/{node}/{name}"));
        let network_config = file("network-config");
        // As Debian's package has it: its own place for the configuration, and running since before cloud-init.
        let unit = "[Service]\nEnvironment=CONTAINERD_CONFIG=/etc/containerd/config.toml\n";
        let mut spec = spec(node, address)?
            .payload(Payload::NoCloud {
                user_data: file("user-data"),
                meta_data: file("meta-data"),
                network_config: network_config.exists().then_some(network_config),
            })
            .file("/etc/systemd/system/containerd.service.d/10-debian.conf", 0o644, unit);
        spec.enabled.push("containerd.service".to_owned());
        Ok(spec)
    }
}

fn spec(name: &str, address: &str) -> Result<NodeSpec> {
    let address = format!("{address}/24").parse().context("parsing a node's address")?;
    Ok(NodeSpec::new(name, &[address]))
}

/// The value of a field of a kubeconfig of ours, still in base64.
pub fn kubeconfig_field(path: &Path, field: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let start = text.find(field).with_context(|| format!("looking for {field}"))? + field.len();
    let value = text[start..].trim_start_matches(['"', ':', ' ']);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).unwrap_or(value.len());
    Ok(value[..end].to_owned())
}
