//! What findings show of an input: names, and values of fields that hold nothing secret. Anything else is masked.
//!
//! The rule is the safe one: an excerpt masks whatever no reader has marked as fit to be shown ([`super::Source`]), so
//! that a key that is misspelt, comes twice or stands in the wrong place gives nothing away. Values within messages go
//! through [`short`], and all messages through [`clean`].

use super::schema::schema;
use nodekiln_plan::UnitName;
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeSet, ops::Range, sync::LazyLock};

/// Longer values are not shown, in no part: no name, address or path is.
pub(super) const LONGEST: usize = 4096;

/// Text from the input in a message: one line, no control characters, not without end, no secrets of URLs.
pub(super) fn clean(text: &str) -> String {
    const MAX: usize = 600;
    if !text.contains("://") {
        return cut(text, MAX);
    }
    let words = text.split_inclusive([' ', '`']).map(|word| {
        let end = word.trim_end_matches([' ', '`']).len();
        redacted(&word[..end]).into_owned() + &word[end..]
    });
    cut(&words.collect::<String>(), MAX)
}

/// A value from the input within a message: enough of it to be known again, without what may be secret.
pub(super) fn short(text: &str) -> String {
    const MAX: usize = 60;
    // A key, a certificate, a file: whatever it is, it is in the wrong place.
    if text.len() > LONGEST {
        return format!("a text of {} characters", text.chars().count());
    }
    match text.lines().count() {
        0 | 1 => cut(&redacted(text), MAX),
        lines => format!("a text of {lines} lines"),
    }
}

/// How a text is written that was taken for something else.
pub(super) fn quoted(text: &str) -> String {
    let short = short(text);
    // What is cut cannot be copied.
    if short.contains('…') { "quote it".to_owned() } else { format!("quote it: \"{short}\"") }
}

fn cut(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// The parts of a value that are never shown: user, query and fragment of a URL (RFC 3986 section 3), with a scheme or
/// without; all of it, if it looks like a password's hash or a private key.
pub(super) fn secret_parts(text: &str) -> Vec<Range<usize>> {
    // What begins or parts all of them. Most texts have none of these.
    if !text.bytes().any(|byte| matches!(byte, b'$' | b' ' | b'@' | b'?' | b'#')) {
        return Vec::new();
    }
    let crypt = text.match_indices('$').any(|(at, _)| is_crypt(&text[at..]));
    if crypt || text.contains("PRIVATE KEY") {
        return std::iter::once(0..text.len()).collect();
    }
    let scheme = text.find("://").map(|at| at + 3);
    let start = scheme.unwrap_or(0);
    // An image's digest is no host, and the instance of a unit none either.
    let authority = text[start..].split("@sha256:").next().unwrap_or_default();
    let is_unit = || scheme.is_none() && text.trim_matches(['"', '\'']).parse::<UnitName>().is_ok();
    let user = authority.rfind('@').filter(|_| !is_unit());
    let mut parts = Vec::new();
    let mut rest = start;
    if let Some(length) = user {
        parts.push(start..start + length);
        rest += length + 1;
    }
    parts.extend(text[rest..].find(['?', '#']).map(|at| rest + at + 1..text.len()));
    parts.retain(|part| !part.is_empty());
    parts
}

/// `text` without its [`secret_parts`].
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    let parts = secret_parts(text);
    if parts.is_empty() {
        return text.into();
    }
    let mut text = text.to_owned();
    for part in parts.into_iter().rev() {
        text.replace_range(part, "…");
    }
    text.into()
}

