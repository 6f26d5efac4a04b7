//! Reads the native format from any [`Read`] and verifies it, with one block in memory at a time.

use std::io::Read;

use bytes::Bytes;

use super::super::bounded_reader::BoundedReader;
use super::super::digest::{ContentDigest, ENTRY_HEAD};
use super::inflate::Inflater;
use super::{
    BlockHead, BlockKind, END_BYTES, HEAD_BYTES, MAGIC, PROLOGUE_BYTES, TAIL_BYTES, Tail, VERSION,
    number,
};
use crate::{FormatError, Header};
use milvus_meta::entry::printable;

/// The totals of a file that was read and verified to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) entries: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) skipped_leased: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// CRC-32 of the heads of the data blocks, which include the checksums of their payloads.
    pub(crate) heads: u32,
}

/// An entry's key and value, which share the memory of the block.
pub(crate) type Pair = (Bytes, Bytes);

/// Returns the entries of a file in order.
pub(crate) struct Decoder<R> {
    input: BoundedReader<R>,
    header: Header,
    root_prefix: Vec<u8>,
    stored: Vec<u8>,
    inflater: Inflater,
    block: Bytes,
    position: usize,
    left_in_block: u32,
    last_key: Vec<u8>,
    digest: ContentDigest,
    heads: crc32fast::Hasher,
    hashes: bool,
    entries: u64,
    blocks: u64,
    content_bytes: u64,
    totals: Option<Totals>,
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(reader: R) -> Result<Self, FormatError> {
        let mut input = BoundedReader::new(reader);
        read_prologue(&mut input)?;
        let mut payload = Vec::new();
        let head = read_block(&mut input, &mut payload)?;
        if head.kind != BlockKind::Head {
            return Err(input.malformed("the file", "it does not begin with a header"));
        }
        let header = serde_json::from_slice::<Header>(&payload)
            .map_err(|error| input.malformed("the header", error.to_string()))?;
        if header.meta_root.is_empty() {
            return Err(input.malformed("the header", "it names no meta root"));
        }
        Ok(Self {
            root_prefix: format!("{}/", header.meta_root).into_bytes(),
            header,
            stored: payload,
            inflater: Inflater::new().map_err(|error| input.failed(error))?,
            input,
            block: Bytes::new(),
            position: 0,
            left_in_block: 0,
            last_key: Vec::new(),
            digest: ContentDigest::default(),
            heads: crc32fast::Hasher::new(),
            hashes: true,
            entries: 0,
            blocks: 0,
            content_bytes: 0,
            totals: None,
        })
    }

    /// Reads the prologue and the header of a file that was verified before. The content is not
    /// hashed again: the caller must compare [`Totals::heads`] with those of the verification.
    pub(crate) fn reread(reader: R) -> Result<Self, FormatError> {
        Ok(Self {
            hashes: false,
            ..Self::new(reader)?
        })
    }

    /// The header. Its number of omitted keys is correct at the end of the file.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The totals; `None` until [`Self::next`] returned `None`.
    pub(crate) fn totals(&self) -> Option<Totals> {
        self.totals
    }

