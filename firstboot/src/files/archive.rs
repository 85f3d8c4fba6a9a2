//! Unpacking of tar archives, within their folder.

use crate::{
    host::{Host, Kind},
    stage::Context,
};
use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use nodekiln_plan::{AbsPath, Archive};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Component, Path},
};

/// Unpacks one archive. Files of the same content are written again; nothing is removed.
pub(super) fn unpack(c: &Context<'_>, archive: &Archive) -> anyhow::Result<()> {
    let mut reader = c.host.open(archive.path.as_path()).with_context(|| format!("opening {}", archive.path))?;
    let mut magic = [0; 2];
    let read = read_up_to(&mut reader, &mut magic).with_context(|| format!("reading {}", archive.path))?;
    let whole = io::Cursor::new(magic[..read].to_vec()).chain(reader);
    c.host.make_dir(archive.into.as_path(), 0o755).with_context(|| format!("making {}", archive.into))?;
    let done = match magic {
        // gzip allows several streams after each other, and some tools write them.
        [0x1f, 0x8b] => members(c.host, archive, MultiGzDecoder::new(whole)),
        _ => members(c.host, archive, whole),
    };
    done.with_context(|| format!("unpacking {}", archive.path))
}

fn read_up_to(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match reader.read(&mut buffer[read..])? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

fn members(host: &dyn Host, archive: &Archive, reader: impl Read) -> anyhow::Result<()> {
    // What this archive made as a symlink: nothing is written through one.
    let mut made: BTreeMap<AbsPath, Kind> = BTreeMap::new();
    let mut tar = tar::Archive::new(reader);
    for member in tar.entries()? {
        let mut member = member?;
        let name = member.path()?.into_owned();
        let Some(path) = place(&archive.into, &name, archive.strip_components)? else { continue };
        no_symlink_above(host, &archive.into, &path)?;
        let mode = member.header().mode()? & 0o777;
        if let Some(parent) = path.parent()
            && host.stat(parent.as_path())?.is_none()
        {
            host.make_dir(parent.as_path(), 0o755).with_context(|| format!("making {parent}"))?;
        }
        let kind = match member.header().entry_type() {
            kind if kind.is_dir() => {
                host.make_dir(path.as_path(), mode).with_context(|| format!("making {path}"))?;
                Kind::Dir
            }
            kind if kind.is_file() => {
                host.install(&mut member, path.as_path(), mode).with_context(|| format!("writing {path}"))?;
                Kind::File
            }
            kind if kind.is_symlink() => {
                let target = member.link_name()?.context("a symlink without target")?.into_owned();
                if target.is_absolute() || target.components().any(|part| part == Component::ParentDir) {
                    bail!("the symlink {} leads out of its folder", name.display());
                }
                host.symlink(&target, path.as_path()).with_context(|| format!("linking {path}"))?;
                Kind::Link
            }
            kind if kind.is_hard_link() => {
                let target = member.link_name()?.context("a hard link without target")?.into_owned();
                let from = place(&archive.into, &target, archive.strip_components)?.context("a link to nothing")?;
                no_symlink_above(host, &archive.into, &from)?;
                if made.get(&from) != Some(&Kind::File) {
                    bail!("the hard link {} leads to no file of the archive", name.display());
                }
                let mut content = host.open(from.as_path()).with_context(|| format!("opening {from}"))?;
                host.install(&mut content, path.as_path(), mode).with_context(|| format!("writing {path}"))?;
                Kind::File
            }
            kind if kind.is_pax_global_extensions() => continue,
            _ => bail!("{} is neither file, folder nor link", name.display()),
        };
        made.insert(path, kind);
    }
    Ok(())
}

/// Where a member goes; `None` for what stripping leaves nothing of.
fn place(into: &AbsPath, name: &Path, strip: u8) -> anyhow::Result<Option<AbsPath>> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str().context("a name that is not UTF-8")?),
            Component::CurDir => {}
            _ => bail!("{} leads out of the folder", name.display()),
        }
    }
    let rest = parts.get(usize::from(strip)..).unwrap_or_default();
    match rest.is_empty() {
        true => Ok(None),
        false => Ok(Some(into.join(&rest.join("/")).with_context(|| format!("the name {}", name.display()))?)),
    }
}

fn no_symlink_above(host: &dyn Host, into: &AbsPath, path: &AbsPath) -> anyhow::Result<()> {
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| folder != into && folder.is_within(into)) {
        if host.stat(folder.as_path())?.is_some_and(|stat| stat.kind == Kind::Link) {
            bail!("{path} lies below the symlink {folder}");
        }
        above = folder.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_below_their_folder() {
        let into: AbsPath = "/opt/cni".parse().unwrap();
        let at = |name: &str, strip| place(&into, Path::new(name), strip).map(|p| p.map(|p| p.to_string()));
        assert_eq!(at("./bin/bridge", 0).unwrap().unwrap(), "/opt/cni/bin/bridge");
        assert_eq!(at("v1/bin/bridge", 1).unwrap().unwrap(), "/opt/cni/bin/bridge");
        assert_eq!(at("v1/", 1).unwrap(), None);
        assert!(at("/etc/passwd", 0).is_err() && at("a/../../b", 0).is_err() && at("../b", 1).is_err());
    }
}
