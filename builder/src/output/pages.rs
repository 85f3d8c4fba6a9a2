//! Files that hold nothing secret, written where the user says: manual pages.

use std::{collections::BTreeMap, fs, io, path::Path};

/// Writes `pages`, by file name, into `folder`. Older ones of the same names are replaced.
///
/// # Errors
/// The folder cannot be made, or a file not be written.
pub fn write(folder: &Path, pages: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    pages.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}
