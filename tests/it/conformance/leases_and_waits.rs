//! Leases, waits, and operations on the entire server.

use std::time::Duration;

use bytes::Bytes;
use meta_store::{Applied, Op, RangeRequest, Store, StoreErrorKind, Txn};
use milvus_meta::keys::KeyRange;

use super::{apply, assert_notified, put, put_on_lease, read, refused, texts};

pub(super) async fn a_key_requires_an_existing_lease(store: impl Store, root: String) {
    let put = Op::Put {
        key: format!("{root}/k").into(),
        value: Bytes::new(),
        lease: 0x7fff_0000_0001,
    };
    let other = Op::put(format!("{root}/other"), "v");
    let error = refused(&store, vec![other, put]).await;
    assert_eq!(error.kind, StoreErrorKind::LeaseNotFound);
    assert_eq!(error.applied, Applied::No);
    let range = KeyRange::prefix(format!("{root}/"));
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
}

pub(super) async fn revoking_a_lease_deletes_its_keys_at_one_revision(
    store: impl Store,
    root: String,
) {
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    put_on_lease(&store, &a, lease).await;
    put_on_lease(&store, &b, lease).await;
    let before = read(&store, RangeRequest::key(a.clone())).await;
    assert_eq!(before.entries[0].lease, lease);
    store.lease_revoke(lease).await.unwrap();
    let range = KeyRange::prefix(format!("{root}/"));
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(store.lease_remaining(lease).await.unwrap(), None);
    assert!(!store.lease_keep_alive(lease).await.unwrap());
}

pub(super) async fn a_put_without_lease_detaches_the_key(store: impl Store, root: String) {
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let key = format!("{root}/k");
    put_on_lease(&store, &key, lease).await;
    put(&store, &key, "free").await;
    store.lease_revoke(lease).await.unwrap();
    let entries = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(texts(&entries), [(key, "free".to_owned())]);
}

pub(super) async fn a_lease_is_renewed_while_it_lives(store: impl Store, _root: String) {
    let lease = store
        .lease_grant(Duration::from_millis(29_500))
        .await
        .unwrap();
    assert!(store.lease_keep_alive(lease).await.unwrap());
    let remaining = store.lease_remaining(lease).await.unwrap().unwrap();
    assert!(remaining <= Duration::from_secs(30), "{remaining:?}");
    assert!(remaining >= Duration::from_secs(20), "{remaining:?}");
    store.lease_revoke(lease).await.unwrap();
}

pub(super) async fn an_expired_lease_deletes_its_keys(store: impl Store, root: String) {
    let lease = store.lease_grant(Duration::from_secs(2)).await.unwrap();
    let key = format!("{root}/k");
    put_on_lease(&store, &key, lease).await;
    let request = RangeRequest::key(key.clone());
    let there = read(&store, request.clone()).await;
    assert_eq!(there.count, 1);
    let range = KeyRange::single(key);
    let revision = there.entries[0].mod_revision;
    let gone = store.wait_for_change(range, revision);
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read(&store, request).await.count, 0);
    assert_eq!(store.lease_remaining(lease).await.unwrap(), None);
    assert!(!store.lease_keep_alive(lease).await.unwrap());
}

pub(super) async fn a_waiter_is_notified_of_a_put(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    let since = read(&store, RangeRequest::new(range.clone()))
        .await
        .revision;
    assert_notified(
        &store,
        range,
        since,
        vec![Op::put(format!("{root}/k"), "v")],
    )
    .await;
}

pub(super) async fn a_waiter_is_notified_of_an_earlier_change(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    let since = read(&store, RangeRequest::new(range.clone()))
        .await
        .revision;
    put(&store, &format!("{root}/k"), "v").await;
    apply(&store, vec![Op::Delete(range.clone())]).await;
    assert_notified(&store, range, since, Vec::new()).await;
}

pub(super) async fn a_waiter_is_notified_of_a_deletion(store: impl Store, root: String) {
    let since = put(&store, &format!("{root}/k"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    assert_notified(&store, range.clone(), since, vec![Op::Delete(range)]).await;
}

pub(super) async fn a_waiter_is_not_notified_of_a_neighbour(store: impl Store, root: String) {
    let since = put(&store, &format!("{root}/session/id"), "v").await;
    let range = KeyRange::prefix(format!("{root}/session/"));
    put(&store, &format!("{root}/session0"), "v").await;
    let waiting = store.clone();
    let mut wait = std::pin::pin!(waiting.wait_for_change(range.clone(), since));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut wait).await;
    assert!(early.is_err(), "notified of a change to a neighbour");
    put(&store, &format!("{root}/session/id"), "w").await;
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap()
        .unwrap();
}

pub(super) async fn the_status_reports_version_and_size(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let status = store.status().await.unwrap();
    assert!(status.unreachable.is_empty() && status.alarms.is_empty());
    let member = &status.members[0];
    assert!(member.version.starts_with("3."), "{}", member.version);
    assert!(member.db_size > 0 && member.db_size_in_use > 0);
    assert!(member.db_size_in_use <= member.db_size);
    assert_eq!(member.leader_id, member.member_id);
}

pub(super) async fn a_compacted_revision_is_rejected(store: impl Store) {
    let first = put(&store, "k", "1").await;
    put(&store, "gone", "1").await;
    let kept = apply(
        &store,
        vec![Op::put("k", "2"), Op::Delete(KeyRange::single("gone"))],
    )
    .await;
    let newest = put(&store, "k", "3").await;
    store.compact(kept).await.unwrap();
    store.compact(first).await.unwrap();
    let error = store
        .range(RangeRequest::key("k").at(first))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Compacted, Applied::No)
    );
    let at_kept = read(&store, RangeRequest::new(KeyRange::prefix("")).at(kept)).await;
    assert_eq!(texts(&at_kept.entries), [("k".to_owned(), "2".to_owned())]);
    let error = store.compact(newest + 1000).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    // Changes before the compaction are unknown: the waiter must read again.
    let wait = store.wait_for_change(KeyRange::single("never"), first - 1);
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap()
        .unwrap();
    let endpoint = store.status().await.unwrap().members[0].endpoint.clone();
    store.defragment(&endpoint).await.unwrap();
    store.defragment("http://unknown:1").await.unwrap_err();
    assert_eq!(read(&store, RangeRequest::key("k")).await.count, 1);
}

pub(super) async fn the_alarm_blocks_puts_and_leases_but_not_reads(store: impl Store) {
    put(&store, "small", "v").await;
    let value = vec![b'x'; 16 << 10];
    let mut error = None;
    for number in 0..1000 {
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![Op::put(format!("k{number}"), value.clone())],
        };
        if let Err(refused) = store.txn(txn).await {
            error = Some(refused);
            break;
        }
    }
    let error = error.expect("the quota is not enforced");
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::NoSpace, Applied::Unknown)
    );
    assert_eq!(store.status().await.unwrap().alarms, ["NOSPACE"]);
    let error = refused(&store, vec![Op::put("tiny", "")]).await;
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    let error = store
        .lease_grant(Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace);
    // etcd releases differ in whether they reject a transaction that only deletes.
    assert_eq!(read(&store, RangeRequest::key("small")).await.count, 1);
}
