//! `nodekiln schema` against a validator that others wrote (Python's jsonschema), and against nodekiln's own reader:
//! neither may take what only the other refuses, as far as a schema can say it.

use anyhow::{Context as _, Result, ensure};
use nodekiln::config::{self, Severity, code, examples};
use nodekiln_tests::tools::{Need, python_with, require};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Reads {"schema", "documents"}, prints for each document null or what is wrong with it.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
given = json.load(sys.stdin)
Draft202012Validator.check_schema(given["schema"])
validator = Draft202012Validator(given["schema"])
def first(document):
    error = next(validator.iter_errors(document), None)
    return error and "%s: %s" % (error.json_path, error.message)
json.dump([first(document) for document in given["documents"]], sys.stdout)
"#;

/// What the validator says of each document.
fn validate(documents: &[Value]) -> Result<Option<Vec<Option<String>>>> {
    if require(&[Need::PythonModule("jsonschema")])?.is_none() {
        return Ok(None);
    }
    let python = python_with("jsonschema").context("looking for Python's jsonschema")?;
    let mut child = Command::new(python)
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting python3")?;
    let given = serde_json::to_vec(&json!({"schema": config::schema(), "documents": documents}))?;
    child.stdin.take().context("its stdin")?.write_all(&given)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the validator failed: {}", output.status);
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

/// Cluster files that build, with the folder that their input files are in.
fn sound() -> Result<Vec<(String, Value, Option<PathBuf>)>> {
    let mut all = Vec::new();
    for example in examples::ALL {
        all.push((example.name.to_owned(), serde_saphyr::from_str(example.text)?, None));
    }
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    for entry in fs::read_dir(cases)? {
        let folder = entry?.path();
        if config::load(&folder.join("cluster.yaml")).is_ok() {
            let text = fs::read_to_string(folder.join("cluster.yaml"))?;
            all.push((folder.display().to_string(), serde_saphyr::from_str(&text)?, Some(folder)));
        }
    }
    ensure!(all.len() > examples::ALL.len() + 2, "there are hardly any cases");
    Ok(all)
}

#[test]
fn what_builds_is_valid() -> Result<()> {
    let sound = sound()?;
    let documents: Vec<_> = sound.iter().map(|(_, document, _)| document.clone()).collect();
    let Some(said) = validate(&documents)? else { return Ok(()) };
    for ((name, ..), said) in sound.iter().zip(said) {
        ensure!(said.is_none(), "{name}: {}", said.unwrap_or_default());
    }
    Ok(())
}

/// `document` with one thing changed, in every way and at every place, each with a word about it.
fn mutations(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    pointers(document, String::new(), &mut places);
    let mut all = Vec::new();
    for place in places {
        if document.pointer(&place).is_some_and(Value::is_object) {
            let mut other = document.clone();
            other.pointer_mut(&place).and_then(Value::as_object_mut).map(|map| map.insert("nodekln".into(), json!(1)));
            all.push((format!("{place} with an unknown key"), other));
        }
        for value in
            [json!(7), json!(true), json!("text"), json!([]), json!({}), json!(null), json!([7]), json!([null])]
        {
            let mut other = document.clone();
            if let Some(slot) = other.pointer_mut(&place) {
                let word = format!("{place} = {value}");
                *slot = value;
                all.push((word, other));
            }
        }
        if let Some((parent, key)) = place.rsplit_once('/') {
            let mut other = document.clone();
            if let Some(Value::Object(map)) = other.pointer_mut(parent) {
                map.remove(&key.replace("~1", "/").replace("~0", "~"));
                all.push((format!("without {place}"), other));
            }
        }
    }
    all
}

fn pointers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        // What holds for one item holds for the others.
        Value::Array(list) => list.iter().take(2).enumerate().for_each(|(i, value)| {
            pointers(value, format!("{at}/{i}"), places);
        }),
        _ => {}
    }
    places.push(at);
}

/// Whether the finding is one that a schema makes too: fragments of other programs' configuration are open to it.
fn is_of_shape(finding: &config::Diagnostic) -> bool {
    let open = ["kubelet", "kubeProxy", "extraEnvs", "featureGates"];
    let step = |step: &str| open.contains(&step.split('[').next().unwrap_or_default());
    let is_open = finding.path.split('.').any(step) && !finding.path.contains("binaries");
    finding.severity == Severity::Error && !is_open && [code::UNKNOWN_KEY, code::TYPE].contains(&finding.code)
}

#[test]
fn schema_and_reader_refuse_the_same() -> Result<()> {
    let mut documents = Vec::new();
    let mut read = Vec::new();
    for (name, document, folder) in sound()? {
        for (what, other) in mutations(&document) {
            let findings = match config::load_str("cluster.yaml", &other.to_string(), folder.as_deref()) {
                Ok(_) => Vec::new(),
                Err(config::Failure::Findings(found)) => found.iter().cloned().collect(),
                Err(failure) => return Err(failure.into()),
            };
            documents.push(other);
            read.push((format!("{name}: {what}"), findings));
        }
    }
    let Some(said) = validate(&documents)? else { return Ok(()) };
    ensure!(said.len() > 1000, "only {} documents", said.len());
    let mut wrong = Vec::new();
    for ((what, findings), said) in read.iter().zip(&said) {
        let is_refused = findings.iter().any(|finding| finding.severity == Severity::Error);
        match said {
            Some(said) if !is_refused => wrong.push(format!("{what}: only the schema refuses it: {said}")),
            None => {
                let shape = findings.iter().find(|finding| is_of_shape(finding));
                wrong.extend(shape.map(|f| format!("{what}: only the reader refuses it: {}: {}", f.path, f.message)));
            }
            Some(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), said.len(), wrong[..wrong.len().min(40)].join("\n"));
    Ok(())
}
