//! Findings as text for people.

use super::{Diagnostic, Diagnostics, Severity};
use crate::config::source::Source;
use annotate_snippets::{AnnotationKind, Element, Level, Renderer, Snippet};
use std::{fmt, ops::Range};

/// Whether rendered findings have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Plain text.
    Off,
    /// ANSI escapes.
    On,
}

/// Two places up to this many lines apart are shown in one snippet.
const SNIPPET_LINES: usize = 200;
/// Longer lines are not shown.
const SNIPPET_BYTES: usize = 32 << 10;

impl Diagnostics {
    /// All findings as text for people, each followed by an empty line.
    pub fn render(&self, colors: Colors) -> String {
        let renderer = match colors {
            Colors::Off => Renderer::plain(),
            Colors::On => Renderer::styled(),
        };
        let mut text = String::new();
        for diagnostic in &self.list {
            text.push_str(&self.render_one(&renderer, diagnostic));
            text.push_str("\n\n");
        }
        if self.dropped > 0 {
            text.push_str(&format!("and {} more findings\n", self.dropped));
        }
        text
    }

    /// The file that `diagnostic` is about.
    fn source_of(&self, diagnostic: &Diagnostic) -> &Source {
        match diagnostic.source.checked_sub(1) {
            Some(index) => self.others.get(index).unwrap_or(&self.source),
            None => &self.source,
        }
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let code = diagnostic.code.to_string();
        let title = level.primary_title(diagnostic.message.clone()).id(code);
        let source = self.source_of(diagnostic);
        let first = source.head(diagnostic.span);
        let path = (!diagnostic.path.is_empty()).then(|| diagnostic.path.clone());
        let mut elements: Vec<Element<'_>> = Vec::new();
        match &diagnostic.second {
            None => elements.push(excerpt(source, &[(first, AnnotationKind::Primary, path)])),
            Some(spot) => {
                let other = source.head(spot.span);
                let apart = source.line_of(first.start).abs_diff(source.line_of(other.start));
                let first = (first, AnnotationKind::Primary, path);
                let other = (other, AnnotationKind::Context, Some(spot.label.clone()));
                if apart <= SNIPPET_LINES {
                    elements.push(excerpt(source, &[first, other]));
                } else {
                    elements.push(excerpt(source, &[first]));
                    elements.push(excerpt(source, &[other]));
                }
            }
        }
        if let Some(hint) = &diagnostic.hint {
            elements.push(Level::HELP.message(hint.clone()).into());
        }
        // Comments have become blanks.
        let text = renderer.render(&[title.elements(elements)]);
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// The lines of `marks` with the marks under them; only the position where that would be without end.
fn excerpt<'a>(source: &'a Source, marks: &[Mark]) -> Element<'a> {
    let lines = || marks.iter().map(|(range, ..)| source.line_of(range.start));
    let (from, to) = (lines().min().unwrap_or(0), lines().max().unwrap_or(0));
    if source.extent(from, to) > SNIPPET_BYTES {
        let position = source.position(marks.first().map_or(0, |(range, ..)| range.start));
        let origin = annotate_snippets::Origin::path(source.name());
        return origin.line(position.line).char_column(position.column).into();
    }
    let (text, offset) = source.shown(from, to);
    let mut snippet = Snippet::source(text).line_start(from + 1).path(source.name()).fold(true);
    for (range, kind, label) in marks {
        let annotation = kind.span(range.start - offset..range.end - offset);
        snippet = snippet.annotation(annotation.label(label.clone()));
    }
    snippet.into()
}

/// What is underlined, how, and the words beside it.
type Mark = (Range<usize>, AnnotationKind, Option<String>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colors::Off))
    }
}
