//! Files that nobody wrote in good faith, very large ones, and mutations of the examples.

use super::{
    whole::{HEAD, load_text, refused},
    *,
};
use crate::config::examples;
use std::time::{Duration, Instant};

/// What this thread has computed: a busy machine makes it no longer.
fn computed() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn hostile_files_are_refused_in_time() {
    let deep = |open: &str, n: usize| format!("{HEAD}kubelet: {}\n", open.repeat(n));
    let wide: String = (0..50_000).map(|i| format!("k{i}: 1\n")).collect();
    let one_line = format!("{{{}}}", (0..50_000).map(|i| format!("k{i}: 1")).collect::<Vec<_>>().join(", "));
    let long_key = format!("{HEAD}? {}\n: 1\n", "k".repeat(1 << 20));
    let nodes = format!("{HEAD}nodes: [{}]\n", vec!["{}"; 50_000].join(", "));
    for text in [
        deep("[", 100_000),
        deep("{a: ", 100_000),
        deep("- ", 100_000),
        deep("&a [", 1000),
        wide,
        one_line,
        long_key,
        nodes,
        format!("{HEAD}kubelet: \"{}\"\n", "\\u0041".repeat(1 << 18)),
        format!("{HEAD}nodes: {}\n", "*a ".repeat(10_000)),
        "\u{feff}".repeat(1000),
        "---\n".repeat(100_000),
        "%TAG ! a\n".repeat(10_000),
        "\u{0}".repeat(1000),
        "\u{85}\u{2028}\u{2029}".repeat(1000),
        "a: |\n".repeat(10_000),
        "'".repeat(100_001),
        "#".repeat(1 << 20),
    ] {
        let start = computed();
        let found = refused(&text);
        let shown = found.to_string();
        let took = computed() - start;
        let head: String = text.chars().take(200).collect();
        assert!(took < Duration::from_secs(10), "{took:?} for {head}");
        assert!(shown.len() < 8 << 20, "{} bytes for {head}", shown.len());
    }
}

#[test]
fn other_encodings_and_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let first = |path: &Path| match load(path) {
        Err(Failure::Findings(found)) => {
            let _ = found.to_string();
            found.iter().next().map(|d| (d.code, d.line, d.column)).unwrap()
        }
        other => panic!("{other:?}"),
    };
    std::fs::write(&path, b"a: 1\nb: \xff\xfe\n").unwrap();
    assert_eq!(first(&path), (code::ENCODING, 2, 4));
    std::fs::write(&path, b"\xff\xfea\0:\0 \x001\0").unwrap();
    assert_eq!(first(&path), (code::ENCODING, 1, 1));
    // 100 MB, but not on disk: refused by its size alone.
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    let start = Instant::now();
    assert_eq!(first(&path), (code::TOO_LARGE, 1, 1));
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// Machines are large in memory before anything is known to be wrong with them.
#[test]
fn lists_have_an_end() {
    let found = refused(&format!("{HEAD}nodes: [{}]\n", vec!["{}"; 20_001].join(", ")));
    let long = found.iter().find(|d| d.code == code::TOO_LARGE).unwrap();
    assert_eq!((long.path.as_str(), long.message.as_str()), ("nodes", "more than 20000 items"));
}

#[test]
fn mappings_of_names_have_an_end() {
    let labels = |count: usize| (0..count).map(|index| format!("l{index}: a")).collect::<Vec<_>>().join(", ");
    let node = |labels: &str| {
        format!("{HEAD}nodes: [{{name: n, role: control-plane, address: 192.0.2.1, labels: {{{labels}}}}}]\n")
    };
    let found = refused(&node(&labels(20_001)));
    let long = found.iter().find(|d| d.code == code::TOO_LARGE).unwrap();
    assert_eq!((long.path.as_str(), long.message.as_str()), ("nodes[0].labels", "more than 20000 names"));
    assert_eq!(found.iter().filter(|d| d.path == long.path).count(), 1);
}

#[test]
fn fragments_have_an_end() {
    let list = |count: usize| vec!["a"; count].join(", ");
    let map = |count: usize| (0..count).map(|index| format!("l{index}: a")).collect::<Vec<_>>().join(", ");
    let long = "x".repeat(1 << 20);
    let keys = (0..2048).map(|index| format!("{index:0512}: a")).collect::<Vec<_>>().join(", ");
    // The mapping itself is a value, and so is the list.
    for (kubelet, said) in [
        (format!("{{allowedUnsafeSysctls: [{}]}}", list(20_000 - 1)), "more than 20000 values"),
        (format!("{{systemReserved: {{{}}}}}", map(20_000 - 1)), "more than 20000 values"),
        (format!("{{volumePluginDir: /{long}}}"), "more than 1 MiB"),
        (format!("{{systemReserved: {{{keys}}}}}"), "more than 1 MiB"),
    ] {
        for (text, path) in [
            (format!("{HEAD}kubelet: {kubelet}\n"), "kubelet"),
            (format!("{HEAD}nodes: [{{name: n, kubelet: {kubelet}}}]\n"), "nodes[0].kubelet"),
            (format!("{HEAD}pools: [{{name: n, kubelet: {kubelet}}}]\n"), "pools[0].kubelet"),
        ] {
            let found = refused(&text);
            let large: Vec<_> = found.iter().filter(|d| d.code == code::TOO_LARGE).collect();
            assert_eq!(large.len(), 1, "{path}");
            assert_eq!((large[0].path.as_str(), large[0].message.as_str()), (path, said));
        }
    }
    let fits = format!("{HEAD}kubelet: {{allowedUnsafeSysctls: [{}]}}\n", list(20_000 - 2));
    assert!(refused(&fits).iter().all(|d| d.code != code::TOO_LARGE));
}

