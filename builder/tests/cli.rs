//! The command as scripts and people run it: exit codes, which stream says what, and the road from a cluster file to an
//! output that is looked at, verified and compared.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLUSTER, code, data, folder, nodekiln, words};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
};

#[test]
fn every_exit_code_has_its_reason() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("wrong.yaml"), "kind: Cluster\n").unwrap();
    fs::create_dir(at.join("full")).unwrap();
    fs::write(at.join("full/letter"), "").unwrap();
    for (arguments, due) in [
        (&["--version"][..], 0),
        (&["schema"], 0),
        (&["validate"], 0),
        (&["validate", "-f", "wrong.yaml"], 1),
        (&["build", "-f", "wrong.yaml"], 1),
        (&["build", "--firstboot", "wrong.yaml"], 1),
        (&["inspect", "wrong.yaml"], 1),
        (&["verify", "full"], 1),
        (&["diff", "full"], 1),
        (&["diff", "cluster.yaml"], 1),
        (&[], 2),
        (&["nope"], 2),
        (&["validate", "--nope"], 2),
        (&["build", "--example", "nope"], 2),
        (&["completions", "nope"], 2),
        (&["validate", "-f", "missing.yaml"], 3),
        (&["build", "--firstboot", "missing"], 3),
        (&["build", "--firstboot", "firstboot", "-o", "full"], 3),
        (&["inspect", "missing"], 3),
        (&["inspect", "full"], 3),
        (&["verify", "missing"], 3),
        (&["diff", "missing"], 3),
        (&["secrets", "show", "--secrets", "missing"], 3),
    ] {
        let output = nodekiln(at, arguments);
        assert_eq!(code(&output), due, "{arguments:?}: {}", words(&output));
        assert!(due == 0 || !words(&output).is_empty(), "{arguments:?} says nothing");
        assert!(due == 0 || data(&output).is_empty(), "{arguments:?}: {}", data(&output));
    }
}

#[test]
fn data_is_on_stdout_and_words_on_stderr() {
    let folder = folder();
    let at = folder.path();
    let output = nodekiln(at, &["validate"]);
    assert_eq!((data(&output).as_str(), words(&output).as_str()), ("", "cluster.yaml: 2 nodes, no errors\n"));
    let missing = words(&nodekiln(at, &["validate", "-f", "none.yaml"]));
    assert_eq!(
        missing,
        "error: reading none.yaml: No such file or directory (os error 2); `nodekiln init` writes one to start from\n"
    );
    assert_eq!(words(&nodekiln(at, &["validate", "-q"])), "");
    let output = nodekiln(at, &["-q", "validate", "--json"]);
    assert_eq!((data(&output).as_str(), words(&output).as_str()), ("[]\n", ""));
    fs::write(at.join("wrong.yaml"), "kind: Cluster\n").unwrap();
    let output = nodekiln(at, &["validate", "--json", "-f", "wrong.yaml"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), found[0]["file"].as_str()), (1, Some("wrong.yaml")));
    let output = nodekiln(at, &["schema"]);
    assert!(words(&output).is_empty());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

