//! The gap between a backup and etcd: the keys that a restore puts, deletes and keeps.

use std::ops::Range;
use std::sync::Arc;

use meta_backup::Backup;
use meta_report::{Change, DiffBuilder, DiffReport, OldRoot, RestoreOutcome, RestoreReport};
use meta_store::{RangeRequest, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::Family;
use milvus_meta::layout::{Layout, LayoutDetector};
use milvus_meta::plural::{agree, counted};

use super::data_loss::{DataLoss, EXAMPLES_MAX};
use super::desired_entries::DesiredEntries;
use super::old_root::OldRootSearch;
use super::rewriting::Rewriting;
use super::write_ranges::WriteRanges;
use crate::context::{Etcd, RunContext};
use crate::diff::{Actual, Diff, Expected, compare};
use crate::error::EngineErrorKind;
use crate::journal_store::JournalStore;
use crate::key_count;
use crate::observer::{Observer, Silent};
use crate::range_delete::DeleteRanges;

/// An open backup.
pub(super) struct Source {
    backup: Arc<Backup>,
    pub(super) keep_extra: bool,
    /// The families to restore; empty for all.
    pub(super) families: Vec<Family>,
    /// Maximum number of reported keys per family; `None` if they are not reported.
    reported: Option<usize>,
}

/// The differences between a backup and etcd.
pub(super) struct Gap {
    pub(super) image: DesiredEntries,
    pub(super) keys: SortedKeys,
    /// Number of keys that differ from the backup and were written after a given revision.
    pub(super) newer: u64,
    /// The revision of the comparison.
    pub(super) revision: i64,
    /// The layout of the backup.
    pub(super) layout: Layout,
    /// The layout of the backup together with the keys that are kept.
    layout_after: Layout,
    /// The layout of the keys that are not restored.
    layout_of_others: Layout,
    /// Records that the migration rewrites and that have another value.
    changed: Vec<String>,
    /// The changes in etcd, if they are reported.
    pub(super) diff: Option<DiffReport>,
    old_root: Option<OldRoot>,
    /// The names of the families that are restored; empty for all.
    families: Vec<String>,
}

impl Gap {
    /// Fails if a key would be deleted or overwritten; `why` is the reason why its origin is unknown.
    pub(super) fn check_lost(&self, why: &'static str) -> Result<(), EngineErrorKind> {
        if !self.loses() {
            return Ok(());
        }
        Err(EngineErrorKind::UnknownLoss {
            why,
            extra: self.keys.deleted,
            different: self.keys.different,
            examples: self.keys.lost.clone(),
        })
    }

    /// Returns whether a key would be deleted or overwritten.
    pub(super) fn loses(&self) -> bool {
        self.keys.deleted + self.keys.different > 0
    }

    /// Fails if a record would be lost that was changed while the migration rewrote its family.
    pub(super) fn check_rewritten(&self) -> Result<(), EngineErrorKind> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let examples: Vec<_> = self.changed.iter().take(EXAMPLES_MAX).cloned().collect();
        Err(EngineErrorKind::WouldLose {
            what: format!(
                "{} {} written since: {}",
                counted(self.changed.len(), "record"),
                agree(self.changed.len(), "was", "were"),
                examples.join(", ")
            ),
        })
    }

    /// Fails if the kept keys would result in both layouts.
    pub(super) fn check_kept(&self) -> Result<(), EngineErrorKind> {
        if self.keys.kept == 0 || self.layout_after != Layout::Mixed || self.layout == Layout::Mixed
        {
            return Ok(());
        }
        Err(EngineErrorKind::Usage(format!(
            "--keep-extra would keep {} of the other layout beside what the backup holds, and neither Milvus \
             2.1 nor 2.2 starts on both. Run the command without --keep-extra",
            counted(self.keys.kept, "key")
        )))
    }

    /// Fails if the restored families have another layout than the remaining ones.
    pub(super) fn check_layouts(&self) -> Result<(), EngineErrorKind> {
        let (restored, others) = (self.layout, self.layout_of_others);
        let is_one = matches!(others, Layout::V2_1 | Layout::V2_2);
        if !is_one || restored == Layout::Empty || restored == others {
            return Ok(());
        }
        Err(EngineErrorKind::Usage(format!(
            "what would be restored has the layout {}, and the rest of the metadata in etcd has the layout {}: \
             neither Milvus 2.1 nor 2.2 starts on both. Restore the complete backup",
            restored.name(),
            others.name()
        )))
    }

    /// Fails if another program wrote during the interrupted restore: a restore only writes the
    /// content of its backup, so newer differences are from a concurrent writer.
    pub(super) fn check_newer(&self, journal_store: &JournalStore) -> Result<(), EngineErrorKind> {
        match self.newer {
            0 => Ok(()),
            keys => {
                journal_store.check_revisions()?;
                Err(EngineErrorKind::ChangedWhileRestoring { keys })
            }
        }
    }

    /// Returns the planned changes as a report.
    pub(super) fn planned(&self) -> RestoreReport {
        let unchanged = self.keys.put == 0 && self.keys.deleted == 0;
        RestoreReport {
            outcome: if unchanged {
                RestoreOutcome::Unchanged
            } else {
                RestoreOutcome::WouldRestore
            },
            put: self.keys.put,
            delete: self.keys.deleted,
            kept: self.keys.kept,
            backup: Some(self.image.reference()),
            families: self.families.clone(),
            diff: self.diff.clone(),
            old_root: self.old_root.clone(),
            ..RestoreReport::default()
        }
    }
}

