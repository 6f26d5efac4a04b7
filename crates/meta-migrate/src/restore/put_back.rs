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

use super::super::census;
use super::super::context::Retries;
use super::super::context::Surroundings;
use super::super::context::newest_revision;
use super::super::deletion::Runs;
use super::super::difference::{Actual, Collector, Difference, Expected, compare};
use super::super::error::{Failure, Written, while_doing};
use super::super::fence::Fence;
use super::super::fit;
use super::super::history;
use super::super::ledger::Ledger;
use super::super::limits::Limits;
use super::super::patience::read;
use super::super::room::Room;
use super::super::trail::{Others, Trail};
use super::super::write::Write;
use super::super::writer::{Tally, Writer};
use super::image::Image;
use super::loss::{EXAMPLES_MAX, Losses, Rewriting};
use super::old_root::OldRootSearch;
use super::touched::Touched;

/// A backup that was opened and checked.
pub(super) struct Source {
    backup: Arc<Backup>,
    keep_extra: bool,
    /// Whether the keys that differ are reported, so many of each family.
    reported: Option<usize>,
}

/// What a backup and etcd do not have in common.
pub(super) struct Gap {
    image: Image,
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
    pub(super) fn check_lost(&self, why: &'static str) -> Result<(), Failure> {
        let (extra, different) = (self.deleted_keys, self.different);
        if extra + different == 0 {
            return Ok(());
        }
        Err(Failure::UnknownLoss {
            why,
            extra,
            different,
            examples: self.lost.clone(),
        })
    }

