//! The ranges of etcd that a restore writes to.

use milvus_meta::keys::{KeyRange, successor};

/// Maximum number of other keys between two puts in a range: reading them costs less than another
/// request.
const KEYS_BETWEEN: usize = 1000;

/// Collects the keys to put, in ascending order, into few ranges. Nothing is written outside of
/// them.
#[derive(Debug, Default)]
pub(super) struct WriteRanges {
    ranges: Vec<KeyRange>,
    others: usize,
}

impl WriteRanges {
    /// Adds the next key, which is put.
    pub(super) fn put(&mut self, key: &[u8]) {
        let end = successor(key);
        match self.ranges.last_mut() {
            Some(range) if self.others <= KEYS_BETWEEN => range.end = end,
            _ => self.ranges.push(KeyRange::new(key, end)),
        }
        self.others = 0;
    }

    /// Skips the next key, which is not put.
    pub(super) fn other(&mut self) {
        self.others += 1;
    }

    /// Returns the ranges, which are ascending and disjoint.
    pub(super) fn into_ranges(self) -> Vec<KeyRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_ranges_contain_all_puts_and_few_other_keys() {
        let mut touched = WriteRanges::default();
        let keys: Vec<String> = (0..10_000).map(|number| format!("k/{number:05}")).collect();
        let is_put = |index: usize| index.is_multiple_of(7) && !(3_000..6_000).contains(&index);
        for (index, key) in keys.iter().enumerate() {
            if is_put(index) {
                touched.put(key.as_bytes());
            } else {
                touched.other();
            }
        }
        let ranges = touched.into_ranges();
        assert_eq!(ranges.len(), 2);
        assert!(ranges[0].end <= ranges[1].start);
        for (index, key) in keys.iter().enumerate() {
            let inside = ranges.iter().any(|range| range.contains(key.as_bytes()));
            assert!(inside || !is_put(index), "{key}");
            assert!(!inside || !(3_010..5_990).contains(&index), "{key}");
        }
    }
}
