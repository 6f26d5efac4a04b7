//! Restores the metadata below the meta root from a backup.
//!
//! The whole backup is read, checked, and compared with what is there first. Then `restoring` is
//! recorded; puts come first, deletes last; all is read back and compared; the journal goes. Stopped
//! anywhere, the same command finishes it.

use std::path::PathBuf;

use crate::journal::{Journal, Phase};
use crate::protocol::{Backward, backward};
use meta_backup::{Backup, Tolerance};
use meta_report::{BackupRef, DiffReport, RestoreOutcome, RestoreReport, RunRecord, RunResult};
use meta_store::Store;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::Task;

use super::context::Surroundings;
use super::context::newest_revision;
use super::error::{EngineError, Failure, Written, agreed};
use super::fence::{Fence, Waits};
use super::ledger::Ledger;
use super::limits::Limits;
use super::room::Room;
use super::{Environment, history, layout, sessions};

mod discard;
mod image;
mod loss;
mod old_root;
mod permission;
mod put_back;
mod touched;

use discard::Staged;
use loss::Losses;
use put_back::{Gap, PutBack, Source};

/// Keys of each family that a dry run reports.
const DIFF_KEYS_MAX: usize = 20;

/// Which command asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Undo the migration that the journal records; what was only staged needs no backup.
    Rollback,
    /// Put any backup back.
    Restore,
}

impl Way {
    /// How the history records a run of the command.
    fn result(self) -> RunResult {
        match self {
            Self::Rollback => RunResult::RolledBack,
            Self::Restore => RunResult::Restored,
        }
    }
}

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The root to restore to.
    pub root: MetaRoot,
    /// Which command asks.
    pub way: Way,
    /// Whether Milvus 2.1 is to be started on the result: then a repair, which began with 2.2, is not rolled back.
    pub expects_2_1: bool,
    /// The backup; `None` takes the one that the journal names.
    pub backup: Option<PathBuf>,
    /// With this a backup of any meta root is welcome, and its keys are moved to `root`; of several
    /// instances in one file the one at this root is meant.
    pub moved_from: Option<MetaRoot>,
    /// Leave keys alone that the backup does not hold.
    pub keep_extra: bool,
    /// Go on although the metadata changed after the migration was finished.
    pub accept_loss: bool,
    /// Only take the difference; nothing is written, not even the lock.
    pub dry_run: bool,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Rolls a migration back or restores a backup.
///
/// # Errors
/// [`EngineError`] says whether writing had started.
pub async fn restore<S: Store>(
    store: &S,
    options: &RestoreOptions,
    environment: &Environment,
) -> Result<RestoreReport, EngineError> {
    let mut run = Run {
        store,
        options,
        environment,
        written: Written::Nothing,
        phase: None,
        backup: None,
        difference: None,
        undoes_repair: false,
    };
    let outcome = if options.dry_run {
        run.look().await
    } else {
        run.act().await
    };
    let undoes_repair = run.undoes_repair;
    let outcome = outcome.map(|report| RestoreReport {
        undoes_repair,
        ..report
    });
    outcome.map_err(|failure| EngineError {
        failure: Box::new(failure),
        written: run.written,
        phase: run.phase,
        backup: run.backup,
        difference: run.difference.map(Box::new),
    })
}

/// The backup that the journal names, if there is one.
///
/// # Errors
/// [`EngineError`] when the journal cannot be read.
pub async fn recorded_backup<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Option<BackupRef>, EngineError> {
    let ledger = Ledger::load(store, root, limits)
        .await
        .map_err(EngineError::before_writing)?;
    Ok(ledger.journal().and_then(|journal| journal.backup.clone()))
}

/// Whether no other program wrote below the meta root since the journal was written.
pub(super) async fn is_as_left<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
) -> Result<bool, Failure> {
    let refusal = loss::refusal(store, around, ledger).await?;
    Ok(refusal.is_none())
}

/// Whether an interrupted restore was to leave keys alone that its backup does not hold. Whoever
/// finishes it does not delete them either.
fn keeps_extra(ledger: &Ledger) -> bool {
    ledger
        .journal()
        .is_some_and(|journal| journal.phase == Phase::Restoring && journal.keep_extra)
}

