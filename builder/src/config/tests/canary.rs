//! Nothing that may be secret is ever shown, whatever is wrong with the file that holds it.

use super::*;

/// Stands wherever something secret could.
const CANARY: &str = "S3CR3T";

/// Every field that may hold something secret, and those beside them.
const FULL: &str = r#"apiVersion: nodekiln/v1alpha1
kind: Cluster # S3CR3T
kubernetesVersion: v1.36.3
controlPlaneEndpoint: "api.example:6443"
networking: {podSubnet: 10.244.0.0/16}
apiServer:
  extraArgs: [{name: audit-log-path, value: "S3CR3T"}]
  extraEnvs:
    - {name: TOKEN, value: "S3CR3T"}
    - name: OTHER
      value: S3CR3T
etcd:
  local:
    extraEnvs: [{name: TOKEN, value: S3CR3T}]
    extraArgs: [{name: quota-backend-bytes, value: S3CR3T}]
kubelet: {staticPodURLHeader: {Authorization: [S3CR3T]}}
kubeletExtraArgs: [{name: v, value: S3CR3T}]
os:
  profile: flatcar
  users:
    - name: core
      passwordHash: $6$S3CR3T$S3CR3TS3CR3T
      sshAuthorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIgmrnlMLqsJAVpilx2V4D5WLG9CFMGknyiIifJgEN7F S3CR3T"]
  files:
    - {path: /etc/a, content: S3CR3T}
    - path: /etc/b
      content: "S3CR3T: \"S3CR3T\""
    - path: /etc/c
      content: |
        S3CR3T
        key: S3CR3T
        # S3CR3T
  units:
    - name: a.service
      content: "[Service]\nExecStart=/bin/true S3CR3T\n"
      dropins: [{name: a.conf, content: "[Service]\nEnvironment=A=S3CR3T\n"}]
delivery: {baseURL: "https://example.com/x"}
binaries:
  kubelet: {url: "https://example.com/kubelet?token=S3CR3T", sha256: "abababababababababababababababababababababababababababababababab"}
nodes:
  - name: a
    role: control-plane
    address: 192.0.2.1
    os:
      files: [{path: /etc/d, content: S3CR3T}]
"#;

/// All that is told about `text`. Whether there were findings.
fn told(text: &str) -> bool {
    let found = match load_str("cluster.yaml", text, None) {
        Ok(loaded) => {
            assert!(!format!("{:?}", loaded.cluster.nodes[0].os).contains(CANARY));
            loaded.warnings
        }
        Err(Failure::Findings(found)) => found,
        Err(e) => panic!("{e}"),
    };
    let json = serde_json::to_string(&found).unwrap();
    for told in [found.to_string(), found.render(Colors::On), json, format!("{found:?}")] {
        assert!(!told.contains(CANARY), "{told}\nof\n{text}");
    }
    !found.is_empty()
}

#[test]
fn the_sound_file_is_taken() {
    assert!(!told(FULL), "{:?}", load_str("cluster.yaml", FULL, None).unwrap().warnings);
}

/// Faults of every line: nothing of it, or of its neighbours, is shown.
#[test]
fn faults_of_any_line_show_no_secret() {
    type Edit = fn(&str) -> String;
    let edits: [Edit; 18] = [
        |line| line.replacen(": ", "s: ", 1),
        |line| line.replacen("{name", "{nme", 1),
        |line| line.replace("content", "contents"),
        |line| line.replace("content: ", "content: S3CR3T\n      content: "),
        |line| line.replace("value", "vlue").replace("url", "password"),
        |line| format!("{line}\n{line}"),
        |line| format!("{line} \""),
        |line| format!("{line} ]"),
        |line| format!("{line}: x"),
        |line| format!("\t{line}"),
        |line| format!(" {line}"),
        |line| format!("{line}\u{7}"),
        |line| line.replace(CANARY, "!S3CR3T x"),
        |line| line.replace(CANARY, "*S3CR3T"),
        |line| line.replace(CANARY, "&S3CR3T S3CR3T"),
        |line| line.replace(": S3CR3T", ": [S3CR3T, {S3CR3T: S3CR3T}]").replace("\"S3CR3T\"", "[S3CR3T]"),
        |line| line.replace(CANARY, "S3CR3T\\qS3CR3T").replace('|', "|x"),
        |line| line.replacen(": ", ": !!binary ", 1),
    ];
    let lines: Vec<&str> = FULL.lines().collect();
    let mut count = 0;
    for (at, line) in lines.iter().enumerate() {
        for edit in edits {
            let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            lines[at] = edit(line);
            count += usize::from(told(&(lines.join("\n") + "\n")));
        }
        let cut = lines[..at].join("\n");
        told(&format!("{cut}\n{}", &line[..line.len() / 2]));
        // A line further down is where most findings about the neighbours point at.
        told(&format!("{FULL}{line}"));
    }
    assert!(count > 400, "only {count} had findings");
}

