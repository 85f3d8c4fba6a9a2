//! firstboot's own unit.

use super::{
    ClassSite, cni,
    systemd::{UnitFile, command},
};
use nodekiln_payload::{Unit, UnitState};
use nodekiln_plan::AbsPath;

/// Its unit.
pub(crate) const UNIT: &str = "nodekiln-firstboot.service";
/// Its file name in the profile's folder of programs.
pub(crate) const PROGRAM: &str = "nodekiln-firstboot";

/// `nodekiln-firstboot.service`. It runs at every boot: after the first it verifies and starts the kubelet.
pub(crate) fn unit(site: &ClassSite, program: &AbsPath) -> Unit {
    let profile = site.class.os.profile;
    let containerd = profile.containerd_unit.as_str();
    let mut wants = vec!["network-online.target", containerd];
    if site.has_bridge() {
        // Pulled in here too: under cloud-init the boot's transaction was made before the unit existed.
        wants.push(cni::UNIT);
    }
    let after = profile.after.iter().map(|unit| unit.as_str()).chain([containerd]);
    let contents = UnitFile::default()
        .section("Unit")
        .set("Description", "nodekiln: makes this machine a Kubernetes node")
        .units("Wants", wants)
        .units("After", after)
        .set("StartLimitIntervalSec", "0")
        .section("Service")
        .set("Type", "notify")
        .set("ExecStart", &command(program.as_str(), ["run"]))
        // Waiting for the other members of etcd has no deadline.
        .set("TimeoutStartSec", "infinity")
        .set("Restart", "on-failure")
        .set("RestartSec", "2")
        // It handles keys: no file of its is readable by others, and it leaves no core dump.
        .set("UMask", "0077")
        .set("LimitCORE", "0")
        .section("Install")
        .set("WantedBy", profile.wanted_by.as_str())
        .render();
    Unit {
        name: UNIT.parse().expect("a unit name of ours"),
        state: UnitState::Enabled,
        contents: Some(contents),
        dropins: Vec::new(),
    }
}
