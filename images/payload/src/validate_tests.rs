//! Every fault by name and place.

use crate::{
    Account, Dropin, Fetch, FetchInto, Network, NodeTree, Profile, UnitFault, UnitState, Verification, Why,
    fixture::{FIRSTBOOT, directory, empty, file, full, full_cloud_init, link, unit},
    validate,
};
use nodekiln_plan::{AbsPath, Secret};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Faults of an otherwise empty tree.
fn faults(profile: &str, change: impl FnOnce(&mut NodeTree)) -> Vec<(String, Why)> {
    let mut tree = empty();
    change(&mut tree);
    let faults = validate(&tree, Profile::find(profile).unwrap());
    faults.into_iter().map(|fault| (fault.path, fault.why)).collect()
}

fn one(profile: &str, path: &str, why: Why, change: impl FnOnce(&mut NodeTree)) {
    assert_eq!(faults(profile, change), [(path.to_owned(), why)], "{profile} {path}");
}

fn path(text: &str) -> AbsPath {
    text.parse().unwrap()
}

#[test]
fn sound_trees_have_none() {
    for profile in Profile::all() {
        assert_eq!(validate(&full(), profile), [], "{}", profile.name);
        assert_eq!(validate(&empty(), profile), [], "{}", profile.name);
    }
    assert_eq!(validate(&full_cloud_init(), Profile::find("cloud-init").unwrap()), []);
}

#[test]
fn one_path_for_two_things() {
    for (second, kind) in [(0, "file"), (1, "directory"), (2, "link"), (3, "fetched file")] {
        one(
            "flatcar",
            "/etc/x",
            Why::Twice(if second == 1 { "directory" } else { "file" }, if second == 1 { "file" } else { kind }),
            |tree| {
                tree.files.push(file("/etc/x", "0644", b"a"));
                match second {
                    0 => tree.files.push(file("/etc/x", "0644", b"b")),
                    1 => tree.directories.push(directory("/etc/x", "0755")),
                    2 => tree.links.push(link("/etc/x", "y")),
                    _ => tree.fetches.push(Fetch {
                        url: "https://a/".into(),
                        verification: Verification::Sha512("0".repeat(64) + &"f".repeat(64)),
                        into: FetchInto { path: path("/etc/x"), mode: "0644".parse().unwrap() },
                    }),
                }
            },
        );
    }
    // A unit and its drop-ins are files too: Ignition refuses both since 2.15.
    one("flatcar", "/etc/systemd/system/a.service", Why::Twice("file", "file"), |tree| {
        tree.files.push(file("/etc/systemd/system/a.service", "0644", b"a"));
        tree.units.push(unit("a.service", UnitState::Enabled, Some(FIRSTBOOT)));
    });
    one("flatcar", "/etc/systemd/system/a.service.d/b.conf", Why::Twice("file", "file"), |tree| {
        tree.files.push(file("/etc/systemd/system/a.service.d/b.conf", "0644", b"a"));
        let mut unit = unit("a.service", UnitState::Unchanged, None);
        unit.dropins.push(Dropin { name: "b.conf".into(), contents: "[Unit]\n".into() });
        tree.units.push(unit);
    });
}

