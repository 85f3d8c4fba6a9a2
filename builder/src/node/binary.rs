//! Programs: in the image, in the payload, or fetched.

use super::{Sources, refusal::Fault, tree::Tree};
use crate::{
    bytes::Bytes,
    component::{ClassSite, below, constant, containerd, firstboot, sysext},
    config::{Arch, Binary, FetchHash},
};
use nodekiln_payload::{Format, Unit, UnitState, Verification};
use nodekiln_plan::{AbsPath, Archive, Mode, paths};

/// Lays down or fetches every program, and says where firstboot is.
pub(super) fn lay(site: &ClassSite, sources: &Sources, tree: &mut Tree) -> AbsPath {
    let binaries = &site.class.binaries;
    extensions(site, tree);
    for (name, binary) in [("kubelet", &binaries.kubelet), ("runc", &binaries.runc)] {
        let field = format!("binaries.{name}");
        if is_program(binary, &field, tree) {
            program(site, tree, &field, name, binary);
        }
    }
    const CONTAINERD: &str = "binaries.containerd";
    if binaries.containerd.is_archive() {
        put(site, tree, CONTAINERD, containerd::archive(), Mode::PRIVATE, &binaries.containerd);
    } else {
        program(site, tree, CONTAINERD, "containerd", &binaries.containerd);
    }
    cni_plugins(site, tree);
    firstboot(site, sources, tree)
}

/// Where a program ends up that the image does not hold.
fn place(site: &ClassSite, name: &str) -> AbsPath {
    below(&site.class.os.profile.bin_dir, name)
}

fn program(site: &ClassSite, tree: &mut Tree, field: &str, name: &str, binary: &Binary) {
    if !matches!(binary, Binary::Path(_) | Binary::Sysext { .. }) {
        put(site, tree, field, place(site, name), Mode::EXECUTABLE, binary);
    }
}

fn put(site: &ClassSite, tree: &mut Tree, field: &str, path: AbsPath, mode: Mode, binary: &Binary) {
    match binary {
        // Extensions are laid together.
        Binary::Path(_) | Binary::Sysext { .. } => {}
        Binary::File(file) => bytes(site, tree, field, path, mode, file.bytes.clone().into()),
        // Ignition, or the payload's script under cloud-init, checks the hash before anything runs.
        Binary::Url { url, hash } => tree.fetch(path, mode, url.clone(), verification(hash), field),
    }
}

fn verification(hash: &FetchHash) -> Verification {
    match hash {
        FetchHash::Sha256(hash) => Verification::Sha256(*hash),
        FetchHash::Sha512(hash) => Verification::Sha512(hash.clone()),
    }
}

/// System extension images. One image may hold several programs.
fn extensions(site: &ClassSite, tree: &mut Tree) {
    let binaries = &site.class.binaries;
    let mut seen = Vec::new();
    for (name, binary) in [
        ("kubelet", Some(&binaries.kubelet)),
        ("containerd", Some(&binaries.containerd)),
        ("runc", Some(&binaries.runc)),
        ("cniPlugins", Some(&binaries.cni_plugins)),
        ("firstboot", binaries.firstboot.as_ref()),
    ] {
        let Some(Binary::Sysext { url, hash }) = binary else { continue };
        let field = format!("binaries.{name}");
        let fault = |message: &str| Fault::new(field.clone(), message);
        if site.class.os.profile.format != Format::Ignition {
            let fault =
                fault("a system extension under cloud-init is not supported: it would come after systemd merges");
            tree.faults.push(fault.hint("give a `url` or a `path`"));
            continue;
        }
        if matches!(name, "cniPlugins" | "firstboot") {
            let fault = fault("a system extension is not supported here");
            tree.faults.push(fault.hint("give a `url`, a `file` or a `path`"));
            continue;
        }
        match sysext::place(url, site.class.os.arch) {
            Err(message) => tree.faults.push(fault(&message)),
            Ok(_) if seen.contains(&(url, hash)) => {}
            Ok(path) => {
                tree.fetch(path, Mode::PUBLIC, url.clone(), verification(hash), &field);
                seen.push((url, hash));
            }
        }
    }
    if seen.is_empty() {
        return;
    }
    let unit = |name: &str, state, dropins| Unit {
        name: name.parse().expect("a unit of systemd's"),
        state,
        contents: None,
        dropins,
    };
    tree.unit(unit(sysext::UNIT, UnitState::Enabled, Vec::new()));
    tree.unit(unit(sysext::TARGET, UnitState::Unchanged, vec![sysext::shadow()]));
}

/// Bytes of the build: by URL and hash where they are served, in the payload otherwise.
fn bytes(site: &ClassSite, tree: &mut Tree, field: &str, path: AbsPath, mode: Mode, bytes: Bytes) {
    match &site.cluster.delivery.base_url {
        Some(base_url) => tree.publish(path, mode, base_url, bytes, field),
        _ => tree.bytes(path, mode, bytes, field),
    }
}

/// Whether it is what it has to be, one program. An archive is reported.
fn is_program(binary: &Binary, field: &str, tree: &mut Tree) -> bool {
    if binary.is_archive() {
        let fault = Fault::new(field, "is an archive, this is one program");
        tree.faults.push(fault.hint("give the program itself"));
        return false;
    }
    true
}

/// A folder of programs, so it comes as an archive.
fn cni_plugins(site: &ClassSite, tree: &mut Tree) {
    const FIELD: &str = "binaries.cniPlugins";
    let binary = &site.class.binaries.cni_plugins;
    if matches!(binary, Binary::Path(_) | Binary::Sysext { .. }) {
        return;
    }
    if !binary.is_archive() {
        let fault = Fault::new(FIELD, "is not a .tgz, .tar.gz or .tar, and the plugins are several");
        tree.faults.push(fault);
        return;
    }
    let path = below(&constant(paths::STATE_DIR), "archives/cni-plugins.tgz");
    put(site, tree, FIELD, path.clone(), Mode::PRIVATE, binary);
    tree.archives.push(Archive { path, into: constant(containerd::CNI_BIN_DIR), strip_components: 0 });
}

fn firstboot(site: &ClassSite, sources: &Sources, tree: &mut Tree) -> AbsPath {
    const FIELD: &str = "binaries.firstboot";
    let path = place(site, firstboot::PROGRAM);
    match &site.class.binaries.firstboot {
        Some(Binary::Path(path)) => return path.clone(),
        Some(binary) => {
            if is_program(binary, FIELD, tree) {
                put(site, tree, FIELD, path.clone(), Mode::EXECUTABLE, binary);
            }
        }
        None => match sources.firstboot.get(&site.class.os.arch) {
            Some(program) => bytes(site, tree, FIELD, path.clone(), Mode::EXECUTABLE, program.clone()),
            None => {
                let arch = match site.class.os.arch {
                    Arch::Amd64 => "amd64",
                    Arch::Arm64 => "arm64",
                };
                let fault = Fault::new(FIELD, format!("this builder holds no firstboot for {arch}"));
                tree.faults.push(fault.hint("give one with --firstboot or in binaries.firstboot"));
            }
        },
    }
    path
}
