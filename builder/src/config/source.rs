//! [`Source`]: the text of cluster.yaml, its lines, and what of it must not be shown.

use std::ops::Range;

/// A range of bytes in a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span of `range`. Inputs are far smaller than 4 GiB: `load` refuses larger ones.
    pub fn new(range: Range<usize>) -> Self {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: clamp(range.start), end: clamp(range.end) }
    }

    /// As a range for slicing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A text with a name.
#[derive(Clone)]
pub struct Source {
    name: String,
    text: String,
    lines: Vec<u32>,
    /// How many characters come before every STRIDE-th byte: long lines are not counted again for each finding.
    counts: Vec<u32>,
    secrets: Vec<Span>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({:?}, {} bytes)", self.name, self.text.len())
    }
}

/// See [`Source`]'s `counts`.
const STRIDE: usize = 4096;

/// How many characters start in `bytes` of UTF-8: all bytes but continuations.
fn starts(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| u32::from(byte & 0xc0 != 0x80)).sum()
}

/// A position as people count: from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Source {
    /// Takes a text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let lines = std::iter::once(0).chain(breaks).map(|i| u32::try_from(i).unwrap_or(u32::MAX)).collect();
        let mut counts = vec![0];
        for chunk in text.as_bytes().chunks(STRIDE) {
            let before = counts.last().copied().unwrap_or(0);
            counts.push(before + starts(chunk));
        }
        Self { name: name.into(), text, lines, counts, secrets: Vec::new() }
    }

    /// The file's name, as findings show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Marks bytes that snippets must not show.
    pub fn hide(&mut self, span: Span) {
        self.secrets.push(span);
    }

    /// Where the byte `offset` is.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let line = self.line_of(offset);
        let start = self.line_start(line);
        // A byte order mark is no character of the first line.
        let mark = usize::from(line == 0 && offset > 0 && self.text.starts_with('\u{feff}'));
        Position { line: line + 1, column: self.characters(offset) - self.characters(start) - mark + 1 }
    }

    /// How many characters come before the byte `offset`, a boundary.
    fn characters(&self, offset: usize) -> usize {
        let whole = offset / STRIDE;
        let rest = starts(&self.text.as_bytes()[whole * STRIDE..offset]);
        (self.counts[whole] + rest) as usize
    }

    /// The part of `span` on its first line, at least one character of it, at most the line: what is underlined.
    pub fn head(&self, span: Span) -> Range<usize> {
        let start = self.floor(span.range().start);
        let end = self.floor(span.range().end.max(start));
        let first = self.text[start..end].split(['\n', '\r']).next().unwrap_or("").trim_end();
        let width = match first {
            "" => self.text[start..].chars().next().filter(|c| !matches!(c, '\n' | '\r')).map_or(0, char::len_utf8),
            first => first.len(),
        };
        start..start + width
    }

    /// How many bytes lines `first..=last` (from 0) have.
    pub fn extent(&self, first: usize, last: usize) -> usize {
        self.line_start(last + 1) - self.line_start(first)
    }

    /// Lines `first..=last` (from 0) as they may be shown, and the offset of their first byte. Hidden bytes and control
    /// characters are masked byte by byte, so that offsets still hold.
    pub fn shown(&self, first: usize, last: usize) -> (String, usize) {
        let start = self.line_start(first);
        let end = self.line_start(last + 1);
        let mut bytes = self.text.as_bytes()[start..end].to_vec();
        for byte in &mut bytes {
            if (*byte < 0x20 && !matches!(*byte, b'\n' | b'\r' | b'\t')) || *byte == 0x7f {
                *byte = b'?';
            }
        }
        for span in &self.secrets {
            let range = span.range();
            mask(&mut bytes, range.start.max(start).saturating_sub(start)..range.end.min(end).saturating_sub(start));
        }
        // What a syntax error hides from the parser is still not shown: hashes of passwords, private keys.
        for range in suspects(&self.text[start..end]) {
            mask(&mut bytes, range);
        }
        (String::from_utf8(bytes).unwrap_or_default(), start)
    }

    /// The line (from 0) that holds the byte `offset`.
    pub fn line_of(&self, offset: usize) -> usize {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.text.len(), |start| *start as usize)
    }

    /// The nearest character boundary at or below `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

