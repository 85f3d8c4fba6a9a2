//! The configurations of kubelet and kube-proxy: Go's own types have the fields that we know, of the types that we know,
//! and Go reads a value where we take it, and nowhere else.

use anyhow::{Context as _, Result, ensure};
use nodekiln::{
    config::wrong_types,
    release::{Fields, KUBE_PROXY_FIELDS, KUBELET_FIELDS, Release},
};
use nodekiln_tests::{
    cache::Cache,
    command::Cmd,
    tools::{Need, require},
};
use serde_json::{Value, json};

/// The Kubernetes release of the program in the cache.
const VERSION: &str = "v1.36.3";

const KINDS: [(&str, &str); 2] = [
    ("KubeletConfiguration", include_str!("../../../builder/src/release/kubelet-fields.txt")),
    ("KubeProxyConfiguration", include_str!("../../../builder/src/release/kube-proxy-fields.txt")),
];

/// The rows of the table, path and type, of the fields that the release has.
fn rows(kind: &str, table: &'static str) -> Result<Vec<&'static str>> {
    let release = Release::find(VERSION.parse()?).context("the release is known")?;
    let has = |row: &&str| {
        let top = row.split([' ', '.', '[']).next().unwrap_or_default();
        !row.starts_with('#') && (kind != "KubeletConfiguration" || release.has_kubelet_field(top))
    };
    Ok(table.lines().filter(has).collect())
}

fn go(cache: &Cache, task: &str, kind: &str, input: String) -> Result<Vec<String>> {
    let program = cache.program("config-types");
    let command = Cmd::new([program.as_os_str()]).args([task, kind]).input(input);
    Ok(command.ok()?.lines().map(str::to_owned).collect())
}

#[test]
fn our_fields_are_those_of_go() -> Result<()> {
    let Some(cache) = require(&[Need::Program("config-types")])? else { return Ok(()) };
    for (kind, table) in KINDS {
        let theirs = go(&cache, "fields", kind, String::new())?;
        let ours = rows(kind, table)?;
        let missing: Vec<_> = theirs.iter().filter(|row| !ours.contains(&row.as_str())).collect();
        let beyond: Vec<_> = ours.iter().filter(|row| theirs.iter().all(|other| other != *row)).collect();
        ensure!(missing.is_empty() && beyond.is_empty(), "{kind}: missing {missing:?}, not Go's {beyond:?}");
        ensure!(ours.len() > 70, "{kind}: {} rows", ours.len());
    }
    Ok(())
}

/// Every field with every value: the ends of the types, and what people write instead of what is due.
fn values() -> Vec<Value> {
    let scalars = json!([
        null,
        true,
        "true",
        "",
        "a",
        "0",
        "1",
        "-1",
        "10",
        "10s",
        "1h30m",
        "1.5h",
        "-5m",
        "+5m",
        "1d",
        "1 h",
        "h",
        "60.0",
        "1Gi",
        "1.5e3",
        "1e-3",
        "250m",
        "5k",
        "5K",
        "1GB",
        "1 Gi",
        "+1",
        "1.",
        ".5",
        "1..5",
        "12E6",
        "0x1F",
        0,
        1,
        -1,
        60,
        1.5,
        60.0,
        2_147_483_647,
        2_147_483_648_i64,
        -2_147_483_648,
        -2_147_483_649_i64,
        4_294_967_295_u32,
        4_294_967_296_i64,
        i64::MAX,
        i64::MIN,
        u64::MAX
    ]);
    let collections = json!([
        [], {}, [null], ["a"], [1], [true], [[]], [{}], {"a": "b"}, {"a": 1}, {"a": "1"}, {"a": true}, {"a": null},
        {"a": ["b"]}, {"a": [1]}, {"a": {}}, {"a": "1Gi"}, {"a": "a"}
    ]);
    [scalars, collections].into_iter().filter_map(|list| list.as_array().cloned()).flatten().collect()
}

/// A document with `value` at `path`.
fn document(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |below, step| match step.strip_suffix("[]") {
        Some(list) => json!({list: [below]}),
        None => json!({step: below}),
    })
}

#[test]
fn go_reads_what_we_take() -> Result<()> {
    let Some(cache) = require(&[Need::Program("config-types")])? else { return Ok(()) };
    let tables: [&Fields; 2] = [&KUBELET_FIELDS, &KUBE_PROXY_FIELDS];
    let mut wrong = Vec::new();
    for ((kind, table), fields) in KINDS.into_iter().zip(tables) {
        let mut documents = Vec::new();
        for row in rows(kind, table)? {
            let (path, of) = row.split_once(' ').context("a row has a path and a type")?;
            documents.extend(values().iter().map(|value| (of, value.clone(), document(path, value))));
        }
        let input: String = documents.iter().map(|(_, _, document)| format!("{document}\n")).collect();
        let verdicts = go(&cache, "decode", kind, input)?;
        ensure!(verdicts.len() == documents.len(), "{} verdicts on {} documents", verdicts.len(), documents.len());
        for ((of, value, document), fault) in documents.iter().zip(verdicts) {
            let found = wrong_types(fields, document);
            let told = match (of, value) {
                // Some durations are pointers, which take a null, and some are not.
                (&"duration", Value::Null) => !found.is_empty(),
                // Nobody sets this by hand.
                (&"time", Value::String(_)) => found.is_empty(),
                _ => found.is_empty() == fault.is_empty(),
            };
            if !told {
                wrong.push(format!("{kind}: {document}: Go: `{fault}`, we: {found:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    Ok(())
}
