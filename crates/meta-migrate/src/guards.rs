//! The guards: the conditions that every write transaction of a run carries.
//!
//! They are compared inside etcd: the lock is ours, no Milvus component is registered, and the journal
//! stands at the revision that this run knows. The last holds although lock and sessions do where etcd
//! itself went back in time: a disk snapshot that was restored within the lock's lease, or acknowledged
//! writes that a killed server lost. A run whose journal went back must not continue with a later phase.

use std::time::Duration;

use tokio::time::timeout;

use meta_store::{Compare, RangeRequest, Store, StoreError};
use milvus_meta::entry::printable;
use milvus_meta::keys::MetaRoot;

use crate::error::{EngineErrorKind, WriteState};
use crate::fence::Fence;
use crate::retry::read;
use crate::sessions;

/// As many conditions as a run's guards, no smaller, that never hold: no key was ever created before the first
/// revision. They need no lock.
pub(super) fn never(root: &MetaRoot) -> Vec<Compare> {
    let mut compares = vec![Compare::CreateRevision(root.lock_key(), -1)];
    compares.extend(sessions::guarded_ranges(root).map(Compare::Absent));
    compares.push(Compare::CreateRevision(root.journal_key(), -1));
    compares
}

/// The guards of one run, as long as it does not write its journal. Made by
/// [`JournalStore::guards`](crate::journal_store::JournalStore::guards), which knows the journal's revision.
#[derive(Debug)]
pub(super) struct Guards<'a, S: Store> {
    fence: &'a Fence<S>,
    journal: Vec<u8>,
    /// 0 where no journal exists.
    revision: i64,
}

impl<'a, S: Store> Guards<'a, S> {
    /// Guards with the journal `key` at `revision`.
    pub(super) fn new(fence: &'a Fence<S>, key: Vec<u8>, revision: i64) -> Self {
        Self {
            fence,
            journal: key,
            revision,
        }
    }

    /// The conditions, for a transaction.
    pub(super) fn compares(&self) -> Vec<Compare> {
        let mut compares = self.fence.compares();
        compares.push(Compare::ModRevision(self.journal.clone(), self.revision));
        compares
    }

    /// Returns why the guards do not hold, or `None` when they do: the lock first, then the journal, then
    /// registered components.
    pub(super) async fn diagnose(
        &self,
        retry_timeout: Duration,
    ) -> Result<Option<EngineErrorKind>, StoreError> {
        if let Some(lost) = self.taken_over(retry_timeout).await? {
            return Ok(Some(lost));
        }
        self.fence.component(retry_timeout).await
    }

    /// Returns whether another run may have written since: the lock or the journal is not ours any more.
    pub(super) async fn taken_over(
        &self,
        retry_timeout: Duration,
    ) -> Result<Option<EngineErrorKind>, StoreError> {
        let store = self.fence.store();
        if let Some(lost) = self.fence.lost(retry_timeout).await? {
            return Ok(Some(lost));
        }
        let request = RangeRequest::key(self.journal.clone()).keys_only();
        let found = read(store, retry_timeout, request).await?;
        let revision = found.entries.first().map_or(0, |entry| entry.mod_revision);
        Ok(
            (revision != self.revision).then(|| EngineErrorKind::JournalChanged {
                key: printable(&self.journal),
            }),
        )
    }

    /// Returns what a failure of this run comes from. That another run took over after this one had written
    /// explains whatever this one found: it slept, and etcd holds the other's work.
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
        match timeout(TIMEOUT, self.taken_over(TIMEOUT)).await {
            Ok(Ok(Some(lost))) => lost,
            Ok(Ok(None) | Err(_)) | Err(_) => failure,
        }
    }
}