/// Finishes a restore that was interrupted, from the backup that the journal names.
pub(super) async fn finish_interrupted<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (fence, ledger): (&Fence<S>, &mut Ledger),
) -> Result<(), Failure> {
    let backup = ledger.journal().and_then(|journal| journal.backup.clone());
    let recorded = backup.as_ref().ok_or(Failure::NoBackup)?;
    let path = PathBuf::from(&recorded.path);
    // The digest in the journal decides what the file must hold.
    let tolerance = Tolerance::ALL;
    let backup_file = image::open(path, around.root, Some(around.root), tolerance).await?;
    image::check_digest(&backup_file, recorded)?;
    let source = Source::new(backup_file, keeps_extra(ledger));
    let room = Room::ask(store, around.limits.patience);
    let since = since(ledger);
    let difference = source
        .difference(store, around, (None, since), None)
        .await?;
    difference.check_newer(ledger)?;
    let mut written = Written::Restoring;
    let mut putting = PutBack {
        store,
        around,
        fence,
        ledger,
        backup,
        result: RunResult::Restored,
        written: &mut written,
    };
    putting.run(room, (source, difference)).await.map(|_| ())
}

/// The revision at which a restore that was started compared its backup: what differs and is newer was written
/// by something else. 0 where that is another etcd's revision.
fn since(ledger: &Ledger) -> i64 {
    let compared = ledger
        .journal()
        .map_or(0, |journal| journal.capture_revision);
    ledger.check_revisions().map_or(0, |()| compared)
}

fn nothing_undone() -> RestoreReport {
    RestoreReport {
        outcome: RestoreOutcome::Unchanged,
        put: 0,
        delete: 0,
        kept: 0,
        verified: false,
        diff: None,
        old_root: None,
        discards: false,
        undoes_repair: false,
    }
}

/// Compares a backup with etcd; the diff is what a restore of it would add, change and remove in etcd, with all keys.
/// Nothing is written.
///
/// # Errors
/// [`EngineError`] when the backup or etcd cannot be read.
pub async fn diff<S: Store>(
    store: &S,
    root: &MetaRoot,
    backup: PathBuf,
    (limits, environment): (&Limits, &Environment),
) -> Result<DiffReport, EngineError> {
    let around = environment.around(root, limits);
    let compare = async {
        let backup = image::open(backup, root, None, limits.tolerance).await?;
        let source = Source::new(backup, false).reporting(usize::MAX);
        let found = source.difference(store, around, (None, 0), None).await?;
        Ok(found.diff.unwrap_or_default())
    };
    compare.await.map_err(EngineError::before_writing)
}

struct Run<'a, S: Store> {
    store: &'a S,
    options: &'a RestoreOptions,
    environment: &'a Environment,
    written: Written,
    phase: Option<Phase>,
    backup: Option<BackupRef>,
    /// What a run that is refused would have done, where it was found out.
    difference: Option<RestoreReport>,
    /// Whether the journal recorded a repair.
    undoes_repair: bool,
}

