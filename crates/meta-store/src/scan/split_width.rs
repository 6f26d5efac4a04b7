//! How far it is in a range to so many keys.
//!
//! Keys are taken for numbers: the decimal number in which two keys begin to differ, else eight bytes
//! from there.

/// How far a split reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SplitWidth {
    /// `span` in units of the eighth byte behind `depth`.
    Bytes { depth: usize, span: u64 },
    /// `span` counted in the decimal number at `start`, `width` digits wide.
    Decimal {
        start: usize,
        width: usize,
        span: u64,
    },
}

impl SplitWidth {
    /// As far as it is from `first` to `last`.
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

    /// A key behind `from`, as far away as the width reaches; `None` when that is behind all keys.
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
                    // Behind the last number of so many digits.
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

    /// So many times as far; `None` when that is nowhere.
    pub(super) fn scaled(self, factor: u64, divisor: u64) -> Option<Self> {
        let scale = |span: u64| {
            let span = u128::from(span) * u128::from(factor) / u128::from(divisor.max(1));
            (span > 0).then_some(span)
        };
        match self {
            Self::Decimal { start, width, span } => {
                // More than the largest number leads to the number before it.
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

    /// To the next value of the number before `start` in a key, as the id of a collection
    /// stands before those of its segments; where there is none, to the end of the folder.
    fn number_before(key: &[u8], start: usize) -> Self {
        let before = &key[..start.min(key.len())];
        let folder = before
            .iter()
            .rposition(u8::is_ascii_digit)
            .map(|place| digits_around(before, place));
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
    fn a_stride_reaches_as_far_again_as_the_keys_are_apart() {
        let mut width = SplitWidth::between(b"a/097/x", b"a/100/y").unwrap();
        assert_eq!(width.reach(b"a/100/y\0").unwrap(), b"a/103");
        assert_eq!(width.reach(b"a/103").unwrap(), b"a/106");
        let mut width = SplitWidth::between(b"a/bc", b"a/bf").unwrap();
        let end = width.reach(b"a/bf\0").unwrap();
        assert!((b"a/bh".as_slice()..b"a/bj".as_slice()).contains(&end.as_slice()));
    }

    #[test]
    fn scaled_it_reaches_further_or_less_far() {
        let width = SplitWidth::between(b"a/100", b"a/110").unwrap();
        let mut further = width.clone().scaled(3, 1).unwrap();
        assert_eq!(further.reach(b"a/110").unwrap(), b"a/140");
        let mut less = width.clone().scaled(1, 5).unwrap();
        assert_eq!(less.reach(b"a/110").unwrap(), b"a/112");
        assert_eq!(width.scaled(1, 11), None);
    }

    #[test]
    fn behind_the_last_number_of_its_width_it_ends_the_folder() {
        let mut width = SplitWidth::between(b"a/07/980", b"a/07/998").unwrap();
        assert_eq!(width.reach(b"a/07/998\0").unwrap(), b"a/08");
        assert_eq!(width.reach(b"a/08").unwrap(), b"a/09");
        let mut width = SplitWidth::between(b"a/980", b"a/998").unwrap();
        let end = width.reach(b"a/998\0").unwrap();
        assert!(end.as_slice() > b"a/\xff\xff".as_slice());
        assert!(end.as_slice() < b"b".as_slice());
    }

    #[test]
    fn a_stride_that_leaves_its_folder_continues_behind_it() {
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
