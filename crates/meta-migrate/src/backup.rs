//! Backs up the meta root at one revision without writing to etcd.
//!
//! This works for read-only users and on a full etcd.

use std::time::Duration;

use crate::journal::{Journal, Phase};
use meta_report::BackupReport;
use meta_store::{RangeRequest, Store, StoreErrorKind};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::MetaRoot;

use crate::context::{Etcd, ReadRevision};
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
    let etcd = environment.etcd(store, &options.root, &options.limits);
    let save = async {
        if options.refuse_sessions {
            sessions::wait_until_gone(etcd, options.waits.sessions).await?;
        }
        etcd.at_one_revision(|| save_once(etcd, options)).await
    };
    save.await.map_err(EngineError::before_writing)
}

async fn save_once<S: Store>(
    etcd: Etcd<'_, S>,
    options: &BackupOptions,
) -> Result<BackupReport, EngineErrorKind> {
    let before = Witness::of_free_lock(etcd, options.waits).await?;
    if let Some(unfinished) = before.unfinished(etcd.root) {
        etcd.observer.note(&unfinished);
    }
    let job = BackupJob::start(&options.target, etcd.root, before.read_revision);
    let captured = capture(etcd, options, &before, &job).await;
    etcd.observer.phase_finished();
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

/// Passes all entries to the job; returns the number of leased keys that were skipped.
async fn capture<S: Store>(
    etcd: Etcd<'_, S>,
    options: &BackupOptions,
    before: &Witness,
    job: &BackupJob,
) -> Result<u64, EngineErrorKind> {
    let filter = Filter::all(etcd.root);
    let mut skipped_leased = 0;
    let (range, revision) = (etcd.root.range(), before.read_revision.revision);
    let mut pages = Pages::begin(etcd, range, revision).await?;
    etcd.observer.phase_started("backup", Some(pages.keys()));
    while let Some(mut page) = pages.next().await? {
        page.retain(|entry| {
            skipped_leased += u64::from(filter.skips_leased(entry));
            filter.keeps(entry)
        });
        if !job.push(page.into()).await {
            break;
        }
    }
    before.check(etcd).await?;
    if options.refuse_sessions {
        sessions::wait_until_gone(etcd, Duration::ZERO).await?;
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
    async fn read<S: Store>(etcd: Etcd<'_, S>) -> Result<Self, EngineErrorKind> {
        let request = RangeRequest::key(etcd.root.lock_key());
        let lock = etcd.read(request, "reading the lock").await?;
        let key = etcd.root.journal_key();
        let request = RangeRequest::key(key.clone());
        let journal = match read(etcd.store, etcd.limits.retry_timeout, request).await {
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
        etcd: Etcd<'_, S>,
        waits: Waits,
    ) -> Result<Self, EngineErrorKind> {
        let mut waiting = LockWait::new(waits.lock);
        loop {
            let found = Self::read(etcd).await?;
            let Some(lock) = &found.lock else {
                return Ok(found);
            };
            waiting
                .wait(etcd, lock, found.read_revision.revision)
                .await?;
        }
    }

    /// Fails if a migration was started during the backup: the file would be taken for a backup of
    /// the current metadata.
    async fn check<S: Store>(&self, etcd: Etcd<'_, S>) -> Result<(), EngineErrorKind> {
        let now = Self::read(etcd).await?;
        if let Some(lock) = &now.lock {
            let holder = sessions::describe_lock(etcd, lock).await?;
            return Err(EngineErrorKind::Locked(holder));
        }
        if now.written() == self.written() {
            return Ok(());
        }
        Err(EngineErrorKind::JournalChanged {
            key: printable(&etcd.root.journal_key()),
        })
    }
}
