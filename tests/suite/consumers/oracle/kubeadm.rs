//! What kubeadm would do: `kubeadm init --dry-run`, read back.

use super::{
    Case, Node,
    certificate::summary,
    document::{Documents, object, object_name, parse, set},
};
use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{
    cache::Cache,
    cell::{Cell, SHARED},
};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

/// Everything that `kubeadm init` would make of `node`.
pub fn documents(cache: &Cache, case: &Case, node: &Node) -> Result<Documents> {
    let cell = Cell::new(cache)?;
    cell.write("/etc/kubeadm.yaml", 0o600, configuration(case, node).as_bytes())?;
    let config = "--config=/etc/kubeadm.yaml";
    let said = cell
        // The machine that runs the test need not be one that could run Kubernetes.
        .command(&[&cell.program(case.program), "init", "--dry-run", config, "--ignore-preflight-errors=all"])
        .env("KUBEADM_INIT_DRYRUN_DIR", SHARED)
        .limit(Duration::from_secs(120))
        .ok()?;
    let mut documents = Documents::new();
    files(&cell.shared(), &mut documents)?;
    said_of(&said, node, &mut documents)?;
    ensure!(documents.len() > 40, "kubeadm's output was not understood: {:?}", documents.keys());
    Ok(documents)
}

/// The cluster in kubeadm's language. ECDSA-P256 is our default, and not kubeadm's.
fn configuration(case: &Case, node: &Node) -> String {
    let mut text = format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n\
         localAPIEndpoint: {{advertiseAddress: {}}}\n\
         nodeRegistration: {{name: {}, criSocket: \"unix:///run/containerd/containerd.sock\"}}\n---\n\
         apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {}\n\
         encryptionAlgorithm: ECDSA-P256\nnetworking: {{podSubnet: 10.244.0.0/16}}\n",
        node.address, node.name, case.version
    );
    if let Some(endpoint) = case.endpoint {
        let _ = writeln!(text, "controlPlaneEndpoint: {endpoint}");
    }
    text
}

/// The files that a dry run writes, where an init would have put them.
fn files(folder: &Path, documents: &mut Documents) -> Result<()> {
    let mut modes = Map::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder)?.to_str().context("a name in UTF-8")?;
            let text = fs::read_to_string(&path)?;
            let place = match name {
                _ if name.starts_with("etcd/")
                    || name.ends_with(".crt")
                    || name.ends_with(".key")
                    || name == "sa.pub" =>
                {
                    format!("/etc/kubernetes/pki/{name}")
                }
                "config.yaml" | "instance-config.yaml" | "kubeadm-flags.env" => format!("/var/lib/kubelet/{name}"),
                _ if name.ends_with(".conf") => format!("/etc/kubernetes/{name}"),
                _ => format!("/etc/kubernetes/manifests/{name}"),
            };
            let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
            modes.insert(place.clone(), json!(format!("{mode:04o}")));
            file(&place, &text, documents)?;
        }
    }
    documents.insert("files".to_owned(), Value::Object(modes));
    resolve(documents);
    // The kubelet writes what it finds in its kubeconfig there, where ours lies from the start.
    let users = documents.get_mut("kubeconfig kubelet.conf").context("the kubelet's kubeconfig")?;
    let user = users["users"][0]["user"].as_object_mut().context("the kubelet's user")?;
    let identity = user.remove("client-certificate-data").context("the kubelet's certificate")?;
    documents.insert("certificate /var/lib/kubelet/pki/kubelet-client-current.pem".to_owned(), identity);
    Ok(())
}

/// A file by its place: the same for kubeadm's and ours.
pub fn file(place: &str, text: &str, documents: &mut Documents) -> Result<()> {
    let name = place.rsplit('/').next().unwrap_or(place);
    let (title, value) = if place.ends_with(".crt") || place.ends_with("kubelet-client-current.pem") {
        (format!("certificate {place}"), summary(text.as_bytes()).with_context(|| format!("reading {place}"))?)
    } else if place.starts_with("/etc/kubernetes/manifests/") {
        (format!("static pod {}", name.trim_end_matches(".yaml")), object(parse(text)?))
    } else if place.ends_with("/kubelet/config.yaml") {
        ("kubelet config".to_owned(), object(parse(text)?))
    } else if place.starts_with("/etc/kubernetes/") && place.ends_with(".conf") {
        (format!("kubeconfig {name}"), object(parse(text)?))
    } else {
        // Keys, and what is compared by other means: their mode is all that there is to see.
        return Ok(());
    };
    documents.insert(title, value);
    Ok(())
}

/// Certificates inside kubeconfigs become what they say; the CA's becomes whose it is.
pub fn resolve(documents: &mut Documents) {
    for (title, value) in documents.iter_mut() {
        if !title.starts_with("kubeconfig ") && !title.ends_with("cluster-info") {
            continue;
        }
        visit(value);
    }
}

fn visit(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let decoded = value.as_str().and_then(base64);
                match (key.as_str(), decoded) {
                    ("certificate-authority-data" | "client-certificate-data", Some(pem)) => {
                        *value = summary(&pem).unwrap_or_else(|error| json!(error.to_string()));
                    }
                    ("client-key-data", Some(pem)) => {
                        let head = String::from_utf8_lossy(&pem).lines().next().unwrap_or_default().to_owned();
                        *value = json!(head);
                    }
                    _ => visit(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(visit),
        _ => {}
    }
}

/// Standard base64, as Kubernetes writes it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

/// What the dry run says that it would do: objects, the Node's marks, the kubelet's flags.
fn said_of(said: &str, node: &Node, documents: &mut Documents) -> Result<()> {
    let mut marks = json!({});
    let mut wanted = false;
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(action) = line.strip_prefix("[dryrun] Would perform action ") {
            // What is read first or patched is an answer that kubeadm makes up for itself.
            wanted = action.starts_with("CREATE") || action.starts_with("UPDATE");
        } else if line == "[dryrun] Attached object:" && wanted {
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('[')) {
                text.push_str(line);
                text.push('\n');
            }
            let parsed = parse(&text)?;
            let title = object_name(&parsed);
            let before = documents.insert(title.clone(), object(parsed));
            ensure!(before.is_none(), "{title} is created twice");
        } else if line.starts_with("[mark-control-plane] Marking the node") {
            let list =
                line.rsplit_once('[').and_then(|(_, rest)| rest.strip_suffix(']')).context("a list in brackets")?;
            let name = if line.contains("adding the labels") { "labels" } else { "taints" };
            marks[name] = set(list.split(' '));
        } else if let Some(flags) = line.strip_prefix("KUBELET_KUBEADM_ARGS=\"") {
            let flags: Vec<_> = flags.trim_end_matches('"').split(' ').map(Value::from).collect();
            documents.insert("kubelet flags".to_owned(), Value::Array(flags));
        }
    }
    documents.insert(format!("node {}", node.name), marks);
    resolve(documents);
    Ok(())
}

#[test]
fn base64_is_decoded() {
    for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFyIQ==", "foobar!")] {
        assert_eq!(base64(text).unwrap(), bytes.as_bytes(), "{text}");
    }
    assert!(base64("a b").is_none());
}
