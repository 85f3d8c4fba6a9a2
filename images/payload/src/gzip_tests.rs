//! Tests of [`crate::gzip`]: whatever a text is made of, it is read as the plain reader of a series reads it.

use crate::gzip::{self, GZIP_FROM, OWN_FROM, Part, Parts, Unpacked, gzip};
use flate2::read::MultiGzDecoder;
use nodekiln_plan::Sha256;
use proptest::prelude::*;
use std::{io::Read as _, ops::Range, sync::LazyLock};

/// As Go's `compress/gzip` and Python's `gzip` read it, but for what stands behind the last member.
fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut out).ok().map(|_| out)
}

fn parts() -> Parts {
    Parts::weighing(|part| part.bytes.expose().len())
}

/// What was unpacked, with the digest that it should have.
#[track_caller]
fn hashed(unpacked: Option<Unpacked>) -> Option<Vec<u8>> {
    let unpacked = unpacked?;
    assert_eq!(unpacked.sha256(), Sha256::of(&unpacked.bytes));
    Some(unpacked.bytes)
}

#[track_caller]
fn gunzip(bytes: &[u8], parts: Option<&Parts>) -> Option<Vec<u8>> {
    hashed(gzip::gunzip(bytes, parts))
}

#[track_caller]
fn gunzip_ours(bytes: &[u8], parts: Option<&Parts>) -> Option<Vec<u8>> {
    hashed(gzip::gunzip_ours(bytes, parts))
}

fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line} of a payload: {}\n", line * line).into_bytes()).collect()
}

/// `text` in parts, the one at `range` being one that others have.
fn in_parts(text: &[u8], range: &Range<usize>) -> Option<Vec<u8>> {
    crate::gzip::in_parts(text, range, GZIP_FROM, sized)
}

fn sized(part: &[u8]) -> Option<Vec<u8>> {
    crate::gzip::sized(part, GZIP_FROM)
}

fn packed(text: &[u8], range: Range<usize>) -> Vec<u8> {
    in_parts(text, &range).unwrap()
}

/// Reads `bytes` in all ways, which have to agree.
#[track_caller]
fn agree(bytes: &[u8], warm: &Parts) -> Option<Vec<u8>> {
    let want = plain(bytes);
    for parts in [None, Some(&parts()), Some(warm), Some(warm), Some(warm)] {
        assert!(gunzip(bytes, parts) == want, "{bytes:02x?}");
        assert!(gunzip_ours(bytes, parts).is_none_or(|short| Some(short) == want), "{bytes:02x?}");
    }
    want
}

/// gzip's bytes depend on flate2's backend and version, and a user's payload must not change with either by accident: the
/// digest of every published payload would.
#[test]
fn gzip_bytes_are_pinned() {
    let text = text(400);
    for (packed, header, digest) in [
        (
            gzip(&text),
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255][..],
            "d20610f2d46cca537a99920d82b5d319451131f6b09d09d939f50415bac50c07",
        ),
        (
            packed(&text, 300..9000),
            // 18 of the header, 5 of the block, 300, 8 of the trailer: 331.
            &[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 6, 0, b'B', b'C', 2, 0, 74, 1, 1, 44, 1],
            "c8fc171dc97b6b57849bcb6ad238dd4bd886504aeee623ff72a59837586d5805",
        ),
    ] {
        assert_eq!(&packed[..header.len()], header);
        assert_eq!(Sha256::of(&packed).to_string(), digest);
        assert_eq!(gunzip_ours(&packed, None).as_ref(), Some(&text));
        assert_eq!(agree(&packed, &parts()).as_ref(), Some(&text));
    }
}

/// What a thread has packed before leaves no trace.
#[test]
fn gzip_is_pure() {
    let texts: Vec<_> = [3000, 100_000, 20].map(|len| "some text, and some more".repeat(len / 24).into_bytes()).into();
    let fresh = |text: &Vec<u8>| std::thread::scope(|scope| scope.spawn(|| gzip(text)).join().unwrap());
    for text in texts.iter().chain(&texts) {
        assert_eq!(gzip(text), fresh(text));
    }
}

