//! What is fuzzed: everything that reads bytes which somebody else may have written. A target panics if anything is
//! wrong; whatever it is given, it must not.
//!
//! tests/suite/fuzz.rs runs the same functions over the corpus and mutations of it, on every run of the tests.

use nodekiln::{
    config::{self, Arch, Colors, Loaded},
    draft,
    node::{self, Sources},
    pki::{self, Authority, Ca},
    secrets::{CaOptions, Secrets},
};
use nodekiln_payload::{Artifact, EncodeOptions, Pointer, Profile, decode, encode, validate};
use nodekiln_plan::{ApiStep, NodePlan, Secret, paths};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, LazyLock};

/// A reader of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and its folder's in the corpus.
    pub name: &'static str,
    /// Reads.
    pub run: fn(&[u8]),
    /// What is worth beginning with. Nothing with a key in it is committed: these are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: [Target; 4] = [
    Target { name: "cluster", run: cluster, seeds: clusters },
    Target { name: "secrets", run: secrets, seeds: secret_files },
    Target { name: "plan", run: plan, seeds: plans },
    Target { name: "payload", run: payload, seeds: payloads },
];

/// A moment in 2026.
const NOW: i64 = 1_780_000_000;

/// cluster.yaml: all findings can be shown; what is accepted can be planned or is refused by name.
fn cluster(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::load_str("cluster.yaml", text, None) {
        Ok(loaded) => {
            loaded.warnings.render(Colors::Off);
            for node in loaded.cluster.nodes.iter().take(3) {
                match node::plan(&loaded.cluster, node, &sources()) {
                    Ok(planned) => drop(draft::render(&planned)),
                    Err(refusals) => {
                        assert!(!refusals.is_empty(), "refused without a reason");
                        refusals.iter().for_each(|refusal| drop(refusal.to_string()));
                    }
                }
            }
        }
        Err(config::Failure::Findings(findings)) => {
            let shown = findings.render(Colors::On);
            assert!(!shown.is_empty(), "refused without a word");
        }
        Err(failure) => panic!("{failure}: a text is no file"),
    }
}

/// secrets.yaml: what is accepted is written and read again as it was, and opens or is refused; nothing private is said.
fn secrets(data: &[u8]) {
    match Secrets::parse(data) {
        Ok(secrets) => {
            let written = secrets.to_vec();
            let again = Secrets::parse(written.expose()).expect("what was written can be read");
            assert_eq!(again.to_vec().expose(), written.expose(), "written differently the second time");
            assert_eq!(again.fingerprint(), secrets.fingerprint());
            if let Err(error) = Authority::open(&secrets, &SINGLE.cluster) {
                drop(error.to_string());
            }
        }
        Err(findings) => assert!(!findings.to_string().is_empty(), "refused without a word"),
    }
}

/// plan.json and the lines of api.ndjson, as a node reads them.
fn plan(data: &[u8]) {
    match NodePlan::from_slice(data) {
        Ok(plan) => {
            let written = plan.to_vec().expect("what was read can be written");
            let again = NodePlan::from_slice(&written).expect("what was written can be read");
            assert_eq!(again.to_vec().expect("it was written before"), written, "written differently the second time");
        }
        Err(error) => drop(error.to_string()),
    }
    if let Ok(step) = serde_json::from_slice::<ApiStep>(data) {
        let written = serde_json::to_vec(&step).expect("what was read can be written");
        let again: ApiStep = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, step, "another step the second time");
    }
}

/// A payload, decoded. The first byte says how it is to be read.
fn payload(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let profiles = Profile::all();
    if *kind == b'p' {
        if let Ok(pointer) = Pointer::decode(bytes) {
            pointer.encode(&EncodeOptions::default()).expect("what was read can be written");
        }
        return;
    }
    let profile = &profiles[usize::from(*kind) % profiles.len()];
    let artifacts = if profile.name == "cloud-init" {
        // user-data, then meta-data after a NUL.
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let [user, meta] = [(); 2].map(|()| parts.next().unwrap_or_default());
        vec![artifact("user-data", user), artifact("meta-data", meta)]
    } else {
        vec![artifact("config.ign", bytes)]
    };
    match decode(&artifacts, profile) {
        // A tree that can be encoded comes back; one that cannot is refused by our own rules.
        Ok(tree) => {
            if validate(&tree, profile).is_empty()
                && let Ok(artifacts) = encode(&tree, profile, &EncodeOptions::default())
            {
                decode(&artifacts, profile).expect("what was written can be read");
            }
        }
        Err(error) => drop(error.to_string()),
    }
}

fn artifact(name: &'static str, bytes: &[u8]) -> Artifact {
    Artifact { name, bytes: Secret::new(bytes.to_vec()) }
}

