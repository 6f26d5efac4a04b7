//! Transactions: comparisons, operations and rejections.

use meta_store::{Applied, Compare, Op, RangeRequest, Store, StoreErrorKind, Txn};
use milvus_meta::keys::KeyRange;

use super::{apply, put, read, refused, succeeds, texts};

pub(super) async fn a_transaction_is_one_revision(store: impl Store, root: String) {
    let doomed = format!("{root}/doomed");
    put(&store, &doomed, "v").await;
    let ops = vec![
        Op::put(format!("{root}/a"), "1"),
        Op::put(format!("{root}/b"), ""),
        Op::Delete(KeyRange::single(doomed)),
    ];
    let revision = apply(&store, ops).await;
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(
        texts(&response.entries),
        [
            (format!("{root}/a"), "1".to_owned()),
            (format!("{root}/b"), String::new())
        ]
    );
    for entry in response.entries {
        assert_eq!(entry.mod_revision, revision);
    }
}

pub(super) async fn a_failed_comparison_changes_nothing(store: impl Store, root: String) {
    let key = format!("{root}/k");
    put(&store, &key, "v").await;
    let txn = Txn {
        compares: vec![
            Compare::Absent(KeyRange::single(format!("{root}/other"))),
            Compare::CreateRevision(key.clone().into_bytes(), 0),
        ],
        ops: vec![
            Op::put(key.clone(), "changed"),
            Op::put(format!("{root}/x"), ""),
        ],
    };
    assert!(!store.txn(txn).await.unwrap().succeeded);
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(texts(&response.entries), [(key, "v".to_owned())]);
}

pub(super) async fn absent_compares_a_whole_range(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/session/"));
    assert!(succeeds(&store, Compare::Absent(range.clone())).await);
    put(&store, &format!("{root}/session0"), "v").await;
    assert!(succeeds(&store, Compare::Absent(range.clone())).await);
    put(&store, &format!("{root}/session/proxy-1"), "v").await;
    assert!(!succeeds(&store, Compare::Absent(range.clone())).await);
    apply(&store, vec![Op::Delete(range.clone())]).await;
    assert!(succeeds(&store, Compare::Absent(range)).await);
}

pub(super) async fn changed_before_compares_a_whole_range(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    assert!(succeeds(&store, Compare::ChangedBefore(range.clone(), 1)).await);
    put(&store, &format!("{root}/a"), "v").await;
    let newest = put(&store, &format!("{root}/b"), "v").await;
    assert!(!succeeds(&store, Compare::ChangedBefore(range.clone(), newest)).await);
    assert!(succeeds(&store, Compare::ChangedBefore(range, newest + 1)).await);
}

pub(super) async fn revisions_are_compared_exactly(store: impl Store, root: String) {
    let key = format!("{root}/k").into_bytes();
    assert!(succeeds(&store, Compare::CreateRevision(key.clone(), 0)).await);
    assert!(succeeds(&store, Compare::ModRevision(key.clone(), 0)).await);
    let created = apply(&store, vec![Op::put(key.clone(), "1")]).await;
    let changed = apply(&store, vec![Op::put(key.clone(), "2")]).await;
    assert!(succeeds(&store, Compare::CreateRevision(key.clone(), created)).await);
    assert!(!succeeds(&store, Compare::CreateRevision(key.clone(), changed)).await);
    assert!(succeeds(&store, Compare::ModRevision(key.clone(), changed)).await);
    assert!(!succeeds(&store, Compare::ModRevision(key, created)).await);
}

pub(super) async fn deleting_nothing_uses_no_revision(store: impl Store, root: String) {
    let key = format!("{root}/k");
    put(&store, &key, "v").await;
    apply(
        &store,
        vec![Op::Delete(KeyRange::prefix(format!("{root}/none/")))],
    )
    .await;
    // Other tests write to the same server, so only the key can be checked.
    let entry = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(texts(&entry), [(key, "v".to_owned())]);
}

