//! What a cluster that works can do: the checks that every way of booting has to pass.

use super::payload::{Output, kubeconfig_field};
use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{
    cluster::Cluster,
    measure::{Memory, Timeline},
    node::Node,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Ready within this time, or something is wrong.
pub const READY: Duration = Duration::from_secs(120);
/// Mirror pods that came before their PriorityClass are refused and come again about a minute later.
const MIRRORS: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(200);

/// One JSON object or list from kubectl.
pub fn get(cluster: &Cluster, argv: &[&str]) -> Result<Value> {
    let text = cluster.kubectl(&["get", "-o", "json"])?.args(argv).ok()?;
    serde_json::from_str(&text).context("reading what kubectl says")
}

/// The four static pods of a control plane run and are ready, as the API sees them.
pub fn mirror_pods(cluster: &Cluster, node: &str) -> Result<()> {
    for component in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let pod = format!("{component}-{node}");
        cluster.wait_until(&format!("mirror pod {pod} to be Ready"), MIRRORS, POLL, |cluster| {
            let pod = get(cluster, &["-n", "kube-system", "pod", &pod])?;
            let ready = pod["status"]["containerStatuses"][0]["ready"] == Value::Bool(true);
            Ok((ready && pod["status"]["phase"] == "Running").then_some(()))
        })?;
    }
    Ok(())
}

/// firstboot has ended well on `node`: its unit is inactive with success and result.json is there.
pub fn firstboot_done(cluster: &Cluster, node: &str) -> Result<Value> {
    cluster.wait_until(&format!("firstboot on {node} to finish"), READY, POLL, |cluster| {
        let node = cluster.node(node)?;
        let state = node.unit("nodekiln-firstboot.service", &["ActiveState", "Result"])?;
        if state != ["inactive", "success"] {
            return Ok(None);
        }
        let result = node.read_file("/var/lib/nodekiln/result.json")?;
        Ok(Some(serde_json::from_str(&result)?))
    })
}

/// Powers the only machine on and waits until firstboot has finished: what it measured, and firstboot's result.
pub fn power_on(cluster: &mut Cluster, name: &str, address: &str) -> Result<(Timeline, Value)> {
    cluster.power_on_all()?;
    let mut times = Timeline::of(cluster.node(name)?)?;
    cluster.wait_api(format!("{address}:6443").parse()?, READY)?;
    times.mark("API ready")?;
    cluster.wait_node_ready(name, READY)?;
    times.mark("Node Ready")?;
    let result = firstboot_done(cluster, name)?;
    times.mark("firstboot finished")?;
    Ok((times, result))
}

/// A pod gets an address, resolves a Service by CoreDNS, reaches it through kube-proxy; logs and exec work.
pub fn workload(cluster: &Cluster) -> Result<()> {
    let objects = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - name: web
      image: nodekiln.test/tools:1
      command: [sh, -c, "mkdir /www; echo hello from web >/www/index.html; echo serving; exec httpd -f -p 8080 -h /www"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: client, image: "nodekiln.test/tools:1", command: [sleep, "3600"]}]