#[test]
fn places_that_are_another_or_none() {
    let lay = |at: &'static str| move |tree: &mut NodeTree| tree.files.push(file(at, "0644", b"a"));
    for (profile, at, why) in [
        ("flatcar", "/usr/local/bin/x", Why::ReadOnly(path("/usr"))),
        ("flatcar", "/bin/x", Why::ReadOnly(path("/usr"))),
        ("flatcar", "/boot/x", Why::ReadOnly(path("/boot"))),
        ("fedora-coreos", "/usr/bin/x", Why::ReadOnly(path("/usr"))),
        ("fedora-coreos", "/data/x", Why::ReadOnly(path("/"))),
        ("fedora-coreos", "/opt", Why::Alias(path("/var/opt"))),
        ("flatcar", "/run/x", Why::Volatile(path("/run"))),
        ("flatcar", "/var/run/x", Why::Volatile(path("/run"))),
        ("cloud-init", "/proc/sys/x", Why::Volatile(path("/proc"))),
        ("cloud-init", "/tmp/x", Why::Volatile(path("/tmp"))),
        ("cloud-init", "/", Why::Root),
        ("cloud-init", "/etc/a\u{2028}b", Why::Yaml),
        ("flatcar", "/etc/systemd/system-preset/20-ignition.preset", Why::Preset),
    ] {
        one(profile, at, why, lay(at));
    }
    for (profile, at) in [
        ("flatcar", "/opt/bin/x"),
        ("fedora-coreos", "/usr/local/bin/x"),
        ("fedora-coreos", "/opt/cni/bin/x"),
        ("fedora-coreos", "/root/.ssh/x"),
        ("cloud-init", "/usr/local/bin/x"),
        ("cloud-init", "/runner/x"),
        ("flatcar", "/data/x"),
    ] {
        assert_eq!(faults(profile, lay(at)), [], "{profile} {at}");
    }
    one("fedora-coreos", "/var/opt/x", Why::SamePlace(path("/opt/x")), |tree| {
        tree.files.push(file("/opt/x", "0644", b"a"));
        tree.files.push(file("/var/opt/x", "0644", b"a"));
    });
    one("fedora-coreos", "/opt/x/y", Why::Below(path("/var/opt/x"), "file"), |tree| {
        tree.files.push(file("/var/opt/x", "0644", b"a"));
        tree.files.push(file("/opt/x/y", "0644", b"a"));
    });
    // In sorted order `/etc/x-y` stands between a file and what lies below it.
    one("flatcar", "/etc/x/z", Why::Below(path("/etc/x"), "file"), |tree| {
        for at in ["/etc/x", "/etc/x-y", "/etc/x/z"] {
            tree.files.push(file(at, "0644", b"a"));
        }
    });
    one("flatcar", "/etc/l/y", Why::Below(path("/etc/l"), "link"), |tree| {
        tree.links.push(link("/etc/l", "m"));
        tree.directories.push(directory("/etc/l/y", "0755"));
    });
}

#[test]
fn entries() {
    one("flatcar", "/etc/d", Why::Directory("0644".parse().unwrap()), |tree| {
        tree.directories.push(directory("/etc/d", "0644"));
    });
    for target in ["", "a\nb", "/etc/l"] {
        one("flatcar", "/etc/l", Why::Target, |tree| tree.links.push(link("/etc/l", target)));
    }
    one("cloud-init", "/etc/l", Why::Yaml, |tree| tree.links.push(link("/etc/l", "a\u{feff}")));
    one("flatcar", "/etc/hostname", Why::Hostname, |tree| tree.files.push(file("/etc/hostname", "0644", b"n2\n")));
    assert_eq!(faults("flatcar", |tree| tree.files.push(file("/etc/hostname", "0644", b"n1\n"))), []);
    one("flatcar", "/etc/hostname", Why::Hostname, |tree| {
        tree.node = None;
        tree.files.push(file("/etc/hostname", "0644", b"n1\n"));
    });
    let fetch = |url: &str, hash: Verification| Fetch {
        url: url.into(),
        verification: hash,
        into: FetchInto { path: path("/etc/f"), mode: "0644".parse().unwrap() },
    };
    for url in ["", "ftp://a/b", "file:///etc/x", "https://", "https:///b", "http://a/b c", "http://a/\"", "http://a/é"]
    {
        one("flatcar", "/etc/f", Why::Url, |tree| tree.fetches.push(fetch(url, Verification::Sha512("a".repeat(128)))));
    }
    // Ignition's own validator looks at the length only.
    for hash in ["a".repeat(127), "A".repeat(128), "g".repeat(128)] {
        let hash = Verification::Sha512(hash);
        one("flatcar", "/etc/f", Why::Hash, |tree| tree.fetches.push(fetch("https://a/b", hash)));
    }
}

