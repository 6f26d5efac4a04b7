//! The native format, version 1: its byte layout, pure. `docs/backup-format.md` describes it for
//! users who have a file and not this program.
//!
//! A file is: prologue, `HEAD` block, any number of `DATA` blocks, `TAIL` block, end mark. All
//! integers are little-endian. Each block has a head of 24 bytes with a CRC-32 of its payload and one
//! of the head itself, so that a damaged length is known as such before it is used. CRC-32 finds every
//! change of a single bit; the SHA-256 in the tail covers the content as a whole.

mod decode;
mod encode;
mod inflate;

pub(super) use decode::{Decoder, Totals, announced};
pub(super) use encode::{DataBlock, Encoder};

use serde::{Deserialize, Serialize};

use super::digest::ENTRY_LIMIT;
use super::{FormatError, Header};

/// The first eight bytes, and the last. Not text, so that no transfer "repairs" line ends unnoticed.
pub(super) const MAGIC: [u8; 8] = *b"\x89MMB\r\n\x1a\n";

/// The version written, and the newest one read.
pub(super) const VERSION: u32 = 1;

/// A data block is closed as soon as it holds so many bytes of entries.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// The longest header; a real one has a few hundred bytes.
const HEADER_LIMIT: u32 = 1 << 20;

/// The most bytes of entries in one block: nearly full, then one entry of the greatest size.
const RAW_LIMIT: u64 = BLOCK_BYTES as u64 + ENTRY_LIMIT + 8;

/// The most bytes a block may take in the file: zstd adds less than this to what it cannot compress.
const STORED_LIMIT: u64 = RAW_LIMIT + (RAW_LIMIT >> 7) + 1024;

/// The largest zstd window a reader grants, as a power of two: 8 MiB, which is what the greatest
/// level uses.
const WINDOW_LOG: u32 = 23;

const HEAD_BYTES: usize = 24;
const TAIL_BYTES: usize = 64;

/// The tail block and the end mark.
pub(super) const END_BYTES: usize = HEAD_BYTES + TAIL_BYTES + MAGIC.len();

/// Bytes before the first block: magic, version, CRC-32 of both. No later version changes these.
const PROLOGUE_BYTES: usize = 16;

/// The kinds of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Data,
    Tail,
}

impl Kind {
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
    kind: Kind,
    /// Bytes of payload in the file.
    stored: u32,
    /// Bytes of the payload when decompressed; the same where it is not compressed.
    raw: u32,
    /// Entries in a data block, else 0.
    entries: u32,
    /// CRC-32 of the payload as stored.
    payload_crc: u32,
}

impl BlockHead {
    /// The head without its own checksum. Whoever hashes heads hashes this: the CRC-32 of anything followed
    /// by its CRC-32 is always the same.
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
        let kind = Kind::of([a, b, c, d]).ok_or_else(|| FormatError::Malformed {
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
            Kind::Head => (u64::from(HEADER_LIMIT), u64::from(HEADER_LIMIT)),
            Kind::Data => (STORED_LIMIT, RAW_LIMIT),
            Kind::Tail => (TAIL_BYTES as u64, TAIL_BYTES as u64),
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

/// The header block's payload: JSON, so that the user can read it with `strings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHeader {
    tool_version: String,
    created_at: String,
    cluster_id: String,
    revision: i64,
    meta_root: String,
    source_version: Option<String>,
}

impl StoredHeader {
    fn new(header: &Header) -> Self {
        // Leased keys are counted while writing: their number is in the tail.
        let Header {
            tool_version,
            created_at,
            cluster_id,
            revision,
            meta_root,
            source_version,
            skipped_leased: _,
        } = header.clone();
        Self {
            tool_version,
            created_at,
            cluster_id,
            revision,
            meta_root,
            source_version,
        }
    }

    fn into_header(self) -> Header {
        let Self {
            tool_version,
            created_at,
            cluster_id,
            revision,
            meta_root,
            source_version,
        } = self;
        Header {
            tool_version,
            created_at,
            cluster_id,
            revision,
            meta_root,
            source_version,
            skipped_leased: 0,
        }
    }
}

/// The tail block's payload: what has to come out when everything before it was read.
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

/// The prologue: magic, version, CRC-32 of both.
fn prologue(version: u32) -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The unsigned 32-bit number at `at`; callers pass buffers of fixed size.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;
