//! Splits large deletions into ranges with a bounded number of keys.

use meta_store::Store;
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::fingerprint::KeyPages;

/// The deletions for a set of ranges at a revision.
pub(super) struct Deletes {
    /// Ranges with at most `delete_keys_max` keys and without keys that are kept.
    pub(super) ranges: Vec<KeyRange>,
    /// Keys that are newer than the metadata that was read; they are kept.
    pub(super) newer: Vec<Entry>,
    pub(super) revision: i64,
}

/// Plans the deletion of the keys in the ranges that were last written at revision `known` or
/// before.
pub(super) async fn plan_deletes<S: Store>(
    etcd: Etcd<'_, S>,
    ranges: &[KeyRange],
    known: i64,
) -> Result<Deletes, EngineErrorKind> {
    let (mut runs, mut newer) = (DeleteRanges::default(), Vec::new());
    let mut revision = i64::MAX;
    for range in ranges {
        let mut pages = KeyPages::begin(etcd, range.clone(), &[]).await?;
        // A write between the reads of two ranges is newer than the older revision.
        revision = revision.min(pages.revision());
        while let Some(page) = pages.next().await? {
            for entry in page {
                if entry.mod_revision > known {
                    runs.keep();
                    newer.push(entry);
                } else {
                    runs.delete(&entry.key, etcd.limits.delete_keys_max);
                }
            }
        }
        runs.keep();
    }
    Ok(Deletes {
        ranges: runs.into_ranges(),
        newer,
        revision,
    })
}

/// Splits ranges into pieces of at most `keys_max` keys while they are read for another purpose.
/// They need not be read again for the deletion.
#[derive(Debug)]
pub(super) struct RangeSplits {
    /// Ascending and disjoint.
    ranges: Vec<KeyRange>,
    keys_max: usize,
    current: usize,
    keys: usize,
    pieces: Vec<KeyRange>,
}

impl RangeSplits {
    pub(super) fn new(ranges: Vec<KeyRange>, keys_max: usize) -> Self {
        Self {
            ranges,
            keys_max: keys_max.max(1),
            current: 0,
            keys: 0,
            pieces: Vec::new(),
        }
    }

    /// Adds the next key in ascending order, inside or outside the ranges.
    pub(super) fn see(&mut self, key: &[u8]) {
        while let Some(range) = self.ranges.get_mut(self.current) {
            if key < range.start.as_slice() {
                return;
            }
            if !range.contains(key) {
                self.current += 1;
                self.keys = 0;
                continue;
            }
            if self.keys == self.keys_max {
                let start = std::mem::replace(&mut range.start, key.to_vec());
                self.pieces.push(KeyRange::new(start, key.to_vec()));
                self.keys = 0;
            }
            self.keys += 1;
            return;
        }
    }

    /// Returns the pieces, which together cover the ranges completely.
    pub(super) fn into_pieces(mut self) -> Vec<KeyRange> {
        self.pieces.extend(self.ranges);
        self.pieces.sort();
        self.pieces
    }
}

/// Collects keys to delete, in ascending order, into ranges that contain no other key.
#[derive(Debug, Default)]
pub(super) struct DeleteRanges {
    finished: Vec<KeyRange>,
    open: Option<(KeyRange, usize)>,
}

impl DeleteRanges {
    /// Adds the next key to the deletion.
    pub(super) fn delete(&mut self, key: &[u8], keys_max: usize) {
        match &mut self.open {
            Some((range, keys)) if *keys < keys_max => {
                range.end = successor(key);
                *keys += 1;
            }
            _ => {
                self.keep();
                self.open = Some((KeyRange::single(key.to_vec()), 1));
            }
        }
    }

    /// Skips the next key: no range may contain it.
    pub(super) fn keep(&mut self) {
        self.finished
            .extend(self.open.take().map(|(range, _)| range));
    }

    pub(super) fn into_ranges(mut self) -> Vec<KeyRange> {
        self.keep();
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_splits_cover_their_ranges_in_small_pieces() {
        let ranges = vec![
            KeyRange::prefix("b/"),
            KeyRange::prefix("d/"),
            KeyRange::prefix("e/"),
        ];
        let mut splits = RangeSplits::new(ranges.clone(), 2);
        let keys = [
            "a/1", "b/1", "b/2", "b/3", "b/4", "b/5", "c/1", "e/1", "f/1",
        ];
        keys.iter().for_each(|key| splits.see(key.as_bytes()));
        let pieces = splits.into_pieces();
        for piece in &pieces {
            let held = keys.iter().filter(|key| piece.contains(key.as_bytes()));
            assert!(held.count() <= 2, "{piece:?}");
        }
        for key in keys
            .map(str::as_bytes)
            .into_iter()
            .chain([&b"d/new"[..], b"b/99"])
        {
            let inside = ranges.iter().any(|range| range.contains(key));
            let holding = pieces.iter().filter(|piece| piece.contains(key)).count();
            assert_eq!(holding, usize::from(inside), "{key:?}");
        }
    }

    #[test]
    fn delete_ranges_are_small_and_exclude_kept_keys() {
        let mut runs = DeleteRanges::default();
        for (key, is_deleted) in [
            ("a", true),
            ("b", true),
            ("c", false),
            ("d", true),
            ("e", true),
            ("f", true),
        ] {
            if is_deleted {
                runs.delete(key.as_bytes(), 2);
            } else {
                runs.keep();
            }
        }
        let ranges = runs.into_ranges();
        let holding = |key: &str| {
            ranges
                .iter()
                .filter(|range| range.contains(key.as_bytes()))
                .count()
        };
        assert_eq!(ranges.len(), 3);
        assert_eq!(holding("c"), 0);
        for key in ["a", "b", "d", "e", "f"] {
            assert_eq!(holding(key), 1, "{key}");
        }
    }
}
