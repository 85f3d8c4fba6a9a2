//! Finds private keys in any bytes, knowing nothing of where they came from: placement is proved by what a payload
//! holds, not by what was meant to be in it.
//!
//! Seen are PEM blocks (also indented, or with line breaks escaped as in JSON), PKCS#8 in DER, and both inside base64, up to [`DEPTH`] layers of it: kubeconfigs, JSON, YAML. Compressed data is for the caller to unpack.

mod needles;

pub use needles::Needles;

use crate::pki::{
    key::{
        KeyPair,
        ec::{Curve, P256, P384},
    },
    table::KeyId,
};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::memmem::{self, Finder};
use nodekiln_plan::{Secret, Sha256};
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// Layers of base64 that are looked into.
pub const DEPTH: usize = 4;
/// Shorter runs of base64 hold no key: 32 bytes make 43 characters.
const SHORTEST: usize = 40;

/// Longer labels of PEM blocks are none.
const LABEL: usize = 40;

/// A private key that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// One whose public half (SubjectPublicKeyInfo) has this digest.
    Key(Sha256),
    /// Something that says it is a private key, but is encrypted, damaged or of an unknown kind.
    Unreadable,
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// All private keys in `bytes`, sorted, each once.
pub fn private_keys(bytes: &[u8]) -> Vec<Found> {
    search(bytes, &Needles::default()).0
}

/// All private keys in `bytes`, and those of `needles` that they hold as they are, in hexadecimal or in base64 of any
/// layer. Both are sorted, each once.
pub fn search(bytes: &[u8], needles: &Needles) -> (Vec<Found>, Vec<KeyId>) {
    let mut search = Search { needles, found: Vec::new(), held: Vec::new() };
    search.look(bytes, DEPTH);
    let Search { mut found, mut held, .. } = search;
    found.sort();
    found.dedup();
    held.sort();
    held.dedup();
    (found, held)
}

/// A search, and what it has come by so far.
struct Search<'a> {
    needles: &'a Needles,
    found: Vec<Found>,
    held: Vec<KeyId>,
}

impl Search<'_> {
    /// Takes what stands in `bytes`, and what so many layers of base64 in it enclose.
    fn look(&mut self, bytes: &[u8], depth: usize) {
        for der in pkcs8(bytes) {
            let whole = der.and_then(KeyPair::from_pkcs8);
            self.found.push(whole.map_or(Found::Unreadable, |key| Found::Key(key.spki_sha256())));
        }
        self.needles.find(bytes, &mut self.held);
        let mut rest = bytes;
        // What lies between PEM blocks may be base64; what lies in them is, and is read here already.
        while let Some(start) = BEGIN.find(rest) {
            self.unwrap(&rest[..start], depth);
            rest = &rest[start..];
            let length = match block(rest) {
                Some((private, length)) => {
                    self.found.extend(private.map(|body| body.found()));
                    length
                }
                None => BEGIN.needle().len(),
            };
            rest = &rest[length..];
        }
        self.unwrap(rest, depth);
    }

    /// Looks into the base64 in `text`.
    fn unwrap(&mut self, mut text: &[u8], depth: usize) {
        if depth == 0 {
            return;
        }
        while let Some((run, after)) = next_run(text) {
            text = after;
            if let Ok(inner) = BASE64.decode(run.letters()).map(Secret::new) {
                self.look(inner.expose(), depth - 1);
            }
        }
    }
}

/// A PEM block that says it holds a private key.
struct Body<'a> {
    label: &'a [u8],
    base64: Zeroizing<Vec<u8>>,
    whole: bool,
}

impl Body<'_> {
    fn found(&self) -> Found {
        let der = BASE64.decode(&*self.base64).map(Zeroizing::new);
        let Some(der) = der.ok().filter(|_| self.whole) else { return Found::Unreadable };
        // Whatever the label says: a key under a wrong name is one nevertheless.
        if let Some(key) = KeyPair::from_der(&der) {
            return Found::Key(key.spki_sha256());
        }
        // Other algorithms: a user's, for no key of ours is one.
        let pem = Zeroizing::new(format!(
            "-----BEGIN {0}-----\n{1}\n-----END {0}-----\n",
            String::from_utf8_lossy(self.label),
            String::from_utf8_lossy(&self.base64)
        ));
        match rcgen::KeyPair::from_pem(&pem) {
            Ok(key) => Found::Key(Sha256::of(&rcgen::PublicKeyData::subject_public_key_info(&key))),
            Err(_) => Found::Unreadable,
        }
    }
}

/// PKCS#8 keys in DER, each as a whole, or `None` where one is cut off. All forms that we write have version 0 and an
/// AlgorithmIdentifier after the outer header.
fn pkcs8(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    const RSA: &[u8] = b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04";
    let of_curve = |curve: &Curve, offset: usize| {
        let start = offset.checked_sub(3)?;
        bytes[start..].starts_with(curve.pkcs8).then(|| bytes.get(start..start + curve.pkcs8_len()))
    };
    static START: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\x02\x01\x00\x30"));
    START.find_iter(bytes).filter_map(move |offset| {
        if bytes[offset..].starts_with(RSA) {
            let start = offset.checked_sub(4)?;
            let &[0x30, 0x82, high, low] = bytes[start..].first_chunk()? else { return None };
            let length = 4 + usize::from(u16::from_be_bytes([high, low]));
            return Some(bytes.get(start..start + length));
        }
        of_curve(&P256, offset).or_else(|| of_curve(&P384, offset))
    })
}

/// What every PEM block begins with.
static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("-----BEGIN "));

