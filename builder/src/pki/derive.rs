//! Leaf keys out of the seed: the same seed, row, node and generation give the same key for ever.
//!
//! HKDF-SHA256 (RFC 5869) without salt; the info names what is derived; the output is a scalar of P-256 or P-384 by
//! rejection sampling. RSA keys cannot be derived safely: the secrets keep them. Nothing here may change: it would change the keys of every cluster. Known-answer tests pin it.

use crate::{
    config::Algorithm,
    pki::{
        key::KeyPair,
        table::{Scope, Spec},
    },
};
use hkdf::Hkdf;
use nodekiln_plan::NodeName;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Version of this derivation, part of each info.
const VERSION: &str = "nodekiln/1";

/// The seed, extracted: all that leaf keys are made from.
pub struct Deriver {
    prk: Zeroizing<[u8; 32]>,
    generation: u64,
}

impl Deriver {
    /// Derives keys of `generation` from `seed`.
    pub fn new(seed: &[u8; 32], generation: u64) -> Self {
        let mut prk = Zeroizing::new([0; 32]);
        prk.copy_from_slice(&Hkdf::<Sha256>::extract(None, seed).0);
        Self { prk, generation }
    }

    /// The key of the row `spec`, for `node` where it is per node; `None` where `algorithm` is RSA.
    pub fn leaf(&self, spec: &Spec, node: Option<&NodeName>, algorithm: Algorithm) -> Option<KeyPair> {
        debug_assert_eq!(spec.scope == Scope::Node, node.is_some());
        let (name, size): (&[u8], _) = match algorithm {
            Algorithm::EcdsaP256 => (b"ECDSA-P256", 32),
            Algorithm::EcdsaP384 => (b"ECDSA-P384", 48),
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => return None,
        };
        let info = info(&[
            VERSION.as_bytes(),
            b"leaf-key",
            spec.name.as_bytes(),
            node.map_or("", |node| node.as_str()).as_bytes(),
            &self.generation.to_be_bytes(),
            name,
        ]);
        let hkdf = Hkdf::<Sha256>::from_prk(&*self.prk).expect("a pseudo-random key has the length of the hash");
        Some(sample(algorithm, size, |attempt, scalar| {
            hkdf.expand_multi_info(&[&info, &[attempt]], scalar).expect("48 bytes are less than 255 blocks");
        }))
    }

    /// A name that nobody guesses without the seed, for `node`'s configuration with this digest.
    pub fn served_name(&self, node: &NodeName, digest: &nodekiln_plan::Sha256) -> String {
        let info = info(&[VERSION.as_bytes(), b"served-name", node.as_str().as_bytes(), digest.as_bytes()]);
        let hkdf = Hkdf::<Sha256>::from_prk(&*self.prk).expect("a pseudo-random key has the length of the hash");
        let mut name = [0; 32];
        hkdf.expand(&info, &mut name).expect("32 bytes are less than 255 blocks");
        hex::encode(name)
    }
}

impl std::fmt::Debug for Deriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deriver(generation {})", self.generation)
    }
}

/// Each part preceded by its length, so that no two lists give the same info.
fn info(parts: &[&[u8]]) -> Vec<u8> {
    let mut info = Vec::with_capacity(128);
    for part in parts {
        info.extend_from_slice(&(part.len() as u64).to_be_bytes());
        info.extend_from_slice(part);
    }
    info
}

