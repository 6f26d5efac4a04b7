//! Cuts a range into sections that hold about a page each, without knowing its keys.
//!
//! Of each part of the range the first page is read beforehand, which tells how many keys are in it.
//! From then on a section reaches as far as a page's worth of keys does where they stand as densely as
//! in the section before. Where nothing is found sections widen; what is left is known by counting, so
//! the empty end of a part is not asked for. Several sections may be under way at once, but one at a time
//! while it is looked for where keys continue and how dense they are there. Together with what is not yet
//! asked for sections are always contiguous.

use std::collections::VecDeque;

use super::stride::Stride;
use super::{Page, PageLimits};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

/// How far apart fewer keys are says nothing.
const TELLING_KEYS: i64 = 16;
/// A section behind an empty one is so many times as wide.
const WIDER: u64 = 64;
/// A section behind one in which few keys were is at most so many times as wide: often it was the end of a
/// dense stretch, and the next one begins behind it.
const SPARSER: u64 = 4;
/// After so many empty sections the whole rest of the part is asked for: counting it costs less.
const EMPTY_MAX: u32 = 12;
/// A section with so many pages in it says that the stride was wrong, not that keys are unevenly dense.
const OVERFULL: i64 = 4;
/// A page may have so many times as many entries as the one before.
const GROWTH: i64 = 8;

/// What is left of a range, in order, and where to cut it next.
#[derive(Debug)]
pub(super) struct Sections {
    limits: PageLimits,
    parts: Vec<Part>,
    stretches: VecDeque<Stretch>,
    /// How many keys there are in all parts, by etcd's own count.
    keys: i64,
}

/// Parts hold keys of different kinds: what is known of one says nothing of another.
#[derive(Debug)]
struct Part {
    /// How many entries the next page may have.
    limit: i64,
    /// How far it is to a page's worth of keys, where that is known.
    stride: Option<Stride>,
    /// Counts the strides, so that several sections of the same one are judged once.
    stride_number: u64,
    /// Sections in a row in which nothing was.
    empty: u32,
    /// Whether far more was in the last section than a page takes.
    overfull: bool,
}

/// A piece of the range that is not yet read.
#[derive(Debug)]
struct Stretch {
    range: KeyRange,
    part: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not yet asked for. How many keys are in it, when those under way before it hold as many as they
    /// were asked for; exact when none is.
    Waiting(i64),
    /// Asked for with a limit; with the number of the stride that cut it, if one did.
    Asked(i64, Option<u64>),
}

/// What to ask for next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) range: KeyRange,
    pub(super) limit: i64,
    /// How many sections that are under way stand before this one.
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

impl Sections {
    /// Nothing to read.
    pub(super) fn new(limits: PageLimits) -> Self {
        Self {
            limits,
            parts: Vec::new(),
            stretches: VecDeque::new(),
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
            stride: None,
            stride_number: 0,
            empty: 0,
            overfull: false,
        };
        part.stride = part.stride_by_keys(&page.response.entries);
        self.keys += page.response.count;
        self.parts.push(part);
        let number = self.parts.len() - 1;
        self.stretches.extend(page.rest(range, number));
        number
    }

    /// The part in which the first thing lies that is not yet read.
    pub(super) fn first_part(&self) -> Option<usize> {
        self.stretches.front().map(|stretch| stretch.part)
    }

    /// Whether the first thing that is not yet read is asked for; also when there is none.
    pub(super) fn first_is_under_way(&self) -> bool {
        let first = self.stretches.front();
        first.is_none_or(|stretch| matches!(stretch.state, State::Asked(..)))
    }

    /// The next section; `None` when nothing is left to ask for.
    pub(super) fn next(&mut self) -> Option<Section> {
        let mut index = 0;
        while let Some(stretch) = self.stretches.get(index) {
            match stretch.state {
                State::Asked(..) => index += 1,
                // It may turn out that there is more.
                State::Waiting(left) if left <= 0 && self.is_under_way(index, stretch.part) => {
                    index += 1;
                }
                // Where the keys continue, and how dense they are there, is found step by step. What is
                // behind the part would only wait, in the place of what comes next.
                State::Waiting(_)
                    if self.parts[stretch.part].is_lost()
                        && self.is_under_way(index, stretch.part) =>
                {
                    return None;
                }
                State::Waiting(left) if left > 0 => return Some(self.ask(index, left)),
                State::Waiting(_) => {
                    self.stretches.remove(index);
                }
            }
        }
        None
    }

