//! What a tree puts where: units and drop-ins are files too, and a mask is a link.

use crate::{
    profile::Format,
    tree::{Fetch, NodeTree, Unit, UnitState, Verification},
};
use nodekiln_plan::{AbsPath, Mode, UnitName};
use std::{borrow::Cow, collections::BTreeSet, fmt};

/// Where systemd looks for what an administrator, or Ignition, lays down.
pub(crate) const UNIT_DIR: &str = "/etc/systemd/system";

/// Where the host name lives, hostname(5).
pub(crate) const HOSTNAME: &str = "/etc/hostname";

/// The file of presets that Ignition appends to.
pub(crate) const IGNITION_PRESET: &str = "/etc/systemd/system-preset/20-ignition.preset";

/// Where `fetch.py` finds authorities beside the system's own, under cloud-init.
pub(crate) const FETCH_CA: &str = "/var/lib/nodekiln/fetch-ca.pem";

/// A preset of our own, sorted before Ignition's: newer releases (2.24, `internal/exec/util/unit.go`, `DisableUnit`) write
/// no line for a unit that the image does not enable, and then a distribution whose default is `enable *` starts it.
pub(crate) const DISABLED_PRESET: &str = "/etc/systemd/system-preset/10-nodekiln.preset";

/// What lies at a path. Everything is root's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Laid<'a> {
    /// A folder.
    Directory(Mode),
    /// A file that the payload carries.
    File(Mode, Cow<'a, [u8]>),
    /// A symbolic link.
    Link(&'a str),
    /// A file that the machine fetches.
    Fetch(Mode, &'a str, &'a Verification),
}

impl Laid<'_> {
    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Laid::Directory(_) => "directory",
            Laid::File(..) => "file",
            Laid::Link(_) => "link",
            Laid::Fetch(..) => "fetched file",
        }
    }
}

impl fmt::Debug for Laid<'_> {
    /// Without contents: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// Where a unit file lies.
pub(crate) fn unit_path(name: &UnitName) -> AbsPath {
    parse(&format!("{UNIT_DIR}/{name}"))
}

/// Where a drop-in lies; `None` if `dropin` is no file name.
pub(crate) fn dropin_path(name: &UnitName, dropin: &str) -> Option<AbsPath> {
    format!("{UNIT_DIR}/{name}.d/{dropin}").parse().ok()
}

/// A path that is one by construction.
pub(crate) fn parse(path: &str) -> AbsPath {
    path.parse().expect("a clean path, put together from clean parts")
}

/// Everything that `tree` puts on a machine of this kind, in no order that matters; the same path twice if the tree
/// says so. Under Ignition `/etc/hostname` is always among it: there is no other way to name a host.
pub(crate) fn laid(tree: &NodeTree, format: Format) -> Vec<(AbsPath, Laid<'_>)> {
    let mut all = Vec::with_capacity(tree.directories.len() + tree.files.len() + tree.links.len() + tree.units.len());
    all.extend(tree.directories.iter().map(|dir| (dir.path.clone(), Laid::Directory(dir.mode))));
    for file in &tree.files {
        all.push((file.path.clone(), Laid::File(file.mode, Cow::Borrowed(file.contents.expose()))));
    }
    all.extend(tree.links.iter().map(|link| (link.path.clone(), Laid::Link(&link.target))));
    for Fetch { url, verification, into } in &tree.fetches {
        all.push((into.path.clone(), Laid::Fetch(into.mode, url, verification)));
    }
    if let (Some(ca), Format::CloudInit) = (&tree.fetch_ca, format) {
        all.push((parse(FETCH_CA), Laid::File(Mode::PRIVATE, Cow::Borrowed(ca))));
    }
    tree.units.iter().for_each(|unit| all.extend(unit_files(unit)));
    for (path, contents) in implied(tree, format) {
        all.push((path, Laid::File(Mode::PUBLIC, Cow::Owned(contents.into_bytes()))));
    }
    all
}

/// What a unit puts where.
fn unit_files(unit: &Unit) -> impl Iterator<Item = (AbsPath, Laid<'_>)> {
    let mask = (unit.state == UnitState::Masked).then(|| (unit_path(&unit.name), Laid::Link("/dev/null")));
    let body = unit.contents.as_deref().map(|body| (unit_path(&unit.name), file(body)));
    let dropins = unit.dropins.iter().filter_map(|dropin| {
        let path = dropin_path(&unit.name, &dropin.name)?;
        Some((path, file(&dropin.contents)))
    });
    mask.into_iter().chain(body).chain(dropins)
}

fn file(text: &str) -> Laid<'_> {
    Laid::File(Mode::PUBLIC, Cow::Borrowed(text.as_bytes()))
}

/// Files that say under Ignition what a tree says without a file, where it has none that says the same.
pub(crate) fn implied(tree: &NodeTree, format: Format) -> Vec<(AbsPath, String)> {
    let mut implied = Vec::new();
    if format == Format::CloudInit {
        return implied;
    }
    let given = |path: &str| tree.files.iter().find(|file| file.path.as_str() == path);
    if let Some(node) = &tree.node
        && given(HOSTNAME).is_none()
    {
        implied.push((parse(HOSTNAME), format!("{node}\n")));
    }
    let disabled: BTreeSet<_> =
        tree.units.iter().filter(|unit| unit.state == UnitState::Disabled).map(|unit| &unit.name).collect();
    let preset: String = disabled.iter().map(|name| format!("disable {name}\n")).collect();
    if !preset.is_empty() && given(DISABLED_PRESET).is_none_or(|file| file.contents.expose() != preset.as_bytes()) {
        implied.push((parse(DISABLED_PRESET), preset));
    }
    implied
}