/// The first candidate that is a scalar: not zero and below the group order. A candidate fails once in 2^32 (P-256) or
/// 2^190 (P-384).
fn sample(algorithm: Algorithm, size: usize, mut candidate: impl FnMut(u8, &mut [u8])) -> KeyPair {
    let mut bytes = Zeroizing::new(vec![0; size]);
    (0..=u8::MAX)
        .find_map(|attempt| {
            candidate(attempt, &mut bytes);
            KeyPair::from_scalar(algorithm, &bytes)
        })
        .expect("256 candidates in a row fail once in 2^8192")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{draft::Row, pki::table::spec};

    fn node(name: &str) -> Option<NodeName> {
        Some(name.parse().unwrap())
    }

    /// RFC 5869, appendix A.1 and A.3: the crate computes what we think it does, and no salt is thirty-two zeros.
    #[test]
    fn rfc5869() {
        for (ikm, salt, info, okm) in [
            (
                [0x0b; 22],
                Some("000102030405060708090a0b0c"),
                "f0f1f2f3f4f5f6f7f8f9",
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                [0x0b; 22],
                None,
                "",
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ] {
            let salt = salt.map(|salt| hex::decode(salt).unwrap());
            let (prk, _) = Hkdf::<Sha256>::extract(salt.as_deref(), &ikm);
            let mut out = [0; 42];
            Hkdf::<Sha256>::from_prk(&prk).unwrap().expand(&hex::decode(info).unwrap(), &mut out).unwrap();
            assert_eq!(hex::encode(out), okm);
        }
    }

    #[test]
    fn rejected_candidates_are_passed_over() {
        for (algorithm, size, order) in [
            (Algorithm::EcdsaP256, 32, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
            (
                Algorithm::EcdsaP384,
                48,
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
            ),
        ] {
            let mut below = hex::decode(order).unwrap();
            below[size - 1] -= 1;
            let below = hex::encode(below);
            let candidates = ["00".repeat(size), order.to_owned(), "ff".repeat(size), below.clone(), "01".repeat(size)];
            let mut asked = 0;
            let key = sample(algorithm, size, |attempt, bytes| {
                asked += 1;
                hex::decode_to_slice(&candidates[usize::from(attempt)], bytes).unwrap();
            });
            let expected = KeyPair::from_scalar(algorithm, &hex::decode(&below).unwrap()).unwrap();
            assert_eq!((asked, key.spki()), (4, expected.spki()));
        }
    }

    #[test]
    fn infos_are_framed() {
        assert_ne!(info(&[b"a", b"bc"]), info(&[b"ab", b"c"]));
        assert_eq!(info(&[b"ab"]), [0, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
    }

    #[test]
    fn every_input_counts() {
        let name = |seed: u8, generation, row, node: Option<NodeName>| {
            let deriver = Deriver::new(&[seed; 32], generation);
            let key = deriver.leaf(spec(row), node.as_ref(), Algorithm::EcdsaP256).unwrap();
            let other = deriver.leaf(spec(row), node.as_ref(), Algorithm::EcdsaP384).unwrap();
            // The algorithm too: not even the scalars have a part in common.
            assert_ne!(key.pkcs8()[36..68], other.pkcs8()[35..67]);
            assert!(deriver.leaf(spec(row), node.as_ref(), Algorithm::Rsa2048).is_none());
            key.spki_sha256()
        };
        let first = name(7, 1, Row::KubeletClient, node("n1"));
        assert_eq!(first, name(7, 1, Row::KubeletClient, node("n1")));
        let mut all = vec![
            first,
            name(8, 1, Row::KubeletClient, node("n1")),
            name(7, 2, Row::KubeletClient, node("n1")),
            name(7, 1, Row::KubeletServer, node("n1")),
            name(7, 1, Row::KubeletClient, node("n2")),
            name(7, 1, Row::Scheduler, None),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    /// Changing one of these by accident breaks every user's cluster. Computed independently, from the RFCs alone.
    #[test]
    fn known_answers() {
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        for (row, node, generation, scalar, point) in [
            (
                Row::KubeletClient,
                node("n1"),
                1,
                "132ba9fc0b510c7b81f00b642bac5341e9f90afb9242bbce6d89ceb531c401e8",
                "04fcf77754f6d26742013edab71540bf57855e6b501751fc5e345768abc0694ba7\
6a659a7f76a96901d2cf13b748d2f7e386724e67158cba2f20ea99b3c837128f",
            ),
            (
                Row::Scheduler,
                None,
                1,
                "680ed436058ec42e82878c0ab59121d57e5466092f2afd0bb3c2318774ce0f0c",
                "043e30a5ea57da82580020f23d1cab6c7143af4353ee145ed91d0cff31f3a16349\
49a772a6e06d0d99bca891d8832770148f168c78d28799d73c680292e1ea93bd",
            ),
            (
                Row::ApiServer,
                node("cp-0.example"),
                258,
                "8db52632a0fab955d31ba19c73d5bad4aed2cd434fb64500f8ca241a10691969",
                "04f1ac48cb93e6646bc55303aa40a7ec9834011e4013ca1f5326a6ea7a5e4727b7\
6708c6a7c558fc8cba03a25f3241992307547feb48cc3069ecb940e702aac331",
            ),
        ] {
            let key = Deriver::new(&seed, generation).leaf(spec(row), node.as_ref(), Algorithm::EcdsaP256).unwrap();
            let found = (hex::encode(&key.pkcs8()[36..68]), hex::encode(key.public_bits()));
            assert_eq!(found, (scalar.to_owned(), point.to_owned()), "{row:?}");
        }
    }

    /// The same for P-384.
    #[test]
    fn known_answers_p384() {
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        for (row, node, generation, scalar, point) in [
            (
                Row::EtcdPeer,
                node("n1"),
                1,
                "a527c83007cd584dae57f0feb461bf4aa5921ca4380dd1129e5cbdf651c9e2a90efd7cdaa03f6ccbf0a3d7fe465f4cc3",
                "0453dbd06f84fd54e72cd4e1556c0e42a5c343cb2cb9a2321213ec50f1d3f45bd73627e26d42e5fdbfcdda97d422d7592b\
7229c6a1c267b13d03618c4c02f909d0292eed55a967b15b9d3e33d5cffb86ae0ec0469d3c7034acc39f93fd8fcfdda5",
            ),
            (
                Row::Scheduler,
                None,
                1,
                "57577bd268bb72d37308b4cb6a236326527ed9d3810b0fea68acc58d7c9a9f64eb5ad8f08c4dde36788fd66f3c0386c9",
                "04ada295fa7b0097aec3ade7a2b924526e765ca2e117ba8c4291bf8535ea11e05ab26aa00140359a5f02f78e7d01a3fb8b\
01691f0bd8a0580f83803d6b45b78918ca8bba125383007104594cb8879f1bdad42038fb2aacf697e0b2b04a823a4b8e",
            ),
            (
                Row::ApiServer,
                node("cp-0.example"),
                258,
                "48046b8e2283bcdc0dce1abfc4cfad476a54a3c099e62a5103b337db82a9ba716a52028c1b0e0782ec7d323f49a7989b",
                "04e93b476326879cd1af0630815c72ee084c49ee6df869947577fccf20692f38399469e536152576b5cdba7cf480e46af7\
bffe23576544a3c83b1c28c2059b9a33de85e74e1ab79f994a27afcc2b9c78ca3944690e084a5ef31c08c583aa9dc05b",
            ),
        ] {
            let key = Deriver::new(&seed, generation).leaf(spec(row), node.as_ref(), Algorithm::EcdsaP384).unwrap();
            let found = (hex::encode(&key.pkcs8()[35..83]), hex::encode(key.public_bits()));
            assert_eq!(found, (scalar.to_owned(), point.to_owned()), "{row:?}");
        }
    }

    /// The names of what is published: a machine's pointer names one of them for as long as it lives.
    #[test]
    fn known_names() {
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        // The generation has no part in them: the digest has.
        for generation in [1, 2] {
            let deriver = Deriver::new(&seed, generation);
            for (name, digest, served) in [
                ("n1", [0; 32], "27e72b495dfd656007e4876fae151a8880bf9da2908d683b882f2f1ad8f6ea41"),
                ("cp-0.example", seed, "e6e88ec54464c1247ad5df0a856375225d0b69aaffb305f513c1a864e1465339"),
            ] {
                let digest = nodekiln_plan::Sha256::from_bytes(digest);
                assert_eq!(deriver.served_name(&node(name).unwrap(), &digest), served);
            }
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Deriver::new(&[1; 32], 3)), "Deriver(generation 3)");
    }
}
