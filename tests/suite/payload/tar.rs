//! `tree.tar`, as an ordinary tar unpacks it.

use crate::{
    laid::{Place, assert_laid, expected},
    tree::{encoded, node},
};
use anyhow::Result;
use nix::unistd::Uid;
use nodekiln_payload::{EncodeOptions, Profile, tree_tar};
use nodekiln_tests::command::Cmd;
use std::{fs, time::UNIX_EPOCH};
use tempfile::TempDir;

#[test]
fn tar_unpacks_what_is_planned() -> Result<()> {
    let tree = node();
    let mut want = expected(&tree);
    let preset = b"enable containerd.service\nenable nodekiln-firstboot.service\ndisable nodekiln-off.service\n";
    want.insert("/etc/systemd/system-preset/20-nodekiln.preset".into(), Place::File(0o644, preset.to_vec()));
    for profile in Profile::all() {
        encoded(&tree, &profile.name, &EncodeOptions::default());
        let folder = TempDir::new()?;
        let (archive, root) = (folder.path().join("tree.tar"), folder.path().join("root"));
        fs::create_dir(&root)?;
        fs::write(&archive, tree_tar(&tree, profile).unwrap().bytes.expose())?;
        let owner = Uid::effective();
        let flags = if owner.is_root() { "-xpf" } else { "-xf" };
        let unpack = Cmd::new(["tar".as_ref(), flags.as_ref(), archive.as_os_str(), "-C".as_ref(), root.as_os_str()]);
        unpack.args(if owner.is_root() { &[][..] } else { &["--no-same-owner", "-p"] }).ok()?;
        assert_laid(&root, &want, owner.as_raw())?;
        assert_eq!(fs::metadata(root.join("etc/kubernetes/kubelet.conf"))?.modified()?, UNIX_EPOCH);
        let listed = Cmd::new(["tar".as_ref(), "-tvf".as_ref(), archive.as_os_str()]).ok()?;
        assert!(listed.lines().all(|line| line.contains("root/root")), "{listed}");
    }
    Ok(())
}
