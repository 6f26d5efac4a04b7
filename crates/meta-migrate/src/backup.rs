//! Saving the meta root at one revision, without a write to etcd: it works for a user who may only read,
//! and on an etcd that has no space left.

use std::time::Duration;

use crate::journal::{Journal, Phase};
use meta_report::BackupReport;
use meta_store::{RangeRequest, Store, StoreErrorKind};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::MetaRoot;

use super::backup_job::{BackupJob, BackupTarget};
use super::context::Moment;
use super::context::Retries;
use super::context::Surroundings;
use super::error::{EngineError, Failure, while_doing};
use super::fence::{LockWait, Waits};
use super::fingerprint::Filter;
use super::limits::Limits;
use super::pages::Pages;
use super::patience::read;
use super::plan_report::unfinished_message;
use super::{Environment, sessions};

/// What to save, and where.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Where the metadata is.
    pub root: MetaRoot,
    /// Where the file goes.
    pub target: BackupTarget,
    /// Whether running components are refused. A backup shows one revision, so it is complete either
    /// way; but one that is made for a migration has to show the stopped cluster.
    pub refuse_sessions: bool,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Saves everything below the meta root except leased keys. Nothing is written to etcd: a migration that
/// runs at the same time is found by reading its lock and its journal before and after.
///
/// # Errors
/// [`EngineError`]; no file is left behind then.
pub async fn backup<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, EngineError> {
    let around = environment.around(&options.root, &options.limits);
    let save = async {
        if options.refuse_sessions {
            sessions::wait_until_gone(store, around, options.waits.sessions).await?;
        }
        let mut retries = Retries::new(around);
        loop {
            match save_once(store, options, environment).await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    };
    save.await.map_err(EngineError::before_writing)
}

async fn save_once<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, Failure> {
    let around = environment.around(&options.root, &options.limits);
    let before = Witness::of_free_lock(store, around, options.waits).await?;
    if let Some(unfinished) = before.unfinished(&options.root) {
        environment.observer.note(&unfinished);
    }
    let job = BackupJob::start(&options.target, &options.root, before.moment);
    let captured = capture(store, (options, around), (&before, &job)).await;
    environment.observer.phase_finished();
    match captured {
        Ok(skipped_leased) => {
            job.seal(skipped_leased).await;
            Ok(job.finish().await?.report())
        }
        Err(failure) => {
            job.abandon().await;
            Err(failure)
        }
    }
}

/// Hands everything to the job; returns how many leased keys were left out.
async fn capture<S: Store>(
    store: &S,
    (options, around): (&BackupOptions, Surroundings<'_>),
    (before, job): (&Witness, &BackupJob),
) -> Result<u64, Failure> {
    let root = &options.root;
    let filter = Filter::all(root);
    let mut skipped_leased = 0;
    let mut pages = Pages::begin(store, around, root.range(), before.moment.revision).await?;
    around.observer.phase_started("backup", Some(pages.keys()));
    while let Some(mut page) = pages.next().await? {
        page.retain(|entry| {
            skipped_leased += u64::from(filter.skips_leased(entry));
            filter.keeps(entry)
        });
        if !job.push(page.into()).await {
            break;
        }
    }
    before.check(store, around).await?;
    if options.refuse_sessions {
        sessions::wait_until_gone(store, around, Duration::ZERO).await?;
    }
    Ok(skipped_leased)
}

/// What shows whether a migration is under way: its lock, and the journal that it writes.
struct Witness {
    moment: Moment,
    lock: Option<Entry>,
    /// The journal; `None` where none exists, or where the user may not read it.
    journal: Option<Entry>,
}

impl Witness {
    async fn read<S: Store>(store: &S, around: Surroundings<'_>) -> Result<Self, Failure> {
        let Surroundings { root, limits, .. } = around;
        let lock = read(store, limits.patience, RangeRequest::key(root.lock_key()))
            .await
            .map_err(while_doing("reading the lock"))?;
        let key = root.journal_key();
        let journal = match read(store, limits.patience, RangeRequest::key(key.clone())).await {
            Ok(found) => found.entries.into_iter().next(),
            // It is not below the meta root: a user may have rights there and not here.
            Err(error) if error.kind == StoreErrorKind::Denied => None,
            Err(error) => {
                let action = format!("reading the journal {}", printable(&key));
                return Err(while_doing(action)(error));
            }
        };
        Ok(Self {
            moment: Moment {
                revision: lock.revision,
                cluster: lock.cluster,
            },
            lock: lock.entries.into_iter().next(),
            journal,
        })
    }

    /// When the journal was written last; 0 without one.
    fn written(&self) -> i64 {
        let journal = self.journal.as_ref();
        journal.map_or(0, |entry| entry.mod_revision)
    }

    /// What a reader of the backup must know: an unfinished run's keys are in it. A journal that cannot be read
    /// is of no run that this program knows.
    fn unfinished(&self, root: &MetaRoot) -> Option<String> {
        let entry = self.journal.as_ref()?;
        let journal = Journal::of(root.meta_root(), &entry.value).ok()?;
        let is_unfinished = journal.phase != Phase::Done;
        is_unfinished.then(|| {
            format!(
                "the backup is not of one layout: {}",
                unfinished_message(journal.phase, Some(&journal))
            )
        })
    }

    /// Waits until the lock is free.
    async fn of_free_lock<S: Store>(
        store: &S,
        around: Surroundings<'_>,
        waits: Waits,
    ) -> Result<Self, Failure> {
        let mut waiting = LockWait::new(waits.lock);
        loop {
            let found = Self::read(store, around).await?;
            let Some(lock) = &found.lock else {
                return Ok(found);
            };
            let held = (lock, found.moment.revision);
            waiting.wait(store, around, held).await?;
        }
    }

    /// Refuses where a migration was started meanwhile: whoever finds the file would take it for a backup
    /// of what is there now.
    async fn check<S: Store>(&self, store: &S, around: Surroundings<'_>) -> Result<(), Failure> {
        let now = Self::read(store, around).await?;
        if let Some(lock) = &now.lock {
            let holder = sessions::describe(store, around.root, lock)
                .await
                .map_err(while_doing("reading the lock's lease"))?;
            return Err(Failure::Locked(holder));
        }
        if now.written() == self.written() {
            return Ok(());
        }
        Err(Failure::JournalChanged {
            key: printable(&around.root.journal_key()),
        })
    }
}
