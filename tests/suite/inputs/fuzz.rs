//! The fuzz targets on a stable compiler and in bounded time: what they begin with, what was ever found (the corpus),
//! and mutations of both, the same in every run. tests/tools/fuzz searches further, guided by coverage.

use crate::targets::{ALL, Target};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// For the mutations of one target.
const TIME: Duration = Duration::from_secs(4);
/// At least so many, however slow the machine is.
const LEAST: usize = 200;

/// xorshift64*: repeatable, and nothing more is asked of it.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).unwrap_or(0) % end.max(1)
    }
}

/// What tends to hurt parsers of YAML, JSON, PEM and base64.
const BITS: [&[u8]; 32] = [
    b"",
    b"\n",
    b"\t",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b":",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"|\n",
    b"<<: *a\n",
    b"---\n",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"0x0",
    b"~",
    b"/../",
    b"\\u0000",
    b"=",
    b"-----BEGIN",
    b"\x1f\x8b",
];

fn mutate(seed: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.splice(at..end, [])),
            2 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(end..end, part.repeat(1 + random.below(40)));
            }
            3 => bytes.truncate(at),
            4 => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len() + 1);
                let part = &other[from..(from + random.below(200)).min(other.len())];
                bytes.splice(at..end, part.iter().copied());
            }
            _ => drop(bytes.splice(at..end, BITS[random.below(BITS.len())].iter().copied())),
        }
    }
    bytes
}

fn corpus(target: &Target) -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut seeds = (target.seeds)();
    ensure!(!seeds.is_empty(), "{}: nothing to begin with", target.name);
    for path in paths {
        seeds.push(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(seeds)
}

#[test]
fn targets_take_their_corpus_and_mutations_of_it() -> Result<()> {
    for target in ALL {
        let seeds = corpus(&target)?;
        for seed in &seeds {
            (target.run)(seed);
        }
        let mut random = Random(0x6e6f_6465_6b69_6c6e);
        let started = Instant::now();
        let mut count = 0;
        while count < LEAST || started.elapsed() < TIME {
            let bytes = mutate(&seeds[random.below(seeds.len())], &seeds, &mut random);
            let began = Instant::now();
            (target.run)(&bytes);
            let took = began.elapsed();
            ensure!(took < Duration::from_secs(20), "{}: {took:?} for {}", target.name, hex::encode(&bytes));
            count += 1;
        }
        eprintln!("fuzz {}: {} seeds, {count} mutations", target.name, seeds.len());
    }
    Ok(())
}
