//! Proof that nobody else wrote: a hash over the keys and last revisions of everything that was read.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use crate::entry::Entry;
use crate::keys::{KeyRange, MetaRoot};
use crate::store::{RangeRequest, Store};
use crate::transform::new_family_ranges;

use super::error::{Failure, while_doing};
use super::patience::read;

/// Which entries below the meta root count as metadata of the source: no leased keys, no session keys
/// but the id counter, not the journal, and, beside a staged migration, not what that staged.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    root: MetaRoot,
    journal: Vec<u8>,
    sessions: KeyRange,
    session_id: Vec<u8>,
    staged: Vec<KeyRange>,
}

impl Filter {
    /// Everything that is metadata.
    pub(super) fn all(root: &MetaRoot) -> Self {
        Self {
            root: root.clone(),
            journal: root.journal_key(),
            sessions: root.range_below("session/"),
            session_id: root.session_id_key(),
            staged: Vec::new(),
        }
    }

    /// Everything but what a migration has staged.
    pub(super) fn without_staged(root: &MetaRoot) -> Self {
        Self {
            staged: new_family_ranges(root),
            ..Self::all(root)
        }
    }

    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let session = self.sessions.contains(&entry.key) && entry.key != self.session_id;
        entry.lease == 0
            && !session
            && entry.key != self.journal
            && !self.staged.iter().any(|range| range.contains(&entry.key))
    }

    /// Whether an entry was left out only because it hangs on a lease, and is not our own lock.
    pub(super) fn skips_leased(&self, entry: &Entry) -> bool {
        entry.lease != 0 && entry.key != self.root.lock_key()
    }
}

/// The running hash, with the number of entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprint {
    hasher: DefaultHasher,
    pub(super) keys: u64,
    /// The revision of the newest entry.
    pub(super) newest_revision: i64,
}

impl Fingerprint {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.hasher.write(&entry.key);
        self.hasher.write_i64(entry.mod_revision);
        self.keys += 1;
        self.newest_revision = self.newest_revision.max(entry.mod_revision);
    }

    pub(super) fn matches(&self, other: &Self) -> bool {
        self.keys == other.keys && self.hasher.finish() == other.hasher.finish()
    }
}

/// Reads the keys again and says what changed since; `None` when nothing did.
pub(super) async fn changed_since<S: Store>(
    store: &S,
    filter: &Filter,
    (before, revision): (&Fingerprint, i64),
    patience: Duration,
) -> Result<Option<String>, Failure> {
    let mut now = Fingerprint::default();
    let mut newer = None;
    let mut pages = KeyPages::new(filter.root.range());
    while let Some(page) = pages.next(store, patience).await? {
        for entry in page.iter().filter(|entry| filter.keeps(entry)) {
            now.add(entry);
            if entry.mod_revision > revision && newer.is_none() {
                newer = Some(format!(
                    "{} was written at revision {}",
                    crate::entry::printable(&entry.key),
                    entry.mod_revision
                ));
            }
        }
    }
    if now.matches(before) {
        return Ok(None);
    }
    Ok(Some(newer.unwrap_or_else(|| {
        format!("{} keys were read, {} are there", before.keys, now.keys)
    })))
}

/// Keys of a range without their values, page by page, pinned to one revision.
#[derive(Debug)]
pub(super) struct KeyPages {
    rest: Option<KeyRange>,
    revision: Option<i64>,
}

impl KeyPages {
    // A page costs etcd a count of all keys left in the range, so few large pages are cheaper.
    const PAGE_KEYS: i64 = 20_000;

    pub(super) fn new(range: KeyRange) -> Self {
        Self {
            rest: Some(range),
            revision: None,
        }
    }

    pub(super) async fn next<S: Store>(
        &mut self,
        store: &S,
        patience: Duration,
    ) -> Result<Option<Vec<Entry>>, Failure> {
        let Some(range) = self.rest.take() else {
            return Ok(None);
        };
        let mut request = RangeRequest::new(range.clone())
            .keys_only()
            .limit(Self::PAGE_KEYS);
        request.revision = self.revision;
        let response = read(store, patience, request)
            .await
            .map_err(while_doing("reading keys"))?;
        self.revision.get_or_insert(response.revision);
        if response.more
            && let Some(last) = response.entries.last()
        {
            self.rest = Some(range.after(&last.key));
        }
        Ok((!response.entries.is_empty()).then_some(response.entries))
    }
}
