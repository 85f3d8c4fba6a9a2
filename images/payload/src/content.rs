//! Contents as text: data URLs (RFC 2397) and compression.
//!
//! Which form is taken depends on the bytes alone: the shortest, the more readable one at a tie.

use crate::options::Gzip;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compress, Compression, Crc, FlushCompress, Status, read::MultiGzDecoder};
use std::{cell::RefCell, io::Read as _};

/// Below this size compression saves nothing that counts: gzip's header and base64 eat it.
const GZIP_FROM: usize = 512;

/// What decompression may make of a payload, so that a few bytes cannot fill memory. Far above any payload's size.
const GUNZIP_LIMIT: u64 = 1 << 30;

/// gzip at level 1 without a time or name in its header (RFC 1952): the same bytes for the same input.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    /// Magic number, deflate, no flags, no time, fastest, unknown system.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
    thread_local! {
        // Its tables are larger than most of what it compresses.
        static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(1), false));
    }
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    out.extend_from_slice(&HEADER);
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        loop {
            let read = usize::try_from(compress.total_in()).unwrap_or(bytes.len());
            match compress.compress_vec(&bytes[read..], &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => out.reserve(bytes.len() / 2 + 64),
                Err(_) => unreachable!("compressing memory does not fail"),
            }
        }
    });
    let mut crc = Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

/// Undoes gzip.
pub(crate) fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).take(GUNZIP_LIMIT).read_to_end(&mut out).ok()?;
    (out.len() < usize::try_from(GUNZIP_LIMIT).unwrap_or(usize::MAX)).then_some(out)
}

/// The gzip'd form in base64, where it can be shorter than `limit`.
pub(crate) fn gzip_base64(bytes: &[u8], policy: Gzip, limit: usize) -> Option<String> {
    if policy == Gzip::Never || bytes.len() < GZIP_FROM {
        return None;
    }
    let packed = gzip(bytes);
    (base64_len(packed.len()) < limit).then(|| STANDARD.encode(&packed))
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
    /// The shortest data URL of `bytes`.
    pub(crate) fn of(bytes: &[u8], policy: Gzip) -> Self {
        const PLAIN: &str = "data:,";
        const BASE64: &str = "data:;base64,";
        // What `"compression":"gzip",` adds to the JSON.
        const GZIP_KEY: usize = 21;
        let percent = PLAIN.len() + bytes.iter().map(|byte| if is_plain(*byte) { 1 } else { 3 }).sum::<usize>();
        let encoded = BASE64.len() + base64_len(bytes.len());
        let shortest = percent.min(encoded);
        if let Some(limit) = shortest.checked_sub(BASE64.len() + GZIP_KEY)
            && let Some(text) = gzip_base64(bytes, policy, limit)
        {
            return Self { source: format!("{BASE64}{text}"), gzip: true };
        }
        let mut source = String::with_capacity(shortest);
        if encoded < percent {
            source.push_str(BASE64);
            STANDARD.encode_string(bytes, &mut source);
        } else {
            source.push_str(PLAIN);
            percent_encode(bytes, &mut source);
        }
        Self { source, gzip: false }
    }

    /// The bytes behind a resource's `source` and `compression`.
    pub(crate) fn decode(source: &str, compression: Option<&str>) -> Option<Vec<u8>> {
        let (media, payload) = source.strip_prefix("data:")?.split_once(',')?;
        let bytes = match media {
            "" => percent_decode(payload)?,
            ";base64" => unbase64(payload)?,
            _ => return None,
        };
        match compression {
            None | Some("") => Some(bytes),
            Some("gzip") => gunzip(&bytes),
            Some(_) => None,
        }
    }
}

/// Bytes that stand for themselves in a data URL, in Ignition's parser and in JSON: RFC 3986's unreserved and reserved
/// characters without those of a fragment or a bracket.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!*'();/?:@&=+$,".contains(&byte)
}

fn percent_encode(bytes: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else if is_plain(byte) {
            out.push(byte);
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodekiln_plan::Sha256;
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
            let url = DataUrl::of(bytes, Gzip::WhereSmaller);
            assert_eq!((url.source.as_str(), url.gzip), (want, false));
        }
        let long = "{\"a\": \"b\"}\n".repeat(100);
        let url = DataUrl::of(long.as_bytes(), Gzip::WhereSmaller);
        assert!(url.gzip && url.source.len() < 120, "{}", url.source.len());
        assert!(!DataUrl::of(long.as_bytes(), Gzip::Never).gzip);
    }

    /// gzip's bytes depend on flate2's backend and version, and a user's payload must not change with either by
    /// accident: the digest of every published payload would.
    #[test]
    fn gzip_bytes_are_pinned() {
        let text: String = (0..400).map(|line| format!("line {line} of a payload: {}\n", line * line)).collect();
        let packed = gzip(text.as_bytes());
        assert_eq!(&packed[..10], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
        assert_eq!(Sha256::of(&packed).to_string(), "0acb78b0a9043425891f506516b55fbc079c6e463103b81ca4f824c8b14a9f76");
        assert_eq!(gunzip(&packed).as_deref(), Some(text.as_bytes()));
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
            assert_eq!(DataUrl::decode(source, compression), None, "{source}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..2000), text in "[ -~\n]{0,2000}") {
            for bytes in [&bytes[..], text.as_bytes(), &bytes.repeat(3)] {
                for policy in [Gzip::WhereSmaller, Gzip::Never] {
                    let url = DataUrl::of(bytes, policy);
                    let back = DataUrl::decode(&url.source, url.gzip.then_some("gzip"));
                    prop_assert_eq!(back.as_deref(), Some(bytes));
                }
            }
        }

        #[test]
        fn decoding_never_panics(text in "data:(;base64)?,.{0,60}") {
            let _ = DataUrl::decode(&text, Some("gzip"));
            let _ = DataUrl::decode(&text, None);
        }
    }
}
