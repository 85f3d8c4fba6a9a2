//! A sound file, changes of it, and the findings with code, path and place that they have to give.

use super::*;

const BASE: &str = "\
apiVersion: nodekiln/v1alpha1
kind: Cluster
kubernetesVersion: v1.36.3
networking: {podSubnet: 10.244.0.0/16}
os: {profile: flatcar}
nodes:
  - name: a
    role: control-plane
    address: 192.0.2.1
";

/// A worker, to be appended first: it continues `nodes`.
const WORKER: &str = "  - {name: w, role: worker, address: 192.0.2.9}\n";

/// Replaces the first `from` of BASE by `to`; without `from`, appends.
fn edited(from: &str, to: &str) -> String {
    match from {
        "" => format!("{BASE}{to}"),
        "WORKER" => format!("{BASE}{WORKER}{to}"),
        from => {
            assert!(BASE.contains(from), "{from}");
            BASE.replacen(from, to, 1)
        }
    }
}

/// Findings as `CODE path line:column`, warnings marked.
pub(super) fn findings(text: &str) -> Vec<String> {
    let found = match load_str("cluster.yaml", text, None) {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Findings(found)) => {
            assert!(found.has_errors());
            found
        }
        Err(e) => panic!("{e}"),
    };
    // Whatever is found can be shown.
    assert!(found.is_empty() || found.to_string().contains("cluster.yaml"));
    let mark = |d: &Diagnostic| if d.severity == Severity::Warning { "warning " } else { "" };
    found.iter().map(|d| format!("{}{} {} {}:{}", mark(d), d.code, d.path, d.line, d.column)).collect()
}

pub(super) fn table(rows: &[(&str, &str, &[&str])]) {
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let found = findings(&edited(from, to));
        if found != *expected {
            wrong.push_str(&format!("{from:?} -> {to:?}\n  found {found:?}\n  due   {expected:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn base_is_sound() {
    assert_eq!(findings(BASE), Vec::<String>::new());
    assert_eq!(findings(&edited("WORKER", "")), Vec::<String>::new());
}