/// The PEM block at the start of `bytes` if it is a private key's, and the length of any block. `None` where no block
/// starts: the words alone, as programs have them in their strings.
fn block(bytes: &[u8]) -> Option<(Option<Body<'_>>, usize)> {
    let label = &bytes[BEGIN.needle().len()..];
    let label = &label[..memmem::find(&label[..label.len().min(LABEL + 5)], b"-----")?];
    let start = BEGIN.needle().len() + label.len() + 5;
    let private = label.ends_with(b"PRIVATE KEY");
    // Room for any elliptic-curve key: growing would leave copies behind.
    let room = if private { 256 } else { 0 };
    let (mut base64, mut letters, mut end) = (Zeroizing::new(Vec::with_capacity(room)), 0, start);
    // Headers of encrypted keys of old (RFC 1421) are no base64.
    let headers = private && memmem::find(&bytes[start..bytes.len().min(start + 64)], b"Proc-Type:").is_some();
    loop {
        let line = &bytes[end..];
        let line = &line[..line.iter().position(|byte| !is_base64(*byte)).unwrap_or(line.len())];
        letters += line.len();
        end += line.len();
        // Of what is no key only the end is asked for.
        if private {
            base64.extend_from_slice(line);
        }
        match bytes.get(end) {
            Some(b'\\') => match escape(&bytes[end..]) {
                Some(length) => end += length,
                None => break,
            },
            Some(byte) if byte.is_ascii_whitespace() => end += 1,
            _ => break,
        }
    }
    if letters < SHORTEST && !headers {
        return None;
    }
    let whole = bytes[end..].starts_with(b"-----END ");
    Some((private.then_some(Body { label, base64, whole }), end))
}

/// Length of an escaped line break or tab, as JSON has it: a backslash and a letter, more backslashes where it was
/// escaped again.
fn escape(bytes: &[u8]) -> Option<usize> {
    let slashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
    matches!(bytes.get(slashes), Some(b'n' | b'r' | b't')).then_some(slashes + 1)
}

/// A run of base64.
enum Run<'a> {
    /// As it stands in the text.
    There(&'a [u8]),
    /// Of several lines, or of another alphabet.
    Made(Secret),
}

impl Run<'_> {
    /// It in the standard alphabet, on one line.
    fn letters(&self) -> &[u8] {
        let letters = match self {
            Self::There(letters) => letters,
            Self::Made(letters) => letters.expose(),
        };
        // The beginning of a word that is none of it, on the next line: without it the rest can be decoded.
        &letters[..letters.len() - usize::from(letters.len() % 4 == 1)]
    }
}

/// The first run of base64 in `text`, in either alphabet, and what follows it; lines of one length that follow each other
/// are one.
fn next_run(text: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let text = &text[run_start(text)?..];
    let line = SHORTEST + alphabet_length(&text[SHORTEST..]);
    let (first, mut rest) = text.split_at(line);
    if next_line(rest, line).is_none() && memchr::memchr2(b'-', b'_', first).is_none() {
        return Some((Run::There(first), rest));
    }
    let mut run = Vec::with_capacity(2 * line);
    let add = |run: &mut Vec<u8>, line: &[u8]| run.extend(line.iter().map(|byte| LETTERS[usize::from(*byte)]));
    add(&mut run, first);
    while let Some((gap, next)) = next_line(rest, line) {
        rest = &rest[gap..];
        add(&mut run, &rest[..next]);
        // A shorter one is the last. It may begin another run, too: then it is left where it is.
        if next < line {
            break;
        }
        rest = &rest[line..];
    }
    Some((Run::Made(Secret::new(run)), rest))
}

/// Where in `rest` the next line of a run begins whose lines have `line` letters, and how many letters of it there are.
fn next_line(rest: &[u8], line: usize) -> Option<(usize, usize)> {
    let gap = line_break(rest);
    let next = alphabet_length(&rest[gap..]);
    (line.is_multiple_of(4) && gap != 0 && next != 0 && next <= line).then_some((gap, next))
}

/// Where the first run of [`SHORTEST`] letters or more begins.
fn run_start(text: &[u8]) -> Option<usize> {
    let mut start = 0;
    // No run that begins in a window goes past a byte at its end that is no letter: most text is passed over by that alone.
    while let Some(window) = text.get(start..start + SHORTEST) {
        match window.iter().rposition(|byte| !in_alphabet(*byte)) {
            Some(last) => start += last + 1,
            None => return Some(start),
        }
    }
    None
}

/// Number of letters at the start of `text`.
fn alphabet_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !in_alphabet(*byte)).unwrap_or(text.len())
}

/// Length of the line break at the start of `text` with the next line's indentation; 0 where there is none.
fn line_break(text: &[u8]) -> usize {
    let feed = usize::from(text.starts_with(b"\r"));
    if text.get(feed) != Some(&b'\n') {
        return 0;
    }
    let indent = text[feed + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    feed + 1 + indent
}

/// The letter of base64's standard alphabet that a byte stands for in either alphabet, or 0.
static LETTERS: [u8; 256] = {
    let mut letters = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        letters[byte as usize] = match byte {
            b'-' | b'+' => b'+',
            b'_' | b'/' => b'/',
            _ if byte.is_ascii_alphanumeric() => byte,
            _ => 0,
        };
        byte += 1;
    }
    letters
};

fn in_alphabet(byte: u8) -> bool {
    LETTERS[usize::from(byte)] != 0
}

/// Whether a byte is a letter of base64's standard alphabet, or its padding.
fn is_base64(byte: u8) -> bool {
    static BODY: [bool; 256] = {
        let mut body = [false; 256];
        let mut byte = 1;
        while byte < 256 {
            body[byte] = LETTERS[byte] as usize == byte || byte == b'=' as usize;
            byte += 1;
        }
        body
    };
    BODY[usize::from(byte)]
}

#[cfg(test)]
mod tests;
