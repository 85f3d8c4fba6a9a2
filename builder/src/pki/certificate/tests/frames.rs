//! Leaves that are filled into a frame, held against those that rcgen writes whole.

use super::*;
use proptest::prelude::*;

/// All that follows the serial number, by rcgen alone, in the name of the CA.
fn by_rcgen(signer: &Signer, subject: &Subject<'_>, key: &KeyPair, validity: Validity) -> Vec<u8> {
    let draft = signer.draft(subject, key, validity).unwrap();
    let (_, after) = tlv::split(after_algorithm(&draft, signer.key()).unwrap()).unwrap();
    [signer.key().signature_algorithm(), &signer.certificate().subject, after].concat()
}

fn by_frame(signer: &Signer, subject: &Subject<'_>, key: &KeyPair, validity: Validity) -> Vec<u8> {
    let kind = Kind { usage: subject.usage, is_rsa: key.is_rsa(), validity };
    signer.frame(key, kind).unwrap().fill(subject, &key.spki()).unwrap()
}

/// CAs of every algorithm, and one that names no key.
fn signers() -> Vec<Signer> {
    let validity = Validity::starting(NOW, 10 * YEAR).unwrap();
    let open = |key: KeyPair| Signer::open(&self_signed(Ca::Etcd, &key, validity).unwrap(), key).unwrap();
    let mut signers: Vec<_> = keys().into_iter().map(open).collect();
    let mut nameless = open(keys().remove(0));
    nameless.certificate.key_identifier = None;
    nameless.frames = Mutex::default();
    signers.push(nameless);
    signers
}

fn keys() -> Vec<KeyPair> {
    [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048]
        .map(|algorithm| KeyPair::generate(algorithm, &mut secrets::tests::fixed_random(5)).unwrap())
        .into()
}

fn san() -> impl Strategy<Value = San> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(San::Ip),
        "[a-z0-9.*-]{0,20}".prop_map(San::Dns),
        "[a-z]{120,135}".prop_map(San::Dns),
    ]
}

#[test]
fn a_frame_says_what_rcgen_says() {
    let (signers, keys) = (signers(), keys());
    let validity = Validity::starting(NOW, YEAR).unwrap();
    let strategy = (
        ".{1,140}",
        proptest::option::of("[a-z:]{1,20}"),
        proptest::collection::vec(san(), 0..12),
        prop_oneof![Just(Usage::Server), Just(Usage::Client), Just(Usage::Both)],
        (0..signers.len(), 0..keys.len()),
    );
    let mut runner = proptest::test_runner::TestRunner::default();
    let result = runner.run(&strategy, |(common_name, organization, sans, usage, (signer, key))| {
        let subject = Subject { common_name: &common_name, organization: organization.as_deref(), sans: &sans, usage };
        let (signer, key) = (&signers[signer], &keys[key]);
        prop_assert_eq!(by_frame(signer, &subject, key, validity), by_rcgen(signer, &subject, key, validity));
        Ok(())
    });
    result.unwrap();
    // Beyond 1949 and 2049 times are written in another form.
    for (start, lifetime) in [(NOW, 30 * YEAR), (-600_000_000, YEAR)] {
        let validity = Validity::starting(start, lifetime).unwrap();
        let subject = Subject { common_name: "x", organization: None, sans: &[], usage: Usage::Both };
        let (signer, key) = (&signers[0], &keys[1]);
        assert_eq!(by_frame(signer, &subject, key, validity), by_rcgen(signer, &subject, key, validity));
    }
}

/// One for each kind, however many leaves are issued.
#[test]
fn frames_are_cut_once() {
    let (signer, keys) = (signers().remove(0), keys());
    let before = signer.frames.lock().unwrap().len();
    let validity = Validity::starting(NOW, YEAR).unwrap();
    for usage in [Usage::Server, Usage::Client, Usage::Server, Usage::Client] {
        for (key, common_name) in keys.iter().zip(["a", "b", "c"]) {
            let subject = Subject { common_name, organization: None, sans: &[], usage };
            signer.issue(&subject, key, validity).unwrap();
        }
    }
    // Keys on P-256 and P-384 are of one kind.
    assert_eq!(signer.frames.lock().unwrap().len(), before + 4);
}

#[test]
fn a_draft_of_other_parts_is_refused() {
    let (signer, key) = (signers().remove(0), keys().remove(0));
    let validity = Validity::starting(NOW, YEAR).unwrap();
    let cut = |draft: &[u8], ca: &KeyPair| Frame::cut(draft, &signer.certificate().subject, ca).err();
    let draft = |sans| {
        let subject = Subject { common_name: "x", organization: None, sans, usage: Usage::Client };
        signer.draft(&subject, &key, validity).unwrap()
    };
    assert!(cut(&draft(frame::SOME_NAME), signer.key()).is_none());
    assert!(matches!(cut(&draft(&[]), signer.key()), Some(CertificateError::Frame)));
    assert!(matches!(cut(&draft(frame::SOME_NAME), &keys()[1]), Some(CertificateError::Algorithm)));
}
