//! [`PlanText`]: `plan.json` as it is written, with the part that many nodes have written once.

use crate::{
    file::FileEntry,
    hash::{Hashing, Sha256},
    json,
    plan::{ClassSpec, Identity, NodeSpec, PLAN_VERSION, PlanError},
};
use serde::Serialize;
use std::ops::Range;

/// The part of `plan.json` that all nodes of a class have, which is its beginning: the class itself, and the files whose
/// contents are the same on all of them.
#[derive(Debug, Clone)]
pub struct ClassText {
    text: Vec<u8>,
    /// A digest that begins with it.
    hashing: Hashing,
    sha256: Sha256,
    has_files: bool,
}

impl ClassText {
    /// That of `class` and `files`.
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn new(class: &ClassSpec, files: &[FileEntry]) -> Result<Self, PlanError> {
        let mut text = Vec::with_capacity(4096 + 200 * files.len());
        text.extend_from_slice(format!("{{\n  \"version\": {PLAN_VERSION},\n  \"class\": ").as_bytes());
        append(&mut text, class, 1)?;
        text.extend_from_slice(b",\n  \"files\": [");
        list(&mut text, files, true)?;
        let mut hashing = Hashing::default();
        hashing.add(&text);
        Ok(Self { text, sha256: hashing.clone().digest(), hashing, has_files: !files.is_empty() })
    }

    /// Digest of the text.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

/// The bytes of `plan.json`: JSON in field order, a line for each part and file, the same for the same plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanText {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub sha256: Sha256,
    /// Where the class's part lies in them.
    pub class: Range<usize>,
}

impl PlanText {
    /// That of the [`crate::NodePlan`] of these parts, whose files are those of the class and then `own`.
    ///
    /// # Errors
    /// None in practice: all keys are strings.
    pub fn new(identity: &Identity, spec: &NodeSpec, class: &ClassText, own: &[FileEntry]) -> Result<Self, PlanError> {
        let mut bytes = Vec::with_capacity(1024 + class.text.len() + 300 * own.len());
        bytes.extend_from_slice(&class.text);
        list(&mut bytes, own, !class.has_files)?;
        let has_files = class.has_files || !own.is_empty();
        bytes.extend_from_slice(if has_files { b"\n  ],\n  \"identity\": " } else { b"],\n  \"identity\": " });
        append(&mut bytes, identity, 1)?;
        bytes.extend_from_slice(b",\n  \"spec\": ");
        append(&mut bytes, spec, 1)?;
        bytes.extend_from_slice(b"\n}\n");
        let class_part = 0..class.text.len();
        // The class's part was hashed once for all its nodes.
        let mut hashing = class.hashing.clone();
        hashing.add(&bytes[class_part.end..]);
        Ok(Self { bytes, sha256: hashing.digest(), class: class_part })
    }
}

/// The entries of a list, a line each; the first is the list's first if `first`.
fn list(out: &mut Vec<u8>, entries: &[FileEntry], first: bool) -> Result<(), PlanError> {
    for (index, entry) in entries.iter().enumerate() {
        let separator: &[u8] = if first && index == 0 { b"\n    " } else { b",\n    " };
        out.extend_from_slice(separator);
        append(out, entry, 2)?;
    }
    Ok(())
}

fn append(out: &mut Vec<u8>, value: &impl Serialize, depth: usize) -> Result<(), PlanError> {
    json::append(out, value, depth).map_err(PlanError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NodePlan;
    use serde_json::json;

    /// What is put together by hand is what serde makes of a plan, wherever the class's files end.
    #[test]
    fn the_text_is_the_plans() {
        let file = |path: &str| json!({"path": path, "mode": "0644", "sha256": Sha256::of(b""), "kind": "laid"});
        for files in [vec![], vec!["/a"], vec!["/a", "/c", "/b"]] {
            let files: Vec<_> = files.into_iter().map(file).collect();
            let plan: NodePlan = serde_json::from_value(json!({
                "version": PLAN_VERSION,
                "identity": {"generation": 1, "etcdDigest": Sha256::of(b"etcd"), "notBefore": 1, "bootBefore": 2},
                "spec": {"cluster": "lab", "node": "n1", "role": "worker", "kubernetesVersion": "v1.36.3", "addresses": []},
                "class": {
                    "preflight": {"ports": [1], "programs": [], "runtimeEndpoint": "unix:///run/x", "ipv4": true, "ipv6": false},
                    "kernel": {"modules": [], "sysctls": [], "swap": false},
                    "directories": [],
                    "kubelet": {
                        "unit": "kubelet.service", "binary": "/usr/bin/kubelet", "after": [], "healthz": "x",
                        "rootDir": "/r", "staticPods": "/m", "ca": "/ca.crt", "clientCertificate": "/c.pem"
                    },
                    "timeouts": {
                        "controlPlaneComponentHealthCheck": 1, "kubeletHealthCheck": 1, "kubernetesApiCall": 1,
                        "etcdApiCall": 1, "tlsBootstrap": 1
                    },
                    "finalize": {"scrub": [], "touch": [], "beyondReach": []}
                },
                "files": files
            }))
            .unwrap();
            let mut whole = Vec::new();
            json::to_writer(&mut whole, &plan).unwrap();
            assert_eq!(plan.to_vec().unwrap(), whole);
            assert_eq!(NodePlan::from_slice(&whole).unwrap(), plan);
            for end in 0..=plan.files.len() {
                let (common, own) = plan.files.split_at(end);
                let class = ClassText::new(&plan.class, common).unwrap();
                let text = PlanText::new(&plan.identity, &plan.spec, &class, own).unwrap();
                assert_eq!(text.bytes, whole, "{end}");
                assert_eq!(text.sha256, Sha256::of(&whole));
                assert_eq!(Sha256::of(&text.bytes[text.class]), class.sha256());
            }
        }
    }
}
