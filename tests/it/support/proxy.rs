//! A proxy between a client and one etcd that sees each call, so that a test can act at an exact
//! one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

type Body = BoxBody<Bytes, hyper::Error>;

/// The handling of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The transaction and its reply are forwarded.
    Pass,
    /// `act` is called before the transaction and its reply are forwarded.
    Around,
    /// `act` is called, and the transaction is not forwarded.
    Before,
    /// The transaction is forwarded; `act` is called after the reply, which is withheld.
    After,
}

type Decide = dyn Fn(usize) -> Verdict + Send + Sync;
type Act = dyn Fn() + Send + Sync;

/// A proxy on a separate port, which is closed on drop.
pub(crate) struct Proxy {
    endpoint: String,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

struct State {
    upstream: String,
    transactions: AtomicUsize,
    decide: Mutex<Arc<Decide>>,
    act: Mutex<Arc<Act>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy to `address` (`host:port`).
    pub(crate) async fn start(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            upstream: address.to_owned(),
            transactions: AtomicUsize::new(0),
            decide: Mutex::new(Arc::new(|_| Verdict::Pass)),
            act: Mutex::new(Arc::new(|| {})),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self {
            endpoint,
            state,
            accepting,
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Restarts the count of transactions at 1, and calls `decide` for each.
    pub(crate) fn decide(
        &self,
        decide: impl Fn(usize) -> Verdict + Send + Sync + 'static,
        act: impl Fn() + Send + Sync + 'static,
    ) {
        self.state.transactions.store(0, Ordering::SeqCst);
        *self.state.decide.lock().unwrap() = Arc::new(decide);
        *self.state.act.lock().unwrap() = Arc::new(act);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    stream.set_nodelay(true).unwrap();
    let mut preface = [0; 3];
    while let Ok(1..=2) = stream.peek(&mut preface).await {}
    if &preface != b"PRI" {
        // Metrics requests use HTTP/1 and are not forwarded.
        return;
    }
    let Ok(upstream) = TcpStream::connect(&state.upstream).await else {
        return;
    };
    upstream.set_nodelay(true).unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(upstream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let service = service_fn(move |request| forward(request, sender.clone(), Arc::clone(&state)));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn forward(
    request: Request<Incoming>,
    mut upstream: SendRequest<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, Infallible> {
    let verdict = if request.uri().path() == "/etcdserverpb.KV/Txn" {
        let number = state.transactions.fetch_add(1, Ordering::SeqCst) + 1;
        let decide = Arc::clone(&state.decide.lock().unwrap());
        decide(number)
    } else {
        Verdict::Pass
    };
    let act = Arc::clone(&state.act.lock().unwrap());
    match verdict {
        Verdict::Before => {
            act();
            return Ok(broken());
        }
        Verdict::Around => act(),
        Verdict::Pass | Verdict::After => {}
    }
    let Ok(response) = upstream.send_request(request).await else {
        return Ok(broken());
    };
    if verdict == Verdict::After {
        let (_, body) = response.into_parts();
        let _ = body.collect().await;
        act();
        return Ok(broken());
    }
    Ok(response.map(http_body_util::BodyExt::boxed))
}

/// The response for a broken connection: not gRPC.
fn broken() -> Response<Body> {
    let body = Full::new(Bytes::new()).map_err(|never: Infallible| match never {});
    let mut response = Response::new(BoxBody::new(body));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
