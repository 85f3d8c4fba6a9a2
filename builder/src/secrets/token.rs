//! Bootstrap tokens: what machines without an identity of their own ask for one with.
//!
//! One per pool, and one per node with `identity: bootstrap-token`. Each is random, made once, and made anew by every
//! renewal: an old one stays good until its own end.

use nodekiln_plan::Secret;
use std::{collections::BTreeSet, fmt};
use zeroize::Zeroizing;

/// Letters of a token's identifier (kubernetes/cluster-bootstrap `BootstrapTokenPattern`: `[a-z0-9]{6}\.[a-z0-9]{16}`).
pub(crate) const ID: usize = 6;
/// Letters of its secret half.
pub(crate) const SECRET: usize = 16;

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A bootstrap token. `Debug` shows the public half only; the other is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Six letters and digits: names the Secret `bootstrap-token-ID` in `kube-system`. Not secret.
    pub(crate) id: String,
    /// Sixteen letters and digits.
    pub(crate) secret: Secret,
    /// When it was made, seconds since the Unix epoch: its life counts from here.
    pub(crate) created_at: i64,
}

impl Token {
    /// A new one, made at `now`, with an identifier that is not among `taken`.
    pub(crate) fn new<E>(
        now: i64,
        taken: &BTreeSet<String>,
        random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        loop {
            let id = letters::<ID, E>(random)?;
            let id = String::from_utf8_lossy(&id[..]).into_owned();
            if !taken.contains(&id) {
                let secret = Secret::new(letters::<SECRET, E>(random)?.to_vec());
                return Ok(Self { id, secret, created_at: now });
            }
        }
    }

    /// Reads the two halves of a token; `None` if one is not of the form that Kubernetes takes.
    pub(crate) fn from_parts(id: &str, secret: &str, created_at: i64) -> Option<Self> {
        let is = |text: &str, length| text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte));
        (is(id, ID) && is(secret, SECRET)).then(|| Self {
            id: id.to_owned(),
            secret: Secret::from(secret.to_owned()),
            created_at,
        })
    }

    /// The public half.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it was made, seconds since the Unix epoch.
    pub fn created_at(&self) -> i64 {
        self.created_at
    }

    /// Its end for a life of `ttl` seconds, seconds since the Unix epoch; `None` for one that never ends.
    pub fn end(&self, ttl: Option<i64>) -> Option<i64> {
        ttl.map(|ttl| self.created_at.saturating_add(ttl))
    }

    /// Both halves, as a kubeconfig has them.
    pub(crate) fn whole(&self) -> Secret {
        Secret::new([self.id.as_bytes(), b".", self.secret.expose()].concat())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, made {})", self.id, self.created_at)
    }
}

/// Random letters, each equally likely: bytes that would favour some are drawn again.
fn letters<const N: usize, E>(random: &mut impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Zeroizing<[u8; N]>, E> {
    const FAIR: u8 = (256 / ALPHABET.len() * ALPHABET.len()) as u8;
    let mut out = Zeroizing::new([0; N]);
    let mut bytes = Zeroizing::new([0; 32]);
    let mut filled = 0;
    while filled < N {
        random(&mut bytes[..])?;
        for byte in bytes.iter().filter(|byte| **byte < FAIR) {
            if filled < N {
                out[filled] = ALPHABET[usize::from(*byte) % ALPHABET.len()];
                filled += 1;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn of_the_form_that_kubernetes_takes() {
        let mut random = crate::secrets::tests::fixed_random(9);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let token = Token::new(5, &BTreeSet::new(), &mut random).unwrap();
            let secret = std::str::from_utf8(token.secret.expose()).unwrap();
            assert_eq!(Token::from_parts(&token.id, secret, 5), Some(token.clone()));
            seen.extend(token.id.bytes().chain(secret.bytes()));
            assert_eq!(token.whole().expose(), format!("{}.{secret}", token.id).as_bytes());
        }
        assert_eq!(seen.len(), ALPHABET.len(), "all letters come up");
    }

    #[test]
    fn bytes_that_favour_some_letters_are_drawn_again() {
        let mut calls = 0;
        let mut random = |bytes: &mut [u8]| {
            calls += 1;
            bytes.fill(if calls == 1 { 252 } else { 35 });
            Ok::<_, Infallible>(())
        };
        assert_eq!(*letters::<6, _>(&mut random).unwrap(), *b"999999");
        assert_eq!(calls, 2);
    }

    #[test]
    fn identifiers_are_not_given_twice() {
        let first = Token::new(0, &BTreeSet::new(), &mut crate::secrets::tests::fixed_random(1)).unwrap();
        let second = Token::new(0, &[first.id.clone()].into(), &mut crate::secrets::tests::fixed_random(1)).unwrap();
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn refused() {
        let (id, secret) = ("abcde0", "0123456789abcdef");
        assert!(Token::from_parts(id, secret, 0).is_some());
        for (id, secret) in [("abcde", secret), ("Abcde0", secret), (id, "0123456789abcde"), (id, "0123456789abcde.")] {
            assert_eq!(Token::from_parts(id, secret, 0), None, "{id} {secret}");
        }
    }

    #[test]
    fn ends() {
        let token = Token::from_parts("abcde0", "0123456789abcdef", 100).unwrap();
        assert_eq!((token.end(Some(5)), token.end(None), token.end(Some(i64::MAX))), (Some(105), None, Some(i64::MAX)));
    }

    #[test]
    fn debug_shows_the_public_half() {
        let token = Token::from_parts("abcde0", "0123456789abcdef", 100).unwrap();
        assert_eq!(format!("{token:?}"), "Token(abcde0, made 100)");
    }
}
