//! Which stretches of etcd a restore writes to.

use milvus_meta::keys::{KeyRange, successor};

/// So many keys that stay may be between two that are put without ending a range: reading them along
/// costs less than another request.
const KEYS_BETWEEN: usize = 1000;

/// Collects the keys to put, in ascending order, into few ranges. What is outside of them is not
/// written to.
#[derive(Debug, Default)]
pub(super) struct WriteRanges {
    ranges: Vec<KeyRange>,
    stayed: usize,
}

impl WriteRanges {
    /// The next key is put.
    pub(super) fn put(&mut self, key: &[u8]) {
        let end = successor(key);
        match self.ranges.last_mut() {
            Some(range) if self.stayed <= KEYS_BETWEEN => range.end = end,
            _ => self.ranges.push(KeyRange::new(key, end)),
        }
        self.stayed = 0;
    }

    /// The next key is not put.
    pub(super) fn other(&mut self) {
        self.stayed += 1;
    }

    /// The ranges, ascending and apart from each other.
    pub(super) fn into_ranges(self) -> Vec<KeyRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_put_lies_in_a_range_and_long_stretches_of_others_do_not() {
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