impl Source {
    pub(super) fn new(backup: Backup, keep_extra: bool) -> Self {
        Self {
            backup: Arc::new(backup),
            keep_extra,
            families: Vec::new(),
            reported: None,
        }
    }

    /// Restores only these families; an empty list means all.
    pub(super) fn only(self, families: Vec<Family>) -> Self {
        Self { families, ..self }
    }

    /// Reports the differences, with at most `keys_max` keys per family.
    pub(super) fn reporting(self, keys_max: usize) -> Self {
        Self {
            reported: Some(keys_max),
            ..self
        }
    }

    /// Returns the names of the families that are restored; empty for all.
    pub(super) fn family_names(&self) -> Vec<String> {
        let names = self.families.iter().map(|family| family.name());
        names.map(str::to_owned).collect()
    }

    /// Merges the backup with etcd. Only the positions of the entries to put are kept; differences
    /// written after the revision `since` are counted.
    ///
    /// # Errors
    /// [`EngineErrorKind::WouldLose`] if `losses` detects writes of other programs.
    pub(super) async fn diff<S: Store>(
        &self,
        etcd: Etcd<'_, S>,
        losses: Option<&DataLoss>,
        since: i64,
        journal_store: Option<&JournalStore>,
    ) -> Result<Gap, EngineErrorKind> {
        etcd.at_one_revision(|| async {
            let rewriting = match journal_store {
                Some(journal_store) => {
                    Rewriting::new(etcd.root, journal_store, &self.backup).await?
                }
                None => None,
            };
            self.diff_once(etcd, losses.cloned(), since, rewriting)
                .await
        })
        .await
    }

    async fn diff_once<S: Store>(
        &self,
        etcd: Etcd<'_, S>,
        mut losses: Option<DataLoss>,
        since: i64,
        mut rewriting: Option<Rewriting>,
    ) -> Result<Gap, EngineErrorKind> {
        let image = self.image(etcd).await?;
        let revision = etcd.newest_revision().await?;
        let mut keys = SortedKeys::new(etcd.root.journal_key(), etcd.limits.delete_keys_max);
        let mut restored = LayoutDetector::new(etcd.root.clone());
        let (mut others, mut both, mut newer) = (restored.clone(), restored.clone(), 0);
        let builder = |max| DiffBuilder::new(etcd.root.clone(), max);
        let mut reported = self.reported.map(builder);
        let mut old_root = image.old_root();
        let actual = Actual {
            ranges: vec![etcd.root.range()],
            revision,
            ignore: &mut |entry| {
                losses.iter_mut().for_each(|it| it.see(entry));
                let is_ignored = image.ignores(entry);
                if is_ignored {
                    others.push(entry);
                }
                is_ignored
            },
        };
        let expected = image.stream(|_, entry| Some(entry));
        self.walk(etcd, expected, actual, |diff| {
            newer += u64::from(diff.odd().is_some_and(|(_, written)| written > since));
            rewriting.iter_mut().for_each(|it| it.see(&diff));
            let reported = reported.iter_mut();
            reported.for_each(|it| report(it, &diff, self.keep_extra));
            if let Some(wanted) = diff.wanted() {
                restored.push(wanted);
                old_root.iter_mut().for_each(|it| it.see(wanted));
            }
            if self.keep_extra {
                diff.after().inspect(|entry| both.push(entry));
            }
            keys.add(diff, self.keep_extra);
            Ok(())
        })
        .await?;
        losses.map_or(Ok(()), DataLoss::finish)?;
        Ok(Gap {
            image,
            keys,
            newer,
            revision,
            layout: restored.layout(),
            layout_after: both.layout(),
            layout_of_others: others.layout(),
            changed: rewriting.map_or_else(Vec::new, Rewriting::finish),
            diff: reported.map(DiffBuilder::finish),
            old_root: old_root.and_then(OldRootSearch::finish),
            families: self.family_names(),
        })
    }

    /// Returns the desired entries, with the server id counter only if etcd has none.
    async fn image<S: Store>(&self, etcd: Etcd<'_, S>) -> Result<DesiredEntries, EngineErrorKind> {
        let request = RangeRequest::key(etcd.root.session_id_key());
        let response = etcd.read(request, "reading the server id counter").await?;
        let missing = response.entries.is_empty();
        Ok(DesiredEntries::new(
            Arc::clone(&self.backup),
            etcd.root,
            missing,
            &self.families,
        ))
    }

