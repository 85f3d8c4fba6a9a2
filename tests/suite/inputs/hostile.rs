//! Hostile cluster files, given to the command: a clear error within 2 s and 200 MB of memory. And a large good one.

use anyhow::{Context as _, Result, ensure};
use nodekiln_tests::{
    command::{Cmd, Output},
    tools::nodekiln,
};
use std::{fmt::Write as _, fs, path::Path, time::Duration};

/// The contract's limits.
const TIME: Duration = Duration::from_secs(2);
const MEMORY: u64 = 200_000_000;

/// How a run of the command went.
struct Run {
    output: Output,
    /// Of processors: the machine may be busy with others.
    took: Duration,
    /// Most memory that it had, in bytes.
    peak: u64,
}

/// `nodekiln validate` on a file of these bytes.
fn validate(folder: &Path, name: &str, bytes: &[u8]) -> Result<Run> {
    const MEASURE: &str = "import resource,subprocess,sys
status=subprocess.run(sys.argv[2:]).returncode
used=resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1],'w').write(f'{used.ru_utime+used.ru_stime} {used.ru_maxrss}')
sys.exit(status)";
    fs::write(folder.join("cluster.yaml"), bytes).with_context(|| format!("writing {name}"))?;
    let program = nodekiln()?;
    let used = folder.join("used");
    let output = Cmd::new(["env".as_ref(), "-C".as_ref(), folder.as_os_str(), "python3".as_ref(), "-c".as_ref()])
        .args([MEASURE.as_ref(), used.as_os_str(), program.as_os_str()])
        .args(["validate", "-f", "cluster.yaml"])
        .limit(Duration::from_secs(200))
        .output()?;
    let used = fs::read_to_string(&used).with_context(|| format!("{name}: it did not end"))?;
    let (seconds, kilobytes) = used.split_once(' ').context("two numbers")?;
    let peak = kilobytes.parse::<u64>()? * 1024;
    Ok(Run { output, took: Duration::from_secs_f64(seconds.parse()?), peak })
}

const HEAD: &str = "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\n";

fn bombs() -> String {
    // Ten aliases of ten aliases of ...
    let mut text = HEAD.to_owned() + "kubelet:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(text, "  a{level}: &a{level} [{aliases}]");
    }
    text
}

/// Keys that all differ.
fn keys(count: usize, between: &str) -> String {
    (0..count).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(between)
}

/// A cluster with these fields of the kubelet's configuration, and nothing else wrong with it.
fn fragment(fields: &str) -> String {
    format!(
        "{HEAD}kubelet: {{{fields}}}\nos: {{profile: flatcar}}\n\
         nodes: [{{name: cp, role: control-plane, address: 192.0.2.1}}]\n"
    )
}

/// Keys of texts.
fn texts(count: usize) -> String {
    (0..count).map(|n| format!("k{n}: a")).collect::<Vec<_>>().join(", ")
}

/// Mappings of one mapping of one mapping.
fn nested(count: usize) -> String {
    (0..count).map(|n| format!("k{n}: {{a: {{b: {{c: {{d: e}}}}}}}}")).collect::<Vec<_>>().join(", ")
}

/// A MB that aliases put in thirty places of one fragment.
fn copies() -> String {
    let long = "x".repeat(1 << 20);
    let aliases: Vec<_> = (0..30).map(|n| format!("k{n}: *a")).collect();
    fragment(&format!("systemReserved: {{a: &a {long}, {}}}", aliases.join(", ")))
}

/// Twenty thousand machines, each with a value of its own over thousands of the cluster's.
fn over_much() -> String {
    let own = format!("kubelet: {{systemReserved: {{{}}}}}\n", texts(5_000));
    machines(&own, "", |n| format!("kubelet: {{maxPods: {n}}}"))
}

/// As many machines as there may be, with more that the first of them says and what each of the others says.
fn machines(cluster: &str, first: &str, own: impl Fn(usize) -> String) -> String {
    let mut text = format!(
        "{HEAD}{cluster}os: {{profile: flatcar}}\nnetworking: {{podSubnet: 10.128.0.0/9}}\nnodes:\n\
         \x20 - {{name: cp, role: control-plane, address: 172.31.0.1{first}}}\n"
    );
    for n in 1..20_000 {
        let (high, low) = (n / 250, n % 250 + 2);
        let _ = writeln!(text, "  - {{name: w{n}, role: worker, address: 172.16.{high}.{low}, {}}}", own(n));
    }
    text
}

