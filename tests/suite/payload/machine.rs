//! A machine that boots with a cloud-init payload, loses its power in the middle, and boots again.

use crate::{
    laid::{Place, expected},
    tree::{encoded, node},
};
use anyhow::{Context, Result, ensure};
use nodekiln_payload::{EncodeOptions, Fetch, FetchInto, NodeTree, Verification};
use nodekiln_plan::Sha256;
use nodekiln_tests::{
    cluster::Cluster,
    command::Cmd,
    node::{Node, NodeSpec},
    root::Payload,
    tools::{Need, require},
    wait::until,
};
use std::{fs, fs::File, path::PathBuf, time::Duration};
use tempfile::TempDir;

const BOOT: Duration = Duration::from_secs(90);
const OFTEN: Duration = Duration::from_millis(100);
const PROGRAM: &[u8] = b"#!/bin/sh\necho fetched\n";

/// Serves its one answer by TLS, after two faults of its own.
const SERVER: &str = r#"
import http.server, ssl, sys
left = [2]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if left[0]:
            left[0] -= 1
            return self.send_error(503)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
server = http.server.HTTPServer(("10.77.0.254", 8080), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// A certificate for the server that no system knows, and its key.
fn certificate(folder: &TempDir) -> Result<[PathBuf; 2]> {
    let [certificate, key] = ["server.crt", "server.key"].map(|name| folder.path().join(name));
    let words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=server \
                 -addext subjectAltName=IP:10.77.0.254 -out";
    Cmd::new(words.split_whitespace()).args([certificate.as_os_str(), "-keyout".as_ref(), key.as_os_str()]).ok()?;
    Ok([certificate, key])
}

fn tree(ca: Vec<u8>) -> NodeTree {
    let fetch = Fetch {
        url: "https://10.77.0.254:8080/program".into(),
        verification: Verification::Sha256(Sha256::of(PROGRAM)),
        into: FetchInto { path: "/usr/local/bin/fetched".parse().unwrap(), mode: "0755".parse().unwrap() },
    };
    NodeTree { fetches: vec![fetch], fetch_ca: Some(ca.into()), ..node() }
}

fn exists(node: &Node, path: &str) -> Result<bool> {
    Ok(node.exec(&["test", "-e", path])?.output()?.success())
}

fn wait_for(node: &Node, path: &str) -> Result<()> {
    until(path, BOOT, OFTEN, || Ok(exists(node, path).unwrap_or(false).then_some(())))
        .with_context(|| node.journal("cloud-final.service", 50))
}

fn runs(node: &Node) -> Result<usize> {
    Ok(node.read_file("/var/lib/nodekiln/runs")?.lines().count())
}

/// Every place of the tree, seen from inside: kind, mode, owner, digest or target.
fn assert_inside(node: &Node, tree: &NodeTree) -> Result<()> {
    for (path, place) in expected(tree) {
        let seen = node.run(&["stat", "-c", "%F %a %U:%G", &path])?;
        let want = match &place {
            Place::Directory(mode) => format!("directory {mode:o} root:root"),
            Place::File(mode, bytes) if bytes.is_empty() => format!("regular empty file {mode:o} root:root"),
            Place::File(mode, _) => format!("regular file {mode:o} root:root"),
            Place::Link(_) => "symbolic link 777 root:root".to_owned(),
        };
        ensure!(seen.trim() == want, "{path}: {seen}");
        match place {
            Place::File(_, bytes) => {
                let sum = node.run(&["sh", "-c", r#"sha256sum <"$1""#, "sum", &path])?;
                ensure!(sum.starts_with(&Sha256::of(&bytes).to_string()), "{path}: other contents");
            }
            Place::Link(target) => ensure!(node.run(&["readlink", &path])?.trim_end() == target, "{path}"),
            Place::Directory(_) => {}
        }
    }
    Ok(())
}

#[test]
fn a_cloud_init_machine_survives_power_cuts() -> Result<()> {
    let Some(cache) = require(&[Need::Nodes, Need::Cached("root/usr/bin/cloud-init"), Need::Program("openssl")])?
    else {
        return Ok(());
    };
    let _serial = cache.serial()?;
    let folder = tempfile::tempdir()?;
    let [certificate, key] = certificate(&folder)?;
    let tree = tree(fs::read(&certificate)?);
    for artifact in encoded(&tree, "cloud-init", &EncodeOptions::default()) {
        fs::write(folder.path().join(artifact.name), artifact.bytes.expose())?;
    }
    let payload = Payload::NoCloud {
        user_data: folder.path().join("user-data"),
        meta_data: folder.path().join("meta-data"),
        network_config: None,
    };
    let spec = NodeSpec::new("m1", &["10.77.0.1/24".parse()?]).payload(payload);
    let mut cluster = Cluster::new(&cache, &["10.77.0.254/24".parse()?], vec![spec])?;

    // Nobody serves the program yet: the payload cannot be complete.
    cluster.power_on_all()?;
    let node = cluster.node("m1")?;
    node.wait_systemd(BOOT)?;
    wait_for(node, "/var/lib/cloud/instance/sem/config_scripts_user")?;
    wait_for(node, "/var/lib/nodekiln/payload.written")?;
    assert!(!exists(node, "/var/lib/nodekiln/payload.done")?);
    assert!(!exists(node, "/var/lib/nodekiln/runs")?, "firstboot was started without its program");
    // What a disk may have lost that was cut off while write_files ran. cloud-init takes the module for done.
    assert!(exists(node, "/var/lib/cloud/instance/sem/config_write_files")?);
    node.run(&[
        "rm",
        "/var/lib/nodekiln/payload.written",
        "/etc/kubernetes/pki/ca.key",
        "/etc/systemd/system/kubelet.service",
    ])?;
    node.write_file("/etc/kubernetes/kubelet.conf", 0o644, "half")?;
    node.run(&["sync"])?;

    let log = File::create(folder.path().join("server.log"))?;
    let command = cluster.fabric().netns().command(&["/usr/bin/python3", "-c", SERVER, std::str::from_utf8(PROGRAM)?]);
    let mut server = command.args([&certificate, &key]).spawn(log)?;
    cluster.reboot_hard("m1")?;
    let node = cluster.node("m1")?;
    node.wait_systemd(BOOT)?;
    wait_for(node, "/var/lib/nodekiln/runs")?;
    node.wait_running(BOOT)?;
    assert_inside(node, &tree)?;
    assert_eq!(node.run(&["hostname"])?.trim(), "n1");
    assert_eq!(node.run(&["/usr/local/bin/fetched"])?, "fetched\n");
    assert_eq!(node.run(&["stat", "-c", "%a %U:%G", "/usr/local/bin/fetched"])?.trim(), "755 root:root");
    assert!(!exists(node, "/usr/local/bin/fetched.nodekiln")?);
    assert_eq!(runs(node)?, 1, "firstboot is started once");
    assert_eq!(node.unit("containerd.service", &["ActiveState"])?, ["active"]);
    let environment = node.unit("containerd.service", &["Environment"])?;
    assert!(environment[0].contains("A=b c"), "the drop-in came after systemd had read the unit: {environment:?}");
    for (unit, state) in [
        ("nodekiln-firstboot.service", "enabled"),
        ("nodekiln-off.service", "disabled"),
        ("nodekiln-updates.timer", "masked"),
    ] {
        assert_eq!(node.exec(&["systemctl", "is-enabled", unit])?.output()?.stdout.trim(), state, "{unit}");
    }
    let status = node.exec(&["cloud-init", "status", "--long"])?.output()?;
    assert!(status.stdout.contains("status: done"), "{status:?}");
    server.kill()?;
    server.wait()?;

    // Complete: nothing is laid down again, and firstboot starts by itself.
    node.run(&["rm", "/etc/nodekiln-test/read-only", "/etc/nodekiln-test/link"])?;
    node.run(&["sync"])?;
    cluster.reboot_hard("m1")?;
    let node = cluster.node("m1")?;
    node.wait_running(BOOT)?;
    assert_eq!(runs(node)?, 2);
    assert!(!exists(node, "/etc/nodekiln-test/read-only")? && !exists(node, "/etc/nodekiln-test/link")?);

    // As firstboot leaves the machine: without cloud-init.
    node.write_file("/etc/cloud/cloud-init.disabled", 0o644, "")?;
    node.run(&["sync"])?;
    cluster.reboot_hard("m1")?;
    let node = cluster.node("m1")?;
    node.wait_running(BOOT)?;
    assert_eq!(runs(node)?, 3, "firstboot has to start where cloud-init does not");
    assert_eq!(node.run(&["hostname"])?.trim(), "n1");

    let journal = node.run(&["journalctl", "--no-pager", "--quiet"])?;
    assert!(!journal.contains("ordering cycle"), "{journal}");
    Ok(())
}