#[test]
fn values_in_wrong_places_show_no_secret() {
    const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n";
    const NODES: &str = "nodes: [{name: a, role: control-plane, address: 192.0.2.1}]\n";
    const OS: &str = "os: {profile: flatcar}\n";
    let sha = "ab".repeat(32);
    let url = "https://me:S3CR3T@example.com/a?token=S3CR3T#S3CR3T";
    let os = |fields: &str| format!("{HEAD}{NODES}os: {{profile: flatcar, {fields}}}\n");
    let top = |fields: &str| format!("{HEAD}{NODES}{OS}{fields}\n");
    for text in [
        // Keys that nobody knows, and what lies below them.
        top("password: S3CR3T"),
        top("token: {S3CR3T: [S3CR3T]}"),
        top("token:\n  - S3CR3T"),
        top("token: |\n  S3CR3T"),
        os("users: [{name: a, password: S3CR3T}]"),
        os("users: [{name: a, passwd: 'S3CR3T', passwordhash: $6$S3CR3T$S3CR3T}]"),
        os("users: [{name: a, passwordHash: S3CR3T}]"),
        os("users: [{name: a, passwordHash: [S3CR3T]}]"),
        os("users: [{name: a, passwordHash: {S3CR3T: S3CR3T, S3CR3T: 2}}]"),
        os("users: [{name: a, sshAuthorizedKeys: ['-----BEGIN OPENSSH PRIVATE KEY----- S3CR3T']}]"),
        os("users: [{name: a, sshAuthorizedKeys: [{S3CR3T: S3CR3T}]}]"),
        os("users: [{name: $6$S3CR3T$S3CR3T}]"),
        os("users: [{name: a, groups: ['$6$S3CR3T$S3CR3T', '-----BEGIN PRIVATE KEY----- S3CR3T']}]"),
        // As Butane has them.
        os("files: [{path: /etc/a, contents: {inline: S3CR3T}}]"),
        os("files: [{path: /etc/a, contents: {source: 'data:,S3CR3T'}}]"),
        os("files: [{path: /etc/a, content: {inline: S3CR3T}}]"),
        os("files: [{path: /etc/a, content: [S3CR3T]}]"),
        os("files: [{path: /etc/a, content: a, file: S3CR3T?S3CR3T}]").replace("S3CR3T?", "x?"),
        os("files: [{path: /etc/a, content: S3CR3T, content: S3CR3T}]"),
        os("units: [{name: a.service, contents: S3CR3T}]"),
        os("units: [{name: a.service, content: S3CR3T}]"),
        os("units: [{name: a.service, content: [S3CR3T]}]"),
        os("units: [{name: a.service, dropins: [{name: a.conf, contents: S3CR3T}]}]"),
        os("units: [{name: a.service, dropins: [{name: a.conf, content: S3CR3T}]}]"),
        os("units: [{name: a.service, dropins: [{name: a.conf, content: S3CR3T, content: S3CR3T}]}]"),
        // URLs, in fields for them and in others.
        top(&format!("delivery: {{baseURL: '{url}'}}")),
        top(&format!("delivery: {{mode: pointer, baseURL: '{url}'}}")),
        top("delivery: {baseURL: \"https://me:S3CR3T\\x40example.com/a\"}"),
        top("delivery: {baseURL: http://example.com/a?S3CR3T}"),
        top("delivery: {baseURL: S3CR3T@example.com}"),
        top(&format!("binaries: {{kubelet: {{url: '{url}', sha256: '{sha}'}}}}")),
        top(&format!("binaries: {{kubelet: {{url: '{url}'}}}}")),
        top(&format!("binaries: {{kubelet: {{url: '{url}', path: /x, sha256: '{sha}'}}}}")),
        top(&format!("binaries: {{kubelet: {{sysext: '{url}', sha256: '{sha}'}}}}")),
        top(&format!("binaries: {{kubelet: {{file: '{url}'}}}}")),
        top(&format!("binaries: {{kubelet: {{path: '{url}'}}}}")),
        top(&format!("binaries: {{kublet: {{url: '{url}'}}}}")),
        top(&format!("binaries: {{kubelet: '{url}'}}")),
        top(&format!("etcd: {{external: {{endpoints: ['{url}', 'https://S3CR3T@a:2379', 'S3CR3T:S3CR3T@a']}}}}")),
        top(&format!("etcd: {{external: {{endpoints: '{url}'}}}}")),
        top(
            "etcd: {external: {endpoints: ['https://a:2379'], caFile: /a, keyFile: \"-----BEGIN PRIVATE KEY-----\\nS3CR3T\"}}",
        ),
        top("etcd: {external: {endpoints: ['https://a:2379'], caFile: /a, keyFile: \"S3CR3T\\nx\"}}"),
        top(&format!("controlPlaneEndpoint: '{url}'")),
        top("controlPlaneEndpoint: me:S3CR3T@api.example:6443"),
        top("controlPlaneEndpoint: S3CR3T@192.0.2.1"),
        top(&format!("imageRepository: '{url}'")),
        top("imageRepository: me:S3CR3T@mirror.example/k8s"),
        top(&format!("images: {{digests: {{'{url}': 'sha256:{sha}', 'me:S3CR3T@a/b:1': x}}}}")),
        top(&format!("apiServer: {{certSANs: ['{url}']}}")),
        top(&format!("patches: '{url}'")),
        top(&format!("addons: {{manifests: ['{url}']}}")),
        os(&format!("timeServers: ['{url}', 'me:S3CR3T@ntp.example']")),
        os(&format!("snippets: ['{url}']")),
        top(&format!("'{url}': 1")),
        // Environments, arguments, fragments.
        top("apiServer: {extraEnvs: [{name: A, value: [S3CR3T]}]}"),
        top("apiServer: {extraEnvs: [{name: A, value: {S3CR3T: 1, S3CR3T: 2}}]}"),
        top("apiServer: {extraEnvs: [{name: 'A=S3CR3T', value: a}]}"),
        top("apiServer: {extraEnvs: [{nme: A, value: S3CR3T}]}"),
        top("apiServer: {extraEnvs: [{name: A, vale: S3CR3T}]}"),
        top("apiServer: {extraEnvs: [S3CR3T]}"),
        top("apiServer: {extraEnvs: {S3CR3T: S3CR3T}}").replace("{S3CR3T:", "{A:"),
        top("apiServer: {extraEnvs: [{name: A, valueFrom: {secretKeyRef: {name: S3CR3T, key: S3CR3T}}}]}"),
        top("etcd: {local: {extraEnvs: [{name: ETCD_NAME, value: S3CR3T}]}}"),
        top("apiServer: {extraArgs: [{name: etcd-servers, value: S3CR3T}]}"),
        top("apiServer: {extraArgs: [{name: --x, value: \"S3CR3T\\nS3CR3T\"}]}"),
        top("apiServer: {extraArgs: [{name: x, value: [S3CR3T]}]}"),
        top("apiServer: {extraArgs: [{name: authorization-mode, value: S3CR3T}]}"),
        top("apiServer: {extraArgs: {S3CR3T: S3CR3T}}").replace("{S3CR3T:", "{A:"),
        top("kubelet: {staticPodURLHeader: {A: [S3CR3T]}, unknown: S3CR3T}"),
        top("kubelet: {staticPodPath: S3CR3T, clusterDNS: [S3CR3T], cgroupDriver: S3CR3T, kind: S3CR3T}"),
        top("kubelet: [S3CR3T]"),
        top("kubelet: S3CR3T"),
    ] {
        assert!(text.contains(CANARY) && told(&text), "nothing is wrong with\n{text}");
    }
    // Numbers and words may be secrets too: here the canary is what is found nowhere else.
    for (text, secret) in [
        (top("apiServer: {extraEnvs: [{name: A, value: 987654321}]}"), "987654321"),
        (top("apiServer: {extraArgs: [{name: x, value: 987654321}]}"), "987654321"),
        (os("users: [{name: a, passwordHash: 987654321}]"), "987654321"),
        (os("files: [{path: /etc/a, content: 987654321}]"), "987654321"),
        (top("kubelet: {staticPodURLHeader: {A: [0987654321]}}"), "987654321"),
    ] {
        let Err(Failure::Findings(found)) = load_str("f", &text, None) else { panic!("{text}") };
        assert!(!(found.to_string() + &serde_json::to_string(&found).unwrap()).contains(secret), "{found}");
    }
}

