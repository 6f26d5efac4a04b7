//! Saving the meta root at one revision.

use crate::keys::MetaRoot;
use crate::report::BackupReport;
use crate::store::Store;

use super::backup_job::{BackupJob, BackupTarget};
use super::error::{EngineError, Failure};
use super::fence::{Fence, Waits};
use super::fingerprint::Filter;
use super::limits::Limits;
use super::pages::Pages;
use super::source::{Retries, newest};
use super::{Environment, sessions};

/// What to save, and where.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Where the metadata lies.
    pub root: MetaRoot,
    /// Where the file goes.
    pub target: BackupTarget,
    /// Whether running components are refused. A backup shows one revision, so it is whole all the
    /// same; but one that is made for a migration has to show the stopped cluster.
    pub refuse_sessions: bool,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Saves everything below the meta root that hangs on no lease.
///
/// # Errors
/// [`EngineError`]; nothing but the lock was written to etcd.
pub async fn backup<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, EngineError> {
    let around = environment.around(&options.root, &options.limits);
    let waits = options.waits;
    let save = async {
        if options.refuse_sessions {
            sessions::wait_until_gone(store, around, waits.sessions).await?;
        }
        let fence = Fence::acquire(store, around, waits.lock).await?;
        let outcome = save(store, options, environment).await;
        fence.release().await;
        outcome
    };
    save.await.map_err(EngineError::before_writing)
}

async fn save<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, Failure> {
    let around = environment.around(&options.root, &options.limits);
    let mut retries = Retries::new(around);
    loop {
        match save_once(store, options, environment).await {
            Err(failure) if retries.again_after(&failure) => {}
            outcome => return outcome,
        }
    }
}

async fn save_once<S: Store>(
    store: &S,
    options: &BackupOptions,
    environment: &Environment,
) -> Result<BackupReport, Failure> {
    let root = &options.root;
    let filter = Filter::all(root);
    let moment = newest(store, root, &options.limits).await?;
    let around = environment.around(root, &options.limits);
    let job = BackupJob::start(&options.target, root, moment);
    let mut skipped_leased = 0;
    environment.observer.phase_started("backup", None);
    let mut pages = Pages::begin(store, around, root.range(), moment.revision).await?;
    while let Some(mut page) = pages.next().await? {
        page.retain(|entry| {
            skipped_leased += u64::from(filter.skips_leased(entry));
            filter.keeps(entry)
        });
        if !job.push(page.into()).await {
            break;
        }
    }
    job.seal(skipped_leased).await;
    environment.observer.phase_finished();
    Ok(job.finish().await?.report())
}
