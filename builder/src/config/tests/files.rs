//! Files that cluster.yaml names: manifests, patches, certificates, snippets. Findings point into them.

use super::{whole::HEAD, *};

const REST: &str = "os: {profile: flatcar}\nnodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";

/// Loads a cluster with `fields` beside `files`.
fn loaded(fields: &str, files: &[(&str, &str)]) -> Result<Loaded, Failure> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = folder.path().join("cluster.yaml");
    std::fs::write(&path, format!("{HEAD}{REST}{fields}")).unwrap();
    let found = load(&path);
    let name = |text: &str| text.replace(&format!("{}/", folder.path().display()), "");
    // What is shown names the files.
    if let Err(Failure::Findings(found)) = &found {
        assert!(found.iter().all(|d| name(&found.to_string()).contains(&format!("{}:{}:", name(&d.file), d.line))));
    }
    found
}

/// Findings as `FILE CODE path line:column`, warnings marked; those that a later version ends are left out.
fn findings(fields: &str, files: &[(&str, &str)]) -> Vec<String> {
    let found = match loaded(fields, files) {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Findings(found)) => found,
        Err(e) => panic!("{e}"),
    };
    super::findings::helpful(&found);
    let mark = |d: &Diagnostic| if d.severity == Severity::Warning { "warning " } else { "" };
    let name = |d: &Diagnostic| match d.file.rsplit_once("cluster.yaml") {
        Some(_) => String::new(),
        None => d.file.splitn(4, '/').last().unwrap_or_default().to_owned() + " ",
    };
    let rest = found.iter().filter(|d| d.code != code::UNSUPPORTED);
    rest.map(|d| format!("{}{}{} {} {}:{}", name(d), mark(d), d.code, d.path, d.line, d.column)).collect()
}

const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn manifests() {
    let m = "addons: {manifests: [m]}\n";
    for (files, due) in [
        (
            &[
                ("m/a.yaml", OBJECT),
                ("m/b.json", "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"a\"}}"),
                ("m/c.txt", "x: ["),
            ][..],
            &[][..],
        ),
        (&[("m/x.txt", "")], &["NK0901 addons.manifests[0] 6:22"]),
        (&[], &["NK0901 addons.manifests[0] 6:22"]),
        (&[("m/a.yaml", "")], &["warning NK0905 addons.manifests[0] 6:22"]),
        (&[("m/a.yaml", "a: [\n")], &["m/a.yaml NK0101  1:4"]),
        (&[("m/a.yaml", "- a\n")], &["m/a.yaml NK0905  1:1"]),
        (
            &[("m/a.yaml", "metadata:\n  x: y\n")],
            &["m/a.yaml NK0905 metadata 1:1", "m/a.yaml NK0905  1:1", "m/a.yaml NK0905  1:1"],
        ),
        (
            &[("m/a.yaml", "apiVersion: v1\nkind: ''\nmetadata: {generateName: a}\n")],
            &["m/a.yaml NK0905 kind 2:1", "m/a.yaml NK0905 metadata 3:1"],
        ),
        (
            &[("m/a.yaml", "apiVersion: a/b/c\nkind: X/Y\nmetadata: {name: a/b, namespace: A}\n")],
            &[
                "m/a.yaml NK0905 apiVersion 1:1",
                "m/a.yaml NK0905 kind 2:1",
                "m/a.yaml NK0905 metadata.name 3:12",
                "m/a.yaml NK0905 metadata.namespace 3:23",
            ],
        ),
        (
            &[("m/a.yaml", OBJECT), ("m/b.yaml", &format!("{OBJECT}---\n{OBJECT}"))],
            &["m/b.yaml NK0305 metadata.name 3:12", "m/b.yaml NK0305 metadata.name 7:12"],
        ),
        (
            &[(
                "m/a.yaml",
                "apiVersion: v1\nkind: List\nitems:\n  - {kind: A}\n  - {apiVersion: v1, kind: B, metadata: {name: x}}\n",
            )],
            &["m/a.yaml NK0905 items[0] 4:5", "m/a.yaml NK0905 items[0] 4:5"],
        ),
    ] {
        assert_eq!(findings(m, files), due, "{files:?}");
    }
    assert_eq!(findings("addons: {manifests: [../m]}\n", &[]), ["NK0901 addons.manifests[0] 6:22"]);
}

