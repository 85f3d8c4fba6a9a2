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
pub(super) fn edited(from: &str, to: &str) -> String {
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
    helpful(&found);
    // Whatever is found can be shown.
    assert!(found.is_empty() || found.to_string().contains("cluster.yaml"));
    let mark = |d: &Diagnostic| if d.severity == Severity::Warning { "warning " } else { "" };
    found.iter().map(|d| format!("{}{} {} {}:{}", mark(d), d.code, d.path, d.line, d.column)).collect()
}

/// Every finding says what to do, or its message does.
pub(super) fn helpful(found: &Diagnostics) {
    for diagnostic in found.iter().filter(|d| d.hint.is_none()) {
        let of_code = code::SELF_EXPLAINED.iter().find(|(code, _)| *code == diagnostic.code);
        let reason = of_code.map_or("", |(_, reason)| *reason);
        assert!(reason.starts_with("the message"), "no hint: {} {}", diagnostic.code, diagnostic.message);
    }
}

pub(super) fn table(rows: &[(&str, &str, &[&str])]) {
    check(rows, |_| true);
}

/// As `table`, but for what a later version will support: those findings come and go.
pub(super) fn table_of_all_but_later(rows: &[(&str, &str, &[&str])]) {
    check(rows, |finding| !finding.starts_with("NK0205"));
}

