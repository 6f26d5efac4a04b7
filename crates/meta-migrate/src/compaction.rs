//! Frees space after a migration: compaction, then defragmentation member by member, the leader
//! last.

use meta_store::{ClusterStatus, Store};
use milvus_meta::keys::MetaRoot;

use crate::Environment;
use crate::context::Etcd;
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
    // A member answers late while it is defragmented: no progress is shown, and nothing is cancelled.
    let environment = Environment::silent();
    let etcd = environment.etcd(store, root, limits);
    run(etcd).await.map_err(EngineError::before_writing)
}

async fn run<S: Store>(etcd: Etcd<'_, S>) -> Result<Compacted, EngineErrorKind> {
    let store = etcd.store;
    let (running, _) = sessions::registered(etcd).await?;
    if !running.is_empty() {
        return Err(EngineErrorKind::Sessions(running));
    }
    let before = cluster_status(etcd).await?;
    let revision = etcd.newest_revision().await?;
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
    let after = cluster_status(etcd).await?;
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

async fn cluster_status<S: Store>(etcd: Etcd<'_, S>) -> Result<ClusterStatus, EngineErrorKind> {
    with_retry(etcd.limits.retry_timeout, || etcd.store.status())
        .await
        .map_err(while_doing("reading the status of etcd"))
}