#[test]
fn patches() {
    let p = "patches: p\n";
    for (files, due) in [
        (
            &[
                ("p/kube-apiserver0+merge.yaml", "metadata: {}\n"),
                ("p/etcd+json.json", "[]"),
                ("p/README.md", "x"),
                ("p/.keep", ""),
            ][..],
            &["warning NK0904 patches 6:10"][..],
        ),
        (&[("p", "")], &["NK0901 patches 6:10"]),
        (&[], &["NK0901 patches 6:10"]),
        (&[("p/.keep", "")], &["warning NK0904 patches 6:10"]),
        (&[("p/kube-proxy+merge.yaml", "a: b\n")], &["NK0904 patches 6:10"]),
        (&[("p/etcd+merges.yaml", "a: b\n")], &["NK0904 patches 6:10"]),
        (&[("p/etcd+merge.yaml", "# nothing\n")], &["NK0904 patches 6:10"]),
        (&[("p/etcd+merge.yaml", "- a\n")], &["p/etcd+merge.yaml NK0904  1:1"]),
        (&[("p/etcd+json.yaml", "a: b\n")], &["p/etcd+json.yaml NK0904  1:1"]),
        (
            &[(
                "p/etcd+json.yaml",
                "- {op: add, path: /a}\n- {op: put, path: /a, value: 1}\n- {op: copy, path: a, from: x}\n- 1\n",
            )],
            &[
                "p/etcd+json.yaml NK0904 [0] 1:3",
                "p/etcd+json.yaml NK0904 [1].op 2:4",
                "p/etcd+json.yaml NK0904 [2].path 3:14",
                "p/etcd+json.yaml NK0904 [2].from 3:23",
                "p/etcd+json.yaml NK0904 [3] 4:3",
            ],
        ),
        (
            &[("p/etcd+merge.yaml", "a: 1\na: 2\n---\nb: *x\n")],
            &["p/etcd+merge.yaml NK0105  2:1", "p/etcd+merge.yaml NK0107  4:4"],
        ),
    ] {
        assert_eq!(findings(p, files), due, "{files:?}");
    }
    // Strategic patches are a later version's.
    for name in ["p/etcd.yaml", "p/etcd+strategic.yaml"] {
        let Err(Failure::Findings(found)) = loaded(p, &[(name, "a: b\n")]) else { panic!("{name} is taken") };
        let said: Vec<_> = found.iter().map(|d| d.message.as_str()).collect();
        assert!(said.iter().any(|said| said.starts_with(&format!("`{name}`"))), "{said:?}");
    }
}

#[test]
fn files_of_an_external_etcd() {
    let etcd = "etcd: {external: {endpoints: ['https://a:2379'], caFile: ca.crt, certFile: c.crt, keyFile: c.key}}\n";
    let pem = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
    assert_eq!(
        findings(etcd, &[("ca.crt", "x"), ("c.crt", &pem("PRIVATE KEY")), ("c.key", &pem("CERTIFICATE"))]),
        ["NK0901 etcd.external.caFile 6:58", "NK0901 etcd.external.certFile 6:76", "NK0901 etcd.external.keyFile 6:92",]
    );
}

