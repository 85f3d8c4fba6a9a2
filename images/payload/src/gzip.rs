//! gzip (RFC 1952), in one member or in a series of them: every reader of gzip takes a series for one text.
//!
//! A file of which a part is the same for many nodes is packed as what stands before that part, the part and what stands
//! behind it, so that the part is packed once and unpacked once. Where a member ends is not seen without unpacking it; so
//! the members that others may follow say how long they are, in an extra field, as those of BGZF do (SAM specification,
//! section 4.1). Readers skip that field, and ours believes it only where the plain reader would come to the same end.

use crate::cache::Memory;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status, read::MultiGzDecoder};
use nodekiln_plan::{Hashing, Secret, Sha256};
use std::{cell::RefCell, io::Read as _, ops::Range, sync::Arc};

/// Below this size compression saves nothing that counts: gzip's header and base64 eat it, the more of what is base64
/// itself, as certificates are.
pub(crate) const GZIP_FROM: usize = 1024;

/// The same for what is one node's own beside a part that many have, where time counts more than size. Digests make half of
/// it, which do not compress.
pub(crate) const OWN_FROM: usize = 2048;

/// What decompression may make of a payload, so that a few bytes cannot fill memory. Far above any payload's size.
const GUNZIP_LIMIT: u64 = 1 << 30;

/// The fastest level that takes Huffman codes of the contents' own: one less makes a plan a third larger.
const LEVEL: Compression = Compression::new(2);

/// The header of what we compress (RFC 1952): magic number, deflate, no flags, no time, a fast level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// The same with an extra field of six bytes: its name, the length of its value, and then the value, which is the length
/// of the member less one.
const SIZED_HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 6, 0, b'B', b'C', 2, 0];

thread_local! {
    // Their tables are larger than most of what goes through them.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(LEVEL, false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What is behind members that many payloads have.
pub(crate) type Parts = Memory<Arc<[u8]>, Arc<Part>>;

/// What is behind a member.
pub(crate) struct Part {
    /// What it unpacks to.
    pub bytes: Secret,
    /// A digest that begins with it.
    hashing: Hashing,
}

impl Part {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let mut hashing = Hashing::default();
        hashing.add(&bytes);
        Self { bytes: Secret::new(bytes), hashing }
    }
}

/// What was unpacked.
#[derive(Default)]
pub(crate) struct Unpacked {
    /// All of it.
    pub bytes: Vec<u8>,
    /// A digest that begins with the first of it.
    hashing: Hashing,
    /// How many bytes these are.
    hashed: usize,
}

impl Unpacked {
    /// The digest of all of it.
    pub(crate) fn sha256(&self) -> Sha256 {
        let mut hashing = self.hashing.clone();
        hashing.add(&self.bytes[self.hashed..]);
        hashing.digest()
    }
}

impl From<Vec<u8>> for Unpacked {
    /// What was not packed.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// gzip without a time or name in its header: the same bytes for the same input.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    append(bytes, GZIP_FROM, &mut out);
    out
}

/// As [`gzip`], behind what `out` holds, and compressed if it is `from` bytes or more.
fn append(bytes: &[u8], from: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    body(bytes, from, out);
}

/// As [`append`], of something that others may follow. `None` if it is longer than the extra field can say.
pub(crate) fn sized(bytes: &[u8], from: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    out.extend_from_slice(&SIZED_HEADER);
    out.extend_from_slice(&[0; 2]);
    body(bytes, from, &mut out);
    let size = u16::try_from(out.len() - 1).ok()?;
    out[SIZED_HEADER.len()..][..2].copy_from_slice(&size.to_le_bytes());
    Some(out)
}

/// gzip of `bytes` in parts, the one at `shared` as `pack` has it: [`sized`]. What stands beside it is compressed if it is
/// `own_from` bytes or more. `None` where that is not to be had, or not worth it.
pub(crate) fn in_parts<P: AsRef<[u8]>>(
    bytes: &[u8],
    shared: &Range<usize>,
    own_from: usize,
    pack: impl FnOnce(&[u8]) -> Option<P>,
) -> Option<Vec<u8>> {
    let part = bytes.get(shared.clone()).filter(|part| part.len() >= GZIP_FROM)?;
    let (head, tail) = (&bytes[..shared.start], &bytes[shared.end..]);
    let mut out = if head.is_empty() { Vec::new() } else { sized(head, own_from)? };
    let packed = pack(part)?;
    out.reserve_exact(packed.as_ref().len() + tail.len() + 64);
    out.extend_from_slice(packed.as_ref());
    if !tail.is_empty() {
        append(tail, own_from, &mut out);
    }
    Some(out)
}

