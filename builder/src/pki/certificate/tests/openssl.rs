//! openssl, the verifier that knows nothing of us.

use super::*;

/// A folder with the CAs as files, or `None` where there is no openssl: then the test says so, and fails under CI.
pub(super) fn openssl(authority: &Authority) -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing, and CI promises it");
        eprintln!("SKIPPED: there is no openssl on this machine");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for ca in Ca::ALL {
        std::fs::write(folder.path().join(ca.name()), authority.bundle(ca)).unwrap();
    }
    Some(folder)
}

/// What `openssl verify` says, with its exit status.
pub(super) fn verify(folder: &Path, ca: Ca, certificate: &str, args: &[&str]) -> (bool, String) {
    let path = folder.join("leaf.pem");
    std::fs::write(&path, certificate).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-check_ss_sig", "-CAfile"])
        .arg(folder.join(ca.name()))
        .args(args)
        .arg(&path)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn at(time: i64) -> String {
    time.to_string()
}

#[test]
fn openssl_accepts_every_leaf_for_its_purpose_alone() {
    for algorithm in ALGORITHMS {
        accepted(algorithm);
    }
}

fn accepted(algorithm: Algorithm) {
    let (cluster, authority) = fixture::of_algorithm(algorithm);
    let Some(folder) = openssl(authority) else { return };
    let now = at(NOW);
    for leaf in fixture::all_leaves(cluster) {
        let spec = table::spec(leaf.row);
        let id = KeyId::Leaf(leaf.row, leaf.node.clone());
        let pem = authority.issue(&leaf).unwrap().form(LeafForm::Certificate);
        let pem = text(&pem.bytes);
        for (purpose, fits) in [("sslserver", spec.usage != Usage::Client), ("sslclient", spec.usage != Usage::Server)]
        {
            let (ok, said) = verify(folder.path(), spec.issuer, pem, &["-purpose", purpose, "-attime", &now]);
            assert_eq!(ok, fits, "{id} as {purpose}: {said}");
            assert!(ok || said.contains("unsuitable certificate purpose"), "{id} as {purpose}: {said}");
        }
    }
    for ca in Ca::ALL {
        let (ok, said) = verify(folder.path(), ca, authority.bundle(ca), &["-attime", &now]);
        assert!(ok, "{ca:?}: {said}");
    }
}

#[test]
fn openssl_knows_names_times_and_strangers() {
    let (authority, cluster) = (fixture::authority(), fixture::cluster());
    let Some(folder) = openssl(authority) else { return };
    let leaf = table::leaf(Row::ApiServer, &cluster, cluster.nodes.first());
    let pem = authority.issue(&leaf).unwrap().form(LeafForm::Certificate);
    let pem = text(&pem.bytes);
    let now = at(NOW);
    let (first, last) = (at(NOW - DAY), at(NOW + YEAR - 1));
    let (early, late) = (at(NOW - DAY - 1), at(NOW + YEAR + 1));
    for (ca, args, ok, words) in [
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_hostname", "kubernetes.default.svc"], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_hostname", "cp1"], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_ip", "10.96.0.1"], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_ip", "2001:db8::1"], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_hostname", "cp2"], false, "hostname mismatch"),
        (Ca::Kubernetes, vec!["-attime", &now, "-verify_ip", "10.0.0.2"], false, "IP address mismatch"),
        (Ca::Kubernetes, vec!["-attime", &first], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &last], true, "OK"),
        (Ca::Kubernetes, vec!["-attime", &early], false, "not yet valid"),
        (Ca::Kubernetes, vec!["-attime", &late], false, "has expired"),
        (Ca::Etcd, vec!["-attime", &now], false, "unable to get local issuer certificate"),
        (Ca::FrontProxy, vec!["-attime", &now], false, "unable to get local issuer certificate"),
    ] {
        let (found, said) = verify(folder.path(), ca, pem, &args);
        assert_eq!(found, ok, "{ca:?} {args:?}: {said}");
        assert!(said.contains(words), "{ca:?} {args:?}: {said}");
    }
}

/// Keys as openssl reads them: every one is whole and belongs to its certificate.
#[test]
fn openssl_reads_every_key() {
    for algorithm in ALGORITHMS {
        keys_read(algorithm);
    }
}

fn keys_read(algorithm: Algorithm) {
    let (cluster, authority) = fixture::of_algorithm(algorithm);
    let Some(folder) = openssl(authority) else { return };
    let path = folder.path().join("both.pem");
    let public = |args: &[&str]| {
        let output = Command::new("openssl").args(args).arg("-in").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for leaf in fixture::all_leaves(&cluster_of_one(cluster.clone())) {
        let both = authority.issue(&leaf).unwrap().form(LeafForm::Both);
        std::fs::write(&path, both.bytes.expose()).unwrap();
        public(&["pkey", "-check", "-noout"]);
        assert_eq!(public(&["pkey", "-pubout"]), public(&["x509", "-noout", "-pubkey"]), "{leaf:?}");
    }
}
