//! The native format, version 1: pure functions for its byte layout. `docs/backup-format.md`
//! describes it for users without this program.
//!
//! A file consists of prologue, `HEAD` block, any number of `DATA` blocks, `TAIL` block, end mark.
//! All integers are little-endian. Each block has a head of 24 bytes with a CRC-32 of the payload
//! and one of the head itself, so that a damaged length is detected before it is used. CRC-32
//! detects every single-bit change; the SHA-256 in the tail covers the complete content.

mod decode;
mod encode;
mod inflate;

pub(super) use decode::{Decoder, Totals, announced};
pub(super) use encode::{DataBlock, Encoder};

use super::FormatError;
use super::digest::ENTRY_LIMIT;

/// The first and the last eight bytes. They are binary, so that a transfer that converts line ends
/// is detected.
pub(super) const MAGIC: [u8; 8] = *b"\x89MMB\r\n\x1a\n";

/// The version that is written, and the newest that can be read.
pub(super) const VERSION: u32 = 1;

/// A data block is closed when it has at least this many bytes of entries.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// Maximum size of the header; real headers have a few hundred bytes.
const HEADER_LIMIT: u32 = 1 << 20;

/// Maximum size of the entries in a block: almost full, plus an entry of maximum size.
const RAW_LIMIT: u64 = BLOCK_BYTES as u64 + ENTRY_LIMIT + 8;

/// Maximum size of a block in the file. zstd adds less than this to incompressible data.
const STORED_LIMIT: u64 = RAW_LIMIT + (RAW_LIMIT >> 7) + 1024;

/// Maximum zstd window of a reader, as a power of two: 8 MiB, which the highest level needs.
const WINDOW_LOG: u32 = 23;

const HEAD_BYTES: usize = 24;
const TAIL_BYTES: usize = 64;

/// The tail block and the end mark.
pub(super) const END_BYTES: usize = HEAD_BYTES + TAIL_BYTES + MAGIC.len();

/// Size of the prologue: magic, version, CRC-32 of both. It is the same in all versions.
const PROLOGUE_BYTES: usize = 16;

/// The kinds of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Head,
    Data,
    Tail,
}

impl BlockKind {
    fn mark(self) -> [u8; 4] {
        match self {
            Self::Head => *b"HEAD",
            Self::Data => *b"DATA",
            Self::Tail => *b"TAIL",
        }
    }

    fn of(mark: [u8; 4]) -> Option<Self> {
        [Self::Head, Self::Data, Self::Tail]
            .into_iter()
            .find(|kind| kind.mark() == mark)
    }
}

/// The head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlockHead {
    kind: BlockKind,
    /// Size of the payload in the file.
    stored: u32,
    /// Size of the decompressed payload; the same as `stored` if it is not compressed.
    raw: u32,
    /// Number of entries in a data block, else 0.
    entries: u32,
    /// CRC-32 of the payload as stored.
    payload_crc: u32,
}

impl BlockHead {
    /// The head without its checksum. Use this to hash several heads: the CRC-32 of any data
    /// followed by its own CRC-32 is a constant.
    fn fields(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.kind.mark());
        bytes[4..8].copy_from_slice(&self.stored.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.raw.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.entries.to_le_bytes());
        bytes[16..].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes
    }

    fn render(self) -> [u8; HEAD_BYTES] {
        let fields = self.fields();
        let mut bytes = [0; HEAD_BYTES];
        bytes[..20].copy_from_slice(&fields);
        bytes[20..].copy_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEAD_BYTES], offset: u64) -> Result<Self, FormatError> {
        const PART: &str = "a block's head";
        if crc32fast::hash(&bytes[..20]) != number(bytes, 20) {
            return Err(FormatError::Altered { part: PART, offset });
        }
        let [a, b, c, d, ..] = *bytes;
        let kind = BlockKind::of([a, b, c, d]).ok_or_else(|| FormatError::Malformed {
            part: PART,
            offset,
            reason: String::from("the kind of block is unknown"),
        })?;
        let head = Self {
            kind,
            stored: number(bytes, 4),
            raw: number(bytes, 8),
            entries: number(bytes, 12),
            payload_crc: number(bytes, 16),
        };
        head.check_limits(offset)?;
        Ok(head)
    }

    fn check_limits(&self, offset: u64) -> Result<(), FormatError> {
        let (stored_limit, raw_limit) = match self.kind {
            BlockKind::Head => (u64::from(HEADER_LIMIT), u64::from(HEADER_LIMIT)),
            BlockKind::Data => (STORED_LIMIT, RAW_LIMIT),
            BlockKind::Tail => (TAIL_BYTES as u64, TAIL_BYTES as u64),
        };
        for (length, limit) in [(self.stored, stored_limit), (self.raw, raw_limit)] {
            let length = u64::from(length);
            if length > limit {
                return Err(FormatError::ImplausibleLength {
                    part: "a block",
                    length,
                    limit,
                    offset,
                });
            }
        }
        Ok(())
    }
}

/// The payload of the tail block: the expected totals of the blocks before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) entries: u64,
    blocks: u64,
    content_bytes: u64,
    pub(super) skipped_leased: u64,
    pub(super) digest: [u8; 32],
}

impl Tail {
    fn render(self) -> [u8; TAIL_BYTES] {
        let mut bytes = [0; TAIL_BYTES];
        let counts = [
            self.entries,
            self.blocks,
            self.content_bytes,
            self.skipped_leased,
        ];
        for (chunk, count) in bytes.chunks_exact_mut(8).zip(counts) {
            chunk.copy_from_slice(&count.to_le_bytes());
        }
        bytes[32..].copy_from_slice(&self.digest);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TAIL_BYTES] = bytes.try_into().ok()?;
        let (counts, digest) = bytes.split_at(32);
        let mut counts = counts.chunks_exact(8).map(|chunk| {
            chunk
                .iter()
                .rev()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        });
        Some(Self {
            entries: counts.next()?,
            blocks: counts.next()?,
            content_bytes: counts.next()?,
            skipped_leased: counts.next()?,
            digest: digest.try_into().ok()?,
        })
    }
}

/// Encodes the prologue: magic, version, CRC-32 of both.
fn prologue(version: u32) -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The unsigned 32-bit number at `at`. Panics if out of bounds; callers use buffers of fixed size.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;
