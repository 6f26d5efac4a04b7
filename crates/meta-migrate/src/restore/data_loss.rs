//! Detects data that restoring a backup after the commit would lose: everything that this program
//! did not write. From the commit on, 2.2 may have been started, even if the migration was never
//! finished.

use crate::journal::{Journal, Phase};
use meta_store::Store;
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::plural::counted;
use milvus_meta::transform::{CollectionForm, Task, staged_family_ranges};

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::fingerprint::{Filter, KeyPages, family_starts};
use crate::journal_store::{JournalStore, task_of};
use crate::restore::desired_entries::ranges_of;

/// So many of the keys that would be lost are listed by name.
pub(super) const EXAMPLES_MAX: usize = 5;

/// Returns why a rollback is rejected: another program wrote below the meta root since a migration
/// after its commit, or that is unknown.
pub(super) async fn refusal<S: Store>(
    etcd: Etcd<'_, S>,
    journal_store: &JournalStore,
    families: &[Family],
) -> Result<Option<EngineErrorKind>, EngineErrorKind> {
    match check(etcd, journal_store, families).await {
        Ok(()) => Ok(None),
        Err(refused @ (EngineErrorKind::WouldLose { .. } | EngineErrorKind::OtherEtcd { .. })) => {
            Ok(Some(refused))
        }
        Err(failure) => Err(failure),
    }
}

async fn check<S: Store>(
    etcd: Etcd<'_, S>,
    journal_store: &JournalStore,
    families: &[Family],
) -> Result<(), EngineErrorKind> {
    let root = etcd.root;
    let Some(mut losses) = DataLoss::new(root, journal_store, families)? else {
        return Ok(());
    };
    let mut pages = KeyPages::begin(etcd, root.range(), &family_starts(root)).await?;
    while let Some(page) = pages.next().await? {
        page.iter().for_each(|entry| losses.see(entry));
    }
    losses.finish()
}

/// Detects writes of other programs while all keys below the meta root are read for another
/// purpose.
#[derive(Clone)]
pub(super) struct DataLoss {
    filter: Filter,
    ours: Ours,
    /// The families that are restored; `None` for all.
    restored: Option<Vec<KeyRange>>,
    /// Number of keys when the migration was done.
    keys_then: Option<u64>,
    keys_now: u64,
    written: u64,
    examples: Vec<String>,
}

impl DataLoss {
    /// Creates the check; `None` without a journal, and for an interrupted restore, which was
    /// checked when it started.
    ///
    /// # Errors
    /// [`EngineErrorKind::OtherEtcd`] if losses cannot be determined.
    pub(super) fn new(
        root: &MetaRoot,
        journal_store: &JournalStore,
        families: &[Family],
    ) -> Result<Option<Self>, EngineErrorKind> {
        let Some(journal) = journal_store.journal() else {
            return Ok(None);
        };
        let keys_then = match journal.phase {
            Phase::Restoring => return Ok(None),
            Phase::Staging | Phase::Staged | Phase::Committed | Phase::Tidying => None,
            Phase::Done => Some(journal.keys_when_done),
        };
        journal_store.check_revisions()?;
        Ok(Some(Self {
            filter: Filter::all(root),
            ours: Ours::new(root, journal, journal_store.mod_revision()),
            keys_then: keys_then.filter(|_| families.is_empty()),
            restored: (!families.is_empty()).then(|| ranges_of(root, families)),
            keys_now: 0,
            written: 0,
            examples: Vec::new(),
        }))
    }

    /// Checks the next key.
    pub(super) fn see(&mut self, entry: &Entry) {
        let is_in = |ranges: &Vec<KeyRange>| ranges.iter().any(|it| it.contains(&entry.key));
        if !self.restored.as_ref().is_none_or(is_in) {
            return;
        }
        let is_counted = self.filter.counts(&entry.key);
        self.keys_now += u64::from(is_counted);
        if is_counted && self.filter.keeps(entry) && !self.ours.wrote(entry) {
            self.written += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(printable(&entry.key));
            }
        }
    }

    /// Fails if something would be lost.
    pub(super) fn finish(self) -> Result<(), EngineErrorKind> {
        let mut what = Vec::new();
        if self.written > 0 {
            let examples = self.examples.join(", ");
            what.push(match self.written {
                1 => format!("1 key was written since: {examples}"),
                written => format!(
                    "{} were written since, such as {examples}",
                    counted(written, "key")
                ),
            });
        }
        if let Some(then) = self.keys_then.filter(|then| *then != self.keys_now) {
            let now = self.keys_now;
            what.push(format!(
                "etcd has {}, previously {then}",
                counted(now, "key")
            ));
        }
        if what.is_empty() {
            return Ok(());
        }
        Err(EngineErrorKind::WouldLose {
            what: what.join("; "),
        })
    }
}

/// Distinguishes the migration's writes from those of other programs by the newest revision at
/// which it may have written each family.
#[derive(Clone)]
struct Ours {
    staged: Vec<KeyRange>,
    /// Families whose records are rewritten in place; none if the commit deletes the old records.
    rewritten: Vec<KeyRange>,
    /// Families whose records may change, but are never created.
    in_place: Vec<KeyRange>,
    captured: i64,
    committed: i64,
    rewritten_until: i64,
}

impl Ours {
    fn new(root: &MetaRoot, journal: &Journal, journal_revision: i64) -> Self {
        // While records are being rewritten, any of them may be newer than the journal; the same
        // applies to staged keys before the commit.
        let (committed, rewritten_until) = match journal.phase {
            Phase::Staging | Phase::Staged => (i64::MAX, journal.capture_revision),
            Phase::Committed => (journal_revision, i64::MAX),
            Phase::Tidying | Phase::Done | Phase::Restoring => {
                // Journals of older versions do not record the commit.
                let committed = match journal.committed_revision {
                    0 => journal_revision,
                    known => known,
                };
                (committed, journal_revision)
            }
        };
        let below = |family: Family| root.range_below(&family.prefix());
        let collections = [Family::Collection, Family::CollectionSnapshot].map(below);
        let mut in_place = vec![collections[0].clone()];
        let mut rewritten = Vec::new();
        let is_repair = task_of(journal) == Task::Repair;
        if is_repair || journal.collection_form != CollectionForm::Database.name() {
            rewritten.extend(collections);
        }
        if is_repair {
            // After its commit, a repair writes to every family that it stages to.
            rewritten.extend(staged_family_ranges(root));
        }
        if journal.counts.segments > 0 {
            in_place.push(below(Family::Segment));
            rewritten.push(below(Family::Segment));
        }
        Self {
            staged: staged_family_ranges(root),
            rewritten,
            in_place,
            captured: journal.capture_revision,
            committed,
            rewritten_until,
        }
    }

    fn wrote(&self, entry: &Entry) -> bool {
        let is_in = |ranges: &[KeyRange]| ranges.iter().any(|range| range.contains(&entry.key));
        if entry.create_revision > self.captured && is_in(&self.in_place) {
            return false;
        }
        let until = if is_in(&self.rewritten) {
            self.rewritten_until
        } else if is_in(&self.staged) {
            self.committed
        } else {
            self.captured
        };
        entry.mod_revision <= until
    }
}
