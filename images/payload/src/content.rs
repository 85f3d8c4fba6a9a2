//! Contents as text: data URLs (RFC 2397).
//!
//! Which form is taken depends on the bytes and their gzip alone: the shortest, the more readable one at a tie.

use crate::{
    gzip::{GZIP_FROM, Parts, Unpacked, gunzip, gzip},
    options::Gzip,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// gzip of `bytes`, where the policy takes it and it may be worth it.
pub(crate) fn packed(bytes: &[u8], policy: Gzip) -> Option<Vec<u8>> {
    (policy != Gzip::Never && bytes.len() >= GZIP_FROM).then(|| gzip(bytes))
}

/// Length of padded base64.
pub(crate) fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Standard alphabet, padded: Ignition and Python take no other.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Undoes [`base64`].
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Contents as Ignition's resource holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataUrl {
    /// `data:,...` or `data:;base64,...`.
    pub source: String,
    /// Whether `compression` is `gzip`.
    pub gzip: bool,
}

impl DataUrl {
    /// The shortest data URL of `bytes`, or of what they are packed.
    pub(crate) fn of(bytes: &[u8], packed: Option<&[u8]>) -> Self {
        const PLAIN: &str = "data:,";
        const BASE64: &str = "data:;base64,";
        // What `"compression":"gzip",` adds to the JSON.
        const GZIP_KEY: usize = 21;
        let encoded = BASE64.len() + base64_len(bytes.len());
        let limit = packed.map_or(usize::MAX, |packed| BASE64.len() + base64_len(packed.len()) + GZIP_KEY);
        if let Some(source) = percent_encode(PLAIN, bytes, encoded.min(limit)) {
            return Self { source, gzip: false };
        }
        let packed = packed.filter(|_| limit < encoded);
        let mut source = String::with_capacity(encoded.min(limit));
        source.push_str(BASE64);
        STANDARD.encode_string(packed.unwrap_or(bytes), &mut source);
        Self { source, gzip: packed.is_some() }
    }

    /// The bytes behind a resource's `source` and `compression`; those behind parts from `parts`, as for [`gunzip`].
    pub(crate) fn decode(source: &str, compression: Option<&str>, parts: Option<&Parts>) -> Option<Unpacked> {
        let (media, payload) = source.strip_prefix("data:")?.split_once(',')?;
        let bytes = match media {
            "" => percent_decode(payload)?,
            ";base64" => unbase64(payload)?,
            _ => return None,
        };
        match compression {
            None | Some("") => Some(bytes.into()),
            Some("gzip") => gunzip(&bytes, parts),
            Some(_) => None,
        }
    }
}

/// Bytes that stand for themselves in a data URL, in Ignition's parser and in JSON: RFC 3986's unreserved and reserved
/// characters without those of a fragment or a bracket.
static PLAIN: [bool; 256] = {
    const MARKS: &[u8] = b"-_.~!*'();/?:@&=+$,";
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < MARKS.len() {
        plain[MARKS[index] as usize] = true;
        index += 1;
    }
    plain
};

fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// `bytes` behind `start`, if that is no longer than `most`.
fn percent_encode(start: &str, bytes: &[u8], most: usize) -> Option<String> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    // No byte is less than one: mostly that says enough.
    if start.len() + bytes.len() > most {
        return None;
    }
    let mut out = String::with_capacity(most.min(start.len() + 3 * bytes.len()));
    out.push_str(start);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (plain, after) = rest.split_at(rest.iter().take_while(|byte| is_plain(**byte)).count());
        if out.len() + rest.len() > most {
            return None;
        }
        out.push_str(std::str::from_utf8(plain).expect("plain bytes are ASCII"));
        rest = after;
        if let Some((&byte, after)) = rest.split_first() {
            out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
            rest = after;
        }
    }
    (out.len() <= most).then_some(out)
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
        out.extend_from_slice(&rest[..plain]);
        match &rest[plain..] {
            [] => return Some(out),
            [b'%', high, low, after @ ..] => {
                let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
                out.push(u8::try_from(high * 16 + low).ok()?);
                rest = after;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_form_is_taken() {
        for (bytes, want) in [
            (&b""[..], "data:,"),
            (b"plain", "data:,plain"),
            (b"a b\n", "data:,a%20b%0A"),
            (b"%%% \"#\"", "data:;base64,JSUlICIjIg=="),
            (&[0, 1, 2, 255, 254, 253, 0, 0], "data:;base64,AAEC//79AAA="),
        ] {
            let url = DataUrl::of(bytes, packed(bytes, Gzip::WhereSmaller).as_deref());
            assert_eq!((url.source.as_str(), url.gzip), (want, false));
        }
        let long = "{\"a\": \"b\"}\n".repeat(100);
        let url = DataUrl::of(long.as_bytes(), packed(long.as_bytes(), Gzip::WhereSmaller).as_deref());
        assert!(url.gzip && url.source.len() < 120, "{}", url.source.len());
        assert_eq!(packed(long.as_bytes(), Gzip::Never), None);
        assert_eq!(packed(&long.as_bytes()[..GZIP_FROM - 1], Gzip::WhereSmaller), None);
        // What `compression` adds counts: 24 characters of base64 are worth it, 20 are not.
        for (saved, gzip) in [(18, true), (15, false), (0, false)] {
            assert_eq!(DataUrl::of(long.as_bytes(), Some(&long.as_bytes()[saved..])).gzip, gzip, "{saved}");
        }
    }

    #[test]
    fn what_does_not_decode() {
        for (source, compression) in [
            ("data", None),
            ("data:a", None),
            ("data:text/plain,a", None),
            ("data:,a b", None),
            ("data:,%4", None),
            ("data:,%zz", None),
            ("data:;base64,YQ", None),
            ("data:;base64,_w==", None),
            ("data:,a", Some("gzip")),
            ("data:,a", Some("xz")),
            ("https://a/b", None),
        ] {
            assert!(DataUrl::decode(source, compression, None).is_none(), "{source}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..2000), text in "[ -~\n]{0,2000}") {
            for bytes in [&bytes[..], text.as_bytes(), &bytes.repeat(3)] {
                for policy in Gzip::ALL {
                    let url = DataUrl::of(bytes, packed(bytes, policy).as_deref());
                    let back = DataUrl::decode(&url.source, url.gzip.then_some("gzip"), None);
                    prop_assert_eq!(back.as_ref().map(|back| &back.bytes[..]), Some(bytes));
                }
            }
        }

        #[test]
        fn decoding_never_panics(text in "data:(;base64)?,.{0,60}") {
            let _ = DataUrl::decode(&text, Some("gzip"), None);
            let _ = DataUrl::decode(&text, None, None);
        }
    }
}
