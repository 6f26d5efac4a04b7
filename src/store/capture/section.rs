//! Cuts a long range into sections of about a page, without knowing its keys.
//!
//! Keys are taken for numbers: the decimal number in which the keys of the last page begin to differ,
//! else eight bytes from there. The next section reaches as far as that page did. Where nothing is
//! found the rest is read as a whole, which shows where it goes on. Several sections may be under way
//! at once; together with what is not yet asked for they always lie end to end.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::keys::{KeyRange, successor};

/// How far a page of fewer entries reached says nothing.
const TELLING_ENTRIES: usize = 16;

/// What is left of a range, in order, and where to cut it next.
#[derive(Debug)]
pub(super) struct Sections {
    stretches: VecDeque<Stretch>,
    /// How many entries the first page of a part has at most.
    first_count: i64,
    /// How far a page reached in the part it is known for.
    stride: Option<Stride>,
    stride_part: usize,
    /// Counts the strides, so that several sections of the same one are judged once.
    stride_number: u64,
}

/// A piece of the range that is not yet read.
#[derive(Debug)]
struct Stretch {
    range: KeyRange,
    /// Parts hold keys of different kinds: what is known of one says nothing of another.
    part: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not yet asked for. How many keys are in it, as far as known.
    Waiting(Option<i64>),
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

impl Sections {
    /// A range in parts: it is cut at those of the ascending `cuts` that lie within.
    pub(super) fn new(range: KeyRange, cuts: &[Vec<u8>], first_count: i64) -> Self {
        let mut rest = range;
        let mut ranges = Vec::new();
        for cut in cuts {
            if *cut > rest.start && rest.contains(cut) {
                let start = std::mem::replace(&mut rest.start, cut.clone());
                ranges.push(KeyRange::new(start, cut.clone()));
            }
        }
        ranges.push(rest);
        let stretches = ranges.into_iter().enumerate();
        Self {
            stretches: stretches
                .filter(|(_, range)| !range.is_empty())
                .map(|(part, range)| Stretch {
                    range,
                    part,
                    state: State::Waiting(None),
                })
                .collect(),
            first_count,
            stride: None,
            stride_part: usize::MAX,
            stride_number: 0,
        }
    }

    /// Nothing to read.
    pub(super) fn nothing() -> Self {
        Self::new(KeyRange::new("", ""), &[], 1)
    }

    /// The next section, for a page of `limit` entries; `None` when nothing is left to ask for.
    pub(super) fn next(&mut self, limit: i64) -> Option<Section> {
        let asked = |stretch: &&Stretch| matches!(stretch.state, State::Asked(..));
        let position = self.stretches.iter().take_while(asked).count();
        let stretch = self.stretches.get_mut(position)?;
        let State::Waiting(left) = stretch.state else {
            return None;
        };
        let is_known = self.stride_part == stretch.part;
        let reach = match &mut self.stride {
            Some(stride) if is_known && left.is_none_or(|left| left > limit) => {
                stride.reach(&stretch.range.start)
            }
            _ => None,
        };
        let cut = reach.filter(|end| stretch.range.is_open() || *end < stretch.range.end);
        let Some(end) = cut else {
            let limit = if left.is_some() || is_known {
                limit
            } else {
                self.first_count
            };
            stretch.state = State::Asked(limit, None);
            return Some(Section {
                range: stretch.range.clone(),
                limit,
                position,
            });
        };
        let range = KeyRange::new(stretch.range.start.clone(), end.clone());
        let section = Stretch {
            range: range.clone(),
            part: stretch.part,
            state: State::Asked(limit, Some(self.stride_number)),
        };
        stretch.range.start = end;
        stretch.state = State::Waiting(left.map(|left| (left - limit).max(0)));
        self.stretches.insert(position, section);
        Some(Section {
            range,
            limit,
            position,
        })
    }

