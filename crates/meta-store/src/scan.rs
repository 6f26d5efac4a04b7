//! A paged read of a range at one revision.
//!
//! All pages are read at the revision of the first page, so they form one consistent snapshot.
//! Pages are limited by bytes: etcd can only limit the count, so the count adapts to the sizes
//! seen. While the caller processes a page, the next pages are prefetched.
//!
//! For each page, etcd counts all remaining keys of the requested range, so paging through a long
//! range takes more than linear time. The range is therefore read in splits, whose boundaries are
//! estimated. Splits are contiguous and cover the range, independent of the estimate. At the end,
//! the number of keys read must be etcd's count at the same revision.

use std::collections::VecDeque;
use std::future::Future;

use tokio::task::JoinHandle;

use super::{RangeRequest, RangeResponse, Store, StoreError, StoreErrorKind};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;
use milvus_meta::plural;

mod split;
mod split_width;

use split::{Split, Splits, parts};

/// Maximum number of concurrent page requests: the server reads some while one is transmitted.
const CONCURRENT_PAGES: usize = 3;
/// Maximum number of pages requested or waiting for an earlier one. If a split has more than one
/// page, the pages after it wait until the rest of it is read.
const BUFFERED_PAGES: usize = 8;

/// Limits of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// Target size of a page: bytes of keys and values.
    pub bytes: usize,
    /// Maximum number of entries of the first page, while their size is unknown.
    pub first_count: i64,
    /// Maximum number of entries of any page.
    pub max_count: i64,
    /// Omit the values.
    pub keys_only: bool,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self {
            bytes: 2 << 20,
            first_count: 1_000,
            max_count: 10_000,
            keys_only: false,
        }
    }
}

/// Reads the pages of a scan: a store, or one with retries.
pub trait PageSource: Clone + Send + Sync + 'static {
    /// Reads a page.
    fn page(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, StoreError>> + Send;
}

impl<S: Store> PageSource for S {
    async fn page(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.range(request).await
    }
}

/// A paged read of a range at one revision.
#[derive(Debug)]
pub struct Scan<S> {
    store: S,
    revision: i64,
    limits: PageLimits,
    splits: Splits,
    /// First pages of the parts that follow the current one.
    ready: VecDeque<(usize, Vec<Entry>)>,
    /// Requested splits, in key order.
    in_flight: VecDeque<Fetch>,
    read: i64,
}

/// A page request in flight; dropping it aborts the request.
#[derive(Debug)]
struct Fetch(JoinHandle<Result<Page, StoreError>>);

/// The first page of a split, with the limit that succeeded.
#[derive(Debug)]
struct Page {
    response: RangeResponse,
    limit: i64,
}

impl<S: PageSource> Scan<S> {
    /// Starts a scan of `range` at `revision`, or at the newest one, which then is that of all
    /// pages.
    ///
    /// # Errors
    /// If the first page cannot be read.
    pub async fn new(
        store: S,
        range: KeyRange,
        revision: Option<i64>,
        limits: PageLimits,
    ) -> Result<Self, StoreError> {
        Self::in_parts(store, range, &[], revision, limits).await
    }

