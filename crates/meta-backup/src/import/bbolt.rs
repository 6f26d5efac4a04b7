//! A minimal reader of bbolt database files: traverses one bucket in key order.
//!
//! The file consists of numbered pages. Every page has a head of 16 bytes: page number (64 bits),
//! flags (16), number of elements (16), number of overflow pages (32). The file is not trusted: a
//! page is read at most once, page numbers and element positions are checked, and memory is
//! allocated only for data that was read.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

use super::super::FormatError;
use super::super::digest::ENTRY_LIMIT;

/// The magic in a meta page, after the head.
pub(super) const MAGIC: u32 = 0xED0C_DAED;

const FORMAT_VERSION: u32 = 2;
const PAGE_HEAD: usize = 16;
const ELEMENT: usize = 16;
const META_BYTES: usize = 64;
const FLAG_BRANCH: u16 = 0x01;
const FLAG_LEAF: u16 = 0x02;
const FLAG_META: u16 = 0x04;
const ELEMENT_IS_BUCKET: u32 = 0x01;

/// The page sizes of bbolt: those of operating systems, and smaller ones in tests.
const PAGE_SIZES: [u64; 8] = [4096, 8192, 16384, 32768, 65536, 512, 1024, 2048];

/// Upper bound of the end of the second meta page.
pub(super) const SECOND_META_END: usize = 65536 + PAGE_HEAD + META_BYTES;

/// Maximum depth of the tree. Each level at least doubles the number of leaves.
const DEPTH_LIMIT: usize = 64;

/// Maximum size of a page with its overflow pages. bbolt splits every page with more than four
/// entries.
const PAGE_LIMIT: u64 = 4 * ENTRY_LIMIT;

pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), FormatError> + 'v;

type VisitElement<'v> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), FormatError> + 'v;

/// Whether the start of a file is that of a database: one of the two meta pages has its head and
/// the magic. The magic alone may also occur in a value of another format.
pub(super) fn is_database(start: &[u8]) -> bool {
    let is_meta = |at: usize, number: u64| {
        u64_at(start, at) == Some(number)
            && u16_at(start, at + 8) == Some(FLAG_META)
            && u32_at(start, at + PAGE_HEAD) == Some(MAGIC)
    };
    is_meta(0, 0)
        || PAGE_SIZES
            .into_iter()
            .filter_map(|at| usize::try_from(at).ok())
            .any(|at| is_meta(at, 1))
}

/// An open database file.
pub(super) struct Database<R> {
    file: R,
    page_bytes: u64,
    pages: u64,
    root: u64,
    has_damaged_meta: bool,
}

/// A page with its overflow pages.
struct Page {
    number: u64,
    flags: u16,
    count: usize,
    bytes: Vec<u8>,
}

/// The fields used of a meta page.
struct Meta {
    page_bytes: u64,
    root: u64,
    pages: u64,
    transaction: u64,
}

fn malformed(reason: impl Into<String>) -> FormatError {
    FormatError::Malformed {
        part: "the etcd database",
        offset: 0,
        reason: reason.into(),
    }
}

impl<R: Read + Seek> Database<R> {
    /// Opens the database with the newer of its two meta pages. If one is damaged, the other is
    /// used, which may be that of the previous commit.
    pub(super) fn open(mut file: R, size: u64) -> Result<Self, FormatError> {
        let first = Meta::read(&mut file, 0)?;
        let second = match &first {
            Some(first) => Meta::read_second(&mut file, first.page_bytes)?,
            None => {
                let mut found = None;
                for page_bytes in PAGE_SIZES {
                    found = found.or(Meta::read_second(&mut file, page_bytes)?);
                }
                found
            }
        };
        let has_damaged_meta = first.is_none() || second.is_none();
        let newer = [first, second]
            .into_iter()
            .flatten()
            .max_by_key(|meta| meta.transaction);
        let meta = newer.ok_or_else(|| malformed("neither of its meta pages is valid"))?;
        let bytes = meta.pages.checked_mul(meta.page_bytes);
        if bytes.is_none_or(|bytes| bytes > size) {
            return Err(FormatError::Truncated {
                part: "the etcd database",
                offset: size,
            });
        }
        Ok(Self {
            file,
            page_bytes: meta.page_bytes,
            pages: meta.pages,
            root: meta.root,
            has_damaged_meta,
        })
    }