fn sources() -> Sources {
    let program: Arc<[u8]> = b"nodekiln-firstboot".as_slice().into();
    Sources::new([(Arch::Amd64, program.clone()), (Arch::Arm64, program)].into())
}

/// Bytes that look random and are the same everywhere.
fn stream() -> impl FnMut(&mut [u8]) -> Result<(), std::convert::Infallible> {
    let mut block = Sha256::digest(b"nodekiln fuzz");
    move |buffer| {
        for chunk in buffer.chunks_mut(32) {
            block = Sha256::digest(block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

fn example(name: &str) -> Loaded {
    let example = config::examples::find(name).expect("the example is embedded");
    config::load_str(name, example.text, None).expect("an example is valid")
}

static SINGLE: LazyLock<Loaded> = LazyLock::new(|| example("single"));

fn clusters() -> Vec<Vec<u8>> {
    config::examples::ALL.iter().map(|example| example.text.as_bytes().to_vec()).collect()
}

fn made() -> Secrets {
    Secrets::new(CaOptions::of(&SINGLE.cluster, NOW), stream()).expect("the stream never fails")
}

/// New ones; in the middle of all rotations, with tokens; and of a CA elsewhere.
fn secret_files() -> Vec<Vec<u8>> {
    let new = made();
    let mut rotated = made();
    let options = CaOptions::of(&SINGLE.cluster, NOW);
    rotated.rotate(Ca::Kubernetes, options, &mut stream()).expect("the stream never fails");
    rotated.rotate_encryption(&mut stream()).expect("the stream never fails");
    let text = |secrets: &Secrets| String::from_utf8(secrets.to_vec().expose().to_vec()).expect("it is a text");
    let tokens =
        "bootstrapTokens:\n  pool: {id: abcde0, secret: 0123456789abcdef, createdAt: '2026-01-31T12:00:00Z'}\n";
    // The first certificate of the file, once more, as if it were a leaf's; and the CA's key away.
    let whole = text(&new);
    let (before, rest) = whole.split_once("    key: |\n").expect("the first CA has a key");
    let (_, after) = rest.split_once("  frontProxy:\n").expect("then comes the next");
    let (_, certificate) = before.split_once("certificate: |\n").expect("it has a certificate");
    let outside = format!(
        "{before}  frontProxy:\n{after}leafCertificates:\n- row: lease\n  generation: 1\n  certificate: |\n{certificate}"
    );
    assert!(Secrets::parse(outside.as_bytes()).is_ok_and(|secrets| secrets.has_outside_ca()), "a seed is no good");
    vec![whole.clone().into_bytes(), (text(&rotated) + tokens).into_bytes(), outside.into_bytes()]
}

/// Every node of every example, filled: its tree and how it is encoded.
fn filled() -> Vec<(pki::Filled, &'static Profile)> {
    let secrets = made();
    let mut all = Vec::new();
    for name in ["single", "ha"] {
        let loaded = example(name);
        let authority = Authority::open(&secrets, &loaded.cluster).expect("the example's periods fit");
        for node in &loaded.cluster.nodes {
            let draft = node::plan(&loaded.cluster, node, &sources()).expect("an example can be planned");
            all.push((pki::fill(&authority, &draft).expect("an example can be filled"), draft.class.profile));
        }
    }
    all
}

fn plans() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (filled, _) in filled() {
        for file in &filled.tree.files {
            match file.path.as_str() {
                paths::PLAN => seeds.push(file.contents.expose().to_vec()),
                paths::API_OBJECTS => {
                    seeds.extend(file.contents.expose().split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
                }
                _ => {}
            }
        }
    }
    seeds
}

/// Trees cut down to a few files, so that mutations reach all parts of a payload.
fn payloads() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (mut filled, _) in filled() {
        filled.tree.files.retain(|file| file.contents.expose().len() < 2000);
        for (index, profile) in Profile::all().iter().enumerate() {
            let Ok(artifacts) = encode(&filled.tree, profile, &EncodeOptions::default()) else { continue };
            // A byte that leads to this profile and is not that of a pointer.
            let mut seed = vec![u8::try_from(index).unwrap_or_default()];
            let parts: Vec<_> = artifacts.iter().map(|artifact| artifact.bytes.expose()).collect();
            seed.extend(parts.join(&0));
            seeds.push(seed);
            if let [config] = &artifacts[..]
                && profile.name != "cloud-init"
            {
                let pointer = Pointer::to(config, "https://192.0.2.1/x.ign".to_owned(), None);
                let stub = pointer.encode(&EncodeOptions::default()).expect("a pointer to a configuration");
                seeds.push([b"p", stub.bytes.expose()].concat());
            }
        }
    }
    seeds
}
