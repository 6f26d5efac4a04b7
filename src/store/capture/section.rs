//! Cuts a long range into sections of about a page, without knowing its keys.
//!
//! Keys are taken for numbers: the decimal number in which the keys of the last page begin to differ,
//! else eight bytes from there. The next section reaches as far as that page did. Where nothing is
//! found the sections widen until something is.

use crate::entry::Entry;
use crate::keys::{KeyRange, successor};

/// So many pages that are left are read without cutting: counting them costs less than guessing.
const FEW_PAGES: i64 = 4;

/// How far a page of fewer entries reached says nothing.
const TELLING_ENTRIES: usize = 16;

/// What is left of a range, and where to cut it next.
#[derive(Debug)]
pub(super) struct Sections {
    rest: KeyRange,
    /// Where the section under way ends.
    end: Vec<u8>,
    is_done: bool,
    /// How many keys are left, as far as known.
    left: Option<i64>,
    stride: Option<Stride>,
}

impl Sections {
    pub(super) fn new(range: KeyRange) -> Self {
        Self {
            end: range.end.clone(),
            is_done: range.is_empty(),
            rest: range,
            left: None,
            stride: None,
        }
    }

    /// The next section, for a page of `limit` entries; `None` when nothing is left.
    pub(super) fn next(&mut self, limit: i64) -> Option<KeyRange> {
        if self.is_done {
            return None;
        }
        let many_left = |left| left > limit.saturating_mul(FEW_PAGES);
        let reach = match &mut self.stride {
            Some(stride) if self.left.is_some_and(many_left) => stride.reach(&self.rest.start),
            _ => None,
        };
        self.end = match reach {
            Some(end) if self.rest.is_open() || end < self.rest.end => end,
            _ => self.rest.end.clone(),
        };
        Some(KeyRange::new(self.rest.start.clone(), self.end.clone()))
    }

    /// Takes note of what was found in the section: `entries`, at most `limit` of the `count` that are
    /// there.
    pub(super) fn advance(&mut self, entries: &[Entry], limit: i64, more: bool, count: i64) {
        let found = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        self.left = if self.end == self.rest.end {
            Some(count - found)
        } else {
            self.left.map(|left| left - found)
        };
        if let (true, Some(last)) = (more, entries.last()) {
            self.rest.start = successor(&last.key);
            if entries.len() >= TELLING_ENTRIES {
                // The last quarter: a page that goes on in another folder says nothing of that as a whole.
                let from = &entries[entries.len() - entries.len() / 4].key;
                self.stride = Stride::between(from, &last.key).map(Stride::widened);
            }
            return;
        }
        if self.end == self.rest.end {
            self.is_done = true;
            return;
        }
        self.rest.start.clone_from(&self.end);
        self.stride = self.stride.take().map(|stride| match found {
            0 => stride.stepped_up(),
            few if few < limit / 2 => stride.widened(),
            _ => stride,
        });
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

    /// 256 times as far.
    fn stepped_up(self) -> Self {
        self.times(256)
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
        let mut sections = Sections::new(KeyRange::prefix(b"root/".to_vec()));
        let page: Vec<Entry> = (0..20)
            .map(|number| Entry::new(format!("root/a/b/c/d/{number:04}"), "v"))
            .collect();
        sections.next(20).unwrap();
        sections.advance(&page, 20, true, 1_000_000);
        let mut requests = 0;
        while let Some(section) = sections.next(20) {
            assert!(!section.is_empty());
            sections.advance(&[], 20, false, 0);
            requests += 1;
        }
        assert!(requests < 20, "{requests} requests");
    }
}
