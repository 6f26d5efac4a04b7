//! Frees space after a migration: compaction, then defragmentation member by member, the leader
//! last.

use meta_store::{ClusterStatus, Store};
use milvus_meta::keys::MetaRoot;

use crate::context::newest_revision;
use crate::error::{EngineError, EngineErrorKind, while_doing};
use crate::limits::Limits;
use crate::retry::with_retry;
use crate::sessions;

/// Size of a member's database file before and after, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSizes {
    /// The member's endpoint.
    pub endpoint: String,
    /// Before compaction.
    pub before: u64,
    /// After defragmentation.
    pub after: u64,
}

/// The result of a compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The revision up to which history was removed.
    pub revision: i64,
    /// The members, in the order of defragmentation.
    pub members: Vec<MemberSizes>,
}

/// Compacts the history and defragments one member at a time, the leader last. A member does not
/// answer while it is defragmented, so no component may be registered.
///
/// # Errors
/// [`EngineError`]; the metadata is unchanged in any case.
pub async fn compact<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Compacted, EngineError> {
    run(store, root, limits)
        .await
        .map_err(EngineError::before_writing)
}

async fn run<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Compacted, EngineErrorKind> {
    let (running, _) = sessions::list(store, root, limits.retry_timeout)
        .await
        .map_err(while_doing("looking for registered components"))?;
    if !running.is_empty() {
        return Err(EngineErrorKind::Sessions(running));
    }
    let before = cluster_status(store, limits).await?;
    let revision = newest_revision(store, root, limits).await?;
    store
        .compact(revision)
        .await
        .map_err(while_doing("compacting etcd"))?;
    let mut members = before.members.clone();
    members.sort_by_key(|member| {
        (
            member.member_id == member.leader_id,
            member.endpoint.clone(),
        )
    });
    for member in &members {
        store
            .defragment(&member.endpoint)
            .await
            .map_err(while_doing(format!("defragmenting {}", member.endpoint)))?;
    }
    let after = cluster_status(store, limits).await?;
    let members = members
        .into_iter()
        .map(|member| MemberSizes {
            before: member.db_size,
            after: after
                .members
                .iter()
                .find(|other| other.endpoint == member.endpoint)
                .map_or(0, |other| other.db_size),
            endpoint: member.endpoint,
        })
        .collect();
    Ok(Compacted { revision, members })
}

async fn cluster_status<S: Store>(
    store: &S,
    limits: &Limits,
) -> Result<ClusterStatus, EngineErrorKind> {
    with_retry(limits.retry_timeout, || store.status())
        .await
        .map_err(while_doing("reading the status of etcd"))
}
