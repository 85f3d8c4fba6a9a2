//! Places on a node: what the user may write where.

use nodekiln_payload::Profile;
use nodekiln_plan::AbsPath;

/// Folders that no reboot survives, or that are not files at all.
const VOLATILE: [&str; 5] = ["/run", "/tmp", "/dev", "/proc", "/sys"];
/// Links that every distribution has (FHS 3.0 section 5.13; systemd's file-hierarchy(7)).
const LINKS: [(&str, &str); 2] = [("/var/run", "/run"), ("/var/lock", "/run/lock")];
/// Folders that have a purpose already: nothing else can be at them or above them.
const SYSTEM: [&str; 14] = [
    "/boot",
    "/etc/kubernetes/manifests",
    "/etc/systemd",
    "/etc/cni",
    "/etc/containerd",
    "/etc/ssl",
    "/home",
    "/opt/bin",
    "/root",
    "/usr/bin",
    "/usr/lib",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/nodekiln",
];

fn path(text: &str) -> AbsPath {
    text.parse().expect("the constants of this file are clean absolute paths: a test parses them all")
}

/// Whether `place` is lost at a reboot.
pub(super) fn is_volatile(place: &AbsPath) -> bool {
    let place = follow(place, LINKS.iter().map(|(link, target)| (path(link), path(target))));
    VOLATILE.iter().any(|folder| place.is_within(&path(folder)))
}

/// Whether `place` lies in a folder of the system's, is one, or holds one.
pub(super) fn is_system_folder(place: &AbsPath) -> bool {
    SYSTEM.iter().map(|folder| path(folder)).any(|folder| place.is_within(&folder) || folder.is_within(place))
}

/// `place` with the links of `profile`, as far as it is known, followed: two names of one file become the same.
pub(super) fn canonical<'p>(profile: impl Into<Option<&'p Profile>>, place: &AbsPath) -> AbsPath {
    let links = LINKS.iter().map(|(link, target)| (path(link), path(target)));
    let aliases = profile.into().into_iter().flat_map(|profile| profile.aliases.iter().cloned());
    follow(place, links.chain(aliases))
}

fn follow(place: &AbsPath, links: impl Iterator<Item = (AbsPath, AbsPath)>) -> AbsPath {
    let links: Vec<_> = links.collect();
    let mut place = place.clone();
    // Links of links: no profile has more than two levels.
    for _ in 0..4 {
        let Some((link, target)) =
            links.iter().find(|(link, target)| place.is_within(link) && !place.is_within(target))
        else {
            break;
        };
        let rest = place.as_str()[link.as_str().len()..].trim_start_matches('/');
        let next = if rest.is_empty() { Ok(target.clone()) } else { target.join(rest) };
        let Ok(next) = next else { break };
        place = next;
    }
    place
}

/// Whether files can be laid at `place` (canonical) on `profile`.
pub(super) fn is_read_only(profile: &Profile, place: &AbsPath) -> bool {
    profile.read_only.iter().any(|folder| place.is_within(folder))
        || VOLATILE.iter().any(|folder| place.is_within(&path(folder)))
}

