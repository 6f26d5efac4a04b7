//! Clusters of three members that lose one or two.

use std::time::{Duration, Instant};

use meta_store::etcd::{EtcdStore, Options};
use meta_store::{Applied, Op, RangeRequest, Store, StoreError, StoreErrorKind, Txn, TxnResponse};

use crate::support::etcd::{Etcd, Settings};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Three members, and a store that connects to the first of them.
async fn cluster() -> (Vec<Etcd>, EtcdStore) {
    let members = Etcd::start_cluster(3, &Settings::default());
    let options = Options {
        endpoints: members.iter().map(|m| m.endpoint().to_owned()).collect(),
        request_timeout: REQUEST_TIMEOUT,
        ..Options::default()
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    (members, store)
}

async fn put(store: &EtcdStore, value: &str) -> Result<TxnResponse, StoreError> {
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![Op::put("k", value.to_owned())],
    };
    store.txn(txn).await
}

/// Puts until it succeeds, which is safe because the write is idempotent.
async fn put_until_success(store: &EtcdStore, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match put(store, value).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{error}"),
        }
    }
}

async fn value(store: &EtcdStore) -> Vec<u8> {
    let read = store.range(RangeRequest::key("k")).await.unwrap();
    read.entries[0].value.to_vec()
}

async fn leader(store: &EtcdStore, members: &[Etcd]) -> usize {
    let status = store.status().await.unwrap();
    let leader = status.members.iter().find(|m| m.member_id == m.leader_id);
    let endpoint = &leader.expect("no leader").endpoint;
    members
        .iter()
        .position(|m| m.endpoint() == endpoint)
        .unwrap()
}

#[tokio::test]
async fn each_member_in_turn_can_be_dead() {
    let (mut members, store) = cluster().await;
    put(&store, "0").await.unwrap();
    for (index, value_put) in ["1", "2", "3"].into_iter().enumerate() {
        members[index].kill();
        put_until_success(&store, value_put).await;
        assert_eq!(value(&store).await, value_put.as_bytes());
        let status = store.status().await.unwrap();
        assert_eq!((status.members.len(), status.unreachable.len()), (2, 1));
        assert_eq!(status.unreachable[0].0, members[index].endpoint());
        members[index].restart();
    }
}

#[tokio::test]
async fn each_member_in_turn_can_hang() {
    let (mut members, store) = cluster().await;
    put(&store, "0").await.unwrap();
    for (index, value_put) in ["1", "2", "3"].into_iter().enumerate() {
        members[index].stop();
        let started = Instant::now();
        let _ = store.range(RangeRequest::key("k")).await.unwrap();
        assert!(started.elapsed() < 3 * REQUEST_TIMEOUT);
        put_until_success(&store, value_put).await;
        assert_eq!(value(&store).await, value_put.as_bytes());
        members[index].resume();
    }
}

#[tokio::test]
async fn a_lease_outlives_the_leader() {
    let (mut members, store) = cluster().await;
    let lease = store.lease_grant(Duration::from_secs(20)).await.unwrap();
    let leading = leader(&store, &members).await;
    members[leading].stop();
    let deadline = Instant::now() + Duration::from_secs(18);
    while let Err(error) = store.lease_keep_alive(lease).await {
        assert!(error.is_transient() && Instant::now() < deadline, "{error}");
    }
    assert!(store.lease_keep_alive(lease).await.unwrap());
    members[leading].resume();
}

#[tokio::test]
async fn requests_wait_for_a_lost_majority() {
    let (mut members, store) = cluster().await;
    put(&store, "before").await.unwrap();
    members[0].kill();
    members[1].kill();
    let started = Instant::now();
    let error = put(&store, "never").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let error = store.range(RangeRequest::key("k")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(error.applied, Applied::No, "a read");
    assert!(started.elapsed() < Duration::from_secs(30));
    members[0].restart();
    put_until_success(&store, "after").await;
    assert_eq!(value(&store).await, b"after");
}

#[tokio::test]
async fn a_wait_continues_at_another_member() {
    let (mut members, store) = cluster().await;
    let revision = put(&store, "1").await.unwrap().revision;
    let waiting = {
        let store = store.clone();
        let range = milvus_meta::keys::KeyRange::single("k");
        tokio::spawn(async move { store.wait_for_change(range, revision).await })
    };
    members[0].kill();
    put_until_success(&store, "2").await;
    let notified = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    notified.unwrap().unwrap().unwrap();
    assert_eq!(value(&store).await, b"2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_survive_a_server_restart() {
    let mut etcd = Etcd::start(Settings::default());
    let options = Options {
        request_timeout: Duration::from_millis(500),
        ..Options::for_endpoint(etcd.endpoint())
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    put(&store, "1").await.unwrap();
    etcd.kill();
    // The first requests may fail while the connection breaks; later ones cannot be sent at all.
    let mut error = put(&store, "2").await.unwrap_err();
    for _ in 0..20 {
        if error.applied == Applied::No {
            break;
        }
        error = put(&store, "3").await.unwrap_err();
    }
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Unreachable, Applied::No)
    );
    assert!(error.message.contains("refused"), "{}", error.message);
    let patient = Options {
        request_timeout: Duration::from_secs(30),
        ..options
    };
    assert!(EtcdStore::connect(&patient).await.is_err());
    etcd.restart();
    let store = EtcdStore::connect(&patient).await.unwrap();
    etcd.kill();
    let (read, _) = tokio::join!(value(&store), async {
        tokio::task::block_in_place(|| etcd.restart());
    });
    assert_eq!(read, b"1");
}