    pub(super) fn file(&mut self) -> &mut R {
        &mut self.file
    }

    /// Whether one of the two meta pages is invalid.
    pub(super) fn has_damaged_meta(&self) -> bool {
        self.has_damaged_meta
    }

    /// Traverses the bucket `name` in key order. Returns `false` if it does not exist.
    pub(super) fn walk_bucket(
        &mut self,
        name: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<bool, FormatError> {
        let mut bucket: Option<Vec<u8>> = None;
        let mut seen = BTreeSet::new();
        self.walk(self.root, 0, &mut seen, &mut |flags, key, value| {
            if flags & ELEMENT_IS_BUCKET != 0 && key == name {
                bucket = Some(value.to_vec());
            }
            Ok(())
        })?;
        let Some(bucket) = bucket else {
            return Ok(false);
        };
        let root = u64_at(&bucket, 0).ok_or_else(|| malformed("a bucket's head is too short"))?;
        let mut leaf = |flags: u32, key: &[u8], value: &[u8]| {
            if flags & ELEMENT_IS_BUCKET != 0 {
                return Err(malformed("there is a bucket among etcd's revisions"));
            }
            visit(key, value)
        };
        if root == 0 {
            // A small bucket is stored in its parent: a page after the bucket's head.
            let page = Page::parse(0, bucket.get(PAGE_HEAD..).unwrap_or_default().to_vec())?;
            page.leaves(&mut leaf)?;
        } else {
            self.walk(root, 0, &mut seen, &mut leaf)?;
        }
        Ok(true)
    }

    fn walk(
        &mut self,
        number: u64,
        depth: usize,
        seen: &mut BTreeSet<u64>,
        leaf: &mut VisitElement<'_>,
    ) -> Result<(), FormatError> {
        if depth > DEPTH_LIMIT {
            return Err(malformed("its tree is too deep"));
        }
        let page = self.page(number, seen)?;
        match page.flags & (FLAG_BRANCH | FLAG_LEAF) {
            FLAG_LEAF => page.leaves(leaf),
            FLAG_BRANCH => {
                for index in 0..page.count {
                    self.walk(page.child(index)?, depth + 1, seen, leaf)?;
                }
                Ok(())
            }
            _ => Err(malformed(format!(
                "page {number} is neither branch nor leaf"
            ))),
        }
    }

    /// Reads a page with its overflow pages, each at most once. A cyclic tree or one with shared
    /// pages is rejected.
    fn page(&mut self, number: u64, seen: &mut BTreeSet<u64>) -> Result<Page, FormatError> {
        let mut head = [0; PAGE_HEAD];
        if number < 2 || number >= self.pages {
            return Err(malformed(format!("page {number} does not exist")));
        }
        read_at(&mut self.file, number * self.page_bytes, &mut head)?;
        let overflow = u64::from(u32_at(&head, 12).unwrap_or_default());
        let end = number + 1 + overflow;
        if end > self.pages {
            return Err(malformed(format!("page {number} runs beyond the end")));
        }
        let length = (overflow + 1) * self.page_bytes;
        if length > PAGE_LIMIT {
            return Err(FormatError::ImplausibleLength {
                part: "a page",
                length,
                limit: PAGE_LIMIT,
                offset: number * self.page_bytes,
            });
        }
        for page in number..end {
            if !seen.insert(page) {
                return Err(malformed(format!("page {page} is used twice")));
            }
        }
        let mut bytes = Vec::new();
        seek(&mut self.file, number * self.page_bytes)?;
        (&mut self.file)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(|source| FormatError::Read {
                offset: number * self.page_bytes,
                source,
            })?;
        if u64_at(&bytes, 0) != Some(number) {
            return Err(malformed(format!("page {number} has a different number")));
        }
        Page::parse(number, bytes)
    }
}

impl Page {
    fn parse(number: u64, bytes: Vec<u8>) -> Result<Self, FormatError> {
        let (Some(flags), Some(count)) = (u16_at(&bytes, 8), u16_at(&bytes, 10)) else {
            return Err(malformed(format!("page {number} is too short")));
        };
        Ok(Self {
            number,
            flags,
            count: usize::from(count),
            bytes,
        })
    }

