//! Connections to etcd: endpoints, TLS, users, and error reports.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meta_store::etcd::{EtcdStore, Options, Password};
use meta_store::{Applied, Compare, Op, RangeRequest, Store, StoreError, StoreErrorKind, Txn};
use milvus_meta::keys::KeyRange;

mod majority;
mod tls;

use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, Settings, own_root, shared};

/// A loopback address without a listener.
fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn refused(options: &Options) -> StoreError {
    let started = Instant::now();
    let error = EtcdStore::connect(options).await.err().expect("connected");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "the error came too late"
    );
    error
}

/// Writes and reads one key.
async fn put_and_get(store: &EtcdStore, root: &str) {
    let txn = Txn {
        compares: vec![Compare::Absent(KeyRange::prefix(format!("{root}/")))],
        ops: vec![Op::put(format!("{root}/k"), "v")],
    };
    assert!(store.txn(txn).await.unwrap().succeeded);
    let read = store.range(RangeRequest::key(format!("{root}/k"))).await;
    assert_eq!(read.unwrap().entries[0].value, "v");
}

#[tokio::test]
async fn d26_an_unreachable_endpoint_is_named_within_seconds() {
    let dead = dead_address();
    let error = refused(&Options::for_endpoint(&dead)).await;
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert_eq!(error.applied, Applied::No);
    assert!(error.message.contains(&dead), "{}", error.message);
    assert!(error.message.contains("refused"), "{}", error.message);
}

#[tokio::test]
async fn d26_an_unknown_host_is_named() {
    let error = refused(&Options::for_endpoint("no-such-host.invalid:2379")).await;
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert!(
        error.message.contains("no-such-host.invalid"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn d26_a_silent_port_is_named_within_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options = Options {
        connect_timeout: Duration::from_millis(500),
        ..Options::for_endpoint(&address)
    };
    let error = refused(&options).await;
    assert_eq!(error.kind, StoreErrorKind::Timeout);
    assert!(error.message.contains(&address), "{}", error.message);
}

#[tokio::test]
async fn d26_all_unreachable_endpoints_are_reported() {
    let (one, other) = (dead_address(), dead_address());
    let options = Options {
        endpoints: vec![one.clone(), other.clone()],
        ..Options::default()
    };
    let message = refused(&options).await.message;
    assert!(
        message.contains(&one) && message.contains(&other),
        "{message}"
    );
}

#[tokio::test]
async fn a_dead_endpoint_next_to_a_live_one_is_harmless() {
    let (dead, good) = (dead_address(), shared().address().to_owned());
    for endpoints in [[dead.clone(), good.clone()], [good, dead.clone()]] {
        let options = Options {
            endpoints: endpoints.to_vec(),
            ..Options::default()
        };
        let store = EtcdStore::connect(&options).await.unwrap();
        put_and_get(&store, &own_root()).await;
        let status = store.status().await.unwrap();
        assert_eq!(status.members.len(), 1);
        assert_eq!(status.unreachable.len(), 1);
        assert!(status.unreachable[0].0.contains(&dead));
        assert!(status.unreachable[0].1.contains("refused"));
    }
}

#[tokio::test]
async fn endpoints_work_with_and_without_a_scheme() {
    for endpoint in [shared().address(), shared().endpoint()] {
        let store = EtcdStore::connect(&Options::for_endpoint(endpoint))
            .await
            .unwrap();
        put_and_get(&store, &own_root()).await;
    }
}

#[tokio::test]
async fn d21_the_configured_request_timeout_applies() {
    let mut etcd = Etcd::start(Settings::default());
    let options = Options {
        request_timeout: Duration::from_millis(700),
        ..Options::for_endpoint(etcd.endpoint())
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    put_and_get(&store, "root").await;
    etcd.stop();
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![Op::put("root/k", "w")],
    };
    let started = Instant::now();
    let error = store.txn(txn).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::Timeout, Applied::Unknown)
    );
    let error = store.range(RangeRequest::key("root/k")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout);
    let taken = started.elapsed();
    assert!(taken >= Duration::from_millis(1400), "{taken:?}");
    assert!(taken < Duration::from_secs(8), "{taken:?}");
    assert!(error.message.contains(etcd.address()), "{}", error.message);
    etcd.resume();
    store.range(RangeRequest::key("root/k")).await.unwrap();
}

const PASSWORD: &str = "correct-horse-battery";

