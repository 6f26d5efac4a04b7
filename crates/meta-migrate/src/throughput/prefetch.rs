//! Reads many ranges, with several requests in flight.

use std::collections::VecDeque;
use std::time::Duration;

use meta_store::{RangeRequest, RangeResponse, Store, StoreError};

use crate::background::Background;
use crate::error::{EngineErrorKind, while_doing};
use crate::retry::read;

/// Concurrent requests. A single request takes little more than one network round trip.
const IN_FLIGHT_MAX: usize = 6;

/// Replies in the order of their requests.
pub(crate) struct Prefetch<S: Store, Requests> {
    store: S,
    retry_timeout: Duration,
    requests: Requests,
    in_flight: VecDeque<Background<Result<RangeResponse, StoreError>>>,
}

impl<S: Store, Requests: Iterator<Item = RangeRequest>> Prefetch<S, Requests> {
    pub(crate) fn new(
        store: &S,
        retry_timeout: Duration,
        requests: impl IntoIterator<IntoIter = Requests>,
    ) -> Self {
        Self {
            store: store.clone(),
            retry_timeout,
            requests: requests.into_iter(),
            in_flight: VecDeque::new(),
        }
    }

    /// Returns the next reply; `None` after the last. `what` describes the operation in errors.
    pub(crate) async fn next(
        &mut self,
        what: &str,
    ) -> Result<Option<RangeResponse>, EngineErrorKind> {
        while self.in_flight.len() < IN_FLIGHT_MAX
            && let Some(request) = self.requests.next()
        {
            let (store, retry_timeout) = (self.store.clone(), self.retry_timeout);
            let reading = async move { read(&store, retry_timeout, request).await };
            self.in_flight.push_back(Background::start(reading));
        }
        let Some(first) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        first.outcome().await?.map(Some).map_err(while_doing(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_store::{StoreError, StoreErrorKind};
    use meta_testing::memory::{Fault, MemoryStore};
    use milvus_meta::entry::Entry;

    const RETRY_TIMEOUT: Duration = Duration::from_millis(1);

    fn store() -> (MemoryStore, Vec<RangeRequest>) {
        let keys: Vec<String> = (0..20).map(|number| format!("k/{number:02}")).collect();
        let entries: Vec<Entry> = keys
            .iter()
            .map(|key| Entry::new(key.clone(), key.clone()))
            .collect();
        let requests = keys.into_iter().map(RangeRequest::key).collect();
        (MemoryStore::with_entries(&entries), requests)
    }

    #[tokio::test]
    async fn prefetch_returns_replies_in_request_order() {
        let (store, requests) = store();
        let mut replies = Prefetch::new(&store, RETRY_TIMEOUT, requests.clone());
        for request in requests {
            let reply = replies.next("reading").await.unwrap().unwrap();
            assert_eq!(reply.entries[0].key, request.range.start);
        }
        assert!(replies.next("reading").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn prefetch_returns_a_failure_in_reply_order() {
        let (store, requests) = store();
        let denied = requests[3].range.clone();
        store.fault_when(move |request| {
            let fails = request.range.is_some_and(|it| it.range == denied);
            let error = StoreError::not_applied(StoreErrorKind::Denied, "no");
            if fails {
                vec![Fault::Refuse(error)]
            } else {
                Vec::new()
            }
        });
        let mut replies = Prefetch::new(&store, RETRY_TIMEOUT, requests);
        for _ in 0..3 {
            assert!(replies.next("reading").await.unwrap().is_some());
        }
        let failure = replies.next("reading").await.unwrap_err();
        assert!(
            matches!(failure, EngineErrorKind::Store { .. }),
            "{failure:?}"
        );
    }
}
