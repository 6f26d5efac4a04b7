//! The store backed by a real etcd; the only module that uses the etcd client.
//!
//! Each endpoint has its own connection, and one endpoint is in use at a time. If a request fails
//! in a way that another member might not, the next endpoint is used from then on: at once for the
//! same request if that cannot apply a write twice, else from the next request. Every request has a
//! timeout. Connections are tested with status requests, never with reads, because status needs no
//! permission on any key.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::CompactionOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{
    Applied, ClusterStatus, Op, RangeRequest, RangeResponse, Store, StoreError, StoreErrorKind,
    Txn, TxnResponse,
};
use milvus_meta::keys::KeyRange;

mod connection;
mod diagnosis;
mod error;
mod kv;
mod message;
mod metrics;
mod options;
mod request;
mod status;
mod tls;
mod watch;

pub use options::{Options, Password};
pub use tls::Tls;
pub use tls::{IdentityProblem, certificates, check_identity};

use connection::{Connection, Member};
use error::is_lease_gone;
use metrics::Metrics;

/// Compaction and defragmentation take time in proportion to the size of the database.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_secs(600);

/// A hanging renewal must leave time to try another member before the lease expires.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// Pause between two rounds over all endpoints; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection to an etcd cluster.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Arc<Member>>,
    metrics: Metrics,
    current: AtomicUsize,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// Whether to send a request again after an unknown outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Yes: it writes nothing, or the same again.
    Safe,
    /// Only if it certainly was not applied.
    NotApplied,
}

impl EtcdStore {
    /// Connects to all endpoints in parallel and uses the first that responds.
    ///
    /// # Errors
    /// Within twice the connect timeout: if the options are invalid, a certificate file is
    /// unusable, no member can serve requests (the message has the reason for each), or the login
    /// fails.
    pub async fn connect(options: &Options) -> Result<Self, StoreError> {
        let endpoints = options.endpoints()?;
        let tls = options.tls()?;
        let login = options.login()?;
        let members = endpoints
            .into_iter()
            .map(|endpoint| Member::new(endpoint, options, tls.clone(), login.clone()))
            .map(|member| member.map(Arc::new))
            .collect::<Result<_, _>>()?;
        let store = Self {
            inner: Arc::new(Inner {
                members,
                metrics: Metrics::new(tls),
                current: AtomicUsize::new(0),
                connect_timeout: options.connect_timeout,
                request_timeout: options.request_timeout,
            }),
        };
        store.connect_to_any().await?;
        Ok(store)
    }

