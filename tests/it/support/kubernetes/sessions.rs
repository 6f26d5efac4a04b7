//! The keys of Milvus in etcd: metadata, and the sessions of running components.

use std::time::Duration;

use etcd_client::{Client, GetOptions, PutOptions};
use milvus_meta::entry::Entry;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;

use crate::support::dump::read_dump;
use crate::support::migration::is_history;

/// Longer than any test; a clean stop revokes the lease.
const SESSION_TTL_S: i64 = 900;

/// The etcd of one Milvus instance with a separate root path.
#[derive(Clone)]
pub(crate) struct Metadata {
    client: Client,
    root: String,
}

/// A registered component.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    lease: i64,
    keys: Vec<(String, String)>,
}

impl Metadata {
    pub(crate) async fn connect(address: &str, root: &str) -> Self {
        let client = Client::connect([address], None).await.unwrap();
        Self::with(client, root)
    }

    pub(crate) fn with(client: Client, root: &str) -> Self {
        let root = root.to_owned();
        Self { client, root }
    }

    /// Writes the metadata of a Milvus 2.1.4, without sessions.
    pub(crate) async fn load(&self, dump: &str) {
        let mut client = self.client.clone();
        for entry in read_dump(dump).into_iter().filter(|entry| entry.lease == 0) {
            let key = String::from_utf8(entry.key.into()).unwrap();
            let key = key.replacen("by-dev", &self.root, 1);
            client.put(key, entry.value, None).await.unwrap();
        }
    }

    /// Puts a key of the metadata.
    pub(crate) async fn put(&self, key: &str, value: &[u8]) {
        let mut client = self.client.clone();
        let key = format!("{}/meta/{key}", self.root);
        client.put(key, value, None).await.unwrap();
    }

    /// All keys and values below the root path without a lease, except the history.
    pub(crate) async fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let mut client = self.client.clone();
        let options = GetOptions::new().with_prefix();
        let found = client.get(format!("{}/", self.root), Some(options)).await;
        let found = found.unwrap();
        let kept = found.kvs().iter().filter(|pair| pair.lease() == 0);
        let kept = kept.filter(|pair| !is_history(pair.key()));
        kept.map(|pair| (pair.key_str().unwrap().to_owned(), pair.value().to_vec()))
            .collect()
    }

    /// The layout that the keys show.
    pub(crate) async fn layout(&self) -> Layout {
        let root = MetaRoot::new(&self.root, "meta", "kv").unwrap();
        let mut detector = LayoutDetector::new(root);
        for (key, value) in self.dump().await {
            detector.push(&Entry::new(key, value));
        }
        detector.layout()
    }

    /// The roles with a session.
    pub(crate) async fn session_keys(&self) -> Vec<String> {
        let mut client = self.client.clone();
        let options = GetOptions::new().with_prefix().with_keys_only();
        let found = client
            .get(format!("{}/meta/session/", self.root), Some(options))
            .await;
        let found = found.unwrap();
        let leased = found.kvs().iter().filter(|pair| pair.lease() != 0);
        leased
            .map(|pair| pair.key_str().unwrap().to_owned())
            .collect()
    }

    /// Registers the roles of a component, as Milvus does.
    pub(crate) async fn register(&self, component: &str, server_id: u64) -> Session {
        let keys = roles(component).into_iter().map(|role| {
            let name = if role.ends_with("coord") {
                role.to_owned()
            } else {
                format!("{role}-{server_id}")
            };
            let value = serde_json::json!({
                "ServerID": server_id, "ServerName": role, "Address": "10.0.0.1:53100",
                "Exclusive": role.ends_with("coord"), "TriggerKill": true,
            });
            (
                format!("{}/meta/session/{name}", self.root),
                value.to_string(),
            )
        });
        let mut session = Session {
            lease: 0,
            keys: keys.collect(),
        };
        session.lease = self.attach(&session, SESSION_TTL_S).await;
        session
    }

    /// Removes the session, as a clean stop does.
    pub(crate) async fn revoke(&self, session: &Session) {
        let mut client = self.client.clone();
        // It may have expired.
        let _ = client.lease_revoke(session.lease).await;
    }

    /// Stops renewing the lease, as after a kill.
    pub(crate) async fn abandon(&self, session: &Session, ttl: Duration) {
        let ttl_s = i64::try_from(ttl.as_secs()).unwrap().max(1);
        self.attach(session, ttl_s).await;
        self.revoke(session).await;
    }

    async fn attach(&self, session: &Session, ttl_s: i64) -> i64 {
        let mut client = self.client.clone();
        let lease = client.lease_grant(ttl_s, None).await.unwrap().id();
        for (key, value) in &session.keys {
            let options = PutOptions::new().with_lease(lease);
            client
                .put(key.as_str(), value.as_str(), Some(options))
                .await
                .unwrap();
        }
        lease
    }
}

fn roles(component: &str) -> Vec<&str> {
    match component {
        "standalone" => vec![
            "rootcoord",
            "querycoord",
            "indexcoord",
            "datacoord",
            "proxy",
            "querynode",
            "indexnode",
            "datanode",
        ],
        "mixcoord" => vec!["rootcoord", "querycoord", "indexcoord", "datacoord"],
        single => vec![single],
    }
}
