//! Putting a backup back: the difference first, then puts, then deletes, then the comparison.

use std::ops::Range;
use std::sync::Arc;

use crate::journal::{Counts, Journal, MIGRATION_FORMAT, Phase};
use meta_backup::Backup;
use meta_report::{
    BackupRef, Change, DiffBuilder, DiffReport, OldRoot, RestoreOutcome, RestoreReport, RunRecord,
    RunResult,
};
use meta_store::{Op, RangeRequest, Store};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{KeyRange, successor};
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::Task;

use super::data_loss::{DataLoss, EXAMPLES_MAX, Rewriting};
use super::desired_entries::DesiredEntries;
use super::old_root::OldRootSearch;
use super::write_ranges::WriteRanges;
use crate::context::Retries;
use crate::context::RunContext;
use crate::context::newest_revision;
use crate::diff::{Actual, Collector, Diff, Expected, compare};
use crate::error::{EngineErrorKind, WriteState, while_doing};
use crate::fence::Fence;
use crate::history;
use crate::journal_store::JournalStore;
use crate::key_count;
use crate::limits::Limits;
use crate::quota::QuotaCheck;
use crate::range_delete::DeleteRanges;
use crate::request_limits;
use crate::retry::read;
use crate::throughput::read_back::{Others, ReadBack};
use crate::throughput::writer::{WriteStats, Writer};
use crate::write::Write;

/// A backup that was opened and checked.
pub(super) struct Source {
    backup: Arc<Backup>,
    keep_extra: bool,
    /// Whether the keys that differ are reported, so many of each family.
    reported: Option<usize>,
}

/// What a backup and etcd do not have in common.
pub(super) struct Gap {
    image: DesiredEntries,
    /// Positions in the image of the entries to put, ascending; no other key is between those of one range.
    puts: Vec<Range<u64>>,
    put: u64,
    deletes: Vec<KeyRange>,
    deleted_keys: u64,
    /// Keys that differ from the backup and were written after a given revision.
    pub(super) newer: u64,
    /// Of the entries to put, those that are there with another value.
    different: u64,
    /// Some of the keys that are there and would be deleted, or get another value.
    lost: Vec<String>,
    kept: u64,
    put_bytes: u64,
    largest: Option<Entry>,
    /// The revision at which the difference was taken.
    pub(super) revision: i64,
    /// Where the entries to put lie.
    touched: Vec<KeyRange>,
    /// The layout that the backup shows.
    pub(super) layout: Layout,
    /// The layout that it makes together with the keys that are kept.
    layout_after: Layout,
    /// Records that the migration rewrites and that hold something else.
    changed: Vec<String>,
    /// What would change in etcd, where that is reported.
    pub(super) diff: Option<DiffReport>,
    old_root: Option<OldRoot>,
}

impl Gap {
    /// Fails when a key would be deleted or get another value: `why` it is unknown who wrote it.
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

    /// Fails when a record would be lost that was changed while the migration rewrote its kind.
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

    /// Fails when keys that are kept would make both layouts out of one.
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

    /// A restore that was started writes nothing but what its backup holds: what differs and is newer than
    /// its record is a concurrent writer's.
    pub(super) fn check_newer(&self, journal_store: &JournalStore) -> Result<(), EngineErrorKind> {
        match self.newer {
            0 => Ok(()),
            keys => {
                journal_store.check_revisions()?;
                Err(EngineErrorKind::ChangedWhileRestoring { keys })
            }
        }
    }

    /// What is to be done, as a report.
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
            verified: false,
            diff: self.diff.clone(),
            old_root: self.old_root.clone(),
            discards: false,
            undoes_repair: false,
        }
    }
}

impl Source {
    pub(super) fn new(backup: Backup, keep_extra: bool) -> Self {
        Self {
            backup: Arc::new(backup),
            keep_extra,
            reported: None,
        }
    }

