//! Detects changes by other programs: a hash over the keys and last revisions of everything read.

use std::hash::{DefaultHasher, Hasher};

use meta_store::Store;
use meta_store::scan::{PageLimits, Scan};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::plural::counted;
use milvus_meta::transform::staged_family_ranges;

use crate::context::Etcd;
use crate::error::{EngineErrorKind, while_doing, written_at};
use crate::retry::RetryingPages;

/// The families that grow with the number of segments, in key order.
const LARGE: [Family; 5] = [
    Family::Binlog,
    Family::Segment,
    Family::IndexBuild,
    Family::LegacySegmentIndex,
    Family::SegmentIndex,
];

/// Returns the first keys of the families that may be large, at which a scan is split.
pub(crate) fn family_starts(root: &MetaRoot) -> Vec<Vec<u8>> {
    LARGE
        .map(|family| root.range_below(&family.prefix()).start)
        .into()
}

/// Selects the source metadata below the meta root: excludes leased keys, session keys other than
/// the id counter, this program's records, and keys that a migration has staged.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    root: MetaRoot,
    records: [Vec<u8>; 2],
    sessions: KeyRange,
    session_id: Vec<u8>,
    /// The families that staging writes to; only keys created after `since` were staged.
    staged: Vec<KeyRange>,
    since: i64,
}

impl Filter {
    /// Returns the filter for all metadata.
    pub(super) fn all(root: &MetaRoot) -> Self {
        Self {
            root: root.clone(),
            records: root.record_keys(),
            sessions: root.range_below("session/"),
            session_id: root.session_id_key(),
            staged: Vec::new(),
            since: 0,
        }
    }

    /// Returns the filter without staged keys: those created after the revision `since`, at which
    /// the run read its source.
    pub(super) fn without_staged(root: &MetaRoot, since: i64) -> Self {
        Self {
            staged: staged_family_ranges(root),
            since,
            ..Self::all(root)
        }
    }

    /// Returns a filter that classifies all keys in these ranges as staged.
    #[cfg(test)]
    pub(super) fn all_staged(ranges: Vec<KeyRange>) -> Self {
        let root = MetaRoot::new("root", "meta", "kv").unwrap();
        Self {
            staged: ranges,
            since: -1,
            ..Self::all(&root)
        }
    }

    pub(super) fn is_staged(&self, entry: &Entry) -> bool {
        let mut staged = self.staged.iter();
        entry.create_revision > self.since && staged.any(|range| range.contains(&entry.key))
    }

    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let is_selected = self.counts(&entry.key) || entry.key == self.session_id;
        entry.lease == 0 && is_selected && !self.is_staged(entry)
    }

    /// Returns whether [`key_count::keys`](crate::key_count::keys) counts a key: it is neither below `session/` nor
    /// a record of this program.
    pub(super) fn counts(&self, key: &[u8]) -> bool {
        !self.sessions.contains(key) && !self.records.iter().any(|record| record == key)
    }

    /// Returns whether an entry is excluded only because of its lease, and is not the migration
    /// lock.
    pub(super) fn skips_leased(&self, entry: &Entry) -> bool {
        entry.lease != 0 && entry.key != self.root.lock_key()
    }
}

/// The hash and the number of entries so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprint {
    hasher: DefaultHasher,
    pub(super) keys: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
    /// The revision of the newest entry.
    pub(super) newest_revision: i64,
    /// The key of the newest entry.
    pub(super) newest_key: Vec<u8>,
}

impl Fingerprint {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.hasher.write(&entry.key);
        self.hasher.write_i64(entry.mod_revision);
        self.keys += 1;
        self.bytes += (entry.key.len() + entry.value.len()) as u64;
        if entry.mod_revision > self.newest_revision {
            self.newest_revision = entry.mod_revision;
            self.newest_key = entry.key.to_vec();
        }
    }

    pub(super) fn matches(&self, other: &Self) -> bool {
        self.keys == other.keys && self.hasher.finish() == other.hasher.finish()
    }
}

/// Reads the keys again and describes what changed since; `None` if nothing did.
pub(super) async fn changed_since<S: Store>(
    etcd: Etcd<'_, S>,
    filter: &Filter,
    before: &Fingerprint,
    revision: i64,
) -> Result<Option<String>, EngineErrorKind> {
    let (mut now, mut newer) = (Fingerprint::default(), None);
    let mut pages = KeyPages::begin(etcd, etcd.root.range(), &family_starts(etcd.root)).await?;
    while let Some(page) = pages.next().await? {
        for entry in page.iter().filter(|entry| filter.keeps(entry)) {
            now.add(entry);
            if entry.mod_revision > revision && newer.is_none() {
                newer = Some(written_at(entry));
            }
        }
    }
    if now.matches(before) {
        return Ok(None);
    }
    Ok(Some(newer.unwrap_or_else(|| {
        format!("{} before, {} now", counted(before.keys, "key"), now.keys)
    })))
}

/// The keys of a range without values, page by page, at one revision.
#[derive(Debug)]
pub(super) struct KeyPages<S: Store>(Scan<RetryingPages<S>>);

impl<S: Store> KeyPages<S> {
    /// Starts reading at the newest revision; `cuts` as in [`Scan::in_parts`].
    pub(super) async fn begin(
        etcd: Etcd<'_, S>,
        range: KeyRange,
        cuts: &[Vec<u8>],
    ) -> Result<Self, EngineErrorKind> {
        let pages = etcd.retrying_pages();
        let limits = PageLimits {
            keys_only: true,
            ..PageLimits::default()
        };
        let scan = Scan::in_parts(pages, range, cuts, None, limits).await;
        Ok(Self(scan.map_err(while_doing("reading keys"))?))
    }

    pub(super) fn revision(&self) -> i64 {
        self.0.revision()
    }

    /// Returns the next page, in ascending order; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, EngineErrorKind> {
        let page = self.0.next_page().await;
        page.map_err(while_doing("reading keys"))
    }
}
