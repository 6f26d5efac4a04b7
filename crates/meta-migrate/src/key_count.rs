//! Counts keys without reading them.

use meta_store::{RangeRequest, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::transform::staged_family_ranges;

use crate::error::{EngineErrorKind, while_doing};
use crate::fingerprint::Filter;
use crate::limits::Limits;
use crate::retry::read;

/// Returns the number of keys below the meta root at a revision, without the keys below `session/`
/// and this program's records.
pub(super) async fn keys<S: Store>(
    store: &S,
    root: &MetaRoot,
    revision: i64,
    limits: &Limits,
) -> Result<u64, EngineErrorKind> {
    let all = count(store, root.range(), revision, limits).await?;
    let sessions = count(store, root.range_below("session/"), revision, limits).await?;
    let mut found = all.saturating_sub(sessions);
    for record in root.record_keys() {
        if root.range().contains(&record) {
            let record = count(store, KeyRange::single(record), revision, limits).await?;
            found = found.saturating_sub(record);
        }
    }
    Ok(found)
}

pub(super) async fn in_ranges<S: Store>(
    store: &S,
    ranges: &[KeyRange],
    revision: i64,
    limits: &Limits,
) -> Result<u64, EngineErrorKind> {
    let mut keys = 0;
    for range in ranges {
        keys += count(store, range.clone(), revision, limits).await?;
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
    leased: u64,
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

    /// Returns how many of the source keys have a lease.
    pub(super) fn leased(&self) -> u64 {
        self.leased
    }
}

async fn count<S: Store>(
    store: &S,
    range: KeyRange,
    revision: i64,
    limits: &Limits,
) -> Result<u64, EngineErrorKind> {
    let request = RangeRequest::new(range).count_only().at(revision);
    let response = read(store, limits.retry_timeout, request)
        .await
        .map_err(while_doing("counting keys"))?;
    Ok(u64::try_from(response.count).unwrap_or(0))
}
