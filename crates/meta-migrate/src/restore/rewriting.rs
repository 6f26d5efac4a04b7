//! Distinguishes the writes of a migration or repair after its commit from concurrent ones.
//!
//! Revisions do not show the difference, so the values are computed again from the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::journal::Journal;
use meta_backup::Backup;
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, Key, KeyRange, MetaRoot};
use milvus_meta::model::CollectionId;
use milvus_meta::transform::{
    CollectionForm, Migration, Options, Source, Task, remaining_after_commit, staged_family_ranges,
};

use crate::background::blocking;
use crate::diff::Diff;
use crate::error::EngineErrorKind;
use crate::journal_store::{JournalStore, journal_options};

/// The keys that are written after the commit: their expected values and those in etcd.
pub(super) struct Rewriting {
    root: MetaRoot,
    options: Options,
    ranges: Vec<KeyRange>,
    /// The puts of a repair.
    repaired: Option<Repaired>,
    captured: i64,
    saved: Vec<Entry>,
    /// Values in etcd that differ from the backup and were written after the capture.
    found: Vec<Found>,
}

/// A key whose value differs from the backup.
struct Found {
    key: Bytes,
    value: Bytes,
    mod_revision: i64,
    /// Whether the key was created since the backup and not changed again.
    is_new: bool,
}

/// The puts of a repair of the backup.
struct Repaired {
    puts: BTreeMap<Vec<u8>, Vec<u8>>,
    digest: String,
    /// Collections whose partitions and fields are not in the backup: `repair --from` restored them
    /// from another file, which is not available here.
    lost: BTreeSet<CollectionId>,
    /// Number of keys restored from that file.
    restored: u64,
}

impl Rewriting {
    /// Prepares the comparison; returns `None` if nothing is written after the commit or revisions are
    /// meaningless.
    pub(super) async fn new(
        root: &MetaRoot,
        journal_store: &JournalStore,
        backup: &Arc<Backup>,
    ) -> Result<Option<Self>, EngineErrorKind> {
        let Some((journal, mut check)) = Self::of_journal(root, journal_store) else {
            return Ok(None);
        };
        if check.options.task == Task::Repair {
            let mut repaired = repaired(root, &check.options, backup).await?;
            if repaired.digest == journal.plan_digest {
                repaired.lost.clear();
            }
            let known = u64::try_from(repaired.puts.len()).unwrap_or(u64::MAX);
            let counts = journal.counts;
            repaired.restored = (counts.put + counts.rewrite).saturating_sub(known);
            check.repaired = Some(repaired);
        }
        Ok(Some(check))
    }

    fn of_journal<'a>(
        root: &MetaRoot,
        journal_store: &'a JournalStore,
    ) -> Option<(&'a Journal, Self)> {
        let journal = journal_store.journal()?;
        let options = journal_options(journal).ok()?;
        let is_repair = options.task == Task::Repair;
        let stays = is_repair || options.form != CollectionForm::Database;
        if !journal.phase.is_committed() || !stays || journal_store.check_revisions().is_err() {
            return None;
        }
        let below = |family: Family| root.range_below(&family.prefix());
        let mut ranges = vec![below(Family::Collection), below(Family::CollectionSnapshot)];
        if is_repair {
            ranges.extend(staged_family_ranges(root));
        }
        let check = Self {
            root: root.clone(),
            options,
            ranges,
            repaired: None,
            captured: journal.capture_revision,
            saved: Vec::new(),
            found: Vec::new(),
        };
        Some((journal, check))
    }

    /// Adds the next difference between the backup and etcd.
    pub(super) fn see(&mut self, diff: &Diff) {
        let key = diff.key();
        if !self.ranges.iter().any(|range| range.contains(key)) {
            return;
        }
        if let Some(entry) = diff.wanted().filter(|_| self.repaired.is_none()) {
            // Copied, because the entry shares the memory of its block.
            self.saved
                .push(Entry::new(entry.key.to_vec(), entry.value.to_vec()));
        }
        let found = match diff {
            Diff::Extra(entry) => Found {
                key: copied(key),
                value: copied(&entry.value),
                mod_revision: entry.mod_revision,
                is_new: entry.create_revision == entry.mod_revision,
            },
            Diff::Different {
                found,
                mod_revision,
                ..
            } => Found {
                key: copied(key),
                value: copied(found),
                mod_revision: *mod_revision,
                is_new: false,
            },
            Diff::Missing(_) | Diff::Same(_) | Diff::Ignored(_) => return,
        };
        if found.mod_revision > self.captured {
            self.found.push(found);
        }
    }

    /// Returns the keys with other values than the migration or repair wrote.
    pub(super) fn finish(self) -> Vec<String> {
        if let Some(repaired) = self.repaired {
            return repaired.others(&self.root, self.found);
        }
        let Options {
            form,
            on_broken_record,
            ..
        } = self.options;
        let made = remaining_after_commit(&self.root, form, on_broken_record, &self.saved);
        let made: BTreeMap<&[u8], &[u8]> = made
            .rewrites
            .iter()
            .chain(&made.history)
            .map(|put| (put.key.as_slice(), put.value.as_slice()))
            .collect();
        let others = self
            .found
            .iter()
            .filter(|it| made.get(&*it.key).is_none_or(|made| *made != &*it.value));
        others.map(|it| printable(&it.key)).collect()
    }
}

