//! Writes with a precondition: the keys that must be unchanged.
//!
//! The lock and the sessions exclude Milvus and other runs, but not a tool without a session:
//! etcdctl, or a component that lost its lease and still writes. Keys that such a writer changed
//! after they were read are neither overwritten nor deleted, because etcd compares their revisions.

use std::collections::BTreeMap;

use meta_store::{Compare, Op};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

use crate::error::written_at;

/// An operation, and the range that must be unchanged since it was read.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) op: Op,
    pub(super) unchanged: Option<KeyRange>,
}

impl From<Op> for Write {
    /// Creates a write without a precondition other than the guards.
    fn from(op: Op) -> Self {
        Self {
            op,
            unchanged: None,
        }
    }
}

impl Write {
    /// Creates a write that requires the keys it writes or deletes to be unchanged.
    pub(super) fn over(op: Op) -> Self {
        let unchanged = match &op {
            Op::Put { key, .. } => KeyRange::single(key.to_vec()),
            Op::Delete(range) => range.clone(),
        };
        Self {
            op,
            unchanged: Some(unchanged),
        }
    }

    /// Like [`Self::over`], for a put that follows one that ended at `from`; no key may exist in
    /// between.
    pub(super) fn put_behind(from: Option<Vec<u8>>, entry: Entry) -> Self {
        let start = from.unwrap_or_else(|| entry.key.to_vec());
        let unchanged = KeyRange::new(start, successor(&entry.key));
        Self {
            op: Op::put(entry.key, entry.value),
            unchanged: Some(unchanged),
        }
    }
}

/// Returns the ranges that must be unchanged for a batch; adjacent ranges are merged.
pub(super) fn unchanged(batch: &[Write]) -> Vec<KeyRange> {
    let mut ranges: Vec<KeyRange> = Vec::new();
    for range in batch.iter().filter_map(|write| write.unchanged.as_ref()) {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end.clone_from(&range.end),
            _ => ranges.push(range.clone()),
        }
    }
    ranges
}

/// Returns the comparisons that these ranges are unchanged since a revision.
pub(super) fn compares(ranges: Vec<KeyRange>, revision: i64) -> impl Iterator<Item = Compare> {
    let ranges = ranges.into_iter();
    ranges.map(move |range| Compare::ChangedBefore(range, revision + 1))
}

/// The state in etcd of a batch that was rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The batch is applied: by an attempt whose reply was lost.
    AsWritten,
    /// A key was changed after the revision; the text describes it.
    Changed(String),
    /// The keys are unchanged and the batch is not applied.
    Unchanged,
}

/// Determines the state of a batch from all entries in its ranges, in ascending order.
pub(super) fn judge(batch: &[Write], found: &[Entry], revision: i64) -> Held {
    let by_key: BTreeMap<&[u8], &Entry> = found.iter().map(|entry| (&*entry.key, entry)).collect();
    let is_done = |write: &Write| match &write.op {
        Op::Put { key, value, lease } => by_key
            .get(&**key)
            .is_some_and(|entry| entry.value == *value && entry.lease == *lease),
        Op::Delete(range) => !found.iter().any(|entry| range.contains(&entry.key)),
    };
    // The keys of a write without a precondition were not read.
    let is_known = |write: &Write| write.unchanged.is_some();
    if batch.iter().all(|write| is_known(write) && is_done(write)) {
        return Held::AsWritten;
    }
    let mut newer = found.iter().filter(|entry| entry.mod_revision > revision);
    let changed = |entry| Held::Changed(written_at(entry));
    newer.next().map_or(Held::Unchanged, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, mod_revision: i64) -> Entry {
        Entry {
            mod_revision,
            ..Entry::new(key.to_owned(), value.to_owned())
        }
    }

    fn put(key: &str) -> Write {
        Write::over(Op::put(key.to_owned(), "new"))
    }

    #[test]
    fn adjacent_puts_are_compared_as_one_range() {
        let next = |from: &Write, key: &str| {
            let from = from.unchanged.as_ref().map(|range| range.end.clone());
            Write::put_behind(from, entry(key, "new", 0))
        };
        let first = Write::put_behind(None, entry("a", "new", 0));
        let second = next(&first, "c");
        let apart = Write::put_behind(None, entry("x", "new", 0));
        let ranges = unchanged(&[first, second, Op::put("y", "new").into(), apart]);
        assert_eq!(ranges.len(), 2);
        assert!(ranges[0].contains(b"a") && ranges[0].contains(b"b") && ranges[0].contains(b"c"));
        assert!(!ranges[0].contains(b"c1") && !ranges[1].contains(b"w"));
        assert_eq!(ranges[1], KeyRange::single("x"));
    }

    #[test]
    fn rejected_batch_is_classified_by_etcds_state() {
        let batch = [put("a"), Write::over(Op::Delete(KeyRange::prefix("b/")))];
        let applied = [entry("a", "new", 12)];
        assert_eq!(judge(&batch, &applied, 10), Held::AsWritten);
        let before = [entry("a", "old", 9), entry("b/1", "x", 3)];
        assert_eq!(judge(&batch, &before, 10), Held::Unchanged);
        for other in [
            [entry("a", "new", 12), entry("b/1", "x", 12)],
            [entry("a", "other", 12), entry("b/1", "x", 3)],
        ] {
            let held = judge(&batch, &other, 10);
            assert!(
                matches!(&held, Held::Changed(what) if what.contains("12")),
                "{held:?}"
            );
        }
    }
}
