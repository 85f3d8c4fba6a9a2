//! Chains as openssl sees them, strictly (`-x509_strict`): every topology, and every step of a rotation.

use super::{
    openssl::{openssl, verify},
    text,
};
use crate::{
    config::{self, Algorithm, Cluster},
    draft::LeafForm,
    pki::{
        Authority, Ca, KeyId, fixture,
        table::{self, Usage},
    },
    secrets::{
        CaOptions, RotationStep, Secrets,
        tests::{NOW, fixed_random, of_algorithm},
    },
};
use std::path::Path;

const PURPOSES: [(&str, Usage); 2] = [("sslserver", Usage::Server), ("sslclient", Usage::Client)];

/// Every leaf of `cluster` that `authority` issues, for each purpose that it has, against the files in `folder`.
fn all(folder: &Path, authority: &Authority, cluster: &Cluster, now: i64) {
    let now = now.to_string();
    for (row, node) in table::leaves(cluster) {
        let node = cluster.nodes.iter().find(|own| Some(&own.name) == node.as_ref());
        let leaf = table::leaf(row, cluster, node);
        let spec = table::spec(row);
        let certificate = authority.issue(&leaf).unwrap().form(LeafForm::Certificate);
        for (purpose, _) in PURPOSES.iter().filter(|(_, usage)| spec.usage == Usage::Both || spec.usage == *usage) {
            let args = ["-purpose", purpose, "-attime", &now];
            let (ok, said) = verify(folder, spec.issuer, text(&certificate.bytes), &args);
            assert!(ok, "{} as {purpose}: {said}", KeyId::Leaf(row, leaf.node.clone()));
        }
    }
}

#[test]
fn every_topology() {
    for example in config::examples::ALL {
        let cluster = config::load_str(example.name, example.text, None).unwrap().cluster;
        let secrets = of_algorithm(Algorithm::EcdsaP256, &cluster);
        let authority = Authority::open(&secrets, &cluster).unwrap();
        let Some(folder) = openssl(&authority) else { return };
        all(folder.path(), &authority, &cluster, NOW);
    }
}

/// Each step's leaves are good where the bundle is that of the step before, its own, or the one after; and once the old CA
/// is dropped, nothing that it signed is.
#[test]
fn every_step_of_a_rotation() {
    let cluster = fixture::of_algorithm(Algorithm::EcdsaP384).0.clone();
    let mut steps: Vec<Secrets> = vec![of_algorithm(Algorithm::EcdsaP384, &cluster)];
    for (seed, step) in [(21, RotationStep::Trust), (22, RotationStep::Issue), (23, RotationStep::Drop)] {
        let mut secrets = steps.last().unwrap().clone();
        for ca in Ca::ALL {
            let options = CaOptions::of(&cluster, NOW + 5);
            assert_eq!(secrets.rotate(ca, options, &mut fixed_random(seed)).unwrap(), step);
        }
        steps.push(secrets);
    }
    let steps: Vec<Authority> = steps.iter().map(|secrets| Authority::open(secrets, &cluster).unwrap()).collect();
    for (index, trusting) in steps.iter().enumerate() {
        let Some(folder) = openssl(trusting) else { return };
        let near = index.saturating_sub(1)..(index + 2).min(steps.len());
        for issuing in &steps[near] {
            all(folder.path(), issuing, &cluster, NOW + 10);
        }
    }
    let Some(folder) = openssl(&steps[3]) else { return };
    let leaf = table::leaf(crate::draft::Row::Scheduler, &cluster, None);
    let old = steps[0].issue(&leaf).unwrap().form(LeafForm::Certificate);
    let (ok, said) = verify(folder.path(), Ca::Kubernetes, text(&old.bytes), &["-attime", &(NOW + 10).to_string()]);
    assert!(!ok && said.contains("unable to get local issuer certificate"), "{said}");
}
