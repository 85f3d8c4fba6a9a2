//! What a snippet adds to user data, kept apart from what is ours.
//!
//! Its items stand before ours in the lists that both have. Where they end is said by a comment behind the first line,
//! which cloud-init's YAML skips, so that a reader of the payload alone can tell them apart.

use super::model::HEADER;
use crate::snippet::{SHARED_LISTS, Snippet};
use serde_json::{Map, Value};

/// How the comment begins.
const MARK: &str = "# snippets: ";

/// The parts of a snippet.
#[derive(Default)]
pub(super) struct Theirs {
    pub bootcmd: Vec<Value>,
    pub runcmd: Vec<Value>,
    pub users: Vec<Value>,
    pub write_files: Vec<Value>,
    /// All other keys.
    pub other: Map<String, Value>,
    /// Whether there is a snippet at all.
    given: bool,
}

impl Theirs {
    /// Takes `snippet` apart.
    pub(super) fn of(snippet: &Snippet) -> Self {
        let mut theirs = Self { other: snippet.map().clone(), given: true, ..Self::default() };
        for key in SHARED_LISTS {
            if let Some(Value::Array(items)) = theirs.other.remove(key) {
                *theirs.list(key) = items;
            }
        }
        theirs
    }

    /// Puts the snippet together again. `None` if there is none.
    pub(super) fn snippet(self) -> Option<Snippet> {
        let Self { bootcmd, runcmd, users, write_files, mut other, given } = self;
        for (key, items) in SHARED_LISTS.into_iter().zip([bootcmd, runcmd, users, write_files]) {
            if !items.is_empty() {
                other.insert(key.to_owned(), items.into());
            }
        }
        given.then(|| Snippet::of(other))
    }

    /// The comment, with the number of items in each list: nothing without a snippet.
    pub(super) fn line(&self) -> String {
        let Self { bootcmd, runcmd, users, write_files, .. } = self;
        let counts = [bootcmd, runcmd, users, write_files].map(|items| items.len().to_string()).join(" ");
        if self.given { format!("{MARK}{counts}\n") } else { String::new() }
    }

    fn list(&mut self, key: &str) -> &mut Vec<Value> {
        match key {
            "bootcmd" => &mut self.bootcmd,
            "runcmd" => &mut self.runcmd,
            "users" => &mut self.users,
            _ => &mut self.write_files,
        }
    }

    /// Splits user data into what is a snippet's and what is ours. `None` if it is not what [`Theirs::line`] says, the
    /// text itself without a snippet.
    pub(super) fn split(text: &[u8]) -> Option<(Self, std::borrow::Cow<'_, [u8]>)> {
        let text = text.strip_prefix(HEADER.as_bytes())?;
        let Some(rest) = text.strip_prefix(MARK.as_bytes()) else { return Some((Self::default(), text.into())) };
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let counts: Vec<usize> =
            std::str::from_utf8(&rest[..end]).ok()?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let Ok(Value::Object(mut all)) = serde_json::from_slice(&rest[end + 1..]) else { return None };
        let counts: [usize; SHARED_LISTS.len()] = counts.try_into().ok()?;
        let mut theirs = Self { given: true, ..Self::default() };
        for (key, count) in SHARED_LISTS.into_iter().zip(counts) {
            if count == 0 {
                continue;
            }
            let items = all.get_mut(key)?.as_array_mut()?;
            *theirs.list(key) = items.drain(..count.min(items.len())).collect();
            if theirs.list(key).len() != count {
                return None;
            }
            if items.is_empty() {
                all.remove(key);
            }
        }
        const OURS: [&str; 9] = [
            "hostname",
            "fqdn",
            "preserve_hostname",
            "manage_etc_hosts",
            "users",
            "ntp",
            "bootcmd",
            "write_files",
            "runcmd",
        ];
        let (ours, other) = all.into_iter().partition(|(key, _)| OURS.contains(&key.as_str()));
        theirs.other = other;
        let ours: Map<String, Value> = ours;
        Some((theirs, serde_json::to_vec(&ours).ok()?.into()))
    }
}