    /// Fails when a record would be lost that was changed while the migration rewrote its kind.
    pub(super) fn check_rewritten(&self) -> Result<(), Failure> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let examples: Vec<_> = self.changed.iter().take(EXAMPLES_MAX).cloned().collect();
        Err(Failure::WouldLose {
            what: format!(
                "{} {} written since: {}",
                counted(self.changed.len(), "record"),
                agree(self.changed.len(), "was", "were"),
                examples.join(", ")
            ),
        })
    }

    /// Fails when keys that are kept would make both layouts out of one.
    pub(super) fn check_kept(&self) -> Result<(), Failure> {
        if self.kept == 0 || self.layout_after != Layout::Mixed || self.layout == Layout::Mixed {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "--keep-extra would keep {} of the other layout beside what the backup holds, and neither Milvus \
             2.1 nor 2.2 starts on both. Run the command without --keep-extra",
            counted(self.kept, "key")
        )))
    }

    /// A restore that was started writes nothing but what its backup holds: what differs and is newer than
    /// its record is a concurrent writer's.
    pub(super) fn check_newer(&self, ledger: &Ledger) -> Result<(), Failure> {
        match self.newer {
            0 => Ok(()),
            keys => {
                ledger.check_revisions()?;
                Err(Failure::ChangedWhileRestoring { keys })
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
    /// [`Failure::WouldLose`] when `losses` sees what others wrote.
    pub(super) async fn difference<S: Store>(
        &self,
        store: &S,
        around: Surroundings<'_>,
        (losses, since): (Option<&Losses>, i64),
        ledger: Option<&Ledger>,
    ) -> Result<Gap, Failure> {
        let mut retries = Retries::new(around);
        loop {
            let lookout = (losses.cloned(), since);
            let rewriting = ledger.and_then(|ledger| Rewriting::new(around.root, ledger));
            match self
                .difference_once(store, around, lookout, rewriting)
                .await
            {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn difference_once<S: Store>(
        &self,
        store: &S,
        around: Surroundings<'_>,
        (mut losses, since): (Option<Losses>, i64),
        mut rewriting: Option<Rewriting>,
    ) -> Result<Gap, Failure> {
        let image = self.image(store, around).await?;
        let revision = newest_revision(store, around.root, around.limits).await?;
        let mut sorting = Sorting::new(around.root.journal_key());
        let mut detector = LayoutDetector::new(around.root.clone());
        // What the backup holds, and with it what is kept.
        let mut both = detector.clone();
        let mut newer = 0;
        let reported = self
            .reported
            .map(|max| DiffBuilder::new(around.root.clone(), max));
        let mut reported = reported;
        let mut old_root = image.old_root();
        let actual = Actual {
            store,
            ranges: vec![around.root.range()],
            revision,
            ignore: &mut |entry| {
                if let Some(losses) = &mut losses {
                    losses.see(entry);
                }
                image.ignores(entry)
            },
        };
        let expected = image.stream(|_, entry| Some(entry));
        let keys_max = around.limits.delete_keys_max;
        self.walk(around, expected, actual, |difference| {
            let written_at = difference.odd().map(|(_, revision)| revision);
            newer += u64::from(written_at.is_some_and(|revision| revision > since));
            if let Some(rewriting) = &mut rewriting {
                rewriting.see(&difference);
            }
            if let Some(reported) = &mut reported {
                report(reported, &difference, self.keep_extra);
            }
            if let Some(wanted) = difference.wanted() {
                detector.push(wanted);
                old_root
                    .iter_mut()
                    .for_each(|old_root| old_root.see(wanted));
            }
            if self.keep_extra {
                difference.after().inspect(|entry| both.push(entry));
            }
            sorting.add(difference, self.keep_extra, keys_max);
            Ok(())
        })
        .await?;
        losses.map_or(Ok(()), Losses::finish)?;
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
    async fn image<S: Store>(&self, store: &S, around: Surroundings<'_>) -> Result<Image, Failure> {
        let request = RangeRequest::key(around.root.session_id_key());
        let response = read(store, around.limits.patience, request)
            .await
            .map_err(while_doing("reading the server id counter"))?;
        let missing = response.entries.is_empty();
        Ok(Image::new(Arc::clone(&self.backup), around.root, missing))
    }

    async fn walk<S: Store>(
        &self,
        around: Surroundings<'_>,
        expected: Expected,
        actual: Actual<'_, S>,
        visit: impl FnMut(Difference) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let keys = census::in_ranges(actual.store, &actual.ranges, actual.revision, around.limits);
        around.observer.phase_started("compare", Some(keys.await?));
        let outcome = compare(expected, actual, around, visit).await;
        around.observer.phase_finished();
        outcome
    }
}

/// Adds what a restore does to one key.
fn report(report: &mut DiffBuilder, difference: &Difference, keep_extra: bool) {
    match difference {
        Difference::Missing(entry) => report.add(Some(Change::Added), &entry.key, &entry.value),
        Difference::Different { wanted, .. } => {
            report.add(Some(Change::Changed), &wanted.key, &wanted.value);
        }
        Difference::Extra(entry) => {
            let change = (!keep_extra).then_some(Change::Removed);
            report.add(change, &entry.key, &entry.value);
        }
        Difference::Same(entry) => report.add(None, &entry.key, &entry.value),
        Difference::Ignored(_) => {}
    }
}

/// Sorts differences into what to put, what to delete and what stays.
struct Sorting {
    journal: Vec<u8>,
    is_behind_journal: bool,
    touched: Touched,
    runs: Runs,
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
            touched: Touched::default(),
            runs: Runs::default(),
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
    fn add(&mut self, difference: Difference, keep_extra: bool, delete_keys_max: usize) {
        self.pass_journal(difference.key());
        self.different += u64::from(matches!(difference, Difference::Different { .. }));
        let stays = keep_extra && matches!(difference, Difference::Extra(_));
        if let Some((key, _)) = difference.odd().filter(|_| !stays)
            && self.lost.len() < EXAMPLES_MAX
        {
            self.lost.push(printable(key));
        }
        match difference {
            // A key that will be put stays, too: the deletes come after the puts.
            Difference::Missing(entry) | Difference::Different { wanted: entry, .. } => {
                self.put(entry);
                return;
            }
            Difference::Same(_) => {
                self.position += 1;
                self.runs.keep();
            }
            Difference::Extra(_) if keep_extra => {
                self.kept += 1;
                self.runs.keep();
            }
            Difference::Extra(entry) => {
                self.deleted_keys += 1;
                self.runs.delete(&entry.key, delete_keys_max);
            }
            Difference::Ignored(_) => self.runs.keep(),
        }
        self.joins = false;
        self.touched.other();
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}

/// The writing half.
pub(super) struct PutBack<'a, S: Store> {
    pub(super) store: &'a S,
    pub(super) around: Surroundings<'a>,
    pub(super) fence: &'a Fence<S>,
    pub(super) ledger: &'a mut Ledger,
    pub(super) backup: Option<BackupRef>,
    /// How the history records the run.
    pub(super) result: RunResult,
    pub(super) written: &'a mut Written,
}

impl<S: Store> PutBack<'_, S> {
    /// Records `restoring`, puts, deletes, compares, drops the journal.
    pub(super) async fn run(
        &mut self,
        room: Room,
        (source, gap): (Source, Gap),
    ) -> Result<RestoreReport, Failure> {
        let planned = gap.planned();
        let by = (self.fence, self.around.limits);
        let patience = self.around.limits.patience;
        let needed = (planned.put + planned.delete, gap.put_bytes);
        if let Some(warning) = room.check(needed).await? {
            self.around.observer.note(&warning);
        }
        if let Some(entry) = &gap.largest {
            let entry = (&*entry.key, &*entry.value);
            fit::check_entry(self.store, (self.around.root, patience), entry).await?;
        }
        self.record((source.keep_extra, gap.revision)).await?;
        let observer = self.around.observer;
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
        let trail = Trail::new(self.store, self.around.limits, (touched, Others::Any));
        let writer = self.writer(*self.around.limits).read_at(revision);
        let written = trail.along(writer, writes).await;
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
        let (root, limits) = (self.around.root, self.around.limits);
        let now = newest_revision(self.store, root, limits).await?;
        // Where that is not so, the comparison reads all of it and says why.
        if now != revision.saturating_add(ours) || !is_read_back {
            self.compare(&source, &image).await?;
        }
        let run = RunRecord {
            backup: self.backup.clone(),
            ..history::restored(self.result, self.around, &planned)
        };
        let ops = history::adding(self.store, self.around, run).await;
        self.ledger.clear(self.store, by, ops).await?;
        Ok(RestoreReport {
            outcome: RestoreOutcome::Restored,
            verified: true,
            ..planned
        })
    }

    /// Writes the journal with the phase `restoring`. From then on the restore has started, also where etcd
    /// does not answer.
    async fn record(&mut self, how: (bool, i64)) -> Result<(), Failure> {
        let by = (self.fence, self.around.limits);
        let next = self.restoring(how);
        let before = std::mem::replace(self.written, Written::Restoring);
        let recorded = self
            .ledger
            .advance(self.store, by, next, (Vec::new(), Vec::new()))
            .await;
        if recorded.is_err() && !self.ledger.in_doubt() {
            *self.written = before;
        }
        recorded.map(|_| ())
    }

    /// Deletes what is too much.
    async fn delete(
        &self,
        (deletes, keys, revision): (Vec<KeyRange>, u64, i64),
        put: Tally,
    ) -> Result<Tally, Failure> {
        let limits = self.around.limits.for_deletes(put);
        let observer = self.around.observer;
        observer.phase_started("delete", Some(keys));
        let deletes = deletes.into_iter().map(Op::Delete).map(Write::over);
        let writer = self.writer(limits).read_at(revision);
        let tally = writer.write_all(deletes.collect()).await;
        observer.phase_finished();
        tally
    }

    fn writer(&self, limits: Limits) -> Writer<'_, S> {
        Writer::new(
            self.store,
            self.ledger.guards(self.fence),
            limits,
            self.around.stop,
            self.around.observer,
        )
    }

    /// The image was made while the counter was missing or not; now it is there either way.
    async fn compare(&self, source: &Source, image: &Image) -> Result<(), Failure> {
        let mut retries = Retries::new(self.around);
        loop {
            match self.compare_once(source, image).await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn compare_once(&self, source: &Source, image: &Image) -> Result<(), Failure> {
        let (root, limits) = (self.around.root, self.around.limits);
        let actual = Actual {
            store: self.store,
            ranges: vec![root.range()],
            revision: newest_revision(self.store, root, limits).await?,
            ignore: &mut |entry| image.ignores(entry),
        };
        let expected = image.stream(|_, entry| Some(entry));
        let mut collector = Collector::default();
        source
            .walk(self.around, expected, actual, |difference| {
                if !(source.keep_extra && matches!(difference, Difference::Extra(_))) {
                    collector.add(&difference);
                }
                Ok(())
            })
            .await?;
        let report = collector.report();
        if report.ok {
            Ok(())
        } else {
            Err(Failure::Verification(Box::new(report)))
        }
    }

    /// The journal while a backup is restored. What a migration recorded stays in it.
    fn restoring(&self, (keep_extra, revision): (bool, i64)) -> Journal {
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let base = self.ledger.journal().cloned().unwrap_or_else(|| Journal {
            format: MIGRATION_FORMAT,
            meta_root: self.around.root.meta_root().to_owned(),
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
            cluster_id: self.ledger.cluster_id().to_owned(),
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