    /// Returns the endpoints as messages name them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.inner.members.iter();
        members.map(|member| member.endpoint.clone()).collect()
    }

    fn member(&self, endpoint: &str) -> Result<&Member, StoreError> {
        let mut members = self.inner.members.iter();
        match members.find(|member| member.endpoint == endpoint) {
            Some(member) => Ok(member),
            None => Err(StoreError::not_applied(
                StoreErrorKind::Other,
                format!("{endpoint} is not one of the endpoints"),
            )),
        }
    }

    async fn connect_to_any(&self) -> Result<(), StoreError> {
        let mut probes = JoinSet::new();
        for (index, member) in self.inner.members.iter().cloned().enumerate() {
            let limit = self.inner.connect_timeout;
            probes.spawn(async move {
                let probed = match member.probe(limit).await {
                    Err(error) => Err(member.diagnosed(error, limit).await),
                    reached => reached,
                };
                (index, probed)
            });
        }
        let mut errors = Vec::new();
        while let Some(probe) = probes.join_next().await {
            match probe {
                Ok((index, Ok(()))) => {
                    self.inner.current.store(index, Ordering::Relaxed);
                    return Ok(());
                }
                Ok((index, Err(error))) => errors.push((index, error)),
                Err(error) => tracing::debug!(%error, "the probe of an endpoint was aborted"),
            }
        }
        errors.sort_by_key(|(index, _)| *index);
        Err(join_errors(errors.into_iter().map(|(_, error)| error)))
    }

    /// Sends a request to the member in use and, if that may help, to the next ones. It repeats
    /// rounds over all members while the cluster elects a leader, for at most `limit` per member.
    async fn call<R, Sent>(
        &self,
        repeat: Repeat,
        limit: Duration,
        request: impl Fn(Connection) -> Sent + Send + Sync,
    ) -> Result<R, StoreError>
    where
        R: Send,
        Sent: Future<Output = Result<R, etcd_client::Error>> + Send,
    {
        let time_limit = limit * u32::try_from(self.inner.members.len()).unwrap_or(u32::MAX);
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut errors = Vec::new();
            // Concurrent requests switch the member in use, so each request keeps its own order and
            // skips none.
            let (first, _) = self.member_in_use();
            for offset in 0..self.inner.members.len() {
                let index = (first + offset) % self.inner.members.len();
                let member = &self.inner.members[index];
                let error = match member.send(limit, &request).await {
                    Ok(response) => return Ok(response),
                    Err(error) => error,
                };
                if error.is_transient() {
                    self.switch_member(index);
                }
                let may_repeat = repeat == Repeat::Safe || error.applied == Applied::No;
                if !(error.is_transient() && may_repeat) {
                    return Err(error);
                }
                errors.push(error);
            }
            if started.elapsed() + pause > time_limit {
                return Err(join_errors(errors));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn member_in_use(&self) -> (usize, &Member) {
        let index = self.inner.current.load(Ordering::Relaxed) % self.inner.members.len();
        (index, &self.inner.members[index])
    }

    /// Switches to the next endpoint, unless a concurrent request already did.
    fn switch_member(&self, index: usize) {
        let next = (index + 1) % self.inner.members.len();
        let switched =
            self.inner
                .current
                .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        if switched.is_ok() && next != index {
            tracing::debug!(
                from = self.inner.members[index].endpoint,
                to = self.inner.members[next].endpoint,
                "switching to another endpoint"
            );
        }
    }
}

/// One error for all endpoints, with each cause once.
fn join_errors(errors: impl IntoIterator<Item = StoreError>) -> StoreError {
    let mut joined: Option<StoreError> = None;
    for error in errors {
        match &mut joined {
            None => joined = Some(error),
            Some(joined) => {
                joined.message = format!("{}; {}", joined.message, error.message);
                if error.kind == StoreErrorKind::Denied {
                    joined.kind = error.kind;
                }
                if error.applied == Applied::Unknown {
                    joined.applied = error.applied;
                }
                error.problems.into_iter().for_each(|it| joined.add(it));
            }
        }
    }
    joined.unwrap_or_else(|| StoreError::not_applied(StoreErrorKind::Unreachable, "no endpoint"))
}

impl Store for EtcdStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let request = request::range(&request);
        let limit = self.inner.request_timeout;
        let reply = self
            .call(Repeat::Safe, limit, |connection| {
                let request = request.clone();
                async move { connection.kv.range(request).await }
            })
            .await
            .map_err(nothing_applied)?;
        Ok(request::range_response(reply))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let puts = txn.ops.iter().any(|op| matches!(op, Op::Put { .. }));
        let txn = request::txn(txn);
        let limit = self.inner.request_timeout;
        let reply = self
            .call(Repeat::NotApplied, limit, |connection| {
                let txn = txn.clone();
                async move { connection.kv.txn(txn).await }
            })
            .await?;
        let deleted = request::deleted(&reply);
        Ok(TxnResponse {
            succeeded: reply.succeeded,
            wrote: reply.succeeded && (puts || deleted > 0),
            deleted,
            revision: reply.header.map_or(0, |header| header.revision),
        })
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        let seconds = request::lease_seconds(ttl);
        // Granting twice is harmless: the unused lease expires.
        let response = self
            .call(Repeat::Safe, self.inner.request_timeout, |connection| {
                async move { connection.client.lease_client().grant(seconds, None).await }
            })
            .await?;
        Ok(response.id())
    }

    async fn lease_keep_alive(&self, lease: i64) -> Result<bool, StoreError> {
        let limit = self.inner.request_timeout.min(KEEP_ALIVE_TIMEOUT);
        self.call(Repeat::Safe, limit, |connection| async move {
            match connection.client.lease_client().keep_alive(lease).await {
                Ok(_) => Ok(true),
                Err(error) if is_lease_gone(&error) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn lease_revoke(&self, lease: i64) -> Result<(), StoreError> {
        self.call(
            Repeat::Safe,
            self.inner.request_timeout,
            |connection| async move {
                match connection.client.lease_client().revoke(lease).await {
                    Ok(_) => Ok(()),
                    Err(error) if is_lease_gone(&error) => Ok(()),
                    Err(error) => Err(error),
                }
            },
        )
        .await
    }

    async fn lease_remaining(&self, lease: i64) -> Result<Option<Duration>, StoreError> {
        let response = self
            .call(
                Repeat::Safe,
                self.inner.request_timeout,
                |connection| async move {
                    let mut leases = connection.client.lease_client();
                    leases.time_to_live(lease, None).await
                },
            )
            .await
            .map_err(nothing_applied)?;
        // etcd reports -1 for a lease that does not exist.
        Ok(u64::try_from(response.ttl()).ok().map(Duration::from_secs))
    }

    async fn wait_for_change(&self, range: KeyRange, revision: i64) -> Result<(), StoreError> {
        self.watch(&range, revision).await
    }

    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        self.cluster_status().await
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        let compacted = self
            .call(Repeat::Safe, MAINTENANCE_TIMEOUT, |connection| async move {
                let options = CompactionOptions::new().with_physical();
                let mut kv = connection.client.kv_client();
                kv.compact(revision, Some(options)).await
            })
            .await;
        match compacted {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::Compacted => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn defragment(&self, endpoint: &str) -> Result<(), StoreError> {
        let member = self.member(endpoint)?;
        member
            .send(MAINTENANCE_TIMEOUT, &|connection: Connection| async move {
                connection.client.maintenance_client().defragment().await
            })
            .await?;
        Ok(())
    }
}

/// Marks an error as not applied, because a failed read changes nothing.
fn nothing_applied(error: StoreError) -> StoreError {
    StoreError {
        applied: Applied::No,
        ..error
    }
}
