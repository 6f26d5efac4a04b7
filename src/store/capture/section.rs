//! Cuts a long range into sections of about a page, without knowing its keys.
//!
//! Keys are taken for numbers, eight bytes from the place where the keys of the last page begin to
//! differ; the next section reaches as far as that page did. Where nothing is found the sections
//! widen until something is.

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

/// How far a section reaches: `span`, in units of the eighth byte behind `depth`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stride {
    depth: usize,
    span: u64,
}

impl Stride {
    fn between(first: &[u8], last: &[u8]) -> Option<Self> {
        let pairs = first.iter().zip(last);
        let depth = pairs.take_while(|(one, other)| one == other).count();
        let span = window(last, depth).checked_sub(window(first, depth))?;
        (span > 0).then_some(Self { depth, span })
    }

    /// A key behind `start`, as far away as the stride reaches; `None` when that is behind all keys.
    fn reach(&mut self, start: &[u8]) -> Option<Vec<u8>> {
        loop {
            if self.depth <= start.len()
                && let Some(value) = window(start, self.depth).checked_add(self.span)
            {
                let mut end = start[..self.depth].to_vec();
                end.extend_from_slice(&value.to_be_bytes());
                return Some(end);
            }
            self.depth = self.depth.checked_sub(1)?;
            self.span = (self.span >> 8).max(1);
        }
    }

    /// Four times as far.
    fn widened(self) -> Self {
        match self.span.checked_mul(4) {
            Some(span) => Self { span, ..self },
            None => Self {
                depth: self.depth.saturating_sub(1),
                span: (self.span >> 8).saturating_mul(4),
            },
        }
    }

    /// The same span one byte to the left: 256 times as far.
    fn stepped_up(self) -> Self {
        match self.depth.checked_sub(1) {
            Some(depth) => Self { depth, ..self },
            None => Self {
                span: u64::MAX,
                ..self
            },
        }
    }
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
        let mut stride = Stride::between(b"a/100", b"a/300").unwrap();
        let end = stride.reach(b"a/300\0").unwrap();
        assert!(end.as_slice() > b"a/4".as_slice());
        assert!(end.as_slice() < b"a/6".as_slice());
    }

    #[test]
    fn a_stride_that_leaves_its_folder_goes_on_behind_it() {
        let mut stride = Stride {
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
