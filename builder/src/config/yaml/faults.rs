//! Faults of the text itself, in words: what the parser says, control characters, tabs.

use super::{Diagnostics, Entry, Finding, Kind, Node, Span, code, error};
use granit_parser::ErrorKind;

/// A syntax error in words. `said` is the parser's own account.
pub(super) fn explain(text: &str, offset: usize, kind: &ErrorKind, said: &str, max_depth: u32) -> (usize, Finding) {
    let line_start = text[..offset].rfind('\n').map_or(0, |i| i + 1);
    let mut lead = text[line_start..].bytes().take_while(|b| matches!(b, b' ' | b'\t'));
    if let Some(tab) = lead.position(|b| b == b'\t') {
        let finding = Finding::new(code::TAB, "a tab in the indentation").hint("indent by spaces");
        return (line_start + tab, finding);
    }
    let finding = match kind {
        ErrorKind::UnknownAnchor => Finding::new(code::ALIAS, "an alias without an anchor of that name before it")
            .hint("quote a text that starts with `*`"),
        _ if said.contains("nesting") || said.contains("recursion") || said.contains("too deep") => {
            Finding::new(code::DEPTH, format!("nested deeper than {max_depth} levels"))
        }
        // The parser ends with its own count of the position, which the finding has already.
        _ => {
            let words = said.rsplit_once(" at ").map_or(said, |(words, _)| words);
            Finding::new(code::SYNTAX, format!("not YAML: {}", words.trim()))
        }
    };
    (offset, finding)
}

/// YAML allows no control characters but tab and line ends (section 5.1). Whether there are some.
pub(super) fn control_characters(text: &str, found: &mut Diagnostics) -> bool {
    // All bytes without a way out between them: that is many at a time, and most files are plain.
    if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return false;
    }
    let bad = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    let mut any = false;
    for (offset, c) in text.char_indices().filter(|(_, c)| bad(*c)).take(10) {
        any = true;
        let message = format!("the control character U+{:04X}", u32::from(c));
        let hint = "write it as an escape in a double-quoted text, such as \"\\x07\", or leave it out";
        error(found, Span::new(offset..offset + c.len_utf8()), Finding::new(code::CONTROL, message).hint(hint));
    }
    any
}

/// Reports tabs outside of texts and comments: YAML allows some, but people cannot tell them from spaces.
pub(super) fn tabs(text: &str, nodes: &[Node<'_>], entries: &[Entry<'_>], found: &mut Diagnostics) {
    if !text.contains('\t') {
        return;
    }
    let scalars = nodes.iter().filter(|node| matches!(node.kind, Kind::Scalar { .. })).map(|node| node.span);
    let spans = scalars.chain(entries.iter().map(|entry| entry.key_span));
    let mut covered: Vec<(usize, usize)> = spans.map(|span| (span.range().start, span.range().end)).collect();
    covered.sort_unstable();
    let within = |offset: usize| {
        let after = covered.partition_point(|(start, _)| *start <= offset);
        after > 0 && offset < covered[after - 1].1
    };
    let bytes = text.as_bytes();
    let mut reported = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut offset = start;
        while let Some(&byte) = bytes.get(offset).filter(|_| offset < start + line.len()) {
            let lonely = offset == start || matches!(bytes[offset - 1], b' ' | b'\t');
            if byte == b'#' && lonely && !within(offset) {
                break;
            }
            if byte == b'\t' && !within(offset) && reported < 10 {
                reported += 1;
                let finding = Finding::new(code::TAB, "a tab between values").hint("use spaces");
                error(found, Span::new(offset..offset + 1), finding);
                break;
            }
            offset += 1;
        }
        start += line.len();
    }
}