    fn out_of_bounds(&self) -> FormatError {
        malformed(format!(
            "an element of page {} reaches beyond it",
            self.number
        ))
    }

    /// The page number in an element of a branch.
    fn child(&self, index: usize) -> Result<u64, FormatError> {
        u64_at(&self.bytes, PAGE_HEAD + index * ELEMENT + 8).ok_or_else(|| self.out_of_bounds())
    }

    /// Visits the elements of a leaf: flags, key, value. Positions are relative to the element.
    /// Overlapping elements are rejected, because a small page could then yield gigabytes.
    fn leaves(&self, visit: &mut VisitElement<'_>) -> Result<(), FormatError> {
        let mut left = self.bytes.len();
        for index in 0..self.count {
            let start = PAGE_HEAD + index * ELEMENT;
            let field = |at: usize| {
                let number = u32_at(&self.bytes, start + at)?;
                usize::try_from(number).ok()
            };
            let bounds = field(4).and_then(|position| {
                let key = start.checked_add(position)?;
                let value = key.checked_add(field(8)?)?;
                Some((key, value, value.checked_add(field(12)?)?))
            });
            let (key_start, value_start, end) = bounds.ok_or_else(|| self.out_of_bounds())?;
            let (Some(key), Some(value)) = (
                self.bytes.get(key_start..value_start),
                self.bytes.get(value_start..end),
            ) else {
                return Err(self.out_of_bounds());
            };
            left = left
                .checked_sub(ELEMENT + end - key_start)
                .ok_or_else(|| malformed(format!("elements of page {} overlap", self.number)))?;
            visit(u32_at(&self.bytes, start).unwrap_or_default(), key, value)?;
        }
        Ok(())
    }
}

impl Meta {
    /// Reads the second meta page for this page size; `None` if it is invalid.
    fn read_second<R: Read + Seek>(
        file: &mut R,
        page_bytes: u64,
    ) -> Result<Option<Self>, FormatError> {
        let meta = Self::read(file, page_bytes)?;
        Ok(meta.filter(|meta| meta.page_bytes == page_bytes))
    }

    /// Reads the meta page at `offset`; `None` if it is invalid or missing.
    fn read<R: Read + Seek>(file: &mut R, offset: u64) -> Result<Option<Self>, FormatError> {
        let mut page = [0; PAGE_HEAD + META_BYTES];
        match read_at(file, offset, &mut page) {
            Err(FormatError::Truncated { .. }) => return Ok(None),
            outcome => outcome?,
        }
        let meta = &page[PAGE_HEAD..];
        let page_bytes = u32_at(meta, 8).unwrap_or_default();
        let is_valid = u32_at(meta, 0) == Some(MAGIC)
            && u32_at(meta, 4) == Some(FORMAT_VERSION)
            && page_bytes.is_power_of_two()
            && (512..=1 << 20).contains(&page_bytes)
            && u64_at(meta, 56) == Some(fnv_1a(&meta[..56]));
        let (Some(root), Some(pages), Some(transaction), true) = (
            u64_at(meta, 16),
            u64_at(meta, 40),
            u64_at(meta, 48),
            is_valid,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            page_bytes: u64::from(page_bytes),
            root,
            pages,
            transaction,
        }))
    }
}

/// The checksum of a meta page: 64-bit FNV-1a.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn seek<R: Seek>(file: &mut R, offset: u64) -> Result<(), FormatError> {
    file.seek(SeekFrom::Start(offset))
        .map(|_| ())
        .map_err(|source| FormatError::Read { offset, source })
}

fn read_at<R: Read + Seek>(
    file: &mut R,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), FormatError> {
    seek(file, offset)?;
    file.read_exact(buffer).map_err(|source| {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            let part = "the etcd database";
            return FormatError::Truncated { part, offset };
        }
        FormatError::Read { offset, source }
    })
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