/// What depends on the secrets is found where they are given, and only there.
#[test]
fn validate_may_see_the_secrets() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(code(&nodekiln(at, &["build", "--firstboot", "firstboot"])), 0);
    let validated = |arguments: &[&str], due: i32, says: &str| {
        assert_eq!(code(&nodekiln(at, &["validate"])), 0);
        let output = nodekiln(at, &[&["validate", "--json"], arguments].concat());
        assert!(code(&output) == due && words(&output).contains(says), "{arguments:?}: {}", words(&output));
        data(&output)
    };
    let secrets = ["--secrets", "secrets.yaml"];
    assert_eq!(validated(&secrets, 0, "2 nodes, no errors"), "[]\n");
    assert_eq!(validated(&["--secrets", "missing"], 3, "reading missing"), "");
    let kept = fs::read(at.join("secrets.yaml")).unwrap();
    // What the secrets lack is made by `build`, and no fault.
    let pools = "pools: [{name: p, ttl: 0}]\n";
    fs::write(at.join("cluster.yaml"), format!("{CLUSTER}{pools}")).unwrap();
    validated(&secrets, 0, "2 nodes, 1 pool, no errors");
    // The cluster's own CA for an etcd of somebody else's, and leaves that outlive their CA; with what they lack as well.
    let etcd = "etcd: {external: {endpoints: ['https://192.0.2.9:2379'], caFile: out/ca.crt}}\n";
    let long = "certificateValidityPeriod: 175200h\ncaCertificateValidityPeriod: 175200h\n";
    for (wrong, path, column, says) in [
        (etcd, "etcd.external.caFile", 66, "holds a certificate that has the public key of the kubernetes CA"),
        (long, "certificateValidityPeriod", 28, "leaves would end "),
    ] {
        for more in ["", pools] {
            fs::write(at.join("cluster.yaml"), format!("{CLUSTER}{wrong}{more}")).unwrap();
            let found: Value = serde_json::from_str(&validated(&secrets, 1, &format!("{path}: {says}"))).unwrap();
            let found = found.as_array().unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0]["code"].as_str(), found[0]["path"].as_str()), (Some("NK0907"), Some(path)));
            assert_eq!((found[0]["line"].as_u64(), found[0]["column"].as_u64()), (Some(8), Some(column)), "{found:?}");
            assert_eq!(found[0]["file"], "cluster.yaml");
            // `build` says the same.
            let output = nodekiln(at, &["build", "--json", "--firstboot", "firstboot"]);
            assert_eq!((code(&output), data(&output).as_str()), (1, ""));
            let place = format!("cluster.yaml:8:{column}");
            assert!(
                words(&output).contains(&place) && words(&output).contains(&format!("{path}: {says}")),
                "{}",
                words(&output)
            );
        }
    }
    // What is made to look is not kept.
    assert!(fs::read(at.join("secrets.yaml")).unwrap() == kept);
    // A CA whose key is elsewhere.
    let text = fs::read_to_string(at.join("secrets.yaml")).unwrap();
    let (before, after) = text.split_once("  kubernetes:\n").unwrap();
    let (certificate, after) = after.split_once("    key: |\n").unwrap();
    let after = &after[after.find("-----END").unwrap()..];
    let after = after.split_once('\n').unwrap().1;
    fs::write(at.join("elsewhere.yaml"), format!("{before}  kubernetes:\n{certificate}{after}")).unwrap();
    fs::write(at.join("cluster.yaml"), format!("{CLUSTER}{pools}")).unwrap();
    let found = validated(&["--secrets", "elsewhere.yaml"], 1, "nothing in the cluster signs one");
    assert!(found.contains("\"path\": \"pools[0].name\""), "{found}");
    // It has to have signed what the nodes need: a fault of the secrets, at no line of theirs.
    fs::write(at.join("cluster.yaml"), CLUSTER).unwrap();
    let found = validated(&["--secrets", "elsewhere.yaml"], 1, "error: opening the keys of elsewhere.yaml: ");
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((found[0]["code"].as_str(), found[0]["file"].as_str()), (Some("NK0907"), Some("elsewhere.yaml")));
    assert!(found[0].get("line").is_none() && found[0].get("span").is_none(), "{found}");
}