    /// Reports what differs, with so many keys of each family.
    pub(super) fn reporting(self, keys_max: usize) -> Self {
        Self {
            reported: Some(keys_max),
            ..self
        }
    }

    /// Merges the backup with what is in etcd. Of the entries to put only their positions are kept; what
    /// differs and was written after the revision `since` is counted.
    ///
    /// # Errors
    /// [`EngineErrorKind::WouldLose`] when `losses` sees what others wrote.
    pub(super) async fn diff<S: Store>(
        &self,
        store: &S,
        ctx: RunContext<'_>,
        (losses, since): (Option<&DataLoss>, i64),
        journal_store: Option<&JournalStore>,
    ) -> Result<Gap, EngineErrorKind> {
        let mut retries = Retries::new(ctx);
        loop {
            let lookout = (losses.cloned(), since);
            let rewriting =
                journal_store.and_then(|journal_store| Rewriting::new(ctx.root, journal_store));
            match self.difference_once(store, ctx, lookout, rewriting).await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn difference_once<S: Store>(
        &self,
        store: &S,
        ctx: RunContext<'_>,
        (mut losses, since): (Option<DataLoss>, i64),
        mut rewriting: Option<Rewriting>,
    ) -> Result<Gap, EngineErrorKind> {
        let image = self.image(store, ctx).await?;
        let revision = newest_revision(store, ctx.root, ctx.limits).await?;
        let mut sorting = Sorting::new(ctx.root.journal_key());
        let mut detector = LayoutDetector::new(ctx.root.clone());
        // What the backup holds, and with it what is kept.
        let mut both = detector.clone();
        let mut newer = 0;
        let reported = self
            .reported
            .map(|max| DiffBuilder::new(ctx.root.clone(), max));
        let mut reported = reported;
        let mut old_root = image.old_root();
        let actual = Actual {
            store,
            ranges: vec![ctx.root.range()],
            revision,
            ignore: &mut |entry| {
                if let Some(losses) = &mut losses {
                    losses.see(entry);
                }
                image.ignores(entry)
            },
        };
        let expected = image.stream(|_, entry| Some(entry));
        let keys_max = ctx.limits.delete_keys_max;
        self.walk(ctx, expected, actual, |diff| {
            let written_at = diff.odd().map(|(_, revision)| revision);
            newer += u64::from(written_at.is_some_and(|revision| revision > since));
            if let Some(rewriting) = &mut rewriting {
                rewriting.see(&diff);
            }
            if let Some(reported) = &mut reported {
                report(reported, &diff, self.keep_extra);
            }
            if let Some(wanted) = diff.wanted() {
                detector.push(wanted);
                old_root
                    .iter_mut()
                    .for_each(|old_root| old_root.see(wanted));
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
            changed: rewriting.map_or_else(Vec::new, Rewriting::finish),
            diff: reported.map(DiffBuilder::finish),
            old_root: old_root.and_then(OldRootSearch::finish),
        })
    }

    /// The server id counter belongs to the image only where etcd has none.
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
        ))
    }

    async fn walk<S: Store>(
        &self,
        ctx: RunContext<'_>,
        expected: Expected,
        actual: Actual<'_, S>,
        visit: impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        let keys = key_count::in_ranges(actual.store, &actual.ranges, actual.revision, ctx.limits);
        ctx.observer.phase_started("compare", Some(keys.await?));
        let outcome = compare(expected, actual, ctx, visit).await;
        ctx.observer.phase_finished();
        outcome
    }
}

/// Adds what a restore does to one key.
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

/// Sorts differences into what to put, what to delete and what stays.
struct Sorting {
    journal: Vec<u8>,
    is_behind_journal: bool,
    touched: WriteRanges,
    runs: DeleteRanges,
    /// How many entries of the image have come by.
    position: u64,
    puts: Vec<Range<u64>>,
    put: u64,
    /// Whether the key before is put.
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
            is_behind_journal: false,
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

