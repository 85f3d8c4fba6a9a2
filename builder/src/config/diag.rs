//! [`Diagnostics`]: all findings about one input, with where and what to do about it.

use super::{
    code::{self, Code},
    shown::clean,
    source::{Source, Span},
};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc};

mod render;

pub use render::Colors;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is built.
    Error,
    /// Built as told.
    Warning,
}

/// A place in the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// Bytes in the file.
    #[serde(serialize_with = "span_as_pair")]
    pub span: Span,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is there.
    pub label: String,
}

fn span_as_pair<S: serde::Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    [span.start, span.end].serialize(serializer)
}

/// A finding. Its JSON form is the element of `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable number of the rule.
    pub code: Code,
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes in the file.
    #[serde(serialize_with = "span_as_pair")]
    pub span: Span,
    /// Where in the document, such as `nodes[1].address`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Another place that has to do with it, in the same file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Spot>,
    /// Which of the sources it is about.
    #[serde(skip)]
    source: usize,
}

/// Where something stands in the input, for findings that later stages make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Bytes in the file.
    pub span: Span,
    /// Path in the document.
    pub path: String,
}

/// A finding before it is placed: what is wrong and what helps.
#[derive(Debug, Clone)]
pub struct Finding {
    code: Code,
    message: String,
    hint: Option<String>,
    second: Option<(Span, String)>,
}

impl Finding {
    /// What is wrong, by the rule `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, second: None }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With more words to its message.
    #[must_use]
    pub fn and(mut self, words: &str) -> Self {
        self.message = format!("{}; {words}", self.message);
        self
    }

    /// Another place that has to do with it.
    #[must_use]
    pub fn second(mut self, span: Span, label: impl Into<String>) -> Self {
        self.second = Some((span, label.into()));
        self
    }
}

/// At most this many findings of a severity are kept: nobody reads more, and a hostile file could make millions.
const MAX_FINDINGS: usize = 1000;

/// All findings about one input and the files that it names, in the order of the files.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    source: Arc<Source>,
    /// Files that the input names and that have findings of their own, by name: sources 1 and up.
    others: Vec<Arc<Source>>,
    list: Vec<Diagnostic>,
    seen: BTreeSet<(Severity, Span, Code, String)>,
    kept: [usize; 2],
    dropped: usize,
    told: usize,
}

impl Diagnostics {
    /// No findings about `source`.
    pub fn new(source: Source) -> Self {
        Self {
            source: Arc::new(source),
            others: Vec::new(),
            list: Vec::new(),
            seen: BTreeSet::new(),
            kept: [0; 2],
            dropped: 0,
            told: 0,
        }
    }

    /// Takes over what was found in a file that this input names.
    pub(super) fn absorb(&mut self, other: Diagnostics) {
        self.dropped += other.dropped;
        if other.list.is_empty() {
            return;
        }
        self.others.push(other.source);
        let source = self.others.len();
        for diagnostic in other.list {
            let kept = &mut self.kept[usize::from(diagnostic.severity == Severity::Error)];
            if *kept >= MAX_FINDINGS {
                self.dropped += 1;
                continue;
            }
            *kept += 1;
            self.list.push(Diagnostic { source, ..diagnostic });
        }
    }

    /// The input.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// See [`Source::set_parsed`].
    pub(super) fn set_parsed(&mut self) {
        Arc::make_mut(&mut self.source).set_parsed();
    }

    /// See [`Source::show`].
    pub(super) fn show(&mut self, span: Span, value: &str) {
        Arc::make_mut(&mut self.source).show(span, value);
    }

    /// Adds an error.
    pub fn error(&mut self, origin: &Origin, finding: Finding) {
        self.push(Severity::Error, origin.span, &origin.path, finding);
    }

    /// Adds a warning.
    pub fn warning(&mut self, origin: &Origin, finding: Finding) {
        self.push(Severity::Warning, origin.span, &origin.path, finding);
    }

    /// Whether another error would be kept: if not, its hint need not be worked out.
    pub(super) fn has_room(&self) -> bool {
        self.kept[usize::from(true)] < MAX_FINDINGS
    }

    /// How often anything was told up to now, said before or not.
    pub(super) fn told(&self) -> usize {
        self.told
    }