/// A layer over much of the cluster's own is as large as both.
#[test]
fn what_is_copied_for_nodes_has_an_end() {
    let own = (0..10_000 - 1).map(|index| format!("l{index}: a")).collect::<Vec<_>>().join(", ");
    let cluster = |nodes: usize, own_of: &dyn Fn(usize) -> String| {
        let mut text = format!(
            "{HEAD}networking: {{podSubnet: 10.0.0.0/10}}\nos: {{profile: flatcar}}\n\
             kubelet: {{systemReserved: {{{own}}}}}\nnodes:\n\
             \x20 - {{name: cp, role: control-plane, address: 192.0.2.1}}\n"
        );
        for index in 1..nodes {
            let own = own_of(index);
            text.push_str(&format!(
                "  - {{name: w{index}, role: worker, address: 192.168.0.{index}, kubelet: {{{own}}}}}\n"
            ));
        }
        text
    };
    let each = |index: usize| format!("maxPods: {index}");
    let nodes = load_text(&cluster(50, &each)).cluster.nodes;
    assert_eq!(nodes[49].kubelet["maxPods"], 49);
    assert_eq!(nodes[49].kubelet["systemReserved"].as_object().unwrap().len(), 10_000 - 1);
    let found = refused(&cluster(201, &each));
    let paths: Vec<_> = found.iter().filter(|d| d.code == code::TOO_LARGE).map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["nodes[50].kubelet"]);
    // What many say alike is copied once.
    let nodes = load_text(&cluster(251, &|_| "maxPods: 99".to_owned())).cluster.nodes;
    assert!(nodes[1].kubelet.is(&nodes[250].kubelet) && !nodes[0].kubelet.is(&nodes[1].kubelet));
}

#[test]
fn ten_thousand_nodes_pass() {
    let mut text = format!(
        "{HEAD}controlPlaneEndpoint: api.example:6443\nnetworking: {{podSubnet: 10.0.0.0/10, serviceSubnet: 172.16.0.0/16}}\nos: &os {{profile: flatcar, files: [{{path: /etc/motd, content: hi}}]}}\nnodes:\n"
    );
    for i in 0..10_000 {
        let role = if i < 3 { "control-plane" } else { "worker" };
        text.push_str(&format!(
            "  - name: node-{i}\n    role: {role}\n    address: 192.168.{}.{}\n    mac: 52:54:00:00:{:02x}:{:02x}\n    labels: {{rack: \"{}\"}}\n    os: *os\n",
            i / 250,
            i % 250 + 1,
            i / 250,
            i % 250,
            i / 40,
        ));
    }
    let start = computed();
    let loaded = load_text(&text);
    assert_eq!(loaded.cluster.nodes.len(), 10_000);
    assert_eq!(loaded.cluster.nodes[9_999].pod_cidrs[0].to_string(), "10.39.15.0/24");
    assert!(computed() - start < Duration::from_secs(10), "{:?}", computed() - start);
    // The same fault on each of them is said as often as it is written.
    let faulty = text.replace("role: worker", "role: wrker");
    let start = computed();
    let found = refused(&faulty);
    assert_eq!(found.iter().count(), 1000);
    assert!(found.to_string().contains("and 8997 more findings"));
    // One that is found when they are read, which they are twice.
    let found = refused(&text.replace("role: worker", "rule: worker"));
    assert_eq!(found.iter().count(), 1000);
    assert!(found.to_string().contains("and 18994 more findings"));
    assert!(computed() - start < Duration::from_secs(10), "{:?}", computed() - start);
}

mod mutations {
    use super::*;
    use proptest::prelude::*;

    /// Fragments that tend to hurt.
    const BITS: [&str; 24] = [
        "", " ", "\n", "\t", ":", "- ", "{", "}", "[", "]", "\"", "'", "&a ", "*a", "!x ", "|", ">", "#", "null",
        "0644", "é", "\u{0}", "<<: *a", "---\n",
    ];

    fn mutate(text: &str, edits: &[(usize, usize, usize)]) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, remove, bit) in edits {
            let at = at % (chars.len() + 1);
            let end = (at + remove).min(chars.len());
            chars.splice(at..end, BITS[bit % BITS.len()].chars());
        }
        chars.into_iter().collect()
    }

    /// All that is done with a file; whatever is found can be shown and is in order.
    fn exercise(text: &str) -> Vec<Diagnostic> {
        let found = match load_str("cluster.yaml", text, None) {
            Ok(loaded) => loaded.warnings,
            Err(Failure::Findings(found)) => found,
            Err(e) => panic!("{e}"),
        };
        let _ = found.render(Colors::On);
        let list: Vec<_> = found.iter().cloned().collect();
        assert!(list.is_sorted_by_key(|d| d.span), "{found}");
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn never_panic_and_keep_their_order(
            which in 0..examples::ALL.len(),
            edits in prop::collection::vec((any::<usize>(), 0_usize..12, any::<usize>()), 1..6),
        ) {
            let text = mutate(examples::ALL[which].text, &edits);
            prop_assert_eq!(exercise(&text), exercise(&text));
        }

        #[test]
        fn any_text(text in "\\PC{0,200}") {
            exercise(&text);
        }
    }
}