/// What follows a header: compressed or as it is, and the trailer.
fn body(bytes: &[u8], from: usize, out: &mut Vec<u8>) {
    match u16::try_from(bytes.len()) {
        Ok(len) if bytes.len() < from => {
            // The only block, and stored (RFC 1951, section 3.2.4).
            out.push(1);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&(!len).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        _ => deflate(bytes, out),
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
}

fn deflate(bytes: &[u8], out: &mut Vec<u8>) {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        loop {
            let read = usize::try_from(compress.total_in()).unwrap_or(bytes.len());
            match compress.compress_vec(&bytes[read..], out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => out.reserve(bytes.len() / 2 + 64),
                Err(_) => unreachable!("compressing memory does not fail"),
            }
        }
    });
}

/// Undoes gzip, whoever made it. What is behind parts that many texts have is taken from `parts`, if given.
pub(crate) fn gunzip(bytes: &[u8], parts: Option<&Parts>) -> Option<Unpacked> {
    gunzip_ours(bytes, parts).or_else(|| {
        let mut out = Vec::new();
        MultiGzDecoder::new(bytes).take(GUNZIP_LIMIT).read_to_end(&mut out).ok()?;
        (out.len() < usize::try_from(GUNZIP_LIMIT).unwrap_or(usize::MAX)).then_some(out.into())
    })
}

/// Undoes what is made here of something that is no program; `None` for anything else.
pub(crate) fn gunzip_ours(bytes: &[u8], parts: Option<&Parts>) -> Option<Unpacked> {
    const SMALL: usize = 1 << 20;
    // What stands before a shared part, that, and what stands behind it.
    const MOST: usize = 3;
    let mut members = Vec::with_capacity(MOST);
    let (mut rest, mut size) = (bytes, 0);
    // What is no member at its beginning is none at its end either: no text is no gzip.
    while members.is_empty() || !rest.is_empty() {
        let (member, after) = Member::first(rest)?;
        size += usize::try_from(member.size).ok().filter(|size| *size <= SMALL)?;
        if size > SMALL {
            return None;
        }
        if members.len() == MOST {
            return None;
        }
        members.push(member);
        rest = after;
    }
    // One byte more, so that the end is seen.
    let mut out = Unpacked::from(Vec::with_capacity(size + 1));
    for member in members {
        match parts.filter(|_| member.may_be_shared) {
            Some(parts) => {
                let unpack = || member.unpacked().ok_or(());
                let part = parts.try_get_or(member.whole, member.whole.len(), unpack).ok()?;
                if out.bytes.is_empty() {
                    (out.hashing, out.hashed) = (part.hashing.clone(), part.bytes.expose().len());
                }
                out.bytes.extend_from_slice(part.bytes.expose());
            }
            None => member.unpack(&mut out.bytes)?,
        }
    }
    Some(out)
}

/// What begins as a member of ours, and is one if it unpacks: from its header to its trailer.
struct Member<'a> {
    whole: &'a [u8],
    body: &'a [u8],
    crc: u32,
    size: u32,
    /// Whether [`in_parts`] may have made it of a part that many texts have.
    may_be_shared: bool,
}

impl<'a> Member<'a> {
    /// The first of `bytes`, as long as it says or else up to the end; and what follows it.
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let sized = bytes.strip_prefix(&SIZED_HEADER).and_then(<[u8]>::split_first_chunk);
        let (header, (whole, after)) = match sized {
            Some((size, _)) => {
                (SIZED_HEADER.len() + 2, bytes.split_at_checked(usize::from(u16::from_le_bytes(*size)) + 1)?)
            }
            None if bytes.starts_with(&HEADER) => (HEADER.len(), (bytes, &[][..])),
            None => return None,
        };
        let (body, &[c0, c1, c2, c3, s0, s1, s2, s3]) = whole.get(header..)?.split_last_chunk()?;
        let (crc, size) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([s0, s1, s2, s3]));
        let may_be_shared = sized.is_some() && size as usize >= GZIP_FROM;
        Some((Self { whole, body, crc, size, may_be_shared }, after))
    }

    /// Appends what is in it, which fits into the spare room of `out` with a byte to spare. `None` if it is not one whole
    /// member: then what it says of its length or its size is a lie, or it is damaged.
    fn unpack(&self, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let ended = DECOMPRESS.with_borrow_mut(|decompress| {
            decompress.reset(false);
            let status = decompress.decompress_vec(self.body, out, FlushDecompress::Finish);
            matches!(status, Ok(Status::StreamEnd)) && decompress.total_in() == self.body.len() as u64
        });
        let mut found = Crc::new();
        found.update(&out[start..]);
        (ended && found.sum() == self.crc && found.amount() == self.size).then_some(())
    }

    /// What is in it.
    fn unpacked(&self) -> Option<Arc<Part>> {
        let mut out = Vec::with_capacity(usize::try_from(self.size).ok()? + 1);
        self.unpack(&mut out)?;
        Some(Arc::new(Part::of(out)))
    }
}
