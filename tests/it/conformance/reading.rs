//! Reading ranges.

use meta_store::{Applied, Compare, Op, RangeRequest, Store, StoreErrorKind};
use milvus_meta::keys::KeyRange;

use super::{apply, keys, put, read, succeeds, texts};

pub(super) async fn a_range_returns_its_keys_in_order(store: impl Store, root: String) {
    for key in ["b/2", "b/1", "b", "b/", "b0", "a/1", "b-x/1"] {
        put(&store, &format!("{root}/{key}"), key).await;
    }
    let range = KeyRange::prefix(format!("{root}/b/"));
    let response = read(&store, RangeRequest::new(range)).await;
    assert_eq!(
        keys(&response.entries),
        ["b/", "b/1", "b/2"].map(|key| format!("{root}/{key}"))
    );
    assert_eq!((response.count, response.more), (3, false));
    let single = read(&store, RangeRequest::key(format!("{root}/b"))).await;
    assert_eq!(
        texts(&single.entries),
        [(format!("{root}/b"), "b".to_owned())]
    );
}

pub(super) async fn a_limit_truncates_entries_but_not_the_count(store: impl Store, root: String) {
    for number in 0..5 {
        put(&store, &format!("{root}/{number}"), "v").await;
    }
    let range = KeyRange::prefix(format!("{root}/"));
    let page = read(&store, RangeRequest::new(range.clone()).limit(2)).await;
    assert_eq!(
        keys(&page.entries),
        [format!("{root}/0"), format!("{root}/1")]
    );
    assert_eq!((page.count, page.more), (5, true));
    let rest = range.after(&page.entries[1].key);
    let rest = read(&store, RangeRequest::new(rest).limit(3)).await;
    assert_eq!((rest.entries.len(), rest.count, rest.more), (3, 3, false));
    let count = read(&store, RangeRequest::new(range).count_only()).await;
    assert_eq!((count.entries.len(), count.count), (0, 5));
}

pub(super) async fn an_old_revision_is_read_as_it_was(store: impl Store, root: String) {
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let first = put(&store, &a, "1").await;
    put(&store, &a, "2").await;
    put(&store, &b, "1").await;
    let third = apply(&store, vec![Op::Delete(KeyRange::single(a.clone()))]).await;
    put(&store, &a, "3").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let old = read(&store, RangeRequest::new(range.clone()).at(first)).await;
    assert_eq!(texts(&old.entries), [(a.clone(), "1".to_owned())]);
    assert_eq!(old.count, 1);
    assert!(
        old.revision > first,
        "the revision of the store is returned"
    );
    let without = read(&store, RangeRequest::new(range).at(third)).await;
    assert_eq!(keys(&without.entries), [b]);
}

pub(super) async fn revisions_record_creation_and_last_change(store: impl Store, root: String) {
    let key = format!("{root}/k");
    let created = put(&store, &key, "1").await;
    let changed = put(&store, &key, "2").await;
    let entry = read(&store, RangeRequest::key(key.clone())).await.entries;
    assert_eq!(
        (entry[0].create_revision, entry[0].mod_revision),
        (created, changed)
    );
    apply(&store, vec![Op::Delete(KeyRange::single(key.clone()))]).await;
    let again = put(&store, &key, "3").await;
    let entry = read(&store, RangeRequest::key(key)).await.entries;
    assert_eq!(
        (entry[0].create_revision, entry[0].mod_revision),
        (again, again)
    );
}

pub(super) async fn keys_only_omits_the_values(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let range = KeyRange::prefix(format!("{root}/"));
    let response = read(&store, RangeRequest::new(range).keys_only()).await;
    assert_eq!(
        texts(&response.entries),
        [(format!("{root}/k"), String::new())]
    );
}

pub(super) async fn a_range_without_keys_is_empty(store: impl Store, root: String) {
    put(&store, &format!("{root}/k"), "v").await;
    let first_revision_where = KeyRange::new(format!("{root}/z"), format!("{root}/a"));
    let endless = KeyRange::new(format!("{root}/k"), "");
    for range in [first_revision_where, endless, KeyRange::new("", "")] {
        let response = read(&store, RangeRequest::new(range.clone())).await;
        assert_eq!(
            (response.entries.len(), response.count),
            (0, 0),
            "{range:?}"
        );
        assert!(succeeds(&store, Compare::Absent(range.clone())).await);
        apply(&store, vec![Op::Delete(range)]).await;
    }
    let key = RangeRequest::key(format!("{root}/k"));
    assert_eq!(read(&store, key).await.count, 1);
}

pub(super) async fn a_future_revision_is_rejected(store: impl Store, root: String) {
    let request = RangeRequest::key(format!("{root}/k")).at(i64::MAX / 2);
    let error = store.range(request).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Other, Applied::No)
    );
}
