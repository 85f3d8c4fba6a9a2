//! Tests of keys: standard vectors, one library against the other, openssl against both.

use super::*;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use sha2::Digest as _;

pub(crate) const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048, Algorithm::Rsa3072, Algorithm::Rsa4096];

/// An RSA key that is the same in every run, made by openssl.
pub(crate) fn rsa_fixture() -> KeyPair {
    KeyPair::from_pem(include_str!("fixtures/rsa-pkcs8.pem")).unwrap()
}

/// The key of RFC 6979, appendix A.2.5.
fn rfc6979_p256() -> KeyPair {
    let scalar = hex::decode("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721").unwrap();
    KeyPair::from_scalar(Algorithm::EcdsaP256, &scalar).unwrap()
}

/// The key of RFC 6979, appendix A.2.6.
fn rfc6979_p384() -> KeyPair {
    let scalar = hex::decode(
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8\
         96D5724E4C70A825F872C9EA60D2EDF5",
    );
    KeyPair::from_scalar(Algorithm::EcdsaP384, &scalar.unwrap()).unwrap()
}

#[test]
fn rfc6979_a_2_5() {
    let pair = rfc6979_p256();
    assert_eq!(
        hex::encode_upper(&pair.public_bits()[1..]),
        "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
         7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
    );
    for (message, signature) in [
        (
            "sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367\
             019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ),
    ] {
        let der = pair.sign(message.as_bytes());
        let plain = p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes();
        assert_eq!(hex::encode_upper(plain), signature, "{message}");
        assert!(pair.verifies(message.as_bytes(), &der) && !pair.verifies(b"other", &der));
    }
}

#[test]
fn rfc6979_a_2_6() {
    let pair = rfc6979_p384();
    assert_eq!(
        hex::encode_upper(&pair.public_bits()[1..]),
        "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64\
         DEF8F0EA9055866064A254515480BC13\
         8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1\
         288B231C3AE0D4FE7344FD2533264720"
    );
    for (message, signature) in [
        (
            "sample",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C\
             81A648152E44ACF96E36DD1E80FABE46\
             99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94F\
             A329C145786E679E7B82C71A38628AC8",
        ),
        (
            "test",
            "8203B63D3C853E8D77227FB377BCF7B7B772E97892A80F36AB775D509D7A5FEB\
             0542A7F0812998DA8F1DD3CA3CF023DB\
             DDD0760448D42D8A43AF45AF836FCE4DE8BE06B485E9B61B827C2F13173923E0\
             6A739F040649A667BF3B828246BAA5A5",
        ),
    ] {
        let der = pair.sign(message.as_bytes());
        let plain = p384::ecdsa::Signature::from_der(&der).unwrap().to_bytes();
        assert_eq!(hex::encode_upper(plain), signature, "{message}");
        assert!(pair.verifies(message.as_bytes(), &der) && !pair.verifies(b"other", &der));
    }
}

/// PKCS#1 v1.5 has no random part: the signature that openssl made is the one that we make.
#[test]
fn rsa_signatures_are_those_of_openssl() {
    let pair = rsa_fixture();
    let signature = pair.sign(b"sample");
    assert_eq!(hex::encode(sha2::Sha256::digest(&signature)), include_str!("fixtures/rsa-signature.txt").trim());
    assert!(pair.verifies(b"sample", &signature) && !pair.verifies(b"other", &signature));
}

#[test]
fn encodings_are_those_of_the_libraries() {
    let pair = rfc6979_p256();
    let key = p256::SecretKey::from_slice(&pair.pkcs8()[36..68]).unwrap();
    assert_eq!(*pair.pkcs8(), key.to_pkcs8_der().unwrap().as_bytes());
    assert_eq!(pair.spki(), key.public_key().to_public_key_der().unwrap().as_bytes());
    let pair = rfc6979_p384();
    let key = p384::SecretKey::from_slice(&pair.pkcs8()[35..83]).unwrap();
    assert_eq!(*pair.pkcs8(), key.to_pkcs8_der().unwrap().as_bytes());
    assert_eq!(pair.spki(), key.public_key().to_public_key_der().unwrap().as_bytes());
    assert_eq!(pair.pkcs8().len(), ec::P384.pkcs8_len());
}

/// crates.md: a SEC1 or PKCS#1 key must not come out as PKCS#8 by label alone. Each form, of each kind, as openssl wrote
/// it, is the same key, and leaves as the same PKCS#8.
#[test]
fn every_form_is_one_key() {
    for (name, algorithm, forms) in [
        (
            "p256",
            Algorithm::EcdsaP256,
            [include_str!("fixtures/p256-pkcs8.pem"), include_str!("fixtures/p256-sec1.pem")],
        ),
        (
            "p384",
            Algorithm::EcdsaP384,
            [include_str!("fixtures/p384-pkcs8.pem"), include_str!("fixtures/p384-sec1.pem")],
        ),
        ("rsa", Algorithm::Rsa2048, [include_str!("fixtures/rsa-pkcs8.pem"), include_str!("fixtures/rsa-pkcs1.pem")]),
    ] {
        let pairs = forms.map(|form| KeyPair::from_pem(form).unwrap_or_else(|error| panic!("{name} {error}")));
        assert_eq!(pairs[0].spki(), pairs[1].spki(), "{name}");
        for pair in pairs {
            assert_eq!(pair.algorithm(), Some(algorithm), "{name}");
            assert_eq!(String::from_utf8_lossy(pair.private_pem().expose()), forms[0], "{name}");
            assert_eq!(KeyPair::from_der(&pair.pkcs8()).unwrap().spki(), pair.spki(), "{name}");
            let read = x509_parser::prelude::FromDer::from_der(&pair.spki()).map(
                |(rest, key): (&[u8], x509_parser::x509::SubjectPublicKeyInfo<'_>)| {
                    (rest.len(), key.subject_public_key.data.to_vec())
                },
            );
            assert_eq!(read.unwrap(), (0, pair.public_bits().to_vec()), "{name}");
        }
    }
}

#[test]
fn new_keys() {
    for (algorithm, name) in
        [(Algorithm::EcdsaP256, "ECDSA-P256"), (Algorithm::EcdsaP384, "ECDSA-P384"), (Algorithm::Rsa2048, "RSA-2048")]
    {
        let mut random = crate::secrets::tests::fixed_random(1);
        let [a, b] = [(); 2].map(|()| KeyPair::generate(algorithm, &mut random).unwrap());
        assert_ne!(a.spki(), b.spki());
        assert_eq!((a.algorithm(), a.algorithm_name()), (Some(algorithm), name.to_owned()));
        assert_eq!(KeyPair::from_pkcs8(&a.pkcs8()).unwrap().spki(), a.spki());
        let signature = a.sign(b"x");
        assert!(a.verifies(b"x", &signature) && !b.verifies(b"x", &signature), "{name}");
        assert_eq!(signature, a.sign(b"x"), "{name}: signatures are deterministic");
    }
    assert_eq!(KeyPair::generate(Algorithm::EcdsaP384, &mut |_| Err("dry")).err(), Some(Some("dry")));
}

#[test]
fn many_rsa_keys() {
    let keys = generate_rsa(Algorithm::Rsa2048, 3).unwrap();
    let mut spkis: Vec<_> = keys.iter().map(KeyPair::spki_sha256).collect();
    spkis.sort();
    spkis.dedup();
    assert_eq!(spkis.len(), 3);
    assert_eq!(generate_rsa(Algorithm::Rsa2048, 0).map(|keys| keys.len()), Some(0));
    assert!(generate_rsa(Algorithm::EcdsaP256, 1).is_none());
}

#[test]
fn refused() {
    for pair in [rfc6979_p256(), rfc6979_p384()] {
        let good = pair.pkcs8();
        let pem = |der: &[u8]| String::from_utf8(pem::encode_secret(pem::PRIVATE_KEY, der).expose().to_vec()).unwrap();
        assert!(KeyPair::from_pem(&pem(&good)).is_ok());
        let mut other_point = good.to_vec();
        other_point[110] ^= 1;
        let mut zero = good.to_vec();
        let start = good.len() - pair.public_bits().len() - 5 - pair.public_bits().len() / 2;
        zero[start..start + pair.public_bits().len() / 2].fill(0);
        let mut other_curve = good.to_vec();
        other_curve[25] ^= 0x20;
        for bad in [&other_point[..], &zero, &other_curve, &good[..100], b"", &[good.to_vec(), vec![0]].concat()] {
            assert_eq!(KeyPair::from_pem(&pem(bad)).err(), Some(KeyError::Kind), "{bad:02x?}");
        }
    }
    let rsa = rsa_fixture().pkcs8();
    let mut damaged = rsa.to_vec();
    // In a prime.
    damaged[900] ^= 4;
    assert!(KeyPair::from_pkcs8(&rsa).is_some() && KeyPair::from_pkcs8(&damaged).is_none());
    for (text, error) in [
        (include_str!("fixtures/rsa-1024.pem"), KeyError::Kind),
        (include_str!("fixtures/p521.pem"), KeyError::Kind),
        (include_str!("fixtures/ed25519.pem"), KeyError::Kind),
        (include_str!("fixtures/p256-encrypted.pem"), KeyError::Encrypted),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", pem::PemError::Label("PRIVATE KEY").into()),
        ("x", pem::PemError::Syntax.into()),
    ] {
        assert_eq!(KeyPair::from_pem(text).err(), Some(error), "{text}");
    }
}

proptest::proptest! {
    /// aws-lc and the signing libraries agree on every point, and we read what we write.
    #[test]
    fn two_libraries_one_point(bytes in proptest::collection::vec(proptest::num::u8::ANY, 48)) {
        if let Ok(key) = p256::SecretKey::from_slice(&bytes[..32]) {
            let pair = KeyPair::from_scalar(Algorithm::EcdsaP256, &bytes[..32]).unwrap();
            proptest::prop_assert_eq!(pair.spki(), key.public_key().to_public_key_der().unwrap().into_vec());
            proptest::prop_assert_eq!(KeyPair::from_pkcs8(&pair.pkcs8()).unwrap().spki(), pair.spki());
        }
        if let Ok(key) = p384::SecretKey::from_slice(&bytes) {
            let pair = KeyPair::from_scalar(Algorithm::EcdsaP384, &bytes).unwrap();
            proptest::prop_assert_eq!(pair.spki(), key.public_key().to_public_key_der().unwrap().into_vec());
            proptest::prop_assert_eq!(KeyPair::from_pkcs8(&pair.pkcs8()).unwrap().spki(), pair.spki());
        }
    }
}

#[test]
fn debug_shows_nothing() {
    assert_eq!(format!("{:?} {:?}", rfc6979_p256(), rsa_fixture()), "KeyPair(..) KeyPair(..)");
}
