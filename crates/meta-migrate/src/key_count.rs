//! Counts keys without reading them.

use meta_store::{RangeRequest, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::transform::staged_family_ranges;

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::fingerprint::Filter;

/// Returns the number of keys below the meta root at a revision, without the keys below `session/`
/// and this program's records.
pub(super) async fn keys<S: Store>(
    etcd: Etcd<'_, S>,
    revision: i64,
) -> Result<u64, EngineErrorKind> {
    let root = etcd.root;
    let all = count(etcd, root.range(), revision).await?;
    let sessions = count(etcd, root.range_below("session/"), revision).await?;
    let mut found = all.saturating_sub(sessions);
    for record in root.record_keys() {
        if root.range().contains(&record) {
            let record = count(etcd, KeyRange::single(record), revision).await?;
            found = found.saturating_sub(record);
        }
    }
    Ok(found)
}

pub(super) async fn in_ranges<S: Store>(
    etcd: Etcd<'_, S>,
    ranges: &[KeyRange],
    revision: i64,
) -> Result<u64, EngineErrorKind> {
    let mut keys = 0;
    for range in ranges {
        keys += count(etcd, range.clone(), revision).await?;
    }
    Ok(keys)
}

/// Counts, in the pages of a complete scan, the keys that are not source: those that [`keys`]
/// excludes, and those that `filter` classifies as staged.
pub(super) struct KeyCounter<'a> {
    filter: &'a Filter,
    ranges: Vec<KeyRange>,
    staged: Vec<KeyRange>,
    keys: u64,
    /// Number of source keys with a lease.
    pub(super) leased: u64,
    /// Number of keys that are not saved because of their lease.
    pub(super) skipped_leased: u64,
}

impl<'a> KeyCounter<'a> {
    pub(super) fn new(root: &MetaRoot, filter: &'a Filter) -> Self {
        let session = root.range_below("session/");
        let records = root.record_keys().map(KeyRange::single);
        let ranges = std::iter::once(session).chain(records).collect();
        Self {
            filter,
            ranges,
            staged: staged_family_ranges(root),
            keys: 0,
            leased: 0,
            skipped_leased: 0,
        }
    }

    /// Adds the next page; pages and their keys are in ascending order.
    pub(super) fn see(&mut self, page: &[Entry]) {
        for range in &self.ranges {
            let from = page.partition_point(|entry| entry.key < range.start);
            let inside = page[from..].partition_point(|entry| range.contains(&entry.key));
            self.keys += u64::try_from(inside).unwrap_or(u64::MAX);
        }
        for range in &self.staged {
            let from = page.partition_point(|entry| entry.key < range.start);
            let inside = page[from..]
                .iter()
                .take_while(|entry| range.contains(&entry.key));
            let staged = inside.filter(|entry| self.filter.is_staged(entry)).count();
            self.keys += u64::try_from(staged).unwrap_or(u64::MAX);
        }
        let skipped = page.iter().filter(|entry| self.filter.skips_leased(entry));
        self.skipped_leased += u64::try_from(skipped.count()).unwrap_or(u64::MAX);
        let is_inside = |entry: &Entry| {
            self.filter.is_staged(entry)
                || self.ranges.iter().any(|range| range.contains(&entry.key))
        };
        let leased = page.iter().filter(|entry| entry.lease != 0);
        let outside = leased.filter(|entry| !is_inside(entry)).count();
        self.leased += u64::try_from(outside).unwrap_or(u64::MAX);
    }

    /// Returns how many of `all` keys are source.
    pub(super) fn source_keys(&self, all: u64) -> u64 {
        all.saturating_sub(self.keys)
    }
}

async fn count<S: Store>(
    etcd: Etcd<'_, S>,
    range: KeyRange,
    revision: i64,
) -> Result<u64, EngineErrorKind> {
    let request = RangeRequest::new(range).count_only().at(revision);
    let response = etcd.read(request, "counting keys").await?;
    Ok(u64::try_from(response.count).unwrap_or(0))
}