/// Why `place` (canonical) is not the user's, if it is not.
pub(super) fn reserved(place: &AbsPath, certificates: &AbsPath, etcd: Option<&AbsPath>) -> Option<&'static str> {
    const FOLDERS: [(&str, &str); 7] = [
        ("/etc/kubernetes/manifests", "firstboot lays the static pods there"),
        ("/etc/kubernetes/pki", "nodekiln lays certificates there"),
        ("/var/lib/nodekiln", "it is firstboot's own"),
        ("/var/lib/kubelet", "it is the kubelet's own"),
        ("/var/lib/etcd", "it is etcd's own"),
        ("/var/lib/containerd", "it is containerd's own"),
        ("/etc/systemd/system/kubelet.service.d", "nodekiln writes the kubelet's unit"),
    ];
    const FILES: [(&str, &str); 10] = [
        ("/etc/hostname", "it is the node's name"),
        ("/etc/machine-id", "it is the machine's own"),
        ("/etc/containerd/config.toml", "nodekiln writes it; it reads /etc/containerd/conf.d/*.toml too"),
        ("/etc/kubernetes/admin.conf", "nodekiln keeps administrators' credentials off the nodes"),
        ("/etc/kubernetes/super-admin.conf", "nodekiln keeps administrators' credentials off the nodes"),
        ("/etc/kubernetes/kubelet.conf", "nodekiln writes it"),
        ("/etc/kubernetes/bootstrap-kubelet.conf", "nodes have their identity from the start"),
        ("/etc/kubernetes/controller-manager.conf", "nodekiln writes it"),
        ("/etc/kubernetes/scheduler.conf", "nodekiln writes it"),
        ("/etc/systemd/system/kubelet.service", "nodekiln writes the kubelet's unit"),
    ];
    if let Some((_, why)) = FILES.iter().find(|(file, _)| place.as_str() == *file) {
        return Some(why);
    }
    if let Some((_, why)) = FOLDERS.iter().find(|(folder, _)| place.is_within(&path(folder))) {
        return Some(why);
    }
    if place.is_within(certificates) {
        return Some("everything below certificatesDir is nodekiln's");
    }
    if etcd.is_some_and(|etcd| place.is_within(etcd)) {
        return Some("it is etcd's own");
    }
    // A file where a folder has to be.
    let folder = |folder: &AbsPath| folder.is_within(place);
    if FOLDERS.iter().any(|(f, _)| folder(&path(f)))
        || FILES.iter().any(|(f, _)| folder(&path(f)))
        || folder(certificates)
    {
        return Some("nodekiln needs a folder there");
    }
    // Our own files bear our name, whatever they are.
    place.as_str().split('/').any(|part| part.contains("nodekiln")).then_some("names with `nodekiln` are its own")
}

/// Why nothing of the user's can be mounted at `place` (canonical). Disks of their own for etcd, containerd, the kubelet or
/// all of /var are fine.
pub(super) fn no_mount(place: &AbsPath, certificates: &AbsPath) -> Option<&'static str> {
    if place.as_str() == "/etc" {
        return Some("the system reads it before it mounts anything");
    }
    let ours = ["/etc/kubernetes", "/etc/systemd", "/var/lib/nodekiln"].map(path);
    let within = ours.iter().chain([certificates]).any(|folder| place.is_within(folder));
    within.then_some("nodekiln's own files lie there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_parse() {
        for folder in SYSTEM {
            assert!(is_system_folder(&path(folder)));
        }
        assert!(
            is_volatile(&path("/var/run/x")) && is_volatile(&path("/dev/shm/etcd")) && !is_volatile(&path("/runner"))
        );
        assert!(
            is_system_folder(&path("/var")) && is_system_folder(&path("/")) && !is_system_folder(&path("/data/etcd"))
        );
        assert!(!is_system_folder(&path("/etc/kubernetes/pki")) && !is_system_folder(&path("/var/lib/etcd")));
    }

    #[test]
    fn links_are_followed() {
        let coreos = Profile::find("fedora-coreos").unwrap();
        let to = |text| canonical(coreos, &path(text)).to_string();
        assert_eq!(to("/usr/local/bin/x"), "/var/usrlocal/bin/x");
        assert_eq!(to("/opt/cni"), "/var/opt/cni");
        assert_eq!(to("/bin/x"), "/usr/bin/x");
        assert_eq!(to("/var/run/x"), "/run/x");
        assert!(is_read_only(coreos, &canonical(coreos, &path("/bin/x"))));
        assert!(!is_read_only(coreos, &canonical(coreos, &path("/usr/local/bin/x"))));
        let flatcar = Profile::find("flatcar").unwrap();
        assert!(is_read_only(flatcar, &canonical(flatcar, &path("/usr/local/bin/x"))));
    }

    #[test]
    fn reserved_places() {
        let pki = path("/etc/kubernetes/pki");
        let why = |text| reserved(&path(text), &pki, None).is_some();
        for text in [
            "/etc/hostname",
            "/etc/kubernetes/pki/ca.crt",
            "/etc/kubernetes/manifests/x.yaml",
            "/var/lib/etcd/x",
            "/etc/kubernetes",
            "/var/lib/kubelet",
            "/etc/sysctl.d/90-nodekiln.conf",
        ] {
            assert!(why(text), "{text}");
        }
        for text in ["/etc/motd", "/etc/containerd/conf.d/x.toml", "/etc/kubernetes/audit.yaml", "/etc/kubernetes/pki2"]
        {
            assert!(!why(text), "{text}");
        }
    }
}
