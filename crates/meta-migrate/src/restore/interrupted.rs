//! An interrupted restore, and how another run finishes it.

use std::path::PathBuf;

use meta_backup::Tolerance;
use meta_report::RunResult;
use meta_store::Store;
use milvus_meta::keys::Family;

use super::apply::Restorer;
use super::desired_entries;
use super::gap::Source;
use crate::RunId;
use crate::context::{Etcd, RunContext};
use crate::error::{EngineErrorKind, WriteState};
use crate::fence::Fence;
use crate::journal_store::JournalStore;
use crate::quota::QuotaCheck;

/// Returns whether an interrupted restore keeps keys that are not in its backup. The run that
/// finishes it must do the same.
pub(super) fn keeps_extra(journal_store: &JournalStore) -> bool {
    let journal = journal_store.restoring();
    journal.is_some_and(|journal| journal.keep_extra)
}

/// Returns the families of an interrupted restore; empty for all.
pub(super) fn unfinished_families(
    journal_store: &JournalStore,
) -> Result<Vec<Family>, EngineErrorKind> {
    let journal = journal_store.restoring();
    let names = journal.map_or(&[][..], |journal| &journal.families);
    let families = names.iter().map(|name| {
        Family::by_name(name).ok_or_else(|| {
            EngineErrorKind::Usage(format!(
                "the journal records a restore of the unknown family {name}: resume it with the version of this \
                 program that started it"
            ))
        })
    });
    families.collect()
}

/// Finishes an interrupted restore from the backup in the journal.
pub(crate) async fn finish_interrupted<S: Store>(
    etcd: Etcd<'_, S>,
    fence: &Fence<S>,
    journal_store: &mut JournalStore,
) -> Result<(), EngineErrorKind> {
    let backup = journal_store.backup().cloned();
    let recorded = backup.as_ref().ok_or(EngineErrorKind::NoBackup)?;
    let path = PathBuf::from(&recorded.path);
    // The digest in the journal is compared below, so the file may be read without its own checks.
    let tolerance = Tolerance::ALL;
    let backup_file = desired_entries::open(path, etcd.root, Some(etcd.root), tolerance).await?;
    desired_entries::check_digest(&backup_file, recorded)?;
    let families = unfinished_families(journal_store)?;
    let source = Source::new(backup_file, keeps_extra(journal_store)).only(families);
    let quota = QuotaCheck::ask(etcd.store, etcd.limits.retry_timeout);
    let since = since(journal_store);
    let diff = source.diff(etcd, None, since, None).await?;
    diff.check_newer(journal_store)?;
    let mut written = WriteState::Restoring;
    // The migration that follows in this process is a separate run in the history.
    let run = RunId::of_now();
    let mut restorer = Restorer {
        etcd: Etcd {
            ctx: RunContext {
                run: &run,
                ..etcd.ctx
            },
            ..etcd
        },
        fence,
        journal_store,
        backup,
        result: RunResult::Restored,
        written: &mut written,
    };
    restorer.run(quota, source, diff).await.map(|_| ())
}

/// Returns the revision at which an interrupted restore compared its backup; 0 if it is from
/// another etcd. Differences that are newer were written by another program.
pub(super) fn since(journal_store: &JournalStore) -> i64 {
    let compared = journal_store.capture_revision();
    journal_store.check_revisions().map_or(0, |()| compared)
}
