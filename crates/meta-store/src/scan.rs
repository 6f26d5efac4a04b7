//! A paged read of a range at one revision.
//!
//! Every page is read at the revision of the first, so that the pages together are what was there at
//! one moment. Pages are bounded by bytes: etcd only knows how to bound them by count, so the count
//! follows the sizes seen. The next pages are fetched while the caller works on the last one, so that
//! the server looks for one page while another is decoded.
//!
//! etcd counts all keys that are left in the range of a page, so many pages over a long range cost
//! more than linear time. The range is therefore read in splits that are cut by estimate. Splits
//! are contiguous and cover the range, however good the estimate is; and in the end as many keys have
//! been read as etcd counted at the beginning, at the same revision.

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

/// Pages that are fetched at once: some that the server looks for, and one on its way.
const PAGES_AHEAD: usize = 3;
/// Pages that are fetched or wait for those before them: where a split holds more than a page, the rest
/// of it is read while what was read behind it waits.
const PAGES_HELD: usize = 8;

/// How much is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// The size in bytes of keys and values that a page should have.
    pub bytes: usize,
    /// How many entries the first page has at most, when nothing is known of their size.
    pub first_count: i64,
    /// How many entries any page has at most.
    pub max_count: i64,
    /// Leave the values out.
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

/// A paged read of a range at one revision.
#[derive(Debug)]
pub struct Scan<S> {
    store: S,
    revision: i64,
    limits: PageLimits,
    splits: Splits,
    /// The first pages of parts that are not yet reached.
    ready: VecDeque<(usize, Vec<Entry>)>,
    /// Splits on their way, in the order of the range.
    in_flight: VecDeque<Fetch>,
    read: i64,
}

/// A page on its way; given up when this is dropped.
#[derive(Debug)]
struct Fetch(JoinHandle<Result<Page, StoreError>>);

/// What was found in a split, with the limit that was asked for in the end.
#[derive(Debug)]
struct Page {
    response: RangeResponse,
    limit: i64,
}

impl<S: Store> Scan<S> {
    /// Begins to read `range`, at `revision` or else at the newest one, which is the same for all pages.
    ///
    /// # Errors
    /// When the first page cannot be read.
    pub async fn new(
        store: S,
        range: KeyRange,
        revision: Option<i64>,
        limits: PageLimits,
    ) -> Result<Self, StoreError> {
        Self::in_parts(store, range, &[], revision, limits).await
    }

    /// The same for a range that holds keys of different kinds: each part, up to the next of the
    /// ascending `cuts`, is measured for itself.
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
        let mut asked = parts.iter();
        if revision.is_none()
            && let Some(part) = asked.next()
        {
            let first = scan.first_page(part, None).await?;
            scan.revision = first.response.revision;
            scan.begin_part(part, first);
        }
        let rest = asked.as_slice();
        let pages: Vec<Fetch> = rest
            .iter()
            .map(|part| Fetch(tokio::spawn(scan.first_page(part, Some(scan.revision)))))
            .collect();
        for (part, page) in rest.iter().zip(pages) {
            let page = page.received().await?;
            scan.begin_part(part, page);
        }
        Ok(scan)
    }

    /// Reads the beginning of a part, which tells how many keys are in it.
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

    fn begin_part(&mut self, part: &KeyRange, page: Page) {
        let number = self.splits.add(part.clone(), &page);
        if !page.response.entries.is_empty() {
            self.ready.push_back((number, page.response.entries));
        }
    }

    /// The revision that all pages are read at.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many keys are in the range at that revision, by etcd's own count.
    #[must_use]
    pub fn keys(&self) -> u64 {
        u64::try_from(self.splits.keys()).unwrap_or_default()
    }

    /// The next entries in ascending key order, never an empty page; `None` at the end. After an error
    /// there is nothing more.
    ///
    /// # Errors
    /// When the page cannot be read; [`StoreErrorKind::Compacted`] when the revision is no longer kept,
    /// so that the scan has to begin again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        loop {
            self.fetch_ahead();
            if let Some((part, _)) = self.ready.front()
                && self.splits.first_part().is_none_or(|first| *part <= first)
                && let Some((_, entries)) = self.ready.pop_front()
            {
                return Ok(Some(self.counted(entries)));
            }
            let Some(fetching) = self.in_flight.pop_front() else {
                return self.check_count().map(|()| None);
            };
            let page = match fetching.received().await {
                Ok(page) => page,
                Err(error) => return Err(self.ended(error)),
            };
            self.splits.received(&page);
            if !page.response.entries.is_empty() {
                self.fetch_ahead();
                return Ok(Some(self.counted(page.response.entries)));
            }
        }
    }

    fn counted(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.read += i64::try_from(entries.len()).unwrap_or(i64::MAX);
        entries
    }

    /// As many keys were read as etcd had counted.
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
        Err(self.ended(error))
    }

    fn ended(&mut self, error: StoreError) -> StoreError {
        self.in_flight.clear();
        self.ready.clear();
        self.splits = Splits::new(self.limits);
        self.read = 0;
        error
    }

    /// Whether one more page may be fetched; what comes next always may.
    fn may_fetch(&self) -> bool {
        let fetches = self.in_flight.iter();
        let under_way = fetches.filter(|fetch| !fetch.0.is_finished()).count();
        (under_way < PAGES_AHEAD && self.in_flight.len() < PAGES_HELD)
            || !self.splits.first_is_under_way()
    }

    fn fetch_ahead(&mut self) {
        while self.may_fetch()
            && let Some(split) = self.splits.next()
        {
            let position = split.position;
            let fetching = fetch(self.store.clone(), Some(self.revision), self.limits, split);
            let fetching = Fetch(tokio::spawn(fetching));
            self.in_flight.insert(position, fetching);
        }
    }
}

impl Fetch {
    async fn received(mut self) -> Result<Page, StoreError> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let message = format!("reading a page ended early: {error}");
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
async fn fetch<S: Store>(
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
        match store.range(request).await {
            Ok(response) => return Ok(Page { response, limit }),
            // More than a reply can hold: values larger than any seen before.
            Err(error) if error.kind == StoreErrorKind::TooLarge && limit > 1 => {
                limit = (limit / 4).max(1);
            }
            Err(error) => return Err(error),
        }
    }
}