/// Only where a part is worth it, and its length can be said.
#[test]
fn what_is_packed_in_parts() {
    let text = text(400);
    for (range, members) in [
        (0..text.len(), Some(1)),
        (0..5000, Some(2)),
        (5000..text.len(), Some(2)),
        (300..5000, Some(3)),
        (300..300 + GZIP_FROM, Some(3)),
        (300..300 + GZIP_FROM - 1, None),
        (300..text.len() + 1, None),
        (usize::MAX - 2000..usize::MAX, None),
        (0..0, None),
    ] {
        let packed = in_parts(&text, &range);
        let headers = packed.as_ref().map(|packed| packed.windows(4).filter(|four| four[..3] == [31, 139, 8]).count());
        assert_eq!(headers, members, "{range:?}");
        if let Some(packed) = packed {
            assert_eq!(agree(&packed, &parts()), Some(text.clone()), "{range:?}");
        }
    }
    let (start, end) = (5000, 300);
    assert_eq!(in_parts(&text, &(start..end)), None);
    // No compression gets this below 64 KiB.
    let noise: Vec<u8> = (0u32..3000).flat_map(|index| *Sha256::of(&index.to_le_bytes()).as_bytes()).collect();
    assert_eq!(in_parts(&noise, &(1..noise.len())), None);
    assert_eq!(in_parts(&noise, &(noise.len() - 2000..noise.len())), None);
}

/// What stands beside a part stays as it is up to a size, and is compressed from there on.
#[test]
fn what_is_ones_own_is_stored() {
    let text = text(400);
    for (own_from, behind, is_stored) in [
        (GZIP_FROM, GZIP_FROM - 1, true),
        (GZIP_FROM, GZIP_FROM, false),
        (OWN_FROM, OWN_FROM - 1, true),
        (OWN_FROM, OWN_FROM, false),
    ] {
        let text = &text[..4000 + behind];
        let packed = crate::gzip::in_parts(text, &(0..4000), own_from, sized).unwrap();
        assert_eq!(packed.ends_with(&[&text[4000..], &packed[packed.len() - 8..]].concat()), is_stored, "{behind}");
        assert_eq!(agree(&packed, &parts()).as_deref(), Some(text));
    }
}

/// A text of three parts and another whose middle is the same, as a build packs them.
fn two() -> [Vec<u8>; 2] {
    let text = text(60);
    let other = [b"of another node\n".repeat(50), text[300..1500].to_vec(), b"of another node\n".to_vec()].concat();
    [packed(&text, 300..1500), packed(&other, 800..2000)]
}

/// One that has read those two often.
static WARM: LazyLock<Parts> = LazyLock::new(|| {
    let warm = parts();
    for packed in two().iter().cycle().take(6) {
        gunzip(packed, Some(&warm)).unwrap();
    }
    warm
});

/// The members of a text, by the lengths that they say.
fn members(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    while bytes.get(3) == Some(&4) {
        let (member, rest) = bytes.split_at(usize::from(u16::from_le_bytes([bytes[16], bytes[17]])) + 1);
        members.push(member.to_vec());
        bytes = rest;
    }
    members.push(bytes.to_vec());
    members
}

#[test]
fn a_shared_part_is_unpacked_once() {
    let parts = parts();
    for (index, packed) in two().iter().cycle().take(8).enumerate() {
        let unpacked = std::cell::Cell::new(false);
        let member = &members(packed)[1];
        parts
            .try_get_or(&member[..], member.len(), || {
                unpacked.set(true);
                gunzip(member, None).map(|bytes| std::sync::Arc::new(Part::of(bytes))).ok_or(())
            })
            .unwrap();
        // Kept when it comes by for the second time.
        assert_eq!(unpacked.get(), index < 1, "{index}");
        assert!(gunzip_ours(packed, Some(&parts)).is_some());
    }
}

