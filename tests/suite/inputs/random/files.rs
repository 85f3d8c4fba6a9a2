//! The folder beside a random cluster.yaml: all files that it may name.

use anyhow::{Context as _, Result};
use nodekiln::config::examples;
use nodekiln_tests::made::{Made, final_files};
use std::{fs, path::Path, sync::LazyLock};
use tempfile::TempDir;

/// CA, certificate and key for an etcd that somebody else runs: those of another cluster.
static ETCD: LazyLock<[(&str, Vec<u8>); 3]> = LazyLock::new(|| {
    let made = Made::of(examples::ALL[0].text, None).unwrap();
    let files = final_files(&made.filled(&made.cluster.nodes[0]).unwrap());
    let file = |name: &str| files[&format!("/etc/kubernetes/pki/{name}")].1.clone();
    [
        ("etcd/ca.crt", file("etcd/ca.crt")),
        ("etcd/client.crt", file("apiserver-etcd-client.crt")),
        ("etcd/client.key", file("apiserver-etcd-client.key")),
    ]
});

/// Files that edits change the content of.
pub const CHANGEABLE: [&str; 5] = ["snippets/a.ign", "snippets/a.cfg", "own/motd", "own/kubelet", "objects/a.yaml"];

/// What the changed content is; the tests change nothing else in it.
pub fn changed(name: &str, text: &str) -> String {
    if name.ends_with(".ign") { text.replace("data:,a", "data:,b") } else { text.replace("one", "two") }
}

const TEXTS: [(&str, &str); 12] = [
    ("own/motd", "one: two # three\n'\"\t\u{e9}\n"),
    ("own/kubelet", "\u{7f}ELF one\n"),
    ("own/cni.tgz", "no archive"),
    (
        "snippets/a.ign",
        r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/snippet","contents":{"source":"data:,a"}}]}}"#,
    ),
    ("snippets/b.ign", r#"{"ignition":{"version":"3.3.0"},"kernelArguments":{"shouldExist":["console=ttyS0"]}}"#),
    ("snippets/a.cfg", "#cloud-config\nwrite_files:\n  - {path: /etc/snippet, content: one}\n"),
    ("snippets/b.cfg", "#cloud-config\ngrowpart: {mode: auto}\n"),
    (
        "objects/a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: one}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: kube-system}\nstringData: {key: value}\n",
    ),
    ("objects/more/b.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"team"}}"#),
    ("patches/kube-apiserver+merge.yaml", "spec: {priority: 2000001000}\n"),
    ("patches/kubeletconfiguration0+json.yaml", "- {op: add, path: /maxPods, value: 42}\n"),
    (
        "patches-proxy/kubeproxydaemonset+merge.yaml",
        "spec: {template: {spec: {nodeSelector: {lab.example/proxy: \"yes\"}}}}\n",
    ),
];

/// A folder with all of them.
pub fn folder() -> Result<TempDir> {
    let folder = scratch()?;
    for (name, bytes) in
        TEXTS.iter().map(|(name, text)| (*name, text.as_bytes())).chain(ETCD.iter().map(|(name, b)| (*name, &b[..])))
    {
        let path = folder.path().join(name);
        let parent = path.parent().context("it lies in the folder")?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(folder)
}

/// A folder in memory, where there is one: outputs are synced to their disk.
pub fn scratch() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.context("making a folder")
}
