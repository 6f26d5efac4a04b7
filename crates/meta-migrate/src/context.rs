//! The parameters of a run, and the revision that it reads.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use meta_store::{RangeRequest, RangeResponse, Store, StoreErrorKind};
use milvus_meta::keys::{KeyRange, MetaRoot};
use tokio::time::timeout;

use crate::RunId;
use crate::error::{EngineErrorKind, while_doing};
use crate::limits::Limits;
use crate::observer::Observer;
use crate::retry::{RetryingPages, read};
use crate::shutdown::CancelToken;

/// The parameters of a run.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub(super) root: &'a MetaRoot,
    pub(super) limits: &'a Limits,
    pub(super) stop: &'a CancelToken,
    pub(super) observer: &'a Arc<dyn Observer>,
    pub(super) holder: &'a str,
    pub(super) run: &'a RunId,
}

/// etcd as a run accesses it: the store, and the parameters of the run.
pub(super) struct Etcd<'a, S: Store> {
    pub(super) store: &'a S,
    pub(super) ctx: RunContext<'a>,
}

impl<S: Store> Clone for Etcd<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Store> Copy for Etcd<'_, S> {}

impl<'a, S: Store> Deref for Etcd<'a, S> {
    type Target = RunContext<'a>;

    fn deref(&self) -> &Self::Target {
        &self.ctx
    }
}

impl<S: Store> Etcd<'_, S> {
    /// Sends a read with retries; `action` describes it in an error.
    pub(super) async fn read(
        &self,
        request: RangeRequest,
        action: impl Into<String>,
    ) -> Result<RangeResponse, EngineErrorKind> {
        read(self.store, self.limits.retry_timeout, request)
            .await
            .map_err(while_doing(action))
    }

    /// Runs a read at one revision. Runs it again, at a newer revision, if etcd compacted the first one.
    pub(super) async fn at_one_revision<T, Read>(
        &self,
        mut read: impl FnMut() -> Read,
    ) -> Result<T, EngineErrorKind>
    where
        Read: Future<Output = Result<T, EngineErrorKind>>,
    {
        let mut retries = Retries::new(self.ctx);
        loop {
            match read().await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    /// Runs `work` to its end, or until a requested cancellation is overdue. `work` is moved to the
    /// heap: a future of a complete run is too large for every stack.
    pub(super) fn until_overdue<T>(
        &self,
        work: impl Future<Output = Result<T, EngineErrorKind>>,
    ) -> impl Future<Output = Result<T, EngineErrorKind>> {
        let work = Box::pin(work);
        async {
            tokio::select! {
                biased;
                outcome = work => outcome,
                signal = self.stop.overdue() => Err(EngineErrorKind::Interrupted(signal)),
            }
        }
    }

    /// Waits for a change in the range after a revision, for at most `limit`; `action` describes the wait in an error.
    pub(super) async fn wait_for_change(
        &self,
        range: KeyRange,
        revision: i64,
        limit: Duration,
        action: &str,
    ) -> Result<(), EngineErrorKind> {
        let change = self.store.wait_for_change(range, revision);
        tokio::select! {
            signal = self.stop.wait() => Err(EngineErrorKind::Interrupted(signal)),
            outcome = timeout(limit, change) => match outcome {
                Ok(Err(error)) if !error.is_transient() => Err(while_doing(action)(error)),
                Ok(Ok(()) | Err(_)) | Err(_) => Ok(()),
            },
        }
    }

    pub(super) fn retrying_pages(&self) -> RetryingPages<S> {
        RetryingPages {
            store: self.store.clone(),
            retry_timeout: self.limits.retry_timeout,
        }
    }

    pub(super) async fn newest_revision(&self) -> Result<i64, EngineErrorKind> {
        Ok(self.newest().await?.revision)
    }

    /// Returns the newest revision and the id of the cluster.
    pub(super) async fn newest(&self) -> Result<ReadRevision, EngineErrorKind> {
        let request = RangeRequest::key(self.root.journal_key()).count_only();
        let response = self.read(request, "reading the newest revision").await?;
        Ok(ReadRevision {
            revision: response.revision,
            cluster: response.cluster,
        })
    }
}

/// Counts how often a read at one revision may be restarted at a newer one.
pub(super) struct Retries<'a> {
    ctx: RunContext<'a>,
    left: u32,
}

impl<'a> Retries<'a> {
    pub(super) fn new(ctx: RunContext<'a>) -> Self {
        Self {
            ctx,
            left: ctx.limits.capture_attempts_max.saturating_sub(1),
        }
    }

    /// Returns whether etcd compacted the revision and another attempt is left.
    pub(super) fn again_after(&mut self, failure: &EngineErrorKind) -> bool {
        let compacted = matches!(
            failure,
            EngineErrorKind::Store { source, .. } if source.kind == StoreErrorKind::Compacted
        );
        if !compacted || self.left == 0 {
            return false;
        }
        self.left -= 1;
        let note = "etcd compacted the revision being read: reading again";
        self.ctx.observer.note(note);
        true
    }
}

/// The revision of a cluster at which data is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRevision {
    pub(super) revision: i64,
    /// 0 if unknown.
    pub(super) cluster: u64,
}

impl ReadRevision {
    /// Returns the cluster's id as formatted by etcdctl; empty if unknown.
    pub(super) fn cluster_id(self) -> String {
        cluster_id(self.cluster)
    }
}

/// Formats a cluster's id like etcdctl; empty if unknown.
pub(super) fn cluster_id(cluster: u64) -> String {
    match cluster {
        0 => String::new(),
        known => format!("{known:x}"),
    }
}
