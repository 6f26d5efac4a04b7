//! Backs up the meta root at one revision without writing to etcd.
//!
//! This works for read-only users and on a full etcd.

use std::time::Duration;

use crate::journal::{Journal, Phase};
use meta_report::BackupReport;
use meta_store::{RangeRequest, Store, StoreErrorKind};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::MetaRoot;

use crate::context::ReadRevision;
use crate::context::Retries;
use crate::context::RunContext;
use crate::error::{EngineError, EngineErrorKind, while_doing};
use crate::fence::{LockWait, Waits};
use crate::fingerprint::Filter;
use crate::limits::Limits;
use crate::plan_report::unfinished_message;
use crate::retry::read;
use crate::throughput::backup_job::{BackupJob, BackupTarget};
use crate::throughput::pages::Pages;
use crate::{Environment, sessions};

/// Options of [`backup`].
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The location of the metadata.
    pub root: MetaRoot,
    /// The file to write.
    pub target: BackupTarget,
    /// Whether to fail if components are running. A backup is complete at its revision in any case,
    /// but one for a migration must contain the state after Milvus was stopped.
    pub refuse_sessions: bool,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Saves everything below the meta root except leased keys. A concurrent migration is detected by
/// reading its lock and its journal before and after, without writing to etcd.
///
/// # Errors
/// [`EngineError`]; no file remains.
pub async fn backup<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, EngineError> {
    let ctx = environment.ctx(&options.root, &options.limits);
    let save = async {
        if options.refuse_sessions {
            sessions::wait_until_gone(store, ctx, options.waits.sessions).await?;
        }
        let mut retries = Retries::new(ctx);
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
) -> Result<BackupReport, EngineErrorKind> {
    let ctx = environment.ctx(&options.root, &options.limits);
    let before = Witness::of_free_lock(store, ctx, options.waits).await?;
    if let Some(unfinished) = before.unfinished(&options.root) {
        environment.observer.note(&unfinished);
    }
    let job = BackupJob::start(&options.target, &options.root, before.read_revision);
    let captured = capture(store, options, ctx, &before, &job).await;
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

/// Passes all entries to the job; returns the number of leased keys that were left out.
async fn capture<S: Store>(
    store: &S,
    options: &BackupOptions,
    ctx: RunContext<'_>,
    before: &Witness,
    job: &BackupJob,
) -> Result<u64, EngineErrorKind> {
    let root = &options.root;
    let filter = Filter::all(root);
    let mut skipped_leased = 0;
    let mut pages = Pages::begin(store, ctx, root.range(), before.read_revision.revision).await?;
    ctx.observer.phase_started("backup", Some(pages.keys()));
    while let Some(mut page) = pages.next().await? {
        page.retain(|entry| {
            skipped_leased += u64::from(filter.skips_leased(entry));
            filter.keeps(entry)
        });
        if !job.push(page.into()).await {
            break;
        }
    }
    before.check(store, ctx).await?;
    if options.refuse_sessions {
        sessions::wait_until_gone(store, ctx, Duration::ZERO).await?;
    }
    Ok(skipped_leased)
}

/// The lock and the journal, which show whether a migration is running.
struct Witness {
    read_revision: ReadRevision,
    lock: Option<Entry>,
    /// The journal; `None` if there is none or the user may not read it.
    journal: Option<Entry>,
}

impl Witness {
    async fn read<S: Store>(store: &S, ctx: RunContext<'_>) -> Result<Self, EngineErrorKind> {
        let RunContext { root, limits, .. } = ctx;
        let lock = read(
            store,
            limits.retry_timeout,
            RangeRequest::key(root.lock_key()),
        )
        .await
        .map_err(while_doing("reading the lock"))?;
        let key = root.journal_key();
        let journal = match read(store, limits.retry_timeout, RangeRequest::key(key.clone())).await
        {
            Ok(found) => found.entries.into_iter().next(),
            // The journal is outside the meta root, where the user may have no permission.
            Err(error) if error.kind == StoreErrorKind::Denied => None,
            Err(error) => {
                let action = format!("reading the journal {}", printable(&key));
                return Err(while_doing(action)(error));
            }
        };
        Ok(Self {
            read_revision: ReadRevision {
                revision: lock.revision,
                cluster: lock.cluster,
            },
            lock: lock.entries.into_iter().next(),
            journal,
        })
    }

    /// Returns the revision at which the journal was last written; 0 without a journal.
    fn written(&self) -> i64 {
        let journal = self.journal.as_ref();
        journal.map_or(0, |entry| entry.mod_revision)
    }

    /// Returns a warning if the backup contains the keys of an unfinished run. An unreadable
    /// journal is ignored.
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

    async fn of_free_lock<S: Store>(
        store: &S,
        ctx: RunContext<'_>,
        waits: Waits,
    ) -> Result<Self, EngineErrorKind> {
        let mut waiting = LockWait::new(waits.lock);
        loop {
            let found = Self::read(store, ctx).await?;
            let Some(lock) = &found.lock else {
                return Ok(found);
            };
            waiting
                .wait(store, ctx, lock, found.read_revision.revision)
                .await?;
        }
    }

    /// Fails if a migration was started during the backup: the file would be taken for a backup of
    /// the current metadata.
    async fn check<S: Store>(&self, store: &S, ctx: RunContext<'_>) -> Result<(), EngineErrorKind> {
        let now = Self::read(store, ctx).await?;
        if let Some(lock) = &now.lock {
            let holder = sessions::describe(store, ctx.root, lock)
                .await
                .map_err(while_doing("reading the lock's lease"))?;
            return Err(EngineErrorKind::Locked(holder));
        }
        if now.written() == self.written() {
            return Ok(());
        }
        Err(EngineErrorKind::JournalChanged {
            key: printable(&ctx.root.journal_key()),
        })
    }
}
