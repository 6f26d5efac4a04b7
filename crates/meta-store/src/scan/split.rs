//! Divides a range into splits of about one page each, without knowing its keys.
//!
//! The reply with the first page of each part has the number of keys in the part. A split then
//! spans what one page would need if the density stayed the same. After an empty split the next one
//! is wider. Since the number of remaining keys is known, the empty end of a part is never
//! requested. Several splits may be in flight, but only one while the position and the density of
//! the next keys are unknown. Splits and the remaining range are always contiguous.

use std::collections::VecDeque;

use super::split_width::SplitWidth;
use super::{Page, PageLimits};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

/// Minimum number of keys for an estimate of the density.
const SAMPLE_MIN: i64 = 16;
/// Factor of the split width after an empty split.
const EMPTY_FACTOR: u64 = 64;
/// Maximum factor of the split width after a sparse split. It is small because the sparse split
/// often is the end of a dense run, and another dense run follows.
const SPARSE_FACTOR: u64 = 4;
/// Maximum number of consecutive empty splits. After them the rest of the part is requested,
/// because counting it is cheaper.
const EMPTY_MAX: u32 = 12;
/// If a split has more pages than this, the width was wrong, and not only the density uneven.
const OVERFULL_PAGES: i64 = 4;
/// Maximum factor by which the limit of a page grows.
const LIMIT_FACTOR: i64 = 8;

/// The unread pieces of a range, in key order, with the estimate of the next split in each part.
#[derive(Debug)]
pub(super) struct Splits {
    limits: PageLimits,
    parts: Vec<Part>,
    pieces: VecDeque<Piece>,
    /// The number of keys in all parts, as counted by etcd.
    keys: i64,
}

/// The estimates of a part. Parts have keys of different kinds.
#[derive(Debug)]
struct Part {
    /// Limit of the next page.
    limit: i64,
    /// The width of a split with about one page of keys, if known.
    width: Option<SplitWidth>,
    /// Version of `width`: several splits of one version adjust it only once.
    width_version: u64,
    /// Number of consecutive empty splits.
    empty: u32,
    /// Whether the last split had far more keys than a page.
    overfull: bool,
}

/// An unread piece of a range.
#[derive(Debug)]
struct Piece {
    range: KeyRange,
    part: usize,
    state: PieceState,
}

#[derive(Debug)]
enum PieceState {
    /// Not yet requested, with the number of its keys, which is an estimate while earlier pieces
    /// are in flight.
    Waiting(i64),
    /// Requested with this limit; and the version of the width that determined its end, if any.
    Requested(i64, Option<u64>),
}

/// The next request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) range: KeyRange,
    pub(super) limit: i64,
    /// The number of splits in flight before this one.
    pub(super) position: usize,
}

/// Divides a range at the ascending `cuts` that are inside it.
pub(super) fn parts(range: KeyRange, cuts: &[Vec<u8>]) -> Vec<KeyRange> {
    let mut rest = range;
    let mut parts = Vec::new();
    for cut in cuts {
        if *cut > rest.start && rest.contains(cut) {
            let start = std::mem::replace(&mut rest.start, cut.clone());
            parts.push(KeyRange::new(start, cut.clone()));
        }
    }
    parts.push(rest);
    parts.retain(|part| !part.is_empty());
    parts
}

impl Splits {
    /// Creates an empty instance.
    pub(super) fn new(limits: PageLimits) -> Self {
        Self {
            limits,
            parts: Vec::new(),
            pieces: VecDeque::new(),
            keys: 0,
        }
    }

    /// Returns the number of keys in all parts, as counted by etcd.
    pub(super) fn keys(&self) -> i64 {
        self.keys
    }

    /// Adds the part after its first page, and returns its number.
    pub(super) fn add(&mut self, range: KeyRange, page: &Page) -> usize {
        let mut part = Part {
            limit: page.next_limit(self.limits),
            width: None,
            width_version: 0,
            empty: 0,
            overfull: false,
        };
        part.width = part.width_by_keys(&page.response.entries);
        self.keys += page.response.count;
        self.parts.push(part);
        let number = self.parts.len() - 1;
        self.pieces.extend(page.rest(range, number));
        number
    }

    /// Returns the number of the first part with unread keys.
    pub(super) fn first_unread_part(&self) -> Option<usize> {
        self.pieces.front().map(|piece| piece.part)
    }

    /// Returns whether the first unread piece is requested, or everything is read.
    pub(super) fn first_is_requested(&self) -> bool {
        let first = self.pieces.front();
        first.is_none_or(|piece| matches!(piece.state, PieceState::Requested(..)))
    }

    /// Returns the next split to request; `None` if there is none for now.
    pub(super) fn next(&mut self) -> Option<Split> {
        let mut index = 0;
        while let Some(piece) = self.pieces.get(index) {
            match piece.state {
                PieceState::Requested(..) => index += 1,
                // The estimate may prove too low.
                PieceState::Waiting(left) if left <= 0 && self.is_in_flight(index, piece.part) => {
                    index += 1;
                }
                // The search for the next keys and their density needs one split at a time. Pages
                // of later parts would only wait and occupy the buffer.
                PieceState::Waiting(_)
                    if self.parts[piece.part].density_is_unknown()
                        && self.is_in_flight(index, piece.part) =>
                {
                    return None;
                }
                PieceState::Waiting(left) if left > 0 => return Some(self.request(index, left)),
                PieceState::Waiting(_) => {
                    self.pieces.remove(index);
                }
            }
        }
        None
    }

