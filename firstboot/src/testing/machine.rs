//! Stages about the machine itself on the fake one: archives, modules, settings, swap.

use super::{etcd_node, stage};
use crate::{
    files::files,
    host::{Output, fake::Fake},
    kernel::kernel,
};
use flate2::{Compression, write::GzEncoder};
use nodekiln_plan::Archive;
use std::io;

fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, text: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(u64::try_from(text.len()).unwrap());
    // The builder refuses unsafe names; others do not.
    let bytes = &mut header.as_old_mut().name;
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    builder.append(&header, text.as_bytes()).unwrap();
}

fn link(builder: &mut tar::Builder<Vec<u8>>, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    builder.append_link(&mut header, name, target).unwrap();
}

fn unpack(bytes: &[u8], strip_components: u8) -> (Fake, anyhow::Result<()>) {
    let (fake, mut plan) = etcd_node();
    std::fs::create_dir_all(fake.dir.path().join("opt")).unwrap();
    std::fs::write(fake.dir.path().join("opt/a.tar"), bytes).unwrap();
    plan.class.archives =
        vec![Archive { path: "/opt/a.tar".parse().unwrap(), into: "/opt/cni/bin".parse().unwrap(), strip_components }];
    *fake.script.borrow_mut() =
        Box::new(|_, _| Output { code: Some(0), stdout: "Kubernetes v1.36.3".to_owned(), ..Output::default() });
    let done = stage(&fake, &plan, async |c| files(c).await);
    (fake, done)
}

#[test]
fn archives_with_and_without_gzip() {
    let plain = tar_of(|builder| {
        file(builder, "top/bridge", 0o755, "program");
        file(builder, "top/doc/x", 0o644, "words");
        link(builder, "top/again", "bridge");
    });
    let gzip = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    };
    let parts = [gzip(&plain[..1024]), gzip(&plain[1024..])].concat();
    for bytes in [gzip(&plain), parts, plain] {
        let (fake, done) = unpack(&bytes, 1);
        done.unwrap();
        assert_eq!(fake.text("/opt/cni/bin/bridge").unwrap(), "program");
        assert_eq!(fake.text("/opt/cni/bin/again").unwrap(), "program");
        assert_eq!(fake.text("/opt/cni/bin/doc/x").unwrap(), "words");
    }
}

#[test]
fn archives_that_leave_their_folder_are_refused() {
    let outside = tar_of(|builder| file(builder, "../evil", 0o644, "x"));
    let absolute = tar_of(|builder| file(builder, "/etc/evil", 0o644, "x"));
    let through = tar_of(|builder| {
        link(builder, "a", "/etc");
        file(builder, "a/evil", 0o644, "x");
    });
    let up = tar_of(|builder| link(builder, "a", "../../etc"));
    for bytes in [outside, absolute, through, up] {
        let (fake, done) = unpack(&bytes, 0);
        assert!(done.is_err());
        assert!(fake.text("/etc/evil").is_none() && fake.text("/opt/cni/evil").is_none());
    }
}

#[test]
fn modules_that_cannot_be_loaded() {
    let (fake, mut plan) = etcd_node();
    plan.class.kernel.modules = vec!["br_netfilter".parse().unwrap()];
    *fake.script.borrow_mut() = Box::new(|program, _| Output {
        code: Some(i32::from(program == "modprobe")),
        stderr: "not found".to_owned(),
        ..Output::default()
    });
    fake.put("/proc/modules", "");
    let error = stage(&fake, &plan, async |c| kernel(c).await).unwrap_err();
    assert!(format!("{error:#}").contains("`modprobe -- br_netfilter` ended with code 1: not found"), "{error:#}");
    // Built in, as its settings show.
    fake.put("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    // Built in, as the kernel's list shows: not even tried.
    fake.put("/lib/modules/6.12.1/modules.builtin", "kernel/net/bridge/br_netfilter.ko\n");
    fake.ran.borrow_mut().clear();
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    assert!(!fake.ran.borrow().iter().any(|command| command.starts_with("modprobe")));
}

#[test]
fn a_swap_unit_that_cannot_be_masked() {
    let (fake, plan) = etcd_node();
    fake.put("/proc/swaps", "Filename Type\n/dev/sda2 partition\n");
    *fake.script.borrow_mut() = Box::new(|_, args| Output {
        code: Some(i32::from(args.first() == Some(&"mask"))),
        stdout: if args.first() == Some(&"list-units") { "dev-sda2.swap loaded active" } else { "" }.to_owned(),
        stderr: "File '/etc/systemd/system/dev-sda2.swap' already exists".to_owned(),
    });
    stage(&fake, &plan, async |c| kernel(c).await).unwrap();
    assert!(fake.said.borrow().iter().any(|line| line.contains("already exists")));
}

#[test]
fn a_setting_that_the_kernel_does_not_take() {
    let (fake, mut plan) = etcd_node();
    plan.class.kernel.sysctls[0].name = "net.ipv4.missing".parse().unwrap();
    let error = stage(&fake, &plan, async |c| kernel(c).await).unwrap_err();
    assert!(format!("{error:#}").contains("/proc/sys/net/ipv4/missing"), "{error:#}");
}

/// One thing that fails keeps nothing else from being done, and all that failed is told at once.
#[test]
fn the_kernel_gets_all_that_it_takes() {
    let (fake, mut plan) = etcd_node();
    plan.class.kernel.modules = vec!["br_netfilter".parse().unwrap()];
    plan.class
        .kernel
        .sysctls
        .insert(0, serde_json::from_value(serde_json::json!({"name": "a.b", "value": "1"})).unwrap());
    fake.put("/proc/modules", "");
    fake.put("/proc/swaps", "Filename Type\n/dev/sda2 partition\n");
    *fake.script.borrow_mut() =
        Box::new(|program, _| Output { code: Some(i32::from(program == "modprobe")), ..Output::default() });
    let error = format!("{:#}", stage(&fake, &plan, async |c| kernel(c).await).unwrap_err());
    assert!(error.starts_with("2 failures: ") && error.contains("/proc/sys/a/b"), "{error}");
    assert!(error.contains("loading the module br_netfilter"), "{error}");
    assert_eq!(fake.text("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
    assert!(fake.ran.borrow().iter().any(|command| command == "swapoff -a"));
}
