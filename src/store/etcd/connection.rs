//! One connection to one member.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error as EtcdError, StatusResponse};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::failure::{failure, is_login_unknown, is_stale_login};
use super::kv::{Kv, Sharing};
use super::options::Password;
use crate::store::{Applied, StoreError, StoreErrorKind};

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
    options: ConnectOptions,
    login: Option<Login>,
    connection: OnceCell<Connection>,
}

/// Who logs in.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Password,
}

impl Member {
    pub(super) fn new(endpoint: String, options: ConnectOptions, login: Option<Login>) -> Self {
        Self {
            endpoint,
            options,
            login,
            connection: OnceCell::new(),
        }
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

    /// No reply in time.
    pub(super) fn silent(&self, limit: Duration) -> StoreError {
        StoreError::unknown(
            StoreErrorKind::Timeout,
            format!("etcd at {}: no answer within {limit:?}", self.endpoint),
        )
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
                        "this etcd knows no users: going on without login"
                    );
                }
                connection => return connection,
            }
        }
        self.connect_as(None).await
    }

    async fn connect_as(&self, login: Option<&Login>) -> Result<Connection, EtcdError> {
        let mut options = self.options.clone();
        if let Some(login) = login {
            options = options.with_user(&login.user, login.password.expose());
        }
        let mut channel = None;
        let sharing = Sharing(&mut channel);
        let endpoint = [self.endpoint.as_str()];
        let client =
            Client::connect_with_balanced_channel(endpoint, Some(options), sharing).await?;
        let channel =
            channel.ok_or_else(|| EtcdError::Internal(String::from("no connection was made")))?;
        let kv = Kv::new(channel, &client, login.cloned()).await?;
        Ok(Connection { client, kv })
    }
}
