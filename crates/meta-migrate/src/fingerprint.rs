//! Proof that no other program wrote: a hash over the keys and last revisions of everything that was read.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use meta_store::Store;
use meta_store::scan::{PageLimits, Scan};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::plural::counted;
use milvus_meta::transform::staged_family_ranges;

use crate::error::{EngineErrorKind, while_doing};
use crate::retry::RetryingStore;

/// The families that grow with the number of segments, in the order of their keys.
const LARGE: [Family; 5] = [
    Family::Binlog,
    Family::Segment,
    Family::IndexBuild,
    Family::LegacySegmentIndex,
    Family::SegmentIndex,
];

/// Where keys of another kind begin, of which there may be many.
pub(crate) fn family_starts(root: &MetaRoot) -> Vec<Vec<u8>> {
    LARGE
        .map(|family| root.range_below(&family.prefix()).start)
        .into()
}

/// Which entries below the meta root count as metadata of the source: no leased keys, no session keys
/// but the id counter, not our records, and, beside a staged migration, not what that staged.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    root: MetaRoot,
    records: [Vec<u8>; 2],
    sessions: KeyRange,
    session_id: Vec<u8>,
    /// The families that staging writes to: only keys that appeared after `since` were staged.
    staged: Vec<KeyRange>,
    since: i64,
}

impl Filter {
    /// Everything that is metadata.
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

    /// Everything but what a run has staged that read its source at the revision `since`: only keys that appeared
    /// later were staged.
    pub(super) fn without_staged(root: &MetaRoot, since: i64) -> Self {
        Self {
            staged: staged_family_ranges(root),
            since,
            ..Self::all(root)
        }
    }

    /// Counts everything in some ranges as staged.
    #[cfg(test)]
    pub(super) fn all_staged(ranges: Vec<KeyRange>) -> Self {
        let root = MetaRoot::new("root", "meta", "kv").unwrap();
        Self {
            staged: ranges,
            since: -1,
            ..Self::all(&root)
        }
    }

    /// Whether a migration has staged the entry.
    pub(super) fn is_staged(&self, entry: &Entry) -> bool {
        let mut staged = self.staged.iter();
        entry.create_revision > self.since && staged.any(|range| range.contains(&entry.key))
    }

    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let session = self.sessions.contains(&entry.key) && entry.key != self.session_id;
        let is_record = self.records.iter().any(|key| entry.key == *key);
        entry.lease == 0 && !session && !is_record && !self.is_staged(entry)
    }

    /// Whether an entry was left out only because it has a lease, and is not our own lock.
    pub(super) fn skips_leased(&self, entry: &Entry) -> bool {
        entry.lease != 0 && entry.key != self.root.lock_key()
    }
}

/// The running hash, with the number of entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprint {
    hasher: DefaultHasher,
    pub(super) keys: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
    /// The revision of the newest entry.
    pub(super) newest_revision: i64,
    /// Its key.
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

/// Reads the keys again and says what changed since; `None` when nothing did.
pub(super) async fn changed_since<S: Store>(
    store: &S,
    filter: &Filter,
    before: &Fingerprint,
    revision: i64,
    retry_timeout: Duration,
) -> Result<Option<String>, EngineErrorKind> {
    let mut now = Fingerprint::default();
    let mut newer = None;
    let range = filter.root.range();
    let mut pages =
        KeyPages::begin(store, range, &family_starts(&filter.root), retry_timeout).await?;
    while let Some(page) = pages.next().await? {
        for entry in page.iter().filter(|entry| filter.keeps(entry)) {
            now.add(entry);
            if entry.mod_revision > revision && newer.is_none() {
                newer = Some(format!(
                    "{} was written at revision {}",
                    milvus_meta::entry::printable(&entry.key),
                    entry.mod_revision
                ));
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

/// Keys of a range without their values, page by page, at one revision.
#[derive(Debug)]
pub(super) struct KeyPages<S: Store>(Scan<RetryingStore<S>>);

impl<S: Store> KeyPages<S> {
    /// Begins to read at the newest revision; `cuts` as in [`Scan::in_parts`].
    pub(super) async fn begin(
        store: &S,
        range: KeyRange,
        cuts: &[Vec<u8>],
        retry_timeout: Duration,
    ) -> Result<Self, EngineErrorKind> {
        let patient = RetryingStore::new(store.clone(), retry_timeout);
        let limits = PageLimits {
            keys_only: true,
            ..PageLimits::default()
        };
        let capture = Scan::in_parts(patient, range, cuts, None, limits).await;
        Ok(Self(capture.map_err(while_doing("reading keys"))?))
    }

    /// The revision that is read at.
    pub(super) fn revision(&self) -> i64 {
        self.0.revision()
    }

    /// The next keys, ascending; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, EngineErrorKind> {
        let page = self.0.next_page().await;
        page.map_err(while_doing("reading keys"))
    }
}