/// Files that cluster.yaml names.
#[test]
fn other_files_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (field, name, text) in [
        ("addons: {manifests: [m.yaml]}", "m.yaml", "kind: Secret\nstringData: {a: S3CR3T, a: S3CR3T}\n"),
        ("addons: {manifests: [m.yaml]}", "m.yaml", "kind: Secret\nstringData:\n  a: \"S3CR3T\n"),
        ("addons: {manifests: [m.yaml]}", "m.yaml", "kind: Secret\nstringData: {name: S3CR3T, on: S3CR3T}\n"),
        (
            "addons: {manifests: [m.yaml]}",
            "m.yaml",
            "kind: Secret\nmetadata: {annotations: {a: S3CR3T}}\ndata: S3CR3T\n",
        ),
        ("addons: {manifests: [m.yaml]}", "m.yaml", "apiVersion: v1\nkind: [S3CR3T]\nmetadata: S3CR3T\n"),
        ("addons: {manifests: [m.yaml]}", "m.yaml", "- S3CR3T\n"),
        ("addons: {manifests: [m.json]}", "m.json", "{\"kind\": \"Secret\", \"stringData\": {\"a\": \"S3CR3T\"}"),
        ("addons: {manifests: [m.json]}", "m.json", "{\"kind\":\"Secret\",\"data\":{\"a\":!S3CR3T}}"),
        ("patches: p", "p/kube-apiserver+merge.yaml", "spec: {a: S3CR3T, a: S3CR3T}\n"),
        ("patches: p", "p/kube-apiserver+merge.yaml", "- S3CR3T\n"),
        ("patches: p", "p/kube-apiserver+json.yaml", "- {op: add, path: S3CR3T, value: S3CR3T}\n"),
        ("patches: p", "p/kube-apiserver+json.yaml", "- {op: ad, path: /a, value: S3CR3T}\nS3CR3T"),
        ("delivery: {caFile: c}", "c", "S3CR3T"),
        ("binaries: {firstboot: {file: 'S3CR3T@x'}}", "c", ""),
    ] {
        // What an operation is about is its name; anything else is not.
        let text = text.replace("path: S3CR3T", "path: a");
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
        let cluster = format!(
            "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nos: {{profile: flatcar}}\n\
             nodes: [{{name: a, role: control-plane, address: 192.0.2.1}}]\n{field}\n"
        );
        let file = folder.path().join("cluster.yaml");
        std::fs::write(&file, cluster).unwrap();
        let Err(Failure::Findings(found)) = load(&file) else { panic!("nothing is wrong with {text}") };
        let told = found.to_string() + &serde_json::to_string(&found).unwrap();
        assert!(!told.contains(CANARY), "{told}\nof\n{text}");
    }
    for fault in [&b"content: S3CR3T \xff"[..], b"S3CR3T: \xff", b"\xff S3CR3T"] {
        let file = folder.path().join("cluster.yaml");
        std::fs::write(&file, fault).unwrap();
        let Err(Failure::Findings(found)) = load(&file) else { panic!("it is UTF-8") };
        assert!(!found.to_string().contains(CANARY), "{found}");
    }
}
