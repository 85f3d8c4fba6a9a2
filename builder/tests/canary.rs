//! No command says what is secret in the files that it reads, whatever is wrong with them. (Every field and fault of
//! cluster.yaml is tried within the library, where it is quick.)
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::Path};

const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n";
const NODES: &str = "nodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";

/// All that the command says, and its exit code.
fn run(folder: &Path, arguments: &[&str]) -> (String, i32) {
    let output = common::nodekiln(folder, arguments);
    (common::data(&output) + &common::words(&output), common::code(&output))
}

/// A folder with a program that passes for nodekiln-firstboot of amd64.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("firstboot"), common::firstboot()).unwrap();
    folder
}

#[test]
fn what_cluster_yaml_holds_is_not_said() {
    let folder = folder();
    let at = folder.path();
    let sha = "ab".repeat(32);
    fs::write(at.join("snippet"), "{\"ignition\": {\"version\": \"3.3.0\"}, \"storage\": {\"files\": \"S3CR3T\"}}")
        .unwrap();
    fs::write(at.join("cloud"), "#cloud-config\nwrite_files: [{content: S3CR3T}]\n").unwrap();
    fs::write(at.join("m.yaml"), "kind: Secret\nstringData: {a: S3CR3T, a: [S3CR3T}\n").unwrap();
    fs::create_dir(at.join("p")).unwrap();
    // What can be told only when the patch is applied.
    fs::write(at.join("p/kube-apiserver+json.yaml"), "- {op: test, path: /kind, value: S3CR3T}\n").unwrap();
    for (count, rest) in [
        "os: {profile: flatcar, users: [{name: a, password: S3CR3T, passwordHash: S3CR3T}]}\n".to_owned(),
        "os: {profile: flatcar, files: [{path: /a, contents: {inline: S3CR3T}, content: S3CR3T, content: S3CR3T}]}\n"
            .to_owned(),
        "os: {profile: flatcar, files: [{path: /a, content: \"S3CR3T\n".to_owned(),
        "os: {profile: flatcar, units: [{name: a.service, content: S3CR3T}]}\n".to_owned(),
        "os: {profile: flatcar}\napiServer: {extraEnvs: [{name: A, vale: S3CR3T}]}\n".to_owned(),
        "os: {profile: flatcar}\ndelivery: {baseURL: 'https://me:S3CR3T@a/b?S3CR3T'}\n".to_owned(),
        format!("os: {{profile: cloud-init}}\nbinaries: {{runc: {{url: 'https://a/b.tgz?S3CR3T', sha256: {sha}}}}}\n"),
        "os: {profile: flatcar, snippets: [snippet]}\n".to_owned(),
        "os: {profile: cloud-init, snippets: [cloud]}\n".to_owned(),
        "os: {profile: flatcar}\naddons: {manifests: [m.yaml]}\n".to_owned(),
        "os: {profile: flatcar}\npatches: p\n".to_owned(),
        // A payload that its platform does not take.
        format!(
            "os: {{profile: flatcar, platform: aws, files: [{{path: /a, content: S3CR3T{}}}]}}\n",
            "x".repeat(9999)
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(at.join("cluster.yaml"), format!("{HEAD}{NODES}{rest}")).unwrap();
        for arguments in [
            &["validate"][..],
            &["validate", "--json"],
            &["build", "--firstboot", "firstboot"],
            &["build", "--json", "--firstboot", "firstboot"],
        ] {
            let (said, code) = run(at, arguments);
            assert!(!said.contains("S3CR3T"), "{said}\nof\n{rest}");
            // The last one is found when it is built.
            assert!(code == 1 || count == 11 && arguments[0] == "validate" && code == 0, "{code} {said}\nof\n{rest}");
        }
        assert!(!at.join("out").exists() && !at.join("secrets.yaml").exists(), "{rest}");
    }
}

#[test]
fn what_secrets_yaml_holds_is_not_said() {
    let folder = folder();
    let at = folder.path();
    fs::write(
        at.join("cluster.yaml"),
        format!("{HEAD}{NODES}os: {{profile: flatcar}}\npools: [{{name: p, ttl: 1h}}]\n"),
    )
    .unwrap();
    let (said, code) = run(at, &["secrets", "new"]);
    assert_eq!(code, 0, "{said}");
    let path = at.join("secrets.yaml");
    let sound = fs::read_to_string(&path).unwrap();
    // Whatever is long and has no spaces is a key, a part of one, or a certificate's.
    let secrets: Vec<&str> = sound
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ':'))
        .filter(|word| word.len() >= 16 && !word.contains("---"))
        .collect();
    assert!(secrets.len() > 10, "{}", secrets.len());
    let lines: Vec<&str> = sound.lines().collect();
    let mut refused = 0;
    for (number, line) in lines.iter().enumerate() {
        let edits = [
            format!("{line} \""),
            format!("{line}]"),
            line.replacen(": ", ": [", 1),
            line.replacen(": ", "s: ", 1),
            format!("{line}\n{line}"),
            line[..line.len() - line.len() / 3].to_owned(),
        ];
        // Each fault at some of the lines: there are many alike, and most of a key's.
        if line.len() >= 60 && number % 3 > 0 {
            continue;
        }
        let edit = &edits[number % edits.len()];
        let mut edited: Vec<&str> = lines.clone();
        edited[number] = edit;
        fs::write(&path, edited.join("\n") + "\n").unwrap();
        for arguments in [&["build", "--json", "--firstboot", "firstboot"][..], &["secrets", "show"]] {
            let (said, code) = run(at, arguments);
            if code == 0 {
                continue;
            }
            refused += 1;
            for secret in &secrets {
                let head = &secret[..16];
                assert!(!said.contains(head), "{said}\nfor line {} as\n{edit}", number + 1);
            }
        }
    }
    assert!(refused > 20, "{refused} refusals for {} lines", lines.len());
}
