//! Waiting for a change.

use etcd_client::{WatchOptions, WatchStream};
use tokio::time::sleep;

use super::connection::Connection;
use super::error::{failure, stream_closed};
use super::request::bounds;
use super::{EtcdStore, FIRST_PAUSE, LONGEST_PAUSE, Repeat};
use crate::{StoreError, StoreErrorKind};
use milvus_meta::keys::KeyRange;

impl EtcdStore {
    /// Watches until an event arrives; if a member fails, switches to another one. The caller sets
    /// the timeout; the keep-alive of the connection detects a member that does not answer.
    pub(super) async fn watch(&self, range: &KeyRange, revision: i64) -> Result<(), StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (index, endpoint) = {
                let (index, member) = self.member_in_use();
                (index, member.endpoint.clone())
            };
            let error = match self.open_watch(range, revision).await {
                Ok(stream) => match first_event(&endpoint, stream).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.is_transient() {
                return Err(error);
            }
            tracing::debug!(%error, "watch failed; retrying");
            self.switch_member(index);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn open_watch(&self, range: &KeyRange, revision: i64) -> Result<WatchStream, StoreError> {
        let (start, end) = bounds(range);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(revision + 1);
        let limit = self.inner.request_timeout;
        self.call(Repeat::Safe, limit, |connection: Connection| {
            let (start, options) = (start.clone(), options.clone());
            async move {
                connection
                    .client
                    .watch_client()
                    .watch(start, Some(options))
                    .await
            }
        })
        .await
    }
}

/// Waits for the first event. A compacted revision counts as one, because changes since are
/// unknown.
async fn first_event(endpoint: &str, mut stream: WatchStream) -> Result<(), StoreError> {
    loop {
        match stream.message().await {
            Ok(Some(response)) if response.compact_revision() > 0 => return Ok(()),
            Ok(Some(response)) if response.canceled() => {
                return Err(stream_closed(endpoint, response.cancel_reason()));
            }
            Ok(Some(response)) if response.events().is_empty() => {}
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                let message = format!("etcd at {endpoint}: the watch ended");
                return Err(StoreError::not_applied(
                    StoreErrorKind::Unreachable,
                    message,
                ));
            }
            Err(error) => return Err(failure(endpoint, &error)),
        }
    }
}
