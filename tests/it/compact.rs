//! Compaction and defragmentation on real servers: removed history, kept entries, order of members.

use meta_migrate::{Limits, compact};
use meta_store::etcd::{EtcdStore, Options};
use meta_store::{Op, RangeRequest, Store, StoreErrorKind, Txn};
use milvus_meta::keys::{KeyRange, MetaRoot};

use crate::support::etcd::{Etcd, Settings};

const GONE: usize = 4_000;
const KEPT: usize = 10;

fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

async fn write(store: &EtcdStore, ops: Vec<Op>) -> i64 {
    let txn = Txn {
        compares: Vec::new(),
        ops,
    };
    store.txn(txn).await.unwrap().revision
}

/// Writes many keys and deletes most of them; returns the revision at which all of them existed.
async fn fill(store: &EtcdStore) -> i64 {
    let mut full = 0;
    for batch in 0..GONE / 100 {
        let puts = (0..100).map(|number| Op::put(format!("gone/{batch}/{number}"), vec![7; 1_000]));
        full = write(store, puts.collect()).await;
    }
    let puts = (0..KEPT).map(|number| Op::put(format!("kept/{number}"), "here"));
    write(store, puts.collect()).await;
    write(store, vec![Op::Delete(KeyRange::prefix("gone/"))]).await;
    full
}

async fn assert_only_history_went(store: &EtcdStore, full: i64) {
    let kept = store
        .range(RangeRequest::new(KeyRange::prefix("kept/")))
        .await
        .unwrap();
    assert_eq!(kept.entries.len(), KEPT);
    let before = store
        .range(RangeRequest::new(KeyRange::prefix("gone/")).at(full))
        .await
        .unwrap_err();
    assert_eq!(before.kind, StoreErrorKind::Compacted);
}

#[tokio::test]
async fn compact_frees_space_and_keeps_entries() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let full = fill(&store).await;
    // etcd updates its size metric when it commits to its file, ten times a second.
    let counted = async {
        while store.status().await.unwrap().members[0].db_size <= (GONE * 1_000) as u64 {}
    };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, counted).await.unwrap();
    let compacted = compact(&store, &root(), &Limits::default()).await.unwrap();
    let [member] = compacted.members.as_slice() else {
        panic!("{compacted:?}");
    };
    assert_eq!(member.endpoint, etcd.endpoint());
    assert!(compacted.revision > full);
    assert!(member.before > (GONE * 1_000) as u64, "{member:?}");
    assert!(member.after < member.before / 10, "{member:?}");
    assert_only_history_went(&store, full).await;
}

#[tokio::test]
async fn three_members_are_defragmented_leader_last() {
    let cluster = Etcd::start_cluster(3, &Settings::default());
    let endpoints: Vec<&str> = cluster.iter().map(Etcd::endpoint).collect();
    let options = Options {
        endpoints: endpoints.iter().map(ToString::to_string).collect(),
        ..Options::default()
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    let full = fill(&store).await;
    let leader = |status: meta_store::ClusterStatus| {
        let mut members = status.members.into_iter();
        members
            .find(|member| member.member_id == member.leader_id)
            .unwrap()
            .endpoint
    };
    let before = leader(store.status().await.unwrap());
    let compacted = compact(&store, &root(), &Limits::default()).await.unwrap();
    let mut found: Vec<&str> = compacted
        .members
        .iter()
        .map(|member| member.endpoint.as_str())
        .collect();
    assert_eq!(found.last().copied(), Some(before.as_str()));
    found.sort_unstable();
    let mut all = endpoints;
    all.sort_unstable();
    assert_eq!(found, all);
    for member in &compacted.members {
        assert!(member.after < member.before / 10, "{member:?}");
    }
    assert_only_history_went(&store, full).await;
}
