//! What is published for machines to fetch is what their payloads ask for, whichever of them are remade.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{code, folder, nodekiln, words};
use nodekiln_plan::Sha256;
use std::{collections::BTreeSet, fs, path::Path};

fn built(at: &Path, arguments: &[&str]) -> BTreeSet<String> {
    let output = nodekiln(at, &[&["-q", "build", "--firstboot", "firstboot"], arguments].concat());
    assert_eq!(code(&output), 0, "{}", words(&output));
    let output = nodekiln(at, &["-q", "verify"]);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", words(&output));
    let names = fs::read_dir(at.join("out/serve/blobs")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn nothing_is_published_that_no_payload_asks_for() {
    for (os, delivery) in [
        ("flatcar", "baseURL: 'http://files.example/x'"),
        ("flatcar", "baseURL: 'http://files.example/x', mode: pointer, insecure: true"),
        ("cloud-init", "baseURL: 'http://files.example/x'"),
    ] {
        let folder = folder();
        let at = folder.path();
        let own = "binaries: {runc: {file: runc}}";
        let cluster = |of_b: &str| {
            let text = format!(
                "apiVersion: nodekiln/v1alpha1\nkind: Cluster\nkubernetesVersion: v1.36.3\nos: {{profile: {os}}}\n\
                 delivery: {{{delivery}}}\nnodes:\n  - {{name: cp, role: control-plane, address: 192.0.2.1}}\n\
                 \x20 - {{name: a, role: worker, address: 192.0.2.2, {own}}}\n\
                 \x20 - {{name: b, role: worker, address: 192.0.2.3{of_b}}}\n"
            );
            fs::write(at.join("cluster.yaml"), text).unwrap();
        };
        let runc = |content: &str| {
            fs::write(at.join("runc"), content).unwrap();
            Sha256::of(content.as_bytes()).to_string()
        };
        let firstboot = Sha256::of(&common::firstboot()).to_string();
        let due = |digests: &[&String]| digests.iter().map(|digest| (*digest).clone()).collect::<BTreeSet<_>>();

        // The only node that fetches it gets another one.
        cluster("");
        let first = runc("first");
        assert_eq!(built(at, &[]), due(&[&firstboot, &first]), "{os} {delivery}");
        let second = runc("second");
        assert_eq!(built(at, &["--node", "a"]), due(&[&firstboot, &second]), "{os} {delivery}");
        // As long as another one asks for the older one, it stays.
        cluster(&format!(", {own}"));
        assert_eq!(built(at, &[]), due(&[&firstboot, &second]));
        let third = runc("third");
        assert_eq!(built(at, &["--node", "a"]), due(&[&firstboot, &second, &third]), "{os} {delivery}");
        assert_eq!(built(at, &["--node", "cp"]), due(&[&firstboot, &second, &third]), "{os} {delivery}");
        assert_eq!(built(at, &["--node", "b"]), due(&[&firstboot, &third]), "{os} {delivery}");
    }
}