    /// No range may reach over the journal, which is written before the first of them.
    fn pass_journal(&mut self, key: &[u8]) {
        if !self.is_behind_journal && key >= self.journal.as_slice() {
            self.is_behind_journal = true;
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

    /// The next difference, in the order of the keys.
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
            // A key that will be put stays, too: the deletes come after the puts.
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

/// The writing half.
pub(super) struct Restorer<'a, S: Store> {
    pub(super) store: &'a S,
    pub(super) ctx: RunContext<'a>,
    pub(super) fence: &'a Fence<S>,
    pub(super) journal_store: &'a mut JournalStore,
    pub(super) backup: Option<BackupRef>,
    /// How the history records the run.
    pub(super) result: RunResult,
    pub(super) written: &'a mut WriteState,
}

impl<S: Store> Restorer<'_, S> {
    /// Records `restoring`, puts, deletes, compares, drops the journal.
    pub(super) async fn run(
        &mut self,
        quota: QuotaCheck,
        (source, gap): (Source, Gap),
    ) -> Result<RestoreReport, EngineErrorKind> {
        let planned = gap.planned();
        let by = (self.fence, self.ctx.limits);
        let retry_timeout = self.ctx.limits.retry_timeout;
        let needed = (planned.put + planned.delete, gap.put_bytes);
        if let Some(warning) = quota.check(needed).await? {
            self.ctx.observer.note(&warning);
        }
        if let Some(entry) = &gap.largest {
            let entry = (&*entry.key, &*entry.value);
            request_limits::check_entry(self.store, (self.ctx.root, retry_timeout), entry).await?;
        }
        self.record((source.keep_extra, gap.revision)).await?;
        let observer = self.ctx.observer;
        observer.phase_started("put", Some(planned.put));
        let Gap {
            image,
            puts,
            deletes,
            revision,
            touched,
            ..
        } = gap;
        let writes = image.stream(chosen(puts));
        let read_back = ReadBack::new(self.store, self.ctx.limits, (touched, Others::Any));
        let writer = self.writer(*self.ctx.limits).read_at(revision);
        let written = read_back.along(writer, writes).await;
        observer.phase_finished();
        let (put, is_read_back) = written?;
        let deleted = self
            .delete((deletes, planned.delete, revision), put)
            .await?;
        // Recorded once more behind all of it: what compares this record shows that nothing of it was lost.
        self.record((source.keep_extra, revision)).await?;
        // When no concurrent writer has written, what was read before and during the writing is what is there
        // now.
        let ours = i64::try_from(2 + put.txns + deleted.txns).unwrap_or(i64::MAX);
        let (root, limits) = (self.ctx.root, self.ctx.limits);
        let now = newest_revision(self.store, root, limits).await?;
        // Where that is not so, the comparison reads all of it and says why.
        if now != revision.saturating_add(ours) || !is_read_back {
            self.compare(&source, &image).await?;
        }
        let run = RunRecord {
            backup: self.backup.clone(),
            ..history::restored(self.result, self.ctx, &planned)
        };
        let ops = history::adding(self.store, self.ctx, run).await;
        self.journal_store.clear(self.store, by, ops).await?;
        Ok(RestoreReport {
            outcome: RestoreOutcome::Restored,
            verified: true,
            ..planned
        })
    }

    /// Writes the journal with the phase `restoring`. From then on the restore has started, also where etcd
    /// does not answer.
    async fn record(&mut self, how: (bool, i64)) -> Result<(), EngineErrorKind> {
        let by = (self.fence, self.ctx.limits);
        let next = self.restoring(how);
        let before = std::mem::replace(self.written, WriteState::Restoring);
        let recorded = self
            .journal_store
            .advance(self.store, by, next, (Vec::new(), Vec::new()))
            .await;
        if recorded.is_err() && !self.journal_store.in_doubt() {
            *self.written = before;
        }
        recorded.map(|_| ())
    }

    /// Deletes what is too much.
    async fn delete(
        &self,
        (deletes, keys, revision): (Vec<KeyRange>, u64, i64),
        put: WriteStats,
    ) -> Result<WriteStats, EngineErrorKind> {
        let limits = self.ctx.limits.for_deletes(put);
        let observer = self.ctx.observer;
        observer.phase_started("delete", Some(keys));
        let deletes = deletes.into_iter().map(Op::Delete).map(Write::over);
        let writer = self.writer(limits).read_at(revision);
        let stats = writer.write_all(deletes.collect()).await;
        observer.phase_finished();
        stats
    }

    fn writer(&self, limits: Limits) -> Writer<'_, S> {
        Writer::new(
            self.store,
            self.journal_store.guards(self.fence),
            limits,
            self.ctx.stop,
            self.ctx.observer,
        )
    }