    /// Takes note of what was found in the first section under way: `entries` of the `count` that
    /// are there.
    pub(super) fn landed(&mut self, entries: &[Entry], more: bool, count: i64) {
        let Some(stretch) = self.stretches.pop_front() else {
            return;
        };
        let State::Asked(limit, cut_by) = stretch.state else {
            return;
        };
        let found = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        if cut_by.is_some() {
            self.correct(stretch.part, limit - count);
        }
        if let (true, Some(last)) = (more, entries.last()) {
            if entries.len() >= TELLING_ENTRIES {
                // The last quarter: a page that goes on in another folder says nothing of that as a whole.
                let from = &entries[entries.len() - entries.len() / 4].key;
                let stride = Stride::between(from, &last.key).map(Stride::widened);
                self.stride_is(stride, stretch.part);
            }
            self.stretches.push_front(Stretch {
                range: KeyRange::new(successor(&last.key), stretch.range.end),
                part: stretch.part,
                state: State::Waiting(Some(count - found)),
            });
            return;
        }
        if cut_by == Some(self.stride_number) && self.stride_part == stretch.part {
            match found {
                0 => self.stride_is(None, stretch.part),
                few if few < limit / 2 => {
                    let stride = self.stride.take().map(Stride::widened);
                    self.stride_is(stride, stretch.part);
                }
                _ => {}
            }
        }
    }

    fn stride_is(&mut self, stride: Option<Stride>, part: usize) {
        self.stride = stride;
        self.stride_part = part;
        self.stride_number += 1;
    }

    /// What was cut off held fewer keys than thought, so more are left.
    fn correct(&mut self, part: usize, more: i64) {
        let mut stretches = self.stretches.iter_mut();
        let waiting = stretches.find_map(|stretch| match &mut stretch.state {
            State::Waiting(Some(left)) if stretch.part == part => Some(left),
            State::Waiting(_) | State::Asked(..) => None,
        });
        if let Some(left) = waiting {
            *left = (*left + more).max(0);
        }
    }
}

/// How far a section reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stride {
    /// `span` in units of the eighth byte behind `depth`.
    Bytes { depth: usize, span: u64 },
    /// `span` counted in the decimal number that stands at `start`, `width` digits wide.
    Decimal {
        start: usize,
        width: usize,
        span: u64,
    },
}

impl Stride {
    /// As far as it is from `first` to `last`.
    fn between(first: &[u8], last: &[u8]) -> Option<Self> {
        let pairs = first.iter().zip(last);
        let depth = pairs.take_while(|(one, other)| one == other).count();
        let (start, width) = digits_around(last, depth);
        if let (Some(from), Some(to)) = (number(first, start, width), number(last, start, width))
            && first.len().min(last.len()) > depth
            && !first.get(start + width).is_some_and(u8::is_ascii_digit)
        {
            let span = to.checked_sub(from).filter(|span| *span > 0)?;
            return Some(Self::Decimal { start, width, span });
        }
        let span = window(last, depth).checked_sub(window(first, depth))?;
        (span > 0).then_some(Self::Bytes { depth, span })
    }

    /// A key behind `start`, as far away as the stride reaches; `None` when that is behind all keys.
    fn reach(&mut self, from: &[u8]) -> Option<Vec<u8>> {
        loop {
            match *self {
                Self::Decimal { start, width, span } => {
                    let next = number(from, start, width)
                        .and_then(|number| number.checked_add(span))
                        .map(|next| format!("{next:0width$}"))
                        .filter(|next| next.len() == width);
                    if let Some(next) = next {
                        return Some([&from[..start], next.as_bytes()].concat());
                    }
                    // Behind the last number of so many digits.
                    *self = Self::first_byte_at(start);
                }
                Self::Bytes { depth, span } => {
                    if depth <= from.len()
                        && let Some(next) = window(from, depth).checked_add(span)
                    {
                        return Some([&from[..depth], &next.to_be_bytes()].concat());
                    }
                    let depth = depth.checked_sub(1)?;
                    let span = (span >> 8).max(1);
                    *self = Self::Bytes { depth, span };
                }
            }
        }
    }

    /// Four times as far.
    fn widened(self) -> Self {
        self.times(4)
    }

    fn times(self, factor: u64) -> Self {
        match self {
            Self::Decimal { start, width, span } => match span.checked_mul(factor) {
                Some(span) => Self::Decimal { start, width, span },
                None => Self::first_byte_at(start),
            },
            Self::Bytes { depth, span } => match (span.checked_mul(factor), depth.checked_sub(1)) {
                (Some(span), _) => Self::Bytes { depth, span },
                (None, Some(depth)) => Self::Bytes {
                    depth,
                    span: (span >> 8).saturating_mul(factor),
                },
                (None, None) => Self::Bytes {
                    depth,
                    span: u64::MAX,
                },
            },
        }
    }

