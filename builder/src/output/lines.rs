//! JSON that has a line for each entry, as [`nodekiln_plan::json::to_writer`] writes it, read a line at a time: that of ten
//! thousand nodes would be as large as all else in memory.

use std::io::{self, BufRead};

/// What entries of a field are indented by.
const INDENT: &[u8] = b"    ";

/// Gives each entry of each field, by the field's name, to `take`, and gives back all that was not taken: what is left is JSON
/// too, and all of it where it is in other lines.
///
/// # Errors
/// It cannot be read.
pub(super) fn entries(mut from: impl BufRead, mut take: impl FnMut(&[u8], &[u8]) -> bool) -> io::Result<Vec<u8>> {
    let (mut rest, mut line, mut field) = (Vec::new(), Vec::new(), Vec::new());
    while from.read_until(b'\n', &mut line)? > 0 {
        let is_taken = match line.strip_prefix(INDENT) {
            Some(entry) => {
                let entry = entry.trim_ascii_end();
                take(&field, entry.strip_suffix(b",").unwrap_or(entry))
            }
            None => {
                field.clear();
                if let Some((b'"', name)) = line.trim_ascii_start().split_first() {
                    field.extend(name.iter().take_while(|byte| **byte != b'"'));
                }
                false
            }
        };
        if !is_taken {
            rest.append(&mut line);
        }
        line.clear();
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn entries_come_one_by_one() {
        let whole = json!({"a": [{"b": [1, 2]}, "c,"], "d": {"e": {"f": null}, "g": 1}, "h": 1, "i": []});
        let mut text = Vec::new();
        nodekiln_plan::json::to_writer(&mut text, &whole).unwrap();
        let read = |text: &[u8], field: Option<&str>| {
            let mut taken = Vec::new();
            let rest = entries(text, |of, entry| {
                let is_due = field.is_none_or(|field| field.as_bytes() == of);
                if is_due {
                    taken.push(format!("{}: {}", of.escape_ascii(), String::from_utf8_lossy(entry)));
                }
                is_due
            });
            (taken, rest.unwrap())
        };
        let (all, rest) = read(&text, None);
        assert_eq!(all, ["a: {\"b\": [1, 2]}", "a: \"c,\"", "d: \"e\": {\"f\": null}", "d: \"g\": 1"]);
        let rest: Value = serde_json::from_slice(&rest).unwrap();
        assert_eq!(rest, json!({"a": [], "d": {}, "h": 1, "i": []}));
        let (some, rest) = read(&text, Some("d"));
        assert_eq!(some, all[2..]);
        let rest: Value = serde_json::from_slice(&rest).unwrap();
        assert_eq!(rest, json!({"a": [{"b": [1, 2]}, "c,"], "d": {}, "h": 1, "i": []}));
        // Another's lines.
        for other in [serde_json::to_vec(&whole).unwrap(), b"\n\n{\"".to_vec(), Vec::new()] {
            assert_eq!(read(&other, None), (vec![], other));
        }
    }
}