    /// Whether anything of the part is under way before a stretch.
    fn is_under_way(&self, index: usize, part: usize) -> bool {
        let mut before = self.stretches.range(..index);
        before.any(|stretch| stretch.part == part)
    }

    fn ask(&mut self, index: usize, left: i64) -> Section {
        let asked = |stretch: &&Stretch| matches!(stretch.state, State::Asked(..));
        let position = self.stretches.range(..index).filter(asked).count();
        let stretch = &mut self.stretches[index];
        let part = &mut self.parts[stretch.part];
        let limit = part.limit;
        let reach = match &mut part.stride {
            Some(stride) if left > limit => stride.reach(&stretch.range.start),
            _ => None,
        };
        let cut = reach.filter(|end| stretch.range.is_open() || *end < stretch.range.end);
        let Some(end) = cut else {
            stretch.state = State::Asked(limit, None);
            return Section {
                range: stretch.range.clone(),
                limit,
                position,
            };
        };
        let start = std::mem::replace(&mut stretch.range.start, end.clone());
        stretch.state = State::Waiting(left - limit);
        let section = Stretch {
            range: KeyRange::new(start, end),
            part: stretch.part,
            state: State::Asked(limit, Some(part.stride_number)),
        };
        let range = section.range.clone();
        self.stretches.insert(index, section);
        Section {
            range,
            limit,
            position,
        }
    }

    /// Takes note of what was found in the first section under way.
    pub(super) fn landed(&mut self, page: &Page) {
        let Some(stretch) = self.stretches.pop_front() else {
            return;
        };
        let State::Asked(limit, cut_by) = stretch.state else {
            return;
        };
        let count = page.response.count;
        if cut_by.is_some() {
            self.correct(stretch.part, limit - count);
        }
        let part = &mut self.parts[stretch.part];
        if !page.response.entries.is_empty() {
            part.limit = page.fitting(self.limits);
        }
        part.learn(cut_by, page);
        if let Some(rest) = page.rest(stretch.range, stretch.part) {
            self.stretches.push_front(rest);
        }
    }

    /// What was cut off held fewer keys than thought, so more are left in what it was cut from.
    fn correct(&mut self, part: usize, more: i64) {
        for stretch in self.stretches.iter_mut().filter(|it| it.part == part) {
            match &mut stretch.state {
                State::Asked(_, Some(_)) => {}
                // All that was left of it is under way.
                State::Asked(_, None) => return,
                State::Waiting(left) => {
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

    /// Judges the stride by what it brought.
    fn learn(&mut self, cut_by: Option<u64>, page: &Page) {
        let count = page.response.count;
        let entries = &page.response.entries;
        self.empty = if count == 0 { self.empty + 1 } else { 0 };
        let stride = match cut_by {
            Some(_) if self.empty >= EMPTY_MAX => None,
            Some(number) if number != self.stride_number => return,
            Some(_) if count == 0 => self.stride.take().and_then(|it| it.scaled(WIDER, 1)),
            Some(_) => {
                self.overfull = count > page.limit.saturating_mul(OVERFULL);
                let count = count.unsigned_abs();
                let factor = self.wanted().min(count.saturating_mul(SPARSER));
                let stride = self.stride.take();
                let scaled = stride.and_then(|stride| stride.scaled(factor, count));
                scaled.or_else(|| self.stride_by_keys(entries))
            }
            None if page.response.more => self.stride_by_keys(entries),
            None => return,
        };
        self.stride = stride;
        self.stride_number += 1;
    }

    /// As far as it is between these keys, for as many as the next page should have.
    fn stride_by_keys(&self, entries: &[Entry]) -> Option<Stride> {
        let keys = i64::try_from(entries.len()).ok()?;
        if keys < TELLING_KEYS {
            return None;
        }
        let (first, last) = (entries.first()?, entries.last()?);
        let stride = Stride::between(&first.key, &last.key)?;
        stride.scaled(self.wanted(), keys.unsigned_abs())
    }

    /// How many keys a section should hold: a few less than its page takes, so that it is one page.
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
    fn rest(&self, range: KeyRange, part: usize) -> Option<Stretch> {
        let response = &self.response;
        let found = i64::try_from(response.entries.len()).unwrap_or(i64::MAX);
        let last = response.entries.last().filter(|_| response.more)?;
        Some(Stretch {
            range: KeyRange::new(successor(&last.key), range.end),
            part,
            state: State::Waiting(response.count - found),
        })
    }
}

#[cfg(test)]
mod tests;
