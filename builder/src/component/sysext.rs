//! `binaries.*.sysext`: programs in system extension images, which systemd merges into /usr before it starts anything else
//! (systemd-sysext(8)).

use super::constant;
use crate::config::Arch;
use nodekiln_payload::Dropin;
use nodekiln_plan::AbsPath;

/// Where images are looked for.
const FOLDER: &str = "/etc/extensions";
/// Where programs are once they are merged.
pub(crate) const PROGRAMS: &str = "/usr/bin";
/// What merges them. Fedora CoreOS does not enable it (coreos/fedora-coreos-config#863).
pub(crate) const UNIT: &str = "systemd-sysext.service";
/// The target at which images hook in what they want started.
pub(crate) const TARGET: &str = "multi-user.target";

/// Where the image at `url` is laid. systemd takes it only under the name that its extension-release file bears, which is
/// the one without version and architecture: `kubernetes-v1.36.3-x86-64.raw` is `kubernetes`.
///
/// # Errors
/// In words, why the URL names no image for `arch`.
pub(crate) fn place(url: &str, arch: Arch) -> Result<AbsPath, String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    let Some(stem) = file.strip_suffix(".raw") else {
        return Err("names no system extension: its file ends in .raw".to_owned());
    };
    let (own, other) = match arch {
        Arch::Amd64 => ("x86-64", "arm64"),
        Arch::Arm64 => ("arm64", "x86-64"),
    };
    if stem.ends_with(&format!("-{other}")) {
        return Err(format!("is for {other}, the machine is {own}"));
    }
    let name = stem.strip_suffix(&format!("-{own}")).unwrap_or(stem);
    let is_version =
        |text: &str| text.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
    let name = match name.split('-').position(is_version) {
        Some(at) => name.split('-').take(at).collect::<Vec<_>>().join("-"),
        None => name.to_owned(),
    };
    let clean = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(clean) {
        return Err(format!("gives no name for the extension: `{file}`"));
    }
    constant(FOLDER).join(&format!("{name}.raw")).map_err(|fault| fault.to_string())
}

/// The images of Flatcar's bakery have the kubelet started by the target itself. It is firstboot's to start: a drop-in of
/// the same name in /etc takes that one's place.
pub(crate) fn shadow() -> Dropin {
    let contents = "# In place of the system extension's: nodekiln-firstboot starts the kubelet.\n[Unit]\n".to_owned();
    Dropin { name: "10-kubelet-service.conf".to_owned(), contents }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (url, arch, want) in [
            ("https://x/extensions/kubernetes-v1.36.3-x86-64.raw", Arch::Amd64, Ok("kubernetes")),
            ("https://x/kubernetes-v1.36.3-arm64.raw?a=b", Arch::Arm64, Ok("kubernetes")),
            ("https://x/containerd-2.2.0-x86-64.raw", Arch::Amd64, Ok("containerd")),
            ("https://x/my-tools.raw", Arch::Amd64, Ok("my-tools")),
            ("https://x/my-tools-1.0-rc.1.raw", Arch::Amd64, Ok("my-tools")),
            ("https://x/kubernetes-v1.36.3-arm64.raw", Arch::Amd64, Err("is for arm64, the machine is x86-64")),
            ("https://x/kubelet", Arch::Amd64, Err("names no system extension: its file ends in .raw")),
            ("https://x/v1.2.raw", Arch::Amd64, Err("gives no name for the extension: `v1.2.raw`")),
            ("https://x/.raw", Arch::Amd64, Err("gives no name for the extension: `.raw`")),
            ("https://x/a%20b.raw", Arch::Amd64, Err("gives no name for the extension: `a%20b.raw`")),
        ] {
            let want = want.map(|name| format!("/etc/extensions/{name}.raw")).map_err(str::to_owned);
            assert_eq!(place(url, arch).map(|path| path.to_string()), want, "{url}");
        }
    }
}
