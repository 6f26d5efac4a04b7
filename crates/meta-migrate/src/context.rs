//! What a run works with, and the revision that it reads at.

use meta_store::{RangeRequest, Store, StoreErrorKind};
use milvus_meta::keys::MetaRoot;

use crate::RunId;
use crate::error::{EngineErrorKind, while_doing};
use crate::limits::Limits;
use crate::observer::Observer;
use crate::retry::read;
use crate::shutdown::CancelToken;

/// What the run works with.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub(super) root: &'a MetaRoot,
    pub(super) limits: &'a Limits,
    pub(super) stop: &'a CancelToken,
    pub(super) observer: &'a dyn Observer,
    pub(super) holder: &'a str,
    pub(super) run: &'a RunId,
}

/// How often something that reads at one revision may begin again at a newer one.
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

    /// Whether the failure is that etcd compacted the revision, and another attempt is left.
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

/// What is read at: a revision of one cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRevision {
    pub(super) revision: i64,
    /// 0 if unknown.
    pub(super) cluster: u64,
}

impl ReadRevision {
    /// The cluster's id as etcdctl writes it; empty if unknown.
    pub(super) fn cluster_id(self) -> String {
        cluster_id(self.cluster)
    }
}

/// A cluster's id as etcdctl writes it; empty where it is unknown.
pub(super) fn cluster_id(cluster: u64) -> String {
    match cluster {
        0 => String::new(),
        known => format!("{known:x}"),
    }
}

/// The store's newest revision.
pub(super) async fn newest_revision<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<i64, EngineErrorKind> {
    newest(store, root, limits)
        .await
        .map(|read_revision| read_revision.revision)
}

/// The store's newest revision, and which cluster it is.
pub(super) async fn newest<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<ReadRevision, EngineErrorKind> {
    let request = RangeRequest::key(root.journal_key()).count_only();
    let response = read(store, limits.retry_timeout, request)
        .await
        .map_err(while_doing("asking for the newest revision"))?;
    Ok(ReadRevision {
        revision: response.revision,
        cluster: response.cluster,
    })
}