    /// As far as the next greater byte at `depth`.
    fn first_byte_at(depth: usize) -> Self {
        Self::Bytes {
            depth,
            span: 1 << 56,
        }
    }
}

/// Start and width of the run of digits around a place; the width is 0 where there is none.
fn digits_around(key: &[u8], place: usize) -> (usize, usize) {
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let (before, behind) = key.split_at(place.min(key.len()));
    let left = before.iter().rev().take_while(is_digit).count();
    let right = behind.iter().take_while(is_digit).count();
    (before.len() - left, left + right)
}

/// The decimal number of `width` digits that stands at `start`.
fn number(key: &[u8], start: usize, width: usize) -> Option<u64> {
    let digits = key.get(start..start + width)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Eight bytes of a key as a number; zeros behind its end.
fn window(key: &[u8], depth: usize) -> u64 {
    let mut bytes = [0; 8];
    for (byte, from) in bytes.iter_mut().zip(key.iter().skip(depth)) {
        *byte = *from;
    }
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_reaches_as_far_again_as_the_page_did() {
        let mut stride = Stride::between(b"a/097/x", b"a/100/y").unwrap();
        assert_eq!(stride.reach(b"a/100/y\0").unwrap(), b"a/103");
        assert_eq!(stride.reach(b"a/103").unwrap(), b"a/106");
        let mut stride = Stride::between(b"a/bc", b"a/bf").unwrap();
        let end = stride.reach(b"a/bf\0").unwrap();
        assert!((b"a/bh".as_slice()..b"a/bj".as_slice()).contains(&end.as_slice()));
    }

    #[test]
    fn behind_the_last_number_of_its_width_a_stride_goes_on() {
        let mut stride = Stride::between(b"a/980", b"a/998").unwrap();
        let end = stride.reach(b"a/998\0").unwrap();
        assert!(end.as_slice() > b"a/999999".as_slice());
        assert!(end.as_slice() < b"b".as_slice());
    }

    #[test]
    fn a_stride_that_leaves_its_folder_goes_on_behind_it() {
        let mut stride = Stride::Bytes {
            depth: 2,
            span: u64::MAX / 2,
        };
        let end = stride.reach(b"a/\xff").unwrap();
        assert!(end.as_slice() > b"a/\xff".as_slice());
        assert!(stride.reach(&[0xff; 20]).is_none());
    }

    #[test]
    fn sections_of_nothing_end_soon() {
        let mut sections = Sections::new(KeyRange::prefix(b"root/".to_vec()), &[], 20);
        let page: Vec<Entry> = (0..20)
            .map(|number| Entry::new(format!("root/a/b/c/d/{number:04}"), "v"))
            .collect();
        sections.next(20).unwrap();
        sections.landed(&page, true, 1_000_000);
        let mut requests = 0;
        while let Some(section) = sections.next(20) {
            assert!(!section.range.is_empty());
            sections.landed(&[], false, 0);
            requests += 1;
        }
        assert!(sections.stretches.is_empty());
        assert!(requests < 4, "{requests} requests");
    }

    #[test]
    fn what_is_under_way_and_what_waits_lie_end_to_end() {
        let cuts = [b"root/c".to_vec(), b"root/x".to_vec(), b"z".to_vec()];
        let mut sections = Sections::new(KeyRange::prefix("root/"), &cuts, 10);
        let ranges = |sections: &Sections| -> Vec<KeyRange> {
            let stretches = sections.stretches.iter();
            stretches.map(|stretch| stretch.range.clone()).collect()
        };
        let parts = ranges(&sections);
        assert_eq!(parts.len(), 3);
        let page: Vec<Entry> = (100..120)
            .map(|number| Entry::new(format!("root/a/{number}"), "v"))
            .collect();
        assert_eq!(sections.next(50).unwrap().limit, 10);
        sections.landed(&page, true, 400);
        let positions = (0..6).filter_map(|_| sections.next(50));
        let positions: Vec<usize> = positions.map(|section| section.position).collect();
        assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
        let ranges = ranges(&sections);
        assert_eq!(ranges[0].start, successor(b"root/a/119"));
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(ranges.last().unwrap().end, parts[2].end);
    }
}
