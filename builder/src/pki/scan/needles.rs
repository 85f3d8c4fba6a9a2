//! [`Needles`]: symmetric keys and tokens, all looked for in one pass.

use crate::pki::table::KeyId;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use nodekiln_plan::Sha256;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Every needle has at least so many bytes: they find it, the rest is compared.
const HEAD: usize = 8;
/// Larger ones would pass over little more.
const WINDOW: usize = 32;
/// Secrets below this size are too short for `next_run` to see their base64: it is a needle of its own then.
const SHORT: usize = 32;

/// A secret, by its index, as some text may have it.
type Form = (usize, Zeroizing<Vec<u8>>);

/// Secrets to look for, in all forms that text gives them. `Debug` shows nothing.
#[derive(Default)]
pub struct Needles {
    secrets: Vec<(KeyId, Sha256)>,
    /// Each form, with the index of its secret, by its head.
    forms: BTreeMap<[u8; HEAD], Vec<Form>>,
    /// So many bytes begin every form: those of the shortest, up to [`WINDOW`].
    window: usize,
    /// By the last two bytes of a window, how far the next one begins that may be a form's: most text is passed over by this
    /// alone (Wu and Manber's search for many patterns).
    skips: Vec<u8>,
}

/// The last two bytes of a window, as an index into so many skips, a power of two.
fn ending(window: &[u8], skips: usize) -> usize {
    match window {
        [.., first, last] => usize::from(u16::from_be_bytes([*first, *last])) & (skips - 1),
        _ => 0,
    }
}

impl Needles {
    /// `secrets` of at least eight bytes; shorter ones would be found everywhere and are not looked for.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (KeyId, &'a [u8])>) -> Self {
        let mut needles = Self { window: WINDOW, ..Self::default() };
        for (id, secret) in secrets {
            if secret.len() < HEAD {
                continue;
            }
            let index = needles.secrets.len();
            needles.secrets.push((id, Sha256::of(secret)));
            let hex = hex::encode(secret);
            let upper = hex.to_ascii_uppercase();
            let mut forms = vec![secret.to_vec(), hex.into_bytes(), upper.into_bytes()];
            if secret.len() < SHORT {
                forms.extend((0..3).map(|before| base64_after(before, secret)));
            }
            for form in forms.into_iter().map(Zeroizing::new) {
                let Some(head) = form.first_chunk::<HEAD>() else { continue };
                needles.window = needles.window.min(form.len());
                needles.forms.entry(*head).or_default().push((index, form));
            }
        }
        // Few are found faster in a table that stays in the processor's cache: where two pairs meet, the shorter way counts.
        let pairs = needles.forms.values().flatten().count() * needles.window;
        let size = (32 * pairs).next_power_of_two().clamp(1 << 12, 1 << 16);
        // After two bytes that stand in no window of a form, the next one begins with the second of them at the earliest.
        needles.skips = vec![needles.window as u8 - 1; size];
        for (_, form) in needles.forms.values().flatten() {
            for (skip, pair) in form[..needles.window].windows(2).rev().enumerate() {
                let known = &mut needles.skips[ending(pair, size)];
                *known = (*known).min(skip as u8);
            }
        }
        needles
    }

    /// Adds those that stand in `bytes` as they are, in hexadecimal, or, if they are short, in base64.
    pub(super) fn find(&self, bytes: &[u8], held: &mut Vec<KeyId>) {
        if self.forms.is_empty() {
            return;
        }
        let mut rest = bytes;
        while let Some(window) = rest.get(..self.window) {
            let skip = usize::from(self.skips[ending(window, self.skips.len())]);
            let forms = window.first_chunk().filter(|_| skip == 0).and_then(|head| self.forms.get(head));
            for (index, form) in forms.into_iter().flatten() {
                if rest.starts_with(form) {
                    held.push(self.secrets[*index].0.clone());
                }
            }
            rest = &rest[skip.max(1)..];
        }
    }

    /// Digest of the secret `id`, of the first where there are several; of nothing where there is none.
    pub fn sha256(&self, id: &KeyId) -> Sha256 {
        let found = self.secrets.iter().find(|(known, _)| known == id);
        found.map_or_else(|| Sha256::of(b""), |(_, digest)| *digest)
    }
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Needles({})", self.secrets.len())
    }
}