#[test]
fn snippets() {
    let os = "    os: {snippets: [a.ign, ./a.ign, b.ign]}\n";
    let text = format!(
        "{HEAD}os: {{profile: flatcar}}\nnodes:\n  - name: a\n    role: control-plane\n    address: 192.0.2.1\n{os}"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ign"), "{\"ignition\": {\"version\": \"3.3.0\"}}").unwrap();
    let Err(Failure::Findings(found)) = load_str("cluster.yaml", &text, Some(folder.path())) else { panic!("taken") };
    let found: Vec<_> =
        found.iter().filter(|d| d.code != code::UNSUPPORTED).map(|d| format!("{} {}", d.code, d.path)).collect();
    assert_eq!(found, ["NK0305 nodes[0].os.snippets[1]", "NK0901 nodes[0].os.snippets[2]"]);
}

/// What a snippet cannot say on its node's system.
#[test]
fn snippets_that_a_node_cannot_take() {
    let ignition = |rest: &str| format!("{{\"ignition\": {{\"version\": \"3.3.0\"}}{rest}}}");
    let files = |path: &str| ignition(&format!(", \"storage\": {{\"files\": [{{\"path\": \"{path}\"}}]}}"));
    let mount = |path: &str| {
        let filesystem = format!("{{\"device\": \"/dev/vdb\", \"format\": \"ext4\", \"path\": \"{path}\"}}");
        ignition(&format!(", \"storage\": {{\"filesystems\": [{filesystem}]}}"))
    };
    for (profile, text, due) in [
        ("flatcar", ignition(""), &[][..]),
        ("flatcar", files("/etc/mine"), &[]),
        ("cloud-init", "#cloud-config\npackages: [jq]\n".to_owned(), &[]),
        ("flatcar", "{".to_owned(), &["NK0906 os.snippets[0]"]),
        ("flatcar", ignition("").replace("3.3", "3.4"), &["NK0906 os.snippets[0]"]),
        ("flatcar, ignitionVersion: 3.4.0", ignition("").replace("3.3", "3.4"), &[]),
        ("flatcar", "#cloud-config\npackages: [jq]\n".to_owned(), &["NK0906 os.snippets[0]"]),
        ("cloud-init", ignition(""), &["NK0906 os.snippets[0]"]),
        ("cloud-init", "#cloud-config\nfqdn: a.b\n".to_owned(), &["NK0906 os.snippets[0]"]),
        ("cloud-init", "#cloud-config\nusers: [{name: a, uid: 010}]\n".to_owned(), &[]),
        ("flatcar", files("/etc/mine").replace("}]", ", \"mode\": 420}]"), &[]),
        ("flatcar", files("/etc/mine").replace("}]", ", \"mode\": 644}]"), &["warning NK0906 os.snippets[0]"]),
        ("flatcar", files("/etc/mine").replace("}]", ", \"mode\": 9999}]"), &["NK0906 os.snippets[0]"]),
        ("flatcar", files("/etc/x\"}, {\"path\": \"/etc/x/y"), &["NK0906 os.snippets[0]"]),
        // As `os.files` has it.
        ("flatcar", files("/usr/local/bin/x"), &["NK0602 os.snippets[0]"]),
        ("fedora-coreos", files("/usr/local/bin/x"), &[]),
        ("fedora-coreos", files("/usr/bin/x"), &["NK0602 os.snippets[0]"]),
        ("flatcar", files("/run/x"), &["NK0602 os.snippets[0]"]),
        ("cloud-init", "#cloud-config\nwrite_files: [{path: /run/x}]\n".to_owned(), &[]),
        // One place by two names.
        ("flatcar", files("/opt/x\"}, {\"path\": \"/var/opt/x"), &[]),
        ("fedora-coreos", files("/opt/x\"}, {\"path\": \"/var/opt/x"), &["NK0906 os.snippets[0]"]),
        ("flatcar", mount("/var/lib/etcd"), &[]),
        ("flatcar", mount("/var/lib/containerd"), &[]),
        ("flatcar", mount("/var"), &[]),
        ("flatcar", mount("/etc"), &["NK0601 os.snippets[0]"]),
        ("flatcar", mount("/etc/kubernetes"), &["NK0601 os.snippets[0]"]),
        ("flatcar", mount("/var/lib/nodekiln"), &["NK0601 os.snippets[0]"]),
        ("cloud-init", "#cloud-config\nmounts: [[/dev/vdb, /etc/kubernetes]]\n".to_owned(), &["NK0601 os.snippets[0]"]),
        ("cloud-init", "#cloud-config\nmounts: [[/dev/vdb, /var/lib/etcd], [swap, none]]\n".to_owned(), &[]),
        // Each is told.
        (
            "cloud-init",
            "#cloud-config\na: 2032-01-01\nb: 22:22\n".to_owned(),
            &["NK0906 os.snippets[0]", "NK0906 os.snippets[0]"],
        ),
    ] {
        assert_eq!(snippet_findings(profile, &text), due, "{profile}: {text}");
    }
    let reserved = format!("{} os.snippets[0]", code::RESERVED);
    for path in ["/etc/kubernetes/pki/ca.crt", "/etc/hostname", "/var/lib/nodekiln/plan.json"] {
        assert_eq!(snippet_findings("flatcar", &files(path)), [reserved.as_str()], "{path}");
    }
}

fn snippet_findings(profile: &str, text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), text).unwrap();
    let node = "nodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";
    let cluster = format!("{HEAD}os: {{profile: {profile}, snippets: [a]}}\n{node}");
    let found = match load_str("cluster.yaml", &cluster, Some(folder.path())) {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Findings(found)) => found,
        Err(error) => panic!("{error}"),
    };
    let mark = |d: &Diagnostic| if d.severity == Severity::Warning { "warning " } else { "" };
    let rest = found.iter().filter(|d| d.code != code::UNSUPPORTED);
    rest.map(|d| format!("{}{} {}", mark(d), d.code, d.path)).collect()
}