/// Ours is read in a shorter way: it takes nothing that the long one refuses, and leaves to it what others make.
#[test]
fn both_ways_of_unpacking_agree() {
    let [one, two] = two();
    let (whole, text) = (gzip(&text(60)), text(60));
    let [mine, theirs] = [members(&one), members(&two)];
    let of = |members: &[&Vec<u8>]| members.iter().flat_map(|member| member.iter().copied()).collect::<Vec<u8>>();
    let other_time = [&whole[..4], &[1, 2, 3, 4], &whole[8..]].concat();
    let with_length = |member: &[u8], length: u16| [&member[..16], &length.to_le_bytes(), &member[18..]].concat();
    let length = u16::try_from(mine[1].len() - 1).unwrap();
    for (what, bytes, is_read) in [
        ("one member", whole.clone(), true),
        ("a time", other_time, true),
        ("in parts", one.clone(), true),
        ("one member twice", whole.repeat(2), true),
        ("all parts twice", one.repeat(2), true),
        ("a part twice", of(&[&mine[0], &mine[1], &mine[1], &mine[2]]), true),
        ("parts of two", of(&[&mine[0], &theirs[1], &theirs[2]]), true),
        ("the order", of(&[&mine[2], &mine[1], &mine[0]]), true),
        ("only the part", mine[1].clone(), true),
        ("no last one", of(&[&mine[0], &mine[1]]), true),
        ("no text", Vec::new(), plain(b"").is_some()),
        ("another length in the field", of(&[&mine[0], &with_length(&mine[1], length - 1), &mine[2]]), true),
        ("one too long", of(&[&mine[0], &with_length(&mine[1], length + 1), &mine[2]]), true),
        ("the rest with it", of(&[&mine[0], &with_length(&mine[1], length + mine[2].len() as u16), &mine[2]]), true),
        ("longer than all", of(&[&mine[0], &with_length(&mine[1], u16::MAX), &mine[2]]), true),
        ("no length", of(&[&mine[0], &with_length(&mine[1], 0), &mine[2]]), true),
        ("the header alone", of(&[&mine[0], &with_length(&mine[1], 25), &mine[2]]), true),
        ("garbage behind", [&one[..], b"garbage"].concat(), false),
        ("a byte behind", [&one[..], &[0x1f]].concat(), false),
        ("garbage between", [&mine[0][..], b"garbage", &mine[1], &mine[2]].concat(), false),
        ("a cut part", [&mine[0][..], &mine[1][..100]].concat(), false),
    ] {
        assert_eq!(agree(&bytes, &WARM).is_some(), is_read, "{what}");
    }
    assert_eq!(gunzip(&whole.repeat(2), None), Some(text.repeat(2)));
    for packed in [whole, one] {
        for index in 0..packed.len() {
            for flip in [0x01, 0x55] {
                let mut damaged = packed.clone();
                damaged[index] ^= flip;
                agree(&damaged, &WARM);
            }
            agree(&packed[..index], &WARM);
        }
    }
}

/// All members count, and what is large is read as it comes.
#[test]
fn members_fill_no_memory() {
    let zeros = sized(&vec![0; 300_000]).unwrap();
    let parts = parts();
    for (times, short) in [(1, true), (3, true), (4, false), (40, false)] {
        let series = zeros.repeat(times);
        assert_eq!(gunzip_ours(&series, Some(&parts)).is_some(), short, "{times}");
        assert_eq!(gunzip(&series, Some(&parts)).unwrap().len(), times * 300_000);
    }
    // A size that it does not have.
    let mut lying = zeros.clone();
    let end = lying.len();
    lying[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(agree(&lying, &parts), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parts_round_trip(text in prop::collection::vec(any::<u8>(), 0..700), times in 1usize..8, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let text = text.repeat(times);
        let (a, b) = (a.index(text.len() + 1), b.index(text.len() + 1));
        if let Some(packed) = in_parts(&text, &(a.min(b)..a.max(b))) {
            prop_assert_eq!(gunzip_ours(&packed, None), Some(text.clone()));
            prop_assert_eq!(agree(&packed, &WARM), Some(text));
        }
    }

    /// Any series of members, whole, damaged, cut and with other lengths than theirs.
    #[test]
    fn a_series_is_read_as_it_is(
        picks in prop::collection::vec((0usize..6, prop::option::weighted(0.2, any::<u16>()), prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())), prop::option::weighted(0.1, any::<prop::sample::Index>())), 0..6),
        behind in prop::option::weighted(0.1, prop::collection::vec(any::<u8>(), 1..30)),
    ) {
        let [one, two] = two();
        let all = [members(&one), members(&two)].concat();
        let mut series = Vec::new();
        for (member, length, flip, cut) in picks {
            let mut member = all[member].clone();
            if let Some(length) = length.filter(|_| member[3] == 4) {
                member[16..18].copy_from_slice(&(length % 1200).to_le_bytes());
            }
            if let Some((at, byte)) = flip {
                let at = at.index(member.len());
                member[at] = byte;
            }
            if let Some(cut) = cut {
                member.truncate(cut.index(member.len()));
            }
            series.extend(member);
        }
        series.extend(behind.into_iter().flatten());
        agree(&series, &WARM);
    }
}
