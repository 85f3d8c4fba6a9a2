//! What is known of a file's contents on one side, and whether that can be the other side's: a draft knows no key.

use crate::{
    draft::{Leaf, LeafForm, Part},
    inspect::{certificate::Certificate, date, material},
    pki::certificate::BACKDATE,
};
use nodekiln_plan::{NodeName, Secret};

/// What is known of a file's contents.
#[doc(hidden)]
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Known(Secret),
    /// What stands between the parts that need keys; each is some letters of base64 or of a token.
    Pattern(Vec<Part>),
    /// A value of the secrets: unknown, and taken to be the same.
    Key,
    /// What a certificate will say, and its life in seconds.
    Leaf(Leaf, LeafForm, i64),
}

impl Body {
    /// The contents, where they are known and text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Body::Known(bytes) => std::str::from_utf8(bytes.expose()).ok(),
            Body::Pattern(_) | Body::Key | Body::Leaf(..) => None,
        }
    }

    /// Whether the two are the same, as far as can be told.
    pub(super) fn is_same(&self, other: &Body) -> bool {
        match (self, other) {
            (Body::Known(a), Body::Known(b)) => a == b,
            (Body::Known(bytes), Body::Pattern(parts)) | (Body::Pattern(parts), Body::Known(bytes)) => {
                matches(parts, bytes.expose())
            }
            (Body::Known(bytes), Body::Leaf(leaf, form, life)) | (Body::Leaf(leaf, form, life), Body::Known(bytes)) => {
                says(bytes.expose(), leaf, *form, *life)
            }
            (Body::Pattern(a), Body::Pattern(b)) => a == b,
            (Body::Leaf(a, form_a, life_a), Body::Leaf(b, form_b, life_b)) => {
                (a, form_a, life_a) == (b, form_b, life_b)
            }
            (Body::Key, _) | (_, Body::Key) => true,
            (Body::Pattern(_), Body::Leaf(..)) | (Body::Leaf(..), Body::Pattern(_)) => false,
        }
    }

    /// What can be said of the difference without telling what is in it.
    pub(super) fn note(path: &str, old: &Body, new: &Body) -> Option<String> {
        let first = |body: &Body| match body {
            Body::Known(bytes) => material::of_file(path, bytes.expose()).certificates.into_iter().find(|c| !c.is_ca),
            _ => None,
        };
        let mut said = Vec::new();
        let (before, after_names) = match (first(old), new) {
            (Some(before), Body::Leaf(leaf, ..)) => (before, names(leaf)),
            (Some(before), _) => {
                let after = first(new)?;
                if after.not_after != before.not_after {
                    said.push(format!("ends {} instead of {}", date(after.not_after), date(before.not_after)));
                }
                if after.spki != before.spki {
                    said.push("another key".to_owned());
                }
                (before, sorted(&after))
            }
            (None, _) => return None,
        };
        let known = sorted(&before);
        let only = |a: &[String], b: &[String]| a.iter().filter(|name| !b.contains(name)).cloned().collect::<Vec<_>>();
        let (more, less) = (only(&after_names, &known), only(&known, &after_names));
        if !more.is_empty() {
            said.push(format!("also for {}", more.join(" ")));
        }
        if !less.is_empty() {
            said.push(format!("no longer for {}", less.join(" ")));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

fn sorted(certificate: &Certificate) -> Vec<String> {
    let mut names = certificate.sans.clone();
    names.sort();
    names
}

fn names(leaf: &Leaf) -> Vec<String> {
    let mut names: Vec<String> = leaf.sans.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

/// Whether the bytes are what `parts` may become: their texts in order, between them letters of base64 or of a token.
fn matches(parts: &[Part], bytes: &[u8]) -> bool {
    let Ok(mut rest) = std::str::from_utf8(bytes) else { return false };
    let filling = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=.:-".contains(&b));
    let mut open = false;
    for part in parts {
        let Part::Text(text) = part else {
            open = true;
            continue;
        };
        let found = if open { rest.find(text.as_str()) } else { rest.starts_with(text.as_str()).then_some(0) };
        let Some(start) = found.filter(|start| filling(&rest[..*start])) else { return false };
        rest = &rest[start + text.len()..];
        open = false;
    }
    if open { filling(rest) } else { rest.is_empty() }
}

/// Whether the file holds the certificate that `leaf` describes.
fn says(bytes: &[u8], leaf: &Leaf, form: LeafForm, life: i64) -> bool {
    if form == LeafForm::Key {
        return true;
    }
    let found = material::of_file("", bytes).certificates;
    let Some(certificate) = found.first() else { return false };
    let row = crate::pki::table::spec(leaf.row);
    let node = leaf.node.as_ref().map(NodeName::as_str).unwrap_or_default();
    // Members' two certificates say the same: the path is not asked.
    let is_row = certificate.row(row.issuer, node).is_some_and(|found| {
        (found.common_name, found.organization, found.usage) == (row.common_name, row.organization, row.usage)
    });
    if !certificate.is_made_here() {
        // Somebody else says how long it lives; more names than were asked for are fine.
        return is_row && names(leaf).iter().all(|name| certificate.sans.contains(name));
    }
    let lived = certificate.not_after - certificate.not_before - BACKDATE;
    is_row && sorted(certificate) == names(leaf) && lived == life
}