/// Faults in the secrets are findings like others, and beside others.
#[test]
fn validate_tells_faults_in_the_secrets() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("wrong.yaml"), "apiVersion: nodekiln/v1alpha1\nkind: Cluster\n").unwrap();
    let unreadable = "error: reading missing: No such file";
    let validated = |cluster: &str, secrets: &str, due: i32| {
        fs::write(at.join("cluster.yaml"), cluster).unwrap();
        let output = nodekiln(at, &["validate", "--json", "--secrets", secrets]);
        assert_eq!(code(&output), due, "{}", words(&output));
        (data(&output), words(&output))
    };
    let unproved = CLUSTER.replace("v1.36.3", "v1.37.0");
    let invalid = CLUSTER.replace("192.0.2.2", "192.0.2.x");
    for (cluster, beside) in [(CLUSTER, None), (&unproved, Some("warning")), (&invalid, Some("error"))] {
        let (found, said) = validated(cluster, "wrong.yaml", 1);
        let found: Value = serde_json::from_str(&found).unwrap();
        let found = found.as_array().unwrap();
        let of = |file: &str| found.iter().filter(|found| found["file"] == file).collect::<Vec<_>>();
        assert_eq!(of("cluster.yaml").first().and_then(|found| found["severity"].as_str()), beside, "{said}");
        assert!(beside.is_none_or(|beside| said.contains(&format!("{beside}[NK"))), "{said}");
        let secrets = of("wrong.yaml");
        assert!(!secrets.is_empty() && said.contains("error: wrong.yaml:"), "{said}");
        for found in secrets {
            assert_eq!((found["code"].as_str(), found["severity"].as_str()), (Some("NK0907"), Some("error")));
            assert!(found["line"].is_u64() && found["column"].is_u64() && found.get("span").is_none(), "{found}");
        }
        // Nothing is checked without those that were to be checked too.
        let (found, said) = validated(cluster, "missing", 3);
        assert!(found.is_empty() && said.starts_with(unreadable), "{said}");
    }
}