/// Files of which nothing is wrong but that they are large.
fn large() -> Vec<(&'static str, String)> {
    let labels = |n: usize| (0..19).map(|key| format!("l{key}: a{n}")).collect::<Vec<_>>().join(", ");
    let taints = |n: usize| (0..19).map(|key| format!("l{key}=a{n}:NoSchedule")).collect::<Vec<_>>().join(", ");
    let reserved = |n: usize| (0..17).map(|key| format!("l{key}: a{n}")).collect::<Vec<_>>().join(", ");
    vec![
        ("labels of each machine's own", machines("", "", |n| format!("labels: {{{}}}", labels(n)))),
        ("taints of each machine's own", machines("", "", |n| format!("taints: [{}]", taints(n)))),
        (
            "fragments of each machine's own",
            machines("", "", |n| format!("kubelet: {{systemReserved: {{{}}}}}", reserved(n))),
        ),
        (
            "shared labels, and a fragment of each machine's own",
            machines("", &format!(", labels: &l {{{}}}", labels(0)), |n| {
                format!("labels: *l, kubelet: {{maxPods: {n}}}")
            }),
        ),
        (
            "machines over what the cluster says",
            machines(&format!("kubelet: {{systemReserved: {{{}}}}}\n", texts(19)), "", |n| {
                format!("kubelet: {{maxPods: {n}}}")
            }),
        ),
    ]
}

/// Name, file, and the code of the first finding.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    const HUNDRED: usize = 100 << 20;
    // Just below the size that is refused unread, so that the parser itself has to do with it.
    const LARGE: usize = 15 << 20;
    let texts: Vec<(&'static str, String, &'static str)> = vec![
        ("100 MB of flow sequences", "[".repeat(HUNDRED), "NK0103"),
        ("100 MB of one scalar", format!("a: {}", "x".repeat(HUNDRED)), "NK0103"),
        ("100 MB of lines", "a: 1\n".repeat(HUNDRED / 5), "NK0103"),
        ("large: flow sequences", "[".repeat(LARGE), "NK0108"),
        ("large: closed flow sequences", "[],".repeat(LARGE / 3), "NK0101"),
        ("large: items", format!("nodes:\n{}", "- {}\n".repeat(LARGE / 5)), "NK0103"),
        ("large: one scalar", format!("{HEAD}clusterName: {}\n", "x".repeat(LARGE)), "NK0204"),
        ("large: one quoted scalar", format!("{HEAD}clusterName: \"{}\"\n", "\\u0041".repeat(LARGE / 6)), "NK0204"),
        ("large: one block scalar", format!("{HEAD}clusterName: |\n{}", "  x\n".repeat(LARGE / 4)), "NK0204"),
        ("large: one comment", format!("#{}", "#".repeat(LARGE)), "NK0106"),
        ("large: the same key", "a: 1\n".repeat(LARGE / 5), "NK0103"),
        ("large: other keys", (0..LARGE / 12).map(|n| format!("k{n}: 1\n")).collect(), "NK0103"),
        ("large: anchors", (0..LARGE / 16).map(|n| format!("k{n}: &a{n} 1\n")).collect(), "NK0103"),
        ("large: documents", "---\na: 1\n".repeat(LARGE / 9), "NK0106"),
        ("large: tabs", "\t\n".repeat(LARGE / 2), "NK0106"),
        ("large: spaces", " ".repeat(LARGE), "NK0106"),
        ("large: dashes", "- ".repeat(LARGE / 2), "NK0108"),
        ("large: question marks", "? ".repeat(LARGE / 2), "NK0111"),
        ("large: tags", format!("a: {}x\n", "!!a ".repeat(LARGE / 4)), "NK0109"),
        ("a bomb of aliases", bombs(), "NK0107"),
        ("a recursive alias", format!("{HEAD}kubelet: &a {{b: *a}}\n"), "NK0107"),
        ("a million findings", format!("{HEAD}nodes:\n{}", "- {role: x}\n".repeat(1_000_000)), "NK0103"),
        ("too many machines", format!("{HEAD}nodes:\n{}", "- {role: x}\n".repeat(100_000)), "NK0103"),
        ("many findings", format!("{HEAD}nodes:\n{}", "- {role: x}\n".repeat(20_000)), "NK"),
        ("large: one line", fragment(&keys(240_000, ", ")), "NK0103"),
        ("large: a fragment within fragments", fragment(&nested(90_000)), "NK0103"),
        ("large: a list in the fragment", fragment(&format!("a: [{}]", "[], ".repeat(480_000))), "NK0103"),
        ("a text of which many are made", copies(), "NK0103"),
        ("machines over much", over_much(), "NK0103"),
        ("unknown keys", format!("{HEAD}{}", keys(240_000, "\n")), "NK0201"),
        ("a million keys", format!("{HEAD}kubelet:\n  {}\n", keys(1_000_000, "\n  ")), "NK0103"),
        ("many labels", format!("{HEAD}nodes: [{{labels: {{{}}}}}]\n", keys(240_000, ", ")), "NK"),
        ("the same key in the fragment", format!("{HEAD}kubelet: {{{}}}\n", "a: 1, ".repeat(240_000)), "NK0105"),
        ("merge keys", format!("{HEAD}kubelet: &a {{maxPods: 1}}\nkubeProxy: {{<<: *a}}\n"), "NK0204"),
        ("many merge keys", format!("{HEAD}kubelet: &a {{b: 1}}\nos: {{{}}}\n", "<<: *a, ".repeat(100_000)), "NK0105"),
        ("a second document", format!("{HEAD}---\n{HEAD}"), "NK0106"),
        ("NUL within", format!("{HEAD}clusterName: a\0b\n"), "NK0110"),
        ("large: a text for nodes", format!("{HEAD}nodes: {}\n", "x ".repeat(LARGE / 2)), "NK0202"),
        (
            "large: a URL",
            format!("{HEAD}controlPlaneEndpoint: https://{}@x\n", "u:p?#@$6$a$b".repeat(LARGE / 12)),
            "NK",
        ),
        ("a tab for a space", format!("{HEAD}nodes:\n\t- {{}}\n"), "NK"),
        ("a key twice", format!("{HEAD}kind: Cluster\n"), "NK"),
    ];
    let mut files: Vec<_> = texts.into_iter().map(|(name, text, code)| (name, text.into_bytes(), code)).collect();
    files.push(("not UTF-8", [HEAD.as_bytes(), b"clusterName: \xff\xfe\n"].concat(), "NK"));
    files.push(("UTF-16", HEAD.encode_utf16().flat_map(u16::to_le_bytes).collect(), "NK"));
    files.push(("nothing but NUL", vec![0; LARGE], "NK"));
    files.push(("nothing", Vec::new(), "NK"));
    files
}

