//! Reads of many ranges: some are under way while the first of them is waited for.

use std::collections::VecDeque;
use std::time::Duration;

use meta_store::{RangeRequest, RangeResponse, Store, StoreError};

use crate::background::Background;
use crate::error::{EngineErrorKind, while_doing};
use crate::retry::read;

/// Requests under way together. Each of them alone takes hardly longer than the way there and back.
const AT_ONCE: usize = 6;

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

    /// The next reply; `None` behind the last. `what` is being done, should it fail.
    pub(crate) async fn next(
        &mut self,
        what: &str,
    ) -> Result<Option<RangeResponse>, EngineErrorKind> {
        while self.in_flight.len() < AT_ONCE
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

    const PATIENCE: Duration = Duration::from_millis(1);

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
    async fn every_reply_comes_in_the_order_of_the_requests() {
        let (store, requests) = store();
        let mut ahead = Prefetch::new(&store, PATIENCE, requests.clone());
        for request in requests {
            let reply = ahead.next("reading").await.unwrap().unwrap();
            assert_eq!(reply.entries[0].key, request.range.start);
        }
        assert!(ahead.next("reading").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_failure_comes_in_the_place_of_its_reply() {
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
        let mut ahead = Prefetch::new(&store, PATIENCE, requests);
        for _ in 0..3 {
            assert!(ahead.next("reading").await.unwrap().is_some());
        }
        let failure = ahead.next("reading").await.unwrap_err();
        assert!(
            matches!(failure, EngineErrorKind::Store { .. }),
            "{failure:?}"
        );
    }
}
