//! The node's binary: the one embedded in this builder, or one that the user gives.

use crate::{bytes::Bytes, config::Arch, draft::Blob};
use memchr::memmem;
use nodekiln_plan::Sha256;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Why a file is no firstboot binary for a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// Not ELF, 64 bits, little-endian, or cut off.
    #[error("not a 64-bit ELF program")]
    NotElf,
    /// For a machine that no node is.
    #[error("made for ELF machine {0}, nodes are x86-64 (62) or AArch64 (183)")]
    Machine(u16),
    /// Needs a dynamic loader.
    #[error("dynamically linked: it would need libraries that a node does not have; build it for a musl target")]
    Dynamic,
    /// Built from another version of the plan.
    #[error("reads no plan of version {0}: it is not a nodekiln-firstboot of this version")]
    PlanVersion(u32),
}

/// A checked binary.
#[derive(Clone)]
pub struct Firstboot {
    /// The machine it runs on.
    pub arch: Arch,
    /// Its bytes.
    pub program: Blob,
}

impl std::fmt::Debug for Firstboot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Firstboot({:?}, {} bytes)", self.arch, self.program.bytes.len())
    }
}

impl Firstboot {
    /// The one that this builder carries, if it was built with one.
    ///
    /// # Errors
    /// What was embedded is not what it should be.
    pub fn embedded() -> Result<Option<Self>, BinaryError> {
        // Hashed when it was embedded.
        let blob = |(bytes, sha256)| Blob { sha256: Sha256::from_bytes(sha256), bytes: Bytes::Embedded(bytes) };
        FIRSTBOOT.map(|embedded| Self::parse(blob(embedded))).transpose()
    }

    /// Reads the ELF header (System V ABI, gabi 4.1: e_machine, PT_INTERP) and looks for the marker of the plan version.
    ///
    /// # Errors
    /// Anything but a static program for a node's machine that reads this builder's plans.
    pub fn parse(program: Blob) -> Result<Self, BinaryError> {
        const PT_INTERP: u32 = 3;
        let bytes = &program.bytes;
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(BinaryError::NotElf);
        }
        let arch = match read_u16(bytes, 18)? {
            62 => Arch::Amd64,
            183 => Arch::Arm64,
            other => return Err(BinaryError::Machine(other)),
        };
        let table = usize::try_from(read_u64(bytes, 32)?).map_err(|_| BinaryError::NotElf)?;
        let entry_size = usize::from(read_u16(bytes, 54)?);
        for index in 0..usize::from(read_u16(bytes, 56)?) {
            let at = entry_size.checked_mul(index).and_then(|offset| table.checked_add(offset));
            if read_u32(bytes, at.ok_or(BinaryError::NotElf)?)? == PT_INTERP {
                return Err(BinaryError::Dynamic);
            }
        }
        if memmem::find(bytes, nodekiln_plan::PLAN_MARKER.as_bytes()).is_none() {
            return Err(BinaryError::PlanVersion(nodekiln_plan::PLAN_VERSION));
        }
        Ok(Self { arch, program })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BinaryError> {
    let end = at.checked_add(N).ok_or(BinaryError::NotElf)?;
    bytes.get(at..end).and_then(|slice| slice.try_into().ok()).ok_or(BinaryError::NotElf)
}

fn read_u16(bytes: &[u8], at: usize) -> Result<u16, BinaryError> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32, BinaryError> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn read_u64(bytes: &[u8], at: usize) -> Result<u64, BinaryError> {
    field(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest program that passes: an ELF header, program headers of the given types, the marker.
    pub(crate) fn elf(machine: u16, headers: &[u32], marker: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&(headers.len() as u16).to_le_bytes());
        for header in headers {
            let mut entry = vec![0; 56];
            entry[..4].copy_from_slice(&header.to_le_bytes());
            bytes.extend(entry);
        }
        bytes.extend(marker.as_bytes());
        bytes
    }

    #[test]
    fn binaries() {
        let marker = nodekiln_plan::PLAN_MARKER;
        let parse = |bytes: Vec<u8>| Firstboot::parse(Blob::of(bytes)).map(|firstboot| firstboot.arch);
        assert_eq!(parse(elf(62, &[1, 2], marker)), Ok(Arch::Amd64));
        assert_eq!(parse(elf(183, &[], marker)), Ok(Arch::Arm64));
        assert_eq!(parse(elf(62, &[1, 3], marker)), Err(BinaryError::Dynamic));
        assert_eq!(parse(elf(3, &[], marker)), Err(BinaryError::Machine(3)));
        assert_eq!(parse(elf(62, &[], "")), Err(BinaryError::PlanVersion(nodekiln_plan::PLAN_VERSION)));
        assert_eq!(parse(b"#!/bin/sh\n".to_vec()), Err(BinaryError::NotElf));
        assert_eq!(parse(elf(62, &[1, 2], marker)[..80].to_vec()), Err(BinaryError::NotElf));
    }
}