    pub(super) fn push(&mut self, severity: Severity, span: Span, path: &str, finding: Finding) {
        self.told += 1;
        let message = clean(&finding.message);
        let key = (severity, span, finding.code, message.clone());
        if !self.seen.insert(key.clone()) {
            // A value that many nodes share, by an alias or from the cluster's own: said once.
            return;
        }
        // Counted by severity: warnings must not push out the error that stops the build.
        let kept = &mut self.kept[usize::from(severity == Severity::Error)];
        if *kept >= MAX_FINDINGS {
            self.seen.remove(&key);
            self.dropped += 1;
            return;
        }
        *kept += 1;
        let position = self.source.position(span.range().start);
        let second = finding.second.map(|(span, label)| {
            let position = self.source.position(span.range().start);
            Spot { span, line: position.line, column: position.column, label: clean(&label) }
        });
        self.list.push(Diagnostic {
            severity,
            code: finding.code,
            file: self.source.name().to_owned(),
            line: position.line,
            column: position.column,
            span,
            path: clean(path),
            message,
            hint: finding.hint.as_deref().or(code::hint(finding.code)).map(clean),
            second,
            source: 0,
        });
    }

    /// Brings the findings into the order of the files, this input's first.
    pub fn sort(&mut self) {
        let file = |d: &Diagnostic| (d.source > 0).then(|| d.file.clone());
        self.list.sort_by(|a, b| {
            let rest = |d: &Diagnostic| (d.span, d.code);
            (file(a), rest(a), &a.message, &a.path).cmp(&(file(b), rest(b), &b.message, &b.path))
        });
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many errors and warnings there are.
    pub fn count(&self) -> (usize, usize) {
        let errors = self.list.iter().filter(|d| d.severity == Severity::Error).count();
        (errors, self.list.len() - errors)
    }
}

/// What helps where there is nothing.
pub(super) const EMPTY: &str = "`nodekiln init` writes a cluster.yaml to start from";

impl Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::code;

    fn sample() -> Diagnostics {
        let text = "networking:\n  podSubnet: 10.96.0.0/14   # é comment\n  serviceSubnet: \"10.96.0.0/12\"\n";
        let mut diagnostics = Diagnostics::new(Source::new("cluster.yaml", text));
        let at = |needle: &str| {
            let start = text.find(needle).unwrap();
            Span::new(start..start + needle.len())
        };
        diagnostics.set_parsed();
        for part in ["podSubnet", "10.96.0.0/14", "serviceSubnet", "\"10.96.0.0/12\""] {
            diagnostics.show(at(part), part);
        }
        let origin = Origin { span: at("\"10.96.0.0/12\""), path: "networking.serviceSubnet".into() };
        let finding = Finding::new(code::OVERLAP, "the networks overlap")
            .second(at("10.96.0.0/14"), "lies inside it")
            .hint("choose disjoint networks");
        diagnostics.error(&origin, finding);
        diagnostics
    }

    #[test]
    fn looks_like_rustc() {
        let expected = "\
error[NK0402]: the networks overlap
 --> cluster.yaml:3:18
  |
2 |   podSubnet: 10.96.0.0/14
  |              ------------ lies inside it
3 |   serviceSubnet: \"10.96.0.0/12\"
  |                  ^^^^^^^^^^^^^^ networking.serviceSubnet
  |
  = help: choose disjoint networks

";
        assert_eq!(sample().to_string(), expected);
        assert!(sample().render(Colors::On).contains('\u{1b}'));
    }

    #[test]
    fn json_shape() {
        let json = serde_json::to_value(sample()).unwrap();
        assert_eq!(json[0]["code"], "NK0402");
        assert_eq!(json[0]["severity"], "error");
        assert_eq!(json[0]["line"], 3);
        assert_eq!(json[0]["column"], 18);
        assert_eq!(json[0]["path"], "networking.serviceSubnet");
        assert_eq!(json[0]["second"]["line"], 2);
        assert!(json[0]["span"].is_array());
    }

    #[test]
    fn any_span_renders() {
        let mut diagnostics = Diagnostics::new(Source::new("f", "a: é\n"));
        for (start, end) in [(0, 0), (4, 5), (5, 4), (6, 6), (90, 99)] {
            let origin = Origin { span: Span { start, end }, path: String::new() };
            diagnostics.error(&origin, Finding::new(code::SYNTAX, "x").second(Span { start: end, end: start }, "y"));
        }
        assert!(!diagnostics.to_string().is_empty());
        let mut empty = Diagnostics::new(Source::new("f", ""));
        empty.error(&Origin::default(), Finding::new(code::SYNTAX, "x"));
        assert!(empty.to_string().contains("f:1:1"), "{empty}");
    }
}
