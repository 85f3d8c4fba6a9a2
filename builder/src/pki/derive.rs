//! Leaf keys out of the seed: the same seed, row, node and generation give the same key for ever.
//!
//! HKDF-SHA256 (RFC 5869) without salt; the info names what is derived; the output is a P-256 scalar by rejection
//! sampling. Nothing here may change: it would change the keys of every cluster. Known-answer tests pin it.

use crate::pki::{
    key::KeyPair,
    table::{Scope, Spec},
};
use hkdf::Hkdf;
use nodekiln_plan::NodeName;
use p256::SecretKey;
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

    /// The key of the row `spec`, for `node` where it is per node.
    pub fn leaf(&self, spec: &Spec, node: Option<&NodeName>) -> KeyPair {
        debug_assert_eq!(spec.scope == Scope::Node, node.is_some());
        let info = info(&[
            VERSION.as_bytes(),
            b"leaf-key",
            spec.name.as_bytes(),
            node.map_or("", |node| node.as_str()).as_bytes(),
            &self.generation.to_be_bytes(),
            b"ECDSA-P256",
        ]);
        let hkdf = Hkdf::<Sha256>::from_prk(&*self.prk).expect("a pseudo-random key has the length of the hash");
        KeyPair::new(sample(|attempt, scalar| {
            hkdf.expand_multi_info(&[&info, &[attempt]], scalar).expect("32 bytes are less than 255 blocks");
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

/// The first candidate that is a scalar: not zero and below the group order. A candidate fails once in 2^32.
pub(crate) fn sample(mut candidate: impl FnMut(u8, &mut [u8; 32])) -> SecretKey {
    let mut bytes = Zeroizing::new([0; 32]);
    (0..=u8::MAX)
        .find_map(|attempt| {
            candidate(attempt, &mut bytes);
            SecretKey::from_slice(&bytes[..]).ok()
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
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let below = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550";
        let candidates = ["00".repeat(32), order.to_owned(), "ff".repeat(32), below.to_owned(), "01".repeat(32)];
        let mut asked = 0;
        let key = sample(|attempt, bytes| {
            asked += 1;
            hex::decode_to_slice(&candidates[usize::from(attempt)], bytes).unwrap();
        });
        assert_eq!((asked, hex::encode(key.to_bytes())), (4, below.to_owned()));
    }

    #[test]
    fn infos_are_framed() {
        assert_ne!(info(&[b"a", b"bc"]), info(&[b"ab", b"c"]));
        assert_eq!(info(&[b"ab"]), [0, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
    }

    #[test]
    fn every_input_counts() {
        let name = |seed: u8, generation, row, node: Option<NodeName>| {
            Deriver::new(&[seed; 32], generation).leaf(spec(row), node.as_ref()).spki_sha256()
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
            let key = Deriver::new(&seed, generation).leaf(spec(row), node.as_ref());
            let found = (hex::encode(&key.pkcs8()[36..68]), hex::encode(key.point()));
            assert_eq!(found, (scalar.to_owned(), point.to_owned()), "{row:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Deriver::new(&[1; 32], 3)), "Deriver(generation 3)");
    }
}
