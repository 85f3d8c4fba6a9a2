//! [`Source`]: the text of cluster.yaml, its lines, and what of it may be shown.

use super::shown::{LONGEST, mask, secret_parts};
use std::{ops::Range, sync::Arc};

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
    text: Arc<str>,
    lines: Vec<u32>,
    /// How many characters come before every STRIDE-th byte: long lines are not counted again for each finding.
    counts: Vec<u32>,
    /// What excerpts may show, in the order of the text.
    fit: Vec<Span>,
    /// Whether it was parsed: only then is it known what is a key.
    is_parsed: bool,
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
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i + 1);
        let lines = std::iter::once(0).chain(breaks).map(|i| u32::try_from(i).unwrap_or(u32::MAX)).collect();
        let mut counts = vec![0];
        for chunk in text.as_bytes().chunks(STRIDE) {
            let before = counts.last().copied().unwrap_or(0);
            counts.push(before + starts(chunk));
        }
        Self { name: name.into(), text, lines, counts, fit: Vec::new(), is_parsed: false }
    }

    /// The file's name, as findings show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says that the text was parsed, and that what is fit to be shown will be marked.
    pub(super) fn set_parsed(&mut self) {
        self.is_parsed = true;
    }

    /// Marks a scalar that excerpts may show; `value` is what it says. Nothing else is shown.
    pub(super) fn show(&mut self, span: Span, value: &str) {
        let range = span.range();
        let fits = |raw: &str| !raw.is_empty() && raw.len() <= LONGEST && !raw.contains('\n') && !value.contains('\n');
        let Some(raw) = self.text.get(range.clone()).filter(|raw| fits(raw)) else {
            return;
        };
        let secrets = secret_parts(raw);
        // Escapes may hide what makes it a secret.
        if secrets.is_empty() && !raw.contains(value) && !secret_parts(value).is_empty() {
            return;
        }
        let mut start = range.start;
        for secret in secrets {
            self.insert(Span::new(start..range.start + secret.start));
            start = range.start + secret.end;
        }
        self.insert(Span::new(start..range.end));
    }

    /// Readers go through the text from its start, so that this is nearly always a push.
    fn insert(&mut self, span: Span) {
        if span.start < span.end {
            if self.fit.last().is_none_or(|last| *last < span) {
                self.fit.push(span);
                return;
            }
            let at = self.fit.partition_point(|fit| *fit < span);
            if self.fit.get(at) != Some(&span) {
                self.fit.insert(at, span);
            }
        }
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

    /// Lines `first..=last` (from 0) as they may be shown, and the offset of their first byte. Control characters and
    /// whatever is not known to be fit are masked byte by byte, so that offsets still hold.
    pub fn shown(&self, first: usize, last: usize) -> (String, usize) {
        let start = self.line_start(first);
        let end = self.line_start(last + 1);
        let mut bytes = Vec::with_capacity(end - start);
        let mut at = start;
        let from = self.fit.partition_point(|span| span.range().end <= start);
        for span in self.fit[from..].iter().map(|span| span.range()).take_while(|span| span.start < end) {
            // What is shown stands within a line; an alias may stand for what is shown elsewhere.
            if span.start >= at && span.end <= end {
                mask(&self.text[at..span.start], !self.is_parsed, &mut bytes);
                bytes.extend_from_slice(&self.text.as_bytes()[span.clone()]);
                at = span.end;
            }
        }
        mask(&self.text[at..end], !self.is_parsed, &mut bytes);
        for byte in &mut bytes {
            if (*byte < 0x20 && !matches!(*byte, b'\n' | b'\r' | b'\t')) || *byte == 0x7f {
                *byte = b'?';
            }
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
    fn only_what_is_fit_is_shown() {
        let text = "a: söcret # x\nurl: https://u:p@h/x?y=z\nb: \"n\\x40m\"\nname: c\u{7}\n";
        let mut source = Source::new("f", text);
        assert_eq!(source.shown(0, 3).0, "** *******    \nurl: *******************\n** ********\nname: **\n");
        source.set_parsed();
        assert_eq!(source.shown(3, 3).0, "***** **\n");
        for (part, value) in
            [("a", "a"), ("https://u:p@h/x?y=z", "https://u:p@h/x?y=z"), ("\"n\\x40m\"", "n@m"), ("url", "url")]
        {
            let start = text.find(part).unwrap();
            source.show(Span::new(start..start + part.len()), value);
        }
        assert_eq!(source.shown(0, 2).0, "a: *******    \nurl: https://***@h/x?***\n** ********\n");
        assert_eq!(source.shown(1, 1).1, text.find("url").unwrap());
    }
}
