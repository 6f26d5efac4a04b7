//! One connection to one member.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError, StatusResponse};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

use super::FIRST_PAUSE;
use super::diagnosis::diagnose;
use super::error::{failure, is_login_unknown, is_stale_login};
use super::kv::Kv;
use super::options::{Login, Options};
use super::tls::TlsSetup;
use crate::{Applied, ConnectProblem, StoreError, StoreErrorKind};

/// Interval of keep-alive pings while requests are in flight. By default, etcd closes connections
/// that send pings more often than every five seconds (`--grpc-keepalive-min-time`).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// The clients that share a connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) kv: Kv,
}

impl Connection {
    /// Logs in again after the server changed its users or invalidated the token.
    async fn log_in(&self) -> Result<(), EtcdError> {
        self.client.refresh_token().await?;
        self.kv.log_in(&self.client).await
    }
}

/// One member of the cluster. Connects when it is first used.
pub(super) struct Member {
    pub(super) endpoint: String,
    channel_endpoint: Endpoint,
    tls: Option<TlsSetup>,
    login: Option<Login>,
    connection: OnceCell<Connection>,
}

impl Member {
    /// Creates a member. `endpoint` must have a scheme and a port.
    pub(super) fn new(
        endpoint: String,
        options: &Options,
        tls: Option<TlsSetup>,
        login: Option<Login>,
    ) -> Result<Self, StoreError> {
        let unusable = |error: tonic::transport::Error| {
            let message = format!("the endpoint {endpoint} cannot be used: {error}");
            StoreError::not_applied(StoreErrorKind::Other, message)
        };
        let tls = tls.filter(|_| endpoint.starts_with("https://"));
        let mut channel_endpoint = Endpoint::from_shared(endpoint.clone())
            .map_err(unusable)?
            .connect_timeout(options.connect_timeout)
            .tcp_keepalive(Some(KEEP_ALIVE_INTERVAL))
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(false);
        if let Some(tls) = &tls {
            channel_endpoint = tls.apply(channel_endpoint).map_err(unusable)?;
        }
        Ok(Self {
            endpoint,
            channel_endpoint,
            tls,
            login,
            connection: OnceCell::new(),
        })
    }

    /// Sends one request and waits at most `limit` for the reply.
    pub(super) async fn send<R, Sent>(
        &self,
        limit: Duration,
        request: &(impl Fn(Connection) -> Sent + Send + Sync),
    ) -> Result<R, StoreError>
    where
        R: Send,
        Sent: Future<Output = Result<R, EtcdError>> + Send,
    {
        // Login changes nothing, so a failure before the request is sent was not applied.
        let connection = match timeout(limit, self.connection()).await {
            Ok(connection) => connection.map_err(|error| StoreError {
                applied: Applied::No,
                ..failure(&self.endpoint, &error)
            })?,
            Err(_) => {
                return Err(StoreError {
                    applied: Applied::No,
                    ..self.no_reply(limit)
                });
            }
        };
        let sent = timeout(limit, async {
            match request(connection.clone()).await {
                Err(error) if is_stale_login(&error) => {
                    connection.log_in().await?;
                    request(connection.clone()).await
                }
                result => result,
            }
        });
        match sent.await {
            Ok(result) => result.map_err(|error| failure(&self.endpoint, &error)),
            Err(_) => Err(self.no_reply(limit)),
        }
    }

    pub(super) async fn status(&self, limit: Duration) -> Result<StatusResponse, StoreError> {
        self.send(limit, &|connection: Connection| async move {
            connection.client.maintenance_client().status().await
        })
        .await
    }

    /// Checks that the member can serve requests; retries while it has no leader.
    pub(super) async fn probe(&self, limit: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + limit;
        let mut earlier = None;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let error = match self.status(remaining).await {
                Ok(status) if status.is_learner() => {
                    return Err(self.not_serving(ConnectProblem::Learner));
                }
                Ok(status) if status.leader() == 0 => self.not_serving(ConnectProblem::NoLeader),
                Ok(_) => return Ok(()),
                // A timeout of the last, shortened attempt says nothing about the member.
                Err(error) if error.problems.contains(&ConnectProblem::Silent) => {
                    earlier.take().unwrap_or(error)
                }
                Err(error) => error,
            };
            let may_retry = error.kind == StoreErrorKind::Timeout;
            if !may_retry || Instant::now() + FIRST_PAUSE >= deadline {
                return Err(error);
            }
            earlier = Some(error);
            sleep(FIRST_PAUSE).await;
        }
    }

    /// Adds the cause of a failed connection to the error, if it can be determined.
    pub(super) async fn diagnosed(&self, error: StoreError, limit: Duration) -> StoreError {
        if !error.problems.is_empty() || error.kind != StoreErrorKind::Unreachable {
            return error;
        }
        let found = diagnose(&self.endpoint, self.tls.as_ref(), limit).await;
        let Some((problem, reason)) = found else {
            return error.because(ConnectProblem::NotEtcd);
        };
        StoreError {
            message: format!("etcd at {}: {reason}", self.endpoint),
            ..error
        }
        .because(problem)
    }

    /// Returns the error of a member that responds but cannot serve requests.
    fn not_serving(&self, problem: ConnectProblem) -> StoreError {
        let (kind, reason) = if problem == ConnectProblem::Learner {
            let reason = "the member is a learner: it does not serve requests yet";
            (StoreErrorKind::Other, reason)
        } else {
            let reason = "the member has no leader: most members of the cluster are down or cannot be reached";
            (StoreErrorKind::Timeout, reason)
        };
        StoreError::not_applied(kind, format!("etcd at {}: {reason}", self.endpoint))
            .because(problem)
    }

    /// Returns the error of a member that did not reply within `limit`.
    pub(super) fn no_reply(&self, limit: Duration) -> StoreError {
        // The rest of a deadline can be a nanosecond short of the configured timeout.
        let seconds = (limit.as_secs_f64() * 10.0).round() / 10.0;
        StoreError::unknown(
            StoreErrorKind::Timeout,
            format!("etcd at {}: no answer within {seconds} s", self.endpoint),
        )
        .because(ConnectProblem::Silent)
    }

    async fn connection(&self) -> Result<&Connection, EtcdError> {
        self.connection
            .get_or_try_init(async || self.connect().await)
            .await
    }

    /// Connects and logs in if a user is configured. Continues without login if etcd has no users.
    async fn connect(&self) -> Result<Connection, EtcdError> {
        if let Some(login) = &self.login {
            match self.connect_as(Some(login)).await {
                Err(error) if is_login_unknown(&error) => {
                    tracing::debug!(
                        endpoint = self.endpoint,
                        "authentication is not enabled in etcd: continuing without login"
                    );
                }
                connection => return connection,
            }
        }
        self.connect_as(None).await
    }

    async fn connect_as(&self, login: Option<&Login>) -> Result<Connection, EtcdError> {
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(login) = login {
            options = options.with_user(&login.user, login.password.expose());
        }
        let channel = self.channel_endpoint.connect_lazy();
        let client = Client::from_channel(Channel::Tonic(channel.clone()), Some(options)).await?;
        let kv = Kv::new(channel, &client, login.cloned()).await?;
        Ok(Connection { client, kv })
    }
}
