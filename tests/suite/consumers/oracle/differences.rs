//! Where we differ from kubeadm on purpose, and why: `differences.yaml`.

use super::document::parse;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// A difference that is meant. `*` in a text stands for anything; `-` as a value, for nothing there.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    /// Its reason, which is what it is called by.
    pub why: String,
    /// In these cases it has to occur; in all, if there are none.
    pub cases: Vec<String>,
    /// In which document.
    pub document: String,
    /// Where in it; empty for all of it.
    pub path: String,
    /// kubeadm's value.
    pub kubeadm: String,
    /// Ours.
    pub ours: String,
}

impl Difference {
    /// Whether it belongs to this case.
    pub fn is_of(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }

    /// Whether it is the one that was found.
    pub fn covers(&self, case: &str, document: &str, path: &str, kubeadm: &str, ours: &str) -> bool {
        self.is_of(case)
            && glob(&self.document, document)
            && glob(&self.path, path)
            && like(&self.kubeadm, kubeadm)
            && like(&self.ours, ours)
    }

    /// What messages say of it.
    pub fn title(&self) -> String {
        format!("{} {}: {}", self.document, self.path, self.why)
    }
}

/// The list: groups with a reason, in each of them rows of document, path, kubeadm's value and ours.
pub fn all() -> Result<Vec<Difference>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/consumers/oracle/differences.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut all = Vec::new();
    for group in parse(&text)?.as_array().context("a list of groups")? {
        let why = group["why"].as_str().context("a reason")?;
        ensure!(why.len() > 20, "`{why}` is no reason");
        let cases = group["cases"].as_array().into_iter().flatten().map(text_of).collect::<Result<Vec<_>>>()?;
        for row in group["rows"].as_array().context("rows")? {
            let row = row.as_array().with_context(|| format!("{row} is no row"))?;
            let fields = row.iter().map(text_of).collect::<Result<Vec<_>>>()?;
            let [document, path, kubeadm, ours] = <[String; 4]>::try_from(fields)
                .map_err(|fields| anyhow::anyhow!("{fields:?}: a row has four texts"))?;
            all.push(Difference { why: why.to_owned(), cases: cases.clone(), document, path, kubeadm, ours });
        }
    }
    let titles: BTreeSet<_> = all.iter().map(Difference::title).collect();
    ensure!(titles.len() == all.len() || all.iter().any(|entry| !entry.cases.is_empty()), "a row stands twice");
    Ok(all)
}

fn text_of(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

/// Whether `pattern` stands for `text`. A lone `*` stands for a value that is there.
fn like(pattern: &str, text: &str) -> bool {
    if pattern == "*" { text != "-" } else { glob(pattern, text) }
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| glob(rest, &text[at..]))
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("*", "a", true),
        ("*", "-", false),
        ("a*", "abc", true),
        ("a*", "a", true),
        ("*c", "abc", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false),
        ("-", "-", true),
    ] {
        assert_eq!(like(pattern, text), expected, "{pattern} {text}");
    }
}