/// `$ID$...` with an ID of crypt(5).
fn is_crypt(text: &str) -> bool {
    let mut parts = text.splitn(3, '$').skip(1);
    let id = parts.next().unwrap_or("");
    parts.next().is_some_and(|rest| rest.len() > 3)
        && (1..=4).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Appends `text` to `out` with every word masked byte by byte, so that offsets still hold; YAML's own characters stay,
/// comments become blanks. `keys`: whether to leave the keys that cluster.yaml has, where no parser could tell them.
pub(super) fn mask(text: &str, keys: bool, out: &mut Vec<u8>) {
    const STRUCTURE: &[char] = &['-', ':', '[', ']', '{', '}', ',', '?', '"', '\'', '|', '>'];
    for line in text.split_inclusive('\n') {
        let mut comment = false;
        for word in line.split_inclusive([' ', '\t', '\r', '\n']) {
            let end = word.trim_end_matches([' ', '\t', '\r', '\n']).len();
            let (word, blank) = word.split_at(end);
            comment |= word.starts_with('#');
            let name =
                word.trim_start_matches(STRUCTURE).strip_suffix(':').map(|name| name.trim_end_matches(STRUCTURE));
            let is_shown = word.chars().all(|c| STRUCTURE.contains(&c)) || keys && name.is_some_and(is_key);
            match () {
                () if comment => out.extend(std::iter::repeat_n(b' ', word.len())),
                () if is_shown => out.extend_from_slice(word.as_bytes()),
                () => out.extend(std::iter::repeat_n(b'*', word.len())),
            }
            out.extend_from_slice(blank.as_bytes());
        }
    }
}

/// Whether cluster.yaml has a key of this name anywhere: its own words are no secrets.
pub(super) fn is_key(name: &str) -> bool {
    static KEYS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut keys = BTreeSet::new();
        collect(&schema(), &mut keys);
        keys
    });
    KEYS.contains(name)
}

fn collect(shape: &Value, keys: &mut BTreeSet<String>) {
    match shape {
        Value::Object(map) => {
            keys.extend(
                map.get("properties").and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()),
            );
            map.values().for_each(|shape| collect(shape, keys));
        }
        Value::Array(list) => list.iter().for_each(|shape| collect(shape, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_left_out() {
        for (text, due) in [
            ("https://host/path", "https://host/path"),
            ("https://me:S3CR3T@host/path?t=S3CR3T#S3CR3T", "https://…@host/path?…"),
            ("https://S3CR3T@host", "https://…@host"),
            ("https://me:S3C/R3T@host/x", "https://…@host/x"),
            ("https://me:S3C?R3T@host/x", "https://…@host/x"),
            ("me:S3CR3T@api.example:6443", "…@api.example:6443"),
            ("S3CR3T@192.0.2.1", "…@192.0.2.1"),
            ("host/x?S3CR3T", "host/x?…"),
            ("a/b:1@sha256:00", "a/b:1@sha256:00"),
            ("me:S3CR3T@a/b:1@sha256:00", "…@a/b:1@sha256:00"),
            ("wg-quick@wg0.service", "wg-quick@wg0.service"),
            ("https://x@wg0.service", "https://…@wg0.service"),
            ("$6$salt$hash", "…"),
            ("-----BEGIN EC PRIVATE KEY-----", "…"),
            ("a\nS3CR3T", "a text of 2 lines"),
            ("", ""),
        ] {
            assert_eq!(short(text), due, "{text}");
            assert_eq!(short(&short(text)), due, "{text}");
        }
        assert_eq!(
            clean("`https://a@b/c?d` and `x@y.service`: see https://e/f?g"),
            "`https://…@b/c?…` and `x@y.service`: see https://e/f?…"
        );
    }

    #[test]
    fn words_are_masked_to_the_byte() {
        let masked = |text: &str, keys| {
            let mut out = Vec::new();
            mask(text, keys, &mut out);
            assert_eq!(out.len(), text.len());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(masked("- {a: sö-c:r, [ }  # no: x\nb: |\n", false), "- *** ******** [ }         \n** |\n");
        assert_eq!(masked("  - {name: a, \"role\": b}\n", true), "  - {name: ** \"role\": **\n");
        assert_eq!(masked("name: x # role: y", true), "name: *          ");
        assert_eq!(masked("{\"kind\":\"x\"}", true), "*".repeat(12));
    }
}