/// A server with users: root, and `milvus`, which has all rights below `by-dev/` and no others.
async fn with_users(settings: Settings) -> Etcd {
    let etcd = Etcd::start(settings);
    let client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    let mut auth = client.auth_client();
    auth.user_add("root", PASSWORD, None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("below-by-dev").await.unwrap();
    let permission = etcd_client::Permission::read_write("by-dev/").with_prefix();
    auth.role_grant_permission("below-by-dev", permission)
        .await
        .unwrap();
    auth.user_add("milvus", PASSWORD, None).await.unwrap();
    auth.user_grant_role("milvus", "below-by-dev")
        .await
        .unwrap();
    auth.auth_enable().await.unwrap();
    etcd
}

fn as_user(etcd: &Etcd, user: &str, password: &str) -> Options {
    Options {
        user: Some(user.to_owned()),
        password: Some(Password::new(password)),
        ..Options::for_endpoint(etcd.endpoint())
    }
}

#[tokio::test]
async fn d24_a_limited_user_works_below_the_root_path() {
    let etcd = with_users(Settings::default()).await;
    let store = EtcdStore::connect(&as_user(&etcd, "milvus", PASSWORD))
        .await
        .unwrap();
    put_and_get(&store, "by-dev").await;
    let outside = store.range(RangeRequest::key("health")).await.unwrap_err();
    assert_eq!(outside.kind, StoreErrorKind::Denied);
    let outside = KeyRange::prefix("other/");
    let wait = store.wait_for_change(outside, 1);
    let wait = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert_eq!(wait.unwrap().unwrap_err().kind, StoreErrorKind::Denied);

    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let lock = Txn {
        compares: vec![Compare::CreateRevision(b"by-dev/lock".to_vec(), 0)],
        ops: vec![Op::Put {
            key: Bytes::from_static(b"by-dev/lock"),
            value: Bytes::new(),
            lease,
        }],
    };
    let locked = store.txn(lock).await.unwrap();
    assert!(store.lease_keep_alive(lease).await.unwrap());
    assert!(store.lease_remaining(lease).await.unwrap().is_some());
    store.lease_revoke(lease).await.unwrap();
    let range = KeyRange::prefix("by-dev/");
    let wait = store.wait_for_change(range, locked.revision);
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap()
        .unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.members.len(), 1);
    assert!(status.unreachable.is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_not_in_the_error() {
    let etcd = with_users(Settings::default()).await;
    let error = refused(&as_user(&etcd, "milvus", "not-the-password")).await;
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(
        error.message.contains("authentication failed"),
        "{}",
        error.message
    );
    assert!(!format!("{error:?} {error}").contains("not-the-password"));
}

#[tokio::test]
async fn a_server_with_users_requires_a_login() {
    let etcd = with_users(Settings::default()).await;
    let store = etcd.connect().await;
    let error = store
        .range(RangeRequest::key("by-dev/k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
}

#[tokio::test]
async fn a_login_lost_by_the_server_is_repeated() {
    let mut etcd = with_users(Settings::default()).await;
    let store = EtcdStore::connect(&as_user(&etcd, "milvus", PASSWORD))
        .await
        .unwrap();
    put_and_get(&store, "by-dev").await;
    // Some releases keep logins only in memory.
    etcd.restart();
    let read = RangeRequest::key("by-dev/k");
    assert_eq!(store.range(read).await.unwrap().count, 1);
}

#[tokio::test]
async fn an_outdated_login_is_repeated() {
    let files = Certificates::new(&["127.0.0.1"]);
    let keys = [files.path("server.pem"), files.path("server.key")];
    let keys = keys.map(|path| path.display().to_string());
    let etcd = with_users(Settings {
        arguments: vec![format!(
            "--auth-token=jwt,pub-key={},priv-key={},sign-method=ES256,ttl=10m",
            keys[0], keys[1]
        )],
        ..Settings::default()
    })
    .await;
    let store = EtcdStore::connect(&as_user(&etcd, "milvus", PASSWORD))
        .await
        .unwrap();
    put_and_get(&store, "by-dev").await;
    let root = etcd_client::ConnectOptions::new().with_user("root", PASSWORD);
    let client = etcd_client::Client::connect([etcd.endpoint()], Some(root))
        .await
        .unwrap();
    let mut auth = client.auth_client();
    auth.user_add("other", PASSWORD, None).await.unwrap();
    let read = RangeRequest::key("by-dev/k");
    assert_eq!(store.range(read).await.unwrap().count, 1);
    let txn = Txn {
        compares: vec![],
        ops: vec![Op::put("by-dev/k", "w")],
    };
    assert!(store.txn(txn).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_server_without_users_ignores_the_login() {
    let store = EtcdStore::connect(&as_user(shared(), "milvus", PASSWORD))
        .await
        .unwrap();
    put_and_get(&store, &own_root()).await;
}

#[tokio::test]
async fn server_limits_are_reported_as_limits() {
    let etcd = Etcd::start(Settings {
        max_txn_ops: Some(4),
        max_request_bytes: Some(10_000),
        ..Settings::default()
    });
    let store = etcd.connect().await;
    let puts = |count: usize, value: usize| Txn {
        compares: Vec::new(),
        ops: (0..count)
            .map(|key| Op::put(format!("k{key}"), vec![b'x'; value]))
            .collect(),
    };
    let error = store.txn(puts(5, 1)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::TooManyOps, Applied::No)
    );
    let error = store.txn(puts(4, 5000)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::TooLarge, Applied::No)
    );
    let error = store.txn(puts(1, 2_000_000)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.applied),
        (StoreErrorKind::TooLarge, Applied::No)
    );
    assert!(store.txn(puts(4, 1000)).await.unwrap().succeeded);
}