#[test]
fn a_key_among_authorities() {
    one("flatcar", "n1", Why::FetchCa, |tree| {
        tree.fetch_ca = Some((*b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n").into());
    });
}

#[test]
fn units() {
    one("flatcar", "a.service", Why::UnitTwice, |tree| {
        tree.units.push(unit("a.service", UnitState::Enabled, None));
        tree.units.push(unit("a.service", UnitState::Unchanged, None));
    });
    one("flatcar", "a.service", Why::NoInstall, |tree| {
        tree.units.push(unit("a.service", UnitState::Enabled, Some("[Service]\nExecStart=/a\n")));
    });
    one("flatcar", "a.service", Why::Unit(UnitFault::Setting(2)), |tree| {
        tree.units.push(unit("a.service", UnitState::Unchanged, Some("[Service]\nExecStart\n")));
    });
    let masked = faults("flatcar", |tree| tree.units.push(unit("a.service", UnitState::Masked, Some("[Unit]\n"))));
    assert!(masked.contains(&("a.service".into(), Why::Masked)), "{masked:?}");
    for name in ["", ".conf", "a", "a.cfg", "a/b.conf"] {
        let dropin = Dropin { name: name.into(), contents: "[Unit]\n".into() };
        one("flatcar", "a.service", Why::Dropin(name.into()), |tree| {
            let mut unit = unit("a.service", UnitState::Unchanged, None);
            unit.dropins.push(dropin);
            tree.units.push(unit);
        });
    }
    one("flatcar", "a.service.d/b.conf", Why::Unit(UnitFault::Outside(1)), |tree| {
        let mut unit = unit("a.service", UnitState::Unchanged, None);
        unit.dropins.push(Dropin { name: "b.conf".into(), contents: "A=b\n".into() });
        tree.units.push(unit);
    });
}

#[test]
fn accounts() {
    let account = |name: &str| Account {
        name: name.into(),
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA".into()],
        password_hash: None,
        groups: vec!["sudo".into()],
    };
    for name in ["", "A", "1a", "a b", "a:b", "a\n", "é", &"a".repeat(33)] {
        one("flatcar", name, Why::Account, |tree| tree.accounts.push(account(name)));
    }
    one("flatcar", "a", Why::Account, |tree| tree.accounts.extend([account("a"), account("a")]));
    for keys in [vec![""], vec!["a\nb"], vec!["a", "a"]] {
        let ssh_authorized_keys = keys.into_iter().map(str::to_owned).collect();
        one("flatcar", "a", Why::SshKey, |tree| tree.accounts.push(Account { ssh_authorized_keys, ..account("a") }));
    }
    for hash in ["a:b", "a b", "a\n"] {
        let password_hash = Some(Secret::new(hash.into()));
        one("flatcar", "a", Why::PasswordHash, |tree| tree.accounts.push(Account { password_hash, ..account("a") }));
    }
    for groups in [vec!["a b"], vec!["x", "x"]] {
        let why = Why::Group(groups[groups.len() - 1].into());
        let groups = groups.into_iter().map(str::to_owned).collect();
        one("flatcar", "a", why, |tree| tree.accounts.push(Account { groups, ..account("a") }));
    }
}

#[test]
fn networks() {
    let network = || Network {
        mac: None,
        addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
        gateways: vec!["10.0.0.2".parse().unwrap()],
        nameservers: vec![],
    };
    let with = |network: Network| move |tree: &mut NodeTree| tree.network = Some(network);
    let under_ignition = Why::Network("static network and time servers are files under Ignition");
    one("flatcar", "n1", under_ignition.clone(), with(network()));
    one("flatcar", "n1", under_ignition, |tree| tree.time_servers.push("a".into()));
    for (network, why) in [
        (Network { addresses: vec![], ..network() }, "a static network needs an address"),
        (
            Network { addresses: vec![("10.0.0.1".parse().unwrap(), 33)], ..network() },
            "a prefix length is longer than its address",
        ),
        (
            Network { mac: Some("52:54".into()), ..network() },
            "a MAC address is written aa:bb:cc:dd:ee:ff in lower case",
        ),
        (
            Network { gateways: [network().gateways, network().gateways].concat(), ..network() },
            "more than one gateway of a family",
        ),
    ] {
        one("cloud-init", "n1", Why::Network(why), with(network));
    }
    one("cloud-init", "n1", Why::Network("a time server is a host name or address"), |tree| {
        tree.time_servers.push("a b".into());
    });
}

/// What is printed of a fault has a name and a place, and nothing of the contents.
#[test]
fn faults_show_no_contents() {
    let mut tree = full();
    tree.files.push(file("/etc/kubernetes/pki/ca.key", "0600", b"very secret"));
    tree.files.push(file("/proc/x", "0600", b"very secret"));
    let faults = validate(&tree, Profile::find("flatcar").unwrap());
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "/etc/kubernetes/pki/ca.key: given twice: as file and as file",
            "/proc/x: /proc does not outlive a boot; use tmpfiles.d",
        ]
    );
    assert!(!format!("{faults:?} {tree:?}").contains("secret"));
}