    /// The image was made while the counter was missing or not; now it is there either way.
    async fn compare(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        let mut retries = Retries::new(self.ctx);
        loop {
            match self.compare_once(source, image).await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn compare_once(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        let (root, limits) = (self.ctx.root, self.ctx.limits);
        let actual = Actual {
            store: self.store,
            ranges: vec![root.range()],
            revision: newest_revision(self.store, root, limits).await?,
            ignore: &mut |entry| image.ignores(entry),
        };
        let expected = image.stream(|_, entry| Some(entry));
        let mut collector = Collector::default();
        source
            .walk(self.ctx, expected, actual, |diff| {
                if !(source.keep_extra && matches!(diff, Diff::Extra(_))) {
                    collector.add(&diff);
                }
                Ok(())
            })
            .await?;
        let report = collector.report();
        if report.ok {
            Ok(())
        } else {
            Err(EngineErrorKind::Verification(Box::new(report)))
        }
    }

    /// The journal while a backup is restored. What a migration recorded stays in it.
    fn restoring(&self, (keep_extra, revision): (bool, i64)) -> Journal {
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let base = self
            .journal_store
            .journal()
            .cloned()
            .unwrap_or_else(|| Journal {
                format: MIGRATION_FORMAT,
                meta_root: self.ctx.root.meta_root().to_owned(),
                run: String::new(),
                kind: Task::Migration.name().to_owned(),
                phase: Phase::Restoring,
                tool_version: String::new(),
                source_version: None,
                target_version: None,
                collection_form: String::new(),
                segment_form: String::new(),
                on_broken_record: String::new(),
                plan_digest: String::new(),
                cluster_id: String::new(),
                capture_revision: 0,
                staged_since: 0,
                counts: Counts::default(),
                backup: None,
                committed_revision: 0,
                keep_extra: false,
                keys_expected: 0,
                keys_when_done: 0,
                started_at: now.clone(),
                updated_at: String::new(),
            });
        // The migration's revisions say nothing any more, and they may have been another etcd's. What differs
        // from the backup and is newer than this revision is a concurrent writer's.
        Journal {
            phase: Phase::Restoring,
            cluster_id: self.journal_store.cluster_id().to_owned(),
            capture_revision: revision,
            committed_revision: 0,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            backup: self.backup.clone(),
            keep_extra,
            updated_at: now,
            ..base
        }
    }
}

/// Makes a put of each entry of the image whose position is in one of the ranges, which are ascending.
fn chosen(puts: Vec<Range<u64>>) -> impl FnMut(u64, Entry) -> Option<Write> {
    let mut runs = puts.into_iter();
    let mut run = runs.next();
    let mut behind = None;
    move |position, entry| {
        if run.as_ref().is_some_and(|run| run.end <= position) {
            run = runs.next();
            behind = None;
        }
        run.as_ref().filter(|run| run.contains(&position))?;
        let from = behind.replace(successor(&entry.key));
        Some(Write::put_behind(from, entry))
    }
}