/// As `nodekiln schema | head -1` does it: a reader that has gone is no reason to panic, or to complain.
#[test]
fn a_reader_may_go() {
    for arguments in [&["schema"][..], &["completions", "bash"], &["man"], &["init", "-f", "-"], &["--help"]] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("nodekiln"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), words(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

/// What cannot be written is not lost in silence, whatever would have been printed.
#[test]
fn a_full_disk_is_told() {
    let folder = folder();
    let at = folder.path();
    let output = nodekiln(at, &["build", "--firstboot", "firstboot"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    for arguments in [
        &["schema"][..],
        &["completions", "bash"],
        &["man"],
        &["init", "-f", "-"],
        &["--help"],
        &["--version"],
        &["build", "--help"],
        &["build", "--firstboot", "firstboot", "--json"],
        &["validate", "--json"],
        &["inspect", "out"],
        &["inspect", "out", "--json"],
        &["verify", "--json"],
        &["diff", "out", "--firstboot", "firstboot"],
        &["diff", "out", "--firstboot", "firstboot", "--json"],
        &["secrets", "show"],
        &["secrets", "show", "--json"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("nodekiln"));
        let output = command.current_dir(at).args(arguments).stdout(full).output().unwrap();
        assert_eq!(code(&output), 3, "{arguments:?}: {}", words(&output));
        let said = words(&output);
        assert!(
            said.ends_with("error: writing to stdout: No space left on device (os error 28)\n"),
            "{arguments:?}: {said}"
        );
    }
}

const COMMANDS: [&str; 10] =
    ["init", "build", "validate", "inspect", "diff", "verify", "schema", "secrets", "completions", "man"];

#[test]
fn shells_and_manuals_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = data(&nodekiln(at, &["completions", shell]));
        let missing: Vec<_> = COMMANDS.iter().filter(|command| !script.contains(*command)).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    let output = nodekiln(at, &["man", "-o", "man1"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    for command in COMMANDS {
        let page = fs::read_to_string(at.join(format!("man1/nodekiln-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{command}");
    }
    let own = fs::read_to_string(at.join("man1/nodekiln.1")).unwrap();
    assert_eq!(own, data(&nodekiln(at, &["man"])));
    assert!(own.contains("Exit codes") && at.join("man1/nodekiln-secrets-show.1").exists());
}

#[test]
fn from_a_cluster_file_to_a_verified_output() {
    let folder = folder();
    let at = folder.path();
    let output = nodekiln(at, &["build", "--firstboot", "firstboot"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    assert!(data(&output).is_empty());
    let said = words(&output);
    assert!(said.contains("made secrets.yaml") && said.contains("they can boot until 20"), "{said}");
    let output = nodekiln(at, &["-q", "build", "--firstboot", "firstboot", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((words(&output).as_str(), &summary["nodes"][1]["name"]), ("", &Value::from("w")));
    assert!(summary["nodes"][0]["bootBefore"].is_i64() && summary["firstboot"] == "carried", "{summary}");

    // What a payload holds, alone and among others.
    let output = nodekiln(at, &["inspect", "--json", "out"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes: Vec<_> = all.as_array().unwrap().iter().map(|told| told["node"]["name"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["cp", "w"]);
    let output = nodekiln(at, &["inspect", "out/nodes/w/config.ign"]);
    assert!(data(&output).contains("worker w of the cluster kubernetes, Kubernetes v1.36.3, at 192.0.2.2\n"));
    assert!(words(&output).is_empty());

    // Whole, and with one bit changed.
    let output = nodekiln(at, &["verify"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    assert!(words(&output).starts_with("out: sound: 2 payloads in"), "{}", words(&output));
    let plan = at.join("out/nodes/w/plan.json");
    let sound = fs::read(&plan).unwrap();
    let mut other = sound.clone();
    other[100] ^= 1;
    fs::write(&plan, &other).unwrap();
    let output = nodekiln(at, &["verify", "--json", "out"]);
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"][0]["file"], "nodes/w/plan.json");
    assert!(words(&output).contains("error: out/nodes/w/plan.json: was changed"), "{}", words(&output));
    fs::write(&plan, &sound).unwrap();

    // Nothing differs; then a flag does.
    let against = ["diff", "out", "cluster.yaml", "--firstboot", "firstboot", "--exit-code"];
    let output = nodekiln(at, &against);
    assert_eq!((code(&output), data(&output).as_str()), (0, "nothing differs: 2 nodes are as they were\n"));
    fs::write(at.join("cluster.yaml"), format!("{CLUSTER}scheduler: {{extraArgs: [{{name: v, value: '4'}}]}}\n"))
        .unwrap();
    let output = nodekiln(at, &against);
    assert_eq!(code(&output), 1, "{}", words(&output));
    assert!(data(&output).starts_with("cp:\n  the static pod kube-scheduler restarts\n"), "{}", data(&output));
    let output = nodekiln(at, &["diff", "out", "--firstboot", "firstboot", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &report["different"]), (0, &Value::from(true)));
}

/// All examples: what is built is sound, and what would be built again is the same.
#[test]
fn every_example_is_sound() {
    for example in nodekiln::config::examples::ALL {
        let folder = folder();
        let at = folder.path();
        let run = |arguments: &[&str]| {
            let output = nodekiln(at, arguments);
            assert_eq!(code(&output), 0, "{}: {arguments:?}: {}", example.name, words(&output));
            data(&output)
        };
        run(&["init", "--example", example.name, "-f", "own.yaml"]);
        run(&["build", "-f", "own.yaml", "--firstboot", "firstboot"]);
        run(&["verify"]);
        let told = run(&["inspect", "out"]);
        assert!(!told.contains("PRIVATE KEY") && told.contains("can boot from"), "{}: {told}", example.name);
        // Nobody learns from it where keys can be fetched.
        for served in fs::read_dir(at.join("out/serve")).into_iter().flatten() {
            let name = served.unwrap().file_name().into_string().unwrap();
            assert!(name == "blobs" || !told.contains(&name), "{}: {name}", example.name);
        }
        let differs = run(&["diff", "out", "own.yaml", "--firstboot", "firstboot"]);
        assert!(differs.starts_with("nothing differs"), "{}: {differs}", example.name);
    }
}

/// Programs that are fetched are told of, and counted as fetched.
#[test]
fn a_program_that_is_fetched_is_told_of() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("cluster.yaml"), format!("{CLUSTER}delivery: {{baseURL: 'http://files.example/x'}}\n")).unwrap();
    let output = nodekiln(at, &["build", "--firstboot", "firstboot", "--json"]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    let said = words(&output);
    assert!(said.contains("nodekiln-firstboot is not in the payloads: machines fetch it"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["firstboot"], "fetched");
    assert_eq!(code(&nodekiln(at, &["verify"])), 0);
}

/// Whatever is given to `inspect`, it ends soon, in little memory and with the code that is documented.
#[test]
fn inspect_takes_anything() {
    let folder = folder();
    let at = folder.path();
    let whole = nodekiln(at, &["build", "--firstboot", "firstboot", "--tree"]);
    assert_eq!(code(&whole), 0, "{}", words(&whole));
    fs::create_dir(at.join("empty")).unwrap();
    fs::create_dir(at.join("other")).unwrap();
    fs::write(at.join("other/letter"), "dear").unwrap();
    let rubbish: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(at.join("rubbish"), rubbish).unwrap();
    let large = fs::File::create(at.join("zeros")).unwrap();
    large.set_len(100 << 20).unwrap();
    // Values enough to fill a gigabyte if they were kept.
    let mut json = b"{\"x\": [1".to_vec();
    json.resize(100 << 20, b' ');
    for cell in json[10..(100 << 20) - 10].chunks_exact_mut(2) {
        cell.copy_from_slice(b",1");
    }
    json.truncate((100 << 20) - 10);
    json.extend(b"]}");
    fs::write(at.join("numbers"), json).unwrap();
    std::os::unix::fs::symlink("out/nodes/w/config.ign", at.join("link")).unwrap();
    for (file, due, says) in [
        ("out", 0, "out/nodes/cp/config.ign: an Ignition configuration"),
        ("out/nodes/w", 0, "worker w of the cluster kubernetes"),
        ("link", 0, "worker w of the cluster kubernetes"),
        ("out/nodes/w/tree.tar", 0, "a tree of files"),
        ("out/nodes/w/plan.json", 0, "can boot from"),
        ("out/nodes/cp/api.ndjson", 0, "API steps"),
        ("out/admin.conf", 0, "can be used until 20"),
        ("out/super-admin.conf", 0, "by a certificate for O=system:masters"),
        ("out/ca.crt", 0, "CN=kubernetes"),
        ("out/manifest.json", 1, "name the output's folder"),
        ("out/placement.json", 1, "placement.json"),
        ("secrets.yaml", 1, "`nodekiln secrets show`"),
        ("cluster.yaml", 1, "this is no payload of nodekiln's"),
        ("firstboot", 1, "this is no payload of nodekiln's"),
        ("rubbish", 1, "this is no payload of nodekiln's"),
        ("zeros", 1, "this is no payload of nodekiln's"),
        ("numbers", 1, "this is no payload of nodekiln's"),
        ("/dev/null", 1, "this is no payload of nodekiln's"),
        ("empty", 3, "there is no config.ign, pointer.ign or user-data in it"),
        ("other", 3, "there is no config.ign, pointer.ign or user-data in it"),
        ("missing", 3, "reading missing"),
    ] {
        let mut command = Command::new("sh");
        command.current_dir(at).args(["-c", "ulimit -v 1500000; exec \"$0\" inspect \"$1\""]);
        let output = command.arg(assert_cmd::cargo::cargo_bin!("nodekiln")).arg(file).output().unwrap();
        let told = data(&output) + &words(&output);
        assert_eq!(output.status.code(), Some(due), "{file}: {told}");
        assert!(told.contains(says), "{file}: {told}");
        assert!((due == 0) == words(&output).is_empty(), "{file}: {}", words(&output));
    }
    // A pipe has no size, and no end if its writer does not stop.
    for (script, due) in [("cat link | \"$0\" inspect /dev/stdin", 0), ("\"$0\" inspect /dev/stdin < /dev/null", 1)] {
        let mut command = Command::new("sh");
        command.current_dir(at).args(["-c", script]).arg(assert_cmd::cargo::cargo_bin!("nodekiln"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(due), "{script}: {}", words(&output));
    }
}