impl<'a, S: Store> Run<'a, S> {
    fn around(&self) -> Surroundings<'a> {
        self.environment
            .around(&self.options.root, &self.options.limits)
    }

    /// The difference, without lock and without a write.
    async fn look(&mut self) -> Result<RestoreReport, Failure> {
        let ledger = self.load().await?;
        if self.discards(&ledger) {
            return Ok(self.staged(&ledger).await?.report);
        }
        if self.options.backup.is_none() && self.is_unmigrated(&ledger).await? {
            return Ok(nothing_undone());
        }
        let backup = self.open(&ledger).await?;
        let refusal = if self.options.accept_loss {
            None
        } else {
            loss::refusal(self.store, self.around(), &ledger).await?
        };
        let keep_extra = self.options.keep_extra || keeps_extra(&ledger);
        let reference = backup.summary().reference();
        let source = Source::new(backup, keep_extra).reporting(DIFF_KEYS_MAX);
        let lookout = (None, since(&ledger));
        let difference = source
            .difference(self.store, self.around(), lookout, Some(&ledger))
            .await?;
        let report = difference.planned();
        self.difference = Some(report.clone());
        self.check_gap(&difference, &reference, &ledger)?;
        self.backup = Some(reference);
        match refusal {
            Some(refused) if self.options.way == Way::Rollback => Err(refused),
            Some(refused) => {
                let note = format!("without --accept-loss this fails: {refused}");
                self.environment.observer.note(&note);
                Ok(report)
            }
            None => Ok(report),
        }
    }

    async fn act(&mut self) -> Result<RestoreReport, Failure> {
        let stop = &self.environment.stop;
        let fence = tokio::select! {
            biased;
            entered = self.enter() => entered?,
            signal = stop.overdue() => return Err(Failure::Interrupted(signal)),
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.act_under(&fence) => outcome,
            signal = stop.overdue() => Err(Failure::Interrupted(signal)),
        };
        fence.release().await;
        outcome
    }

    /// Waits for components and other runs, then takes the lock.
    async fn enter(&mut self) -> Result<Fence<S>, Failure> {
        let (around, waits) = (self.around(), self.options.waits);
        // A refusal reports the phase and the backup.
        self.load().await?;
        sessions::wait_until_gone(self.store, around, waits.sessions).await?;
        Fence::acquire(self.store, around, waits.lock).await
    }

    async fn act_under(&mut self, fence: &Fence<S>) -> Result<RestoreReport, Failure> {
        sessions::wait_until_gone(self.store, self.around(), std::time::Duration::ZERO).await?;
        let mut ledger = self.load().await?;
        if self.discards(&ledger) {
            let staged = self.staged(&ledger).await?;
            self.confirm(&staged.report).await?;
            self.written = Written::Staged;
            let by = (fence, &mut ledger);
            let outcome = discard::discard(self.store, self.around(), by, staged).await;
            return match outcome {
                Ok(report) => Ok(report),
                Err(failure) => Err(ledger.guards(fence).explain(failure, self.written).await),
            };
        }
        if self.options.backup.is_none() && self.is_unmigrated(&ledger).await? {
            return Ok(nothing_undone());
        }
        let backup = self.open(&ledger).await?;
        // One read shows what would be lost and what is to be written.
        let losses = if self.options.accept_loss {
            None
        } else {
            Losses::new(&self.options.root, &ledger)?
        };
        let keep_extra = self.options.keep_extra || keeps_extra(&ledger);
        let reference = backup.summary().reference();
        let source = Source::new(backup, keep_extra);
        let room = Room::ask(self.store, self.options.limits.patience);
        let lookout = (losses.as_ref(), since(&ledger));
        let difference = source
            .difference(self.store, self.around(), lookout, Some(&ledger))
            .await?;
        // Only now all of it is known to be right.
        let planned = difference.planned();
        self.difference = Some(planned.clone());
        self.check_gap(&difference, &reference, &ledger)?;
        self.difference = None;
        self.backup = Some(reference);
        if planned.outcome == RestoreOutcome::Unchanged {
            // Where the backup holds what the migration made, the migration is in place, and so is what is
            // recorded of it.
            if ledger.phase().is_some() && !self.keeps_journal(difference.layout) {
                self.forget_journal((fence, &mut ledger), &planned).await?;
            }
            return Ok(RestoreReport {
                verified: true,
                ..planned
            });
        }
        self.confirm(&planned).await?;
        let difference = self
            .as_confirmed(difference, (&source, losses.as_ref()))
            .await?;
        let mut putting = PutBack {
            store: self.store,
            around: self.around(),
            fence,
            ledger: &mut ledger,
            backup: self.backup.clone(),
            result: self.options.way.result(),
            written: &mut self.written,
        };
        let outcome = putting.run(room, (source, difference)).await;
        self.phase = ledger.phase();
        match outcome {
            Ok(report) => Ok(report),
            Err(failure) => Err(ledger.guards(fence).explain(failure, self.written).await),
        }
    }

    /// Deletes the journal of what is undone already, and records the run.
    async fn forget_journal(
        &mut self,
        (fence, ledger): (&Fence<S>, &mut Ledger),
        planned: &RestoreReport,
    ) -> Result<(), Failure> {
        let run = RunRecord {
            backup: self.backup.clone(),
            ..history::restored(self.options.way.result(), self.around(), planned)
        };
        let ops = history::adding(self.store, self.around(), run).await;
        let by = (fence, &self.options.limits);
        self.written = Written::Restoring;
        let outcome = ledger.clear(self.store, by, ops).await;
        if !ledger.in_doubt() {
            self.written = Written::Nothing;
        }
        outcome
    }

    /// Whether metadata of this layout is what the recorded migration made.
    fn keeps_journal(&self, layout: Layout) -> bool {
        layout == Layout::V2_2 && !self.undoes_repair
    }

    async fn load(&mut self) -> Result<Ledger, Failure> {
        let ledger = Ledger::load(self.store, &self.options.root, &self.options.limits).await?;
        self.phase = ledger.phase();
        self.undoes_repair = ledger.task() == Task::Repair;
        self.backup = ledger.journal().and_then(|journal| journal.backup.clone());
        let is_rollback = self.options.way == Way::Rollback;
        if is_rollback && self.undoes_repair && self.options.expects_2_1 {
            return Err(Failure::Usage(
                "a repair of 2.2 metadata is recorded, and a rollback of it does not return to 2.1. Run \
                 meta-migration rollback without --source-version to return to the 2.2 metadata before the repair; \
                 meta-migration restore restores any backup"
                    .to_owned(),
            ));
        }
        Ok(ledger)
    }

    /// What unstaging would delete; refused where that is more than what was staged.
    async fn staged(&mut self, ledger: &Ledger) -> Result<Staged, Failure> {
        let reported = self.options.dry_run.then_some(DIFF_KEYS_MAX);
        let staged = discard::look(self.store, self.around(), ledger, reported).await?;
        if !self.options.accept_loss {
            self.difference = Some(staged.report.clone());
            staged.check(ledger)?;
            self.difference = None;
        }
        Ok(staged)
    }

    fn discards(&self, ledger: &Ledger) -> bool {
        self.options.way == Way::Rollback
            && ledger.phase().is_some()
            && backward(ledger.phase()) == Backward::DiscardStaged
    }

    /// Whether this is 2.1 that no migration was started on, such as a second rollback finds.
    async fn is_unmigrated(&self, ledger: &Ledger) -> Result<bool, Failure> {
        if self.options.way != Way::Rollback || ledger.phase().is_some() {
            return Ok(false);
        }
        let (root, limits) = (&self.options.root, &self.options.limits);
        let found = layout::detect(self.store, root, limits, self.environment).await?;
        Ok(found.layout() == Layout::V2_1)
    }

    /// Opens the backup that was named, else the one in the journal.
    async fn open(&self, ledger: &Ledger) -> Result<Backup, Failure> {
        let path = match (&self.options.backup, ledger.journal()) {
            (Some(path), _) => path.clone(),
            (
                None,
                Some(Journal {
                    backup: Some(backup),
                    ..
                }),
            ) => backup.path.clone().into(),
            (None, Some(_) | None) => return Err(Failure::NoBackup),
        };
        // A restore that was started may have been one to another root.
        let recorded = self.backup.as_ref().map(|backup| &backup.path);
        let begun = ledger.phase() == Some(Phase::Restoring)
            && recorded.is_some_and(|recorded| path.as_os_str() == recorded.as_str());
        let moved_from = self.options.moved_from.as_ref();
        let moved_from = moved_from.or(begun.then_some(&self.options.root));
        let tolerance = self.options.limits.tolerance;
        let backup = image::open(path, &self.options.root, moved_from, tolerance).await?;
        for note in &backup.summary().notes {
            let path = backup.summary().path.display();
            self.environment
                .observer
                .note(&format!("the backup {path}: {note}"));
        }
        self.check_missing(&backup)?;
        match self.options.way {
            Way::Rollback => self.check_backup(&backup, ledger)?,
            Way::Restore => self.check_staged(&backup, ledger)?,
        }
        if let Some(families) = backup.coverage().names() {
            self.environment.observer.note(&format!(
                "the backup {} holds only a part of the metadata ({}): everything else stays as it is",
                backup.summary().path.display(),
                families.join(", ")
            ));
        }
        Ok(backup)
    }

    /// The difference as it is now: while the user was asked another program may have written what the answer
    /// did not know of.
    async fn as_confirmed(
        &self,
        confirmed: Gap,
        (source, losses): (&Source, Option<&Losses>),
    ) -> Result<Gap, Failure> {
        let (root, limits) = (&self.options.root, &self.options.limits);
        let revision = confirmed.revision;
        if newest_revision(self.store, root, limits).await? == revision {
            return Ok(confirmed);
        }
        let difference = source
            .difference(self.store, self.around(), (losses, revision), None)
            .await?;
        match difference.newer {
            0 => Ok(difference),
            keys => Err(Failure::SourceChanged {
                revision,
                what: format!(
                    "{} that the restore would lose {} written after the confirmation",
                    counted(keys, "key"),
                    agree(keys, "was", "were")
                ),
            }),
        }
    }

    async fn confirm(&self, difference: &RestoreReport) -> Result<(), Failure> {
        let observer = std::sync::Arc::clone(&self.environment.observer);
        let difference = difference.clone();
        let yes = tokio::task::spawn_blocking(move || observer.confirm_restore(&difference))
            .await
            .map_err(|error| Failure::Worker(error.to_string()))?;
        agreed(&self.environment.stop, yes)
    }
}
