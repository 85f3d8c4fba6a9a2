//! What a tree puts where: units and drop-ins are files too, and a mask is a link.

use crate::{
    profile::Format,
    tree::{Fetch, NodeTree, Unit, UnitState, Verification},
};
use nodekiln_plan::{AbsPath, Mode, UnitName};
use std::{borrow::Cow, fmt};

/// Where systemd looks for what an administrator, or Ignition, lays down.
pub(crate) const UNIT_DIR: &str = "/etc/systemd/system";

/// Where the host name lives, hostname(5).
pub(crate) const HOSTNAME: &str = "/etc/hostname";

/// The file of presets that Ignition appends to.
pub(crate) const IGNITION_PRESET: &str = "/etc/systemd/system-preset/20-ignition.preset";

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
    parse(format!("{UNIT_DIR}/{name}"))
}

/// Where a drop-in lies; `None` if `dropin` is no file name.
pub(crate) fn dropin_path(name: &UnitName, dropin: &str) -> Option<AbsPath> {
    format!("{UNIT_DIR}/{name}.d/{dropin}").parse().ok()
}

/// A path that is one by construction.
pub(crate) fn parse(path: String) -> AbsPath {
    path.parse().expect("a clean path, put together from clean parts")
}

/// Everything that `tree` puts on a machine of this kind, in no order that matters; the same path twice if the tree
/// says so. `/etc/hostname` is among it under Ignition, which has no other way to name a host.
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
    tree.units.iter().for_each(|unit| all.extend(unit_files(unit)));
    if let Some(contents) = implied_hostname(tree, format) {
        all.push((parse(HOSTNAME.to_owned()), Laid::File(Mode::PUBLIC, Cow::Owned(contents.into_bytes()))));
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

/// `/etc/hostname`, where the encoder has to add it.
pub(crate) fn implied_hostname(tree: &NodeTree, format: Format) -> Option<String> {
    let given = tree.files.iter().any(|file| file.path.as_str() == HOSTNAME);
    (format == Format::Ignition && !given).then(|| format!("{}\n", tree.node))
}