    /// Returns whether a piece of the part before this one is in flight.
    fn is_in_flight(&self, index: usize, part: usize) -> bool {
        let mut before = self.pieces.range(..index);
        before.any(|piece| piece.part == part)
    }

    fn request(&mut self, index: usize, left: i64) -> Split {
        let requested = |piece: &&Piece| matches!(piece.state, PieceState::Requested(..));
        let position = self.pieces.range(..index).filter(requested).count();
        let piece = &mut self.pieces[index];
        let part = &mut self.parts[piece.part];
        let limit = part.limit;
        let reach = match &mut part.width {
            Some(width) if left > limit => width.reach(&piece.range.start),
            _ => None,
        };
        let cut = reach.filter(|end| piece.range.is_open() || *end < piece.range.end);
        let Some(end) = cut else {
            piece.state = PieceState::Requested(limit, None);
            return Split {
                range: piece.range.clone(),
                limit,
                position,
            };
        };
        let start = std::mem::replace(&mut piece.range.start, end.clone());
        piece.state = PieceState::Waiting(left - limit);
        let split = Piece {
            range: KeyRange::new(start, end),
            part: piece.part,
            state: PieceState::Requested(limit, Some(part.width_version)),
        };
        let range = split.range.clone();
        self.pieces.insert(index, split);
        Split {
            range,
            limit,
            position,
        }
    }

    /// Records the reply for the first split in flight.
    pub(super) fn received(&mut self, page: &Page) {
        let Some(piece) = self.pieces.pop_front() else {
            return;
        };
        let PieceState::Requested(limit, cut_by) = piece.state else {
            return;
        };
        let count = page.response.count;
        if cut_by.is_some() {
            self.add_remaining(piece.part, limit - count);
        }
        let part = &mut self.parts[piece.part];
        if !page.response.entries.is_empty() {
            part.limit = page.next_limit(self.limits);
        }
        part.adjust_width(cut_by, page);
        if let Some(rest) = page.rest(piece.range, piece.part) {
            self.pieces.push_front(rest);
        }
    }

    /// Adds the keys that a split had less than estimated to the piece from which it was cut.
    fn add_remaining(&mut self, part: usize, more: i64) {
        for piece in self.pieces.iter_mut().filter(|it| it.part == part) {
            match &mut piece.state {
                PieceState::Requested(_, Some(_)) => {}
                // The rest of the part is already requested.
                PieceState::Requested(_, None) => return,
                PieceState::Waiting(left) => {
                    *left += more;
                    return;
                }
            }
        }
    }
}

impl Part {
    /// Returns whether the density of the next keys is unknown.
    fn density_is_unknown(&self) -> bool {
        self.empty > 0 || self.overfull
    }

    /// Adjusts the width to the number of keys found.
    fn adjust_width(&mut self, cut_by: Option<u64>, page: &Page) {
        let count = page.response.count;
        let entries = &page.response.entries;
        self.empty = if count == 0 { self.empty + 1 } else { 0 };
        let width = match cut_by {
            Some(_) if self.empty >= EMPTY_MAX => None,
            Some(number) if number != self.width_version => return,
            Some(_) if count == 0 => self.width.take().and_then(|it| it.scaled(EMPTY_FACTOR, 1)),
            Some(_) => {
                self.overfull = count > page.limit.saturating_mul(OVERFULL_PAGES);
                let count = count.unsigned_abs();
                let factor = self.target_keys().min(count.saturating_mul(SPARSE_FACTOR));
                let width = self.width.take();
                let scaled = width.and_then(|width| width.scaled(factor, count));
                scaled.or_else(|| self.width_by_keys(entries))
            }
            None if page.response.more => self.width_by_keys(entries),
            None => return,
        };
        self.width = width;
        self.width_version += 1;
    }

    /// Estimates the width of a split from the distance between these keys.
    fn width_by_keys(&self, entries: &[Entry]) -> Option<SplitWidth> {
        let keys = i64::try_from(entries.len()).ok()?;
        if keys < SAMPLE_MIN {
            return None;
        }
        let (first, last) = (entries.first()?, entries.last()?);
        let width = SplitWidth::between(&first.key, &last.key)?;
        width.scaled(self.target_keys(), keys.unsigned_abs())
    }

    /// Target number of keys in a split: slightly less than the page limit, so that one page
    /// suffices.
    fn target_keys(&self) -> u64 {
        let limit = self.limit.unsigned_abs();
        (limit - limit / 8).max(1)
    }
}

impl Page {
    /// Returns the limit of the next page from the sizes in this one. It grows gradually and shrinks at
    /// once.
    fn next_limit(&self, limits: PageLimits) -> i64 {
        let entries = &self.response.entries;
        let sizes = entries.iter();
        let bytes: usize = sizes.map(|entry| entry.key.len() + entry.value.len()).sum();
        let next_limit = limits.bytes.saturating_mul(entries.len()) / bytes.max(1);
        let next_limit = i64::try_from(next_limit).unwrap_or(i64::MAX);
        let largest = limits
            .max_count
            .min(self.limit.saturating_mul(LIMIT_FACTOR))
            .max(1);
        next_limit.clamp(1, largest)
    }

    /// Returns the unread rest of the requested range after this page.
    fn rest(&self, range: KeyRange, part: usize) -> Option<Piece> {
        let response = &self.response;
        let found = i64::try_from(response.entries.len()).unwrap_or(i64::MAX);
        let last = response.entries.last().filter(|_| response.more)?;
        Some(Piece {
            range: KeyRange::new(successor(&last.key), range.end),
            part,
            state: PieceState::Waiting(response.count - found),
        })
    }
}

#[cfg(test)]
mod tests;