/// What `validate` finds of paths, formulated plainly: each against each, and against every list.
fn plainly(tree: &NodeTree, profile: &Profile) -> Vec<(String, Why)> {
    let common = [("/var/run", "/run"), ("/var/lock", "/run/lock")].map(|(from, to)| (path(from), path(to)));
    let aliases: Vec<_> = profile.aliases.iter().chain(&common).collect();
    let volatile = ["/proc", "/sys", "/dev", "/run", "/tmp"].map(path);
    let mut all: Vec<_> = tree.directories.iter().map(|dir| (&dir.path, "directory")).collect();
    all.extend(tree.files.iter().map(|file| (&file.path, "file")));
    all.extend(tree.links.iter().map(|link| (&link.path, "link")));
    let mut by_path: BTreeMap<&AbsPath, Vec<&'static str>> = BTreeMap::new();
    all.into_iter().for_each(|(path, kind)| by_path.entry(path).or_default().push(kind));
    let mut found = Vec::new();
    let mut places: BTreeMap<AbsPath, Vec<(&AbsPath, &str)>> = BTreeMap::new();
    for (at, kinds) in by_path {
        if at.as_str() == "/" {
            found.extend(kinds.iter().map(|_| (at, Why::Root)));
            continue;
        }
        let twice = kinds.windows(2).map(|two| (at, Why::Twice(two[0], two[1])));
        if let Some((_, to)) = aliases.iter().find(|(from, _)| from == at) {
            found.push((at, Why::Alias(to.clone())));
            found.extend(twice);
            continue;
        }
        let mut place = at.clone();
        while let Some((from, to)) =
            aliases.iter().filter(|(from, _)| place.is_within(from)).max_by_key(|(from, _)| from.as_str().len())
        {
            place = path(&place.as_str().replacen(from.as_str(), to.as_str(), 1));
        }
        let within = |folders: &[AbsPath]| folders.iter().find(|folder| place.is_within(folder)).cloned();
        match (within(&volatile), within(&profile.read_only), within(&profile.writable)) {
            (Some(folder), ..) => found.push((at, Why::Volatile(folder))),
            (None, Some(folder), _) => found.push((at, Why::ReadOnly(folder))),
            (None, None, None) if !profile.writable.is_empty() => found.push((at, Why::ReadOnly(path("/")))),
            _ => {}
        }
        found.extend(twice);
        places.entry(place).or_default().push((at, kinds[0]));
    }
    for same in places.values() {
        found.extend(same.windows(2).map(|two| (two[1].0, Why::SamePlace(two[0].0.clone()))));
    }
    for (above, uppers) in &places {
        for (upper, kind) in uppers.iter().filter(|(_, kind)| *kind != "directory") {
            let below = places.iter().filter(|(place, _)| *place != above && place.is_within(above));
            found.extend(
                below.flat_map(|(_, lowers)| lowers).map(|(lower, _)| (*lower, Why::Below((*upper).clone(), kind))),
            );
        }
    }
    found.sort_by_key(|(path, _)| *path);
    found.into_iter().map(|(path, why)| (path.to_string(), why)).collect()
}

fn places() -> impl Strategy<Value = Vec<String>> {
    let part = prop::sample::select(vec![
        "a", "a-b", "bin", "boot", "dev", "etc", "home", "lib", "local", "lock", "opt", "root", "roothome", "run",
        "runner", "sbin", "srv", "tmp", "usr", "usrlocal", "var", "x",
    ]);
    let path = prop::collection::vec(part, 0..5).prop_map(|parts| format!("/{}", parts.join("/")));
    prop::collection::vec(path, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// That few lists are looked at for few paths leaves nothing out, and the order is the same.
    #[test]
    fn places_are_judged_as_each_against_each(paths in places(), kinds in prop::collection::vec(0..3, 12)) {
        let mut tree = empty();
        tree.node = None;
        for (at, kind) in paths.iter().zip(kinds) {
            match kind {
                0 => tree.files.push(file(at, "0644", b"a")),
                1 => tree.directories.push(directory(at, "0755")),
                _ => tree.links.push(link(at, "elsewhere")),
            }
        }
        for profile in Profile::all() {
            let found: Vec<_> = validate(&tree, profile).into_iter().map(|fault| (fault.path, fault.why)).collect();
            prop_assert_eq!(found, plainly(&tree, profile), "{}", profile.name);
        }
    }
}
