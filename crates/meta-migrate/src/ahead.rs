//! Reads of many ranges: some are under way while the first of them is waited for.

use std::collections::VecDeque;
use std::time::Duration;

use meta_store::{RangeRequest, RangeResponse, Store, StoreError};

use super::background::Background;
use super::error::{Failure, while_doing};
use super::patience::read;

/// Requests under way together. Each of them alone takes hardly longer than the way there and back.
const AT_ONCE: usize = 6;

/// Replies in the order of their requests.
pub(super) struct Ahead<S: Store, Requests> {
    store: S,
    patience: Duration,
    requests: Requests,
    flying: VecDeque<Background<Result<RangeResponse, StoreError>>>,
}

impl<S: Store, Requests: Iterator<Item = RangeRequest>> Ahead<S, Requests> {
    pub(super) fn new(
        store: &S,
        patience: Duration,
        requests: impl IntoIterator<IntoIter = Requests>,
    ) -> Self {
        Self {
            store: store.clone(),
            patience,
            requests: requests.into_iter(),
            flying: VecDeque::new(),
        }
    }

    /// The next reply; `None` behind the last. `what` is being done, should it fail.
    pub(super) async fn next(&mut self, what: &str) -> Result<Option<RangeResponse>, Failure> {
        while self.flying.len() < AT_ONCE
            && let Some(request) = self.requests.next()
        {
            let (store, patience) = (self.store.clone(), self.patience);
            let reading = async move { read(&store, patience, request).await };
            self.flying.push_back(Background::start(reading));
        }
        let Some(first) = self.flying.pop_front() else {
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
        let mut ahead = Ahead::new(&store, PATIENCE, requests.clone());
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
        let mut ahead = Ahead::new(&store, PATIENCE, requests);
        for _ in 0..3 {
            assert!(ahead.next("reading").await.unwrap().is_some());
        }
        let failure = ahead.next("reading").await.unwrap_err();
        assert!(matches!(failure, Failure::Store { .. }), "{failure:?}");
    }
}