"#;
    // The service account of a namespace comes some time after the namespace.
    cluster.wait_until("the test's pods to be taken", READY, POLL, |cluster| {
        cluster.kubectl(&["apply", "-f", "-"])?.input(objects).ok().map(Some)
    })?;
    cluster
        .kubectl(&["wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=90s"])?
        .limit(Duration::from_secs(100))
        .ok()?;
    cluster
        .kubectl(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"])?
        .limit(Duration::from_secs(100))
        .ok()?;
    let address = get(cluster, &["pod", "web"])?["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    ensure!(address.starts_with("10.244."), "web has the address {address:?}");
    let service = get(cluster, &["service", "web"])?["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let inside = |argv: &[&str]| cluster.kubectl(&["exec", "client", "--"])?.args(argv).ok();
    cluster.wait_until("a Service by name", READY, POLL, |_| {
        let found = inside(&["nslookup", "web.default.svc.cluster.local"])?;
        ensure!(found.contains(&service), "nslookup says {found}");
        let page = inside(&["fetch", "http://web"])?;
        ensure!(page.trim() == "hello from web", "fetch says {page}");
        Ok(Some(()))
    })?;
    cluster.wait_until("a pod's log", READY, POLL, |cluster| {
        let logs = cluster.kubectl(&["logs", "web"])?.ok()?;
        ensure!(logs.contains("serving"), "kubectl logs says {logs:?}");
        Ok(Some(()))
    })
}

/// Whatever asks the kubelet verifies it against the cluster's CA, and nothing needed a CSR.
pub fn kubelet_certificates(cluster: &Cluster, output: &Output, node: &Node) -> Result<()> {
    let command = get(cluster, &["-n", "kube-system", "pod", "-l", "component=kube-apiserver"])?;
    let flags = command["items"][0]["spec"]["containers"][0]["command"].to_string();
    ensure!(flags.contains("--kubelet-certificate-authority="), "the API server does not verify kubelets: {flags}");
    let csrs = get(cluster, &["certificatesigningrequests"])?;
    ensure!(csrs["items"].as_array().is_some_and(Vec::is_empty), "a CSR was needed: {csrs}");
    let ca = output.path("ca.crt");
    let verified = cluster
        .fabric()
        .netns()
        .command(&["openssl", "s_client", "-brief", "-verify_return_error", "-CAfile"])
        .args([&ca])
        .args(["-verify_ip", &node.address()?.to_string(), "-connect", &format!("{}:10250", node.address()?)])
        .input("")
        .output()?;
    let said = format!("{}{}", verified.stdout, verified.stderr);
    ensure!(said.contains("Verification: OK"), "the kubelet's certificate does not verify: {said}");
    Ok(())
}

/// Nothing on the node's disk or in /run holds the `system:masters` key any more.
pub fn no_superuser(output: &Output, node: &Node) -> Result<()> {
    let key = kubeconfig_field(&output.path("super-admin.conf"), "client-key-data")?;
    ensure!(key.len() > 100, "no key in super-admin.conf");
    // The key in base64 as a kubeconfig has it, and one line of the PEM that it decodes to.
    let script = r#"
        printf %s "$1" >/dev/shm/needle
        printf %s "$1" | base64 -d | sed -n 2p >>/dev/shm/needle2
        grep -rlsF --devices=skip -f /dev/shm/needle /etc /opt /var /run /root /home /tmp /usr/local 2>/dev/null
        grep -rlsF --devices=skip -f /dev/shm/needle2 /etc /opt /var /run /root /home /tmp /usr/local 2>/dev/null
        rm /dev/shm/needle /dev/shm/needle2"#;
    // A search that is cut off found nothing: its status counts too.
    let found = node.exec(&["sh", "-c", script, "find", &key])?.limit(Duration::from_secs(100)).output()?;
    ensure!(found.success(), "the search for the super-user's key did not end: {}", found.stderr);
    ensure!(found.stdout.trim().is_empty(), "the super-user's key is still in {}", found.stdout);
    let staged = node.exec(&["test", "-e", "/var/lib/nodekiln/stage/api.conf"])?.output()?;
    ensure!(!staged.success(), "the staged credential is still there");
    Ok(())
}

/// A node's state that must not depend on how often firstboot was killed: digests of its files, modes, links.
pub fn disk_state(node: &Node) -> Result<BTreeMap<String, String>> {
    let script = r#"
        cd /
        find etc/kubernetes etc/systemd/system etc/containerd etc/cni etc/sysctl.d etc/modules-load.d \
            var/lib/nodekiln var/lib/kubelet/config.yaml var/lib/kubelet/pki opt/bin \
            \( -name result.json -o -name '*.lock' \) -prune -o -printf '%y %m %u:%g %l %p\n' | sort -k4
        find etc/kubernetes etc/systemd/system etc/containerd etc/cni etc/sysctl.d var/lib/kubelet/config.yaml \
            var/lib/kubelet/pki -type f -exec sha256sum {} +"#;
    let text = node.exec(&["sh", "-c", script])?.ok()?;
    Ok(text
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap_or(("", line)))
        .map(|(a, b)| (b.to_owned() + "\t" + if a.len() > 60 { "sha256" } else { "mode" }, a.to_owned()))
        .collect())
}

/// The API's objects that firstboot makes, without what the server adds.
pub fn api_state(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let mut state = BTreeMap::new();
    for (kind, namespace) in [
        ("clusterrolebindings", ""),
        ("clusterroles", ""),
        ("roles", "kube-system"),
        ("rolebindings", "kube-system"),
        ("configmaps", "kube-system"),
        ("configmaps", "kube-public"),
        ("roles", "kube-public"),
        ("rolebindings", "kube-public"),
        ("deployments", "kube-system"),
        ("daemonsets", "kube-system"),
        ("services", "kube-system"),
        ("serviceaccounts", "kube-system"),
    ] {
        let scope: &[&str] = if namespace.is_empty() { &[kind] } else { &["-n", namespace, kind] };
        let argv = [&["--show-managed-fields"], scope].concat();
        for object in get(cluster, &argv)?["items"].as_array().into_iter().flatten() {
            // The API server and its controllers make others, in their own time.
            let managers = object["metadata"]["managedFields"].as_array();
            if !managers.is_some_and(|all| all.iter().any(|entry| entry["manager"] == "nodekiln")) {
                continue;
            }
            let mut object = object.clone();
            if let Some(fields) = object.as_object_mut() {
                fields.remove("status");
            }
            if let Some(metadata) = object["metadata"].as_object_mut() {
                for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                    metadata.remove(field);
                }
                metadata.remove("annotations");
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            state.insert(format!("{kind} {namespace}/{name}"), object);
        }
    }
    for node in get(cluster, &["nodes"])?["items"].as_array().into_iter().flatten() {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        state.insert(format!("labels of {name}"), node["metadata"]["labels"].clone());
        // Controllers set and take these as the node's condition changes.
        let mut spec = node["spec"].clone();
        if let Some(taints) = spec.get_mut("taints").and_then(Value::as_array_mut) {
            taints.retain(|taint| !taint["key"].as_str().unwrap_or_default().starts_with("node.kubernetes.io/"));
        }
        if spec["taints"].as_array().is_some_and(Vec::is_empty) {
            spec.as_object_mut().and_then(|spec| spec.remove("taints"));
        }
        state.insert(format!("spec of {name}"), spec);
    }
    Ok(state)
}

/// Prints where the time went on `node`, and what firstboot needed of memory.
pub fn print_times(cluster: &Cluster, node: &str, mut times: Timeline, result: &Value) -> Result<()> {
    let node = cluster.node(node)?;
    times.add_systemd(node, &["containerd.service", "nodekiln-firstboot.service", "kubelet.service"])?;
    times.add_journal(node, "nodekiln-firstboot.service", |entry| {
        let message = entry.get("MESSAGE")?.as_str()?;
        Some(format!("firstboot: {}", message.chars().take(100).collect::<String>()))
    })?;
    eprintln!("{times}");
    eprintln!("{}", Memory::of(node)?);
    let size = node
        .exec(&["sh", "-c", "stat -c %s /opt/bin/nodekiln-firstboot /usr/local/bin/nodekiln-firstboot 2>/dev/null"])?
        .output()?
        .stdout;
    eprintln!("firstboot: {} bytes, peak RSS {} KiB", size.trim(), result["peakRssKib"]);
    Ok(())
}