    /// Starts a scan of a range with keys of several kinds. The ascending `cuts` divide it into
    /// parts, each with its own estimate of key density.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn in_parts(
        store: S,
        range: KeyRange,
        cuts: &[Vec<u8>],
        revision: Option<i64>,
        limits: PageLimits,
    ) -> Result<Self, StoreError> {
        let mut scan = Self {
            store,
            revision: revision.unwrap_or_default(),
            limits,
            splits: Splits::new(limits),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            read: 0,
        };
        let parts = parts(range, cuts);
        let mut unread = parts.iter();
        if revision.is_none()
            && let Some(part) = unread.next()
        {
            let first = scan.first_page(part, None).await?;
            scan.revision = first.response.revision;
            scan.add_part(part, first);
        }
        let rest = unread.as_slice();
        let pages: Vec<Fetch> = rest
            .iter()
            .map(|part| Fetch(tokio::spawn(scan.first_page(part, Some(scan.revision)))))
            .collect();
        for (part, page) in rest.iter().zip(pages) {
            let page = page.received().await?;
            scan.add_part(part, page);
        }
        Ok(scan)
    }

    /// Reads the first page of a part, with the number of keys in the part.
    fn first_page(
        &self,
        part: &KeyRange,
        revision: Option<i64>,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send + use<S> {
        let split = Split {
            range: part.clone(),
            limit: self
                .limits
                .first_count
                .clamp(1, self.limits.max_count.max(1)),
            position: 0,
        };
        fetch(self.store.clone(), revision, self.limits, split)
    }

    fn add_part(&mut self, part: &KeyRange, page: Page) {
        let number = self.splits.add(part.clone(), &page);
        if !page.response.entries.is_empty() {
            self.ready.push_back((number, page.response.entries));
        }
    }

    /// Returns the revision that all pages are read at.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Returns the number of keys in the range at that revision, as counted by etcd.
    #[must_use]
    pub fn keys(&self) -> u64 {
        u64::try_from(self.splits.keys()).unwrap_or_default()
    }

    /// Returns the next entries in ascending key order, never an empty page; `None` at the end.
    /// After an error, the scan returns no more entries.
    ///
    /// # Errors
    /// If the page cannot be read. [`StoreErrorKind::Compacted`]: the revision is compacted, and
    /// the scan must start again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        loop {
            self.prefetch();
            if let Some((part, _)) = self.ready.front()
                && self
                    .splits
                    .first_unread_part()
                    .is_none_or(|first| *part <= first)
                && let Some((_, entries)) = self.ready.pop_front()
            {
                return Ok(Some(self.counted(entries)));
            }
            let Some(fetch) = self.in_flight.pop_front() else {
                return self.check_count().map(|()| None);
            };
            let page = match fetch.received().await {
                Ok(page) => page,
                Err(error) => return Err(self.failed(error)),
            };
            self.splits.received(&page);
            if !page.response.entries.is_empty() {
                self.prefetch();
                return Ok(Some(self.counted(page.response.entries)));
            }
        }
    }

    fn counted(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.read += i64::try_from(entries.len()).unwrap_or(i64::MAX);
        entries
    }

    /// Checks that the number of keys read is the number that etcd counted.
    fn check_count(&mut self) -> Result<(), StoreError> {
        let (read, counted) = (self.read, self.splits.keys());
        if read == counted {
            return Ok(());
        }
        let message = format!(
            "{} read, but etcd counts {counted}",
            plural::counted(read, "key")
        );
        let error = StoreError::not_applied(StoreErrorKind::Other, message);
        Err(self.failed(error))
    }

    fn failed(&mut self, error: StoreError) -> StoreError {
        self.in_flight.clear();
        self.ready.clear();
        self.splits = Splits::new(self.limits);
        self.read = 0;
        error
    }

    /// Returns whether another page may be requested. The next one in key order always may.
    fn may_fetch(&self) -> bool {
        let fetches = self.in_flight.iter();
        let pending = fetches.filter(|fetch| !fetch.0.is_finished()).count();
        (pending < CONCURRENT_PAGES && self.in_flight.len() < BUFFERED_PAGES)
            || !self.splits.first_is_requested()
    }

    fn prefetch(&mut self) {
        while self.may_fetch()
            && let Some(split) = self.splits.next()
        {
            let position = split.position;
            let fetch = fetch(self.store.clone(), Some(self.revision), self.limits, split);
            let fetch = Fetch(tokio::spawn(fetch));
            self.in_flight.insert(position, fetch);
        }
    }
}

impl Fetch {
    async fn received(mut self) -> Result<Page, StoreError> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let message = format!("the task that reads a page was aborted: {error}");
                Err(StoreError::not_applied(StoreErrorKind::Other, message))
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the first page of a split.
async fn fetch<S: PageSource>(
    store: S,
    revision: Option<i64>,
    limits: PageLimits,
    split: Split,
) -> Result<Page, StoreError> {
    let mut limit = split.limit;
    loop {
        let request = RangeRequest {
            revision,
            keys_only: limits.keys_only,
            ..RangeRequest::new(split.range.clone()).limit(limit)
        };
        match store.page(request).await {
            Ok(response) => return Ok(Page { response, limit }),
            // Values are larger than any before, so that the reply exceeds the maximum size.
            Err(error) if error.kind == StoreErrorKind::TooLarge && limit > 1 => {
                limit = (limit / 4).max(1);
            }
            Err(error) => return Err(error),
        }
    }
}