    pub(super) async fn walk<S: Store>(
        &self,
        etcd: Etcd<'_, S>,
        expected: Expected,
        actual: Actual<'_>,
        mut visit: impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        let keys = key_count::in_ranges(etcd, &actual.ranges, actual.revision);
        // Both sides count as progress: if etcd is empty, reading the backup takes all the time.
        let total = keys.await?.saturating_add(self.backup.summary().entries);
        etcd.observer.phase_started("compare", Some(total));
        let mut left = total;
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let silent = Etcd {
            ctx: RunContext {
                observer: &observer,
                ..etcd.ctx
            },
            ..etcd
        };
        let outcome = compare(silent, expected, actual, |diff| {
            let read = left.min(diff.sides());
            left -= read;
            etcd.observer.advanced(read);
            visit(diff)
        })
        .await;
        if outcome.is_ok() {
            // The rest of the backup, such as sessions, is not compared.
            etcd.observer.advanced(left);
        }
        etcd.observer.phase_finished();
        outcome
    }
}

/// Adds the change to a key to the report.
fn report(report: &mut DiffBuilder, diff: &Diff, keep_extra: bool) {
    match diff {
        Diff::Missing(entry) => report.add(Some(Change::Added), &entry.key, &entry.value),
        Diff::Different { wanted, .. } => {
            report.add(Some(Change::Changed), &wanted.key, &wanted.value);
        }
        Diff::Extra(entry) => {
            let change = (!keep_extra).then_some(Change::Removed);
            report.add(change, &entry.key, &entry.value);
        }
        Diff::Same(entry) => report.add(None, &entry.key, &entry.value),
        Diff::Ignored(_) => {}
    }
}

/// Differences, sorted into keys to put, to delete and to keep.
#[derive(Default)]
pub(super) struct SortedKeys {
    journal: Vec<u8>,
    is_after_journal: bool,
    delete_keys_max: usize,
    /// Contain the entries to put.
    pub(super) touched: WriteRanges,
    pub(super) deletes: DeleteRanges,
    /// Number of entries of the image so far.
    position: u64,
    /// Positions in the image of the entries to put, ascending; etcd has no other key within a
    /// range.
    pub(super) puts: Vec<Range<u64>>,
    put: u64,
    /// Whether the previous key is put.
    joins: bool,
    pub(super) put_bytes: u64,
    pub(super) largest: Option<Entry>,
    /// Number of keys to delete.
    deleted: u64,
    /// Number of entries to put whose keys exist with another value.
    different: u64,
    /// Examples of keys that would be deleted or overwritten.
    lost: Vec<String>,
    kept: u64,
}

impl SortedKeys {
    fn new(journal: Vec<u8>, delete_keys_max: usize) -> Self {
        Self {
            journal,
            delete_keys_max,
            ..Self::default()
        }
    }

    /// Ends the current ranges at the journal key: it is written before them, so none may contain
    /// it.
    fn pass_journal(&mut self, key: &[u8]) {
        if !self.is_after_journal && key >= self.journal.as_slice() {
            self.is_after_journal = true;
            self.joins = false;
            self.deletes.keep();
        }
    }

    fn put(&mut self, entry: Entry) {
        self.touched.put(&entry.key);
        self.deletes.keep();
        let next = self.position + 1;
        match self.puts.last_mut() {
            Some(run) if self.joins => run.end = next,
            _ => self.puts.push(self.position..next),
        }
        self.position = next;
        self.put += 1;
        self.joins = true;
        self.put_bytes += size(&entry) as u64;
        if size(&entry) > self.largest.as_ref().map_or(0, size) {
            self.largest = Some(entry);
        }
    }

    /// Adds the next difference, in key order.
    fn add(&mut self, diff: Diff, keep_extra: bool) {
        self.pass_journal(diff.key());
        self.different += u64::from(matches!(diff, Diff::Different { .. }));
        let stays = keep_extra && matches!(diff, Diff::Extra(_));
        if let Some((key, _)) = diff.odd().filter(|_| !stays)
            && self.lost.len() < EXAMPLES_MAX
        {
            self.lost.push(printable(key));
        }
        match diff {
            // No deletion may contain a key that is put, because deletes follow the puts.
            Diff::Missing(entry) | Diff::Different { wanted: entry, .. } => {
                self.put(entry);
                return;
            }
            Diff::Same(_) => {
                self.position += 1;
                self.deletes.keep();
            }
            Diff::Extra(_) if keep_extra => {
                self.kept += 1;
                self.deletes.keep();
            }
            Diff::Extra(entry) => {
                self.deleted += 1;
                self.deletes.delete(&entry.key, self.delete_keys_max);
            }
            Diff::Ignored(_) => self.deletes.keep(),
        }
        self.joins = false;
        self.touched.other();
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}
