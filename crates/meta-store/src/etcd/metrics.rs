//! The space quota of servers before 3.6, which report it only in their metrics.
//!
//! Best effort: the quota is unknown if the server does not serve metrics at the client port in
//! time.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::diagnosis::host_of;
use super::tls::TlsSetup;

/// The gauge of etcd 3.3 and later.
const QUOTA: &str = "etcd_server_quota_backend_bytes";

/// The metrics of an etcd are about 100 KiB.
const REPLY_BYTES_MAX: usize = 4 << 20;

const TIME_MAX: Duration = Duration::from_secs(3);

type MetricsError = Box<dyn std::error::Error + Send + Sync>;

/// Reads metrics with the TLS settings of the other connections.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    tls: Option<TlsSetup>,
}

impl Metrics {
    pub(super) fn new(tls: Option<TlsSetup>) -> Self {
        Self { tls }
    }

    /// Returns the quota in bytes of the member at `endpoint`, if its metrics contain it.
    pub(super) async fn quota(&self, endpoint: &str) -> Option<u64> {
        let unknown = |reason: MetricsError| {
            tracing::debug!(endpoint, %reason, "the metrics do not contain the quota");
        };
        match timeout(TIME_MAX, self.read(endpoint)).await {
            Ok(Ok(text)) => quota_in(&text),
            Ok(Err(error)) => {
                unknown(error);
                None
            }
            Err(error) => {
                unknown(error.into());
                None
            }
        }
    }

    async fn read(&self, endpoint: &str) -> Result<String, MetricsError> {
        let (scheme, authority) = endpoint.split_once("://").ok_or("no scheme")?;
        let stream = TcpStream::connect(authority).await?;
        if scheme == "http" {
            return get(stream, authority).await;
        }
        let tls = self.tls.as_ref().ok_or("no TLS settings")?;
        let name = ServerName::try_from(tls.server_name(host_of(authority)).to_owned())?;
        let connector = TlsConnector::from(Arc::new(tls.client_config(false)?));
        get(connector.connect(name, stream).await?, authority).await
    }
}

async fn get<S>(stream: S, authority: &str) -> Result<String, MetricsError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends when the sender is dropped.
    let connection = tokio::spawn(connection);
    let request = Request::get("/metrics")
        .header("host", authority)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the server answers {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX);
    let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    connection.abort();
    Ok(text)
}

/// Parses the value of the gauge, a decimal floating point number.
fn quota_in(metrics: &str) -> Option<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(QUOTA))?;
    let value: f64 = line.trim().parse().ok()?;
    // Above 2^53 a floating point number is not exact; no database is that large.
    let known = (1.0..9e15).contains(&value);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and below 2^53, and fractions of a byte are irrelevant"
    )]
    let bytes = value as u64;
    known.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_is_found_among_others() {
        let metrics = "# HELP etcd_server_quota_backend_bytes Current backend storage quota size in bytes.\n\
                       # TYPE etcd_server_quota_backend_bytes gauge\n\
                       etcd_server_quota_backend_bytes 2.147483648e+09\n\
                       etcd_server_read_indexes_failed_total 0\n";
        assert_eq!(quota_in(metrics), Some(2 << 30));
    }

    #[test]
    fn an_invalid_gauge_leaves_the_quota_unknown() {
        for value in ["0", "-1", "NaN", "+Inf", "1e300", "many", ""] {
            assert_eq!(quota_in(&format!("{QUOTA} {value}\n")), None, "{value}");
        }
        assert_eq!(quota_in(""), None);
    }
}