pub(super) async fn a_transaction_counts_deleted_keys(store: impl Store, root: String) {
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        put(&store, &format!("{root}/{key}"), "v").await;
    }
    let delete = |prefix: &str| Op::Delete(KeyRange::prefix(format!("{root}/{prefix}")));
    let cases = [
        (vec![delete("none/")], 0, false),
        (vec![Op::put(format!("{root}/a/4"), "v")], 0, true),
        (
            vec![
                delete("a/"),
                Op::put(format!("{root}/c"), "v"),
                delete("b/"),
            ],
            5,
            true,
        ),
        (vec![delete("a/")], 0, false),
    ];
    for (ops, deleted, wrote) in cases {
        let txn = Txn {
            compares: Vec::new(),
            ops,
        };
        let response = store.txn(txn).await.unwrap();
        assert_eq!((response.deleted, response.wrote), (deleted, wrote));
    }
    let refused = Txn {
        compares: vec![Compare::CreateRevision(format!("{root}/c").into_bytes(), 0)],
        ops: vec![delete("c")],
    };
    let response = store.txn(refused).await.unwrap();
    assert_eq!((response.deleted, response.wrote), (0, false));
}

pub(super) async fn a_key_put_twice_is_rejected(store: impl Store, root: String) {
    let key = format!("{root}/k");
    let error = refused(
        &store,
        vec![Op::put(key.clone(), "1"), Op::put(key.clone(), "2")],
    )
    .await;
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Other, Applied::No)
    );
    assert_eq!(read(&store, RangeRequest::key(key)).await.count, 0);
}

pub(super) async fn a_key_put_and_deleted_is_rejected(store: impl Store, root: String) {
    let put = Op::put(format!("{root}/k"), "1");
    let delete = Op::Delete(KeyRange::prefix(format!("{root}/")));
    for ops in [vec![put.clone(), delete.clone()], vec![delete, put]] {
        let error = refused(&store, ops).await;
        assert_eq!(
            (error.kind, error.applied),
            (StoreErrorKind::Other, Applied::No)
        );
    }
}

pub(super) async fn overlapping_deletes_are_accepted(store: impl Store, root: String) {
    let range = KeyRange::prefix(format!("{root}/"));
    put(&store, &format!("{root}/k"), "1").await;
    let single = KeyRange::single(format!("{root}/k"));
    apply(&store, vec![Op::Delete(range.clone()), Op::Delete(single)]).await;
    assert_eq!(read(&store, RangeRequest::new(range)).await.count, 0);
}

pub(super) async fn comparisons_and_operations_have_separate_limits(
    store: impl Store,
    root: String,
) {
    let puts = |count: usize| -> Vec<Op> {
        let keys = 0..count;
        keys.map(|key| Op::put(format!("{root}/{key}"), "v"))
            .collect()
    };
    let compares = |count: usize| -> Vec<Compare> {
        let keys = 0..count;
        keys.map(|key| Compare::ModRevision(format!("{root}/none/{key}").into_bytes(), 0))
            .collect()
    };
    for (compares, ops) in [(compares(0), puts(129)), (compares(129), puts(1))] {
        let error = store.txn(Txn { compares, ops }).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::TooManyOps);
        assert_eq!(error.applied, Applied::No);
        assert!(!error.is_transient());
    }
    let txn = Txn {
        compares: compares(128),
        ops: puts(128),
    };
    assert!(store.txn(txn).await.unwrap().succeeded);
}

pub(super) async fn a_request_too_large_is_rejected(store: impl Store, root: String) {
    let key = format!("{root}/k");
    for bytes in [1_600_000, 3_000_000] {
        let error = refused(&store, vec![Op::put(key.clone(), vec![b'x'; bytes])]).await;
        assert_eq!(
            (error.kind, error.applied),
            (StoreErrorKind::TooLarge, Applied::No)
        );
    }
    apply(&store, vec![Op::put(key.clone(), vec![b'x'; 1_500_000])]).await;
    let entries = read(&store, RangeRequest::key(key)).await.entries;
    assert_eq!(entries[0].value.len(), 1_500_000);
}
