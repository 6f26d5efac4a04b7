//! Divides a range into splits of about one page each, without knowing its keys.
//!
//! The first page of each part is read in advance; its reply has the number of keys in the part. A split then
//! spans as much as a page would if the key density stayed the same. Splits widen while they are empty. The
//! number of remaining keys is known, so the empty end of a part is not requested. Several splits may be in
//! flight, but only one while the position and density of the next keys are unknown. Splits and the remaining
//! range are always contiguous.

use std::collections::VecDeque;

use super::split_width::SplitWidth;
use super::{Page, PageLimits};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

/// The distance between fewer keys is no estimate of the density.
const SAMPLE_MIN: i64 = 16;
/// The factor by which the split after an empty one is wider.
const WIDER: u64 = 64;
/// The largest factor by which the split after a sparse one is wider: often the sparse one was the end of a
/// dense piece, and another dense piece follows.
const SPARSER: u64 = 4;
/// After this number of empty splits the rest of the part is requested: counting it costs less.
const EMPTY_MAX: u32 = 12;
/// A split with more pages than this means that the width was wrong, not that the density varies.
const OVERFULL: i64 = 4;
/// The largest factor by which the number of entries of a page grows.
const GROWTH: i64 = 8;

/// What is left of a range, in order, and where to cut it next.
#[derive(Debug)]
pub(super) struct Splits {
    limits: PageLimits,
    parts: Vec<Part>,
    pieces: VecDeque<Piece>,
    /// How many keys there are in all parts, by etcd's own count.
    keys: i64,
}

/// Parts hold keys of different kinds, so each has its own estimate.
#[derive(Debug)]
struct Part {
    /// How many entries the next page may have.
    limit: i64,
    /// How far it is to a page's worth of keys, where that is known.
    width: Option<SplitWidth>,
    /// Counts the widths, so that several splits of the same one are judged once.
    width_number: u64,
    /// Splits in a row in which nothing was.
    empty: u32,
    /// Whether far more was in the last split than a page takes.
    overfull: bool,
}

/// A piece of the range that is not yet read.
#[derive(Debug)]
struct Piece {
    range: KeyRange,
    part: usize,
    state: PieceState,
}

#[derive(Debug)]
enum PieceState {
    /// Not yet requested, with the number of its keys; an estimate while earlier pieces are in flight.
    Waiting(i64),
    /// Asked for with a limit; with the number of the width that cut it, if one did.
    Asked(i64, Option<u64>),
}

/// What to ask for next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) range: KeyRange,
    pub(super) limit: i64,
    /// The number of splits in flight before this one.
    pub(super) position: usize,
}

