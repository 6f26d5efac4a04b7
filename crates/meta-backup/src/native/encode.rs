//! Writes the native format to any [`Write`] in one pass, one block at a time.

use std::io::{self, Write};

use zstd::bulk::Compressor;

use super::super::digest::{ContentDigest, push_entry};
use super::{BLOCK_BYTES, BlockHead, BlockKind, MAGIC, TAIL_BYTES, Tail, VERSION, prologue};
use crate::Header;

/// The entries of a data block.
#[derive(Default)]
pub(crate) struct DataBlock {
    raw: Vec<u8>,
    entries: u32,
}

impl DataBlock {
    /// Appends an entry; `false` if it exceeds the limit.
    #[must_use]
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let fits = push_entry(&mut self.raw, key, value);
        self.entries += u32::from(fits);
        fits
    }

    pub(crate) fn is_full(&self) -> bool {
        self.raw.len() >= BLOCK_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Clears the block, but keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.entries = 0;
    }

    /// Compresses the block, including its head. The result depends only on the block and the
    /// level, so the file does not depend on the number of threads.
    pub(crate) fn compress(&self, compressor: &mut Compressor<'_>) -> io::Result<Vec<u8>> {
        let payload = compressor.compress(&self.raw)?;
        Ok(block(BlockKind::Data, &payload, self.raw.len(), self.entries)?.concat())
    }
}

/// Creates the head and the payload of a block.
fn block(
    kind: BlockKind,
    payload: &[u8],
    raw_bytes: usize,
    entries: u32,
) -> io::Result<[Vec<u8>; 2]> {
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

/// Writes a file in order.
pub(crate) struct Encoder<W> {
    out: W,
    digest: ContentDigest,
    entries: u64,
    blocks: u64,
    content_bytes: u64,
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(&prologue(VERSION))?;
        let json = serde_json::to_vec(header)?;
        for part in block(BlockKind::Head, &json, json.len(), 0)? {
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

    /// Adds a block to the totals, in file order.
    pub(crate) fn count(&mut self, block: &DataBlock) {
        self.digest.update(&block.raw);
        self.entries += u64::from(block.entries);
        self.blocks += 1;
        self.content_bytes += block.raw.len() as u64;
    }

    pub(crate) fn write(&mut self, compressed: &[u8]) -> io::Result<()> {
        self.out.write_all(compressed)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes the tail and the end mark. Returns the writer, the number of entries, and the digest.
    pub(crate) fn finish(mut self, skipped_leased: u64) -> io::Result<(W, u64, [u8; 32])> {
        let tail = Tail {
            entries: self.entries,
            blocks: self.blocks,
            content_bytes: self.content_bytes,
            skipped_leased,
            digest: self.digest.finish(),
        };
        for part in block(BlockKind::Tail, &tail.render(), TAIL_BYTES, 0)? {
            self.out.write_all(&part)?;
        }
        self.out.write_all(&MAGIC)?;
        Ok((self.out, tail.entries, tail.digest))
    }
}
