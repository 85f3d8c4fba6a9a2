//! A draft as text: the form that goldens keep and `diff` compares.

use super::{Contents, DraftStep, Leaf, LeafForm, NodeDraft, Part, Shared};
use nodekiln_payload::Verification;
use nodekiln_plan::{ApiStep, FileKind, Sha256};
use std::fmt::Write as _;

/// Texts longer than this are given by digest: programs, not configuration.
const LONG: usize = 64 * 1024;

/// All of a draft as text, the same for the same draft. Keys stand as `<...>`: there are none yet.
///
/// Contents of `os.files`, snippets and passwords are shown as digests, since they may be secret.
pub fn render(draft: &NodeDraft) -> String {
    let mut out = String::new();
    let class = &draft.class;
    let spec = serde_json::to_string_pretty(&draft.spec).unwrap_or_default();
    let _ = writeln!(out, "=== spec\n{spec}");
    let spec = serde_json::to_string_pretty(&class.spec).unwrap_or_default();
    let _ = writeln!(out, "=== class\n{spec}");
    for file in draft.all_files() {
        let kind = match file.kind {
            FileKind::Laid => "laid",
            FileKind::Staged => "staged",
            FileKind::Decided => "decided",
            FileKind::Seed => "seed",
            FileKind::Credential => "credential",
        };
        let _ = writeln!(out, "=== file {} {} {kind}", file.path, file.mode);
        line(&mut out, &contents(&file.contents));
    }
    for link in &draft.links {
        let _ = writeln!(out, "=== link {} -> {}", link.path, link.target);
    }
    for unit in draft.all_units() {
        let _ = writeln!(out, "=== unit {} {}", unit.name, format!("{:?}", unit.state).to_lowercase());
        if let Some(text) = &unit.contents {
            line(&mut out, text);
        }
        for dropin in &unit.dropins {
            let _ = writeln!(out, "=== drop-in {} of {}", dropin.name, unit.name);
            line(&mut out, &dropin.contents);
        }
    }
    for account in &class.accounts {
        let password = if account.password_hash.is_some() { ", with password" } else { "" };
        let _ = writeln!(out, "=== account {} in {}{password}", account.name, account.groups.join(", "));
        for key in &account.ssh_authorized_keys {
            line(&mut out, key);
        }
    }
    for fetch in &class.fetches {
        let hash = match &fetch.verification {
            Verification::Sha256(hash) => format!("sha256-{hash}"),
            Verification::Sha512(hash) => format!("sha512-{hash}"),
        };
        let _ = writeln!(out, "=== fetch {} {}\n{}\n{hash}", fetch.into.path, fetch.into.mode, fetch.url);
    }
    if let Some(ca) = &class.fetch_ca {
        let _ = writeln!(out, "=== authorities for fetches");
        line(&mut out, &String::from_utf8_lossy(ca));
    }
    if let Some(network) = &draft.network {
        let _ = writeln!(out, "=== network\n{network:?}");
    }
    if !class.time_servers.is_empty() {
        let _ = writeln!(out, "=== time servers\n{}", class.time_servers.join(" "));
    }
    for snippet in &class.snippets {
        let _ = writeln!(out, "=== snippet <sha256 {}>\n{}", snippet.sha256(), snippet.summary().join("\n"));
    }
    for blob in &class.blobs {
        let _ = writeln!(out, "=== blob {} {} bytes", blob.sha256, blob.bytes.len());
    }
    for step in &draft.api {
        let _ = writeln!(out, "=== api");
        let text = match step {
            DraftStep::Step(step) => serde_json::to_string_pretty(&without_secrets(step)).unwrap_or_default(),
            DraftStep::Template(parts) => template(parts),
        };
        line(&mut out, &text);
    }
    out
}

/// A Secret of the user's by digest: drafts are shown and compared, never kept secret.
fn without_secrets(step: &ApiStep) -> ApiStep {
    match step {
        ApiStep::Apply(object) if object["kind"] == "Secret" => {
            let mut object = object.clone();
            for key in ["data", "stringData"] {
                if let Some(values) = object.get_mut(key) {
                    *values = digest(values.to_string().as_bytes()).into();
                }
            }
            // kubectl keeps what it applied there.
            if let Some(annotations) = object.pointer_mut("/metadata/annotations") {
                *annotations = digest(annotations.to_string().as_bytes()).into();
            }
            ApiStep::Apply(object)
        }
        step => step.clone(),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    if !text.is_empty() && !text.ends_with('\n') {
        out.push('\n');
    }
}

fn contents(contents: &Contents) -> String {
    match contents {
        Contents::Text(text) if text.as_str().len() <= LONG => text.as_str().to_owned(),
        Contents::Text(text) => digested(text.as_str().len(), &text.sha256),
        Contents::Bytes(blob) => digested(blob.bytes.len(), &blob.sha256),
        Contents::Template(parts) => template(parts),
        Contents::Shared(shared) => format!("<{}>", value(*shared)),
        Contents::Leaf(leaf, form) => format!("<{}>", name(leaf, *form)),
    }
}

fn digest(bytes: &[u8]) -> String {
    digested(bytes.len(), &Sha256::of(bytes))
}

fn digested(length: usize, sha256: &Sha256) -> String {
    format!("<{length} bytes, sha256 {sha256}>")
}

fn template(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        let _ = match part {
            Part::Text(piece) => write!(text, "{piece}"),
            Part::Base64(shared) => write!(text, "<base64 {}>", value(*shared)),
            Part::LeafBase64(leaf, form) => write!(text, "<base64 {}>", name(leaf, *form)),
            Part::Token(name, form) => write!(text, "<token {form:?} of {name}>"),
            Part::TokenBase64(name, form) => write!(text, "<base64 token {form:?} of {name}>"),
        };
    }
    text
}

fn value(shared: Shared) -> String {
    match shared {
        Shared::EncryptionKey(0) => "EncryptionKey".to_owned(),
        Shared::EncryptionKey(index) => format!("EncryptionKey {}", index + 1),
        other => format!("{other:?}"),
    }
}

fn name(leaf: &Leaf, form: LeafForm) -> String {
    let form = match form {
        LeafForm::Certificate => "certificate",
        LeafForm::Key => "key",
        LeafForm::Both => "certificate and key",
    };
    let node = leaf.node.as_ref().map(|node| format!(" of {node}")).unwrap_or_default();
    let sans: Vec<_> = leaf.sans.iter().map(ToString::to_string).collect();
    let sans = if sans.is_empty() || form == "key" { String::new() } else { format!(" for {}", sans.join(" ")) };
    format!("{:?} {form}{node}{sans}", leaf.row)
}
