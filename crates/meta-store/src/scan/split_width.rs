//! The width of a split: the distance between keys, used to estimate the end of the next split.
//!
//! Keys are compared as numbers: the decimal number in which two keys first differ, else the eight
//! bytes from the first difference.

/// The distance that a split spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SplitWidth {
    /// `span` in units of the last of the eight bytes that start at `depth`.
    Bytes { depth: usize, span: u64 },
    /// `span` of the decimal number that starts at `start` and has `width` digits.
    Decimal {
        start: usize,
        width: usize,
        span: u64,
    },
}

impl SplitWidth {
    /// Returns the distance from `first` to `last`.
    pub(super) fn between(first: &[u8], last: &[u8]) -> Option<Self> {
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

    /// Returns a key at this distance after `from`; `None` if that is after all possible keys.
    pub(super) fn reach(&mut self, from: &[u8]) -> Option<Vec<u8>> {
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
                    // The next number would have more digits.
                    *self = Self::number_before(from, start);
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

    /// Multiplies by `factor / divisor`; `None` if the result is 0.
    pub(super) fn scaled(self, factor: u64, divisor: u64) -> Option<Self> {
        let scale = |span: u64| {
            let span = u128::from(span) * u128::from(factor) / u128::from(divisor.max(1));
            (span > 0).then_some(span)
        };
        match self {
            Self::Decimal { start, width, span } => {
                // A span beyond the largest number advances the number before it.
                let span = u64::try_from(scale(span)?).unwrap_or(u64::MAX);
                Some(Self::Decimal { start, width, span })
            }
            Self::Bytes { mut depth, span } => {
                let mut span = scale(span)?;
                while span > u128::from(u64::MAX) {
                    match depth.checked_sub(1) {
                        Some(higher) => (depth, span) = (higher, span >> 8),
                        None => span = u128::from(u64::MAX),
                    }
                }
                let span = u64::try_from(span).unwrap_or(u64::MAX);
                Some(Self::Bytes { depth, span })
            }
        }
    }

    /// Returns the width to the next value of the number before `start`, such as the collection id before
    /// segment ids; without such a number, to the end of the folder.
    fn number_before(key: &[u8], start: usize) -> Self {
        let before = &key[..start.min(key.len())];
        let folder = before
            .iter()
            .rposition(u8::is_ascii_digit)
            .map(|position| digits_around(before, position));
        match folder {
            Some((start, width)) if number(before, start, width).is_some() => Self::Decimal {
                start,
                width,
                span: 1,
            },
            _ => Self::Bytes {
                depth: before
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .unwrap_or(start),
                span: 1 << 56,
            },
        }
    }
}

/// Start and length of the run of digits around `position`; the length is 0 if there is none.
fn digits_around(key: &[u8], position: usize) -> (usize, usize) {
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let (before, after) = key.split_at(position.min(key.len()));
    let left = before.iter().rev().take_while(is_digit).count();
    let right = after.iter().take_while(is_digit).count();
    (before.len() - left, left + right)
}

/// Returns the decimal number of `width` digits at `start`.
fn number(key: &[u8], start: usize, width: usize) -> Option<u64> {
    let digits = key.get(start..start + width)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Eight bytes of a key as a number, padded with zeros.
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
    fn reach_adds_the_distance_between_keys() {
        let mut width = SplitWidth::between(b"a/097/x", b"a/100/y").unwrap();
        assert_eq!(width.reach(b"a/100/y\0").unwrap(), b"a/103");
        assert_eq!(width.reach(b"a/103").unwrap(), b"a/106");
        let mut width = SplitWidth::between(b"a/bc", b"a/bf").unwrap();
        let end = width.reach(b"a/bf\0").unwrap();
        assert!((b"a/bh".as_slice()..b"a/bj".as_slice()).contains(&end.as_slice()));
    }

    #[test]
    fn scaled_width_reaches_proportionally() {
        let width = SplitWidth::between(b"a/100", b"a/110").unwrap();
        let mut further = width.clone().scaled(3, 1).unwrap();
        assert_eq!(further.reach(b"a/110").unwrap(), b"a/140");
        let mut less = width.clone().scaled(1, 5).unwrap();
        assert_eq!(less.reach(b"a/110").unwrap(), b"a/112");
        assert_eq!(width.scaled(1, 11), None);
    }

    #[test]
    fn reach_past_the_last_number_ends_the_folder() {
        let mut width = SplitWidth::between(b"a/07/980", b"a/07/998").unwrap();
        assert_eq!(width.reach(b"a/07/998\0").unwrap(), b"a/08");
        assert_eq!(width.reach(b"a/08").unwrap(), b"a/09");
        let mut width = SplitWidth::between(b"a/980", b"a/998").unwrap();
        let end = width.reach(b"a/998\0").unwrap();
        assert!(end.as_slice() > b"a/\xff\xff".as_slice());
        assert!(end.as_slice() < b"b".as_slice());
    }

    #[test]
    fn reach_may_leave_the_folder() {
        let mut width = SplitWidth::Bytes {
            depth: 2,
            span: u64::MAX / 2,
        };
        let end = width.reach(b"a/\xff").unwrap();
        assert!(end.as_slice() > b"a/\xff".as_slice());
        assert!(width.reach(&[0xff; 20]).is_none());
        let mut widest = width.scaled(u64::MAX, 1).unwrap();
        assert_eq!(widest.reach(b"a"), None);
    }
}
