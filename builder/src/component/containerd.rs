//! containerd: its configuration, and how its unit is made to read it.

use super::{ClassSite, below, constant, image, sysext, systemd};
use crate::config::{Binaries, Binary};
use nodekiln_payload::{ContainerdConfig, Dropin};
use nodekiln_plan::{AbsPath, paths};
use toml::{Table, Value};

/// Its socket.
pub(crate) const ENDPOINT: &str = "unix:///run/containerd/containerd.sock";
/// Its configuration.
pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";
/// Where the machine image and `os.files` may add to it.
const DROPINS: &str = "/etc/containerd/conf.d/*.toml";
/// Where CNI plugins are put.
pub(crate) const CNI_BIN_DIR: &str = "/opt/cni/bin";
/// Where CNI configurations are.
pub(crate) const CNI_CONF_DIR: &str = "/etc/cni/net.d";

/// `config.toml`, in the version that 1.x and 2.x both read.
pub(crate) fn config(site: &ClassSite) -> String {
    let profile = site.class.os.profile;
    let table = |pairs: Vec<(&str, Value)>| {
        Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Table>())
    };
    // The cgroup driver is the kubelet's: kubeadm#2583.
    let mut options = vec![("SystemdCgroup", true.into())];
    let runc = runc(site);
    if runc != constant(DEFAULT_RUNC) {
        options.push(("BinaryName", runc.as_str().into()));
    }
    let runtime = table(vec![("runtime_type", "io.containerd.runc.v2".into()), ("options", table(options))]);
    let cri = table(vec![
        ("sandbox_image", image::pause(site).into()),
        ("enable_selinux", profile.selinux.into()),
        (
            "cni",
            table(vec![
                ("bin_dir", cni_bin_dir(&site.class.binaries).as_str().into()),
                ("conf_dir", CNI_CONF_DIR.into()),
            ]),
        ),
        (
            "containerd",
            table(vec![("default_runtime_name", "runc".into()), ("runtimes", table(vec![("runc", runtime)]))]),
        ),
    ]);
    let file = table(vec![
        ("version", i64::from(profile.containerd_config_version).into()),
        ("imports", Value::Array(vec![DROPINS.into()])),
        ("plugins", table(vec![("io.containerd.grpc.v1.cri", cri)])),
    ]);
    toml::to_string(&file).expect("tables with text keys are TOML")
}

const DEFAULT_RUNC: &str = "/usr/bin/runc";
const DEFAULT_CONTAINERD: &str = "/usr/bin/containerd";

/// Where a program ends up.
pub(crate) fn place(site: &ClassSite, binary: &Binary, name: &str) -> AbsPath {
    match binary {
        Binary::Path(path) => path.clone(),
        Binary::File(_) | Binary::Url { .. } => below(&site.class.os.profile.bin_dir, name),
        Binary::Sysext { .. } => below(&constant(sysext::PROGRAMS), name),
    }
}

fn runc(site: &ClassSite) -> AbsPath {
    place(site, &site.class.binaries.runc, "runc")
}

/// The folder of the CNI plugins.
pub(crate) fn cni_bin_dir(binaries: &Binaries) -> AbsPath {
    match &binaries.cni_plugins {
        Binary::Path(path) => path.clone(),
        Binary::File(_) | Binary::Url { .. } | Binary::Sysext { .. } => constant(CNI_BIN_DIR),
    }
}

/// Where an archive of containerd's programs is laid.
pub(crate) fn archive() -> AbsPath {
    below(&constant(paths::STATE_DIR), "archives/containerd.tgz")
}

/// Unpacks it, once: containerd starts beside firstboot, which waits for it and cannot be waited for. A release of containerd
/// has its programs in `bin/`. What is made by hand has no labels of its own where SELinux asks for them.
fn unpacking(bin_dir: &AbsPath) -> String {
    let archive = archive();
    let script = format!(
        "[ -e {archive}.unpacked ] || {{ mkdir -p {bin_dir} && tar -xf {archive} -C {bin_dir} --strip-components=1 \
         --no-same-owner && {{ ! command -v restorecon >/dev/null || restorecon -R {bin_dir}; }} && sync && \
         touch {archive}.unpacked; }}"
    );
    systemd::command("/bin/sh", ["-c", &script])
}

/// What has to be changed in the image's unit.
pub(crate) fn dropins(site: &ClassSite) -> Vec<Dropin> {
    let containerd = place(site, &site.class.binaries.containerd, "containerd");
    let mut unit = systemd::UnitFile::default().section("Service");
    let mut changed = false;
    if site.class.os.profile.containerd_config == ContainerdConfig::Environment {
        unit = unit.set("Environment", &format!("CONTAINERD_CONFIG={CONFIG}"));
        changed = true;
    }
    if site.class.binaries.containerd.is_archive() {
        unit = unit.set("ExecStartPre", &unpacking(&site.class.os.profile.bin_dir));
    }
    if containerd != constant(DEFAULT_CONTAINERD) {
        let line = systemd::command(containerd.as_str(), ["--config", CONFIG]);
        unit = unit.set("ExecStart", "").set("ExecStart", &line);
        changed = true;
    }
    // A name of our own: two drop-ins of one name shadow each other.
    changed.then(|| Dropin { name: "90-nodekiln.conf".to_owned(), contents: unit.render() }).into_iter().collect()
}