#[test]
fn hostile_files_are_refused_in_time_and_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut slowest, mut largest) = ((Duration::ZERO, ""), (0, ""));
    let mut wrong = Vec::new();
    for (name, bytes, code) in hostile() {
        let Run { output, took, peak } = validate(folder.path(), name, &bytes)?;
        slowest = slowest.max((took, name));
        largest = largest.max((peak, name));
        let status = output.status.and_then(|status| status.code());
        let first = output.stderr.lines().next().unwrap_or_default();
        let is_clear = first.starts_with(&format!("error[{code}")) && output.stderr.contains("cluster.yaml:");
        if status != Some(1) || !is_clear || took > TIME || peak > MEMORY || output.stderr.len() > 8 << 20 {
            let words: String = output.stderr.chars().take(300).collect();
            wrong.push(format!("{name}: {status:?}, {took:?}, {} MiB: {words}", peak >> 20));
        }
    }
    eprintln!("hostile files: slowest {slowest:?}; largest {} MiB ({})", largest.0 >> 20, largest.1);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is large and sound takes its time, but no more memory.
#[test]
fn large_files_are_taken_in_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut largest = (0, "");
    for (name, text) in large() {
        let Run { output, peak, .. } = validate(folder.path(), name, text.as_bytes())?;
        ensure!(output.success(), "{name}: {:.300}", output.stderr);
        ensure!(peak <= MEMORY, "{name}: {} MiB", peak >> 20);
        largest = largest.max((peak, name));
    }
    eprintln!("large files: largest {} MiB ({})", largest.0 >> 20, largest.1);
    Ok(())
}

/// What editors and other systems make of a good file.
#[test]
fn marks_and_line_ends_are_taken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text =
        format!("{HEAD}os: {{profile: flatcar}}\nnodes: [{{name: a, role: control-plane, address: 192.0.2.1}}]\n");
    for (name, text) in [
        ("a byte order mark", format!("\u{feff}{text}")),
        ("CRLF", text.replace('\n', "\r\n")),
        ("both", format!("\u{feff}{}", text.replace('\n', "\r\n"))),
        ("the marks of a document", format!("%YAML 1.2\n---\n{text}...\n")),
        ("no end of the last line", text.trim_end().to_owned()),
        ("anchors", text.replace("address: 192", "address: &a 192")),
    ] {
        let run = validate(folder.path(), name, text.as_bytes())?;
        ensure!(run.output.success(), "{name}: {}", run.output.stderr);
    }
    Ok(())
}

#[test]
fn ten_thousand_nodes_are_valid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut text = format!(
        "{HEAD}controlPlaneEndpoint: api.example:6443\nnetworking: {{podSubnet: 10.0.0.0/10, serviceSubnet: 172.16.0.0/16}}\n\
         os: {{profile: flatcar}}\ndelivery: {{baseURL: \"http://192.0.2.1\"}}\nnodes:\n"
    );
    for index in 0..10_000 {
        let role = if index < 3 { "control-plane" } else { "worker" };
        let (high, low) = (index / 250, index % 250 + 1);
        let _ = writeln!(
            text,
            "  - {{name: n{index}, role: {role}, address: 192.168.{high}.{low}, labels: {{rack: \"{high}\"}}}}"
        );
    }
    let run = validate(folder.path(), "ten thousand nodes", text.as_bytes())?;
    let Run { output, took, peak } = run;
    eprintln!("validate of 10,000 nodes: {:.2} s, {} MiB", took.as_secs_f64(), peak >> 20);
    ensure!(output.success(), "{:.500}", output.stderr);
    Ok(())
}