impl Repaired {
    fn of(migration: &Migration, root: &MetaRoot) -> Self {
        let later = migration.history.iter().chain(&migration.rewrites);
        let puts = migration.staged().chain(later.cloned());
        let findings = migration.findings.iter();
        let lost = findings.filter(|finding| finding.code == "schema-lost");
        Self {
            puts: puts.map(|put| (put.key, put.value)).collect(),
            digest: migration.digest.clone(),
            lost: lost
                .filter_map(|finding| collection_of(root, finding.key.as_bytes()))
                .collect(),
            restored: 0,
        }
    }

    /// Returns the keys with other values than the repair wrote.
    fn others(&self, root: &MetaRoot, found: Vec<Found>) -> Vec<String> {
        let expected = |key: &[u8]| self.puts.get(key).map(Vec::as_slice);
        let others = found
            .into_iter()
            .filter(|it| expected(&it.key) != Some(&*it.value));
        let (mut restored, mut others): (Vec<_>, Vec<_>) =
            others.partition(|it| it.is_new && self.is_restored(root, &it.key));
        // If there are more keys than were restored, another program wrote some of them: the newest
        // ones, unless it wrote at the same time.
        restored.sort_by_key(|it| it.mod_revision);
        let count = usize::try_from(self.restored).unwrap_or(usize::MAX);
        others.extend(restored.into_iter().skip(count));
        others.iter().map(|it| printable(&it.key)).collect()
    }

    /// Returns whether the key may have been restored from the file of the repair.
    fn is_restored(&self, root: &MetaRoot, key: &[u8]) -> bool {
        let relative = root.strip(key).unwrap_or_default();
        matches!(
            Family::of(relative),
            Family::Partition | Family::PartitionSnapshot | Family::Field | Family::FieldSnapshot
        ) && collection_of(root, key).is_some_and(|id| self.lost.contains(&id))
    }
}

/// Returns the collection of the key of a collection, partition or field.
fn collection_of(root: &MetaRoot, key: &[u8]) -> Option<CollectionId> {
    let (object, _) = Key::parse(root.strip(key)?).object()?;
    object.collection()
}

fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Plans the repair of the backup again.
async fn repaired(
    root: &MetaRoot,
    options: &Options,
    backup: &Arc<Backup>,
) -> Result<Repaired, EngineErrorKind> {
    let mut source = Source::new(root.clone(), options.clone());
    let (root, backup) = (root.clone(), Arc::clone(backup));
    blocking(move || {
        for entry in backup.entries()? {
            source.push(&entry?);
        }
        Ok(Repaired::of(&source.finish(), &root))
    })
    .await?
}
