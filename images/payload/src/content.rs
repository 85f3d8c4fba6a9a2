//! Contents as text: data URLs (RFC 2397) and compression.
//!
//! Which form is taken depends on the bytes alone: the shortest, the more readable one at a tie.

use crate::options::Gzip;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status, read::MultiGzDecoder};
use std::{cell::RefCell, io::Read as _};

/// Below this size compression saves nothing that counts: gzip's header and base64 eat it, the more of what is base64
/// itself, as certificates are.
const GZIP_FROM: usize = 1024;

/// What decompression may make of a payload, so that a few bytes cannot fill memory. Far above any payload's size.
const GUNZIP_LIMIT: u64 = 1 << 30;

/// The fastest level that takes Huffman codes of the contents' own: one less makes a plan a third larger.
const LEVEL: Compression = Compression::new(2);

/// The header of what we compress (RFC 1952): magic number, deflate, no flags, no time, a fast level, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

thread_local! {
    // Their tables are larger than most of what goes through them.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(LEVEL, false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// gzip without a time or name in its header (RFC 1952): the same bytes for the same input.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    out.extend_from_slice(&GZIP_HEADER);
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

/// Undoes gzip, whoever made it.
pub(crate) fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    gunzip_ours(bytes).or_else(|| {
        let mut out = Vec::new();
        MultiGzDecoder::new(bytes).take(GUNZIP_LIMIT).read_to_end(&mut out).ok()?;
        (out.len() < usize::try_from(GUNZIP_LIMIT).unwrap_or(usize::MAX)).then_some(out)
    })
}

/// Undoes [`gzip`] of something that is no program; `None` for anything else.
fn gunzip_ours(bytes: &[u8]) -> Option<Vec<u8>> {
    const SMALL: u32 = 1 << 20;
    let (body, &[c0, c1, c2, c3, s0, s1, s2, s3]) = bytes.strip_prefix(&GZIP_HEADER)?.split_last_chunk()?;
    let (crc, size) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([s0, s1, s2, s3]));
    if size > SMALL {
        return None;
    }
    // One byte more, so that the end is seen.
    let mut out = Vec::with_capacity(size as usize + 1);
    let ended = DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let status = decompress.decompress_vec(body, &mut out, FlushDecompress::Finish);
        matches!(status, Ok(Status::StreamEnd)) && decompress.total_in() == body.len() as u64
    });
    let mut found = Crc::new();
    found.update(&out);
    (ended && found.sum() == crc && found.amount() == size).then_some(out)
}

/// The gzip'd form in base64, where it is shorter than `limit`.
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
        let encoded = BASE64.len() + base64_len(bytes.len());
        let packed = gzip_base64(bytes, policy, encoded.saturating_sub(BASE64.len() + GZIP_KEY));
        let limit = packed.as_ref().map_or(usize::MAX, |text| BASE64.len() + text.len() + GZIP_KEY);
        // No byte is less than one: mostly that says enough.
        let percent = match PLAIN.len() + bytes.len() {
            least if least > limit => least,
            _ => PLAIN.len() + bytes.iter().map(|byte| if is_plain(*byte) { 1 } else { 3 }).sum::<usize>(),
        };
        let shortest = percent.min(encoded);
        if let Some(text) = packed.filter(|_| limit < shortest) {
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

fn percent_encode(bytes: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = bytes;
    while !rest.is_empty() {
        let (plain, after) = rest.split_at(rest.iter().take_while(|byte| is_plain(**byte)).count());
        out.push_str(std::str::from_utf8(plain).expect("plain bytes are ASCII"));
        rest = after;
        if let Some((&byte, after)) = rest.split_first() {
            out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
            rest = after;
        }
    }
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
        assert_eq!(Sha256::of(&packed).to_string(), "d20610f2d46cca537a99920d82b5d319451131f6b09d09d939f50415bac50c07");
        assert_eq!(gunzip(&packed).as_deref(), Some(text.as_bytes()));
        assert_eq!(gunzip_ours(&packed).as_deref(), Some(text.as_bytes()));
    }

    /// What a thread has packed before leaves no trace.
    #[test]
    fn gzip_is_pure() {
        let texts: Vec<_> =
            [3000, 100_000, 20].map(|len| "some text, and some more".repeat(len / 24).into_bytes()).into();
        let fresh = |text: &Vec<u8>| std::thread::scope(|scope| scope.spawn(|| gzip(text)).join().unwrap());
        for text in texts.iter().chain(&texts) {
            assert_eq!(gzip(text), fresh(text));
        }
    }

    /// Ours is read in a shorter way: it takes nothing that the long one refuses, and leaves to it what others make.
    #[test]
    fn both_ways_of_unpacking_agree() {
        let text = b"some text ".repeat(100);
        let packed = gzip(&text);
        let other = [&packed[..4], &[1, 2, 3, 4], &packed[8..]].concat();
        let twice = packed.repeat(2);
        for (whole, contents) in [(&other, text.clone()), (&twice, text.repeat(2))] {
            assert_eq!(gunzip_ours(whole), None);
            assert_eq!(gunzip(whole), Some(contents));
        }
        for index in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[index] ^= 0x55;
            let mut long = Vec::new();
            let long = MultiGzDecoder::new(&damaged[..]).read_to_end(&mut long).ok().map(|_| long);
            if let Some(short) = gunzip_ours(&damaged) {
                assert_eq!(Some(short), long, "byte {index}");
            }
            assert_eq!(gunzip_ours(&packed[..index]), None, "cut at {index}");
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
