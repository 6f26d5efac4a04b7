//! The log endpoint of a kubelet: `GET /containerLogs/<namespace>/<pod>/<container>`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::control_plane::ControlPlane;
use super::process::Places;

/// The log of a container.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) file: PathBuf,
    pub(crate) places: Places,
    /// Whether the log is complete.
    pub(crate) ended: Arc<AtomicBool>,
}

/// The logs by `<namespace>/<pod>/<container>`.
pub(crate) type Logs = Arc<Mutex<BTreeMap<String, Log>>>;

/// Serves `logs` on a free loopback port until the runtime ends; returns the port.
pub(crate) async fn serve(plane: &ControlPlane, logs: Logs) -> u16 {
    let certificate = CertificateDer::from_pem_file(plane.file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(plane.file("server.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, logs) = (acceptor.clone(), logs.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // A disconnected client is not an error.
                    let _ = answer(stream, &logs).await;
                }
            });
        }
    });
    port
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, logs: &Logs) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header).await? <= 2 {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.strip_prefix("/containerLogs/").unwrap_or_default();
    let found = logs.lock().unwrap().get(name).cloned();
    let Some(log) = found else {
        let body = format!("no log of {name}\n");
        let head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: ";
        stream
            .write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())
            .await?;
        return stream.shutdown().await;
    };
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        .await?;
    let asked = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let last_lines = asked("tailLines").and_then(|count| count.parse().ok());
    send(
        &mut stream,
        &log,
        asked("follow") == Some("true"),
        last_lines,
    )
    .await?;
    stream.shutdown().await
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    log: &Log,
    follow: bool,
    last_lines: Option<usize>,
) -> std::io::Result<()> {
    let mut sent = 0;
    if let Some(count) = last_lines {
        let text = log.text().await;
        let tail = text.split_inclusive('\n').rev().take(count);
        sent = text.len() - tail.map(str::len).sum::<usize>();
    }
    loop {
        // Checked before reading, so that the last lines are sent.
        let ended = log.ended.load(Ordering::SeqCst);
        let text = log.text().await;
        if let Some(new) = text.get(sent..).filter(|new| !new.is_empty()) {
            stream.write_all(new.as_bytes()).await?;
            stream.flush().await?;
            sent = text.len();
        }
        if ended || !follow {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Log {
    /// The output of the container, in complete lines until it has ended.
    async fn text(&self) -> String {
        let ended = self.ended.load(Ordering::SeqCst);
        let said = tokio::fs::read(&self.file).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let whole = if ended {
            said.len()
        } else {
            said.rfind('\n').map_or(0, |end| end + 1)
        };
        self.places.inside(&said[..whole])
    }
}
