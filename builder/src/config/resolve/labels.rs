//! Labels and taints.

use super::Cx;
use crate::config::{code, diag::Finding, raw::List, read::Field, shown::short, values::Named};
use nodekiln_plan::{Role, Taint, TaintError};
use std::collections::BTreeMap;

impl Cx<'_, '_> {
    pub(super) fn labels(&mut self, field: &Field<Named<String>>) -> BTreeMap<String, String> {
        const KUBELET: [&str; 3] = ["kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"];
        let mut labels = BTreeMap::new();
        for (key, value) in field.get().into_iter().flat_map(|map| &map.value.0) {
            if let Err(why) = qualified_name(&key.value) {
                let finding = Finding::new(code::LABEL, format!("`{}` is no label's name: {why}", short(&key.value)));
                self.found.error_at(&key.place, finding);
            } else if KUBELET.contains(&key.value.as_str()) {
                let finding = Finding::new(code::LABEL, format!("the kubelet sets `{}` itself", short(&key.value)));
                self.found.error_at(&key.place, finding);
            } else if let Err(why) = label_value(&value.value) {
                let finding =
                    Finding::new(code::LABEL, format!("`{}` is no label's value: {why}", short(&value.value)));
                self.found.error_at(&value.place, finding);
            } else {
                labels.insert(key.value.clone(), value.value.clone());
            }
        }
        labels
    }

    pub(super) fn taints(&mut self, field: &Field<List<String>>, role: Option<Role>) -> Vec<Taint> {
        let Some(list) = field.get() else {
            let default = "node-role.kubernetes.io/control-plane:NoSchedule".parse();
            return if role == Some(Role::ControlPlane) { default.into_iter().collect() } else { Vec::new() };
        };
        let mut taints: Vec<Taint> = Vec::new();
        let mut seen = BTreeMap::new();
        for text in &list.value {
            let taint = match text.value.parse::<Taint>() {
                Ok(taint) => taint,
                Err(e) => {
                    let e = match e {
                        TaintError::Effect(effect) => TaintError::Effect(short(&effect)),
                        e @ TaintError::Syntax => e,
                    };
                    let finding = Finding::new(code::TAINT, format!("`{}` is no taint: {e}", short(&text.value)));
                    self.found.error_at(&text.place, finding);
                    continue;
                }
            };
            let fault = qualified_name(&taint.key).err().or_else(|| label_value(&taint.value).err());
            if let Some(why) = fault {
                let finding = Finding::new(code::TAINT, format!("`{}` is no taint: {why}", short(&text.value)));
                self.found.error_at(&text.place, finding);
                continue;
            }
            if self.once(&mut seen, (taint.key.clone(), taint.effect), &text.place, "a taint of this key and effect") {
                taints.push(taint);
            }
        }
        taints.shrink_to_fit();
        taints
    }
}

/// A qualified name of Kubernetes: `[prefix/]name`.
fn qualified_name(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            prefix.parse::<nodekiln_plan::DnsName>().map_err(|e| format!("its prefix is none ({e})"))?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    name_part(name)
}

/// A label's value: as a name, or empty.
fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { name_part(text) }
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`, at most 63 characters.
fn name_part(text: &str) -> Result<(), String> {
    if text.chars().count() > 63 {
        return Err("more than 63 characters".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        return Err(format!("it contains {c:?}"));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(text.chars().next()) || !edge(text.chars().last()) {
        return Err("it has to start and end with a letter or digit".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes() {
        for good in ["a", "a.b/c", "node-role.kubernetes.io/edge", "A_b.c-d", "1"] {
            assert_eq!(qualified_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/", "/a", "A.b/c", "a/b/c", "-a", "a-", "a b", "é", &"a".repeat(64)] {
            assert!(qualified_name(bad).is_err(), "{bad}");
        }
        assert!(label_value("").is_ok() && label_value("rack-1").is_ok() && label_value("a/b").is_err());
    }
}
