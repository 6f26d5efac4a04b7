//! The timeout of a request, and retries of requests that may be sent twice.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Client;
use super::error::{ClientError, REQUEST_TIMEOUT};

/// How long the server may be silent before that is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// Attempts at a request that did not reach the server.
const TRIES: u32 = 4;
/// Pause before a retry, multiplied by the number of attempts.
const PAUSE: Duration = Duration::from_millis(500);

async fn with_timeout<T>(
    server: &Arc<str>,
    action: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClientError> {
    let mut request = pin!(request);
    let mut answer = timeout(REPORT_AFTER, &mut request).await;
    if answer.is_err() {
        let seconds = REPORT_AFTER.as_secs();
        tracing::warn!(action, "the API server does not answer for {seconds} s");
        answer = timeout(REQUEST_TIMEOUT - REPORT_AFTER, request).await;
    }
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(ClientError::Request {
            action: action.to_owned(),
            cause: Box::new(cause),
            server: server.clone(),
        }),
        Err(_) => Err(ClientError::TimedOut {
            action: action.to_owned(),
            server: server.clone(),
        }),
    }
}

impl Client {
    pub(super) async fn once<T>(
        &self,
        action: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClientError> {
        with_timeout(&self.server, action, request).await
    }

    /// Sends a request that may be sent twice, and retries it after transient errors.
    pub(super) async fn retry<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        request: impl Fn() -> F,
    ) -> Result<T, ClientError> {
        let mut tried = 1;
        loop {
            match self.once(action, request()).await {
                Err(error) if error.is_transient() && tried < TRIES => {
                    tracing::debug!(action, tried, %error, "trying again");
                    tokio::time::sleep(PAUSE * tried).await;
                    tried += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;

    /// A log that a test reads.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_api_server_is_reported_after_five_seconds() {
        let log = Log::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let begun = Instant::now();
        let server = Arc::from("https://localhost:6443, kubeconfig k");
        let mut request = Box::pin(with_timeout(
            &server,
            "list Jobs",
            pending::<Result<(), kube::Error>>(),
        ));
        assert!(
            timeout(Duration::from_millis(4900), &mut request)
                .await
                .is_err()
        );
        assert_eq!(log.text(), "");
        assert!(
            timeout(Duration::from_millis(200), &mut request)
                .await
                .is_err()
        );
        assert!(
            log.text().contains("does not answer for 5 s"),
            "{}",
            log.text()
        );
        let error = request.await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
        assert_eq!(
            error.to_string(),
            "failed to list Jobs: no answer within 30 s (https://localhost:6443, kubeconfig k)"
        );
        assert_eq!(log.text().lines().count(), 1, "once for each request");
    }
}
