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

/// A connection with requests in flight is tested this often. An etcd closes connections that are
/// tested more often than every five seconds (`--grpc-keepalive-min-time`).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// What a request is sent with.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) kv: Kv,
}

impl Connection {
    /// Logs in again, because the server has changed its users or forgotten the login.
    async fn log_in(&self) -> Result<(), EtcdError> {
        self.client.refresh_token().await?;
        self.kv.log_in(&self.client).await
    }
}

/// One member of the cluster, connected to when it is first needed.
pub(super) struct Member {
    pub(super) endpoint: String,
    channel_endpoint: Endpoint,
    tls: Option<TlsSetup>,
    login: Option<Login>,
    connection: OnceCell<Connection>,
}

impl Member {
    /// A member at an endpoint that has a scheme and a port.
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

    /// Sends one request and waits for its reply no longer than `limit`.
    pub(super) async fn send<R, Sent>(
        &self,
        limit: Duration,
        request: &(impl Fn(Connection) -> Sent + Send + Sync),
    ) -> Result<R, StoreError>
    where
        R: Send,
        Sent: Future<Output = Result<R, EtcdError>> + Send,
    {
        // Logging in changes nothing: a failure before the request is sent is certain.
        let connection = match timeout(limit, self.connection()).await {
            Ok(connection) => connection.map_err(|error| StoreError {
                applied: Applied::No,
                ..failure(&self.endpoint, &error)
            })?,
            Err(_) => {
                return Err(StoreError {
                    applied: Applied::No,
                    ..self.silent(limit)
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
            Err(_) => Err(self.silent(limit)),
        }
    }

    pub(super) async fn status(&self, limit: Duration) -> Result<StatusResponse, StoreError> {
        self.send(limit, &|connection: Connection| async move {
            connection.client.maintenance_client().status().await
        })
        .await
    }

    /// Asks whether the member can serve requests, and again while it has no leader.
    pub(super) async fn probe(&self, limit: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + limit;
        let mut earlier = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.status(left).await {
                Ok(status) if status.is_learner() => {
                    return Err(self.unfit(ConnectProblem::Learner));
                }
                Ok(status) if status.leader() == 0 => self.unfit(ConnectProblem::NoLeader),
                Ok(_) => return Ok(()),
                // What was left of the time says nothing about the member.
                Err(error) if error.problems.contains(&ConnectProblem::Silent) => {
                    earlier.take().unwrap_or(error)
                }
                Err(error) => error,
            };
            let waits = error.kind == StoreErrorKind::Timeout;
            if !waits || Instant::now() + FIRST_PAUSE >= deadline {
                return Err(error);
            }
            earlier = Some(error);
            sleep(FIRST_PAUSE).await;
        }
    }

    /// Why a connection does not come up: the failure with its cause, where one can be found.
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

    /// The member answers, but not with metadata.
    fn unfit(&self, problem: ConnectProblem) -> StoreError {
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

    /// No reply in time.
    pub(super) fn silent(&self, limit: Duration) -> StoreError {
        StoreError::unknown(
            StoreErrorKind::Timeout,
            format!("etcd at {}: no answer within {limit:?}", self.endpoint),
        )
        .because(ConnectProblem::Silent)
    }

    async fn connection(&self) -> Result<&Connection, EtcdError> {
        self.connection
            .get_or_try_init(async || self.connect().await)
            .await
    }

    /// Logs in where there is a user. An etcd without users does not mind being given one.
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