fn mask(bytes: &mut [u8], range: Range<usize>) {
    // Masking happens byte by byte over whole characters: a span never splits one.
    if let Some(part) = bytes.get_mut(range) {
        for byte in part.iter_mut().filter(|b| !matches!(b, b'\n' | b'\r')) {
            *byte = b'*';
        }
    }
}

/// Ranges of `text` that look like secrets, told by their surroundings alone: the rest of a line after `passwordHash:`,
/// a crypt(5) hash, lines of a private key.
fn suspects(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let key = line.find("passwordHash").map(|i| i + "passwordHash".len());
        let crypt = line.match_indices('$').map(|(i, _)| i).find(|i| is_crypt(&line[*i..]));
        let private = line.contains("PRIVATE KEY").then_some(0);
        if let Some(from) = [key, crypt, private].into_iter().flatten().min() {
            // A colon, quotes and spaces may stay: they say nothing.
            let from = from + line[from..].find(|c: char| !matches!(c, ':' | ' ' | '"' | '\'')).unwrap_or(0);
            found.push(start + from..start + line.trim_end().len().max(from));
        }
        start += line.len();
    }
    found
}

/// `$ID$...` with an ID of crypt(5).
fn is_crypt(text: &str) -> bool {
    let mut parts = text.splitn(3, '$').skip(1);
    let id = parts.next().unwrap_or("");
    parts.next().is_some_and(|rest| rest.len() > 3)
        && (1..=4).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let source = Source::new("f", "a: é\nb: ü x\n");
        let x = source.text().find('x').unwrap();
        assert_eq!(source.position(x), Position { line: 2, column: 6 });
        assert_eq!(source.position(usize::MAX), Position { line: 3, column: 1 });
        // Within a character: its start.
        assert_eq!(source.position(4), Position { line: 1, column: 4 });
    }

    #[test]
    fn positions_in_long_lines() {
        let source = Source::new("f", "é".repeat(10_000) + "x\ny");
        assert_eq!(source.position(20_000), Position { line: 1, column: 10_001 });
        assert_eq!(source.position(20_002), Position { line: 2, column: 1 });
        let marked = Source::new("f", "\u{feff}a: b");
        assert_eq!(marked.position(3), Position { line: 1, column: 1 });
        assert_eq!(marked.position(0), Position { line: 1, column: 1 });
        assert_eq!(marked.position(6), Position { line: 1, column: 4 });
    }

    #[test]
    fn heads_stay_on_their_line() {
        let source = Source::new("f", "a: |\n  text\nb: 1   \n");
        assert_eq!(source.head(Span::new(3..20)), 3..4);
        assert_eq!(source.head(Span::new(15..19)), 15..16);
        assert_eq!(source.head(Span::new(100..200)), 20..20);
    }

    #[test]
    fn secrets_are_masked_to_the_byte() {
        let mut source = Source::new("f", "a: söcret\nb: 1\n");
        source.hide(Span::new(3..10));
        assert_eq!(source.shown(0, 1), ("a: *******\nb: 1\n".to_owned(), 0));
        for text in [
            "{name: a, passwordHash: \"$6$salt$hash\"}",
            "passwordHash : 'plain'",
            "- $6$salt$hash",
            "-----BEGIN EC PRIVATE KEY-----",
        ] {
            let shown = Source::new("f", text).shown(0, 0).0;
            assert!(shown.contains('*') && !shown.contains("hash\"") && !shown.contains("plain"), "{shown}");
            assert_eq!(shown.len(), text.len());
        }
        assert_eq!(Source::new("f", "a: $HOME and $5\u{7}").shown(0, 0).0, "a: $HOME and $5?");
    }
}
