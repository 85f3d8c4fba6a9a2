//! What a tree puts where: units and drop-ins are files too, and a mask is a link.

use crate::{
    profile::Format,
    tree::{Fetch, NodeTree, Unit, UnitState, Verification},
};
use nodekiln_plan::{AbsPath, Mode, UnitName};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::LazyLock};

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
    parse(&[UNIT_DIR, "/", name.as_str()].concat())
}

/// Where a drop-in lies; `None` if `dropin` is no file name.
pub(crate) fn dropin_path(name: &UnitName, dropin: &str) -> Option<AbsPath> {
    [UNIT_DIR, "/", name.as_str(), ".d/", dropin].concat().parse().ok()
}

/// A path that is one by construction.
pub(crate) fn parse(path: &str) -> AbsPath {
    path.parse().expect("a clean path, put together from clean parts")
}

/// Everything that `tree` puts on a machine of this kind, in no order that matters; the same path twice if the tree
/// says so. Under Ignition `/etc/hostname` is always among it: there is no other way to name a host.
pub(crate) fn laid(tree: &NodeTree, format: Format) -> Vec<(Cow<'_, AbsPath>, Laid<'_>)> {
    let NodeTree { directories, files, links, units, fetches, .. } = tree;
    // A unit mostly has a body and a drop-in.
    let size = directories.len() + files.len() + links.len() + fetches.len() + 2 * units.len() + 2;
    let mut all = Vec::with_capacity(size);
    all.extend(directories.iter().map(|dir| (Cow::Borrowed(&dir.path), Laid::Directory(dir.mode))));
    for file in files {
        all.push((Cow::Borrowed(&file.path), Laid::File(file.mode, Cow::Borrowed(file.contents.expose()))));
    }
    all.extend(links.iter().map(|link| (Cow::Borrowed(&link.path), Laid::Link(&link.target))));
    for Fetch { url, verification, into } in fetches {
        all.push((Cow::Borrowed(&into.path), Laid::Fetch(into.mode, url, verification)));
    }
    if let (Some(ca), Format::CloudInit) = (&tree.fetch_ca, format) {
        all.push((Cow::Owned(parse(FETCH_CA)), Laid::File(Mode::PRIVATE, Cow::Borrowed(ca))));
    }
    for unit in units {
        all.extend(unit_files(unit).map(|(path, what)| (Cow::Owned(path), what)));
    }
    for (path, contents) in implied(tree, format) {
        all.push((Cow::Borrowed(path), Laid::File(Mode::PUBLIC, Cow::Owned(contents.into_bytes()))));
    }
    all
}

/// The same by path, each path once.
pub(crate) fn by_path(tree: &NodeTree, format: Format) -> BTreeMap<AbsPath, Laid<'_>> {
    laid(tree, format).into_iter().map(|(path, what)| (path.into_owned(), what)).collect()
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
pub(crate) fn implied(tree: &NodeTree, format: Format) -> Vec<(&'static AbsPath, String)> {
    static IMPLIED: LazyLock<[AbsPath; 2]> = LazyLock::new(|| [HOSTNAME, DISABLED_PRESET].map(parse));
    let [hostname, disabled_preset] = &*IMPLIED;
    let mut implied = Vec::new();
    if format == Format::CloudInit {
        return implied;
    }
    let given = |path: &AbsPath| tree.files.iter().find(|file| file.path == *path);
    if let Some(node) = &tree.node
        && given(hostname).is_none()
    {
        implied.push((hostname, format!("{node}\n")));
    }
    let disabled = tree.units.iter().filter(|unit| unit.state == UnitState::Disabled);
    let mut disabled: Vec<_> = disabled.map(|unit| unit.name.as_str()).collect();
    disabled.sort_unstable();
    disabled.dedup();
    let preset: String = disabled.into_iter().flat_map(|name| ["disable ", name, "\n"]).collect();
    if !preset.is_empty() && given(disabled_preset).is_none_or(|file| file.contents.expose() != preset.as_bytes()) {
        implied.push((disabled_preset, preset));
    }
    implied
}
