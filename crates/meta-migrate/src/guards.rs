//! The guards: the conditions in every write transaction of a run.
//!
//! etcd evaluates them: this run holds the lock, no Milvus component is registered, and the journal
//! is at the revision that this run knows. Only the last condition detects that etcd itself lost
//! writes: a disk snapshot restored within the lock's lease, or acknowledged writes lost by a
//! killed server. A run whose journal was reset must not continue with a later phase.

use std::time::Duration;

use tokio::time::timeout;

use meta_store::{Compare, RangeRequest, Store, StoreError};
use milvus_meta::entry::printable;
use milvus_meta::keys::MetaRoot;

use crate::error::{EngineErrorKind, WriteState};
use crate::fence::Fence;
use crate::sessions;

/// Returns conditions that never hold and are as many and as large as a run's guards, without a
/// lock: no key was ever created before the first revision.
pub(super) fn never(root: &MetaRoot) -> Vec<Compare> {
    let mut compares = vec![Compare::CreateRevision(root.lock_key(), -1)];
    compares.extend(sessions::guarded_ranges(root).map(Compare::Absent));
    compares.push(Compare::CreateRevision(root.journal_key(), -1));
    compares
}

/// The guards of one run until it writes its journal again. Created by
/// [`JournalStore::guards`](crate::journal_store::JournalStore::guards), which knows the journal's
/// revision.
#[derive(Debug)]
pub(super) struct Guards<'a, S: Store> {
    fence: &'a Fence<S>,
    journal: Vec<u8>,
    /// 0 if no journal exists.
    revision: i64,
}

impl<'a, S: Store> Guards<'a, S> {
    /// Creates guards that require the journal `key` at `revision`.
    pub(super) fn new(fence: &'a Fence<S>, key: Vec<u8>, revision: i64) -> Self {
        Self {
            fence,
            journal: key,
            revision,
        }
    }

    /// Returns the conditions for a transaction.
    pub(super) fn compares(&self) -> Vec<Compare> {
        let mut compares = self.fence.compares();
        compares.push(Compare::ModRevision(self.journal.clone(), self.revision));
        compares
    }

    /// Returns why the guards do not hold, or `None` if they do. Checks the lock first, then the
    /// journal, then the registered components.
    pub(super) async fn diagnose(&self) -> Result<Option<EngineErrorKind>, StoreError> {
        if let Some(lost) = self.taken_over().await? {
            return Ok(Some(lost));
        }
        self.fence.component().await
    }

    /// Returns an error if another run may have written since: this run lost the lock or the
    /// journal.
    pub(super) async fn taken_over(&self) -> Result<Option<EngineErrorKind>, StoreError> {
        if let Some(lost) = self.fence.lost().await? {
            return Ok(Some(lost));
        }
        let request = RangeRequest::key(self.journal.clone()).keys_only();
        let found = self.fence.read(request).await?;
        let revision = found.entries.first().map_or(0, |entry| entry.mod_revision);
        Ok(
            (revision != self.revision).then(|| EngineErrorKind::JournalChanged {
                key: printable(&self.journal),
            }),
        )
    }

    /// Replaces a failure by its cause if another run took over after this one had written: this
    /// run was suspended, and etcd contains the other run's writes.
    pub(super) async fn explain(
        &self,
        failure: EngineErrorKind,
        written: WriteState,
    ) -> EngineErrorKind {
        const TIMEOUT: Duration = Duration::from_secs(2);
        let is_explained = matches!(
            failure,
            EngineErrorKind::Store { .. }
                | EngineErrorKind::Alarm(_)
                | EngineErrorKind::LockLost { .. }
                | EngineErrorKind::JournalChanged { .. }
        );
        if is_explained || written == WriteState::Nothing {
            return failure;
        }
        match timeout(TIMEOUT, self.taken_over()).await {
            Ok(Ok(Some(lost))) => lost,
            Ok(Ok(None) | Err(_)) | Err(_) => failure,
        }
    }
}
