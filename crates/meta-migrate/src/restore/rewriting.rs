//! Tells what a migration or repair wrote after its commit from what a concurrent writer wrote meanwhile, where the
//! revisions do not: by the values, made again from the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::journal::{Journal, Phase};
use meta_backup::Backup;
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, Key, KeyRange, MetaRoot, Object};
use milvus_meta::model::CollectionId;
use milvus_meta::transform::{
    CollectionForm, Migration, Options, Source, Task, remaining_after_commit, staged_family_ranges,
};

use crate::diff::Diff;
use crate::error::EngineErrorKind;
use crate::journal_store::{JournalStore, journal_options};

/// The keys that are written after the commit: what they should hold, and what they hold.
pub(super) struct Rewriting {
    root: MetaRoot,
    options: Options,
    ranges: Vec<KeyRange>,
    /// What a repair puts.
    repaired: Option<Repaired>,
    captured: i64,
    saved: Vec<Entry>,
    /// What is there instead of what was saved, written after the capture.
    found: Vec<Found>,
}

/// A key that is not as it was saved.
struct Found {
    key: Bytes,
    value: Bytes,
    mod_revision: i64,
    /// Whether it was put once since the backup.
    is_new: bool,
}

/// What a repair of the backup puts.
struct Repaired {
    puts: BTreeMap<Vec<u8>, Vec<u8>>,
    digest: String,
    /// Collections whose partitions and fields the backup does not have: `repair --from` took them from another
    /// file, which is not known here.
    lost: BTreeSet<CollectionId>,
    /// How many keys were restored from that file.
    restored: u64,
}

impl Rewriting {
    /// `None` where nothing is written after the commit, and where revisions do not count.
    ///
    /// # Errors
    /// When the backup cannot be read.
    pub(super) async fn new(
        root: &MetaRoot,
        journal_store: &JournalStore,
        backup: &Arc<Backup>,
    ) -> Result<Option<Self>, EngineErrorKind> {
        let Some((journal, mut this)) = Self::of_journal(root, journal_store) else {
            return Ok(None);
        };
        if this.options.task == Task::Repair {
            let mut repaired = repaired(root, &this.options, backup).await?;
            if repaired.digest == journal.plan_digest {
                repaired.lost.clear();
            }
            let known = u64::try_from(repaired.puts.len()).unwrap_or(u64::MAX);
            let counts = journal.counts;
            repaired.restored = (counts.put + counts.rewrite).saturating_sub(known);
            this.repaired = Some(repaired);
        }
        Ok(Some(this))
    }

    fn of_journal<'a>(
        root: &MetaRoot,
        journal_store: &'a JournalStore,
    ) -> Option<(&'a Journal, Self)> {
        let journal = journal_store.journal()?;
        let is_rewritten = matches!(
            journal.phase,
            Phase::Committed | Phase::Tidying | Phase::Done
        );
        let options = journal_options(journal).ok()?;
        let is_repair = options.task == Task::Repair;
        let stays = is_repair || options.form != CollectionForm::Database;
        if !is_rewritten || !stays || journal_store.check_revisions().is_err() {
            return None;
        }
        let below = |family: Family| root.range_below(&family.prefix());
        let mut ranges = vec![below(Family::Collection), below(Family::CollectionSnapshot)];
        if is_repair {
            ranges.extend(staged_family_ranges(root));
        }
        let this = Self {
            root: root.clone(),
            options,
            ranges,
            repaired: None,
            captured: journal.capture_revision,
            saved: Vec::new(),
            found: Vec::new(),
        };
        Some((journal, this))
    }

    /// The next difference between the backup and what is there.
    pub(super) fn see(&mut self, diff: &Diff) {
        let key = diff.key();
        if !self.ranges.iter().any(|range| range.contains(key)) {
            return;
        }
        if let Some(entry) = diff.wanted().filter(|_| self.repaired.is_none()) {
            // A copy: the entry holds the memory of its block.
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

    /// The keys that hold something else than what the migration wrote.
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
        let later = migration.history().iter().chain(migration.rewrites());
        let puts = migration.staged().chain(later.cloned());
        let findings = migration.findings().iter();
        let lost = findings.filter(|finding| finding.code == "schema-lost");
        Self {
            puts: puts.map(|put| (put.key, put.value)).collect(),
            digest: migration.digest().to_owned(),
            lost: lost
                .filter_map(|finding| collection_of(root, finding.key.as_bytes()))
                .collect(),
            restored: 0,
        }
    }

    /// The keys that hold something else than what the repair wrote.
    fn others(&self, root: &MetaRoot, found: Vec<Found>) -> Vec<String> {
        let expected = |key: &[u8]| self.puts.get(key).map(Vec::as_slice);
        let others = found
            .into_iter()
            .filter(|it| expected(&it.key) != Some(&*it.value));
        let (mut restored, mut others): (Vec<_>, Vec<_>) =
            others.partition(|it| it.is_new && self.is_restored(root, &it.key));
        // Of more keys than were restored another program put some: they are the newest, if it did not write at once.
        restored.sort_by_key(|it| it.mod_revision);
        let count = usize::try_from(self.restored).unwrap_or(usize::MAX);
        others.extend(restored.into_iter().skip(count));
        others.iter().map(|it| printable(&it.key)).collect()
    }

    /// Whether the key can come from the file that the repair was given.
    fn is_restored(&self, root: &MetaRoot, key: &[u8]) -> bool {
        let relative = root.strip(key).unwrap_or_default();
        matches!(
            Family::of(relative),
            Family::Partition | Family::PartitionSnapshot | Family::Field | Family::FieldSnapshot
        ) && collection_of(root, key).is_some_and(|id| self.lost.contains(&id))
    }
}

/// The collection that a key of a collection, partition or field belongs to.
fn collection_of(root: &MetaRoot, key: &[u8]) -> Option<CollectionId> {
    let (Key::Plain(object) | Key::Snapshot(object, _)) = Key::parse(root.strip(key)?) else {
        return None;
    };
    match object {
        Object::Collection(id)
        | Object::DatabaseCollection(_, id)
        | Object::Partition(id, _)
        | Object::Field(id, _) => Some(id),
        Object::Alias(_)
        | Object::DatabaseAlias(..)
        | Object::LegacyAlias(_)
        | Object::DdMessageSend
        | Object::DdOperation
        | Object::Database(_) => None,
    }
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
    let planning = tokio::task::spawn_blocking(move || {
        for entry in backup.entries().map_err(EngineErrorKind::Backup)? {
            source.push(&entry.map_err(EngineErrorKind::Backup)?);
        }
        Ok(Repaired::of(&source.finish(), &root))
    });
    planning
        .await
        .map_err(|error| EngineErrorKind::Worker(error.to_string()))?
}