fn check(rows: &[(&str, &str, &[&str])], counts: fn(&str) -> bool) {
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let mut found = findings(&edited(from, to));
        found.retain(|finding| counts(finding));
        if found != *expected {
            wrong.push_str(&format!("{from:?} -> {to:?}\n  found {found:?}\n  due   {expected:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Rows of a change, the first finding as in `findings`, and a part of its message or hint; `!` before a part: it must
/// not be there.
pub(super) fn said(rows: &[(&str, &str, &str, &str)]) {
    let mut wrong = String::new();
    for (from, to, finding, part) in rows {
        let text = edited(from, to);
        let at = findings(&text).into_iter().next().unwrap_or_default();
        let Err(Failure::Findings(found)) = load_str("cluster.yaml", &text, None) else { panic!("{to} is taken") };
        let first = found.iter().next().map(|d| format!("{} | {}", d.message, d.hint.as_deref().unwrap_or("")));
        let first = first.unwrap_or_default();
        let sound = match part.strip_prefix('!') {
            Some(part) => !first.contains(part),
            None => first.contains(part),
        };
        if at != *finding || !sound {
            wrong.push_str(&format!("{to:?}: {at}: {first}\n  due {finding}: {part}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn choices_and_versions_help() {
    said(&[
        ("role: control-plane", "role: wroker", "NK0302 nodes[0].role 8:11", "did you mean `worker`"),
        ("role: control-plane", "role: Master", "NK0302 nodes[0].role 8:11", "did you mean `control-plane`"),
        ("", "addons: {cni: flanel}\n", "NK0302 addons.cni 10:15", "did you mean `flannel`"),
        ("", "    identity: token\n", "NK0302 nodes[0].identity 10:15", "baked, bootstrap-token"),
        ("", "loadBalancer: metallb\n", "NK0302 loadBalancer 10:15", "external, none, kube-vip, local"),
        ("", "kubelet: {maxpods: 60}\n", "NK0201 kubelet.maxpods 10:11", "did you mean `maxPods`"),
        ("", "kubeProxy: {iptable: {}}\n", "NK0201 kubeProxy.iptable 10:13", "did you mean `iptables`"),
        ("", "kubelet: {zzz: 1}\n", "NK0201 kubelet.zzz 10:11", "KubeletConfiguration (kubelet.config.k8s.io/v1beta1)"),
        ("", "kubelet: {memorySwap: {zzz: 1}}\n", "NK0201 kubelet.memorySwap.zzz 10:24", "known here: swapBehavior"),
        ("profile: flatcar", "profile: debian", "NK0302 os.profile 5:15", "did you mean `cloud-init`"),
        ("profile: flatcar", "profile: ubuntu", "NK0302 os.profile 5:15", "did you mean `cloud-init`"),
        ("v1.36.3", "1.30", "NK0303 kubernetesVersion 3:20", "vMAJOR.MINOR.PATCH"),
        ("v1.36.3", "1.30", "NK0303 kubernetesVersion 3:20", "!quote"),
        ("", "    kubernetesVersion: 1\n", "NK0303 nodes[0].kubernetesVersion 10:24", "vMAJOR.MINOR.PATCH"),
        ("", "pxe: {}\n", "NK0205 pxe 10:1", "remove it, or wait"),
        ("nodekiln/v1alpha1", "kubeadm.k8s.io/v1beta4", "NK0302 apiVersion 1:13", "nodekiln init"),
        ("kind: Cluster", "kind: Node", "NK0302 kind 2:7", "write `kind: Cluster`"),
        ("nodes:\n  - name: a\n    role: control-plane\n    address: 192.0.2.1\n", "", "NK0204  1:1", "nodes: [{name:"),
    ]);
}

/// 420 is Ignition's 0644, and 644 nobody's decimal number.
#[test]
fn modes_help_users_of_butane_and_of_ignition() {
    let file = |mode: &str| format!("profile: flatcar, files: [{{path: /etc/motd, content: hi, mode: {mode}}}]");
    for (mode, hint) in [
        ("0644", "quote it: \"0644\""),
        ("644", "quote it: \"0644\""),
        ("0o644", "quote it: \"0644\""),
        ("0", "quote it: \"0000\""),
        ("420", "write \"0644\" for the decimal 420, as in Ignition, or \"0420\" for these octal digits"),
        ("493", "write \"0755\", which is 493 in octal digits"),
        ("0x1a4", "write \"0644\", which is 0x1a4 in octal digits"),
        ("4755", "a mode is four octal digits from \"0000\" to \"0777\""),
        ("-1", "a mode is four octal digits from \"0000\" to \"0777\""),
        ("99999999999999999999", "a mode is four octal digits from \"0000\" to \"0777\""),
    ] {
        let Err(Failure::Findings(found)) = load_str("cluster.yaml", &edited("profile: flatcar", &file(mode)), None)
        else {
            panic!("{mode} is taken")
        };
        let found: Vec<_> = found.iter().map(|d| (d.code, d.column, d.hint.as_deref())).collect();
        assert_eq!(found, [(code::QUOTE, 69, Some(hint))], "{mode}");
    }
}

#[test]
fn hints_say_what_to_do() {
    said(&[
        ("10.244.0.0/16", "10.244.0.0", "NK0401 networking.podSubnet 4:25", "first address and prefix length"),
        ("192.0.2.1", "192.0.2", "NK0301 nodes[0].address 9:14", "like 192.0.2.10"),
        ("192.0.2.1", "192.0.2.1/24", "NK0301 nodes[0].address 9:14", "leave the prefix length out: 192.0.2.1"),
        ("192.0.2.1", "192.0.2.1:6443", "NK0301 nodes[0].address 9:14", "leave the port out: 192.0.2.1"),
        ("", "  - {name: a, role: worker, address: 192.0.2.2}\n", "NK0305 nodes[1].name 10:12", "rename one"),
        ("", "  - {name: b, role: worker, address: 192.0.2.1}\n", "NK0305 nodes[1].address 10:38", "correct one"),
        (
            "profile: flatcar",
            "profile: flatcar, users: [{name: x, sshAuthorizedKeys: [nonsense]}]",
            "NK0603 os.users[0].sshAuthorizedKeys[0] 5:62",
            ".pub file",
        ),
        (BASE, "", "NK0106  1:1", "nodekiln init"),
        (BASE, "# nothing\n", "NK0106  1:1", "nodekiln init"),
        (BASE, "---\n", "NK0106  1:4", "nodekiln init"),
        (BASE, "~\n", "NK0106  1:1", "nodekiln init"),
    ]);
}

#[test]
fn endpoints_without_brackets() {
    const AT: &str = "NK0405 controlPlaneEndpoint 10:23";
    said(&[
        (
            "",
            "controlPlaneEndpoint: 2001:db8::1:6443\n",
            AT,
            "write `[2001:db8::1]:6443`, or `[2001:db8::1:6443]:6443`",
        ),
        ("", "controlPlaneEndpoint: '2001:db8:0:0:0:0:0:1:6443'\n", AT, "an IPv6 address in brackets"),
    ]);
    for sound in
        ["2001:db8::1", "2001:db8:0:0:0:0:1:443", "'[2001:db8::1:6443]:6443'", "2001:db8::1:22", "2001:db8::6443"]
    {
        let found = findings(&edited("", &format!("controlPlaneEndpoint: {sound}\n")));
        assert!(found.iter().all(|finding| finding.starts_with("warning")), "{sound}: {found:?}");
    }
}

#[test]
fn long_values_are_cut() {
    let long = "k".repeat(300);
    let (value, key) = (format!("clusterName: \"{long} x\"\n"), format!("{long}: 1\n"));
    let role = format!("role: {long}");
    let cut = format!("`{}…`", "k".repeat(60));
    said(&[
        ("", &value, "NK0301 clusterName 10:14", &cut),
        ("", &key, &format!("NK0201 {long} 10:1"), &cut),
        ("role: control-plane", &role, "NK0302 nodes[0].role 8:11", &cut),
    ]);
    // Nor does a part of them stand whole elsewhere in the message.
    let whole = format!("!{}", "k".repeat(100));
    let digits = "9".repeat(300);
    said(&[
        ("", &format!("    taints: ['a:{long}']\n"), "NK0503 nodes[0].taints[0] 10:14", &whole),
        ("", &format!("kubelet: {{{long}: 1}}\n"), &format!("NK0201 kubelet.{long} 10:11"), &whole),
        (
            "",
            &format!("controlPlaneEndpoint: 'a:{digits}'\n"),
            "NK0405 controlPlaneEndpoint 10:23",
            &format!("!{}", "9".repeat(100)),
        ),
        ("name: a", &format!("name: {digits}"), "NK0203 nodes[0].name 7:11", "!99"),
    ]);
}

#[test]
fn base_is_sound() {
    assert_eq!(findings(BASE), Vec::<String>::new());
    assert_eq!(findings(&edited("WORKER", "")), Vec::<String>::new());
}