    /// Returns the next key and value; `None` at the end, after successful verification.
    pub(crate) fn next(&mut self) -> Result<Option<Pair>, FormatError> {
        while self.left_in_block == 0 {
            if self.totals.is_some() {
                return Ok(None);
            }
            self.next_block()?;
        }
        let (start, middle, end) = self.entry_bounds()?;
        let key = &self.block[start..middle];
        if key <= self.last_key.as_slice() {
            return Err(FormatError::KeyOrder(printable(key)));
        }
        if !key.starts_with(&self.root_prefix) {
            return Err(FormatError::OutsideRoot {
                key: printable(key),
                root: self.header.meta_root.clone(),
            });
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.position = end;
        self.left_in_block -= 1;
        self.entries += 1;
        if self.left_in_block == 0 && end != self.block.len() {
            return Err(self.bad_block("bytes follow its last entry"));
        }
        let pair = (start..middle, middle..end);
        Ok(Some((self.block.slice(pair.0), self.block.slice(pair.1))))
    }

    /// The offsets in the block of the next entry's key, value and end.
    fn entry_bounds(&self) -> Result<(usize, usize, usize), FormatError> {
        let out_of_bounds = || self.bad_block("an entry reaches beyond its end");
        let start = self.position + ENTRY_HEAD;
        if start > self.block.len() {
            return Err(out_of_bounds());
        }
        let length = |at| usize::try_from(number(&self.block, at)).ok();
        let bounds = length(self.position)
            .and_then(|key| start.checked_add(key))
            .and_then(|middle| Some((middle, middle.checked_add(length(self.position + 4)?)?)));
        match bounds {
            Some((middle, end)) if end <= self.block.len() => Ok((start, middle, end)),
            _ => Err(out_of_bounds()),
        }
    }

    fn bad_block(&self, reason: &str) -> FormatError {
        self.input.malformed("a data block", reason)
    }

    fn next_block(&mut self) -> Result<(), FormatError> {
        let head = read_block(&mut self.input, &mut self.stored)?;
        match head.kind {
            BlockKind::Head => Err(self.input.malformed("the file", "it has a second header")),
            BlockKind::Tail => {
                let digest = std::mem::take(&mut self.digest).finish();
                self.read_end(self.hashes.then_some(digest))
            }
            BlockKind::Data => {
                self.decompress(head.raw)?;
                if head.entries == 0 {
                    return Err(self.bad_block("it holds no entry"));
                }
                if self.hashes {
                    self.digest.update(&self.block);
                }
                self.heads.update(&head.fields());
                self.position = 0;
                self.left_in_block = head.entries;
                self.blocks += 1;
                self.content_bytes += self.block.len() as u64;
                Ok(())
            }
        }
    }

    /// Decompresses `stored` into `block`. Its memory is reused unless an entry still refers to it.
    fn decompress(&mut self, raw_bytes: u32) -> Result<(), FormatError> {
        let last = std::mem::take(&mut self.block);
        let mut block = if last.is_unique() {
            last.into()
        } else {
            Vec::new()
        };
        let outcome = self.inflater.inflate(&self.stored, raw_bytes, &mut block);
        self.block = block.into();
        outcome.map_err(|reason| self.bad_block(&reason))
    }

    fn read_end(&mut self, digest: Option<[u8; 32]>) -> Result<(), FormatError> {
        let tail = Tail::parse(&self.stored)
            .ok_or_else(|| self.input.malformed("the tail", "it has the wrong length"))?;
        let mut mark = [0; 8];
        self.input.exact(&mut mark, "the end mark")?;
        if mark != MAGIC {
            return Err(FormatError::Altered {
                part: "the end mark",
                offset: self.input.offset(),
            });
        }
        self.input.expect_end()?;
        if tail.entries != self.entries {
            return Err(FormatError::EntryCount {
                announced: tail.entries,
                found: self.entries,
            });
        }
        if (tail.blocks, tail.content_bytes) != (self.blocks, self.content_bytes)
            || digest.is_some_and(|digest| tail.digest != digest)
        {
            return Err(FormatError::Altered {
                part: "the content",
                offset: self.input.offset(),
            });
        }
        self.header.skipped_leased = tail.skipped_leased;
        self.totals = Some(Totals {
            entries: tail.entries,
            digest: tail.digest,
            skipped_leased: tail.skipped_leased,
            bytes: self.input.offset(),
            heads: self.heads.clone().finalize(),
        });
        Ok(())
    }
}

/// The totals in the last bytes of a file, unverified; `None` if these are not the end of a backup.
pub(crate) fn announced(end: &[u8; END_BYTES]) -> Option<Tail> {
    let (head, rest) = end.split_first_chunk::<HEAD_BYTES>()?;
    let (payload, mark) = rest.split_at(TAIL_BYTES);
    let head = BlockHead::parse(head, 0).ok()?;
    let is_end = head.kind == BlockKind::Tail && mark == MAGIC;
    if !is_end || crc32fast::hash(payload) != head.payload_crc {
        return None;
    }
    Tail::parse(payload)
}

fn read_prologue<R: Read>(input: &mut BoundedReader<R>) -> Result<(), FormatError> {
    let mut bytes = [0; PROLOGUE_BYTES];
    input.exact(&mut bytes, "the prologue")?;
    if !bytes.starts_with(&MAGIC) || crc32fast::hash(&bytes[..12]) != number(&bytes, 12) {
        return Err(FormatError::Altered {
            part: "the prologue",
            offset: input.offset(),
        });
    }
    match number(&bytes, 8) {
        VERSION => Ok(()),
        0 => Err(input.malformed("the prologue", "there is no format version 0")),
        found => Err(FormatError::NewerFormat {
            found: i64::from(found),
            supported: i64::from(VERSION),
        }),
    }
}

/// Reads one block with its payload, and verifies both checksums.
fn read_block<R: Read>(
    input: &mut BoundedReader<R>,
    payload: &mut Vec<u8>,
) -> Result<BlockHead, FormatError> {
    let mut bytes = [0; HEAD_BYTES];
    input.exact(&mut bytes, "a block's head")?;
    let head = BlockHead::parse(&bytes, input.offset())?;
    input.replace(payload, u64::from(head.stored), "a block")?;
    if crc32fast::hash(payload) != head.payload_crc {
        return Err(FormatError::Altered {
            part: "a block",
            offset: input.offset(),
        });
    }
    if head.kind != BlockKind::Data && head.raw != head.stored {
        return Err(input.malformed("a block", "its two lengths differ"));
    }
    Ok(head)
}