/// The base64 of `secret` where `before` bytes (modulo 3) stand before it, without the letters that its neighbours
/// change.
fn base64_after(before: usize, secret: &[u8]) -> Vec<u8> {
    let padded = Zeroizing::new([&[0; 2][..before], secret].concat());
    let text = Zeroizing::new(STANDARD_NO_PAD.encode(&*padded));
    let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    text.as_bytes()[first..last].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn held(needles: &Needles, text: &[u8]) -> Vec<KeyId> {
        super::super::search(text, needles).1
    }

    /// A token in a Secret's `data` is too short for a run of base64.
    #[test]
    fn tokens_in_every_wrapping() {
        let id = KeyId::Token("pool".parse().unwrap());
        let secret = b"0123456789abcdef";
        let needles = Needles::new([(id.clone(), &secret[..])]);
        for text in [
            b"token: abcdef.0123456789abcdef\n".to_vec(),
            hex::encode(secret).into_bytes(),
            hex::encode_upper(secret).into_bytes(),
            STANDARD.encode(secret).into_bytes(),
            STANDARD.encode("abcdef.0123456789abcdef").into_bytes(),
            STANDARD.encode("x0123456789abcdefy").into_bytes(),
            STANDARD.encode("xx0123456789abcdefyy").into_bytes(),
            STANDARD.encode(format!("{{\"token-secret\":\"{}\"}}", STANDARD.encode(secret))).into_bytes(),
        ] {
            assert_eq!(held(&needles, &text), std::slice::from_ref(&id), "{}", String::from_utf8_lossy(&text));
        }
        for text in ["", "0123456789abc", "0123456789abcxef", "abcdef"] {
            assert_eq!(held(&needles, text.as_bytes()), [], "{text}");
            assert_eq!(held(&needles, STANDARD.encode(text).as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn several_in_one_pass() {
        let ids: Vec<KeyId> = ["a", "b", "c"].map(|name| KeyId::Token(name.parse().unwrap())).into();
        let secrets = [b"aaaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaab", b"cccccccccccccccc"];
        let needles = Needles::new(ids.iter().cloned().zip(secrets.iter().map(|secret| &secret[..])));
        assert_eq!(held(&needles, b"aaaaaaaaaaaaaaab"), [ids[1].clone()]);
        assert_eq!(held(&needles, b"aaaaaaaaaaaaaaaab cccccccccccccccc"), ids);
        assert_eq!(needles.sha256(&ids[2]), Sha256::of(b"cccccccccccccccc"));
        assert_eq!(needles.sha256(&KeyId::Encryption(0)), Sha256::of(b""));
        assert!(held(&Needles::new([(KeyId::Encryption(0), &b"short"[..])]), b"short").is_empty());
    }

    proptest::proptest! {
        /// Of so few letters that they overlap themselves and each other.
        #[test]
        fn none_is_passed_over(
            secrets in proptest::collection::vec("[ab]{8,12}|[abc]{30,50}", 1..5),
            text in "[abc]{0,60}",
            at in 0..4_usize,
        ) {
            let text = format!("{text}{}{text}", secrets[at % secrets.len()]);
            let ids = (0..).map(KeyId::Encryption);
            let needles = Needles::new(ids.clone().zip(secrets.iter().map(String::as_bytes)));
            let is_in = |(id, secret): (KeyId, &String)| text.contains(secret.as_str()).then_some(id);
            let expected: Vec<_> = ids.zip(&secrets).filter_map(is_in).collect();
            proptest::prop_assert_eq!(held(&needles, text.as_bytes()), expected);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Needles::new([(KeyId::Encryption(0), &[7; 32][..])])), "Needles(1)");
    }
}
