//! The gap between a backup and etcd: the keys that a restore puts, deletes and keeps.

use std::ops::Range;
use std::sync::Arc;

use meta_backup::Backup;
use meta_report::{Change, DiffBuilder, DiffReport, OldRoot, RestoreOutcome, RestoreReport};
use meta_store::{RangeRequest, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, KeyRange};
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;
use milvus_meta::plural::{agree, counted};

use super::data_loss::{DataLoss, EXAMPLES_MAX};
use super::desired_entries::DesiredEntries;
use super::old_root::OldRootSearch;
use super::rewriting::Rewriting;
use super::write_ranges::WriteRanges;
use crate::context::Retries;
use crate::context::RunContext;
use crate::context::newest_revision;
use crate::diff::{Actual, Diff, Expected, compare};
use crate::error::{EngineErrorKind, while_doing};
use crate::journal_store::JournalStore;
use crate::key_count;
use crate::observer::Silent;
use crate::range_delete::DeleteRanges;
use crate::retry::read;

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
    /// Positions in the image of the entries to put, ascending; etcd has no other key within a
    /// range.
    pub(super) puts: Vec<Range<u64>>,
    put: u64,
    pub(super) deletes: Vec<KeyRange>,
    deleted_keys: u64,
    /// Number of keys that differ from the backup and were written after a given revision.
    pub(super) newer: u64,
    /// Number of entries to put whose keys exist with another value.
    different: u64,
    /// Examples of keys that would be deleted or overwritten.
    lost: Vec<String>,
    kept: u64,
    pub(super) put_bytes: u64,
    pub(super) largest: Option<Entry>,
    /// The revision of the comparison.
    pub(super) revision: i64,
    /// The ranges that contain the entries to put.
    pub(super) touched: Vec<KeyRange>,
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
    /// Fails if a key would be deleted or overwritten; `why` says why its origin is unknown.
    pub(super) fn check_lost(&self, why: &'static str) -> Result<(), EngineErrorKind> {
        let (extra, different) = (self.deleted_keys, self.different);
        if extra + different == 0 {
            return Ok(());
        }
        Err(EngineErrorKind::UnknownLoss {
            why,
            extra,
            different,
            examples: self.lost.clone(),
        })
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
        if self.kept == 0 || self.layout_after != Layout::Mixed || self.layout == Layout::Mixed {
            return Ok(());
        }
        Err(EngineErrorKind::Usage(format!(
            "--keep-extra would keep {} of the other layout beside what the backup holds, and neither Milvus \
             2.1 nor 2.2 starts on both. Run the command without --keep-extra",
            counted(self.kept, "key")
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
        let unchanged = self.put == 0 && self.deleted_keys == 0;
        RestoreReport {
            outcome: if unchanged {
                RestoreOutcome::Unchanged
            } else {
                RestoreOutcome::WouldRestore
            },
            put: self.put,
            delete: self.deleted_keys,
            kept: self.kept,
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

    /// The names of the families that are restored; empty for all.
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
        store: &S,
        ctx: RunContext<'_>,
        losses: Option<&DataLoss>,
        since: i64,
        journal_store: Option<&JournalStore>,
    ) -> Result<Gap, EngineErrorKind> {
        let mut retries = Retries::new(ctx);
        loop {
            let rewriting = match journal_store {
                Some(journal_store) => {
                    Rewriting::new(ctx.root, journal_store, &self.backup).await?
                }
                None => None,
            };
            match self
                .diff_once(store, ctx, losses.cloned(), since, rewriting)
                .await
            {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn diff_once<S: Store>(
        &self,
        store: &S,
        ctx: RunContext<'_>,
        mut losses: Option<DataLoss>,
        since: i64,
        mut rewriting: Option<Rewriting>,
    ) -> Result<Gap, EngineErrorKind> {
        let image = self.image(store, ctx).await?;
        let revision = newest_revision(store, ctx.root, ctx.limits).await?;
        let mut sorting = Sorting::new(ctx.root.journal_key());
        let mut detector = LayoutDetector::new(ctx.root.clone());
        let mut others = detector.clone();
        // The backup together with the kept keys.
        let mut both = detector.clone();
        let mut newer = 0;
        let builder = |max| DiffBuilder::new(ctx.root.clone(), max);
        let mut reported = self.reported.map(builder);
        let mut old_root = image.old_root();
        let actual = Actual {
            store,
            ranges: vec![ctx.root.range()],
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
        let keys_max = ctx.limits.delete_keys_max;
        self.walk(ctx, expected, actual, |diff| {
            let written_at = diff.odd().map(|(_, revision)| revision);
            newer += u64::from(written_at.is_some_and(|revision| revision > since));
            rewriting.iter_mut().for_each(|it| it.see(&diff));
            let reported = reported.iter_mut();
            reported.for_each(|it| report(it, &diff, self.keep_extra));
            if let Some(wanted) = diff.wanted() {
                detector.push(wanted);
                old_root.iter_mut().for_each(|it| it.see(wanted));
            }
            if self.keep_extra {
                diff.after().inspect(|entry| both.push(entry));
            }
            sorting.add(diff, self.keep_extra, keys_max);
            Ok(())
        })
        .await?;
        losses.map_or(Ok(()), DataLoss::finish)?;
        Ok(Gap {
            image,
            puts: sorting.puts,
            put: sorting.put,
            deletes: sorting.runs.into_ranges(),
            deleted_keys: sorting.deleted_keys,
            different: sorting.different,
            lost: sorting.lost,
            newer,
            kept: sorting.kept,
            put_bytes: sorting.put_bytes,
            largest: sorting.largest,
            revision,
            touched: sorting.touched.into_ranges(),
            layout_after: both.layout(),
            layout: detector.layout(),
            layout_of_others: others.layout(),
            changed: rewriting.map_or_else(Vec::new, Rewriting::finish),
            diff: reported.map(DiffBuilder::finish),
            old_root: old_root.and_then(OldRootSearch::finish),
            families: self.family_names(),
        })
    }

    /// Returns the desired entries, with the server id counter only if etcd has none.
    async fn image<S: Store>(
        &self,
        store: &S,
        ctx: RunContext<'_>,
    ) -> Result<DesiredEntries, EngineErrorKind> {
        let request = RangeRequest::key(ctx.root.session_id_key());
        let response = read(store, ctx.limits.retry_timeout, request)
            .await
            .map_err(while_doing("reading the server id counter"))?;
        let missing = response.entries.is_empty();
        Ok(DesiredEntries::new(
            Arc::clone(&self.backup),
            ctx.root,
            missing,
            &self.families,
        ))
    }

    pub(super) async fn walk<S: Store>(
        &self,
        ctx: RunContext<'_>,
        expected: Expected,
        actual: Actual<'_, S>,
        mut visit: impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        let keys = key_count::in_ranges(actual.store, &actual.ranges, actual.revision, ctx.limits);
        // Both sides count as progress: if etcd is empty, reading the backup takes all the time.
        let total = keys.await?.saturating_add(self.backup.summary().entries);
        ctx.observer.phase_started("compare", Some(total));
        let mut left = total;
        let reading = RunContext {
            observer: &Silent,
            ..ctx
        };
        let outcome = compare(expected, actual, reading, |diff| {
            let read = left.min(diff.sides());
            left -= read;
            ctx.observer.advanced(read);
            visit(diff)
        })
        .await;
        if outcome.is_ok() {
            // The rest of the backup, such as sessions, is not compared.
            ctx.observer.advanced(left);
        }
        ctx.observer.phase_finished();
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

/// Sorts differences into keys to put, to delete and to keep.
struct Sorting {
    journal: Vec<u8>,
    is_after_journal: bool,
    touched: WriteRanges,
    runs: DeleteRanges,
    /// Number of entries of the image so far.
    position: u64,
    puts: Vec<Range<u64>>,
    put: u64,
    /// Whether the previous key is put.
    joins: bool,
    put_bytes: u64,
    largest: Option<Entry>,
    deleted_keys: u64,
    different: u64,
    lost: Vec<String>,
    kept: u64,
}

impl Sorting {
    fn new(journal: Vec<u8>) -> Self {
        Self {
            journal,
            is_after_journal: false,
            touched: WriteRanges::default(),
            runs: DeleteRanges::default(),
            position: 0,
            puts: Vec::new(),
            put: 0,
            joins: false,
            put_bytes: 0,
            largest: None,
            deleted_keys: 0,
            different: 0,
            lost: Vec::new(),
            kept: 0,
        }
    }

    /// Ends the current ranges at the journal key: it is written before them, so none may contain
    /// it.
    fn pass_journal(&mut self, key: &[u8]) {
        if !self.is_after_journal && key >= self.journal.as_slice() {
            self.is_after_journal = true;
            self.joins = false;
            self.runs.keep();
        }
    }

    fn put(&mut self, entry: Entry) {
        self.touched.put(&entry.key);
        self.runs.keep();
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
    fn add(&mut self, diff: Diff, keep_extra: bool, delete_keys_max: usize) {
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
                self.runs.keep();
            }
            Diff::Extra(_) if keep_extra => {
                self.kept += 1;
                self.runs.keep();
            }
            Diff::Extra(entry) => {
                self.deleted_keys += 1;
                self.runs.delete(&entry.key, delete_keys_max);
            }
            Diff::Ignored(_) => self.runs.keep(),
        }
        self.joins = false;
        self.touched.other();
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}
