//! Writes the native format to any [`Write`]: one pass, one block at a time.

use std::io::{self, Write};

use zstd::bulk::Compressor;

use super::super::digest::{ContentDigest, push_entry};
use super::{
    BLOCK_BYTES, BlockHead, Kind, MAGIC, StoredHeader, TAIL_BYTES, Tail, VERSION, prologue,
};
use crate::Header;

/// Entries on their way into one data block.
#[derive(Default)]
pub(crate) struct DataBlock {
    raw: Vec<u8>,
    entries: u32,
}

impl DataBlock {
    /// Appends an entry; `false` when it is beyond the limit.
    #[must_use]
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let fits = push_entry(&mut self.raw, key, value);
        self.entries += u32::from(fits);
        fits
    }

    /// Whether the block is to be closed.
    pub(crate) fn is_full(&self) -> bool {
        self.raw.len() >= BLOCK_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Empties the block and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.entries = 0;
    }

    /// Compresses the block, head and all. It depends on nothing but the block and the level, so the
    /// file is the same whichever thread does it.
    pub(crate) fn compress(&self, compressor: &mut Compressor<'_>) -> io::Result<Vec<u8>> {
        let payload = compressor.compress(&self.raw)?;
        Ok(block(Kind::Data, &payload, self.raw.len(), self.entries)?.concat())
    }
}

/// A block's head and payload.
fn block(kind: Kind, payload: &[u8], raw_bytes: usize, entries: u32) -> io::Result<[Vec<u8>; 2]> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a block is too long");
    let head = BlockHead {
        kind,
        stored: u32::try_from(payload.len()).map_err(too_long)?,
        raw: u32::try_from(raw_bytes).map_err(too_long)?,
        entries,
        payload_crc: crc32fast::hash(payload),
    };
    Ok([head.render().to_vec(), payload.to_vec()])
}

/// Lays out a file: what it gets is written at once, in the order in which it comes.
pub(crate) struct Encoder<W> {
    out: W,
    digest: ContentDigest,
    entries: u64,
    blocks: u64,
    content_bytes: u64,
}

impl<W: Write> Encoder<W> {
    /// Writes prologue and header.
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(&prologue(VERSION))?;
        let json = serde_json::to_vec(&StoredHeader::new(header))?;
        for part in block(Kind::Head, &json, json.len(), 0)? {
            out.write_all(&part)?;
        }
        Ok(Self {
            out,
            digest: ContentDigest::default(),
            entries: 0,
            blocks: 0,
            content_bytes: 0,
        })
    }

    /// Takes a block into the totals. Blocks are counted in the order of the file.
    pub(crate) fn count(&mut self, block: &DataBlock) {
        self.digest.update(&block.raw);
        self.entries += u64::from(block.entries);
        self.blocks += 1;
        self.content_bytes += block.raw.len() as u64;
    }

    /// Writes a block that was compressed elsewhere.
    pub(crate) fn write(&mut self, compressed: &[u8]) -> io::Result<()> {
        self.out.write_all(compressed)
    }

    /// What was written so far reaches the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes tail and end mark. Returns the writer, the number of entries, and the digest.
    pub(crate) fn finish(mut self, skipped_leased: u64) -> io::Result<(W, u64, [u8; 32])> {
        let tail = Tail {
            entries: self.entries,
            blocks: self.blocks,
            content_bytes: self.content_bytes,
            skipped_leased,
            digest: self.digest.finish(),
        };
        for part in block(Kind::Tail, &tail.render(), TAIL_BYTES, 0)? {
            self.out.write_all(&part)?;
        }
        self.out.write_all(&MAGIC)?;
        Ok((self.out, tail.entries, tail.digest))
    }
}
