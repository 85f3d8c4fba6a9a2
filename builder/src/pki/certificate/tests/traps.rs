//! The traps of rcgen that we know of, each by its name. Others stand with what they are about: repeated attributes of a
//! name with the secrets, keys that come out under a wrong label with the keys.

use super::*;

/// rcgen issue 448: it takes the algorithm of a signature for that of a key. A P-384 key in a certificate that a P-256 or
/// RSA CA signs keeps its own curve.
#[test]
fn trap_the_key_is_of_its_own_algorithm() {
    let keys: Vec<KeyPair> = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048]
        .map(|algorithm| KeyPair::generate(algorithm, &mut secrets::tests::fixed_random(5)).unwrap())
        .into();
    let validity = Validity::starting(NOW, YEAR).unwrap();
    let subject = Subject { common_name: "x", organization: None, sans: &[], usage: Usage::Client };
    for ca in &keys {
        let signer = Signer::open(&self_signed(Ca::Etcd, ca, validity).unwrap(), ca.clone()).unwrap();
        for key in &keys {
            let der = signer.issue(&subject, key, validity).unwrap();
            let (_, leaf) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(leaf.public_key().raw, key.spki());
            assert!(ca.verifies(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data));
        }
    }
    // And should it come out otherwise, it is refused.
    let draft = {
        let params = params("x", None, validity).unwrap();
        let draft = params.self_signed(&Public::of(&keys[0])).unwrap();
        draft.der().to_vec()
    };
    let other = KeyPair::generate(Algorithm::EcdsaP256, &mut secrets::tests::fixed_random(6)).unwrap();
    assert!(finish(&draft, &keys[0]).is_ok());
    assert!(matches!(finish(&draft, &other), Err(CertificateError::PublicKey)));
    assert!(matches!(finish(&draft, &keys[1]), Err(CertificateError::Algorithm)));
}

/// rcgen opens a CA with any key, and any certificate as a CA.
#[test]
fn trap_a_ca_is_one_and_the_key_is_its_own() {
    let [a, b] =
        [1, 2].map(|seed| KeyPair::generate(Algorithm::EcdsaP384, &mut secrets::tests::fixed_random(seed)).unwrap());
    let ca = self_signed(Ca::Kubernetes, &a, Validity::starting(NOW, YEAR).unwrap()).unwrap();
    assert_eq!(Signer::open(&ca, b).err(), Some(CaError::OtherKey));
    let signer = Signer::open(&ca, a.clone()).unwrap();
    let subject = Subject { common_name: "x", organization: None, sans: &[], usage: Usage::Client };
    let leaf = signer.issue(&subject, &a, signer.validity()).unwrap();
    assert_eq!(Signer::open(&leaf, a).err(), Some(CaError::NotCa));
}

/// rcgen's serial number is the same for every certificate of a key: ours differs wherever anything differs.
#[test]
fn trap_serial_numbers_differ_under_one_key() {
    let (cluster, authority) = fixture::of_algorithm(Algorithm::EcdsaP256);
    let key = KeyPair::from_scalar(Algorithm::EcdsaP256, &[7; 32]).unwrap();
    let signer = &authority.signer(Ca::Kubernetes);
    let sans = table::leaf(Row::ApiServer, cluster, cluster.nodes.first()).sans;
    let subject = |common_name, sans| Subject { common_name, organization: None, sans, usage: Usage::Server };
    let validity = Validity::starting(NOW, YEAR).unwrap();
    let later = Validity::starting(NOW + 1, YEAR).unwrap();
    let serials: std::collections::BTreeSet<Vec<u8>> = [
        signer.issue(&subject("a", &[]), &key, validity),
        signer.issue(&subject("b", &[]), &key, validity),
        signer.issue(&subject("a", &sans), &key, validity),
        signer.issue(&subject("a", &[]), &key, later),
    ]
    .map(|der| X509Certificate::from_der(&der.unwrap()).unwrap().1.raw_serial().to_vec())
    .into();
    assert_eq!(serials.len(), 4);
}

/// rcgen's defaults: valid from 1975 to 4096, a placeholder for a subject, no authority key identifier. `leaves` reads
/// all fields back; here, that none of them shines through.
#[test]
fn trap_no_default_shines_through() {
    for algorithm in ALGORITHMS {
        let (cluster, authority) = fixture::of_algorithm(algorithm);
        for leaf in fixture::all_leaves(cluster) {
            let der = der(authority, &leaf);
            assert!(!der.windows(5).any(|window| window == b"rcgen"), "{leaf:?}");
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            assert!(certificate.validity().not_before.timestamp() > NOW - 2 * DAY);
        }
    }
}

/// Secrets that a disk or an editor has damaged are found when they are read, not by whoever reads a certificate of them.
#[test]
fn trap_no_bit_of_a_root_flips_unseen() {
    let (_, authority) = fixture::of_algorithm(Algorithm::EcdsaP256);
    let whole = ca_der(authority, Ca::FrontProxy);
    assert_eq!(CaCertificate::parse(&whole).map(|certificate| certificate.name), Ok("CN=front-proxy-ca".to_owned()));
    let mut why = std::collections::BTreeSet::new();
    for bit in 0..whole.len() * 8 {
        let mut other = whole.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        match CaCertificate::parse(&other) {
            Ok(_) => panic!("bit {} of byte {} flipped unseen", bit % 8, bit / 8),
            Err(error) => why.insert(error.to_string()),
        };
    }
    for error in [CaError::Damaged, CaError::TwoAlgorithms, CaError::Forged, CaError::Syntax] {
        assert!(why.contains(&error.to_string()), "{error}");
    }
}