/// The parts of a range: it is cut at those of the ascending `cuts` that are within.
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
    /// Nothing to read.
    pub(super) fn new(limits: PageLimits) -> Self {
        Self {
            limits,
            parts: Vec::new(),
            pieces: VecDeque::new(),
            keys: 0,
        }
    }

    /// How many keys there are in all parts, by etcd's own count.
    pub(super) fn keys(&self) -> i64 {
        self.keys
    }

    /// Adds what the first page of the next part left, and returns the part's number.
    pub(super) fn add(&mut self, range: KeyRange, page: &Page) -> usize {
        let mut part = Part {
            limit: page.fitting(self.limits),
            width: None,
            width_number: 0,
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

    /// The part in which the first thing lies that is not yet read.
    pub(super) fn first_part(&self) -> Option<usize> {
        self.pieces.front().map(|piece| piece.part)
    }

    /// Whether the first thing that is not yet read is asked for; also when there is none.
    pub(super) fn first_is_under_way(&self) -> bool {
        let first = self.pieces.front();
        first.is_none_or(|piece| matches!(piece.state, PieceState::Asked(..)))
    }

    /// The next split; `None` when nothing is left to ask for.
    pub(super) fn next(&mut self) -> Option<Split> {
        let mut index = 0;
        while let Some(piece) = self.pieces.get(index) {
            match piece.state {
                PieceState::Asked(..) => index += 1,
                // It may turn out that there is more.
                PieceState::Waiting(left) if left <= 0 && self.is_under_way(index, piece.part) => {
                    index += 1;
                }
                // Where the keys continue, and how dense they are there, is found step by step. What is
                // behind the part would only wait, in the place of what comes next.
                PieceState::Waiting(_)
                    if self.parts[piece.part].is_lost() && self.is_under_way(index, piece.part) =>
                {
                    return None;
                }
                PieceState::Waiting(left) if left > 0 => return Some(self.ask(index, left)),
                PieceState::Waiting(_) => {
                    self.pieces.remove(index);
                }
            }
        }
        None
    }

    /// Whether anything of the part is under way before a piece.
    fn is_under_way(&self, index: usize, part: usize) -> bool {
        let mut before = self.pieces.range(..index);
        before.any(|piece| piece.part == part)
    }

    fn ask(&mut self, index: usize, left: i64) -> Split {
        let asked = |piece: &&Piece| matches!(piece.state, PieceState::Asked(..));
        let position = self.pieces.range(..index).filter(asked).count();
        let piece = &mut self.pieces[index];
        let part = &mut self.parts[piece.part];
        let limit = part.limit;
        let reach = match &mut part.width {
            Some(width) if left > limit => width.reach(&piece.range.start),
            _ => None,
        };
        let cut = reach.filter(|end| piece.range.is_open() || *end < piece.range.end);
        let Some(end) = cut else {
            piece.state = PieceState::Asked(limit, None);
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
            state: PieceState::Asked(limit, Some(part.width_number)),
        };
        let range = split.range.clone();
        self.pieces.insert(index, split);
        Split {
            range,
            limit,
            position,
        }
    }

    /// Takes note of what was found in the first split under way.
    pub(super) fn received(&mut self, page: &Page) {
        let Some(piece) = self.pieces.pop_front() else {
            return;
        };
        let PieceState::Asked(limit, cut_by) = piece.state else {
            return;
        };
        let count = page.response.count;
        if cut_by.is_some() {
            self.correct(piece.part, limit - count);
        }
        let part = &mut self.parts[piece.part];
        if !page.response.entries.is_empty() {
            part.limit = page.fitting(self.limits);
        }
        part.learn(cut_by, page);
        if let Some(rest) = page.rest(piece.range, piece.part) {
            self.pieces.push_front(rest);
        }
    }

    /// What was cut off held fewer keys than thought, so more are left in what it was cut from.
    fn correct(&mut self, part: usize, more: i64) {
        for piece in self.pieces.iter_mut().filter(|it| it.part == part) {
            match &mut piece.state {
                PieceState::Asked(_, Some(_)) => {}
                // All that was left of it is under way.
                PieceState::Asked(_, None) => return,
                PieceState::Waiting(left) => {
                    *left += more;
                    return;
                }
            }
        }
    }
}

impl Part {
    /// Whether nothing is known of how dense keys are where it continues.
    fn is_lost(&self) -> bool {
        self.empty > 0 || self.overfull
    }

    /// Judges the width by what it brought.
    fn learn(&mut self, cut_by: Option<u64>, page: &Page) {
        let count = page.response.count;
        let entries = &page.response.entries;
        self.empty = if count == 0 { self.empty + 1 } else { 0 };
        let width = match cut_by {
            Some(_) if self.empty >= EMPTY_MAX => None,
            Some(number) if number != self.width_number => return,
            Some(_) if count == 0 => self.width.take().and_then(|it| it.scaled(WIDER, 1)),
            Some(_) => {
                self.overfull = count > page.limit.saturating_mul(OVERFULL);
                let count = count.unsigned_abs();
                let factor = self.wanted().min(count.saturating_mul(SPARSER));
                let width = self.width.take();
                let scaled = width.and_then(|width| width.scaled(factor, count));
                scaled.or_else(|| self.width_by_keys(entries))
            }
            None if page.response.more => self.width_by_keys(entries),
            None => return,
        };
        self.width = width;
        self.width_number += 1;
    }

    /// As far as it is between these keys, for as many as the next page should have.
    fn width_by_keys(&self, entries: &[Entry]) -> Option<SplitWidth> {
        let keys = i64::try_from(entries.len()).ok()?;
        if keys < SAMPLE_MIN {
            return None;
        }
        let (first, last) = (entries.first()?, entries.last()?);
        let width = SplitWidth::between(&first.key, &last.key)?;
        width.scaled(self.wanted(), keys.unsigned_abs())
    }

    /// How many keys a split should hold: a few less than its page takes, so that it is one page.
    fn wanted(&self) -> u64 {
        let limit = self.limit.unsigned_abs();
        (limit - limit / 8).max(1)
    }
}

impl Page {
    /// How many entries the next page may have by the sizes of this one, growing slowly and shrinking
    /// at once.
    fn fitting(&self, limits: PageLimits) -> i64 {
        let entries = &self.response.entries;
        let sizes = entries.iter();
        let bytes: usize = sizes.map(|entry| entry.key.len() + entry.value.len()).sum();
        let fitting = limits.bytes.saturating_mul(entries.len()) / bytes.max(1);
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
        let largest = limits
            .max_count
            .min(self.limit.saturating_mul(GROWTH))
            .max(1);
        fitting.clamp(1, largest)
    }

    /// What of the range that was asked for lies behind this page.
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
