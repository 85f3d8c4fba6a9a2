//! Where a file system of the user's is mounted: by `os.units`, or by a snippet.
//!
//! What is meant to lie on a disk of its own must not be looked for below an empty mount point: firstboot is told of it.

use super::ClassSite;
use crate::config::InputFile;
use nodekiln_payload::Snippet;
use nodekiln_plan::AbsPath;
use std::{collections::BTreeSet, fmt::Write as _};

/// Where the file system that holds `folder` is mounted: the innermost, should several lie above each other. `None` if the
/// payload mounts none.
pub(crate) fn of(site: &ClassSite, folder: &AbsPath) -> Option<AbsPath> {
    let os = &site.class.os;
    let mut known = Mounts::default();
    known.units.extend(os.units.iter().map(|unit| unit.name.to_string()));
    // One that cannot be read is refused elsewhere.
    let parse = |file: &InputFile| Snippet::parse(&file.bytes, os.profile.format, os.ignition_version).ok();
    os.snippets.iter().filter_map(parse).for_each(|snippet| known.read(&snippet));
    let mut folder = Some(folder.clone());
    while let Some(path) = folder.filter(|path| path.as_str() != "/") {
        if known.units.contains(&unit(&path)) || known.paths.contains(path.as_str()) {
            return Some(path);
        }
        folder = path.parent();
    }
    None
}

#[derive(Default)]
struct Mounts {
    /// Units; those of mounts are named after their place.
    units: BTreeSet<String>,
    /// Places.
    paths: BTreeSet<String>,
}

impl Mounts {
    fn read(&mut self, snippet: &Snippet) {
        let (units, paths) = snippet.mounts();
        self.units.extend(units.into_iter().map(str::to_owned));
        self.paths.extend(paths.into_iter().map(str::to_owned));
    }
}

/// The name of the unit that mounts something there: systemd.unit(5), "String Escaping for Inclusion in Unit Names".
fn unit(path: &AbsPath) -> String {
    let mut name = String::new();
    for (index, byte) in path.as_str().trim_start_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.') => name.push(char::from(b)),
            b => {
                let _ = write!(name, "\\x{b:02x}");
            }
        }
    }
    name + ".mount"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Site;
    use crate::node::fixture::{cluster, input};
    use crate::secrets::Shape;

    /// As `systemd-escape --path --suffix=mount` has it.
    #[test]
    fn units() {
        for (path, name) in [
            ("/var/lib/etcd", "var-lib-etcd.mount"),
            ("/data", "data.mount"),
            ("/.a/b-c", "\\x2ea-b\\x2dc.mount"),
            ("/a.b/c d", "a.b-c\\x20d.mount"),
        ] {
            assert_eq!(unit(&path.parse().unwrap()), name, "{path}");
        }
    }

    #[test]
    fn snippets() {
        let ignition = r#"{"ignition": {"version": "3.3.0"}, "systemd": {"units": [{"name": "var-lib-etcd.mount"}]}}"#;
        for (profile, snippet, found) in [
            ("flatcar", ignition, Some("/var/lib/etcd")),
            (
                "flatcar",
                r#"{"ignition": {"version": "3.3.0"}, "systemd": {"units": [{"name": "var-lib.mount"}, {"name": "x.service"}]}}"#,
                Some("/var/lib"),
            ),
            (
                "flatcar",
                r#"{"ignition": {"version": "3.3.0"}, "systemd": {"units": [{"name": "var-lib-etcd2.mount"}]}}"#,
                None,
            ),
            ("flatcar", "{", None),
            ("cloud-init", "#cloud-config\nmounts:\n- [/dev/vdb, /var/lib/etcd, ext4]\n", Some("/var/lib/etcd")),
            ("cloud-init", "#cloud-config\nmounts: [[vdb], 1, {a: b}]\n", None),
            ("cloud-init", "#cloud-config\nmounts: {\n", None),
        ] {
            let mut cluster = cluster(profile, &["cp1"]);
            cluster.nodes[0].os.snippets = vec![input("snippet", snippet.as_bytes())];
            let shape = &Shape::default();
            let site = Site::new(&cluster, &cluster.nodes[0], shape).unwrap();
            let mount = of(&site, &cluster.etcd.data_dir);
            assert_eq!(mount.as_ref().map(AbsPath::as_str), found, "{snippet}");
        }
    }
}
